"""What programs write, also to a real terminal."""

import os
import pty
import subprocess
import sys
from typing import TypeAlias

import pytest

Said: TypeAlias = pytest.CaptureFixture[str]


def in_terminal(program: str, *options: str, columns: int = 80) -> str:
    """Return what a program writes to a real terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, *options, "-c", program]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    with subprocess.Popen(command, stdout=theirs, env=environment) as running:  # noqa: S603 - our own program
        os.close(theirs)
        written = b""
        while piece := read(ours):
            written += piece
    os.close(ours)
    assert running.returncode == 0
    return written.decode()


def read(terminal: int) -> bytes:
    """Read on; Linux says EIO where the other end of a terminal is closed."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""
