"""Standard input and output as streams of bytes, of any length.

They are read and written past Python's buffers. A thread that waits in one of these holds its
lock, and the interpreter does not end without the lock.
"""

from __future__ import annotations

import os
import sys
from select import select
from typing import Any

from lipsync_async.cli.output import size
from lipsync_async.errors import InvalidRequestError

_CHUNK = 1024 * 1024


class StandardInput:
    """Standard input, which can be read once."""

    def __init__(self) -> None:
        if sys.stdin is None:
            raise InvalidRequestError(["-: standard input is closed"])
        buffer: Any = sys.stdin.buffer
        self._file = getattr(buffer, "raw", buffer)

    def read(self, most: int = _CHUNK, /) -> bytes:
        """Wait for bytes, and return so many at most; none: that was all."""
        try:
            while (piece := self._file.read(most)) is None:  # it does not block, and has none yet
                select([self._file], [], [])
        except OSError as error:
            error.filename = "standard input"
            raise
        data: bytes = piece
        return data

    def read_all(self, most: int) -> bytes:
        """Return everything, or refuse what is longer."""
        data = bytearray()
        while piece := self.read():
            data += piece
            if len(data) > most:
                raise InvalidRequestError([f"-: standard input holds more than {size(most)}"])
        return bytes(data)


def write_bytes(data: bytes) -> None:
    """Write all of some bytes to standard output."""
    left = memoryview(data)
    try:
        number = sys.stdout.fileno()
        while left:
            if sys.platform != "win32":  # pragma: no branch - a pipe there always blocks
                select([], [number], [])  # it may be one that does not
            left = left[os.write(number, left) :]
    except OSError as error:
        error.filename = "standard output"
        raise
