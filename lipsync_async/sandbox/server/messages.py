"""Requests and responses as plain values, the same behind a socket and in memory.

Bodies are read as far as a route asks for them, within the limits.
Source: "Create generation", sync.so API reference (multipart form).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import attrs

from lipsync_async.sandbox.faults import Fault
from lipsync_async.sandbox.files import OwnedFiles
from lipsync_async.sandbox.server.api_errors import bad_request, too_large

JSON = "application/json; charset=utf-8"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # made once, used often


def dump(value: Any) -> bytes:
    """Return `value` as compact JSON."""
    return _ENCODER.encode(value).encode()


@attrs.frozen(slots=True)
class StoredFile:
    """A file that a request brought along; name and type are the sender's."""

    path: Path
    name: str
    content_type: str
    size: int
    digest: str  # SHA-256, in hex


@attrs.frozen(slots=True)
class Form:
    """A multipart form: the texts of each field in their order, and files by name."""

    texts: Mapping[str, Sequence[str]]
    files: Mapping[str, StoredFile]

    def summary(self) -> dict[str, Any]:
        """Return what the request log keeps: the texts, and the files' facts."""
        texts = {
            name: found[0] if len(found) == 1 else [*found] for name, found in self.texts.items()
        }
        files = {
            name: {"filename": file.name, "size": file.size, "sha256": file.digest}
            for name, file in self.files.items()
        }
        return {**texts, **files}


@attrs.frozen(slots=True)
class Part:
    """One part of a multipart body that is still to be read; a file has a file name."""

    name: str | None
    filename: str | None
    content_type: str
    chunks: AsyncIterator[bytes]


class BodySource(Protocol):
    """A request's body before it is read."""

    @property
    def is_form(self) -> bool:
        """Whether the body is multipart."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the raw bytes as they come."""

    def parts(self) -> AsyncIterator[Part]:
        """Yield the parts of a multipart body; each is read before the next."""


def _unchanged(body: bytes) -> bytes:
    return body


@attrs.define(slots=True)
class Request:
    """One request; what follows `rename` is filled in on its way, as far as the route asks."""

    method: str
    path: str  # as it was sent, percent-encoded
    query: Sequence[tuple[str, str]] = ()
    # Found by lower-case name; a repeated field is joined by commas.
    headers: Mapping[str, str] = attrs.field(default=NO_HEADERS, repr=False)
    source: BodySource | None = attrs.field(default=None, repr=False)
    # Turns the address by which the client reaches the sandbox into its own.
    rename: Callable[[bytes], bytes] = attrs.field(default=_unchanged, repr=False)
    params: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = attrs.field(default=b"", repr=False)
    data: Any = attrs.field(default=None, repr=False)  # the decoded JSON body
    form: Form | None = None
    upload: StoredFile | None = None  # a body that is one file
    faults: tuple[Fault, ...] = ()
    # Deleted at the request's end unless they are handed over.
    files: OwnedFiles = attrs.field(init=False, repr=False)
    id: str = ""


@attrs.frozen(slots=True)
class FileSlice:
    """The bytes of a file that a response's body consists of."""

    path: Path
    start: int
    stop: int


@attrs.define(slots=True)
class Response:
    """One response."""

    status: int = 200
    body: bytes | FileSlice = attrs.field(default=b"", repr=False)
    content_type: str = JSON
    headers: Mapping[str, str] = NO_HEADERS
    breaks_off: bool = False  # promise the whole body, send half of it, and hang up
    seconds: float = 0.0  # to spread the body over
    created: str | None = None  # the id that an idempotency key remembers

    @property
    def whole(self) -> bytes:
        """The whole body, read from its file if need be."""
        if isinstance(self.body, bytes):
            return self.body
        with self.body.path.open("rb") as file:
            file.seek(self.body.start)
            return file.read(self.size)

    @property
    def size(self) -> int:
        """Length of the whole body in bytes."""
        if isinstance(self.body, bytes):
            return len(self.body)
        return self.body.stop - self.body.start


def json_response(value: Any, status: int = 200) -> Response:
    """Return a response whose body is JSON."""
    return Response(status, dump(value))


class DropConnection(Exception):  # noqa: N818 - nothing went wrong: it is dropped on purpose
    """Ask the server to drop the connection, before or after the handler has done its work."""

    def __init__(self, *, was_handled: bool) -> None:
        self.was_handled = was_handled
        super().__init__("the connection is to be dropped")


@attrs.define(slots=True)
class _HalfBody:
    """Body whose connection breaks when half of it has come."""

    _whole: BodySource
    _left: int  # bytes

    @property
    def is_form(self) -> bool:
        return self._whole.is_form

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._first(self._whole.chunks()):
            yield chunk

    async def parts(self) -> AsyncIterator[Part]:
        async for part in self._whole.parts():
            yield attrs.evolve(part, chunks=self._first(part.chunks))

    async def _first(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk[: self._left]
            self._left -= len(chunk)
            if self._left <= 0:
                raise DropConnection(was_handled=True)  # nothing tells the client that it was not


def half_of(request: Request) -> BodySource | None:
    """Return the first half of a request's body; of one whose length is not told, nothing."""
    length = request.headers.get("content-length", "")
    half = int(length) // 2 if length.isdecimal() else 0
    return request.source and _HalfBody(request.source, half)


MOST_FIELDS = 32
MOST_PARTS = 35
MOST_TEXT_BYTES = 1024 * 1024
# Of JSON. The largest is a list of bounding boxes: half an hour has 54,000 frames, and a box
# written in full 90 bytes. No other request is answered while one is read: a second for 8 MB.
MOST_BODY_BYTES = 5 * 1024 * 1024
_MOST_DIGITS = 308  # every integer of so many is a finite double


@attrs.frozen(slots=True)
class BodyPolicy:
    """What body a route takes; neither of these is the raw bytes."""

    is_json: bool = False
    file_fields: frozenset[str] = frozenset()  # of a form; empty: it takes none
    is_file: bool = False


RAW = BodyPolicy()
JSON_BODY = BodyPolicy(is_json=True)
FILE = BodyPolicy(is_file=True)


async def read_body(request: Request, policy: BodyPolicy, max_file_bytes: int) -> None:
    """Read what a request brings, and put it where the policy says."""
    source = request.source
    if source is not None and source.is_form and policy.file_fields:
        request.form = await _read_form(source, request, policy.file_fields, max_file_bytes)
    elif source is not None and policy.is_file:
        name = request.path.rpartition("/")[2]
        content_type = request.headers.get("content-type", "application/octet-stream")
        request.upload = await _store(source.chunks(), request, name, content_type, max_file_bytes)
    elif source is not None:
        request.body = request.rename(
            await _read_bytes(source.chunks(), MOST_BODY_BYTES, "The body")
        )
    if policy.is_json and request.form is None:
        request.data = _json(request)


def _json(request: Request) -> Any:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise bad_request(
            f"Send the body as application/json, not as {content_type or 'a body without a type'}."
        )
    try:
        return parse_json(request.body)
    except (ValueError, RecursionError) as problem:
        raise bad_request(f"The body is not valid JSON: {problem}") from None


def parse_json(text: str | bytes) -> Any:
    """Return decoded JSON, as strictly as services read it."""
    decoded = text if isinstance(text, str) else text.decode("utf-8-sig")
    value = _DECODER.decode(decoded)
    if "\\ud" in decoded.lower():
        dump(value)  # half a surrogate pair can be read, but never be written again
    return value


def _refuse(constant: str) -> Any:
    """Refuse NaN and the infinities, which Python alone takes for JSON."""
    raise ValueError(f"{constant} is no JSON value")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text:.40} is too large a number")
    return number


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"{text:.40}… is too large a number")
    return int(text)


# Made once, used by every create. JSON knows no largest number, services do: a double's.
_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_integer, parse_constant=_refuse)


async def _read_bytes(chunks: AsyncIterator[bytes], most: int, what: str) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most:
            raise too_large(f"{what} is larger than {most} bytes.")
    return bytes(body)


async def _store(
    chunks: AsyncIterator[bytes], request: Request, name: str, content_type: str, max_bytes: int
) -> StoredFile:
    """Write a file as its bytes come; it belongs to the request, which deletes it at its end."""
    path, size, digest = request.files.new_path(), 0, hashlib.sha256()
    with path.open("wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise too_large(f"{name} is larger than {max_bytes} bytes.")
            digest.update(chunk)
            file.write(chunk)
    return StoredFile(path, name, content_type, size, digest.hexdigest())


async def _read_form(
    source: BodySource, request: Request, file_fields: frozenset[str], max_bytes: int
) -> Form:
    texts: dict[str, list[str]] = {}
    files: dict[str, StoredFile] = {}
    number = 0
    try:
        async for part in source.parts():
            number += 1
            if part.name is None:
                raise bad_request("A part of the form has no name.")
            if part.filename is None:
                text = await _text(part.chunks, request, f"Field {part.name}")
                texts.setdefault(part.name, []).append(text)
            elif part.name not in file_fields:
                raise bad_request(f"Unexpected file field {part.name!r}.")
            elif part.name in files:
                raise bad_request(f"Send one file as {part.name!r}, not several.")
            else:
                files[part.name] = await _store(
                    part.chunks, request, part.filename, part.content_type, max_bytes
                )
            if number - len(files) > MOST_FIELDS or number > MOST_PARTS:
                raise too_large(f"The form has more than {MOST_FIELDS} fields.")
    except ValueError as problem:
        raise bad_request(f"The body is not a valid form: {problem}") from None
    return Form(texts, files)


async def _text(chunks: AsyncIterator[bytes], request: Request, what: str) -> str:
    value = await _read_bytes(chunks, MOST_TEXT_BYTES, what)
    try:
        return request.rename(value).decode()
    except UnicodeDecodeError:
        raise bad_request(f"{what} is not UTF-8 text.") from None
