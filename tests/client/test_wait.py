"""Waiting for a job: every end, every change, and leaving early."""

import logging
from collections import Counter
from functools import partial

import anyio
import pytest

from lipsync_async import (
    AsyncClient,
    AuthenticationError,
    Generation,
    GenerationFailedError,
    GenerationRejectedError,
    InvalidRequestError,
    LipsyncError,
    NotFoundError,
    PollPolicy,
    Status,
)
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import ORDER, Door, completed, opened, order
from tests.client.waiters import LOOKS, wait_for_all

Pair = tuple[AsyncClient, Sandbox]


def looks_show(**fields: object) -> Fault:
    """Change what every look at a job shows."""
    return Fault("replace_fields", method="GET", path=LOOKS[1], fields=fields, count=None)


@pytest.mark.parametrize("begins_with_id", [True, False])
async def test_completed(client_and_sandbox: Pair, *, begins_with_id: bool) -> None:
    """A wait returns the COMPLETED job with its output; an id is enough, after a restart."""
    client, sandbox = client_and_sandbox
    created = await order(client)
    known = created.id if begins_with_id else created
    done = await client.generations.wait_until_complete(known)
    assert (done.id, done.status, done.is_completed) == (created.id, Status.COMPLETED, True)
    assert done.output_url is not None
    assert done.idempotency_key == (None if begins_with_id else created.idempotency_key)
    assert sandbox.jobs.created == 1


async def test_an_ended_job_is_not_looked_at(client_and_sandbox: Pair) -> None:
    """A job that is known to have ended costs no request, and no update; of an id it costs one."""
    client, sandbox = client_and_sandbox
    done = await completed(client)
    before = len(sandbox.requests)
    seen: list[Generation] = []
    again = await client.generations.wait_until_complete(done, on_update=seen.append)
    assert (again, len(sandbox.requests), seen) == (done, before, [])
    await client.generations.wait_until_complete(done.id)
    assert len(sandbox.requests) == before + 1


async def test_failed(client_and_sandbox: Pair) -> None:
    """FAILED is an error that carries the job, the code and the service's reason."""
    client, sandbox = client_and_sandbox
    code, reason = "generation_input_video_invalid", "No face was found."
    sandbox.faults.add(Fault("fail_job", code=code, message=reason))
    with pytest.raises(GenerationFailedError, match="No face was found") as caught:
        await completed(client)
    error = caught.value
    assert (error.code, error.is_retryable) == (code, False)
    assert (error.generation.status, error.generation.error) == (Status.FAILED, reason)
    assert error.generation.id in str(error)


async def test_rejected(client_and_sandbox: Pair) -> None:
    """REJECTED is an error of its own: the job never ran."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("reject_job", code="moderation", message="Not allowed."))
    with pytest.raises(GenerationRejectedError, match="never ran: Not allowed") as caught:
        await completed(client)
    assert caught.value.generation.status == Status.REJECTED
    assert caught.value.code == "moderation"


@pytest.mark.parametrize("word", ["CANCELED", "CANCELLED", "TIMED_OUT"])
async def test_older_words_for_failure(client_and_sandbox: Pair, word: str) -> None:
    """The terminal words of older documentation end a wait, as failures."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(looks_show(status=word))
    with pytest.raises(GenerationFailedError, match=f"ended as {word}") as caught:
        await completed(client)
    assert caught.value.generation.status == word


async def test_unknown_status_is_not_the_end(client_and_sandbox: Pair) -> None:
    """A status of a newer service is shown as it is, and waited through."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(
        Fault("replace_fields", method="GET", fields={"status": "UPSCALING"}, count=1)
    )
    seen: list[Generation] = []
    done = await client.generations.run(**ORDER, on_update=seen.append)
    assert [str(each.status) for each in seen] == ["PENDING", "UPSCALING", "COMPLETED"]
    assert done.is_completed


@pytest.mark.parametrize("begins_with_id", [True, False])
async def test_updates_are_changes_only(door: Door, *, begins_with_id: bool) -> None:
    """Each change is told once: of a job at hand the later ones, of an id the first too."""
    async with opened(door, progression="polls(6)") as (client, _):
        created = await order(client)
        seen: list[str] = []
        await client.generations.wait_until_complete(
            created.id if begins_with_id else created,
            on_update=lambda job: seen.append(str(job.status)),
        )
    first = ["PENDING"] if begins_with_id else []
    assert seen == [*first, "PROCESSING", "COMPLETED"]


async def test_async_on_update_is_awaited(async_client_and_sandbox: Pair) -> None:
    """A coroutine function may take the updates; each is awaited before the next look."""
    client, _ = async_client_and_sandbox
    seen: list[str] = []

    async def note(job: Generation) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(str(job.status))

    await client.generations.run(**ORDER, on_update=note)
    assert seen == ["PENDING", "PROCESSING", "COMPLETED"]


async def test_raising_on_update_ends_the_wait_only(client_and_sandbox: Pair) -> None:
    """An error of the user's own function comes out as it is; the job is untouched."""
    client, sandbox = client_and_sandbox
    created = await order(client)

    def refuse(job: Generation) -> None:
        raise RuntimeError(f"no room for {job.status}")

    with pytest.raises(RuntimeError, match="no room for PROCESSING"):
        await client.generations.wait_until_complete(created, on_update=refuse)
    assert (await client.generations.wait_until_complete(created)).is_completed
    assert sandbox.requests.count("DELETE") == 0


async def test_cancellation_stops_the_wait_only(async_door: Door) -> None:
    """Who stops waiting changes nothing: the job goes on and can be waited for again."""
    async with opened(async_door, progression="polls(4)") as (client, sandbox):
        created = await order(client)
        with anyio.CancelScope() as scope:
            await client.generations.wait_until_complete(
                created.id, on_update=lambda _: scope.cancel()
            )
        assert scope.cancelled_caught
        assert sandbox.requests.count("DELETE") == 0
        assert (await client.generations.wait_until_complete(created.id)).is_completed
        assert sandbox.jobs.created == 1


async def test_updates_can_be_left(door: Door) -> None:
    """Breaking out of the updates ends the looking at once."""
    async with opened(door, progression="manual") as (client, sandbox):
        created = await order(client)
        async with client.generations.updates(created.id) as changes:
            async for change in changes:  # pragma: no branch - left
                assert change.status == Status.PENDING
                break
        assert sandbox.requests.count(*LOOKS) == 1


async def test_updates_end_with_the_job(client_and_sandbox: Pair) -> None:
    """The updates of a failing job end with it, without an error."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("fail_job"))
    created = await order(client)
    async with client.generations.updates(created) as changes:
        seen = [str(change.status) async for change in changes]
    assert seen == ["PROCESSING", "FAILED"]


async def test_progress(door: Door) -> None:
    """With `progress`, every step of the rendering is an update, without the long poll."""
    async with opened(door, progression="polls(4)") as (client, sandbox):
        poll = PollPolicy(progress=True, initial_interval=0.001, max_interval=0.002)
        seen: list[float | None] = []
        note = partial(_note_progress, seen)
        patient = client.with_options(poll=poll)
        await patient.generations.run(**ORDER, on_update=note)
        assert seen == [None, 25.0, 50.0, 75.0, 100.0]
        assert sandbox.requests.count(*LOOKS, query={"include": "progress"}) == 4
        assert sandbox.requests.count(*LOOKS, query={"wait": "true"}) == 0


def _note_progress(seen: list[float | None], job: Generation) -> None:
    seen.append(job.progress_percent)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [(401, "Unauthorized", AuthenticationError), (404, "No such job.", NotFoundError)],
)
async def test_a_dead_key_and_a_job_that_is_gone(
    client_and_sandbox: Pair, status: int, message: str, kind: type[LipsyncError]
) -> None:
    """A key that dies, or a job that was seen and is gone, is an error at once, with the job."""
    client, sandbox = client_and_sandbox
    body = {"message": message, "statusCode": status}
    sandbox.faults.add(Fault("status", method="GET", status=status, body=body, skip=1, count=None))
    with pytest.raises(kind) as caught:
        await completed(client)
    assert caught.value.generation is not None
    assert caught.value.generation.status == Status.PROCESSING
    assert caught.value.generation.id in str(caught.value)
    assert sandbox.requests.count(*LOOKS) == 2


@pytest.mark.parametrize("timeout", [0, -1.0, "soon", float("nan")])
async def test_wrong_timeout(client_and_sandbox: Pair, timeout: float) -> None:
    """A timeout that is none is refused before anything is ordered or looked at."""
    client, sandbox = client_and_sandbox
    with pytest.raises(InvalidRequestError, match="timeout: "):
        await client.generations.run(**ORDER, timeout=timeout)
    with pytest.raises(InvalidRequestError, match="timeout: "):
        await client.generations.wait_until_complete("some-id", timeout=timeout)
    assert len(sandbox.requests) == 0


async def test_changes_are_debug_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Each change of a job is one line of `lipsync_async.poll`, however it was seen."""
    caplog.set_level(logging.DEBUG, "lipsync_async.poll")
    async with opened("memory", clock=VirtualClock(), progression="time(60)") as (client, _):
        jobs = [await order(client) for _ in range(6)]
        await client.generations.wait_until_complete(jobs[0])
        await wait_for_all(client, [await order(client) for _ in range(6)])
    lines = Counter(each.getMessage().split()[-1] for each in caplog.records)
    assert lines == {"PROCESSING": 7, "COMPLETED": 7}
    assert caplog.messages[0] == f"generation {jobs[0].id} is PROCESSING"
