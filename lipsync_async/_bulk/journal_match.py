"""Which rows of a journal the requests of an input are, where the journal knows some of them."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import attrs

from lipsync_async._bulk.fingerprint import Difference, Recognition, mismatch, row_names, write
from lipsync_async._bulk.journal_entry import (
    FIELDS,
    JobState,
    JournalEntry,
    entry_of,
    stored_origin,
)
from lipsync_async._bulk.journal_file import ID_PREFIX, find, find_key
from lipsync_async._callsite import JOURNAL_LOG, log
from lipsync_async._models.request import GenerationRequest
from lipsync_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lipsync_async._bulk.journal_file import JournalStore  # noqa: TC004 - a type only
    from lipsync_async._models.request import Origin


# An input that has moved by one line differs everywhere; a few lines say as much as all.
_MAX_PROBLEMS = 10


@attrs.frozen(slots=True)
class _Item:
    """A request of the input."""

    position: int
    request: GenerationRequest
    key: str | None  # the row key by which the journal knows it; `None`: its position only


# A row of the journal: its key (`None`: it is known by its position), and where its result is as
# seen from the journal's folder.
_Row: TypeAlias = tuple[JournalEntry, str | None, str | bytes | None]


@attrs.define(slots=True, eq=False)
class Matcher:
    """Finds the rows of an input's requests; the input may have changed since.

    A request is known by its row key, if it has one, and may then stand anywhere. A request
    without one is known by its position.

    A row's position is where its request stood in the input last. The row of a request that has
    moved is moved with it (`align`). The row that was there gives way to the end, if it has a
    name, and comes back when its request does.

    `align` needs a transaction. `relocated` and `origins` hold the positions of the last items
    whose results are elsewhere than was recorded, or that stand elsewhere in the user's input, and
    where.
    """

    _store: JournalStore
    _recognition: Recognition
    _folder: Path | None
    _retry_failed: bool  # whether what has failed gets a new try
    relocated: list[tuple[Path, int]] = attrs.field(factory=list, init=False)
    origins: list[tuple[str, int]] = attrs.field(factory=list, init=False)
    _end: int = attrs.field(default=0, init=False)
    _fingerprints: set[str] | None = attrs.field(default=None, init=False)
    # Positions by fingerprints of rows that were recognized in spite of another link.
    _signed_anew: dict[str, int] = attrs.field(factory=dict, init=False)

    def items(
        self, positions: range, requests: Sequence[GenerationRequest], keys: Sequence[str | None]
    ) -> list[_Item]:
        """Return requests that follow each other in the input, with their row keys."""
        return [*map(_Item, positions, requests, keys)]

    def rows(self, items: Sequence[_Item]) -> dict[int, _Row]:
        """Return the rows at the positions from the first item to the last."""
        span = items[0].position, items[-1].position
        names = f"{', '.join(FIELDS)}, row_key, download_near"
        query = f"SELECT {names} FROM entries WHERE position BETWEEN ? AND ?"  # noqa: S608 - our own
        found: dict[int, _Row] = {}
        for *columns, key, near in self._store.execute(query, span):
            entry = entry_of(columns)
            found[entry.position] = entry, key, near
        return found

    def is_aligned(self, items: Sequence[_Item], rows: Mapping[int, _Row]) -> bool:
        """Tell whether each request's row, if it has one, is where the request stands."""
        for item in items:
            if item.position in rows:
                _, key, _ = rows[item.position]
                if key != item.key:
                    return False
            elif item.key is not None and self._knows_any(row_names(item.request)):
                return False
        return True

    def _knows_any(self, keys: list[str]) -> bool:
        return any(find_key(self._store, key) is not None for key in keys)

    def align(self, items: Sequence[_Item], end: int) -> dict[int, str]:
        """Move rows to where their requests stand; return problems by position.

        `end` is the first position behind all of the input that was seen so far.
        """
        self._end = end
        problems = {item.position: self._align(item) for item in items}
        return {position: words for position, words in problems.items() if words is not None}

    def entries(
        self, items: Sequence[_Item], rows: Mapping[int, _Row], problems: dict[int, str]
    ) -> list[JournalEntry | None]:
        """Return the entries of requests whose rows are where they stand."""
        found: list[JournalEntry | None] = []
        self.relocated, self.origins = [], []
        for item in items:
            row = rows.get(item.position)
            entry, problem = None, problems.get(item.position)
            if row is not None:
                entry, _, near = row
                if problem is None:
                    entry, problem = self._judge(item, row, items)
                if entry is not None:
                    entry = self._located(entry, item.request.origin, near)
            elif problem is None and item.key is None and self._signed_anew:
                problem = self._overtaken(item)
            if problem is not None:
                problems[item.position] = problem
            found.append(entry)
        if problems:
            raise _unknown_input(problems)
        return found

    def _align(self, item: _Item) -> str | None:
        position = item.position
        known = self._find_named(item)
        row = self.rows([item]).get(position)
        if known == position:
            self._set_key(position, item.key)
        elif known is not None:
            if row is not None:
                entry, key, _ = row
                if key is None and entry.state is not JobState.NOT_CREATED:
                    return _unnamed(position)
                self._vacate(position)
            self._move(known, position)
            self._set_key(position, item.key)
        elif row is not None:
            return self._admit(item, row)
        return None

    def _admit(self, item: _Item, row: _Row) -> str | None:
        """Give a request whose name is not known the row at its position, or the position."""
        entry, key, _ = row
        is_same = not self._difference(entry, item.key, item.request)
        has_other_id = item.key is not None and item.key.startswith(ID_PREFIX)
        if key is None:
            if is_same and item.key is not None:
                self._set_key(item.position, item.key)
        elif not is_same or has_other_id:  # or the request has lost the name that it had
            if item.key is None:
                return _unnamed(item.position)
            self._vacate(item.position)
        return None

    def _find_named(self, item: _Item) -> int | None:
        """Return the position of the row that has a request's name, or is to have it."""
        for key in () if item.key is None else row_names(item.request):
            position = find_key(self._store, key)
            entry = None if position is None else find(self._store, position)
            if entry is not None and (
                key == item.key or not self._difference(entry, key, item.request)
            ):
                return position
        return None

    def _move(self, position: int, to: int) -> None:
        """Give a row, and its earlier tries, another position, at which there must be none."""
        for table in ("jobs", "tries"):
            query = f"UPDATE {table} SET position = ? WHERE position = ?"  # noqa: S608 - our own
            self._store.execute(query, (to, position))

    def _vacate(self, position: int) -> None:
        """Move the row at a position behind all others, and behind the input so far."""
        (last,) = self._store.execute("SELECT max(position) FROM jobs").fetchone()
        self._move(position, max(last + 1, self._end))

    def _set_key(self, position: int, key: str | None) -> None:
        query = "UPDATE jobs SET row_key = ? WHERE position = ?"
        self._store.execute(query, (key, position))

    def _judge(
        self, item: _Item, row: _Row, items: Sequence[_Item]
    ) -> tuple[JournalEntry | None, str | None]:
        """Return the entry if the request goes on from it, or what is wrong, or neither."""
        entry, key, _ = row
        is_named = item.key is not None and key == item.key
        difference = self._difference(entry, item.key if is_named else None, item.request)
        problem: str | None = None
        if difference:
            if entry.state is JobState.NOT_CREATED or (is_named and entry.state is JobState.FAILED):
                return None, None  # another request may take its place
            problem = self._changed(item, entry, difference, is_named=is_named)
        elif difference.is_signed_anew and not is_named:
            problem = self._shifted(item, entry, items)
        is_tried_again = entry.state is JobState.FAILED and self._retry_failed
        return None if is_tried_again else entry, problem

    def _difference(
        self, entry: JournalEntry, key: str | None, request: GenerationRequest
    ) -> Difference:
        """Return what sets a request apart from an entry; false if nothing does."""
        return self._recognition.difference(
            entry.request_json, request, is_named=key is not None, was_sent=entry.state.has_job
        )

    def _changed(
        self, item: _Item, entry: JournalEntry, difference: Difference, *, is_named: bool
    ) -> str | None:
        """Return what is wrong with a request that has changed; or log it, if it may have."""
        has_id = is_named and str(item.key).startswith(ID_PREFIX)
        if difference.is_in_files and entry.state.has_job and not has_id:
            log(
                JOURNAL_LOG,
                logging.WARNING,
                f"request {entry.position}: {difference}; generation {entry.generation_id} is of "
                "what was sent. To create it again, begin a new journal.",
            )
            return None
        if is_named:
            return _corrected(entry, difference)
        found = self._find_fingerprint(self._fingerprint(item))
        return (
            _elsewhere(item.position, found[0]) if found else mismatch(entry.position, difference)
        )

    def _overtaken(self, item: _Item) -> str | None:
        """Return what is wrong if a new request is exactly one whose row another has taken.

        That one differs by its link only, as it seemed; but then this link would have changed,
        too.
        """
        elsewhere = self._signed_anew.get(self._fingerprint(item))
        return None if elsewhere is None else _elsewhere(item.position, elsewhere)

    def _shifted(self, item: _Item, entry: JournalEntry, items: Sequence[_Item]) -> str | None:
        """Return what is wrong if a request with a new link is exactly one from another row.

        Not if that one stands in its own place: then the two ask for the same thing twice.
        """
        fingerprint = self._fingerprint(item)
        found = self._find_fingerprint(fingerprint)
        here = {each.position: each for each in items}

        def stands(position: int) -> bool:
            if position in here:
                return self._fingerprint(here[position]) == fingerprint
            is_past = position < items[0].position
            return is_past and position not in self._signed_anew.values()

        if found and not any(map(stands, found)):
            return _elsewhere(item.position, found[0])
        self._signed_anew[entry.fingerprint] = entry.position
        return None

    def _fingerprint(self, item: _Item) -> str:
        document = write(self._recognition.body(item.request))
        return sha256(document.encode("ascii")).hexdigest()

    def _find_fingerprint(self, fingerprint: str) -> list[int]:
        """Return the positions that hold exactly this request."""
        execute = self._store.execute
        if self._fingerprints is None:
            self._fingerprints = {each for (each,) in execute("SELECT fingerprint FROM jobs")}
        if fingerprint not in self._fingerprints:
            return []
        query = "SELECT position FROM jobs WHERE fingerprint = ? ORDER BY position"
        return [position for (position,) in execute(query, (fingerprint,))]

    def _located(
        self, entry: JournalEntry, origin: Origin | None, near: str | bytes | None
    ) -> JournalEntry:
        """Return an entry with where its result is now: it, or the journal, may have moved."""
        if origin is not None and (stored := stored_origin(origin)) != entry.origin_json:
            self.origins.append((stored, entry.position))
        if near is None or self._folder is None:
            return entry
        recorded = entry.download_path
        path = Path(os.path.normpath(self._folder / os.fsdecode(near)))
        if not path.is_file():
            if recorded is not None and recorded.is_file():
                self.relocated.append((recorded, entry.position))
            return entry
        with suppress(OSError):  # nothing is where it was recorded
            if recorded is not None and path.samefile(recorded):
                return entry
        self.relocated.append((path, entry.position))
        return attrs.evolve(entry, download_path=path)


def _unknown_input(problems: dict[int, str]) -> InvalidRequestError:
    shown = [problems[position] for position in sorted(problems)]
    more = len(shown) - _MAX_PROBLEMS
    if more > 0:
        shown[_MAX_PROBLEMS:] = [f"requests: {more} more are not what the journal holds"]
    return InvalidRequestError(shown)


def _elsewhere(position: int, elsewhere: int) -> str:
    return (
        f"requests[{position}]: is at position {elsewhere} in the journal; keep the order of the "
        "input"
    )


def _corrected(entry: JournalEntry, difference: Difference) -> str:
    if entry.state.has_job:
        fact = f"generation {entry.generation_id} was made of it as it was"
    else:
        fact = "it may have become a job as it was"
    return (
        f"requests[{entry.position}]: was changed ({difference}), but {fact}; restore it, or give "
        "the changed one a name of its own"
    )


def _unnamed(position: int) -> str:
    return (
        f"requests[{position}]: stands where the journal holds another request, and one of the two "
        "has no name to be known by; keep the order of the input, or give each a request_id"
    )
