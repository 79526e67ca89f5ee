"""What curator promises to keep: the names in ``curator.__all__``, and that importing it costs next to nothing."""

import subprocess
import sys

import pytest

import curator

PUBLIC = [
    "BaseExecutor",
    "ConfigError",
    "CuratorError",
    "DocumentBatch",
    "ExactDeduplication",
    "FuzzyDeduplication",
    "InputError",
    "LocalExecutor",
    "NodeInfo",
    "Pipeline",
    "ProcessingStage",
    "RayActorPoolExecutor",
    "RayDataExecutor",
    "Read",
    "Resources",
    "RunResult",
    "StageError",
    "StorageError",
    "Task",
    "VerifyError",
    "WorkerMetadata",
    "Write",
    "__version__",
    "merge_executor_configs",
    "verify_output",
]


def test_the_public_names_are_these_and_no_others():
    assert sorted(curator.__all__) == PUBLIC
    assert len(PUBLIC) <= 25


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_leads_to_something(name):
    value = getattr(curator, name)
    assert name == "__version__" or value.__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="'Pipelin'"):
        curator.Pipelin  # noqa: B018


def test_the_names_that_type_checkers_see_are_those_that_are_exported():
    import ast
    from pathlib import Path

    (block,) = [node for node in ast.parse(Path(curator.__file__).read_text()).body if isinstance(node, ast.If)]
    seen = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted([*seen, "__version__"]) == PUBLIC


def run_fresh(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_importing_curator_imports_no_heavy_library():
    heavy = "{'ray', 'numba', 'pyarrow', 'numpy', 'hydra', 'omegaconf', 'rich', 'fsspec'}"
    result = run_fresh(f"import sys, curator; curator.__version__; print(sorted({heavy} & set(sys.modules)))")
    assert result.stdout == "[]\n", result.stderr


def test_building_a_pipeline_for_ray_imports_no_ray_and_no_hydra():
    code = (
        "import sys; from curator import *\n"
        "Pipeline([Read('x'), ExactDeduplication(), Write('y')]); RayActorPoolExecutor(); RayDataExecutor()\n"
        "print(sorted({'ray', 'hydra', 'omegaconf', 'torch', 'pandas'} & set(sys.modules)))"
    )
    result = run_fresh(code)
    assert result.stdout == "[]\n", result.stderr
