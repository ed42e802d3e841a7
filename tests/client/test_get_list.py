"""Looking at generations, one or many, and the verbs beside."""

from contextlib import aclosing
from operator import attrgetter
from typing import Any

import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    ConflictError,
    DecodeError,
    Generation,
    GenerationRequest,
    InvalidRequestError,
    NotFoundError,
    Status,
)
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault, rate_limited
from tests.client.connections import ORDER, Door, completed, opened, order

Pair = tuple[AsyncClient, Sandbox]
LISTS = ("GET", "/v2/generations")


async def test_get(client_and_sandbox: Pair) -> None:
    """A look shows the job as it is now, unknown fields reachable."""
    client, sandbox = client_and_sandbox
    created = await order(client, output_file_name="take-1")
    sandbox.faults.add(Fault("replace_fields", method="GET", fields={"mood": "fine"}))
    seen = await client.generations.get(created.id)
    assert (seen.id, seen.status) == (created.id, Status.PROCESSING)
    assert seen.output_file_name == "take-1"
    assert seen.raw["mood"] == "fine"
    assert seen.idempotency_key is None


async def test_get_with_progress(client_and_sandbox: Pair) -> None:
    """Progress comes when it is asked for."""
    client, sandbox = client_and_sandbox
    created = await order(client)
    seen = await client.generations.get(created.id, progress=True)
    assert seen.progress_percent == 50.0
    sandbox.requests.assert_count(1, "GET", query={"include": "progress"})


async def test_get_of_an_unknown_job(client_and_sandbox: Pair) -> None:
    """An id that no job has is a `NotFoundError` with the service's words."""
    client, sandbox = client_and_sandbox
    with pytest.raises(NotFoundError) as caught:
        await client.generations.get("00000000-0000-4000-8000-000000000000")
    error = caught.value
    told = (error.status, error.code, error.request_id)
    assert told == (404, "generation_not_found", "sandbox-1")
    assert error.message in str(error)
    assert not error.is_retryable
    assert len(sandbox.requests) == 1


async def test_list_by_filters(door: Door) -> None:
    """Filters go in the documented comma form, and an unknown id is just absent."""
    async with opened(door, progression="manual") as (client, sandbox):
        jobs = [await order(client) for _ in range(4)]
        sandbox.jobs.move(jobs[0].id, "FAILED")
        sandbox.jobs.move(jobs[1].id, "REJECTED")
        stranger = "00000000-0000-4000-8000-000000000000"
        ids = [jobs[0].id, jobs[2].id, stranger]
        page = await client.generations.list(ids=ids, status=[Status.FAILED, "PENDING"])
        assert [each.id for each in page] == ids[:2]
        assert (len(page), page[0].status, page.next_cursor) == (2, Status.FAILED, None)
        (entry,) = sandbox.requests.assert_count(1, *LISTS)
        assert entry.query == [("status", "FAILED,PENDING"), ("ids", ",".join(ids))]
        assert await client.generations.count(status=["PENDING"]) == 2
        assert await client.generations.count() == 4


@pytest.mark.parametrize("many", [0, 1, 4, 5])
async def test_pages(door: Door, many: int) -> None:
    """Pages lead one to the next, newest first, each job once, whatever the remainder."""
    async with opened(door, progression="manual") as (client, sandbox):
        made = [(await order(client)).id for _ in range(many)]
        found = [each.id async for each in client.generations.iter(page_size=2)]
        assert found == made[::-1]
        page = await client.generations.list(limit=2)
        assert page.next_cursor == (page[-1].id if len(page) == 2 else None)
        assert sandbox.requests.count(*LISTS) == many // 2 + 2


async def test_iteration_can_be_left(door: Door) -> None:
    """Leaving the iteration early fetches no further page."""
    async with opened(door, progression="manual") as (client, sandbox):
        for _ in range(5):
            await order(client)
        async with aclosing(client.generations.iter(status=["PENDING"], page_size=2)) as jobs:
            first: Generation = await anext(jobs)
        assert first.status == Status.PENDING
        assert sandbox.requests.count(*LISTS) == 1


async def test_iterating_and_deleting() -> None:
    """The natural clean-up loop reaches every job, also across pages."""
    async with opened("memory", progression="immediate") as (client, sandbox):
        for _ in range(5):
            await completed(client)
        async for job in client.generations.iter(page_size=2):
            await client.generations.delete(job.id)
        assert len(sandbox.jobs) == 0


async def test_delete(client_and_sandbox: Pair) -> None:
    """An ended job can be deleted; one that runs, or is gone, cannot."""
    client, sandbox = client_and_sandbox
    running = await order(client)
    with pytest.raises(ConflictError, match="ended generations can be deleted"):
        await client.generations.delete(running.id)
    done = await client.generations.wait_until_complete(running)
    await client.generations.delete(done.id)
    assert len(sandbox.jobs) == 0
    with pytest.raises(NotFoundError):
        await client.generations.delete(done.id)


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault("reset_after"), Fault("truncate"), Fault("hang"), Fault("reset_after", count=3)),
        *(Fault("status", status=502), Fault("status", status=599)),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.count}",
)
async def test_a_delete_is_seen_through(client_and_sandbox: Pair, fault: Fault) -> None:
    """One whose outcome is unknown is made again; "no such generation" then says that it worked."""
    client, sandbox = client_and_sandbox
    done = await completed(client)
    sandbox.faults.add(attrs.evolve(fault, method="DELETE"))
    await client.with_options(timeout=0.05).generations.delete(done)
    assert 2 <= sandbox.requests.count("DELETE") <= 4
    assert len(sandbox.jobs) == 0


async def test_a_delete_of_nothing_may_fail_first(client_and_sandbox: Pair) -> None:
    """A try that was never delivered, or refused, is no reason to take a 404 for a success."""
    client, sandbox = client_and_sandbox
    done = await completed(client)
    await client.generations.delete(done.id)
    sandbox.faults.add(rate_limited(0.001))
    with pytest.raises(NotFoundError):
        await client.generations.delete(done)


async def test_by_job_or_id(client_and_sandbox: Pair) -> None:
    """Like the others, these verbs take a generation or its id, and refuse what is none."""
    client, _ = client_and_sandbox
    done = await completed(client)
    assert await client.generations.get(done) == await client.generations.get(done.id)
    await client.generations.delete(done)
    wrong: Any
    for wrong in (Generation(id="..", status=Status.COMPLETED), None, 7, b"id", [done]):
        for verb in (client.generations.get, client.generations.delete):
            with pytest.raises(InvalidRequestError, match="generation_id"):
                await verb(wrong)


async def test_estimates(client_and_sandbox: Pair) -> None:
    """Both forms of the estimate give frames and a price."""
    client, sandbox = client_and_sandbox
    by_order = await client.generations.estimate(GenerationRequest(**ORDER))
    by_length = await client.generations.estimate_duration(
        model="lipsync-2", duration=10.0, fps=25.0, reasoning_enabled=False
    )
    assert by_order.frame_count > 0
    assert by_length.frame_count == 250
    assert by_length.cost > 0
    (entry,) = sandbox.requests.assert_count(1, "POST", "/v2/generations/estimate")
    expected = {"model": "lipsync-2", "duration": 10.0, "fps": 25.0, "reasoningEnabled": False}
    assert entry.json == expected


async def test_models(client_and_sandbox: Pair) -> None:
    """The models that the account may use come with their names."""
    client, _ = client_and_sandbox
    models = await client.models.list()
    assert {"lipsync-2", "sync-3"} <= {model.id for model in models}


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("generations.list", '{"items": []}'),
        ("models.list", '"none"'),
        ("generations.count", '{"count": "many"}'),
    ],
)
async def test_answer_of_another_shape(client_and_sandbox: Pair, verb: str, body: str) -> None:
    """An answer of another shape is a `DecodeError` that shows what came; it is not repeated."""
    client, sandbox = client_and_sandbox
    headers = {"Content-Type": "application/json"}
    sandbox.faults.add(Fault("status", status=200, body=body, headers=headers))
    with pytest.raises(DecodeError, match="it begins") as caught:
        await attrgetter(verb)(client)()
    assert caught.value.response.body == body.encode()
    assert caught.value.request_id is not None
    assert len(sandbox.requests) == 1
