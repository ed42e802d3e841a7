"""Counts outcomes, and tells how long the rest will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async._fleet.outcomes import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from lipsync_async._fleet.outcomes import Outcome


class Meter:
    """Count outcomes as they are taken.

    Args:
        now: The transport's time.

    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Start counting, and the clock."""
        self._now = now
        self._began = now()
        self._succeeded = 0
        self._failed = 0
        self._resumed = 0

    def count(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self._succeeded += outcome.is_success
        self._failed += not outcome.is_success
        self._resumed += outcome.resumed

    def progress(
        self, *, running: int, total: int | None, ended_by: Exception | None = None
    ) -> Progress:
        """Say how far all are."""
        elapsed = self._now() - self._began
        done = self._succeeded + self._failed
        rate = (done - self._resumed) / elapsed if elapsed > 0 else 0.0
        left = None if total is None else total - done
        eta = left / rate if left and rate > 0 else None
        return Progress(
            total=total,
            running=running,
            succeeded=self._succeeded,
            failed=self._failed,
            elapsed=elapsed,
            rate=rate,
            eta=0.0 if left == 0 else eta,
            ended_by=ended_by,
        )
