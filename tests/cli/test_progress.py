"""Progress is a live bar in a terminal and plain lines elsewhere."""

import io
import os
import pty
import subprocess
import sys

from lipsync_async import Generation, Status
from lipsync_async.cli.progress import shown_progress

STATES = [
    Generation(id="a", status=Status.PENDING),
    Generation(id="a", status=Status.PROCESSING, progress_percent=41.6),
    Generation(id="a", status=Status.COMPLETED),
]


def in_terminal(program: str, *options: str) -> str:
    """Return what a program writes to a real terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, *options, "-c", program]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
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


PROGRAM = """
import sys
{hidden}
from lipsync_async import Generation, Status
from lipsync_async.cli.progress import shown_progress
with shown_progress() as show:
    show(Generation(id="a", status=Status.PROCESSING, progress_percent=41.6))
    show(Generation(id="a", status=Status.COMPLETED))
"""


def test_each_state_is_a_line_where_there_is_no_terminal() -> None:
    """Files and pipes get one line a change, with the share where it is known."""
    stream = io.StringIO()
    with shown_progress(stream) as show:
        for state in STATES:
            show(state)

    assert stream.getvalue() == "  PENDING   \n  PROCESSING  42 %\n  COMPLETED \n"


def test_a_terminal_gets_a_bar_that_ends_full() -> None:
    """The bar is redrawn in place and stands at 100 % in the end."""
    shown = in_terminal(PROGRAM.format(hidden=""))

    assert "COMPLETED" in shown
    assert "100 %" in shown
    assert "\x1b[" in shown


def test_a_terminal_without_rich_gets_lines() -> None:
    """The `progress` extra is a comfort, no need."""
    shown = in_terminal(PROGRAM.format(hidden="sys.modules['rich.console'] = None"))

    assert shown.splitlines() == ["  PROCESSING  42 %", "  COMPLETED "]
