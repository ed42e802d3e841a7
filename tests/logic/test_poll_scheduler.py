"""The scheduler, over runs of every size and services that list, lose and refuse."""

import heapq
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import count, pairwise
from math import inf

import attrs
import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._logic.polling import PollBatch, PollScheduler

ROUNDING = 1e-6
GOLDEN = 0.618034  # multiples of it lie evenly between 0 and 1, in no order


@attrs.define(slots=True)
class Service:
    """Hold how a service answers looks."""

    longest: int = 100  # ids that it takes in a list
    spoilers: frozenset[str] = frozenset()  # jobs for which it refuses a list
    unlisted: frozenset[str] = frozenset()  # jobs that its lists do not show
    way: float = 0.0  # seconds from a look to its answer
    outages: frozenset[int] = frozenset()  # looks that get no answer, by their number
    few: int = 0  # jobs up to which each is looked at alone

    def answer(self, scheduler: PollScheduler, look: PollBatch, number: int) -> Callable[[], None]:
        """Return how the look comes back."""
        if number in self.outages:
            return partial(scheduler.on_failure, look)
        if look.is_list and self.refuses(look):
            return partial(scheduler.on_refusal, look)
        return partial(scheduler.on_answer, look, self.unlisted)

    def refuses(self, look: PollBatch) -> bool:
        """Tell whether a list displeases."""
        return len(look.ids) > self.longest or not self.spoilers.isdisjoint(look.ids)


class Simulation:
    """Run of a scheduler in virtual time; it notes what the scheduler looks at."""

    def __init__(self, scheduler: PollScheduler, service: Service | None = None) -> None:
        self.scheduler = scheduler
        self.now = 0.0
        self.looks: list[PollBatch] = []
        self.times: list[float] = []
        self.seen: dict[str, list[float]] = defaultdict(list)
        self.periods: list[tuple[float, float]] = []
        self.service = service or Service()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    @property
    def refused(self) -> list[PollBatch]:
        """The lists that the service does not like."""
        return [look for look in self.looks if look.is_list and self.service.refuses(look)]

    def plan(self, moment: float, event: Callable[[], None]) -> None:
        """Let something happen."""
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    def join(self, job: str, moment: float = 0.0) -> None:
        """Let a job join; joining counts as a look."""
        self.plan(moment, partial(self._join, job))

    def toggle(self, job: str) -> None:
        """Let a job join, or leave if it is there."""
        if job in self.scheduler:
            self.scheduler.leave(job)
        else:
            self._join(job)

    def until(self, end: float) -> None:
        """Go on until a time."""
        while True:
            due = self.scheduler.next_time()
            look_at = max(due, self.now)
            event_at = self._events[0][0] if self._events else inf
            if min(look_at, event_at) > end:
                self.now = end
                return
            self.now = min(look_at, event_at)
            self.periods.append((self.now, period_of(self.scheduler)))
            if event_at <= look_at:
                heapq.heappop(self._events)[2]()
            else:
                self._take()

    def _join(self, job: str) -> None:
        self.scheduler.join(job, self.now)
        self.periods.append((self.now, period_of(self.scheduler)))
        self.seen[job] = [self.now]

    def _take(self) -> None:
        has_few = len(self.scheduler) <= self.service.few
        look = self.scheduler.next_batch(self.now, solo=has_few)
        if look is None:  # those whom it would have shown have left
            return
        for job in look.ids:
            self.seen[job].append(self.now)
        answer = self.service.answer(self.scheduler, look, len(self.looks))
        self.looks.append(look)
        self.times.append(self.now)
        self.plan(self.now + self.service.way, answer)


def period_of(scheduler: PollScheduler) -> float:
    """Return T, the seconds from one look at a job to the next."""
    rate = scheduler.rate
    return max(1 / rate, scheduler.interval, len(scheduler) / (rate * scheduler.size))


def names(number: int) -> list[str]:
    """Return so many jobs."""
    return [f"job-{index}" for index in range(number)]


def crowd(number: int, *, rate: float = 10, interval: float = 1, spread: float = 0) -> Simulation:
    """Return a simulation of so many jobs, which join within a time."""
    simulation = Simulation(PollScheduler(rate=rate, interval=interval), Service())
    for index, job in enumerate(names(number)):
        simulation.join(job, index * GOLDEN % 1 * spread)
    return simulation


def delays(simulation: Simulation, start: float, end: float) -> list[float]:
    """Return how late the ends of jobs are seen that end between two times."""
    jobs = sorted(simulation.seen)
    found = []
    for index in range(4000):
        moment = start + (index * GOLDEN % 1) * (end - start)
        seen = simulation.seen[jobs[index * 7919 % len(jobs)]]
        found.append(seen[bisect_left(seen, moment)] - moment)
    return found


@pytest.mark.parametrize("interval", [0.5, 1.0])
@pytest.mark.parametrize("number", [1, 15, 100, 101, 150, 450, 501, 1000, 1050, 3000])
def test_ends_are_seen_after_half_a_period(number: int, interval: float) -> None:
    """The mean delay is T/2 within 10 %, the worst T and one spacing; looks are not wasted."""
    period = max(interval, number / 1000)
    simulation = crowd(number, interval=interval, spread=2 * period)
    simulation.until(7 * period)
    assert period_of(simulation.scheduler) == pytest.approx(period)
    late = delays(simulation, 3 * period, 5 * period)
    assert sum(late) / len(late) == pytest.approx(period / 2, rel=0.1)
    assert max(late) <= period + 1 / 10
    counted = [moment for moment in simulation.times if 3 * period <= moment < 5 * period]
    assert len(counted) <= 2 * max(-(-number // 100), 1) + 2


@pytest.mark.parametrize("number", [1, 100, 101, 1000, 3000])
def test_without_a_limit_looks_come_in_bunches(number: int) -> None:
    """A process is woken twice an interval, and sees ends no later than if woken for each look."""
    simulation = Simulation(PollScheduler(rate=None), Service())
    for index, job in enumerate(names(number)):
        simulation.join(job, index * GOLDEN % 1 * 2)
    simulation.until(9.0)
    late = delays(simulation, 4.0, 7.0)
    assert sum(late) / len(late) == pytest.approx(0.5, rel=0.1)
    assert max(late) <= 1.0 + 1 / 2 + 0.001 * number / 100
    counted = [moment for moment in simulation.times if 4.0 <= moment < 7.0]
    assert len(counted) <= 3 * max(-(-number // 100), 1) + 2
    assert {moment * 2 % 1 for moment in counted} == {0.0}


@pytest.mark.parametrize("latency", [0.2, 0.9, 3.0])
def test_slow_answers_are_waited_for(latency: float) -> None:
    """A job is not asked for again before it was answered for, and at once when it is late."""
    simulation = Simulation(PollScheduler(rate=10, interval=0.5), Service(way=latency))
    simulation.join("a")
    simulation.until(30.0)
    gaps = [later - earlier for earlier, later in pairwise(simulation.times)]
    assert gaps == pytest.approx([max(0.5, latency)] * len(gaps))
    assert len(gaps) >= 8


Make = Callable[[], PollScheduler]
Steps = list[tuple[float, int]]
GAPS = st.just(0.0) | st.floats(0, 0.3) | st.floats(0, 3)
STEPS = st.lists(st.tuples(GAPS, st.integers(0, 30)), max_size=120)
SCHEDULERS = st.builds(
    partial,
    st.just(PollScheduler),
    rate=st.sampled_from([1.0, 4.0, 10.0]),
    interval=st.sampled_from([0.1, 0.5, 2.0]),
    most=st.sampled_from([1, 2, 7, 100]),
)
NAMES = names(31)
SOME = st.frozensets(st.sampled_from(NAMES), max_size=4)
SERVICES = st.builds(
    Service,
    longest=st.sampled_from([1, 3, 100]),
    spoilers=SOME,
    unlisted=SOME,
    way=st.sampled_from([0.0, 0.05, 1.5]),
    outages=st.frozensets(st.integers(0, 40), max_size=10),
    few=st.sampled_from([0, 4]),
)
# Jobs that come and go, whatever Hypothesis draws.
ALWAYS = partial(PollScheduler, rate=4, interval=0.5, most=7)
BAD = Service(longest=3, spoilers=frozenset(NAMES[:2]), outages=frozenset({0}), way=0.05)
SOME_STEPS = [(0.1, index % 12) for index in range(30)]


def play(simulation: Simulation, steps: Steps) -> float:
    """Let jobs come and go; return the time of the last step."""
    moment = 0.0
    for gap, index in steps:
        moment += gap
        simulation.plan(moment, partial(simulation.toggle, NAMES[index]))
    simulation.until(moment)
    return moment


@example(ALWAYS, [0.1] * 31)
@given(SCHEDULERS, st.lists(GAPS, max_size=31))
def test_who_joins_is_seen_within_a_period(make: Make, gaps: list[float]) -> None:
    """The first look follows within T and a spacing, and so does every other."""
    scheduler = make()
    simulation = Simulation(scheduler)
    play(simulation, list(zip(gaps, range(31), strict=False)))
    simulation.until(simulation.now + 3 * period_of(scheduler))
    check_gaps(simulation, periods=1)


@example(ALWAYS, SOME_STEPS)
@given(SCHEDULERS, STEPS)
def test_who_leaves_holds_up_no_one_for_long(make: Make, steps: Steps) -> None:
    """Even when all others leave before their turn, two looks are never 2 T apart."""
    scheduler = make()
    simulation = Simulation(scheduler)
    play(simulation, steps)
    simulation.until(simulation.now + 3 * period_of(scheduler))
    check_gaps(simulation, periods=2)


def check_gaps(simulation: Simulation, periods: float) -> None:
    """Check that looks at a job are so many periods and a spacing apart at most."""
    for job in filter(simulation.scheduler.__contains__, NAMES):
        for earlier, later in pairwise([*simulation.seen[job], simulation.now]):
            period = max(T for moment, T in simulation.periods if earlier <= moment <= later)
            assert later - earlier <= periods * period + 1 / simulation.scheduler.rate + ROUNDING


@example(ALWAYS, SOME_STEPS)
@given(SCHEDULERS, STEPS)
def test_the_least_recently_seen_come_first(make: Make, steps: Steps) -> None:
    """No job is looked at while another has waited for longer."""
    scheduler = make()
    simulation = Simulation(scheduler)
    play(simulation, steps)
    for job in [job for job in NAMES if job not in scheduler]:
        simulation.join(job, simulation.now)
    simulation.until(simulation.now)
    for _ in range(20):
        before = {job: seen[-1] for job, seen in simulation.seen.items()}
        simulation.until(max(simulation.now, scheduler.next_time()))
        shown = {job for job, seen in simulation.seen.items() if seen[-1] != before[job]}
        rest = [before[job] for job in NAMES if job not in shown]
        assert max([before[job] for job in shown]) <= min([inf, *rest]) + ROUNDING


@example(ALWAYS, BAD, SOME_STEPS)
@given(SCHEDULERS, SERVICES, STEPS)
def test_whatever_the_service_does_no_job_is_lost(
    make: Make, service: Service, steps: Steps
) -> None:
    """Lists refused, jobs not shown, answers late or missing: who has joined is looked at."""
    scheduler = make()
    simulation = Simulation(scheduler, service)
    for job in NAMES[::2]:
        simulation.join(job)
    end = play(simulation, steps)
    members = [job for job in NAMES if job in scheduler]
    assert len(scheduler) == len(members)
    simulation.until(end + 60.0)
    assert [job for job in members if simulation.seen[job][-1] <= end] == []
    assert len(scheduler) == len(members)


@example(ALWAYS, BAD, SOME_STEPS)
@given(SCHEDULERS, SERVICES, STEPS)
def test_looks_keep_to_their_bounds(make: Make, service: Service, steps: Steps) -> None:
    """Looks are not too many, not too long, not empty, and name each job once."""
    scheduler = make()
    most = scheduler.size
    simulation = Simulation(scheduler, service)
    simulation.until(play(simulation, steps) + 10.0)
    assert all(1 <= len(look.ids) == len(set(look.ids)) <= most for look in simulation.looks)
    for start in simulation.times:
        counted = bisect_left(simulation.times, start + 2) - bisect_left(simulation.times, start)
        assert counted <= 2 * scheduler.rate + 2


@example(ALWAYS, BAD, 20)
@given(SCHEDULERS, SERVICES, st.integers(1, 31))
def test_no_job_is_asked_for_twice_at_once(make: Make, service: Service, number: int) -> None:
    """Until a look has come back, its jobs are in no other."""
    scheduler = make()
    simulation = Simulation(scheduler, service)
    for job in NAMES[:number]:
        simulation.join(job)
    simulation.until(30.0)
    for job in NAMES[:number]:
        seen = simulation.seen[job][1:]
        gaps = [later - earlier for earlier, later in pairwise(seen)]
        assert all(gap >= service.way - ROUNDING for gap in gaps)


def filled(number: int, *, most: int = 100) -> PollScheduler:
    """Return a scheduler on which so many jobs have joined at 0."""
    scheduler = PollScheduler(rate=10, interval=1, most=most)
    for job in names(number):
        scheduler.join(job, 0.0)
    return scheduler


def taken(scheduler: PollScheduler, now: float) -> PollBatch:
    """Take a look that must be due."""
    look = scheduler.next_batch(now)
    assert look is not None
    return look


def soon(scheduler: PollScheduler) -> PollBatch:
    """Take the next look as soon as it is due."""
    return taken(scheduler, scheduler.next_time())


@pytest.mark.parametrize(
    ("number", "interval", "expected"),
    [(0, 0.5, 5.0), (100, 0.5, 5.0), (1500, 0.5, 15.0), (3000, 1.0, 30.0), (9000, 1.0, 30.0)],
)
def test_how_long_a_job_may_be_left_out(number: int, interval: float, expected: float) -> None:
    """For ten periods, but no longer than 30 s."""
    ride = crowd(number, interval=interval)
    ride.until(0.0)
    assert ride.scheduler.longest_unseen() == expected


def test_an_empty_scheduler_has_nothing_to_do() -> None:
    """Without jobs there is no time to look."""
    scheduler = PollScheduler(rate=10, interval=1)
    assert scheduler.next_time() == inf
    assert scheduler.next_batch(100.0) is None
    scheduler.join("a", 100.0)
    assert scheduler.next_batch(100.9) is None
    assert scheduler.next_time() == 101.0
    assert taken(scheduler, 101.0) == PollBatch(("a",), 101.0)
    assert scheduler.next_time() == inf


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1, [1]), (100, [100]), (101, [51, 50]), (150, [75, 75]), (301, [76, 76, 76, 73])],
)
def test_rounds_are_cut_into_equal_looks(number: int, expected: list[int]) -> None:
    """With room for it, looks are about as long as each other, and evenly spaced."""
    scheduler = filled(number)
    looks = [soon(scheduler) for _ in expected]
    assert [len(look.ids) for look in looks] == expected
    assert [look.is_list for look in looks] == [size > 1 for size in expected]
    times = [(index + 1) / len(expected) for index in range(len(expected))]
    assert [look.time for look in looks] == pytest.approx(times)


def test_few_may_be_taken_one_by_one() -> None:
    """Each of few jobs is handed out alone, but what is asked for out of turn as it is."""
    scheduler = filled(3)
    looks = [scheduler.next_batch(now, solo=True) for now in (1.0, 2.0, 3.0)]
    assert looks == [
        PollBatch((job,), now, is_solo=True)
        for job, now in zip(names(3), (1.0, 2.0, 3.0), strict=True)
    ]
    assert scheduler.next_batch(9.0, solo=True) is None
    scheduler = filled(2)
    scheduler.on_answer(taken(scheduler, 1.0), names(2))
    assert scheduler.next_batch(1.1, solo=True) == PollBatch(("job-0",), 1.1)


def test_full_looks_are_taken_when_there_is_no_room() -> None:
    """More rounds than the rate allows in an interval: each look is as long as may be."""
    scheduler = filled(1101)
    sizes = [len(soon(scheduler).ids) for _ in range(12)]
    assert sizes == [100] * 11 + [1]


@pytest.mark.parametrize(
    ("delay", "expected"), [(0.0, 2.0), (0.05, 2.0), (0.5, 2.5), (3600.0, 3602.0)]
)
def test_a_little_late_is_caught_up_with(delay: float, expected: float) -> None:
    """A look late by less than a spacing delays no other, a long sleep makes no heap."""
    scheduler = filled(3)
    scheduler.on_answer(taken(scheduler, 1.0 + delay))
    assert scheduler.next_time() == pytest.approx(expected)


def test_who_leaves_is_not_missed() -> None:
    """In line, under way or about to be asked for alone: who has left is gone at once."""
    scheduler = filled(6)
    scheduler.leave("job-0")
    scheduler.leave("job-0")
    scheduler.leave("unknown")
    look = taken(scheduler, 1.0)
    assert look.ids == ("job-1", "job-2", "job-3", "job-4", "job-5")
    scheduler.leave("job-1")
    scheduler.on_answer(look, {"job-2", "job-3", "job-4"})
    scheduler.leave("job-2")
    scheduler.leave("job-3")
    assert [job for job in names(6) if job in scheduler] == ["job-4", "job-5"]
    assert len(scheduler) == 2
    assert soon(scheduler).ids == ("job-4",)
    assert soon(scheduler).ids == ("job-5",)


def test_an_urgent_job_that_has_left_is_forgotten() -> None:
    """If all whom it would have shown have left, no request is made."""
    simulation = crowd(2)
    simulation.service.unlisted = frozenset(names(2))
    simulation.until(1.05)
    for job in names(2):
        simulation.scheduler.leave(job)
    assert simulation.scheduler.next_time() == pytest.approx(1.1)
    simulation.until(5.0)
    assert [look.time for look in simulation.looks] == [1.0]
    assert simulation.scheduler.next_time() == inf


def test_who_comes_back_is_looked_at_once() -> None:
    """Leaving and joining again during a look, or joining twice, makes no second job."""
    scheduler = filled(2)
    look = taken(scheduler, 1.0)
    scheduler.join("job-0", 1.0)
    scheduler.leave("job-1")
    scheduler.join("job-1", 1.2)
    scheduler.join("job-1", 1.4)
    scheduler.on_answer(look)
    assert len(scheduler) == 2
    assert taken(scheduler, 2.2).ids == ("job-1", "job-0")


def test_what_a_list_does_not_show_is_asked_for_alone() -> None:
    """At once, one by one; then the job takes its turn again, shown or not."""
    scheduler = filled(4)
    scheduler.on_answer(taken(scheduler, 1.0), {"job-1", "job-3"})
    alone = [soon(scheduler), soon(scheduler)]
    assert [look.ids for look in alone] == [("job-1",), ("job-3",)]
    assert [look.time for look in alone] == pytest.approx([1.1, 1.2])
    scheduler.on_answer(alone[0])
    scheduler.on_answer(alone[1], {"job-3"})
    assert scheduler.next_time() == 2.0
    assert soon(scheduler).ids == ("job-0", "job-2", "job-1", "job-3")


def test_a_refused_list_is_asked_for_in_halves() -> None:
    """In the old order, and lists stay that short."""
    scheduler = filled(5)
    scheduler.on_refusal(taken(scheduler, 1.0))
    halves = [soon(scheduler), soon(scheduler)]
    assert [look.ids for look in halves] == [("job-0", "job-1", "job-2"), ("job-3", "job-4")]
    assert scheduler.size == 3


@pytest.mark.parametrize("longest", [1, 10, 50, 99])
def test_short_lists_are_found_and_kept(longest: int) -> None:
    """A service that takes fewer ids refuses a few lists, then one in a hundred."""
    simulation = crowd(400, rate=100)
    simulation.service.longest = longest
    simulation.until(60.0)
    assert longest / 2 < simulation.scheduler.size <= 2 * longest
    assert len(simulation.refused) <= 8 + len(simulation.looks) / 100
    assert min(seen[-1] for seen in simulation.seen.values()) > 50


def test_one_bad_id_is_found() -> None:
    """It is soon asked for alone, and when it has left, lists are as long as ever."""
    simulation = crowd(1000)
    simulation.service.spoilers = frozenset({"job-250"})
    simulation.until(2.5)
    assert ("job-250",) in [look.ids for look in simulation.looks]
    assert len(simulation.refused) <= 7
    simulation.scheduler.leave("job-250")
    simulation.service.spoilers = frozenset()
    simulation.until(6.0)
    assert [len(look.ids) for look in simulation.looks[-10:]] == [100] * 10


def test_a_service_that_takes_less_than_it_did_is_believed() -> None:
    """One refusal may be an id's fault, two in a row are the length's."""
    scheduler = filled(1000)
    scheduler.on_answer(soon(scheduler))
    sizes = []
    for _ in range(2):
        scheduler.on_refusal(soon(scheduler))
        sizes.append(scheduler.size)
        for _ in range(2):
            scheduler.on_answer(soon(scheduler))
    assert sizes == [100, 50]


def test_lists_grow_again() -> None:
    """A hundred answers after the last refusal, lists of twice the length are tried."""
    scheduler = filled(400)
    scheduler.on_refusal(taken(scheduler, 1.0))
    sizes = []
    now = 2.0
    for _ in range(300):
        now += 1.0
        scheduler.on_answer(taken(scheduler, now))
        sizes.append(scheduler.size)
    assert sizes == [50] * 99 + [100] * 201


def test_a_look_without_an_answer_is_made_again() -> None:
    """Its jobs are first in line, in their order, without those that have left."""
    scheduler = filled(150)
    look = taken(scheduler, 1.0)
    scheduler.leave("job-1")
    scheduler.on_failure(look)
    assert scheduler.next_time() == pytest.approx(1.1)
    again = soon(scheduler)
    assert again.ids[:3] == ("job-0", "job-2", "job-3")
    assert len(again.ids) == 75
    assert len(scheduler) == 149
