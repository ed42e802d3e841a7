"""How late an end is seen, beside the least that an account's limits allow.

With B requests a second, K jobs in each and N jobs, no client can look at a job more often
than every `T = max(1/B, T_min, N/(B*K))` seconds, and one that does sees its end T/2 late
on average. Here time is virtual and the service answers at once, so the figures are those
of the rules alone, and an hour of jobs takes seconds.
"""

from __future__ import annotations

import asyncio
import statistics
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from benchmarks.bulk_jobs import Jobs, place_of
from benchmarks.bulk_orders import order
from benchmarks.ratios import Ratio
from lipsync_async import AsyncClient, Limits, PollPolicy
from lipsync_async._models.http import Response
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from lipsync_async._models.http import Request

_A_MINUTE = 600  # 10 requests a second: B
_IN_ONE = 100  # K
_INTERVAL = PollPolicy().shared_interval  # T_min
# The jobs' lengths, in T: so many that no length keeps step with the looks.
_LENGTHS = (3.0, 33.0)
# Ends to judge by: their mean is then within 2 % of what it would be for ever.
_ENDS = 4000


class _Service:
    """Answer a client in memory.

    Args:
        shortest: Seconds of the shortest job.
        longest: Seconds of the longest.

    """

    def __init__(self, shortest: float, longest: float) -> None:
        self.clock = VirtualClock()
        self.jobs = Jobs(1, shortest, longest, self.clock.now)

    async def handle(self, request: Request) -> Response:
        """Answer a create or a look."""
        parts = urlsplit(request.url)
        if request.method == "POST":
            key = request.headers["idempotency-key"].encode()
            body = self.jobs.create(key)
        elif parts.query:
            body = self.jobs.show_all(parts.query.encode())
        else:
            body = self.jobs.show(parts.path.rpartition("/")[2].encode())
        return Response(request.method, request.url, 200, {}, body)


@pytest.mark.parametrize("number", [15, 100, 1000, 10_000])
def test_delay(report: Callable[[Ratio], None], number: int) -> None:
    """Keep so many jobs running at once, and see them end."""
    period = max(60 / _A_MINUTE, _INTERVAL, number / (_A_MINUTE / 60 * _IN_ONE))
    delay = asyncio.run(_mean_delay(number, period))
    what = f"{number} jobs, {_A_MINUTE} requests a minute: mean delay"
    report(Ratio(what=f"{what}, in s", measured=delay))
    report(Ratio(what=f"{what}, of T/2", measured=delay / (period / 2), at_most=1.1))


async def _mean_delay(number: int, period: float) -> float:
    """Replace each job that ends until enough have ended with all slots full."""
    service = _Service(*(length * period for length in _LENGTHS))
    limits = Limits(
        creates_per_minute=None,
        requests_per_minute=_A_MINUTE,
        concurrent_generations=number,
    )
    transport = MemoryTransport(service.handle, service.clock)
    delays: list[float] = []
    async with (
        AsyncClient("key", transport=transport, limits=limits) as client,
        client.generations.run_many(map(order, count())) as outcomes,
    ):
        async for outcome in outcomes:
            assert outcome.generation is not None, outcome.error
            place = place_of(outcome.generation.id)
            delays.append(service.clock.now() - service.jobs.ends[place])
            if len(delays) >= number + _ENDS:
                break
    return statistics.mean(delays[-_ENDS:])
