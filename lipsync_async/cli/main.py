"""The command line: arguments in, exit status out."""

from __future__ import annotations

import argparse
import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from lipsync_async._enums import __version__
from lipsync_async._models.text import at_home, bare, ignored, unknown_home
from lipsync_async.cli.output import (
    EXIT_STATUSES,
    ExitStatus,
    error_lines,
    exit_status_of,
    logged_warnings,
    robust_streams,
    say,
)
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lipsync_async.cli.run import ManifestRun

T = TypeVar("T")

_EXPORTS = (".jsonl", ".csv")
_NO_LIMIT = "none"
# Those of `Limits`, and what they limit.
_LIMITS = {
    "creates_per_minute": "jobs created in any 60 seconds (default: 60); 'none': no limit",
    "requests_per_minute": "other requests in any 60 seconds (default: 600); 'none': no limit",
    "concurrent_generations": "jobs that run at once (default: as many as the account allows)",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    with robust_streams():
        typed = command_parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = typed.command
        with logged_warnings(typed.name):
            try:
                return command(typed)
            except KeyboardInterrupt:
                say(f"{typed.name}: stopped. {typed.left_behind}", is_error=True)
                return ExitStatus.INTERRUPTED
            except (LipsyncError, OSError) as error:
                for line in error_lines(error):
                    say(f"{typed.name}: {line}", is_error=True)
                return exit_status_of(error)


# What a command needs is loaded by the command: `--help` and a look into a journal need
# neither sockets nor media.


def _demo(typed: argparse.Namespace) -> int:
    from lipsync_async.cli.demo import run_bulk_demo, run_demo  # noqa: PLC0415 - see above
    from lipsync_async.cli.signals import run_interruptibly  # noqa: PLC0415 - see above

    _require_media()
    if typed.jobs is None:
        run_interruptibly(partial(run_demo, typed.output))
        return ExitStatus.SUCCESS
    return run_interruptibly(partial(run_bulk_demo, typed.output, typed.jobs))


def _run(typed: argparse.Namespace) -> int:
    from lipsync_async.cli.run import left_behind, run_manifest  # noqa: PLC0415 - see above
    from lipsync_async.cli.signals import run_interruptibly  # noqa: PLC0415 - see above

    if typed.sandbox:
        _require_media()
    run = manifest_run(typed)
    try:
        return run_interruptibly(partial(run_manifest, run))
    except KeyboardInterrupt:
        first, *lines = left_behind(run)
        for line in [f"run: stopped. {first}", *lines]:
            say(line, is_error=True)
        return ExitStatus.INTERRUPTED


def manifest_run(typed: argparse.Namespace) -> ManifestRun:
    """Return what the arguments of `run` ask for."""
    from lipsync_async.cli.run import OPTIONS, ManifestRun  # noqa: PLC0415 - see above

    given = vars(typed)
    return ManifestRun(
        manifest=typed.manifest,
        journal=typed.journal,
        download_to=typed.download_to,
        options={name: given[name] for name in OPTIONS},
        limits={name: given[name] for name in _LIMITS if name in given},
        timeout=typed.timeout,
        on_sandbox=typed.sandbox,
    )


def _journal(typed: argparse.Namespace) -> int:
    from lipsync_async.cli.journal import show_journal  # noqa: PLC0415 - see above

    show_journal(typed.journal, typed.export, only_failed=typed.failed)
    return ExitStatus.SUCCESS


def _require_media() -> None:
    """Raise an error that says what to install, if this machine cannot render."""
    from lipsync_async.sandbox.media.engines import (  # noqa: PLC0415 - see above
        INSTALL_HINT,
        engines,
        working_engines,
    )
    from lipsync_async.sandbox.media.errors import EngineError  # noqa: PLC0415 - see above

    if engines()["video"] == INSTALL_HINT:
        raise LipsyncError(f"the media engine is {INSTALL_HINT}")
    try:
        working_engines()
    except EngineError as error:
        raise LipsyncError(str(error)) from error


class Parser(argparse.ArgumentParser):
    """Argument parser whose errors are one line without control characters."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit."""
        self.print_usage(sys.stderr)
        say(f"{self.prog}: error: {message}", is_error=True)
        raise SystemExit(ExitStatus.USAGE)


def command_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments of all commands."""
    parser = Parser(
        prog="python -m lipsync_async",
        description="Run many lip-sync jobs at sync.so from a file, look into their journal, or "
        "see the whole way on this machine.",
        epilog="A sandbox to program against: python -m lipsync_async.sandbox --help",
    )
    parser.add_argument("--version", action="version", version=f"lipsync_async {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name")
    _add_demo(commands)
    _add_run(commands)
    _add_journal(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[Parser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="draw, request, wait for and download lip-synced videos, all on this machine",
        description="Draw a talking head, have it lip-synced by a sandbox that really renders, "
        "and leave the result in a folder. Nothing is paid, and nothing leaves this machine.",
    )
    demo.add_argument(
        "--output",
        type=_path,
        default=Path("demo-output"),
        metavar="FOLDER",
        help="where the files go (default: %(default)s)",
    )
    demo.add_argument(
        "--jobs",
        type=_whole,
        metavar="N",
        help="instead of one video, have N short ones made at once (200 take about half a "
        "minute), in a new folder inside of FOLDER",
    )
    demo.set_defaults(command=_demo, left_behind="The sandbox and its jobs have ended.")


def _add_run(commands: argparse._SubParsersAction[Parser]) -> None:
    run = commands.add_parser(
        "run",
        help="run all jobs of a manifest, as many at once as the account allows",
        description="Run all jobs of a manifest at sync.so, as many at once as the account\n"
        "allows. SYNC_API_KEY holds the key. The journal survives everything: after a\n"
        "crash or Ctrl-C, the same command goes on, and no job is created or downloaded\n"
        "twice.",
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument(
        "manifest",
        type=_path,
        metavar="MANIFEST",
        help="JSON lines (.jsonl) or a table (.csv), one job each; nothing is sent unless all "
        'of it is right. The guide "Manifests" lists the columns',
    )
    run.add_argument(
        "--journal",
        type=_path,
        required=True,
        metavar="FILE",
        help="the run's journal; it is made if it is not there",
    )
    run.add_argument(
        "--download-to",
        type=_path_text,
        metavar="DIR",
        help="folder for the results (without it, they stay at the service)",
    )
    for flag, words in {
        "--retry-failed": "create anew what has failed in earlier runs; it is paid for anew",
        "--match-query": "take a row for another job if any part of a media address has changed; "
        "without it, an address may have been signed anew",
        "--accept-new-key": "go on with a journal of another API key, which belongs to the same "
        "account",
        "--sandbox": "try it on a sandbox that really renders, without key or bill; its journal "
        "must be a new file",
    }.items():
        run.add_argument(flag, action="store_true", help=words)
    limits = run.add_argument_group("limits")
    for name, type_, metavar, words in (
        ("--max-jobs", _whole, "N", "create at most N jobs in this run"),
        (
            *("--max-cost", _amount, "USD"),
            "create jobs for at most so many US dollars (estimated) with this journal",
        ),
        (
            *("--duration", _amount, "SECONDS"),
            "length of the longest result, to estimate by; local files need it with --max-cost",
        ),
    ):
        limits.add_argument(name, type=type_, metavar=metavar, help=words)
    limits.add_argument(
        "--concurrent-downloads",
        type=_whole,
        default=4,
        metavar="N",
        help="results downloaded at once (default: %(default)s)",
    )
    # What is not given is left to the client: a sandbox has limits of its own.
    for name, words in _LIMITS.items():
        limits.add_argument(
            f"--{name.replace('_', '-')}",
            type=_or_none(_whole),
            default=argparse.SUPPRESS,
            metavar="N",
            help=words,
        )
    limits.add_argument(
        "--timeout",
        type=_or_none(_amount),
        default=60.0,
        metavar="SECONDS",
        help="for one try of one request (default: %(default)g); 'none': no limit",
    )
    run.set_defaults(command=_run, left_behind="Nothing was sent.")


def _add_journal(commands: argparse._SubParsersAction[Parser]) -> None:
    journal = commands.add_parser(
        "journal",
        help="show how far a run is, and what went wrong",
        description="Show what a journal knows of its jobs, also while they run. Nothing is "
        "sent, and the journal stays as it is.",
    )
    journal.add_argument("journal", type=_path, metavar="FILE", help="the journal of a run")
    journal.add_argument(
        "--export", type=_export, metavar="OUT", help="also write all of it to OUT.jsonl or OUT.csv"
    )
    journal.add_argument(
        "--failed",
        action="store_true",
        help="show only what has failed, and let --export write it as a manifest, with your own "
        "columns, ready to be run with a new journal",
    )
    journal.set_defaults(command=_journal, left_behind="The journal is as it was.")


def _path(text: str) -> Path:
    return Path(_path_text(text))


def _path_text(text: str) -> str:
    """Return a path as text, in which a slash at the end tells a folder."""
    found = at_home(text)
    if found is None:
        raise argparse.ArgumentTypeError(unknown_home(text))
    if not bare(found):
        raise argparse.ArgumentTypeError("use a path, not an empty one")
    # Names that exist are meant, such as those of folders with an emoji of several parts.
    folder, name = os.path.split(found.rstrip("/"))
    told = ignored(name if os.path.lexists(folder or ".") else found)
    if told is not None and not os.path.lexists(found):
        raise argparse.ArgumentTypeError(f"the path holds {told}; nothing of that name is there")
    return found


def _or_none(read: Callable[[str], T]) -> Callable[[str], T | None]:
    return lambda text: None if text.lower() == _NO_LIMIT else read(text)


def _whole(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"use a whole number above 0, not {text!r}")
    return number


def _amount(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"use an amount above 0, not {text!r}")
    return number


def _export(text: str) -> Path:
    path = _path(text)
    if path.suffix.lower() not in _EXPORTS:
        raise argparse.ArgumentTypeError(f"use a name that ends in .jsonl or .csv, not {text!r}")
    return path
