"""Getting a generation over loopback, beside raw aiohttp and `syncsdk`.

The server has a process of its own. The opponents share this one, each with one client
that lives as long as the benchmark, and only their own CPU time is counted.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from benchmarks.measuring import Duel, Lap, race, timed
from benchmarks.opponents import OPPONENTS
from benchmarks.payloads import GENERATION_ID
from benchmarks.ratios import Ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.opponents import Get

# Many short laps find more calm moments than a few long ones.
_ROUNDS = {1: 60, 100: 40, 1000: 4}
# Requests a lap, by concurrency: enough to keep everyone busy, fewer for the slow.
_REQUESTS = {
    1: {"raw": 100, "ours": 100, "peer": 20},
    100: {"raw": 300, "ours": 300, "peer": 100},
    1000: {"raw": 1000, "ours": 1000, "peer": 1000},
}
# Only this concurrency has targets; the others are told for information.
_JUDGED = 100


@pytest.mark.parametrize("concurrency", _REQUESTS)
def test_round_trip(
    benchmark: BenchmarkFixture,
    report: Callable[[Ratio], None],
    base_url: str,
    concurrency: int,
) -> None:
    """Get a generation again and again, with so many requests under way at once."""
    before = _served(base_url)
    with asyncio.Runner() as runner:
        clients = AsyncExitStack()
        duel = Duel(
            {
                name: partial(_lap, runner, get, concurrency, _REQUESTS[concurrency][name])
                for name, get in runner.run(_built(clients, base_url)).items()
            },
        )
        race(benchmark, duel, rounds=_ROUNDS[concurrency])
        runner.run(clients.aclose())
    for ratio in _ratios(duel, concurrency):
        report(ratio)
    report(_server_headroom(duel, concurrency, before, _served(base_url)))


async def _built(clients: AsyncExitStack, base_url: str) -> dict[str, Get]:
    return {
        name: await clients.enter_async_context(build(base_url))
        for name, build in OPPONENTS.items()
    }


def _lap(runner: asyncio.Runner, get: Get, concurrency: int, requests: int) -> Lap:
    return timed(lambda: runner.run(_load(get, concurrency, requests)), requests)


async def _load(get: Get, concurrency: int, requests: int) -> None:
    """Share the requests among so many tasks, each with one under way at a time."""
    ids = repeat(GENERATION_ID, requests)

    async def work() -> None:
        for generation_id in ids:
            generation = await get(generation_id)
            assert generation.id == generation_id

    async with asyncio.TaskGroup() as workers:
        for _ in range(concurrency):
            workers.create_task(work())


def _ratios(duel: Duel, concurrency: int) -> Iterator[Ratio]:
    """Compare rates and CPU times; more is better in each."""
    at = f"get at {concurrency}"
    for name in OPPONENTS:
        yield Ratio(what=f"{at}: {name}, a second", measured=1 / duel.seconds(name))
        yield Ratio(what=f"{at}: {name}, µs of CPU", measured=duel.cpu_seconds(name) * 1e6)
    for kind, taken in (("rate", duel.seconds), ("CPU", duel.cpu_seconds)):
        for other, words, least in (("raw", "raw aiohttp", 0.85), ("peer", "syncsdk", 15.0)):
            yield Ratio(
                what=f"{at}: {kind}, times {words}",
                measured=taken(other) / taken("ours"),
                at_least=least if concurrency == _JUDGED else None,
            )


def _server_headroom(
    duel: Duel,
    concurrency: int,
    before: dict[str, Any],
    after: dict[str, Any],
) -> Ratio:
    """Compare what the server could answer on a core of its own with what was asked at most."""
    requests = after["requests"] - before["requests"]
    possible = requests / (after["cpu_seconds"] - before["cpu_seconds"])
    asked = 1 / min(duel.seconds(name) for name in OPPONENTS)
    what = f"get at {concurrency}: server's capacity, times what was asked"
    return Ratio(what=what, measured=possible / asked)


def _served(base_url: str) -> dict[str, Any]:
    with urlopen(f"{base_url}/served") as answer:  # noqa: S310 - our own server
        served: dict[str, Any] = json.load(answer)
    return served
