"""How many requests a minute may leave, so that no minute ever sees too many arrive.

The service counts the requests of any sixty seconds. A bucket of tokens is no answer to
that: one that holds C and refills at the full rate lets C too many through in its first
minute. So every place in time is written down, and two rules decide the next one:

* **the log**: the place is a whole minute and a guard after the one that lies a full limit
  before it. This alone keeps every minute, whoever asks, gives back or comes late;
* **the pace**: a few may go at once, the rest one by one, evenly. Once the log has made
  somebody wait, nothing goes in bursts until the budget has rested, so that a busy budget
  sends evenly, and a request that is held up on its way finds room in every minute.

Places are given in the order in which they are asked for. A pause makes the budget's own
clock stand still, which puts off all who wait at once. A request that comes late for its
place gets a new one. A place that is given back counts no more, but moves no later one.

Clients that share a budget may allow themselves different numbers. The lowest number of those
that have asked within the last window counts for all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from contextlib import suppress
from math import inf
from operator import attrgetter

import attrs

WINDOW = 60.0  # seconds; contract section 5.1

# Share of the window by which arrivals may be spread; the rate is 1/1.02 = 98.04 % of the
# limit. Measured: at exactly the limit 4 to 48 refusals a run, with the guard none.
GUARD = 0.02
# Whoever comes later than half of the guard has lost his place; the other half is for the
# way to the service.
_LATEST = GUARD / 2
# As many as all plans run at once (15, contract section 5.2) and a few lookups beside.
_BURST = 20

# A refusal that names no time pauses for this share of the window: 1 s, with which the
# service's own advice begins (contract section 5.1).
_PAUSE = 1 / 60
# And no refusal pauses for longer than this share. After a whole window the service has
# forgotten all that it counted, so a day, a year or milliseconds are a mistake.
_LONGEST_PAUSE = 1.0
# What was learnt is kept for so many windows, then the limit rises by this share of the
# configured one in each. A plan that is smaller than configured so costs about one refusal
# in six minutes; after another user of the key has gone, the rest comes back in at most 15.
_KEPT_WINDOWS = 5.0
_GROWTH = 0.1
# Somebody else may have had the whole last minute: one refusal halves the limit at most.
_MOST_LOST = 2
# And where nothing has passed, refusals tell no rate: the service may refuse all for a while.
# They lower the limit to this share of the configured one at most, or each later call would
# wait a minute for its turn.
_LEAST_GUESSED = 1 / 6

_TIME = attrgetter("time")


@attrs.define(slots=True, eq=False)
class _Entry:
    """Hold one place in the log.

    Attributes:
        time: When to send, on the budget's own clock.
        settled: When the pace has caught up with all that was sent until then.
        lowerings: How often the limit had been lowered when it was written.
        is_refused: Whether the service refused what was sent.

    """

    time: float
    settled: float
    lowerings: int = 0
    is_refused: bool = False


@attrs.define(slots=True, eq=False)
class Reservation:
    """Stand for one request's place; only its budget looks inside."""

    entry: _Entry
    limit: int | None = None


class SlidingWindowLimiter:
    """Give every request of one class a place in time.

    Reserving costs O(1), however many wait. Those who wait keep the times that they were
    given: a client does well to let only the first of its line reserve, so that the line
    moves up when somebody leaves it.

    Args:
        limit: Requests that the service lets arrive in any window, for those who name no
            other number; `None`: no limit.
        window: Seconds of the service's window.

    """

    def __init__(self, limit: int | None = None, *, window: float = WINDOW) -> None:
        """Start with an unused budget."""
        self._configured = limit
        self._window = window
        self._span = window * (1 + GUARD)
        self._log: list[_Entry] = []
        self._longest = 0
        self._stood_still = 0.0
        self._resumes = -inf
        # The numbers of those who have asked, and the time of the last place of each.
        self._asked: dict[int, float] = {}
        self._learnt: float = inf
        self._lowerings = 0
        self._lowered_from = 0
        self._lowered_at = -inf

    def limit(self, now: float, configured: int | None = None) -> int | None:
        """Return the requests in a window that are believed to pass.

        Args:
            now: The time.
            configured: How many the asking client allows itself; `None`: the budget's own.

        """
        configured = self._configured if configured is None else configured
        if configured is None:
            return None
        kept = _KEPT_WINDOWS * self._window
        rested = max(0.0, self._clock(now) - self._lowered_at - kept)
        grown = self._learnt + configured * _GROWTH * rested / self._window
        return int(min(configured, grown))

    def reserve(self, now: float, limit: int | None = None) -> Reservation:
        """Take the next place; `wait` tells when it comes.

        Args:
            now: The time.
            limit: How many the asking client allows itself; `None`: the budget's own.

        """
        return Reservation(self._entered(now, limit), limit)

    def delay(self, place: Reservation, now: float) -> float:
        """Return the seconds until the place comes; at 0 the request must leave at once.

        Ask again after having waited: a pause may have moved the place, and whoever comes
        too late for it gets a new one here.
        """
        if self._clock(now) - place.entry.time > _LATEST * self._window:
            self.cancel(place)
            place.entry = self._entered(now, place.limit)
        due = max(place.entry.time + self._stood_still, self._resumes)
        return max(0.0, due - now)

    def cancel(self, place: Reservation) -> None:
        """Do without a place from which nothing was sent."""
        first = bisect_left(self._log, place.entry.time, key=_TIME)
        with suppress(ValueError):  # without a limit nothing is written down
            del self._log[self._log.index(place.entry, first)]

    def pause(self, now: float, until: float) -> None:
        """Send nothing before `until`; all who wait are put off by the pause's length."""
        begins = max(now, self._resumes)
        if until > begins:
            self._stood_still += until - begins
            self._resumes = until

    def on_429(
        self,
        place: Reservation,
        now: float,
        retry_after: float | None = None,
        patience: float | None = None,
    ) -> float:
        """Learn from a 429 that the budget did not expect, and pause; return for how long.

        Somebody else uses the key, or the plan allows less than was configured. What
        passed in the last window is what can be had at present.

        Args:
            place: The refused request's place.
            now: When the refusal arrived.
            retry_after: Seconds that the service asked to wait; `None`: it named none. More
                than a whole window is not believed.
            patience: Seconds after which the refused call gives up, and no pause is longer;
                `None`: never.

        """
        place.entry.is_refused = True
        limit = self.limit(now, place.limit)
        if limit is not None:
            configured = self._configured if place.limit is None else place.limit
            self._lower(limit, place.entry, self._clock(now), configured or limit)
        told = _PAUSE * self._window if retry_after is None else retry_after
        seconds = min(told, _LONGEST_PAUSE * self._window, inf if patience is None else patience)
        self.pause(now, now + seconds)
        return seconds

    def is_idle(self, now: float, seconds: float) -> bool:
        """Tell whether nothing was sent for so many seconds, and nothing waits."""
        last = self._log[-1].time if self._log else -inf
        return self._clock(now) - last > seconds

    def _lower(self, limit: int, refused: _Entry, clock: float, configured: int) -> None:
        """Lower the limit once for all that was under way when the first was refused."""
        is_news = refused.lowerings == self._lowerings or refused.time > self._lowered_at
        if is_news:
            self._lowerings += 1
            self._lowered_from = limit
            self._lowered_at = clock
        least = max(1, self._lowered_from // _MOST_LOST)
        passed = self._passed(clock)
        if not passed:
            least = max(least, int(configured * _LEAST_GUESSED))
        self._learnt = min(self._lowered_from, max(least, passed))

    def _passed(self, clock: float) -> int:
        """Count what was sent in the last window and not refused."""
        first = bisect_right(self._log, clock - self._window, key=_TIME)
        last = bisect_right(self._log, clock, key=_TIME)
        return sum(not entry.is_refused for entry in self._log[first:last])

    def _clock(self, now: float) -> float:
        """Return the time on a clock that stands still during pauses."""
        return max(now, self._resumes) - self._stood_still

    def _entered(self, now: float, configured: int | None) -> _Entry:
        """Write the next place into the log."""
        clock = self._clock(now)
        configured = self._configured if configured is None else configured
        if configured is None:
            return _Entry(clock, clock)
        self._forget(clock)
        if len(self._asked) > (configured in self._asked):
            asked = self._asked.items()
            self._asked = {each: last for each, last in asked if last + self._span > clock}
        limit = self.limit(now, min([configured, *self._asked]))
        entry = self._following(limit or 1, clock)
        self._asked[configured] = entry.time
        self._log.append(entry)
        return entry

    def _following(self, limit: int, clock: float) -> _Entry:
        """Return the first place that the log and the pace allow."""
        pace = self._span / limit
        burst = min(_BURST, limit)
        entries = self._log
        last = entries[-1] if entries else _Entry(-inf, -inf)
        paced = max(clock, last.time, last.settled - (burst - 1) * pace)
        passes = entries[-limit].time + self._span if len(entries) >= limit else -inf
        if passes > paced:
            return _Entry(passes, passes + burst * pace, self._lowerings)
        return _Entry(paced, max(paced, last.settled) + pace, self._lowerings)

    def _forget(self, clock: float) -> None:
        """Drop what no minute to come contains, now and then, so that it costs O(1)."""
        if len(self._log) > self._longest:
            old = bisect_right(self._log, clock - self._span, key=_TIME)
            del self._log[:old]
            self._longest = 2 * len(self._log) + _BURST
