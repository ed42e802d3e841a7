"""The journal, with which a run outlives its process and never pays for a job twice.

Every `record_…` call is one transaction that is on the disk (`synchronous=FULL`) when the call
returns; a list costs as much waiting for the disk as a single item. When to call, and what a
crash just before would cost:

* `record_intents`: before each create is sent. It stores the request and the key, and returns
  the key, so that no create can be sent under one that is not stored. Without it, a create that
  was accepted would be sent again. Nothing may be sent before it has returned.
* `record_updates`, a status: at the service's first answer about a job, and whenever its status
  has changed. Without the first one, the create is sent again under its key, and the service
  answers with the job that it has made. How long it remembers a key is not known, so an id may
  wait for others for a second or so, not for an hour. Without a later one, the job is polled once
  more, which is free.
* `record_updates`, an error: when a create, a wait or a download is given up. Without it, that
  is tried again: a create under its key, a wait and a download for free.
* `record_downloads`: when a result is complete under its final name. Without it, the result is
  downloaded again, for free; a name that depends on the job alone makes that harmless.

| event | from | to |
|---|---|---|
| a create is about to be sent | nothing, NOT_CREATED | SUBMITTING |
| it is about to be sent again | SUBMITTING, UNKNOWN | UNKNOWN |
| a new try is about to be sent | FAILED, NOT_CREATED | SUBMITTING, under a new key |
| it failed, and certainly nothing was made | SUBMITTING | NOT_CREATED |
| it failed otherwise | SUBMITTING | UNKNOWN |
| the service told of the job | all without an end | ACCEPTED, COMPLETED, FAILED |

From UNKNOWN no error leads to NOT_CREATED: that a repeated create was refused (because the API
key was revoked meanwhile, say) tells nothing about the first. What is SUBMITTING or UNKNOWN
never gets a new key. A job never leaves its request nor its end.

A commit waits for the disk four times, because the file is whole by itself after each: on two
busy cores with a disk that syncs in 2 ms, `record_intents` stored 170 requests a second one by
one, 1,000 in tens and 3,000 in hundreds. With a log beside the file it was once, and 220, 1,150
and 8,000; but an account takes one create a second.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from lipsync_async._bulk.fingerprint import Recognition, key_of
from lipsync_async._bulk.journal_entry import FIELDS, JobState, JournalEntry, entry_of, state_of
from lipsync_async._bulk.journal_file import (
    COLUMNS,
    ID_PREFIX,
    OUTPUT_PREFIX,
    JournalLock,
    begin_writing,
    connect_owner,
    finish_writing,
    resolve,
    seal,
)
from lipsync_async._bulk.journal_reader import JournalView, find
from lipsync_async._callsite import JOURNAL_LOG, log
from lipsync_async._enums import Status
from lipsync_async._logic.validation import exact
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
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from lipsync_async._bulk.fingerprint import Difference, Identity
    from lipsync_async._bulk.journal_file import Opened

T = TypeVar("T")

# Seconds. Only a program that is not ours can be in the way, such as an editor of tables.
_PATIENCE = 10.0
# An input that has moved by one line differs everywhere; a few lines say as much as all.
_MAX_PROBLEMS = 10
# Forms of a request that are kept for one key. If a form has arrived, all later ones are
# refused, so the first ones are the likely ones: they are kept, and tried first.
_MAX_EARLIER_FORMS = 50

_INSERT_INTENT = """
INSERT INTO jobs
    (position, row_key, state, fingerprint, tries, cost, idempotency_key, attempts, intended_at,
    updated_at, request_json, origin_json)
VALUES (:position, :row_key, :state, :fingerprint, :tries, :cost, :key, 1, :moment, :moment,
    :document, :origin)
"""
_REPEAT_INTENT = """
UPDATE jobs SET state = :state, attempts = attempts + 1, updated_at = :moment,
    cost = coalesce(cost, :cost), error_class = NULL, error_code = NULL, error_message = NULL,
    fingerprint = :fingerprint, request_json = :document, earlier_json = :earlier,
    origin_json = coalesce(:origin, origin_json)
WHERE position = :position
"""
_ARCHIVE = f"""
INSERT INTO tries ({", ".join(COLUMNS)}, checksum)
SELECT {", ".join(COLUMNS)}, checksum FROM jobs WHERE position = ?
"""  # noqa: S608 - our own
_REMOVE = "DELETE FROM jobs WHERE position = ?"
# A job is never taken from its request, nor from its end.
_RECORD_STATUS = """
UPDATE jobs SET state = :state, generation_id = :id, status = :status, generation_json = :answer,
    error_class = :error_class, error_code = :error_code, error_message = :error_message,
    accepted_at = coalesce(accepted_at, :moment),
    ended_at = CASE WHEN :has_ended THEN coalesce(ended_at, :moment) END, updated_at = :moment
WHERE position = :position AND coalesce(generation_id, :id) = :id
    AND (ended_at IS NULL OR status = :status)
"""
_RECORD_DOWNLOAD = """
UPDATE jobs SET download_path = :path, download_near = :near, updated_at = :moment,
    error_class = NULL, error_code = NULL, error_message = NULL
WHERE position = :position AND state = 'completed'
"""
_RELOCATE = """
UPDATE jobs SET download_path = :path, download_near = :near WHERE position = :position
"""
_RECORD_ERROR = """
UPDATE jobs SET state = :state, updated_at = :moment,
    error_class = :error_class, error_code = :error_code, error_message = :error_message
WHERE position = :position
"""


@attrs.frozen(slots=True)
class Binding:
    """What a journal belongs to: jobs of one account mean nothing to another."""

    service: str  # its base address
    digest: Callable[[bytes], str]  # of the API key, for the journal's salt
    is_new_key: bool = False  # whether the user says that it is one of the same account


@attrs.frozen(slots=True)
class Ordered:
    """What was ordered with a journal, in all runs: tries that may have become jobs."""

    jobs: int
    cost: float  # estimated US dollars for all of them
    unpriced: int  # jobs whose cost was not estimated


class Journal(JournalView):
    """A journal and the right to write it.

    Calls may come from any thread, one at a time. Requests must have passed validation.
    """

    def __init__(
        self,
        path: Path,
        opened: Opened,
        lock: JournalLock,
        now: Callable[[], datetime],
        matcher: Matcher,
    ) -> None:
        super().__init__(path, opened)
        self._ownership = lock
        self._now = now
        self._file = path.stat()
        self._owner: str | None = None
        self._secret = ""
        self._matcher = matcher

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
            binding: What it must belong to; `None`: that is not checked.
            retry_failed: Whether what ended FAILED or NOT_CREATED gets a new try.
            match_query: Whether all of a query tells media apart.
            patience: Seconds to wait for another program that is writing to the file.
            now: The clock for the times that are recorded; aware, in UTC.

        """
        resolved = resolve(path)
        recognition = Recognition(resolved.parent, matches_query=match_query)
        with ExitStack() as undo:
            lock = JournalLock(resolved)
            undo.callback(lock.release)
            opened = connect_owner(resolved, patience=patience)
            undo.callback(opened.close)
            matcher = Matcher(
                opened.connection, recognition, resolved.parent, retry_failed=retry_failed
            )
            journal = cls(resolved, opened, lock, now, matcher)
            journal._take_over(binding)
            undo.pop_all()
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
        """Return what is known of consecutive requests of the input; `None`: it is new.

        A request that has a name is known by it wherever it stands, see `Matcher`; any other is
        known by its position, and of those the input may have become longer or shorter.

        A request of which certainly no job was made may have changed: it counts as new. So does
        one that has a name and whose job has failed. Local files of which a job was made may
        have changed, too, or be gone: the job stays, and a log line says so, unless the request
        has a `request_id`, by which it counts as changed.

        Raises:
            InvalidRequestError: The journal holds other requests at these positions, or
                under these names.

        """
        if not requests:
            return []
        matcher = self._matcher
        items = matcher.items(requests, start)
        problems: dict[int, str] = {}
        with self._reading():
            rows = matcher.rows(items)
            is_aligned = matcher.is_aligned(items, rows)
        if not is_aligned:
            with self._transaction(is_dated=False):
                problems = matcher.align(items)
                rows = matcher.rows(items)
        with self._reading():
            found = matcher.entries(items, rows, problems)
        self._record_moves(requests, found)
        return found

    def ordered(self) -> Ordered:
        """Return what was ordered with this journal so far, in this run and before.

        What is SUBMITTING or UNKNOWN is counted, so it costs nothing more to send it again.
        """
        query = "SELECT count(*), total(cost), count(*) - count(cost) FROM {} WHERE state <> ?"
        with self._reading() as connection:
            sums = [
                connection.execute(query.format(table), (JobState.NOT_CREATED.stored,)).fetchone()
                for table in ("jobs", "tries")
            ]
        return Ordered(*(sum(column) for column in zip(*sums, strict=True)))

    def record_intents(
        self,
        requests: Sequence[tuple[int, GenerationRequest]],
        *,
        costs: Mapping[int, float] | None = None,
    ) -> list[str]:
        """Store requests, by position, whose creates are about to be sent; return their keys.

        A key is a new one, or the one that the request had before. If this raises, nothing was
        stored: the journal holds another request there (InvalidRequestError), or one that has
        become a job already.
        """
        prices = costs or {}
        with self._transaction() as moment:
            return [
                self._record_intent(position, request, prices.get(position), moment)
                for position, request in requests
            ]

    def record_updates(
        self, updates: Sequence[tuple[int, Generation | BaseException]]
    ) -> JournalError | None:
        """Store what the service has said about jobs, and why something was given up.

        What comes late, after a job's end, changes nothing. If an error holds a job that is not
        stored yet, that is stored first. A failed create is NOT_CREATED if certainly nothing was
        made, and UNKNOWN otherwise.

        If this raises, nothing was stored. It returns what contradicts the journal, with the
        job (a request has become another job before, say); the other items are stored.
        """
        return self._record_each(self._record_update, updates)

    def record_downloads(self, paths: Sequence[tuple[int, str | os.PathLike[str]]]) -> None:
        """Store where the results of completed jobs are.

        A job that is not completed raises; the other items are stored.
        """
        conflict = self._record_each(self._record_download, paths)
        if conflict is not None:
            raise conflict

    def _record_each(
        self,
        record: Callable[[int, T, str], JournalError | None],
        items: Sequence[tuple[int, T]],
    ) -> JournalError | None:
        """Record items in one transaction; return the first conflict, others in its notes."""
        first: JournalError | None = None
        with self._transaction() as moment:
            for position, item in items:
                conflict = record(position, item, moment)
                if first is not None and conflict is not None:
                    first.add_note(str(conflict))
                first = first or conflict
        return first

    def _record_intent(
        self, position: int, request: GenerationRequest, cost: float | None, moment: str
    ) -> str:
        connection, matcher = self._connection, self._matcher
        row_key = matcher.row_key(position, request)
        entry = find(connection, position)
        identity = matcher.recognition.identify(request)
        named = None if row_key is None else find_key(connection, row_key)
        if named not in {None, position}:
            raise JournalError(
                f"request {position} is at position {named} in the journal. Nothing was sent."
            )
        values: dict[str, Any] = {
            "position": position,
            "row_key": row_key,
            "state": JobState.SUBMITTING.stored,
            "fingerprint": identity.fingerprint,
            "tries": 1,
            "cost": cost,
            "moment": moment,
            "document": identity.document,
            "origin": _origin_of(request),
        }
        if entry is not None:
            difference = matcher.difference(entry, row_key, request)
            is_corrected = bool(difference) and named == position
            if matcher.may_retry(entry, is_corrected=is_corrected):
                connection.execute(_ARCHIVE, (position,))
                connection.execute(_REMOVE, (position,))
                values["tries"] = entry.tries + 1
            elif difference and entry.state is JobState.NOT_CREATED:
                connection.execute(_REMOVE, (position,))
            elif difference:
                raise InvalidRequestError([_mismatch(entry, difference)])
            elif entry.state.has_job:
                raise JournalError(
                    f"request {position} has become generation {entry.generation_id} already. "
                    "Wait for that one; nothing was sent.",
                )
            else:
                if entry.state is not JobState.NOT_CREATED:
                    values["state"] = JobState.UNKNOWN.stored
                    values["earlier"] = _earlier_forms(entry, identity)
                connection.execute(_REPEAT_INTENT, {"earlier": None, **values})
                return entry.idempotency_key
        anchor = row_key or f"position:{position}"
        key = key_of(self._secret, anchor, values["tries"], identity)
        connection.execute(_INSERT_INTENT, {"key": key, **values})
        return key

    def _record_update(
        self, position: int, update: Generation | BaseException, moment: str
    ) -> JournalError | None:
        if isinstance(update, Generation):
            return self._record_status(position, update, moment)
        return self._record_error(position, update, moment)

    def _record_status(
        self, position: int, generation: Generation, moment: str
    ) -> JournalError | None:
        state = state_of(generation)
        error: LipsyncError | None = None
        if state is JobState.FAILED:
            is_rejected = generation.status == Status.REJECTED
            kind = GenerationRejectedError if is_rejected else GenerationFailedError
            error = kind(generation)
        values = {
            "position": position,
            "state": state.stored,
            "id": _storable(generation.id),
            "status": _storable(generation.status),
            "answer": _json_of(generation),
            "has_ended": generation.is_terminal,
            "moment": moment,
            **_error_columns(error),
        }
        if self._connection.execute(_RECORD_STATUS, values).rowcount:
            return None
        entry = find(self._connection, position)
        if entry is not None and entry.generation_id == values["id"]:
            return None  # an answer that was overtaken by the job's end
        if entry is None:
            conflict = _not_recorded(position)
        else:
            conflict = JournalError(
                f"request {position} has become generation {entry.generation_id}, and then "
                f"{generation.id} as well. Keep both ids, and ask the service's support.",
            )
        conflict.generation = generation
        return conflict

    def _record_error(
        self, position: int, error: BaseException, moment: str
    ) -> JournalError | None:
        """Record why something was given up, and the job that the error holds."""
        entry = find(self._connection, position)
        generation = getattr(error, "generation", None)
        if generation is not None and (
            entry is None or not entry.state.has_job or generation.is_terminal
        ):
            conflict = self._record_status(position, generation, moment)
            if conflict is not None:
                return conflict
            entry = find(self._connection, position)
        if entry is None:
            return _not_recorded(position)
        state = entry.state
        if state is JobState.SUBMITTING:
            is_certain = isinstance(error, LipsyncError) and not error.may_have_worked
            state = JobState.NOT_CREATED if is_certain else JobState.UNKNOWN
        values = {"position": position, "state": state.stored, "moment": moment}
        self._connection.execute(_RECORD_ERROR, values | _error_columns(error))
        return None

    def _record_download(
        self, position: int, path: str | os.PathLike[str], moment: str
    ) -> JournalError | None:
        columns = _path_columns(Path(path).absolute(), self.path.parent)
        values = {"position": position, "moment": moment, **columns}
        if self._connection.execute(_RECORD_DOWNLOAD, values).rowcount:
            return None
        return JournalError(f"request {position} has no completed job. Record its end first.")

    def _record_moves(
        self, requests: Sequence[GenerationRequest], found: Sequence[JournalEntry | None]
    ) -> None:
        """Record where requests and results are now, if that is elsewhere than was recorded."""
        origins: list[tuple[str, int]] = []
        for request, entry in zip(requests, found, strict=True):
            origin = _origin_of(request)
            if entry is not None and origin is not None and origin != entry.origin_json:
                origins.append((origin, entry.position))
        if origins or self._matcher.relocated:
            with self._transaction(is_dated=False):
                query = "UPDATE jobs SET origin_json = ? WHERE position = ?"
                self._connection.executemany(query, origins)
                for position, path in self._matcher.relocated:
                    columns = _path_columns(path, self.path.parent)
                    self._connection.execute(_RELOCATE, {"position": position, **columns})

    def _take_over(self, binding: Binding | None) -> None:
        """Become the owner, in the file as well, if it belongs to the account."""
        with self._transaction(is_dated=False):
            connection = self._connection
            query = "SELECT secret, service, salt, key_digests FROM journal"
            self._secret, service, salt, digests = connection.execute(query).fetchone()
            if binding is not None:
                known = json.loads(digests)
                digest = binding.digest(bytes.fromhex(salt))
                self._check_binding(binding, service, is_known=not known or digest in known)
                service, known = binding.service, [*dict.fromkeys([*known, digest])]
                digests = json.dumps(known)
            owner = token_hex(8)
            connection.execute(
                "UPDATE journal SET owner = ?, service = ?, key_digests = ?",
                (owner, service, digests),
            )
        self._owner = owner

    def _check_binding(self, binding: Binding, service: str | None, *, is_known: bool) -> None:
        if service is not None and service != binding.service:
            raise JournalError(
                f"the journal {self.path} is of a run at {service}, and this client talks to "
                f"{binding.service}, where its jobs are not known and would be paid for once more. "
                "Use the client that it belongs to, or begin a new journal. (A sandbox that was "
                "started again is another one, too.)"
            )
        if not is_known and not binding.is_new_key:
            raise JournalError(
                f"the journal {self.path} is of a run with another API key. If this key belongs to "
                "the same account, run once with accept_new_key=True (--accept-new-key); the "
                "jobs of another account are not known to this one and would be paid for once "
                "more, so begin a new journal then. (A sandbox that was started again has other "
                "jobs, too.)"
            )

    @contextmanager
    def _transaction(self, *, is_dated: bool = True) -> Iterator[str]:
        """Give a transaction, and its time as text; commit, or keep nothing."""
        with self._reading() as connection:
            self._check_file()
            begin_writing(connection, self.path)
            try:
                self._check_owner()
                yield self._now().isoformat(timespec="microseconds") if is_dated else ""
                seal(connection)
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

    def _check_file(self) -> None:
        """Refuse to write if the file was moved: SQLite would go on writing where it now is."""
        try:
            is_here = os.path.samestat(self._file, self.path.stat())
        except OSError:
            is_here = False
        if not is_here:
            raise JournalError(
                f"the journal {self.path} was moved, removed or replaced while it was in use. Put "
                "it back, then run again; without it, what was ordered would be ordered again.",
            )

    def _check_owner(self) -> None:
        # A trigger of another program would change rows, and ours would believe it.
        query = (
            "SELECT owner, typeof(rows), typeof(total), "
            "(SELECT count(*) FROM sqlite_master WHERE type = 'trigger') FROM journal"
        )
        found = self._connection.execute(query).fetchone()
        if found is None or found[1:] != ("integer", "integer", 0):
            raise JournalError(
                "another program has changed the journal while it was in use. Go on with an "
                "undamaged copy."
            )
        if self._owner not in {None, found[0]}:
            raise JournalError(
                "another run has taken the journal over, by another name of its file or because "
                "its lock was removed. Let one run go on, and nothing is ordered twice."
            )


def _not_recorded(position: int) -> JournalError:
    return JournalError(f"request {position} was never recorded. Record its intent first.")


def _origin_of(request: GenerationRequest) -> str | None:
    """Return where a request comes from, as a journal stores it."""
    origin = request.origin
    if origin is None:
        return None
    return json.dumps({"line": origin.line, "extra": dict(origin.extra)})


def _earlier_forms(entry: JournalEntry, identity: Identity) -> str | None:
    """Return the forms in which a request may have been sent before, under the same key."""
    forms = [form for form in entry.documents if form != identity.document]
    return json.dumps(forms[:_MAX_EARLIER_FORMS]) if forms else None


def _error_columns(error: BaseException | None) -> dict[str, str | None]:
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


def _path_columns(path: Path, folder: Path) -> dict[str, str | bytes | None]:
    """Return where a file is, in itself and as seen from the journal's folder."""
    near: str | None = None
    with suppress(ValueError):  # on another drive of Windows
        near = os.path.relpath(os.path.realpath(path), folder).replace(os.sep, "/")
    return {"path": _storable_path(os.fspath(path)), "near": near and _storable_path(near)}


def _storable_path(name: str) -> str | bytes:
    """Return a path as text, or as bytes where its name is none."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


@attrs.frozen(slots=True)
class _Item:
    """A request of the input."""

    position: int
    request: GenerationRequest
    key: str | None  # the row key by which the journal knows it; `None`: its position only


@attrs.frozen(slots=True)
class _Row:
    """A row of the journal."""

    entry: JournalEntry
    key: str | None  # `None`: it is known by its position
    near: str | bytes | None  # where its result is as seen from the journal's folder


@attrs.define(slots=True, eq=False)
class Matcher:
    """Finds the rows of an input's requests; the input may have changed since.

    A request is known by its name, if it has one: its `request_id`, or else the name of its
    result where that stands for the first time. Then it may stand anywhere. A request without
    a name is known by its position.

    A row's position is where its request stood in the input last. The row of a request that has
    moved is moved with it (`align`). The row that was there gives way to the end, if it has a
    name, and comes back when its request does.

    `align` needs a transaction. `relocated` holds the positions of the last items whose results
    are elsewhere than was recorded, and where.
    """

    _connection: sqlite3.Connection
    recognition: Recognition
    _folder: Path
    _retry_failed: bool = attrs.field(kw_only=True)
    relocated: list[tuple[int, Path]] = attrs.field(factory=list, init=False)
    # Where each name of a result stood first in the input: only there it is a key.
    _outputs: dict[str, int] = attrs.field(factory=dict, init=False)
    _end: int = attrs.field(default=0, init=False)
    _fingerprints: set[str] | None = attrs.field(default=None, init=False)
    # Positions by fingerprints of rows that were recognized in spite of another link.
    _signed_anew: dict[str, int] = attrs.field(factory=dict, init=False)

    def row_key(self, position: int, request: GenerationRequest) -> str | None:
        """Return the key by which a request is known, if it has one."""
        for key in _names(request):
            if key.startswith(ID_PREFIX) or self._outputs.setdefault(key, position) == position:
                return key
        return None

    def difference(
        self, entry: JournalEntry, key: str | None, request: GenerationRequest
    ) -> Difference:
        """Return what sets a request apart from an entry; false if nothing does."""
        return self.recognition.difference(
            entry.request_json,
            request,
            is_named=key is not None,
            was_sent=entry.state.has_job,
        )

    def may_retry(self, entry: JournalEntry, *, is_corrected: bool) -> bool:
        """Tell whether a request gets a new try: only what certainly has ended may."""
        may = entry.state in {JobState.FAILED, JobState.NOT_CREATED}
        return may and (self._retry_failed or is_corrected)

    def items(self, requests: Sequence[GenerationRequest], start: int) -> list[_Item]:
        """Return a piece of the input, which begins at a position."""
        self._end = max(self._end, start + len(requests))
        return [
            _Item(position, request, self.row_key(position, request))
            for position, request in enumerate(requests, start)
        ]

    def rows(self, items: Sequence[_Item]) -> dict[int, _Row]:
        """Return the rows at the positions from the first item to the last."""
        span = items[0].position, items[-1].position
        names = f"{', '.join(FIELDS)}, row_key, download_near"
        query = f"SELECT {names} FROM entries WHERE position BETWEEN ? AND ?"  # noqa: S608 - our own
        rows = self._connection.execute(query, span)
        return {row[0]: _Row(entry_of(row[:-2]), *row[-2:]) for row in rows}

    def is_aligned(self, items: Sequence[_Item], rows: Mapping[int, _Row]) -> bool:
        """Tell whether each request's row, if it has one, is where the request stands."""
        return all(
            rows[item.position].key == item.key
            if item.position in rows
            else item.key is None
            or all(find_key(self._connection, name) is None for name in _names(item.request))
            for item in items
        )

    def align(self, items: Sequence[_Item]) -> dict[int, str]:
        """Move rows to where their requests stand; return problems by position."""
        problems = {item.position: self._align(item) for item in items}
        return {position: words for position, words in problems.items() if words is not None}

    def entries(
        self, items: Sequence[_Item], rows: Mapping[int, _Row], problems: dict[int, str]
    ) -> list[JournalEntry | None]:
        """Return the entries of requests whose rows are where they stand."""
        found: list[JournalEntry | None] = []
        self.relocated = []
        for item in items:
            row = rows.get(item.position)
            entry = None if row is None else row.entry
            problem = problems.get(item.position)
            if problem is None and row is not None:
                entry, problem = self._judge(item, row, items)
            elif problem is None and item.key is None and self._signed_anew:
                problem = self._overtaken(item)
            if problem is not None:
                problems[item.position] = problem
            if entry is not None and row is not None and row.near is not None:
                entry = self._with_result(entry, row.near)
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
                if row.key is None and row.entry.state is not JobState.NOT_CREATED:
                    return _unnamed(position)
                self._vacate(position)
            self._move(known, position)
            self._set_key(position, item.key)
        elif row is not None:
            return self._admit(item, row)
        return None

    def _admit(self, item: _Item, row: _Row) -> str | None:
        """Give a request whose name is not known the row at its position, or the position."""
        is_same = not self.difference(row.entry, item.key, item.request)
        has_other_id = item.key is not None and item.key.startswith(ID_PREFIX)
        if row.key is None:
            if is_same and item.key is not None:
                self._set_key(item.position, item.key)
        elif not is_same or has_other_id:  # or the request has lost the name that it had
            if item.key is None:
                return _unnamed(item.position)
            self._vacate(item.position)
        return None

    def _find_named(self, item: _Item) -> int | None:
        """Return the position of the row that has a request's name, or is to have it."""
        for key in () if item.key is None else _names(item.request):
            position = find_key(self._connection, key)
            entry = None if position is None else find(self._connection, position)
            if entry is not None and (
                key == item.key or not self.difference(entry, key, item.request)
            ):
                return position
        return None

    def _move(self, position: int, to: int) -> None:
        """Give a row, and its earlier tries, another position, at which there must be none."""
        for table in ("jobs", "tries"):
            query = f"UPDATE {table} SET position = ? WHERE position = ?"  # noqa: S608 - our own
            self._connection.execute(query, (to, position))

    def _vacate(self, position: int) -> None:
        """Move the row at a position behind all others, and behind the input so far."""
        (last,) = self._connection.execute("SELECT max(position) FROM jobs").fetchone()
        self._move(position, max(last + 1, self._end))

    def _set_key(self, position: int, key: str | None) -> None:
        query = "UPDATE jobs SET row_key = ? WHERE position = ?"
        self._connection.execute(query, (key, position))

    def _judge(
        self, item: _Item, row: _Row, items: Sequence[_Item]
    ) -> tuple[JournalEntry | None, str | None]:
        """Return the entry if the request goes on from it, or what is wrong, or neither."""
        entry = row.entry
        is_named = item.key is not None and row.key == item.key
        difference = self.difference(entry, item.key if is_named else None, item.request)
        problem: str | None = None
        if difference:
            if entry.state is JobState.NOT_CREATED or (is_named and entry.state is JobState.FAILED):
                return None, None  # another request may take its place
            problem = self._changed(item, entry, difference, is_named=is_named)
        elif difference.is_signed_anew and not is_named:
            problem = self._shifted(item, entry, items)
        is_tried_again = entry.state is JobState.FAILED and self._retry_failed
        return None if is_tried_again else entry, problem

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
        return _elsewhere(item.position, found[0]) if found else _mismatch(entry, difference)

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
        return self.recognition.identify(item.request).fingerprint

    def _find_fingerprint(self, fingerprint: str) -> list[int]:
        """Return the positions that hold exactly this request."""
        execute = self._connection.execute
        if self._fingerprints is None:
            self._fingerprints = {each for (each,) in execute("SELECT fingerprint FROM jobs")}
        if fingerprint not in self._fingerprints:
            return []
        query = "SELECT position FROM jobs WHERE fingerprint = ? ORDER BY position"
        return [position for (position,) in execute(query, (fingerprint,))]

    def _with_result(self, entry: JournalEntry, near: str | bytes) -> JournalEntry:
        """Return the entry with where its result is now: it, or the journal, may have moved."""
        recorded = entry.download_path
        path = Path(os.path.normpath(self._folder / os.fsdecode(near)))
        if not path.is_file():
            if recorded is not None and recorded.is_file():
                self.relocated.append((entry.position, recorded))
            return entry
        with suppress(OSError):  # nothing is where it was recorded
            if recorded is not None and path.samefile(recorded):
                return entry
        self.relocated.append((entry.position, path))
        return attrs.evolve(entry, download_path=path)


def find_key(connection: sqlite3.Connection, row_key: str) -> int | None:
    """Return the position of the row with a key."""
    query = "SELECT position FROM jobs WHERE row_key = ?"
    row: tuple[int] | None = connection.execute(query, (row_key,)).fetchone()
    return None if row is None else row[0]


def _names(request: GenerationRequest) -> list[str]:
    """Return the keys by which a request may be known, the most telling first."""
    names = []
    if request.request_id is not None:
        names.append(f"{ID_PREFIX}{exact(request.request_id)}")
    if request.output_file_name is not None:
        names.append(f"{OUTPUT_PREFIX}{exact(request.output_file_name)}")
    return names


def _unknown_input(problems: dict[int, str]) -> InvalidRequestError:
    shown = [problems[position] for position in sorted(problems)]
    more = len(shown) - _MAX_PROBLEMS
    if more > 0:
        shown[_MAX_PROBLEMS:] = [f"requests: {more} more are not what the journal holds"]
    return InvalidRequestError(shown)


def _mismatch(entry: JournalEntry, difference: Difference) -> str:
    return (
        f"requests[{entry.position}]: is not the request that the journal holds there "
        f"({difference}); restore it, or begin a new journal"
    )


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
