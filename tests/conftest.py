"""Fixtures for all tests: where the shared corpora are, and a writer of JSON lines; and the order of the files."""

import json
import os
import signal
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Files that start clusters come first, so that no process of ``scripts/test`` ends long after the others.

    On a machine that is too busy, a raylet or a SLURM daemon may not start in the time that they give themselves: what
    needs one is tried once more, and the summary names it (``rerun``).
    """
    first = {}
    for item in items:
        if item.get_closest_marker("ray") or item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.flaky(reruns=1))
    for item in items:
        rank = next((rank for rank, name in enumerate(("slurm", "ray")) if item.get_closest_marker(name)), 2)
        first[item.path] = min(rank, first.get(item.path, 2))
    items.sort(key=lambda item: first[item.path])


@pytest.fixture(scope="session")
def shared_corpora():
    """The folder of the shared corpora; tests that need it skip where it is not."""
    shared = Path(os.environ.get("CURATOR_SHARED", _ROOT.parent / "shared"))
    if not (shared / "corpora").is_dir():
        pytest.skip(f"no shared corpora at {str(shared / 'corpora')!r}; CURATOR_SHARED names their folder")
    return shared / "corpora"


@pytest.fixture(scope="session")
def write_jsonl():
    """Writes records as JSON lines and gives the path back."""

    def write(path, records, *, ensure_ascii=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(record, ensure_ascii=ensure_ascii) + "\n" for record in records]
        path.write_text("".join(lines), encoding="utf-8", newline="")
        return path

    return write
