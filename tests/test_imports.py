"""The rooms of the house and the arrows between them, read from the source; nothing is imported."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "curator"

# What each room may import. A room not listed here may import nothing of curator, so a new one has to be entered.
ARROWS = {
    "errors": set(),
    "exports": set(),
    "stopping": set(),
    "logs": {"errors"},
    "tasks": {"errors"},
    "kernels": {"errors"},
    "stages": {"tasks", "kernels", "errors"},
    "pipeline": {"stages", "tasks", "errors"},
    "runs": {"pipeline", "stages", "tasks", "errors"},
    "report": {"runs", "pipeline", "stages", "tasks", "errors", "logs"},
    "cluster": {"stages", "tasks", "errors", "exports", "logs", "stopping"},
    "placement": {"cluster", "stages", "tasks", "errors", "exports", "logs", "stopping"},
    "serve": {"cluster", "placement", "stages", "tasks", "errors", "logs", "stopping"},
    "executors": {
        *("report", "runs", "pipeline", "stages", "tasks", "errors", "exports", "logs", "cluster", "placement"),
        "stopping",
    },
    "config": {
        *("executors", "serve", "placement", "cluster", "report", "runs", "pipeline", "stages", "kernels", "tasks"),
        *("errors", "logs"),
    },
    "__main__": {"__init__", "config", "report", "logs", "errors", "stopping"},
}

# Libraries with a home: only these files, or files below these folders, may import them.
HOMES = {
    "hydra": ("config/", "__main__.py"),
    "omegaconf": ("config/", "__main__.py"),
    "ray": (
        *("cluster/", "serve/", *(f"placement/{name}.py" for name in ("acquisition", "groups", "in_bundle"))),
        *(f"executors/ray_actor_pool/{name}.py" for name in ("actor", "calls", "faults", "losses")),
        *(f"executors/ray_actor_pool/{name}.py" for name in ("pool", "probe", "scheduler")),
        *(f"executors/ray_data/{name}.py" for name in ("datasets", "register", "session", "worker")),
        *(f"executors/collective/{name}.py" for name in ("group", "session")),
    ),
    "torch": ("executors/collective/torch_communicator.py", "serve/tiny_model.py"),
    "numba": ("kernels/",),
    "llvmlite": ("kernels/",),
}

# The front door names every room for type checkers, and opens each when it is first asked for.
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported_names(source):
    """Full dotted names, also those inside functions and behind TYPE_CHECKING."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def room_of_name(name):
    """The room that ``curator.tasks.Task`` leads to; a public name leads through the front door."""
    room = name.split(".")[1] if "." in name else "__init__"
    return room if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file() else "__init__"


def wrong_arrows(room, source):
    led = {room_of_name(name) for name in imported_names(source) if name.partition(".")[0] == "curator"}
    return sorted(led - ARROWS.get(room, set()) - {room})


def homeless_libraries(relative_path, source):
    names = {name.partition(".")[0] for name in imported_names(source)}
    return sorted(name for name in names & set(HOMES) if not relative_path.startswith(HOMES[name]))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_what_its_room_may_import(path):
    source = path.read_text(encoding="utf-8")
    assert room_of(path) in ARROWS, "a new room: say in ARROWS and in docs/ARCHITECTURE.md what it may import"
    assert wrong_arrows(room_of(path), source) == []
    assert homeless_libraries(path.relative_to(PACKAGE).as_posix(), source) == []


def test_the_arrows_have_no_circle():
    left = dict(ARROWS)
    while left:
        free = [room for room, targets in left.items() if not targets & set(left)]
        assert free, f"a circle among {sorted(left)}"
        for room in free:
            del left[room]


@pytest.mark.parametrize(
    ("room", "source", "wrong"),
    [
        ("tasks", "from curator.stages.base import ProcessingStage", ["stages"]),
        ("kernels", "from curator.tasks import Task", ["tasks"]),
        ("stages", "def f():\n    import curator.pipeline.plan", ["pipeline"]),
        ("runs", "if TYPE_CHECKING:\n    from curator.executors import base", ["executors"]),
        ("runs", "from curator import Pipeline", ["__init__"]),
        ("executors", "from curator import config", ["config"]),
        ("report", "from curator.runs.ledger import LEDGER", []),
    ],
)
def test_a_wrong_arrow_is_found_wherever_it_stands(room, source, wrong):
    assert wrong_arrows(room, source) == wrong


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("stages/base.py", "import ray.data", ["ray"]),
        ("executors/ray_actor_pool/executor.py", "def f():\n    from ray import get", ["ray"]),
        ("cluster/session.py", "import ray", []),
        ("runs/verify.py", "from omegaconf import OmegaConf", ["omegaconf"]),
        ("stages/io/read.py", "from numba import njit", ["numba"]),
    ],
)
def test_a_library_outside_its_home_is_found(path, source, found):
    assert homeless_libraries(path, source) == found
