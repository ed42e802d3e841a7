"""What the journal knows of the requests of an input, which may have changed since.

A request is known by its name, if it has one: its `request_id`, or else the name of its
result where that stands for the first time. Then it may stand anywhere. A request without
a name is known by its position.

A journal's position is where the request stood in the input last. The row of a request that
has moved is moved with it; the row that was there gives way to the end, if it has a name,
and comes back when its request does.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from lipsync_async._fleet import journal_rows
from lipsync_async._fleet.journal_entry import JobState, JournalEntry
from lipsync_async._fleet.journal_moves import is_replaceable, mismatch
from lipsync_async._fleet.journal_rows import ID_PREFIX, OUTPUT_PREFIX
from lipsync_async._rules.caller import log
from lipsync_async._rules.checks import exact
from lipsync_async._values.inputs import GenerationRequest
from lipsync_async.errors import InvalidRequestError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from lipsync_async._fleet.fingerprint import Difference
    from lipsync_async._fleet.journal_moves import Rules
    from lipsync_async._fleet.journal_rows import Transaction

# An input that has moved by one line differs everywhere; a few lines say as much as all.
_MOST_EXPLAINED = 10


@attrs.frozen(slots=True)
class Place:
    """Hold a request where it stands in the input.

    Attributes:
        position: From 0.
        request: The request.
        key: The name by which it is known; `None`: it has none.

    """

    position: int
    request: GenerationRequest
    key: str | None


@attrs.frozen(slots=True)
class _Row:
    """Hold the row at a request's position.

    Attributes:
        entry: What it says.
        is_named: Whether it has the request's name.

    """

    entry: JournalEntry
    is_named: bool = attrs.field(kw_only=True)


class Matcher:
    """Find the rows of an input's requests, a stretch of the input at a time.

    Args:
        rules: Those of the run.
        folder: The journal's folder.

    Attributes:
        relocated: Positions of the last stretch whose results are elsewhere than was noted, and
            where.

    """

    def __init__(self, rules: Rules, folder: Path) -> None:
        self._rules = rules
        self._folder = folder
        # Where each name of a result stood first in the input: only there it is a key.
        self._outputs: dict[str, int] = {}
        self._end = 0
        self.relocated: list[tuple[int, Path]] = []
        self._fingerprints: set[str] | None = None
        # Positions by fingerprints of rows that were known in spite of another link.
        self._signed_anew: dict[str, int] = {}

    def row_key(self, position: int, request: GenerationRequest) -> str | None:
        """Return the name by which a request is known, if it has one."""
        for key in _names(request):
            if key.startswith(ID_PREFIX) or self._outputs.setdefault(key, position) == position:
                return key
        return None

    def places(self, requests: Sequence[GenerationRequest], start: int) -> list[Place]:
        """Return a stretch of the input, which begins at a position."""
        self._end = max(self._end, start + len(requests))
        return [
            Place(position, request, self.row_key(position, request))
            for position, request in enumerate(requests, start)
        ]

    def is_aligned(self, connection: sqlite3.Connection, places: Sequence[Place]) -> bool:
        """Tell whether each request's row, if it has one, is where the request stands."""
        start, end = places[0].position, places[-1].position + 1
        keys = journal_rows.find_keys(connection, start, end)
        taken = journal_rows.find_positions(connection, start, end)
        return all(
            keys.get(place.position) == place.key
            if place.position in taken
            else place.key is None or not _is_known(connection, place)
            for place in places
        )

    def align(self, transaction: Transaction, places: Sequence[Place]) -> dict[int, str]:
        """Bring rows to where their requests stand; return problems by positions."""
        problems = {place.position: self._align(transaction, place) for place in places}
        return {position: words for position, words in problems.items() if words is not None}

    def entries(
        self, connection: sqlite3.Connection, places: Sequence[Place], problems: dict[int, str]
    ) -> list[JournalEntry | None]:
        """Return the entries of requests whose rows are where they stand.

        Raises:
            InvalidRequestError: The journal holds others there, or under these names.

        """
        start, end = places[0].position, places[-1].position + 1
        entries = journal_rows.find_range(connection, start, end)
        keys = journal_rows.find_keys(connection, start, end)
        near = journal_rows.find_near(connection, start, end)
        found: list[JournalEntry | None] = []
        self.relocated = []
        for place in places:
            entry, problem = entries.get(place.position), problems.get(place.position)
            if problem is None and entry is not None:
                is_named = place.key is not None and keys.get(place.position) == place.key
                row = _Row(entry, is_named=is_named)
                entry, problem = self._judged(connection, place, row, places)
            elif problem is None and place.key is None:
                problem = self._overtaken(place)
            if problem is not None:
                problems[place.position] = problem
            if entry is not None and place.position in near:
                entry = self._with_result(entry, near[place.position])
            found.append(entry)
        _raise(problems)
        return found

    def _align(self, transaction: Transaction, place: Place) -> str | None:
        """Bring the row of a request to where it stands, if it has a name; return a problem."""
        connection, position = transaction.connection, place.position
        known = self._known(connection, place)
        holder = journal_rows.find(connection, position)
        holds = journal_rows.find_row_key(connection, position)
        if known == position:
            transaction.name(position, str(place.key))
        elif known is not None:
            if holder is not None and holds is None and not is_replaceable(holder):
                return _unnamed(position)
            if holder is not None:
                transaction.vacate(position, self._end)
            transaction.move(known, position)
            transaction.name(position, str(place.key))
        elif holder is not None:
            return self._let_in(transaction, place, holder, holds)
        return None

    def _known(self, connection: sqlite3.Connection, place: Place) -> int | None:
        """Return the position of the row that has a request's name, or is to have it."""
        for key in () if place.key is None else _names(place.request):
            position = journal_rows.find_key(connection, key)
            entry = None if position is None else journal_rows.find(connection, position)
            if entry is not None and (
                key == place.key or not self._rules.difference(entry, key, place.request)
            ):
                return position
        return None

    def _let_in(
        self, transaction: Transaction, place: Place, holder: JournalEntry, holds: str | None
    ) -> str | None:
        """Give a request whose name is not known the row at its position, or the position."""
        is_same = not self._rules.difference(holder, place.key, place.request)
        has_other_id = place.key is not None and place.key.startswith(ID_PREFIX)
        if holds is None:
            if is_same and place.key is not None:
                transaction.name(place.position, place.key)
        elif not is_same or has_other_id:  # or the request has lost the name that it had
            if place.key is None:
                return _unnamed(place.position)
            transaction.vacate(place.position, self._end)
        return None

    def _judged(
        self,
        connection: sqlite3.Connection,
        place: Place,
        row: _Row,
        places: Sequence[Place],
    ) -> tuple[JournalEntry | None, str | None]:
        """Return the entry if the request goes on from it, or what is wrong, or neither."""
        entry, rules = row.entry, self._rules
        named_as = place.key if row.is_named else None
        difference = rules.difference(entry, named_as, place.request)
        problem: str | None = None
        if difference:
            if rules.may_change(entry, is_named=row.is_named):
                return None, None
            problem = self._changed(connection, place, row, difference)
        elif difference.is_signed_anew and not row.is_named:
            problem = self._shifted(connection, place, entry, places)
        is_tried_anew = entry.state is JobState.FAILED and rules.retries_failed
        return None if is_tried_anew else entry, problem

    def _changed(
        self,
        connection: sqlite3.Connection,
        place: Place,
        row: _Row,
        difference: Difference,
    ) -> str | None:
        """Say what is wrong with a request that has changed; or log it, if it may be."""
        entry = row.entry
        has_id = row.is_named and str(place.key).startswith(ID_PREFIX)
        if difference.is_in_files and entry.state.has_job and not has_id:
            log(
                logging.WARNING,
                f"request {entry.position}: {difference}; generation {entry.generation_id} is of "
                "what was sent. To order it anew, begin a new journal.",
            )
            return None
        if row.is_named:
            return _corrected(entry, difference)
        found = self._found(connection, self._fingerprint(place))
        return _elsewhere(place.position, found[0]) if found else mismatch(entry, difference)

    def _overtaken(self, place: Place) -> str | None:
        """Say so if a new request is to the letter one whose place another has taken.

        By another link only, as it seemed; but then its link would have changed as well.
        """
        if not self._signed_anew:
            return None
        elsewhere = self._signed_anew.get(self._fingerprint(place))
        return None if elsewhere is None else _elsewhere(place.position, elsewhere)

    def _shifted(
        self,
        connection: sqlite3.Connection,
        place: Place,
        entry: JournalEntry,
        places: Sequence[Place],
    ) -> str | None:
        """Say so if a request with a new link is to the letter one from elsewhere in the journal.

        Not if that one stands in its own place: then the two ask for the same thing twice.
        """
        fingerprint = self._fingerprint(place)
        found = self._found(connection, fingerprint)
        here = {each.position: each for each in places}

        def stands(position: int) -> bool:
            if position in here:
                return self._fingerprint(here[position]) == fingerprint
            is_past = position < places[0].position
            return is_past and position not in self._signed_anew.values()

        if found and not any(map(stands, found)):
            return _elsewhere(place.position, found[0])
        self._signed_anew[entry.fingerprint] = entry.position
        return None

    def _fingerprint(self, place: Place) -> str:
        return self._rules.recognition.identify(place.request).fingerprint

    def _found(self, connection: sqlite3.Connection, fingerprint: str) -> list[int]:
        """Return where in the journal exactly this request is."""
        if self._fingerprints is None:
            self._fingerprints = journal_rows.find_fingerprints(connection)
        is_there = fingerprint in self._fingerprints
        return journal_rows.find_fingerprint(connection, fingerprint) if is_there else []

    def _with_result(self, entry: JournalEntry, near: str | bytes) -> JournalEntry:
        """Say where a result is now: it, or the journal, or both may have been moved."""
        path, recorded = self._folder / os.fsdecode(near), entry.download_path
        path = Path(os.path.normpath(path))
        if not path.is_file():
            if recorded is not None and recorded.is_file():
                self.relocated.append((entry.position, recorded))
            return entry
        if _is_same_file(path, recorded):
            return entry
        self.relocated.append((entry.position, path))
        return attrs.evolve(entry, download_path=path)


def _is_same_file(path: Path, recorded: Path | None) -> bool:
    """Tell whether a file is where it was recorded, by whatever links."""
    try:
        return recorded is not None and path.samefile(recorded)
    except OSError:  # nothing is there
        return False


def _names(request: GenerationRequest) -> list[str]:
    """Return the keys by which a request may be known, the most telling first."""
    names = {ID_PREFIX: request.request_id, OUTPUT_PREFIX: request.output_file_name}
    return [f"{prefix}{exact(name)}" for prefix, name in names.items() if name is not None]


def _is_known(connection: sqlite3.Connection, place: Place) -> bool:
    """Tell whether a row has one of a request's names."""
    return any(journal_rows.find_key(connection, key) is not None for key in _names(place.request))


def _raise(problems: dict[int, str]) -> None:
    told = [problems[position] for position in sorted(problems)]
    more = len(told) - _MOST_EXPLAINED
    if more > 0:
        told[_MOST_EXPLAINED:] = [f"requests: {more} more are not what the journal holds"]
    if told:
        raise InvalidRequestError(told)


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
