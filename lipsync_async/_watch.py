"""Waiting for a job's end: the polling rules meet the exchange and its clock.

Waiting is read-only. Whoever stops waiting, by timeout or cancellation, changes nothing
about the job: the service has no cancel, and the job stays paid for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import attrs

from lipsync_async._rules import endpoints, polling
from lipsync_async._values.models import Generation
from lipsync_async._words import Status
from lipsync_async.errors import (
    GenerationFailedError,
    GenerationRejectedError,
    LipsyncError,
    NotFoundError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lipsync_async._exchange import Exchange, Settings

# What is said of a job that no look has shown yet.
_UNSEEN = Status("UNKNOWN")
# A held look keeps a connection for seconds. Half of the transport's 100 stay free, so that
# hundreds of waiting tasks cannot starve the creates; who finds no room looks and goes.
_MOST_HELD_LOOKS = 50
# While waiting, `RetryPolicy.give_up_after` alone ends the retries of a look: a night's
# wait must outlast an outage that a single call need not.
_TRIES_OF_A_LOOK = 1_000_000


def as_last_seen(job: Generation | str) -> Generation:
    """Return the job as last seen; of a bare id nothing is known yet."""
    return job if isinstance(job, Generation) else Generation(id=job, status=_UNSEEN)


async def changes(
    exchange: Exchange,
    settings: Settings,
    last: Generation,
    *,
    timeout: float | None,
) -> AsyncGenerator[Generation, None]:
    """Yield the job each time its status or progress has changed; end with its life.

    Args:
        exchange: What performs the looks.
        settings: How often to look and how to try again.
        last: The job as last seen.
        timeout: Seconds after which to stop; `None`: no limit.

    Raises:
        WaitTimeoutError: The time is over and the job is not.
        LipsyncError: A look failed for good; `.generation` is the job as last seen.

    """
    if last.is_terminal:
        return
    watch = _Watch(exchange, settings, last, timeout)
    steps = polling.looks(settings.poll, timeout=timeout)
    look = next(steps)
    while True:
        await exchange.transport.sleep(look.pause)
        seen = await watch.look(look)
        if watch.has_changed:
            yield watch.last
        try:
            look = steps.send(seen)
        except StopIteration:
            break
    if timeout is not None and not watch.last.is_terminal:
        await watch.sit_out(timeout)


def conclude(generation: Generation) -> Generation:
    """Return a COMPLETED generation; every other end is an error.

    Raises:
        GenerationFailedError: It ended as FAILED (or as an older word for it).
        GenerationRejectedError: It ended as REJECTED.

    """
    if generation.status == Status.COMPLETED:
        return generation
    if generation.status == Status.REJECTED:
        raise GenerationRejectedError(generation)
    raise GenerationFailedError(generation)


class _Watch:
    """Remember what the looks of one wait have shown so far."""

    def __init__(
        self,
        exchange: Exchange,
        settings: Settings,
        last: Generation,
        timeout: float | None,
    ) -> None:
        self.last = last
        self.has_changed = False
        self._is_found = False
        self._exchange = exchange
        self._settings = _patient(settings)
        self._timeout = timeout
        self._started = exchange.transport.now()

    @property
    def _elapsed(self) -> float:
        return self._exchange.transport.now() - self._started

    async def look(self, look: polling.Look) -> polling.Seen:
        """Look once, with retries, and remember what was seen."""
        before = self._elapsed
        has_room = self._exchange.held_looks < _MOST_HELD_LOOKS
        hold = look.hold if has_room else None
        self._exchange.held_looks += hold is not None
        try:
            sight = await self._sight(hold)
        finally:
            self._exchange.held_looks -= hold is not None
        self.has_changed = _marks(sight.generation) != _marks(self.last)
        if self.has_changed:
            sight.generation.idempotency_key = self.last.idempotency_key
            self.last = sight.generation
        now = self._elapsed
        return polling.Seen(
            status=self.last.status,
            elapsed=now,
            took=now - before if has_room else 0.0,  # who did not ask to be held, pauses
            is_held=sight.is_held or not has_room,
            retry_after=sight.retry_after,
        )

    async def _sight(self, hold: float | None) -> endpoints.Sight:
        """Ask the service; every failure still names the job."""
        call = endpoints.look_at_generation(
            self.last.id,
            hold=hold,
            progress=self._settings.poll.progress,
        )
        deadline = None if self._timeout is None else self._started + self._timeout
        try:
            sight = await self._exchange.perform(call, self._settings, deadline=deadline)
        except LipsyncError as error:
            if isinstance(error, NotFoundError) and self._may_be_spreading():
                return endpoints.Sight(self.last, is_held=True)
            if self._timeout is not None and self._elapsed >= self._timeout:
                raise WaitTimeoutError(self.last, timeout=self._timeout) from error
            error.generation = self.last
            raise
        self._is_found = True
        return sight

    def _may_be_spreading(self) -> bool:
        """Tell whether "no such generation" may only mean that its create is too fresh."""
        return not self._is_found and self._elapsed < self._settings.poll.missing_grace

    async def sit_out(self, timeout: float) -> NoReturn:
        """Wait for the end of the time, then say so."""
        await self._exchange.transport.sleep(timeout - self._elapsed)
        raise WaitTimeoutError(self.last, timeout=timeout)


def _patient(settings: Settings) -> Settings:
    """Give a look the time to be held open, and all the tries that its patience allows."""
    hold = settings.poll.long_poll or 0.0
    return attrs.evolve(
        settings,
        timeout=None if settings.timeout is None else settings.timeout + hold,
        retry=attrs.evolve(settings.retry, attempts=_TRIES_OF_A_LOOK),
    )


def _marks(generation: Generation) -> tuple[Status, float | None]:
    """Return what counts as a change."""
    return generation.status, generation.progress_percent
