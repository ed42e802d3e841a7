"""The journal that lets a run outlive its process, and never pay for a job twice.

Every call below is one transaction that is on the disk (`synchronous=FULL`) when the call
returns; a list costs as much waiting for the disk as a single item. When to call, and what
a crash just before would cost:

* `record_intents`: before each create is sent. It stores the request and the key, and
  gives out the key, so that no create can be sent under one that is not stored. Without
  it, a create that was accepted would be placed again. So it may wait for company, but
  nothing may be sent before it has returned.
* `record_generations`: at the service's first word about a job, and whenever its status
  has changed. Without the first word, the create is sent again under its key, and the
  service answers with the job that it has made. How long it remembers a key is not known
  (contract section 4.4), so let ids wait for company for a second or so, not for an hour.
  Without a later word, the job is looked at once more, for nothing.
* `record_downloads`: when a result is whole under its final name. Without it, the result
  is fetched again, for nothing; a name that depends on the job alone makes that harmless.
* `record_errors`: when a create, a wait or a download is given up. Without it, that is
  tried again: a create under its key, a wait and a download for nothing.

Whatever is recorded, a job never leaves its request nor its end, though a new try may take
its place; the moves are in `journal_moves.py`.

A commit waits for the disk four times, because the file is whole by itself after each: on
two busy cores with a disk that syncs in 2 ms, `record_intents` stored 170 requests a second
one by one, 1,000 in tens and 3,000 in hundreds (0.7, 0.17 and 0.1 ms of CPU each). With a
log beside the file it was once, and 220, 1,150 and 8,000; but an account takes one order a
second.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import attrs

from lipsync_async._bulk import journal_file
from lipsync_async._bulk.fingerprint import Recognition, key_of
from lipsync_async._bulk.journal_entry import JobState, JournalEntry, state_of
from lipsync_async._bulk.journal_file import (
    ID_PREFIX,
    OUTPUT_PREFIX,
    JournalLock,
    Transaction,
    begin_writing,
    connect_owner,
    find,
    find_key,
    finish_writing,
    located,
)
from lipsync_async._bulk.journal_reader import JournalView
from lipsync_async._callsite import JOURNAL_LOG, log
from lipsync_async._enums import Status
from lipsync_async._logic.validators import exact
from lipsync_async._models.request import GenerationRequest
from lipsync_async._models.response import Generation
from lipsync_async.errors import (
    GenerationFailedError,
    GenerationRejectedError,
    InvalidRequestError,
    JournalError,
    LipsyncError,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from lipsync_async._bulk.fingerprint import Difference, Identity
    from lipsync_async._bulk.journal_file import Opened


_INTEND = """
INSERT INTO jobs
    (position, row_key, state, fingerprint, tries, cost, idempotency_key, attempts, intended_at,
    updated_at, request_json, origin_json)
VALUES (:position, :row_key, :state, :fingerprint, :tries, :cost, :key, 1, :moment, :moment,
    :document, :origin)
"""
_REMOVE = "DELETE FROM jobs WHERE position = ?"
_INTEND_AGAIN = """
UPDATE jobs SET state = :state, attempts = attempts + 1, updated_at = :moment,
    cost = coalesce(cost, :cost), error_class = NULL, error_code = NULL, error_message = NULL,
    fingerprint = :fingerprint, request_json = :document, earlier_json = :earlier,
    origin_json = coalesce(:origin, origin_json)
WHERE position = :position
"""
# A job is never taken from its request, nor from its end.
_SEE = """
UPDATE jobs SET state = :state, generation_id = :id, status = :status, generation_json = :answer,
    error_class = :error_class, error_code = :error_code, error_message = :error_message,
    accepted_at = coalesce(accepted_at, :moment),
    ended_at = CASE WHEN :has_ended THEN coalesce(ended_at, :moment) END, updated_at = :moment
WHERE position = :position AND coalesce(generation_id, :id) = :id
    AND (ended_at IS NULL OR status = :status)
"""
_KEEP = """
UPDATE jobs SET download_path = :path, download_near = :near, updated_at = :moment,
    error_class = NULL, error_code = NULL, error_message = NULL
WHERE position = :position AND state = :state
"""
_RELOCATE = """
UPDATE jobs SET download_path = :path, download_near = :near WHERE position = :position
"""
_FAIL = """
UPDATE jobs SET state = :state, updated_at = :moment,
    error_class = :error_class, error_code = :error_code, error_message = :error_message
WHERE position = :position
"""
# Forms of a request that are kept for one key. If a form has arrived, all later ones are
# refused, so the first ones are the likely ones: they are kept, and tried first.
_MOST_EARLIER = 50


@attrs.frozen(slots=True, kw_only=True)
class Rules:
    """Hold what is the same for all requests of a run.

    Attributes:
        recognition: Tells whether a request is a recorded one.
        retries_failed: Whether what ended badly gets a new try.

    """

    recognition: Recognition
    retries_failed: bool = False

    def difference(
        self, entry: JournalEntry, row_key: str | None, request: GenerationRequest
    ) -> Difference:
        """Return what sets a request apart from an entry; false if nothing does."""
        return self.recognition.difference(
            entry.request_json,
            request,
            is_named=row_key is not None,
            was_sent=entry.state.has_job,
        )

    def may_change(self, entry: JournalEntry, *, is_named: bool) -> bool:
        """Tell whether another request may take an entry's place."""
        return is_replaceable(entry) or (is_named and entry.state is JobState.FAILED)

    def is_to_be_tried_anew(self, entry: JournalEntry, *, is_corrected: bool) -> bool:
        """Tell whether a request gets a new try: only what certainly has ended may."""
        may = entry.state in {JobState.FAILED, JobState.REFUSED}
        return may and (self.retries_failed or is_corrected)


def is_replaceable(entry: JournalEntry) -> bool:
    """Tell whether another request may take an entry's place: nothing was ever made of it."""
    return entry.state is JobState.REFUSED


def mismatch(entry: JournalEntry, difference: Difference) -> str:
    """Say that the journal holds another request at a position, and what to do."""
    return (
        f"requests[{entry.position}]: is not the request that the journal holds there "
        f"({difference}); restore it, or begin a new journal"
    )


def intend(
    transaction: Transaction,
    position: int,
    request: GenerationRequest,
    *,
    rules: Rules,
    row_key: str | None,
    cost: float | None,
) -> str:
    """Note that a create is about to be sent, and return its key.

    Raises:
        InvalidRequestError: There is another request at this position.
        JournalError: It has been accepted already.

    """
    connection = transaction.connection
    entry = find(connection, position)
    identity = rules.recognition.identify(request)
    begin = partial(
        _begin,
        transaction,
        position,
        identity,
        row_key=row_key,
        cost=cost,
        origin=origin_of(request),
    )
    named = None if row_key is None else find_key(connection, row_key)
    is_known_by_name = named == position
    if named is not None and not is_known_by_name:
        raise JournalError(
            f"request {position} is at position {named} in the journal. Nothing was sent."
        )
    if entry is None:
        return begin(tries=1)
    difference = rules.difference(entry, row_key, request)
    is_corrected = bool(difference) and is_known_by_name
    if rules.is_to_be_tried_anew(entry, is_corrected=is_corrected):
        transaction.touch(position)
        transaction.archive(position)
        connection.execute(_REMOVE, (position,))
        tries = entry.tries + 1
        return begin(tries=tries)
    if difference and is_replaceable(entry):
        transaction.touch(position)
        connection.execute(_REMOVE, (position,))
        return begin(tries=1)
    if difference:
        raise InvalidRequestError([mismatch(entry, difference)])
    if entry.state.has_job:
        raise JournalError(
            f"request {position} has become generation {entry.generation_id} already. Wait for "
            "that one; nothing was sent.",
        )
    transaction.touch(position)
    state = JobState.INTENDED if entry.state is JobState.REFUSED else JobState.DOUBTFUL
    values = {
        "state": state,
        "moment": transaction.moment,
        "position": position,
        "cost": cost,
        "fingerprint": identity.fingerprint,
        "document": identity.document,
        "earlier": None if state is JobState.INTENDED else _earlier(entry, identity),
        "origin": origin_of(request),
    }
    connection.execute(_INTEND_AGAIN, values)
    return entry.idempotency_key


def origin_of(request: GenerationRequest) -> str | None:
    """Return where a request comes from, as a journal stores it."""
    origin = request.origin
    if origin is None:
        return None
    return json.dumps({"line": origin.line, "extra": dict(origin.extra)})


def _begin(
    transaction: Transaction,
    position: int,
    identity: Identity,
    *,
    origin: str | None,
    row_key: str | None,
    cost: float | None,
    tries: int,
) -> str:
    """Note the first intent of a try, and return its key."""
    transaction.touch(position)
    anchor = row_key or f"position:{position}"
    key = key_of(transaction.secret, anchor, tries, identity)
    values = {
        "position": position,
        "row_key": row_key,
        "state": JobState.INTENDED,
        "fingerprint": identity.fingerprint,
        "tries": tries,
        "cost": cost,
        "key": key,
        "moment": transaction.moment,
        "document": identity.document,
        "origin": origin,
    }
    transaction.connection.execute(_INTEND, values)
    return key


def _earlier(entry: JournalEntry, identity: Identity) -> str | None:
    """Return the forms in which a request may have been sent before, under the same key."""
    forms = [form for form in entry.documents if form != identity.document]
    return json.dumps(forms[:_MOST_EARLIER]) if forms else None


def see(
    transaction: Transaction,
    position: int,
    generation: Generation,
) -> JournalError | None:
    """Note what the service says about a job, unless its end is known; return a complaint."""
    transaction.touch(position)
    connection = transaction.connection
    values = {
        "position": position,
        "state": state_of(generation),
        "id": _storable(generation.id),
        "status": _storable(generation.status),
        "answer": _json_of(generation),
        "has_ended": generation.is_terminal,
        "moment": transaction.moment,
        **_facts_of(_end(generation)),
    }
    if connection.execute(_SEE, values).rowcount:
        return None
    entry = find(connection, position)
    if entry is not None and entry.generation_id == values["id"]:
        return None  # an answer that was overtaken by the job's end
    if entry is None:
        error = JournalError(f"request {position} was never noted. Note its intent first.")
    else:
        error = JournalError(
            f"request {position} has become generation {entry.generation_id}, and then "
            f"{generation.id} as well. Keep both ids, and ask the service's support.",
        )
    error.generation = generation
    return error


def keep(
    transaction: Transaction,
    position: int,
    path: str | os.PathLike[str],
    folder: Path,
) -> JournalError | None:
    """Note where a completed job's result is; return a complaint if it is not completed."""
    transaction.touch(position)
    values = {
        "position": position,
        **_where(Path(path).absolute(), folder),
        "moment": transaction.moment,
        "state": JobState.COMPLETED,
    }
    if transaction.connection.execute(_KEEP, values).rowcount:
        return None
    return JournalError(f"request {position} has no completed job. Note its end first.")


def relocate(transaction: Transaction, position: int, path: Path, folder: Path) -> None:
    """Note where a result is now, after it or the journal was moved."""
    transaction.touch(position)
    values = {"position": position, **_where(path, folder)}
    transaction.connection.execute(_RELOCATE, values)


def _where(path: Path, folder: Path) -> dict[str, str | bytes | None]:
    """Return where a file is, in itself and as seen from the journal's folder."""
    near: str | None = None
    with suppress(ValueError):  # on another drive of Windows
        near = os.path.relpath(os.path.realpath(path), folder)
    return {
        "path": _path_column(os.fspath(path)),
        "near": None if near is None else _path_column(near.replace(os.sep, "/")),
    }


def fail(
    transaction: Transaction,
    position: int,
    error: BaseException,
) -> JournalError | None:
    """Note why something was given up, and the job that the error holds; return a complaint."""
    transaction.touch(position)
    connection = transaction.connection
    entry = find(connection, position)
    generation = getattr(error, "generation", None)
    if generation is not None and (
        entry is None or not entry.state.has_job or generation.is_terminal
    ):
        complaint = see(transaction, position, generation)
        if complaint is not None:
            return complaint
        entry = find(connection, position)
    if entry is None:
        return JournalError(f"request {position} was never noted. Note its intent first.")
    state = entry.state
    if state is JobState.INTENDED:
        is_certain = isinstance(error, LipsyncError) and not error.may_have_worked
        state = JobState.REFUSED if is_certain else JobState.DOUBTFUL
    moment = transaction.moment
    values = {"position": position, "state": state, "moment": moment, **_facts_of(error)}
    connection.execute(_FAIL, values)
    return None


def _end(generation: Generation) -> LipsyncError | None:
    """Return the error that a job's bad end is."""
    if state_of(generation) is not JobState.FAILED:
        return None
    if generation.status == Status.REJECTED:
        return GenerationRejectedError(generation)
    return GenerationFailedError(generation)


def _facts_of(error: BaseException | None) -> dict[str, str | None]:
    if error is None:
        return {"error_class": None, "error_code": None, "error_message": None}
    code = getattr(error, "code", None)
    return {
        "error_class": type(error).__name__,
        "error_code": _storable(code) if isinstance(code, str) else None,
        "error_message": _storable(str(error)),
    }


def _json_of(generation: Generation) -> str | None:
    """Return the service's JSON, if there is any: a job's id counts, not its echo."""
    with suppress(TypeError, ValueError, RecursionError):
        return json.dumps(generation.raw, allow_nan=False) if generation.raw else None
    return None


def _storable(text: str) -> str:
    """Return text that SQLite takes: half of a surrogate pair is written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _path_column(name: str) -> str | bytes:
    """Return a path as text, or as bytes where its name is none."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


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
        keys = journal_file.find_keys(connection, start, end)
        taken = journal_file.find_positions(connection, start, end)
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
        entries = journal_file.find_range(connection, start, end)
        keys = journal_file.find_keys(connection, start, end)
        near = journal_file.find_near(connection, start, end)
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
        holder = journal_file.find(connection, position)
        holds = journal_file.find_row_key(connection, position)
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
            position = journal_file.find_key(connection, key)
            entry = None if position is None else journal_file.find(connection, position)
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
                JOURNAL_LOG,
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
            self._fingerprints = journal_file.find_fingerprints(connection)
        is_there = fingerprint in self._fingerprints
        return journal_file.find_fingerprint(connection, fingerprint) if is_there else []

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
    return any(journal_file.find_key(connection, key) is not None for key in _names(place.request))


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


# Seconds. Only a program that is not ours can be in the way, such as an editor of tables.
_PATIENCE = 10.0


@attrs.frozen(slots=True)
class Binding:
    """Hold what a journal belongs to: jobs of one account are nothing to another.

    Attributes:
        service: The service's base address.
        digest: Returns what tells the API key from others, for the journal's salt.
        is_new_key: Whether the user says that the key is a new one of the same account.

    """

    service: str
    digest: Callable[[bytes], str]
    is_new_key: bool = False


@attrs.frozen(slots=True)
class Ordered:
    """Hold what was ordered with a journal, in all runs: tries that may have become jobs.

    Attributes:
        jobs: How many.
        cost: US dollars for them together, as estimated.
        unpriced: Those whose cost was never asked.

    """

    jobs: int
    cost: float
    unpriced: int


class Journal(JournalView):
    """Own a journal: write it, and read it.

    Calls may come from any thread, one at a time. Requests must have passed validation.
    """

    def __init__(
        self,
        path: Path,
        opened: Opened,
        lock: JournalLock,
        now: Callable[[], datetime],
        rules: Rules,
    ) -> None:
        super().__init__(path, opened)
        self._ownership = lock
        self._now = now
        self._rules = rules
        self._file = path.stat()
        self._owner: str | None = None
        self._matcher = Matcher(rules, path.parent)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        binding: Binding | None = None,
        retry_failed: bool = False,
        match_query: bool = False,
        patience: float = _PATIENCE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """Open a journal as its only owner, or make a new one.

        Args:
            path: The file, in a folder that exists; `PATH.lock` appears beside it.
            binding: What it must belong to; `None`: it is not asked.
            retry_failed: Whether what ended FAILED or REFUSED gets a new try.
            match_query: Whether all of a query tells media apart.
            patience: Seconds to wait for another program that is writing to the file.
            now: The calendar's clock, for the times that are noted; aware, in UTC.

        Raises:
            JournalError: Another process owns it, it is no journal, or one of a newer
                release or another account, it is damaged, or it cannot be written.

        """
        resolved = located(path)
        recognition = Recognition(resolved.parent, matches_query=match_query)
        rules = Rules(recognition=recognition, retries_failed=retry_failed)
        lock = JournalLock(resolved)
        try:
            opened = connect_owner(resolved, patience=patience)
            try:
                journal = cls(resolved, opened, lock, now, rules)
                journal._take_over(binding)
            except BaseException:
                opened.close()
                raise
        except BaseException:
            lock.release()
            raise
        return journal

    def close(self) -> None:
        """Close the file and let others own it; harmless when repeated."""
        with self._lock:  # not in the midst of a transaction
            if self._ownership.is_held:
                finish_writing(self._connection)
            self._opened.close()
        self._ownership.release()

    def match(
        self,
        requests: Sequence[GenerationRequest],
        *,
        start: int = 0,
    ) -> list[JournalEntry | None]:
        """Return what is known of requests that stand one after another in the input.

        A request that has a name is known by it wherever it stands, see `journal_match.py`;
        any other is known by its place, and of those the input may have become longer or
        shorter.

        A request of which it is certain that nothing was made may have changed: it counts
        as new. So does one that has a name and whose job has failed. Local files of which a
        job was made may have changed, too, or be gone: the job stays, and a log line says
        so, unless the request has a `request_id`, by which it counts as changed.

        Args:
            requests: A piece of the input.
            start: The position of its first request.

        Returns:
            For each request its entry, or `None` if it is new or is to be tried anew.

        Raises:
            InvalidRequestError: The journal holds other requests at these positions, or
                under these names.
            JournalError: The journal cannot be used.

        """
        if not requests:
            return []
        places = self._matcher.places(requests, start)
        with self._reading() as connection:
            is_aligned = self._matcher.is_aligned(connection, places)
        problems: dict[int, str] = {}
        if not is_aligned:
            with self._transaction(is_noted=False) as transaction:
                problems = self._matcher.align(transaction, places)
        with self._reading() as connection:
            found = self._matcher.entries(connection, places, problems)
        self._describe(requests, found)
        return found

    def ordered(self) -> Ordered:
        """Return what was ordered with this journal so far, in this run and before.

        What is INTENDED or DOUBTFUL is counted, so it costs nothing more to send it again.

        Raises:
            JournalError: The file cannot be read.

        """
        with self._reading() as connection:
            return Ordered(*journal_file.sum_orders(connection))

    def record_intents(
        self,
        requests: Sequence[tuple[int, GenerationRequest]],
        *,
        costs: Mapping[int, float] | None = None,
    ) -> list[str]:
        """Store requests whose creates are about to be sent; only then may they be sent.

        Args:
            requests: Each with its position.
            costs: What they are to cost, in US dollars, by position, where that was asked.

        Returns:
            The Idempotency-Key for each create: a new one, or the one that it had before.

        Raises:
            InvalidRequestError: The journal holds another request at a position. Nothing
                was stored.
            JournalError: A request has been accepted already, or the journal cannot be
                written. Nothing was stored.

        """
        prices = costs or {}
        with self._transaction() as transaction:
            transaction.touch(*(position for position, _ in requests))
            return [
                intend(
                    transaction,
                    position,
                    request,
                    rules=self._rules,
                    row_key=self._matcher.row_key(position, request),
                    cost=prices.get(position),
                )
                for position, request in requests
            ]

    def record_generations(self, generations: Sequence[tuple[int, Generation]]) -> None:
        """Store what the service has said about jobs: that they exist, or a new status.

        What comes late, after a job's end, changes nothing.

        Raises:
            JournalError: A request has become another job before (the other items are
                stored, and the error holds the job), or the journal cannot be written.

        """
        _complain(self.record_news(generations))

    def record_news(
        self, news: Sequence[tuple[int, Generation | BaseException]]
    ) -> JournalError | None:
        """Store what the service has said, and why something was given up, all at once.

        Returns:
            What contradicts the journal; the other items are stored.

        Raises:
            JournalError: The journal cannot be written. Nothing was stored.

        """
        with self._transaction() as transaction:
            transaction.touch(*(position for position, _ in news))
            complaints = [
                see(transaction, position, what)
                if isinstance(what, Generation)
                else fail(transaction, position, what)
                for position, what in news
            ]
        return _first(complaints)

    def record_downloads(self, paths: Sequence[tuple[int, str | os.PathLike[str]]]) -> None:
        """Store where the results of completed jobs are.

        Raises:
            JournalError: A job is not completed (the other items are stored), or the
                journal cannot be written.

        """
        with self._transaction() as transaction:
            transaction.touch(*(position for position, _ in paths))
            complaints = [
                keep(transaction, position, path, self.path.parent) for position, path in paths
            ]
        _complain(_first(complaints))

    def record_errors(self, errors: Sequence[tuple[int, BaseException]]) -> None:
        """Store why creates, waits or downloads were given up.

        If the error holds a job that is not stored yet, that is stored first. A failed
        create is REFUSED if it is certain that nothing was made, and DOUBTFUL otherwise.

        Raises:
            JournalError: As in `record_generations`.

        """
        _complain(self.record_news(errors))

    def _take_over(self, binding: Binding | None) -> None:
        """Become the owner, in the file as well, if it belongs to the account.

        Raises:
            JournalError: It belongs to another one.

        """
        with self._transaction(is_noted=False) as transaction:
            connection = transaction.connection
            query = "SELECT service, salt, key_digests FROM journal"
            service, salt, digests = connection.execute(query).fetchone()
            if binding is not None:
                known = json.loads(digests)
                digest = binding.digest(bytes.fromhex(salt))
                self._refuse_foreign(binding, service, is_known=not known or digest in known)
                service, known = binding.service, [*dict.fromkeys([*known, digest])]
                digests = json.dumps(known)
            owner = token_hex(8)
            connection.execute(
                "UPDATE journal SET owner = ?, service = ?, key_digests = ?",
                (owner, service, digests),
            )
        self._owner = owner

    def _refuse_foreign(self, binding: Binding, service: str | None, *, is_known: bool) -> None:
        if service is not None and service != binding.service:
            raise JournalError(
                f"the journal {self.path} is of a run at {service}, and this client talks to "
                f"{binding.service}, where its jobs are not known and would be paid for once more. "
                "Use the client that it belongs to, or begin a new journal. (A sandbox that was "
                "started anew is another one, too.)"
            )
        if not is_known and not binding.is_new_key:
            raise JournalError(
                f"the journal {self.path} is of a run with another API key. If this key belongs to "
                "the same account, run once with accept_new_key=True (--accept-new-key); the "
                "jobs of another account are not known to this one and would be paid for once "
                "more, so begin a new journal then. (A sandbox that was started anew has other "
                "jobs, too.)"
            )

    def _describe(
        self, requests: Sequence[GenerationRequest], found: Sequence[JournalEntry | None]
    ) -> None:
        """Note where requests and results are now, if that is elsewhere than was noted."""
        origins = [
            (entry.position, origin)
            for request, entry in zip(requests, found, strict=True)
            if entry is not None and (origin := origin_of(request)) is not None
            if origin != entry.origin_json
        ]
        relocated = self._matcher.relocated
        if origins or relocated:
            with self._transaction(is_noted=False) as transaction:
                for position, origin in origins:
                    transaction.describe(position, origin)
                for position, path in relocated:
                    relocate(transaction, position, path, self.path.parent)

    @contextmanager
    def _transaction(self, *, is_noted: bool = True) -> Iterator[Transaction]:
        """Give a transaction, with its moment if that is noted; commit, or keep nothing."""
        with self._reading() as connection:
            self._refuse_if_gone()
            begin_writing(connection, self.path)
            try:
                moment = self._now().isoformat(timespec="microseconds") if is_noted else ""
                transaction = Transaction(connection, moment, self._owner)
                yield transaction
                transaction.seal()
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

    def _refuse_if_gone(self) -> None:
        """Note nothing where it is never found: SQLite writes on into a file without a name."""
        try:
            is_here = os.path.samestat(self._file, self.path.stat())
        except OSError:
            is_here = False
        if not is_here:
            raise JournalError(
                f"the journal {self.path} was moved, removed or replaced while it was in use. Put "
                "it back, then run again; without it, what was ordered would be ordered anew.",
            )


def _first(complaints: Sequence[JournalError | None]) -> JournalError | None:
    """Return the first complaint, with the words of the others."""
    told = [complaint for complaint in complaints if complaint is not None]
    for other in told[1:]:
        told[0].add_note(str(other))
    return told[0] if told else None


def _complain(complaint: JournalError | None) -> None:
    if complaint is not None:
        raise complaint
