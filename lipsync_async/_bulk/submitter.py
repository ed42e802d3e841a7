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
from lipsync_async._bulk.results import RefusalCounter, as_ours, reason_of
from lipsync_async._callsite import BULK_LOG, is_from_callback, log
from lipsync_async._logic import endpoints
from lipsync_async._logic.validation import exact, upload_problems
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
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from lipsync_async._bulk.results import Job
    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._models.response import Generation
    from lipsync_async._rate_limits import Slot

# Said where a price is asked for that cannot be known from the media.
NEEDS_DURATION = "pass duration=, the seconds of the longest result"
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
        guard: CostGuard,
        journal: RunJournal,
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
        self._guard = guard
        self._journal = journal
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
        self._creates = 0
        self._idle: list[asyncio.Future[Job]] = []
        self.is_closed: bool = False
        # Since when no job of this process has held a slot, so that others have them all.
        self._no_own_slot_since: float | None = None
        self._slot_timeout = settings.retry.slot_timeout
        # Since when the first in the queue has waited for a slot; and whether that was logged.
        self._waits_since: float | None = None
        self._has_logged = False
        self._sleep_scope = anyio.CancelScope()

    def submit(self, job: Job, tasks: TaskGroup) -> None:
        """Send a create when all before it are under way and there is a slot."""
        self.queue.append(job)
        self._start_creates(tasks)
        self.wake_up()

    async def run(self, tasks: TaskGroup) -> None:
        """Send what waits, each when there is a slot; until cancelled."""
        with self._slots.on_change(self.wake_up, self._max_slots):
            while True:
                self._start_creates(tasks)
                if not (
                    self._lacks_slot()
                    and await self._requester.check_unwatched_jobs(self._settings)
                ):
                    await self._sleep()

    def close(self) -> None:
        """Send no new requests; drop those that have no job yet and are not under way.

        What an earlier run may have created is no new request: it is sent where that may be.
        """
        self.is_closed = True
        self._guard.is_closed = True
        queue, self.queue = self.queue, deque()
        for job in queue:
            if job.is_doubtful and job.refusal is None and self._guard.allows_doubtful:
                self.queue.append(job)
            else:
                self._give_up(job)
        self._notify()

    def wake_up(self) -> None:
        """Check again whether a create may be sent: something has changed."""
        if self._lacks_slot():  # otherwise the next create that is answered makes room
            self._sleep_scope.cancel()

    def occupy(self, job: Job) -> None:
        """Take a slot for a job that runs already."""
        job.slot = self._slots.occupied(str(job.id), self._max_slots, self._now())

    def release(self, job: Job) -> None:
        """Give a job's slot back, if it has one; a job that goes on keeps it."""
        slot, job.slot = job.slot, None
        if slot is not None:  # pragma: no branch - a refused create has lost its slot before
            self._slots.release(slot)

    def _lacks_slot(self) -> bool:
        """Tell whether only the lack of a slot delays the first in the queue."""
        return bool(self.queue) and self._creates < self._max_creates

    async def _sleep(self) -> None:
        """Sleep until something has changed, or until there may be a slot all the same."""
        now, until = self._now(), inf
        if self._lacks_slot():
            next_try = self._slots.next_try(now, self._max_slots)
            next_try = inf if next_try is None else next_try
            until = min(self._log_wait(now), next_try, self._timeout_ends(now))
        else:
            self._waits_since = None
        with anyio.CancelScope() as self._sleep_scope:
            if until == inf:
                await anyio.sleep_forever()
            await self._requester.transport.sleep(until - now)

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

    def _next(self) -> Job | None:
        """Take the first in the queue, with a slot, if its create may be sent."""
        if not self._lacks_slot():
            return None
        key = self.queue[0].key
        now = self._now()
        slot = self._slots.take(now, self._max_slots, key, wake=self.wake_up)
        if slot is None:
            if now < self._timeout_ends(now):
                return None
            slot = self._slots.take_anyhow(self._max_slots, key)  # the service decides
        job = self.queue.popleft()
        job.slot = slot
        self._creates += 1
        self._notify()
        return job

    def _start_creates(self, tasks: TaskGroup) -> None:
        """Send what may be sent: in a task that has nothing to do, or else in a new one."""
        while (job := self._next()) is not None:
            if self._idle:
                self._idle.pop().set_result(job)
            else:
                tasks.start_soon(self._work, job)

    async def _work(self, job: Job) -> None:
        """Send creates, until cancelled: a task for each would cost a tenth more CPU."""
        while True:
            await self._create(job)
            job = self._next() or await self._next_later()

    async def _next_later(self) -> Job:
        """Wait for a create to send."""
        self.wake_up()  # from now on only the lack of a slot may delay the next
        coming: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._idle.append(coming)
        try:
            return await coming
        except BaseException:
            if coming.done() and not coming.cancelled():  # cancelled in the moment in which it came
                self._creates -= 1
                self.release(coming.result())
            else:
                self._idle.remove(coming)
            raise

    async def _create(self, job: Job) -> None:
        """Send a create, or put it back into the queue; whatever is raised for it is passed on."""
        slot = cast("Slot", job.slot)
        try:
            generation = await self._submit(job)
        except BaseException as error:
            if not isinstance(error, Exception) or is_from_callback(error):
                self.release(job)
                raise
            self._handle_error(job, slot, as_ours(error, job))
        else:
            if generation is None:
                self.release(job)
                self._give_up(job)
            else:
                job.slot = self._slots.accepted(slot, generation, self._now(), is_held=True)
                self._accept(job, generation)
        finally:
            self._creates -= 1

    async def _submit(self, job: Job) -> Generation | None:
        """Record the intent, which gives the key, and send the create under it.

        `None`: it was not sent, because the run was stopped meanwhile.
        """
        if job.key is None:
            if not await self._guard.reserve(job):
                return None
            try:
                job.key = await self._journal.record_intent(job.index, job.request, job.cost)
            except Exception:
                self._guard.refund(job)
                raise
        try:
            generation = await self._send(job, job.request, job.key)
        except LipsyncError as error:
            if not job.earlier or not _is_of_another_body(error):
                raise
            generation = await self._send_earlier(job, job.key, error)
        self._no_own_slot_since = None
        return generation

    async def _send_earlier(self, job: Job, key: str, refusal: LipsyncError) -> Generation:
        """Return the job that was created by a request in an earlier form.

        The key belongs to the body that was sent before a link was signed anew: the service
        answers that body with the job.
        """
        for request in job.earlier:
            try:
                return await self._send(job, request, key)
            except LipsyncError as error:
                if not _is_of_another_body(error):
                    raise
        raise refusal

    async def _send(self, job: Job, request: GenerationRequest, key: str) -> Generation:
        """Send a create, and note on the job whether it may have worked."""
        call = job.call = endpoints.create_generation(request, idempotency_key=key)
        try:
            return await self._requester.execute(call, self._settings, has_slot=True)
        except BaseException as error:
            if isinstance(error, LipsyncError) and not is_from_callback(error):
                # A key of the journal that belongs to another body was sent with that one: the
                # journal may be an old copy.
                is_known = self._journal.keeps_records and _is_of_another_body(error)
                job.is_doubtful |= error.may_have_worked or is_known
            else:  # of a create that was cancelled no more is known than that it was sent
                job.is_doubtful |= call.is_sent
            raise
        finally:
            job.call = None

    def _handle_error(self, job: Job, slot: Slot, error: LipsyncError) -> None:
        """Put a create that found no slot back into the queue, or pass on why there is no job."""
        # A try before may have worked, and this refusal may be for the slot that it has taken.
        error.may_have_worked = job.is_doubtful
        if isinstance(error, ConcurrencyLimitError):
            self._handle_refusal(job, slot, error)
            return
        if job.key is not None and not job.is_doubtful:
            self._guard.refund(job)
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
        if self._slots.has_held:
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


@attrs.define(slots=True, kw_only=True)
class SpendingLimit:
    """Counter of what is ordered, against the limits of a run.

    Once something did not fit nothing more does: which requests of an input are ordered
    must not depend on which of them happens to be cheap. Costs are in US dollars.
    """

    max_jobs: int | None = None
    max_cost: float | None = None
    jobs: int = 0
    cost: float = 0.0  # that of earlier runs included
    earlier: float = 0.0
    why_over: str | None = None  # why nothing more may be ordered
    is_money_gone: bool = False  # that is so because the next would have cost too much

    def start_with(self, cost: float) -> None:
        """Count what earlier runs have ordered."""
        self.earlier = cost
        self.cost += cost

    def order(self, cost: float, *, is_counted: bool = False) -> str | None:
        """Count a job that is about to be ordered; return why it may not be, if so."""
        if self.why_over is not None and not (is_counted and self.is_money_gone):
            return self.why_over
        if self.max_jobs is not None and self.jobs >= self.max_jobs:
            return self.end(f"max_jobs={self.max_jobs} is reached")
        if self.max_cost is not None and not is_counted:
            # Asked this way round, a price that is no number does not fit either. A negative
            # one is no price: it would make room for others.
            excess = self.cost + cost - self.max_cost
            if not (cost >= 0 and excess <= self.max_cost * _TOLERANCE):
                return self._end_money(self.max_cost, cost)
        self.jobs += 1
        self.cost += cost
        return None

    def refund(self, cost: float) -> None:
        """Discount a job of which it is certain that it was not created."""
        self.jobs -= 1
        self.cost -= cost

    def end(self, why: str) -> str:
        """Let nothing more be ordered, and return why."""
        self.why_over = why
        return why

    def _end_money(self, max_cost: float, cost: float) -> str:
        before = f" ({self.earlier:.2f} of them in earlier runs)" if self.earlier else ""
        ordered = f"jobs for {self.cost:.2f} US dollars are ordered{before}"
        self.is_money_gone = True
        self.end(f"max_cost={max_cost:g} is reached: {ordered}, and the next does not fit")
        return (
            f"max_cost={max_cost:g} does not allow it: {ordered}, and this one would cost "
            f"{cost:.2f}"
        )


@attrs.define(slots=True, eq=False)
class CostGuard:
    """Check of each new job against the limits of a run; asks for its price where that matters.

    Attributes:
        is_closed: Whether nothing more may be ordered, and no more prices are asked for.

    """

    _requester: Requester
    _settings: RequestOptions
    _spending: SpendingLimit
    _journal: RunJournal
    _duration: float | None = attrs.field(kw_only=True)
    is_closed: bool = False
    _has_counted_earlier: bool = False
    _prices: dict[tuple[str, bool | None], float] = attrs.field(factory=dict)
    _has_price: bool = False
    _refusals: RefusalCounter = attrs.field(factory=RefusalCounter)
    _lock: anyio.Lock = attrs.field(factory=anyio.Lock)

    async def reserve(self, job: Job) -> bool:
        """Let a job be ordered, and reserve its price."""
        spending = self._spending
        if spending.max_cost is not None:
            # One after the other, since the money is used up in the order of the input.
            async with self._lock:
                await self._count_earlier(job)
                # What an earlier run may have ordered was counted then.
                if not (self.is_closed or spending.why_over is not None or job.is_doubtful):
                    job.cost = await self._known_price(job)
                if self.is_closed and spending.why_over is None:
                    return False
        problem = spending.order(job.cost or 0.0, is_counted=job.is_doubtful)
        if problem is not None:
            raise _over(job, problem)
        return True

    @property
    def allows_doubtful(self) -> bool:
        """Whether nothing new may be ordered, but what was may be sent again: it costs no more."""
        return self._spending.is_money_gone

    def refund(self, job: Job) -> None:
        """Give back what was reserved for a job that was certainly not created."""
        self._spending.refund(job.cost or 0.0)

    async def _count_earlier(self, job: Job) -> None:
        """Count what earlier runs have ordered, once; without their prices nothing is ordered."""
        if self._has_counted_earlier:
            return
        ordered = await self._journal.ordered()
        self._has_counted_earlier = True
        if ordered is None:
            return
        if ordered.unpriced:
            why = (
                f"max_cost cannot be kept, for {ordered.unpriced} of {ordered.jobs} jobs in the "
                "journal were ordered without it, and what they cost is not known"
            )
            raise _over(job, self._spending.end(why))
        self._spending.start_with(ordered.cost)
        before = f"{ordered.jobs} jobs for {ordered.cost:.2f} US dollars"
        log(
            BULK_LOG,
            logging.INFO,
            f"run_many counts what the journal holds against max_cost: {before}",
        )

    async def _known_price(self, job: Job) -> float:
        """Return a request's price; where none can be known of any, nothing is ordered at all."""
        try:
            price = await self._price(job.request)
        except LipsyncError as error:
            if is_from_callback(error) or not self._is_of_all(error):
                raise
            why = f"max_cost cannot be kept, for prices cannot be known ({reason_of(error)})"
            raise _over(job, self._spending.end(why)) from error
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
        f"Request {job.index} was not ordered: {problem}. No later request is started. To go on, "
        "run again with another limit, and the same journal if there is one."
    )
