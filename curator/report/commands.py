"""Subcommands that look at an output and change nothing of it: ``verify``, ``show``, ``status`` and ``shards``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from curator.errors import CuratorError


def run_command(argv: Sequence[str]) -> int:
    """Run one subcommand.

    Args:
        argv: the subcommand and its arguments.

    Returns:
        The exit code.
    """
    end = argv.index("--") if "--" in argv and argv[0] == "shards" else len(argv)
    arguments = _parser().parse_args(argv[:end])
    arguments.words = list(argv[end + 1 :])
    try:
        return int(arguments.run(arguments))
    except CuratorError as error:
        print(f"curator {argv[0]}: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="curator", description="Look at an output of curator.")
    commands = parser.add_subparsers(required=True)
    verify = commands.add_parser("verify", help="count everything again and compare it with the manifest")
    verify.add_argument("output", type=Path, metavar="OUTPUT")
    verify.add_argument("--no-input", action="store_true", help="do not count the input files again")
    verify.set_defaults(run=_verify)
    show = commands.add_parser("show", help="what was removed, beside what it lost to")
    show.add_argument("output", type=Path, metavar="OUTPUT")
    show.add_argument(
        "--removed", type=_count_or_all, default=5, metavar="N", help="how many removed documents, or all (5)"
    )
    show.add_argument("--reason", help="only documents that were removed for this reason, such as near_duplicate")
    show.add_argument("--quarantined", type=_count, default=0, metavar="N", help="how many bad records (0)")
    show.add_argument("--id", help="only the document with this id, or those that lost to it")
    show.set_defaults(run=_show)
    status = commands.add_parser("status", help="the report of a finished run, or whether one is under way")
    status.add_argument("output", type=Path, metavar="OUTPUT")
    status.set_defaults(run=_status)
    shards = commands.add_parser("shards", help="which shards of a sharded output are missing, and how to run them")
    shards.add_argument("output", type=Path, metavar="OUTPUT")
    shards.add_argument("--submit", action="store_true", help="submit the missing ones")
    shards.epilog = "Behind --, the command that submitted all of them: curator shards OUTPUT --submit -- sbatch ..."
    shards.set_defaults(run=_shards)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 0")
    return int(text)


def _count_or_all(text: str) -> int | None:
    return None if text == "all" else _count(text)


def _verify(arguments: argparse.Namespace) -> int:
    from curator.runs.verify import verify_output

    found = verify_output(arguments.output, inputs=not arguments.no_input)
    for note in found.notes:
        print(f"note: {note}")
    for problem in found.problems:
        print(f"wrong: {problem}", file=sys.stderr)
    if found.problems:
        print(f"{len(found.problems)} difference(s): do not use this output.", file=sys.stderr)
        return 1
    counts = found.counts
    print(
        f"verified: {counts['read']:,} records read = {counts['kept']:,} kept + {counts['removed']:,} removed "
        f"+ {counts['quarantined']:,} quarantined"
    )
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from curator.report.show import show_output

    for line in show_output(
        arguments.output,
        removed=arguments.removed,
        quarantined=arguments.quarantined,
        only_id=arguments.id,
        reason=arguments.reason,
    ):
        print(line)
    return 0


def _shards(arguments: argparse.Namespace) -> int:
    import shlex
    import subprocess

    from curator.runs.shards import array_spec, count_in, find_shards, resubmission

    found = find_shards(arguments.output, count_in(arguments.words))
    for problem in found.problems:
        print(f"wrong: {problem}", file=sys.stderr)
    print(f"{found.count:,} shards: {len(found.done):,} done, {len(found.missing):,} missing")
    if not found.missing:
        return 1 if found.problems else 0
    print(f"missing: {array_spec(found.missing)}")
    if not arguments.words:
        print("To submit them, type the command that submitted all of them behind: curator shards OUTPUT --submit --")
        return 1
    command = resubmission(found, arguments.words)
    print(shlex.join(command), flush=True)
    if not arguments.submit or found.problems:
        return 1
    try:
        return subprocess.run(command, check=False).returncode  # noqa: S603 - it is what the user typed
    except FileNotFoundError:
        print(f"curator shards: there is no {command[0]} here; submit from a machine of the cluster.", file=sys.stderr)
        return 1


def _status(arguments: argparse.Namespace) -> int:
    from curator.report.status import status_output

    print(status_output(arguments.output))
    return 0
