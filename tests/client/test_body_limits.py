"""No answer can fill the memory: what is too long for the service is cut, and told as that."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from lipsync_async import (
    AsyncClient,
    AuthenticationError,
    ConnectionLostError,
    DecodeError,
    LipsyncError,
    RequestTimeoutError,
    Response,
    RetryPolicy,
    ServerError,
)
from lipsync_async._models.http import Request
from lipsync_async._transport.aiohttp import AiohttpTransport
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async._transport.protocol import CUT_BYTES, most_bytes
from lipsync_async.sandbox import VirtualClock
from tests.client.connections import ORDER, UNLIMITED
from tests.client.hosts import Answer, Host, delivered, hosting

_MOST, _MOST_OF_REFUSALS = most_bytes(200), most_bytes(503)
_QUICK = RetryPolicy(attempts=3, first_pause=0.001, longest_pause=0.002)


def _client(host: Host, **settings: Any) -> AsyncClient:
    return AsyncClient("key", base_url=host.url, limits=UNLIMITED, retry=_QUICK, **settings)


def _bomb(encoding: str, size: int) -> bytes:
    """Return so many blanks, compressed."""
    bits = {"gzip": 31, "deflate": 15, "raw deflate": -15}[encoding]
    squeezed = zlib.compressobj(1, zlib.DEFLATED, bits)
    parts = [squeezed.compress(b" " * min(1 << 20, size - at)) for at in range(0, size, 1 << 20)]
    return b"".join([*parts, squeezed.flush()])


def _chunked(body: bytes, of: int = 1 << 20) -> bytes:
    parts = [body[at : at + of] for at in range(0, len(body), of)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _head(status: int, *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", *fields, "", ""]).encode()


def _packed_head(status: int, encoding: str) -> bytes:
    return _head(status, f"Content-Encoding: {encoding}", "Connection: close")


# How a body of so many bytes comes over the wire.
_WAYS: dict[str, Callable[[int, int], bytes]] = {
    "a length": lambda status, size: _head(status, f"Content-Length: {size}") + b" " * size,
    "chunks": lambda status, size: (
        _head(status, "Transfer-Encoding: chunked") + _chunked(b" " * size)
    ),
    "until it closes": lambda status, size: _head(status, "Connection: close") + b" " * size,
    "gzip": lambda status, size: _packed_head(status, "gzip") + _bomb("gzip", size),
    "deflate": lambda status, size: _packed_head(status, "deflate") + _bomb("deflate", size),
    "raw deflate": lambda status, size: (
        _packed_head(status, "deflate") + _bomb("raw deflate", size)
    ),
    "gzip in chunks": lambda status, size: (
        _head(status, "Content-Encoding: gzip", "Transfer-Encoding: chunked")
        + _chunked(_bomb("gzip", size), of=100)
    ),
}


async def _sent(raw: bytes, timeout: float = 10.0, **settings: Any) -> Response:
    """Return what the transport makes of these bytes."""
    async with hosting(Answer(raw=raw, **settings)) as host:
        transport = AiohttpTransport()
        try:
            return await transport.send(Request("GET", host.url), timeout=timeout)
        finally:
            await transport.aclose()


@pytest.mark.parametrize("over", [-1, 0, 1, 4_000_000])
@pytest.mark.parametrize("way", _WAYS)
async def test_refusals_up_to_their_most(way: str, over: int) -> None:
    """Up to a MiB of an error page is kept whole, and of a longer one its beginning."""
    size = _MOST_OF_REFUSALS + over
    answer = await _sent(_WAYS[way](503, size))
    assert answer.is_cut is (over > 0)
    assert answer.body == b" " * (CUT_BYTES if over > 0 else size)


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("way", ["a length", "chunks", "gzip"])
async def test_successes_up_to_their_most(way: str, over: int) -> None:
    """The same of what is asked for, with 32 MiB."""
    answer = await _sent(_WAYS[way](200, _MOST + over))
    assert answer.is_cut is (over > 0)
    assert len(answer.body) == (CUT_BYTES if over else _MOST)


@pytest.mark.parametrize("size", [_MOST, _MOST + 1])
async def test_the_same_in_memory(size: int) -> None:
    """The transport without sockets keeps the same bounds."""

    async def handle(request: Request) -> Response:
        return Response(request.method, request.url, 200, {}, b" " * size)

    transport = MemoryTransport(handle, VirtualClock())
    answer = await transport.send(Request("GET", "http://localhost/"), timeout=None)
    assert answer.is_cut is (size > _MOST)
    assert len(answer.body) == (size if size <= _MOST else CUT_BYTES)


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """Return a function that tells the most bytes that Python objects have taken."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_bomb_is_fetched_once(encoding: str, memory: Callable[[], int]) -> None:
    """128 MiB in 600 kB take bounded memory, and is not asked for again."""
    seen: list[Response] = []
    raw = _packed_head(200, encoding)
    async with (
        hosting(Answer(raw=raw + _bomb(encoding, 1 << 27))) as host,
        _client(host, on_response=seen.append) as client,
    ):
        with pytest.raises(DecodeError, match="too long for an answer of the service") as caught:
            await client.generations.get("job-1")
    assert memory() < 3 * _MOST
    assert len(host.arrivals) == len(seen) == 1
    assert len(caught.value.response.body) == CUT_BYTES
    assert not caught.value.is_retryable


async def test_a_length_that_is_too_much_is_not_read() -> None:
    """An answer that announces a terabyte is left at once, without waiting for more of it."""
    raw = _head(200, f"Content-Length: {1 << 40}") + b'{"id": "job-1"'
    async with hosting(Answer(raw=raw, hangs=True)) as host, _client(host, timeout=None) as client:
        with pytest.raises(DecodeError, match="too long"):
            await client.generations.get("job-1")
    assert len(host.arrivals) == 1


async def test_order_whose_answer_is_too_long() -> None:
    """A create's outcome is unknown then; it is not sent again by itself, and names its key."""
    raw = _WAYS["chunks"](201, _MOST + 1)
    async with hosting(Answer(raw=raw)) as host, _client(host) as client:
        with pytest.raises(DecodeError) as caught:
            await client.generations.create(**ORDER)
    assert caught.value.may_have_worked
    assert f"pass idempotency_key={caught.value.idempotency_key!r}" in str(caught.value)
    assert len(host.arrivals) == 1


@pytest.mark.parametrize(
    ("status", "expected", "tries"), [(401, AuthenticationError, 1), (502, ServerError, 3)]
)
async def test_page_that_is_too_long(status: int, expected: type[LipsyncError], tries: int) -> None:
    """Of an error the status counts, however long its page is."""
    raw = _WAYS["gzip"](status, 1 << 27)
    async with hosting(Answer(raw=raw)) as host, _client(host) as client:
        with pytest.raises(expected) as caught:
            await client.generations.get("job-1")
    assert len(caught.value.response.body) == CUT_BYTES  # type: ignore[attr-defined]
    assert len(host.arrivals) == tries


_SHOWN = json.dumps({"id": "job-1", "status": "PROCESSING"}).encode()


async def test_compressed_answer() -> None:
    """An answer of a usual length is read, compressed or not."""
    packed = gzip.compress(_SHOWN)
    told = {"Content-Encoding": "gzip"}
    async with hosting(Answer(packed, headers=told)) as host, _client(host) as client:
        assert (await client.generations.get("job-1")).id == "job-1"


_IN_CHUNKS = _head(200, "Transfer-Encoding: chunked")
# Heads and bodies that are wrong or never end; each is an error after a few tries, no crash.
_WRONG: dict[str, bytes] = {
    "a length of 5,000 digits": _head(200, f"Content-Length: {'9' * 5000}"),
    "a length of 20 digits": _head(200, f"Content-Length: {'9' * 20}"),
    "a length below zero": _head(200, "Content-Length: -1"),
    "a length in words": _head(200, "Content-Length: ten"),
    "two lengths": _head(200, "Content-Length: 1", "Content-Length: 2"),
    "a status of 40 digits": b"HTTP/1.1 " + b"2" * 40 + b" X\r\n\r\n",
    "a line of 100 kB": b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
    "a header of 100 kB": _head(200, f"X-Long: {'x' * 100_000}"),
    "a name of 100 kB": _head(200, f"{'x' * 100_000}: x"),
    "10,000 headers": _head(200, *["X-Many: x"] * 10_000),
    "a header without a colon": _head(200, "X-Many"),
    "bytes of zero": bytes(1_000),
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a chunk of a wrong size": _IN_CHUNKS + b"zz\r\n",
    "a chunk of a huge size": _IN_CHUNKS + b"f" * 40 + b"\r\n",
    "a chunk's line of 100 kB": _IN_CHUNKS + b"1;" + b"x" * 100_000 + b"\r\n",
    "trailers of 100 kB": _IN_CHUNKS + b"0\r\nX: " + b"x" * 100_000,
    "no gzip": _head(200, "Content-Encoding: gzip", "Content-Length: 14") + b"no gzip at all",
    "no brotli": _head(200, "Content-Encoding: br", "Content-Length: 16") + b"no brotli at all",
    "no zstd": _head(200, "Content-Encoding: zstd", "Content-Length: 14") + b"no zstd at all",
    "an encoding that is not known": _packed_head(200, "rot13") + b"{}" + b"x" * 7,
    "two encodings": _packed_head(200, "gzip, gzip") + gzip.compress(gzip.compress(_SHOWN)),
    "half of a gzip": _packed_head(200, "gzip") + gzip.compress(_SHOWN)[:-20],
    "half of a body": _head(200, "Content-Length: 100") + b"{",
    "a gzip that says it is none": _head(200, "Content-Length: 100", "Connection: close")
    + gzip.compress(b" " * 10_000),
    "nothing": b"",
}
# These come as a whole, and cannot be read.
_UNREADABLE = {"an encoding that is not known", "two encodings", "half of a gzip"}


@pytest.mark.parametrize("name", _WRONG)
async def test_wrong_answer(name: str) -> None:
    """Whatever comes instead of an answer is one of the documented errors, after some tries."""
    expected = DecodeError if name in _UNREADABLE else ConnectionLostError
    async with hosting(Answer(raw=_WRONG[name])) as host, _client(host, timeout=10.0) as client:
        with pytest.raises(expected):
            await client.generations.get("job-1")
        with pytest.raises(LipsyncError) as caught:
            await client.generations.create(**ORDER)
    assert caught.value.may_have_worked
    assert [each.method for each in host.arrivals].count("POST") == _QUICK.attempts


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Endless: ",
        _head(200, "Content-Length: 100") + b"{",
        _head(200, "Transfer-Encoding: chunked") + b"1\r\n{\r\n0\r\nX-Late: ",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    ],
    ids=["no answer", "a header", "a body", "a trailer", "interim answers"],
)
async def test_answer_that_stops(raw: bytes) -> None:
    """An answer that does not go on is too slow, whatever part of it has come."""
    with pytest.raises(RequestTimeoutError, match=r"no answer within 0\.05 s"):
        await delivered(partial(_sent, raw, 0.05, hangs=True))
