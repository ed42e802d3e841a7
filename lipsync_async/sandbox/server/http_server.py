"""The server on a socket; no other file of the sandbox serves with an HTTP framework."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from operator import methodcaller
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

import anyio
import attrs
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from lipsync_async.sandbox.clock import Clock
from lipsync_async.sandbox.server.api_errors import plain_error
from lipsync_async.sandbox.server.messages import DropConnection, Part, Request, Response
from lipsync_async.sandbox.server.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator


_CHUNK_BYTES = 262_144
_SLOW_PIECES = 10
_LONGEST_LINE = 65_536  # a list of a hundred ids fits several times
# A server that listens on these is reached under names that only a request's `Host` tells.
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
_HOST = re.compile(r"[0-9A-Za-z._:\[\]-]+")
_SCHEMES = frozenset({"http", "https"})
# How long requests that hang may delay the end; the framework waits for each stage.
_SHUTDOWN_SECONDS = 0.05


@attrs.define(slots=True)
class HttpServer:
    """The service on a TCP port."""

    _pipeline: Pipeline
    _clock: Clock
    read_seconds: float = 60.0  # longest wait for a first request, and for more of a body
    is_anywhere: bool = False  # whether it listens on all addresses
    _base_url: str = ""
    _server: _Server | None = None
    _runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int) -> str:
        """Listen, and return the base URL."""
        self._server = _Server(self._handle, self.read_seconds)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self.aclose()
            raise
        found: int = self._runner.addresses[0][1]
        self._base_url = base_url(host, found)
        self.is_anywhere = host in _ANYWHERE
        return self._base_url

    async def aclose(self) -> None:
        """Stop listening, and end every request that still runs."""
        await cast("web.ServerRunner", self._runner).cleanup()

    async def _handle(self, received: web.BaseRequest) -> web.StreamResponse:
        cast("_Server", self._server).spoke(received.protocol)
        own, seen = self._base_url, self._seen_as(received)
        request = self._request(received)
        if seen != own:
            request.rename = methodcaller("replace", f"{seen}/".encode(), f"{own}/".encode())
        try:
            response = await self._pipeline.handle(request)
        except DropConnection:
            # A connection that is gone already would have cancelled this request.
            cast("asyncio.Transport", received.transport).abort()
            return web.Response()  # it has no receiver any more
        if seen != own and isinstance(response.body, bytes):
            response.body = response.body.replace(f"{own}/".encode(), f"{seen}/".encode())
        headers = {"Content-Type": response.content_type, **response.headers}
        is_plain = isinstance(response.body, bytes) and not response.breaks_off
        if is_plain and not response.seconds:
            return web.Response(
                status=response.status, body=cast("bytes", response.body), headers=headers
            )
        return await self._stream(received, response, headers)

    def _seen_as(self, received: web.BaseRequest) -> str:
        """Return the base URL by which a client reaches this sandbox.

        In a container the sandbox listens on all addresses, and the client has a name for it
        that the sandbox does not know. A tunnel or a proxy tells its scheme in a header.
        """
        if not self.is_anywhere or not _HOST.fullmatch(received.host):
            return self._base_url
        scheme = received.headers.get("X-Forwarded-Proto", "")
        return f"{scheme if scheme in _SCHEMES else 'http'}://{received.host}"

    def _request(self, received: web.BaseRequest) -> Request:
        url = received.rel_url
        text = url.raw_query_string
        query = parse_qsl(text, keep_blank_values=True) if text else ()
        request = Request(received.method, url.raw_path, query, received.headers)
        if received.can_read_body:
            # Repeated fields are joined by commas, as RFC 9110 has it; a GET has none that count.
            fields = received.headers
            request.headers = {name.lower(): ", ".join(fields.getall(name)) for name in fields}
            request.source = _Body(received, self.read_seconds)
        return request

    async def _stream(
        self, received: web.BaseRequest, answer: Response, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Send a body piece by piece; one that breaks off ends after its first half."""
        response = web.StreamResponse(status=answer.status, headers=headers)
        response.content_length = answer.size
        await response.prepare(received)
        if received.method == "HEAD":
            return response
        size = answer.size // 2 if answer.breaks_off else answer.size
        length = size // _SLOW_PIECES + 1 if answer.seconds else _CHUNK_BYTES
        with closing(_pieces(answer, size, length)) as pieces:
            for piece in pieces:
                if answer.seconds:
                    await self._clock.sleep(answer.seconds / _SLOW_PIECES)
                await response.write(piece)
        if answer.breaks_off:
            response.force_close()
        return response


def base_url(host: str, port: int) -> str:
    """Return where a server that listens on `host` is found from this machine."""
    shown = _ANYWHERE.get(host, host)
    # An IPv6 address has colons of its own, so URLs put it into brackets (RFC 3986, 3.2.2).
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


class _Server(web.Server):
    """The framework's server, that closes connections which send no request for too long."""

    def __init__(self, handle: Any, seconds: float) -> None:
        super().__init__(
            handle, handler_cancellation=True, access_log=None, max_line_size=_LONGEST_LINE
        )
        self._seconds = seconds
        self._silent: dict[Any, asyncio.TimerHandle] = {}

    def __call__(self) -> web.RequestHandler:
        connection = super().__call__()
        loop = asyncio.get_running_loop()
        self._silent[connection] = loop.call_later(self._seconds, self._close, connection)
        return connection

    def spoke(self, connection: Any) -> None:
        if (timer := self._silent.pop(connection, None)) is not None:
            timer.cancel()

    async def shutdown(self, timeout: float | None = None) -> None:
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()
        await super().shutdown(timeout)

    def _close(self, connection: web.RequestHandler) -> None:
        del self._silent[connection]
        connection.force_close()


@attrs.frozen(slots=True)
class _Body:
    _received: web.BaseRequest
    _seconds: float

    @property
    def is_form(self) -> bool:
        return self._received.content_type.startswith("multipart/")

    async def chunks(self) -> AsyncGenerator[bytes]:
        while chunk := await self._within(self._received.content.readany()):
            yield chunk

    async def parts(self) -> AsyncGenerator[Part]:
        try:
            form = await self._received.multipart()
            while (part := await self._within(form.next())) is not None:
                if not isinstance(part, BodyPartReader):
                    raise ValueError("a part is a form of its own")  # noqa: TRY004
                kind = part.headers.get("Content-Type", "application/octet-stream")
                yield Part(part.name, part.filename, kind, self._part_chunks(part))
        except HttpProcessingError as problem:  # such as a header over 8 KiB
            raise ValueError(problem.message) from None

    async def _part_chunks(self, part: BodyPartReader) -> AsyncGenerator[bytes]:
        while chunk := await self._within(part.read_chunk(_CHUNK_BYTES)):
            yield chunk

    async def _within(self, reading: Coroutine[Any, Any, Any]) -> Any:
        try:
            with anyio.fail_after(self._seconds):
                return await reading
        except TimeoutError:
            raise plain_error(408, f"No further bytes came for {self._seconds:g} s.") from None


def _pieces(response: Response, size: int, length: int) -> Generator[bytes]:
    """Read without a thread: clients hang up in the middle of things, and no file stays open.

    A piece comes from the page cache as a rule, sooner than a thread would begin.
    """
    if isinstance(response.body, bytes):
        for start in range(0, size, length):
            yield response.body[start : min(start + length, size)]
        return
    with response.body.path.open("rb") as file:
        file.seek(response.body.start)
        while size and (piece := file.read(min(size, length))):
            yield piece
            size -= len(piece)
