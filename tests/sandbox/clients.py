"""One way to talk to a sandbox, over sockets and in memory alike."""

import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

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
Form = tuple[TextPart | FilePart, ...]
NOW = {"x-sandbox-progression": "immediate"}  # asks for a job that is done at once


class ConnectionCutError(Exception):
    """Raised when no whole answer came."""


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


@attrs.define
class Client:
    """Sends requests to one sandbox; a subclass knows the way."""

    sandbox: Sandbox

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        form: Form = (),
    ) -> Answer:
        """Return the answer; a key is sent unless `headers` say otherwise."""
        url = path if path.startswith("http") else self.sandbox.url + path
        sent = {"x-api-key": self.sandbox.api_key, **(headers or {})}
        sent = {name: value for name, value in sent.items() if value}
        if body is not None and method != "PUT":
            sent = {"content-type": "application/json", **sent}
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.exchange(Request(method, url, sent, body, form))

    async def exchange(self, request: Request) -> Answer:
        """Return the answer to a request that is prepared."""
        raise NotImplementedError  # pragma: no cover - both subclasses have it

    async def sleep(self, seconds: float) -> None:
        """Let the sandbox's time pass: it is moved by its control."""
        await self.send("POST", "/__sandbox/clock", {"advance": seconds})


def order(**fields: Any) -> dict[str, Any]:
    """Return a create body that the service accepts."""
    return {"model": "lipsync-2", "input": [VIDEO, AUDIO], **fields}


async def created(client: Client, headers: Mapping[str, str] | None = None, **fields: Any) -> str:
    """Create a generation and return its id."""
    answer = await client.send("POST", "/v2/generate", order(**fields), headers=headers)
    assert answer.status == 201, answer.body
    return str(answer.json["id"])


async def until(condition: Callable[[], object]) -> None:
    """Let everything else go on until something is so."""
    while not condition():
        await checkpoint()


async def shown(client: Client, job_id: str) -> dict[str, Any]:
    """Return a generation as a plain look shows it."""
    answer = await client.send("GET", f"/v2/generate/{job_id}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


@attrs.define
class SocketClient(Client):
    """Talks over HTTP."""

    session: aiohttp.ClientSession

    async def exchange(self, request: Request) -> Answer:
        """Return the answer."""
        headers, body = {**request.headers}, request.body
        if request.form:
            body = _form_body(request.form)
            headers["content-type"] = f"multipart/form-data; boundary={_BOUNDARY}"
        try:
            async with self.session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=headers,
                data=io.BytesIO(body) if body is not None else None,
                allow_redirects=False,
            ) as answer:
                found = {name.lower(): value for name, value in answer.headers.items()}
                return Answer(answer.status, found, await answer.read())
        except aiohttp.ClientError as error:
            raise ConnectionCutError from error


_BOUNDARY = "sandbox-boundary"


def _form_body(form: Form) -> bytes:
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
class MemoryClient(Client):
    """Talks in memory."""

    transport: MemoryTransport

    async def exchange(self, request: Request) -> Answer:
        """Return the answer."""
        try:
            answer = await self.transport.send(request, timeout=None)
        except TransportError as error:
            raise ConnectionCutError from error
        is_whole = len(answer.body) == int(answer.headers["content-length"])
        if request.method != "HEAD" and not is_whole:
            raise ConnectionCutError
        return Answer(answer.status, answer.headers, answer.body)

    async def sleep(self, seconds: float) -> None:
        """Sleep on the virtual clock."""
        await self.transport.sleep(seconds)


@asynccontextmanager
async def socket_client(**settings: Any) -> AsyncIterator[Client]:
    """Run a sandbox on a socket and connect to it."""
    async with (
        Sandbox(**{"render": False, **settings}) as sandbox,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        yield SocketClient(sandbox, session)


@asynccontextmanager
async def memory_client(**settings: Any) -> AsyncIterator[Client]:
    """Run a sandbox in memory and connect to it."""
    async with Sandbox(**{"render": False, "clock": VirtualClock(), **settings}) as sandbox:
        yield MemoryClient(sandbox, sandbox.transport())


async def presigned(client: Client, file_name: str = "line.wav", **fields: Any) -> dict[str, Any]:
    """Ask where a file may be PUT."""
    body = {"fileName": file_name, "contentType": "audio/wav", "size": 5, **fields}
    answer = await client.send("POST", "/v2/assets/upload", body)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json
    return found


async def put(client: Client, url: str, content: bytes = b"sound", **headers: str) -> Answer:
    """PUT a file as a client does: without a key, with its type and its length."""
    sent = {"content-type": "audio/wav", "content-length": str(len(content))}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.send("PUT", url, content, headers={"x-api-key": "", **sent})


async def registered(client: Client, url: str, type: str = "AUDIO", **fields: Any) -> Any:  # noqa: A002 - the wire's name
    """Make an asset of an address, and return it."""
    answer = await client.send("POST", "/v2/assets", {"url": url, "type": type, **fields})
    assert answer.status == 201, answer.body
    return answer.json


async def uploaded(client: Client, content: bytes = b"sound", **fields: Any) -> Any:
    """Upload a file and return its asset."""
    slot = await presigned(client)
    assert (await put(client, slot["uploadUrl"], content)).status == 200
    return await registered(client, slot["url"], **fields)
