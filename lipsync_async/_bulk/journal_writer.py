"""Keeps the journal of a run, or none; what comes at once is written at once.

Writing waits for the disk, and for any other program that holds the file, so it is done in
a thread: the event loop goes on meanwhile. What comes while one transaction is on its way
goes into the next. Nothing goes on before its own record is on the disk.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from lipsync_async._models.response import Generation
from lipsync_async._threads import to_its_end
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lipsync_async._bulk.job import Job, News
    from lipsync_async._bulk.journal import Journal, Ordered
    from lipsync_async._bulk.journal_entry import JournalEntry
    from lipsync_async._models.request import GenerationRequest

    Write = Callable[[list[Any]], Sequence[Any] | None]

T = TypeVar("T")


class Scribe:
    """Write down what happens to the requests of a run.

    Args:
        journal: Where; `None`: nowhere.
        hold: Keeps a clock that jumps from jumping while a thread is at work.

    """

    def __init__(
        self,
        journal: Journal | None,
        hold: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._journal = journal
        self._thread = JournalThread(hold)
        self._unwritten: list[tuple[Job, News]] = []
        if journal is not None:
            self._intents = _Batch(self._thread, _intending(journal))
            self._downloads = _Batch(self._thread, journal.record_downloads)

    @property
    def has_journal(self) -> bool:
        """Whether anything is kept."""
        return self._journal is not None

    @property
    def has_unwritten(self) -> bool:
        """Whether there are news that the journal does not have, because it cannot be written."""
        return bool(self._unwritten)

    async def known(
        self,
        requests: Sequence[GenerationRequest],
        start: int,
    ) -> list[JournalEntry | None]:
        """Return what an earlier run has left about a stretch of the input.

        Raises:
            InvalidRequestError: The journal is about another input.
            JournalError: The journal cannot be used.

        """
        journal = self._journal
        if journal is None:
            return [None] * len(requests)
        return await self._thread.run(lambda: journal.match(requests, start=start))

    async def ordered(self) -> Ordered | None:
        """Return what was ordered with the journal so far; `None`: there is no journal.

        Raises:
            JournalError: The journal cannot be read.

        """
        return None if self._journal is None else await self._thread.run(self._journal.ordered)

    async def intend(
        self, index: int, request: GenerationRequest, cost: float | None = None
    ) -> str:
        """Write that a create is about to be sent; return the key to send it under.

        Args:
            index: The request's place in the input.
            request: The request.
            cost: US dollars that it is to cost; `None`: that was not asked.

        Raises:
            InvalidRequestError: The journal holds another request there.
            JournalError: The journal cannot be written. Nothing may be sent.

        """
        if self._journal is None:
            return str(uuid.uuid4())
        key: str = await self._intents.add((index, request, cost))
        return key

    async def keep(self, index: int, path: Path) -> None:
        """Write where a result is.

        Raises:
            JournalError: The journal cannot be written.

        """
        if self._journal is not None:
            await self._downloads.add((index, path))

    async def note(self, news: Sequence[tuple[Job, News]]) -> None:
        """Write what the service says of jobs, and why requests were given up.

        What cannot be written is kept, and written with what comes next: a disk that is full
        may have room again.

        Raises:
            JournalError: The journal cannot be written, or the news contradict it.

        """
        journal = self._journal
        if journal is None:
            return
        # What was refused before its intent was noted is no business of the journal's.
        self._unwritten += [
            (job, what) for job, what in news if isinstance(what, Generation) or job.key is not None
        ]
        if not self._unwritten:
            return
        async with self._thread.turn():
            some, self._unwritten = self._unwritten, []
            records = [(job.index, what) for job, what in some]
            try:
                complaint = await self._thread.call(lambda: journal.record_news(records))
            except BaseException:
                self._unwritten = [*some, *self._unwritten]
                raise
        if complaint is not None:
            raise complaint


class JournalThread:
    """Make calls in a thread, one after the other, each to its end.

    They take none of the places that all threads of a loop share, for a journal is not to
    wait for forty slow downloads.

    Args:
        hold: Keeps a clock that jumps from jumping meanwhile.

    """

    def __init__(self, hold: Callable[[], AbstractContextManager[None]]) -> None:
        self._hold = hold
        self._turn = anyio.Lock()

    async def run(self, call: Callable[[], T]) -> T:
        """Make a call when its turn has come."""
        async with self.turn():
            return await self.call(call)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Let the block make calls; a cancellation is put off until it has ended.

        So is asyncio's own, which no scope holds off: others wait for what is written here.
        """
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            has_turn = False
            while not has_turn:
                try:
                    await self._turn.acquire()
                    has_turn = True
                except asyncio.CancelledError as error:
                    cancelled = error
            try:
                yield
            finally:
                self._turn.release()
        if cancelled is not None:
            raise cancelled

    async def call(self, call: Callable[[], T]) -> T:
        """Make a call, in one's turn."""
        with self._hold():
            return await to_its_end(call)


class _Batch:
    """Collect records while others are written, then write them in one transaction."""

    def __init__(self, thread: JournalThread, write: Write) -> None:
        self._thread = thread
        self._write = write
        self._page: _Page | None = None

    async def add(self, record: object) -> Any:
        """Write a record; return what the writing gave for it."""
        page = self._page
        if page is not None:
            place = page.put(record)
            await page.committed.wait()
            return page.result(place)
        page = self._page = _Page()
        place = page.put(record)
        try:
            await checkpoint()  # what comes meanwhile goes on the same page
        finally:  # also when cancelled: others rely on it
            async with self._thread.turn():
                self._page = None
                try:
                    await self._thread.call(lambda: page.commit(self._write))
                finally:
                    page.committed.set()
        return page.result(place)


class _Page:
    """Hold the records of one transaction, and what came of them."""

    def __init__(self) -> None:
        self.committed = anyio.Event()
        self._records: list[object] = []
        self._results: Sequence[Any] | None = None
        self._errors: dict[int, Exception] = {}

    def put(self, record: object) -> int:
        self._records.append(record)
        return len(self._records) - 1

    def commit(self, write: Write) -> None:
        try:
            self._results = write(self._records)
        except LipsyncError as error:
            self._errors = dict.fromkeys(range(len(self._records)), error)
        except Exception:  # noqa: BLE001 - what a request's own values raise is no other's
            self._results = [self._alone(place, write) for place in range(len(self._records))]

    def _alone(self, place: int, write: Write) -> Any:
        """Write one record by itself; what that raises is kept for it."""
        try:
            results = write([self._records[place]])
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._errors[place] = error
            return None
        return results[0] if results is not None else None

    def result(self, place: int) -> Any:
        if place in self._errors:
            raise self._errors[place]
        return self._results[place] if self._results is not None else None


def _intending(journal: Journal) -> Write:
    """Return what writes intents, each with its cost."""

    def write(records: list[Any]) -> Sequence[str]:
        costs = {index: cost for index, _, cost in records if cost is not None}
        return journal.record_intents([record[:2] for record in records], costs=costs)

    return write
