"""Writes the journal of a run: records that come at once are written at once.

Writing waits for the disk, and for any other program that holds the file, so it is done in
a thread: the event loop goes on meanwhile. Records that come during one transaction go into
the next (group commit). A caller goes on only when its own record is on the disk.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio
import attrs
from anyio.lowlevel import checkpoint

from lipsync_async._models.response import Generation
from lipsync_async._threads import to_its_end
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lipsync_async._bulk.journal import Journal, Ordered
    from lipsync_async._bulk.journal_entry import JournalEntry
    from lipsync_async._bulk.results import Job, JobUpdate
    from lipsync_async._models.request import GenerationRequest

    Write = Callable[[list[Any]], Sequence[Any] | None]

T = TypeVar("T")


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


class JournalWriter:
    """Writer of a run's journal, in a thread."""

    keeps_records = True

    def __init__(
        self,
        journal: Journal,
        hold: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._journal = journal
        self._thread = JournalThread(hold)
        self._unwritten: list[tuple[Job, JobUpdate]] = []
        self._intents = _GroupCommit(self._thread, self._record_intents)
        self._downloads = _GroupCommit(self._thread, journal.record_downloads)

    @property
    def has_unwritten(self) -> bool:
        """Whether there are updates that the journal lacks, because it cannot be written."""
        return bool(self._unwritten)

    async def match(
        self, requests: Sequence[GenerationRequest], start: int
    ) -> Sequence[JournalEntry | None]:
        """Return what an earlier run has left of requests that follow each other in the input."""
        return await self._thread.run(lambda: self._journal.match(requests, start=start))

    async def ordered(self) -> Ordered | None:
        """Return what was ordered with the journal so far."""
        return await self._thread.run(self._journal.ordered)

    async def record_intent(
        self, index: int, request: GenerationRequest, cost: float | None = None
    ) -> str:
        """Record that a create is about to be sent; return the key to send it under."""
        key: str = await self._intents.add((index, request, cost))
        return key

    def _record_intents(self, records: list[Any]) -> Sequence[str]:
        costs = {index: cost for index, _, cost in records if cost is not None}
        return self._journal.record_intents([record[:2] for record in records], costs=costs)

    async def record_download(self, index: int, path: Path) -> None:
        """Record where a result is."""
        await self._downloads.add((index, path))

    async def record_updates(self, updates: Sequence[tuple[Job, JobUpdate]]) -> None:
        """Record what the service says of jobs, and why requests were given up.

        What cannot be written is kept, and written with what comes next: a disk that is full
        may have room again.
        """
        # A request that failed before its intent was recorded is not in the journal.
        self._unwritten += [
            (job, update)
            for job, update in updates
            if isinstance(update, Generation) or job.key is not None
        ]
        if not self._unwritten:
            return
        async with self._thread.turn():
            some, self._unwritten = self._unwritten, []
            records = [(job.index, update) for job, update in some]
            try:
                problem = await self._thread.call(lambda: self._journal.record_updates(records))
            except BaseException:
                self._unwritten = [*some, *self._unwritten]
                raise
        if problem is not None:
            raise problem


RunJournal: TypeAlias = JournalWriter | NullJournal


class JournalThread:
    """Thread that makes calls one after the other, each to its end.

    It is none of the threads that all work of a loop shares, since a journal must not wait for
    forty slow downloads.
    """

    def __init__(self, hold: Callable[[], AbstractContextManager[None]]) -> None:
        self._hold = hold
        self._lock = anyio.Lock()

    async def run(self, call: Callable[[], T]) -> T:
        """Make a call when its turn has come."""
        async with self.turn():
            return await self.call(call)

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

    async def call(self, call: Callable[[], T]) -> T:
        """Make a call within a `turn`."""
        with self._hold():
            return await to_its_end(call)


class _GroupCommit:
    """Collector of records that come while others are written; then one transaction for all."""

    def __init__(self, thread: JournalThread, write: Write) -> None:
        self._thread = thread
        self._write = write
        self._records: list[_Record] = []
        self._committed = anyio.Event()

    async def add(self, value: object) -> Any:
        """Write a record; return what the writing gave for it."""
        record = _Record(value)
        self._records.append(record)
        if len(self._records) > 1:  # the first one writes for all
            await self._committed.wait()
        else:
            try:
                await checkpoint()  # what comes meanwhile joins this transaction
            finally:  # also when cancelled: others rely on it
                async with self._thread.turn():
                    records, self._records = self._records, []
                    committed, self._committed = self._committed, anyio.Event()
                    try:
                        await self._thread.call(partial(self._commit, records))
                    finally:
                        committed.set()
        if record.error is not None:
            raise record.error
        return record.result

    def _commit(self, records: list[_Record]) -> None:
        try:
            results = self._write([record.value for record in records])
        except Exception as error:  # noqa: BLE001 - it is raised by `add`
            if isinstance(error, LipsyncError) or len(records) == 1:
                for record in records:
                    record.error = error
            else:  # one request's own values have raised: find out which
                for record in records:
                    self._commit([record])
        else:
            for place, record in enumerate(records):
                record.error = None
                record.result = results[place] if results is not None else None


@attrs.define(slots=True, eq=False)
class _Record:
    value: object
    result: Any = None
    # Nothing may go on without its record, whatever has ended the writing.
    error: Exception | None = attrs.field(factory=partial(RuntimeError, "it was not written"))
