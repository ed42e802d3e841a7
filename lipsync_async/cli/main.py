"""The command line: arguments in, exit status out."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lipsync_async.cli.commands import command_parser
from lipsync_async.cli.output import (
    STANDARD,
    ExitStatus,
    Logged,
    error_lines,
    exit_status_of,
    in_arguments,
    json_only,
    logged_warnings,
    lost_output,
    robust_streams,
    say,
    untold,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_COMPLETING = "_ARGCOMPLETE"  # set by a shell that asks for completions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    if _COMPLETING in os.environ:
        return _complete()
    words = sys.argv[1:] if arguments is None else arguments
    with robust_streams():
        parser = command_parser(words)
        typed = parser.parse_args(words)
        if problem := _contradiction(typed):
            parser.error(f"{typed.command}: {problem}")
        with json_only() if typed.json else nullcontext(), logged_warnings(typed) as logged:
            status = _status_of(typed, logged)
            if lost := lost_output():
                say(f"{typed.command}: {lost}", is_error=True)
            return (status or ExitStatus.FAILURE) if lost else status


def _contradiction(typed: argparse.Namespace) -> str | None:
    """Return what is wrong with arguments together, in words."""
    if typed.command == "run" and typed.journal is None and not typed.dry_run:
        return "give --journal FILE, which a run goes on from, or --dry-run"
    if getattr(typed, "output", None) == STANDARD:
        if typed.json:
            return "--json and --output - both write to standard output"
        if sys.stdout.isatty():
            return "--output - needs a standard output that is a file or a program, no terminal"
    return None


def _status_of(typed: argparse.Namespace, logged: Logged) -> int:
    """Run a command to its end, tell what has ended it otherwise, and return the exit status."""
    typed.may_cost = False
    try:
        return _result_of(typed)
    except KeyboardInterrupt:
        left = typed.left_behind
        told = left() if callable(left) else left
        first, *lines = told.splitlines()
        # The demo's service has ended, with its jobs.
        lines += [] if typed.command == "demo" else untold(logged.held, told)
        for line in (f"{typed.command}: stopped. {first}", *lines):
            say(line, is_error=True)
        return ExitStatus.INTERRUPTED
    except Exception as error:
        # Here and not above: `--help` needs none.
        from lipsync_async._callsite import notes_of  # noqa: PLC0415
        from lipsync_async.errors import LipsyncError  # noqa: PLC0415

        if not isinstance(error, LipsyncError | OSError):
            raise
        lines = [*error_lines(error, getattr(typed, "place", None)), *notes_of(error)]
        for line in lines:
            if (told := in_arguments(line, typed)) not in logged.told:
                say(f"{typed.command}: {told}", is_error=True)
        return exit_status_of(error, may_cost=typed.may_cost)


def _result_of(typed: argparse.Namespace) -> int:
    """Load what a command needs, and run it: `--help` needs neither sockets nor media."""
    from inspect import iscoroutinefunction  # noqa: PLC0415 - see above

    module, _, name = typed.function.partition(":")
    function: Any = getattr(import_module(f"lipsync_async.cli.{module}"), name)
    if not iscoroutinefunction(function):
        return int(function(typed))
    from lipsync_async.cli.signals import run_interruptibly  # noqa: PLC0415 - see above

    return int(run_interruptibly(partial(function, typed)))


def _complete() -> int:
    """Answer a shell that completes what is typed; only argcomplete's protocol is spoken."""
    try:
        import argcomplete  # noqa: PLC0415 - an optional extra
    except ImportError:
        return ExitStatus.FAILURE
    # Other commands' arguments need not be built: it is done anew for each key.
    parser = command_parser(os.environ.get("COMP_LINE", "").split())
    argcomplete.autocomplete(parser, exit_method=sys.exit)
    return ExitStatus.SUCCESS  # pragma: no cover - it exits before
