"""One of several processes that share an account: makes jobs, and says which have ended.

`python -m tests.processes.worker CREATES REQUESTS SLOTS` takes its limits as arguments, the
account from the environment, and the numbers of its jobs from standard input, until that ends.
The key of a job comes from its number, so a process that is started again finds the jobs that
exist.
"""

from __future__ import annotations

import asyncio
import sys

from lipsync_async import AsyncClient, Limits
from tests.bulk.jobs import request


async def work(limits: Limits) -> None:
    """Make each job as soon as it is known, as far as the limits allow."""
    numbers = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(numbers), sys.stdin
    )
    async with AsyncClient(limits=limits) as client, asyncio.TaskGroup() as tasks:
        async for number in numbers:
            tasks.create_task(make(client, int(number)))


async def make(client: AsyncClient, number: int) -> None:
    """Make one job, and say its id when it has ended."""
    job = await client.generations.run(
        request(number), idempotency_key=f"job-{number}", timeout=None
    )
    print(number, job.id, flush=True)  # noqa: T201 - who started it listens


if __name__ == "__main__":
    creates, requests, slots = map(int, sys.argv[1:])
    limits = Limits(
        creates_per_minute=creates, requests_per_minute=requests, concurrent_generations=slots
    )
    asyncio.run(work(limits))
