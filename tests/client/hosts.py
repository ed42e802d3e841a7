"""A server that says exactly what a test has planned, byte for byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from itertools import count

import attrs

from lipsync_async import ConnectError


@attrs.frozen
class Answer:
    """One planned answer."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    length: int | None = None  # that is promised; `None`: that of the body; negative: none
    raw: bytes | None = None  # is sent instead of an HTTP answer
    hangs: bool = False  # keeps the connection and sends no more

    def encoded(self) -> bytes:
        """Return what goes over the wire."""
        if self.raw is not None:
            return self.raw
        length = len(self.body) if self.length is None else self.length
        fields = {"Connection": "close", **self.headers}
        if length >= 0:
            fields["Content-Length"] = str(length)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {self.status} Planned\r\n{lines}\r\n".encode() + self.body


async def delivered(call: Callable[[], Awaitable[object]]) -> None:
    """Call until the service was reached: a busy machine may take longer to connect."""
    while True:
        try:
            await call()
        except ConnectError:  # pragma: no cover - on a busy machine only
            continue


@attrs.frozen
class Arrival:
    """Hold one request as it arrived: method, target as sent, headers by lower-case name."""

    method: str
    target: str
    headers: Mapping[str, str]


class Host:
    """Give the planned answers in order, the last one again and again."""

    def __init__(self, *answers: Answer | Callable[[Arrival], Answer]) -> None:
        self.answers = list(answers)
        self.arrivals: list[Arrival] = []
        self.bodies: list[str] = []
        self.has_answered = asyncio.Event()
        self.url = ""
        self._numbers = count()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's only request."""
        with suppress(ConnectionError, asyncio.IncompleteReadError), closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")[:-2]
            method, target, _ = first.split(" ")
            pairs = (line.split(": ", 1) for line in lines)
            headers = {name.lower(): value for name, value in pairs}
            arrival = Arrival(method, target, headers)
            self.arrivals.append(arrival)
            length = int(headers.get("content-length", 0))
            self.bodies.append((await reader.readexactly(length)).decode())
            plan = self.answers[min(next(self._numbers), len(self.answers) - 1)]
            answer = plan if isinstance(plan, Answer) else plan(arrival)
            writer.write(answer.encoded())
            await writer.drain()
            self.has_answered.set()
            if answer.hangs:
                await reader.read()


@asynccontextmanager
async def serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Serve connections on a free port of this machine, and give its address."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def hosting(
    *answers: Answer | Callable[[Arrival], Answer], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Host]:
    """Serve the planned answers on a free port of this machine."""
    host = Host(*answers)
    async with serving(host.serve, tls) as host.url:
        yield host
