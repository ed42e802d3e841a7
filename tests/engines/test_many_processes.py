import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import anyio
import pytest

from lipsync_async._rate_limits import GUARD, WINDOW
from lipsync_async.sandbox import Sandbox
from tests.processes.workers import Workers
from tests.servers import Server

# Of a usual plan, ten times as high.
LIMITS = (600, 6000, 150)
COUNT = 2000
# What a client allows itself of the creates, for each second.
PACE = LIMITS[0] / (WINDOW * (1 + GUARD))
# Seconds from an outage of the store, or the loss of its state, in which creates may pause.
RECOVERY = 15.0


@asynccontextmanager
async def serving() -> AsyncIterator[Sandbox]:
    """Serve jobs of some seconds over real HTTP, with the account's limits."""
    creates, requests, slots = LIMITS
    async with Sandbox(
        render=False,
        progression="time(4-8)",
        creates_per_minute=creates,
        requests_per_minute=requests,
        concurrency=slots,
    ) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def undisturbed_seconds() -> float:
    """Measure how long one process takes that nothing disturbs."""

    async def measure() -> float:
        async with serving() as sandbox:
            workers = Workers(sandbox, LIMITS, None, count=COUNT, processes=1)
            began = monotonic()
            await workers.run({})
            workers.check()
            return monotonic() - began

    return asyncio.run(measure())


async def test_many_processes_are_one_account(
    store: Server, undisturbed_seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through kills, a sleep and lost states, each job is made once, at the account's pace."""
    opened = monotonic()
    async with serving() as sandbox:
        workers = Workers(sandbox, LIMITS, store.url, count=COUNT)
        pauses: list[float] = []  # in seconds of the sandbox

        async def restart(*, is_state_lost: bool) -> None:
            pauses.append(monotonic() - opened)
            await asyncio.to_thread(store.stop)
            with anyio.move_on_after(5):
                await anyio.sleep_forever()
            await asyncio.to_thread(store.start)
            if is_state_lost:
                await asyncio.to_thread(store.lose_state)
            pauses.append(monotonic() - opened + RECOVERY)

        began = monotonic()
        await workers.run(
            {
                200: workers.kill,
                400: lambda: restart(is_state_lost=False),
                600: workers.kill,
                700: lambda: workers.stop(60.0),
                800: workers.kill,
                1100: lambda: restart(is_state_lost=True),
                1300: workers.kill,
                1500: workers.kill,
                1700: workers.kill,
            }
        )
        seconds = monotonic() - began
        pace = pace_of(workers.create_times(), pauses)
        with capsys.disabled():
            print(f"\n{type(store).__name__}: {workers.told()}")  # noqa: T201
            print(f"{pace:.2f} creates a second while the store is there; allowed: {PACE:.2f}")  # noqa: T201
            print(f"{seconds:.0f} s; one undisturbed process: {undisturbed_seconds:.0f} s")  # noqa: T201
        workers.check()
        assert workers.kills == 6
        busy = f"load averages {os.getloadavg()}: other programs may have had the processors"
        assert pace > 0.97 * PACE, busy
        assert seconds < 1.2 * undisturbed_seconds, busy


def pace_of(times: list[float], pauses: list[float]) -> float:
    """Return the creates a second outside of the pauses, which are pairs of times."""
    spans = [(times[0], pauses[0]), *zip(pauses[1::2], [*pauses[2::2], times[-1]], strict=True)]
    count = sum(begin < time <= end for time in times for begin, end in spans)
    return count / sum(end - begin for begin, end in spans)
