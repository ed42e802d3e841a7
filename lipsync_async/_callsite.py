"""What belongs to the caller: warnings show the user's line, log records come from its thread.

Each part has a logger of its own: `lipsync_async.http` (each try of each request), `.retry`
(retries, pauses, waiting for limits and slots), `.poll` (changes of jobs), `.bulk` (runs of
many requests) and `.journal`. A DEBUG record tells of one try, INFO of a retry or a pause,
WARNING of what may cost money. None holds the API key, a query or a body. With
`LIPSYNC_LOG=debug` (or `info`, `warning`, `error`) in the environment they go to stderr.

What a user's callbacks raise is known again, and what a call leaves behind is told.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
import warnings
from contextlib import suppress
from contextvars import ContextVar
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NamedTuple

from lipsync_async._models.text import on_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


# These have no handler of their own. A program that has set up no logging sees warnings on
# stderr, by Python's own `logging.lastResort`, and nothing else: they name jobs that are paid
# for. With a handler here, even one that does nothing, such a program would see none of them.
_PARENT_LOG = logging.getLogger("lipsync_async")
HTTP_LOG = logging.getLogger("lipsync_async.http")
RETRY_LOG = logging.getLogger("lipsync_async.retry")
POLL_LOG = logging.getLogger("lipsync_async.poll")
BULK_LOG = logging.getLogger("lipsync_async.bulk")
JOURNAL_LOG = logging.getLogger("lipsync_async.journal")

_LEVELS = ("debug", "info", "warning", "error")


class LogLine(NamedTuple):
    """Log record to be: it is made and handled in the caller's thread.

    A handler's lock may be held by the very caller who waits for the loop's thread.
    """

    logger: logging.Logger
    level: int
    message: str
    file: str
    line: int
    function: str

    def write(self) -> None:
        """Make the record and pass it to the handlers."""
        record = self.logger.makeRecord(
            self.logger.name,
            self.level,
            self.file,
            self.line,
            self.message,
            (),
            None,
            self.function,
        )
        # A filter of `lipsync_async` holds for its parts, too; `logging` asks each logger's own.
        if not _PARENT_LOG.disabled and _PARENT_LOG.filter(record):
            self.logger.handle(record)


class CallSite(NamedTuple):
    """Line of the user's code; a frame would keep all of its values alive."""

    filename: str
    line: int
    variables: dict[str, Any]

    @classmethod
    def of_caller(cls) -> CallSite:
        """Return the line that called the verb that called the portal's method.

        The verb itself may be called by no Python code at all.
        """
        verb = sys._getframe(2)  # noqa: SLF001 - the public ways build a list of all frames
        frame = verb.f_back or verb
        return cls(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)

    @classmethod
    def here(cls) -> CallSite:
        """Return the user's line: known already, or the nearest outside of this package."""
        known = CALL_SITE.get()
        if known is not None:
            return known
        frame = sys._getframe(1)  # noqa: SLF001 - the public ways build a list of all frames
        ours = {"lipsync_async", "contextlib"}
        while (
            frame.f_back is not None
            and frame.f_globals.get("__name__", "").partition(".")[0] in ours
        ):
            frame = frame.f_back
        return cls(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)


# Both are set where a blocking call hands the work to an event loop in another thread, the
# place also where a run of many requests hands it to a task: there, the stack below the
# running code leads to the loop, not to the user.
CALL_SITE: ContextVar[CallSite | None] = ContextVar("CALL_SITE", default=None)
LOG_SINK: ContextVar[Callable[[LogLine], None] | None] = ContextVar("LOG_SINK", default=None)


def warn(message: str, category: type[Warning], *, stacklevel: int) -> None:
    """Warn at the user's line."""
    place = CALL_SITE.get()
    if place is None:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
        return
    warnings.warn_explicit(
        message,
        category,
        filename=place.filename,
        lineno=place.line,
        module=place.variables.get("__name__", "<unknown>"),
        registry=place.variables.setdefault("__warningregistry__", {}),
    )


_RAISED_BY_A_CALLBACK = "_lipsync_raised_by_a_callback"


async def call_back(callback: Callable[..., object], *arguments: object) -> None:
    """Call a user's callback, and await what it returns if need be."""
    try:
        told = callback(*arguments)
        if isawaitable(told):
            await told
    # They would end an iteration without an error, or become one that does not say whose it is.
    except (StopIteration, StopAsyncIteration) as error:
        unfit = RuntimeError(f"a callback raised {type(error).__name__}")
        mark_as_callers(unfit)
        raise unfit from error
    except Exception as error:
        mark_as_callers(error)
        raise


def mark_as_callers(error: BaseException) -> None:
    """Mark an exception as raised by the user's code, for `is_from_callback`."""
    # Past a `__setattr__` of its own: an exception may be frozen.
    object.__setattr__(error, _RAISED_BY_A_CALLBACK, True)


def is_from_callback(error: BaseException) -> bool:
    """Return whether the user's own code, such as a callback, has raised an exception."""
    return _RAISED_BY_A_CALLBACK in vars(error)


def notes_of(error: BaseException) -> list[str]:
    """Return an exception's notes, if they are what notes are; any class may define them."""
    notes = getattr(error, "__notes__", None)
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def note_left(error: BaseException, message: str) -> None:
    """Note on an exception what a call leaves behind, once."""
    message = on_one_line(message)
    with suppress(Exception):  # an exception may be frozen, or have notes of its own kind
        if message not in notes_of(error):
            error.add_note(message)


def tell_left(
    error: BaseException | None, *messages: str, logger: logging.Logger = HTTP_LOG
) -> None:
    """Note what a call leaves behind on the exception that ends it, and log it.

    What is noted on the exception already has been logged as well, by a call inside.
    """
    noted = [] if error is None else notes_of(error)
    for message in map(on_one_line, messages):
        if message not in noted:
            if error is not None:
                note_left(error, message)
            log(logger, logging.WARNING, message, stacklevel=2)


# For each call under way, what describes what it would leave behind. The program's end tells it,
# if the call's end does not come before and remove it: a loop may be closed, or its thread be left,
# in the middle of a call. Then nothing of the call runs any more, for anyio holds on to such tasks.
UNDER_WAY: dict[object, Callable[[], list[str]]] = {}


def tell_under_way() -> None:
    """Log what the calls under way leave behind, at the program's end."""
    while UNDER_WAY:
        _, left = UNDER_WAY.popitem()
        tell_left(None, *left())


atexit.register(tell_under_way)
_register_at_fork = getattr(os, "register_at_fork", dict)  # not every platform forks
_register_at_fork(after_in_child=UNDER_WAY.clear)  # they go on in the parent


# Queries of addresses and paths are not logged: those of links are signatures.
_QUERY = re.compile(r"((?:https?:/)?/[^\s?]*)\?\S*?(?=[:,.;)'\"]*(?:\s|$))")


def log(logger: logging.Logger, level: int, message: str, *, stacklevel: int = 1) -> None:
    """Log a line in the caller's thread; a filter that raises must not end what is paid for."""
    if not logger.isEnabledFor(level):
        return
    frame = sys._getframe(stacklevel)  # noqa: SLF001 - `logging` does the same
    code = frame.f_code
    text = _QUERY.sub(r"\1", on_one_line(message))
    line = LogLine(logger, level, text, code.co_filename, frame.f_lineno, code.co_name)
    sink = LOG_SINK.get()
    if sink is None:
        with suppress(Exception):
            line.write()
    else:
        sink(line)


def set_up_logging(environ: Mapping[str, str] = os.environ) -> logging.Handler | None:
    """Send log records to stderr if `LIPSYNC_LOG` names a level; return the handler.

    A program that has set up logging gets them by its own handlers only.
    """
    name = environ.get("LIPSYNC_LOG", "").strip().lower()
    if not name:
        return None
    if name not in _LEVELS:
        known = ", ".join(_LEVELS)
        warnings.warn(f"LIPSYNC_LOG={name!r} is ignored: use one of {known}.", stacklevel=2)
        return None
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(lambda _: not logging.getLogger().handlers)
    _PARENT_LOG.addHandler(handler)
    _PARENT_LOG.setLevel(name.upper())
    return handler


set_up_logging()
