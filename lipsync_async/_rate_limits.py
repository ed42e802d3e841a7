"""What the requests of one account share: its rate limits, its slots, and their queues.

All clients of a process that use the same key at the same address share its rate limits and
its slots, in any number of threads and event loops, for as long as the process lives. Clients
with other `Limits` share them as well: the lowest limit of those that ask just then counts
for all. A forked child starts anew: the processes of an account do not know of each other, and
each should be given a share of the limits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import OrderedDict, deque
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from math import inf
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

import anyio
import attrs

from lipsync_async._asyncio_tools import LoopLocal
from lipsync_async._callsite import RETRY_LOG, log
from lipsync_async._logic.concurrency import LONGEST_JOB, ConcurrencyLimiter
from lipsync_async._logic.config import service_at
from lipsync_async._logic.rate_limiter import SlidingWindowLimiter
from lipsync_async._threads import new_lock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from lipsync_async._logic.concurrency import Slot
    from lipsync_async._logic.config import Config
    from lipsync_async._logic.rate_limiter import Reservation
    from lipsync_async._models.response import Generation
    from lipsync_async._transport.protocol import Transport
    from lipsync_async.errors import ConcurrencyLimitError

T = TypeVar("T")

# A longer wait is logged.
_SILENT_SECONDS = 1.0
_LONGEST_SLEEP = 3600.0
# An account of which nothing was used for so long, and that no client holds, is forgotten:
# by then its limiters have forgotten all that they had learnt.
_IDLE_SECONDS = 1200.0
_FEW_ACCOUNTS = 64


class RateLimit:
    """Rate limiter that several threads use, one at a time, each under `lock`.

    A finalizer may want to give a reservation back in the midst of a use by its own thread. So
    that never waits for the lock: `unused` is cancelled by the next use, before all else.
    """

    def __init__(self) -> None:
        self.lock = new_lock()
        self.limiter = SlidingWindowLimiter()
        self.unused: deque[Reservation] = deque()

    def reserve(
        self, reservation: Reservation | None, now: float, limit: int
    ) -> tuple[Reservation, float]:
        """Reserve a time, if there is none yet; return also the seconds until it comes."""
        with self.lock:
            while self.unused:
                self.limiter.cancel(self.unused.popleft())
            if reservation is None:
                reservation = self.limiter.reserve(now, limit)
                return reservation, reservation.due - now
            return reservation, self.limiter.delay(reservation, now)

    def is_idle(self, now: float) -> bool:
        """Tell whether the limiter has forgotten all that it had learnt, and nothing waits."""
        with self.lock:
            return self.limiter.is_idle(now, _IDLE_SECONDS)


@attrs.define(slots=True)
class _Waiter:
    """Callback to be called when a slot may be free: its loop, and how often it is registered."""

    loop: asyncio.AbstractEventLoop
    most: int | None
    count: int = 0


# `None`: there is no loop of asyncio's, as the transport will say.
_running_loop = asyncio._get_running_loop  # noqa: SLF001 - the public way raises


class SlotPool:
    """An account's slots, shared by the creates, runs and waits of several event loops."""

    def __init__(self) -> None:
        self._limiter = ConcurrencyLimiter()
        self._lock = new_lock()
        # What is given back never waits for the lock, for a finalizer may do so in the midst of
        # a use by its own thread. The next use of the limiter takes it back, before all else.
        self._released: deque[Slot] = deque()
        self._waiters: dict[Callable[[], None], _Waiter] = {}
        # Slots of creates in flight and slots that are held, with the loops that will give them
        # back, unless these are closed before.
        self._owners: dict[Slot, list[asyncio.AbstractEventLoop | None]] = {}
        self._loops: set[asyncio.AbstractEventLoop | None] = set()
        self._accepted_at = -inf

    @property
    def used(self) -> int:
        """Own creates in flight and own jobs running."""
        with self._lock:
            self._take_back()
        return self._limiter.used

    @property
    def has_held(self) -> bool:
        """Whether any run or wait watches a job."""
        with self._lock:
            self._take_back()
        return len(self._owners) > self._limiter.starting

    def take(
        self,
        now: float,
        most: int | None,
        key: str | None = None,
        *,
        wake: Callable[[], None] | None = None,
        is_eager: bool = False,
    ) -> Slot | None:
        """Take a slot for a create, if it may be sent now; see `ConcurrencyLimiter.take`.

        The owner of a registered `wake` is then told of the next free slot after all others.
        """
        with self._lock:
            if self._released:
                self._take_back()
            strictest = self._strictest(most) if self._waiters else most
            slot = self._limiter.take(now, strictest, key, is_eager=is_eager)
            if slot is None and self._drop_closed():
                slot = self._limiter.take(now, strictest, key, is_eager=is_eager)
            if slot is not None:
                self._add_owner(slot)
                if wake is not None and wake in self._waiters:
                    self._waiters[wake] = self._waiters.pop(wake)
        return slot

    def take_anyhow(self, most: int | None, key: str | None = None) -> Slot:
        """Take a slot for a create that is sent in any case."""
        with self._lock:
            slot = self._limiter.started(self._strictest(most), key)
            self._add_owner(slot)
        return slot

    def next_try(self, now: float, most: int | None) -> float | None:
        """Return when a slot may be free, or a job is to be looked at; see `ConcurrencyLimiter`."""
        with self._lock:
            self._take_back()
            return self._limiter.next_try(now, self._strictest(most))

    def accepted(self, slot: Slot, job: Generation, now: float, *, is_held: bool = False) -> Slot:
        """Record that a create has become a job; return the slot that the job has."""
        with self._lock:
            if self._released:
                self._take_back()
            own = self._limiter.accepted(slot, job.id, now)
            self._owners.pop(slot, None)
            if is_held:
                self._limiter.held(own)
                self._add_owner(own)
            if job.is_terminal:
                self._limiter.saw(job.id, now, is_over=True)
            self._accepted_at = now
        if self._waiters:
            self._notify()
        return own

    def occupied(self, job: str, most: int | None, now: float) -> Slot:
        """Take a slot for a job that runs already, and hold it; `release` it in the end."""
        with self._lock:
            slot = self._limiter.accepted(self._limiter.started(self._strictest(most)), job, now)
            self._limiter.held(slot)
            self._add_owner(slot)
        return slot

    def refused(
        self,
        slot: Slot,
        now: float,
        error: ConcurrencyLimitError,
        *,
        most: int | None,
        patience: float | None,
    ) -> None:
        """Learn from `concurrency_limit_reached`; see `ConcurrencyLimiter.refused`."""
        with self._lock:
            self._take_back()
            self._owners.pop(slot, None)
            self._limiter.refused(
                slot,
                now,
                limit=error.concurrency_limit,
                active=error.active_generations,
                retry_after=error.retry_after,
                most=most,
                patience=patience,
            )
        self._notify()

    def hold(self, job: str) -> Slot | None:
        """Watch a job from now on, if it has a slot here; `release` it in the end."""
        with self._lock:
            slot = self._limiter.jobs.get(job)
            if slot is not None:
                self._limiter.held(slot)
                self._add_owner(slot)
        return slot

    def release(self, slot: Slot | None) -> None:
        """Give back the slot of a create from which no job came, or watch its job no more.

        It is free then if the job was seen to end.
        """
        if slot is not None:
            self._released.append(slot)
            if self._waiters:
                self._notify()

    def _take_back(self) -> None:
        while self._released:
            slot = self._released.popleft()
            owners = self._owners.get(slot, [])
            if len(owners) > 1:
                owners.pop()
            else:
                self._owners.pop(slot, None)
            self._limiter.released(slot)

    def saw(self, shown: Iterable[tuple[str, bool]], now: float) -> None:
        """Record what an answer has shown: ids, and whether the job is over."""
        if not self._limiter.jobs:
            return
        freed = False
        with self._lock:
            for job, is_over in shown:
                freed |= self._limiter.saw(job, now, is_over=is_over)
        if freed:
            self._notify()

    def jobs_to_check(self, now: float) -> list[str]:
        """Return jobs to be looked at, because a slot is wanted; see `ConcurrencyLimiter`."""
        with self._lock:
            self._take_back()
            return self._limiter.jobs_to_check(now)

    def patience_ends(self, since: float, slot_timeout: float | None) -> float:
        """Return when a create has waited for too long for a slot.

        `slot_timeout` counts from the last of our creates that was accepted, for others may
        have all slots; while own jobs run, they may take the time that jobs take.
        """
        if slot_timeout is None:
            return inf
        return max(since, self._accepted_at) + slot_timeout + (LONGEST_JOB if self.used else 0.0)

    def words(self, most: int | None) -> str:
        """Say how many slots are in use, and how many there may be."""
        in_use, limit = f"{self.used} of the account's are in use", self._limiter.limit
        if most is None and limit is None:
            return (
                f"{in_use}, and Limits.concurrent_generations=None, so how many there are is "
                "found out by a few creates at a time."
            )
        told = "" if limit is None else f" (the service has told {limit})"
        return f"{in_use}, and Limits.concurrent_generations={most}{told} allows no more just now."

    @contextmanager
    def on_change(self, wake: Callable[[], None], most: int | None) -> Iterator[None]:
        """Have a function called, in the running loop, when something has changed.

        Meanwhile `most` counts for all, or those who allow more would never leave it a slot.
        """
        waiter = self._waiters.get(wake)
        if waiter is None:
            waiter = self._waiters[wake] = _Waiter(asyncio.get_running_loop(), most)
        waiter.count += 1
        try:
            yield
        finally:
            waiter.count -= 1
            if not waiter.count:
                self._waiters.pop(wake, None)
                if most is not None:  # it counts no more
                    self._notify()

    def _notify(self) -> None:
        """Wake all who wait, each in its own loop: a slot may be free, or known better."""
        if not self._waiters:
            return
        here = _running_loop()
        for wake, waiter in [*self._waiters.items()]:
            try:
                if waiter.loop is here:
                    waiter.loop.call_soon(wake)
                else:
                    waiter.loop.call_soon_threadsafe(wake)
            except RuntimeError:  # that loop is closed, with all who waited there
                self._waiters.pop(wake, None)

    def _strictest(self, most: int | None) -> int | None:
        limits = [waiter.most for waiter in [*self._waiters.values()] if waiter.most is not None]
        return min(limits if most is None else [*limits, most], default=None)

    def _add_owner(self, slot: Slot) -> None:
        """Record that the running loop will give a slot back."""
        loop = _running_loop()
        if loop not in self._loops:
            self._drop_closed()
            self._loops.add(loop)
        self._owners.setdefault(slot, []).append(loop)

    def _drop_closed(self) -> bool:
        """Give back what loops have left behind that were closed before their tasks ended."""
        closed = {loop for loop in self._loops if loop is not None and loop.is_closed()}
        if not closed:
            return False
        self._loops -= closed
        for slot, owners in [*self._owners.items()]:
            open_ones = [loop for loop in owners if loop not in closed]
            for _ in range(len(owners) - len(open_ones)):
                self._limiter.released(slot)
            if open_ones:
                self._owners[slot] = open_ones
            else:
                del self._owners[slot]
        return True


class AccountLimits:
    """What the clients of an account share: two rate limiters, and the slots."""

    def __init__(self) -> None:
        self.creates = RateLimit()
        self.requests = RateLimit()
        self.slots = SlotPool()

    def is_idle(self, now: float) -> bool:
        """Tell whether a new object would do as well."""
        return self.creates.is_idle(now) and self.requests.is_idle(now) and not self.slots.used


class _Registry:
    """Limits of the accounts that this process uses, or has used."""

    def __init__(self) -> None:
        self.reset()
        register = getattr(os, "register_at_fork", dict)  # not every platform forks
        register(after_in_child=self.reset)

    def reset(self) -> None:
        """Start anew: at first, and in a forked child, where the lock may never be released."""
        self._lock = new_lock()
        self._kept: dict[tuple[object, ...], AccountLimits] = {}
        self._most = _FEW_ACCOUNTS
        # Those that were idle, but that a client still holds.
        self._held: WeakValueDictionary[tuple[object, ...], AccountLimits] = WeakValueDictionary()

    def find(self, config: Config) -> AccountLimits:
        """Return the account's limits, new ones if it was not used before."""
        key = sha256(config.api_key.revealed.encode()).digest()
        name = (service_at(config.base_url), key)
        with self._lock:
            account = self._kept.get(name) or self._held.get(name) or AccountLimits()
            self._kept[name] = self._held[name] = account
            if len(self._kept) > self._most:
                # Keep only what is of use, now and then: a process may use thousands of keys.
                now = time.monotonic()
                self._kept = {n: each for n, each in self._kept.items() if not each.is_idle(now)}
                self._kept.update(self._held)  # what a client holds may be used yet
                self._most = 2 * len(self._kept) + _FEW_ACCOUNTS
            return account


_REGISTRY = _Registry()


def limits_for(config: Config) -> AccountLimits:
    """Return what this process's clients of an account share."""
    return _REGISTRY.find(config)


@attrs.define(slots=True, eq=False)
class _Place:
    """Place of one task in a queue.

    Attributes:
        since: Since when.
        deadline: Transport time after which the task does not wait any more.
        called: Is set when the task should look whether its turn has come.
    """

    since: float
    deadline: float
    called: anyio.Event = attrs.field(factory=anyio.Event)


class WaitQueue:
    """First-in-first-out queue of the requests of one client and one loop.

    Only the first asks and sleeps; it also wakes those whose time is over, and logs when
    some have waited for long.
    """

    def __init__(self, transport: Transport, words: Callable[[int], str]) -> None:
        self._transport = transport
        self._words = words
        # Those that wait, the first in turn first.
        self.places: OrderedDict[_Place, None] = OrderedDict()
        self._silent: dict[_Place, None] = {}
        self._limited: dict[_Place, None] = {}
        self._sleep_scope: anyio.CancelScope | None = None
        self._sleep_ends = -inf

    async def wait_for(
        self,
        attempt: Callable[[float], tuple[T | None, float]],
        *,
        deadline: float | None = None,
        before: Callable[[], Awaitable[bool]] | None = None,
        goes_first: bool = False,
    ) -> T | None:
        """Wait until an attempt succeeds, and return what it gives; `None`: it is too late.

        `attempt` gets the time, and returns what is wanted, or `None` and the seconds until it
        may be there. The first does `before` before it sleeps, and asks again if that waited.
        """
        place = _Place(self._transport.now(), inf if deadline is None else deadline)
        self._join(place, goes_first=goes_first)
        try:
            while (now := self._transport.now()) < place.deadline:
                if next(iter(self.places)) is not place:
                    place.called = anyio.Event()
                    await place.called.wait()
                    continue
                got, seconds = attempt(now)
                if got is not None:
                    return got
                if before is None or not await before():
                    await self._sleep(seconds)
            return None
        finally:
            self._leave(place)

    def wake(self) -> None:
        """Let the first ask again: something has changed."""
        if self._sleep_scope is not None:
            self._sleep_scope.cancel()

    def _join(self, place: _Place, *, goes_first: bool) -> None:
        self.places[place] = self._silent[place] = None
        if place.deadline != inf:
            self._limited[place] = None
        if goes_first:
            self.places.move_to_end(place, last=False)
        if goes_first or min(place.since + _SILENT_SECONDS, place.deadline) < self._sleep_ends:
            self.wake()

    def _leave(self, place: _Place) -> None:
        del self.places[place]
        self._silent.pop(place, None)
        self._limited.pop(place, None)
        for first in self.places:
            first.called.set()
            break

    async def _sleep(self, seconds: float) -> None:
        now = self._transport.now()
        moment = min([self._log_long_waits(now), *(place.deadline for place in self._limited)])
        self._sleep_ends = min(now + seconds, moment)
        with anyio.CancelScope() as self._sleep_scope:
            # Never for ever: a transport that is closed ends what sleeps there.
            await self._transport.sleep(min(seconds, moment - now, _LONGEST_SLEEP))
        self._sleep_scope = None
        for place in self._limited:
            if place.deadline <= self._transport.now():
                place.called.set()

    def _log_long_waits(self, now: float) -> float:
        """Log how many have waited for long; return when there will be more to log."""
        overdue = []
        due = inf
        for place in self._silent:
            due = place.since + _SILENT_SECONDS
            if due > now:
                break
            overdue.append(place)
            due = inf
        for place in overdue:
            del self._silent[place]
        if overdue:
            log(RETRY_LOG, logging.INFO, self._words(len(overdue)))
        return due


class Throttle:
    """Rate limit of one client for one class of requests.

    Only the first in the queue holds a reservation, so that the queue moves up when a request
    leaves it.
    """

    def __init__(
        self, shared: RateLimit, limit: int | None, transport: Transport, *, name: str, setting: str
    ) -> None:
        self._shared = shared
        self._limit = limit
        self._transport = transport
        self._name = name
        self._setting = f"Limits.{setting}={limit}"
        self._queues = LoopLocal(partial(WaitQueue, transport, self._words))
        # How many wait in all loops, those included that a closed loop has left waiting.
        self._waiting = 0

    async def acquire(self, deadline: float | None) -> tuple[Reservation | None, float]:
        """Wait until a request may be sent; return its reservation, and the seconds it took.

        There is none (`None`) without a limit, and when the deadline leaves no time for one.
        """
        limit = self._limit
        if limit is None:
            return None, 0.0
        began = self._transport.now()
        reservation: Reservation | None = None
        if not self._waiting or not self._queues.get().places:
            reservation, seconds = self._shared.reserve(None, began, limit)
            if seconds <= 0:
                return reservation, 0.0

        def attempt(now: float) -> tuple[Reservation | None, float]:
            nonlocal reservation
            reservation, seconds = self._shared.reserve(reservation, now, limit)
            return (reservation, 0.0) if seconds <= 0 else (None, seconds)

        got: Reservation | None = None
        self._waiting += 1
        try:
            got = await self._queues.get().wait_for(attempt, deadline=deadline)
        finally:
            self._waiting -= 1
            if got is None and reservation is not None:
                self._shared.unused.append(reservation)
        return got, self._transport.now() - began

    def report_refusal(
        self, reservation: Reservation, told: float | None, patience: float | None
    ) -> None:
        """Tell the limiter that what was sent from a reservation was refused for the rate."""
        with self._shared.lock:
            now = self._transport.now()
            seconds = self._shared.limiter.on_429(reservation, now, told, patience)
        asked = "" if told is None else f" (it asked for {told:g} s)"
        log(
            RETRY_LOG,
            logging.INFO,
            f"the service refuses more {self._name}s, so none is sent for "
            f"{seconds:.1f} s{asked}; see {self._setting}.",
        )

    def _words(self, count: int) -> str:
        return (
            f"{_counted(count, self._name)} for more than {_SILENT_SECONDS:g} s for a turn: "
            f"{self._setting} allows no more just now."
        )


class SlotQueue:
    """Queue of one client's creates for the account's slots."""

    def __init__(self, slots: SlotPool, most: int | None, transport: Transport) -> None:
        self._slots = slots
        self._most = most
        self._transport = transport
        self._queues = LoopLocal(partial(WaitQueue, transport, self._words))

    async def acquire(
        self,
        key: str,
        since: float,
        slot_timeout: float | None,
        *,
        before: Callable[[], Awaitable[bool]],
        goes_first: bool,
    ) -> Slot:
        """Wait for a slot; when patience is over, take one anyhow, for the service to judge."""
        queue = self._queues.get()

        def attempt(now: float) -> tuple[Slot | None, float]:
            slot = self._slots.take(now, self._most, key, wake=queue.wake, is_eager=True)
            if slot is not None:
                return slot, 0.0
            ends = self._slots.patience_ends(since, slot_timeout)
            if ends <= now:
                return self._slots.take_anyhow(self._most, key), 0.0
            moment = self._slots.next_try(now, self._most)
            return None, min(ends, inf if moment is None else moment) - now

        if not queue.places:
            slot = self._slots.take(self._transport.now(), self._most, key, is_eager=True)
            if slot is not None:
                return slot
        with self._slots.on_change(queue.wake, self._most):
            slot = await queue.wait_for(attempt, before=before, goes_first=goes_first)
        assert slot is not None  # noqa: S101 - without a deadline it is never too late
        return slot

    def _words(self, count: int) -> str:
        waits = f"{_counted(count, 'create')} for more than {_SILENT_SECONDS:g} s for a slot"
        return f"{waits}: {self._slots.words(self._most)}"


def _counted(count: int, name: str) -> str:
    return f"1 {name} has waited" if count == 1 else f"{count} {name}s have waited"
