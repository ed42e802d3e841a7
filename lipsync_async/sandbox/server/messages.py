"""Requests and answers as plain values, the same behind a socket and in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from lipsync_async.sandbox.faults import Fault

JSON = "application/json; charset=utf-8"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # made once, used often


def dump(value: Any) -> bytes:
    """Return `value` as compact JSON."""
    return _ENCODER.encode(value).encode()


@attrs.frozen(slots=True)
class StoredFile:
    """Hold what is known of a file that a request brought along.

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
    """Hold a multipart form: text fields and files by name."""

    texts: Mapping[str, str]
    files: Mapping[str, StoredFile]


@attrs.define(slots=True)
class Incoming:
    """Hold one request.

    Attributes:
        method: Upper-case method.
        path: Path as it was sent, percent-encoded.
        query: Decoded pairs in their order.
        headers: Found by lower-case name; a repeated field is joined by commas.
        body: Raw bytes, unless the request brought a form or a file.
        form: The parts of a multipart body.
        upload: The body of a `PUT`, already on disk.
        faults: What strikes this request.

    """

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = attrs.field(default=NO_HEADERS, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    form: Form | None = None
    upload: StoredFile | None = None
    faults: tuple[Fault, ...] = ()


@attrs.frozen(slots=True)
class FileSlice:
    """Name the bytes of a file that an answer's body consists of."""

    path: Path
    start: int
    stop: int


@attrs.define(slots=True)
class Outgoing:
    """Hold one answer.

    Attributes:
        status: HTTP status code.
        body: Raw bytes, or a part of a file.
        content_type: The body's type.
        headers: Further header fields.
        breaks_off: Promise the whole body, send half of it, and hang up.
        seconds: Spread the body over this long.

    """

    status: int = 200
    body: bytes | FileSlice = attrs.field(default=b"", repr=False)
    content_type: str = JSON
    headers: Mapping[str, str] = NO_HEADERS
    breaks_off: bool = False
    seconds: float = 0.0

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


def answer(value: Any, status: int = 200, headers: Mapping[str, str] = NO_HEADERS) -> Outgoing:
    """Return an answer whose body is JSON."""
    return Outgoing(status, dump(value), JSON, headers)


class Cut(Exception):  # noqa: N818 - nothing went wrong: the connection is to be cut on purpose
    """Ask the door to cut the connection instead of answering.

    Attributes:
        was_handled: Whether the request had taken effect before.

    """

    def __init__(self, *, was_handled: bool) -> None:
        """Remember which side of the work the cut is on."""
        self.was_handled = was_handled
        super().__init__("the connection is to be cut")
