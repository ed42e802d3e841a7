"""Requests that no verb covers, and header fields and parameters of single calls."""

import json
from typing import Any

import anyio
import pytest

from lipsync_async import (
    AsyncClient,
    ConfigurationError,
    GenerationRequest,
    InvalidRequestError,
    LipsyncError,
    NotFoundError,
    RetryPolicy,
    ServerError,
)
from lipsync_async._logic import endpoints
from lipsync_async._logic.endpoints import raw_request
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.bulk.runs import opened, slots
from tests.client.connections import ORDER, cancel_when

Pair = tuple[AsyncClient, Sandbox]
VIDEO = {"type": "video", "url": "https://media.example/v.mp4"}
AUDIO = {"type": "audio", "url": "https://media.example/a.wav"}
CREATE = {"model": "lipsync-2", "input": [VIDEO, AUDIO]}


async def test_it_returns_what_came(client_and_sandbox: Pair) -> None:
    """Status, headers and bytes come as they are; parameters join those of the path."""
    client, sandbox = client_and_sandbox
    await client.generations.create(**ORDER)
    answer = await client.request(
        "GET", "/v2/generations?limit=1", query={"status": "PENDING,PROCESSING"}
    )
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert len(json.loads(answer.body)) == 1
    with pytest.raises(NotFoundError):
        await client.request("GET", "/v2/nothing")
    asked = next(each for each in sandbox.requests if each.path == "/v2/generations")
    assert dict(asked.query) == {"limit": "1", "status": "PENDING,PROCESSING"}


@pytest.mark.parametrize(
    ("method", "key", "tries"),
    [
        *((method, None, 2) for method in ("GET", "HEAD", "PUT")),
        *((method, None, 1) for method in ("PATCH", "DELETE", "POST")),
        ("POST", "take-7", 2),
    ],
)
async def test_what_is_tried_again(
    client_and_sandbox: Pair, method: str, key: str | None, tries: int
) -> None:
    """If the outcome is unknown, only what does no harm twice, or carries a key, is repeated."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("status", method=method, status=500, count=None))
    hasty = client.with_options(retry=RetryPolicy(attempts=2, first_pause=0.001))
    with pytest.raises(ServerError) as caught:
        await hasty.request(method, "/v2/other", idempotency_key=key)
    assert caught.value.idempotency_key == key
    sent = sandbox.requests.find(method=method)
    assert [each.headers.get("idempotency-key") for each in sent] == [key] * tries


async def test_a_create_carries_a_key(client_and_sandbox: Pair) -> None:
    """A raw create is not paid twice: its tries share a key, which its error names."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("reset_after", method="POST", path="/v2/generate"))
    answer = await client.request("POST", "/v2/generate", json=CREATE)
    assert (answer.status, sandbox.jobs.created) == (201, 1)
    keys = {each.headers["idempotency-key"] for each in sandbox.requests.find(method="POST")}
    assert len(keys) == 1


async def test_a_create_that_is_left(
    async_client_and_sandbox: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """A raw create that is cancelled in flight names its key."""
    client, sandbox = async_client_and_sandbox
    sandbox.faults.add(Fault("hang", method="POST"))
    await cancel_when(
        lambda: sandbox.requests.count("POST", "*") > 0,
        lambda: client.request("POST", "/v2/generate", json=CREATE, idempotency_key="take-7"),
    )
    assert "idempotency_key='take-7'" in caplog.text


async def test_own_fields(client_and_sandbox: Pair) -> None:
    """A call may bring header fields and a body of its own; the API key stays the client's."""
    client, sandbox = client_and_sandbox
    headers = {"Content-Type": "text/plain", "X-Scene": "4"}
    with pytest.raises(LipsyncError):
        await client.request("POST", "/v2/analyze/cost", headers=headers, body=b"hi")
    (sent,) = sandbox.requests.find(method="POST")
    assert (sent.headers["content-type"], sent.headers["x-scene"]) == ("text/plain", "4")
    assert sent.body == b"hi"


async def test_fields_of_a_view(client_and_sandbox: Pair) -> None:
    """A view adds its header fields and parameters to each of its requests; others have none."""
    client, sandbox = client_and_sandbox
    view = client.with_options(extra_headers={"X-Scene": "4"}, extra_query={"trace": "a b"})
    await view.generations.create(**ORDER)
    await view.with_options(timeout=5.0).generations.count()
    await client.models.list()
    seen = [
        (each.headers.get("x-scene"), dict(each.query).get("trace")) for each in sandbox.requests
    ]
    assert seen == [("4", "a b"), ("4", "a b"), (None, None)]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("FETCH", "/v2/models"), "method: must be one of GET"),
        (("GET", "v2/models"), "path: must begin with '/'"),
        (("GET", "/v2/models#1"), "path: must begin with '/'"),
        (("GET", "/v2/a b"), "path: must begin with '/'"),
        (("POST", "/v2/other", {"json": {}, "body": b""}), "body: give json or body, not both"),
        (("POST", "/v2/other", {"body": "text"}), "body: must be bytes"),
        (("POST", "/v2/other", {"json": {1}}), "cannot be written"),
        (("POST", "/v2/generate", {"json": GenerationRequest(**ORDER)}), "cannot be written"),
        (("POST", "/v2/other", {"idempotency_key": ""}), "idempotency_key"),
        (("GET", "/v2/models", {"headers": {"x-api-key": "other"}}), "is set by the client"),
        (("GET", "/v2/models", {"query": {"limit": 1}}), "query: 'limit' must be text"),
        (("GET", "/v2/models", {"query": "limit=1"}), "query must be a mapping"),
    ],
)
async def test_wrong_arguments(
    client_and_sandbox: Pair, arguments: tuple[Any, ...], problem: str
) -> None:
    """What cannot be sent is named, and nothing is."""
    client, sandbox = client_and_sandbox
    method, path, *rest = arguments
    with pytest.raises(InvalidRequestError, match=problem):
        await client.request(method, path, **(rest[0] if rest else {}))
    with pytest.raises(ConfigurationError, match="is set by the client"):
        client.with_options(extra_headers={"Host": "elsewhere"})
    assert len(sandbox.requests) == 0


async def test_polls_for_all_are_plain(async_client_and_sandbox: Pair) -> None:
    """Polls that serve many waits carry nothing of the view whose task makes them."""
    client, sandbox = async_client_and_sandbox
    view = client.with_options(extra_headers={"X-Scene": "4"}, extra_query={"trace": "1"})
    jobs = [await client.generations.create(**ORDER) for _ in range(6)]
    async with anyio.create_task_group() as tasks:
        for job in jobs:
            tasks.start_soon(view.generations.wait_until_complete, job)
    polls = sandbox.requests.find(method="GET", path="/v2/generations")
    assert len(polls) > 0
    assert [each for each in polls if "x-scene" in each.headers or "trace" in str(each.query)] == []


async def test_a_raw_create_holds_a_slot() -> None:
    """What it has made counts as a running job of the account, with a key or without."""
    async with opened(slots(2), progression="time(60)") as (client, _, clock):
        for key in ("raw", None):
            await client.request("POST", "/v2/generate", json=CREATE, idempotency_key=key)
        assert client._requester.account.slots.used == 2  # noqa: SLF001
        began = clock.now()
        await client.generations.create(**ORDER)
        assert clock.now() - began > 30


async def test_fields_of_one_call_are_not_for_looks_at_other_jobs() -> None:
    """A filter of one call hides no running job from the account's slots."""
    async with opened(slots(2), progression="time(60)") as (client, _, clock):
        for _ in range(2):
            await client.generations.create(**ORDER)
        view = client.with_options(extra_query={"status": "COMPLETED"})
        began = clock.now()
        await view.generations.create(**ORDER)
        assert clock.now() - began > 30


@pytest.mark.parametrize(
    ("method", "path", "is_create"),
    [
        ("POST", "/v2/generate", True),
        ("POST", "/v2/generate?dry=1", True),
        ("GET", "/v2/generate", False),
        ("POST", "/v2/analyze/cost", False),
        ("POST", "/v2/generations", False),
    ],
)
def test_only_a_create_counts_as_one(method: str, path: str, is_create: bool) -> None:  # noqa: FBT001
    """A key alone makes no create of a request; its header fields show in no traceback."""
    call = raw_request(
        method, path, headers={"X-Gate": "secret"}, json=None, body=None, idempotency_key="k"
    )
    assert (call.rate_class is endpoints.CREATE) is is_create
    assert "secret" not in repr(call)
