"""Runs many requests at once: full slots, one poller, a journal, an outcome for each.

Creates, and downloads if they are asked for, are the only tasks; a running job is an entry
in a table. The poller tells of changes by a callback, and one task writes them down, all
that have come at once in one transaction, and draws the conclusions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sized
from contextlib import aclosing
from copy import copy
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from lipsync_async._fleet.bell import Bell
from lipsync_async._fleet.desk import Desk
from lipsync_async._fleet.fingerprint import earlier_forms
from lipsync_async._fleet.intake import Entrant, entrants
from lipsync_async._fleet.job import FOR_ALL, Job, News
from lipsync_async._fleet.journal_entry import JobState
from lipsync_async._fleet.outcomes import Outcome
from lipsync_async._fleet.roster import Roster
from lipsync_async._rules.caller import is_from_callback, log, mark_as_callers
from lipsync_async._rules.reasons import MOST_ALIKE, Alike, reason_of
from lipsync_async._rules.validation import warn_of_ignored
from lipsync_async._strays import stray, unasked
from lipsync_async._values.models import Generation
from lipsync_async._watch.shift import Attendant
from lipsync_async._watch.waits import bad_end
from lipsync_async._words import Status
from lipsync_async.errors import (
    AuthenticationError,
    ConfigurationError,
    IgnoredOptionWarning,
    InvalidRequestError,
    JournalError,
    LipsyncError,
    UnexpectedError,
    in_words,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable
    from pathlib import Path

    from anyio.abc import TaskGroup

    from lipsync_async._exchange import Exchange, Settings
    from lipsync_async._fleet.berths import Berths
    from lipsync_async._fleet.fetcher import Fetcher
    from lipsync_async._fleet.guard import Guard
    from lipsync_async._fleet.held import Held
    from lipsync_async._fleet.outlet import Outlet
    from lipsync_async._fleet.scribe import Scribe
    from lipsync_async._values.inputs import GenerationRequest
    from lipsync_async._watch.poller import Poller


# What not only creates would meet, but looks at jobs as well.
_FOR_LOOKS = (AuthenticationError, ConfigurationError)


class Fleet:
    """Bring every request to its outcome.

    Args:
        exchange: What performs the calls.
        poller: What looks after the jobs.
        settings: Timeouts, retries, and how often to look.
        berths: The account's slots.
        guard: What may be ordered.
        scribe: Keeps the journal.
        outlet: Takes the outcomes.
        held: Holds what was ordered, until its outcome is taken.
        fetcher: Fetches results; `None`: they are not fetched.
        stops_on_error: Whether nothing more is begun after the first error.

    """

    def __init__(
        self,
        exchange: Exchange,
        poller: Poller,
        settings: Settings,
        *,
        berths: Berths,
        guard: Guard,
        scribe: Scribe,
        outlet: Outlet,
        held: Held,
        fetcher: Fetcher | None,
        stops_on_error: bool,
    ) -> None:
        self._poller = poller
        self._settings = settings
        self._scribe = scribe
        self._guard = guard
        self._outlet = outlet
        self._held = held
        self._fetcher = fetcher
        self._stops_on_error = stops_on_error
        self._desk = Desk(exchange, settings, self, berths=berths, guard=guard, scribe=scribe)
        grace = settings.poll.missing_grace
        # Only a journal wants to know of each change.
        self._roster = Roster(
            poller, exchange.transport, grace, self.tell, hears_all=scribe.has_journal
        )
        self._news: list[tuple[Job, News]] = []
        self._length: int | None = None
        self._begun = 0
        self._delivered = 0
        self._is_taking_in = True
        self._intake = anyio.CancelScope()
        self._mishap: Exception | None = None
        self.ended_by: Exception | None = None
        self._bell = Bell()
        self._alike = Alike()

    @property
    def running(self) -> int:
        """Jobs that were accepted and have not ended."""
        return len(self._roster)

    @property
    def total(self) -> int | None:
        """Requests in all; `None`: not known before the input has ended."""
        if not self._is_taking_in:
            return self._begun
        return None if self._length is None else max(self._length, self._begun)

    @property
    def has_lost_journal(self) -> bool:
        """Whether there is a journal that may not know all that was ordered."""
        return self._scribe.has_unwritten or isinstance(self._mishap, JournalError)

    async def run(
        self,
        requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
    ) -> None:
        """Run all requests; return when each has its outcome.

        Raises:
            Exception: What the input has raised, or the journal, when nothing runs any more.

        """
        if isinstance(requests, Sized):
            self._length = len(requests)
        log(logging.INFO, f"run_many begins: {self._guard.limits()}")
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._poller.attend, Attendant(lambda: False), self._settings)
                tasks.start_soon(self._desk.run, tasks)
                tasks.start_soon(self._take_in, requests, tasks)
                await self._conclude_all(tasks)
                tasks.cancel_scope.cancel()
            if not self._is_done:  # a task group lets nobody know of a cancelled child
                raise unasked("a callback")
        finally:
            with anyio.CancelScope(shield=True):
                await self._leave()
            ended = "" if self.ended_by is None else f"; ended by {reason_of(self.ended_by)}"
            counts = f"{self._begun} requests begun, {self._delivered} with their outcomes"
            log(logging.INFO, f"run_many ends: {counts}{ended}")
        if self._mishap is not None:
            raise self._mishap

    def refresh(self) -> None:
        """Look again for room: an outcome was taken, or a result fetched."""
        self._bell.ring()

    def accept(self, job: Job, generation: Generation) -> None:
        """Watch the job that the service has made of an order."""
        self._alike.accepted()
        self._roster.add(job, generation)
        if self._scribe.has_journal or generation.is_terminal:
            self.tell(job, generation)

    def drop(self, job: Job) -> None:
        """Take an order back that was not placed, because nothing more is to be begun."""
        self._held.hand_over(job.index)
        self._begun -= 1
        self._bell.ring()

    async def _take_in(
        self,
        requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
        tasks: TaskGroup,
    ) -> None:
        try:
            with self._intake:
                async with aclosing(entrants(requests, self._scribe)) as entering:
                    async for entrant in entering:
                        while not self._has_room():
                            await self._bell.heard()
                        # An input need not wait for anything, and it may be endless.
                        await checkpoint_if_cancelled()
                        if self.ended_by is None or self._was_ordered(entrant):
                            await self._begin(entrant, tasks)
        except BaseException as error:
            mishap = error if isinstance(error, Exception) else stray(error, "the input")
            if mishap is None:
                if not isinstance(error, asyncio.CancelledError):  # it ends the run at once
                    mark_as_callers(error)
                raise
            if not isinstance(mishap, LipsyncError):
                mark_as_callers(mishap)
            self._halt(mishap)  # it is raised when all that runs has ended
        self._is_taking_in = False
        self._bell.ring()

    def _has_room(self) -> bool:
        """Tell whether there is room for what one more request would bring."""
        return not (self._outlet.is_full or (self._fetcher is not None and self._fetcher.is_full))

    def _was_ordered(self, entrant: Entrant) -> bool:
        """Tell whether a request is gone on with although nothing more is begun."""
        entry = entrant.entry
        if entry is None or entry.state is JobState.REFUSED:
            return False
        return entry.state.has_job or self._guard.lets_doubtful_through

    async def _begin(self, entrant: Entrant, tasks: TaskGroup) -> None:
        """Let a request go on from where an earlier run, if any, has left it."""
        job = Job(entrant.index, entrant.request)
        self._begun += 1
        self._held.begin(job)
        try:
            is_new = await self._has_yet_to_be_ordered(job, entrant, tasks)
        except Exception as error:  # noqa: BLE001 - it is this request's, whatever it is
            self._fail(job, error)
        else:
            if is_new:
                await self._desk.place(job, tasks)

    async def _has_yet_to_be_ordered(self, job: Job, entrant: Entrant, tasks: TaskGroup) -> bool:
        """Tell whether a request is to be ordered; if not, go on with what there is of it."""
        if entrant.problems:
            self._deliver(job, error=InvalidRequestError(entrant.problems))
            return False
        entry = entrant.entry
        generation = None if entry is None else entry.generation
        if generation is None:
            if entry is not None and entry.state is not JobState.REFUSED:
                job.is_doubtful = True
                job.earlier = earlier_forms(job.request, entry.documents)
            warn_of_ignored(job.request)  # which raises, if the user wants it so
            return True
        job.key = generation.idempotency_key
        job.id, job.status = generation.id, str(generation.status)
        if generation.is_terminal:
            path = entrant.result
            if path is not None and self._fetcher is not None:
                await self._fetcher.clear(job.request, generation)
            self._settle(job, generation, tasks, path=path, resumed=True)
        else:
            self._desk.occupy(job)
            self._roster.add(job, generation)
        return False

    def tell(self, job: Job, news: News) -> None:
        """Take news of a job, or why there is none; conclusions are drawn soon."""
        self._news.append((job, news))
        self._bell.ring()

    async def _conclude_all(self, tasks: TaskGroup) -> None:
        """Write the news down and draw the conclusions, until all is done."""
        while not self._is_done:
            if not self._news:
                await self._bell.heard()
                continue
            for job, what in await self._noted_news():
                try:
                    self._conclude(job, what, tasks)
                except Exception as error:  # noqa: BLE001 - it is this job's, whatever it is
                    self._fail(job, error)

    @property
    def _is_done(self) -> bool:
        return not self._is_taking_in and self._delivered >= self._begun

    async def _noted_news(self) -> list[tuple[Job, News]]:
        news, self._news = self._news, []
        await self._write(news)
        return news

    async def _write(self, news: list[tuple[Job, News]]) -> None:
        try:
            await self._scribe.note(news)
        except Exception as error:  # noqa: BLE001 - it is raised when all that runs has ended
            self._halt(error)

    def _conclude(self, job: Job, news: News, tasks: TaskGroup) -> None:
        if isinstance(news, Generation):
            if news.is_terminal:
                self._end(job)
                news.idempotency_key = job.key
                self._settle(job, news, tasks)
        else:
            self._end(job)
            error = copy(news)  # it may be other jobs' error as well
            error.__cause__ = news.__cause__
            error.generation = error.generation or job.last_seen()
            self._deliver(job, generation=error.generation, error=error)

    def _fail(self, job: Job, error: Exception) -> None:
        """Deliver what was raised for one request as its outcome."""
        ours = _as_ours(error, job)
        self._deliver(job, generation=ours.generation, error=ours)

    def _end(self, job: Job) -> None:
        self._roster.remove(job)
        self._desk.release(job)

    def _settle(
        self,
        job: Job,
        ended: Generation,
        tasks: TaskGroup,
        *,
        path: Path | None = None,
        resumed: bool = False,
    ) -> None:
        """Bring an ended job to its outcome: its error, or its result."""
        job.id, job.status = ended.id, str(ended.status)
        error = bad_end(ended)
        if error is None and path is None and self._fetcher is not None:
            self._fetcher.expect()
            tasks.start_soon(self._fetch, self._fetcher, job, ended)
        else:
            self._deliver(job, generation=ended, error=error, path=path, resumed=resumed)

    async def _fetch(self, fetcher: Fetcher, job: Job, done: Generation) -> None:
        path: Path | None = None
        mishap: LipsyncError | None = None
        try:
            path = await fetcher.fetch(job.request, done)
            await self._scribe.keep(job.index, path)
        except Exception as error:
            if is_from_callback(error):
                raise
            mishap = _as_ours(error, job)
            await self._write([(job, mishap)])
        self._deliver(job, generation=done, error=mishap, path=path)
        self.refresh()

    def _deliver(
        self,
        job: Job,
        *,
        generation: Generation | None = None,
        error: LipsyncError | None = None,
        path: Path | None = None,
        resumed: bool = False,
    ) -> None:
        self._delivered += 1
        if isinstance(error, JournalError):
            self._halt(error)
        elif error is not None and not resumed and (why := self._reason_to_end(error)):
            self._halt(error, is_raised=False, words=why)
        outcome = Outcome(
            index=job.index,
            request=job.request,
            generation=generation,
            error=error,
            path=path,
            resumed=resumed,
        )
        self._held.deliver(outcome)
        self._outlet.put(outcome)

    def _reason_to_end(self, error: LipsyncError) -> str | None:
        """Say why nothing more is to be begun after an outcome's error; `None`: it is."""
        # Only what a create has raised has a key.
        if error.idempotency_key is not None and self._alike.refused(error):
            return f"{MOST_ALIKE} creates in a row were refused alike, as all would be: {error}"
        return str(error) if isinstance(error, FOR_ALL) or self._stops_on_error else None

    def _halt(self, why: Exception, *, is_raised: bool = True, words: str | None = None) -> None:
        """Begin nothing more; what runs is still waited for."""
        if self.ended_by is None:
            self.ended_by = why
        if is_raised and self._mishap is None:
            self._mishap = why
        if self._is_taking_in and not self._desk.is_closed:
            words = words or in_words(why)
            log(logging.WARNING, f"run_many waits for what runs, and begins nothing more: {words}")
        self._desk.close()
        # What earlier runs have ordered is gone on with, if the input has an end.
        has_more = self._scribe.has_journal and self._length is not None
        if is_raised or isinstance(why, _FOR_LOOKS) or not has_more:
            self._intake.cancel()

    async def _leave(self) -> None:
        """Leave what still runs; what was held is told of by others."""
        for job, _ in await self._noted_news():  # an answer that came with the end is an answer
            self._desk.release(job)
        for job in self._roster.jobs():
            self._end(job)


def _as_ours(error: Exception, job: Job) -> LipsyncError:
    """Return what was raised for a request as an error of this package."""
    if isinstance(error, LipsyncError):
        return error
    ours: LipsyncError
    if job.id is None:
        is_warning = isinstance(error, IgnoredOptionWarning)
        words = str(error) if is_warning else f"request: cannot be ordered: {in_words(error)}"
        ours = InvalidRequestError([words])
    else:
        ours = UnexpectedError(
            f"Generation {job.id} is at the service, but going on with it", error
        )
        ours.generation = Generation(id=job.id, status=Status(job.status))
    ours.__cause__ = error
    return ours
