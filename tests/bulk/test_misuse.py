"""What no well-behaved service, input or program does to a run, and what holds all the same."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from lipsync_async import GenerationRequest, JobState, Outcome, Progress, Response
from lipsync_async._asyncio_tools import unexpected_cancellation
from lipsync_async.sandbox.faults import Fault
from tests.bulk.jobs import entries
from tests.bulk.runs import opened, requests, slots
from tests.bulk.test_leaving_runs import held

CREATE = "/v2/generate"
UNKNOWN = {"message": "No such generation.", "statusCode": 404}


async def await_the_cancelled() -> None:
    """Wait for something that somebody has cancelled."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def test_two_requests_get_one_id() -> None:
    """A service that mixes keys up is not waited for in vain: each request has its outcome."""
    async with opened() as (client, sandbox, _):
        first = await client.generations.create(next(requests(1)))
        mixed_up = Fault("replace_fields", path=CREATE, fields={"id": first.id}, count=None)
        sandbox.faults.add(mixed_up)
        found = await client.generations.run_all(requests(3))
        assert [each.generation.id for each in found if each.generation] == [first.id] * 3
        assert held(client) == []


async def test_an_answer_that_comes_with_the_end(journal: Path) -> None:
    """A job whose id has arrived is in the journal, however soon its run is cancelled."""
    async with opened(progression="manual") as (client, sandbox, _):
        with anyio.CancelScope() as scope:
            view = client.with_options(on_response=lambda _: scope.cancel())
            await view.generations.run_all(requests(1), journal=journal)
        assert held(client) == []
        (job,) = sandbox.jobs
    (entry,) = entries(journal)
    assert (entry.state, entry.generation_id) == (JobState.ACCEPTED, job.id)


async def test_an_input_that_awaits_what_was_cancelled() -> None:
    """Its `CancelledError` does not end the run in silence: it is an error, after all outcomes."""

    async def rows() -> AsyncIterator[GenerationRequest]:
        for request in requests(3):
            yield request
        await await_the_cancelled()

    found: list[Outcome] = []
    async with opened() as (client, _, _):
        with pytest.raises(RuntimeError, match="the input raised CancelledError"):  # noqa: PT012 - the loop raises
            async with client.generations.run_many(rows()) as outcomes:
                async for each in outcomes:
                    found.append(each)  # noqa: PERF401 - it raises in the end
        assert len(found) == 3
        assert held(client) == []


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_callback_that_awaits_what_was_cancelled(method: str) -> None:
    """Neither does that of a callback, be it shown a create's answer or a look's."""

    async def show(response: Response) -> None:
        if response.method == method:
            await await_the_cancelled()

    async with opened() as (client, _, _):
        view = client.with_options(on_response=show)
        with pytest.raises(RuntimeError, match="raised CancelledError"):
            await view.generations.run_all(requests(3))
        assert held(client) == []


async def test_what_is_no_unexpected_cancellation() -> None:
    """A cancellation that was asked for is obeyed, and other errors are what they are."""
    assert unexpected_cancellation(KeyboardInterrupt(), "it") is None
    judged: list[object] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError as error:
            judged.append(unexpected_cancellation(error, "it"))
            raise
    assert judged == [None]


async def test_a_leftover_that_cannot_be_cleared_away(tmp_path: Path) -> None:
    """What a killed process has left of a result stops neither that result nor the run."""
    journal, folder = tmp_path / "journal.sqlite", tmp_path / "results"
    async with opened(slots(2)) as (client, _, _):
        (done,) = await client.generations.run_all(requests(1), journal=journal)
        assert done.generation is not None
        stem = f"take-0-{done.generation.id}"[-50:]
        (folder / f"{stem}.0123abcd.part").mkdir(parents=True)
        found = await client.generations.run_all(requests(5), journal=journal, download_to=folder)
        assert [each.error for each in found] == [None] * 5


async def test_a_rerun_right_after_the_create(journal: Path) -> None:
    """A job that an earlier run has just ordered may be unknown for a while, like a new one."""
    async with opened() as (client, sandbox, clock):
        async with client.generations.run_many(requests(1), journal=journal):
            await clock.sleep(0.1)
        sandbox.faults.add(Fault("status", method="GET", status=404, body=UNKNOWN, count=3))
        (found,) = await client.generations.run_all(requests(1), journal=journal)
        assert found.error is None
        assert sandbox.jobs.created == 1


async def test_a_job_that_never_ends_delays_no_other() -> None:
    """`run_all` keeps all outcomes anyway, so none waits for its turn, nor does its progress."""
    told: list[int] = []
    async with opened(slots(300)) as (client, sandbox, clock):
        sandbox.faults.add(Fault("stick_job"))
        with anyio.CancelScope() as scope:
            clock.call_later(7200, scope.cancel)

            def note(progress: Progress) -> None:
                told.append(progress.done)
                if progress.done == 1029:
                    scope.cancel()

            await client.generations.run_all(requests(1030), on_progress=note)
        assert scope.cancelled_caught
        assert sandbox.jobs.created == 1030
        assert told == list(range(1, 1030))


async def test_a_program_that_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative folder is the one that it was when the run began; paths are absolute."""
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with (
        opened(slots(1)) as (client, _, _),
        client.generations.run_many(requests(3), download_to="results") as outcomes,
    ):
        async for each in outcomes:
            assert each.path is not None
            assert each.path.parent == tmp_path / "results"
            monkeypatch.chdir(elsewhere)
