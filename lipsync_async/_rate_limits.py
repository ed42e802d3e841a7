"""What the requests of one account have in common: its limits, and who waits for them.

All clients of a process that use the same key at the same address share its budgets and its
slots, in any number of threads and event loops, for as long as the process lives. Clients
with other `Limits` share them as well: the lowest limit of those that ask just then counts
for all. In a forked child they begin anew: the processes of an account do not know of each
other, and are to be given a share of the limits each.
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
from lipsync_async._callsite import RETRY_LOG, is_from_callback, log
from lipsync_async._logic.concurrency import LONGEST_JOB, ConcurrencyLimiter
from lipsync_async._logic.config import service_at
from lipsync_async._logic.rate_limiter import SlidingWindowLimiter
from lipsync_async._threads import new_lock
from lipsync_async.errors import LipsyncError, RateLimitError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from lipsync_async._logic.concurrency import Slot
    from lipsync_async._logic.config import Config
    from lipsync_async._logic.rate_limiter import Reservation
    from lipsync_async._models.response import Generation
    from lipsync_async._transport.protocol import Transport
    from lipsync_async.errors import ConcurrencyLimitError


T = TypeVar("T")

# Who waits for longer says so.
_SILENT_SECONDS = 1.0
_LONGEST_NAP = 3600.0
# An account of which nothing was used for so long, and that no client holds, is forgotten:
# by then its budgets have forgotten all that they had learnt.
_REST = 1200.0
_FEW_ACCOUNTS = 64


class _Guarded:
    """Let several threads use one thing, one at a time.

    A finalizer may want to use it as well, in the midst of a use by its own thread. So what
    gives something back never waits: it is done later, by whichever thread is at it.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self._later: deque[Callable[[], object]] = deque()

    def __enter__(self) -> None:
        """Begin a use."""
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        """End a use, and do what has come up meanwhile."""
        self._lock.release()
        if self._later:
            self._catch_up()

    def _do(self, action: Callable[[], object]) -> None:
        self._later.append(action)
        self._catch_up()

    def _catch_up(self) -> None:
        while self._later and self._lock.acquire(blocking=False):
            try:
                while self._later:
                    self._later.popleft()()
            finally:
                self._lock.release()


class SharedRateLimiter(_Guarded):
    """Let several threads draw on one budget."""

    def __init__(self) -> None:
        super().__init__()
        self._budget = SlidingWindowLimiter()

    def reserve(self, now: float, limit: int) -> Reservation:
        """Take the next place, as a client's limit of requests a minute allows."""
        with self:
            return self._budget.reserve(now, limit)

    def delay(self, place: Reservation, now: float) -> float:
        """Return the seconds until the place comes."""
        with self:
            return self._budget.delay(place, now)

    def cancel(self, place: Reservation) -> None:
        """Do without a place from which nothing was sent."""
        self._do(partial(self._budget.cancel, place))

    def on_429(
        self, place: Reservation, now: float, retry_after: float | None, patience: float | None
    ) -> float:
        """Learn from a refusal that the budget did not expect; return the pause's seconds."""
        with self:
            return self._budget.on_429(place, now, retry_after, patience)

    def is_idle(self, now: float) -> bool:
        """Tell whether nothing was sent for a long time."""
        with self:
            return self._budget.is_idle(now, _REST)


@attrs.define(slots=True)
class _Waiting:
    """Hold who is to be told when a slot may be free."""

    loop: asyncio.AbstractEventLoop
    most: int | None
    count: int = 0


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop; `None`: there is none of asyncio's, as the transport will say."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class SlotPool(_Guarded):
    """Let the creates, runs and waits of several event loops share an account's slots."""

    def __init__(self) -> None:
        super().__init__()
        self._slots = ConcurrencyLimiter()
        self._waiting: dict[Callable[[], None], _Waiting] = {}
        # Slots of creates under way, and slots that are held, with the loop that will give each
        # back, unless it is closed before; and the same of slots that are held twice.
        self._hands: dict[Slot, asyncio.AbstractEventLoop | None] = {}
        self._more_hands: list[tuple[Slot, asyncio.AbstractEventLoop | None]] = []
        self._loops: set[asyncio.AbstractEventLoop] = set()
        self._accepted_at = -inf

    @property
    def used(self) -> int:
        """Own creates under way and own jobs running."""
        return self._slots.used

    @property
    def has_held(self) -> bool:
        """Whether any run or wait looks after a job."""
        return len(self._hands) > self._slots.starting

    @property
    def limit(self) -> int | None:
        """Generations that may run at once, as the service has told; `None`: not known."""
        return self._slots.limit

    def take(
        self,
        now: float,
        most: int | None,
        key: str | None = None,
        *,
        wake: Callable[[], None] | None = None,
        is_eager: bool = False,
    ) -> Slot | None:
        """Take a slot for a create, if it may be sent now; see `Slots.take`.

        With the `wake` of one that waits, that is told of the next free slot after all others.
        """
        with self:
            strictest = self._strictest(most)
            slot = self._slots.take(now, strictest, key, is_eager=is_eager)
            if slot is None and self._drop_closed():
                slot = self._slots.take(now, strictest, key, is_eager=is_eager)
            if slot is not None:
                self._add_owner(slot)
                if wake is not None and wake in self._waiting:
                    self._waiting[wake] = self._waiting.pop(wake)
        return slot

    def take_anyhow(self, most: int | None, key: str | None = None) -> Slot:
        """Take a slot for a create that is sent, or whose job runs, in any case."""
        with self:
            slot = self._slots.started(self._strictest(most), key)
            self._add_owner(slot)
        return slot

    def next_try(self, now: float, most: int | None) -> float | None:
        """Return when a slot may be free, or a suspect is to be looked at; see `Slots`."""
        with self:
            return self._slots.next_try(now, self._strictest(most))

    def accepted(self, slot: Slot, job: Generation, now: float, *, is_held: bool = False) -> Slot:
        """Note that a create has become a job; return the slot that the job has.

        Args:
            slot: The create's.
            job: The job.
            now: The time.
            is_held: Whether the caller looks after it, and will `release` the slot.

        """
        with self:
            own = self._slots.accepted(slot, job.id, now)
            self._remove_owner(slot)
            if is_held:
                self._slots.held(own)
                self._add_owner(own)
            if job.is_terminal:
                self._slots.saw(job.id, now, is_over=True)
            self._accepted_at = now
        self._notify()
        return own

    def occupied(self, job: str, most: int | None, now: float) -> Slot:
        """Take a slot for a job that runs already, and hold it; `release` it in the end."""
        with self:
            slot = self._slots.accepted(self._slots.started(self._strictest(most)), job, now)
            self._slots.held(slot)
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
        """Learn from `concurrency_limit_reached`; see `Slots.refused`."""
        with self:
            self._remove_owner(slot)
            self._slots.refused(
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
        """Give back the slot of a create that came to nothing."""

        def end() -> None:
            self._remove_owner(slot)
            self._slots.ended(slot)

        self._do(end)
        self._notify()

    def hold(self, job: str) -> Slot | None:
        """Look after a job from now on, if it has a slot here; `release` it in the end."""
        if not self._slots.is_tracking:
            return None
        with self:
            slot = self._slots.slot_of(job)
            if slot is not None:
                self._slots.held(slot)
                self._add_owner(slot)
        return slot

    def release(self, slot: Slot | None) -> None:
        """Look after a slot's job no more: it is free if its job was seen to end."""
        if slot is None:
            return

        def release() -> None:
            self._remove_owner(slot)
            self._slots.released(slot)

        self._do(release)
        self._notify()

    def saw(self, shown: Iterable[tuple[str, bool]], now: float) -> None:
        """Note what an answer has shown: ids, and whether the job is over."""
        if not self._slots.is_tracking:
            return
        freed = False
        with self:
            for job, is_over in shown:
                freed |= self._slots.saw(job, now, is_over=is_over)
        if freed:
            self._notify()

    def suspects(self, now: float) -> list[str]:
        """Return jobs to be looked at, because a slot is wanted; see `Slots.suspects`."""
        with self:
            return self._slots.suspects(now)

    def patience_ends(self, since: float, slot_timeout: float | None) -> float:
        """Return when a create has waited for too long for a slot.

        Args:
            since: When it began to wait.
            slot_timeout: Seconds for which others may have all slots, from the moment in which
                one of ours was accepted; `None`: any number. While own jobs run, they may
                take the time that jobs take.

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

        Args:
            wake: The function. It may be registered several times, and is called once.
            most: Generations that the one who waits allows at once. Meanwhile it counts for
                all, or those who allow more would never leave it a slot.

        """
        waiting = self._waiting.get(wake)
        if waiting is None:
            waiting = self._waiting[wake] = _Waiting(asyncio.get_running_loop(), most)
        waiting.count += 1
        try:
            yield
        finally:
            waiting.count -= 1
            if not waiting.count:
                self._waiting.pop(wake, None)
                if most is not None:  # it counts no more
                    self._notify()

    def _notify(self) -> None:
        """Tell all who wait, each in its own loop: a slot may be free, or known better."""
        if not self._waiting:
            return
        here = _running_loop()
        for wake, waiting in [*self._waiting.items()]:
            try:
                if waiting.loop is here:
                    waiting.loop.call_soon(wake)
                else:
                    waiting.loop.call_soon_threadsafe(wake)
            except RuntimeError:  # that loop is closed, with all who waited there
                self._waiting.pop(wake, None)

    def _strictest(self, most: int | None) -> int | None:
        if not self._waiting:
            return most
        limits = [each.most for each in [*self._waiting.values()] if each.most is not None]
        return min(limits if most is None else [*limits, most], default=None)

    def _add_owner(self, slot: Slot) -> None:
        """Note that the running loop will give a slot back."""
        loop = _running_loop()
        if loop is not None and loop not in self._loops:
            self._drop_closed()
            self._loops.add(loop)
        if slot in self._hands:
            self._more_hands.append((slot, loop))
        else:
            self._hands[slot] = loop

    def _remove_owner(self, slot: Slot) -> None:
        for hand in self._more_hands:
            if hand[0] is slot:
                self._more_hands.remove(hand)
                return
        self._hands.pop(slot, None)

    def _drop_closed(self) -> bool:
        """Give back what loops have left behind that were closed without their tasks' ends."""
        closed = {loop for loop in self._loops if loop.is_closed()}
        if not closed:
            return False
        hands = [*self._hands.items(), *self._more_hands]
        self._hands, self._more_hands, self._loops = {}, [], self._loops - closed
        for slot, loop in hands:
            if loop in closed:
                self._slots.released(slot)
            elif slot in self._hands:
                self._more_hands.append((slot, loop))
            else:
                self._hands[slot] = loop
        return True


class AccountLimits:
    """Hold what the clients of an account share: two budgets, and the slots."""

    def __init__(self) -> None:
        self.creates: SharedRateLimiter = SharedRateLimiter()
        self.requests: SharedRateLimiter = SharedRateLimiter()
        self.slots: SlotPool = SlotPool()

    def is_idle(self, now: float) -> bool:
        """Tell whether a new account would do as well."""
        is_quiet = self.creates.is_idle(now) and self.requests.is_idle(now)
        return is_quiet and not self.slots.used


class _Registry:
    """Find the account of a client among those that this process uses, or has used."""

    def __init__(self) -> None:
        self.forget()
        register = getattr(os, "register_at_fork", dict)  # not every platform forks
        register(after_in_child=self.forget)

    def forget(self) -> None:
        """Begin anew: at first, and in a forked child, where the lock may never be released."""
        self._lock = new_lock()
        self._kept: dict[tuple[object, ...], AccountLimits] = {}
        self._most = _FEW_ACCOUNTS
        # Those that were at rest, but that a client still holds.
        self._held: WeakValueDictionary[tuple[object, ...], AccountLimits] = WeakValueDictionary()

    def find(self, config: Config) -> AccountLimits:
        """Return the account, a new one if it was not used before."""
        key = sha256(config.api_key.reveal().encode()).digest()
        name = (service_at(config.base_url), key)
        with self._lock:
            account = self._kept.get(name) or self._held.get(name) or AccountLimits()
            self._kept[name] = self._held[name] = account
            if len(self._kept) > self._most:
                self._let_rest(time.monotonic())
            return account

    def _let_rest(self, now: float) -> None:
        """Keep only what is of use, now and then: a process may use thousands of keys."""
        self._kept = {
            name: account for name, account in self._kept.items() if not account.is_idle(now)
        }
        self._kept.update(self._held)  # what a client holds may be used yet
        self._most = 2 * len(self._kept) + _FEW_ACCOUNTS


_REGISTRY = _Registry()


def limits_for(config: Config) -> AccountLimits:
    """Return what this process's clients of an account share."""
    return _REGISTRY.find(config)


@attrs.define(slots=True, eq=False)
class _Place:
    """Hold one who stands in a line.

    Attributes:
        since: Since when.
        deadline: Transport time after which it does not want to stand there any more.
        called: Is set when it should look whether its turn has come.

    """

    since: float
    deadline: float
    called: anyio.Event = attrs.field(factory=anyio.Event)


class WaitQueue:
    """Let the requests of one client and one loop through one by one, in their order.

    Only the first asks and sleeps; it also wakes those whose time is over, and says so when
    some have waited for long.

    Args:
        transport: Owner of the time.
        words: Say why so many wait, with the setting's name.

    """

    def __init__(self, transport: Transport, words: Callable[[int], str]) -> None:
        self._transport = transport
        self._words = words
        self._places: OrderedDict[_Place, None] = OrderedDict()
        self._silent: dict[_Place, None] = {}
        self._limited: dict[_Place, None] = {}
        self._nap: anyio.CancelScope | None = None
        self._nap_ends = -inf

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits here."""
        return not self._places

    async def wait_for(
        self,
        attempt: Callable[[float], tuple[T | None, float]],
        *,
        deadline: float | None = None,
        before: Callable[[], Awaitable[bool]] | None = None,
        goes_first: bool = False,
    ) -> T | None:
        """Wait until an attempt succeeds, and return what it gives; `None`: it is too late.

        Args:
            attempt: Is given the time, and returns what is wanted, or `None` and the seconds
                until it may be there.
            deadline: Transport time until which it is waited; `None`: no limit.
            before: Is done by the first before it sleeps; returns whether it has waited for
                anything, so that the first asks again.
            goes_first: Whether to stand before all others.

        """
        now = self._transport.now()
        if not self._places:
            got, _ = attempt(now)
            if got is not None:
                return got
        place = _Place(now, inf if deadline is None else deadline)
        self._join(place, goes_first=goes_first)
        try:
            while (now := self._transport.now()) < place.deadline:
                if next(iter(self._places)) is not place:
                    place.called = anyio.Event()
                    await place.called.wait()
                    continue
                got, seconds = attempt(now)
                if got is not None:
                    return got
                if before is None or not await before():
                    await self._rest(seconds)
            return None
        finally:
            self._leave(place)

    def wake(self) -> None:
        """Let the first ask again: something has changed."""
        if self._nap is not None:
            self._nap.cancel()

    def _join(self, place: _Place, *, goes_first: bool) -> None:
        self._places[place] = self._silent[place] = None
        if place.deadline != inf:
            self._limited[place] = None
        if goes_first:
            self._places.move_to_end(place, last=False)
        if goes_first or min(place.since + _SILENT_SECONDS, place.deadline) < self._nap_ends:
            self.wake()

    def _leave(self, place: _Place) -> None:
        del self._places[place]
        self._silent.pop(place, None)
        self._limited.pop(place, None)
        for first in self._places:
            first.called.set()
            break

    async def _rest(self, seconds: float) -> None:
        """Sleep for so long, or until woken, or until there is something to say."""
        now = self._transport.now()
        moment = min([self._said(now), *(place.deadline for place in self._limited)])
        self._nap_ends = min(now + seconds, moment)
        with anyio.CancelScope() as self._nap:
            # Never for ever: a transport that is closed ends what sleeps there.
            await self._transport.sleep(min(seconds, moment - now, _LONGEST_NAP))
        self._nap = None
        for place in self._limited:
            if place.deadline <= self._transport.now():
                place.called.set()

    def _said(self, now: float) -> float:
        """Say how many have waited for long; return when there will be more to say."""
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
    """Let the requests of one client pass one by one, as a budget allows.

    Only the first in line holds a place of the budget, so that the line moves up when
    another leaves it.

    Args:
        budget: The budget.
        limit: Requests a minute that the client allows; `None`: any number, and none waits.
        name: What the requests are called.
        setting: The limit's name.
        transport: Owner of the time.

    """

    def __init__(
        self,
        budget: SharedRateLimiter,
        limit: int | None,
        transport: Transport,
        *,
        name: str,
        setting: str,
    ) -> None:
        self._budget = budget
        self._limit = limit
        self._transport = transport
        self._name = name
        self._setting = f"Limits.{setting}={limit}"
        self._lines = LoopLocal(partial(WaitQueue, transport, self._words))

    async def acquire(self, deadline: float | None) -> tuple[Reservation | None, float]:
        """Wait until a request may be sent.

        Args:
            deadline: Transport time after which it is not waited any more.

        Returns:
            The place that it is sent from (`None`: there is no time left for one, or no limit),
            and the seconds that this took.

        """
        limit = self._limit
        if limit is None:
            return None, 0.0
        place: Reservation | None = None
        got: Reservation | None = None

        def attempt(now: float) -> tuple[Reservation | None, float]:
            nonlocal place
            place = self._budget.reserve(now, limit) if place is None else place
            seconds = self._budget.delay(place, now)
            return (place, 0.0) if seconds <= 0 else (None, seconds)

        began = self._transport.now()
        try:
            got = await self._lines.get().wait_for(attempt, deadline=deadline)
        finally:
            if got is None and place is not None:
                self._budget.cancel(place)
        return got, self._transport.now() - began

    @contextmanager
    def report_refusals(self, place: Reservation, patience: float | None) -> Iterator[None]:
        """Tell the budget if what is sent from a place is refused for its sake.

        Args:
            place: The place.
            patience: Seconds after which what is sent gives up; `None`: never.

        """
        try:
            yield
        except RateLimitError as error:
            if not is_from_callback(error):
                told = error.retry_after
                seconds = self._budget.on_429(place, self._transport.now(), told, patience)
                asked = "" if told is None else f" (it asked for {told:g} s)"
                log(
                    RETRY_LOG,
                    logging.INFO,
                    f"the service refuses more {self._name}s, so none is sent for "
                    f"{seconds:.1f} s{asked}; see {self._setting}.",
                )
            raise

    def _words(self, count: int) -> str:
        return (
            f"{_counted(count, self._name)} for more than {_SILENT_SECONDS:g} s for a turn: "
            f"{self._setting} allows no more just now."
        )


class SlotQueue:
    """Let the creates of one client pass when there is a slot for each.

    Args:
        slots: The account's slots.
        most: Generations that the client allows at once; `None`: as many as there are.
        transport: Owner of the time.

    """

    def __init__(self, slots: SlotPool, most: int | None, transport: Transport) -> None:
        self._slots = slots
        self._most = most
        self._transport = transport
        self._lines = LoopLocal(partial(WaitQueue, transport, self._words))

    async def acquire(
        self,
        key: str,
        since: float,
        slot_timeout: float | None,
        *,
        before: Callable[[], Awaitable[bool]],
        goes_first: bool,
    ) -> Slot:
        """Wait for a slot; when patience is over, take one anyhow, for the service to judge.

        Args:
            key: The create's Idempotency-Key.
            since: When it began to wait.
            slot_timeout: See `SharedSlots.patience_ends`.
            before: Looks at suspects before it is waited; returns whether it has.
            goes_first: Whether it has waited before.

        """
        line = self._lines.get()
        if line.is_empty:
            slot = self._slots.take(self._transport.now(), self._most, key, is_eager=True)
            if slot is not None:
                return slot

        def attempt(now: float) -> tuple[Slot | None, float]:
            slot = self._slots.take(now, self._most, key, wake=line.wake, is_eager=True)
            if slot is not None:
                return slot, 0.0
            ends = self._slots.patience_ends(since, slot_timeout)
            if ends <= now:
                return self._slots.take_anyhow(self._most, key), 0.0
            moment = self._slots.next_try(now, self._most)
            return None, min(ends, inf if moment is None else moment) - now

        with self._slots.on_change(line.wake, self._most):
            slot = await line.wait_for(attempt, before=before, goes_first=goes_first)
        assert slot is not None  # noqa: S101 - without a deadline it is never too late
        return slot

    def _words(self, count: int) -> str:
        waits = f"{_counted(count, 'create')} for more than {_SILENT_SECONDS:g} s for a slot"
        return f"{waits}: {self._slots.words(self._most)}"


def _counted(count: int, name: str) -> str:
    return f"1 {name} has waited" if count == 1 else f"{count} {name}s have waited"


class Turn:
    """Hold a call's place in the line of those that the account's pace holds up.

    Hundreds of creates that are each tried again in their own time would use up the
    requests of every minute. So one asks at a time, and the others wait behind it.

    Attributes:
        waited: Seconds that the call has waited for limits, which uses up no patience.
        uncertain: The last error after which the call may have worked.
        named: The job that an answer has named as the call's own.

    """

    def __init__(self, line: anyio.Lock | None, transport: Transport) -> None:
        self.waited: float = 0.0
        self.uncertain: LipsyncError | None = None
        self.named: Generation | None = None
        self._line = line
        self._transport = transport
        self._is_mine = False

    async def wait_behind_others(self) -> None:
        """Join the line if there is one already."""
        if self._line is not None and self._line.locked():
            await self.take()

    async def take(self) -> float:
        """Wait for the turn, if it has not come yet; return the seconds that this took."""
        if self._line is None or self._is_mine:
            return 0.0
        joined = self._transport.now()
        if self._line.locked():
            log(
                RETRY_LOG,
                logging.INFO,
                "a create waits behind another that the service has refused for the pace; see "
                "Limits.creates_per_minute.",
            )
        await self._line.acquire()
        self._is_mine = True
        waited = self._transport.now() - joined
        self.waited += waited
        return waited

    def give_back(self) -> None:
        """Let the next one have its turn."""
        if self._line is not None and self._is_mine:
            self._is_mine = False
            self._line.release()
