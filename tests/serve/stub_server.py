"""A small server that speaks OpenAI's protocol, and misbehaves on demand: the real thing that faults happen to.

``python stub_server.py --port P [--host H] [--key-file F] [--mode MODE] [--state DIRECTORY]``. Modes: ``well``,
``hangs`` (accepts and never answers), ``dies`` (exits at once), ``500``, ``garbage``, ``slow`` (half a second for each
answer), ``never`` (runs, and does not listen), ``late`` (says its port in a file, and listens when there is another
one, ``taken``), ``hangs_later`` (well for 3 requests), ``stubborn`` (ignores SIGTERM, and so does its child in a
session of its own), ``open`` (asks for no key).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": '{"score": 3, "reason": "fine"}'},
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mode = "well"
    key = ""
    asked = 0
    posts = 0
    lock = threading.Lock()

    def do_GET(self):
        self.answer({"status": "ok", "posts": Handler.posts})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.mode != "open" and self.headers.get("authorization") != f"Bearer {self.key}":
            self.answer({"error": "wrong key"}, 401)
            return
        with Handler.lock:
            Handler.posts += 1
        self.answer({**ANSWER, "pid": os.getpid(), "devices": os.environ.get("CUDA_VISIBLE_DEVICES")})

    def answer(self, content, status=200):
        with Handler.lock:
            Handler.asked += 1
            asked = Handler.asked
        if self.mode == "hangs" or (self.mode == "hangs_later" and asked > 3):
            time.sleep(3600)
        if self.mode == "slow":
            time.sleep(0.5)
        if self.mode == "500":
            content, status = {"error": "no"}, 500
        body = b"<html>no</html>" if self.mode == "garbage" else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", default="well")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--key-file", type=Path)
    arguments = parser.parse_args()
    mode = arguments.mode
    print(f"stub {mode} in {os.getpid()} with {sys.argv[1:]}", flush=True)
    if mode == "dies":
        sys.exit("the model is not there")
    if mode == "never":
        time.sleep(3600)
    if mode == "late" and not (arguments.state / "taken").exists():
        (arguments.state / "port").write_text(str(arguments.port))
        while not (arguments.state / "taken").exists():
            time.sleep(0.02)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)",
            ],
            start_new_session=True,
        )
    Handler.mode = mode
    Handler.key = arguments.key_file.read_text() if arguments.key_file else os.environ.get("CURATOR_REPLICA_KEY", "")
    server = ThreadingHTTPServer((arguments.host, arguments.port), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
