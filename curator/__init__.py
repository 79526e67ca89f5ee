"""curator: declarative data curation for language-model training data.

Everything public is here; whatever lies deeper may move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.exports import imported_on_use

__version__ = "0.1.0"

_HOMES = {
    "ConfigError": "curator.errors",
    "CuratorError": "curator.errors",
    "InputError": "curator.errors",
    "StageError": "curator.errors",
    "StorageError": "curator.errors",
    "VerifyError": "curator.errors",
    "DocumentBatch": "curator.tasks",
    "Task": "curator.tasks",
    "NodeInfo": "curator.stages.base",
    "ProcessingStage": "curator.stages.base",
    "WorkerMetadata": "curator.stages.base",
    "Resources": "curator.stages.resources",
    "ExactDeduplication": "curator.stages.dedup.exact",
    "FuzzyDeduplication": "curator.stages.dedup.fuzzy",
    "Read": "curator.stages.io.read",
    "Write": "curator.stages.io.write",
    "Pipeline": "curator.pipeline",
    "BaseExecutor": "curator.executors.base",
    "LocalExecutor": "curator.executors.local",
    "RayActorPoolExecutor": "curator.executors.ray_actor_pool",
    "RayDataExecutor": "curator.executors.ray_data",
    "RunResult": "curator.runs.result",
    "merge_executor_configs": "curator.stages.runtime_env",
    "verify_output": "curator.runs.verify",
}

__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from curator.errors import ConfigError, CuratorError, InputError, StageError, StorageError, VerifyError
    from curator.executors.base import BaseExecutor
    from curator.executors.local import LocalExecutor
    from curator.executors.ray_actor_pool import RayActorPoolExecutor
    from curator.executors.ray_data import RayDataExecutor
    from curator.pipeline import Pipeline
    from curator.runs.result import RunResult
    from curator.runs.verify import verify_output
    from curator.stages.base import NodeInfo, ProcessingStage, WorkerMetadata
    from curator.stages.dedup.exact import ExactDeduplication
    from curator.stages.dedup.fuzzy import FuzzyDeduplication
    from curator.stages.io.read import Read
    from curator.stages.io.write import Write
    from curator.stages.resources import Resources
    from curator.stages.runtime_env import merge_executor_configs
    from curator.tasks import DocumentBatch, Task

__getattr__ = imported_on_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
