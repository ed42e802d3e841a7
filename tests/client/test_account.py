"""The account's facts, and waits for jobs that are no generations."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from lipsync_async import (
    AsyncClient,
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    InvalidRequestError,
    JobTimeoutError,
    Request,
    Response,
    RetryPolicy,
    TransportError,
)
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import Fault, VirtualClock
from tests.client.connections import opened

VOICE = "EXAVITQu4vr4xnSDxMaL"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def answered(body: Any, status: int = 200) -> AsyncIterator[AsyncClient]:
    """Connect to a service that answers everything alike."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def handle(request: Request) -> Response:
        return Response(request.method, request.url, status, {}, text)

    transport = MemoryTransport(handle, VirtualClock())
    async with AsyncClient("key", transport=transport, retry=RetryPolicy(attempts=1)) as client:
        yield client


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ((NOW, NOW), ["end: must be later than start"]),
        ((NOW.replace(tzinfo=None), "x"), ["start: must have a time zone", "end: "]),
    ],
)
async def test_a_range_of_time_is_checked(arguments: Any, problems: list[str]) -> None:
    """Before anything is sent."""
    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError) as caught:
            await client.account.usage(*arguments)
        assert len(sandbox.requests) == 0
    for found, expected in zip(caught.value.problems, problems, strict=True):
        assert found.startswith(expected)


@pytest.mark.parametrize("body", [{}, {"secret": ""}, {"secret": 7}, []])
async def test_a_secret_must_be_there(body: Any) -> None:
    """An answer without one is an error, and no empty secret."""
    async with answered(body) as client:
        with pytest.raises(DecodeError, match=r"\$\.secret"):
            await client.account.webhook_secret()


@pytest.mark.parametrize(
    ("body", "receipt"),
    [({"id": "r1"}, "r1"), ({"id": 7}, None), (["r1"], None), (b"thanks", None), (b"", None)],
)
async def test_a_receipt_may_look_like_anything(body: Any, receipt: str | None) -> None:
    """Its form is not documented, and the report has arrived."""
    async with answered(body, 201) as client:
        assert await client.account.send_feedback("bug", "It broke.") == receipt


@pytest.mark.parametrize(
    ("limits", "known"),
    [
        ({"concurrency": 3}, 3),
        ({"concurrency": True}, None),
        ({"concurrency": "3"}, None),
        ({}, None),
        (None, None),
    ],
)
async def test_slots_are_read_leniently(limits: Any, known: int | None) -> None:
    """The field's name is assumed: what is no number is not known."""
    async with answered({"limits": limits}) as client:
        assert (await client.account.get()).concurrent_generations == known


@pytest.mark.parametrize("amount", ["0.1", "1e3", None, "NaN", "Infinity", "much", 0.1])
async def test_amounts_are_exact(amount: Any) -> None:
    """They are decimal texts; anything else is not known, and stays in `raw`."""
    facts = {"generationId": "g", "generationStatus": "COMPLETED", "currency": "USD"}
    body = {**facts, "availability": "complete", "totalCostUsd": amount}
    async with answered(body) as client:
        found = await client.generations.costs("g")
    expected = Decimal(amount) if amount in ("0.1", "1e3") else None
    assert (found.total_cost_usd, found.raw["totalCostUsd"]) == (expected, amount)


async def test_a_wait_ends_at_its_deadline() -> None:
    """To the second, with the job as last seen, which goes on."""
    async with opened("memory", progression="manual") as (client, _):
        job = await client.speech.start("Hello.", VOICE)
        began = client._requester.transport.now()  # noqa: SLF001
        for timeout in (2.5, 5.0):
            with pytest.raises(JobTimeoutError, match="it goes on") as caught:
                await client.speech.wait_until_complete(job.id, timeout=timeout)
        assert client._requester.transport.now() - began == pytest.approx(7.5)  # noqa: SLF001
        assert caught.value.job.id == job.id
        assert isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("kind", ["hang", "reset_before"])
async def test_a_wait_ends_at_its_deadline_while_no_answer_comes(kind: Any) -> None:
    """Neither a poll under way nor the retries of one that has failed prolong it."""
    async with opened("memory", progression="manual") as (client, sandbox):
        job = await client.speech.start("Hello.", VOICE)
        sandbox.faults.add(Fault(kind, method="GET", count=None))
        began = client._requester.transport.now()  # noqa: SLF001
        with pytest.raises(JobTimeoutError, match="it goes on") as caught:
            await client.speech.wait_until_complete(job, timeout=20.0)
        assert client._requester.transport.now() - began == pytest.approx(20.0)  # noqa: SLF001
    assert (caught.value.job, isinstance(caught.value.__cause__, TransportError)) == (job, True)


JOBS: dict[str, tuple[Callable[[AsyncClient], Awaitable[Any]], dict[str, Any], float]] = {
    # What waits, a job that runs, and the longest pause between two polls.
    "speech": (
        lambda client: client.speech.wait_until_complete("j", timeout=None),
        {"id": "j", "status": "PROCESSING"},
        10.0,
    ),
    "transcription": (
        lambda client: client.transcriptions.wait_until_complete("j", timeout=None),
        {"id": "j", "status": "PROCESSING"},
        15.0,
    ),
    "dialogue edit": (
        lambda client: client.dialogue_edits.wait_until_complete("j", timeout=None),
        {"id": "j", "status": "PROCESSING"},
        15.0,
    ),
    "batch": (
        lambda client: client.batches.wait_until_complete("j", timeout=None),
        {"id": "j", "status": "PROCESSING", "created_at": "2026-01-01T00:00:00Z", "metrics": {}},
        120.0,
    ),
}


@pytest.mark.parametrize("kind", JOBS)
@pytest.mark.parametrize("told", [None, 3.0, 40.0, 110.0, 86_400.0])
async def test_a_wait_obeys_the_service(kind: str, told: float | None) -> None:
    """No poll comes before the time that the last answer asks for; a day is not believed."""
    wait, body, longest = JOBS[kind]
    polls: list[float] = []
    clock = VirtualClock()

    async def handle(request: Request) -> Response:
        polls.append(clock.now())
        status = 200 if len(polls) < 6 else 401
        headers = {} if told is None else {"retry-after": f"{told:g}"}
        return Response(request.method, request.url, status, headers, json.dumps(body).encode())

    async with AsyncClient("key", transport=MemoryTransport(handle, clock)) as client:
        with pytest.raises(AuthenticationError):
            await wait(client)
    gaps = [round(later - earlier, 6) for earlier, later in pairwise(polls)]
    believed = told if told is not None and told <= max(60.0, longest) else 0.0
    assert len(gaps) == 5
    assert all(gap >= believed for gap in gaps)
    assert all(gap <= max(believed, longest) for gap in gaps)


@pytest.mark.parametrize("failure", [ZeroDivisionError, ConfigurationError])
async def test_a_wait_tells_each_change_once(failure: type[Exception]) -> None:
    """The callback may be async; what it raises ends the wait, and names the job."""
    told: list[str] = []

    async def tell(job: Any) -> None:
        told.append(job.status)
        if job.status == "SUCCESS":
            raise failure("of a callback")

    async with opened("memory", progression="time(60)") as (client, _):
        job = await client.speech.start("Hello.", VOICE)
        with pytest.raises(failure, match="of a callback") as caught:
            await client.speech.wait_until_complete(job, on_update=tell)
    assert told[-1] == "SUCCESS"
    assert len(told) == len(set(told))
    assert f"Job {job.id} goes on" in "".join(caught.value.__notes__)


async def test_a_wait_outlasts_trouble() -> None:
    """Polls that fail are tried again until the deadline; a dead key ends the wait."""
    async with opened("memory", progression="time(60)") as (client, sandbox):
        job = await client.speech.start("Hello.", VOICE)
        sandbox.faults.add(Fault("status", status=503, path="/v2/tts/jobs/*", count=8))
        done = await client.speech.wait_until_complete(job)
        assert done.status == "SUCCESS"
        sandbox.faults.add(Fault("status", status=401, path="/v2/tts/jobs/*"))
        with pytest.raises(AuthenticationError):
            await client.speech.wait_until_complete(job.id)


async def test_usage_pages_go_on_to_the_end() -> None:
    """A cursor that comes again ends the iteration, with a warning in the log."""
    item = {"generationId": "g", "generationStatus": "COMPLETED", "availability": "complete"}
    body = {"items": [{**item, "currency": "USD"}], "nextCursor": "again"}
    async with answered(body) as client:
        found = [each async for each in client.account.iter_usage(NOW, NOW + timedelta(days=1))]
    assert len(found) == 2
