"""Requests and responses as plain values, the same behind a socket and in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import attrs

from lipsync_async.sandbox.faults import Fault
from lipsync_async.sandbox.files import OwnedFiles

JSON = "application/json; charset=utf-8"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # made once, used often


def dump(value: Any) -> bytes:
    """Return `value` as compact JSON."""
    return _ENCODER.encode(value).encode()


@attrs.frozen(slots=True)
class StoredFile:
    """A file that a request brought along.

    Attributes:
        path: Where its bytes are now.
        name: The name that the sender gave it.
        content_type: The type that the sender gave it.
        size: Its length in bytes.
        digest: SHA-256 of its bytes, in hex.

    """

    path: Path
    name: str
    content_type: str
    size: int
    digest: str


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
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the raw bytes as they come."""
        ...

    def parts(self) -> AsyncIterator[Part]:
        """Yield the parts of a multipart body; each is read before the next.

        Raises:
            ValueError: The body is no multipart body.

        """
        ...


def _unchanged(body: bytes) -> bytes:
    return body


@attrs.define(slots=True)
class Request:
    """One request.

    The server fills in what comes before `params`; the rest is filled in on the way to the
    handler, as far as the route asks for it.

    Attributes:
        method: Upper-case method.
        path: Path as it was sent, percent-encoded.
        query: Decoded pairs in their order.
        headers: Found by lower-case name; a repeated field is joined by commas.
        source: The body before it is read; `None`: there is none.
        rename: Turns the address by which the client reaches the sandbox into its own.
        params: The named pieces of the path, decoded.
        body: Raw bytes, unless the request brought a form or a file.
        data: The decoded JSON body.
        form: The parts of a multipart body.
        upload: A body that is one file, already on disk.
        faults: What strikes this request.
        files: The files that it brought; deleted at its end unless they are handed over.
        id: What `x-request-id` tells of it.

    """

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = attrs.field(default=NO_HEADERS, repr=False)
    source: BodySource | None = attrs.field(default=None, repr=False)
    rename: Callable[[bytes], bytes] = attrs.field(default=_unchanged, repr=False)
    params: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = attrs.field(default=b"", repr=False)
    data: Any = attrs.field(default=None, repr=False)
    form: Form | None = None
    upload: StoredFile | None = None
    faults: tuple[Fault, ...] = ()
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
    """One response.

    Attributes:
        status: HTTP status code.
        body: Raw bytes, or a part of a file.
        content_type: The body's type.
        headers: Further header fields.
        breaks_off: Promise the whole body, send half of it, and hang up.
        seconds: Spread the body over this long.
        created: Id of what the request created; idempotency keys remember it.

    """

    status: int = 200
    body: bytes | FileSlice = attrs.field(default=b"", repr=False)
    content_type: str = JSON
    headers: Mapping[str, str] = NO_HEADERS
    breaks_off: bool = False
    seconds: float = 0.0
    created: str | None = None

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


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] = NO_HEADERS
) -> Response:
    """Return a response whose body is JSON."""
    return Response(status, dump(value), JSON, headers)


class DropConnection(Exception):  # noqa: N818 - nothing went wrong: it is dropped on purpose
    """Ask the server to drop the connection instead of answering.

    Attributes:
        was_handled: Whether the request had taken effect before.

    """

    def __init__(self, *, was_handled: bool) -> None:
        """Remember which side of the handler the drop is on."""
        self.was_handled = was_handled
        super().__init__("the connection is to be dropped")
