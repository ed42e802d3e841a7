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

Writing waits for the disk, and for any other program that holds the file, so a run does it in a
thread (`JournalWriter`): the event loop goes on meanwhile. Records that come during one
transaction go into the next (group commit). A caller goes on only when its own record is on the
disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import anyio
import attrs
from anyio.lowlevel import checkpoint

from lipsync_async._bulk.fingerprint import (
    Matcher,
    Recognition,
    find_key,
    key_of,
    mismatch,
    stored_origin,
)
from lipsync_async._bulk.journal_entry import (
    SELECT_ENTRIES,
    STORED,
    JobState,
    JournalEntry,
    entry_of,
    unreadable,
)
from lipsync_async._bulk.journal_file import (
    COLUMNS,
    SEAL,
    JournalLock,
    begin_writing,
    connect_owner,
    connect_reader,
    find,
    from_home,
    resolve,
    translate_errors,
)
from lipsync_async._bulk.results import JobUpdate
from lipsync_async._enums import Status
from lipsync_async._logic.validation import shown
from lipsync_async._models.response import Generation
from lipsync_async._threads import WORKERS, until_done
from lipsync_async.errors import (
    GenerationFailedError,
    GenerationRejectedError,
    InvalidRequestError,
    JournalError,
    LipsyncError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Self

    from lipsync_async._bulk.results import Job
    from lipsync_async._models.request import GenerationRequest

T = TypeVar("T")
# What keeps a virtual clock from going on while a thread is at work.
Hold: TypeAlias = Callable[[], AbstractContextManager[None]]

# Seconds. A reader waits while a commit is under way, which is soon done. Only a program that is
# not ours can be in an owner's way, such as an editor of tables.
_PATIENCE = 10.0
_UTC_NOW = partial(datetime.now, UTC)
# Milliseconds to wait for a reader before something harmless is left beside the file.
_LAST_PATIENCE = 200
# Entries of one query: a journal of any length is read in little memory.
_PAGE = 500
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


@attrs.define(eq=False, repr=False)
class JournalView:
    """A journal to read, without a client: what was committed last.

    `with JournalView.open("takes.sqlite") as view:` works whether or not a run is
    writing to it, and disturbs none. Two calls may see two moments. Threads may share a
    view.

    Attributes:
        path: Where the journal is, absolute.

    """

    path: Path
    _connection: sqlite3.Connection
    _files: ExitStack
    # Threads may share the connection, but not a transaction.
    _lock: Lock = attrs.field(factory=Lock, init=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a journal to read it, whether or not a run is writing to it.

        Nothing is left beside it, and it may lie where nothing can be written.

        Args:
            path: What `run_many` was given as `journal`.

        Returns:
            The view, to be closed in the end.

        Raises:
            JournalError: There is none, or it is no journal, or one of a newer release, or
                it is damaged.

        """
        resolved = resolve(path)
        return cls(resolved, *connect_reader(resolved, patience=_PATIENCE))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        with self._lock:
            self._files.close()

    @property
    def length(self) -> int:
        """Positions of the input that the journal reaches over.

        More than its entries where some requests were never sent.

        Raises:
            JournalError: The file cannot be read.

        """
        with self._reading() as connection:
            (highest,) = connection.execute("SELECT max(position) FROM entries").fetchone()
        return 0 if highest is None else highest + 1

    def counts(self) -> dict[JobState, int]:
        """Return how many requests are in each state, no state left out.

        Raises:
            JournalError: The file cannot be read.

        """
        with self._reading() as connection:
            rows = connection.execute("SELECT state, count(*) FROM entries GROUP BY state")
            try:
                counts = {JobState(state): count for state, count in rows}
            except ValueError as error:
                raise unreadable("unknown", error) from error
        return dict.fromkeys(JobState, 0) | counts

    def entry(self, position: int) -> JournalEntry | None:
        """Return what is known of the request at a position (from 0), `None` if nothing is.

        Raises:
            JournalError: The file cannot be read.

        """
        with self._reading() as connection:
            return find(connection, position)

    def entries(self, *states: JobState) -> Iterator[JournalEntry]:
        """Yield the entries in these states (in any, if none is given), by position.

        However long the journal is, a few hundred of them are in memory at once.

        Raises:
            JournalError: What is given is no state, or the file cannot be read.

        """
        return self._entries(_checked_states(states) if states else tuple(JobState))

    def export_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write each entry as a line of JSON; the file appears whole, or not at all.

        Args:
            path: The file; one that is there is replaced, but never the journal.

        Raises:
            JournalError: It cannot be written, or the journal not be read.

        """
        from lipsync_async._bulk.journal_export import write_jsonl  # noqa: PLC0415 - no run needs it

        write_jsonl(self.entries(), from_home(path).absolute(), journal=self.path)

    def export_csv(self, path: str | os.PathLike[str]) -> None:
        """Write each entry as a row of a table; the file appears whole, or not at all.

        Args:
            path: The file; one that is there is replaced, but never the journal.

        Raises:
            JournalError: It cannot be written, or the journal not be read.

        """
        from lipsync_async._bulk.journal_export import write_csv  # noqa: PLC0415 - as above

        write_csv(self.entries, from_home(path).absolute(), journal=self.path)

    def export_manifest(
        self,
        path: str | os.PathLike[str],
        *,
        states: Iterable[JobState] = (JobState.FAILED, JobState.NOT_CREATED),
    ) -> int:
        """Write requests as a manifest that `read_manifest` reads, to be run anew.

        A table (`.csv`) has the columns that are needed, and the author's own ones; JSON lines
        (`.jsonl`) say everything else, too, and have the author's own texts in `extra`. Local
        files are named by their whole paths.

        Args:
            path: The file; one that is there is replaced, but never the journal.
            states: Which requests; those that have failed, or of which no job was made.

        Returns:
            How many requests there are.

        Raises:
            JournalError: What is given is no state, a request cannot be written in that form,
                the file cannot be written, or the journal not be read.

        """
        from lipsync_async._bulk.journal_export import write_manifest  # noqa: PLC0415 - as above

        entries = self._entries(_checked_states(states))
        return write_manifest(entries, from_home(path).absolute(), journal=self.path)

    def _entries(self, states: tuple[JobState, ...]) -> Iterator[JournalEntry]:
        position = -1
        while page := self._page(position, states):
            yield from page
            position = page[-1].position

    def _page(self, position: int, states: tuple[JobState, ...]) -> list[JournalEntry]:
        marks = ", ".join("?" * len(states))
        query = (
            f"{SELECT_ENTRIES} WHERE position > ? AND state IN ({marks}) ORDER BY position LIMIT ?"
        )
        values = (position, *(state.stored for state in states), _PAGE)
        with self._reading() as connection:
            page = [*map(entry_of, connection.execute(query, values))]
        # In a file that was damaged meanwhile the order may be a circle.
        return [entry for entry in page if entry.position > position]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translate_errors(self.path):
            yield self._connection


def _checked_states(states: object) -> tuple[JobState, ...]:
    """Return states; a single one may stand for itself, and none but them finds anything."""
    given = [states] if isinstance(states, str) or not isinstance(states, Iterable) else states
    known = {word: state for state in JobState for word in (state.value, state.stored)}
    checked = []
    for state in given:
        if not isinstance(state, str) or state not in known:
            names = ", ".join(JobState)
            raise JournalError(f"{shown(state)} is no state of a request. Give some of {names}.")
        checked.append(known[state])
    return tuple(checked)


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


@attrs.define(eq=False, repr=False)
class Journal(JournalView):
    """A journal and the right to write it.

    Calls may come from any thread, one at a time. Requests must have passed validation.
    """

    _ownership: JournalLock
    _now: Callable[[], datetime]
    _matcher: Matcher
    _file: os.stat_result
    _owner: str | None = attrs.field(default=None, init=False)
    _secret: str = attrs.field(default="", init=False)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        binding: Binding | None = None,
        retry_failed: bool = False,
        match_query: bool = False,
        patience: float = _PATIENCE,
        now: Callable[[], datetime] = _UTC_NOW,
    ) -> Self:
        """Open a journal as its only owner, or make a new one in a folder that exists.

        What it must belong to is checked if `binding` says it. `patience`: seconds to wait for
        another program that is writing to the file. `now` gives the times that are recorded.
        """
        resolved = resolve(path)
        recognition = Recognition(resolved.parent, matches_query=match_query)
        with ExitStack() as undo:
            lock = JournalLock(resolved)
            undo.callback(lock.release)
            connection, files = connect_owner(resolved, patience=patience)
            undo.push(files)
            matcher = Matcher(connection, recognition, resolved.parent, retry_failed=retry_failed)
            journal = cls(resolved, connection, files, lock, now, matcher, resolved.stat())
            journal._take_over(binding)
            undo.pop_all()
        return journal

    def close(self) -> None:
        """Close the file and let others own it; harmless when repeated."""
        with self._lock:  # not in the midst of a transaction
            if self._ownership.is_held:
                with suppress(sqlite3.Error):  # leave nothing beside it, unless a reader is looking
                    self._connection.execute(f"PRAGMA busy_timeout = {_LAST_PATIENCE}")
                    self._connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            self._files.close()
        self._ownership.release()

    def match(
        self, requests: Sequence[GenerationRequest], start: int = 0
    ) -> list[JournalEntry | None]:
        """Return what is known of consecutive requests of the input; `None`: it is new.

        A request that has a name is known by it wherever it stands, see `Matcher`; any other is
        known by its position, and of those the input may have become longer or shorter.

        A request of which certainly no job was made may have changed: it counts as new. So does
        one that has a name and whose job has failed. Local files of which a job was made may
        have changed, too, or be gone: the job stays, and a log line says so, unless the request
        has a `request_id`, by which it counts as changed.

        It raises InvalidRequestError if the journal holds other requests there.
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
        if matcher.origins or matcher.relocated:
            self._record_moves()
        return found

    def ordered(self) -> Ordered:
        """Return what was ordered with this journal so far, in this run and before.

        What is SUBMITTING or UNKNOWN is counted, so it costs nothing more to send it again.
        """
        query = (
            "SELECT count(*), total(cost), count(*) - count(cost) FROM (SELECT state, cost FROM "
            "jobs UNION ALL SELECT state, cost FROM tries) WHERE state <> ?"
        )
        with self._reading() as connection:
            sums = connection.execute(query, (JobState.NOT_CREATED.stored,)).fetchone()
        return Ordered(*sums)

    def record_intents(
        self, intents: Iterable[tuple[int, GenerationRequest, *tuple[float | None, ...]]]
    ) -> list[str]:
        """Store requests whose creates are about to be sent; return their keys.

        Each comes after its position, and before its estimated cost in US dollars, if that is
        known. A key is a new one, or the one that the request had before. If this raises,
        nothing was stored: the journal holds another request there (InvalidRequestError), or one
        that has become a job already.
        """
        keys: list[str] = []
        with self._transaction() as moment:
            for position, request, *costs in intents:
                cost = costs[0] if costs else None
                keys.append(self._record_intent(position, request, cost, moment))
        return keys

    def record_updates(
        self, updates: Iterable[tuple[int, Generation | BaseException | str | os.PathLike[str]]]
    ) -> JournalError | None:
        """Store what the service says of jobs, why something was given up, where results are.

        What comes late, after a job's end, changes nothing. If an error holds a job that is not
        stored yet, that is stored first. A failed create is NOT_CREATED if certainly nothing was
        made, and UNKNOWN otherwise.

        If this raises, nothing was stored. It returns what contradicts the journal, with the
        job (a request has become another job before, say); the other items are stored.
        """
        first: JournalError | None = None
        with self._transaction() as moment:
            for position, update in updates:
                if isinstance(update, Generation):
                    conflict = self._record_status(position, update, moment)
                elif isinstance(update, BaseException):
                    conflict = self._record_error(position, update, moment)
                else:
                    conflict = self._record_download(position, update, moment)
                if first is None:
                    first = conflict
                elif conflict is not None:
                    first.add_note(str(conflict))
        return first

    def record_downloads(self, paths: Iterable[tuple[int, str | os.PathLike[str]]]) -> None:
        """Store where the results of completed jobs are.

        A job that is not completed raises; the other items are stored.
        """
        conflict = self.record_updates(paths)
        if conflict is not None:
            raise conflict

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
            "state": STORED[JobState.SUBMITTING],
            "fingerprint": identity.fingerprint,
            "tries": 1,
            "cost": cost,
            "moment": moment,
            "document": identity.document,
            "origin": None if request.origin is None else stored_origin(request.origin),
        }
        if entry is not None:
            difference = matcher.difference(entry, row_key, request)
            has_ended = entry.state in {JobState.FAILED, JobState.NOT_CREATED}
            if has_ended and (matcher.retry_failed or (difference and named == position)):
                connection.execute(_ARCHIVE, (position,))
                connection.execute(_REMOVE, (position,))
                values["tries"] = entry.tries + 1
            elif difference and entry.state is JobState.NOT_CREATED:
                connection.execute(_REMOVE, (position,))
            elif difference:
                raise InvalidRequestError([mismatch(entry, difference)])
            elif entry.state.has_job:
                raise JournalError(
                    f"request {position} has become generation {entry.generation_id} already. "
                    "Wait for that one; nothing was sent."
                )
            else:
                if entry.state is not JobState.NOT_CREATED:
                    values["state"] = STORED[JobState.UNKNOWN]
                    forms = [form for form in entry.documents if form != identity.document]
                    values["earlier"] = json.dumps(forms[:_MAX_EARLIER_FORMS]) if forms else None
                connection.execute(_REPEAT_INTENT, {"earlier": None, **values})
                return entry.idempotency_key
        anchor = row_key or f"position:{position}"
        key = key_of(self._secret, anchor, values["tries"], identity)
        connection.execute(_INSERT_INTENT, {"key": key, **values})
        return key

    def _record_status(
        self, position: int, generation: Generation, moment: str
    ) -> JournalError | None:
        state, errors = JobState.ACCEPTED, _NO_ERROR
        if has_ended := generation.is_terminal:
            state = JobState.COMPLETED
            if not generation.is_completed:
                state = JobState.FAILED
                is_rejected = generation.status == Status.REJECTED
                kind = GenerationRejectedError if is_rejected else GenerationFailedError
                errors = _error_columns(kind(generation))
        answer: str | None = None
        with suppress(TypeError, ValueError, RecursionError):  # a job's id counts, not its echo
            answer = json.dumps(generation.raw, allow_nan=False) if generation.raw else None
        values = {
            "position": position,
            "state": STORED[state],
            "id": _storable(generation.id),
            "status": _storable(generation.status),
            "answer": answer,
            "has_ended": has_ended,
            "moment": moment,
            **errors,
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
                f"{generation.id} as well. Keep both ids, and ask the service's support."
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
        values = {"position": position, "state": STORED[state], "moment": moment}
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

    def _record_moves(self) -> None:
        """Record where requests and results are now, if that is elsewhere than was recorded."""
        with self._transaction(is_dated=False):
            query = "UPDATE jobs SET origin_json = ? WHERE position = ?"
            self._connection.executemany(query, self._matcher.origins)
            for path, position in self._matcher.relocated:
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
                if service not in {None, binding.service}:
                    raise JournalError(
                        f"the journal {self.path} is of a run at {service}, and this client talks "
                        f"to {binding.service}, where its jobs are not known and would be paid for "
                        "once more. Use the client that it belongs to, or begin a new journal. (A "
                        "sandbox that was started again is another one, too.)"
                    )
                if known and digest not in known and not binding.is_new_key:
                    raise JournalError(
                        f"the journal {self.path} is of a run with another API key. If this key "
                        "belongs to the same account, run once with accept_new_key=True; "
                        "the jobs of another account are not known to this one and would be paid "
                        "for once more, so begin a new journal then. (A sandbox that was started "
                        "again has other jobs, too.)"
                    )
                service, known = binding.service, [*dict.fromkeys([*known, digest])]
                digests = json.dumps(known)
            owner = token_hex(8)
            connection.execute(
                "UPDATE journal SET owner = ?, service = ?, key_digests = ?",
                (owner, service, digests),
            )
        self._owner = owner

    @contextmanager
    def _transaction(self, *, is_dated: bool = True) -> Iterator[str]:
        """Give a transaction, and its time as text; commit, or keep nothing."""
        with self._reading() as connection:
            try:
                is_here = os.path.samestat(self._file, self.path.stat())
            except OSError:
                is_here = False
            if not is_here:  # SQLite would go on writing where the file now is
                raise JournalError(
                    f"the journal {self.path} was moved, removed or replaced while it was in use. "
                    "Put it back, then run again; without it, what was ordered would be ordered "
                    "again."
                )
            begin_writing(connection, self.path)
            try:
                self._check_owner()
                yield self._now().isoformat(timespec="microseconds") if is_dated else ""
                connection.execute(SEAL)
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

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


_ERROR_COLUMNS = ("error_class", "error_code", "error_message")
_NO_ERROR: dict[str, str | None] = dict.fromkeys(_ERROR_COLUMNS)


def _error_columns(error: BaseException) -> dict[str, str | None]:
    code = getattr(error, "code", None)
    stored_code = _storable(code) if isinstance(code, str) else None
    values = (type(error).__name__, stored_code, _storable(str(error)))
    return dict(zip(_ERROR_COLUMNS, values, strict=True))


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


class NullJournal:
    """Journal of a run without one: nothing is known of earlier runs, and nothing is kept."""

    keeps_records = False
    has_unwritten = False

    async def match(
        self,
        requests: Sequence[GenerationRequest],
        start: int,  # noqa: ARG002 - as for a journal
    ) -> Sequence[JournalEntry | None]:
        """Return what an earlier run has left of requests: nothing."""
        return [None] * len(requests)

    async def ordered(self) -> Ordered | None:
        """Return what was ordered with the journal so far; `None`: there is no journal."""
        return None

    async def record_intent(
        self,
        index: int,  # noqa: ARG002 - as for a journal
        request: GenerationRequest,  # noqa: ARG002
        cost: float | None = None,  # noqa: ARG002
    ) -> str:
        """Return a new key to send a create under."""
        return str(uuid.uuid4())

    async def record_download(self, index: int, path: Path) -> None:
        """Record where a result is."""

    async def record_updates(self, updates: Sequence[tuple[Job, JobUpdate]]) -> None:
        """Record what the service says of jobs, and why requests were given up."""


@attrs.define(eq=False)
class JournalWriter:
    """Writer of a run's journal, in a thread."""

    keeps_records: ClassVar[bool] = True
    _journal: Journal
    hold: Hold = nullcontext
    _lock: anyio.Lock = attrs.field(factory=anyio.Lock, init=False)
    # Updates that the journal lacks, because it could not be written.
    _unwritten: list[tuple[int, JobUpdate]] = attrs.field(factory=list, init=False)
    _intents: _GroupCommit = attrs.field(init=False)
    _downloads: _GroupCommit = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._intents = _GroupCommit(self, self._journal.record_intents)
        self._downloads = _GroupCommit(self, self._journal.record_downloads)

    @property
    def has_unwritten(self) -> bool:
        """Whether there are updates that the journal lacks, because it cannot be written."""
        return bool(self._unwritten)

    async def match(
        self, requests: Sequence[GenerationRequest], start: int
    ) -> Sequence[JournalEntry | None]:
        """Return what an earlier run has left of requests that follow each other in the input."""
        async with self.turn():
            return await in_thread(self.hold, self._journal.match, requests, start)

    async def ordered(self) -> Ordered | None:
        """Return what was ordered with the journal so far."""
        async with self.turn():
            return await in_thread(self.hold, self._journal.ordered)

    async def record_intent(
        self, index: int, request: GenerationRequest, cost: float | None = None
    ) -> str:
        """Record that a create is about to be sent; return the key to send it under."""
        key: str = await self._intents.add((index, request, cost))
        return key

    async def record_download(self, index: int, path: Path) -> None:
        """Record where a result is."""
        await self._downloads.add((index, path))

    async def record_updates(self, updates: Sequence[tuple[Job, JobUpdate]]) -> None:
        """Record what the service says of jobs, and why requests were given up.

        What cannot be written is kept, and written with what comes next: a disk that is full
        may have room again.
        """
        for job, update in updates:
            # A request that failed before its intent was recorded is not in the journal.
            is_recorded = isinstance(update, Generation) or job.key is not None
            if is_recorded:
                self._unwritten.append((job.index, update))
        if not self._unwritten:
            return
        async with self.turn():
            some, self._unwritten = self._unwritten, []
            try:
                problem = await in_thread(self.hold, self._journal.record_updates, some)
            except BaseException:
                self._unwritten = [*some, *self._unwritten]
                raise
        if problem is not None:
            raise problem

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Let the block make calls; a cancellation is put off until it has ended.

        That includes asyncio's own cancellation, which no anyio scope holds off: others wait
        for what is written here.
        """
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            has_lock = False
            while not has_lock:
                try:
                    await self._lock.acquire()
                    has_lock = True
                except asyncio.CancelledError as error:
                    cancelled = error
            try:
                yield
            finally:
                self._lock.release()
        if cancelled is not None:
            raise cancelled


async def in_thread(hold: Hold, function: Callable[..., T], *arguments: object) -> T:
    """Make a call in a thread; a cancellation waits until it has ended.

    It is none of the threads that all work of a loop shares, since a journal must not wait for
    forty slow downloads.
    """
    with hold():
        done = WORKERS.submit(function, *arguments)
        await until_done(done)
        return done.result()


RunJournal: TypeAlias = JournalWriter | NullJournal


@attrs.define(eq=False)
class _GroupCommit:
    """Collector of records that come while others are written; then one transaction for all."""

    _writer: JournalWriter
    _write: Callable[[list[Any]], Sequence[Any] | None]
    _records: list[Any] = attrs.field(factory=list, init=False)
    # What the writing gives for each record: its result, or why it was not written.
    _results: list[Any] = attrs.field(factory=list, init=False)
    _committed: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    async def add(self, record: object) -> Any:
        """Write a record; return what the writing gave for it."""
        results, committed, place = self._results, self._committed, len(self._records)
        self._records.append(record)
        if place:  # the first one writes for all
            await committed.wait()
        else:
            try:
                await checkpoint()  # what comes meanwhile joins this transaction
            finally:  # also when cancelled: others rely on it
                async with self._writer.turn():
                    records, self._records, self._results = self._records, [], []
                    self._committed = anyio.Event()
                    try:
                        await in_thread(self._writer.hold, self._commit, records, results)
                    finally:
                        committed.set()
        # Nothing may go on without its record, whatever has ended the writing.
        result = results[place] if place < len(results) else RuntimeError("it was not written")
        if isinstance(result, Exception):
            raise result
        return result

    def _commit(self, records: list[Any], results: list[Any]) -> None:
        try:
            results += self._write(records) or [None] * len(records)
        except Exception as error:  # noqa: BLE001 - it is raised by `add`
            if isinstance(error, LipsyncError) or len(records) == 1:
                results += [error] * len(records)
            else:  # one request's own values have raised: find out which
                for record in records:
                    self._commit([record], results)
