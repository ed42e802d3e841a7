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
* `record_updates`, a path: when a result is complete under its final name. Without it, the result
  is downloaded again, for free; a name that depends on the job alone makes that harmless.

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
from hashlib import sha256
from itertools import chain
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import anyio
import attrs
from anyio.lowlevel import checkpoint

from lipsync_async._bulk.fingerprint import (
    Recognition,
    key_of,
    mismatch,
    noted_uploads,
    row_names,
    write,
)
from lipsync_async._bulk.journal_entry import (
    SELECT_ENTRIES,
    STORED,
    JobState,
    JournalEntry,
    entry_of,
    stored_origin,
)
from lipsync_async._bulk.journal_file import (
    ADDRESS,
    COLUMNS,
    ID_PREFIX,
    PATIENCE,
    connect_owner,
    find,
    find_key,
    resolve,
)
from lipsync_async._bulk.results import JobUpdate
from lipsync_async._enums import Status
from lipsync_async._logic.validation import has_files
from lipsync_async._models.request import GenerationRequest
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
    import os
    from collections.abc import AsyncIterator, Iterator
    from typing import Self

    from lipsync_async._bulk.journal_file import JournalStore  # noqa: TC004 - a type only
    from lipsync_async._bulk.journal_match import Matcher  # noqa: TC004 - `_match_known` loads it
    from lipsync_async._bulk.results import Job

T = TypeVar("T")
# What keeps a virtual clock from going on while a thread is at work.
Hold: TypeAlias = Callable[[], AbstractContextManager[None]]
# The service's base address, and what gives the digest of the API key for a journal's salt.
Account: TypeAlias = tuple[str, Callable[[bytes], str]]
# A create that is about to be sent: position, request, estimated cost in US dollars.
_Intent: TypeAlias = tuple[int, GenerationRequest, float | None]

_UTC_NOW = partial(datetime.now, UTC)
# Forms of a request that are kept for one key. If a form has arrived, all later ones are
# refused, so the first ones are the likely ones: they are kept, and tried first.
_MAX_EARLIER_FORMS = 50

_FIND_INTENT = "SELECT 1 FROM jobs WHERE position = :position OR row_key = :row_key"
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
INSERT INTO tries ({", ".join(COLUMNS)})
SELECT {", ".join(COLUMNS)} FROM jobs WHERE position = ?
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
class Journal:
    """A journal, and the right to write it.

    Calls may come from any thread, one at a time. Requests must have passed validation. A
    request is known by its row key: its `request_id`, or else the name of its result where that
    stands for the first time. One that has neither is known by its position.

    Attributes:
        path: Where the journal is: an absolute path, or an address without its password.

    """

    path: Path | str
    _store: JournalStore
    _now: Callable[[], datetime]
    _recognition: Recognition
    _retry_failed: bool
    # From where results are seen, if the journal may be moved together with them.
    _folder: Path | None
    # Threads may share the store, but not a transaction.
    _lock: Lock = attrs.field(factory=Lock, init=False)
    _owner: str | None = attrs.field(default=None, init=False)
    _secret: str = attrs.field(default="", init=False)
    # Where each name of a result stood first in the input, and where the input so far ends.
    _outputs: dict[str, int] = attrs.field(factory=dict, init=False)
    _end: int = attrs.field(default=0, init=False)
    # `None` as long as all requests are new.
    _matcher: Matcher | None = attrs.field(default=None, init=False)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        account: Account | None = None,
        accept_new_key: bool = False,
        retry_failed: bool = False,
        match_query: bool = False,
        patience: float = PATIENCE,
        now: Callable[[], datetime] = _UTC_NOW,
    ) -> Self:
        """Open a journal as its only owner, or make a new one in a folder or database that exists.

        It must belong to `account`, if that is given: jobs of one mean nothing to another.
        `accept_new_key`: the user says that the key is another one of the same account.
        `patience`: seconds to wait for another program that is writing to the file. `now` gives
        the times that are recorded.
        """
        folder: Path | None = None
        if ADDRESS.match(str(path)):
            from lipsync_async._bulk import journal_postgres  # noqa: PLC0415 - few runs need it

            store: JournalStore = journal_postgres.connect_owner(path, patience=patience)
        else:
            resolved = resolve(path)
            folder, store = resolved.parent, connect_owner(resolved, patience=patience)
        with ExitStack() as opened:
            opened.callback(store.close)
            recognition = Recognition(folder, matches_query=match_query)
            journal = cls(store.path, store, now, recognition, retry_failed, folder)
            journal._take_over(account, accept_new_key=accept_new_key)
            opened.pop_all()
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal and let others own it; harmless when repeated."""
        with self._lock:  # not in the midst of a transaction
            self._store.close()

    def match(
        self, requests: Sequence[GenerationRequest], start: int = 0
    ) -> list[JournalEntry | None]:
        """Return what is known of consecutive requests of the input; `None`: it is new.

        A request that has a row key is known by it wherever it stands, see `Matcher`; any other
        is known by its position, and of those the input may have become longer or shorter.

        A request of which certainly no job was made may have changed: it counts as new. So does
        one that has a name and whose job has failed. Local files of which a job was made may
        have changed, too, or be gone: the job stays, and a log line says so, unless the request
        has a `request_id`, by which it counts as changed.

        It raises InvalidRequestError if the journal holds other requests there.
        """
        if not requests:
            return []
        positions = range(start, start + len(requests))
        self._end = max(self._end, positions.stop)
        keys = [*map(self._row_key, positions, requests)]
        if self._matcher is None:
            names = [*chain.from_iterable(map(row_names, requests))]
            with self._lock, self._store.errors():
                query = "SELECT 1 FROM jobs WHERE position BETWEEN ? AND ?"
                span = start, positions.stop - 1
                is_known = self._store.execute(query, span).fetchone() is not None
                while names and not is_known:
                    is_known = find_key(self._store, names.pop()) is not None
            if not is_known:
                return [None] * len(requests)
        return self._match_known(positions, requests, keys)

    def _match_known(
        self, positions: range, requests: Sequence[GenerationRequest], keys: Sequence[str | None]
    ) -> list[JournalEntry | None]:
        """Return what is known of requests of which some are known, or an earlier one was."""
        if (matcher := self._matcher) is None:
            # Here, because a run with a new journal does not need it.
            from lipsync_async._bulk.journal_match import Matcher  # noqa: PLC0415

            matcher = self._matcher = Matcher(
                self._store, self._recognition, self._folder, self._retry_failed
            )
        items = matcher.items(positions, requests, keys)
        problems: dict[int, str] = {}
        with self._lock, self._store.errors():
            rows = matcher.rows(items)
            is_aligned = matcher.is_aligned(items, rows)
        if not is_aligned:
            with self._transaction(is_dated=False):
                problems = matcher.align(items, self._end)
                rows = matcher.rows(items)
        with self._lock, self._store.errors():
            found = matcher.entries(items, rows, problems)
        if matcher.origins or matcher.relocated:
            self._record_moves(matcher)
        return found

    def spending(self) -> tuple[int, float, int]:
        """Return how many jobs were created with this journal so far, and for how much.

        The third number is of those whose cost was not estimated; the others cost the second, in
        US dollars. Earlier runs and tries count. What is SUBMITTING or UNKNOWN is counted, so it
        costs nothing more to send it again.
        """
        query = (
            "SELECT count(*), coalesce(sum(cost), 0.0), count(*) - count(cost) FROM (SELECT state, "
            "cost FROM jobs UNION ALL SELECT state, cost FROM tries) AS ordered WHERE state <> ?"
        )
        with self._lock, self._store.errors():
            found = self._store.execute(query, (JobState.NOT_CREATED.stored,)).fetchone()
        sums: tuple[int, float, int] = found
        return sums

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
            execute = self._store.execute
            for position, request, *costs in intents:
                row_key = self._row_key(position, request)
                plain = document = write(body := self._recognition.body(request))
                if has_files(request):
                    document = write(noted_uploads(body, request))
                values: dict[str, Any] = {
                    "position": position,
                    "row_key": row_key,
                    "state": STORED[JobState.SUBMITTING],
                    "fingerprint": sha256(plain.encode("ascii")).hexdigest(),
                    "tries": 1,
                    "cost": costs[0] if costs else None,
                    "moment": moment,
                    "document": document,
                    "origin": None if request.origin is None else stored_origin(request.origin),
                }
                is_known = execute(_FIND_INTENT, values).fetchone() is not None
                key = self._known_key(request, values) if is_known else None
                if key is None:
                    anchor = row_key or f"position:{position}"
                    key = key_of(self._secret, anchor, values["tries"], body)
                    execute(_INSERT_INTENT, {"key": key, **values})
                keys.append(key)
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

    def _row_key(self, position: int, request: GenerationRequest) -> str | None:
        """Return the key by which a request is known, if it has one."""
        for name in row_names(request):
            if name.startswith(ID_PREFIX) or self._outputs.setdefault(name, position) == position:
                return name
        return None

    def _known_key(self, request: GenerationRequest, values: dict[str, Any]) -> str | None:
        """Record an intent again; return its key, or `None` where a new try begins."""
        store, position, row_key = self._store, values["position"], values["row_key"]
        named = None if row_key is None else find_key(store, row_key)
        if named not in {None, position}:
            raise JournalError(
                f"request {position} is at position {named} in the journal. Nothing was sent."
            )
        query = f"{SELECT_ENTRIES} WHERE position = ?"
        entry = entry_of(store.execute(query, (position,)).fetchone())
        is_named, was_sent = row_key is not None, entry.state.has_job
        difference = self._recognition.difference(
            entry.request_json, request, is_named=is_named, was_sent=was_sent
        )
        has_ended = entry.state in {JobState.FAILED, JobState.NOT_CREATED}
        if has_ended and (self._retry_failed or (difference and named == position)):
            store.execute(_ARCHIVE, (position,))
            store.execute(_REMOVE, (position,))
            values["tries"] = entry.tries + 1
            return None
        if difference and entry.state is JobState.NOT_CREATED:
            store.execute(_REMOVE, (position,))
            return None
        if difference:
            raise InvalidRequestError([mismatch(position, difference)])
        if entry.state.has_job:
            raise JournalError(
                f"request {position} has become generation {entry.generation_id} already. "
                "Wait for that one; nothing was sent."
            )
        values["earlier"] = None
        if entry.state is not JobState.NOT_CREATED:
            values["state"] = STORED[JobState.UNKNOWN]
            forms = [form for form in entry.documents if form != values["document"]]
            values["earlier"] = json.dumps(forms[:_MAX_EARLIER_FORMS]) if forms else None
        store.execute(_REPEAT_INTENT, values)
        return entry.idempotency_key

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
                errors = self._error_columns(kind(generation))
        answer: str | None = None
        with suppress(TypeError, ValueError, RecursionError):  # a job's id counts, not its echo
            answer = json.dumps(generation.raw, allow_nan=False) if generation.raw else None
        values = {
            "position": position,
            "state": STORED[state],
            "id": self._store.storable(generation.id),
            "status": self._store.storable(generation.status),
            "answer": answer,
            "has_ended": has_ended,
            "moment": moment,
            **errors,
        }
        if self._store.execute(_RECORD_STATUS, values).rowcount:
            return None
        entry = find(self._store, position)
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
        entry = find(self._store, position)
        generation = getattr(error, "generation", None)
        if generation is not None and (
            entry is None or not entry.state.has_job or generation.is_terminal
        ):
            conflict = self._record_status(position, generation, moment)
            if conflict is not None:
                return conflict
            entry = find(self._store, position)
        if entry is None:
            return _not_recorded(position)
        state = entry.state
        if state is JobState.SUBMITTING:
            is_certain = isinstance(error, LipsyncError) and not error.may_have_worked
            state = JobState.NOT_CREATED if is_certain else JobState.UNKNOWN
        values = {"position": position, "state": STORED[state], "moment": moment}
        self._store.execute(_RECORD_ERROR, values | self._error_columns(error))
        return None

    def _record_download(
        self, position: int, path: str | os.PathLike[str], moment: str
    ) -> JournalError | None:
        columns = self._store.path_columns(Path(path).absolute())
        values = {"position": position, "moment": moment, **columns}
        if self._store.execute(_RECORD_DOWNLOAD, values).rowcount:
            return None
        return JournalError(f"request {position} has no completed job. Record its end first.")

    def _record_moves(self, matcher: Matcher) -> None:
        """Record where requests and results are now, if that is elsewhere than was recorded."""
        with self._transaction(is_dated=False):
            query = "UPDATE jobs SET origin_json = ? WHERE position = ?"
            for origin in matcher.origins:
                self._store.execute(query, origin)
            for path, position in matcher.relocated:
                columns = self._store.path_columns(path)
                self._store.execute(_RELOCATE, {"position": position, **columns})

    def _take_over(self, account: Account | None, *, accept_new_key: bool) -> None:
        """Become the owner, in the file as well, if it belongs to the account."""
        with self._transaction(is_dated=False):
            query = "SELECT secret, service, salt, key_digests FROM journal"
            self._secret, service, salt, digests = self._store.execute(query).fetchone()
            if account is not None:
                client, digest_of = account
                known, digest = json.loads(digests), digest_of(bytes.fromhex(salt))
                if service not in {None, client}:
                    raise JournalError(
                        f"the journal {self.path} is of a run at {service}, and this client talks "
                        f"to {client}, where its jobs are not known and would be paid for "
                        "once more. Use the client that it belongs to, or begin a new journal. (A "
                        "sandbox that was started again is another one, too.)"
                    )
                if known and digest not in known and not accept_new_key:
                    raise JournalError(
                        f"the journal {self.path} is of a run with another API key. If this key "
                        "belongs to the same account, run once with accept_new_key=True; "
                        "the jobs of another account are not known to this one and would be paid "
                        "for once more, so begin a new journal then. (A sandbox that was started "
                        "again has other jobs, too.)"
                    )
                service, digests = client, json.dumps([*dict.fromkeys([*known, digest])])
            owner = token_hex(8)
            self._store.execute(
                "UPDATE journal SET owner = ?, service = ?, key_digests = ?",
                (owner, service, digests),
            )
        self._owner = owner

    @contextmanager
    def _transaction(self, *, is_dated: bool = True) -> Iterator[str]:
        """Give a transaction, and its time as text; commit, or keep nothing."""
        with self._lock, self._store.errors():
            try:
                self._store.begin(self._owner)
                yield self._now().isoformat(timespec="microseconds") if is_dated else ""
                for statement in self._store.ending:
                    self._store.execute(statement)
            except BaseException:
                self._store.rollback()
                raise

    def _error_columns(self, error: BaseException) -> dict[str, str | None]:
        code = getattr(error, "code", None)
        storable = self._store.storable
        stored_code = storable(code) if isinstance(code, str) else None
        values = (type(error).__name__, stored_code, storable(str(error)))
        return dict(zip(_ERROR_COLUMNS, values, strict=True))


def _not_recorded(position: int) -> JournalError:
    return JournalError(f"request {position} was never recorded. Record its intent first.")


_ERROR_COLUMNS = ("error_class", "error_code", "error_message")
_NO_ERROR: dict[str, str | None] = dict.fromkeys(_ERROR_COLUMNS)


class NullJournal:
    """Journal of a run without one: nothing is known of earlier runs, and nothing is kept."""

    path = None
    keeps_records = False
    has_unwritten = False

    async def match(
        self,
        requests: Sequence[GenerationRequest],
        start: int,  # noqa: ARG002 - as for a journal
    ) -> Sequence[JournalEntry | None]:
        """Return what an earlier run has left of requests: nothing."""
        return [None] * len(requests)

    async def spending(self) -> tuple[int, float, int] | None:
        """Return what was created with the journal so far: nothing is known."""
        return None

    async def record_intent(
        self,
        index: int,  # noqa: ARG002 - as for a journal
        request: GenerationRequest,  # noqa: ARG002
        cost: float | None = None,  # noqa: ARG002
    ) -> str:
        """Return a new key to send a create under."""
        return str(uuid.uuid4())

    async def record_updates(self, updates: Sequence[tuple[Job, JobUpdate | Path]]) -> None:
        """Record what the service says of jobs, why requests were given up, where results are."""


@attrs.define(eq=False)
class JournalWriter:
    """Writer of a run's journal, in a thread.

    Intents that come while something else is written go into one transaction (group commit).
    """

    keeps_records: ClassVar[bool] = True
    _journal: Journal
    hold: Hold = nullcontext
    _lock: anyio.Lock = attrs.field(factory=anyio.Lock, init=False)
    # Updates that the journal lacks, because it could not be written.
    _unwritten: list[tuple[int, JobUpdate | Path]] = attrs.field(factory=list, init=False)
    # How many times updates were written, and why it failed the last time.
    _writes: int = attrs.field(default=0, init=False)
    _failure: JournalError | None = attrs.field(default=None, init=False)
    # The intents of the next transaction; their keys, or why they were not recorded; the end.
    _intents: list[_Intent] = attrs.field(factory=list, init=False)
    _keys: list[str | Exception] = attrs.field(factory=list, init=False)
    _committed: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    @property
    def path(self) -> Path | str:
        """Where the journal is, as messages say it."""
        return self._journal.path

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

    async def spending(self) -> tuple[int, float, int] | None:
        """Return what was created with the journal so far, as `Journal.spending` does."""
        async with self.turn():
            return await in_thread(self.hold, self._journal.spending)

    async def record_intent(
        self, index: int, request: GenerationRequest, cost: float | None = None
    ) -> str:
        """Record that a create is about to be sent; return the key to send it under."""
        keys, committed, place = self._keys, self._committed, len(self._intents)
        self._intents.append((index, request, cost))
        if place:  # the first one writes for all
            await committed.wait()
        else:
            try:
                await checkpoint()  # what comes meanwhile joins this transaction
            finally:  # also when cancelled: others rely on it
                async with self.turn():
                    intents, self._intents, self._keys = self._intents, [], []
                    self._committed = anyio.Event()
                    try:
                        await in_thread(self.hold, self._write, intents, keys)
                    finally:
                        committed.set()
        # Nothing may go on without its record, whatever has ended the writing.
        key = keys[place] if place < len(keys) else RuntimeError("it was not written")
        if isinstance(key, Exception):
            raise key
        return key

    def _write(self, intents: list[_Intent], keys: list[str | Exception]) -> None:
        """Record intents; add their keys, or why they could not be recorded."""
        try:
            keys += self._journal.record_intents(intents)
        except Exception as error:  # noqa: BLE001 - it is raised by `record_intent`
            if isinstance(error, LipsyncError) or len(intents) == 1:
                keys += [error] * len(intents)
            else:  # one request's own values have raised: find out which
                for intent in intents:
                    self._write([intent], keys)

    async def record_updates(self, updates: Sequence[tuple[Job, JobUpdate | Path]]) -> None:
        """Record what the service says of jobs, why requests were given up, where results are.

        What cannot be written is kept, and written with what comes next: a disk that is full
        may have room again. One try is for all that wait for it: each may take a minute.
        """
        for job, update in updates:
            # A request that failed before its intent was recorded is not in the journal.
            if job.key is not None or not isinstance(update, LipsyncError):
                self._unwritten.append((job.index, update))
        if not self._unwritten:
            return
        joined = self._writes
        async with self.turn():
            if self._writes != joined:  # another call has written them meanwhile, or tried to
                problem = self._failure
            else:
                problem = await self._write_updates()
        if problem is not None:
            raise problem

    async def _write_updates(self) -> JournalError | None:
        """Write all updates that the journal lacks; return what contradicts it."""
        some, self._unwritten = self._unwritten, []
        self._writes, self._failure = self._writes + 1, None
        try:
            return await in_thread(self.hold, self._journal.record_updates, some)
        except BaseException as error:
            self._unwritten = [*some, *self._unwritten]
            self._failure = error if isinstance(error, JournalError) else None
            raise

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
