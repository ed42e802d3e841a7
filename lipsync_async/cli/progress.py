"""How a job's progress is shown: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lipsync_async._values.invisible import on_one_line
from lipsync_async.cli.screen import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from rich.console import Console

    from lipsync_async._values.models import Generation


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
