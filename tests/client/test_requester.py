"""One call end to end: what is sent where, which answers are which errors, and when to stop."""

import json
import logging
import pickle
import re
from functools import partial

import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    AuthenticationError,
    BadRequestError,
    ConcurrencyLimitError,
    ConflictError,
    ConnectionLostError,
    LipsyncError,
    NotFoundError,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    Response,
    ResponseError,
    RetryPolicy,
    ServerError,
    Status,
    UnprocessableError,
)
from lipsync_async._logic import endpoints
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.faults import Fault, concurrency_limited, rate_limited
from tests.client.connections import cancel_when, completed, opened, order
from tests.client.hosts import Answer, delivered, hosting

ONCE = RetryPolicy(attempts=1)
Pair = tuple[AsyncClient, Sandbox]
OTHER_ID = "0e984725-c51c-4bf4-9960-e1c80e27aba0"
JOB = b'{"id": "job-1", "status": "PENDING"}'


def pointing(url: str, status: int = 302) -> Answer:
    """Return the answer that points elsewhere."""
    return Answer(b"", status, {"Location": url})


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((400, BadRequestError), (401, AuthenticationError), (402, PaymentRequiredError)),
        *((403, PermissionDeniedError), (404, NotFoundError), (409, ConflictError)),
        *((413, PayloadTooLargeError), (418, ResponseError), (422, UnprocessableError)),
        (501, ServerError),
    ],
)
async def test_statuses(client_and_sandbox: Pair, status: int, error: type[LipsyncError]) -> None:
    """Each status is one class of error, raised after one try, complete with what was said."""
    client, sandbox = client_and_sandbox
    body = {
        "statusCode": status,
        "message": ["input is odd", "model too"],
        "errorCode": "odd_input",
        "suggestion": "Straighten it.",
        "field": "input",
    }
    sandbox.faults.add(Fault("status", status=status, body=body, count=None))
    with pytest.raises(ResponseError) as caught:
        await order(client)
    found = caught.value
    assert type(found) is error
    assert (found.status, found.code, found.field) == (status, "odd_input", "input")
    assert found.message == "input is odd; model too"
    assert (found.suggestion, found.request_id, found.body) == ("Straighten it.", "sandbox-1", body)
    assert found.idempotency_key is not None
    assert len(sandbox.requests) == 1
    assert str(pickle.loads(pickle.dumps(found))) == str(found)  # noqa: S301 - made here


async def test_unsettled_codes_are_tried_again(client_and_sandbox: Pair) -> None:
    """A create that is still being settled is asked about again with the same key."""
    client, sandbox = client_and_sandbox
    code = "IDEMPOTENCY_REQUEST_IN_PROGRESS"
    sandbox.faults.add(Fault("status", method="POST", status=409, code=code, count=2))
    assert (await order(client)).status == Status.PENDING
    assert sandbox.jobs.created == 1


async def test_pace_that_is_told_is_kept() -> None:
    """A `Retry-After` is waited out in full, on a 429 and on a 503 alike."""
    clock = VirtualClock()
    async with opened("memory", clock=clock) as (client, sandbox):
        sandbox.faults.add(rate_limited(17.0))
        await client.models.list()
        assert 17.0 <= clock.now() <= 19.0
        sandbox.faults.add(Fault("status", status=503, headers={"Retry-After": "40"}))
        await client.models.list()
        assert 57.0 <= clock.now() <= 60.0


async def test_slots_are_waited_for() -> None:
    """A full account is waited for, beyond the attempts, until `slot_timeout`."""
    clock = VirtualClock()
    async with opened("memory", clock=clock) as (client, sandbox):
        sandbox.faults.add(concurrency_limited(3, retry_after_seconds=30, count=20))
        await order(client.with_options(retry=RetryPolicy(attempts=1)))
        assert 600.0 <= clock.now() <= 660.0
        sandbox.faults.add(concurrency_limited(3, count=None))
        with pytest.raises(ConcurrencyLimitError) as caught:
            await order(client.with_options(retry=RetryPolicy(slot_timeout=100.0)))
        assert clock.now() <= 760.0
    assert (caught.value.concurrency_limit, caught.value.active_generations) == (3, 3)
    assert (caught.value.retry_after, caught.value.is_retryable) == (30.0, True)


async def test_attempts_and_patience_are_limits() -> None:
    """`attempts` counts all tries; `give_up_after` is seconds after which none begins."""
    clock = VirtualClock()
    async with opened("memory", clock=clock) as (client, sandbox):
        sandbox.faults.add(Fault("status", status=500, count=None))
        with pytest.raises(ServerError):
            await client.with_options(retry=RetryPolicy(attempts=4)).models.list()
        assert len(sandbox.requests) == 4
        started = clock.now()
        patient = RetryPolicy(attempts=1000, give_up_after=90.0)
        with pytest.raises(ServerError):
            await client.with_options(retry=patient).models.list()
        assert 30.0 <= clock.now() - started <= 90.0


async def test_longer_pace_than_patience(client_and_sandbox: Pair) -> None:
    """Who is told to wait for an hour is told of it at once."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(rate_limited(3600.0, count=None))
    with pytest.raises(RateLimitError) as caught:
        await client.models.list()
    assert caught.value.retry_after == 3600.0
    assert len(sandbox.requests) == 1


async def test_on_response_sees_every_answer(client_and_sandbox: Pair) -> None:
    """Retries and looks included, each answer is shown once, errors too."""
    client, sandbox = client_and_sandbox
    seen: list[Response] = []
    shown = client.with_options(on_response=seen.append)
    sandbox.faults.add(Fault("status", method="POST", status=502, body="<html>", count=2))
    job = await completed(shown)
    assert [each.status for each in seen] == [502, 502, 201, 200, 200]
    assert {each.url.startswith(sandbox.url) for each in seen} == {True}
    assert [each.headers["x-request-id"] for each in seen][-1] == "sandbox-5"
    assert job.id.encode() in seen[-1].body


@pytest.mark.parametrize("job_id", ["a/b", "x?y=z", "..%2F", "é#1", "a b", "../../admin"])
async def test_ids_cannot_leave_their_place(job_id: str) -> None:
    """Whatever an id holds, it stays one segment of the path on the wire."""
    escaped = "".join(
        char if char.isascii() and char.isalnum() else "".join(f"%{b:02X}" for b in char.encode())
        for char in job_id
    )
    job = Answer(json.dumps({"id": job_id, "status": "PENDING"}).encode())
    async with hosting(job) as host, AsyncClient("key", base_url=host.url) as client:
        await client.generations.get(job_id)
        await client.generations.delete(job_id)
    targets = [each.target for each in host.arrivals]
    assert targets == [f"/v2/generate/{escaped}", f"/v2/generations/{escaped}"]


async def test_base_url_with_a_path() -> None:
    """A gateway's prefix is kept, with or without a trailing slash."""
    async with hosting(Answer(b"[]")) as host:
        for base_url in (f"{host.url}/gate", f"{host.url}/gate/"):
            async with AsyncClient("key", base_url=base_url) as client:
                await client.models.list()
    assert [each.target for each in host.arrivals] == ["/gate/v2/models"] * 2


async def test_key_follows_to_the_same_server_only() -> None:
    """A pointed-to path of the same server gets the key; another server never does."""
    async with hosting(pointing("/back"), Answer(JOB)) as other:
        pointers = (pointing("/moved", 301), pointing(f"{other.url}/over", 308))
        async with hosting(*pointers) as host, AsyncClient("the-key", base_url=host.url) as client:
            job = await client.generations.get("job-1")
    assert job.id == "job-1"
    assert [each.headers.get("x-api-key") for each in host.arrivals] == ["the-key", "the-key"]
    assert [each.target for each in other.arrivals] == ["/over", "/back"]
    assert [each.headers.get("x-api-key") for each in other.arrivals] == [None, None]


@pytest.mark.parametrize("status", [101, 199, 300, 303, 304, 306, 399])
async def test_create_that_is_answered_by_no_answer(status: int) -> None:
    """What says neither yes nor no leaves the outcome open: the order may have been accepted."""
    headers = {"Location": "/v2/generate/job-1"} if status == 303 else {}
    async with (
        hosting(Answer(b"", status, headers)) as host,
        AsyncClient("key", base_url=host.url, timeout=0.5, retry=ONCE) as client,
    ):
        with pytest.raises(LipsyncError) as caught:
            await delivered(partial(order, client))
    assert caught.value.may_have_worked
    assert str(caught.value.idempotency_key) in str(caught.value)
    assert [each.target for each in host.arrivals] == ["/v2/generate"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_create_follows_no_pointer(status: int) -> None:
    """A paid order goes to no one else: a pointer is an error that says so."""
    async with (
        hosting(Answer(JOB, 201)) as other,
        hosting(pointing(other.url, status)) as host,
        AsyncClient("key", base_url=host.url) as client,
    ):
        with pytest.raises(ResponseError, match="it points to 'http://127") as caught:
            await order(client)
    assert (len(host.arrivals), len(other.arrivals)) == (1, 0)
    assert caught.value.status == status
    assert caught.value.idempotency_key is not None


@pytest.mark.parametrize("target", ["/again", "http://[bad", "http://h:port/", "ftp://h/"])
async def test_pointers_to_nowhere(target: str) -> None:
    """A circle of pointers, or one that no one can read, ends as an error."""
    async with hosting(pointing(target)) as host, AsyncClient("key", base_url=host.url) as client:
        with pytest.raises(ResponseError, match="it points to"):
            await client.models.list()
    assert len(host.arrivals) == (6 if target == "/again" else 1)


async def test_answers_that_are_no_http() -> None:
    """Garbage instead of HTTP is an error of this package that does not hold the key."""
    async with hosting(Answer(raw=b"garbage\r\n\r\n")) as host:
        retry = RetryPolicy(attempts=2, first_pause=0.001)
        async with AsyncClient("the-secret", base_url=host.url, retry=retry) as client:
            with pytest.raises(ConnectionLostError) as caught:
                await client.models.list()
    assert "the-secret" not in f"{caught.value}{caught.value.__cause__}"
    assert len(host.arrivals) == 2


async def test_cancelled_create_logs_its_key(caplog: pytest.LogCaptureFixture) -> None:
    """Who cancels a create in flight finds in the log how to repeat it without paying twice."""
    async with opened("memory", progression="manual") as (client, sandbox):
        sandbox.faults.add(Fault("latency", seconds=5.0, method="POST"))
        with caplog.at_level("WARNING"):
            await cancel_when(
                lambda: sandbox.jobs.created > 0, partial(order, client, idempotency_key="my-key")
            )
        assert "my-key" in caplog.text
        assert sandbox.api_key not in caplog.text
        assert (await order(client, idempotency_key="my-key")).id in sandbox.jobs
        assert sandbox.jobs.created == 1


async def test_cancelled_look_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled GET is no one's loss and makes no noise."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault("hang", method="GET"))
        with caplog.at_level("DEBUG"):
            await cancel_when(lambda: len(sandbox.requests) > 0, client.models.list)
        assert repr(client) == "<AsyncClient base_url='http://localhost' in_flight=0>"
    assert caplog.text == ""


async def test_each_try_is_one_debug_line(caplog: pytest.LogCaptureFixture) -> None:
    """It names method, path, status, seconds, attempt and request id; no key, query or body."""
    caplog.set_level(logging.DEBUG, "lipsync_async")
    async with opened("memory", clock=VirtualClock()) as (client, sandbox):
        job = await order(client)
        sandbox.faults.add(Fault("status", method="GET", status=503))
        sandbox.faults.add(Fault("latency", method="GET", seconds=1.5))
        await client.generations.list(ids=[job.id, OTHER_ID])
        sandbox.faults.add(Fault("reset_before", method="GET"))
        await client.generations.get(job)
        lines = [each for each in caplog.records if each.name == "lipsync_async.http"]
        told = " ".join(each.getMessage() for each in caplog.records)
    path = f"/v2/generate/{job.id}"
    assert [re.sub(r"(?<=sandbox-)\d+", "N", each.getMessage()) for each in lines] == [
        "POST /v2/generate: 201, request id sandbox-N (0.000 s, attempt 1)",
        "GET /v2/generations: 503, request id sandbox-N (1.500 s, attempt 1)",
        "GET /v2/generations: 200, request id sandbox-N (0.000 s, attempt 2)",
        f"GET {path}: ConnectError (0.000 s, attempt 1)",
        f"GET {path}: 200, request id sandbox-N (0.000 s, attempt 2)",
    ]
    assert {each.levelname for each in lines} == {"DEBUG"}
    assert {each.funcName for each in lines} == {"_log_try"}
    retries = [each for each in caplog.records if each.name == "lipsync_async.retry"]
    assert [each.levelname for each in retries] == ["INFO", "INFO"]
    for secret in (sandbox.api_key, OTHER_ID, "media.example", "ids="):
        assert secret not in told


async def test_a_redirect_to_another_server_is_logged_by_its_host(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A link elsewhere may be signed in its path, too."""
    caplog.set_level(logging.DEBUG, "lipsync_async.http")
    async with hosting(Answer(JOB)) as other:
        target = f"{other.url}/signed?signature=secret"
        async with hosting(pointing(target)) as host, AsyncClient("key", base_url=host.url) as own:
            await own.generations.get("job-1")
    first, second = caplog.messages
    assert first.startswith("GET /v2/generate/job-1: 302 ")
    assert second.startswith("GET 127.0.0.1: 200 ")


async def test_headers_and_query_of_one_call(async_client_and_sandbox: Pair) -> None:
    """A call may add header fields and query parameters, but replaces none that is needed."""
    client, sandbox = async_client_and_sandbox
    job = await order(client)
    options = attrs.evolve(
        client.generations._options,  # noqa: SLF001 - the public verb is above it
        headers={"x-sync-source": "mine", "x-api-key": "another", "user-agent": "another"},
        query={"trace": "a b", "limit": "1"},
    )
    execute = client._requester.execute  # noqa: SLF001
    await execute(endpoints.get_generation(job.id), options)
    await execute(endpoints.list_generations(ids=[job.id]), options)
    one, listed = sandbox.requests.find("GET")
    assert one.query == [("trace", "a b"), ("limit", "1")]
    assert listed.query == [("ids", job.id), ("trace", "a b"), ("limit", "1")]
    assert one.headers["x-sync-source"] == "mine"
    assert one.headers["user-agent"] != "another"
    assert "another" not in repr(options)
