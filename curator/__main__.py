"""The command: ``python -m curator``, also installed as ``curator``.

Settings in, exit code out: compose, build, then plan or run, and report. Subcommands that look at an output come first
and know no settings. Nothing heavy is imported before it is needed, and a mistake of the user is one message on stderr,
never a traceback.

Exit codes: those of ``curator.errors``; 1 for a failure that nobody foresaw; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from curator.errors import CuratorError

if TYPE_CHECKING:
    from omegaconf import DictConfig

SUBCOMMANDS = ("show", "status", "verify")
INTERRUPTED = 130
FULL_ERRORS = "HYDRA_FULL_ERROR"


def main() -> int:
    """Run the command that ``sys.argv`` says.

    Returns:
        The exit code.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        code = _command(sys.argv[1:])
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say("Stopped.")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except CuratorError as error:
        _say(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last place that can turn a traceback into a message
        _say(f"{type(error).__name__}: {error}\n{FULL_ERRORS}=1 shows where this comes from.")
        return 1


def _command(words: list[str]) -> int:
    if words and words[0] in SUBCOMMANDS:
        from curator.report.commands import run_command

        return run_command(words)
    if words == ["--version"]:
        from curator import __version__

        print(f"curator {__version__}")
        return 0
    from curator.config.command_line import parse_words, to_words
    from curator.config.launch import launch

    arguments = parse_words(words, SUBCOMMANDS)
    if arguments.help or arguments.hydra_help or arguments.shell_completion:
        return launch(to_words(arguments), _run)
    return _compose(arguments)


def _compose(arguments: Namespace) -> int:
    from curator.config.build import build_pipeline
    from curator.config.command_line import to_words
    from curator.config.compose import CONFIG_NAME, compose_config, is_sweep, read_composed
    from curator.config.launch import launch
    from curator.logs import configure_logs

    config = compose_config(
        arguments.overrides,
        config_dir=arguments.config_dir,
        config_path=arguments.config_path,
        config_name=arguments.config_name or CONFIG_NAME,
        multirun=arguments.multirun,
    )
    words = to_words(arguments)
    if arguments.cfg or arguments.info:
        return launch(words, _run)
    if is_sweep(config):
        configure_logs(None)
        if config.get("mode") == "plan":
            return _plan_sweep(words, Path(config.hydra.sweep.dir).absolute())
        return launch(words, _run)
    # Hydra makes the run directory before the job can object: mistakes are found, and plans printed, before that.
    settings = read_composed(config)
    pipeline, executor = build_pipeline(settings)
    if settings.get("mode") == "plan":
        _print(str(pipeline.plan(executor)))
        return 0
    return launch(words, _run)


def _plan_sweep(words: list[str], sweep_directory: Path) -> int:
    from curator.config.build import build_pipeline
    from curator.config.compose import read_job
    from curator.config.launch import launch, sweep_without_traces

    with sweep_without_traces(words) as (other_words, temporary):

        def plan(config: DictConfig, run_directory: Path) -> int:
            def print_plan() -> int:
                intended = sweep_directory / run_directory.relative_to(temporary)
                pipeline, executor = build_pipeline(read_job(config, intended))
                _print(str(pipeline.plan(executor)))
                return 0

            return _survive(print_plan, None)

        return launch(other_words, plan)


def _run(config: DictConfig, run_directory: Path) -> int:
    from curator.config.build import build_pipeline
    from curator.config.read import read_config

    def run() -> int:
        pipeline, executor = build_pipeline(read_config(config))
        result = pipeline.run(executor, run_directory=run_directory)
        _print(result.table())
        return result.exit_code

    return _survive(run, run_directory)


def _survive(job: Callable[[], int], run_directory: Path | None) -> int:
    """Run a job so that the other points of a sweep survive it; failures are logged with their traceback."""
    from loguru import logger

    from curator.logs import configure_logs

    configure_logs(run_directory)
    try:
        return job()
    except CuratorError as error:
        logger.opt(exception=error).error("{}", error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - whatever it is, the user gets a message and the log a traceback
        where = "" if run_directory is None else f"\nThe traceback is in {run_directory}/curator.jsonl."
        logger.opt(exception=error).error("{}: {}{}", type(error).__name__, error, where)
        return 1
    finally:
        # What Hydra says between two points belongs to neither of their logs.
        configure_logs(None)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # The second Ctrl-C finds no Python to wait for: it ends the process wherever that is.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def _print(text: str) -> None:
    # A reader that has gone is no reason to call a run that is done a failure.
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _forget_stdout()


def _say(message: str) -> None:
    from curator.logs import escape, redact

    if os.environ.get(FULL_ERRORS) == "1":
        traceback.print_exc()
    sys.stderr.write(f"{escape(redact(message))}\n")


def _forget_stdout() -> None:
    # Python flushes stdout once more when it ends, and would complain again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
