"""What commands write: lines, numbers, errors and the exit status.

Output may go to a terminal, into a file of an old encoding, into a closed pipe, or nowhere at
all. None of that ends what is paid for: what cannot be written is escaped or dropped. Nothing
that the service, a journal or a file name holds moves the cursor of a terminal.

`--help` loads this module. So what it does not need is imported where it is used, and patterns
are texts, which `re` compiles when they are used.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, cast

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

STANDARD = "-"  # instead of a path: standard input, or standard output
_STANDARD_FILES = (0, 1, 2)
_MINUTE, _HOUR = 60, 3600
_KILO, _MEGA, _GIGA = 1e3, 1e6, 1e9
# Between two retries that are told, and before the first.
_SECONDS_OF_SILENCE, _FIRST_SECONDS_OF_SILENCE = 30.0, 10.0
_RETRY = "trying again in "
# Told at once: the first may take hours, the second looks like a hang.
_WAITING = ("waiting for the end of a batch", "waiting: the service does not know")
_MAX_NAMES = 10  # of places in one line
_MAX_SECONDS = 100.0  # longer times are written in minutes
# How the library names a place in the input.
_PLACE = r"\b(?:requests\[(\d+)\](\.?)|[Rr]equest (\d+)\b)"
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
    errno.EPIPE: "was closed before all was written",
}
# How the library names what a command calls otherwise.
_FIELD = r"\binput\[(\d+)\](?:\.\w+)*|\b(?:options|dub_params)\.(\w+)"
_IN_ARGUMENTS = (
    (r"pass idempotency_key='?([^'\s]+?)'?(?=\.?( |$))", r"add --idempotency-key \1"),
    (r"repeat it with idempotency_key='([^']+)'", r"add --idempotency-key \1"),
    (r"\bcall download\('([^']+)', \.\.\.\) again", r"run `download \1` again"),
    (r"batches\.find\(.*?\)( names)", r"`batch list`\1"),
    (r"voices\.list\(\)", "`voices list`"),
    (r"\brun_many (?=creates|waits)", "the run "),
    (
        r"give type= as AUDIO, VIDEO or IMAGE; (its bytes and its name do not tell)",
        r"\1 what it is; give it a suffix such as .wav, or add --type (`upload`, `transcribe`)",
    ),
    (r"Call speech\.create\(\) instead\.", "This command needs them."),
    (r"; see RetryPolicy\.batch_timeout\.", "; Ctrl-C ends the wait."),
    (r"use its duration with estimate_duration", "add --duration, its length"),
    (r"\bapi_key= or (?=SYNC_API_KEY)", ""),
    (r"\bPass base_url= \(or set SYNC_BASE_URL\)", "Set SYNC_BASE_URL to an address"),
)
_WAIT = r"\b([Cc])all (?:wait_until_complete|get)\('([^']+)'\)"
_ID = r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b"
_MISSING_FILE = r"line \d+: \S+: cannot be read \("


def say(line: str = "", stream: TextIO | None = None, *, is_error: bool = False) -> None:
    """Write one line; escape sequences, line ends and marks of direction become visible."""
    from lipsync_async._models.text import for_screens

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
    import json

    plain = value.to_dict() if hasattr(value, "to_dict") else value
    # Pure ASCII: it fits any encoding, and moves no cursor.
    print(json.dumps(plain), file=_json_streams[-1], flush=True)


def is_json() -> bool:
    """Tell whether the command was given --json."""
    return bool(_json_streams)


def is_read() -> bool:
    """Tell whether standard output can still be written: `head` closes it after a few lines."""
    return _failure() is None


def lost_output() -> str | None:
    """Return why standard output holds less than was written; a closed pipe is no loss."""
    failure = _failure()
    if not isinstance(failure, OSError) or failure.errno in {errno.EPIPE, errno.EBADF}:
        return None
    return f"standard output cannot be written ({failure.strerror}); what it holds is not whole."


def _failure() -> OSError | ValueError | None:
    return getattr(_json_streams[-1] if _json_streams else sys.stdout, "failure", None)


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a text file that appears when the block has ended well, or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    except OSError as error:
        error.filename = f"{path}"
        raise
    finally:
        part.unlink(missing_ok=True)


class RobustStream:
    """Text stream that takes every text and never raises.

    Attributes:
        failure: Why a text was dropped, first; `None`: none was.
    """

    failure: OSError | ValueError | None = None

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
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.failure = error
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


class Logged(NamedTuple):
    """What the library has said while a command ran, in words of the command line."""

    told: list[str]
    held: list[str]  # after a signal: the command itself tells what is left behind


@contextmanager
def logged_warnings(typed: argparse.Namespace) -> Iterator[Logged]:
    """Write the library's warnings to standard error, as a command's.

    So that a service that is down looks like no hang, a retry is told now and then, too.
    """
    import logging
    import time

    from lipsync_async.cli.signals import has_come

    logged = Logged([], [])
    told_last = time.time() - _SECONDS_OF_SILENCE + _FIRST_SECONDS_OF_SILENCE

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            nonlocal told_last
            if record.levelno < logging.WARNING:
                is_due = record.created - told_last >= _SECONDS_OF_SILENCE
                is_told = is_due and record.msg.startswith(_RETRY)
                if not (is_told or record.msg.startswith(_WAITING)):
                    return
                told_last = record.created
            told = in_arguments(record.getMessage(), typed)
            if has_come():
                logged.held.append(told)
            else:
                logged.told.append(told)
                say(f"{typed.command}: {told}", is_error=True)

    logger, retries = logging.getLogger("lipsync_async"), logging.getLogger("lipsync_async.retry")
    handler, level = Handler(logging.INFO), retries.level
    logger.addHandler(handler)
    if not os.environ.get("LIPSYNC_LOG"):  # otherwise the user has chosen what is logged
        retries.setLevel(logging.INFO)
    try:
        yield logged
    finally:
        logger.removeHandler(handler)
        retries.setLevel(level)


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
    """Exit statuses of commands; `EXIT_STATUSES` and `RUN_STATUSES` explain them.

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
  0    all went well
  1    a job or a request has failed
  2    wrong usage or input, or no key
  3    refused for money (plan, quota, balance) or for the key
  4    the outcome is unknown: something may be made or changed, and paid for
  130  stopped by Ctrl-C (143: by SIGTERM)
"""
RUN_STATUSES = """\
exit status:
  0    all jobs are completed
  1    some jobs failed, or files that the manifest names cannot be read
  2    wrong usage: the arguments, the manifest or the journal
  3    refused for money, for the key, or for a reason that stops every job
  4    the outcome of a create is unknown; the same command goes on, and pays nothing twice
  130  stopped by Ctrl-C (143: by SIGTERM)
"""


def error_lines(error: BaseException, name_of: Callable[[int], str] | None = None) -> list[str]:
    """Return an error's message as lines: one, or one for each problem of a request."""
    from lipsync_async.errors import InvalidRequestError, first_problems

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

    return re.sub(_PLACE, name, line)


def untold(held: list[str], told: str) -> list[str]:
    """Return what names a job or a key that is not told."""
    return [line for line in held if any(each not in told for each in re.findall(_ID, line))]


def in_arguments(line: str, typed: argparse.Namespace | None = None) -> str:
    """Return a message of the library in words of the command line.

    Of what was typed, `fields` are the arguments that inputs were given by, and `again` is how
    to go on, where that is not `wait`.
    """
    for words, ours in _IN_ARGUMENTS:
        line = re.sub(words, ours, line)

    def wait(found: re.Match[str]) -> str:
        told: str = getattr(typed, "again", None) or f"run `wait {found[2]}`"
        return told if found[1] == "c" else told[:1].upper() + told[1:]

    def name(found: re.Match[str]) -> str:
        fields: Mapping[str, str] = getattr(typed, "fields", {})
        return fields.get(found[1] or found[2], found[0])

    return re.sub(_FIELD, name, re.sub(_WAIT, wait, line))


def exit_status_of(error: BaseException, *, may_cost: bool = False) -> ExitStatus:
    """Return the exit status of a command that an error has ended.

    With `may_cost`, the call that failed was to make or change something: if its outcome is
    unknown, so is that of the command. Other calls are repeated without harm.
    """
    from lipsync_async import errors

    is_unknown = may_cost and isinstance(error, errors.LipsyncError) and error.may_have_worked
    if is_unknown and getattr(error, "generation", None) is None:
        return ExitStatus.UNKNOWN
    stops = errors.AuthenticationError, errors.PaymentRequiredError, errors.SpendingLimitError
    if isinstance(error, stops):
        return ExitStatus.STOPPED
    if not isinstance(error, errors.InvalidRequestError):
        is_usage = isinstance(error, errors.ConfigurationError | errors.JournalError)
        return ExitStatus.USAGE if is_usage else ExitStatus.FAILURE
    is_missing = all(re.match(_MISSING_FILE, problem) for problem in error.problems)
    return ExitStatus.FAILURE if is_missing else ExitStatus.USAGE
