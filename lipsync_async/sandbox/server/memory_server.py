"""The door without sockets: the same service behind a transport on a virtual clock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from lipsync_async._models.http import Response, TextPart
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.errors import ConnectError, ConnectionLostError
from lipsync_async.sandbox.server.api_errors import Refusal
from lipsync_async.sandbox.server.body_reading import FormBuilder
from lipsync_async.sandbox.server.messages import Cut, Form, Incoming, Outgoing
from lipsync_async.sandbox.server.routing import refused

if TYPE_CHECKING:
    from lipsync_async._clock import VirtualClock
    from lipsync_async._models.http import FilePart, Request
    from lipsync_async.sandbox.server.body_reading import Uploads
    from lipsync_async.sandbox.server.routing import Service


MEMORY_URL = "http://localhost"


class MemoryDoor:
    """Answer the requests of a memory transport.

    Args:
        service: Answers them.
        uploads: Takes the files that they bring.
        clock: The time that both sides share.

    """

    def __init__(self, service: Service, uploads: Uploads, clock: VirtualClock) -> None:
        """Hold on to all of it."""
        self._service = service
        self._uploads = uploads
        self._clock = clock

    def transport(self) -> MemoryTransport:
        """Return a transport whose every request is answered here, whatever its host."""
        return MemoryTransport(self._handle, self._clock)

    async def _handle(self, request: Request) -> Response:
        try:
            outgoing = await self._service.handle(self._read(request))
        except Refusal as refusal:
            outgoing = refused(refusal)
        except Cut as cut:
            raise _broken(request, was_handled=cut.was_handled) from None
        await self._clock.sleep(outgoing.seconds)
        return _response(request, outgoing)

    def _read(self, request: Request) -> Incoming:
        parts = urlsplit(request.url)
        incoming = Incoming(
            request.method.upper(),
            parts.path,
            parse_qsl(parts.query, keep_blank_values=True),
            {name.lower(): value for name, value in request.headers.items()},
            request.body or b"",
        )
        if request.form:
            incoming.form = self._form(request)
        elif incoming.method == "PUT" and incoming.body:
            sink = self._uploads.sink(Path(parts.path).name, "application/octet-stream")
            sink.write(incoming.body)
            incoming.upload = sink.finish()
        return incoming

    def _form(self, request: Request) -> Form:
        builder = FormBuilder(self._uploads)
        try:
            for part in request.form:
                if isinstance(part, TextPart):
                    builder.text(part.name, part.value.encode())
                else:
                    _add_file(builder, part)
        except BaseException:
            builder.abandon()
            raise
        return builder.build()


def _add_file(builder: FormBuilder, part: FilePart) -> None:
    sink = builder.file(part.name, part.filename, part.content_type)
    sink.write(part.source if isinstance(part.source, bytes) else Path(part.source).read_bytes())
    builder.add(part.name, sink.finish())


def _broken(request: Request, *, was_handled: bool) -> ConnectError | ConnectionLostError:
    """Return what a client sees of a cut; before the work it is as if never delivered."""
    if was_handled:
        message = "the connection was cut; the outcome is unknown."
        return ConnectionLostError(message, method=request.method, url=request.url)
    message = "the connection was cut before anything was done."
    return ConnectError(message, method=request.method, url=request.url)


def _response(request: Request, outgoing: Outgoing) -> Response:
    headers = {name.lower(): value for name, value in outgoing.headers.items()}
    headers |= {"content-type": outgoing.content_type, "content-length": str(outgoing.size)}
    body = outgoing.whole
    if outgoing.breaks_off:
        if not _is_media(outgoing):
            raise _broken(request, was_handled=True)
        body = body[: len(body) // 2]
    return Response(request.method, request.url, outgoing.status, headers, body)


def _is_media(outgoing: Outgoing) -> bool:
    """Whether whoever reads it minds the promised length by itself, as downloads do."""
    return "ETag" in outgoing.headers
