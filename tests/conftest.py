"""Fixtures for all tests: where the shared corpora are, and a writer of JSON lines; and who runs which test when."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.forked_command import forked_command

_ROOT = Path(__file__).resolve().parent.parent

# Ray's workers stand behind every other process of a machine unless they are told not to: beside tests that keep all
# cores busy, such a worker takes minutes to start.
os.environ.setdefault("RAY_worker_niceness", "0")

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


_CLUSTERS = {f"tests/{name}" for name in ("chaos", "cluster", "executors", "placement", "serve", "slurm")}
"""Folders whose tests share a cluster: one process of ``scripts/test`` runs each of them. Any other file is a share."""


def _share(nodeid):
    path = nodeid.partition("::")[0]
    folder = path.rpartition("/")[0]
    return folder if folder in _CLUSTERS else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Shares(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return _share(nodeid)

    return Shares(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """What starts clusters comes first, the longest of it at the head: no process ends long after the others.

    On a machine that is too busy, a raylet or a SLURM daemon may not start in the time that they give themselves: what
    needs one is tried once more, and the summary names it (``rerun``).
    """
    counts = {"slurm": Counter(), "ray": Counter()}
    for item in items:
        marked = [kind for kind in counts if item.get_closest_marker(kind)]
        for kind in marked:
            counts[kind][_share(item.nodeid)] += 1
        if marked:
            item.add_marker(pytest.mark.flaky(reruns=1))
    items.sort(key=lambda item: [-shares[_share(item.nodeid)] for shares in counts.values()])


_TIMER = pytest.StashKey()


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer(item, settings):
    item.stash[_TIMER] = settings
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """A test that failed has lost its timer: its second try gets one of its own."""
    settings = item.stash.get(_TIMER, None)
    if getattr(item, "execution_count", 1) > 1 and settings is not None and not settings.func_only:
        item.ihook.pytest_timeout_set_timer(item=item, settings=settings)


@pytest.fixture(scope="session")
def shared_corpora():
    """The folder of the shared corpora; tests that need it skip where it is not."""
    shared = Path(os.environ.get("CURATOR_SHARED", _ROOT.parent / "shared"))
    if not (shared / "corpora").is_dir():
        pytest.skip(f"no shared corpora at {str(shared / 'corpora')!r}; CURATOR_SHARED names their folder")
    return shared / "corpora"


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    """Runs the command in a fork of a process that has imported it: ``forked(words, cwd=..., env=...)``."""
    with forked_command(tmp_path_factory.mktemp("forked"), os.environ | {"PYTHONPATH": str(_ROOT)}) as run:
        yield run


@pytest.fixture(scope="session")
def write_jsonl():
    """Writes records as JSON lines and gives the path back."""

    def write(path, records, *, ensure_ascii=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(record, ensure_ascii=ensure_ascii) + "\n" for record in records]
        path.write_text("".join(lines), encoding="utf-8", newline="")
        return path

    return write
