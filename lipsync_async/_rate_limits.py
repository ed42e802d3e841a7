"""The limits of an account: how many requests a minute, and how many generations at once.

All clients of a process that use the same key at the same address share its rate limits and
its slots, in any number of threads and event loops, for as long as the process lives. Clients
with other `Limits` share them as well: the lowest limit of those that ask just then counts
for all. A forked child starts anew: processes know of each other only through a store
(`_shared_limits.py`), whose documents hold the states of these limiters.

Two limiters decide, without clock or lock: `SlidingWindowLimiter` and `ConcurrencyLimiter`.
The rest shares them among threads and loops, and queues those who wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from abc import abstractmethod
from base64 import b64decode, b64encode
from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from functools import partial, wraps
from hashlib import sha256
from itertools import islice
from math import inf
from operator import attrgetter, methodcaller
from struct import iter_unpack, pack
from threading import Lock
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar
from weakref import WeakValueDictionary

import anyio
import attrs

from lipsync_async._asyncio_tools import LoopLocal
from lipsync_async._callsite import RETRY_LOG, log
from lipsync_async._enums import TERMINAL, Status
from lipsync_async._logic.config import service_at
from lipsync_async._logic.endpoints import RATE_CLASSES, REQUEST, RateClass
from lipsync_async._models.policies import Limits
from lipsync_async._models.response import Generation
from lipsync_async._threads import new_lock
from lipsync_async._transport.protocol import Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator

    from lipsync_async._logic.config import Config
    from lipsync_async.errors import ConcurrencyLimitError


P = ParamSpec("P")
T = TypeVar("T")

WINDOW = 60.0  # seconds; Source: "Rate limits", sync.so documentation

# Share of the window by which arrivals may be spread; the rate is 1/1.02 = 98.04 % of the
# limit. Measured: at exactly the limit 4 to 48 refusals a run, with the guard none.
GUARD = 0.02
# A request that comes later than half of the guard gets a new time; the other half is for
# the way to the service.
LATEST = GUARD / 2
# As many as all plans run at once (15) and a few lookups beside.
_BURST = 20

# A refusal that names no time pauses for this share of the window: 1 s, with which the
# service's own advice begins.
_REFUSAL_PAUSE = 1 / 60
# And no refusal pauses for longer than this share. After a whole window the service has
# forgotten all that it counted, so a day, a year or milliseconds are a mistake.
_LONGEST_REFUSAL_PAUSE = 1.0
# What was learnt is kept for so many windows, then the limit rises by this share of the
# configured one in each. A plan that is smaller than configured so costs about one refusal
# in six minutes; after another user of the key has gone, the rest comes back in at most 15.
_KEPT_WINDOWS = 5.0
_GROWTH = 0.1
# After so many windows without a request a limiter has forgotten all that it had learnt; an
# account of which that holds, and that no client holds, is forgotten.
_IDLE_WINDOWS = 20.0
# Another client may have had the whole last minute: one refusal halves the limit at most.
_MOST_LOST = 2
# And where nothing has passed, refusals tell no rate: the service may refuse all for a while.
# They lower the limit to this share of the configured one at most, or each later call would
# wait a minute for its turn.
_LEAST_GUESSED = 1 / 6

_TIME = attrgetter("time")


@attrs.define(slots=True, eq=False)
class Reservation:
    """Time at which one request may leave; only its limiter looks inside.

    Attributes:
        time: When to send, on the limiter's own clock.
        settled: When the pace has caught up with all that was sent until then.
        due: When to send, by the clock of the one who asks, as it was last told.
        limit: How many the asking client allows itself; `None`: the limiter's own number.
        lowerings: How often the limit had been lowered when it was made.
        is_refused: Whether the service refused what was sent.
        is_due: Whether its time had come when it was last told.
        is_hastened: Whether it has taken another's time, or lost its own to another, once.
    """

    time: float
    settled: float
    due: float = -inf
    limit: int | None = None
    lowerings: int = 0
    is_refused: bool = False
    is_due: bool = False
    is_hastened: bool = False


class SlidingWindowLimiter:
    """Rate limiter for the requests of one class: no minute sees more of them than its limit.

    The service counts the requests of any sixty seconds. A token bucket that holds C tokens and
    refills at the full rate lets too many through in its first minute. So the time of each
    request is written into a log, and two rules give the next one its time:

    * **the log**: the time is a whole window and a guard after the time of the request a full
      limit before it. This rule alone keeps every window, whatever is cancelled or late;
    * **the pace**: a few may go at once, the rest one by one, evenly. Once the log has made a
      request wait, nothing goes in bursts until the limiter has rested, so that a busy limiter
      sends evenly, and a request that is delayed on its way fits into every window.

    Reservations come in the order in which they are asked for; each costs O(1), however many
    wait. A pause makes the limiter's own clock stand still, which delays all of them at once. A
    request that comes late for its time gets a new one. A cancelled reservation counts no more,
    but moves no later one: a client does well to let only the first of its queue reserve.

    Clients that share a limiter may allow themselves different numbers. The lowest number of
    those that have asked within the last window counts for all.

    Attributes:
        lock: For threads that share the limiter, which itself takes no lock.
        unused: Reservations to be cancelled by the next use that counts. A finalizer adds them
            without the lock, since it may run in the midst of a use by its own thread.
    """

    def __init__(self, limit: int | None = None, *, window: float = WINDOW) -> None:
        self.lock = new_lock()
        self.unused: deque[Reservation] = deque()
        self._configured = limit
        self._window = window
        self._span = window * (1 + GUARD)
        self._latest = window * LATEST
        self._log: list[Reservation] = []
        self._longest = 0
        self._stood_still = 0.0
        self._resumes = -inf
        # The numbers of those who have asked, and the time of the last request of each.
        self._asked: dict[int, float] = {}
        self._learnt: float = inf
        self._lowerings = 0
        self._lowered_from = 0
        self._lowered_at = -inf

    def limit(self, now: float, configured: int | None = None) -> int | None:
        """Return the requests in a window that are believed to pass."""
        configured = self._configured if configured is None else configured
        if configured is None:
            return None
        kept = _KEPT_WINDOWS * self._window
        rested = max(0.0, self._clock(now) - self._lowered_at - kept)
        grown = self._learnt + configured * _GROWTH * rested / self._window
        return int(min(configured, grown))

    def reserve(self, now: float, limit: int | None = None) -> Reservation:
        """Take the next time; later, `delay` tells how far away it is."""
        clock = max(now, self._resumes) - self._stood_still
        configured = self._configured if limit is None else limit
        if configured is None:
            return Reservation(clock, clock, now)
        while self.unused:
            self.cancel(self.unused.popleft())
        if len(self._log) > self._longest:
            # Drop what no window to come contains, now and then, so that it costs O(1).
            del self._log[: bisect_right(self._log, clock - self._span, key=_TIME)]
            self._longest = 2 * len(self._log) + _BURST
        if len(self._asked) > (configured in self._asked):
            asked = self._asked.items()
            self._asked = {each: last for each, last in asked if last + self._span > clock}
        allowed = min([configured, *self._asked])
        if self._lowerings:
            allowed = self.limit(now, allowed) or 1
        pace = self._span / allowed
        burst = min(_BURST, allowed)
        last = self._log[-1] if self._log else Reservation(-inf, -inf)
        paced = max(clock, last.time, last.settled - (burst - 1) * pace)
        passes = self._log[-allowed].time + self._span if len(self._log) >= allowed else -inf
        time = max(paced, passes)
        settled = time + burst * pace if passes > paced else max(paced, last.settled) + pace
        due = max(time + self._stood_still, self._resumes)
        made = Reservation(time, settled, due, limit, self._lowerings, is_due=due <= now)
        self._asked[configured] = time
        self._log.append(made)
        return made

    def delay(self, reservation: Reservation, now: float) -> float:
        """Return the seconds until the time comes; at 0 the request must leave at once.

        Ask again after having waited: a pause may have moved it, and a request that is too
        late for its time gets a new one here.
        """
        if max(now, self._resumes) - self._stood_still - reservation.time > self._latest:
            self.cancel(reservation)
            renewed = self.reserve(now, reservation.limit)
            reservation.time, reservation.settled = renewed.time, renewed.settled
            reservation.lowerings, reservation.is_hastened = renewed.lowerings, False
            if self._log and self._log[-1] is renewed:
                self._log[-1] = reservation
        reservation.due = max(reservation.time + self._stood_still, self._resumes)
        reservation.is_due = reservation.due <= now
        return max(0.0, reservation.due - now)

    def hasten(self, reservation: Reservation, now: float, *, is_once: bool = True) -> float:
        """Give a reservation the next time that another waits for, which gets its own in exchange.

        A request that needs the times of two limiters would come too late for one while it
        waits for the other, again and again. With `is_once` the other keeps the time that it
        gets, or it might never have its turn. Returns the seconds until the time comes.
        """
        if not reservation.is_hastened:
            reservation.is_hastened = True
            first = bisect_right(self._log, self._clock(now), key=_TIME)
            own = self._log.index(reservation, bisect_left(self._log, reservation.time, key=_TIME))
            for place in range(first, own):
                other = self._log[place]
                if not (other.is_due or other.is_hastened):
                    self._log[place], self._log[own] = reservation, other
                    times = (other.time, other.settled)
                    other.time, other.settled = reservation.time, reservation.settled
                    reservation.time, reservation.settled = times
                    other.is_hastened = is_once
                    break
        return self.delay(reservation, now)

    def cancel(self, reservation: Reservation) -> None:
        """Drop a reservation from which nothing was sent."""
        first = bisect_left(self._log, reservation.time, key=_TIME)
        with suppress(ValueError):  # without a limit nothing is written down
            del self._log[self._log.index(reservation, first)]

    def pause(self, now: float, until: float) -> None:
        """Send nothing before `until`; all who wait are delayed by the pause's length."""
        begins = max(now, self._resumes)
        if until > begins:
            self._stood_still += until - begins
            self._resumes = until

    def on_429(
        self,
        reservation: Reservation,
        now: float,
        retry_after: float | None = None,
        patience: float | None = None,
    ) -> float:
        """Learn from a refusal that the limiter did not expect, and pause; return for how long.

        Another client uses the key, or the plan allows less than was configured. What
        passed in the last window is what can be had at present.
        """
        reservation.is_refused = True
        while self.unused:
            self.cancel(self.unused.popleft())
        limit = self.limit(now, reservation.limit)
        if limit is not None:
            configured = self._configured if reservation.limit is None else reservation.limit
            self._lower(limit, reservation, self._clock(now), configured or limit)
        told = _REFUSAL_PAUSE * self._window if retry_after is None else retry_after
        seconds = min(
            told, _LONGEST_REFUSAL_PAUSE * self._window, inf if patience is None else patience
        )
        self.pause(now, now + seconds)
        return seconds

    def sent(self, now: float) -> int:
        """Return how many requests had their time within the last window."""
        clock = self._clock(now)
        first = bisect_right(self._log, clock - self._window, key=_TIME)
        return bisect_right(self._log, clock, key=_TIME) - first

    def lowest(self, limit: int) -> int:
        """Return the lowest number that counts: this one, or that of another client."""
        return min([limit, *self._asked])

    def adopt(self, reservation: Reservation) -> bool:
        """Put a reservation in the place of its entry in the log; `False`: there is none."""
        first = bisect_left(self._log, reservation.time, key=_TIME)
        last = bisect_right(self._log, reservation.time, key=_TIME)
        if first == last:
            return False
        same = (p for p in range(first, last) if self._log[p].settled == reservation.settled)
        place = next(same, last - 1)  # of old ones it is not kept; they are all alike
        reservation.is_refused = self._log[place].is_refused
        self._log[place] = reservation
        return True

    def to_state(self, now: float) -> dict[str, Any]:
        """Return what counts later, as JSON can hold it: about 11 bytes for each request."""
        del self._log[: bisect_right(self._log, self._clock(now) - self._span, key=_TIME)]
        times = pack(f"<{len(self._log)}d", *map(_TIME, self._log))
        return {
            "times": b64encode(times).decode(),
            # Of older ones it counts only if all newer ones are cancelled.
            "settled": [each.settled for each in self._log[-_BURST:]],
            "refused": [place for place, each in enumerate(self._log) if each.is_refused],
            "stood_still": self._stood_still,
            "resumes": self._resumes,
            "asked": [*self._asked.items()],
            "learnt": self._learnt,
            "lowerings": self._lowerings,
            "lowered_from": self._lowered_from,
            "lowered_at": self._lowered_at,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> SlidingWindowLimiter:
        """Return the limiter whose state this is."""
        limiter = cls()
        times = b64decode(state["times"])
        limiter._log = [Reservation(each, each) for (each,) in iter_unpack("<d", times)]
        newest = limiter._log[-_BURST:]
        for reservation, settled in zip(newest, state["settled"], strict=True):
            reservation.settled = settled
        for place in state["refused"]:
            limiter._log[place].is_refused = True
        limiter._stood_still, limiter._resumes = state["stood_still"], state["resumes"]
        limiter._asked = dict(state["asked"])
        limiter._learnt, limiter._lowerings = state["learnt"], state["lowerings"]
        limiter._lowered_from, limiter._lowered_at = state["lowered_from"], state["lowered_at"]
        return limiter

    @classmethod
    def without_burst(cls, now: float, limit: int) -> SlidingWindowLimiter:
        """Return a limiter that does not know the last window, and so begins without a burst."""
        limiter = cls()
        paced = limiter._span / limit * min(_BURST, limit)
        limiter._log = [Reservation(now - limiter._window, now + paced)]
        return limiter

    def pause_after_loss(self, now: float, since: float, limit: int) -> None:
        """Send nothing until a burst of the limiter that was lost would have been made up for.

        Args:
            now: The time.
            since: When this limiter began.
            limit: The requests in a window.
        """
        self.pause(now, since + self._span / limit * (min(_BURST, limit) - 1))

    def is_idle(self, now: float) -> bool:
        """Tell whether nothing waits, and all that was learnt is forgotten."""
        last = self._log[-1].time if self._log else -inf
        return self._clock(now) - last > _IDLE_WINDOWS * self._window

    def _lower(self, limit: int, refused: Reservation, clock: float, configured: int) -> None:
        """Lower the limit once for all that was in flight when the first was refused."""
        is_news = refused.lowerings == self._lowerings or refused.time > self._lowered_at
        if is_news:
            self._lowerings += 1
            self._lowered_from = limit
            self._lowered_at = clock
        least = max(1, self._lowered_from // _MOST_LOST)
        # What was sent in the last window and not refused.
        first = bisect_right(self._log, clock - self._window, key=_TIME)
        last = bisect_right(self._log, clock, key=_TIME)
        passed = sum(not sent.is_refused for sent in self._log[first:last])
        if not passed:
            least = max(least, int(configured * _LEAST_GUESSED))
        self._learnt = min(self._lowered_from, max(least, passed))

    def _clock(self, now: float) -> float:
        return max(now, self._resumes) - self._stood_still


# When the service names no time to wait. Jobs take minutes: asking 12 times a minute finds
# a slot that somebody else has freed soon, and a refused create counts as one of the 60 a
# minute. Unwatched jobs are polled as often.
_PROBE_PAUSE = 5.0
_SHORTEST_PROBE_PAUSE = 1.0
# While the limit is not known, the ceiling may well be it. Then each refused probe in a row
# doubles the pause, up to a refusal a minute. What the service tells is believed up to the
# same: a day, or a year, is a mistake.
_LONGEST_PROBE_PAUSE = 60.0
_MOST_DOUBLINGS = 4
# No plan runs more (15, or a number of an enterprise's own).
_MOST_SLOTS = 100_000
# A plan may be widened while a process runs: after this time, a limit that was told is
# checked by one probe.
_BELIEVED_FOR = 3600.0
# Creates that a client may have under way beyond the jobs that are known to fit, while
# nothing was ever refused and no limit is known: as many as run, at least these. Uploads
# take minutes, so one at a time would be too few; and a limit is exceeded by few.
_LEAST_AT_ONCE = 4
# No job takes so long, so one that was not seen for this time has ended.
LONGEST_JOB = 7200.0
_MOST_CHECKED = 100  # what one list shows
_FEW_UNWATCHED = 1000


@attrs.define(slots=True, eq=False)
class Slot:
    """Slot of one create, and then of the job that it started.

    Attributes:
        is_probe: Whether it asked for more than was known to fit.
        is_accepted: Whether the service has accepted it.
        key: The create's Idempotency-Key, where it is known.
        job: The job's id, once it is accepted; empty: not known.
        counts: Whether it is one of the account's: not if it shares the job of another, or
            was given back.
        is_over: Whether its job was seen to end.
        since: When its job was accepted.
        seen: When its job was last looked at.
        holder: Where processes share the limiter: the one that took or renewed it last.
    """

    is_probe: bool = False
    is_accepted: bool = False
    key: str | None = None
    job: str = ""
    counts: bool = True
    is_over: bool = False
    since: float = -inf
    seen: float = -inf
    holder: str = ""


# What a state holds of a slot.
_SLOT_STATE = attrgetter("key", "job", "is_probe", "is_accepted", "since", "seen", "holder")


class Owner(Protocol):
    """What gives slots back, unless it is closed before: an event loop."""

    def is_closed(self) -> bool:
        """Tell whether it gives nothing back any more."""


@attrs.define(slots=True)
class Waiter:
    """Callback to be called when a slot may be free.

    Attributes:
        loop: The event loop to call it in.
        most: How many slots the waiting client allows at once.
        count: How often it is registered.
    """

    loop: asyncio.AbstractEventLoop
    most: float
    count: int = 0


class ConcurrencyLimiter:
    """Concurrency limiter of one account: when a create may be sent.

    A plan runs so many generations at once, and the service refuses the next create. How many
    is *configured* (by each client), *told* (in the body of a refusal) or *found out*:

    * Below the **ceiling**, the number known to fit at present, creates go at once, so that a
      freed slot is filled in the moment in which it is freed.
    * At the ceiling one create at a time is a **probe**. If it is accepted, the ceiling was
      too low by one, and the next may go.
    * Every refusal lowers the ceiling to what is running. That is not a guess, as halving would
      be: whatever the rest of the account does, so many fit just now.

    So one rule serves the plan's limit and the other users of the account alike. After a
    refusal nothing is asked before the service's time is over or an own job has ended,
    whichever is first. A known limit is never exceeded by own jobs.

    A slot belongs to a job, not to the call that has created it. It is taken by a create, then
    `accepted` or `refused`, and given back when a poll shows the job's end, whatever call made
    the poll. Runs and waits *hold* the slots of their jobs: they poll them, and release them in
    the end. A job that is not held is *unwatched*: it keeps its slot until another create lacks
    one, and is polled then.

    Attributes:
        owner: What the limiter is used for at present, and gives back what it takes now.
        owners: Creates in flight and jobs that are held, each with what will give it back.
        open_owners: Those of them that were not yet seen to be closed.
        waiters: Those who wait for a slot, the next in turn first. The lowest number of theirs
            counts for all, or those who allow more would never leave them a slot.
        has_news: Whether a waiter is to try again.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._configured: float = inf if limit is None else limit
        self._told: float = inf
        self._told_at = -inf
        # What is known to fit, once something was refused; and before, the most that ran.
        self.ceiling = 1  # every plan runs one
        self._was_refused = False
        # Own creates under way and own jobs running, and how many of them are under way.
        self.used = 0
        self.starting = 0
        self._probes = 0
        self._refused_probes = 0
        self._quiet_until = -inf
        self._by_key: dict[str | None, Slot] = {}
        # The slots of the jobs that run.
        self.jobs: dict[str, Slot] = {}
        # The jobs that are not held, the one that was not looked at for longest first.
        self._unwatched: OrderedDict[str, Slot] = OrderedDict()
        self._most_unwatched = _FEW_UNWATCHED
        self._asked_at = -inf
        self._accepted_at = -inf
        self.owner: Owner | None = None
        self.owners: dict[Slot, list[Owner | None]] = {}
        self.open_owners: set[Owner | None] = set()
        self.waiters: dict[Callable[[], None], Waiter] = {}
        self.has_news = False

    @property
    def limit(self) -> float | None:
        """Generations that may run at once, as configured or told; `None`: not known."""
        limit = min(self._configured, self._told)
        return None if limit == inf else limit

    def next_try(self, now: float, most: int | None = None) -> float | None:
        """Return when a create may be sent if nothing happens; `None`: something must.

        What must happen is that an own job ends, is looked at, or that a create is answered.
        Without any there is always a time.
        """
        moment, _ = self._opening(now, most)
        if moment <= now:
            return now
        oldest = next(iter(self._unwatched.values()), None)
        if oldest is not None:
            moment = min(moment, max(oldest.seen, self._asked_at) + _PROBE_PAUSE)
        return None if moment == inf else max(moment, now)

    def take(
        self,
        now: float,
        most: int | None = None,
        key: str | None = None,
        *,
        wake: Callable[[], None] | None = None,
        is_eager: bool = False,
        is_anyhow: bool = False,
    ) -> Slot | None:
        """Take a slot for a create, if it may be sent now, or `is_anyhow`.

        A create that is repeated, under the same Idempotency-Key, while the first is in flight
        or its job runs has its slot already. `most` is what the asking client allows at once.
        The waiter with this `wake` is then told of the next free slot after all others.
        `is_eager`: several may be sent at once while nothing is known.
        """
        if key is not None and key in self._by_key:
            slot = Slot(key=key, counts=False)
        else:
            moment, is_probe = self._opening(now, most, is_eager=is_eager)
            if moment > now and self.drop_closed():
                moment, is_probe = self._opening(now, most, is_eager=is_eager)
            if moment > now and not is_anyhow:
                return None
            slot = Slot(is_probe=is_probe, key=key)
            self._by_key.setdefault(key, slot)
            self.used += 1
            self.starting += 1
            self._probes += is_probe
        self.owners[slot] = [self.owner]
        if wake in self.waiters:
            self.waiters[wake] = self.waiters.pop(wake)
        return slot

    def take_anyhow(self, most: int | None = None, key: str | None = None) -> Slot:
        """Take a slot for a create that is sent in any case."""
        slot = self.take(-inf, most, key, is_anyhow=True)
        assert slot is not None  # noqa: S101 - whatever the limit
        return slot

    def occupied(self, job: str, most: int | None, now: float) -> Slot:
        """Take a slot for a job that runs already, and hold it."""
        running = Generation(id=job, status=Status.PROCESSING)
        return self.accepted(self.take_anyhow(most), running, now, is_held=True)

    def accepted(self, slot: Slot, job: Generation, now: float, *, is_held: bool = False) -> Slot:
        """Note that a create has become a job; return its slot, or one that the job has already."""
        self.has_news = True
        self._accepted_at = now
        same = self.jobs.get(job.id)
        if same is not None:
            self.ended(slot)
            slot = same
        else:
            self.owners.pop(slot, None)
            if slot.counts:
                self.starting -= 1
                self._probes -= slot.is_probe
            else:
                self.used += 1
            slot.is_accepted = slot.counts = True
            slot.job, slot.since = job.id, now
            self.ceiling = max(self.ceiling, self.used - self.starting)
            if slot.is_probe:
                self._refused_probes = 0
            self._by_key.setdefault(slot.key, slot)
            self.jobs[job.id] = slot
            if not is_held:
                self._unwatched[job.id] = slot
                self._unwatched.move_to_end(job.id, last=False)
                if len(self._unwatched) > self._most_unwatched:
                    self._forget_old(now)
        if is_held:
            self.hold(job.id)
        if job.status in TERMINAL:
            self.saw([(job.id, True)], now)
        return slot

    def refused(
        self,
        slot: Slot,
        now: float,
        error: ConcurrencyLimitError,
        *,
        most: int | None = None,
        patience: float | None = None,
    ) -> None:
        """Learn from `concurrency_limit_reached`; the create goes on asking for `patience` s."""
        self.has_news = True
        self._refused_probes += slot.is_probe
        self.ended(slot)
        surplus, limit = 0, error.concurrency_limit
        if limit is not None and 0 < limit <= _MOST_SLOTS:
            self._told, self._told_at = limit, now
            # Over the limit, so many must end before one more fits.
            surplus = max(0, (error.active_generations or 0) - limit)
        self.ceiling = max(0, self.used - surplus)
        self._was_refused = True
        pause = self._pause(error.retry_after, most)
        self._quiet_until = now + (pause if patience is None else min(pause, patience))

    def seed(self, limit: int | None, now: float) -> None:
        """Learn from the account's facts how many generations may run at once.

        Where as many have run already as to show that it is wrong, it is not believed.
        """
        if limit is not None and self.ceiling <= limit <= _MOST_SLOTS and limit > 0:
            self._told, self._told_at = limit, now
            self.has_news = True

    def ended(self, slot: Slot) -> None:
        """Note that a job has ended, or that a create came to nothing; once more is fine."""
        self.owners.pop(slot, None)
        if slot.counts:
            slot.counts = False
            self.used -= 1
            if not slot.is_accepted:
                self.starting -= 1
                self._probes -= slot.is_probe
        if self._by_key.get(slot.key) is slot:
            del self._by_key[slot.key]
        if self.jobs.get(slot.job) is slot:
            del self.jobs[slot.job]
            self._unwatched.pop(slot.job, None)

    def hold(self, job: str) -> Slot | None:
        """Watch a job from now on, if it has a slot here; `released` in the end."""
        slot = self.jobs.get(job)
        if slot is not None:
            self.owners.setdefault(slot, []).append(self.owner)
            self._unwatched.pop(job, None)
        return slot

    def released(self, slot: Slot, owner: Owner | None = None) -> None:
        """Note that an owner watches a job no more, or that its create came to nothing.

        A job goes on, unless it was seen to end, and is polled first among the unwatched.
        """
        owners = self.owners.pop(slot, [])
        if len(owners) > 1:
            owners.remove(owner if owner in owners else owners[-1])
            self.owners[slot] = owners
        elif slot.is_over or not slot.is_accepted:
            self.ended(slot)
        elif slot.counts:
            slot.seen = -inf
            self._unwatched[slot.job] = slot
            self._unwatched.move_to_end(slot.job, last=False)

    def drop_closed(self) -> bool:
        """Give back what closed owners have left behind; tell whether there were any."""
        closed = set(filter(methodcaller("is_closed"), self.open_owners - {None}))
        if not closed:
            return False
        self.open_owners -= closed
        for slot, owners in [*self.owners.items()]:
            for owner in closed.intersection(owners):
                for _ in range(owners.count(owner)):
                    self.released(slot, owner)
        return True

    def saw(self, shown: Iterable[tuple[str, bool]], now: float) -> None:
        """Note what an answer has shown: ids, and whether the job is over."""
        for job, is_over in shown:
            slot = self.jobs.get(job)
            if slot is None:
                continue
            slot.seen = now
            slot.is_over |= is_over
            if slot in self.owners:
                continue
            if slot.is_over:
                self.ended(slot)
                self.has_news = True
            else:
                self._unwatched.move_to_end(job)

    def jobs_to_check(self, now: float, *, unseen_for: float = _PROBE_PAUSE) -> list[str]:
        """Return jobs that may have ended unseen, to be looked at now.

        When one was not seen for so long, the others go along: a list costs no more. They
        count as seen from now on, so that those who wait do not all ask at once.
        """
        oldest = next(iter(self._unwatched.values()), None)
        if oldest is None or oldest.seen + unseen_for > now or self._asked_at + _PROBE_PAUSE > now:
            return []
        found = [*islice(self._unwatched, _MOST_CHECKED)]
        self.saw([(job, False) for job in found], now)
        self._asked_at = now
        return found

    def slot_of(self, key: str) -> Slot | None:
        """Return the slot of the create with this key, or of its job."""
        return self._by_key.get(key)

    def drop_doubtful(self, now: float, *, unseen_for: float) -> None:
        """Give back the slots of creates of which nothing was noted for so many seconds."""
        for slot in [*self._by_key.values()]:
            if not slot.is_accepted and slot.seen + unseen_for < now:
                self.ended(slot)

    def to_state(self) -> dict[str, Any]:
        """Return what counts later, as JSON can hold it; no job counts as watched."""
        starting = [slot for slot in self._by_key.values() if not slot.is_accepted]
        return {
            "slots": [_SLOT_STATE(slot) for slot in (*starting, *self._unwatched.values())],
            "told": self._told,
            "told_at": self._told_at,
            "ceiling": self.ceiling,
            "was_refused": self._was_refused,
            "refused_probes": self._refused_probes,
            "quiet_until": self._quiet_until,
            "asked_at": self._asked_at,
            "accepted_at": self._accepted_at,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> ConcurrencyLimiter:
        """Return the limiter whose state this is."""
        limiter = cls()
        for key, job, is_probe, is_accepted, since, seen, holder in state["slots"]:
            slot = Slot(is_probe, is_accepted, key, job, since=since, seen=seen, holder=holder)
            limiter._by_key.setdefault(key, slot)
            limiter.used += 1
            if is_accepted:
                limiter.jobs[job] = limiter._unwatched[job] = slot
            else:
                limiter.starting += 1
                limiter._probes += is_probe
        limiter._told, limiter._told_at = state["told"], state["told_at"]
        limiter.ceiling, limiter._was_refused = state["ceiling"], state["was_refused"]
        limiter._refused_probes = state["refused_probes"]
        limiter._quiet_until, limiter._asked_at = state["quiet_until"], state["asked_at"]
        limiter._accepted_at = state["accepted_at"]
        return limiter

    def count(self) -> int:
        """Return how many slots are used."""
        return self.used

    def has_held(self) -> bool:
        """Tell whether any run or wait watches a job."""
        return len(self.owners) > self.starting

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
        in_use, limit = f"{self.used} of the account's are in use", self.limit
        if most is None and limit is None:
            return (
                f"{in_use}, and Limits.concurrent_generations=None, so how many there are is "
                "found out by a few creates at a time."
            )
        told = "" if limit is None else f" (the service has told {limit})"
        return f"{in_use}, and Limits.concurrent_generations={most}{told} allows no more just now."

    def _opening(
        self, now: float, most: int | None, *, is_eager: bool = False
    ) -> tuple[float, bool]:
        """Return when one more create may be sent, and whether it is a probe.

        `inf`: something must happen first.
        """
        if now - self._told_at > _BELIEVED_FOR:
            self._told = inf
        cap = min(self._configured, self._told, inf if most is None else most)
        if self.waiters:
            cap = min(cap, *map(attrgetter("most"), [*self.waiters.values()]))
        fits = min(self.ceiling, cap) if self._was_refused or cap == inf else cap
        if self.used < fits:
            return now, False
        probes = 1  # at a time
        if is_eager and not self._was_refused:
            probes = max(_LEAST_AT_ONCE, self.used - self.starting)
        may_probe = self.used < cap and self._probes < probes
        return (self._quiet_until if may_probe else inf), True

    def _forget_old(self, now: float) -> None:
        """Drop jobs that were not looked at for longer than any job takes."""
        for slot in [*self._unwatched.values()]:
            if max(slot.since, slot.seen) < now - LONGEST_JOB:
                self.ended(slot)
        self._most_unwatched = 2 * len(self._unwatched) + _FEW_UNWATCHED

    def _pause(self, told: float | None, most: int | None) -> float:
        told = _PROBE_PAUSE if told is None else min(told, _LONGEST_PROBE_PAUSE)
        pause = max(told, _SHORTEST_PROBE_PAUSE)
        if most is not None or self.limit is not None or not self._refused_probes:
            return pause
        doublings = min(self._refused_probes - 1, _MOST_DOUBLINGS)
        return max(pause, min(_PROBE_PAUSE * 2.0**doublings, _LONGEST_PROBE_PAUSE))


# A longer wait is logged.
_SILENT_SECONDS = 1.0
_LONGEST_SLEEP = 3600.0
_FEW_ACCOUNTS = 64


# `None`: there is no loop of asyncio's, as the transport will say.
_running_loop = asyncio._get_running_loop  # noqa: SLF001 - the public way raises


def _locked(
    rule: Callable[Concatenate[ConcurrencyLimiter, P], T],
) -> Callable[Concatenate[SlotPool, P], T]:
    """Let several threads use a method of the limiter, one at a time, for their loops."""

    @wraps(rule)
    def locked(self: SlotPool, /, *args: P.args, **kwargs: P.kwargs) -> T:
        limiter = self.limiter
        with self.lock:
            while self.released:
                limiter.released(*self.released.popleft())
            limiter.owner = _running_loop()
            if limiter.owner not in limiter.open_owners:
                limiter.drop_closed()
                limiter.open_owners.add(limiter.owner)
            answer = rule(limiter, *args, **kwargs)
            has_news, limiter.has_news = limiter.has_news, False
        if has_news and limiter.waiters:
            self.notify()
        return answer

    return locked


@attrs.define(slots=True, eq=False)
class SlotPool:
    """An account's slots, shared by the creates, runs and waits of several event loops.

    Attributes:
        limiter: Tells when a create may be sent, and knows what each slot is used for.
        lock: Is held while the limiter is used.
        released: Slots that were given back, with the loops that did. A finalizer may do so in
            the midst of a use by its own thread, so that waits for no lock; the next use takes
            them back, before all else.
    """

    limiter: ConcurrencyLimiter = attrs.field(factory=ConcurrencyLimiter)
    lock: Lock = attrs.field(factory=new_lock)
    released: deque[tuple[Slot, Owner | None]] = attrs.field(factory=deque)

    # What the limiter does, each under the lock.
    take = _locked(ConcurrencyLimiter.take)
    take_anyhow = _locked(ConcurrencyLimiter.take_anyhow)
    occupied = _locked(ConcurrencyLimiter.occupied)
    next_try = _locked(ConcurrencyLimiter.next_try)
    accepted = _locked(ConcurrencyLimiter.accepted)
    refused = _locked(ConcurrencyLimiter.refused)
    seed = _locked(ConcurrencyLimiter.seed)
    hold = _locked(ConcurrencyLimiter.hold)
    saw = _locked(ConcurrencyLimiter.saw)
    jobs_to_check = _locked(ConcurrencyLimiter.jobs_to_check)
    count = _locked(ConcurrencyLimiter.count)
    has_held = _locked(ConcurrencyLimiter.has_held)
    patience_ends = _locked(ConcurrencyLimiter.patience_ends)
    words = _locked(ConcurrencyLimiter.words)

    @property
    def used(self) -> int:
        """Own creates in flight and own jobs running."""
        return self.count()

    def release(self, slot: Slot | None) -> None:
        """Give back the slot of a create from which no job came, or watch its job no more.

        It is free then if the job was seen to end.
        """
        if slot is not None:
            self.released.append((slot, _running_loop()))
            if self.limiter.waiters:
                self.notify()

    @contextmanager
    def on_change(self, wake: Callable[[], None], most: int | None) -> Iterator[None]:
        """Have a function called, in the running loop, when something has changed.

        Meanwhile `most` counts for all.
        """
        waiters = self.limiter.waiters
        waiter = waiters.get(wake)
        if waiter is None:
            loop = asyncio.get_running_loop()
            waiter = waiters[wake] = Waiter(loop, inf if most is None else most)
        waiter.count += 1
        try:
            yield
        finally:
            waiter.count -= 1
            if not waiter.count:
                waiters.pop(wake, None)
                if most is not None:  # it counts no more
                    self.notify()

    def notify(self) -> None:
        """Wake all who wait, each in its own loop: a slot may be free, or known better."""
        here = _running_loop()
        for wake, waiter in [*self.limiter.waiters.items()]:
            try:
                if waiter.loop is here:
                    waiter.loop.call_soon(wake)
                else:
                    waiter.loop.call_soon_threadsafe(wake)
            except RuntimeError:  # that loop is closed, with all who waited there
                self.limiter.waiters.pop(wake, None)


@attrs.define(slots=True, eq=False)
class AccountLimits:
    """What the clients of an account share: a rate limiter for each class, and the slots."""

    rates: Mapping[RateClass, SlidingWindowLimiter] = attrs.field(
        factory=lambda: {each: SlidingWindowLimiter(window=each.seconds) for each in RATE_CLASSES}
    )
    slots: SlotPool = attrs.field(factory=SlotPool)

    def is_idle(self, now: float) -> bool:
        """Tell whether a new object would do as well."""
        for limiter in self.rates.values():
            with limiter.lock:
                if not limiter.is_idle(now):
                    return False
        return not self.slots.used


class _Registry:
    """Limits of the accounts that this process uses, or has used."""

    def __init__(self) -> None:
        self.reset()
        register = getattr(os, "register_at_fork", dict)  # not every platform forks
        register(after_in_child=self.reset)

    def reset(self) -> None:
        """Start anew: at first, and in a forked child, where the lock may never be released."""
        self.lock = new_lock()
        self.kept: dict[tuple[object, ...], AccountLimits] = {}
        self.most = _FEW_ACCOUNTS
        # Those that were idle, but that a client still holds.
        self.held: WeakValueDictionary[tuple[object, ...], AccountLimits] = WeakValueDictionary()


_REGISTRY = _Registry()


def limits_for(config: Config) -> AccountLimits:
    """Return what this process's clients of an account share; new limits at first."""
    key = sha256(config.api_key.revealed.encode()).digest()
    name, every = (service_at(config.base_url), key), _REGISTRY
    with every.lock:
        account = every.kept.get(name) or every.held.get(name) or AccountLimits()
        every.kept[name] = every.held[name] = account
        if len(every.kept) > every.most:
            # Keep only what is of use, now and then: a process may use thousands of keys.
            now = time.monotonic()
            every.kept = {n: each for n, each in every.kept.items() if not each.is_idle(now)}
            every.kept.update(every.held)  # what a client holds may be used yet
            every.most = 2 * len(every.kept) + _FEW_ACCOUNTS
        return account


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


@attrs.define(slots=True, eq=False)
class WaitQueue:
    """First-in-first-out queue of the requests of one client and one loop.

    Only the first asks and sleeps; it also wakes those whose time is over, and logs when
    some have waited for long.
    """

    _transport: Transport
    _words: Callable[[int], str]
    # Those that wait, the first in turn first.
    places: OrderedDict[_Place, None] = attrs.field(factory=OrderedDict)
    _silent: dict[_Place, None] = attrs.field(factory=dict)
    _limited: dict[_Place, None] = attrs.field(factory=dict)
    _is_woken: bool = False
    _sleep_scope: anyio.CancelScope | None = None
    _sleep_ends: float = -inf

    async def wait_for(
        self,
        attempt: Callable[[float], Awaitable[tuple[T | None, float]]],
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
                self._is_woken = False
                got, seconds = await attempt(now)
                if got is not None:
                    return got
                if before is None or not await before():
                    await self._sleep(seconds)
            return None
        finally:
            self._leave(place)

    def wake(self) -> None:
        """Let the first ask again: something has changed."""
        self._is_woken = True
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
        if self._is_woken:  # since it has asked
            return
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


@attrs.define(slots=True, eq=False)
class _LoopQueues:
    """Queues of one client: one in each event loop that it is used in."""

    _transport: Transport
    _queues: LoopLocal[WaitQueue] = attrs.field(init=False)
    # How many wait in all loops, those included that a closed loop has left waiting.
    _waiting: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._queues = LoopLocal(partial(WaitQueue, self._transport, self._words))

    @abstractmethod
    def _words(self, count: int) -> str:
        """Say what so many wait for."""


@attrs.define(slots=True, eq=False)
class Throttle(_LoopQueues):
    """Rate limits of one client for one class of requests: its own, and that of all requests.

    Only the first in the queue holds reservations, so that the queue moves up when a request
    leaves it.
    """

    _rates: Mapping[RateClass, SlidingWindowLimiter]
    _limits: Limits
    _rate_class: RateClass
    # The class's own limit; `None`: there is none.
    _limit: int | None = attrs.field(init=False)
    _limiters: list[tuple[SlidingWindowLimiter, int]] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        own = self._rate_class
        self._limit = getattr(self._limits, own.setting)
        if self._limit is not None:
            self._limiters.append((self._rates[own], self._limit))
        if not own.is_alone and self._limits.requests_per_minute is not None:
            self._limiters.append((self._rates[REQUEST], self._limits.requests_per_minute))

    async def acquire(self, deadline: float | None) -> tuple[list[Reservation] | None, float]:
        """Wait until a request may be sent; return its reservations, and the seconds it took.

        There are none (`None`) without a limit, and when the deadline leaves no time for them.
        """
        if not self._limiters:
            return None, 0.0
        began = self._transport.now()
        held: list[Reservation] = []
        if not self._waiting or not self._queues.get().places:
            for limiter, limit in self._limiters:
                with limiter.lock:
                    held.append(limiter.reserve(began, limit))
                if held[-1].due > began:
                    break
            else:
                return held, 0.0
        got = await self._wait(held, deadline)
        return got, self._transport.now() - began

    async def _wait(
        self, held: list[Reservation], deadline: float | None
    ) -> list[Reservation] | None:
        """Wait until the times of all limiters have come; hold what is reserved already."""

        async def attempt(now: float) -> tuple[list[Reservation] | None, float]:
            for place, (limiter, limit) in enumerate(self._limiters):
                with limiter.lock:
                    if place == len(held):  # once the time of the one before has come
                        held.append(limiter.reserve(now, limit))
                    seconds = limiter.delay(held[place], now)
                    if seconds > 0 and len(held) > 1:
                        # In the class's own limiter, all that wait take times so.
                        seconds = limiter.hasten(held[place], now, is_once=place > 0)
                if seconds > 0:
                    return None, seconds
            return held, 0.0

        got: list[Reservation] | None = None
        self._waiting += 1
        try:
            got = await self._queues.get().wait_for(attempt, deadline=deadline)
        finally:
            self._waiting -= 1
            if got is None:
                for (limiter, _), reservation in zip(self._limiters, held, strict=False):
                    limiter.unused.append(reservation)
        return got

    def report_refusal(
        self, held: list[Reservation], told: float | None, patience: float | None
    ) -> None:
        """Tell the limiter that what was sent from reservations was refused for the rate.

        A refusal does not say which limit it is about. The class's own is the lowest; the one of
        all requests learns from its own refusals.
        """
        if self._limit is None:
            return
        limiter, _ = self._limiters[0]
        with limiter.lock:
            seconds = limiter.on_429(held[0], self._transport.now(), told, patience)
        asked = "" if told is None else f" (it asked for {told:g} s)"
        log(
            RETRY_LOG,
            logging.INFO,
            f"the service refuses more {self._rate_class.noun}s, so none is sent for "
            f"{seconds:.1f} s{asked}; see Limits.{self._rate_class.setting}={self._limit}.",
        )

    def _words(self, count: int) -> str:
        waits = f"{counted(count, self._rate_class.noun)} for more than {_SILENT_SECONDS:g} s"
        settings = {self._rate_class.setting: self._limit}
        if not self._rate_class.is_alone:
            settings[REQUEST.setting] = self._limits.requests_per_minute
        told = [f"Limits.{name}={limit}" for name, limit in settings.items() if limit is not None]
        return f"{waits}, because no more are sent than {' and '.join(told)} allow."


@attrs.define(slots=True, eq=False)
class SlotQueue(_LoopQueues):
    """Queues of one client's creates for the account's slots."""

    _slots: SlotPool
    _most: int | None

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
        if not self._waiting or not self._queues.get().places:
            slot = self._slots.take(self._transport.now(), self._most, key, is_eager=True)
            if slot is not None:
                return slot
        queue = self._queues.get()

        async def attempt(now: float) -> tuple[Slot | None, float]:
            slot = self._slots.take(now, self._most, key, wake=queue.wake, is_eager=True)
            if slot is not None:
                return slot, 0.0
            ends = self._slots.patience_ends(since, slot_timeout)
            if ends <= now:
                return self._slots.take_anyhow(self._most, key), 0.0
            moment = self._slots.next_try(now, self._most)
            return None, min(ends, inf if moment is None else moment) - now

        self._waiting += 1
        try:
            with self._slots.on_change(queue.wake, self._most):
                slot = await queue.wait_for(attempt, before=before, goes_first=goes_first)
        finally:
            self._waiting -= 1
        assert slot is not None  # noqa: S101 - without a deadline it is never too late
        return slot

    def _words(self, count: int) -> str:
        waits = f"{counted(count, 'create')} for more than {_SILENT_SECONDS:g} s for a slot"
        return f"{waits}: {self._slots.words(self._most)}"


@attrs.define(slots=True, eq=False)
class BatchQueue:
    """Creates of batches that wait until a batch has ended, of one client and one loop.

    Attributes:
        places: Those that wait, the first in turn first. Only the first looks and sends.
        running: How many batches were seen to run after the last refusal; `None`: not looked yet.
        accepted_at: Transport time at which a create was accepted last.
    """

    places: dict[object, None] = attrs.field(factory=dict)
    running: int | None = None
    accepted_at: float = -inf

    def is_first(self, place: object) -> bool:
        """Tell whether it is the turn of a create."""
        return next(iter(self.places)) is place

    def refused(self, place: object) -> None:
        """Let a create wait that the service has refused, in the place that it has already."""
        self.places.setdefault(place)
        if self.is_first(place):
            self.running = None

    def saw(self, running: int) -> bool:
        """Take what a look has shown; return whether a batch has ended since the refusal."""
        if self.running is None:
            self.running = running
            return False
        # None at all: none of those that run is shown, or they ended before the first look.
        return running < max(self.running, 1)

    def patience_ends(self, since: float, timeout: float | None) -> float:
        """Return when a create is given up that waits since then."""
        return inf if timeout is None else max(since, self.accepted_at) + timeout


def counted(count: int, name: str) -> str:
    """Return words for how many creates or requests have waited."""
    return f"1 {name} has waited" if count == 1 else f"{count} {name}s have waited"
