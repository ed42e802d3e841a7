"""Calls and iterations that another task, another loop or another thread takes part in."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lipsync_async import AsyncClient, Client, ConfigurationError, Limits, LipsyncError
from lipsync_async.sandbox import Sandbox
from tests.bulk.runs import requests
from tests.client.connections import ORDER, connect
from tests.portal.programs import running

MANY = 3
SLOTS = Limits(creates_per_minute=None, requests_per_minute=None, concurrent_generations=4)


async def a_run(client: AsyncClient) -> AsyncIterator[object]:
    """Run several, in a generator of the caller's own."""
    async with client.generations.run_many(requests(MANY)) as outcomes:
        async for outcome in outcomes:
            yield outcome


async def changes(client: AsyncClient) -> AsyncIterator[object]:
    """Watch a job, in a generator of the caller's own."""
    job = await client.generations.create(**ORDER)
    async with client.generations.updates(job.id) as found:
        async for change in found:
            yield change


ITERATIONS: dict[str, Callable[[AsyncClient], Any]] = {
    "run_many": a_run,
    "updates": changes,
    "pages": lambda client: client.generations.iter(page_size=1),
}


async def by_its_task(iteration: Any) -> None:
    """Close it where it was begun."""
    await iteration.aclose()


async def by_another_task(iteration: Any) -> None:
    """Close it in another task."""
    await asyncio.create_task(iteration.aclose())


async def by_another_loop(iteration: Any) -> None:
    """Close it in a loop that runs in another thread."""
    await asyncio.to_thread(asyncio.run, iteration.aclose())


async def by_a_cancelled_task(iteration: Any) -> None:
    """Close it in a task that is cancelled meanwhile."""
    task = asyncio.create_task(iteration.aclose())
    await checkpoint()
    task.cancel()
    await asyncio.wait([task])


async def by_the_end_of_the_loop(_: Any) -> None:
    """Leave it to asyncio."""
    await asyncio.get_running_loop().shutdown_asyncgens()


CLOSINGS: list[Callable[[Any], Awaitable[None]]] = [
    *(by_its_task, by_another_task, by_another_loop, by_a_cancelled_task, by_the_end_of_the_loop)
]


async def begun(name: str, client: AsyncClient) -> Any:
    """Begin an iteration, and take the first item."""
    for _ in range(2):
        await client.generations.create(**ORDER)
    iteration = ITERATIONS[name](client)
    await anext(iteration)
    return iteration


@pytest.mark.parametrize("close", CLOSINGS)
@pytest.mark.parametrize("name", ITERATIONS)
def test_an_iteration_that_is_closed_elsewhere(
    name: str, close: Callable[[Any], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """Its jobs are named, nothing is left open, and the client goes on."""

    async def main() -> list[str]:
        async with Sandbox(render=False, progression="polls(3)") as sandbox:
            async with connect(sandbox) as client:
                own = asyncio.all_tasks()
                iteration = await begun(name, client)
                with anyio.fail_after(20):
                    await close(iteration)
                    if close is not by_the_end_of_the_loop:  # which ends the client as well
                        assert await client.generations.count() == sandbox.jobs.created
                assert "in_flight=0" in repr(client)
                left = [repr(task) for task in asyncio.all_tasks() - own]
                assert [each for each in left if "lipsync_async/_" in each] == []
            return [job.id for job in sandbox.jobs][2:]

    jobs, told = asyncio.run(main()), " ".join(caplog.messages)
    # One was taken.
    assert name != "run_many" or sum(job in told for job in jobs) >= len(jobs) - 1


@pytest.mark.parametrize("name", ITERATIONS)
def test_an_iteration_that_is_dropped(name: str) -> None:
    """The garbage collector closes it, and the client goes on."""

    async def main() -> None:
        async with Sandbox(render=False, progression="polls(3)") as box, connect(box) as client:
            iteration = await begun(name, client)
            del iteration
            gc.collect()
            assert await client.generations.count() == box.jobs.created

    asyncio.run(main())


@pytest.mark.parametrize("name", ITERATIONS)
def test_an_iteration_that_outlives_its_loop(name: str) -> None:
    """It can be closed in the next loop, and what is asked of it there has an end."""

    async def begin() -> tuple[Any, Sandbox, AsyncClient]:
        sandbox = await Sandbox(render=False, progression="polls(3)").__aenter__()
        client = connect(sandbox)
        return await begun(name, client), sandbox, client

    async def end() -> None:
        with anyio.fail_after(20):
            await iteration.aclose()
            await client.aclose()

    with asyncio.Runner() as runner:
        iteration, sandbox, client = runner.run(begin())
        asyncio.run(end())
        runner.run(sandbox.__aexit__(None, None, None))


@pytest.mark.parametrize("taken", [0, 1, MANY])
def test_outcomes_that_another_loop_asks_for(taken: int) -> None:
    """It gets one clear word, and the loop of the run gets all of them."""

    async def main() -> None:
        async with Sandbox(render=False) as sandbox, connect(sandbox) as client:
            async with client.generations.run_many(requests(MANY)) as outcomes:
                found = [await anext(outcomes) for _ in range(taken)]

                async def take() -> object:
                    return await anext(outcomes)

                with pytest.raises(ConfigurationError, match="belongs to another event loop"):
                    await asyncio.to_thread(asyncio.run, take())
                found += [outcome async for outcome in outcomes]
            assert sorted(outcome.index for outcome in found) == [0, 1, 2]

    asyncio.run(main())


async def to_the_end(iteration: AsyncIterator[object]) -> object:
    """Return all items."""
    return [item async for item in iteration]


async def save(client: AsyncClient, folder: Path) -> object:
    """Save a result."""
    made = await client.generations.run(**ORDER)
    return await client.generations.download(made, folder / f"{made.id}.mp4")


VERBS: dict[str, Callable[[AsyncClient, Path], Awaitable[object]]] = {
    "create": lambda client, _: client.generations.create(**ORDER),
    "run": lambda client, _: client.generations.run(**ORDER),
    "run_all": lambda client, _: client.generations.run_all(requests(MANY)),
    "run_many": lambda client, _: to_the_end(a_run(client)),
    "updates": lambda client, _: to_the_end(changes(client)),
    "download": save,
    "pages": lambda client, _: to_the_end(client.generations.iter()),
    "count": lambda client, _: client.generations.count(),
}


def in_two_loops(use: Callable[[], Awaitable[object]]) -> list[object]:
    """Do something in two threads' loops at once; return what came of both."""
    are_ready = threading.Barrier(2)

    async def work() -> object:
        await asyncio.to_thread(are_ready.wait, 10)
        try:
            with anyio.fail_after(20):
                return await use()
        except LipsyncError as error:
            return error
        finally:
            await asyncio.to_thread(are_ready.wait, 10)  # a loop that has ended gives way

    with ThreadPoolExecutor(2) as pool:
        return [each.result() for each in [pool.submit(asyncio.run, work()) for _ in range(2)]]


@pytest.mark.parametrize("name", VERBS)
async def test_two_loops_at_once_with_one_client(name: str, tmp_path: Path) -> None:
    """Each works, or gets one clear word; what it says is not sent is not sent."""
    async with Sandbox(render=False, progression="polls(2)") as sandbox:
        client = connect(sandbox)
        ends = await asyncio.to_thread(in_two_loops, lambda: VERBS[name](client, tmp_path))
        refused = [end for end in ends if isinstance(end, LipsyncError)]
        items = [item for end in ends if isinstance(end, list) for item in end]
        refused += [item.error for item in items if getattr(item, "error", None)]
        assert {type(error) for error in refused} <= {ConfigurationError}
        assert all("another running event loop" in str(error) for error in refused)
        assert any(end not in refused for end in ends)
        await client.aclose()


async def test_two_loops_at_once_with_one_account() -> None:
    """Their runs share its slots: both end, and the service refuses neither."""
    async with Sandbox(render=False, progression="polls(2)", concurrency=4) as sandbox:

        async def use() -> object:
            async with connect(sandbox, limits=SLOTS) as client:
                return await client.generations.run_all(requests(8))

        ends = await asyncio.to_thread(in_two_loops, use)
        assert sandbox.jobs.created == 16
        assert sum(entry.status == 429 for entry in sandbox.requests) == 0
    assert [[outcome.error for outcome in end] for end in ends] == [[None] * 8] * 2  # type: ignore[attr-defined]


async def test_forty_blocking_downloads(tmp_path: Path) -> None:
    """In a pool of forty threads each has its own file, whole, and none waits for another."""
    async with Sandbox(render=False, progression="immediate", placeholder_size=50_000) as sandbox:

        def work() -> list[int]:
            with Client(sandbox.api_key, base_url=sandbox.url) as client:
                job = client.generations.run(**ORDER)

                def save(number: int) -> int:
                    path = client.generations.download(job, tmp_path / f"{number}.mp4")
                    return path.stat().st_size

                with ThreadPoolExecutor(40) as pool:
                    return list(pool.map(save, range(40)))

        sizes = await asyncio.to_thread(work)
    assert (len(sizes), len(set(sizes))) == (40, 1)
    assert {path.suffix for path in tmp_path.iterdir()} == {".mp4"}  # noqa: ASYNC240 - one look


WAKEUP = """
    import signal, socket

    mine, woken = socket.socketpair()
    for each in (mine, woken):
        each.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    client = connect()
    WHEN
    try:
        say("begun")
        client.generations.run(**ORDER)
    except KeyboardInterrupt as error:
        say(len(error.__notes__))
    say(client.generations.count())
    client.close()
    say(mine.recv(1) == bytes([signal.SIGINT]))
    say(signal.set_wakeup_fd(-1) == woken.fileno())
    mine.close()
    woken.close()
"""


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("when", ["", "client.models.list()"], ids=["at first", "used before"])
async def test_a_wakeup_fd_of_the_users_own(when: str) -> None:
    """The blocking client leaves it where it is, and Ctrl-C reaches both."""
    body = WAKEUP.replace("WHEN", when)
    async with (
        Sandbox(render=False, progression="manual") as sandbox,
        running(body, sandbox) as program,
    ):
        await program.line()
        while not sandbox.requests.count("GET", "/v2/generate/*"):
            await checkpoint()
        program.interrupt()
        code, printed, errors = await program.end()
    assert (code, printed.split(), errors) == (0, ["1", "1", "True", "True"], "")
