"""Faults that strike one request, seen from outside."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lipsync_async._models.http import Request
from lipsync_async.errors import ConnectError, ConnectionLostError, RequestTimeoutError
from lipsync_async.sandbox import Fault, Sandbox, VirtualClock, concurrency_limited, rate_limited
from lipsync_async.sandbox.fault_effects import before_handler
from lipsync_async.sandbox.server.messages import Response
from tests.sandbox.clients import Client, ConnectionCutError, created, order, socket_client, until
from tests.sandbox.conftest import OpenClient

SLOW = 3600.0
JSON_TYPE, HTML, PLAIN = (
    f"{kind}; charset=utf-8" for kind in ("application/json", "text/html", "text/plain")
)


@pytest.fixture
async def client(open_client: OpenClient) -> AsyncIterator[Client]:
    """Connect to a sandbox whose hour takes a fraction of a second."""
    speed = {} if "memory" in repr(open_client) else {"speed": 36_000.0}
    async with open_client(progression="manual", **speed) as connected:
        yield connected


async def test_a_status_replaces_the_work(client: Client) -> None:
    """The answer is the fault's, and no job is made."""
    client.sandbox.faults.add(Fault("status", method="POST", status=502, body="<html>"))
    answer = await client.send("POST", "/v2/generate", order())
    assert (answer.status, answer.body) == (502, b"<html>")
    assert (answer.headers["content-type"], len(client.sandbox.jobs)) == (HTML, 0)


@pytest.mark.parametrize(
    ("header", "status", "message"),
    [('{"kind": "status", "status": 503}', 503, "Service"), ("{", 400, "x-sandbox-fault: ")],
)
async def test_a_header_strikes_its_own_request(
    client: Client, header: str, status: int, message: str
) -> None:
    """`x-sandbox-fault` is the same model; one that cannot be read is 400."""
    answer = await client.send("GET", "/v2/models", headers={"x-sandbox-fault": header})
    assert (answer.status, answer.json["message"].startswith(message)) == (status, True)


async def test_latency_comes_after_the_work(client: Client) -> None:
    """Who does not wait for a late answer has been served all the same."""
    client.sandbox.faults.add(Fault("latency", method="POST", seconds=SLOW))
    begin = (await client.send("GET", "/__sandbox/clock")).json["now"]
    creating = asyncio.create_task(client.send("POST", "/v2/generate", order()))
    await until(lambda: len(client.sandbox.jobs))
    assert (await creating).status == 201
    assert (await client.send("GET", "/__sandbox/clock")).json["now"] - begin >= SLOW


@pytest.mark.parametrize(
    "fault", [Fault("reset_before", method="POST"), Fault("hang", method="POST", seconds=SLOW)]
)
async def test_a_cut_before_the_work_leaves_nothing(client: Client, fault: Fault) -> None:
    """No answer comes, at once or after a hang, and no job is made."""
    client.sandbox.faults.add(fault)
    with pytest.raises(ConnectionCutError):
        await client.send("POST", "/v2/generate", order())
    assert len(client.sandbox.jobs) == 0


async def test_a_cut_after_the_work_leaves_a_job(client: Client) -> None:
    """No answer comes, but the job is there, and its key finds it."""
    client.sandbox.faults.add(Fault("reset_after", method="POST"))
    headers = {"idempotency-key": "k"}
    with pytest.raises(ConnectionCutError):
        await client.send("POST", "/v2/generate", order(), headers=headers)
    assert await created(client, headers) == next(iter(client.sandbox.jobs)).id
    assert client.sandbox.jobs.created == 1


async def test_a_truncated_body_is_noticed(client: Client) -> None:
    """The promised length does not come."""
    client.sandbox.faults.add(Fault("truncate"))
    with pytest.raises(ConnectionCutError):
        await client.send("GET", "/v2/models")
    assert (await client.send("GET", "/v2/models")).status == 200


@pytest.mark.parametrize("path", ["/v2/models", "/__sandbox/files/clip.bin"])
async def test_a_slow_body_comes_whole(client: Client, path: str) -> None:
    """The body takes its time by the sandbox's clock, also that of a file."""
    await client.send("PUT", "/__sandbox/files/clip.bin", b"x" * 100)
    expected = await client.send("GET", path)
    client.sandbox.faults.add(Fault("slow_body", seconds=SLOW))
    began = (await client.send("GET", "/__sandbox/clock")).json["now"]
    answer = await client.send("GET", path)
    ended = (await client.send("GET", "/__sandbox/clock")).json["now"]
    assert (answer.body, ended - began >= SLOW) == (expected.body, True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({}, HTML), ({"Content-Type": "text/css", "X-Lie": "yes"}, "text/css")],
)
async def test_the_content_type_may_lie(
    client: Client, headers: dict[str, str], expected: str
) -> None:
    """The right body comes under headers that are wrong."""
    client.sandbox.faults.add(Fault("content_type", headers=headers))
    answer = await client.send("GET", "/v2/models")
    assert (answer.status, answer.headers["content-type"]) == (200, expected)
    assert answer.headers.get("x-lie") == headers.get("X-Lie")


@pytest.mark.parametrize("body", [None, "certainly not json"])
async def test_json_may_be_malformed(client: Client, body: str | None) -> None:
    """A success has a body that is no JSON."""
    client.sandbox.faults.add(Fault("malformed_json", body=body))
    answer = await client.send("GET", "/v2/models")
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        _ = answer.json
    assert answer.status == 200


@pytest.mark.parametrize("path", ["/v2/generate/{}", "/v2/generations?ids={}"])
async def test_fields_may_be_replaced(client: Client, path: str) -> None:
    """A future service may send what is not known today."""
    job_id = await created(client)
    fields = {"status": "DREAMING", "outputDuration": "long"}
    client.sandbox.faults.add(Fault("replace_fields", fields=fields))
    answer = await client.send("GET", path.format(job_id))
    found = answer.json[0] if isinstance(answer.json, list) else answer.json
    assert (found["id"], found["status"], found["outputDuration"]) == (job_id, "DREAMING", "long")


@pytest.mark.parametrize("path", ["/v2/generate/nonsense", "/__sandbox/files/{}"])
async def test_only_json_successes_have_fields(client: Client, path: str) -> None:
    """Errors and media pass as they are."""
    await client.send("PUT", "/__sandbox/files/a.bin", b"x")
    expected = await client.send("GET", path.format("a.bin"))
    client.sandbox.faults.add(Fault("replace_fields", fields={"status": "DREAMING"}))
    assert (await client.send("GET", path.format("a.bin"))).body == expected.body


async def test_an_empty_success_has_no_fields(client: Client) -> None:
    """Its answer stays empty, and is no failure of the sandbox."""
    project = await client.send("POST", "/v2/projects", {"name": "p"})
    facts = {"url": "https://media.example/v.mp4", "type": "VIDEO"}
    asset = await client.send("POST", "/v2/assets", facts)
    client.sandbox.faults.add(Fault("replace_fields", fields={"a": 1}))
    path, body = f"/v2/projects/{project.json['id']}/assets", {"assetId": asset.json["id"]}
    answer = await client.send("POST", path, body)
    assert (answer.status, answer.body) == (204, b"")


async def test_controls_are_out_of_reach(client: Client) -> None:
    """No fault keeps anybody from clearing the faults."""
    client.sandbox.faults.add(Fault("status", status=500, count=None))
    assert (await client.send("GET", "/__sandbox/health")).status == 200


async def test_faults_add_up(client: Client) -> None:
    """A late error is an error that is late."""
    client.sandbox.faults.add(Fault("latency", seconds=SLOW))
    client.sandbox.faults.add(Fault("status", status=503))
    begin = (await client.send("GET", "/__sandbox/clock")).json["now"]
    answer = await client.send("GET", "/v2/models")
    passed = (await client.send("GET", "/__sandbox/clock")).json["now"] - begin
    assert (answer.status, passed >= SLOW) == (503, True)


async def test_a_hang_ends_with_the_sandbox() -> None:
    """A request that is never answered does not keep the sandbox from ending."""
    async with socket_client() as client:
        client.sandbox.faults.add(Fault("hang"))
        # A POST, for the client would silently send a GET once more.
        hanging = asyncio.create_task(client.send("POST", "/v2/generate", order()))
        await until(lambda: len(client.sandbox.requests))
    with pytest.raises(ConnectionCutError):
        await hanging


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("reset_before"), ConnectError),
        (Fault("reset_after"), ConnectionLostError),
        (Fault("truncate"), ConnectionLostError),
        (Fault("hang"), RequestTimeoutError),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
async def test_cuts_in_memory_are_transport_errors(fault: Fault, error: Any) -> None:
    """Each tells how far the request got."""
    async with Sandbox(clock=VirtualClock(), render=False) as sandbox:
        sandbox.faults.add(fault)
        request = Request("GET", f"{sandbox.url}/v2/errors")
        with pytest.raises(error):
            await sandbox.transport().send(request, timeout=30.0)


async def instead(fault: Fault) -> Response:
    """Return what a fault answers instead of the service."""
    found = await before_handler([fault], VirtualClock())
    assert found is not None
    return found


async def test_limits_say_what_they_are_told() -> None:
    """Advice and header come only when asked for; numbers are those of the fault."""
    rate, limit = rate_limited(1.5, method="GET", path="/v2/*", count=None), concurrency_limited(3)
    assert (rate.method, rate.path, rate.count) == ("GET", "/v2/*", None)
    assert (limit.method, limit.path, limit.count) == ("POST", "/v2/generate", 1)
    headers = [(await instead(fault)).headers for fault in (rate, rate_limited())]
    assert headers == [{"Retry-After": "1.5"}, {}]
    full = json.loads((await instead(limit)).whole)
    quiet = json.loads((await instead(concurrency_limited(1, 1, None))).whole)
    assert full["message"] == "Your plan runs 3 generations at once, and 3 are running."
    assert quiet["message"] == "Your plan runs 1 generation at once, and 1 is running."
    assert (full["retryAfterSeconds"], "retryAfterSeconds" in quiet) == (30, False)


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "body"),
    [
        (
            Fault("status", status=503),
            503,
            JSON_TYPE,
            '{"statusCode":503,"message":"Service Unavailable","error":"Service Unavailable"}',
        ),
        (
            Fault("status", status=599, code="of_my_own", message="Ü"),
            599,
            JSON_TYPE,
            '{"statusCode":599,"message":"Ü","error":"Error","errorCode":"of_my_own"}',
        ),
        (Fault("status", status=502, body="<html>Bad"), 502, HTML, "<html>Bad"),
        (Fault("status", status=500, body="oops"), 500, PLAIN, "oops"),
        (Fault("status", status=400, body={"a": ["b", "c"]}), 400, JSON_TYPE, '{"a":["b","c"]}'),
        (
            Fault("status", status=503, code="controller_timeout", message="?"),
            503,
            JSON_TYPE,
            (
                '{"statusCode":503,"message":"?","error":"Service Unavailable",'
                '"errorCode":"controller_timeout",'
                '"suggestion":"Send the same request again after a pause."}'
            ),
        ),
        (Fault("status", status=500, body=""), 500, PLAIN, ""),
        (
            Fault("status", status=500, headers={"content-type": "image/png"}),
            500,
            "image/png",
            '{"statusCode":500,"message":"Internal Server Error","error":"Internal Server Error"}',
        ),
    ],
)
async def test_error_answers(fault: Fault, status: int, content_type: str, body: str) -> None:
    """An error fault becomes a whole answer; a content type of its own wins."""
    found = await instead(fault)
    assert (found.status, found.content_type, dict(found.headers)) == (status, content_type, {})
    assert found.whole == body.encode()
