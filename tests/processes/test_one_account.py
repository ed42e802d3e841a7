import asyncio

import pytest

from lipsync_async.sandbox import Sandbox
from tests.processes.workers import Workers
from tests.servers import Server


async def test_four_processes_are_one_account(
    store: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through kills and a lost state, each job is made once, and the service refuses nothing."""
    # Of a usual plan, ten times as high; more jobs want to run than there are slots.
    creates, requests, slots = limits = (600, 6000, 60)
    async with Sandbox(
        render=False,
        progression="time(5-10)",
        creates_per_minute=creates,
        requests_per_minute=requests,
        concurrency=slots,
    ) as sandbox:
        workers = Workers(sandbox, limits, store.url, count=240)

        async def lose_state() -> None:
            await asyncio.to_thread(store.lose_state)

        async with asyncio.timeout(200):
            await workers.run(
                {40: workers.kill, 80: workers.kill, 120: lose_state, 160: workers.kill}
            )
        with capsys.disabled():
            print(f"\n{type(store).__name__}: {workers.told()}")  # noqa: T201
        workers.check()
        assert workers.kills == 3
