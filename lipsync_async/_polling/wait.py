"""Waiting for a job's end: the polling rules meet the requester and its clock.

Few waits look at their jobs one by one, by long poll. Many are served by one poller.

Waiting is read-only. Whoever stops waiting, by timeout or cancellation, changes nothing
about the job: the service has no cancel, and the job stays paid for.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from math import inf
from typing import TYPE_CHECKING, NoReturn

import attrs

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

    from lipsync_async._polling.poller import Poller, Subscription
    from lipsync_async._requester import Requester, RequestOptions


# How a service that does not know a look's parameters, or their values, refuses them.
_REFUSALS = (BadRequestError, UnprocessableError)
# What is said of a job that no look has shown yet.
_UNSEEN = Status("UNKNOWN")


def as_generation(job: Generation | str) -> Generation:
    """Return the job as last seen; of a bare id nothing is known yet."""
    return job if isinstance(job, Generation) else Generation(id=str.__str__(job), status=_UNSEEN)


async def changes(
    requester: Requester,
    poller: Poller,
    settings: RequestOptions,
    last: Generation,
    *,
    timeout: float | None,
) -> AsyncGenerator[Generation, None]:
    """Yield the job each time its status or progress has changed; end with its life.

    Args:
        requester: What performs the looks.
        poller: What performs them for many.
        settings: How often to look and how to try again.
        last: The job as last seen.
        timeout: Seconds after which to stop; `None`: no limit.

    Raises:
        WaitTimeoutError: The time is over and the job is not.
        LipsyncError: A look failed for good; `.generation` is the job as last seen.

    """
    if last.is_terminal:
        return
    wait = _Wait(requester, poller, settings, last, timeout)
    slots = requester.account.slots
    slot = slots.hold(last.id)
    poller.add_waiter()
    try:
        while not wait.last.is_terminal:
            if await wait.has_changed():
                yield wait.last
    finally:
        slots.release(slot)
        wait.leave_others()
        poller.remove_waiter()


def raise_unless_completed(generation: Generation) -> Generation:
    """Return a COMPLETED generation; every other end is an error.

    Raises:
        GenerationFailedError: It ended as FAILED (or as an older word for it).
        GenerationRejectedError: It ended as REJECTED.

    """
    error = error_of(generation)
    if error is not None:
        raise error
    return generation


def error_of(generation: Generation) -> GenerationError | None:
    """Return the error that a job's end is; `None`: it is COMPLETED."""
    if generation.status == Status.COMPLETED:
        return None
    if generation.status == Status.REJECTED:
        return GenerationRejectedError(generation)
    return GenerationFailedError(generation)


class _Wait:
    """Look after one job, by itself or with all others, and remember what was seen."""

    def __init__(
        self,
        requester: Requester,
        poller: Poller,
        settings: RequestOptions,
        last: Generation,
        timeout: float | None,
    ) -> None:
        self.last = last
        self._is_found = False
        self._requester = requester
        self._settings = settings
        self._timeout = inf if timeout is None else timeout
        self._started = requester.transport.now()
        self._deadline = self._started + self._timeout
        # While alone: the rules' own steps, since when, and what the last one has shown.
        self._steps: Generator[polling.NextPoll, polling.LastPoll, None] | None = None
        self._alone_since = self._started
        self._seen: polling.LastPoll | None = None
        # Whether the service has refused the parameters of the long poll, or of the progress.
        self._is_plain = False
        # While with others.
        self._poller = poller
        self._watcher: Subscription | None = None
        self._attendant = Waiter(self._is_woken)
        self._news: deque[Generation | LipsyncError] = deque()

    async def has_changed(self) -> bool:
        """Wait for what comes next; tell whether it has changed the job."""
        if self._news or self._is_for_all():
            return await self._look_with_others()
        self.leave_others()
        return await self._look_alone()

    def leave_others(self) -> None:
        """Take the job from the poller, if it is there."""
        if self._watcher is not None:
            self._poller.unsubscribe(self._watcher)
            self._watcher = None

    def _is_for_all(self) -> bool:
        """Tell whether one look should serve this wait and others.

        Lists show no progress. And who has hardly any time takes the one look of its own.
        """
        if self._settings.poll.progress or not self._poller.shares_polls:
            return False
        return self._watcher is not None or self._remaining > polling.LAST_LOOK

    async def _look_with_others(self) -> bool:
        if self._watcher is None:
            self._steps = None
            self._watcher = self._poller.subscribe(
                self.last.id, self._hear, status=self.last.status
            )
        try:
            await self._poller.run_until(self._attendant, self._settings, deadline=self._deadline)
        except LipsyncError as error:  # the client was closed
            self._fail(error)
        if self._news:
            news = self._news.popleft()
            if isinstance(news, LipsyncError):
                own = copy(news)  # each waiter's own, for it names the job
                own.__cause__ = news.__cause__
                self._fail(own)
            return self._remember(news)
        if self._is_late:
            raise WaitTimeoutError(self.last, timeout=self._timeout)
        return False

    def _is_woken(self) -> bool:
        return bool(self._news) or self._is_late or not self._poller.shares_polls

    def _hear(self, _: str, news: Generation | LipsyncError) -> None:
        """Take in what the poller tells."""
        if isinstance(news, Generation) or not self._is_forgiven(news):
            self._news.append(news)
            self._attendant.wake()

    async def _look_alone(self) -> bool:
        """Look once, with retries, after the pause that the rules want."""
        step = self._next_step()
        transport = self._requester.transport
        if step is None:
            await self._sit_out()
        try:
            await transport.sleep(step.pause)
        except LipsyncError as error:  # the client was closed
            self._fail(error)
        if self._is_for_all():  # many have come meanwhile
            return False
        before = transport.now()
        sight = await self._sight(step.hold)
        has_changed = self._remember(sight.generation)
        now = transport.now()
        self._seen = polling.LastPoll(
            status=self.last.status,
            elapsed=now - self._alone_since,
            took=now - before,
            is_held=sight.is_held,
            is_plain=self._is_plain,
            retry_after=sight.retry_after,
        )
        return has_changed

    def _next_step(self) -> polling.NextPoll | None:
        """Return how to look next; `None`: no look is worth making before the time is over."""
        if self._steps is None or self._seen is None:
            self._alone_since = self._requester.transport.now()
            timeout = _limit(self._remaining)
            self._steps = polling.poll_schedule(self._settings.poll, timeout=timeout)
            return next(self._steps)
        try:
            return self._steps.send(self._seen)
        except StopIteration:
            return None

    async def _sight(self, hold: float | None) -> endpoints.LongPollResult:
        """Ask the service, in the plainest way if need be; every failure names the job."""
        hold = None if self._is_plain else hold
        progress = self._settings.poll.progress and not self._is_plain
        call = endpoints.poll_generation(self.last.id, hold=hold, progress=progress)
        settings = _with_time_for(hold, retry_until_timeout(self._settings))
        try:
            return await self._requester.execute(call, settings, deadline=_limit(self._deadline))
        except LipsyncError as error:
            if self._is_forgiven(error):
                return endpoints.LongPollResult(self.last, is_held=True)
            if isinstance(error, _REFUSALS) and (progress or hold is not None):
                self._is_plain = True
                return await self._sight(None)
            self._fail(error)

    def _remember(self, generation: Generation) -> bool:
        """Keep what was seen; return whether it is new."""
        self._is_found |= generation is not self.last
        if _marks(generation) == _marks(self.last):
            return False
        generation.idempotency_key = self.last.idempotency_key
        self.last = generation
        return True

    def _is_forgiven(self, error: LipsyncError) -> bool:
        """Tell whether "no such generation" may only mean that its create is too fresh."""
        return (
            isinstance(error, NotFoundError)
            and not self._is_found
            and self._requester.transport.now() - self._started < self._settings.poll.missing_grace
        )

    @property
    def _remaining(self) -> float:
        return self._deadline - self._requester.transport.now()

    @property
    def _is_late(self) -> bool:
        return self._requester.transport.now() >= self._deadline

    def _fail(self, error: LipsyncError) -> NoReturn:
        """Raise an error, as what it means for this wait."""
        if self._is_late:
            raise WaitTimeoutError(self.last, timeout=self._timeout) from error
        error.generation = self.last
        raise error

    async def _sit_out(self) -> NoReturn:
        """Wait for the end of the time, then say so."""
        try:
            await self._requester.transport.sleep(self._remaining)
        except LipsyncError as error:  # pragma: no cover - closed in the last second
            self._fail(error)
        raise WaitTimeoutError(self.last, timeout=self._timeout)


def _limit(seconds: float) -> float | None:
    return None if seconds == inf else seconds


def _with_time_for(hold: float | None, settings: RequestOptions) -> RequestOptions:
    """Give a look the time to be held open."""
    timeout = None if settings.timeout is None else settings.timeout + (hold or 0.0)
    return attrs.evolve(settings, timeout=timeout)


def _marks(generation: Generation) -> tuple[Status, float | None]:
    """Return what counts as a change."""
    return generation.status, generation.progress_percent
