"""An OpenAI-compatible server for tests: it scores texts by a rule, and misbehaves on demand."""

import json
import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RULE = re.compile(r"number (\d+)")


def score_of(prompt):
    """0 to 5, by the number in the text."""
    found = RULE.search(prompt)
    return int(found[1]) % 6 if found else 0


def well_behaved(server, prompt, count):
    """The answer of a good server: (status, body, headers), or a text that is put into a completion."""
    return json.dumps({"score": score_of(prompt), "reason": f"as {score_of(prompt)}"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        stub = self.server.stub
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        with stub.lock:
            stub.bodies.append(body)
            stub.times_s.append(time.monotonic())
            stub.keys.append(self.headers.get("authorization"))
            stub.under_way += 1
            stub.most_under_way = max(stub.most_under_way, stub.under_way)
            count = stub.asked[prompt] = stub.asked.get(prompt, 0) + 1
        try:
            time.sleep(stub.seconds)
            said = stub.behave(stub, prompt, count)
            if said is None:  # hang up without a word
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, content, headers = said if isinstance(said, tuple) else (200, completion(said), {})
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            with stub.lock:
                stub.answered.append(prompt)
        except OSError:
            self.close_connection = True
        finally:
            with stub.lock:
                stub.under_way -= 1

    def log_message(self, *words):
        pass


def completion(text, finish_reason="stop"):
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [
            {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}},
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.connections = []

    def get_request(self):
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def handle_error(self, request, client_address):
        pass


class StubServer:
    """A running server; ``bodies`` is what it was asked, ``answered`` the prompts that it answered."""

    def __init__(self, behave=well_behaved, *, seconds=0.0, port=0):
        self.behave = behave
        self.seconds = seconds
        self.lock = threading.Lock()
        self.bodies, self.answered, self.keys, self.asked = [], [], [], {}
        self.times_s = []
        self.under_way = self.most_under_way = 0
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.stub = self
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def requests(self):
        return len(self.bodies)

    def forget(self):
        with self.lock:
            self.bodies, self.answered, self.keys, self.asked = [], [], [], {}

    def close(self):
        """Stop, and break all connections, as the death of a server does."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        for connection in self._server.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(behave=well_behaved, **options):
    server = StubServer(behave, **options)
    try:
        yield server
    finally:
        server.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
