"""One of several processes that share an account: makes jobs, and says which have ended.

`python -m tests.processes.worker CREATES REQUESTS SLOTS` takes its limits as arguments, the
account from the environment, and the numbers of its jobs from standard input. The key of a job
comes from its number, so a process that is started again finds the jobs that exist.
"""

from __future__ import annotations

import asyncio
import sys

from lipsync_async import AsyncClient, Limits
from tests.bulk.jobs import request


async def work(limits: Limits, numbers: list[int]) -> None:
    """Make all jobs at once, as far as the limits allow."""
    async with AsyncClient(limits=limits) as client, asyncio.TaskGroup() as tasks:
        for number in numbers:
            tasks.create_task(make(client, number))


async def make(client: AsyncClient, number: int) -> None:
    """Make one job, and say its id when it has ended."""
    job = await client.generations.run(
        request(number), idempotency_key=f"job-{number}", timeout=None
    )
    print(number, job.id, flush=True)  # noqa: T201 - who started it listens


if __name__ == "__main__":
    creates, requests, slots = map(int, sys.argv[1:])
    asyncio.run(
        work(
            Limits(
                creates_per_minute=creates,
                requests_per_minute=requests,
                concurrent_generations=slots,
            ),
            [int(word) for word in sys.stdin.read().split()],
        )
    )
