"""Places orders: each when there is a slot for it, those that were refused before first."""

from __future__ import annotations

import logging
from collections import deque
from math import ceil, inf
from typing import TYPE_CHECKING, Protocol

import anyio
import attrs

from lipsync_async._bulk.results import Alike, Bell, reason_of
from lipsync_async._bulk.run_options import NEEDS_DURATION
from lipsync_async._callsite import is_from_callback, log
from lipsync_async._logic import endpoints, validation
from lipsync_async._logic.concurrency import LONGEST_JOB
from lipsync_async._logic.validators import exact
from lipsync_async._polling.poller import patient
from lipsync_async.errors import (
    ConcurrencyLimitError,
    ConflictError,
    InvalidRequestError,
    LipsyncError,
    ResponseError,
    SpendingLimitError,
    in_words,
    is_reused_key_code,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from anyio.abc import TaskGroup

    from lipsync_async._bulk.job import Job
    from lipsync_async._bulk.journal_writer import Scribe
    from lipsync_async._logic.concurrency import Slot
    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._models.response import Generation
    from lipsync_async._rate_limits import SharedSlots
    from lipsync_async._requester import Exchange, Settings


# Sums of prices are no round numbers: three times 0.1 must fit into 0.3.
_TOLERANCE = 1e-9


@attrs.define(slots=True, kw_only=True)
class Spending:
    """Count what is ordered against a limit.

    Once something did not fit nothing more does: which requests of an input are ordered
    must not depend on which of them happens to be cheap.

    Attributes:
        max_jobs: Jobs that may be ordered; `None`: no limit.
        max_cost: US dollars that they may cost together; `None`: no limit.
        jobs: Jobs ordered.
        cost: What they cost, those of earlier runs included.
        earlier: What those of earlier runs cost.
        why_over: Why nothing more may be ordered; `None`: more may be.
        is_money_gone: Whether that is so because the next would have cost too much.

    """

    max_jobs: int | None = None
    max_cost: float | None = None
    jobs: int = 0
    cost: float = 0.0
    earlier: float = 0.0
    why_over: str | None = None
    is_money_gone: bool = False

    @property
    def is_priced(self) -> bool:
        """Whether prices matter."""
        return self.max_cost is not None

    def begin_with(self, cost: float) -> None:
        """Count what earlier runs have ordered."""
        self.earlier = cost
        self.cost += cost

    def order(self, cost: float, *, is_counted: bool = False) -> str | None:
        """Count a job that is about to be ordered; return why it may not be, if so.

        Args:
            cost: Its price in US dollars; 0 where prices do not matter.
            is_counted: Whether its price was counted before: an earlier run may have ordered it.

        """
        if self.why_over is not None and not (is_counted and self.is_money_gone):
            return self.why_over
        problem = self._problem(None if is_counted else cost)
        if problem is None:
            self.jobs += 1
            self.cost += cost
        return problem

    def take_back(self, cost: float) -> None:
        """Count a job no more, of which it is certain that it was not made."""
        self.jobs -= 1
        self.cost -= cost

    def end(self, why: str) -> str:
        """Let nothing more be ordered, and return why."""
        self.why_over = why
        return why

    def _problem(self, cost: float | None) -> str | None:
        if self.max_jobs is not None and self.jobs >= self.max_jobs:
            return self.end(f"max_jobs={self.max_jobs} is reached")
        if self.max_cost is None or cost is None:
            return None
        # Asked this way round, a price that is no number does not fit either. A negative one
        # is no price: it would make room for others.
        fits = cost >= 0 and self.cost + cost - self.max_cost <= self.max_cost * _TOLERANCE
        if fits:
            return None
        before = f" ({self.earlier:.2f} of them in earlier runs)" if self.earlier else ""
        ordered = f"jobs for {self.cost:.2f} US dollars are ordered{before}"
        self.is_money_gone = True
        self.end(f"max_cost={self.max_cost:g} is reached: {ordered}, and the next does not fit")
        return (
            f"max_cost={self.max_cost:g} does not allow it: {ordered}, and this one would cost "
            f"{cost:.2f}"
        )


# A path that is not there, or takes no such request: a service without estimates.
_ABSENT = frozenset({404, 405, 501})


class Guard:
    """Stand between the orders and the money.

    Args:
        exchange: What performs the calls.
        settings: Timeout and retries of the estimates.
        spending: What may be ordered.
        duration: Seconds of output, if they are known; `None`: the service is asked about
            each request, and looks at its media for that.
        scribe: Knows what earlier runs have ordered with the journal.

    """

    def __init__(
        self,
        exchange: Exchange,
        settings: Settings,
        spending: Spending,
        duration: float | None,
        scribe: Scribe,
    ) -> None:
        self._scribe = scribe
        self._has_begun = False
        self._exchange = exchange
        self._settings = settings
        self._spending = spending
        self._duration = duration
        self._prices: dict[tuple[str, bool | None], float] = {}
        self._has_price = False
        self._alike = Alike()
        self._line = anyio.Lock()
        self._is_closed = False

    def close(self) -> None:
        """Let nothing more be ordered, and ask for no more prices."""
        self._is_closed = True

    async def admit(self, job: Job) -> bool:
        """Let a job be ordered, and set its price aside.

        Returns:
            Whether it may be; false: nothing more is to be begun.

        Raises:
            SpendingLimitError: A limit does not allow it, or prices cannot be found out.
            LipsyncError: Its own price cannot be found out.

        """
        if not self._spending.is_priced:
            self._set_aside(job)
            return True
        # One after the other, for the money is used up in the order of the input.
        async with self._line:
            await self._count_earlier(job)
            # What an earlier run may have ordered was counted then.
            if not self._is_over and not job.is_doubtful:
                job.cost = await self._known_price(job)
            if self._is_closed and self._spending.why_over is None:
                return False
            self._set_aside(job)
        return True

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is to be ordered, so that no price matters."""
        return self._is_closed or self._spending.why_over is not None

    @property
    def lets_doubtful_through(self) -> bool:
        """Whether nothing new may be ordered, but what was may be sent again: it costs no more."""
        return self._spending.is_money_gone

    def _set_aside(self, job: Job) -> None:
        problem = self._spending.order(job.cost, is_counted=job.is_doubtful)
        if problem is not None:
            raise _over(job, problem)

    async def _count_earlier(self, job: Job) -> None:
        """Count, before the first order, what earlier runs have ordered with the journal.

        Raises:
            SpendingLimitError: What that costs is not known.

        """
        if self._has_begun:
            return
        ordered = await self._scribe.ordered()
        self._has_begun = True
        if ordered is None:
            return
        if ordered.unpriced:
            why = (
                f"max_cost cannot be kept, for {ordered.unpriced} of {ordered.jobs} jobs in the "
                "journal were ordered without it, and what they cost is not known"
            )
            raise _over(job, self._spending.end(why))
        self._spending.begin_with(ordered.cost)
        before = f"{ordered.jobs} jobs for {ordered.cost:.2f} US dollars"
        log(logging.INFO, f"run_many counts what the journal holds against max_cost: {before}")

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
        self._alike.accepted()
        return price

    def _is_of_all(self, error: LipsyncError) -> bool:
        """Tell whether no other price can be known either."""
        if isinstance(error, InvalidRequestError):  # a local file; others may have addresses
            return not self._has_price
        if isinstance(error, ResponseError) and error.status in _ABSENT and error.code is None:
            return True
        return self._alike.refused(error, may_be_of_one=self._duration is None)

    def limits(self) -> str:
        """Say what may be ordered."""
        spending = self._spending
        limits = [f"max_jobs={spending.max_jobs}"] if spending.max_jobs is not None else []
        if spending.max_cost is not None:
            limits.append(f"max_cost={spending.max_cost:g} US dollars")
        return ", ".join(limits) or "no limits"

    def price_of(self, job: Job) -> float | None:
        """Return the price that was set aside for a job; `None`: none was asked for."""
        is_asked = self._spending.is_priced and not job.is_doubtful
        return job.cost if is_asked else None

    def take_back(self, job: Job) -> None:
        """Have the price back of a job of which it is certain that it was not made."""
        self._spending.take_back(job.cost)

    async def _price(self, request: GenerationRequest) -> float:
        if self._duration is not None:
            return await self._price_of_duration(request, self._duration)
        problems = validation.upload_problems(request, advice=NEEDS_DURATION)
        if problems:
            raise InvalidRequestError(problems)
        estimate = await self._exchange.perform(endpoints.estimate_request(request), self._settings)
        return estimate.cost

    async def _price_of_duration(self, request: GenerationRequest, duration: float) -> float:
        thinks = None if request.options is None else request.options.reasoning_enabled
        kind = (str(exact(request.model)), thinks)
        if kind not in self._prices:
            call = endpoints.estimate_duration(
                model=kind[0], duration=duration, fps=None, reasoning_enabled=thinks
            )
            estimate = await self._exchange.perform(call, self._settings)
            self._prices[kind] = estimate.cost
        return self._prices[kind]


def _over(job: Job, problem: str) -> SpendingLimitError:
    return SpendingLimitError(
        f"Request {job.index} was not ordered: {problem}. No later request is begun. To go on, "
        "run again with another limit, and the same journal if there is one.",
    )


# Creates under way at once: the service's answer takes a part of a second, and a plan's
# slots (15 at most, contract section 5.2) must be filled together.
_MOST_CREATES = 32
# With a limit, what is allowed in so many seconds, for no answer takes longer. More would
# only wait, and those that wait are sent even when nothing more was to be begun.
_LONGEST_ANSWER = 4.0


class Berths:
    """Take slots of the account for the jobs of runs, within a client's limits.

    Args:
        exchange: The client's.

    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._most = exchange.limits.concurrent_generations
        self.creates_at_once: int = _creates_at_once(exchange.limits.creates_per_minute)

    @property
    def slots(self) -> SharedSlots:
        """The account's."""
        return self._exchange.account.slots

    @property
    def _now(self) -> float:
        return self._exchange.transport.now()

    def take(self, key: str | None, wake: Callable[[], None]) -> Slot | None:
        """Take a slot for a create, if it may be sent now.

        Args:
            key: The create's Idempotency-Key; `None`: not known yet.
            wake: The function of the one that waits for it.

        """
        return self.slots.take(self._now, self._most, key, wake=wake)

    def take_anyhow(self, key: str | None) -> Slot:
        """Take a slot for a create that is sent in any case."""
        return self.slots.take_anyhow(self._most, key)

    def occupy(self, job: str) -> Slot:
        """Take a slot for a job that runs already, and hold it."""
        return self.slots.occupied(job, self._most, self._now)

    def accepted(self, slot: Slot, job: Generation) -> Slot:
        """Note that a create has become a job; hold its slot, and return it."""
        return self.slots.accepted(slot, job, self._now, is_held=True)

    def refused(self, slot: Slot, error: ConcurrencyLimitError, patience: float | None) -> None:
        """Learn from a refusal of a create that goes on asking for `patience` seconds."""
        self.slots.refused(slot, self._now, error, most=self._most, patience=patience)

    def release(self, slot: Slot) -> None:
        """Hold a slot no more: it is free if its job has ended, or never was."""
        self.slots.release(slot)

    def next_try(self) -> float:
        """Return when a slot may be free; infinity: when something has happened."""
        moment = self.slots.next_try(self._now, self._most)
        return inf if moment is None else moment

    def words(self) -> str:
        """Say how many slots there are, for the log."""
        return self.slots.words(self._most)

    def awaited(self, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Have a function called when something has changed."""
        return self.slots.awaited(wake, self._most)


def _creates_at_once(per_minute: int | None) -> int:
    if per_minute is None:
        return _MOST_CREATES
    return min(_MOST_CREATES, max(2, ceil(per_minute / 60 * _LONGEST_ANSWER)))


# A run that waits for longer for a slot says so, once.
_SILENT_SECONDS = 1.0


class Customer(Protocol):
    """Say to whom a desk tells what has come of an order."""

    def accept(self, job: Job, generation: Generation) -> None:
        """Take the job that the service has made of an order."""

    def tell(self, job: Job, news: LipsyncError) -> None:
        """Hear why, as far as is known, no job was made of an order; release it soon."""

    def drop(self, job: Job) -> None:
        """Take an order back that was not placed, because nothing more is to be begun."""


class Desk:
    """Place orders, and tell what came of each.

    Args:
        exchange: What performs the creates.
        settings: Timeout and retries of a create.
        customer: Whose orders they are.
        berths: The account's slots.
        guard: What may be ordered.
        scribe: Keeps the journal.

    """

    def __init__(
        self,
        exchange: Exchange,
        settings: Settings,
        customer: Customer,
        *,
        berths: Berths,
        guard: Guard,
        scribe: Scribe,
    ) -> None:
        self._settings = patient(settings)
        self._exchange = exchange
        self._berths = berths
        self._guard = guard
        self._scribe = scribe
        self._customer = customer
        self._line: deque[Job] = deque()
        self._creates = 0
        self.is_closed: bool = False
        # Since when others alone have had all slots.
        self._starved_since: float | None = None
        self._slot_timeout = settings.retry.slot_timeout
        # Since when the first in line has waited for a slot; and when to say so.
        self._waits_since: float | None = None
        self._has_said = False
        self._nap = anyio.CancelScope()
        self._moved = Bell()

    async def place(self, job: Job, tasks: TaskGroup) -> None:
        """Take an order; return when its create, and all before it, are on their way."""
        self._line.append(job)
        if (first := self._next()) is not None:
            tasks.start_soon(self._work, first)
        self.refresh()
        while self._line:
            await self._moved.heard()

    async def run(self, tasks: TaskGroup) -> None:
        """Send what waits, each when there is a slot; until cancelled."""
        with self._berths.awaited(self.refresh):
            while True:
                while (order := self._next()) is not None:
                    tasks.start_soon(self._work, order)
                has_looked = self._is_short_of_slots and await self._exchange.look_at_suspects(
                    self._settings
                )
                if not has_looked:
                    await self._rest()

    def close(self) -> None:
        """Begin nothing more, and give up what has no job yet and is not under way.

        What an earlier run may have ordered is no new order: it is sent where that may be.
        """
        self.is_closed = True
        self._guard.close()
        line, self._line = self._line, deque()
        for job in line:
            if job.is_doubtful and job.refusal is None and self._guard.lets_doubtful_through:
                self._line.append(job)
            else:
                self._give_up(job)
        self._moved.ring()

    def refresh(self) -> None:
        """Look again whether a create may be sent: something has changed."""
        if self._line:
            self._nap.cancel()

    @property
    def _is_short_of_slots(self) -> bool:
        """Whether nothing but the lack of a slot holds the first in line up."""
        return bool(self._line) and self._creates < self._berths.creates_at_once

    async def _rest(self) -> None:
        """Do nothing until something has changed, or until there may be a slot all the same."""
        now = self._exchange.transport.now()
        until = self._said(now)
        if self._is_short_of_slots:
            until = min(until, self._berths.next_try(), self._patience_ends(now))
        with anyio.CancelScope() as self._nap:
            if until == inf:
                await anyio.sleep_forever()
            else:
                await self._exchange.transport.sleep(until - now)

    def _said(self, now: float) -> float:
        """Say that the run waits for a slot, if it has for long; return when to look again."""
        if self._has_said or not self._is_short_of_slots:
            self._waits_since = None
            return inf
        self._waits_since = now if self._waits_since is None else self._waits_since
        due = self._waits_since + _SILENT_SECONDS
        if due > now:
            return due
        self._has_said = True
        log(logging.INFO, f"run_many waits for slots: {self._berths.words()}")
        return inf

    def _next(self) -> tuple[Job, Slot] | None:
        """Take the first in line if its create may be sent."""
        if not self._is_short_of_slots:
            return None
        slot = self._berths.take(self._line[0].key, self.refresh)
        if slot is None:
            now = self._exchange.transport.now()
            if now < self._patience_ends(now):
                return None
            slot = self._berths.take_anyhow(self._line[0].key)  # the service is to judge
        job = self._line.popleft()
        job.slot = slot
        self._creates += 1
        self._moved.ring()
        return job, slot

    async def _work(self, order: tuple[Job, Slot] | None) -> None:
        """Place an order, and then what waits: a task for each would cost a tenth more CPU."""
        while order is not None:
            await self._create(*order)
            order = self._next()

    async def _create(self, job: Job, slot: Slot) -> None:
        """Place an order, or put it back in line; whatever is raised for it is told."""
        try:
            generation = await self._ordered(job)
        except Exception as error:
            if is_from_callback(error):
                self.release(job)
                raise
            self._give_way(job, slot, _as_ours(error))
        except BaseException:
            self.release(job)
            raise
        else:
            if generation is None:
                self.release(job)
                self._give_up(job)
                return
            job.slot = self._berths.accepted(slot, generation)
            self._customer.accept(job, generation)
        finally:
            self._creates -= 1

    async def _ordered(self, job: Job) -> Generation | None:
        """Send an order; `None`: it was not, for meanwhile nothing more is to be begun."""
        if job.key is None:
            if not await self._guard.admit(job):
                return None
            try:
                cost = self._guard.price_of(job)
                job.key = await self._scribe.intend(job.index, job.request, cost)
            except Exception:
                self._guard.take_back(job)
                raise
        try:
            generation = await self._sent(job, job.request, job.key)
        except LipsyncError as error:
            if not job.earlier or not _is_of_another_body(error):
                raise
            generation = await self._found(job, job.key, error)
        self._starved_since = None
        return generation

    async def _found(self, job: Job, key: str, refusal: LipsyncError) -> Generation:
        """Return the job that was made of an order in an earlier form.

        Its key has a body already, which is the one that was sent before a link was signed
        anew: the service answers that one with the job.
        """
        for request in job.earlier:
            try:
                return await self._sent(job, request, key)
            except LipsyncError as error:
                if not _is_of_another_body(error):
                    raise
        raise refusal

    async def _sent(self, job: Job, request: GenerationRequest, key: str) -> Generation:
        """Send a create, and keep in mind whether it may have worked."""
        call = job.call = endpoints.create_generation(request, idempotency_key=key)
        try:
            return await self._exchange.perform(call, self._settings, has_slot=True)
        except BaseException as error:
            if isinstance(error, LipsyncError) and not is_from_callback(error):
                # A key of the journal's that stands for another body was sent with that one: the
                # journal may be an old copy.
                is_known = self._scribe.has_journal and _is_of_another_body(error)
                job.is_doubtful |= error.may_have_worked or is_known
            else:  # of a create that was cancelled no more is known than that it was sent
                job.is_doubtful |= call.is_sent
            raise
        finally:
            job.call = None

    def _give_way(self, job: Job, slot: Slot, error: LipsyncError) -> None:
        """Put an order that found no slot back in line, or tell why there is no job."""
        # A try before may have worked, and this refusal may be for the slot that it has taken.
        error.may_have_worked = job.is_doubtful
        if isinstance(error, ConcurrencyLimitError):
            self._refuse(job, slot, error)
            return
        if job.key is not None and not job.is_doubtful:
            self._guard.take_back(job)
        if error.generation is not None:
            job.slot = self._berths.accepted(slot, error.generation)
        # Its slot is free when the conclusion is drawn, which may be to begin nothing more.
        self._customer.tell(job, error)

    def _refuse(self, job: Job, slot: Slot, error: ConcurrencyLimitError) -> None:
        """Learn from a refusal, and let the order wait for its turn, if one may come."""
        job.slot, job.refusal = None, error
        self._berths.refused(slot, error, self._slot_timeout)
        now = self._exchange.transport.now()
        if self._patience_ends(now) <= now:
            self._starved_since = None  # the next has the same patience
            self._customer.tell(job, error)
        elif self.is_closed:
            self._give_up(job)
        else:
            self._line.appendleft(job)

    def _give_up(self, job: Job) -> None:
        """Drop an order that waits, unless it may have been accepted: then say so."""
        if job.is_doubtful and job.refusal is not None:
            self._customer.tell(job, job.refusal)
        else:
            self._customer.drop(job)

    def _patience_ends(self, now: float) -> float:
        """Return when others have had all slots for too long.

        Jobs of this process that no run and no wait looks after count as others', but are
        given the time that jobs take.
        """
        slots = self._berths.slots
        if slots.has_held:
            self._starved_since = None
        elif self._starved_since is None:
            self._starved_since = now
        if self._starved_since is None or self._slot_timeout is None:
            return inf
        return self._starved_since + self._slot_timeout + (LONGEST_JOB if slots.used else 0.0)

    def release(self, job: Job) -> None:
        """Give a job's slot back, if it has one, unless the job goes on: then it keeps it."""
        slot, job.slot = job.slot, None
        if slot is not None:  # pragma: no branch - a refused create has lost its slot before
            self._berths.release(slot)

    def occupy(self, job: Job) -> None:
        """Take a slot for a job that runs already."""
        job.slot = self._berths.occupy(str(job.id))


def _is_of_another_body(error: LipsyncError) -> bool:
    """Tell whether a create was refused because its key stands for another body."""
    return isinstance(error, ConflictError) or (
        isinstance(error, ResponseError) and is_reused_key_code(error.code)
    )


def _as_ours(error: Exception) -> LipsyncError:
    """Return what was raised for an order as an error of this package.

    What is sent is sent by the exchange, which raises no others: this came before.
    """
    if isinstance(error, LipsyncError):
        return error
    refusal = InvalidRequestError([f"request: cannot be ordered: {in_words(error)}"])
    refusal.__cause__ = error
    return refusal
