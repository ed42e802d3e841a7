"""How progress is shown: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from lipsync_async._bulk.results import Progress
from lipsync_async._models.text import on_one_line
from lipsync_async.cli.output import clock, rate, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from rich.console import Console
    from rich.progress import Task

    from lipsync_async._models.response import Generation


# Columns that a bar with its facts needs.
_NARROWEST = 60


@contextmanager
def shown_progress(stream: TextIO | None = None) -> Iterator[Callable[[Generation], None]]:
    """Give a function that shows each state of a job; fits `on_update`.

    Args:
        stream: Where to show it; `None`: standard output. A live bar needs a terminal
            and the `progress` extra; otherwise each change becomes a line.

    """
    target = sys.stdout if stream is None else stream
    console = console_of(target) if target.isatty() else None
    if console is None:
        yield lambda generation: say(_line(generation), target)
        return
    with _bar(console) as show:
        yield show


def _line(generation: Generation) -> str:
    progress = generation.progress_percent
    share = "" if progress is None else f" {progress:3.0f} %"
    return f"  {generation.status:<10}{share}"


def console_of(stream: TextIO) -> Console | None:
    """Return rich's console, unless the extra is not installed, or the terminal is no good."""
    try:
        from rich.console import Console  # noqa: PLC0415 - an optional extra
    except ImportError:
        return None
    console = Console(file=stream)
    is_good = console.is_terminal and not console.is_dumb_terminal
    return console if is_good and console.width >= _NARROWEST else None


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[Generation], None]]:
    from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        TextColumn("  {task.description:<10}", markup=False),  # it is the service's word
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console) as progress:
        task = progress.add_task("PENDING", total=100)

        def show(generation: Generation) -> None:
            done = 100.0 if generation.is_completed else generation.progress_percent
            status = on_one_line(str(generation.status))
            progress.update(task, description=status, completed=done)

        yield show


def beginning(total: int) -> Progress:
    """Return how far so many jobs are before anything has happened."""
    return Progress(total=total, running=0, succeeded=0, failed=0, elapsed=0.0, rate=0.0, eta=None)


def facts(progress: Progress) -> str:
    """Return how far many jobs are, in columns that keep their places."""
    total = str(progress.total)
    width = len(total)
    pace = rate(progress.rate) if progress.rate else ""
    return (
        f"{progress.done:{width}}/{total}  {progress.running:{width}} running  "
        f"{progress.failed} failed  {pace:<8}  {_time(progress):<9}"
    )


def _time(progress: Progress) -> str:
    """Return the time that is left, as far as that is known, or else has gone by."""
    if progress.done == progress.total:
        return f"in {clock(progress.elapsed)}"
    return clock(progress.elapsed) if progress.eta is None else f"{clock(progress.eta)} left"


_LOOKS_A_SECOND = 4.0
# To count what runs may mean to read a large file: it may take a twentieth of the time.
_SHORTEST_PAUSE, _PAUSE_BY_COST = 0.5, 20.0
_LOUD_FAILURES = r"[1-9]\d* failed"


@contextmanager
def fleet_bar(
    console: Console, total: int, running: Callable[[], int]
) -> Iterator[Callable[[Progress], None]]:
    """Show a bar, and give a function that moves it.

    Args:
        console: Where.
        total: How many jobs there are.
        running: Tells how many run; it is asked by the thread that draws.

    """
    from rich.progress import BarColumn, Progress as Bar, ProgressColumn  # noqa: PLC0415 - an extra
    from rich.table import Column  # noqa: PLC0415 - an optional extra
    from rich.text import Text  # noqa: PLC0415 - an optional extra

    asked = Thrifty(running)

    class Facts(ProgressColumn):
        def render(self, task: Task) -> Text:
            progress, seen_at = task.fields["seen"]
            if not task.finished:
                gone = time.monotonic() - seen_at
                progress = attrs.evolve(
                    progress,
                    running=asked(),
                    elapsed=progress.elapsed + gone,
                    eta=None if progress.eta is None else max(0.0, progress.eta - gone),
                )
            text = Text(facts(progress), no_wrap=True)
            text.highlight_regex(_LOUD_FAILURES, "bold red")
            return text

    with Bar(
        " ",
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        Facts(),
        console=console,
        expand=True,
        refresh_per_second=_LOOKS_A_SECOND,
    ) as bar:
        task = bar.add_task("", total=total, seen=(beginning(total), time.monotonic()))

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.done, seen=(progress, time.monotonic()))

        yield show


class Thrifty:
    """Remember a number for a time that is long against what it costs to ask for it.

    Args:
        ask: Returns the number.
        now: Seconds of a clock that only goes forward.

    """

    def __init__(self, ask: Callable[[], int], now: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._now = now
        self._number = 0
        self._next = now()

    def __call__(self) -> int:
        """Return the number, as it was a moment ago."""
        began = self._now()
        if began >= self._next:
            self._number = self._ask()
            ended = self._now()
            self._next = ended + max(_SHORTEST_PAUSE, _PAUSE_BY_COST * (ended - began))
        return self._number


_LINES = 10


@contextmanager
def shown_fleet(
    total: int,
    running: Callable[[], int],
    stream: TextIO | None = None,
) -> Iterator[Callable[[Progress], None]]:
    """Give a function that shows how far many jobs are.

    Args:
        total: How many there are.
        running: Tells how many run, at any time and in any thread: until the first one
            has ended, nothing else moves.
        stream: Where to show it; `None`: standard output. A live bar needs a terminal
            and the `progress` extra; otherwise every tenth becomes a line.

    """
    target = sys.stdout if stream is None else stream
    console = console_of(target) if target.isatty() else None
    if console is None:
        yield _Lines(total, target).show
        return
    with fleet_bar(console, total, running) as show:
        yield show


class _Lines:
    """Say each tenth once.

    Args:
        total: How many jobs there are.
        stream: Where to say it.

    """

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._told = 0

    def show(self, progress: Progress) -> None:
        """Say how far all are, if a tenth more is done."""
        tenths = progress.done * _LINES // self._total
        if tenths > self._told:
            self._told = tenths
            say(f"  {facts(progress)}".rstrip(), self._stream)
