"""Runs many requests at once: full slots, one poller, a journal, an outcome for each.

Creates, and downloads if they are asked for, are the only tasks; a running job is an entry
in a table. The poller tells of changes by a callback, and one task writes them down, all
that have come at once in one transaction, and draws the conclusions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sized
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs
from anyio.lowlevel import checkpoint_if_cancelled

from lipsync_async._asyncio_tools import stray, unasked
from lipsync_async._bulk.fingerprint import earlier_forms
from lipsync_async._bulk.job import FOR_ALL, Held, Job, News, in_journal
from lipsync_async._bulk.journal import Binding, Journal
from lipsync_async._bulk.journal_entry import JobState
from lipsync_async._bulk.journal_writer import JournalThread, Scribe
from lipsync_async._bulk.result_downloader import Fetcher
from lipsync_async._bulk.results import MOST_ALIKE, Alike, Bell, Outcome, Outlet, reason_of
from lipsync_async._bulk.source import Entrant, entrants
from lipsync_async._bulk.submitter import Desk, Guard, Spending
from lipsync_async._callsite import (
    CALL_SITE,
    CallSite,
    call_back,
    is_from_callback,
    log,
    mark_as_callers,
    note_left,
    tell_left,
    under_way,
)
from lipsync_async._enums import Status
from lipsync_async._logic.validation import warn_of_ignored
from lipsync_async._models.response import Generation
from lipsync_async._polling.leader import Attendant
from lipsync_async._polling.wait import bad_end
from lipsync_async._threads import until_done
from lipsync_async.errors import (
    AuthenticationError,
    ConfigurationError,
    IgnoredOptionWarning,
    InvalidRequestError,
    JournalError,
    LipsyncError,
    NotFoundError,
    UnexpectedError,
    in_words,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable

    from anyio.abc import TaskGroup

    from lipsync_async._bulk.results import Meter, Progress
    from lipsync_async._bulk.submitter import Berths
    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._polling.poller import Poller
    from lipsync_async._requester import Exchange, Settings
    from lipsync_async._transport.protocol import Transport


class Roster:
    """Keep the jobs that run, and have them watched.

    They are told apart by themselves: a service that mixes keys up may give two requests
    one id, and neither is to be waited for in vain.

    Args:
        poller: What looks after them.
        transport: Owner of the time.
        grace: Seconds in which "no such generation" is not believed, of a job that an
            earlier run has left either: that may have been just before.
        tell: Takes what is heard of a job.
        hears_all: Whether each change is heard of, not only ends and errors.

    """

    def __init__(
        self,
        poller: Poller,
        transport: Transport,
        grace: float,
        tell: Callable[[Job, News], None],
        *,
        hears_all: bool,
    ) -> None:
        self._poller = poller
        self._transport = transport
        self._grace = grace
        self._tell = tell
        self._hears_all = hears_all
        self._jobs: dict[Job, None] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job, generation: Generation) -> None:
        """Watch a job from now on."""
        job.id, job.status = generation.id, str(generation.status)
        job.fresh_until = self._transport.now() + self._grace
        self._jobs[job] = None
        if not generation.is_terminal:
            notice = partial(self._notice, job)
            job.watcher = self._poller.join(
                job.id, notice, status=job.status, hears_all=self._hears_all
            )

    def remove(self, job: Job) -> None:
        """Watch a job no more; one that was never accepted is fine."""
        if job.id is not None:
            del self._jobs[job]
        self._unwatch(job)

    def jobs(self) -> list[Job]:
        """Return all that run."""
        return [*self._jobs]

    def _notice(self, job: Job, _: str, news: News) -> None:
        if job not in self._jobs:
            return
        if not isinstance(news, Generation):
            if isinstance(news, NotFoundError) and self._transport.now() < job.fresh_until:
                return  # its create may be too fresh
            # The job's outcome is this error. Looks that fail at once would repeat it without end.
            self._unwatch(job)
        self._tell(job, news)

    def _unwatch(self, job: Job) -> None:
        if job.watcher is not None:
            self._poller.leave(job.watcher)


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


@attrs.frozen(slots=True, kw_only=True)
class Plan:
    """Hold what a user has said about a run.

    Attributes:
        journal: Where it is noted; `None`: nowhere.
        folder: Where results go; `None`: they are not fetched.
        concurrent_downloads: Results fetched at once.
        is_ordered: Whether outcomes come in the order of the input.
        stops_on_error: Whether nothing more is begun after the first error.
        spending: What may be ordered.
        duration: Seconds of output, where they are known.
        retries_failed: Whether what failed in an earlier run is ordered anew.
        matches_query: Whether a link that was signed anew is another input.
        accepts_new_key: Whether the journal may be of a run with another API key.

    """

    journal: Path | None
    folder: Path | None
    concurrent_downloads: int
    is_ordered: bool
    stops_on_error: bool
    spending: Spending
    duration: float | None
    retries_failed: bool
    matches_query: bool
    accepts_new_key: bool


@asynccontextmanager
async def launched(
    requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
    plan: Plan,
    *,
    exchange: Exchange,
    settings: Settings,
    poller: Poller,
    berths: Berths,
) -> AsyncIterator[tuple[Fleet, Outlet, Held]]:
    """Run a fleet while the block runs; what the block raises comes out as it is.

    However the block is left, what was ordered and not handed over is told: on the exception,
    if there is one, and in the log, unless a journal has it.
    """
    held = Held()
    async with _opened(plan, exchange) as kept:
        outlet = Outlet(is_ordered=plan.is_ordered)
        scribe = Scribe(kept, exchange.transport.hold)
        fleet = Fleet(
            exchange,
            poller,
            settings,
            berths=berths,
            guard=Guard(exchange, settings, plan.spending, plan.duration, scribe),
            scribe=scribe,
            outlet=outlet,
            held=held,
            fetcher=None
            if plan.folder is None
            else Fetcher(exchange, settings, plan.folder, at_once=plan.concurrent_downloads),
            stops_on_error=plan.stops_on_error,
        )
        # A task of its own and no task group in the caller's: a generator around the block may
        # be closed by another task than has entered it.
        work = asyncio.create_task(_run(fleet, outlet, requests, CallSite.here()))
        try:
            with under_way(lambda: _untold(held, fleet, plan.journal)):
                try:
                    yield fleet, outlet, held
                finally:
                    await _ended(work)
        except BaseException as error:
            _tell(held, error, None if fleet.has_lost_journal else plan.journal)
            raise
        if not held.is_taken_whole:
            _tell(held, None, None if fleet.has_lost_journal else plan.journal)


async def _ended(work: asyncio.Task[None]) -> None:
    """End a task and wait for it, also when cancelled meanwhile: it holds what is paid for."""
    loop = work.get_loop()
    if not loop.is_running():  # it was dropped with all of its tasks
        return
    if loop is asyncio.get_running_loop():
        work.cancel()
        await until_done(work)
        return
    ended: Future[None] = Future()

    def end() -> None:
        work.add_done_callback(lambda _: ended.set_result(None))
        work.cancel()

    loop.call_soon_threadsafe(end)
    await until_done(asyncio.wrap_future(ended))


@asynccontextmanager
async def _opened(plan: Plan, exchange: Exchange) -> AsyncIterator[Journal | None]:
    """Open the run's journal, if it has one: it may have to wait for another program."""
    path = plan.journal
    if path is None:
        yield None
        return
    loop = asyncio.get_running_loop()
    thread = JournalThread(exchange.transport.hold)
    binding = Binding(exchange.service, exchange.key_digest, is_new_key=plan.accepts_new_key)
    opened: list[Journal] = []  # also when this is cancelled while it is opened

    def open_it() -> None:
        journal = Journal.open(
            path,
            binding=binding,
            retry_failed=plan.retries_failed,
            match_query=plan.matches_query,
        )
        opened.append(journal)

    try:
        await thread.call(open_it)
        yield opened[0]
    finally:
        for journal in opened:
            await _closed(journal, thread, loop)


async def _closed(journal: Journal, thread: JournalThread, loop: asyncio.AbstractEventLoop) -> None:
    """Close a journal, also when its loop was dropped."""
    if loop.is_running():
        await thread.call(journal.close)
    else:
        journal.close()


def _untold(held: Held, fleet: Fleet, journal: Path | None) -> list[str]:
    """Return what a run would leave that only it knows."""
    return [] if journal is not None and not fleet.has_lost_journal else held.left().messages()


def _tell(held: Held, error: BaseException | None, journal: Path | None) -> None:
    """Tell what a run leaves behind.

    Args:
        held: What was ordered and not handed over.
        error: What ends the run; `None`: it was left in good order.
        journal: What has all of it; `None`: nothing has.

    """
    left = held.left()
    if not left:
        return
    if error is not None:
        left.put_on(error)
    if journal is None:
        tell_left(error, *left.messages())
    elif error is not None:
        note_left(error, in_journal(journal))


async def _run(
    fleet: Fleet,
    outlet: Outlet,
    requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
    call_site: CallSite,
) -> None:
    """Run the fleet; what ends it is raised where the outcomes are taken."""
    CALL_SITE.set(call_site)  # in this task, and those that it starts
    try:
        await fleet.run(requests)
    except asyncio.CancelledError:
        outlet.close(unasked("the loop"))  # who takes outcomes still is not to wait for ever
        raise
    except BaseException as error:  # noqa: BLE001 - it is raised again
        outlet.close(_alone(error))
    else:
        outlet.close()


def _alone(error: BaseException) -> BaseException:
    """Return the first error of a task group, without the group: the others came of it."""
    while isinstance(error, BaseExceptionGroup) and not is_from_callback(error):
        error = error.exceptions[0]
    return error


class Taker(AsyncIterator[Outcome]):
    """Iterate over the outcomes of a fleet.

    This is no generator, because one that is interrupted is at its end for ever: here a
    step that is cancelled, or whose callback raises, loses nothing.

    Args:
        fleet: What they come from.
        outlet: Where they come out.
        meter: Counts them.
        on_progress: Called, and awaited if need be, with each.
        held: Where an outcome that is given out is held no more.

    """

    def __init__(
        self,
        fleet: Fleet,
        outlet: Outlet,
        meter: Meter,
        on_progress: Callable[[Progress], Awaitable[None] | None] | None,
        held: Held,
    ) -> None:
        self._fleet = fleet
        self._outlet = outlet
        self._meter = meter
        self._on_progress = on_progress
        self._held = held
        self._kept: deque[Outcome] = deque()
        self._loop = asyncio.get_running_loop()

    async def __anext__(self) -> Outcome:
        outcome = self._kept.popleft() if self._kept else await self._next()
        self._held.hand_over(outcome.index)
        return outcome

    async def take_all(self) -> list[Outcome]:
        """Return all outcomes as they have come; until the run has ended they stay held."""
        found: list[Outcome] = []
        # From Python 3.12 on, `suppress` would raise a copy of a group that a callback raises.
        try:
            while True:
                found.append(await self._next())
        except StopAsyncIteration:
            pass
        self._held.is_taken_whole = True
        return found

    async def _next(self) -> Outcome:
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(
                "This run belongs to another event loop. Take its outcomes in the loop that "
                "run_many was entered in; its jobs go on, and no outcome is lost.",
            )
        outcome = await self._outlet.take()
        if outcome is None:
            raise StopAsyncIteration
        self._fleet.refresh()
        self._meter.count(outcome)
        try:
            await self._tell()
        except BaseException:
            self._kept.append(outcome)
            raise
        return outcome

    async def _tell(self) -> None:
        if self._on_progress is not None:
            fleet = self._fleet
            progress = self._meter.progress(
                running=fleet.running, total=fleet.total, ended_by=fleet.ended_by
            )
            await call_back(self._on_progress, progress)
