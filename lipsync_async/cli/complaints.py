"""How commands end: what went wrong, in lines, and the exit status."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING

from lipsync_async.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    JournalError,
    PaymentRequiredError,
    SpendingLimitError,
    told_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# How the library names a place in the input.
_PLACE = re.compile(r"\brequests\[(\d+)\]|\b[Rr]equest (\d+)\b")
_MISSING_FILE = re.compile(r"line \d+: \S+: cannot be read \(")


class Ending(IntEnum):
    """Name the exit statuses.

    SUCCESS: all is done. FAILURE: some jobs have failed, or files of the manifest cannot be
    read. USAGE: the arguments, the manifest or the journal are wrong. STOPPED: money, the key,
    or a refusal that meets every job has ended the run. UNKNOWN: of an order it is not known
    whether it was accepted. INTERRUPTED: Ctrl-C; as shells have it, 128 and the number of the
    signal.
    """

    SUCCESS = 0
    FAILURE = 1
    USAGE = 2
    STOPPED = 3
    UNKNOWN = 4
    INTERRUPTED = 130


EXIT_STATUSES = """\
exit status:
  0    all jobs are completed
  1    some jobs failed, or files that the manifest names cannot be read
  2    wrong usage: the arguments, the manifest or the journal
  3    stopped by money, by the key, or by a refusal that meets every job
  4    something is left of which it is not known whether it was accepted
  130  stopped by Ctrl-C
"""


def complaints(error: BaseException, name_of: Callable[[int], str] | None = None) -> list[str]:
    """Return an error's message as lines: one, or one for each problem of a request.

    Args:
        error: What went wrong.
        name_of: Names a place in the input as its author does.

    """
    lines = told_of(error.problems) if isinstance(error, InvalidRequestError) else [str(error)]
    return [named(" ".join(line.split()), name_of) for line in lines]


def named(line: str, name_of: Callable[[int], str] | None) -> str:
    """Return a line in which places of the input have their author's names."""
    if name_of is None:
        return line

    def name(found: re.Match[str]) -> str:
        try:
            return name_of(int(found[1] or found[2]))
        except IndexError:  # the journal reaches farther than the input
            return found[0]

    return _PLACE.sub(name, line)


def ending_of(error: BaseException) -> Ending:
    """Return the exit status of a command that an error has ended before anything was begun."""
    if isinstance(error, AuthenticationError | PaymentRequiredError | SpendingLimitError):
        return Ending.STOPPED
    if isinstance(error, InvalidRequestError) and all(map(_MISSING_FILE.match, error.problems)):
        return Ending.FAILURE
    is_usage = isinstance(error, InvalidRequestError | ConfigurationError | JournalError)
    return Ending.USAGE if is_usage else Ending.FAILURE
