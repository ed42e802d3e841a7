"""One way to talk to a sandbox, over sockets and in memory alike."""

import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp
import attrs
from anyio.lowlevel import checkpoint
from yarl import URL

from lipsync_async._models.http import FilePart, Request, TextPart
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.errors import TransportError
from lipsync_async.sandbox import Sandbox, VirtualClock

VIDEO = {"type": "video", "url": "http://localhost:9/clip.mp4"}
AUDIO = {"type": "audio", "url": "http://localhost:9/line.wav"}


class ConnectionCutError(Exception):
    """Raised by either door when no whole answer came."""


@attrs.frozen
class Answer:
    """Hold one answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


class Door(Protocol):
    """Send requests to one sandbox."""

    sandbox: Sandbox

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        form: tuple[TextPart | FilePart, ...] = (),
    ) -> Answer:
        """Return the answer; a key is sent unless `headers` say otherwise."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let the sandbox's time pass."""
        ...


def order(**fields: Any) -> dict[str, Any]:
    """Return a create body that the service accepts."""
    return {"model": "lipsync-2", "input": [VIDEO, AUDIO], **fields}


async def created(door: Door, headers: Mapping[str, str] | None = None, **fields: Any) -> str:
    """Create a generation and return its id."""
    answer = await door.send("POST", "/v2/generate", order(**fields), headers=headers)
    assert answer.status == 201, answer.body
    return str(answer.json["id"])


async def until(condition: Callable[[], object]) -> None:
    """Let everything else go on until something is so."""
    while not condition():
        await checkpoint()


async def shown(door: Door, job_id: str) -> dict[str, Any]:
    """Return a generation as a plain look shows it."""
    answer = await door.send("GET", f"/v2/generate/{job_id}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def _prepared(
    sandbox: Sandbox, method: str, path: str, body: Any, headers: Mapping[str, str] | None
) -> tuple[str, dict[str, str], bytes | None]:
    url = path if path.startswith("http") else sandbox.url + path
    sent = {"x-api-key": sandbox.api_key, **(headers or {})}
    sent = {name: value for name, value in sent.items() if value}
    if body is None or method == "PUT":
        return url, sent, body
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return url, {"content-type": "application/json", **sent}, data


@attrs.define
class SocketDoor:
    """Talk over HTTP."""

    sandbox: Sandbox
    session: aiohttp.ClientSession

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        form: tuple[TextPart | FilePart, ...] = (),
    ) -> Answer:
        """Return the answer."""
        url, sent, data = _prepared(self.sandbox, method, path, body, headers)
        if form:
            data = _form_body(form)
            sent["content-type"] = f"multipart/form-data; boundary={_BOUNDARY}"
        try:
            async with self.session.request(
                method,
                URL(url, encoded=True),
                headers=sent,
                data=io.BytesIO(data) if data is not None else None,
                allow_redirects=False,
            ) as answer:
                found = {name.lower(): value for name, value in answer.headers.items()}
                return Answer(answer.status, found, await answer.read())
        except aiohttp.ClientError as error:
            raise ConnectionCutError from error

    async def sleep(self, seconds: float) -> None:
        """Move the sandbox's clock by its control."""
        await self.send("POST", "/__sandbox/clock", {"advance": seconds})


_BOUNDARY = "sandbox-boundary"


def _form_body(form: tuple[TextPart | FilePart, ...]) -> bytes:
    """Write a form as RFC 7578 has it, so that no client's habits are tested."""
    lines = []
    for part in form:
        lines.append(f"--{_BOUNDARY}".encode())
        head = f'Content-Disposition: form-data; name="{part.name}"'
        if isinstance(part, TextPart):
            lines += [head.encode(), b"", part.value.encode()]
            continue
        content = part.source if isinstance(part.source, bytes) else part.source.read_bytes()
        head += f'; filename="{part.filename}"\r\nContent-Type: {part.content_type}'
        lines += [head.encode(), b"", content]
    return b"\r\n".join([*lines, f"--{_BOUNDARY}--".encode(), b""])


@attrs.define
class MemoryDoor:
    """Talk in memory."""

    sandbox: Sandbox
    transport: MemoryTransport

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        form: tuple[TextPart | FilePart, ...] = (),
    ) -> Answer:
        """Return the answer."""
        url, sent, data = _prepared(self.sandbox, method, path, body, headers)
        request = Request(method, url, sent, data, form)
        try:
            answer = await self.transport.send(request, timeout=None)
        except TransportError as error:
            raise ConnectionCutError from error
        is_whole = len(answer.body) == int(answer.headers["content-length"])
        if method != "HEAD" and not is_whole:
            raise ConnectionCutError
        return Answer(answer.status, answer.headers, answer.body)

    async def sleep(self, seconds: float) -> None:
        """Sleep on the virtual clock."""
        await self.transport.sleep(seconds)


@asynccontextmanager
async def socket_door(**settings: Any) -> AsyncIterator[Door]:
    """Run a sandbox on a socket and connect to it."""
    async with (
        Sandbox(**{"render": False, **settings}) as sandbox,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        yield SocketDoor(sandbox, session)


@asynccontextmanager
async def memory_door(**settings: Any) -> AsyncIterator[Door]:
    """Run a sandbox in memory and connect to it."""
    async with Sandbox(**{"render": False, "clock": VirtualClock(), **settings}) as sandbox:
        yield MemoryDoor(sandbox, sandbox.transport())
