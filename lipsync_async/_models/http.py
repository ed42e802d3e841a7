"""HTTP messages as plain values, the language that transports and rules share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import os


NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@attrs.frozen(slots=True)
class TextPart:
    """Text field of a multipart form."""

    name: str
    value: str


def stamp_of(facts: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file's content does."""
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


@attrs.frozen(slots=True)
class FilePart:
    """File of a multipart form; a path is opened anew for each attempt.

    `stamp` is what the file was like when the call began: all tries must send the same.
    """

    name: str
    filename: str
    content_type: str
    source: Path | bytes = attrs.field(repr=False)
    stamp: tuple[int, ...] | None = None

    def checked_size(self) -> int:
        """Return the number of bytes the file has now.

        Raises:
            OSError: It is not there any more.
            ValueError: It has changed since the call began.

        """
        if isinstance(self.source, bytes):
            return len(self.source)
        facts = self.source.stat()
        if self.stamp is not None and self.stamp != stamp_of(facts):
            raise ValueError(f"{self.source} has changed since the call began")
        return facts.st_size


@attrs.define(slots=True)
class Request:
    """HTTP request; `url` is absolute and already percent-encoded.

    `headers` may hold the API key, so they are not part of the repr. `content` is a body that
    comes in pieces, whose length is among the headers.
    """

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(default=NO_HEADERS, repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    form: tuple[TextPart | FilePart, ...] = attrs.field(default=(), repr=False)
    content: AsyncIterator[bytes] | None = attrs.field(default=None, repr=False)


@attrs.define(slots=True)
class Response:
    """Whole HTTP answer as it came.

    Attributes:
        method: The request's method.
        url: The request's URL (it never holds the API key).
        status: HTTP status code.
        headers: Header fields, names in lower case.
        body: The body's raw bytes.
        is_cut: Whether the body went on after these bytes, for longer than any answer of
            the service.

    """

    method: str
    url: str
    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    is_cut: bool = attrs.field(default=False, repr=False)
