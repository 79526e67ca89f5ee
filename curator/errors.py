"""The exceptions of curator, and the exit code that each one ends a command with.

::

    CuratorError                      1
      ConfigError(ValueError)         2   the configuration or the Python call is wrong
        InputError                    2   an input is missing, or is not what it claims to be
        OutputExistsError             2   the output is there already, or another run is writing it
      StageError(RuntimeError)        1   a stage failed on a task
        ConservationError             1   records in and records out do not add up
        InputChangedError             1   an input file changed while it was being read
      ExecutorError(RuntimeError)     1   the backend could not run the stages
        CommunicationError            1   a rank of a collective stage lost the others
      TooManyBadRecordsError          3   more records in quarantine than allowed
      StorageError(OSError)          74   the output or the scratch space cannot be written
      VerifyError                     1   an output does not hold what its manifest says

A message says where, what came, what is allowed and what to type, in that order.
"""

from __future__ import annotations

from collections.abc import Sequence


class CuratorError(Exception):
    """Root of everything that curator raises on purpose."""

    exit_code = 1


class ConfigError(CuratorError, ValueError):
    """The configuration, or a constructor's argument, is wrong.

    Args:
        problems: every mistake that was found, each a sentence of its own.

    Example:
        >>> print(ConfigError(["stages.exact.keep: 'frist' is not known."]))
        stages.exact.keep: 'frist' is not known.
    """

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type, tuple[list[str]]]:
        return type(self), (self.problems,)


class InputError(ConfigError):
    """An input is missing, unreadable, or not what its name claims."""


class OutputExistsError(ConfigError):
    """The output is there already, or another run is writing it."""


class StageError(CuratorError, RuntimeError):
    """A stage failed on a task.

    Args:
        message: what happened.
        stage: the name of the stage.
        task_id: the id of the task it was working on.
    """

    def __init__(self, message: str, *, stage: str = "", task_id: str = "") -> None:
        self.stage = stage
        self.task_id = task_id
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return _stage_error, (type(self), str(self), self.stage, self.task_id)


class ConservationError(StageError):
    """Records in are not records kept, removed and quarantined: nothing is published."""


class InputChangedError(StageError):
    """An input file changed between planning and reading it."""


class ExecutorError(CuratorError, RuntimeError):
    """The backend could not run the stages."""


class TwoPassesError(ExecutorError):
    """A run that was to read its input once has to read it twice: it is begun again, and nothing is lost."""


class CommunicationError(ExecutorError):
    """A rank of a collective stage lost another one, or waited for it longer than it may."""


class TooManyBadRecordsError(CuratorError):
    """More records are in quarantine than the configuration allows."""

    exit_code = 3


class StorageError(CuratorError, OSError):
    """The output or the scratch space cannot be written."""

    exit_code = 74


class VerifyError(CuratorError):
    """An output does not hold what its manifest says."""


def _stage_error(kind: type[StageError], message: str, stage: str, task_id: str) -> StageError:
    return kind(message, stage=stage, task_id=task_id)
