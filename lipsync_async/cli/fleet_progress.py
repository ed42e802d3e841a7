"""How far many jobs are: a live bar in a terminal, a line every tenth elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lipsync_async.cli.fleet_bar import fleet_bar
from lipsync_async.cli.fleet_facts import facts
from lipsync_async.cli.progress import console_of
from lipsync_async.cli.screen import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from lipsync_async._fleet.outcomes import Progress

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
