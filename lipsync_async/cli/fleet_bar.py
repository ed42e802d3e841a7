"""The live bar for many jobs; loaded only where rich is."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from lipsync_async.cli.fleet_facts import beginning, facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.progress import Task

    from lipsync_async._fleet.outcomes import Progress

_LOOKS_A_SECOND = 4.0
# To count what runs may mean to read a large file: it may take a twentieth of the time.
_SHORTEST_PAUSE, _PAUSE_BY_COST = 0.5, 20.0
_LOUD_FAILURES = r"[1-9]\d* failed"


@contextmanager
def fleet_bar(console: Console, total: int, running: Callable[[], int]) -> Iterator[Callable[[Progress], None]]:
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
