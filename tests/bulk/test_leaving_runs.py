"""However a run of many requests is left, nothing is left behind but its jobs."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from lipsync_async import AsyncClient, GenerationRequest, LipsyncError, Outcome, Progress
from lipsync_async.sandbox import Sandbox
from tests.bulk.runs import opened, requests, slots
from tests.client.connections import cancel_when
from tests.client.waiters import poller_of, remains


async def begun(sandbox: Sandbox, many: int) -> None:
    """Wait until so many jobs were made."""
    while sandbox.jobs.created < many:
        await anyio.lowlevel.checkpoint()


def held(client: AsyncClient) -> list[object]:
    """Return what a client still holds of its runs."""
    slots = client._requester.account.slots  # noqa: SLF001
    _ = slots.used  # what was released is taken back when the slots are next used
    return [*remains(poller_of(client)), *slots.limiter.waiters, *slots.limiter.owners]


ENDS: list[type[BaseException]] = [LookupError, LipsyncError, StopAsyncIteration, StopIteration]
ENDS += [KeyboardInterrupt, SystemExit]


@pytest.mark.parametrize("kind", ENDS)
async def test_an_exception_comes_out_as_it_is(kind: type[BaseException]) -> None:
    """Without a group around it, whatever it is, and all that ran for it has ended."""
    failure = kind("enough")
    async with opened(progression="manual") as (client, sandbox, _):
        with pytest.raises(kind) as caught:  # noqa: PT012 - the block is what is tested
            async with client.generations.run_many(requests(20)):
                await begun(sandbox, 20)
                raise failure
        assert caught.value is failure
        assert held(client) == []


async def test_its_task_is_cancelled() -> None:
    """A cancelled task ends as cancelled, in the middle of creates, looks and outcomes."""
    async with opened(slots(5), progression="manual") as (client, sandbox, clock):
        for many in (1, 3, 5):

            def are_active(many: int = many) -> bool:
                return sandbox.jobs.active >= many

            await cancel_when(are_active, lambda: client.generations.run_all(requests(20)))
            assert held(client) == []
            for job in sandbox.jobs:
                if not job.is_ended:
                    sandbox.jobs.move(job.id, "PROCESSING")
                    sandbox.jobs.move(job.id, "FAILED")
            await clock.sleep(60)  # what was left is looked at before its slots are taken anew


async def refuse_sync(_: Progress) -> None:
    """Raise when awaited."""
    await anyio.lowlevel.checkpoint()
    raise LookupError("no display")


def refuse(_: Progress) -> None:
    """Raise when called."""
    raise LookupError("no display")


@pytest.mark.parametrize("on_progress", [refuse, refuse_sync])
async def test_a_callback_that_raises(on_progress: Callable[[Progress], Any]) -> None:
    """Its error comes where the outcome was asked for, and ends a run that is not caught."""
    async with opened() as (client, sandbox, _):
        with pytest.raises(LookupError, match="no display"):
            await client.generations.run_all(requests(3), on_progress=on_progress)
        assert held(client) == []
        async with client.generations.run_many(requests(3), on_progress=on_progress) as outcomes:
            with pytest.raises(LookupError, match="no display"):
                await anext(outcomes)
        assert held(client) == []
        assert sandbox.jobs.created <= 6


async def test_leaving_a_slow_input() -> None:
    """An input that never comes to its next request does not keep anybody."""
    closed: list[str] = []

    async def rows() -> AsyncIterator[GenerationRequest]:
        try:
            for request in requests(1):
                yield request
            await anyio.sleep_forever()
        finally:
            closed.append("rows")

    async with opened() as (client, _, _):
        async with client.generations.run_many(rows()) as outcomes:
            first = await anext(outcomes)
        assert first.is_success
        assert closed == ["rows"]


async def test_a_step_may_be_cancelled_and_tried_again() -> None:
    """A cancelled `anext` loses no outcome, nor those that follow."""
    found: list[Outcome] = []
    async with opened(slots(2)) as (client, _, _):
        async with client.generations.run_many(requests(6)) as outcomes:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anext(outcomes)
            assert scope.cancelled_caught
            found += [each async for each in outcomes]
        assert sorted(each.index for each in found) == list(range(6))


async def test_several_tasks_take_outcomes() -> None:
    """Outcomes may be shared out among workers, and all end when there are no more."""
    found: list[tuple[str, int]] = []

    async def work(name: str, outcomes: AsyncIterator[Outcome]) -> None:
        async for each in outcomes:
            await anyio.lowlevel.checkpoint()
            found.append((name, each.index))

    async with (
        opened(slots(3)) as (client, _, _),
        client.generations.run_many(requests(30)) as outcomes,
        anyio.create_task_group() as tasks,
    ):
        for name in ("a", "b", "c"):
            tasks.start_soon(work, name, outcomes)
    assert sorted(index for _, index in found) == list(range(30))
    assert {name for name, _ in found} == {"a", "b", "c"}


async def test_asking_after_having_left() -> None:
    """What has come may still be taken, and then it is over; no task waits for ever."""
    async with opened(slots(1)) as (client, _, clock):
        async with client.generations.run_many(requests(9)) as outcomes:
            await clock.sleep(25)
        found = [each.index async for each in outcomes]
        assert found == [0, 1]
        assert [each async for each in outcomes] == []


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_callback_that_does_not_end_once(is_cancelled: bool) -> None:  # noqa: FBT001
    """It raises, or is cancelled: the iteration may go on, with the outcome that was told of."""
    told: list[int] = []

    async def note(progress: Progress) -> None:
        told.append(progress.done)
        if progress.done == 2:
            clock.call_later(60, scope.cancel)
            await (anyio.sleep_forever() if is_cancelled else refuse_sync(progress))

    async with (
        opened(slots(1)) as (client, _, clock),
        client.generations.run_many(requests(4), on_progress=note) as outcomes,
    ):
        first = await anext(outcomes)
        with suppress(LookupError), anyio.CancelScope() as scope:
            await anext(outcomes)
        rest = [each.index async for each in outcomes]
    assert told == [1, 2, 3, 4]
    assert [first.index, *rest] == [0, 1, 2, 3]
