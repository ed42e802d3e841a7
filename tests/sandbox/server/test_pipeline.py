"""The way of one request to its answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from lipsync_async._models.http import FilePart, Request as Sent, TextPart
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.api import RESOURCES
from lipsync_async.sandbox.files import Folder
from lipsync_async.sandbox.server.memory_server import memory_transport
from lipsync_async.sandbox.server.messages import JSON_BODY, Request
from lipsync_async.sandbox.server.pipeline import Pipeline, Resource, Router
from lipsync_async.sandbox.state import State
from tests.sandbox.clients import (
    AUDIO,
    NOW,
    Client,
    created,
    memory_client,
    order,
    shown,
    socket_client,
)
from tests.sandbox.conftest import OpenClient

LIVE_KEY = (
    "Unauthorized: this is a sandbox and the key looks like one of the real service. Use the key "
    "that the sandbox printed."
)
projects = Resource("/v2/things")


@projects.route("GET", "/{id}/assets/{asset_id}")
def asset(_: State, request: Request) -> object:
    """Answer with what the path names."""
    return dict(request.params)


@projects.route("POST", body=JSON_BODY, status=201)
async def create(_: State, request: Request) -> object:
    """Answer with what was sent."""
    return {"id": "1", **request.data}


@projects.route("GET", "/count")
def count(_: State, __: Request) -> object:
    """Answer with a number."""
    return {"count": 1}


@projects.route("GET", "/{id}")
def get(_: State, request: Request) -> object:
    """Answer with what the path names."""
    return dict(request.params)


async def test_a_new_resource_is_one_file_and_one_line() -> None:
    """Its handlers return plain values; keys, limits, bodies and errors come with the pipeline."""
    clock = VirtualClock()
    async with Sandbox(clock=clock, render=False) as sandbox:
        pipeline = Pipeline(sandbox._state, Router([*RESOURCES, projects]))  # noqa: SLF001
        transport = memory_transport(pipeline, clock)
        key = {"x-api-key": sandbox.api_key, "content-type": "application/json"}

        async def answer(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
            url = f"{sandbox.url}/v2/things{path}"
            found = await transport.send(Sent(method, url, key, body), timeout=None)
            return found.status, found.body

        assert await answer("POST", "", b'{"name":"x"}') == (201, b'{"id":"1","name":"x"}')
        assert await answer("GET", "/count") == (200, b'{"count":1}')
        assert await answer("GET", "/a%2Fb") == (200, b'{"id":"a/b"}')
        assert await answer("GET", "/7/assets/8") == (200, b'{"id":"7","asset_id":"8"}')
        assert [(await answer("GET", path))[0] for path in ("/", "/7/assets/", "/7/x/8")] == [
            404
        ] * 3


NO_KEY = "Either Cookie or x-api-key header must be provided"


@pytest.mark.parametrize(
    ("method", "path", "key", "status", "message"),
    [
        ("GET", "/v2/models", "", 401, NO_KEY),
        ("GET", "/v2/generations", "", 401, NO_KEY),
        ("GET", "/v2/nowhere", "", 401, NO_KEY),
        ("GET", "/v2/generations", "sandbox-other", 401, "Unauthorized"),
        ("GET", "/v2/nowhere", "sandbox-other", 401, "Unauthorized"),
        ("GET", "/v2/models", "sk-abc", 401, LIVE_KEY),
        ("PUT", "/v2/models", None, 404, "Cannot PUT /v2/models"),
        # The catalogue of errors and the controls are open.
        ("GET", "/v2/errors", "", 200, None),
        ("GET", "/__sandbox/health", "", 200, None),
        ("GET", "/__sandbox/requests", "", 200, None),
    ],
)
async def test_a_key_comes_before_the_path(
    *, client: Client, method: str, path: str, key: str | None, status: int, message: str | None
) -> None:
    """The two 401 answers differ; a key that looks live is told where it is."""
    headers = {} if key is None else {"x-api-key": key}
    answer = await client.send(method, path, headers=headers)
    told = answer.json.get("message") if isinstance(answer.json, dict) else None
    assert (answer.status, told) == (status, message)


class TestMinutes:
    """Requests in any sixty seconds, for creates and for all others."""

    async def test_creates_have_a_limit_of_their_own(self, open_client: OpenClient) -> None:
        """Over it a create is 429, other requests are not."""
        async with open_client(creates_per_minute=2) as client:
            ids = [await created(client) for _ in range(2)]
            answer = await client.send("POST", "/v2/generate", order())
            await shown(client, ids[0])
        assert (answer.status, answer.json["errorCode"]) == (429, "rate_limit_exceeded")

    async def test_the_window_slides(self, open_client: OpenClient) -> None:
        """A minute after the first request there is room for another."""
        async with open_client(requests_per_minute=1) as client:
            statuses = []
            for seconds in (0.0, 0.0, 60.0):
                await client.sleep(seconds)
                statuses.append((await client.send("GET", "/v2/models")).status)
        assert statuses == [200, 429, 200]

    async def test_the_plan_brings_the_documented_numbers(self) -> None:
        """60 creates and 600 others."""
        async with memory_client(plan="scale", progression="immediate") as client:
            creates = [
                (await client.send("POST", "/v2/generate", order())).status for _ in range(61)
            ]
            others = [(await client.send("GET", "/v2/models")).status for _ in range(601)]
        assert (creates.index(429), others.index(429)) == (60, 600)


class TestSlots:
    """Generations at once."""

    @pytest.mark.parametrize(
        ("plan", "limit"),
        [("free", 1), ("hobbyist", 1), ("creator", 3), ("growth", 6), ("enterprise:4", 4)],
    )
    async def test_a_create_over_the_plan_is_refused(
        self, open_client: OpenClient, plan: str, limit: int
    ) -> None:
        """The 429 tells the account's numbers; nothing is queued."""
        async with open_client(plan=plan, progression="manual", retry_after_seconds=5) as client:
            for _ in range(limit):
                await created(client)
            answer = await client.send("POST", "/v2/generate", order())
            assert (answer.status, client.sandbox.jobs.created) == (429, limit)
        names = ("activeGenerations", "concurrencyLimit", "retryAfterSeconds")
        assert [answer.json[name] for name in names] == [limit, limit, 5]

    async def test_an_ended_generation_frees_its_slot(self, open_client: OpenClient) -> None:
        """PENDING and PROCESSING take a slot, the rest does not."""
        async with open_client(concurrency=1, progression="manual") as client:
            job_id = await created(client)
            client.sandbox.jobs.move(job_id, "PROCESSING")
            taken = await client.send("POST", "/v2/generate", order())
            client.sandbox.jobs.move(job_id, "FAILED")
            await created(client)
        assert taken.status == 429

    async def test_a_replay_needs_no_slot(self, open_client: OpenClient) -> None:
        """The same key and body answer even when all slots are taken."""
        async with open_client(concurrency=1, progression="manual") as client:
            ids = [await created(client, {"idempotency-key": "k"}) for _ in range(2)]
        assert ids[0] == ids[1]


CLIP = FilePart("video", "take.mp4", "video/mp4", b"x" * 1000)
FORM = (TextPart("model", "lipsync-2"), TextPart("input", json.dumps([AUDIO])), CLIP)
KEYLESS = {"x-api-key": ""}
FAULT = {"x-sandbox-fault": '{"kind": "status", "status": 500}'}


def sent(path: str = "/v2/generate", **given: Any) -> dict[str, Any]:
    """Return one request that brings a file."""
    return {"method": "POST", "path": path, "form": FORM, **given}


KEYED = {"idempotency-key": "k"}


@pytest.mark.parametrize(
    ("requests", "status", "left"),
    [
        ([sent(headers=KEYLESS)], 401, 0),
        ([sent("/v2/x", method="PUT", body=b"x", form=(), headers=KEYLESS)], 401, 0),
        ([sent("/v2/x")], 404, 0),
        ([sent("/__sandbox/files/a", method="PUT", body=b"x", form=())] * 2, 201, 1),
        ([sent(headers=KEYED)] * 3, 201, 1),
        ([sent(headers=KEYED), sent(form=(*FORM, TextPart("x", "y")), headers=KEYED)], 409, 1),
        ([sent(headers=FAULT)], 500, 0),
        ([sent(form=(*FORM, TextPart("options", "{")))], 400, 0),
        ([sent(headers={"x-sandbox-progression": "soon"})], 400, 0),
        ([sent("/v2/analyze/cost")], 400, 0),
        ([sent(form=FORM[1:])], 400, 0),
        ([sent()], 201, 1),
    ],
)
async def test_only_what_was_taken_over_stays(
    client: Client, requests: list[dict[str, Any]], status: int, left: int
) -> None:
    """However a request ends, the files that it brought are gone, or belong to what it made."""
    answers = [await client.send(**request) for request in requests]
    folder = client.sandbox._state.folder.new_path().parent  # noqa: SLF001 - the disk is the promise
    assert (answers[-1].status, len([*folder.iterdir()])) == (status, left)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"{", "multipart/form-data; boundary=b"), (b"x" * 6_000_000, "application/json")],
)
async def test_without_a_key_no_body_is_read(body: bytes, content_type: str) -> None:
    """Such a request is 401 whatever it brings, and is logged as any other."""
    async with socket_client() as client:
        headers = {"content-type": content_type, **KEYLESS}
        answer = await client.send("POST", "/v2/generate", body, headers=headers)
        assert (answer.status, "x-request-id" in answer.headers) == (401, True)
        (entry,) = client.sandbox.requests
        assert (entry.status, entry.body_size) == (401, 0)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
async def test_json_needs_its_content_type(client: Client, content_type: str) -> None:
    """A client that forgets the header fails here, too, and not only in the service."""
    headers = {"content-type": content_type}
    answer = await client.send("POST", "/v2/generate", order(), headers=headers)
    assert (answer.status, content_type in answer.json["message"]) == (400, True)


async def test_head_is_get_without_a_body(client: Client) -> None:
    """Of the API, and of an output, whose length is told."""
    assert (await client.send("HEAD", "/v2/models")).status == 200
    job_id = await created(client, NOW)
    url = (await shown(client, job_id))["outputUrl"]
    answer = await client.send("HEAD", url)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "1024")
    await client.send("PUT", "/__sandbox/files/a.bin", b"abc")
    answer = await client.send("HEAD", "/__sandbox/files/a.bin")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "3")


async def test_what_goes_wrong_in_the_sandbox_is_a_500_with_an_id(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug does not look like a lost connection; the log has its traceback."""

    def broken(_job: Any) -> None:
        raise RuntimeError("spring")

    client.sandbox.jobs.on_end = broken
    answer = await client.send("POST", "/v2/generate", order(), headers=NOW)
    assert (answer.status, answer.json["errorCode"]) == (500, "internal_error")
    assert answer.json["requestId"] == answer.headers["x-request-id"]
    assert "spring" in caplog.text


class FullFolder(Folder):
    """A folder on a disk that is full."""

    def new_path(self, suffix: str = "") -> Path:
        """Return the path of a link to the device that is always full."""
        path = super().new_path(suffix)
        path.symlink_to("/dev/full")
        return path


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
async def test_a_full_disk_has_a_code_of_its_own(client: Client) -> None:
    """It is the service's own trouble, not a fault of the file."""
    client.sandbox._state.folder = folder = FullFolder()  # noqa: SLF001 - no disk is filled up
    try:
        answer = await client.send("POST", "/v2/generate", form=FORM)
    finally:
        folder.close()
    assert (answer.status, answer.json["errorCode"]) == (500, "generation_infra_storage_error")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content-type": "text/plain"}, 400),
        ({"origin": "http://own.test", "host": "own.test"}, 201),
        ({}, 201),
    ],
)
async def test_no_web_page_of_others_controls_the_sandbox(
    client: Client, headers: dict[str, str], status: int
) -> None:
    """A browser sends such requests without asking first."""
    answer = await client.send("POST", "/__sandbox/faults", {"kind": "hang"}, headers=headers)
    assert (answer.status, len(client.sandbox.faults)) == (status, int(status == 201))
