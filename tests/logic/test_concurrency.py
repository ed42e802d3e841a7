"""Concurrency limiter against accounts of every kind: limits known, told or hidden."""

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count, pairwise
from math import inf
from typing import Any

import attrs
import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._enums import Status
from lipsync_async._models.http import Response
from lipsync_async._models.response import Generation
from lipsync_async._rate_limits import ConcurrencyLimiter, Slot
from lipsync_async.errors import ConcurrencyLimitError

PAUSE = 5.0  # seconds, when the service names none
WAY = 0.1  # seconds for a create to arrive, and for its answer to come back
FOREVER = 1e6
PLANS = st.sampled_from([1, 3, 6, 15])
LIMITS = PLANS | st.integers(1, 40)
PAUSES = st.none() | st.floats(0, 40)
DURATIONS = st.lists(st.floats(1, 60), min_size=1, max_size=60)


@attrs.define(slots=True)
class Account:
    """An account that somebody else may use too."""

    limit: int
    tells: bool = False  # a refusal names the limit and the active generations
    retry_after: float | None = None  # seconds that a refusal asks to wait
    own: int = 0  # our generations
    foreign: int = 0  # those of somebody else
    wanted: int = 0  # how many somebody else takes when there is room

    def create(self) -> bool:
        """Accept a create of ours if it fits."""
        fits = self.own + self.foreign < self.limit
        self.own += fits
        return fits

    def end(self) -> None:
        """Let one of ours end; somebody else is quicker to take its slot."""
        self.own -= 1
        self.want(self.wanted)

    def want(self, wanted: int) -> None:
        """Let somebody else want so many from now on."""
        self.wanted = wanted
        self.foreign = min(wanted, self.limit - self.own)

    @property
    def told(self) -> dict[str, Any]:
        """What a refusal says: the limit and the active generations, if it names them."""
        named = {"concurrency_limit": self.limit, "active_generations": self.own + self.foreign}
        return {"retry_after": self.retry_after, **(named if self.tells else {})}


NUMBERS = count(1)


def accept(slots: ConcurrencyLimiter, slot: Slot, name: str = "", now: float = 0.0) -> Slot:
    """Let the service accept a create; a job that is not named is new, and held."""
    job = Generation(id=name or f"new-{next(NUMBERS)}", status=Status.PENDING)
    return slots.accepted(slot, job, now, is_held=not name)


def refuse(slots: ConcurrencyLimiter, slot: Slot, now: float, **facts: Any) -> None:
    """Let the service refuse a create, and tell so much; `patience` is the create's own."""
    patience = facts.pop("patience", None)
    response = Response("POST", "https://api.example", 429, {}, b"")
    error = ConcurrencyLimitError(response=response, message="", **facts)
    slots.refused(slot, now, error, patience=patience)


class Simulation:
    """Run jobs on an account, in virtual time, as soon as the slots let them."""

    def __init__(self, slots: ConcurrencyLimiter, account: Account) -> None:
        self.slots = slots
        self.account = account
        self.now = 0.0
        self.creates: list[float] = []
        self.refusals: list[float] = []
        self.ends: list[float] = []
        self.most_probes = 0
        self._probes = 0
        self._waiting: list[float | None] = []
        self._asks = -inf
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def plan(self, moment: float, event: Callable[[], None]) -> None:
        """Let something happen."""
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    def run(self, jobs: list[float | None], until: float = inf) -> float:
        """Run jobs of these durations, all or until a time, and return the time.

        Of a job that is `None` the create fails, not for want of a slot.
        """
        self._waiting = [*reversed(jobs), *self._waiting]
        left = len(jobs)
        self._start()
        while self._events and self._events[0][0] <= until and len(self.ends) < left:
            self.now, _, event = heapq.heappop(self._events)
            event()
            self._start()
        return self.now

    def _start(self) -> None:
        """Send what may be sent, and plan to ask again when told."""
        while self._waiting and (slot := self.slots.take(self.now)):
            self._send(self._waiting.pop(), slot)
        moment = self.slots.next_try(self.now)
        # Unless something of ours is going on, there must be a time.
        assert moment is not None or self.slots.used > 0
        if self._waiting and moment not in {None, self._asks}:
            assert moment is not None
            assert moment > self.now
            self._asks = moment
            self.plan(moment, lambda: None)

    def _send(self, job: float | None, slot: Slot) -> None:
        self.creates.append(self.now)
        self._probes += slot.is_probe
        self.most_probes = max(self.most_probes, self._probes)
        self.plan(self.now + WAY, partial(self._arrive, job, slot))

    def _arrive(self, job: float | None, slot: Slot) -> None:
        if job is None:
            answer = partial(self._broken, slot)
        elif self.account.create():
            answer = partial(self._accepted, slot, self.now + job)
        else:
            answer = partial(self._refused, slot, job, self.account.told)
        self.plan(self.now + WAY, answer)

    def _broken(self, slot: Slot) -> None:
        self._probes -= slot.is_probe
        self.ends.append(self.now)
        self.slots.ended(slot)

    def _accepted(self, slot: Slot, end: float) -> None:
        self._probes -= slot.is_probe
        accept(self.slots, slot)
        self.plan(end, partial(self._ended, slot))

    def _refused(self, slot: Slot, job: float, told: dict[str, Any]) -> None:
        self._probes -= slot.is_probe
        self.refusals.append(self.now)
        self._waiting.append(job)
        refuse(self.slots, slot, self.now, **told)

    def _ended(self, slot: Slot) -> None:
        self.account.end()
        self.ends.append(self.now)
        self.slots.ended(slot)


def perfect(durations: list[float], limit: int) -> float:
    """Return the seconds that a scheduler takes which knows all and never waits."""
    free = [0.0] * limit
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


@given(LIMITS, DURATIONS)
def test_a_known_limit_is_used_in_full(limit: int, durations: list[float]) -> None:
    """Alone, nothing is refused, and no slot is idle for longer than a create's way."""
    simulation = Simulation(ConcurrencyLimiter(limit), Account(limit))
    took = simulation.run([*durations])
    assert simulation.refusals == []
    assert took == pytest.approx(perfect([duration + WAY for duration in durations], limit))


@pytest.mark.parametrize("limit", [1, 3, 6, 15])
def test_a_known_limit_costs_less_than_two_percent(limit: int) -> None:
    """Jobs of 5 to 30 s take at most 1/0.98 of the time of perfect scheduling."""
    durations = [5.0 + 25 * (number * 0.618034 % 1) for number in range(40 * limit)]
    took = Simulation(ConcurrencyLimiter(limit), Account(limit)).run([*durations])
    assert took <= perfect(durations, limit) / 0.98


@given(st.integers(1, 19), st.booleans(), st.booleans(), st.integers(0, 18))
def test_an_unknown_limit_is_found_within_twenty_creates(
    limit: int,
    tells: bool,  # noqa: FBT001
    is_shared: bool,  # noqa: FBT001
    foreign: int,
) -> None:
    """Told or not, alone or not: all that can be had runs, after one refusal."""
    taken = min(foreign, limit - 1) * is_shared
    simulation = Simulation(
        ConcurrencyLimiter(), Account(limit, tells=tells, foreign=taken, wanted=taken)
    )
    simulation.run([FOREVER] * 100, until=(limit - taken) * 2 * WAY + PAUSE / 2)
    assert len(simulation.creates) == limit - taken + 1 <= 20
    assert len(simulation.refusals) == 1
    assert (
        simulation.account.own == simulation.slots.used == simulation.slots.ceiling == limit - taken
    )


@given(LIMITS, DURATIONS)
def test_what_was_told_is_never_exceeded(limit: int, durations: list[float]) -> None:
    """Alone, one refusal that names the limit is the last."""
    simulation = Simulation(ConcurrencyLimiter(), Account(limit, tells=True))
    simulation.run([*durations])
    assert len(simulation.refusals) <= 1
    assert simulation.slots.limit == (limit if simulation.refusals else None)


@given(LIMITS, DURATIONS)
def test_a_limit_that_the_account_names_is_as_good_as_a_known_one(
    limit: int, durations: list[float]
) -> None:
    """Alone, nothing is refused, and no slot is idle for longer than a create's way."""
    slots = ConcurrencyLimiter()
    slots.seed(limit, 0.0)
    simulation = Simulation(slots, Account(limit))
    took = simulation.run([*durations])
    assert simulation.refusals == []
    assert took == pytest.approx(perfect([duration + WAY for duration in durations], limit))


@given(
    LIMITS,
    st.booleans(),
    DURATIONS,
    st.lists(st.tuples(st.floats(0, 300), st.none() | st.integers(-1, 10**6)), max_size=4),
)
def test_whatever_the_account_names_all_jobs_run(
    limit: int,
    tells: bool,  # noqa: FBT001
    durations: list[float],
    seeds: list[tuple[float, int | None]],
) -> None:
    """A number that is wrong, or comes while jobs run, stops nothing and breaks no count."""
    slots = ConcurrencyLimiter()
    simulation = Simulation(slots, Account(limit, tells=tells))
    for moment, number in seeds:
        simulation.plan(moment, lambda number=number: slots.seed(number, simulation.now))  # type: ignore[misc]
    simulation.run([*durations])
    assert len(simulation.ends) == len(durations)
    assert slots.used == simulation.account.own == 0
    assert len(simulation.refusals) <= len(durations) * (1 + len(seeds)) + simulation.now / PAUSE


def test_only_a_number_that_can_be_is_believed() -> None:
    """Neither none, nor fewer than have run at once, nor more than any plan has."""
    slots = ConcurrencyLimiter()
    for wrong in (None, 0, -3, 100_001):
        slots.seed(wrong, 0.0)
        assert slots.limit is None
    for _ in range(3):
        accept(slots, slots.take_anyhow())
    slots.seed(2, 0.0)
    assert slots.limit is None
    slots.seed(3, 0.0)
    assert slots.take(0.0, most=5) is None
    assert slots.words(None).count("(the service has told 3)") == 1


def test_what_the_user_allows_is_never_exceeded() -> None:
    """Whatever the account has, a client keeps to its own lower number."""
    slots = ConcurrencyLimiter()
    slots.seed(15, 0.0)
    assert [slots.take(0.0, most=2) is None for _ in range(3)] == [False, False, True]


WISHES = st.lists(st.tuples(st.floats(0, 600), st.integers(0, 40)), max_size=12)


@example(6, True, False, None, [30.0, None] * 20, [(0.0, 6), (100.0, 3)])  # noqa: FBT003
@given(
    LIMITS,
    st.booleans(),
    st.booleans(),
    PAUSES,
    st.lists(st.none() | st.floats(1, 60), min_size=1, max_size=100),
    WISHES,
)
def test_sharing_neither_spins_nor_starves(  # noqa: PLR0917 - all that accounts differ in
    limit: int,
    is_known: bool,  # noqa: FBT001
    tells: bool,  # noqa: FBT001
    retry_after: float | None,
    jobs: list[float | None],
    wishes: list[tuple[float, int]],
) -> None:
    """Whatever somebody else takes, every job runs, and refusals stay rare."""
    slots = ConcurrencyLimiter(limit if is_known else None)
    simulation = Simulation(slots, Account(limit, tells=tells, retry_after=retry_after))
    for moment, wanted in wishes:
        simulation.plan(moment, partial(simulation.account.want, wanted))
    simulation.plan(600.0, partial(simulation.account.want, 0))
    simulation.run(jobs)
    assert len(simulation.ends) == len(jobs)
    assert simulation.most_probes <= 1
    assert slots.used == simulation.account.own == 0
    check_refusals(simulation, retry_after)


def check_refusals(simulation: Simulation, retry_after: float | None) -> None:
    """Check every minute: a probe in each pause, and one refusal for each end of our own."""
    pause = max(1.0, PAUSE if retry_after is None else retry_after)
    for start in simulation.refusals:
        refused = [moment for moment in simulation.refusals if start <= moment < start + 60]
        # An end may be followed by a create whose refusal comes back later.
        ended = [moment for moment in simulation.ends if start - 1 <= moment < start + 60]
        assert len(refused) <= simulation.account.limit + len(ended) + 60 / pause + 1


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("tells", [True, False])
def test_half_of_the_slots_may_be_gone(is_known: bool, tells: bool) -> None:  # noqa: FBT001
    """With half of the account in other hands, the other half is used almost in full."""
    account = Account(14, tells=tells, foreign=7, wanted=7)
    durations = [5.0 + 25 * (number * 0.618034 % 1) for number in range(400)]
    simulation = Simulation(ConcurrencyLimiter(14 if is_known else None), account)
    took = simulation.run([*durations])
    assert took <= perfect(durations, 7) / 0.97
    # The first seven, then at most a probe every five seconds.
    assert len(simulation.refusals) <= 7 + took / PAUSE


@pytest.mark.parametrize(
    ("slots", "latest"), [(ConcurrencyLimiter(15), PAUSE), (ConcurrencyLimiter(), 60.0)]
)
def test_what_somebody_else_frees_is_found(slots: ConcurrencyLimiter, latest: float) -> None:
    """One probe finds a slot that is free again, and the others follow at once."""
    simulation = Simulation(slots, Account(15, foreign=8, wanted=8))
    simulation.plan(1000.0, partial(simulation.account.want, 0))
    simulation.run([FOREVER] * 100, until=1000.0 + latest + 9 * 2 * WAY)
    assert simulation.account.own == 15


def test_probes_for_an_unknown_limit_get_rare() -> None:
    """Each refused probe in a row doubles the pause, up to one in a minute."""
    simulation = Simulation(ConcurrencyLimiter(), Account(2))
    simulation.run([FOREVER] * 10, until=375.0)
    gaps = [later - earlier for earlier, later in pairwise(simulation.refusals)]
    assert [round(gap - 2 * WAY, 6) for gap in gaps] == [5, 10, 20, 40, 60, 60, 60, 60]


def test_a_probe_that_succeeds_starts_anew() -> None:
    """After success, the next refused probe is followed by the shortest pause again."""
    account = Account(3, foreign=1, wanted=1)
    simulation = Simulation(ConcurrencyLimiter(), account)
    simulation.plan(50.0, partial(account.want, 0))
    simulation.run([FOREVER] * 10, until=90.0)
    gaps = [later - earlier for earlier, later in pairwise(simulation.refusals)]
    # The probe that succeeds comes 40 s after the fourth, the one after it is refused.
    assert [round(gap, 6) for gap in gaps] == [5.2, 10.2, 20.2, 40.4, 5.2]


@pytest.mark.parametrize(
    ("is_known", "retry_after", "expected"),
    [
        *((True, None, 5.0), (True, 30.0, 30.0), (True, 0.0, 1.0)),
        *((False, None, 5.0), (False, 30.0, 30.0), (False, 0.0, 5.0)),
    ],
)
def test_pauses_are_those_of_the_service(
    is_known: bool,  # noqa: FBT001
    retry_after: float | None,
    expected: float,
) -> None:
    """It is asked again when it said, never sooner than after a second."""
    slots = ConcurrencyLimiter(2 if is_known else None)
    accept(slots, slots.take_anyhow())
    refuse(slots, slots.take_anyhow(), 100.0, retry_after=retry_after)
    assert slots.next_try(100.0) == 100.0 + expected
    assert slots.take(100.0 + expected - 0.001) is None
    assert slots.take(100.0 + expected) is not None


@pytest.mark.parametrize("limit", [1, 3, 15, 40])
@pytest.mark.parametrize("is_known", [True, False])
def test_freed_slots_are_filled_at_once(limit: int, is_known: bool) -> None:  # noqa: FBT001
    """With N slots freed at once, N creates go at once, in whatever way N was found."""
    simulation = Simulation(ConcurrencyLimiter(limit if is_known else None), Account(limit))
    simulation.run([FOREVER] * 100, until=999.0)
    for _ in range(limit):
        simulation.slots.ended(Slot(is_probe=False, is_accepted=True))
    started = 0
    while (slot := simulation.slots.take(999.0)) is not None and not slot.is_probe:
        started += 1
    assert started == limit


def test_an_own_end_ends_the_pause() -> None:
    """Whichever is first: the service's time, or the end of a job of our own."""
    slots = ConcurrencyLimiter(3)
    first = slots.take_anyhow()
    accept(slots, first)
    refuse(slots, slots.take_anyhow(), 0.0, retry_after=30.0)
    assert slots.next_try(1.0) == 30.0
    slots.ended(first)
    assert slots.next_try(1.0) == 1.0
    slots.take_anyhow()
    assert slots.next_try(1.0) == 30.0


def test_one_probe_asks_for_the_unknown() -> None:
    """While it is under way there is no time to ask, only an answer to wait for."""
    slots = ConcurrencyLimiter()
    first, probe = slots.take_anyhow(), slots.take_anyhow()
    assert [first.is_probe, probe.is_probe] == [False, True]
    assert slots.next_try(0.0) is None
    accept(slots, first)
    assert slots.next_try(0.0) is None
    accept(slots, probe)
    assert slots.next_try(0.0) == 0.0
    assert slots.take_anyhow().is_probe


def test_a_probe_that_breaks_makes_room_for_another() -> None:
    """A create that fails for another reason has taught nothing."""
    slots = ConcurrencyLimiter()
    accept(slots, slots.take_anyhow())
    slots.ended(slots.take_anyhow())
    assert (slots.next_try(0.0), slots.take_anyhow().is_probe) == (0.0, True)


def test_broken_creates_free_their_slots() -> None:
    """However many creates fail, those that do not are run, and none is lost."""
    simulation = Simulation(ConcurrencyLimiter(), Account(2))
    simulation.run([None, 10.0, None, None, 10.0, 10.0, None])
    assert len(simulation.ends) == 7
    assert simulation.slots.used == 0


def test_a_full_account_waits_for_an_end() -> None:
    """At a known limit there is no time to ask."""
    slots = ConcurrencyLimiter(2)
    running = [slots.take_anyhow(), slots.take_anyhow()]
    assert slots.next_try(0.0) is None
    for slot in running:
        accept(slots, slot)
    assert slots.next_try(0.0) is None
    assert slots.take(1e9) is None


@pytest.mark.parametrize(
    ("configured", "told", "expected"),
    [
        *[(None, 6, 6), (3, 6, 3), (15, 6, 6), (None, None, None), (4, None, 4)],
        *((configured, told, configured) for configured in (None, 4) for told in (0, -3, 10**30)),
    ],
)
def test_the_service_is_believed(
    configured: int | None, told: int | None, expected: int | None
) -> None:
    """What it tells counts, unless less was configured, or it cannot be."""
    slots = ConcurrencyLimiter(configured)
    refuse(slots, slots.take_anyhow(), 0.0, concurrency_limit=told)
    assert slots.limit == expected


def test_told_limits_may_rise_again() -> None:
    """A plan that was widened meanwhile is believed as well."""
    slots = ConcurrencyLimiter(15)
    refuse(slots, slots.take_anyhow(), 0.0, concurrency_limit=3)
    refuse(slots, slots.take_anyhow(), 30.0, concurrency_limit=6)
    assert slots.limit == 6


@pytest.mark.parametrize(
    ("limit", "active", "expected"),
    [(3, 5, 2), (3, 3, 4), (3, 100, 0), (3, None, 4), (None, 5, 4), (6, 5, 4)],
)
def test_an_overdrawn_account_needs_more_ends(
    limit: int | None, active: int | None, expected: int
) -> None:
    """Where more run than may, as many must end before one more fits."""
    slots = ConcurrencyLimiter()
    for _ in range(4):
        accept(slots, slots.take_anyhow())
    refuse(slots, slots.take_anyhow(), 0.0, concurrency_limit=limit, active_generations=active)
    assert slots.ceiling == expected


def test_jobs_that_run_already_count() -> None:
    """Found in a journal, they take slots without having asked, and a probe stays one."""
    slots = ConcurrencyLimiter()
    running = [slots.take_anyhow() for _ in range(5)]
    for slot in running:
        accept(slots, slot)
    assert slots.used == 5
    slots.take_anyhow()
    found = slots.take_anyhow()
    accept(slots, found)
    assert slots.next_try(0.0) is None


# --- slots of jobs, which are held, seen to end and forgotten --------------------------------


class Book:
    """Do to the slots whatever may be done, and know by oneself what must be true."""

    def __init__(self, limit: int | None) -> None:
        self.slots = ConcurrencyLimiter(limit)
        self.limit = limit
        self.now = 0.0
        self.starting: list[Slot] = []
        self.jobs: dict[str, Slot] = {}
        self.names = count()

    def do(self, what: str, number: int) -> None:
        """Do one thing, to one of those that it can be done to."""
        self.now += number / 7
        self.slots.has_news = False
        if what in {"take", "poll_unwatched"}:
            getattr(self, what)(number)
        elif what in {"accept", "refuse", "fail"} and self.starting:
            getattr(self, what)(self.starting.pop(number % len(self.starting)), number)
        elif what in {"hold", "release", "see"} and self.jobs:
            getattr(self, what)([*self.jobs.values()][number % len(self.jobs)], number)
        self.check()

    def take(self, number: int) -> None:
        """Ask for a slot, perhaps with the key of another order."""
        slot = self.slots.take(self.now, key=f"key-{number % 5}", is_eager=bool(number % 2))
        if slot is not None:
            self.starting.append(slot)

    def accept(self, slot: Slot, number: int) -> None:
        """Let the service accept a create, perhaps as a job that it has already."""
        name = f"job-{number % 4 if number % 3 == 0 else next(self.names) + 10}"
        own = accept(self.slots, slot, name, self.now)
        assert own.job == name
        assert own is self.slots.jobs.get(name)
        self.jobs[name] = own

    def refuse(self, slot: Slot, number: int) -> None:
        """Let the service refuse a create."""
        refuse(self.slots, slot, self.now, active_generations=number, retry_after=number)

    def fail(self, slot: Slot, _: int) -> None:
        """Let a create come to nothing, and say so twice."""
        self.slots.ended(slot)
        self.slots.ended(slot)

    def hold(self, slot: Slot, _: int) -> None:
        """Look after a job."""
        assert self.slots.hold(slot.job) is slot

    def release(self, slot: Slot, _: int) -> None:
        """Look after a job no more; once too often does no harm."""
        self.slots.released(slot)

    def see(self, slot: Slot, number: int) -> None:
        """Look at a job, which may have ended."""
        self.slots.saw([(slot.job, bool(number % 2))], self.now)
        has_ended = slot.is_over and slot not in self.slots.owners
        assert (slot.counts, self.slots.has_news) == (not has_ended, has_ended)

    def poll_unwatched(self, _: int) -> None:
        """Ask what is to be looked at: never what is held, never twice at once."""
        found = self.slots.jobs_to_check(self.now)
        for name in found:
            assert self.jobs[name] not in self.slots.owners
            assert self.slots.jobs.get(name) is self.jobs[name]
        assert self.slots.jobs_to_check(self.now) == []

    def check(self) -> None:
        """Check what must be true at any time."""
        self.jobs = {
            name: slot for name, slot in self.jobs.items() if self.slots.jobs.get(name) is slot
        }
        assert all(slot.counts and slot.is_accepted for slot in self.jobs.values())
        assert self.slots.starting == sum(slot.counts for slot in self.starting)
        assert self.slots.used == self.slots.starting + len(self.jobs)
        assert bool(self.slots.jobs) is bool(self.jobs)
        # Orders that share a key may turn out to be several jobs: only those go beyond.
        shared = sum(not slot.counts for slot in self.starting) + len(self.jobs)
        assert self.limit is None or self.slots.starting <= self.limit + shared
        moment = self.slots.next_try(self.now)
        assert moment is None or moment >= self.now
        assert moment is not None or self.slots.used > 0

    def finish(self) -> None:
        """Let everything end."""
        for slot in self.starting:
            self.slots.ended(slot)
        for name, slot in self.jobs.items():
            self.slots.saw([(name, True)], self.now)
            for owner in [*self.slots.owners.get(slot, ())]:
                self.slots.released(slot, owner)
        assert self.slots.used == self.slots.starting == 0
        assert not self.slots.jobs
        assert not self.slots.has_held()
        assert self.slots.jobs_to_check(self.now + 100) == []


DEEDS = st.sampled_from(
    ["take"] * 2 + ["accept"] * 2 + ["refuse", "fail", "hold", "release", "see", "poll_unwatched"]
)


@given(st.none() | st.integers(1, 6), st.lists(st.tuples(DEEDS, st.integers(0, 60)), max_size=60))
def test_every_slot_is_given_back_once(limit: int | None, deeds: list[tuple[str, int]]) -> None:
    """In whatever order: what counts is what runs, and in the end nothing is left."""
    book = Book(limit)
    for what, number in deeds:
        book.do(what, number)
    book.finish()


def test_a_job_may_be_released_after_its_end() -> None:
    """A task of a closed loop may end late: the job that it watched takes no slot again."""
    slots = ConcurrencyLimiter()
    slot = accept(slots, slots.take_anyhow(), "job")
    slots.ended(slot)
    slots.released(slot)
    assert (slots.used, slots.jobs_to_check(100.0)) == (0, [])


@pytest.mark.parametrize("running", [0, 1, 3, 8, 20])
def test_the_eager_try_as_many_as_run(running: int) -> None:
    """While nothing was refused, so many creates go at once as jobs run, and four at least."""
    slots = ConcurrencyLimiter()
    for number in range(running):
        accept(slots, slots.take_anyhow(), f"job-{number}")
    taken = 0
    while slots.take(0.0, is_eager=True) is not None:
        taken += 1
    assert taken == max(4, running) + (not running)
    assert slots.take(0.0) is None


def test_after_a_refusal_the_eager_ask_one_by_one() -> None:
    """What is known to fit is known, and more is found out by one create at a time."""
    slots = ConcurrencyLimiter()
    under_way = [slots.take(0.0, is_eager=True) for _ in range(4)]
    for slot in under_way[:3]:
        assert slot is not None
        accept(slots, slot)
    assert under_way[3] is not None
    refuse(slots, under_way[3], 0.0)
    assert slots.take(0.0, is_eager=True) is None
    assert slots.take(5.0, is_eager=True) is not None
    assert slots.take(5.0, is_eager=True) is None


@pytest.mark.parametrize(
    ("configured", "told", "most", "expected"),
    [
        *((None, None, None, None), (None, None, 3, 3), (None, 5, 3, 3), (None, 3, 5, 3)),
        *((2, 5, 3, 2), (4, None, 9, 4)),
    ],
)
def test_the_lowest_of_all_limits_counts(
    configured: int | None, told: int | None, most: int | None, expected: int | None
) -> None:
    """Anyone who has said it: the client that asks, the account's own, or the service."""
    slots = ConcurrencyLimiter(configured)
    if told is not None:
        refuse(slots, slots.take_anyhow(), -100.0, concurrency_limit=told)
    taken = 0
    while taken < 30 and (slot := slots.take(0.0, most)) is not None:
        accept(slots, slot)
        taken += 1
    assert taken == (30 if expected is None else expected)


def test_a_told_limit_is_checked_after_an_hour() -> None:
    """A plan may be widened while a process runs: then one probe finds it out."""
    slots = ConcurrencyLimiter()
    accept(slots, slots.take_anyhow())
    refuse(slots, slots.take_anyhow(), 0.0, concurrency_limit=1)
    assert slots.take(3600.0) is None
    probe = slots.take(3600.1)
    assert probe is not None
    assert probe.is_probe
    assert slots.take(3600.1) is None
    accept(slots, probe)
    assert slots.limit is None
    assert slots.used == 2


@pytest.mark.parametrize("told", [61.0, 3600.0, 31_536_000.0, 1e300, inf])
@pytest.mark.parametrize("patience", [None, 0.5, 30.0, 1e9])
def test_no_pause_is_longer_than_a_minute(told: float, patience: float | None) -> None:
    """Nor longer than the patience of the create that was refused."""
    slots = ConcurrencyLimiter()
    refuse(slots, slots.take_anyhow(), 0.0, retry_after=told, patience=patience)
    assert slots.next_try(0.0) == min(60.0, 60.0 if patience is None else patience)


@pytest.mark.parametrize("forgotten", [10, 1000, 2000])
def test_what_is_forgotten_for_hours_is_dropped(forgotten: int) -> None:
    """A process that creates and never looks keeps the jobs of a few hours, not of all time."""
    slots = ConcurrencyLimiter()
    for number in range(20):
        for index in range(forgotten):
            accept(slots, slots.take_anyhow(), f"{number}-{index}", number * 3600.0)
    assert slots.used <= 6 * forgotten + 1001


def test_unwatched_jobs_are_asked_for_a_hundred_at_a_time() -> None:
    """The one that was not looked at for longest first, all in turn, one list in five seconds."""
    slots = ConcurrencyLimiter()
    for number in range(250):
        accept(slots, slots.take_anyhow(), f"job-{number}")
    asked: list[str] = []
    moments = [5.0 * turn for turn in range(3)]
    for moment in moments:
        found = slots.jobs_to_check(moment)
        assert len(found) == 100
        asked += found
        assert slots.next_try(moment, 250) == moment + 5.0
    assert len(set(asked)) == 250
