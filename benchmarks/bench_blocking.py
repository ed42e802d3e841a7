"""The blocking client: what its way into an event loop costs, and beside `syncsdk`'s.

A bare round trip into a loop's thread is what anyone pays who calls async code from
blocking code with the standard library. The rates are against the same server as those
of the async client.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING

from benchmarks.measuring import Duel, Lap, race, repeated, timed
from benchmarks.opponents import BLOCKING_OPPONENTS, OPPONENTS
from benchmarks.payloads import GENERATION_ID
from benchmarks.ratios import Ratio
from lipsync_async._portal import Portal, SyncWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.opponents import BlockingGet, Get

_CALLS = 100
_THREADS = 50
# Many short laps find more calm moments than a few long ones.
_ROUNDS = {"portal": 500, "alone": 200, "shared": 40}
# Requests a lap: about as long for the slow as for the fast.
_ALONE = {"ours": 50, "async": 50, "peer": 15}
_SHARED = {"ours": 500, "peer": 200}


class _AsyncIdler:
    """Have a verb that does nothing."""

    async def rest(self) -> None:
        """Do nothing."""


class _Idler(SyncWrapper):
    """Have the same verb as the generator would write it."""

    _source: _AsyncIdler

    def rest(self) -> None:
        """Do nothing, in the loop."""
        self._portal.call(self._source.rest)


def test_portal(benchmark: BenchmarkFixture, report: Callable[[Ratio], None]) -> None:
    """Do nothing in a loop of another thread, and wait for it."""
    source, portal = _AsyncIdler(), Portal()
    ours = _Idler(portal, source)
    with _loop_in_thread() as loop:
        duel = Duel(
            {
                "bare": repeated(
                    lambda: asyncio.run_coroutine_threadsafe(source.rest(), loop).result(),
                    _CALLS,
                ),
                "ours": repeated(ours.rest, _CALLS),
            },
        )
        race(benchmark, duel, rounds=_ROUNDS["portal"])
    portal.close(source.rest)
    for kind, taken in (("time", duel.seconds), ("CPU", duel.cpu_seconds)):
        bare, own = taken("bare"), taken("ours")
        report(Ratio(what=f"no-op verb: {kind}, in µs", measured=own * 1e6))
        report(Ratio(what=f"no-op verb: {kind} of a bare round trip, in µs", measured=bare * 1e6))
        report(Ratio(what=f"no-op verb: {kind} / bare", measured=own / bare, at_most=3.0))


def test_get_alone(
    benchmark: BenchmarkFixture,
    report: Callable[[Ratio], None],
    base_url: str,
) -> None:
    """Get a generation again and again, one after the other."""
    with asyncio.Runner() as runner, ExitStack() as clients:
        async_client = OPPONENTS["ours"](base_url)
        async_get = runner.run(async_client.__aenter__())
        clients.callback(lambda: runner.run(async_client.__aexit__(None, None, None)))
        laps: dict[str, Callable[[], Lap]] = {
            name: partial(_lap_alone, get, _ALONE[name])
            for name, get in _built(clients, base_url).items()
        }
        laps["async"] = partial(_lap_async, runner, async_get, _ALONE["async"])
        duel = Duel(laps)
        race(benchmark, duel, rounds=_ROUNDS["alone"])
    for ratio in _ratios(duel, "blocking get", least=3.0):
        report(ratio)
    for kind, taken in (("time", duel.seconds), ("CPU", duel.cpu_seconds)):
        what = f"blocking get: {kind}, µs more than the async client"
        report(Ratio(what=what, measured=(taken("ours") - taken("async")) * 1e6))
    report(
        Ratio(what="async get, one after the other: a second", measured=1 / duel.seconds("async"))
    )


def test_get_shared(
    benchmark: BenchmarkFixture,
    report: Callable[[Ratio], None],
    base_url: str,
) -> None:
    """Get a generation again and again, in many threads that share a client."""
    with ExitStack() as clients:
        pool = clients.enter_context(ThreadPoolExecutor(_THREADS))
        duel = Duel(
            {
                name: partial(_lap_shared, pool, get, _SHARED[name])
                for name, get in _built(clients, base_url).items()
            },
        )
        race(benchmark, duel, rounds=_ROUNDS["shared"])
    for ratio in _ratios(duel, f"blocking get in {_THREADS} threads", least=None):
        report(ratio)


@contextmanager
def _loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _built(clients: ExitStack, base_url: str) -> dict[str, BlockingGet]:
    return {
        name: clients.enter_context(build(base_url)) for name, build in BLOCKING_OPPONENTS.items()
    }


def _lap_alone(get: BlockingGet, requests: int) -> Lap:
    return timed(lambda: _get_each(get, repeat(GENERATION_ID, requests)), requests)


def _lap_async(runner: asyncio.Runner, get: Get, requests: int) -> Lap:
    async def get_each() -> None:
        for generation_id in repeat(GENERATION_ID, requests):
            generation = await get(generation_id)
            assert generation.id == generation_id

    return timed(lambda: runner.run(get_each()), requests)


def _lap_shared(pool: ThreadPoolExecutor, get: BlockingGet, requests: int) -> Lap:
    """Share the requests among the threads, each with one under way at a time."""

    def load() -> None:
        ids = repeat(GENERATION_ID, requests)
        workers = [pool.submit(_get_each, get, ids) for _ in range(_THREADS)]
        for worker in workers:
            worker.result()

    return timed(load, requests)


def _get_each(get: BlockingGet, ids: Iterable[str]) -> None:
    for generation_id in ids:
        assert get(generation_id).id == generation_id


def _ratios(duel: Duel, what: str, *, least: float | None) -> Iterator[Ratio]:
    """Compare rates and CPU times; more is better in each. The rate has the target."""
    for name in BLOCKING_OPPONENTS:
        yield Ratio(what=f"{what}: {name}, a second", measured=1 / duel.seconds(name))
        yield Ratio(what=f"{what}: {name}, µs of CPU", measured=duel.cpu_seconds(name) * 1e6)
    rate = duel.seconds("peer") / duel.seconds("ours")
    yield Ratio(what=f"{what}: rate, times syncsdk", measured=rate, at_least=least)
    cpu_rate = duel.cpu_seconds("peer") / duel.cpu_seconds("ours")
    yield Ratio(what=f"{what}: CPU, times syncsdk", measured=cpu_rate)
