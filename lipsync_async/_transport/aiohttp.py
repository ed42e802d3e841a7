"""Sockets, by aiohttp. The only module of the client that knows that library.

Four choices are made here. A semaphore of as many places as the connection pool stands
*before* the pool, because aiohttp counts the wait for a pooled connection into a
request's timeout. The session is made by the first request on the running event loop, so
that a client can be built anywhere and used by several `asyncio.run` calls in a row.
Nothing is retried, but that aiohttp itself repeats a GET once when its connection turns
out to be dead; it would do so to a DELETE as well, and is kept from it. And whether a
request was delivered is not guessed from the exception: it is known whether any of its
bytes were handed to a connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import warnings
import weakref
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from functools import lru_cache, partial
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import aiohttp
import anyio
import attrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from lipsync_async._asyncio_tools import OpenCall, OpenCalls
from lipsync_async._callsite import HTTP_LOG, log
from lipsync_async._logic.config import Proxies
from lipsync_async._logic.secrecy import Headers
from lipsync_async._models.http import FilePart, Response, stamp_of
from lipsync_async._transport.protocol import CUT_BYTES, most_bytes, no_place_in_time
from lipsync_async.errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    LipsyncError,
    RequestTimeoutError,
    TransportError,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping

    from aiohttp.client import _RequestContextManager

    from lipsync_async._logic.config import Proxy
    from lipsync_async._models.http import Request
    from lipsync_async._transport.protocol import Session


def build_form(request: Request, files: list[BinaryIO]) -> aiohttp.FormData:
    """Build a form anew for each try, with its files opened at their beginning."""
    form = aiohttp.FormData(quote_fields=False)  # as browsers do: names stay readable
    for part in request.form:
        if isinstance(part, FilePart):
            form.add_field(
                part.name,
                _content(part, files),
                filename=part.filename,
                content_type=part.content_type,
            )
        else:
            form.add_field(part.name, part.value)
    return form


def _data_of(request: Request, files: list[BinaryIO] | None) -> Any:
    """Return what aiohttp is to send."""
    if request.content is not None:
        return request.content
    if request.form and files is not None:
        return build_form(request, files)
    body = request.body
    return body if body is None or len(body) <= _MOST_AT_ONCE else BytesIO(body)


def _content(part: FilePart, files: list[BinaryIO]) -> BinaryIO:
    if isinstance(part.source, bytes):
        return BytesIO(part.source)
    try:
        file = part.source.open("rb")
    except OSError as error:
        # A ValueError, like all else that keeps a request from being sent at all.
        raise ValueError(f"a file cannot be read any more: {error}") from error
    files.append(file)
    if part.stamp is not None and part.stamp != stamp_of(os.fstat(file.fileno())):
        raise ValueError(f"{part.source} has changed since the call began")
    return file


@attrs.define(eq=False, repr=False)
class LoopSession:
    """What belongs to one event loop of one process: a session, and places in its pool."""

    session: aiohttp.ClientSession
    places: asyncio.Semaphore
    stream_places: asyncio.Semaphore
    streams: int
    # Grows with each piece of a stream and with each end of one.
    moves: int = 0
    loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)
    process: int = attrs.field(factory=os.getpid)
    # Of an own session: what closes it, what drops it, and the end of a close that has begun.
    keeper: AsyncGenerator[None, None] | None = None
    discard: weakref.finalize[..., object] | None = None
    closed: asyncio.Event | None = None


async def kept(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    """Close the session with its loop, unless it is closed before.

    `asyncio.run` and its like close the generators that are left when they end; a session
    has no other way to learn of that, and would leave open sockets behind.
    """
    try:
        yield
    finally:
        await session.close()


def discard(
    session: aiohttp.ClientSession,
    keeper: AsyncGenerator[None, None],
    loop: asyncio.AbstractEventLoop,
    process: int,
) -> None:
    """Drop a session that its loop can no longer close, without a word on the terminal."""
    if process != os.getpid():
        _leave_to_parent(session, keeper, loop)
        return
    if loop.is_running() and asyncio._get_running_loop() is not loop:  # noqa: SLF001 - documented
        return
    connector = session.connector
    if connector is None:
        return
    session.detach()
    with warnings.catch_warnings():
        # "with Connector()" is deprecated, but the only way to close without a loop.
        warnings.simplefilter("ignore", DeprecationWarning)
        with connector:
            pass


def _leave_to_parent(*inherited: object) -> None:
    """Keep for ever what a forked child has inherited, so that no finalizer closes it.

    The child shares connections and selector with its parent: a close message of TLS, or
    a socket taken off the selector, would be missed there, and the parent would hang. A
    reference that is never released is the only thing that keeps finalizers from running
    at the interpreter's end, too.
    """
    import ctypes  # noqa: PLC0415 - hardly ever needed

    for thing in inherited:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


# Media may take as long as they like, and must not keep the API's requests waiting.
_STREAMS = 20
# More connections made 1,000 requests at once slower by a fifth, and cost 8 MB.
_CONNECTIONS = 100
# A connection that takes longer will not come; the request's own timeout may be shorter.
# (aiohttp's `connect` would set a timer for each request on a pooled connection, too.)
_CONNECT_SECONDS = 20.0
# Room for what comes while the last piece is looked at; a larger one costs memory for nothing.
_STREAM_BUFFER_BYTES = 524_288
# What `readchunk` returns at the end of a body.
_MOST_AT_ONCE = 1024**2  # bytes; of more aiohttp warns, for they hold up the event loop
_END = (b"", False)
_FIRST_SERVER_ERROR = 500
_PROXY_AUTHENTICATION_REQUIRED = 407
_UNTRUSTED = (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch)
_TRUST = (
    "Where a company's proxy or an authority of its own signs, pass ssl_context="
    "ssl.create_default_context(cafile=...), or set SSL_CERT_FILE to the file with its "
    "certificates before the program starts; otherwise check base_url and this machine's clock."
)
# Characters of an exception's text that an error repeats.
_LONGEST_QUOTE = 500
# What waits for longer says so.
_SILENT_SECONDS = 1.0
# aiohttp rounds timeouts above this many seconds up to whole ones.
_NEVER_ROUNDED = 3_600.0


class _BrokenError(aiohttp.ClientError):
    """Broken connection; aiohttp would send the request once more after one of its own."""


async def _watch(
    call: OpenCall, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Note whether a request was sent, and let none but a GET be sent twice."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method == "GET" or request.response is None:
            raise
        raise _BrokenError(_words(error)) from error
    finally:
        # aiohttp makes the response object as soon as the request's first bytes are
        # handed to the connection, and not before.
        call.is_sent = call.is_sent or request.response is not None


def session_problems(session: object) -> list[str]:
    """Return why requests cannot be carried by a session."""
    if not isinstance(session, aiohttp.ClientSession):
        return [f"session must be an aiohttp.ClientSession, not {type(session).__name__}"]
    if session.closed:
        return ["session is closed. Pass one that is open until the client is closed"]
    return []


class AiohttpTransport:
    """Transport over pooled connections of the running asyncio loop.

    Args:
        connections: Requests under way at once; `None`: 100.
        proxies: The proxy for each address.
        ssl_context: How servers are trusted; `None`: as aiohttp does by default.
        session: Carries the requests, and is left open; `None`: one of its own.

    """

    def __init__(
        self,
        *,
        connections: int | None = None,
        proxies: Proxies | None = None,
        ssl_context: ssl.SSLContext | None = None,
        session: Session | None = None,
    ) -> None:
        self._connections = _CONNECTIONS if connections is None else connections
        self._proxies = proxies or Proxies()
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        self._given = session
        self._here: LoopSession | None = None
        self._calls = OpenCalls()

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task; for no time if the moment that is waited for has passed.

        Raises:
            ConfigurationError: The transport is closed, or was closed meanwhile.

        """
        with OpenCall(self._calls):
            await anyio.sleep(max(seconds, 0.0))

    def hold(self) -> AbstractContextManager[None]:
        """Do nothing: the world's clock never jumps."""
        return nullcontext()

    async def send(
        self, request: Request, *, timeout: float | None, deadline: float | None = None
    ) -> Response:
        """Send one request, once, and return the whole answer.

        Args:
            request: What to send.
            timeout: As for `Transport.send`.
            deadline: As for `Transport.send`.

        Raises:
            ConnectError: The request was never delivered.
            ConnectionLostError: The connection broke after sending had begun.
            RequestTimeoutError: `timeout` passed; the outcome is unknown.
            ConfigurationError: The transport is closed, or was closed meanwhile.

        """
        with OpenCall(self._calls) as call:
            here = self._bound()
            if deadline is None or not here.places.locked():
                await here.places.acquire()
            else:
                await self._take(here.places, request, deadline)
            try:
                if deadline is not None:
                    left = deadline - self.now()
                    if left <= 0:  # aiohttp takes a timeout of 0 for none at all
                        raise no_place_in_time(request)
                    timeout = left if timeout is None else min(timeout, left)
                return await self._answer(here, request, call, timeout)
            finally:
                here.places.release()

    async def _answer(
        self, here: LoopSession, request: Request, call: OpenCall, timeout: float | None
    ) -> Response:
        files: list[BinaryIO] = []
        proxy = self._proxies.way_to(request.url)
        try:
            async with self._asked(
                here, request, call, proxy, files=files, limits=_limits(timeout)
            ) as answer:
                announced, body, is_cut = answer.content_length or 0, bytearray(), False
                while piece := await answer.content.readany():
                    body += piece
                    size = max(len(body), announced)
                    if size > CUT_BYTES and size > most_bytes(answer.status):
                        answer.close()
                        del body[CUT_BYTES:]
                        is_cut = True
                        break
        except Exception as error:  # noqa: BLE001 - aiohttp lets through whatever goes wrong
            raise self._failure(error, request, call, timeout, proxy) from _bare(error)
        except BaseException as error:
            error.__traceback__ = None  # aiohttp's frames, as in `_bare`
            raise
        finally:
            for file in files:
                file.close()
        if proxy is not None:
            _raise_refusal(proxy, request, answer.status)
        headers = dict(zip(map(str.lower, answer.headers), answer.headers.values(), strict=True))
        return Response(request.method, request.url, answer.status, headers, bytes(body), is_cut)

    def _asked(
        self,
        here: LoopSession,
        request: Request,
        call: OpenCall,
        proxy: Proxy | None,
        *,
        limits: aiohttp.ClientTimeout,
        files: list[BinaryIO] | None = None,
        auto_decompress: bool = True,
        read_bufsize: int | None = None,
    ) -> _RequestContextManager:
        """Send a request, by its proxy.

        Raises:
            ValueError: A file cannot be sent, or the proxy not be used.

        """
        if proxy is not None and proxy.problem is not None:
            raise ValueError(proxy.problem)
        headers = request.headers
        if isinstance(headers, Headers):
            # A plain `dict`, which aiohttp copies fastest; its frames show it in no traceback
            # (see `_bare`).
            headers = headers.revealed
        authorization = {}
        if proxy is not None and proxy.authorization is not None:
            authorization = {"proxy-authorization": proxy.authorization.revealed}
            if _is_in_clear(request):
                headers, authorization = {**headers, **authorization}, {}
        return here.session.request(
            request.method,
            URL(request.url, encoded=True),
            data=_data_of(request, files),
            headers=headers,
            timeout=limits,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=auto_decompress,
            read_bufsize=read_bufsize,
            # These take the place of the session's own, so they have to be named as well.
            middlewares=(*here.session._middlewares, partial(_watch, call)),  # noqa: SLF001
            ssl=self._ssl,
            proxy=None if proxy is None else URL(proxy.url),
            proxy_headers=authorization or None,
        )

    @asynccontextmanager
    async def stream(
        self, request: Request, *, timeout: float | None
    ) -> AsyncIterator[_AiohttpStream]:
        """Send one request and hand out the answer before its body is read."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        with OpenCall(self._calls) as call:
            here = self._bound()
            proxy = self._proxies.way_to(request.url)
            failure = partial(
                self._failure, request=request, call=call, timeout=timeout, proxy=proxy
            )
            await _take_for_stream(here, request, timeout)
            try:
                try:
                    with anyio.fail_after(timeout):  # headers that drip in reset `sock_read`
                        answer = await self._asked(
                            here,
                            request,
                            call,
                            proxy,
                            limits=limits,
                            # What is compressed unasked may break off unnoticed.
                            auto_decompress=False,
                            read_bufsize=_STREAM_BUFFER_BYTES,
                        )
                except Exception as error:  # noqa: BLE001 - as above
                    raise failure(error) from _bare(error)
                except BaseException as error:
                    error.__traceback__ = None
                    raise
                try:
                    if proxy is not None:
                        _raise_refusal(proxy, request, answer.status)
                    yield _AiohttpStream(answer, failure, timeout, here)
                finally:
                    answer.close()
            finally:
                here.moves += 1
                here.stream_places.release()

    async def aclose(self) -> None:
        """Close every connection and end all that is under way; closing twice is fine."""
        self._calls.close()
        here = self._here
        if here is None or here.keeper is None or here.discard is None:
            return
        if here.loop is not asyncio.get_running_loop():
            here.discard()
        elif here.closed is not None:  # another task closes it
            await here.closed.wait()
        else:
            here.closed = asyncio.Event()
            here.discard.detach()
            try:
                await here.keeper.aclose()
            finally:
                here.closed.set()

    async def _take(self, places: asyncio.Semaphore, request: Request, deadline: float) -> None:
        """Wait for a place, which costs no timeout, but not beyond the caller's deadline."""
        with anyio.move_on_after(deadline - self.now()) as scope:
            await places.acquire()
        if scope.cancelled_caught:
            raise no_place_in_time(request)

    def _bound(self) -> LoopSession:
        """Return what belongs to the running loop; make it, and let go what was another loop's.

        Raises:
            ConfigurationError: That other loop runs, in another thread; or as for `_borrowed`.

        """
        loop, here = asyncio.get_running_loop(), self._here
        if here is not None and here.loop is loop:
            return here
        if here is not None:
            if here.loop.is_running() and here.process == os.getpid():
                raise ConfigurationError(
                    "This client is in use by another running event loop. Build one client "
                    "for each loop."
                )
            if here.discard is not None:
                here.discard()
        if self._given is not None:
            here = self._borrowed()
        else:
            # .netrc and cookies play no part in it.
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections + _STREAMS),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            places = asyncio.Semaphore(self._connections), asyncio.Semaphore(_STREAMS)
            here = LoopSession(session, *places, _STREAMS)
            here.keeper = keeper = kept(session)
            with suppress(StopIteration):  # up to its `yield`, which makes the loop know it
                keeper.asend(None).send(None)
            here.discard = weakref.finalize(self, discard, session, keeper, loop, here.process)
        self._here = here
        return here

    def _borrowed(self) -> LoopSession:
        """Return the session that was given, with as many places as its pool has.

        Raises:
            ConfigurationError: It is closed, or belongs to another event loop.

        """
        session = self._given
        if not isinstance(session, aiohttp.ClientSession) or session.connector is None:
            raise ConfigurationError(
                "The session that was passed as session= is closed. Build a new client with one "
                "that is open."
            )
        if session._loop is not asyncio.get_running_loop():  # noqa: SLF001 - `loop` is deprecated
            raise ConfigurationError(
                "The session that was passed as session= belongs to another event loop. Build it "
                "where the client is used; the blocking client has a loop of its own, for which "
                "proxy=, ssl_context=, headers= and max_connections= do the same."
            )
        # A pool with no place left would count the wait for one into a request's timeout.
        limits = (session.connector.limit, session.connector.limit_per_host)
        most = min((limit for limit in limits if limit), default=self._connections + _STREAMS)
        streams = min(max(min(_STREAMS, most // 4), 1), most - 1)
        count = max(min(self._connections, most - streams), 1)
        places = asyncio.Semaphore(count)
        if not streams:
            return LoopSession(session, places, places, count)
        return LoopSession(session, places, asyncio.Semaphore(streams), streams)

    def _failure(
        self,
        error: Exception,
        request: Request,
        call: OpenCall,
        timeout: float | None,
        proxy: Proxy | None,
    ) -> LipsyncError:
        if self._calls.is_closed:
            return call.closed_meanwhile()
        if call.is_sent:
            return _broken(error, request, timeout)
        return _undelivered(error, request, timeout, proxy)


async def _take_for_stream(here: LoopSession, request: Request, timeout: float | None) -> None:
    """Wait for a place for a stream, as long as any of those that have one goes on."""
    places = here.stream_places
    with anyio.move_on_after(_SILENT_SECONDS if timeout is None else min(_SILENT_SECONDS, timeout)):
        await places.acquire()
        return
    log(
        HTTP_LOG,
        logging.INFO,
        f"a download waits: {here.streams} are under way, and no more go at once.",
    )
    while True:
        moves = here.moves
        with anyio.move_on_after(timeout):
            await places.acquire()
            return
        if here.moves == moves:
            raise no_place_in_time(request)


class _AiohttpStream:
    """Answer's body, handed out as it comes."""

    def __init__(
        self,
        answer: aiohttp.ClientResponse,
        failure: Callable[[Exception], LipsyncError],
        timeout: float | None,
        here: LoopSession,
    ) -> None:
        self.status: int = answer.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in answer.headers.items()
        }
        self._answer = answer
        self._failure = failure
        self._timeout = timeout
        self._here = here

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        content = self._answer.content
        alarm = _Alarm(content, self._timeout)
        try:
            alarm.waits()
            # `readchunk` joins no pieces, which would cost a copy of everything.
            while (piece := await content.readchunk()) != _END:
                if piece[0]:
                    alarm.goes_on()
                    self._here.moves += 1
                    yield piece[0]
                    alarm.waits()
                elif content.at_eof():
                    break  # the one body of all answers without any tells of its end but once
        except Exception as error:  # noqa: BLE001 - aiohttp lets through whatever goes wrong
            if rest := _unread(content):  # what came before the break counts
                yield rest
            raise self._failure(error) from _bare(error)
        finally:
            alarm.end()


def _unread(content: aiohttp.StreamReader) -> bytes:
    """Return what came of a broken body and was not read: aiohttp would keep it to itself."""
    content.set_exception(None)  # type: ignore[arg-type]  # it reads on where there is none
    return content.read_nowait()


class _Alarm:
    """Timeout of the wait for the next piece of a body.

    Only pieces count: aiohttp's own `sock_read` begins anew with each byte on the line, also
    with those of chunk headers. And one timer serves many pieces.
    """

    def __init__(self, content: aiohttp.StreamReader, timeout: float | None) -> None:
        self._content = content
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def waits(self) -> None:
        """Note that a piece is waited for."""
        self._since = self._loop.time()
        if self._timer is None and self._timeout is not None:
            self._timer = self._loop.call_later(self._timeout, self._look, self._timeout)

    def goes_on(self) -> None:
        """Note that the piece has come; its consumer may take as long as it likes."""
        self._since = None

    def end(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, timeout: float) -> None:
        now = self._loop.time()
        left = timeout if self._since is None else self._since + timeout - now
        if left > 0:
            self._timer = self._loop.call_later(left, self._look, timeout)
        else:
            self._content.set_exception(aiohttp.SocketTimeoutError("no piece of the body came"))


@lru_cache
def _limits(timeout: float | None) -> aiohttp.ClientTimeout:
    """Build the limits of a try once for each timeout; nearly all tries share one."""
    return aiohttp.ClientTimeout(
        total=timeout, sock_connect=_CONNECT_SECONDS, ceil_threshold=_NEVER_ROUNDED
    )


def _broken(error: Exception, request: Request, timeout: float | None) -> TransportError:
    method, url = request.method, request.url
    if isinstance(error, TimeoutError):
        message = f"no answer within {timeout} s; the outcome is unknown."
        return RequestTimeoutError(message, method=method, url=url)
    message = f"the connection broke ({_words(error)}); the outcome is unknown."
    return ConnectionLostError(message, method=method, url=url)


def _undelivered(
    error: Exception, request: Request, timeout: float | None, proxy: Proxy | None
) -> ConnectError:
    if isinstance(error, aiohttp.ClientHttpProxyError) and proxy is not None:
        return _refused(proxy, request, error.status)
    words = _words(error)
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
        words = f"no connection within {timeout} s"
    message = f"it could not be delivered ({words}). Check address and network."
    is_lasting = isinstance(error, _UNTRUSTED)
    if proxy is not None and proxy.problem is not None:
        message, is_lasting = f"it was not sent: {proxy.problem}.", True
    elif is_lasting:
        message = (
            f"it was not sent, for the server's certificate is not trusted ({words}). {_TRUST}"
        )
    elif isinstance(error, aiohttp.ClientConnectorSSLError):
        message = (
            f"it was not sent, for no encrypted connection could be made ({words}). Check that "
            "the address is one of https, and see ssl_context=."
        )
    elif proxy is not None:
        message = (
            f"it could not be delivered through the proxy {proxy.url} ({words}). Check "
            f"{proxy.origin}, and that the proxy runs."
        )
    return ConnectError(message, method=request.method, url=request.url, is_lasting=is_lasting)


def _is_in_clear(request: Request) -> bool:
    """Tell whether a proxy reads the request and answers it, instead of passing bytes on."""
    return request.url[:5].lower() == "http:"


def _raise_refusal(proxy: Proxy, request: Request, status: int) -> None:
    """Raise what a proxy answers itself, where that could be read as the server's answer."""
    if status == _PROXY_AUTHENTICATION_REQUIRED and _is_in_clear(request):
        raise _refused(proxy, request, status)


def _refused(proxy: Proxy, request: Request, status: int) -> ConnectError:
    advice = f"Check that it allows this address, or name another one ({proxy.origin})."
    if status == _PROXY_AUTHENTICATION_REQUIRED:
        advice = (
            f"Put user name and password into its address ({proxy.origin}), as in "
            "'http://user:password@proxy.example:3128'."
        )
    # Not in the proxy's own words: these may be anything.
    phrase = next((f" {each.phrase}" for each in HTTPStatus if each == status), "")
    return ConnectError(
        f"it was not delivered: the proxy {proxy.url} refused it ({status}{phrase}). {advice}",
        method=request.method,
        url=request.url,
        is_lasting=status < _FIRST_SERVER_ERROR,
    )


def _bare(error: Exception) -> Exception:
    """Take off an exception, and off what led to it, all that may hold the API key.

    aiohttp's frames have the request's headers among their local variables, which tools that
    report errors like to show; and some of its exceptions hold them.
    """
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        left += [each.__cause__, each.__context__]
        each.__traceback__ = None
        if isinstance(each, aiohttp.ClientResponseError):
            asked = each.request_info
            bare = aiohttp.RequestInfo(
                asked.url, asked.method, CIMultiDictProxy(CIMultiDict()), asked.url
            )
            each.request_info = bare
            each.args = (bare, ())
    return error


def _words(error: BaseException) -> str:
    """Return what an exception says; its kind as well, where that is not one to be expected.

    It is one line and not a long one: aiohttp quotes what it could not read, be it a video.
    """
    kind, told = type(error).__name__, " ".join(str(error)[:_LONGEST_QUOTE].split())
    if isinstance(error, (aiohttp.ClientError, OSError)) or type(error) is ValueError:
        return told or kind
    return f"{kind}: {told}" if told else kind
