"""Every request that reached the sandbox, to look at and to assert about.

The log is bounded thrice: it keeps the newest entries only, the first bytes of each body
only, and only so many bytes of all bodies and queries together, so that neither a day of
uploads nor ten thousand large creates or long lists of ids fill the memory. Secrets are
masked before they are stored.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from fnmatch import fnmatchcase
from json import dumps, loads
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SECRET_HEADERS = frozenset({"x-api-key", "authorization", "proxy-authorization", "cookie"})
_MASK = "***"

_KEPT_BODY_BYTES = 65_536  # any JSON body of the API fits; uploads are cut
_KEPT_BYTES = 64 * 1024 * 1024  # ten thousand usual creates take a tenth
_SHOWN_FITS = 10  # entries that a failed assertion lists, so that it stays readable
_SHOWN_NEAR = 3
_NOTHING = object()


@attrs.define(slots=True)
class Entry:
    """One request as it arrived; secrets in its headers are masked."""

    number: int  # since the log was cleared, from 1
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]  # by lower-case name
    time: float  # of the sandbox's clock
    body: bytes = attrs.field(default=b"", repr=False)  # the first 64 KiB
    body_size: int = 0  # of the whole
    status: int | None = None  # of the answer, once there is one

    @property
    def json(self) -> Any:
        """The decoded JSON body; `None` where it is none."""
        if not self.body:
            return None
        try:
            return loads(self.body)
        except (ValueError, RecursionError):
            return None

    def __str__(self) -> str:
        query = "?" + "&".join(f"{name}={value}" for name, value in self.query)
        answer = "no answer" if self.status is None else str(self.status)
        return f"#{self.number} {self.method} {self.path}{query.rstrip('?')} -> {answer}"

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON data; a body that is no JSON comes as text."""
        decoded = self.json
        text = self.body.decode(errors="replace") or None
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "query": [list(pair) for pair in self.query],
            "headers": self.headers,
            "body": text if decoded is None else decoded,
            "bodySize": self.body_size,
            "time": self.time,
            "status": self.status,
        }


class Subsets(TypedDict, total=False):
    """What a body and a query must hold."""

    json: Any
    query: Mapping[str, Any] | None


@attrs.frozen(slots=True)
class _Wanted:
    """What a search looks for; `None` fits anything."""

    method: str | None
    path: str | None
    json: Any = None
    query: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        json = "" if self.json is None else f" with json {dumps(self.json, default=repr)}"
        query = "" if self.query is None else f" with query {dict(self.query)!r}"
        return f"{self.method or 'any method'} {self.path or 'any path'}{json}{query}"

    def fits(self, entry: Entry) -> bool:
        return next(self.differences(entry), None) is None

    def differences(self, entry: Entry) -> Iterator[str]:
        """Yield in which places an entry is not what is looked for, the cheap ones first."""
        if self.method is not None and self.method.upper() != entry.method:
            yield _difference("method", self.method, entry.method)
        if self.path is not None and not fnmatchcase(entry.path, self.path):
            yield _difference("path", self.path, entry.path)
        if self.query is not None:
            yield from _query_differences(self.query, entry.query)
        if self.json is not None:
            yield from _json_differences(self.json, entry.json, "json")


def _difference(place: str, wanted: Any, found: Any) -> str:
    shown = "nothing there" if found is _NOTHING else f"found {found!r:.200}"
    return f"{place}: wanted {wanted!r:.200}, {shown}"


def _query_differences(
    wanted: Mapping[str, Any], query: Iterable[tuple[str, str]]
) -> Iterator[str]:
    pairs = list(query)
    for name, value in wanted.items():
        values = [found for key, found in pairs if key == name]
        # A list asks for all values of a repeated name in order, a text for one of them.
        fits = values == value if isinstance(value, list) else value in values
        if not fits:
            yield _difference(f"query.{name}", value, values or _NOTHING)


def _json_differences(wanted: Any, found: Any, place: str) -> Iterator[str]:
    """Compare by subset: objects may hold more than is wanted, lists may not."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            yield from _json_differences(value, found.get(name, _NOTHING), f"{place}.{name}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (value, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _json_differences(value, other, f"{place}[{index}]")
    elif wanted != found:
        yield _difference(place, wanted, found)


class RequestLog:
    """The newest requests, to be found and asserted about.

    A search takes a method, a path (exact or a glob), a subset of the JSON body (objects
    may hold more; lists must have the same length) and a subset of the query (a text must
    be among the values of its name; a list must be all of them). What is `None` does not
    matter.
    """

    def __init__(self, max_entries: int = 10_000, max_bytes: int = _KEPT_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._kept_bytes = 0
        self._recorded = 0

    def record(
        self,
        method: str,
        path: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        time: float = 0.0,
    ) -> Entry:
        """Log a request; set `status` on the entry returned when it is answered."""
        self._recorded += 1
        entry = Entry(
            number=self._recorded,
            method=method.upper(),
            path=path,
            query=list(query),
            headers=_masked(headers or {}),
            time=time,
        )
        self._entries.append(entry)
        self._kept_bytes += _weight(entry)
        self.keep_body(entry, body)
        return entry

    def keep_body(self, entry: Entry, body: bytes) -> None:
        """Add the body of a request, which is read after its arrival is logged."""
        entry.body, entry.body_size = body[:_KEPT_BODY_BYTES], len(body)
        # A log that was cleared, or has forgotten the entry, keeps nothing of it.
        if any(kept is entry for kept in reversed(self._entries)):
            self._kept_bytes += len(entry.body)
        while len(self._entries) > self._max_entries or self._kept_bytes > self._max_bytes:
            self._kept_bytes -= _weight(self._entries.popleft())

    def clear(self) -> None:
        """Forget every request and number the next one 1."""
        self._entries.clear()
        self._kept_bytes = self._recorded = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries))  # the sandbox may log another in its thread meanwhile

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<RequestLog {len(self)} of {self._recorded} requests>"

    def find(
        self, method: str | None = None, path: str | None = None, **subsets: Unpack[Subsets]
    ) -> list[Entry]:
        """Return the entries that fit, oldest first."""
        wanted = _Wanted(method, path, **subsets)
        return [entry for entry in self if wanted.fits(entry)]

    def count(
        self, method: str | None = None, path: str | None = None, **subsets: Unpack[Subsets]
    ) -> int:
        """Count the entries that fit."""
        return len(self.find(method, path, **subsets))

    def assert_count(
        self,
        expected: int | None,
        method: str | None = None,
        path: str | None = None,
        **subsets: Unpack[Subsets],
    ) -> list[Entry]:
        """Return the entries that fit, if they are as many as expected; `None`: at least one."""
        found = self.find(method, path, **subsets)
        if found if expected is None else len(found) == expected:
            return found
        wanted = _Wanted(method, path, **subsets)
        number = "at least 1" if expected is None else expected
        heading = f"expected {number} of {wanted}; found {len(found)} of {len(self)} requests."
        fits = [f"  fits: {entry}" for entry in found[:_SHOWN_FITS]]
        near = self._nearest(wanted) if len(found) < (1 if expected is None else expected) else []
        raise AssertionError("\n".join([heading, *fits, *near]))

    def assert_any(
        self, method: str | None = None, path: str | None = None, **subsets: Unpack[Subsets]
    ) -> list[Entry]:
        """Return the entries that fit, at least one."""
        return self.assert_count(None, method, path, **subsets)

    def to_json(self) -> list[dict[str, Any]]:
        """Return all entries as JSON data, oldest first."""
        return [entry.to_json() for entry in self]

    def _nearest(self, wanted: _Wanted) -> list[str]:
        judged = [(list(wanted.differences(entry)), entry) for entry in self]
        misses = sorted((miss for miss in judged if miss[0]), key=lambda miss: len(miss[0]))
        return [
            line
            for differences, entry in misses[:_SHOWN_NEAR]
            for line in (f"  near: {entry}", *(f"    {each}" for each in differences))
        ]


def _weight(entry: Entry) -> int:
    """Return the length of what differs much from request to request."""
    return len(entry.body) + sum(len(value) for _, value in entry.query)


def _masked(headers: Mapping[str, str]) -> dict[str, str]:
    # Every request brings the same few names: one text each serves all entries.
    lowered = ((sys.intern(name.lower()), value) for name, value in headers.items())
    return {name: _MASK if name in _SECRET_HEADERS else value for name, value in lowered}
