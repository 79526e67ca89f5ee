"""The command: ``python -m curator``, also installed as ``curator``.

Settings in, exit code out: compose, build, then plan or run, and report. Subcommands that look at an output come first
and know no settings. Nothing heavy is imported before it is needed, and a mistake of the user is one message on stderr,
never a traceback.

Exit codes: those of ``curator.errors``; 1 for a failure that nobody foresaw; those of ``curator.stopping`` after a
signal.
"""

from __future__ import annotations

import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from curator.errors import CuratorError
from curator.stopping import hold_stops, stop_code, stop_message, stop_signals

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from curator.config.build import Run
    from curator.config.compose import Composition, JobConfig

SUBCOMMANDS = ("replicas", "shards", "show", "status", "verify")
FULL_ERRORS = "HYDRA_FULL_ERROR"


def main() -> int:
    """Run the command that ``sys.argv`` says.

    Returns:
        The exit code.
    """
    try:
        with stop_signals():
            code = _command(sys.argv[1:])
            hold_stops()
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        _say(stop_message())
        return stop_code()
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
    if words[:1] == ["replicas"]:
        from curator.config.replica_commands import run_replicas

        return run_replicas(words[1:])
    if words and words[0] in SUBCOMMANDS:
        from curator.report.commands import run_command

        return run_command(words)
    if words == ["--version"]:
        from curator import __version__

        print(f"curator {__version__}")
        return 0
    from curator.config.command_line import parse_words

    arguments = parse_words(words, SUBCOMMANDS)
    if arguments.help or arguments.hydra_help or arguments.shell_completion:
        from curator.config.launch import answer

        return answer(arguments)
    return _compose(arguments)


def _compose(arguments: Namespace) -> int:
    from curator.config.compose import CONFIG_NAME, compose, is_sweep
    from curator.config.launch import answer, print_config
    from curator.logs import configure_logs

    with compose(
        arguments.overrides,
        config_dir=arguments.config_dir,
        config_path=arguments.config_path,
        config_name=arguments.config_name or CONFIG_NAME,
        multirun=arguments.multirun,
        trust=arguments.trust,
    ) as composition:
        if arguments.cfg:
            return print_config(composition, arguments)
        if not arguments.info:
            configure_logs(None)
            return _sweep(composition) if is_sweep(composition.config) else _once(composition)
    return answer(arguments)


def _once(composition: Composition) -> int:
    """Hydra makes the run directory before the job can object: mistakes are found, and plans printed, before that."""
    from curator.config.compose import read_composed_job
    from curator.config.launch import run_once

    run = _build(read_composed_job(composition.config), composition.trusted)
    if run.settings.mode != "run":
        return _show(run)
    return run_once(composition, lambda _, run_directory: _survive(_runner(run, run_directory), run_directory)[0])


def _sweep(composition: Composition) -> int:
    from functools import partial

    from curator import __version__
    from curator.config.sweep import run_sweep, show_sweep

    if composition.config.get("mode") != "run":
        comparison = show_sweep(composition, _show, version=__version__)
    else:
        job = partial(_run_point, trusted=composition.trusted)
        comparison = run_sweep(composition, job, refuse=_refuse, version=__version__)
        _print(
            f"{comparison.table()}\n\ncomparison  {composition.config.hydra.sweep.dir}/comparison.csv, comparison.json"
        )
    failures = comparison.failures()
    if failures:
        _say("\n".join([f"{len(failures)} of {len(comparison.points)} points failed:", *failures]))
    return next((point.exit_code for point in comparison.points if point.exit_code), 0)


def _run_point(config: DictConfig, run_directory: Path, trusted: tuple[str, ...]) -> int:
    from curator.config.points import SHARED, write_outcome

    def run() -> int:
        job = _read(config, run_directory)
        run = _build(job, trusted)
        if job.plain.get("shared_work") != "off":
            run.executor.shared_path = run_directory.parent / SHARED
        return _runner(run, run_directory)()

    # A launcher may have brought the point to a process of its own.
    with stop_signals():
        try:
            code, reason = _survive(run, run_directory)
        except KeyboardInterrupt:
            write_outcome(run_directory, stop_code(), stop_message())
            raise
        write_outcome(run_directory, code, reason)
        return code


def _refuse(error: CuratorError, run_directory: Path) -> None:
    def fail() -> int:
        raise error

    _survive(fail, run_directory)


def _read(config: DictConfig, run_directory: Path) -> JobConfig:
    from curator.config.compose import read_job

    return read_job(config, run_directory)


def _build(job: JobConfig, trusted: tuple[str, ...]) -> Run:
    from curator.config.build import build_run

    return build_run(job.plain, job.layers, trusted)


def _show(run: Run) -> int:
    """Print what would be done, or where its settings come from; refuse what could not run."""
    run.warn()
    if run.settings.mode == "explain":
        from curator.config.explain import explain

        _print(explain(run))
    else:
        from curator.config.planning import describe_plan

        _print(describe_plan(run))
    return 0


def _runner(run: Run, run_directory: Path) -> Callable[[], int]:
    def job() -> int:
        run.warn()
        result = run.run(run_directory)
        _print(result.table())
        return result.exit_code

    return job


def _survive(job: Callable[[], int], run_directory: Path) -> tuple[int, str]:
    """Run a job so that the other points of a sweep survive it; failures are logged with their traceback.

    Returns:
        The exit code, and why it is not 0.
    """
    from loguru import logger

    from curator.logs import configure_logs

    configure_logs(run_directory)
    try:
        return job(), ""
    except CuratorError as error:
        logger.opt(exception=error).error("{}", error)
        return error.exit_code, str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the user gets a message and the log a traceback
        where = f"The traceback is in {run_directory}/curator.jsonl."
        logger.opt(exception=error).error("{}: {}\n{}", type(error).__name__, error, where)
        return 1, f"{type(error).__name__}: {error}"
    finally:
        # What Hydra says between two points belongs to neither of their logs.
        configure_logs(None)


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
