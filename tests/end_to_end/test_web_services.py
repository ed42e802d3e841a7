"""The services of `docs/web-services.md`, as they stand there, with real clients."""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import attrs
import pytest
import uvicorn

from lipsync_async.sandbox import Fault, Sandbox
from tests.house.code_blocks import blocks

FASTAPI, FLASK = blocks(Path(__file__).parents[2] / "docs" / "web-services.md", "python")
VIDEO, AUDIO = b"\0\0\0\x18ftypisom" + bytes(16), b"RIFF\x24\0\0\0WAVEfmt " + bytes(28)
EMPTY = {"problems": ["input[0].file: must not be empty"]}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Serve without rendering, and name it to what makes its own client."""
    with Sandbox(render=False, progression="polls(3)") as sandbox:
        monkeypatch.setenv("SYNC_API_KEY", sandbox.api_key)
        monkeypatch.setenv("SYNC_BASE_URL", sandbox.url)
        monkeypatch.setenv("SYNC_WEBHOOK_SECRET", sandbox.webhook_secret)
        yield sandbox


@attrs.frozen
class Answer:
    """What a service has answered."""

    status: int
    body: bytes


@attrs.define
class Served:
    """An app behind a real server, what its client asks, and its first 204."""

    app: Any
    session: aiohttp.ClientSession
    was_told: anyio.Event = attrs.field(factory=anyio.Event)

    async def ask(self, method: str, path: str, **how: Any) -> Answer:
        """Send a request, and read the whole answer."""
        async with self.session.request(method, path, **how) as answer:
            return Answer(answer.status, await answer.read())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let the app answer a request."""

        async def seen(message: Any) -> None:
            await send(message)
            if message.get("status") == 204:
                self.was_told.set()

        await self.app(scope, receive, seen)


@asynccontextmanager
async def served(app: Any, listener: socket.socket) -> AsyncIterator[Served]:
    """Serve an app, and give what asks it."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with anyio.create_task_group() as tasks, aiohttp.ClientSession(url) as session:
        service = Served(app, session)
        server = uvicorn.Server(uvicorn.Config(service, ws="none", log_config=None))
        tasks.start_soon(server.serve, [listener])
        try:
            yield service
        finally:
            server.should_exit = True


def form(video: bytes = VIDEO) -> aiohttp.FormData:
    """Return both files, as a page sends them."""
    data = aiohttp.FormData()
    data.add_field("video", video, filename="video.mp4")
    data.add_field("audio", AUDIO, filename="audio.wav")
    return data


async def test_a_fastapi_service(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Uploads, a status stream, a streaming download, a webhook and errors in words."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hook = f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        monkeypatch.setenv("HOOK_URL", hook)
        async with served(FASTAPI.run()["app"], listener) as service:
            ask = service.ask
            key = {"Idempotency-Key": "form-1"}
            made = [await ask("POST", "/jobs", data=form(), headers=key) for _ in range(2)]
            job_id = json.loads(made[0].body)["id"]
            early = await ask("GET", f"/jobs/{job_id}/video")
            stream = await ask("GET", f"/jobs/{job_id}/events")
            video = await ask("GET", f"/jobs/{job_id}/video")
            shown = await ask("GET", f"/jobs/{job_id}")
            lost = [await ask("GET", f"/jobs/{UNKNOWN}{end}") for end in ("", "/events", "/video")]
            other = await ask("POST", "/jobs", data=form(video=VIDEO + b"2"), headers=key)
            wrong = await ask("POST", "/jobs", data=form(video=b""))
            sandbox.faults.add(Fault("status", status=402, path="/v2/generate"))
            broke = await ask("POST", "/jobs", data=form())
            forged = await ask("POST", "/hook", data=b"{}")
            await service.was_told.wait()
    assert [answer.status for answer in made] == [202, 202]
    assert (json.loads(made[1].body)["id"], len(sandbox.jobs)) == (job_id, 1)
    assert (early.status, video.status, len(video.body)) == (409, 200, 1024)
    assert stream.body.startswith(b"event: COMPLETED\ndata: {")
    assert json.loads(shown.body)["status"] == "COMPLETED"
    assert [answer.status for answer in lost] == [404] * 3
    assert (wrong.status, json.loads(wrong.body)) == (422, EMPTY)
    assert [answer.status for answer in (other, broke, forged)] == [409, 502, 400]
    assert capsys.readouterr().out == f"{job_id} COMPLETED\n"


def test_a_flask_service(sandbox: Sandbox) -> None:
    """Uploads, a status, a streaming download and errors in words."""

    def files(video: bytes) -> Any:
        return {"video": (BytesIO(video), "v.mp4"), "audio": (BytesIO(AUDIO), "a.wav")}

    names = FLASK.run()
    with names["client"], names["app"].test_client() as page:
        key = {"Idempotency-Key": "form-1"}
        made = [page.post("/jobs", data=files(VIDEO), headers=key) for _ in range(2)]
        job_id = made[0].json["id"]
        early = page.get(f"/jobs/{job_id}/video")
        shown = [page.get(f"/jobs/{job_id}").json["status"] for _ in range(2)]
        video = page.get(f"/jobs/{job_id}/video").data
        other = page.post("/jobs", data=files(VIDEO + b"2"), headers=key)
        lost = page.get(f"/jobs/{UNKNOWN}")
        wrong = page.post("/jobs", data=files(b""))
        sandbox.faults.add(Fault("status", status=402, path="/v2/generate"))
        broke = page.post("/jobs", data=files(VIDEO))
    assert (made[1].json["id"], len(sandbox.jobs)) == (job_id, 1)
    assert (early.status_code, len(video)) == (409, 1024)
    assert shown[-1] == "COMPLETED"
    assert [answer.status_code for answer in (other, lost, broke)] == [409, 404, 502]
    assert (wrong.status_code, wrong.json) == (422, EMPTY)
