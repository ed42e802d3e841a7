"""What commands write: lines, numbers, errors and the exit status.

Output may go to a terminal, into a file of an old encoding, into a closed pipe, or nowhere at
all. None of that ends what is paid for: what cannot be written is escaped or dropped. Nothing
that the service, a journal or a file name holds moves the cursor of a terminal.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import sys
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TextIO, cast

from lipsync_async._models.text import for_screens
from lipsync_async.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    JournalError,
    LipsyncError,
    PaymentRequiredError,
    SpendingLimitError,
    first_problems,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_STANDARD_FILES = (0, 1, 2)
_MINUTE, _HOUR = 60, 3600
_KILO, _MEGA, _GIGA = 1e3, 1e6, 1e9
_MAX_NAMES = 10  # of places in one line
_MAX_SECONDS = 100.0  # longer times are written in minutes
# How the library names a place in the input.
_PLACE = re.compile(r"\b(?:requests\[(\d+)\](\.?)|[Rr]equest (\d+)\b)")
# What a path is that cannot be written.
_REASONS = {
    errno.EEXIST: "is a file, not a folder",
    errno.ENOTDIR: "would be inside a file, not a folder",
    errno.EISDIR: "is a folder, not a file",
    errno.ENOENT: "is in a folder that is not there",
    errno.EACCES: "may not be written by this user",
    errno.EPERM: "may not be written by this user",
    errno.EROFS: "is on a read-only disk",
    errno.ENOSPC: "does not fit on the disk",
}
# How the library names what a command calls otherwise.
_FIELD = re.compile(r"\binput\[(\d+)\](?:\.\w+)*|\b(?:options|dub_params)\.(\w+)")
_IN_ARGUMENTS = (
    (re.compile(r"pass idempotency_key='?([^'\s]+?)'?(?=\.?( |$))"), r"add --idempotency-key \1"),
    (re.compile(r"repeat it with idempotency_key='([^']+)'"), r"add --idempotency-key \1"),
    (re.compile(r"\b[Cc]all (?:wait_until_complete|get)\('([^']+)'\)"), r"run `wait \1`"),
    (re.compile(r"\bcall download\('([^']+)', \.\.\.\) again"), r"run `download \1` again"),
    (re.compile(r"batches\.find\(.*?\)( names)"), r"`batch list`\1"),
    (re.compile(r"voices\.list\(\)"), "`voices list`"),
    (re.compile(r"use its duration with estimate_duration"), "add --duration, its length"),
    (re.compile(r"\bapi_key= or (?=SYNC_API_KEY)"), ""),
    (re.compile(r"\bPass base_url= \(or set SYNC_BASE_URL\)"), "Set SYNC_BASE_URL to an address"),
)
_MISSING_FILE = re.compile(r"line \d+: \S+: cannot be read \(")


def say(line: str = "", stream: TextIO | None = None, *, is_error: bool = False) -> None:
    """Write one line; escape sequences, line ends and marks of direction become visible."""
    target = stream or (sys.stderr if is_error else sys.stdout)
    print(for_screens(line), file=target, flush=True)


_json_streams: list[TextIO] = []  # of commands with --json that run


@contextmanager
def json_only() -> Iterator[None]:
    """Keep standard output for `answer`; texts for people go to standard error."""
    _json_streams.append(sys.stdout)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = _json_streams.pop()


def answer(value: Any, *lines: str) -> None:
    """Write what a command has found: a value as a line of JSON, or the lines for people."""
    if not _json_streams:
        for line in lines:
            say(line)
        return
    plain = value.to_dict() if hasattr(value, "to_dict") else value
    # Pure ASCII: it fits any encoding, and moves no cursor.
    print(json.dumps(plain), file=_json_streams[-1], flush=True)


def is_json() -> bool:
    """Tell whether the command was given --json."""
    return bool(_json_streams)


class RobustStream:
    """Text stream that takes every text and never raises."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """Encoding of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write text; characters that the encoding lacks become escapes."""
        with self._dropping_errors():
            if self._stream is not None:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    encoding = self.encoding
                    data = text.encode(encoding, "backslashreplace")
                    self._stream.write(data.decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with self._dropping_errors():
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # it is closed
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _dropping_errors(self) -> Iterator[None]:
        """Drop the text of the block if it cannot be written; drop a broken stream for good."""
        try:
            yield
        except BlockingIOError:  # a non-blocking pipe whose reader is slow
            pass
        except (OSError, ValueError):  # ValueError: it is closed
            stream, self._stream = self._stream, None
            with suppress(OSError, ValueError):
                # Python flushes the stream's buffer once more at exit: to the null device.
                null = os.open(os.devnull, os.O_WRONLY)
                try:
                    os.dup2(null, cast("TextIO", stream).fileno())
                finally:
                    os.close(null)


@contextmanager
def robust_streams() -> Iterator[None]:
    """Let standard output and standard error take everything while the block runs."""
    for number in _STANDARD_FILES:
        _occupy(number)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", RobustStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _occupy(number: int) -> None:
    """Open the null device under the number of a standard file that is closed.

    Otherwise the next file or socket would get the number, and a message for standard error
    would be written into a journal.
    """
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free


class _LogHandler(logging.Handler):
    def __init__(self, command: str) -> None:
        super().__init__(logging.WARNING)
        self._command = command

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{self._command}: {in_arguments(record.getMessage())}", is_error=True)


@contextmanager
def logged_warnings(command: str) -> Iterator[None]:
    """Write the library's warnings to standard error, under a command's name."""
    logger, handler = logging.getLogger("lipsync_async"), _LogHandler(command)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def clock(seconds: float) -> str:
    """Return a time as `m:ss`, or `h:mm:ss`."""
    whole = round(seconds)
    minutes = f"{whole % _HOUR // _MINUTE}:{whole % _MINUTE:02}"
    return f"{whole // _HOUR}:{minutes:0>5}" if whole >= _HOUR else minutes


def duration(seconds: float) -> str:
    """Return a time to a tenth of a second, or by the clock if it is long."""
    return f"{seconds:.1f} s" if seconds < _MAX_SECONDS else clock(seconds)


def size(count: int) -> str:
    """Return a number of bytes in a unit that fits."""
    if count < _MEGA:
        return f"{count / _KILO:.1f} kB"
    return f"{count / _MEGA:.1f} MB" if count < _GIGA else f"{count / _GIGA:.1f} GB"


def rate(per_second: float, nouns: str = "") -> str:
    """Return how many in a second or, where those are few, in a minute."""
    number, unit = (per_second, "s") if per_second >= 1 else (per_second * _MINUTE, "min")
    return f"{number:.1f}{nouns and f' {nouns}'}/{unit}"


def plural(count: int, noun: str) -> str:
    """Return a number and what is counted."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def some_of(places: Sequence[str], noun: str = "job") -> str:
    """Return the names of places; of several, how many there are and the first of them."""
    shown = ", ".join(places[:_MAX_NAMES])
    more = len(places) - _MAX_NAMES
    if more > 0:
        shown += f" and {more} more"
    return shown if len(places) == 1 else f"{plural(len(places), noun)} ({shown})"


class ExitStatus(IntEnum):
    """Exit statuses of commands; `EXIT_STATUSES` explains them.

    INTERRUPTED: as in shells, 128 and the number of the signal.
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


def error_lines(error: BaseException, name_of: Callable[[int], str] | None = None) -> list[str]:
    """Return an error's message as lines: one, or one for each problem of a request."""
    lines = [str(error)]
    if isinstance(error, InvalidRequestError):
        lines = first_problems(error.problems)
    elif isinstance(error, OSError) and error.strerror:
        reason = _REASONS.get(error.errno or 0, f"cannot be used ({error.strerror})")
        lines = [f"{error.filename or 'the output'} {reason}. Give another path."]
    return [with_places(" ".join(line.split()), name_of) for line in lines]


def with_places(line: str, name_of: Callable[[int], str] | None) -> str:
    """Return a line in which places of the input have their author's names."""
    if name_of is None:
        return line

    def name(found: re.Match[str]) -> str:
        try:
            return name_of(int(found[1] or found[3])) + (": " if found[2] else "")
        except IndexError:  # the journal reaches farther than the input
            return found[0]

    return _PLACE.sub(name, line)


def in_arguments(line: str, fields: Mapping[str, str] | None = None) -> str:
    """Return a message of the library in words of the command line.

    `fields` are the arguments that inputs were given by.
    """
    for words, ours in _IN_ARGUMENTS:
        line = words.sub(ours, line)

    def name(found: re.Match[str]) -> str:
        return (fields or {}).get(found[1] or found[2], found[0])

    return _FIELD.sub(name, line)


def exit_status_of(error: BaseException) -> ExitStatus:
    """Return the exit status of a command that an error has ended."""
    if isinstance(error, LipsyncError) and error.may_have_worked and error.generation is None:
        return ExitStatus.UNKNOWN
    if isinstance(error, AuthenticationError | PaymentRequiredError | SpendingLimitError):
        return ExitStatus.STOPPED
    if isinstance(error, InvalidRequestError) and all(map(_MISSING_FILE.match, error.problems)):
        return ExitStatus.FAILURE
    is_usage = isinstance(error, InvalidRequestError | ConfigurationError | JournalError)
    return ExitStatus.USAGE if is_usage else ExitStatus.FAILURE
