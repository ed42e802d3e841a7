"""Progress is a live bar in a terminal and plain lines elsewhere."""

import io
import re
import sys
from typing import Any

import attrs
import pytest

from lipsync_async import Generation, Progress, Status
from lipsync_async.cli.progress import (
    NO_PROGRESS,
    bulk_progress,
    facts,
    job_progress,
    quiet_when_piped,
)
from tests.cli.terminals import in_terminal

HALF = Generation(id="a", status=Status.PROCESSING, progress_percent=41.6)

PROGRAM = """
import sys
{hidden}
from lipsync_async import Generation, Progress, Status
from lipsync_async.cli.progress import bulk_progress, job_progress
with job_progress() as show:
    show(Generation(id="a", status=Status.PROCESSING, progress_percent=41.6))
    show(Generation(id="a", status=Status.COMPLETED))
print("=====")
with job_progress() as show:
    show(Generation(id="a", status=Status("[red]x[/] :smile: \\x1b[2J\\x1b]0;t\\x07\\u202ey")))
print("=====")
with bulk_progress(20) as show:
    for done in range(0, 21, 5):
        seconds = done + 1.0
        show(Progress(total=20, running=3, succeeded=done - done // 10, failed=done // 10,
                      elapsed=seconds, rate=0.5, eta=20.0 - done))
"""
ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    """Return what a real terminal gets: for a job, for one of an odd status, for many."""
    return in_terminal(PROGRAM.format(hidden="")).split("=====\r\n")


def test_each_state_of_a_job_is_a_line_where_there_is_no_terminal() -> None:
    """Files and pipes get one line a change, with the share where it is known."""
    stream = io.StringIO()
    with job_progress(stream) as show:
        show(Generation(id="a", status=Status.PENDING))
        show(HALF)
        show(HALF)
        show(Generation(id="a", status=Status.COMPLETED))
    assert stream.getvalue() == "  PENDING   \n  PROCESSING  42 %\n  COMPLETED \n"


def test_a_terminal_gets_a_bar_of_one_job_that_ends_full(drawn: list[str]) -> None:
    """The bar is redrawn in place and stands at 100 % in the end."""
    assert "COMPLETED" in drawn[0]
    assert "100 %" in drawn[0]
    assert "\x1b[" in drawn[0]


def test_a_status_moves_no_terminal(drawn: list[str]) -> None:
    """It is the service's word: neither an escape sequence nor markup is interpreted."""
    assert r"[red]x[/] :smile: \x1b[2J\x1b]0;t\x07\u202ey" in drawn[1]
    assert not any(mark in drawn[1] for mark in ("\x1b[2J", "\x1b]0", "\x07", "\u202e"))


def test_a_terminal_gets_a_bar_of_many_jobs_that_ends_full(drawn: list[str]) -> None:
    """It is redrawn in place, and failures stand out."""
    shown = ESCAPES.sub("", drawn[2])
    assert re.search(r"━ +0 of 20 done, +0 running, 0 failed, after 0:00", shown)
    assert re.search(r"━ +20 of 20 done, +3 running, 2 failed, 30.0/min, after 0:21 *\r?\n", shown)
    assert re.search(r"\x1b\[1;31m2 failed", drawn[2])
    assert max(map(len, re.split(r"[\r\n]+", shown))) <= 80


def test_a_terminal_without_rich_gets_lines() -> None:
    """The `progress` extra is a comfort, no need."""
    shown = in_terminal(PROGRAM.format(hidden="sys.modules['rich.console'] = None"))
    one, odd, many = (part.splitlines() for part in shown.split("=====\r\n"))
    assert one == ["  PROCESSING  42 %", "  COMPLETED "]
    assert len(odd) == 1
    assert [line.split()[0] for line in many] == ["5", "10", "15", "20"]
    assert "\x1b[" not in shown


@pytest.mark.parametrize(
    ("columns", "kind"), [(80, "dumb"), (80, "unknown"), (0, "xterm"), (12, "xterm"), (59, "xterm")]
)
def test_a_terminal_that_is_no_good_gets_lines(
    monkeypatch: pytest.MonkeyPatch, columns: int, kind: str
) -> None:
    """One that cannot move its cursor, or has no room for a bar."""
    stream = Terminal()
    for name, value in {"TERM": kind, "COLUMNS": str(columns), "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    with job_progress(stream) as show:
        show(HALF)
    with bulk_progress(1, stream) as show_all:
        show_all(attrs.evolve(NO_PROGRESS, succeeded=1))
    last = "  1 of 1 done, 0 running, 0 failed, after 0:00\n"
    assert stream.getvalue() == f"  PROCESSING  42 %\n{last}"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def far(done: int, **changes: Any) -> Progress:
    """Return how far 200 jobs are when so many are done."""
    usual: dict[str, Any] = {"succeeded": done, "running": 15, "rate": 9.5, "eta": 19.0}
    return attrs.evolve(NO_PROGRESS, **usual | changes)


def test_the_facts_keep_their_places() -> None:
    """From the first redraw to the last, each number keeps its column."""
    shown = [facts(progress, 200) for progress in SEEN]
    assert len({len(line) for line in shown}) == 1
    assert [line.rstrip() for line in shown] == [
        "  0 of 200 done,   0 running, 0 failed, after 0:00",
        "  0 of 200 done,  15 running, 0 failed, after 1:02",
        " 20 of 200 done,  15 running, 0 failed, 9.5/s, 0:19 left",
        " 21 of 200 done,  15 running, 1 failed, 30.0/min, 0:19 left",
        "200 of 200 done,   0 running, 0 failed, 9.5/s, after 0:21",
    ]


SEEN = [
    NO_PROGRESS,
    far(0, rate=0.0, eta=None, elapsed=62.0),
    far(20),
    far(20, failed=1, rate=0.5),
    far(200, running=0, eta=0.0, elapsed=21.2),
]


def test_each_tenth_is_a_line_where_there_is_no_terminal() -> None:
    """However many jobs there are, a log gets ten lines; few jobs have a line each."""
    stream = io.StringIO()
    with bulk_progress(200, stream) as show:
        for done in range(1, 201):
            show(far(done))
    told = [int(line.split()[0]) for line in stream.getvalue().splitlines()]
    assert told == [*range(20, 201, 20)]

    stream = io.StringIO()
    with bulk_progress(3, stream) as show:
        for done in (1, 2, 3):
            show(attrs.evolve(NO_PROGRESS, succeeded=done))
    assert len(stream.getvalue().splitlines()) == 3


def screen_of(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    """Have standard error be a terminal."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    return stream


def test_bars_are_drawn_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a job, of an upload, of many jobs; each ends full."""
    screen = screen_of(monkeypatch, 80)
    with quiet_when_piped() as show:
        show(HALF)
        show(Generation(id="a", status=Status.COMPLETED))
    with quiet_when_piped("upload"):
        pass  # nothing is sent, and nothing is drawn
    assert "bytes" not in screen.getvalue()
    with quiet_when_piped("upload") as show:
        show(500_000, 2_000_000)
        show(2_000_000, 2_000_000)
    with bulk_progress(200, screen) as show_many:
        for each in SEEN:
            show_many(each)
    plain = ESCAPES.sub("", screen.getvalue())
    for words in ("COMPLETED", "100 %", "2.0/2.0 MB", "200 of 200 done"):
        assert words in plain


@pytest.mark.parametrize("unit", ["job", "upload"])
def test_a_terminal_too_narrow_for_a_bar_gets_lines_or_nothing(
    monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    """Whatever the width, no line is broken."""
    screen = screen_of(monkeypatch, 40)
    with quiet_when_piped(unit) as show:
        show(*{"job": (HALF,), "upload": (1, 2)}[unit])
    assert screen.getvalue() == {"job": "  PROCESSING  42 %\n", "upload": ""}[unit]


def test_a_terminal_without_the_extra_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar is an extra."""
    screen = screen_of(monkeypatch, 80)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with quiet_when_piped() as show:
        show(HALF)
    assert screen.getvalue() == "  PROCESSING  42 %\n"
