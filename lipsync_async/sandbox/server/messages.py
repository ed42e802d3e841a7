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
