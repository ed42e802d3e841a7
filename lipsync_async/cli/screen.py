"""What commands write: lines, for whatever is there to take them.

A command's output may go to a terminal, into a file of an old encoding, into a pipe that has
been closed, or nowhere at all. None of that ends what is paid for: what cannot be written is
written in another way, or not. And what is written moves nothing on a terminal, whatever the
service, a journal or a file's name has said.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from lipsync_async._values.invisible import for_screens

if TYPE_CHECKING:
    from collections.abc import Iterator

_STANDARD_FILES = (0, 1, 2)


def say(line: str = "", stream: TextIO | None = None, *, is_error: bool = False) -> None:
    """Write one line.

    Args:
        line: What to say. Escape sequences, line ends and marks of direction in it become
            visible; it stays one line.
        stream: Where to; `None`: to standard output.
        is_error: Whether it goes to standard error instead.

    """
    target = stream or (sys.stderr if is_error else sys.stdout)
    print(for_screens(line), file=target, flush=True)


class Screen:
    """Stand before a stream, take every text, and never raise.

    Args:
        stream: Where text goes; `None`: nowhere.

    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """How the stream writes text."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write text; characters that the encoding lacks become escapes."""
        with self._surviving() as stream:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                encoding = self.encoding
                stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Send on what was written."""
        with self._surviving() as stream:
            stream.flush()

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # it is closed
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _surviving(self) -> Iterator[TextIO]:
        """Give the stream, and forget it once it takes nothing more."""
        if self._stream is None:
            yield cast("TextIO", Nowhere())
            return
        try:
            yield self._stream
        except BlockingIOError:  # its reader is slow, and has said that it will not be waited for
            pass
        except (OSError, ValueError):  # ValueError: it is closed
            _lead_nowhere(self._stream)
            self._stream = None


class Nowhere:
    """Take text for a stream that is not there."""

    def write(self, text: str) -> int:
        """Take text."""
        return len(text)

    def flush(self) -> None:
        """Send nothing on."""


def _lead_nowhere(stream: TextIO) -> None:
    """Let what a broken stream still holds go nowhere, for Python writes it once more at exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


class _Log(logging.Handler):
    """Say what the library warns of."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.WARNING)
        self._name = name

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{self._name}: {record.getMessage()}", is_error=True)


@contextmanager
def screens() -> Iterator[None]:
    """Let standard output and standard error take everything while the block runs."""
    for number in _STANDARD_FILES:
        _occupy(number)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", Screen(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


@contextmanager
def warnings_said(name: str) -> Iterator[None]:
    """Say on standard error what the library warns of, under a command's name."""
    logger, handler = logging.getLogger("lipsync_async"), _Log(name)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _occupy(number: int) -> None:
    """Open something under the number of a standard file that is closed.

    Otherwise the next file or socket would get it, and a message for standard error would be
    written into a journal.
    """
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
