"""The gate for Hydra's own part of a config: its launcher, sweeper, callbacks and loggers are objects, too.

A composed config flows in, problems flow out. Refused are classes outside Hydra and the trusted packages, factories of
loggers, ``ext://`` names other than the two output streams, log files outside the run directory, variables of the job
that load code, and mappings that are only there once an interpolation is resolved, because those would pass unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from curator.config.environment import loads_code
from curator.config.targets import HYDRA_PACKAGES, TRUSTED_PACKAGES, check_targets

SAMPLERS = "optuna.samplers."
"""What the sweeper of optuna names besides itself; they draw numbers and touch nothing."""

BUILT = ("callbacks", "launcher", "sweeper")
LOGGING = ("hydra_logging", "job_logging")
LOG_CLASSES = ("logging.FileHandler", "logging.Formatter", "logging.NullHandler", "logging.StreamHandler")
STREAMS = ("ext://sys.stderr", "ext://sys.stdout")
RUN_DIRECTORY = "${hydra.runtime.output_dir}/"
KNOWN_INTERPOLATIONS = ("${hydra.sweep.dir}", "${hydra.job.", "${hydra:job.", "${now:", RUN_DIRECTORY)


def check_hydra_part(config: DictConfig, trusted: Sequence[str] = TRUSTED_PACKAGES) -> list[str]:
    """Check Hydra's part of a composed config.

    Args:
        config: the whole config; nothing in it is resolved.
        trusted: prefixes of trusted names; Hydra's own packages are added.

    Returns:
        The problems.

    Example:
        >>> check_hydra_part(DictConfig({"hydra": {"job_logging": {"handlers": {"x": {"()": "os.system"}}}}}))
        ['hydra.job_logging.handlers.x.(): a factory of loggers is a program, and is not allowed.']
    """
    section: dict[str, Any] = OmegaConf.to_container(config.hydra)  # type: ignore[assignment]
    problems = check_targets({"hydra": section}, lambda _path: object, (*trusted, *HYDRA_PACKAGES, SAMPLERS))
    for name in (*BUILT, *LOGGING):
        if name in section:
            problems += _check_interpolations(section[name], f"hydra.{name}", logs=name in LOGGING)
    for name in LOGGING:
        problems += _check_logging(section.get(name), f"hydra.{name}")
    problems += _check_env_set((section.get("job") or {}).get("env_set"), "hydra.job.env_set")
    return [*problems, *_check_launcher(section.get("launcher"), "hydra.launcher")]


def _check_env_set(variables: object, path: str) -> Iterator[str]:
    """Variables of the job itself; a session of our own, and its workers, inherit them."""
    if isinstance(variables, str):
        yield f"{path}: {variables!r}: what it stands for would pass unseen. Write it out."
    elif isinstance(variables, Mapping):
        for name in variables:
            if loads_code(str(name)):
                yield f"{path}.{name}: decides which code is run. Set it in the shell where you type the command."


def _check_launcher(value: object, path: str) -> Iterator[str]:
    """Refuse what a launcher would copy into a shell script: commands, and text that begins a line of its own."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            where = f"{path}.{key}"
            if key == "setup" and item:
                yield f"{where}={item!r}: commands for a shell are not allowed. Put them into a script of your own."
            elif not str(key).isprintable():
                yield f"{path}: {key!r} is no name of an option: it has a character that cannot be printed."
            else:
                yield from _check_launcher(item, where)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check_launcher(item, f"{path}.{index}")
    elif isinstance(value, str) and not value.isprintable():
        yield f"{path}={value!r}: has a character that cannot be printed; in a job script it would begin a command."


def _check_interpolations(value: object, path: str, *, logs: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _check_interpolations(item, f"{path}.{key}", logs=logs)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check_interpolations(item, f"{path}.{index}", logs=logs)
    elif isinstance(value, str) and "${" in value:
        # Text in front makes a string of whatever is resolved; alone, an interpolation can stand for a mapping. In
        # logging even strings are commands.
        known = not value.startswith("${") or value.startswith(KNOWN_INTERPOLATIONS)
        if not known or (logs and not value.startswith(RUN_DIRECTORY)):
            yield f"{path}: {value!r}: what it stands for would pass unseen. Write it out."


def _check_logging(value: object, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _check_log_key(str(key), item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check_logging(item, f"{path}.{index}")
    elif isinstance(value, str) and "://" in value and value not in STREAMS:
        yield f"{path}: {value!r} is not allowed. Choose from: {', '.join(STREAMS)}."


def _check_log_key(key: str, item: object, path: str) -> Iterator[str]:
    if key in ("()", "factory"):
        yield f"{path}: a factory of loggers is a program, and is not allowed."
    elif key == "class" and item not in LOG_CLASSES:
        yield f"{path}: {item!r} is not allowed. Choose from: {', '.join(LOG_CLASSES)}."
    elif key == "filename" and not (isinstance(item, str) and item.startswith(RUN_DIRECTORY) and ".." not in item):
        yield f"{path}: {item!r}: a log file lies in the run's directory: {RUN_DIRECTORY}..."
    else:
        yield from _check_logging(item, path)
