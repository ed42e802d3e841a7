"""Sockets, by aiohttp. The only module of the client that knows that library.

Three choices are made here. A semaphore of as many places as the connection pool stands
*before* the pool, because aiohttp counts the wait for a pooled connection into a
request's timeout. The session is made by the first request on the running event loop, so
that a client can be built anywhere and used by several `asyncio.run` calls in a row. And
nothing is retried, but that aiohttp itself repeats a GET once when its connection turns
out to be dead; it would do so to a DELETE as well, and is kept from it.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

import aiohttp
import anyio
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from lipsync_async._transport.aiohttp_forms import build_form
from lipsync_async._transport.aiohttp_sessions import discard, keeper_of
from lipsync_async._values.messages import Response
from lipsync_async.errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    RequestTimeoutError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from lipsync_async._values.messages import Request

# Media may take as long as they like, and must not keep the API's requests waiting.
_STREAMS = 20
# More connections made 1,000 requests at once slower by a fifth, and cost 8 MB.
_CONNECTIONS = 100
# A connection that takes longer will not come; the request's own timeout may be shorter.
# (aiohttp's `connect` would set a timer for each request on a pooled connection, too.)
_CONNECT_SECONDS = 20.0
_CHUNK_BYTES = 65_536

_NEVER_DELIVERED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.NonHttpUrlClientError,
    ValueError,  # a URL or a file that cannot be read: `aiohttp.InvalidURL` and the like
    RuntimeError,  # no name can be looked up any more, while the interpreter ends
)

# All that aiohttp raises; its timeouts are OSErrors like every `TimeoutError`.
_FAILURES = (aiohttp.ClientError, OSError, ValueError, RuntimeError)
# aiohttp rounds timeouts above this many seconds up to whole ones.
_NEVER_ROUNDED = 3_600.0


class _BrokenError(aiohttp.ClientError):
    """Stand for a broken connection so that aiohttp does not take up the request anew."""


async def _sent_once(
    request: aiohttp.ClientRequest,
    handler: aiohttp.ClientHandlerType,
) -> aiohttp.ClientResponse:
    """Let a request whose connection breaks be an error, whatever its method."""
    try:
        return await handler(request)
    except _NEVER_DELIVERED:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _BrokenError(_words(error)) from error


class AiohttpTransport:
    """Carry requests over pooled connections of the running asyncio loop.

    Args:
        connections: Requests under way at once.

    """

    def __init__(self, *, connections: int = _CONNECTIONS) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._keeper: AsyncGenerator[None, None] | None = None
        self._places: asyncio.Semaphore | None = None
        self._stream_places: asyncio.Semaphore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._discard: weakref.finalize[..., AiohttpTransport] | None = None
        self._is_closed = False

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task; for no time if the moment that is waited for has passed."""
        await anyio.sleep(max(seconds, 0.0))

    async def send(self, request: Request, *, timeout: float | None) -> Response:
        """Send one request, once, and return the whole answer.

        Raises:
            ConnectError: The request was never delivered.
            ConnectionLostError: The connection broke after sending had begun.
            RequestTimeoutError: `timeout` passed; the outcome is unknown.

        """
        session, places, _ = self._bound()
        files: list[BinaryIO] = []
        async with places:
            self._refuse_if_closed()
            try:
                async with session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    data=build_form(request, files) if request.form else request.body,
                    headers=request.headers,
                    timeout=_limits(timeout),
                    allow_redirects=False,
                    middlewares=None if request.method == "GET" else (_sent_once,),
                ) as answer:
                    body = await answer.read()
            except _FAILURES as error:
                raise _translation(error, request, timeout) from _without_headers(error)
            finally:
                for file in files:
                    file.close()
        return Response(request.method, request.url, answer.status, _plain(answer.headers), body)

    @asynccontextmanager
    async def stream(
        self,
        request: Request,
        *,
        timeout: float | None,
    ) -> AsyncIterator[_AiohttpStream]:
        """Send one request and hand out the answer before its body is read."""
        session, _, places = self._bound()
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=timeout)
        async with places:
            self._refuse_if_closed()
            try:
                with anyio.fail_after(timeout):  # headers that drip in reset `sock_read`
                    answer = await session.request(
                        request.method,
                        URL(request.url, encoded=True),
                        headers=request.headers,
                        timeout=limits,
                        allow_redirects=False,
                    )
            except _FAILURES as error:
                raise _translation(error, request, timeout) from _without_headers(error)
            try:
                yield _AiohttpStream(request, answer, timeout)
            finally:
                answer.close()

    async def aclose(self) -> None:
        """Close every connection; closing twice is fine."""
        self._is_closed = True
        self._session = None
        if self._keeper is None or self._discard is None:
            return
        if self._loop is asyncio.get_running_loop():
            self._discard.detach()
            await self._keeper.aclose()
        else:
            self._discard()

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise ConfigurationError("This client is closed. Build a new one to go on.")

    def _bound(self) -> tuple[aiohttp.ClientSession, asyncio.Semaphore, asyncio.Semaphore]:
        """Return what belongs to the running loop, made on first use."""
        self._refuse_if_closed()
        loop = _running_loop()
        if (
            self._session is None
            or self._places is None
            or self._stream_places is None
            or loop is not self._loop
        ):
            if self._is_in_use_elsewhere(loop):
                raise ConfigurationError(
                    "This client is in use by another running event loop. Build one client for "
                    "each loop.",
                )
            if self._discard is not None:
                self._discard()
            self._loop = loop
            self._places = asyncio.Semaphore(self._connections)
            self._stream_places = asyncio.Semaphore(_STREAMS)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections + _STREAMS),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self._keeper = keeper_of(self._session)
            self._process = os.getpid()
            self._discard = weakref.finalize(
                self,
                discard,
                self._session,
                self._keeper,
                loop,
                self._process,
            )
        return self._session, self._places, self._stream_places

    def _is_in_use_elsewhere(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether another loop of this process is at work; a parent's is no matter."""
        return (
            self._loop is not None
            and loop is not self._loop
            and self._loop.is_running()
            and self._process == os.getpid()
        )


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "There is no asyncio event loop here (aiohttp needs one; trio will not do). "
            "Await this from asyncio.run or anyio.run with the asyncio backend.",
        ) from None


class _AiohttpStream:
    """Hand out an answer's body as it comes."""

    def __init__(
        self,
        request: Request,
        answer: aiohttp.ClientResponse,
        timeout: float | None,
    ) -> None:
        self.status: int = answer.status
        self.headers: Mapping[str, str] = _plain(answer.headers)
        self._request = request
        self._answer = answer
        self._timeout = timeout

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._answer.content.iter_chunked(_CHUNK_BYTES):
                yield chunk
        except _FAILURES as error:
            raise _translation(error, self._request, self._timeout) from _without_headers(error)


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@lru_cache
def _limits(timeout: float | None) -> aiohttp.ClientTimeout:
    """Build the limits of a try once for each timeout; nearly all tries share one."""
    return aiohttp.ClientTimeout(
        total=timeout,
        sock_connect=_CONNECT_SECONDS,
        ceil_threshold=_NEVER_ROUNDED,
    )


def _translation(error: Exception, request: Request, timeout: float | None) -> TransportError:
    """Return this project's error for aiohttp's, by what is known of the delivery."""
    method, url = request.method, request.url
    if isinstance(error, _NEVER_DELIVERED):
        message = f"it could not be delivered ({_words(error)}). Check address and network."
        return ConnectError(message, method=method, url=url)
    if isinstance(error, TimeoutError):
        message = f"no answer within {timeout} s; the outcome is unknown."
        return RequestTimeoutError(message, method=method, url=url)
    message = f"the connection broke ({_words(error)}); the outcome is unknown."
    return ConnectionLostError(message, method=method, url=url)


def _without_headers(error: Exception) -> Exception:
    """Take the request's headers, and so the API key, off an exception of aiohttp's."""
    if isinstance(error, aiohttp.ClientResponseError):
        seen = error.request_info
        bare = aiohttp.RequestInfo(seen.url, seen.method, CIMultiDictProxy(CIMultiDict()), seen.url)
        error.request_info = bare
        error.args = (bare, ())
    return error


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
