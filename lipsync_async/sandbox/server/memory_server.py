"""The server without sockets: the same service behind a transport on a virtual clock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import anyio.to_thread
import attrs

from lipsync_async._models.http import Request, Response, TextPart
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.errors import ConnectError, ConnectionLostError
from lipsync_async.sandbox.clock import VirtualClock
from lipsync_async.sandbox.server import messages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lipsync_async.sandbox.server.pipeline import Pipeline


MEMORY_URL = "http://localhost"


def memory_transport(pipeline: Pipeline, clock: VirtualClock) -> MemoryTransport:
    """Return a transport whose every request is answered here, whatever its host."""

    async def handle(request: Request) -> Response:
        parts = urlsplit(request.url)
        try:
            answer = await pipeline.handle(
                messages.Request(
                    request.method.upper(),
                    parts.path,
                    parse_qsl(parts.query, keep_blank_values=True),
                    {name.lower(): value for name, value in request.headers.items()},
                    _Body(request, clock) if _has_body(request) else None,
                )
            )
        except messages.DropConnection as drop:
            raise _broken(request, was_handled=drop.was_handled) from None
        await clock.sleep(answer.seconds)
        return _response(request, answer)

    return MemoryTransport(handle, clock)


@attrs.frozen(slots=True)
class _Body:
    _request: Request
    _clock: VirtualClock

    @property
    def is_form(self) -> bool:
        return bool(self._request.form)

    async def chunks(self) -> AsyncGenerator[bytes]:
        if self._request.content is None:
            yield self._request.body or b""
            return
        try:
            async for piece in self._request.content:
                yield piece
        except OSError:  # the sender cannot read it: on a socket, the connection is cut then
            raise messages.DropConnection(was_handled=True) from None

    async def parts(self) -> AsyncGenerator[messages.Part]:
        for part in self._request.form:
            if isinstance(part, TextPart):
                yield messages.Part(part.name, None, "text/plain", _once(part.value.encode()))
                continue
            content = part.source
            if not isinstance(content, bytes):
                with self._clock.hold():
                    content = await anyio.to_thread.run_sync(Path(content).read_bytes)
            yield messages.Part(part.name, part.filename, part.content_type, _once(content))


def _has_body(request: Request) -> bool:
    return bool(request.body or request.form or request.content)


async def _once(content: bytes) -> AsyncGenerator[bytes]:
    yield content


def _broken(request: Request, *, was_handled: bool) -> ConnectError | ConnectionLostError:
    """Return what a client sees of a drop; before the handler it is as if never delivered."""
    if was_handled:
        message = "the connection was cut; the outcome is unknown."
        return ConnectionLostError(message, method=request.method, url=request.url)
    message = "the connection was cut before anything was done."
    return ConnectError(message, method=request.method, url=request.url)


def _response(request: Request, answer: messages.Response) -> Response:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    headers |= {"content-type": answer.content_type, "content-length": str(answer.size)}
    body = b"" if request.method.upper() == "HEAD" else answer.whole
    if answer.breaks_off:
        # Downloads notice a missing half by the length; other callers are told of the break.
        if "ETag" not in answer.headers:
            raise _broken(request, was_handled=True)
        body = body[: len(body) // 2]
    return Response(request.method, request.url, answer.status, headers, body)
