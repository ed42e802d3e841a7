"""Places orders: each when there is a slot for it, those that were refused before first."""

from __future__ import annotations

import logging
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Protocol

import anyio

from lipsync_async._codes import is_reused_key_code
from lipsync_async._fleet.bell import Bell
from lipsync_async._rules import endpoints
from lipsync_async._rules.caller import is_from_callback, log
from lipsync_async._rules.slots import LONGEST_JOB
from lipsync_async._watch.poller import patient
from lipsync_async.errors import (
    ConcurrencyLimitError,
    ConflictError,
    InvalidRequestError,
    LipsyncError,
    ResponseError,
    in_words,
)

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from lipsync_async._exchange import Exchange, Settings
    from lipsync_async._fleet.berths import Berths
    from lipsync_async._fleet.guard import Guard
    from lipsync_async._fleet.job import Job
    from lipsync_async._fleet.scribe import Scribe
    from lipsync_async._rules.slots import Slot
    from lipsync_async._values.inputs import GenerationRequest
    from lipsync_async._values.models import Generation

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
