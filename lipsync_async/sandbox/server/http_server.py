"""The door on a socket; nothing else in the sandbox knows an HTTP framework."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl

import attrs
from aiohttp import BodyPartReader, MultipartReader, web

from lipsync_async.sandbox.server.api_errors import Refusal, bad_request, too_large
from lipsync_async.sandbox.server.body_reading import MOST_TEXT_BYTES, FormBuilder
from lipsync_async.sandbox.server.messages import (
    Cut,
    FileSlice,
    Form,
    Incoming,
    Outgoing,
    StoredFile,
)
from lipsync_async.sandbox.server.routing import refused

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator

    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.server.body_reading import Uploads
    from lipsync_async.sandbox.server.routing import Service


_CHUNK_BYTES = 262_144
_SLOW_PIECES = 10
_MOST_BODY_BYTES = 16 * 1024 * 1024  # of JSON; a long list of bounding boxes is the largest
_LONGEST_LINE = 65_536  # a list of a hundred ids fits several times
# Who listens on these is reached under names that only a request's `Host` tells.
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
_HOST = re.compile(r"[0-9A-Za-z._:\[\]-]+")
_SCHEMES = frozenset({"http", "https"})
# How long requests that hang may delay the end; the framework waits for each stage.
_FAREWELL_SECONDS = 0.05


class Server:
    """Serve on a TCP port.

    Args:
        service: Answers the requests.
        uploads: Takes the files that they bring.
        clock: Paces slow bodies.

    """

    def __init__(self, service: Service, uploads: Uploads, clock: Clock) -> None:
        """Open nothing yet; the event loop runs already."""
        self._service = service
        self._uploads = uploads
        self._clock = clock
        self._base_url = ""
        self._is_anywhere = False
        server = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            max_line_size=_LONGEST_LINE,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_FAREWELL_SECONDS)

    async def start(self, host: str, port: int) -> str:
        """Listen, and return the base URL.

        Raises:
            OSError: The port cannot be had.

        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self.aclose()
            raise
        found: int = self._runner.addresses[0][1]
        self._base_url = base_url(host, found)
        self._is_anywhere = host in _ANYWHERE
        return self._base_url

    async def aclose(self) -> None:
        """Stop listening, and end every request that still runs."""
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        own, seen = self._base_url, self._seen_as(request)
        try:
            incoming = _readdressed(await self._read(request), seen, own)
            outgoing = _answered(await self._service.handle(incoming), own, seen)
        except Refusal as refusal:
            outgoing = refused(refusal)
        except Cut:
            return _cut(request)
        if isinstance(outgoing.body, bytes) and not outgoing.breaks_off and not outgoing.seconds:
            return web.Response(
                status=outgoing.status,
                body=outgoing.body,
                headers={"Content-Type": outgoing.content_type, **outgoing.headers},
            )
        return await self._stream(request, outgoing)

    def _seen_as(self, request: web.BaseRequest) -> str:
        """Return the base URL by which a client reaches this sandbox.

        In a container the sandbox listens on all addresses, and the client has a name for it
        that the sandbox does not know. A tunnel or a proxy tells its scheme in a header.
        """
        if not self._is_anywhere or not _HOST.fullmatch(request.host):
            return self._base_url
        scheme = request.headers.get("X-Forwarded-Proto", "")
        return f"{scheme if scheme in _SCHEMES else 'http'}://{request.host}"

    async def _read(self, request: web.BaseRequest) -> Incoming:
        url = request.rel_url
        text = url.raw_query_string
        query = parse_qsl(text, keep_blank_values=True) if text else ()
        incoming = Incoming(request.method, url.raw_path, query, request.headers)
        if not request.can_read_body:
            return incoming
        incoming.headers = _joined(request)
        if request.content_type.startswith("multipart/"):
            incoming.form = await self._form(request)
        elif request.method == "PUT":
            incoming.upload = await self._file(request, url.name)
        else:
            incoming.body = await _whole(request)
        return incoming

    async def _form(self, request: web.BaseRequest) -> Form:
        builder = FormBuilder(self._uploads)
        try:
            async for part in await request.multipart():
                await _add_part(builder, part)
        except ValueError as error:
            builder.abandon()
            raise bad_request(f"The form is malformed: {error}") from None
        except BaseException:
            builder.abandon()
            raise
        return builder.build()

    async def _file(self, request: web.BaseRequest, name: str) -> StoredFile:
        sink = self._uploads.sink(name, request.content_type)
        try:
            async for chunk in request.content.iter_any():
                sink.write(chunk)
        except BaseException:
            sink.abandon()
            raise
        return sink.finish()

    async def _stream(self, request: web.BaseRequest, outgoing: Outgoing) -> web.StreamResponse:
        """Send a body piece by piece; one that breaks off ends after its first half."""
        response = web.StreamResponse(
            status=outgoing.status,
            headers={"Content-Type": outgoing.content_type, **outgoing.headers},
        )
        response.content_length = outgoing.size
        await response.prepare(request)
        size = outgoing.size // 2 if outgoing.breaks_off else outgoing.size
        if isinstance(outgoing.body, bytes):
            await self._send_slowly(response, outgoing.body[:size], outgoing.seconds)
        else:
            await _send_file(response, outgoing.body, size)
        if outgoing.breaks_off:
            response.force_close()
        return response

    async def _send_slowly(self, response: web.StreamResponse, body: bytes, seconds: float) -> None:
        length = len(body) // _SLOW_PIECES + 1
        for start in range(0, len(body), length):
            await self._clock.sleep(seconds / _SLOW_PIECES)
            await response.write(body[start : start + length])


def base_url(host: str, port: int) -> str:
    """Return where a server that listens on `host` is found from this machine."""
    shown = _ANYWHERE.get(host, host)
    # An IPv6 address has colons of its own, so URLs put it into brackets (RFC 3986, 3.2.2).
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _readdressed(incoming: Incoming, seen: str, own: str) -> Incoming:
    """Write the sandbox's own files as it knows them, as far as the client names some."""
    if seen != own:
        incoming.body = _renamed(incoming.body, seen, own)
        if incoming.form is not None:
            texts = {
                name: value.replace(f"{seen}/", f"{own}/")
                for name, value in incoming.form.texts.items()
            }
            incoming.form = attrs.evolve(incoming.form, texts=texts)
    return incoming


def _answered(outgoing: Outgoing, own: str, seen: str) -> Outgoing:
    """Write the sandbox's own links as the client reaches them."""
    if seen == own or not isinstance(outgoing.body, bytes):
        return outgoing
    return attrs.evolve(outgoing, body=_renamed(outgoing.body, own, seen))


def _renamed(body: bytes, before: str, now: str) -> bytes:
    return body.replace(f"{before}/".encode(), f"{now}/".encode())


def _joined(request: web.BaseRequest) -> dict[str, str]:
    """Return the headers with repeated fields joined by commas, as RFC 9110 has it."""
    headers = request.headers
    return {name.lower(): ", ".join(headers.getall(name)) for name in headers}


async def _whole(request: web.BaseRequest) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _MOST_BODY_BYTES:
            raise too_large(f"The body is larger than {_MOST_BODY_BYTES} bytes.")
    return bytes(body)


async def _add_part(builder: FormBuilder, part: MultipartReader | BodyPartReader | None) -> None:
    if not isinstance(part, BodyPartReader) or part.name is None:
        raise bad_request("A part of the form has no name.")
    name = part.name
    if part.filename is None:
        value = bytearray()
        while chunk := await part.read_chunk(_CHUNK_BYTES):
            value += chunk
            if len(value) > MOST_TEXT_BYTES:
                break
        builder.text(name, bytes(value))
        return
    content_type = part.headers.get("Content-Type", "application/octet-stream")
    sink = builder.file(name, part.filename, content_type)
    try:
        while chunk := await part.read_chunk(_CHUNK_BYTES):
            sink.write(chunk)
    except BaseException:
        sink.abandon()
        raise
    builder.add(name, sink.finish())


async def _send_file(response: web.StreamResponse, body: FileSlice, size: int) -> None:
    with closing(_pieces(body, size)) as pieces:
        for piece in pieces:
            await response.write(piece)


def _pieces(body: FileSlice, size: int) -> Generator[bytes]:
    """Read without a thread: clients hang up in the middle of things, and no file stays open.

    A piece comes from the page cache as a rule, sooner than a thread would begin.
    """
    with body.path.open("rb") as file:
        file.seek(body.start)
        while size and (piece := file.read(min(size, _CHUNK_BYTES))):
            yield piece
            size -= len(piece)


def _cut(request: web.BaseRequest) -> web.StreamResponse:
    """Reset the connection; what is returned finds nobody to send it to."""
    # A connection that is gone already would have cancelled this request.
    cast("asyncio.Transport", request.transport).abort()
    return web.Response()
