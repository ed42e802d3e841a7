"""Thousands of jobs at once on an account without limits, beside one task for each job.

Every run has a process of its own, so that CPU and memory are its alone, and the server
has another. All meet the same jobs, of 5 to 30 s. CPU time is that of a shared machine: busy
neighbours make it half as long again, for everyone alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.bulk_runs import bulk_run, serving
from benchmarks.ratios import Ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.bulk_runs import BulkRun

_TICK = 1.0


@pytest.fixture(scope="module")
def bulk_url() -> Iterator[str]:
    """Run the server of many jobs."""
    with serving() as base_url:
        yield base_url


@pytest.mark.parametrize("jobs", [5000, 10_000])
def test_thousands(report: Callable[[Ratio], None], bulk_url: str, jobs: int) -> None:
    """Run thousands of jobs, which `syncsdk` does not finish."""
    run = bulk_run(bulk_url, "ours", jobs, tick=_TICK)
    for ratio in _judged(run, "ours"):
        report(ratio)


def test_a_thousand(report: Callable[[Ratio], None], bulk_url: str) -> None:
    """Run as many jobs in each way."""
    ours, raw, peer = (
        bulk_run(bulk_url, name, 1000, tick=_TICK) for name in ("ours", "raw", "peer")
    )
    for ratio in _judged(ours, "ours"):
        report(ratio)
    what = f"{ours.jobs} jobs, ours: CPU a finished job, times a bare POST"
    report(Ratio(what=what, measured=ours.posts_per_job, at_most=2.2))
    for name, words, other, least in (
        ("raw", "a raw aiohttp task a job", raw, None),
        ("peer", "syncsdk", peer, 120.0),
    ):
        for ratio in _told(other, name):
            report(ratio)
        times = other.cpu_per_job / ours.cpu_per_job
        what = f"{ours.jobs} jobs: CPU, times {words}"
        report(Ratio(what=what, measured=times, at_least=least))


def _judged(run: BulkRun, name: str) -> Iterator[Ratio]:
    """Compare a run with its targets; what it may not lose is no matter of degree."""
    assert run.failed == 0, run.errors
    at_most = {
        "requests a finished job": 1.25,
        "median delay, in s": 0.6,
        "p99 delay, in s": _TICK + 0.25,
        "over after the last, in s": _TICK + 1.0,
        "µs of CPU a finished job": 600.0,
    }
    for ratio in _told(run, name):
        figure = ratio.what.rpartition(": ")[2]
        yield Ratio(what=ratio.what, measured=ratio.measured, at_most=at_most.get(figure))


def _told(run: BulkRun, name: str) -> Iterator[Ratio]:
    figures = {
        "requests a finished job": run.requests_per_job,
        "median delay, in s": run.median_delay,
        "p99 delay, in s": run.p99_delay,
        "over after the last, in s": run.after_the_last,
        "µs of CPU a finished job": run.cpu_per_job,
        "MB of memory": run.memory / 1e6,
        "never noticed": run.failed,
        "% of the server's time": 100 * run.server_share,
    }
    for figure, measured in figures.items():
        yield Ratio(what=f"{run.jobs} jobs, {name}: {figure}", measured=measured)
