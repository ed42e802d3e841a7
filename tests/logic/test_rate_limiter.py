"""The budget against the service's own window, over thousands of minutes of every kind."""

import heapq
from itertools import count, pairwise

import attrs
import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._rate_limits import GUARD, WINDOW, Reservation, SlidingWindowLimiter
from lipsync_async.sandbox.plans import RateWindow

ROUNDING = 1e-5  # a few steps of the coarsest clock
SPAN = WINDOW * (1 + GUARD)
# Half of the guard is for those who wake late, half for the way to the service.
MOST_LATE = WINDOW * GUARD / 2
LONGEST_WAY = MOST_LATE - 1e-4
# As many go at once.
BURST = 20
# A clock that has run for long counts in coarser steps.
STARTS = st.sampled_from([0.0, 12_345.678, 2.0**33])
SMALL = st.integers(1, 40)
LIMITS = SMALL | st.sampled_from([60, 120])


@attrs.frozen(slots=True)
class Demand:
    """One request that somebody wants to send; all times in seconds."""

    gap: float = 0.0  # after the demand before
    lateness: float = 0.0  # by which its sleeper wakes too late
    way: float = 0.0  # from leaving to arriving
    patience: float | None = None  # after which it is cancelled; `None`: never
    is_urgent: bool = False  # takes the next time that another waits for


DEMANDS = st.builds(
    Demand,
    gap=st.just(0.0) | st.floats(0, 2) | st.floats(0, 90),
    lateness=st.just(0.0) | st.floats(0, MOST_LATE) | st.floats(0, 200),
    way=st.sampled_from([0.0, LONGEST_WAY]) | st.floats(0, LONGEST_WAY),
    patience=st.none() | st.floats(0, 30),
    is_urgent=st.booleans(),
)
# All of it, whatever Hypothesis draws.
RUSH = [
    *[Demand(patience=10.0), Demand(is_urgent=True), Demand()] * 20,
    *[Demand(gap=0.5, lateness=late, way=LONGEST_WAY) for late in (0.0, MOST_LATE, 90.0)] * 20,
]


class Traffic:
    """Let demands reserve, sleep, give up and send, in virtual time."""

    def __init__(self, budget: SlidingWindowLimiter, start: float = 0.0) -> None:
        self.budget = budget
        self.start = start
        self.arrivals: list[float] = []
        self.cancelled = 0
        self._events: list[tuple[float, int, Demand, Reservation, float]] = []
        self._numbers = count()

    def run(self, demands: list[Demand], pauses: dict[int, float] | None = None) -> list[float]:
        """Return the arrivals in their order; at a demand's number there may be a pause."""
        now = self.start
        for number, demand in enumerate(demands):
            now += demand.gap
            self._let_wake(now)
            pause = (pauses or {}).get(number, 0.0)
            self.budget.pause(now, now + pause)
            self._look(now, demand, self.budget.reserve(now), now)
        self._let_wake(float("inf"))
        return sorted(self.arrivals)

    def _let_wake(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            now, _, demand, place, since = heapq.heappop(self._events)
            self._look(now, demand, place, since)

    def _look(self, now: float, demand: Demand, place: Reservation, since: float) -> None:
        """Send, sleep on, or lose patience."""
        pause = self.budget.delay(place, now)
        if demand.is_urgent and pause > 0:
            pause = self.budget.hasten(place, now)
        if pause <= 0:
            self.arrivals.append(now + demand.way)
        elif demand.patience is not None and now + pause - since > demand.patience:
            self.budget.cancel(place)
            self.cancelled += 1
        else:
            # A task that wakes too late does so once.
            punctual = attrs.evolve(demand, lateness=0.0)
            wakes = now + pause + demand.lateness
            heapq.heappush(self._events, (wakes, next(self._numbers), punctual, place, since))


def refusals(arrivals: list[float], limit: int) -> int:
    """Count what the service refuses."""
    window = RateWindow(limit)
    return sum(not window.admit(arrival) for arrival in arrivals)


def waits(budget: SlidingWindowLimiter, moments: list[float]) -> list[float]:
    """Return what each of these requests has to wait."""
    return [budget.delay(budget.reserve(now), now) for now in moments]


@example(20, RUSH, 0.0)
@given(LIMITS, st.lists(DEMANDS, max_size=200), STARTS)
def test_no_minute_sees_too_many(limit: int, demands: list[Demand], start: float) -> None:
    """Anyone who comes, gives up or sleeps too long: the service never refuses."""
    traffic = Traffic(SlidingWindowLimiter(limit), start)
    arrivals = traffic.run(demands)
    assert refusals(arrivals, limit) == 0
    assert len(arrivals) + traffic.cancelled == len(demands)


@given(
    LIMITS,
    st.lists(DEMANDS, max_size=100),
    st.dictionaries(st.integers(0, 99), st.floats(-10, 100), max_size=8),
)
def test_pauses_keep_every_minute(
    limit: int, demands: list[Demand], pauses: dict[int, float]
) -> None:
    """What a pause holds up does not come in a heap after it."""
    assert refusals(Traffic(SlidingWindowLimiter(limit)).run(demands, pauses), limit) == 0


@given(st.integers(1, 600), st.integers(2, 6))
def test_the_rate_is_reached(limit: int, minutes: int) -> None:
    """A backlog leaves at 98 % of the rate that the limit allows, or faster."""
    wanted = limit * minutes
    last = waits(SlidingWindowLimiter(limit), [0.0] * (wanted + 1))[-1]
    assert last <= minutes * WINDOW / 0.98


@given(LIMITS, st.lists(st.floats(0, 60), max_size=BURST), STARTS)
def test_a_lone_user_feels_nothing(limit: int, moments: list[float], start: float) -> None:
    """A few requests in a minute leave at once."""
    few = [start + moment for moment in sorted(moments)[:limit]]
    assert waits(SlidingWindowLimiter(limit), few) == [0.0] * len(few)


@given(st.integers(2, 600), st.integers(1, 5))
def test_a_burst_comes_back_with_rest(limit: int, rounds: int) -> None:
    """All slots at once, a rest, all slots at once: at up to the full rate no one waits."""
    budget = SlidingWindowLimiter(limit)
    together = min(BURST, limit // 2)
    rest = SPAN / (limit // together)
    moments = [number * rest + ROUNDING for number in range(rounds) for _ in range(together)]
    assert max(waits(budget, moments)) <= 2 * ROUNDING


@example(60, [*[(0.0, False)] * 25, (0.0, True), (0.0, False)])
@given(LIMITS, st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=200))
def test_the_line_is_a_line(limit: int, steps: list[tuple[float, bool]]) -> None:
    """No one who comes later may send earlier, whatever is learnt meanwhile."""
    budget, now = SlidingWindowLimiter(limit), 0.0
    place = budget.reserve(now)
    for gap, is_refused in steps:
        now += gap
        if is_refused:
            budget.on_429(place, now, 0.0)
        pause = budget.delay(place, now)
        place = budget.reserve(now)
        assert pause <= budget.delay(place, now) + ROUNDING


def test_a_busy_budget_sends_evenly() -> None:
    """Twenty go at once; from the second minute on there are no bursts any more."""
    due = waits(SlidingWindowLimiter(60), [0.0] * 240)
    gaps = [later - earlier for earlier, later in pairwise(due)]
    assert gaps[: BURST - 1] == [0.0] * (BURST - 1)
    assert [round(gap, 6) for gap in gaps[60:]] == [1.02] * 179


def test_what_is_held_up_finds_room() -> None:
    """In a busy minute, a few may be late by more than the guard."""
    due = waits(SlidingWindowLimiter(600), [0.0] * 3000)[1200:]
    # Nine at a time are held up for five seconds, and arrive with those who follow.
    arrivals = [moment + 5 * (number % 100 < 9) for number, moment in enumerate(due)]
    assert refusals(sorted(arrivals), 600) == 0


@pytest.mark.parametrize("moments", [[0.0] * 10_000, [number / 100 for number in range(1000)]])
def test_no_limit_is_no_wait(moments: list[float]) -> None:
    """Without a limit no one waits, and nothing is remembered."""
    budget = SlidingWindowLimiter(None)
    assert set(waits(budget, moments)) == {0.0}
    budget.cancel(budget.reserve(0.0))
    assert budget.delay(budget.reserve(0.0), 100.0) == 0.0
    assert budget.limit(0.0) is None
    assert budget._log == []  # noqa: SLF001 - memory is what is promised


@example(60, [3, 1, 2], 10)
@given(LIMITS, st.lists(st.integers(0, 1000), max_size=60), st.integers(0, 100))
def test_who_leaves_the_end_of_the_line_was_never_there(
    limit: int, order: list[int], before: int
) -> None:
    """In whatever order they cancel, those at the end leave no trace."""
    budget, untouched = SlidingWindowLimiter(limit), SlidingWindowLimiter(limit)
    assert waits(budget, [0.0] * before) == waits(untouched, [0.0] * before)
    places = [budget.reserve(0.0) for _ in order]
    for _, _, place in sorted(zip(order, range(len(order)), places, strict=True)):
        budget.cancel(place)
    assert waits(budget, [0.0] * 50) == waits(untouched, [0.0] * 50)


def test_who_leaves_the_middle_of_the_line_moves_no_one() -> None:
    """Those behind keep the times that they were told, and the next comes after them."""
    budget, untouched = SlidingWindowLimiter(60), SlidingWindowLimiter(60)
    places = [budget.reserve(0.0) for _ in range(40)]
    told = [budget.delay(place, 0.0) for place in places]
    budget.cancel(places[30])
    assert [budget.delay(place, 0.0) for place in places] == told
    assert waits(budget, [0.0]) == waits(untouched, [0.0] * 41)[40:]


def test_what_was_given_back_counts_no_more() -> None:
    """Of those who leave the middle of the line, the next minute knows nothing."""
    budget = SlidingWindowLimiter(60)
    places = [budget.reserve(0.0) for _ in range(60)]
    for place in places[5:15]:
        budget.cancel(place)
    again = waits(budget, [46.0] * 11)
    assert max(again[:10]) < 6
    assert again[10] == pytest.approx(SPAN - 46.0)


def test_two_exchange_their_times() -> None:
    """The next time that is neither due nor taken in this way goes to the one in a hurry."""
    budget = SlidingWindowLimiter(1)
    places = [budget.reserve(0.0) for _ in range(5)]
    assert [budget.delay(place, 0.0) for place in places] == [SPAN * n for n in range(5)]
    assert [budget.hasten(places[n], 0.0) for n in (3, 4, 3)] == [SPAN, SPAN * 2, SPAN]
    assert [budget.delay(place, 0.0) for place in places] == [SPAN * n for n in (0, 3, 4, 1, 2)]
    assert budget.hasten(places[1], 0.0) == SPAN * 3
    budget.pause(0.0, 5.0)
    assert [budget.hasten(place, 0.0) for place in places] == [
        SPAN * n + 5.0 for n in (0, 3, 4, 1, 2)
    ]


def test_who_comes_too_late_gets_a_new_place() -> None:
    """After a laptop's sleep, those who slept do not all send at once."""
    budget = SlidingWindowLimiter(60)
    places = [budget.reserve(0.0) for _ in range(120)]
    again = [budget.delay(place, 3600.0) for place in places]
    assert again[:BURST] == [0.0] * BURST
    assert all(pause > 0 for pause in again[BURST:])
    lone = SlidingWindowLimiter(1)
    assert lone.delay(lone.reserve(0.0), 10.0) == 0.0


def test_half_of_the_guard_is_not_too_late() -> None:
    """A little late, a place is still good."""
    budget = SlidingWindowLimiter(1)
    first = budget.reserve(0.0)
    assert budget.delay(first, MOST_LATE) == 0.0
    assert waits(budget, [MOST_LATE]) == [pytest.approx(SPAN - MOST_LATE)]


@given(st.none() | LIMITS, st.floats(0, 100), st.floats(-50, 100))
def test_a_pause_stops_everybody(limit: int | None, now: float, seconds: float) -> None:
    """Before its end nothing leaves, and then the line goes on as if nothing had been."""
    budget = SlidingWindowLimiter(limit)
    places = [budget.reserve(now) for _ in range(50)]
    told = [budget.delay(place, now) for place in places]
    budget.pause(now, now + seconds)
    after = [budget.delay(place, now) for place in places]
    assert after == pytest.approx([pause + max(0.0, seconds) for pause in told])


def test_pauses_overlap() -> None:
    """A pause within a pause adds only what is beyond it."""
    budget = SlidingWindowLimiter(60)
    budget.pause(0.0, 10.0)
    budget.pause(5.0, 8.0)
    assert waits(budget, [5.0]) == [5.0]
    budget.pause(5.0, 12.0)
    assert waits(budget, [5.0]) == [7.0]
    assert waits(budget, [20.0]) == [0.0]


def test_who_comes_during_a_pause_is_in_line() -> None:
    """The first to have come is the first to go when it is over."""
    budget = SlidingWindowLimiter(1)
    budget.pause(0.0, 30.0)
    first, second = budget.reserve(1.0), budget.reserve(2.0)
    assert budget.delay(first, 1.0) == 29.0
    assert budget.delay(second, 2.0) == pytest.approx(28.0 + SPAN)
    assert budget.delay(first, 30.0) == 0.0


class Key:
    """Let one budget send against a service that allows less than it believes."""

    def __init__(
        self, budget: SlidingWindowLimiter, allowed: int, retry_after: float | None
    ) -> None:
        self.budget = budget
        self.passed: list[float] = []
        self.on_429: list[float] = []
        self._window = RateWindow(allowed)
        self._retry_after = retry_after

    def busy(self, start: float, end: float, way: float = 0.0) -> None:
        """Send as much as the budget lets pass between two times."""
        now = start
        while True:
            place = self.budget.reserve(now)
            while (pause := self.budget.delay(place, now)) > 0:
                now += pause
            if now >= end:
                self.budget.cancel(place)
                return
            self._arrive(place, now + way, answered=now + 2 * way)

    def share(self, moments: list[float]) -> None:
        """Let somebody else send."""
        for moment in moments:
            self._window.admit(moment)

    def _arrive(self, place: Reservation, moment: float, answered: float) -> None:
        if self._window.admit(moment):
            self.passed.append(moment)
        else:
            self.on_429.append(moment)
            self.budget.on_429(place, answered, self._retry_after)


@given(st.integers(20, 120), st.floats(0.1, 0.95), st.none() | st.floats(0, 20), st.floats(0, 0.4))
def test_a_smaller_plan_is_found(
    limit: int, share: float, retry_after: float | None, way: float
) -> None:
    """Few are refused, and then nine tenths of the smaller plan's rate are had."""
    allowed = max(2, int(limit * share))
    key = Key(SlidingWindowLimiter(limit), allowed, retry_after)
    key.busy(0.0, 1800.0, way)
    assert len([moment for moment in key.on_429 if moment < 240]) <= 6
    assert len([moment for moment in key.on_429 if moment >= 240]) <= 10
    late = [moment for moment in key.passed if moment >= 300]
    assert len(late) >= 0.9 * (allowed - 1) * 25


def test_a_refused_burst_is_one_refusal() -> None:
    """All that was under way when the first was refused lowers the limit once."""
    budget = SlidingWindowLimiter(60)
    places = [budget.reserve(0.0) for _ in range(BURST)]
    assert [budget.delay(place, 0.0) for place in places] == [0.0] * BURST
    for place in places[12:]:
        budget.on_429(place, 0.5, 1.0)
    assert budget.limit(0.5) == 30
    later = budget.reserve(30.0)
    budget.on_429(later, 30.0, 1.0)
    # Twelve have passed in this minute, but a refusal takes half at most.
    assert budget.limit(30.0) == 15


def test_those_in_line_learn_and_keep_their_order() -> None:
    """Who was in line when the limit fell is news when refused; others come after them."""
    budget = SlidingWindowLimiter(60)
    places = [budget.reserve(0.0) for _ in range(40)]
    last = budget.delay(places[-1], 0.0)
    budget.on_429(places[0], 0.0, 0.0)
    # Nineteen have passed; the other twenty are not sent yet.
    assert budget.limit(0.0) == 30
    assert waits(budget, [0.0])[0] >= last
    for place in places[1:20]:
        budget.on_429(place, 10.0, 0.0)
    assert budget.limit(10.0) == 30
    budget.on_429(places[-1], last, 0.0)
    assert budget.limit(last) == 19


def test_the_limit_only_falls() -> None:
    """More passed in the last minute than is believed to: that is no reason to send more."""
    budget = SlidingWindowLimiter(60)
    places = [budget.reserve(0.0) for _ in range(60)]
    budget.on_429(places[0], 0.0, 0.0)
    last = budget.delay(places[-1], 0.0)
    budget.on_429(places[-1], last, 0.0)
    assert budget.limit(last) == 30


def test_what_passed_is_what_can_be_had() -> None:
    """The limit falls to the number that the service let through."""
    budget = SlidingWindowLimiter(60)
    places = [budget.reserve(float(second)) for second in range(45)]
    budget.cancel(places[7])
    budget.on_429(places[-1], 45.0)
    assert budget.limit(45.0) == 43


@pytest.mark.parametrize(
    ("windows", "expected"), [(0, 30), (5, 30), (6, 36), (7, 42), (10, 60), (1000, 60)]
)
def test_the_limit_comes_back_slowly(windows: float, expected: int) -> None:
    """Five minutes it stays, then it rises by a tenth of the configured one in each."""
    budget = SlidingWindowLimiter(60)
    budget.on_429(budget.reserve(0.0), 0.0, 0.0)
    assert budget.limit(windows * WINDOW + ROUNDING) == expected


def test_the_limit_never_falls_to_nothing() -> None:
    """Of a key that somebody else uses up, what passes is left, be it one request a minute."""
    budget, now = SlidingWindowLimiter(60), 0.0
    for _ in range(20):
        now += 200
        budget.reserve(now)
        budget.on_429(budget.reserve(now), now)
    assert budget.limit(now) == 1
    assert waits(budget, [now + 200]) == [0.0]


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 7, 12, 60, 600])
@pytest.mark.parametrize("seconds", [1.0, 5.0, 30.0, 100.0])
def test_refusals_of_everything_tell_no_rate(limit: int, seconds: float) -> None:
    """A service that refuses all for a while does not leave every later call a minute to wait."""
    budget, now = SlidingWindowLimiter(limit), 0.0
    for _ in range(30):
        now += seconds
        place = budget.reserve(now)
        now += budget.delay(place, now)
        budget.on_429(place, now)
    assert budget.limit(now) == max(1, limit // 6)


def test_a_shared_key_comes_back() -> None:
    """While somebody sends half, few are refused; a quarter of an hour later all is had."""
    key = Key(SlidingWindowLimiter(60), 60, 1.0)
    foreign = [minute + 2.0 * second for minute in range(0, 600, 60) for second in range(30)]
    for moment in foreign:
        key.share([moment])
        key.busy(moment, moment + 2.0)
    assert len(key.on_429) <= 10
    key.busy(600.0, 600.0 + 3 * 900)
    last = [moment for moment in key.passed if moment >= 600 + 2 * 900]
    assert len(last) >= 0.98 * 60 * 15


@pytest.mark.parametrize(("told", "expected"), [(None, 1.0), (0.0, 0.0), (7.5, 7.5)])
def test_a_refusal_pauses(told: float | None, expected: float) -> None:
    """As long as the service asks, else for a second, with or without a limit."""
    for limit in (600, None):
        budget = SlidingWindowLimiter(limit)
        budget.on_429(budget.reserve(0.0), 0.0, told)
        assert waits(budget, [0.0]) == [expected]


def test_windows_may_be_shorter() -> None:
    """Against a service in quick motion all times shrink with the window."""
    slow = waits(SlidingWindowLimiter(60), [0.0] * 150)
    quick = waits(SlidingWindowLimiter(60, window=6.0), [0.0] * 150)
    assert quick == pytest.approx([pause / 10 for pause in slow])
    budget = SlidingWindowLimiter(60, window=6.0)
    budget.on_429(budget.reserve(0.0), 0.0)
    assert waits(budget, [0.0]) == [pytest.approx(0.1)]
    assert [budget.limit(6.0 * windows + 0.2) for windows in (5, 6, 10)] == [30, 36, 60]


def test_memory_is_bounded() -> None:
    """Days of use leave no more in memory than a few windows do."""
    budget = SlidingWindowLimiter(60)
    waits(budget, [1.5 * number for number in range(5000)])
    assert len(budget._log) <= 200  # noqa: SLF001 - memory is what is promised
