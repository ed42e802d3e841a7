"""The whole scheduler against accounts of every kind, in virtual time."""

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from lipsync_async import AsyncClient, Limits, Outcome
from lipsync_async._enums import Status
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.faults import Fault
from tests.bulk.runs import made, most_at_once, opened, refusals, requests
from tests.client.connections import connect, order
from tests.client.waiters import poller_of, remains

CREATE, LIST = "/v2/generate", "/v2/generations"
# Nothing that is drawn here may take longer, whatever happens: an hour for each job.
HOUR = 3600.0
_LONGEST = 150.0


@attrs.frozen
class Account:
    """What accounts, services and inputs differ in."""

    slots: int  # generations at once
    knows_slots: bool  # whether the client knows their number
    creates: int | None  # a minute, without a limit if it is `None`
    others: int | None  # requests a minute besides
    many: int  # requests of the input
    seconds: float  # that a job takes
    foreign: int  # slots that another program takes from the start, for a while
    ordered: bool  # whether outcomes come in the order of the input
    faults: tuple[Fault, ...]
    seed: int  # of the sandbox

    @property
    def bearable(self) -> int:
        """Requests for a few minutes: each second of theirs is two looks."""
        return int(_LONGEST * self.slots / self.seconds)

    @property
    def limits(self) -> Limits:
        """What the client is told of it."""
        return Limits(
            creates_per_minute=self.creates,
            requests_per_minute=self.others,
            concurrent_generations=self.slots if self.knows_slots else None,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What the sandbox is told of it."""
        return {
            "seed": self.seed,
            "concurrency": self.slots,
            "creates_per_minute": self.creates,
            "requests_per_minute": self.others,
            "progression": f"time({self.seconds:.3f})",
        }


# Faults that end some time, and without which all would be well.
KINDS: list[dict[str, Any]] = [
    *({"kind": "fail_job"}, {"kind": "reject_job"}),
    {"kind": "status", "status": 500, "path": CREATE},
    {"kind": "status", "status": 503, "method": "GET"},
    *({"kind": kind, "path": CREATE} for kind in ("reset_before", "truncate", "malformed_json")),
    *({"kind": kind, "path": CREATE} for kind in ("outcome_unknown", "hang")),
    *({"kind": "reset_after", "path": path} for path in (CREATE, LIST)),
    *({"kind": "latency", "path": path, "seconds": 7.0} for path in (CREATE, LIST)),
]
FAULTS = st.builds(
    lambda kind, **times: Fault(**kind, **times),
    st.sampled_from(KINDS),
    skip=st.integers(0, 30),
    every=st.integers(1, 4),
    count=st.integers(1, 3),
)
ACCOUNTS = st.builds(
    Account,
    slots=st.integers(1, 15),
    knows_slots=st.booleans(),
    creates=st.sampled_from([None, 6, 60]),
    others=st.sampled_from([None, 60, 600]),
    many=st.integers(0, 40),
    seconds=st.floats(0.1, 90),
    foreign=st.integers(0, 15),
    ordered=st.booleans(),
    faults=st.lists(FAULTS, max_size=3).map(tuple),
    seed=st.integers(0, 1000),
).map(lambda account: attrs.evolve(account, many=min(account.many, account.bearable)))
FEW = settings(
    max_examples=settings().max_examples // 6,  # each is a whole run
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


async def run(client: AsyncClient, account: Account, **options: Any) -> list[Outcome]:
    """Run the account's requests and return the outcomes as they came."""
    async with client.generations.run_many(
        requests(account.many), ordered=account.ordered, **options
    ) as outcomes:
        return [each async for each in outcomes]


async def take_slots(sandbox: Sandbox, many: int) -> Callable[[], None]:
    """Let somebody else run jobs in the account; return what ends them."""
    async with connect(sandbox) as somebody:
        others = [await order(somebody, output_file_name="foreign") for _ in range(many)]

    def end() -> None:
        for job in others:
            if sandbox.jobs[job.id].status is Status.PENDING:
                sandbox.jobs.move(job.id, "PROCESSING")
            sandbox.jobs.move(job.id, "FAILED")

    return end


def in_any_minute(sandbox: Sandbox, path: str) -> int:
    """Return how many requests arrived in the busiest minute."""
    moments = [entry.time for entry in sandbox.requests if entry.path == path]
    return max(
        (sum(start <= moment < start + 60 for moment in moments) for start in moments), default=0
    )


def check(account: Account, outcomes: list[Outcome]) -> None:
    """Check that each request has one outcome, which is its own."""
    indexes = [each.index for each in outcomes]
    assert sorted(indexes) == list(range(account.many))
    assert not account.ordered or indexes == sorted(indexes)
    for each in outcomes:
        assert each.request.output_file_name == f"take-{each.index}"
        assert each.generation is not None
        assert each.generation.output_file_name == f"take-{each.index}"
        assert each.generation.is_completed is each.is_success


def play(
    account: Account, story: Callable[[AsyncClient, Sandbox, VirtualClock], Awaitable[None]]
) -> None:
    """Let a story happen in an account, in a loop of its own."""

    async def happen() -> None:
        async with opened(account.limits, **account.settings) as (client, sandbox, clock):
            for fault in account.faults:
                sandbox.faults.add(fault)
            await story(client, sandbox, clock)
            assert remains(poller_of(client)) == []
            assert client._requester.account.slots.used == 0  # noqa: SLF001
            assert clock.now() <= HOUR * (1 + account.many)

    anyio.run(happen)


PLAN: dict[str, Any] = {"slots": 15, "knows_slots": True, "creates": 60, "others": 600, "seed": 1}
WHOLE = Account(many=40, seconds=5.0, foreign=0, ordered=True, faults=(), **PLAN)


@FEW
@example(WHOLE)
@example(attrs.evolve(WHOLE, knows_slots=False, others=60, seconds=0.1))
@given(ACCOUNTS)
def test_every_request_has_one_outcome_and_one_job(account: Account) -> None:
    """Whatever goes wrong: nothing is lost, nothing is paid for twice, and it ends."""

    async def story(client: AsyncClient, sandbox: Sandbox, _: VirtualClock) -> None:
        check(account, await run(client, account))
        assert made(sandbox) == {f"take-{number}": 1 for number in range(account.many)}
        assert most_at_once(sandbox) <= account.slots

    play(account, story)


@FEW
@example(attrs.evolve(WHOLE, slots=1, seconds=60.0, many=10))
@given(ACCOUNTS)
def test_known_limits_are_kept(account: Account) -> None:
    """With known limits no create is refused for others of its own, and hardly any time is lost."""
    account = attrs.evolve(account, knows_slots=True, faults=())

    async def story(client: AsyncClient, sandbox: Sandbox, clock: VirtualClock) -> None:
        check(account, await run(client, account))
        assert refusals(sandbox) == 0
        assert account.creates is None or in_any_minute(sandbox, CREATE) <= account.creates
        # A round for each full set of slots, seen within a tick, and what the creates take.
        tick = 1.1 if account.others != 60 else 2.5
        rounds = -(-account.many // account.slots)
        paced = 0.0 if account.creates is None else 61.2 * (1 + account.many / account.creates)
        assert clock.now() <= rounds * (account.seconds + tick) + paced + tick

    play(account, story)


@FEW
@given(ACCOUNTS)
def test_learnt_limits_cost_few_refusals(account: Account) -> None:
    """Each is a probe: one at a time, none in a row without a pause."""
    account = attrs.evolve(account, knows_slots=False, faults=())

    async def story(client: AsyncClient, sandbox: Sandbox, _: VirtualClock) -> None:
        check(account, await run(client, account))
        # The service tells its limit with the first refusal, so there is only one.
        assert refusals(sandbox) <= 1
        assert most_at_once(sandbox) <= account.slots

    play(account, story)


@FEW
@example(attrs.evolve(WHOLE, slots=3, foreign=3, many=5), 400.0)
@example(attrs.evolve(WHOLE, slots=3, foreign=3, many=5), 0.0)  # before they have begun
@given(ACCOUNTS, st.floats(0, 300))
def test_others_may_use_the_account(account: Account, stay: float) -> None:
    """Slots in other hands are waited for without a rush, and taken when they are free."""
    foreign = min(account.foreign, account.slots)
    account = attrs.evolve(account, faults=(), creates=None)

    async def story(client: AsyncClient, sandbox: Sandbox, clock: VirtualClock) -> None:
        sandbox.faults.add(Fault("stick_job", count=None))
        end = await take_slots(sandbox, foreign)
        sandbox.faults.clear()
        clock.call_later(stay, end)
        begun = clock.now()
        check(account, await run(client, account))
        found = made(sandbox)
        assert found.pop("foreign", 0) == foreign
        assert found == {f"take-{number}": 1 for number in range(account.many)}
        moments = [entry.time for entry in sandbox.requests if entry.status == 429]
        rushed = sum(later - earlier < 1.0 for earlier, later in pairwise(moments))
        ended = sum(entry.status == 201 for entry in sandbox.requests)
        assert rushed <= account.slots + ended
        assert clock.now() - begun <= stay + HOUR

    play(account, story)


STOPS: list[dict[str, Any]] = [
    *({"stop_on_error": True}, {"max_jobs": 7}),
    *({"max_cost": 1.0, "duration": 60.0}, {"max_cost": 0.2, "stop_on_error": True}),
]


@FEW
@given(ACCOUNTS, st.sampled_from(STOPS))
def test_a_stopped_run_ends_too(account: Account, stop: dict[str, Any]) -> None:
    """Whenever it stops: what was begun has an outcome, and nothing else was begun."""

    async def story(client: AsyncClient, sandbox: Sandbox, _: VirtualClock) -> None:
        outcomes = await run(client, account, **stop)
        indexes = [each.index for each in outcomes]
        assert len(set(indexes)) == len(indexes)
        assert set(made(sandbox).values()) <= {1}
        jobs = {each.generation.id for each in outcomes if each.generation is not None}
        assert jobs == {job.id for job in sandbox.jobs}
        assert len(jobs) <= stop.get("max_jobs", account.many)
        assert sandbox.jobs.active == 0

    play(account, story)


@FEW
@given(account=ACCOUNTS, patience=st.lists(st.floats(1, 120), min_size=1, max_size=4))
def test_a_run_may_be_left_again_and_again(
    account: Account, patience: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With a journal, runs that are left at any moment amount to one whole run."""
    journal = tmp_path_factory.mktemp("runs") / "journal.sqlite"

    async def story(client: AsyncClient, sandbox: Sandbox, clock: VirtualClock) -> None:
        for seconds in patience:
            with anyio.CancelScope() as scope:
                timer = clock.call_later(seconds, scope.cancel)
                await run(client, account, journal=journal)
            timer.cancel()
        check(account, await run(client, account, journal=journal))
        assert made(sandbox) == {f"take-{number}": 1 for number in range(account.many)}

    play(attrs.evolve(account, many=min(account.many, 20)), story)
