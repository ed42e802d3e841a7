"""What the query of a list, a count or a single look asks for.

List values come separated by commas or as repeated keys; both count, as the service's own
client sends the second form (contract section 2.8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lipsync_async._words import Status
from lipsync_async.sandbox.rules.refusals import coded, malformed, malformed_generation_id
from lipsync_async.sandbox.rules.shapes import is_uuid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lipsync_async.sandbox.rules.refusals import Refusal

PAGE_LIMIT = 100  # contract section 2.8
_MOST_DIGITS = 9  # Python refuses to read thousands of them
# Contract section 2.6.
WAIT_DEFAULT = 5.0
WAIT_SHORTEST = 1.0
WAIT_LONGEST = 10.0

# Older names that a client may still ask for are fine; no job here ever has them.
_STATUSES = [str(status) for status in Status]
_ORIGINS = frozenset({"playground", "api"})


@attrs.frozen(slots=True)
class ListFilter:
    """Hold what a list request asks for; an empty tuple filters nothing."""

    statuses: tuple[Status, ...] = ()
    ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    project_id: str | None = None
    limit: int | None = None
    cursor: str | None = None


@attrs.frozen(slots=True)
class CountFilter:
    """Hold what a count request asks for; an empty tuple filters nothing."""

    statuses: tuple[Status, ...] = ()
    sources: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


@attrs.frozen(slots=True)
class Look:
    """Hold how a single generation is looked at; `wait` of `None` answers at once."""

    wait: float | None = None
    shows_progress: bool = False


def _values(query: Sequence[tuple[str, str]], name: str) -> tuple[str, ...]:
    found = (part for key, text in query if key == name for part in text.split(","))
    return tuple(part for part in found if part)


def _last(query: Sequence[tuple[str, str]], name: str) -> str | None:
    found = [text for key, text in query if key == name]
    return found[-1] if found else None


def _statuses(query: Sequence[tuple[str, str]]) -> tuple[Status, ...]:
    asked = _values(query, "status")
    if not set(asked) <= set(_STATUSES):
        known = ", ".join(_STATUSES)
        raise malformed([f"each value in status must be one of the following values: {known}"])
    # What is asked for twice is counted and shown once.
    return tuple(Status(text) for text in dict.fromkeys(asked))


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise malformed(["limit must be an integer number"])
    if not 1 <= int(text) <= PAGE_LIMIT:
        raise malformed([f"limit must not be less than 1 or greater than {PAGE_LIMIT}"])
    return int(text)


def list_filter(query: Sequence[tuple[str, str]]) -> ListFilter:
    """Return what a list request asks for.

    Raises:
        Refusal: A value is none that the service knows, or `cursor` lacks `limit`.

    """
    ids = _values(query, "ids")
    for generation_id in ids:
        if not is_uuid(generation_id):
            raise malformed_generation_id(generation_id)
    limit, cursor = _limit(_last(query, "limit")), _last(query, "cursor")
    if cursor is not None and limit is None:
        raise malformed(["cursor must come with a limit"])
    return ListFilter(
        _statuses(query),
        ids,
        _values(query, "source"),
        _last(query, "projectId"),
        limit,
        cursor,
    )


def count_filter(query: Sequence[tuple[str, str]]) -> CountFilter:
    """Return what a count request asks for (contract section 2.1, endpoint 7).

    `currentUserOnly` changes nothing: a sandbox has one user.

    Raises:
        Refusal: A value is none that the service knows.

    """
    origins = _values(query, "type")
    if not set(origins) <= _ORIGINS:
        raise malformed(["type must be one of the following values: playground, api"])
    sources = _values(query, "source") + _values(query, "generationSource")
    return CountFilter(_statuses(query), sources, origins)


def look(query: Sequence[tuple[str, str]]) -> Look:
    """Return how a request looks at one generation (contract section 2.6).

    Raises:
        Refusal: The parameters are malformed or do not go together.

    """
    wait, timeout = _last(query, "wait"), _last(query, "timeout")
    include = _values(query, "include")
    if wait not in {None, "true", "false"}:
        raise malformed(["wait must be a boolean value"])
    if not set(include) <= {"progress"}:
        raise malformed(["include must be one of the following values: progress"])
    if include and (wait is not None or timeout is not None):
        raise _misfit("include=progress cannot be combined with wait or timeout.")
    seconds = _wait_seconds(timeout)
    return Look(seconds if wait == "true" else None, bool(include))


def _wait_seconds(text: str | None) -> float:
    if text is None:
        return WAIT_DEFAULT
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not WAIT_SHORTEST <= seconds <= WAIT_LONGEST:
        raise malformed([f"timeout must be a number from {WAIT_SHORTEST:g} to {WAIT_LONGEST:g}"])
    return seconds


def _misfit(message: str) -> Refusal:
    return coded(400, "generation_input_validation_failed", message)
