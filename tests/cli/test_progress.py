"""Progress is a live bar in a terminal and plain lines elsewhere."""

import io

import attrs
import pytest

from lipsync_async import Generation, Status
from lipsync_async.cli.progress import beginning, shown_fleet, shown_progress
from tests.cli.terminals import in_terminal

STATES = [
    Generation(id="a", status=Status.PENDING),
    Generation(id="a", status=Status.PROCESSING, progress_percent=41.6),
    Generation(id="a", status=Status.COMPLETED),
]


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


ODD = """
import sys
from lipsync_async import Generation, Status
from lipsync_async.cli.progress import shown_progress
with shown_progress() as show:
    show(Generation(id="a", status=Status("[red]x[/] :smile: \\x1b[2J\\x1b]0;t\\x07\\u202ey")))
"""


def test_a_status_moves_no_terminal() -> None:
    """It is the service's word: neither an escape sequence nor markup is interpreted."""
    written = in_terminal(ODD)

    assert r"[red]x[/] :smile: \x1b[2J\x1b]0;t\x07\u202ey" in written
    assert not any(mark in written for mark in ("\x1b[2J", "\x1b]0", "\x07", "\u202e"))


@pytest.mark.parametrize(
    ("columns", "kind"), [(80, "dumb"), (80, "unknown"), (0, "xterm"), (12, "xterm"), (59, "xterm")]
)
def test_a_terminal_that_is_no_good_gets_lines(columns: int, kind: str) -> None:
    """One that cannot move its cursor, or has no room for a bar."""
    stream = Terminal()
    environment = {"TERM": kind, "COLUMNS": str(columns), "LINES": "24"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with shown_progress(stream) as show:
            show(STATES[1])
        with shown_fleet(1, lambda: 0, stream) as show_all:
            show_all(attrs.evolve(beginning(1), succeeded=1))
    assert (
        stream.getvalue() == "  PROCESSING  42 %\n  1/1  0 running  0 failed            in 0:00\n"
    )


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True
