"""Waiting for a job's end: the polling rules meet the requester and its clock.

A wait chooses once how it polls. While few wait it uses the long poll, which finds the end at
once. While many wait it shares the polls of all (see `poller.py`).

Waiting is read-only. A wait that stops, by timeout or cancellation, changes nothing about the
job: the service has no cancel, and the job stays paid for.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from copy import copy
from math import inf
from typing import TYPE_CHECKING, NoReturn

import attrs

from lipsync_async._callsite import POLL_LOG, log
from lipsync_async._enums import Status
from lipsync_async._logic import endpoints, polling
from lipsync_async._models.response import Generation
from lipsync_async._polling.leader import Waiter
from lipsync_async._polling.poller import retry_until_timeout
from lipsync_async.errors import (
    BadRequestError,
    GenerationError,
    GenerationFailedError,
    GenerationRejectedError,
    LipsyncError,
    NotFoundError,
    UnprocessableError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from lipsync_async._polling.poller import Poller
    from lipsync_async._requester import Requester, RequestOptions

# How a service that does not know a poll's parameters, or their values, refuses them.
_REFUSALS = (BadRequestError, UnprocessableError)
# Status of a job that no poll has shown yet.
_UNSEEN = Status("UNKNOWN")


def as_generation(job: Generation | str) -> Generation:
    """Return the job as last seen; of a bare id nothing is known yet."""
    return job if isinstance(job, Generation) else Generation(id=str.__str__(job), status=_UNSEEN)


async def changes(
    requester: Requester,
    poller: Poller,
    options: RequestOptions,
    last: Generation,
    *,
    timeout: float | None,
) -> AsyncGenerator[Generation, None]:
    """Yield the job each time its status or progress has changed; end with its life."""
    if last.is_terminal:
        return
    wait = _JobWait(requester, poller, options, last, timeout)
    slots = requester.account.slots
    slot = slots.hold(last.id)
    poller.waits += 1
    subscription = None
    try:
        await wait.sleep(0.0)  # those that start together are counted first
        # Lists show no progress. And a wait with hardly any time makes one poll of its own.
        is_solo = options.poll.progress or wait.remaining <= polling.LAST_POLL
        if is_solo or not poller.shares_polls:
            next_change = wait.poll_alone
        else:
            next_change = wait.share_polls
            subscription = poller.subscribe(last.id, wait.on_update, status=last.status)
        while not wait.last.is_terminal:
            if await next_change():
                yield wait.last
    finally:
        slots.release(slot)
        if subscription is not None:
            poller.unsubscribe(subscription)
        poller.waits -= 1


def raise_unless_completed(generation: Generation) -> Generation:
    """Return a COMPLETED generation; every other end is an error."""
    if (error := error_of(generation)) is not None:
        raise error
    return generation


def error_of(generation: Generation) -> GenerationError | None:
    """Return the error that a job's end is; `None`: it is COMPLETED."""
    if generation.status == Status.COMPLETED:
        return None
    if generation.status == Status.REJECTED:
        return GenerationRejectedError(generation)
    return GenerationFailedError(generation)


class _JobWait:
    """One wait for one job, with what it has seen."""

    def __init__(
        self,
        requester: Requester,
        poller: Poller,
        options: RequestOptions,
        last: Generation,
        timeout: float | None,
    ) -> None:
        self.last = last
        self._is_found = False
        self._requester = requester
        self._transport = requester.transport
        self._options = options
        self._timeout = inf if timeout is None else timeout
        self._started = requester.transport.now()
        self._deadline = self._started + self._timeout
        # Alone: the schedule, what the last poll has shown, and whether the service has refused
        # the parameters of the long poll, or of the progress.
        self._schedule: Generator[polling.NextPoll, polling.LastPoll, None] | None = None
        self._seen: polling.LastPoll | None = None
        self._is_plain = False
        # Among many.
        self._poller = poller
        self._waiter = Waiter(lambda: bool(self._updates) or self._is_late)
        self._updates: deque[Generation | LipsyncError] = deque()

    async def sleep(self, seconds: float) -> None:
        """Sleep; an error names the job."""
        try:
            await self._transport.sleep(seconds)
        except LipsyncError as error:  # the client was closed
            self._fail(error)

    async def share_polls(self) -> bool:
        """Wait for an update from the poller; tell whether it has changed the job."""
        try:
            await self._poller.run_until(self._waiter, self._options, deadline=self._deadline)
        except LipsyncError as error:  # the client was closed
            self._fail(error)
        if not self._updates:
            raise WaitTimeoutError(self.last, timeout=self._timeout)
        update = self._updates.popleft()
        if isinstance(update, LipsyncError):
            own = copy(update)  # each wait's own, for it names the job
            own.__cause__ = update.__cause__
            self._fail(own)
        return self._record(update)

    def on_update(self, _: str, update: Generation | LipsyncError) -> None:
        """Take what the poller dispatches."""
        if isinstance(update, Generation) or not self._is_within_grace(update):
            self._updates.append(update)
            self._waiter.wake()

    async def poll_alone(self) -> bool:
        """Poll once, with retries, after the schedule's pause; tell whether the job changed."""
        step = self._next_step()
        if step is None:  # no poll is worth making before the time is over
            await self.sleep(self.remaining)
            raise WaitTimeoutError(self.last, timeout=self._timeout)
        if step.pause:
            await self.sleep(step.pause)
        before = self._transport.now()
        result = await self._poll_once(step.hold)
        has_changed = self._record(result.generation)
        if has_changed:
            log(POLL_LOG, logging.DEBUG, f"generation {self.last.id} is {self.last.status}")
        now = self._transport.now()
        self._seen = polling.LastPoll(
            status=self.last.status,
            elapsed=now - self._started,
            took=now - before,
            is_held=result.is_held,
            is_plain=self._is_plain,
            retry_after=result.retry_after,
        )
        return has_changed

    def _next_step(self) -> polling.NextPoll | None:
        if self._schedule is None or self._seen is None:
            timeout = _limit(self.remaining)
            self._schedule = polling.poll_schedule(self._options.poll, timeout=timeout)
            return next(self._schedule)
        with suppress(StopIteration):
            return self._schedule.send(self._seen)
        return None

    async def _poll_once(self, hold: float | None) -> endpoints.LongPollResult:
        """Ask the service, in the plainest way if need be; every failure names the job."""
        hold = None if self._is_plain else hold
        progress = self._options.poll.progress and not self._is_plain
        call = endpoints.poll_generation(self.last.id, hold=hold, progress=progress)
        options = retry_until_timeout(self._options)
        if hold is not None and options.timeout is not None:
            options = attrs.evolve(options, timeout=options.timeout + hold)
        try:
            return await self._requester.execute(call, options, deadline=_limit(self._deadline))
        except LipsyncError as error:
            if self._is_within_grace(error):
                return endpoints.LongPollResult(self.last, is_held=True)
            if isinstance(error, _REFUSALS) and (progress or hold is not None):
                self._is_plain = True
                return await self._poll_once(None)
            self._fail(error)

    def _record(self, generation: Generation) -> bool:
        """Keep what was seen; return whether its status or progress is new."""
        last = self.last
        self._is_found |= generation is not last
        if (generation.status, generation.progress_percent) == (last.status, last.progress_percent):
            return False
        generation.idempotency_key = last.idempotency_key
        self.last = generation
        return True

    def _is_within_grace(self, error: LipsyncError) -> bool:
        """Tell whether "no such generation" may only mean that its create is too fresh."""
        return (
            isinstance(error, NotFoundError)
            and not self._is_found
            and self._transport.now() - self._started < self._options.poll.not_found_grace
        )

    @property
    def remaining(self) -> float:
        """Seconds until the time is over."""
        return self._deadline - self._transport.now()

    @property
    def _is_late(self) -> bool:
        return self._transport.now() >= self._deadline

    def _fail(self, error: LipsyncError) -> NoReturn:
        """Raise an error, as what it means for this wait."""
        if self._is_late:
            raise WaitTimeoutError(self.last, timeout=self._timeout) from error
        error.generation = self.last
        raise error


def _limit(seconds: float) -> float | None:
    return None if seconds == inf else seconds
