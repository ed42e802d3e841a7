"""Runs many requests at once: full slots, one poller, a journal, an outcome for each.

Creates, and downloads if they are asked for, are the only tasks; a running job is an entry
in a table. The poller tells of changes by a callback, and one task draws the conclusions.
"""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import attrs

from lipsync_async import _download
from lipsync_async._fleet.intake import Entrant, entrants
from lipsync_async._fleet.outcomes import Outcome
from lipsync_async._rules import endpoints
from lipsync_async._rules.slots import Slot, Slots
from lipsync_async._values.inputs import GenerationRequest
from lipsync_async._values.models import Generation
from lipsync_async._watch.poller import Watcher
from lipsync_async._watch.shift import Attendant
from lipsync_async._watch.waits import conclude
from lipsync_async.errors import (
    ConcurrencyLimitError,
    InvalidRequestError,
    JournalError,
    LipsyncError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable
    from pathlib import Path

    from anyio.abc import TaskGroup

    from lipsync_async._exchange import Exchange, Settings
    from lipsync_async._fleet.outlet import Outlet
    from lipsync_async._fleet.scribe import Scribe
    from lipsync_async._watch.poller import Poller

# Creates under way at once: the service's answer takes a part of a second, and a plan's
# slots (15 at most, contract section 5.2) must be filled together.
_MOST_CREATES = 32
# Results fetched at once: they are large, and have 20 connections of their own.
_MOST_DOWNLOADS = 4
# A create that finds no slot is not to wait inside the request: the fleet knows better.
_NO_PATIENCE = 1e-6


@attrs.define(slots=True, eq=False)
class _Order:
    """Hold a request that is to be placed, under one key however often it is sent."""

    entrant: Entrant
    slot: Slot = attrs.field(factory=lambda: Slot(is_probe=False))
    key: str | None = None


@attrs.define(slots=True, eq=False)
class _Job:
    """Hold a job that was accepted and has not ended."""

    index: int
    request: GenerationRequest
    slot: Slot
    generation: Generation
    watcher: Watcher | None = None


class Fleet:
    """Bring every request to its outcome.

    Args:
        exchange: What performs the calls.
        poller: What looks after the jobs.
        settings: Timeouts, retries, and how often to look.
        slots: How many jobs may run at once.
        scribe: Keeps the journal.
        outlet: Takes the outcomes.
        download_to: Folder for the results; `None`: they are not fetched.
        stops_on_error: Whether the first outcome with an error ends the intake.

    """

    def __init__(
        self,
        exchange: Exchange,
        poller: Poller,
        settings: Settings,
        *,
        slots: Slots,
        scribe: Scribe,
        outlet: Outlet,
        download_to: Path | None,
        stops_on_error: bool,
    ) -> None:
        self.total: int | None = None
        self.running: int = 0
        self._exchange = exchange
        self._poller = poller
        self._settings = attrs.evolve(
            settings,
            retry=attrs.evolve(settings.retry, slot_timeout=_NO_PATIENCE),
        )
        self._slots = slots
        self._scribe = scribe
        self._outlet = outlet
        self._download_to = download_to
        self._stops_on_error = stops_on_error
        self._has_stopped = False
        self._jobs: dict[str, _Job] = {}
        self._news: deque[tuple[str, Generation | LipsyncError]] = deque()
        self._nap = anyio.CancelScope()
        self._creates: set[_Order] = set()
        self._refused: deque[_Order] = deque()
        self._downloads = anyio.Semaphore(_MOST_DOWNLOADS)
        self._heard = anyio.Event()
        self._busy = 0
        self._attendant = Attendant(lambda: self._is_done)
        self._is_done = False

    async def run(
        self,
        requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
    ) -> None:
        """Run all requests; return when each has its outcome."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._poller.attend, self._attendant, self._settings)
            tasks.start_soon(self._conclude_all, tasks)
            index = -1
            async with aclosing(entrants(requests, self._scribe)) as entering:
                async for entrant in entering:
                    index = entrant.index
                    await self._begin(entrant, tasks)
                    if self._has_stopped:
                        break
            while self._creates or self._refused:
                await self._order_again(tasks)
            self.total = index + 1
            self._hear()

    def refresh(self) -> None:
        """Look again whether a create may be sent: something has changed."""
        self._nap.cancel()

    async def _begin(self, entrant: Entrant, tasks: TaskGroup) -> None:
        """Let a request go on from where an earlier run, if any, has left it."""
        entry = entrant.entry
        generation = None if entry is None else entry.generation
        if entrant.problems:
            self._deliver(entrant, error=InvalidRequestError(entrant.problems))
        elif entry is None or generation is None:
            await self._order_again(tasks, _Order(entrant))
        elif generation.is_terminal:
            job = _Job(entrant.index, entrant.request, Slot(is_probe=False), generation)
            path = entry.download_path
            self._busy += 1
            tasks.start_soon(self._finish, job, path if path and path.exists() else None)
        else:
            slot = self._slots.started()
            self._slots.accepted(slot)
            self._watch(_Job(entrant.index, entrant.request, slot, generation))

    async def _order_again(self, tasks: TaskGroup, order: _Order | None = None) -> None:
        """Send orders that found no slot before, then a new one, each when there is a slot.

        Without a new one, return when something has changed.
        """
        while True:
            now = self._exchange.transport.now()
            has_room = len(self._creates) < _MOST_CREATES and not self._outlet.is_full
            if has_room and self._slots.may_start(now):
                following = self._refused.popleft() if self._refused else order
                if following is not None:
                    self._start(following, tasks)
                if following is order:
                    return
                continue
            if order is None and not self._refused:
                has_room = False
            await self._rest(self._slots.next_try(now) if has_room else None)
            if order is None:
                return

    def _start(self, order: _Order, tasks: TaskGroup) -> None:
        order.slot = self._slots.started()
        self._creates.add(order)
        tasks.start_soon(self._create, order)

    async def _rest(self, until: float | None) -> None:
        """Do nothing until a time, or until something has changed."""
        with anyio.CancelScope() as self._nap:
            if until is None:
                await anyio.sleep_forever()
            await self._exchange.transport.sleep(until - self._exchange.transport.now())

    async def _create(self, order: _Order) -> None:
        """Place an order and hand the job to the poller, or take the order back."""
        index, request = order.entrant.index, order.entrant.request
        generation: Generation | None = None
        try:
            if order.key is None:
                order.key = await self._scribe.intend(index, request)
            call = endpoints.create_generation(request, idempotency_key=order.key)
            generation = await self._exchange.perform(call, self._settings)
            self._slots.accepted(order.slot)
            await self._scribe.see(index, generation)
            self._watch(_Job(index, request, order.slot, generation))
        except ConcurrencyLimitError as error:
            self._slots.refused(
                order.slot,
                self._exchange.transport.now(),
                limit=error.concurrency_limit,
                active=error.active_generations,
                retry_after=error.retry_after,
            )
            self._refused.append(order)
        except LipsyncError as error:
            self._slots.ended(order.slot)
            await self._note(index, error)
            found = generation or error.generation
            self._deliver(order.entrant, error=error, generation=found)
        finally:
            self._creates.discard(order)
            self.refresh()
            self._hear()

    async def _note(self, index: int, error: LipsyncError) -> None:
        """Write an error down; one that cannot be written is no less of an error."""
        try:
            await self._scribe.fail(index, error)
        except JournalError as another:
            error.add_note(str(another))

    def _watch(self, job: _Job) -> None:
        generation = job.generation
        self._jobs[generation.id] = job
        self.running += 1
        if generation.is_terminal:
            self._notice(generation.id, generation)
        else:
            status = str(generation.status)
            job.watcher = self._poller.join(generation.id, self._notice, status=status)

    def _notice(self, job_id: str, news: Generation | LipsyncError) -> None:
        self._news.append((job_id, news))
        self._hear()

    def _hear(self) -> None:
        self._heard.set()

    async def _conclude_all(self, tasks: TaskGroup) -> None:
        """Draw the conclusions from what the poller tells, until all is done."""
        while not self._has_ended():
            await self._heard.wait()
            self._heard = anyio.Event()
            while self._news:
                self._conclude(*self._news.popleft(), tasks)
        self._is_done = True
        self._attendant.wake()

    def _has_ended(self) -> bool:
        left = (self._jobs, self._busy, self._news, self._creates, self._refused)
        return self.total is not None and not any(left)

    def _conclude(
        self,
        job_id: str,
        news: Generation | LipsyncError,
        tasks: TaskGroup,
    ) -> None:
        job = self._jobs.get(job_id)
        if job is None:  # an error came twice
            return
        if isinstance(news, Generation):
            news.idempotency_key = job.generation.idempotency_key
            job.generation = news
            if not news.is_terminal:
                return
        del self._jobs[job_id]
        self.running -= 1
        if job.watcher is not None:
            self._poller.leave(job.watcher)
        self._slots.ended(job.slot)
        self.refresh()
        self._busy += 1
        if isinstance(news, Generation):
            tasks.start_soon(self._finish, job, None)
        else:
            tasks.start_soon(self._give_up, job, news)

    async def _finish(self, job: _Job, path: Path | None) -> None:
        """Bring an ended job to its outcome: its error, or its result."""
        try:
            await self._scribe.see(job.index, job.generation)
            done = conclude(job.generation)
            if self._download_to is not None and path is None:
                async with self._downloads:
                    path = await self._fetch(job, done, self._download_to)
                await self._scribe.keep(job.index, path)
            self._deliver(job, generation=done, path=path)
        except LipsyncError as error:
            await self._note(job.index, error)
            self._deliver(job, generation=job.generation, error=error)
        finally:
            self._busy -= 1
            self._hear()

    async def _fetch(self, job: _Job, done: Generation, folder: Path) -> Path:
        # Under a name that depends on the job alone, what a kill left is fetched over.
        name = f"{job.request.output_file_name or 'generation'}-{done.id}.mp4"
        return await _download.save(self._exchange, self._settings, done, folder / name)

    async def _give_up(self, job: _Job, error: LipsyncError) -> None:
        try:
            await self._note(job.index, error)
            self._deliver(job, generation=job.generation, error=error)
        finally:
            self._busy -= 1
            self._hear()

    def _deliver(
        self,
        of: Entrant | _Job,
        *,
        generation: Generation | None = None,
        error: LipsyncError | None = None,
        path: Path | None = None,
    ) -> None:
        outcome = Outcome(
            index=of.index,
            request=of.request,
            generation=generation,
            error=error,
            path=path,
        )
        self._has_stopped = self._has_stopped or (self._stops_on_error and error is not None)
        self._outlet.put(outcome)
