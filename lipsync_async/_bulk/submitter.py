"""Sends a run's creates: each when there is a slot for it, and while the limits of cost allow.

A create that finds no slot waits, before all that come later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from math import ceil, inf
from typing import TYPE_CHECKING, cast

import anyio
import attrs

from lipsync_async._bulk.journal import RunJournal
from lipsync_async._bulk.results import RefusalCounter, Upload, as_ours, reason_of
from lipsync_async._callsite import BULK_LOG, is_from_callback, log
from lipsync_async._logic import endpoints
from lipsync_async._logic.validation import NEEDS_DURATION, exact, has_files, upload_problems
from lipsync_async._models.policies import RetryPolicy
from lipsync_async._polling import retry_until_timeout
from lipsync_async._rate_limits import LONGEST_JOB
from lipsync_async._requester import Requester, RequestOptions
from lipsync_async.errors import (
    ConcurrencyLimitError,
    ConflictError,
    InvalidRequestError,
    LipsyncError,
    ResponseError,
    SpendingLimitError,
    is_reused_key_code,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from lipsync_async._bulk.results import Job
    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._models.response import Generation
    from lipsync_async._rate_limits import Slot

    UploadFiles = Callable[
        [Requester, RequestOptions, GenerationRequest], Awaitable[GenerationRequest]
    ]

# A run that waits for longer for a slot logs it, once.
_SILENT_SECONDS = 1.0
# Creates under way at once: the service's answer takes a part of a second, and a plan's
# slots (15 at most) must be filled together.
_MAX_CREATES = 32
# With a rate limit: the creates that it allows in so many seconds, since no answer takes longer.
# More would only queue, and queued creates are still sent after the run was stopped.
_LONGEST_ANSWER = 4.0


class Submitter:
    """Sender of a run's creates.

    Attributes:
        queue: Requests that wait to be sent.
        is_closed: Whether no new requests are sent.

    """

    def __init__(
        self,
        requester: Requester,
        settings: RequestOptions,
        *,
        spending: SpendingLimit,
        journal: RunJournal,
        upload: UploadFiles | None,
        accept: Callable[[Job, Generation], None],
        fail: Callable[[Job, LipsyncError], None],
        drop: Callable[[Job], None],
        notify: Callable[[], None],
    ) -> None:
        self._requester = requester
        # A run of hours should outlast an outage that a single call need not, so the default
        # number of attempts does not count; `give_up_after` does. One that the user set counts.
        self._settings = retry_until_timeout(settings)
        if settings.retry.attempts != RetryPolicy().attempts:
            self._settings = attrs.evolve(self._settings, attempts=None)
        self._spending = spending
        self._journal = journal
        self._upload = upload
        self._accept = accept
        self._fail = fail
        self._drop = drop
        self._notify = notify
        self._now = requester.transport.now
        self._slots = requester.account.slots
        self._max_slots = requester.limits.concurrent_generations
        per_minute = requester.limits.creates_per_minute
        if per_minute is None:
            self._max_creates = _MAX_CREATES
        else:
            self._max_creates = min(_MAX_CREATES, max(2, ceil(per_minute / 60 * _LONGEST_ANSWER)))
        self.queue: deque[Job] = deque()
        self._tasks: TaskGroup  # of the run
        self._creates = 0
        self._idle: list[asyncio.Future[Job]] = []
        self.is_closed: bool = False
        # Since when no job of this process has held a slot, so that others have them all.
        self._no_own_slot_since: float | None = None
        self._slot_timeout = settings.retry.slot_timeout
        # Whether only the lack of a slot delays the first in the queue; since when; and whether
        # that was logged.
        self._lacks_slot = False
        self._waits_since: float | None = None
        self._has_logged = False
        self._sleep_scope = anyio.CancelScope()

    def submit(self, *new: Job) -> None:
        """Put requests into the queue, and send as many from it as may be sent now.

        Each is sent by a task that has nothing to do, or else by a new one.
        """
        self.queue.extend(new)
        self._lacks_slot = False
        if self._tasks.cancel_scope.cancel_called:  # the run is left, and sends no more
            return
        while self.queue and self._creates < self._max_creates:
            key = self.queue[0].key
            now = self._now()
            slot = self._slots.take(now, self._max_slots, key, wake=self.wake_up)
            if slot is None:
                if now < self._timeout_ends(now):
                    self._lacks_slot = True
                    # An upload that has a slot is not to share the line with one that has none.
                    if key is None and not self._creates and self._spending.has_room():
                        self._begin_upload(self.queue[0])
                    self._sleep_scope.cancel()  # when to check again may be another time now
                    return
                slot = self._slots.take_anyhow(self._max_slots, key)  # the service decides
            job = self.queue.popleft()
            job.slot = slot
            self._creates += 1
            self._notify()
            if self._idle:
                self._idle.pop().set_result(job)
            else:
                self._tasks.start_soon(self._work, job)

    async def run(self, tasks: TaskGroup) -> None:
        """Send what waits, each when there is a slot; until cancelled."""
        self._tasks = tasks
        with self._slots.on_change(self.wake_up, self._max_slots):
            while True:
                self.submit()
                until = inf
                if not self._lacks_slot:
                    self._waits_since = None
                elif await self._requester.check_unwatched_jobs(self._settings):
                    continue
                else:
                    until = self._next_try()
                with anyio.CancelScope() as self._sleep_scope:
                    if until == inf:
                        await anyio.sleep_forever()
                    await self._requester.transport.sleep(until - self._now())

    def close(self) -> None:
        """Send no new requests; drop those that have no job yet and are not under way.

        What an earlier run may have created is no new request: it is sent where that may be.
        """
        self.is_closed = True
        self._spending.is_closed = True
        queue, self.queue = self.queue, deque()
        for job in queue:
            if job.is_doubtful and job.refusal is None and self._spending.is_money_gone:
                self.queue.append(job)
            else:
                self._give_up(job)
        self._notify()

    def wake_up(self) -> None:
        """Check again whether a create may be sent: something has changed."""
        if self._lacks_slot:  # otherwise the next create that is answered makes room
            self._sleep_scope.cancel()

    def occupy(self, job: Job) -> None:
        """Take a slot for a job that runs already."""
        job.slot = self._slots.occupied(str(job.id), self._max_slots, self._now())

    def _next_try(self) -> float:
        """Return when there may be a slot though nothing has changed."""
        now = self._now()
        next_try = self._slots.next_try(now, self._max_slots)
        next_try = inf if next_try is None else next_try
        return min(self._log_wait(now), next_try, self._timeout_ends(now))

    def _log_wait(self, now: float) -> float:
        """Log that the run waits for a slot, if it has for long; return when to check again."""
        if self._has_logged:
            return inf
        self._waits_since = now if self._waits_since is None else self._waits_since
        due = self._waits_since + _SILENT_SECONDS
        if due > now:
            return due
        self._has_logged = True
        words = self._slots.words(self._max_slots)
        log(BULK_LOG, logging.INFO, f"run_many waits for slots: {words}")
        return inf

    async def _work(self, job: Job) -> None:
        """Send creates, until cancelled: a task for each would cost a tenth more CPU."""
        while True:
            await self._create(job)
            coming: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
            self._idle.append(coming)
            self.submit()
            job = await coming

    async def _create(self, job: Job) -> None:
        """Record the intent, which gives the key, and send the create under it.

        A create that finds no slot is put back into the queue; any other error is passed on.
        """
        slot = cast("Slot", job.slot)
        try:
            if job.key is None:
                if not await self._spending.reserve(job):  # the run was stopped meanwhile
                    self._give_up(job)
                    return
                try:
                    await self._record(job)
                except Exception:
                    self._spending.refund(job.cost)
                    raise
            generation = await self._send(job, cast("str", job.key))
        except BaseException as error:
            if not isinstance(error, Exception) or is_from_callback(error):
                raise  # this ends the run
            self._handle_error(job, slot, as_ours(error, job))
        else:
            self._no_own_slot_since = None
            job.slot = self._slots.accepted(slot, generation, self._now(), is_held=True)
            self._accept(job, generation)
        finally:
            self._creates -= 1

    async def _record(self, job: Job) -> None:
        """Upload the request's files, and record the intent with their ids.

        So every try, and every later run, sends the same body under the same key.
        """
        upload = self._begin_upload(job)
        if upload is not None:
            await upload.done.wait()
            job.upload = None
            if upload.error is not None:
                raise upload.error
        if job.sent is None:
            job.sent = job.request
        job.key = await self._journal.record_intent(job.index, job.sent, job.cost)

    def _begin_upload(self, job: Job) -> Upload | None:
        """Begin to upload a request's files, if there are any and it was not begun before.

        The next in the queue need not wait for its slot: then it holds none meanwhile.
        """
        upload_inputs = self._upload
        is_new = job.upload is None and job.sent is None
        if is_new and upload_inputs is not None and has_files(job.request):
            job.upload = Upload()
            self._tasks.start_soon(self._upload_files, upload_inputs, job, job.upload)
        return job.upload

    async def _upload_files(self, upload_inputs: UploadFiles, job: Job, upload: Upload) -> None:
        try:
            job.sent = await upload_inputs(self._requester, self._settings, job.request)
        except Exception as error:
            if is_from_callback(error):
                raise  # this ends the run
            upload.error = error  # for the create; a source that gives its bytes once is gone
        upload.done.set()

    async def _send(self, job: Job, key: str) -> Generation:
        """Send a create, and note on the job whether it may have worked.

        The key may belong to another body, that of an earlier form of the request: a link in it
        was signed anew since. The service answers that body with the job.
        """
        refusal: LipsyncError | None = None
        for request in (cast("GenerationRequest", job.sent), *job.earlier):
            call = job.call = endpoints.create_generation(request, idempotency_key=key)
            try:
                return await self._requester.execute(call, self._settings, has_slot=True)
            except BaseException as error:
                if not isinstance(error, LipsyncError) or is_from_callback(error):
                    # Of a create that was cancelled no more is known than that it was sent.
                    job.is_doubtful |= call.is_sent
                    raise
                is_of_another = _is_of_another_body(error)
                # Without an earlier form here, the journal may be an old copy.
                is_known = self._journal.keeps_records and is_of_another
                job.is_doubtful |= error.may_have_worked or is_known
                if not is_of_another:
                    raise
                refusal = refusal or error
            finally:
                job.call = None
        raise cast("LipsyncError", refusal)

    def _handle_error(self, job: Job, slot: Slot, error: LipsyncError) -> None:
        """Put a create that found no slot back into the queue, or pass on why there is no job."""
        # A try before may have worked, and this refusal may be for the slot that it has taken.
        error.may_have_worked = job.is_doubtful
        if isinstance(error, ConcurrencyLimitError):
            self._handle_refusal(job, slot, error)
            return
        if job.key is not None and not job.is_doubtful:
            self._spending.refund(job.cost)
        if error.generation is not None:
            job.slot = self._slots.accepted(slot, error.generation, self._now(), is_held=True)
        # Its slot is free when the runner handles the error, which may stop the run.
        self._fail(job, error)

    def _handle_refusal(self, job: Job, slot: Slot, error: ConcurrencyLimitError) -> None:
        """Learn from a refusal, and let the create wait for its turn, if one may come."""
        job.slot, job.refusal = None, error
        now = self._now()
        most, patience = self._max_slots, self._slot_timeout
        self._slots.refused(slot, now, error, most=most, patience=patience)
        if self._timeout_ends(now) <= now:
            self._no_own_slot_since = None  # the next waits as long
            self._fail(job, error)
        elif self.is_closed:
            self._give_up(job)
        else:
            self.queue.appendleft(job)

    def _give_up(self, job: Job) -> None:
        """Drop a request that waits, unless it may have been accepted: that is its outcome."""
        if job.is_doubtful and job.refusal is not None:
            self._fail(job, job.refusal)
        else:
            self._drop(job)

    def _timeout_ends(self, now: float) -> float:
        """Return when others have had all slots for `slot_timeout`.

        Jobs of this process that no run and no wait polls count as others', but are
        given the time that jobs take.
        """
        if self._slots.has_held():
            self._no_own_slot_since = None
        elif self._no_own_slot_since is None:
            self._no_own_slot_since = now
        if self._no_own_slot_since is None or self._slot_timeout is None:
            return inf
        longest = LONGEST_JOB if self._slots.used else 0.0
        return self._no_own_slot_since + self._slot_timeout + longest


def _is_of_another_body(error: LipsyncError) -> bool:
    """Tell whether a create was refused because its key belongs to another body."""
    return isinstance(error, ConflictError) or (
        isinstance(error, ResponseError) and is_reused_key_code(error.code)
    )


# --- What may be spent ---

# A path that is not there, or takes no such request: a service without estimates.
_NO_ESTIMATES = frozenset({(404, None), (405, None), (501, None)})
# Sums of prices are no round numbers: three times 0.1 must fit into 0.3.
_TOLERANCE = 1e-9


@attrs.define(slots=True, eq=False)
class SpendingLimit:
    """Limits of the jobs that a run may create; prices are asked for where they matter.

    Once a job did not fit none does: which requests of an input become jobs must not depend on
    which of them happens to be cheap. Costs are in US dollars.

    Attributes:
        jobs: How many this run has created.
        cost: The cost of them, and of those that earlier runs have created.
        why_over: Why no more may be created; `None`: more may.
        is_money_gone: Whether that is so because the next would have cost too much. A create
            that an earlier run may have sent may be sent again all the same: it costs no more.
        is_closed: Whether no more may be created, and no more prices are asked for.

    """

    _requester: Requester
    _settings: RequestOptions
    _journal: RunJournal
    _max_jobs: int | None = attrs.field(kw_only=True)
    _max_cost: float | None = attrs.field(kw_only=True)
    _duration: float | None = attrs.field(kw_only=True)
    jobs: int = 0
    cost: float = 0.0
    why_over: str | None = None
    is_money_gone: bool = False
    is_closed: bool = False
    _earlier_cost: float = 0.0
    _has_counted_earlier: bool = False
    _prices: dict[tuple[str, bool | None], float] = attrs.field(factory=dict)
    _has_price: bool = False
    _refusals: RefusalCounter = attrs.field(factory=RefusalCounter)
    _lock: anyio.Lock = attrs.field(factory=anyio.Lock)

    async def reserve(self, job: Job) -> bool:
        """Count a job that is about to be created; `False`: the run was stopped meanwhile.

        Raises:
            SpendingLimitError: It may not be created.

        """
        if self._max_cost is not None:
            # One after the other, since the money is used up in the order of the input.
            async with self._lock:
                await self._count_earlier(job)
                # What an earlier run may have created was counted then.
                if not (self.is_closed or self.why_over is not None or job.is_doubtful):
                    job.cost = await self._known_price(job)
                if self.is_closed and self.why_over is None:
                    return False
        problem = self.count(job.cost or 0.0, is_counted=job.is_doubtful)
        if problem is not None:
            raise _over(job, problem)
        return True

    def count(self, cost: float, *, is_counted: bool = False) -> str | None:
        """Count a job that is about to be created; return why it may not be, if so.

        `is_counted`: an earlier run may have created it, and its cost is among theirs.
        """
        if self.why_over is not None and not (is_counted and self.is_money_gone):
            return self.why_over
        if self._max_jobs is not None and self.jobs >= self._max_jobs:
            self.why_over = f"max_jobs={self._max_jobs} is reached"
            return self.why_over
        if self._max_cost is not None and not is_counted:
            # Asked this way round, a price that is no number does not fit either. A negative
            # one is no price: it would make room for others.
            excess = self.cost + cost - self._max_cost
            if not (cost >= 0 and excess <= self._max_cost * _TOLERANCE):
                earlier = self._earlier_cost
                before = f" ({earlier:.2f} of them in earlier runs)" if earlier else ""
                created = f"jobs for {self.cost:.2f} US dollars are created{before}"
                limit = f"max_cost={self._max_cost:g}"
                self.is_money_gone = True
                self.why_over = f"{limit} is reached: {created}, and the next does not fit"
                return f"{limit} does not allow it: {created}, and this one would cost {cost:.2f}"
        self.jobs += 1
        self.cost += cost
        return None

    def refund(self, cost: float | None) -> None:
        """Discount a job of which it is certain that it was not created."""
        self.jobs -= 1
        self.cost -= cost or 0.0

    def has_room(self) -> bool:
        """Tell whether one more job is certain to be allowed."""
        is_open = self._max_cost is None and self.why_over is None and not self.is_closed
        return is_open and (self._max_jobs is None or self.jobs < self._max_jobs)

    async def _count_earlier(self, job: Job) -> None:
        """Count what earlier runs have created, once; without their prices nothing more is."""
        if self._has_counted_earlier:
            return
        earlier = await self._journal.spending()
        self._has_counted_earlier = True
        if earlier is None:
            return
        jobs, cost, unpriced = earlier
        if unpriced:
            self.why_over = (
                f"max_cost cannot be kept, for {unpriced} of {jobs} jobs in the journal were "
                "created without it, and what they cost is not known"
            )
            raise _over(job, self.why_over)
        self._earlier_cost = cost
        self.cost += cost
        before = f"{jobs} jobs for {cost:.2f} US dollars"
        log(
            BULK_LOG,
            logging.INFO,
            f"run_many counts what the journal holds against max_cost: {before}",
        )

    async def _known_price(self, job: Job) -> float:
        """Return a request's price; where none can be known of any, no job is created at all."""
        try:
            price = await self._price(job.request)
        except LipsyncError as error:
            if is_from_callback(error) or not self._is_of_all(error):
                raise
            why = f"max_cost cannot be kept, for prices cannot be known ({reason_of(error)})"
            self.why_over = why
            raise _over(job, why) from error
        self._has_price = True
        self._refusals.count = 0
        return price

    def _is_of_all(self, error: LipsyncError) -> bool:
        """Tell whether no other price can be known either."""
        if isinstance(error, InvalidRequestError):  # a local file; others may have addresses
            return not self._has_price
        if isinstance(error, ResponseError) and (error.status, error.code) in _NO_ESTIMATES:
            return True
        return self._refusals.add(error, may_be_of_one=self._duration is None)

    async def _price(self, request: GenerationRequest) -> float:
        if self._duration is None:
            if problems := upload_problems(request, advice=NEEDS_DURATION):
                raise InvalidRequestError(problems)
            call = endpoints.estimate_request(request)
            return (await self._requester.execute(call, self._settings)).cost
        thinks = None if request.options is None else request.options.reasoning_enabled
        kind = (str(exact(request.model)), thinks)
        if kind not in self._prices:
            call = endpoints.estimate_duration(
                model=kind[0], duration=self._duration, fps=None, reasoning_enabled=thinks
            )
            self._prices[kind] = (await self._requester.execute(call, self._settings)).cost
        return self._prices[kind]


def _over(job: Job, problem: str) -> SpendingLimitError:
    return SpendingLimitError(
        f"Request {job.index} has no job: {problem}. No later request is started. To go on, "
        "run again with another limit, and the same journal if there is one."
    )
