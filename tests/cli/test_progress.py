"""Progress is a live bar in a terminal and plain lines elsewhere."""

import io

from lipsync_async import Generation, Status
from lipsync_async.cli.progress import shown_progress
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
