"""A pipeline: an ordered list of stages, and nothing that runs until an executor is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from curator.errors import ConfigError
from curator.pipeline.plan import Plan, plan_run
from curator.pipeline.segments import Step, build_steps
from curator.stages.base import ProcessingStage

Result_co = TypeVar("Result_co", covariant=True)


class _Executor(Protocol[Result_co]):
    @property
    def one_pass_bytes(self) -> int: ...

    def describe(self) -> str: ...

    def run(self, pipeline: Pipeline, *, run_directory: Path | None, show_progress: bool | None) -> Result_co: ...


class Pipeline:
    """An ordered list of stages.

    Args:
        stages: at least one; names must differ.
        name: what the run calls itself in logs and reports.

    Raises:
        ConfigError: the stages cannot be run in this order.

    Example:
        >>> from curator import ExactDeduplication, Read, Write
        >>> Pipeline([Read("corpus/"), ExactDeduplication(), Write("clean")])
        Pipeline(read, exact, write)
    """

    def __init__(self, stages: Sequence[ProcessingStage], *, name: str = "curator") -> None:
        self.stages = list(stages)
        self.name = name
        if not self.stages:
            raise ConfigError("stages: there are none. Choose some, for example 'stages=[read,exact,write]'.")
        build_steps(self.stages)

    def steps(self) -> list[Step]:
        """Segments and barriers, in running order."""
        return build_steps(self.stages)

    def plan(self, executor: _Executor[object] | None = None) -> Plan:
        """What a run would do; lists the input, and has no effect anywhere.

        Raises:
            ConfigError: the run could not start.
        """
        if executor is None:
            return plan_run(self.stages)
        return plan_run(self.stages, executor=executor.describe(), one_pass_bytes=executor.one_pass_bytes)

    def run(
        self,
        executor: _Executor[Result_co],
        *,
        run_directory: Path | None = None,
        show_progress: bool | None = None,
    ) -> Result_co:
        """Run on an executor, publish the output, and say what became of every record.

        Args:
            executor: who runs it.
            run_directory: where logs and an embedded input go; ``None`` is a folder beside the output.
            show_progress: ``None`` shows it on a terminal only.

        Raises:
            CuratorError: the run could not be finished; nothing was published then.
        """
        return executor.run(self, run_directory=run_directory, show_progress=show_progress)

    def __repr__(self) -> str:
        return f"Pipeline({', '.join(stage.name for stage in self.stages)})"
