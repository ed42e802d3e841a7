"""Sliding-window rate limiter: no minute ever sees more requests than its limit.

The service counts the requests of any sixty seconds. A token bucket that holds C tokens and
refills at the full rate lets too many through in its first minute. So the time of each
request is written into a log, and two rules give the next one its time:

* **the log**: the time is a whole window and a guard after the time of the request a full
  limit before it. This rule alone keeps every window, whatever is cancelled or late;
* **the pace**: a few may go at once, the rest one by one, evenly. Once the log has made a
  request wait, nothing goes in bursts until the limiter has rested, so that a busy limiter
  sends evenly, and a request that is delayed on its way fits into every window.

Reservations come in the order in which they are asked for. A pause makes the limiter's own
clock stand still, which delays all reservations at once. A request that comes late for its
time gets a new one. A cancelled reservation counts no more, but moves no later one.

Clients that share a limiter may allow themselves different numbers. The lowest number of
those that have asked within the last window counts for all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from contextlib import suppress
from math import inf
from operator import attrgetter

import attrs

WINDOW = 60.0  # seconds; Source: "Rate limits", sync.so documentation

# Share of the window by which arrivals may be spread; the rate is 1/1.02 = 98.04 % of the
# limit. Measured: at exactly the limit 4 to 48 refusals a run, with the guard none.
GUARD = 0.02
# A request that comes later than half of the guard gets a new time; the other half is for
# the way to the service.
_LATEST = GUARD / 2
# As many as all plans run at once (15) and a few lookups beside.
_BURST = 20

# A refusal that names no time pauses for this share of the window: 1 s, with which the
# service's own advice begins.
_PAUSE = 1 / 60
# And no refusal pauses for longer than this share. After a whole window the service has
# forgotten all that it counted, so a day, a year or milliseconds are a mistake.
_LONGEST_PAUSE = 1.0
# What was learnt is kept for so many windows, then the limit rises by this share of the
# configured one in each. A plan that is smaller than configured so costs about one refusal
# in six minutes; after another user of the key has gone, the rest comes back in at most 15.
_KEPT_WINDOWS = 5.0
_GROWTH = 0.1
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
    """

    time: float
    settled: float
    due: float = -inf
    limit: int | None = None
    lowerings: int = 0
    is_refused: bool = False


class SlidingWindowLimiter:
    """Rate limiter for the requests of one class.

    Reserving costs O(1), however many wait. Those who wait keep the times that they were
    given: a client does well to let only the first of its queue reserve, so that the queue
    moves up when a request leaves it.
    """

    def __init__(self, limit: int | None = None, *, window: float = WINDOW) -> None:
        self._configured = limit
        self._window = window
        self._span = window * (1 + GUARD)
        self._latest = window * _LATEST
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
        made = Reservation(time, settled, due, limit, self._lowerings)
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
            reservation.lowerings = renewed.lowerings
            if self._log and self._log[-1] is renewed:
                self._log[-1] = reservation
        reservation.due = max(reservation.time + self._stood_still, self._resumes)
        return max(0.0, reservation.due - now)

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
        limit = self.limit(now, reservation.limit)
        if limit is not None:
            configured = self._configured if reservation.limit is None else reservation.limit
            self._lower(limit, reservation, self._clock(now), configured or limit)
        told = _PAUSE * self._window if retry_after is None else retry_after
        seconds = min(told, _LONGEST_PAUSE * self._window, inf if patience is None else patience)
        self.pause(now, now + seconds)
        return seconds

    def is_idle(self, now: float, seconds: float) -> bool:
        """Tell whether nothing was sent for so many seconds, and nothing waits."""
        last = self._log[-1].time if self._log else -inf
        return self._clock(now) - last > seconds

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
