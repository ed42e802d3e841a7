"""The command line: arguments in, exit status out."""

from __future__ import annotations

import argparse
import math
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_async._words import __version__
from lipsync_async.cli.complaints import complaints
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# As shells have it: 128 and the number of the signal.
_INTERRUPTED = 130
_EXPORTS = (".jsonl", ".csv")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What was typed after the program's name; `None`: take it from there.

    Returns:
        The exit status: 0 if all went well, 1 after a line that says what did not, 130
        after Ctrl-C.

    """
    chosen = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = chosen.command
    try:
        return command(chosen)
    except KeyboardInterrupt:
        print(f"{chosen.name}: stopped. {chosen.left_behind}", file=sys.stderr)
        return _INTERRUPTED
    except (LipsyncError, OSError) as error:
        for line in complaints(error):
            print(f"{chosen.name}: {line}", file=sys.stderr)
        return 1


# What a command needs is loaded by the command: `--help` and a look into a journal need
# neither sockets nor media.


def _demo(chosen: argparse.Namespace) -> int:
    from lipsync_async.cli.demo import run_demo  # noqa: PLC0415 - see above
    from lipsync_async.cli.demo_many import run_many_demo  # noqa: PLC0415 - see above
    from lipsync_async.cli.interruption import run_interruptibly  # noqa: PLC0415 - see above

    if _lacks_media(chosen.name):
        return 1
    if chosen.jobs is None:
        run_interruptibly(partial(run_demo, chosen.output))
        return 0
    return int(not run_interruptibly(partial(run_many_demo, chosen.output, chosen.jobs)))


def _run(chosen: argparse.Namespace) -> int:
    from lipsync_async.cli.interruption import run_interruptibly  # noqa: PLC0415 - see above
    from lipsync_async.cli.run import Campaign, run_manifest  # noqa: PLC0415 - see above

    if chosen.sandbox and _lacks_media(chosen.name):
        return 1
    campaign = Campaign(
        manifest=chosen.manifest,
        journal=chosen.journal,
        folder=chosen.download_to,
        max_jobs=chosen.max_jobs,
        max_cost=chosen.max_cost,
        duration=chosen.duration,
        is_trial=chosen.sandbox,
    )
    return int(not run_interruptibly(partial(run_manifest, campaign)))


def _journal(chosen: argparse.Namespace) -> int:
    from lipsync_async.cli.journal import show_journal  # noqa: PLC0415 - see above

    show_journal(chosen.journal, chosen.export)
    return 0


def _lacks_media(name: str) -> bool:
    """Tell whether nothing can be rendered here, after saying so."""
    from lipsync_async.sandbox.media.engines import INSTALL_HINT, engines  # noqa: PLC0415

    is_missing = engines()["video"] == INSTALL_HINT
    if is_missing:
        print(f"{name}: the media engine is {INSTALL_HINT}", file=sys.stderr)
    return is_missing


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="draw, order, wait for and download lip-synced videos, all on this machine",
        description="Draw a talking head, have it lip-synced by a sandbox that really renders, "
        "and leave the result in a folder. Nothing is paid, and nothing leaves this machine.",
    )
    demo.add_argument(
        "--output",
        type=Path,
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


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="run all jobs of a manifest, as many at once as the account allows",
        description="Run all jobs of a manifest at sync.so, as many at once as the account "
        "allows. SYNC_API_KEY holds the key. The journal survives everything: after a crash or "
        "Ctrl-C, the same command goes on, and no job is ordered or fetched twice.",
        epilog="The exit status is 0 if every job has succeeded, and 1 otherwise.",
    )
    run.add_argument(
        "manifest",
        type=Path,
        metavar="MANIFEST",
        help="JSON lines (.jsonl) or a table (.csv), one job each; nothing is sent unless all "
        "of it is right. The README lists the columns",
    )
    run.add_argument(
        "--journal",
        type=Path,
        required=True,
        metavar="FILE",
        help="the run's journal; it is made if it is not there",
    )
    run.add_argument(
        "--download-to",
        type=Path,
        metavar="DIR",
        help="folder for the results (without it, they stay at the service)",
    )
    run.add_argument(
        "--max-jobs",
        type=_whole,
        metavar="N",
        help="order at most N jobs in this run",
    )
    run.add_argument(
        "--max-cost",
        type=_amount,
        metavar="USD",
        help="order jobs for at most so many US dollars in this run, as the service estimates",
    )
    run.add_argument(
        "--duration",
        type=_amount,
        metavar="SECONDS",
        help="length of the longest result, to estimate by; local files need it with --max-cost",
    )
    run.add_argument(
        "--sandbox",
        action="store_true",
        help="try it on a sandbox that really renders, without key or bill; its journal must be "
        "a new file",
    )
    run.set_defaults(
        command=_run,
        left_behind="To go on where this was, run it again with the same journal; jobs at the "
        "service go on meanwhile.",
    )


def _add_journal(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    journal = commands.add_parser(
        "journal",
        help="show how far a run is, and what went wrong",
        description="Show what a journal knows of its jobs, also while they run. Nothing is "
        "sent, and the journal stays as it is.",
    )
    journal.add_argument("journal", type=Path, metavar="FILE", help="the journal of a run")
    journal.add_argument(
        "--export",
        type=_export,
        metavar="OUT",
        help="also write all of it to OUT.jsonl or OUT.csv",
    )
    journal.set_defaults(command=_journal, left_behind="The journal is as it was.")


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
    path = Path(text)
    if path.suffix.lower() not in _EXPORTS:
        raise argparse.ArgumentTypeError(f"use a name that ends in .jsonl or .csv, not {text!r}")
    return path
