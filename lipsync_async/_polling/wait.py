"""Waiting for a job's end: the polling rules meet the requester and its clock.

A wait chooses once how it polls. While few wait it uses the long poll, which finds the end at
once. While many wait it shares the polls of all (see `poller.py`).

Waiting is read-only. A wait that stops, by timeout or cancellation, changes nothing about the
job: the service has no cancel, and the job stays paid for.
"""

from __future__ import annotations

import logging
from collections import deque
from copy import copy
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import attrs

from lipsync_async._callsite import POLL_LOG, log
from lipsync_async._enums import TERMINAL, Status
from lipsync_async._logic import polling
from lipsync_async._models.response import Generation
from lipsync_async._polling.poller import (
    MAX_SOLO_WAITS,
    Poller,
    SoloPolls,
    Waiter,
    retry_until_timeout,
)
from lipsync_async._requester import Requester, RequestOptions
from lipsync_async.errors import (
    GenerationError,
    GenerationFailedError,
    GenerationRejectedError,
    LipsyncError,
    NotFoundError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


# Status of a job that no poll has shown yet.
_UNSEEN = Status("UNKNOWN")


def as_generation(job: Generation | str) -> Generation:
    """Return the job as last seen; of a bare id nothing is known yet."""
    return job if isinstance(job, Generation) else Generation(id=str.__str__(job), status=_UNSEEN)


def error_of(generation: Generation) -> GenerationError | None:
    """Return the error that a job's end is; `None`: it is COMPLETED."""
    if generation.status == Status.COMPLETED:
        return None
    if generation.status == Status.REJECTED:
        return GenerationRejectedError(generation)
    return GenerationFailedError(generation)


@attrs.define(slots=True, eq=False)
class JobWait:
    """One wait for one job, with what it has seen.

    `timeout` is in seconds; infinite: no limit.
    """

    _requester: Requester
    _poller: Poller
    _options: RequestOptions
    last: Generation
    _timeout: float
    _started: float = 0.0
    _deadline: float = inf
    _is_found: bool = False
    _updates: deque[Generation | LipsyncError] = attrs.field(init=False, factory=deque)

    async def changes(self) -> AsyncGenerator[Generation, None]:
        """Yield the job each time its status or progress has changed; end with its life."""
        if self.last.status in TERMINAL:
            return
        poller, transport = self._poller, self._requester.transport
        self._started = transport.now()
        self._deadline = self._started + self._timeout
        slots = self._requester.account.slots
        slot = slots.hold(self.last.id)
        poller.waits += 1
        subscription = None
        try:
            await transport.sleep(0.0)  # those that start together are counted first
            # Lists show no progress. And a wait with hardly any time makes one poll of its own.
            is_short = self._deadline - transport.now() <= polling.LAST_POLL
            is_solo = self._options.poll.progress or is_short
            if is_solo or max(poller.waits, len(poller.subscriptions)) <= MAX_SOLO_WAITS:
                limit = None if self._deadline == inf else self._deadline
                options = retry_until_timeout(self._options)
                polls = SoloPolls(self._requester, options, self.last.id, limit)
                next_change = partial(self._poll_alone, polls)
            else:
                waiter = Waiter(lambda: bool(self._updates) or transport.now() >= self._deadline)
                next_change = partial(self._share_polls, waiter)
                callback = partial(self._on_update, waiter)
                subscription = poller.subscribe(self.last.id, callback, status=self.last.status)
            while self.last.status not in TERMINAL:
                if await next_change():
                    yield self.last
        except WaitTimeoutError:
            raise
        except LipsyncError as error:  # a poll has failed, or the client was closed
            if transport.now() >= self._deadline:
                raise WaitTimeoutError(self.last, timeout=self._timeout) from error
            error.generation = self.last
            raise
        finally:
            slots.release(slot)
            poller.unsubscribe(subscription)
            poller.waits -= 1

    async def _poll_alone(self, polls: SoloPolls) -> bool:
        """Poll once, after the schedule's pause; tell whether the job has changed."""
        try:
            shown = await polls.poll(self._deadline)
        except NotFoundError as error:
            if self._is_within_grace(error):
                return False
            raise
        if shown is None:  # no poll is worth making before the time is over
            transport = self._requester.transport
            await transport.sleep(self._deadline - transport.now())
            raise WaitTimeoutError(self.last, timeout=self._timeout)
        has_changed = self._record(shown.generation(polls.job))
        if has_changed:
            log(POLL_LOG, logging.DEBUG, f"generation {self.last.id} is {self.last.status}")
        return has_changed

    async def _share_polls(self, waiter: Waiter) -> bool:
        """Wait for an update from the poller; tell whether it has changed the job."""
        await self._poller.run_until(waiter, self._options, deadline=self._deadline)
        if not self._updates:
            raise WaitTimeoutError(self.last, timeout=self._timeout)
        update = self._updates.popleft()
        if isinstance(update, LipsyncError):
            own = copy(update)  # each wait's own, for it names the job
            own.__cause__ = update.__cause__
            raise own
        return self._record(update)

    def _on_update(self, waiter: Waiter, _: str, update: Generation | LipsyncError) -> None:
        """Take what the poller dispatches."""
        if isinstance(update, Generation) or not self._is_within_grace(update):
            self._updates.append(update)
            waiter.wake()

    def _record(self, generation: Generation) -> bool:
        """Keep what was seen; return whether its status or progress is new."""
        last = self.last
        self._is_found = True
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
            and self._requester.transport.now() - self._started < self._options.poll.not_found_grace
        )
