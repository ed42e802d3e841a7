"""The query of a list: its values, in every spelling that clients use, and its pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from lipsync_async.sandbox.server.api_errors import malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Query = Sequence[tuple[str, str]]

_MOST_DIGITS = 9  # Python refuses to read thousands of them

T = TypeVar("T")
N = TypeVar("N", int, None)


def values(query: Query, name: str, known: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the values of a list: split by commas, repeated as keys, or as a JSON array's text.

    With `known` any other value is refused. What is asked for twice counts once.
    """
    found: list[str] = []
    for text in (text for key, text in query if key == name):
        items = text.split(",")
        if text.startswith("["):
            try:
                items = [str(item) for item in json.loads(text)]
            except (ValueError, RecursionError):
                raise malformed([f"{name} must be a list"]) from None
        found += items
    asked = tuple(dict.fromkeys(part for part in found if part))
    if known is not None and not set(asked) <= {*known}:
        words = ", ".join(known)
        raise malformed([f"each value in {name} must be one of the following values: {words}"])
    return asked


def last(query: Query, name: str) -> str | None:
    """Return a parameter that counts once."""
    found = [text for key, text in query if key == name]
    return found[-1] if found else None


def moment(query: Query, name: str) -> float | None:
    """Return a time, in Unix seconds; one without a zone is in UTC."""
    text = last(query, name)
    if text is None:
        return None
    try:
        # A plus sign that was not escaped has become a blank.
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise malformed([f"{name} must be an ISO 8601 date"]) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def choice(query: Query, name: str, known: Sequence[str], default: str) -> str:
    """Return a parameter that is one word of several."""
    asked = last(query, name) or default
    if asked not in known:
        words = ", ".join(known)
        raise malformed([f"{name} must be one of the following values: {words}"])
    return asked


def limit(query: Query, most: int, default: N) -> int | N:
    """Return how many rows a page may have."""
    text = last(query, "limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise malformed(["limit must be an integer number"])
    if not 1 <= int(text) <= most:
        raise malformed([f"limit must not be less than 1 or greater than {most}"])
    return int(text)


def page(
    rows: Iterable[T],
    query: Query,
    size: int,
    place: Callable[[T], tuple[Any, int]],
    *,
    is_down: bool = False,
) -> tuple[Sequence[T], str | None]:
    """Return a page of rows in the order of their places, and the cursor of the next one.

    Places are JSON values, no two of them are the same. A cursor is the place of the last row
    of a page: pages go on from there also when that row has been deleted meanwhile.
    """
    ordered = sorted(rows, key=place, reverse=is_down)
    cursor = last(query, "cursor")
    if cursor is not None:
        try:
            end = tuple(json.loads(bytes.fromhex(cursor)))
            ordered = [
                row for row in ordered if (place(row) < end if is_down else place(row) > end)
            ]
        except (TypeError, ValueError, RecursionError):
            raise malformed(["cursor must be one of an earlier page"]) from None
    found = ordered[:size]
    has_more = len(ordered) > size
    return found, json.dumps(place(found[-1])).encode().hex() if has_more else None


def listed(items: Iterable[Any], cursor: str | None) -> dict[str, Any]:
    """Return a page as JSON; the last one names no next."""
    shown: dict[str, Any] = {"items": [*items]}
    return shown if cursor is None else {**shown, "nextCursor": cursor}
