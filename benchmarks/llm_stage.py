"""What the stage that asks a model costs beside the requests themselves, and how evenly it uses two replicas.

    python benchmarks/llm_stage.py
    python benchmarks/llm_stage.py --requests 640 --rounds 1 --answer-ms 100

Two stub replicas, each a process of its own, give every answer after a fixed time. The stage, a bare loop over the
openai library and a bare loop over the HTTP library below it ask them the same prompts, in turn, in one process: 64 at
a time, and one at a time. Shown are medians over the rounds: wall time a request above the ideal (requests / places
times the replica's own time, in which nothing is lost between two requests), CPU time a request of the asking process,
and the shares of the replicas. The stage is shown with and without its cache of answers, and once more when all answers
are in the cache. On a machine with other work, wall times of 64 at a time are those of the queue for its cores.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import describe_machine, table

PLACES = 64
MOST_MS = 5.0
LIBRARY = "openai library, bare"
MOST_UNEVEN = 0.10
Round = tuple[float, float, int, int]
"""Wall seconds, CPU seconds, and the requests of each replica."""

TEXT = "A text of some length, as documents have it. " * 40


async def _serve(answer_s: float) -> None:
    """A replica: one port, one answer; writes its port, then how many requests it got, when asked."""
    text = json.dumps({"score": 4, "reason": "clear"})
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 400, "completion_tokens": 12, "total_tokens": 412}
    made = {"id": "1", "object": "chat.completion", "created": 0, "model": "stub", "choices": [choice], "usage": usage}
    body = json.dumps(made).encode()
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    count = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
                await reader.readexactly(length)
                if head.startswith(b"get /count"):
                    shown = str(count).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(shown) + shown)
                    continue
                count += 1
                await asyncio.sleep(answer_s)
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def replicas(answer_s: float) -> Iterator[list[int]]:
    """Ports of two stubs."""
    command = [sys.executable, __file__, "--serve", str(answer_s)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        yield [int(process.stdout.readline()) for process in processes if process.stdout is not None]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def asked(port: int) -> int:
    """Requests that a stub has got."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /count HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        return int(connection.recv(4096).rpartition(b"\r\n")[2])


def stage_asker(ports: list[int], places: int, cache: Path | None) -> Callable[[list[str]], None]:
    """The stage, set up, as a function of texts."""
    import numpy as np
    import pyarrow as pa

    from curator import WorkerMetadata
    from curator.stages.text.endpoints import Endpoint, FixedEndpoints
    from curator.stages.text.llm import AskModel
    from curator.tasks import DocumentBatch, InputFile, Split

    known = tuple(Endpoint(f"stub-{n}", f"http://127.0.0.1:{port}/v1", "stub") for n, port in enumerate(ports))
    answer = {"score": {"type": "integer", "min": 0, "max": 5}, "reason": "string"}
    ask = AskModel("{text}", answer, max_concurrency=places, cache_path=None if cache is None else str(cache))
    ask = ask.with_(source=FixedEndpoints(known))
    ask.setup(WorkerMetadata())
    split = Split(0, InputFile("a.jsonl", 0, "", "jsonl"), 0, 0, 0)

    def run(texts: list[str]) -> None:
        columns = pa.table({"text": texts, "id": pa.nulls(len(texts), pa.string())})
        made = ask.process(DocumentBatch(split=split, rows=np.arange(len(texts)), columns=columns))
        assert made.num_items == len(texts), made.quarantined[:1]
        ask.usage()

    return run


def bare_asker(
    ports: list[int], places: int, make: Callable[[int], Callable[[str], Awaitable[Any]]]
) -> Callable[[list[str]], None]:
    """A loop that takes the replicas in turn."""
    runner = asyncio.Runner()
    askers = [make(port) for port in ports]

    async def run_all(texts: list[str]) -> None:
        waiting = iter(enumerate(texts))

        async def place() -> None:
            for number, text in waiting:
                await askers[number % len(askers)](text)

        await asyncio.gather(*(place() for _ in range(places)))

    return lambda texts: runner.run(run_all(texts))


def openai_asker(port: int) -> Callable[[str], Awaitable[Any]]:
    """One request through the client library."""
    import openai

    client = openai.AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0, timeout=120)

    async def ask(text: str) -> Any:
        said = await client.chat.completions.create(
            model="stub", messages=[{"role": "user", "content": text}], temperature=0.0, seed=0, max_tokens=256
        )
        return json.loads(said.choices[0].message.content or "")

    return ask


def http_asker(port: int) -> Callable[[str], Awaitable[Any]]:
    """One request through the HTTP library that the client library uses."""
    import openai

    client = openai.DefaultAsyncHttpxClient(timeout=120)
    url = f"http://127.0.0.1:{port}/v1/chat/completions"

    async def ask(text: str) -> Any:
        message = {"role": "user", "content": text}
        given = {"model": "stub", "messages": [message], "temperature": 0.0, "seed": 0, "max_tokens": 256}
        said = (await client.post(url, json=given)).json()
        return json.loads(said["choices"][0]["message"]["content"])

    return ask


def main() -> int:
    """Measure and show; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1280, help="of a round, 64 at a time; a tenth one at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--answer-ms", type=float, default=400.0, help="what a stub takes for an answer, 64 at a time")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(_serve(arguments.serve))
        return 0
    for name, value in describe_machine(["openai", "pyarrow"]).items():
        print(f"{name:10} {value}")
    print(f"load       {os.getloadavg()[0]:.1f}")
    together = compare(PLACES, arguments.answer_ms, arguments.requests, arguments.rounds)
    few = max(arguments.requests // 10, 16)
    alone = compare(1, 5.0, few, arguments.rounds)
    missed = 0
    for name in ("stage, no cache", "stage, answers kept"):
        uneven = max(abs(each[2] - each[3]) / (each[2] + each[3]) * 2 for each in together[name])
        (wall, cpu), (wall_of_library, cpu_of_library) = (
            costs(together[each], PLACES, arguments.answer_ms) for each in (name, LIBRARY)
        )
        (one, _), (one_of_library, _) = (costs(alone[each], 1, 5.0) for each in (name, LIBRARY))
        for what, value, limit in (
            (f"wall ms/request above the ideal, {PLACES} at a time ({LIBRARY}: {wall_of_library:.2f})", wall, MOST_MS),
            (f"CPU ms/request above {LIBRARY} ({cpu_of_library:.2f})", cpu - cpu_of_library, MOST_MS),
            (f"wall ms/request above {LIBRARY}, one at a time", one - one_of_library, MOST_MS),
            ("% between the replicas in the worst round", uneven * 100, MOST_UNEVEN * 100),
        ):
            missed += value >= limit
            print(f"{'PASS' if value < limit else 'MISS'}  {name}: {value:.2f} {what}, goal < {limit:g}")
    return 1 if missed else 0


def costs(rounds: list[Round], places: int, answer_ms: float) -> tuple[float, float]:
    """Medians of a request: wall ms above the ideal, and CPU ms."""
    count = rounds[0][2] + rounds[0][3]
    wall, cpu = (1000 * statistics.median(each[place] for each in rounds) for place in (0, 1))
    return wall / count - answer_ms / places, cpu / count


def compare(places: int, answer_ms: float, count: int, rounds: int) -> dict[str, list[Round]]:
    """Measure all askers and show a table."""
    with replicas(answer_ms / 1000) as ports, tempfile.TemporaryDirectory() as folder:
        kept = stage_asker(ports, places, Path(folder))
        askers = {
            "HTTP library, bare": bare_asker(ports, places, http_asker),
            LIBRARY: bare_asker(ports, places, openai_asker),
            "stage, no cache": stage_asker(ports, places, None),
            "stage, answers kept": kept,
            "stage, answers known": kept,
        }
        for name, run in askers.items():
            run([f"{TEXT} warm {name} {number}" for number in range(2 * places)])
        found = measured(askers, ports, count, rounds)
    rows = []
    for name, results in found.items():
        wall, cpu = (statistics.median(each[place] for each in results) for place in (0, 1))
        first, second = (sum(each[place] for each in results) for place in (2, 3))
        own_ms = 1000 * wall / count - (answer_ms / places if first + second else 0)
        shares = f"{first:,} + {second:,}"
        rows.append([name, f"{count / wall:,.0f}", f"{own_ms:.2f}", f"{1000 * cpu / count:.2f}", shares])
    print(
        f"\n{places} at a time, 2 replicas that take {answer_ms:g} ms, {count:,} requests, medians of {rounds} rounds\n"
    )
    print(
        table(["asked by", "requests/s", "wall ms/request above the ideal", "CPU ms/request", "by replica"], rows), "\n"
    )
    return found


def measured(askers: dict[str, Any], ports: list[int], count: int, rounds: int) -> dict[str, list[Round]]:
    """All askers in turn, round by round."""
    found: dict[str, list[Round]] = {name: [] for name in askers}
    for turn in range(rounds):
        for name, run in askers.items():
            label = "stage, answers kept" if name == "stage, answers known" else name
            texts = [f"{TEXT} {label} {turn} {number}" for number in range(count)]
            before = [asked(port) for port in ports]
            wall, cpu = time.perf_counter(), time.process_time()
            run(texts)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            first, second = (asked(port) - start for port, start in zip(ports, before, strict=True))
            found[name].append((wall, cpu, first, second))
    return found


if __name__ == "__main__":
    sys.exit(main())
