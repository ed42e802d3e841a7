"""Many jobs are a live bar in a terminal and ten lines elsewhere."""

import io
import re
from typing import Any

import attrs

from lipsync_async import Progress
from lipsync_async.cli.progress import Thrifty, beginning, facts, shown_fleet
from tests.cli.terminals import in_terminal

PROGRAM = """
import sys
{hidden}
from lipsync_async import Progress
from lipsync_async.cli.progress import shown_fleet
with shown_fleet(20, lambda: 7) as show:
    for done in range(0, 21, 5):
        seconds = done + 1.0
        show(Progress(total=20, running=3, succeeded=done - done // 10, failed=done // 10,
                      elapsed=seconds, rate=0.5, eta=20.0 - done))
"""
ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def far(done: int, **changes: Any) -> Progress:
    """Return how far 200 jobs are when so many are done."""
    usual: dict[str, Any] = {"succeeded": done, "running": 15, "rate": 9.5, "eta": 19.0}
    return attrs.evolve(beginning(200), **usual | changes)


def test_the_facts_keep_their_places() -> None:
    """From the first look to the last, each number stands where it stood."""
    assert [facts(progress).rstrip() for progress in SEEN] == [
        "  0/200    0 running  0 failed            0:00",
        "  0/200   15 running  0 failed            1:02",
        " 20/200   15 running  0 failed  9.5/s     0:19 left",
        " 21/200   15 running  1 failed  30.0/min  0:19 left",
        "200/200    0 running  0 failed  9.5/s     in 0:21",
    ]


SEEN = [
    beginning(200),
    far(0, rate=0.0, eta=None, elapsed=62.0),
    far(20),
    far(20, failed=1, rate=0.5),
    far(200, running=0, eta=0.0, elapsed=21.2),
]


def test_each_tenth_is_a_line_where_there_is_no_terminal() -> None:
    """However many jobs there are, a log gets ten lines; few jobs have a line each."""
    stream = io.StringIO()
    with shown_fleet(200, lambda: 0, stream) as show:
        for done in range(1, 201):
            show(far(done))
    assert [line.split("/")[0].strip() for line in stream.getvalue().splitlines()] == [
        str(done) for done in range(20, 201, 20)
    ]

    stream = io.StringIO()
    with shown_fleet(3, lambda: 0, stream) as show:
        for done in (1, 2, 3):
            show(attrs.evolve(beginning(3), succeeded=done))
    assert len(stream.getvalue().splitlines()) == 3


def test_a_terminal_gets_a_bar_that_ends_full() -> None:
    """It is redrawn in place, shows what runs, and shouts failures."""
    written = in_terminal(PROGRAM.format(hidden=""))
    shown = ESCAPES.sub("", written)

    assert re.search(r"━ +0/20 +7 running  0 failed", shown)
    assert re.search(r"━ +20/20 +3 running  2 failed  30.0/min  in 0:21 *\r?\n", shown)
    assert re.search(r"\x1b\[1;31m2 failed", written)
    assert max(map(len, re.split(r"[\r\n]+", shown))) <= 80


def test_a_terminal_without_rich_gets_lines() -> None:
    """The `progress` extra is a comfort, no need."""
    shown = in_terminal(PROGRAM.format(hidden="sys.modules['rich.console'] = None"))

    assert [line.split("/")[0].strip() for line in shown.splitlines()] == ["5", "10", "15", "20"]
    assert "\x1b[" not in shown


def test_what_is_costly_to_count_is_counted_seldom() -> None:
    """Half a second, or twenty times what it took, goes by before it is asked again."""
    now, cost = [100.0], [0.0]
    asked: list[float] = []

    def ask() -> int:
        asked.append(now[0])
        now[0] += cost[0]
        return len(asked)

    count = Thrifty(ask, lambda: now[0])
    assert [count(), count()] == [1, 1]
    now[0], cost[0] = 100.5, 1.0
    assert [count(), count()] == [2, 2]
    now[0] = 121.4
    assert count() == 2
    now[0] = 121.5
    assert count() == 3
    assert asked == [100.0, 100.5, 121.5]
