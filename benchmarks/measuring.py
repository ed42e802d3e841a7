"""Opponents take turns, and the best lap of each counts.

A machine that is shared slows everyone down at times, and never makes anyone faster: so
the best lap is the one that was disturbed least, and turns make it likely that every
opponent meets a calm moment.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_benchmark.fixture import BenchmarkFixture


@attrs.frozen(slots=True)
class Lap:
    """Hold what one unit of work took: seconds that passed, and seconds of our own CPU."""

    seconds: float
    cpu_seconds: float


class Duel:
    """Let opponents do the same work in turns.

    Args:
        laps: For each opponent, what does the work once and says what a unit took.

    """

    def __init__(self, laps: Mapping[str, Callable[[], Lap]]) -> None:
        self._laps = laps
        self._driven: dict[str, list[Lap]] = {name: [] for name in laps}

    def play_round(self) -> None:
        """Let everyone drive one lap."""
        for name, drive in self._laps.items():
            self._driven[name].append(drive())

    def seconds(self, name: str) -> float:
        """Return the least time that a unit of work took."""
        return min(lap.seconds for lap in self._driven[name])

    def cpu_seconds(self, name: str) -> float:
        """Return the least CPU time that a unit of work took."""
        return min(lap.cpu_seconds for lap in self._driven[name])


def race(benchmark: BenchmarkFixture, duel: Duel, *, rounds: int) -> None:
    """Let pytest-benchmark drive the rounds; the first does not count for its own table."""
    pedantic: Any = benchmark.pedantic  # it has no types
    pedantic(duel.play_round, rounds=rounds, warmup_rounds=1)


def timed(work: Callable[[], object], units: int) -> Lap:
    """Do work that consists of so many units."""
    cpu_started = time.process_time()
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    cpu_seconds = time.process_time() - cpu_started
    return Lap(seconds / units, cpu_seconds / units)


def repeated(work: Callable[[], object], times: int) -> Callable[[], Lap]:
    """Return a lap that does a short work many times."""

    def work_often() -> None:
        for _ in range(times):
            work()

    return lambda: timed(work_often, times)
