"""Sockets: what aiohttp raises becomes the right error, and waiting for a place costs nothing."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_exceptions import UnixClientConnectorError
from anyio.lowlevel import checkpoint
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from lipsync_async import (
    AsyncClient,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    LipsyncError,
    RequestTimeoutError,
    RetryPolicy,
    WaitTimeoutError,
)
from lipsync_async._logic.config import Proxy
from lipsync_async._models.http import FilePart, Request, TextPart
from lipsync_async._transport.aiohttp import (
    _STREAMS,
    AiohttpTransport,
    _Alarm,
    _bare,
    _broken,
    _take_for_stream,
    _undelivered,
    discard,
    kept,
)
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import ORDER, UNLIMITED
from tests.client.hosts import Answer, Host, delivered, hosting, serving

ASKED = Request("GET", "http://127.0.0.1:1/x", {"x-api-key": "the-key"})


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    """Give a transport, which is closed in the end."""
    transport = AiohttpTransport()
    yield transport
    await transport.aclose()


def _families(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _families(child)


_KINDS = sorted({*_families(aiohttp.ClientError)}, key=lambda kind: kind.__name__)


def _instance(kind: type[Exception]) -> Exception:
    """Build an exception as aiohttp does, with what its message needs."""
    place: Any = SimpleNamespace(host="h", port=1, ssl=True, is_ssl=True)
    system = OSError(1, "odd")
    headers = CIMultiDictProxy(CIMultiDict({"x-api-key": "the-key"}))
    request = aiohttp.RequestInfo(URL("http://h/"), "GET", headers, URL("http://h/"))
    if issubclass(kind, aiohttp.ClientConnectorCertificateError):
        return kind(place, ssl.CertificateError("odd"))
    if issubclass(kind, UnixClientConnectorError):
        return kind("/socket", place, system)
    if issubclass(kind, aiohttp.ClientConnectorError):
        return kind(place, system)
    if issubclass(kind, aiohttp.ClientResponseError):
        return kind(request, (), status=502, message="odd")
    if issubclass(kind, aiohttp.ServerFingerprintMismatch):
        return kind(b"a", b"b", "h", 1)
    return kind("odd")


_OTHERS: list[Exception] = [
    *(TimeoutError(), ConnectionResetError("odd"), ssl.SSLError("odd")),
    ValueError("a header with a line break"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "odd"),
    RuntimeError("cannot schedule new futures after shutdown"),
    *(AssertionError(), KeyError("odd"), MemoryError(), RecursionError("odd")),
]


@pytest.mark.parametrize(
    "error", [*map(_instance, _KINDS), *_OTHERS], ids=lambda error: type(error).__name__
)
def test_translation(error: Exception) -> None:
    """What was not sent was never delivered, all else is unknown, and nothing shows the key."""
    late = RequestTimeoutError if isinstance(error, TimeoutError) else ConnectionLostError
    expected: dict[LipsyncError, type[LipsyncError]] = {
        _undelivered(error, ASKED, 5.0, None): ConnectError,
        _undelivered(error, ASKED, 5.0, Proxy("http://p.example", "proxy")): ConnectError,
        _broken(error, ASKED, 5.0): late,
    }
    for translated, kind in expected.items():
        assert type(translated) is kind
        assert "the-key" not in f"{translated}{translated!r}{_bare(error)}{error!r}"


async def test_waiting_for_a_place_costs_no_timeout() -> None:
    """More requests than connections at once: who waits for one is not late by that."""
    async with Sandbox(render=False) as sandbox:
        sandbox.faults.add(Fault("latency", seconds=0.1, count=None))
        transport = AiohttpTransport(connections=1)
        request = Request("GET", f"{sandbox.url}/v2/models", {"x-api-key": sandbox.api_key})
        found: list[int] = []

        async def ask() -> None:
            found.append((await transport.send(request, timeout=1.0)).status)

        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(ask)
        await transport.aclose()
    assert found == [200] * 12


async def _asked_in_vain(ask: Callable[[], Awaitable[object]]) -> None:
    """Make a request that only the end of its client ends."""
    with pytest.raises(ConfigurationError, match="closed while"):
        await ask()


async def test_waiting_for_a_place_has_a_deadline() -> None:
    """The wait for a connection ends with the caller's own time, and nothing was sent."""
    async with hosting(Answer(raw=b"", hangs=True)) as host:
        transport = AiohttpTransport(connections=1)
        request = Request("GET", host.url)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_asked_in_vain, partial(transport.send, request, timeout=None))
            await host.has_answered.wait()
            late = transport.now() + 0.05
            with pytest.raises(RequestTimeoutError, match="no connection was free in time"):
                await transport.send(request, timeout=None, deadline=late)
            await transport.aclose()
    assert len(host.arrivals) == 1


async def test_a_deadline_that_has_passed_is_no_endless_try(transport: AiohttpTransport) -> None:
    """It may pass between two looks at the clock; then nothing is sent."""
    async with hosting(Answer(raw=b"", hangs=True)) as host:
        asked = transport.send(Request("GET", host.url), timeout=None, deadline=transport.now())
        with pytest.raises(RequestTimeoutError, match="no connection was free in time"):
            await asked
    assert host.arrivals == []


async def test_place_that_is_free_in_time() -> None:
    """A deadline that is not met changes nothing, be a place free at once or after a wait."""
    async with hosting(Answer(b"{}")) as host:
        transport = AiohttpTransport(connections=1)
        request, soon = Request("GET", host.url), transport.now() + 30.0
        calls = [transport.send(request, timeout=None, deadline=soon) for _ in range(2)]
        found = await asyncio.gather(*calls)
        await transport.aclose()
    assert [each.body for each in found] == [b"{}"] * 2


@pytest.mark.parametrize("timeout", [None, 30.0, 0.05])
async def test_deadline_ends_an_attempt(transport: AiohttpTransport, timeout: float | None) -> None:
    """Whichever comes first ends it: the timeout of a try or the caller's own time."""
    once = Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", hangs=True)
    async with hosting(once) as host:
        # On a busy machine no connection is made in so short a time, so there is one already.
        await transport.send(Request("GET", host.url), timeout=None)
        late = transport.now() + (0.05 if timeout != 0.05 else 30.0)
        with pytest.raises(RequestTimeoutError, match="the outcome is unknown"):
            await transport.send(Request("GET", host.url), timeout=timeout, deadline=late)


async def test_wait_keeps_its_time_behind_a_full_pool() -> None:
    """Who waits for a job for some seconds is not kept longer by requests that hang."""
    async with hosting(Answer(raw=b"", hangs=True)) as host:
        client = AsyncClient(
            "key", base_url=host.url, max_connections=1, timeout=None, limits=UNLIMITED
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_asked_in_vain, partial(client.generations.get, "job-1"))
            await host.has_answered.wait()
            with pytest.raises(WaitTimeoutError):
                await client.generations.wait_until_complete("job-2", timeout=0.2)
            await client.aclose()
    assert len(host.arrivals) == 1


async def test_form_on_the_wire(transport: AiohttpTransport) -> None:
    """A form's names, types and bytes arrive as given, names with spaces readable."""
    clip = FilePart("video", "für clip.mp4", "video/mp4", b"a clip")
    form = (TextPart("model", "lipsync-2"), clip)
    async with hosting(Answer(b"{}")) as host:
        await transport.send(Request("POST", f"{host.url}/x", form=form), timeout=5.0)
    assert host.arrivals[0].headers["content-type"].startswith("multipart/form-data; boundary=")
    for part in ('filename="für clip.mp4"', "Content-Type: video/mp4", "a clip"):
        assert part in host.bodies[0]


@pytest.mark.parametrize(
    ("name", "told"), [("missing.mp4", "No such file"), (__file__, "has changed")]
)
async def test_unreadable_file(
    transport: AiohttpTransport, tmp_path: Path, name: str, told: str
) -> None:
    """A file that cannot be opened is a `LipsyncError` as well, and leaves nothing open."""
    form = (FilePart("video", "clip.mp4", "video/mp4", tmp_path / name, stamp=(0,)),)
    with pytest.raises(ConnectError, match=told):
        await transport.send(Request("POST", "http://127.0.0.1:1/", form=form), timeout=1.0)


async def test_stream_is_closed_when_it_is_left(transport: AiohttpTransport) -> None:
    """Leaving a stream in the middle gives its place back and closes its connection."""
    async with hosting(Answer(bytes(5_000_000))) as host:
        for _ in range(_STREAMS + 1):
            async with transport.stream(Request("GET", host.url), timeout=5.0) as stream:
                assert stream.status == 200


async def read(transport: AiohttpTransport, url: str, timeout: float | None) -> bytes:
    """Read the whole of a stream."""
    async with transport.stream(Request("GET", url), timeout=timeout) as stream:
        return b"".join([chunk async for chunk in stream.chunks()])


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("timeout", [None, 5.0])
async def test_stream_in_chunks(transport: AiohttpTransport, timeout: float | None) -> None:
    """The ends of chunks are no pieces, and neither are their sizes."""
    raw = CHUNKED + b"5\r\nfirst\r\n1;note=x\r\n,\r\n6\r\nsecond\r\n0\r\n\r\n"
    async with hosting(Answer(raw=raw)) as host:
        assert await read(transport, host.url, timeout) == b"first,second"


async def test_the_end_of_a_chunk_is_no_piece(transport: AiohttpTransport) -> None:
    """It may come long after the chunk's bytes, and ends nothing."""
    has_come = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + b"5\r\nfirst")
        await has_come.wait()
        writer.write(b"\r\n")
        await writer.drain()
        for _ in range(10):
            await checkpoint()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")
        writer.close()

    async with serving(serve) as url, transport.stream(Request("GET", url), timeout=5.0) as stream:
        found = []
        async for chunk in stream.chunks():
            found.append(chunk)
            has_come.set()
    assert b"".join(found) == b"firstsecond"
    assert b"" not in found


async def test_bytes_that_are_no_piece_do_not_count(transport: AiohttpTransport) -> None:
    """Who sends the head of a chunk byte by byte sends nothing, however long."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + b"5\r\nfirst\r\n5;")
        while not writer.is_closing():
            writer.write(b"x")
            await checkpoint()

    async with serving(trickle) as url:
        with pytest.raises(RequestTimeoutError, match=r"no answer within 0\.2 s"):
            await read(transport, url, 0.2)


async def rested() -> None:
    """Let thirty milliseconds pass."""
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.03, event.set)
    await event.wait()


async def test_the_consumer_may_take_its_time() -> None:
    """Only waiting for the other side counts, and that has an end."""
    content = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 1000)
    alarm = _Alarm(content, 0.01)
    alarm.waits()
    alarm.goes_on()
    await rested()
    assert content.exception() is None
    alarm.waits()
    await rested()
    assert isinstance(content.exception(), TimeoutError)
    alarm.end()


async def read_slowly(transport: AiohttpTransport, host: Host, sizes: list[int]) -> None:
    """Note the sizes of a stream's pieces, with a pause behind each."""
    async with transport.stream(Request("GET", host.url), timeout=5.0) as stream:
        async for chunk in stream.chunks():
            sizes.append(len(chunk))
            await host.has_answered.wait()
            for _ in range(20):  # the rest comes, and then the end
                await checkpoint()


async def test_what_came_before_a_break_is_given_out(transport: AiohttpTransport) -> None:
    """All bytes that have arrived count, however soon after them the connection broke."""
    async with hosting(Answer(bytes(400_000), length=500_000)) as host:
        sizes: list[int] = []
        with pytest.raises(ConnectionLostError):
            await read_slowly(transport, host, sizes)
        assert sum(sizes) == 400_000


async def test_cookies_are_not_kept(transport: AiohttpTransport) -> None:
    """No answer can make later requests differ."""
    async with hosting(Answer(b"{}", headers={"Set-Cookie": "a=b"})) as host:
        for _ in range(2):
            await transport.send(Request("GET", host.url), timeout=5.0)
    assert [each for each in host.arrivals if "cookie" in each.headers] == []


async def test_closed() -> None:
    """After `aclose` nothing can be sent, closing again is fine, and the error says so."""
    transport = AiohttpTransport()
    await transport.aclose()
    await transport.aclose()
    with pytest.raises(ConfigurationError, match="This client is closed"):
        await transport.send(ASKED, timeout=1.0)
    with pytest.raises(ConfigurationError, match="This client is closed"):
        await transport.stream(ASKED, timeout=1.0).__aenter__()


def test_several_loops() -> None:
    """One transport serves loops one after the other, and is closed from any of them."""

    async def ask(transport: AiohttpTransport, times: int = 1) -> list[int]:
        async with Sandbox(render=False) as sandbox:
            request = Request("GET", f"{sandbox.url}/v2/errors")
            return [(await transport.send(request, timeout=5.0)).status for _ in range(times)]

    transport = AiohttpTransport()
    assert [asyncio.run(ask(transport, times)) for times in (1, 2)] == [[200], [200, 200]]
    asyncio.run(transport.aclose())


def test_without_a_loop() -> None:
    """A coroutine that is driven by no asyncio loop gets one clear error."""
    with pytest.raises(ConfigurationError, match="There is no asyncio event loop here"):
        AiohttpTransport().send(ASKED, timeout=1.0).send(None)


def test_discarding_twice() -> None:
    """A session that was closed already is dropped without a word."""

    async def discard_twice() -> None:
        session = aiohttp.ClientSession()
        keeper = kept(session)
        for _ in range(2):
            discard(session, keeper, asyncio.get_running_loop(), os.getpid())

    asyncio.run(discard_twice())


@pytest.mark.parametrize("seconds", [0.0, -1e-6, -10.0])
async def test_what_is_due_already_is_not_waited_for(seconds: float) -> None:
    """A moment may pass between a look at the clock and the pause; that is no error."""
    transport = AiohttpTransport()
    before = transport.now()
    await transport.sleep(seconds)
    assert transport.now() - before < 5


# What is no HTTP answer, or one without end, of which the beginning is sent: every reader of
# such bytes must stop, and say so in a line.
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_RUBBISH: dict[str, bytes] = {
    "a film": bytes(range(256)) * 2000,
    "letters without end": b"b" * 500_000,
    "a status line without end": b"HTTP/1.1 200 " + b"b" * 500_000,
    "a field without end": _HEAD + b"X-A: " + b"b" * 500_000,
    "fields without end": _HEAD + b"X-A: b\r\n" * 50_000,
    "a field name without end": _HEAD + b"x" * 500_000,
    "a null in a field": _HEAD + b"X-A: b\0c\r\n\r\n",
    "interim answers without end": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 20_000,
    "continue without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    "a chunk extension without end": _CHUNKED + b"1;a=" + b"b" * 500_000,
    "a chunk size without end": _CHUNKED + b"F" * 500_000,
    "a huge chunk": _CHUNKED + b"FFFFFFFFFFFFFFF\r\nbbb",
    "a chunk size that is none": _CHUNKED + b"-5\r\nbbb",
    "trailers without end": _CHUNKED + b"0\r\n" + b"X-A: b\r\n" * 50_000,
    "a length of 30 digits": _HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nb",
    "a length of 5,000 digits": _HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nb",
    "a negative length": _HEAD + b"Content-Length: -5\r\n\r\nb",
    "two lengths": _HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nbbbbbb",
    "a length and chunks": _HEAD + b"Content-Length: 5\r\n" + _CHUNKED[len(_HEAD) :] + b"0\r\n\r\n",
    "a length and too little": _HEAD + b"Content-Length: 500\r\n\r\n{}",
    "no gzip": _HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "half a gzip": _HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
    "no deflate": _HEAD + b"Content-Encoding: deflate\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/0.9": b'{"id": "job-1"}',
    "HTTP/2": b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80\0\4\0\1\0\0\0\5\0\xff\xff\xff",
    "an alert of TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "an escape sequence": b"\x1b]0;title\x07\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("name", _RUBBISH)
async def test_rubbish_is_one_line(name: str, hangs: bool) -> None:  # noqa: FBT001
    """Whatever comes instead of an answer ends, in a line that is not long; nothing is known."""
    async with (
        hosting(Answer(raw=_RUBBISH[name], hangs=hangs)) as host,
        AsyncClient("key", base_url=host.url, timeout=0.2, retry=RetryPolicy(attempts=1)) as client,
    ):
        with pytest.raises(LipsyncError) as caught:
            await delivered(partial(client.generations.create, **ORDER))
    assert caught.value.may_have_worked
    told = str(caught.value)
    assert told.isprintable()
    assert len(told) < 1000


@pytest.mark.parametrize("status", [101, 204, 205, 304])
async def test_bodies_that_cannot_be(transport: AiohttpTransport, status: int) -> None:
    """Such an answer has no body, which all of them share; each of them ends at once."""
    async with hosting(Answer(b"", status)) as host:
        for _ in range(3):
            async with transport.stream(Request("GET", host.url), timeout=5.0) as stream:
                assert [piece async for piece in stream.chunks()] == []


@pytest.mark.parametrize("timeout", [0.001, 0.05])
async def test_a_place_for_a_stream_that_never_comes(
    timeout: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits behind streams that do not move is told so, and does not wait for ever."""
    async with (
        hosting(Answer(b"", length=5, hangs=True)) as host,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as session,
    ):
        transport = AiohttpTransport(session=session)
        asked = Request("GET", host.url)
        with caplog.at_level("INFO", logger="lipsync_async"):
            async with transport.stream(asked, timeout=None):
                third = transport.stream(asked, timeout=timeout)
                with pytest.raises(RequestTimeoutError, match="no connection was free in time"):
                    await third.__aenter__()
            async with transport.stream(asked, timeout=None) as stream:
                assert stream.status == 200
        await transport.aclose()
    assert [record.getMessage() for record in caplog.records] == [
        "a download waits: 1 are under way, and no more go at once."
    ]


@pytest.mark.parametrize("timeout", [0.0, 0.001, 0.005])
async def test_a_place_for_a_stream_behind_one_that_moves(timeout: float) -> None:
    """As long as another stream goes on, it is waited for, whatever the timeout."""
    loop = asyncio.get_running_loop()

    def move() -> None:
        here.moves += 1
        if here.moves < 1000:
            loop.call_soon(move)
        else:
            here.stream_places.release()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as session:
        transport = AiohttpTransport(session=session)
        here = transport._bound()  # noqa: SLF001 - the wait for a place, and no more
        await here.stream_places.acquire()
        loop.call_soon(move)
        await _take_for_stream(here, ASKED, timeout)
        assert (here.moves, here.stream_places.locked()) == (1000, True)
        await transport.aclose()


@pytest.mark.parametrize(("limit", "per_host"), [(1, 0), (0, 1), (1, 1), (50, 1)])
async def test_one_connection_for_all(limit: int, per_host: int) -> None:
    """Where a session has one connection, requests and streams take turns, at no timeout's cost."""
    connector = aiohttp.TCPConnector(limit=limit, limit_per_host=per_host)
    async with (
        hosting(Answer(b"", length=5, hangs=True), Answer(b"{}")) as host,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        transport = AiohttpTransport(session=session)
        asked = Request("GET", host.url)
        async with transport.stream(asked, timeout=None):
            answered = asyncio.create_task(transport.send(asked, timeout=5.0))
            for _ in range(20):
                await checkpoint()
            assert (answered.done(), len(host.arrivals)) == (False, 1)
        assert (await answered).body == b"{}"
        await transport.aclose()
