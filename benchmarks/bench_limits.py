"""Many jobs within the real limits of an account, on a clock that runs ten times as fast.

Sixty creates and 600 other requests a minute, and so many generations at once: the rate
and the slots that a limit allows are to be used and never exceeded. All seconds and
minutes here are those of the fast clock.
"""

from __future__ import annotations

import asyncio
import heapq
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest

from benchmarks.bulk_orders import order
from benchmarks.bulk_peer import INTERVAL, peer_client, run_as_peer
from benchmarks.hurried_sandbox import SPEED, HurriedSandbox, HurriedTransport, hurried_sandbox
from benchmarks.ratios import Ratio
from lipsync_async import AsyncClient, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    Report = Callable[[Ratio], None]

_A_MINUTE = {"creates_per_minute": 60, "requests_per_minute": 600}
_JOBS = 300
_SLOTS = 15  # the largest plan that is sold without an agreement
_FOREIGN = 8
# Long enough for the creates' limit not to matter: 15 slots ask for 30 jobs a minute.
_LENGTHS = (10.0, 50.0)


def test_rate(report: Report) -> None:
    """Order as fast as the account allows."""
    with hurried_sandbox(**_A_MINUTE) as sandbox:
        lost, _ = asyncio.run(_run(sandbox, [10.0] * _JOBS, slots=10 * _JOBS))
    assert lost == 0
    what = f"{_JOBS} jobs, 60 creates a minute"
    report(Ratio(what=f"{what}: refused for the rate", measured=sandbox.refusals, at_most=0))
    moments = [create.time for create in sandbox.creates]
    rate = 60.0 * (len(moments) - 1) / (moments[-1] - moments[0])
    report(Ratio(what=f"{what}: rate, % of the limit", measured=100 * rate / 60, at_least=98.0))


def test_rate_of_the_peer(report: Report) -> None:
    """Let `syncsdk` order as many, each in a task."""
    with hurried_sandbox(**_A_MINUTE, progression="time(10)") as sandbox:
        lost = asyncio.run(_run_peer(sandbox))
    what = f"{_JOBS} jobs, 60 creates a minute, syncsdk"
    report(Ratio(what=f"{what}: lost", measured=lost))
    report(Ratio(what=f"{what}: refused for the rate", measured=sandbox.refusals))


@pytest.mark.parametrize("limit", [_SLOTS, None], ids=["known", "unknown"])
def test_slots(report: Report, limit: int | None) -> None:
    """Keep fifteen slots full."""
    lengths = _drawn(_JOBS // 2)
    with hurried_sandbox(concurrency=_SLOTS, **_A_MINUTE) as sandbox:
        lost, seconds = asyncio.run(_run(sandbox, lengths, slots=limit))
    assert lost == 0
    what = f"{len(lengths)} jobs, {_SLOTS} slots, {'known' if limit else 'unknown'}"
    part = 100 * _perfect(lengths, _SLOTS) / seconds
    report(Ratio(what=f"{what}: pace, % of the perfect", measured=part, at_least=98.0))
    refusals = sandbox.refusals
    report(Ratio(what=f"{what}: refused", measured=refusals, at_most=0 if limit else 2))
    if limit is None:
        found = next(
            (place for place, each in enumerate(sandbox.creates, 1) if each.status == 429),
            len(sandbox.creates),
        )
        report(Ratio(what=f"{what}: creates until it was known", measured=found, at_most=20))


def test_slots_of_others(report: Report) -> None:
    """Share fifteen slots with somebody else, who takes half of them for two minutes."""
    lengths = _drawn(_JOBS // 3)
    with hurried_sandbox(concurrency=_SLOTS, **_A_MINUTE) as sandbox:
        lost, seconds = asyncio.run(_run_beside_others(sandbox, lengths))
    assert lost == 0
    what = f"{len(lengths)} jobs, {_FOREIGN} of {_SLOTS} slots taken"
    report(Ratio(what=f"{what}: lost", measured=lost, at_most=0))
    minutes = seconds / 60
    report(Ratio(what=f"{what}: refused a minute", measured=sandbox.refusals / minutes, at_most=12))


def _drawn(number: int) -> list[float]:
    chance = Random(1)
    return [chance.uniform(*_LENGTHS) for _ in range(number)]


def _perfect(lengths: Sequence[float], slots: int) -> float:
    """Return how long jobs take if each begins in the moment in which a slot is free."""
    free = [0.0] * slots
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


@asynccontextmanager
async def _client(
    sandbox: HurriedSandbox, lengths: Sequence[float], slots: int | None
) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(
        sandbox.api_key,
        base_url=sandbox.base_url,
        limits=Limits(concurrent_generations=slots),
        transport=HurriedTransport(lengths),
    ) as client:
        yield client


async def _run(
    sandbox: HurriedSandbox, lengths: Sequence[float], slots: int | None
) -> tuple[int, float]:
    """Run jobs of these lengths; return how many were lost, and the seconds."""
    async with _client(sandbox, lengths, slots) as client:
        await client.models.list()  # a connection, and what is built at first use
        began = HurriedTransport(()).now()
        outcomes = await client.generations.run_all(map(order, range(len(lengths))))
        seconds = HurriedTransport(()).now() - began
    return len(lengths) - sum(outcome.is_success for outcome in outcomes), seconds


async def _run_beside_others(
    sandbox: HurriedSandbox, lengths: Sequence[float]
) -> tuple[int, float]:
    async with _client(sandbox, [120.0] * _FOREIGN, _FOREIGN) as others:
        for take in range(_FOREIGN):
            await others.generations.create(order(take))
        return await _run(sandbox, lengths, _SLOTS)


async def _run_peer(sandbox: HurriedSandbox) -> int:
    """Run jobs in a task each; return how many were lost."""
    async with peer_client(sandbox.base_url, sandbox.api_key) as client:
        runs = [run_as_peer(client, INTERVAL / SPEED) for _ in range(_JOBS)]
        jobs = await asyncio.gather(*runs, return_exceptions=True)
    return sum(isinstance(job, BaseException) for job in jobs)
