"""Runs many requests at once: full slots, one poller, a journal, an outcome for each.

The run goes on in a task beside the caller's block, and ends with it. Within it a
running job is no task, but an entry in a table. The poller reports changes by a
callback, and one task handles them: all that have come at once are recorded in one transaction.

Requests are read as they are needed, so an input of any length fits. With a journal, a
few are read ahead, because it answers for a hundred as fast as for one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sized
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio
import attrs

from lipsync_async._asyncio_tools import cancellation_error, unexpected_cancellation
from lipsync_async._bulk.fingerprint import earlier_forms, with_uploads
from lipsync_async._bulk.journal import Journal, JournalWriter, NullJournal, in_thread
from lipsync_async._bulk.journal_entry import JobState, JournalEntry
from lipsync_async._bulk.results import (
    MAX_SAME_REFUSALS,
    MAX_WAITING,
    Job,
    JobUpdate,
    OnProgress,
    OpenRequests,
    Outcome,
    OutcomeIterator,
    OutcomeQueue,
    ProgressTracker,
    RefusalCounter,
    as_ours,
    reason_of,
)
from lipsync_async._bulk.submitter import SpendingLimit, Submitter
from lipsync_async._callsite import (
    BULK_LOG,
    CALL_SITE,
    UNDER_WAY,
    CallSite,
    is_from_callback,
    log,
    mark_as_callers,
    note_left,
    tell_left,
)
from lipsync_async._logic.validation import (
    exact,
    expanded,
    file_problems,
    has_files,
    request_problems,
    run_problems,
    shown,
    warn_of_ignored,
)
from lipsync_async._models.request import GenerationRequest
from lipsync_async._models.response import Generation
from lipsync_async._polling import Waiter, error_of, retry_until_timeout
from lipsync_async._threads import WORKERS, until_done
from lipsync_async.errors import (
    AuthenticationError,
    ConcurrencyLimitError,
    ConfigurationError,
    GenerationError,
    InvalidRequestError,
    JournalError,
    LipsyncError,
    NotFoundError,
    PaymentRequiredError,
    SpendingLimitError,
    in_words,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskGroup

    from lipsync_async._bulk.journal import RunJournal
    from lipsync_async._download import ResultDownloader
    from lipsync_async._polling import Poller
    from lipsync_async._requester import Requester, RequestOptions
    from lipsync_async._upload import UploadInputs
    from lipsync_async.webhooks import WebhookReceiver

    Webhooks = WebhookReceiver | None

# Errors that every later request would meet as well; they stop the run. A lack of slots ends a
# request only after `slot_timeout`, in which others have had them all.
_FATAL_ERRORS = (
    AuthenticationError,
    ConcurrencyLimitError,
    ConfigurationError,
    PaymentRequiredError,
    SpendingLimitError,
)
# Those that not only creates would meet, but polls as well.
_FATAL_TO_POLLS = (AuthenticationError, ConfigurationError)
# Requests that a journal is asked for at once.
_READ_AHEAD = 100

Requests: TypeAlias = Iterable[GenerationRequest] | AsyncIterable[GenerationRequest]
# A request, why it cannot be sent (empty if it can), and what an earlier run has left of it.
Item: TypeAlias = tuple[Job, list[str], JournalEntry | None]


@attrs.frozen(slots=True, kw_only=True)
class RunOptions:
    """Options of a run, as the user has given them; see `run_many` for their meaning."""

    journal: str | os.PathLike[str] | None = attrs.field(default=None, repr=False)  # a password
    download_to: str | os.PathLike[str] | None = None
    concurrent_downloads: int = 4
    ordered: bool = False
    stop_on_error: bool = False
    max_jobs: int | None = None
    max_cost: float | None = None
    duration: float | None = None
    on_progress: OnProgress | None = None
    retry_failed: bool = False
    match_query: bool = False
    accept_new_key: bool = False
    upload: str = "asset"
    webhooks: Webhooks = None


@asynccontextmanager
async def open_run(
    requests: Requests,
    options: RunOptions,
    *,
    requester: Requester,
    settings: RequestOptions,
    poller: Poller,
    upload_inputs: UploadInputs,
) -> AsyncIterator[OutcomeIterator]:
    """Run requests in a task while the block runs; cancel it when the block is left.

    What the block raises comes out as it is. However the block is left, the jobs whose outcome
    was not taken are named: on the exception, if there is one, and in the log, unless a journal
    has them.

    Raises:
        InvalidRequestError: An argument is wrong.

    """
    if problems := run_problems(options, requests):
        raise InvalidRequestError(problems)
    async with _opened_journal(options, requester) as journal:
        run = BulkRunner(
            requester,
            settings,
            options,
            poller=poller,
            journal=journal,
            upload_inputs=upload_inputs,
        )
        # A task of its own and no task group in the caller's: a generator around the block may
        # be closed by another task than has entered it.
        task = asyncio.create_task(run.run(requests, CallSite.here()))
        UNDER_WAY[run] = lambda: [] if run.journal_path else run.open_requests.left().messages()
        try:
            try:
                yield OutcomeIterator(
                    run.outcomes, run.tracker, run.open_requests, options.on_progress
                )
            finally:
                run.outcomes.close()  # a later `anext` must not wait for ever
                await _cancel(task)
        except BaseException as error:
            _tell_left(run, error)
            raise
        finally:
            UNDER_WAY.pop(run, None)
        if not run.open_requests.is_complete:
            _tell_left(run, None)


@asynccontextmanager
async def _opened_journal(options: RunOptions, requester: Requester) -> AsyncIterator[RunJournal]:
    """Open the run's journal, if it has one: it may have to wait for another program."""
    if options.journal is None:
        yield NullJournal()
        return
    loop = asyncio.get_running_loop()
    hold = requester.transport.hold
    opening = WORKERS.submit(
        partial(
            Journal.open,
            options.journal,
            account=(requester.service, requester.key_digest),
            accept_new_key=options.accept_new_key,
            retry_failed=options.retry_failed,
            match_query=options.match_query,
        )
    )
    try:
        with hold():
            await until_done(opening)
        yield JournalWriter(opening.result(), hold)
    finally:
        # It may be open although this was cancelled.
        if opening.done() and opening.exception() is None:
            journal = opening.result()
            if loop.is_running():
                await in_thread(hold, journal.close)
            else:  # the loop was dropped with all of its tasks
                journal.close()


async def _cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, also when cancelled meanwhile: it holds paid jobs."""
    loop = task.get_loop()
    if not loop.is_running():  # it was dropped with all of its tasks
        return
    if loop is asyncio.get_running_loop():
        task.cancel()
        await until_done(task)
        return
    ended: Future[None] = Future()

    def end() -> None:
        task.add_done_callback(lambda _: ended.set_result(None))
        task.cancel()

    loop.call_soon_threadsafe(end)
    await until_done(asyncio.wrap_future(ended))


def _tell_left(run: BulkRunner, error: BaseException | None) -> None:
    """Tell what a run leaves behind; without an error, it was left in good order."""
    left = run.open_requests.left()
    if not left:
        return
    if isinstance(error, LipsyncError):
        error.generation_ids = (*left.running, *left.ended)
        error.idempotency_keys = dict(sorted(left.keys.items()))
    if run.journal_path is None:
        tell_left(error, *left.messages(), logger=BULK_LOG)
    elif error is not None:
        note_left(
            error,
            f"The journal {run.journal_path} holds what was created. Run again with the same "
            "requests and this journal: no job is created twice.",
        )


class BulkRunner:
    """Runner of many requests."""

    def __init__(
        self,
        requester: Requester,
        settings: RequestOptions,
        options: RunOptions,
        *,
        poller: Poller,
        journal: RunJournal,
        upload_inputs: UploadInputs,
    ) -> None:
        self._now = requester.transport.now
        self._slots = requester.account.slots
        # Set when there may be room for another request.
        self._room = asyncio.Event()
        self.outcomes: OutcomeQueue = OutcomeQueue(is_ordered=options.ordered, room=self._room)
        self.open_requests: OpenRequests = OpenRequests()
        self.tracker: ProgressTracker = ProgressTracker(self._now, self._now())
        self._updated = asyncio.Event()
        self._options = options
        self._settings = settings
        self._poller = poller
        self._journal = journal
        self._spending = SpendingLimit(
            requester,
            settings,
            journal,
            max_jobs=options.max_jobs,
            max_cost=options.max_cost,
            duration=options.duration,
        )
        self._submitter = Submitter(
            requester,
            settings,
            spending=self._spending,
            journal=journal,
            upload=None if options.upload == "form" else partial(upload_inputs, kept={}),
            accept=self._accept,
            fail=self._update,
            drop=self._drop,
            notify=self._room.set,
        )
        self._downloader: ResultDownloader | None = None
        if options.download_to is not None:
            from lipsync_async._download import ResultDownloader  # noqa: PLC0415 - few runs need it

            self._downloader = ResultDownloader(
                requester,
                settings,
                Path(expanded(options.download_to)),
                at_once=options.concurrent_downloads,
            )
        # Jobs are told apart by themselves: a service that mixes keys up may give two requests
        # one id, and neither is to be waited for in vain.
        self._jobs: dict[Job, None] = {}
        self._updates: list[tuple[Job, JobUpdate]] = []
        self._delivered = 0
        self._tasks: TaskGroup  # of the run
        self._reading = anyio.CancelScope()
        self._error: Exception | None = None
        self._refusals = RefusalCounter()

    @property
    def journal_path(self) -> Path | str | None:
        """The journal that has all creates; `None`: there is none, or it may not."""
        is_lost = self._journal.has_unwritten or isinstance(self._error, JournalError)
        return None if is_lost else self._journal.path

    async def run(self, requests: Requests, call_site: CallSite) -> None:
        """Run all requests; what ends the run early is raised where the outcomes are taken."""
        CALL_SITE.set(call_site)  # in this task, and those that it starts
        tracker, options = self.tracker, self._options
        limits = [] if options.max_jobs is None else [f"max_jobs={options.max_jobs}"]
        if options.max_cost is not None:
            limits.append(f"max_cost={options.max_cost:g} US dollars")
        log(BULK_LOG, logging.INFO, f"run_many begins: {', '.join(limits) or 'no limits'}")
        end: BaseException | None = None
        is_done = False
        try:
            try:
                async with anyio.create_task_group() as self._tasks:
                    patient = retry_until_timeout(self._settings)
                    self._tasks.start_soon(self._poller.run_until, Waiter(bool), patient)
                    self._tasks.start_soon(self._submitter.run, self._tasks)
                    self._tasks.start_soon(self._read_input, requests)
                    await self._handle_updates()
                    is_done = True
                    self._tasks.cancel_scope.cancel()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._record(self._updates)  # those that came with the end count
                for open_request in self.open_requests.each.values():  # it names what is left
                    if isinstance(open_request, Job):
                        self._end(open_request)
                counts = f"{tracker.started} requests begun, {self._delivered} with their outcomes"
                by = "" if tracker.ended_by is None else f"; ended by {reason_of(tracker.ended_by)}"
                log(BULK_LOG, logging.INFO, f"run_many ends: {counts}{by}")
            # A task group ignores a child that was cancelled.
            end = self._error if is_done else cancellation_error("a callback")
        except asyncio.CancelledError:
            end = cancellation_error("the loop")  # a task that takes outcomes must not wait
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised by `OutcomeQueue.get`
            # The first error of a task group, without the group: the others came of it.
            end = error
            while isinstance(end, BaseExceptionGroup) and not is_from_callback(end):
                end = end.exceptions[0]
        finally:
            self.outcomes.close(end)

    # --- The input ---

    async def _read_input(self, requests: Requests) -> None:
        try:
            self.tracker.length = len(requests) if isinstance(requests, Sized) else None
            with self._reading:
                is_form = self._options.upload == "form"
                reading = read_requests(requests, self._journal, is_form=is_form)
                async with aclosing(reading) as items:
                    async for job, problems, entry in items:
                        # An input need not wait for anything, and it may be endless.
                        if self._reading.cancel_called:
                            break
                        await self._start(job, problems, entry)
        except BaseException as error:
            failure = (
                error
                if isinstance(error, Exception)
                else unexpected_cancellation(error, "the input")
            )
            if failure is None:
                if not isinstance(error, asyncio.CancelledError):  # it ends the run at once
                    mark_as_callers(error)
                raise
            if not isinstance(failure, LipsyncError):
                mark_as_callers(failure)
            self._stop_submitting(failure)  # it is raised when all that runs has ended
        self.tracker.has_read_all = True
        self._updated.set()

    async def _start(self, job: Job, problems: list[str], entry: JournalEntry | None) -> None:
        """Start a request when there is room for it; return when there may be room for more.

        It goes on from where an earlier run, if any, has left it.
        """
        downloader = self._downloader
        while self.outcomes.waiting >= MAX_WAITING or (
            downloader is not None and downloader.waiting >= MAX_WAITING
        ):
            self._room.clear()
            await self._room.wait()
        if self.tracker.ended_by is None or self._is_continued(entry):
            self.tracker.started += 1
            self.open_requests.each[job.index] = job
            try:
                if problems:
                    self._finish(job, None, InvalidRequestError(problems))
                elif entry is None or entry.generation is None:
                    if entry is not None:
                        self._go_on(job, entry)
                    warn_of_ignored(job.request)  # which raises, if the user wants it so
                    self._submitter.submit(job)
                else:
                    await self._resume(job, entry.generation, _saved(entry))
            except Exception as error:  # noqa: BLE001 - it is this request's, whatever it is
                self._fail(job, error)
        while self._submitter.queue:
            self._room.clear()
            await self._room.wait()

    def _go_on(self, job: Job, entry: JournalEntry) -> None:
        """Let a request without a job be sent as it was: under its key and with its assets."""
        is_certain = entry.state is JobState.NOT_CREATED
        if not is_certain:
            job.is_doubtful = True
            job.earlier = earlier_forms(job.request, entry.documents)
        if has_files(job.request) and not (is_certain and self._options.retry_failed):
            job.sent = with_uploads(job.request, entry.request)

    def _is_continued(self, entry: JournalEntry | None) -> bool:
        """Tell whether a request is continued although no new requests are started."""
        if entry is None or entry.state is JobState.NOT_CREATED:
            return False
        return entry.state.has_job or self._spending.is_money_gone

    async def _resume(self, job: Job, generation: Generation, path: Path | None) -> None:
        """Let a job go on that an earlier run has created; its result may be saved already."""
        job.key = generation.idempotency_key
        job.id, job.status = generation.id, str(generation.status)
        if not generation.is_terminal:
            self._submitter.occupy(job)
            self._accept(job, generation, is_new=False)
            return
        if path is not None and self._downloader is not None:
            await self._downloader.clear(job.request, generation)
        job.path, job.resumed = path, True
        self._finish(job, generation, error_of(generation))

    # --- From the submitter and the poller ---

    def _accept(self, job: Job, generation: Generation, *, is_new: bool = True) -> None:
        """Watch a job; what the service has said of a new one is an update."""
        job.id, job.status = generation.id, str(generation.status)
        # A 404 is ignored for a while (replication lag), of a job that an earlier run has left,
        # too: that may have been just before.
        job.fresh_until = self._now() + self._settings.poll.not_found_grace
        self._jobs[job] = None
        self.tracker.running += 1
        if not generation.is_terminal:
            job.subscription = self._poller.subscribe(
                job.id,
                partial(self._on_poll, job),
                status=job.status,
                hears_all=self._journal.keeps_records,  # only a journal needs each change
                webhooks=self._options.webhooks if job.request.webhook_url else None,
                is_new=is_new,
            )
        if is_new:
            self._refusals.count = 0
            if self._journal.keeps_records or generation.is_terminal:
                self._update(job, generation)

    def _drop(self, job: Job) -> None:
        """Forget a request that was not sent, because the run was stopped."""
        self._end(job)
        self.open_requests.each.pop(job.index, None)
        self.tracker.started -= 1
        self._updated.set()

    def _on_poll(self, job: Job, _: str, update: JobUpdate) -> None:
        if job not in self._jobs:
            return
        if isinstance(update, Generation):
            if update.is_terminal:  # the poller watches it no more
                job.status, job.subscription = str(update.status), None
        else:
            if isinstance(update, NotFoundError) and self._now() < job.fresh_until:
                return
            # The job's outcome is this error. Polls that fail at once would repeat it endlessly.
            self._poller.unsubscribe(job.subscription)
        self._update(job, update)

    def _update(self, job: Job, update: JobUpdate) -> None:
        """Take an update of a job, to be recorded and handled soon."""
        self._updates.append((job, update))
        self._updated.set()

    # --- The outcomes ---

    async def _handle_updates(self) -> None:
        """Record and handle updates until all requests have their outcomes."""
        tracker = self.tracker
        while not (tracker.has_read_all and self._delivered >= tracker.started):
            if not self._updates:
                self._updated.clear()
                await self._updated.wait()
                continue
            updates, self._updates = self._updates, []
            await self._record(updates)
            for job, update in updates:
                if isinstance(update, Generation) and not update.is_terminal:
                    continue
                try:
                    self._end(job)
                    if isinstance(update, Generation):
                        update.idempotency_key = job.key
                        self._finish(job, update, error_of(update))
                    else:
                        own = copy(update)  # it may be other jobs' error as well
                        own.__cause__ = update.__cause__
                        own.generation = own.generation or job.last_seen()
                        self._finish(job, own.generation, own)
                except Exception as error:  # noqa: BLE001 - it is this job's, whatever it is
                    self._fail(job, error)

    async def _record(self, updates: list[tuple[Job, JobUpdate]]) -> None:
        try:
            await self._journal.record_updates(updates)
        except Exception as error:  # noqa: BLE001 - it is raised when all that runs has ended
            self._stop_submitting(error)

    def _end(self, job: Job) -> None:
        """Stop watching a job, and give its slot back; one that has neither is fine."""
        if job in self._jobs:
            del self._jobs[job]
            self.tracker.running -= 1
        self._poller.unsubscribe(job.subscription)
        slot, job.slot = job.slot, None
        self._slots.release(slot)

    def _finish(self, job: Job, generation: Generation | None, error: LipsyncError | None) -> None:
        """Give a request its outcome; a result that is wanted is downloaded before."""
        downloader = self._downloader
        if error is None and job.path is None and downloader is not None:
            downloader.waiting += 1
            completed = cast("Generation", generation)
            self._tasks.start_soon(self._download, downloader, job, completed)
            return
        self._delivered += 1
        is_old = job.resumed and isinstance(error, GenerationError)
        if isinstance(error, JournalError):
            self._stop_submitting(error)
        elif error is not None and not is_old and (why := self._reason_to_stop(error)):
            self._stop_submitting(error, is_raised=False, words=why)
        outcome = Outcome(
            index=job.index,
            request=job.request,
            generation=generation,
            error=error,
            path=job.path,
            resumed=job.resumed,
        )
        self.open_requests.each[job.index] = outcome
        self.outcomes.put(outcome)

    async def _download(
        self, downloader: ResultDownloader, job: Job, completed: Generation
    ) -> None:
        failure: LipsyncError | None = None
        try:
            job.path = await downloader.download(job.request, completed)
            await self._journal.record_updates([(job, job.path)])
        except Exception as error:
            if is_from_callback(error):
                raise
            failure = as_ours(error, job)
            if not isinstance(failure, JournalError):  # each try to write may take a minute
                await self._record([(job, failure)])
        self._finish(job, completed, failure)
        self._room.set()
        self._updated.set()

    def _fail(self, job: Job, error: Exception) -> None:
        """Make what was raised for one request its outcome."""
        ours = as_ours(error, job)
        self._finish(job, ours.generation, ours)

    def _reason_to_stop(self, error: LipsyncError) -> str | None:
        """Return why no more requests are started after an outcome's error; `None`: they are."""
        # Only what a create has raised has a key.
        if error.idempotency_key is not None and self._refusals.add(error):
            return (
                f"{MAX_SAME_REFUSALS} creates in a row were refused alike, as all would be: {error}"
            )
        is_fatal = isinstance(error, _FATAL_ERRORS) or self._options.stop_on_error
        return str(error) if is_fatal else None

    # --- The end ---

    def _stop_submitting(
        self, why: Exception, *, is_raised: bool = True, words: str | None = None
    ) -> None:
        """Start no more requests; jobs that run are still waited for."""
        if self.tracker.ended_by is None:
            self.tracker.ended_by = why
        if is_raised and self._error is None:
            self._error = why
        if not (self.tracker.has_read_all or self._submitter.is_closed):
            words = words or in_words(why)
            log(
                BULK_LOG,
                logging.WARNING,
                f"run_many creates no more jobs, and waits for those that run: {words}",
            )
        self._submitter.close()
        # What earlier runs have created is continued, if the input has an end.
        has_more = self._journal.keeps_records and self.tracker.length is not None
        if is_raised or isinstance(why, _FATAL_TO_POLLS) or not has_more:
            self._reading.cancel()


# --- The input ---


async def read_requests(
    requests: Requests, journal: RunJournal, *, is_form: bool = False
) -> AsyncGenerator[Item, None]:
    """Yield each request of the input; what the input raises comes after all that it gave."""
    source: Any = requests
    is_async = isinstance(source, AsyncIterable)
    source = aiter(source) if is_async else iter(source)
    end = StopAsyncIteration if is_async else StopIteration
    size = _READ_AHEAD if journal.keeps_records and not is_async else 1
    ids = dict[str, int]()
    start = 0
    failure: Exception | None = None
    while failure is None:
        valid: list[GenerationRequest] = []  # that follow each other
        invalid: list[Item] = []  # at most one, which comes after them
        try:
            while len(valid) < size and not invalid:
                request = await anext(source) if is_async else next(source)
                index = start + len(valid)
                problems = request_problems(
                    request, with_files=False, is_form=is_form, is_kept=journal.keeps_records
                )
                if not problems and request.request_id is not None:
                    problems = _shared_id(index, request, ids)
                if problems:
                    invalid.append((Job(index, request), problems, None))
                else:
                    valid.append(request)
        except Exception as error:  # noqa: BLE001 - it is raised below
            failure = error
        for item in [*await _looked_up(valid, start, journal), *invalid]:
            yield item
        start += len(valid) + len(invalid)
    if not isinstance(failure, end):
        raise failure


def _saved(entry: JournalEntry) -> Path | None:
    """Return the file that an earlier run has saved, if it is still there."""
    path = entry.download_path
    return path if path is not None and path.exists() else None


def _shared_id(index: int, request: GenerationRequest, ids: dict[str, int]) -> list[str]:
    """Refuse a second request of one name: which of the two a journal knows would be luck."""
    name = str(exact(request.request_id))  # a derived class may raise when it is compared
    if (first := ids.setdefault(name, index)) == index:
        return []
    return [f"request_id: {shown(name)} is that of request {first} as well; give each its own"]


async def _looked_up(
    requests: list[GenerationRequest], start: int, journal: RunJournal
) -> list[Item]:
    """Look valid requests up in the journal; if that raises, one by one to find the reason."""
    found: list[Item] = []
    try:
        entries = await journal.match(requests, start) if requests else []
    except LipsyncError:
        raise
    except Exception as error:  # noqa: BLE001 - what a request's own values raise
        if len(requests) == 1:
            problem = f"request: cannot be looked up in the journal: {in_words(error)}"
            return [(Job(start, requests[0]), [problem], None)]
        for index, request in enumerate(requests, start):
            found += await _looked_up([request], index, journal)
        return found
    for request, entry in zip(requests, entries, strict=True):
        # Files that were sent already may be gone.
        is_sent = entry is not None and entry.state.has_job
        problems = [] if is_sent else file_problems(request)
        found.append((Job(start + len(found), request), problems, entry))
    return found
