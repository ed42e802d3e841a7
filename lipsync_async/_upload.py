"""Bringing a file to the service as an asset: hash, presign, send, register.

Whatever the source, its bytes can be read again and again from one place: memory, a file that
was opened once, or a copy on disk of what comes only once. So each try sends everything, and
what is sent is what was hashed. The API key never goes to the host that takes the bytes.

A file that was cut off in the middle is not there: the host keeps whole files only, and the next
try begins anew. The same content is sent once for each API key: the service knows its hash.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from inspect import isawaitable, iscoroutinefunction
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any

import anyio.to_thread
import attrs

from lipsync_async._callsite import call_back
from lipsync_async._logic import media_host
from lipsync_async._logic.media_types import HEAD_BYTES, Kind, kind_of, upload_name_and_type
from lipsync_async._logic.validation import MAX_FILE_BYTES, expanded
from lipsync_async._models.http import Request, stamp_of
from lipsync_async.errors import InvalidRequestError, UploadError

if TYPE_CHECKING:
    from lipsync_async._requester import Requester, RequestOptions

_CHUNK = 1024 * 1024
_BYTES_PER_SECOND = 125_000  # a line of 1 Mbit/s must do
_OTHERS = "give type= as AUDIO, VIDEO or IMAGE; its bytes and its name do not tell"


@attrs.define(slots=True)
class Source:
    """What is to be sent: bytes that can be read from any place, any number of times.

    Attributes:
        name: The file's name.
        content_type: Its MIME type.
        size: Bytes.
        kind: Whether it is a video, an image or an audio.
        read: Reads so many bytes from a place on; in a thread, if it may take time.
        is_in_memory: Whether reading takes no time.
        has_changed: Tells whether the file is no longer what it was.
    """

    name: str
    content_type: str
    size: int
    read: Callable[[int, int], bytes]
    kind: Kind = "video"
    is_in_memory: bool = False
    has_changed: Callable[[], bool] = bool

    async def chunks(
        self, on_progress: Callable[[int, int], object] | None = None
    ) -> AsyncIterator[bytes]:
        """Yield everything, from the beginning."""
        sent = 0
        while sent < self.size:
            most = min(_CHUNK, self.size - sent)
            if self.is_in_memory:
                chunk = self.read(sent, most)
            else:
                chunk = await anyio.to_thread.run_sync(self.read, sent, most)
            if not chunk:
                raise UploadError(f"{self.name} became shorter while it was sent.")
            yield chunk
            sent += len(chunk)
            if on_progress is not None:
                await call_back(on_progress, sent, self.size)

    async def sha256(self) -> str:
        """Return the hash of the content."""
        digest = hashlib.sha256()
        async for chunk in self.chunks():
            await anyio.to_thread.run_sync(digest.update, chunk)
        return digest.hexdigest()


async def put(
    requester: Requester,
    options: RequestOptions,
    source: Source,
    url: str,
    on_progress: Callable[[int, int], object] | None = None,
) -> None:
    """Send everything to a presigned address, as often as the retry policy allows."""
    headers = {"content-type": source.content_type, "content-length": str(source.size)}
    timeout = options.timeout
    if timeout is not None:
        timeout += source.size / _BYTES_PER_SECOND

    async def send() -> None:
        content = source.chunks(on_progress)
        request = Request("PUT", url, headers, content=content)
        answer = await requester.transport.send(request, timeout=timeout)
        if not 200 <= answer.status < 300:  # noqa: PLR2004 - a success
            raise media_host.refusal_of(requester.mask.response(answer))

    await requester.retry(send, options.retry, is_repeatable=True)
    if source.has_changed():
        raise UploadError(f"{source.name} has changed while it was sent; upload it again.")


@asynccontextmanager
async def opened(
    given: Any, *, kind: Kind | None, name: str | None, content_type: str | None
) -> AsyncIterator[Source]:
    """Open whatever holds bytes: a path, bytes, a file, an upload of a web framework, an iterator.

    Raises:
        InvalidRequestError: It is none of these, empty, or too large; or its kind is not known.
    """
    name = name or _name_of(given)
    if isinstance(given, bytes | bytearray | memoryview):
        data = bytes(given)
        source = Source("", "", len(data), lambda at, most: data[at : at + most], is_in_memory=True)
        yield _named(source, kind, name, content_type or _declared_type(given))
        return
    file = await _file_of(given)
    try:
        facts = os.fstat(file.fileno())
        source = Source("", "", facts.st_size, _reader(file))
        source.has_changed = lambda: stamp_of(os.fstat(file.fileno())) != stamp_of(facts)
        yield _named(source, kind, name, content_type or _declared_type(given))
    finally:
        await anyio.to_thread.run_sync(file.close)


def _named(source: Source, kind: Kind | None, name: str | None, declared: str | None) -> Source:
    """Name a source, and find its type, by its bytes, its name, and what its giver says."""
    if not 0 < source.size <= MAX_FILE_BYTES:
        size = source.size
        problem = f"must be at most 5 GiB, not {size:,} bytes" if size else "must not be empty"
        raise InvalidRequestError([f"source: {problem}"])
    head = source.read(0, HEAD_BYTES)
    kind = kind or kind_of(name or "", head, declared)
    if kind is None:
        raise InvalidRequestError([f"source: {_OTHERS}"])
    source.kind = kind
    source.name, source.content_type = upload_name_and_type(kind, name or head, head)
    if declared is not None:
        source.content_type = declared
    return source


async def _file_of(given: Any) -> IO[bytes]:
    """Return an open file with everything: the one at a path, or a copy of what comes once."""
    if not isinstance(given, str | os.PathLike):
        return await _copied(given)
    place = expanded(given)
    try:
        file = await anyio.to_thread.run_sync(_opened_file, place)
    except OSError as error:
        problem = f"source: cannot be read ({error.strerror}): {place}"
        raise InvalidRequestError([problem]) from error
    return file


def _reader(file: IO[bytes]) -> Callable[[int, int], bytes]:
    def read(at: int, most: int) -> bytes:
        file.seek(at)
        return file.read(most)

    return read


def _opened_file(place: str) -> IO[bytes]:
    return open(place, "rb")  # noqa: PTH123 - closed by the caller


async def _copied(source: Any) -> IO[bytes]:
    """Copy what comes only once to a file without a name."""
    copy: Any = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller
    try:
        async for chunk in _pieces(source):
            await anyio.to_thread.run_sync(copy.write, chunk)
            if copy.tell() > MAX_FILE_BYTES:  # the rest may have no end
                break
        copy.flush()
    except BaseException:
        copy.close()
        raise
    file: IO[bytes] = copy
    return file


async def _pieces(source: Any) -> AsyncIterator[bytes]:
    """Yield the bytes of a file, of an upload of a web framework, or of an iterator."""
    read = getattr(source, "read", None)
    if callable(read):
        while chunk := await _next_piece(read):
            yield _as_bytes(chunk)
    elif isinstance(source, AsyncIterable):
        async for chunk in source:
            yield _as_bytes(chunk)
    elif isinstance(source, Iterable) and not isinstance(source, str | dict):
        for chunk in source:
            yield _as_bytes(chunk)
    else:
        kind = type(source).__name__
        problem = "must be a path, bytes, a binary file, an upload or an iterator of bytes"
        raise InvalidRequestError([f"source: {problem}, not {kind}"])


async def _next_piece(read: Callable[[int], Any]) -> Any:
    """Read on; in a thread, unless the file is read by awaiting."""
    if iscoroutinefunction(read):
        return await read(_CHUNK)
    chunk = await anyio.to_thread.run_sync(read, _CHUNK)
    return await chunk if isawaitable(chunk) else chunk


def _as_bytes(chunk: Any) -> bytes:
    if not isinstance(chunk, bytes | bytearray | memoryview):
        problem = f"must give bytes, not {type(chunk).__name__}; open text files with mode 'rb'"
        raise InvalidRequestError([f"source: {problem}"])
    return bytes(chunk)


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
