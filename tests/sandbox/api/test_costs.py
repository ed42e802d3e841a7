"""Costs, estimated and actual, over the wire."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from lipsync_async.sandbox import Fault
from tests.sandbox.clients import NOW, VIDEO, Client, created, memory_client, order

NONE = "00000000-0000-4000-8000-000000000000"
TEXT = {"type": "text", "provider": {"name": "elevenlabs", "voiceId": NONE, "script": "Hi."}}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Connect to a sandbox in memory."""
    async with memory_client(progression="manual") as connected:
        yield connected


@pytest.mark.parametrize(
    ("fields", "cost"), [({}, 0.04), ({"options": {"reasoning_enabled": True}}, 0.05)]
)
async def test_a_create_body_is_priced(client: Client, fields: Any, cost: float) -> None:
    """In an array of one, as older clients read it."""
    answer = await client.send("POST", "/v2/analyze/cost", order(**fields))
    expected = [{"estimatedFrameCount": 25, "estimatedGenerationCost": cost}]
    assert (answer.status, answer.json) == (200, expected)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, None),
        (order(model="gpt"), 400, "generation_unsupported_model"),
        (order(model="lipsync-1.8.0"), 422, "cost_estimate_unavailable"),
        (order(projectId=NONE), 422, "project_not_found"),
        (order(input=[VIDEO, TEXT]), 422, "voice_not_found"),
        (order(input=[VIDEO], dialogueEdit={"id": NONE}), 422, "dialogue_edit_not_found"),
    ],
)
async def test_a_body_that_is_refused_is_not_priced(
    client: Client, body: Any, status: int, code: str | None
) -> None:
    """As a create refuses it."""
    answer = await client.send("POST", "/v2/analyze/cost", body)
    assert (answer.status, answer.json.get("errorCode")) == (status, code)


@pytest.mark.parametrize("path", ["/v2/generations/estimate", "/v2/generate/estimate-cost"])
@pytest.mark.parametrize(
    ("fields", "frames", "cost"),
    [
        ({}, 300, 0.48),
        ({"fps": 25}, 250, 0.4),
        ({"fps": 25, "reasoningEnabled": True}, 250, 0.5),
        ({"fps": None, "reasoningEnabled": None}, 300, 0.48),
    ],
)
async def test_a_length_is_priced(
    client: Client, path: str, fields: Any, frames: int, cost: float
) -> None:
    """At 30 frames a second unless another rate is told; no media are looked at."""
    answer = await client.send("POST", path, {"model": "lipsync-2", "duration": 10, **fields})
    found = {"estimatedFrameCount": frames, "estimatedGenerationCost": cost}
    assert (answer.status, answer.json) == (200, {**found, "estimatedCredits": None})


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": None}, 400, None),
        ({"duration": 0}, 400, None),
        ({"fps": -1}, 400, None),
        ({"reasoningEnabled": 1}, 400, None),
        ({"duration": 1e300}, 400, None),
        ({"model": "gpt"}, 422, "cost_estimate_unavailable"),
    ],
)
async def test_a_length_that_has_no_price_is_refused(
    client: Client, fields: Any, status: int, code: str | None
) -> None:
    """With a code where only the price is missing."""
    body = {"model": "lipsync-2", "duration": 10, **fields}
    answer = await client.send("POST", "/v2/generations/estimate", body)
    assert (answer.status, answer.json.get("errorCode")) == (status, code)


COMPLETE = {
    "availability": "complete",
    "totalCostUsd": "0.040000",
    "knownSubtotalUsd": "0.040000",
    "retryAfterSeconds": None,
    "components": [{"type": "lipsync", "availability": "complete", "amountUsd": "0.040000"}],
}
PENDING: dict[str, Any] = {
    "availability": "pending",
    "totalCostUsd": None,
    "knownSubtotalUsd": "0",
    "retryAfterSeconds": 60,
    "components": [],
}
FREE = {
    **COMPLETE,
    "totalCostUsd": "0.000000",
    "knownSubtotalUsd": "0.000000",
    "components": [{"type": "lipsync", "availability": "complete", "amountUsd": "0.000000"}],
}
UNKNOWN = {
    **PENDING,
    "availability": "unavailable",
    "retryAfterSeconds": None,
    "components": [{"type": "lipsync", "availability": "unavailable", "amountUsd": None}],
}


@pytest.mark.parametrize(
    ("how", "kind", "model", "status", "expected"),
    [
        (NOW, "expire_output", "lipsync-2", "COMPLETED", COMPLETE),
        ({}, "expire_output", "lipsync-2", "PENDING", PENDING),
        (NOW, "fail_job", "lipsync-2", "FAILED", FREE),
        (NOW, "reject_job", "lipsync-2", "REJECTED", FREE),
        (NOW, "expire_output", "lipsync-1.8.0", "COMPLETED", UNKNOWN),
    ],
)
async def test_a_job_has_its_costs(
    *, client: Client, how: Any, kind: str, model: str, status: str, expected: Any
) -> None:
    """In decimal texts; what goes on is pending, what has no output costs nothing."""
    client.sandbox.faults.add(Fault(kind))
    job_id = await created(client, how, model=model)
    answer = await client.send("GET", f"/v2/generate/{job_id}/costs")
    told = {"generationId": job_id, "generationStatus": status, "currency": "USD"}
    taxes = {"excludedCosts": ["tax", "subscription fees"]}
    assert (answer.status, answer.json) == (200, {**told, **expected, **taxes})


async def test_costs_of_no_job_are_404(client: Client) -> None:
    """An id that is none is 400."""
    paths = [f"/v2/generate/{job_id}/costs" for job_id in (NONE, "x")]
    assert [(await client.send("GET", path)).status for path in paths] == [404, 400]


async def test_usage_is_paged_by_the_time_of_the_end(client: Client) -> None:
    """Oldest end first, the start of the range in it, its end not; what runs is left out."""
    ids = [await created(client) for _ in range(4)]
    for job_id in reversed(ids[1:]):
        await client.sleep(10)
        client.sandbox.jobs.move(job_id, "PROCESSING")
        client.sandbox.jobs.move(job_id, "COMPLETED")

    async def listed(start: int, end: int, more: str = "") -> tuple[list[str], str | None]:
        span = f"startTime=2026-01-01T00:00:{start:02}Z&endTime=2026-01-01T00:00:{end:02}Z"
        answer = (await client.send("GET", f"/v2/usage/generations?{span}{more}")).json
        return [item["generationId"] for item in answer["items"]], answer["nextCursor"]

    assert await listed(0, 59) == ([ids[3], ids[2], ids[1]], None)
    assert await listed(10, 30) == ([ids[3], ids[2]], None)
    page, cursor = await listed(0, 59, "&limit=2")
    assert (page, await listed(0, 59, f"&limit=2&cursor={cursor}")) == (
        ids[3:1:-1],
        ([ids[1]], None),
    )


async def test_an_item_of_usage_is_a_cost_with_more(client: Client) -> None:
    """The dates, the model, the key, and the frames that were billed."""
    job_id = await created(client, NOW)
    span = "startTime=2026-01-01T00:00:00Z&endTime=2026-01-02T00:00:00Z"
    (found,) = (await client.send("GET", f"/v2/usage/generations?{span}")).json["items"]
    costs = (await client.send("GET", f"/v2/generate/{job_id}/costs")).json
    day = "2026-01-01T00:00:00.000Z"
    more = {"createdAt": day, "finishedAt": day, "model": "lipsync-2", "apiKey": None}
    assert found == {**costs, **more, "billedFrames": 25}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "startTime=2026-01-01T00:00:00Z",
        "startTime=2026-01-01T00:00:00Z&endTime=2026-01-01T00:00:00Z",
        "startTime=yesterday&endTime=2026-01-01T00:00:00Z",
        "startTime=2026-01-01T00:00:00Z&endTime=2026-01-02T00:00:00Z&limit=501",
        "startTime=2026-01-01T00:00:00Z&endTime=2026-01-02T00:00:00Z&cursor=x",
    ],
)
async def test_a_range_that_is_none_is_400(client: Client, query: str) -> None:
    """Both times are needed, in order."""
    assert (await client.send("GET", f"/v2/usage/generations?{query}")).status == 400
