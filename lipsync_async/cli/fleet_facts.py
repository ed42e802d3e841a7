"""How far many jobs are, in a line."""

from __future__ import annotations

from lipsync_async._fleet.outcomes import Progress
from lipsync_async.cli.wording import clock, rate


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
