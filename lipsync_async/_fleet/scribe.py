"""Keeps the journal of a running fleet, or none; what comes at once is written at once.

Writing costs a wait for the disk, so intents and downloads that come in the same turn of
the event loop share one. Nothing goes on before its own record is on the disk.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import checkpoint

from lipsync_async._values.models import Generation
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lipsync_async._fleet.job import Job, News
    from lipsync_async._fleet.journal import Journal
    from lipsync_async._fleet.journal_entry import JournalEntry
    from lipsync_async._values.inputs import GenerationRequest


class Scribe:
    """Write down what happens to the requests of a fleet.

    Args:
        journal: Where; `None`: nowhere.

    """

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        if journal is not None:
            self._intents = _Batch(journal.record_intents)
            self._downloads = _Batch(journal.record_downloads)

    @property
    def has_journal(self) -> bool:
        """Whether anything is kept."""
        return self._journal is not None

    def known(
        self,
        requests: Sequence[GenerationRequest],
        start: int,
    ) -> list[JournalEntry | None]:
        """Return what an earlier run has left about a stretch of the input.

        Raises:
            InvalidRequestError: The journal is about another input.

        """
        if self._journal is None:
            return [None] * len(requests)
        return self._journal.match(requests, start=start)

    async def intend(self, index: int, request: GenerationRequest) -> str:
        """Write that a create is about to be sent; return the key to send it under."""
        if self._journal is None:
            return str(uuid.uuid4())
        key: str = await self._intents.add((index, request))
        return key

    async def keep(self, index: int, path: Path) -> None:
        """Write where a result is."""
        if self._journal is not None:
            await self._downloads.add((index, path))

    def note(self, news: Sequence[tuple[Job, News]]) -> None:
        """Write what the service says of jobs, and why requests were given up."""
        if self._journal is None:
            return
        jobs = [(job.index, what) for job, what in news if isinstance(what, Generation)]
        # What was refused before its intent was noted is no business of the journal's.
        errors = [
            (job.index, what)
            for job, what in news
            if isinstance(what, LipsyncError) and job.key is not None
        ]
        if jobs:
            self._journal.record_generations(jobs)
        if errors:
            self._journal.record_errors(errors)


class _Batch:
    """Collect records for one turn of the loop, then write them in one transaction."""

    def __init__(self, write: Callable[[list[Any]], Sequence[Any] | None]) -> None:
        self._write = write
        self._page: _Page | None = None

    async def add(self, record: object) -> Any:
        """Write a record; return what the writing gave for it."""
        page = self._page
        if page is None:
            page = self._page = _Page()
            place = page.put(record)
            try:
                await checkpoint()  # whoever comes meanwhile writes on the same page
            finally:  # also when cancelled: others rely on it
                self._page = None
                page.commit(self._write)
        else:
            place = page.put(record)
            await page.committed.wait()
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

    def commit(self, write: Callable[[list[Any]], Sequence[Any] | None]) -> None:
        try:
            self._results = write(self._records)
        except LipsyncError as error:
            self._errors = dict.fromkeys(range(len(self._records)), error)
        except Exception:  # noqa: BLE001 - what a request's own values raise is no other's
            self._results = [self._alone(place, write) for place in range(len(self._records))]
        self.committed.set()

    def _alone(self, place: int, write: Callable[[list[Any]], Sequence[Any] | None]) -> Any:
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
