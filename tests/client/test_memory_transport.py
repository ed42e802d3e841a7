"""The transport on a virtual clock: answers, timeouts, and nothing left."""

import asyncio

import anyio
import anyio.to_thread
import pytest

from lipsync_async import ConnectError, RequestTimeoutError, Response
from lipsync_async._models.http import Request
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async._transport.protocol import Transport
from lipsync_async.sandbox import VirtualClock

ASKED = Request("GET", "http://localhost/x")


async def answer(request: Request) -> Response:
    """Answer anything."""
    await anyio.lowlevel.checkpoint()
    return Response(request.method, request.url, 200, {"etag": '"1"'}, bytes(200_000))


async def test_answer_in_time() -> None:
    """An answer that comes in time is handed over, and its timeout forgotten."""
    clock = VirtualClock()

    async def slow(request: Request) -> Response:
        await clock.sleep(4.0)
        return await answer(request)

    transport = MemoryTransport(slow, clock)
    assert (await transport.send(ASKED, timeout=5.0)).status == 200
    assert (await transport.send(ASKED, timeout=None)).status == 200
    assert (transport.now(), clock.now()) == (8.0, 8.0)
    await transport.sleep(1.0)
    assert transport.now() == 9.0
    await transport.aclose()
    await transport.aclose()


async def hang(_: Request) -> Response:
    """Answer nothing."""
    never: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    return await never


async def test_answer_too_late() -> None:
    """A handler that is too slow is cancelled at the very second."""
    clock = VirtualClock()
    with pytest.raises(RequestTimeoutError, match=r"no answer within 2\.5 s"):
        await MemoryTransport(hang, clock).send(ASKED, timeout=2.5)
    assert clock.now() == 2.5


async def test_handlers_error() -> None:
    """What the handler raises comes out, and its timeout is forgotten."""
    clock = VirtualClock()

    async def refuse(request: Request) -> Response:
        raise ConnectError("none there", method=request.method, url=request.url)

    with pytest.raises(ConnectError, match="none there"):
        await MemoryTransport(refuse, clock).send(ASKED, timeout=60.0)
    await clock.sleep(1.0)
    assert clock.now() == 1.0


async def test_cancelled_request() -> None:
    """A cancelled request ends at once, without a timeout error, and leaves no timer."""
    clock = VirtualClock()
    with anyio.CancelScope() as scope:
        clock.call_later(3.0, scope.cancel)
        await MemoryTransport(hang, clock).send(ASKED, timeout=60.0)
    assert scope.cancelled_caught
    await clock.sleep(1.0)
    assert clock.now() == 4.0


async def pieces_of(transport: Transport) -> list[bytes]:
    """Return the body's pieces as any transport hands them out."""
    async with transport.stream(ASKED, timeout=1.0) as stream:
        assert (stream.status, stream.headers) == (200, {"etag": '"1"'})
        return [piece async for piece in stream.chunks()]


async def test_stream_in_pieces() -> None:
    """A streamed answer shows status and headers first, then its body piece by piece."""
    pieces = await pieces_of(MemoryTransport(answer, VirtualClock()))
    assert (len(pieces), b"".join(pieces)) == (4, bytes(200_000))
