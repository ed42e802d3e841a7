"""How progress is shown: a live bar in a terminal, plain lines elsewhere or without rich."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lipsync_async._bulk.results import Progress
from lipsync_async._models.text import on_one_line
from lipsync_async.cli.output import clock, rate, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from rich.console import Console

    from lipsync_async._models.response import Generation

_MIN_WIDTH = 60  # columns that a bar with its numbers needs
_LINES = 10  # of many jobs, where there is no bar
NO_PROGRESS = Progress(
    total=None, running=0, succeeded=0, failed=0, elapsed=0.0, rate=0.0, eta=None
)
_FAILURES = re.compile(r"[1-9]\d* failed")


def _console(stream: TextIO) -> Console | None:
    """Return rich's console; `None` if a bar cannot be drawn, or rich is not installed."""
    if not stream.isatty():
        return None
    try:
        from rich.console import Console  # noqa: PLC0415 - an optional extra
    except ImportError:
        return None
    console = Console(file=stream)
    can_draw = console.is_terminal and not console.is_dumb_terminal
    return console if can_draw and console.width >= _MIN_WIDTH else None


@contextmanager
def job_progress(stream: TextIO | None = None) -> Iterator[Callable[[Generation], None]]:
    """Yield a function that shows each state of a job: a bar, or a line for each change."""
    target = sys.stdout if stream is None else stream
    console = _console(target)
    if console is None:
        said: list[str] = []

        def show_state(generation: Generation) -> None:
            if (line := _job_line(generation)) not in said[-1:]:
                say(line, target)
                said.append(line)

        yield show_state
        return
    from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        TextColumn("  {task.description:<10}", markup=False),  # it is the service's word
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("PENDING", total=100)

        def show(generation: Generation) -> None:
            # Of other jobs than generations, the service tells no progress.
            is_done = generation.status in getattr(generation, "GOOD_ENDS", {"COMPLETED"})
            done = 100.0 if is_done else getattr(generation, "progress_percent", None)
            status = on_one_line(str(generation.status))
            bar.update(task, description=status, completed=done)

        yield show


@contextmanager
def quiet_when_piped(unit: str = "job") -> Iterator[Callable[..., None]]:
    """Yield a function that shows a job or an upload on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
    elif unit == "job":
        with job_progress(sys.stderr) as show:
            yield show
    else:
        with upload_progress(sys.stderr) as show_bytes:
            yield show_bytes


@contextmanager
def upload_progress(stream: TextIO) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how much of a file was sent, where a bar can be drawn."""
    console = _console(stream)
    if console is None:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress as Bar, TransferSpeedColumn  # noqa: PLC0415

    columns = ("  upload", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Bar(*columns, console=console)
    task = bar.add_task("", total=None)

    def show(sent: int, total: int) -> None:
        bar.update(task, completed=sent, total=total)
        bar.start()  # not before: it may be that nothing is sent

    try:
        yield show
    finally:
        bar.stop()


def _job_line(generation: Generation) -> str:
    percent = getattr(generation, "progress_percent", None)
    return f"  {generation.status:<10}" + ("" if percent is None else f" {percent:3.0f} %")


@contextmanager
def bulk_progress(total: int, stream: TextIO | None = None) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows how far many jobs are: a bar, or a line for each tenth."""
    target = sys.stdout if stream is None else stream
    console = _console(target)
    if console is None:
        shown = 0

        def show_line(progress: Progress) -> None:
            nonlocal shown
            tenths = progress.done * _LINES // total
            if tenths > shown:
                shown = tenths
                say(f"  {facts(progress, total)}".rstrip(), target)

        yield show_line
        return
    from rich.progress import BarColumn, Progress as Bar, TextColumn  # noqa: PLC0415
    from rich.table import Column  # noqa: PLC0415

    columns = (
        " ",
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=console, expand=True) as bar:
        task = bar.add_task(facts(NO_PROGRESS, total), total=total)

        def show(progress: Progress) -> None:
            text = _FAILURES.sub(r"[bold red]\g<0>[/]", facts(progress, total))
            bar.update(task, completed=progress.done, description=text)

        yield show


def facts(progress: Progress, total: int) -> str:
    """Return how far many jobs are, in a text that keeps its width."""
    width = len(str(total))
    pace = f"{rate(progress.rate)}, " if progress.rate else ""
    is_open = progress.eta is None or progress.done == total
    time = f"after {clock(progress.elapsed)}" if is_open else f"{clock(progress.eta or 0)} left"
    return (
        f"{progress.done:{width}} of {total} done, {progress.running:{width}} running, "
        f"{progress.failed} failed, {pace + time:<20}"
    )
