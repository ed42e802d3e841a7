"""Bringing a file to the service as an asset: open, hash, send.

Whatever the source, its bytes can be read again and again from one place: memory, a file that
was opened once, or a copy on disk of what comes only once. So each try sends everything, and
what is sent is what was hashed. The API key never goes to the host that takes the bytes.

A file that was cut off in the middle is not there: the host keeps whole files only, and the next
try begins anew. The same content is sent once for each API key: the service knows its hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
)
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, suppress
from copy import copy
from inspect import isawaitable, iscoroutinefunction
from math import inf
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar, cast

import attrs

from lipsync_async._asyncio_tools import LoopLocal
from lipsync_async._callsite import call_back, is_from_callback
from lipsync_async._logic import media_host
from lipsync_async._logic.media_types import HEAD_BYTES, Kind, kind_of, upload_name_and_type
from lipsync_async._logic.validation import MAX_FILE_BYTES, expanded, size_problems
from lipsync_async._models.http import Request, stamp_of
from lipsync_async._threads import WORKERS
from lipsync_async.errors import InvalidRequestError, RequestTimeoutError, UploadError

if TYPE_CHECKING:
    from lipsync_async._models.http import Response
    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._requester import Requester, RequestOptions
    from lipsync_async._transport.protocol import Transport

T = TypeVar("T")
OnSent = Callable[[int, int], object]

_CHUNK = 1024 * 1024
_BYTES_PER_SECOND = 125_000  # a line of 1 Mbit/s must do
_MOST_REDIRECTS = 5
# Those that keep method and body. Source: RFC 9110, 15.4.
_REDIRECTS = frozenset({307, 308})
_MOST_HASHES = 1000
_LONGEST_SLEEP = 3600.0
_OTHERS = "give type= as AUDIO, VIDEO or IMAGE; its bytes and its name do not tell"


class UploadInputs(Protocol):
    """What uploads the local files of a request, and returns it with the ids of their assets."""

    async def __call__(
        self,
        requester: Requester,
        options: RequestOptions,
        request: GenerationRequest,
        *,
        on_upload: OnSent | None = None,
        kept: dict[Hashable, Any] | None = None,
    ) -> GenerationRequest:
        """Upload; `kept` holds the assets of a run, so that it asks for none twice."""


@attrs.define(slots=True, eq=False)
class Source:
    """What is to be sent: bytes that can be read from any place, any number of times.

    Attributes:
        size: Bytes.
        stamp: What changes with the content of a file on disk; `None`: it is in memory.
        path: Where the file is, for a user's own; `None`: it has no place.
        name: The file's name.
        content_type: Its MIME type.
        kind: Whether it is a video, an image or an audio.
    """

    size: int
    _hold: Callable[[], AbstractContextManager[None]]
    _data: bytes = b""
    _file: IO[bytes] | None = None
    stamp: tuple[int, ...] | None = None
    path: str | None = None
    name: str = ""
    content_type: str = ""
    kind: Kind = "video"

    async def read(self, at: int, most: int) -> bytes:
        """Return so many bytes from a place on, or fewer at the end."""
        if self._file is None:
            return self._data[at : at + most]
        with self._hold():
            return await WORKERS.submit(_read_at, self._file, at, most)

    async def chunks(self, on_sent: OnSent | None = None) -> AsyncGenerator[bytes, None]:
        """Yield everything, from the beginning."""
        sent = 0
        while sent < self.size:
            chunk = await self.read(sent, min(_CHUNK, self.size - sent))
            if not chunk:
                raise UploadError(f"{self.name} became shorter while it was sent.")
            yield chunk
            sent += len(chunk)
            if on_sent is not None:
                await call_back(on_sent, sent, self.size)

    async def sha256(self) -> str:
        """Return the hash of the content, which a file keeps as long as it does not change."""
        known = _HASHES.get()
        key = None if self.path is None else (self.path, self.stamp)
        if key in known:
            return known[key]
        is_left: list[bool] = []  # hashing ends with its task
        with self._hold():
            try:
                found = await WORKERS.submit(_digest, self._data, self._file, is_left)
            finally:
                is_left.append(True)
        if key is not None:
            if len(known) >= _MOST_HASHES:
                known.clear()
            known[key] = found
        return found

    async def has_changed(self) -> bool:
        """Tell whether a file is no longer what it was."""
        if self._file is None:
            return False
        with self._hold():
            facts = await WORKERS.submit(os.fstat, self._file.fileno())
        return stamp_of(facts) != self.stamp

    async def close(self) -> None:
        """Close the file, if there is one; a read that goes on in a thread ends before."""
        if self._file is not None:
            with self._hold():
                await WORKERS.submit(self._file.close)


# By path and stamp, in each event loop.
_HASHES: LoopLocal[dict[Any, str]] = LoopLocal(dict)
_UNDER_WAY: LoopLocal[dict[Hashable, asyncio.Future[Any]]] = LoopLocal(dict)


def _read_at(file: IO[bytes], at: int, most: int) -> bytes:
    file.seek(at)
    return file.read(most)


def _digest(data: bytes, file: IO[bytes] | None, is_left: list[bool]) -> str:
    digest = hashlib.sha256(data)
    if file is not None:
        file.seek(0)
        while not is_left and (chunk := file.read(_CHUNK)):
            digest.update(chunk)
    return digest.hexdigest()


async def once(
    key: Hashable, work: Callable[[], Awaitable[T]], kept: dict[Hashable, T] | None = None
) -> T:
    """Let one task do what several want at the same time; the others share result and error.

    A task that is cancelled, or whose own callback raises, leaves the work to another.
    """
    under_way = _UNDER_WAY.get()
    while (other := under_way.get(key)) is not None:
        await asyncio.wait([other])
        if not other.cancelled():
            if (error := other.exception()) is not None:
                raise copy(error) from error.__cause__
            return cast("T", other.result())
    if kept is not None and key in kept:
        return kept[key]
    done = under_way[key] = asyncio.get_running_loop().create_future()
    try:
        result = await work()
        done.set_result(result)
    except Exception as error:
        if not is_from_callback(error):
            done.set_exception(error)
            done.exception()  # retrieved: there may be no other task
        raise
    finally:
        done.cancel()
        del under_way[key]
    if kept is not None:
        kept[key] = result
    return result


async def put(
    requester: Requester,
    options: RequestOptions,
    source: Source,
    url: str,
    on_sent: OnSent | None = None,
) -> None:
    """Send everything to a presigned address, as often as the retry policy allows.

    Redirects are followed; no address is sent the API key.
    """

    async def send() -> None:
        target: str | None = url
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await _put_once(requester, options, source, str(target), on_sent)
            if 200 <= answer.status < 300:  # noqa: PLR2004 - a success
                return
            target = _redirected(source, answer)
            if target is None:
                raise media_host.refusal_of(requester.mask.response(answer))
        raise UploadError(f"{source.name} was not sent: its address points on and on.")

    try:
        address = media_host.checked_address(url)
    except ValueError as error:
        raise _misled(source, error) from error
    url = address
    await requester.retry(send, options.retry, is_repeatable=True)
    if await source.has_changed():
        raise UploadError(f"{source.name} has changed while it was sent; upload it again.")


def _redirected(source: Source, answer: Response) -> str | None:
    """Return where else the bytes are to be sent; `None`: nowhere."""
    if answer.status not in _REDIRECTS:
        return None
    try:
        return media_host.redirect_address(answer.url, answer.status, answer.headers)
    except ValueError as error:
        raise _misled(source, error) from error


def _misled(source: Source, error: ValueError) -> UploadError:
    return UploadError(f"{source.name} was not sent: the address for it {error}.")


async def _put_once(
    requester: Requester, options: RequestOptions, source: Source, url: str, on_sent: OnSent | None
) -> Response:
    """Send everything once. A host that takes or answers nothing for `timeout` has failed."""
    transport, now = requester.transport, requester.transport.now
    headers = {"content-type": source.content_type, "content-length": str(source.size)}
    patience = inf if options.timeout is None else options.timeout + _CHUNK / _BYTES_PER_SECOND
    moves = [now()]  # when a piece was taken last
    failures: list[Exception] = []  # of the file, or of the user's callback

    async def send(pieces: AsyncGenerator[bytes, None]) -> Response:
        request = Request("PUT", url, headers, content=pieces)
        try:
            return await transport.send(request, timeout=None)
        except Exception:
            if failures:  # the transport takes it for a broken connection
                raise failures[0] from None
            raise

    chunks = source.chunks(on_sent)
    async with aclosing(_noted(chunks, lambda: moves.__setitem__(0, now()), failures)) as pieces:
        sending = asyncio.ensure_future(send(pieces))
        try:
            while not sending.done():
                left = moves[0] + patience - now()
                if left <= 0:
                    message = f"the host took nothing more for {patience:g} s"
                    raise RequestTimeoutError(message, method="PUT", url=url)
                await _until(sending, transport, left)
            return sending.result()
        finally:
            sending.cancel()
            await asyncio.wait([sending])


async def _noted(
    chunks: AsyncGenerator[bytes, None], note: Callable[[], None], failures: list[Exception]
) -> AsyncGenerator[bytes, None]:
    """Yield pieces, and note when each is taken, and what they raise."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                note()
                yield chunk
        note()
    except Exception as error:
        failures.append(error)
        raise


async def _until(task: asyncio.Future[Any], transport: Transport, seconds: float) -> None:
    """Wait for a task, or so many seconds of the transport's time."""
    timer = asyncio.ensure_future(transport.sleep(min(seconds, _LONGEST_SLEEP)))
    try:
        await asyncio.wait([task, timer], return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        await asyncio.wait([timer])


@asynccontextmanager
async def opened(
    requester: Requester,
    given: Any,
    *,
    place: str = "source",
    kind: Kind | None = None,
    name: str | None = None,
    content_type: str | None = None,
) -> AsyncIterator[Source]:
    """Open whatever holds bytes: a path, bytes, a file, an upload of a web framework, an iterator.

    Raises:
        InvalidRequestError: It is none of these, empty, or too large; or its kind is not known.
    """
    source = await _source_of(given, place, requester.transport.hold)
    try:
        if problems := [*size_problems(place, source.size)]:
            raise InvalidRequestError(problems)
        name, declared = name or _name_of(given), content_type or _declared_type(given)
        head = await source.read(0, HEAD_BYTES)
        found = kind or kind_of(name or "", head, declared)
        if found is None:
            raise InvalidRequestError([f"{place}: {_OTHERS}"])
        source.kind = found
        source.name, source.content_type = upload_name_and_type(found, name or head, head)
        source.content_type = declared or source.content_type
        yield source
    finally:
        await source.close()


async def _source_of(
    given: Any, place: str, hold: Callable[[], AbstractContextManager[None]]
) -> Source:
    """Open what is given; what comes only once is copied to a file without a name."""
    if isinstance(given, bytes | bytearray | memoryview):
        data = bytes(given)
        return Source(len(data), hold, data)
    path: str | None = None
    if isinstance(given, str | os.PathLike):
        opening = WORKERS.submit(_opened_file, expanded(given))
        try:
            with hold():
                path, file = await asyncio.shield(opening)
        except asyncio.CancelledError:  # the thread opens it all the same
            opening.add_done_callback(_close_opened)
            raise
        except OSError as error:
            problem = f"{place}: cannot be read ({error.strerror}): {given}"
            raise InvalidRequestError([problem]) from error
    else:
        file = await _copied(given, place, hold)
    facts = os.fstat(file.fileno())
    return Source(facts.st_size, hold, b"", file, stamp_of(facts), path)


def _opened_file(place: str) -> tuple[str, IO[bytes]]:
    """Open the file at a path; return also where it is in truth."""
    path = os.path.realpath(place)
    return path, open(path, "rb")  # noqa: PTH123 - closed by the caller


def _close_opened(opening: asyncio.Future[tuple[str, IO[bytes]]]) -> None:
    """Close the file that a call no longer needs."""
    with suppress(OSError, asyncio.CancelledError):
        opening.result()[1].close()


async def _copied(
    source: Any,
    place: str,
    hold: Callable[[], AbstractContextManager[None]],
    most: int = MAX_FILE_BYTES,
) -> IO[bytes]:
    """Copy to a file without a name; of what is too large, no more than tells that."""
    copied: Any = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller
    try:
        async with aclosing(_pieces(source)) as pieces:
            async for piece in pieces:
                with hold():
                    await WORKERS.submit(copied.write, _as_bytes(piece, place))
                if copied.tell() > most:  # the rest may have no end
                    break
        with hold():
            await WORKERS.submit(copied.flush)
    except BaseException:
        copied.close()
        raise
    file: IO[bytes] = copied
    return file


def _as_bytes(piece: Any, place: str) -> bytes:
    if not isinstance(piece, bytes | bytearray | memoryview):
        problem = f"must give bytes, not {type(piece).__name__}; open text files with mode 'rb'"
        raise InvalidRequestError([f"{place}: {problem}"])
    return bytes(piece)


async def _pieces(source: Any) -> AsyncGenerator[Any, None]:
    """Yield the bytes of a file, of an upload of a web framework, or of an iterator.

    What blocks runs in a thread. It may take any time, so no clock waits for it.
    """
    read = getattr(source, "read", None)
    if callable(read):
        while chunk := await _next_of(read, _CHUNK):
            yield chunk
    elif isinstance(source, AsyncIterable):
        async for chunk in source:
            yield chunk
    else:
        iterator = iter(source)
        end = object()
        while (chunk := await WORKERS.submit(next, iterator, end)) is not end:
            yield chunk


async def _next_of(read: Callable[[int], Any], most: int) -> Any:
    """Read on; in a thread, unless the file is read by awaiting."""
    if iscoroutinefunction(read):
        return await read(most)
    chunk = await WORKERS.submit(read, most)
    return await chunk if isawaitable(chunk) else chunk


def _name_of(source: Any) -> str | None:
    if isinstance(source, str | os.PathLike):
        return PurePath(source).name
    for attribute in ("filename", "name"):
        found = getattr(source, attribute, None)
        if isinstance(found, str) and found and not found.startswith("<"):
            return found.replace("\\", "/").rpartition("/")[2] or None
    return None


def _declared_type(source: Any) -> str | None:
    found = getattr(source, "content_type", None)
    is_usual = isinstance(found, str) and "/" in found and found != "application/octet-stream"
    return found if is_usual else None
