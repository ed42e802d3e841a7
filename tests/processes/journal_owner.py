"""A process that owns a journal on a server: it runs all requests, and says which have ended.

`python -m tests.processes.journal_owner ADDRESS COUNT FOLDER` takes the account from the
environment.
"""

from __future__ import annotations

import asyncio
import sys

from lipsync_async import AsyncClient, JournalError, Limits, PollPolicy, RetryPolicy
from tests.bulk.runs import requests


async def work(address: str, count: int, folder: str) -> None:
    """Run all requests; say the number and the job of each that has ended, or why none may."""
    client = AsyncClient(
        limits=Limits(creates_per_minute=None, requests_per_minute=None),
        poll=PollPolicy(initial_interval=0.05, max_interval=0.1, shared_interval=0.05),
        retry=RetryPolicy(first_pause=0.01, longest_pause=0.02),
    )
    run_many = client.generations.run_many
    try:
        async with client, run_many(requests(count), journal=address, download_to=folder) as found:
            async for outcome in found:
                tell(outcome.index, outcome.unwrap().id)
    except JournalError as error:
        tell(f"JournalError: {error}")


def tell(*words: object) -> None:
    """Say something to the process that started this one."""
    print(*words, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
