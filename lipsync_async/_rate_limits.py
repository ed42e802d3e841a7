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
from typing import TYPE_CHECKING, Generic, TypeVar
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


class Synchronized(Generic[T]):
    """Value that several threads use, one at a time: `with synchronized as value: ...`.

    A finalizer may want to use it as well, in the middle of a use by its own thread. So what
    gives something back never waits for the lock: `soon` leaves it to the thread that holds it.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._lock = new_lock()
        self._actions: deque[Callable[[T], object]] = deque()

    def __enter__(self) -> T:
        self._lock.acquire()
        return self._value

    def __exit__(self, *_: object) -> None:
        """Release the lock, and do what has come up meanwhile."""
        self._lock.release()
        if self._actions:
            self._catch_up()

    def soon(self, action: Callable[[T], object]) -> None:
        """Do something with the value as soon as no thread uses it; never wait."""
        self._actions.append(action)
        self._catch_up()

    def _catch_up(self) -> None:
        while self._actions and self._lock.acquire(blocking=False):
            try:
                while self._actions:
                    self._actions.popleft()(self._value)
            finally:
                self._lock.release()


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
        self._guard = Synchronized(self._limiter)
        self._waiters: dict[Callable[[], None], _Waiter] = {}
        # Slots of creates in flight and slots that are held, with the loop that will give each
        # back, unless it is closed before; and the same of slots that are held twice.
        self._owners: dict[Slot, asyncio.AbstractEventLoop | None] = {}
        self._more_owners: list[tuple[Slot, asyncio.AbstractEventLoop | None]] = []
        self._loops: set[asyncio.AbstractEventLoop] = set()
        self._accepted_at = -inf

    @property
    def used(self) -> int:
        """Own creates in flight and own jobs running."""
        return self._limiter.used

    @property
    def has_held(self) -> bool:
        """Whether any run or wait watches a job."""
        return len(self._owners) > self._limiter.starting

    @property
    def limit(self) -> int | None:
        """Generations that may run at once, as the service has told; `None`: not known."""
        return self._limiter.limit

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
        with self._guard as limiter:
            strictest = self._strictest(most)
            slot = limiter.take(now, strictest, key, is_eager=is_eager)
            if slot is None and self._drop_closed():
                slot = limiter.take(now, strictest, key, is_eager=is_eager)
            if slot is not None:
                self._add_owner(slot)
                if wake is not None and wake in self._waiters:
                    self._waiters[wake] = self._waiters.pop(wake)
        return slot

    def take_anyhow(self, most: int | None, key: str | None = None) -> Slot:
        """Take a slot for a create that is sent in any case."""
        with self._guard as limiter:
            slot = limiter.started(self._strictest(most), key)
            self._add_owner(slot)
        return slot

    def next_try(self, now: float, most: int | None) -> float | None:
        """Return when a slot may be free, or a job is to be looked at; see `ConcurrencyLimiter`."""
        with self._guard as limiter:
            return limiter.next_try(now, self._strictest(most))

    def accepted(self, slot: Slot, job: Generation, now: float, *, is_held: bool = False) -> Slot:
        """Record that a create has become a job; return the slot that the job has."""
        with self._guard as limiter:
            own = limiter.accepted(slot, job.id, now)
            self._remove_owner(slot)
            if is_held:
                limiter.held(own)
                self._add_owner(own)
            if job.is_terminal:
                limiter.saw(job.id, now, is_over=True)
            self._accepted_at = now
        if self._waiters:
            self._notify()
        return own

    def occupied(self, job: str, most: int | None, now: float) -> Slot:
        """Take a slot for a job that runs already, and hold it; `release` it in the end."""
        with self._guard as limiter:
            slot = limiter.accepted(limiter.started(self._strictest(most)), job, now)
            limiter.held(slot)
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
        with self._guard as limiter:
            self._remove_owner(slot)
            limiter.refused(
                slot,
                now,
                limit=error.concurrency_limit,
                active=error.active_generations,
                retry_after=error.retry_after,
                most=most,
                patience=patience,
            )
        self._notify()

    def ended(self, slot: Slot) -> None:
        """Give back the slot of a create from which no job came."""
        self._give_back(slot, ConcurrencyLimiter.ended)

    def hold(self, job: str) -> Slot | None:
        """Watch a job from now on, if it has a slot here; `release` it in the end."""
        if not self._limiter.is_tracking:
            return None
        with self._guard as limiter:
            slot = limiter.slot_of(job)
            if slot is not None:
                limiter.held(slot)
                self._add_owner(slot)
        return slot

    def release(self, slot: Slot | None) -> None:
        """Watch a slot's job no more: the slot is free if the job was seen to end."""
        if slot is not None:
            self._give_back(slot, ConcurrencyLimiter.released)

    def _give_back(self, slot: Slot, action: Callable[[ConcurrencyLimiter, Slot], object]) -> None:
        def give_back(limiter: ConcurrencyLimiter) -> None:
            self._remove_owner(slot)
            action(limiter, slot)

        self._guard.soon(give_back)
        self._notify()

    def saw(self, shown: Iterable[tuple[str, bool]], now: float) -> None:
        """Record what an answer has shown: ids, and whether the job is over."""
        if not self._limiter.is_tracking:
            return
        freed = False
        with self._guard as limiter:
            for job, is_over in shown:
                freed |= limiter.saw(job, now, is_over=is_over)
        if freed:
            self._notify()

    def jobs_to_check(self, now: float) -> list[str]:
        """Return jobs to be looked at, because a slot is wanted; see `ConcurrencyLimiter`."""
        with self._guard as limiter:
            return limiter.jobs_to_check(now)

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
        in_use = f"{self.used} of the account's are in use"
        if most is None and self.limit is None:
            return (
                f"{in_use}, and Limits.concurrent_generations=None, so how many there are is "
                "found out by a few creates at a time."
            )
        told = "" if self.limit is None else f" (the service has told {self.limit})"
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
        if not self._waiters:
            return most
        limits = [each.most for each in [*self._waiters.values()] if each.most is not None]
        return min(limits if most is None else [*limits, most], default=None)

    def _add_owner(self, slot: Slot) -> None:
        """Record that the running loop will give a slot back."""
        loop = _running_loop()
        if loop is not None and loop not in self._loops:
            self._drop_closed()
            self._loops.add(loop)
        if slot in self._owners:
            self._more_owners.append((slot, loop))
        else:
            self._owners[slot] = loop

    def _remove_owner(self, slot: Slot) -> None:
        for owner in self._more_owners:
            if owner[0] is slot:
                self._more_owners.remove(owner)
                return
        self._owners.pop(slot, None)

    def _drop_closed(self) -> bool:
        """Give back what loops have left behind that were closed before their tasks ended."""
        closed = {loop for loop in self._loops if loop.is_closed()}
        if not closed:
            return False
        owners = [*self._owners.items(), *self._more_owners]
        self._owners, self._more_owners, self._loops = {}, [], self._loops - closed
        for slot, loop in owners:
            if loop in closed:
                self._limiter.released(slot)
            elif slot in self._owners:
                self._more_owners.append((slot, loop))
            else:
                self._owners[slot] = loop
        return True


class AccountLimits:
    """What the clients of an account share: two rate limiters, and the slots."""

    def __init__(self) -> None:
        self.creates: Synchronized[SlidingWindowLimiter] = Synchronized(SlidingWindowLimiter())
        self.requests: Synchronized[SlidingWindowLimiter] = Synchronized(SlidingWindowLimiter())
        self.slots: SlotPool = SlotPool()

    def is_idle(self, now: float) -> bool:
        """Tell whether a new object would do as well."""
        with self.creates as creates, self.requests as requests:
            is_quiet = creates.is_idle(now, _IDLE_SECONDS) and requests.is_idle(now, _IDLE_SECONDS)
        return is_quiet and not self.slots.used


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
        key = sha256(config.api_key.reveal().encode()).digest()
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
        self,
        limiter: Synchronized[SlidingWindowLimiter],
        limit: int | None,
        transport: Transport,
        *,
        name: str,
        setting: str,
    ) -> None:
        self._limiter = limiter
        self._limit = limit
        self._transport = transport
        self._name = name
        self._setting = f"Limits.{setting}={limit}"
        self._queues = LoopLocal(partial(WaitQueue, transport, self._words))

    async def acquire(self, deadline: float | None) -> tuple[Reservation | None, float]:
        """Wait until a request may be sent; return its reservation, and the seconds it took.

        There is none (`None`) without a limit, and when the deadline leaves no time for one.
        """
        limit = self._limit
        if limit is None:
            return None, 0.0
        reservation: Reservation | None = None
        got: Reservation | None = None

        def attempt(now: float) -> tuple[Reservation | None, float]:
            nonlocal reservation
            with self._limiter as limiter:
                if reservation is None:
                    reservation = limiter.reserve(now, limit)
                seconds = limiter.delay(reservation, now)
            return (reservation, 0.0) if seconds <= 0 else (None, seconds)

        queue = self._queues.get()
        began = self._transport.now()
        try:
            if not queue.places:
                got, _ = attempt(began)
            if got is None:
                got = await queue.wait_for(attempt, deadline=deadline)
        finally:
            if got is None and reservation is not None:
                left = reservation
                self._limiter.soon(lambda limiter: limiter.cancel(left))
        return got, self._transport.now() - began

    def report_refusal(
        self, reservation: Reservation, told: float | None, patience: float | None
    ) -> None:
        """Tell the limiter that what was sent from a reservation was refused for the rate."""
        with self._limiter as limiter:
            seconds = limiter.on_429(reservation, self._transport.now(), told, patience)
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
