"""The service's batches: refused before they are sent, created once, read leniently."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    Audio,
    Batch,
    BatchLimitError,
    DownloadError,
    GenerationFailedError,
    GenerationRequest,
    InvalidRequestError,
    JobError,
    JobFailedError,
    LipsyncError,
    PaymentRequiredError,
    PermissionDeniedError,
    Request,
    Response,
    RetryPolicy,
    Video,
)
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import Fault, VirtualClock
from tests.client.connections import ORDER, opened

REQUEST = GenerationRequest(**ORDER)
ROWS = [REQUEST] * 20
HOUR = timedelta(hours=1)


def named(*names: str) -> list[GenerationRequest]:
    """Return twenty requests, the first of which have names."""
    requests = [attrs.evolve(REQUEST, request_id=name) for name in names]
    return [*requests, *ROWS[len(names) :]]


@pytest.mark.parametrize(
    ("requests", "settings", "problems"),
    [
        (ROWS[:3], {}, ["requests: must be 20 to 500, not 3"]),
        ([REQUEST] * 501, {}, ["requests: must be 20 to 500, not 501"]),
        (ROWS, {"request_ids": ["a"]}, ["request_ids: must be 20, one for each request"]),
        (named("a", "b", "a"), {}, ["request_ids[2]: is that of requests[0] already"]),
        (named("", "b"), {}, ["requests[0].request_id: "]),
        (
            [*ROWS[:19], GenerationRequest(model="", input=[Video("https://a.example/v")])],
            {"webhook_url": "ftp://a.example"},
            ["webhook_url: ", "requests[19].model: ", "requests[19].input: "],
        ),
        (
            [*ROWS[:19], attrs.evolve(REQUEST, input=[Video(file=b"x"), ORDER["input"][1]])],
            {},
            ["requests[19].input[0]"],
        ),
    ],
)
async def test_what_is_wrong_is_told_before_anything_is_sent(
    requests: Any, settings: Any, problems: list[str]
) -> None:
    """All problems at once, each with the place of its row."""
    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError) as caught:
            await client.batches.create(requests, **settings)
        assert len(sandbox.requests) == 0
    found = caught.value.problems
    assert len(found) == len(problems)
    assert [text.startswith(start) for text, start in zip(found, problems, strict=True)] == [
        True for _ in problems
    ]


async def test_a_batch_is_not_larger_than_five_megabytes() -> None:
    """The service takes no larger one; it is refused before it is sent."""
    long = Audio(f"https://media.example/{'a' * 12_000}.wav")
    request = attrs.evolve(REQUEST, input=[ORDER["input"][0], long])
    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError, match="must be at most 5,000,000 bytes, not 6,"):
            await client.batches.validate([request] * 500)
        assert len(sandbox.requests) == 0


async def test_names_tie_results_to_requests() -> None:
    """A request's own name, one that is given, or its place among the rows."""
    async with opened("memory", progression="immediate") as (client, sandbox):
        batches = [
            await client.batches.create(named("mine")),
            await client.batches.create(ROWS, request_ids=[f"take {n}" for n in range(20)]),
        ]
        found = [
            [outcome.request.request_id async for outcome in client.batches.results(batch)]
            for batch in batches
        ]
        assert [names[:2] for names in found] == [["mine", "r-0002"], ["take 0", "take 1"]]
        body = sandbox.requests.find("POST", "/v2/batch")[0].json
    assert body["rows"][0]["payload"]["input"][0]["url"] == ORDER["input"][0].url
    assert "request_id" not in body["rows"][0]["payload"]


@pytest.mark.parametrize("fault", [{"kind": "reset_after"}, {"kind": "status", "status": 502}])
async def test_a_create_is_not_repeated_when_its_outcome_is_unknown(fault: Any) -> None:
    """The error says so, and how to look; `find` names the batch that was made."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault(method="POST", path="/v2/batch", **fault))
        with pytest.raises(LipsyncError) as caught:
            await client.batches.create(ROWS)
        assert caught.value.may_have_worked
        assert "batches.find(created_after=..., rows=20)" in "".join(caught.value.__notes__)
        assert len(sandbox.requests.find("POST", "/v2/batch")) == 1
        made = await client.batches.list()
        begun = made[0].created_at if made else datetime(2026, 1, 1, tzinfo=UTC)
        assert begun is not None
        assert await client.batches.find(created_after=begun - HOUR, rows=20) == made
        assert await client.batches.find(created_after=begun - HOUR) == made
        assert await client.batches.find(created_after=begun + HOUR) == []


async def test_generations_fail_one_by_one() -> None:
    """The batch completes; each row has an outcome of its own."""
    async with opened("memory", progression="time(60)") as (client, sandbox):
        sandbox.faults.add(
            Fault("fail_job", path="/v2/generate", skip=1, code="generation_timeout")
        )
        seen: list[str] = []
        batch = await client.batches.create(ROWS)
        done = await client.batches.wait_until_complete(
            batch.id, on_update=lambda each: seen.append(each.status)
        )
        outcomes = [outcome async for outcome in client.batches.results(done.id)]
    assert (seen[-1], done.metrics and done.metrics.failed_count) == ("COMPLETED", 1)
    assert [index for index, each in enumerate(outcomes) if each.error] == [1]
    assert isinstance(outcomes[1].error, GenerationFailedError)
    assert outcomes[1].error.code == "generation_timeout"
    assert [each.index for each in outcomes] == [*range(20)]


async def test_a_batch_may_fail_as_a_whole() -> None:
    """That is an error with the batch, whose results cannot be asked for."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault("fail_job", path="/v2/batch"))
        with pytest.raises(JobFailedError) as caught:
            await client.batches.wait_until_complete(await client.batches.create(ROWS))
        assert (type(caught.value.job), caught.value.job.status) == (Batch, "FAILED")


async def test_results_come_after_the_end() -> None:
    """Before, there is one clear error."""
    async with opened("memory", progression="manual") as (client, _):
        batch = await client.batches.create(ROWS)
        with pytest.raises(InvalidRequestError, match="is JOBS_CREATED and has no results yet"):
            await anext(client.batches.results(batch))


async def test_refusals_have_their_own_errors() -> None:
    """A plan without batches; too many at once, which is never waited for like a slot."""
    async with opened("memory", plan="creator") as (client, _):
        with pytest.raises(PaymentRequiredError):
            await client.batches.create(ROWS)
    async with opened("memory", progression="manual", batches_at_once=1) as (client, sandbox):
        await client.batches.create(ROWS)
        with pytest.raises(BatchLimitError, match="Batch concurrency limit"):
            await client.batches.create(ROWS)
        assert len(sandbox.requests.find("POST", "/v2/batch")) == 2


@asynccontextmanager
async def answering(
    answer: Callable[[Request], tuple[int, dict[str, str], bytes]],
) -> AsyncIterator[AsyncClient]:
    """Connect to a service whose one batch has completed, and whose results are as told."""

    async def handle(request: Request) -> Response:
        shown = {"id": "b1", "status": "COMPLETED", "outputUrl": "https://media.example/results"}
        found: tuple[int, dict[str, str], bytes] = (200, {}, json.dumps(shown).encode())
        if request.url.startswith("https://api.sync.so/v2/"):
            return Response("GET", request.url, *found)
        assert "x-api-key" not in {name.lower() for name in request.headers}
        return Response("GET", request.url, *answer(request))

    once = RetryPolicy(attempts=1)
    transport = MemoryTransport(handle, VirtualClock())
    base_url = "https://api.sync.so"
    async with AsyncClient("key", base_url=base_url, transport=transport, retry=once) as client:
        yield client


GENERATION = {"id": "g1", "status": "COMPLETED", "model": "lipsync-2", "outputUrl": "https://a.b/c"}
FAILED = {"id": "g1", "status": "FAILED", "error": "No face"}
LINES: list[tuple[Any, tuple[str | None, str | None, str | None]]] = [
    ({"request_id": "r1", "response": GENERATION}, ("r1", "g1", None)),
    ({"requestId": "r2", "body": GENERATION}, ("r2", "g1", None)),
    ({"request_id": "r3", "generation": FAILED}, ("r3", "g1", "generation g1 ended as FAILED")),
    ({"request_id": "r4", "error": {"message": "Bad row"}}, ("r4", None, "row r4: Bad row")),
    ({"request_id": "r5", "error": "Bad row"}, ("r5", None, "row r5: Bad row")),
    ({"request_id": "r6", "response": None}, ("r6", None, "row r6: ")),
    ({"request_id": 7, "response": {"id": "g1"}}, (None, None, "row 7: ")),
    (["no", "object"], (None, None, "row None: ")),
    ('{"request_id": "r\u2028"}', ("r\u2028", None, "row r")),
    ("{broken", (None, None, "row None: ")),
]


async def test_a_line_of_any_shape_is_an_outcome() -> None:
    """The form of a real line is not documented: none ends the others."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line, _ in LINES]
    body = "\n\n".join([*texts, ""]).encode()
    async with answering(lambda _: (200, {}, body)) as client:
        found = [outcome async for outcome in client.batches.results("b1")]
    for outcome, (_, (name, job, error)) in zip(found, LINES, strict=True):
        assert outcome.request.request_id == name
        assert (outcome.generation and outcome.generation.id) == job
        assert str(outcome.error or "").startswith(error or "")
        assert (outcome.error is None) == (error is None)
    assert [outcome.index for outcome in found] == [*range(len(LINES))]
    assert type(found[-1].error) is JobError
    assert json.loads(json.dumps(found[0].to_dict()))["request"]["request_id"] == "r1"


async def test_results_are_fetched_where_they_are() -> None:
    """Redirects are followed without the key; those without end, and refusals, are errors."""
    line = json.dumps({"request_id": "r1", "response": GENERATION}).encode()
    moved = (302, {"location": "https://other.example/x"}, b"")
    async with answering(lambda got: (200, {}, line) if "other" in got.url else moved) as client:
        assert len([outcome async for outcome in client.batches.results("b1")]) == 1
    async with answering(lambda _: moved) as client:
        with pytest.raises(DownloadError, match="points on and on"):
            await anext(client.batches.results("b1"))
    async with answering(lambda _: (403, {}, b"")) as client:
        with pytest.raises(PermissionDeniedError):
            await anext(client.batches.results("b1"))
    async with answering(lambda _: (302, {"location": "file:///etc/passwd"}, b"")) as client:
        with pytest.raises(DownloadError):
            await anext(client.batches.results("b1"))
