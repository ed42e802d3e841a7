"""Many wait at once: one poller serves all, and no one disturbs anybody."""

from collections.abc import AsyncIterator, Sequence
from functools import partial

import anyio
import pytest

from lipsync_async import (
    AuthenticationError,
    Generation,
    GenerationFailedError,
    GenerationRejectedError,
    Limits,
    PollPolicy,
    Response,
    RetryPolicy,
    ServerError,
    WaitTimeoutError,
)
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import Door, opened, order
from tests.client.waiters import (
    LISTS,
    LOOKS,
    Waits,
    World,
    completed_of,
    ids_of,
    poller_of,
    remains,
    wait_for_all,
    waiting,
    world,
)

# An interval's round trip is none in memory, so rounds are exact.
INTERVAL = PollPolicy().shared_interval


@pytest.fixture
async def minute() -> AsyncIterator[World]:
    """Give jobs of a minute, twelve seconds of them PENDING."""
    async with world("time(60)") as entered:
        yield entered


@pytest.fixture
async def endless() -> AsyncIterator[World]:
    """Give jobs that are moved by hand."""
    async with world("manual") as entered:
        yield entered


async def test_each_gets_its_own_job(async_door: Door) -> None:
    """Two hundred tasks wait for two hundred jobs by a few lists, over sockets as in memory."""
    async with opened(async_door, progression="polls(3)") as (client, sandbox):
        jobs = [await order(client) for _ in range(200)]
        sandbox.requests.clear()
        done = await wait_for_all(client, jobs)
        assert completed_of(done) == ids_of(jobs)
        assert sandbox.requests.count(*LOOKS) <= 1  # of the first, before a slow machine has more
        assert 3 * 2 <= sandbox.requests.count(*LISTS) <= 3 * 2 + 3
        assert remains(poller_of(client)) == []


async def test_one_request_a_tick(minute: World) -> None:
    """A hundred waits of a minute cost two requests a second, as one alone would."""
    jobs = await minute.order(100)
    done = await wait_for_all(minute.client, jobs)
    assert completed_of(done) == ids_of(jobs)
    assert minute.looks == 0
    assert minute.lists == pytest.approx(60 / INTERVAL, abs=2)
    assert 60 <= minute.clock.now() <= 60 + INTERVAL + 0.2
    assert {entry.query[0][0] for entry in minute.sandbox.requests} == {"ids"}


async def test_a_wait_chooses_once(endless: World) -> None:
    """The first four waits keep to the long poll, later ones share lists, each to its end."""
    jobs = await endless.order(10)
    async with waiting(endless.client, *jobs[:4]) as waits:
        await endless.clock.sleep(15.0)
        assert (endless.lists, endless.looks) == (0, 8)
        waits.start(*jobs[4:])
        await endless.clock.sleep(15.0)
        assert endless.looks == endless.sandbox.requests.count(*LOOKS, query={"wait": "true"}) == 12
        assert endless.lists == pytest.approx(15 / INTERVAL, abs=2)
        assert asked_last(endless) == ids_of(jobs[4:])
        endless.complete(*jobs[:5])
        await endless.clock.sleep(1.0)
        assert completed_of(waits.outcomes) == ids_of(jobs[:5])
        assert asked_last(endless) == ids_of(jobs[5:])
        endless.complete(*jobs[5:])
        await endless.clock.sleep(1.0)
        lists = endless.lists
        await endless.clock.sleep(15.0)
        assert endless.lists == lists
    assert completed_of(waits.outcomes) == ids_of(jobs)


def asked_last(world: World) -> set[str]:
    """Return the ids that the last list asked for."""
    (asked,) = world.sandbox.requests.find(*LISTS)[-1].query
    return set(asked[1].split(","))


@pytest.mark.parametrize("left", [1, 2, 4])
async def test_the_last_of_a_crowd_are_polled_as_alone(endless: World, left: int) -> None:
    """When few jobs are left, each costs five requests a minute, and long polls find the ends."""
    jobs = await endless.order(6)
    async with waiting(endless.client, *jobs) as waits:
        await endless.clock.sleep(20.0)
        endless.complete(*jobs[left:])
        await endless.clock.sleep(2.0)
        assert completed_of(waits.outcomes) == ids_of(jobs[left:])
        endless.sandbox.requests.clear()
        await endless.clock.sleep(605.0)
        assert endless.lists == 0
        assert 50 * left <= endless.looks <= 51 * left
        assert endless.sandbox.requests.count(*LOOKS, query={"wait": "true"}) == endless.looks
        endless.complete(*jobs[:left])
        await endless.clock.sleep(2.0)
        assert completed_of(waits.outcomes) == ids_of(jobs)


async def test_a_job_that_is_waited_for_again_is_polled_once(endless: World) -> None:
    """Of few jobs, the poll of one that has left ends at once, also when it comes back."""
    many, again = await endless.order(2)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(endless.client.generations.wait_until_complete, many)
        waits = Waits(endless.client, tasks)
        for _ in range(10):
            waits.start(again)
            await endless.clock.sleep(3.0)
            assert len(endless.sandbox.jobs[again.id].waiters) == 1
            waits.cancel(again)
        await endless.clock.sleep(0.1)
        assert endless.sandbox.jobs[again.id].waiters == []
        assert len(endless.sandbox.jobs[many.id].waiters) == 1
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("joined", [1.0, 15.0])
async def test_who_joins_the_few_does_not_wait_for_the_long_poll(
    endless: World, joined: float
) -> None:
    """A wait of five seconds learns its job's status, although a poll of ten is under way."""
    (job,) = await endless.order(1)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(endless.client.generations.wait_until_complete, job)
        await endless.clock.sleep(joined)
        for known in (job.id, job):
            with pytest.raises(WaitTimeoutError, match="is still PENDING"):
                await endless.client.generations.wait_until_complete(known, timeout=5.0)
        assert endless.clock.now() == joined + 10.0
        assert len(endless.sandbox.jobs[job.id].waiters) <= 1
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("distance", "latency"), [(0.05, 0.1), (0.5, 0.6), (1.0, 3.0)])
@pytest.mark.parametrize("is_known", [True, False])
async def test_newcomers_keep_no_end_from_being_seen(
    endless: World, distance: float, latency: float, *, is_known: bool
) -> None:
    """Waits that join one after the other, and give up, do not end each other's polls."""
    (job,) = await endless.order(1)
    endless.sandbox.faults.add(Fault("latency", seconds=latency, method="GET", count=None))
    endless.clock.call_later(20.0, partial(endless.complete, job))
    seen: list[float] = []

    async def wait_to_the_end() -> None:
        await endless.client.generations.wait_until_complete(job)
        seen.append(endless.clock.now())

    async def wait_for_a_while() -> None:
        known = job if is_known else job.id
        with pytest.raises(WaitTimeoutError):
            await endless.client.generations.wait_until_complete(known, timeout=5.0)

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(wait_to_the_end)
        await endless.clock.sleep(4.0)
        while endless.clock.now() < 14.0:
            tasks.start_soon(wait_for_a_while)
            await endless.clock.sleep(distance)
    assert max(seen) <= 20.0 + 2 * latency + 2.0
    assert endless.looks <= 30


ROOM = {"few requests": 12, "no long poll": 600, "no long poll asked for": 600}


@pytest.mark.parametrize("why", ROOM)
async def test_the_last_of_a_crowd_share_lists(why: str) -> None:
    """Where long polls would queue or are not held, lists show few jobs as they show many."""
    poll = PollPolicy(long_poll=None) if why == "no long poll asked for" else PollPolicy()
    limits = Limits(creates_per_minute=None, requests_per_minute=ROOM[why])
    async with world("manual", limits=limits, poll=poll) as room:
        if why == "no long poll":
            room.break_looks("ignore_wait")
        jobs = await room.order(6)
        async with waiting(room.client, *jobs) as waits:
            await room.clock.sleep(20.0)
            room.complete(*jobs[4:])
            await room.clock.sleep(20.0)
            assert completed_of(waits.outcomes) == ids_of(jobs[4:])
            room.sandbox.requests.clear()
            await room.clock.sleep(60.0)
            assert room.looks == 0
            assert room.lists == pytest.approx(min(60 / INTERVAL, ROOM[why]), abs=2)
            room.complete(*jobs[:4])


async def test_a_new_crowd_shares_lists_again(endless: World) -> None:
    """Jobs that were polled one by one are in the lists again as soon as there are many."""
    jobs = await endless.order(12)
    async with waiting(endless.client, *jobs[:6]) as waits:
        await endless.clock.sleep(5.0)
        endless.complete(*jobs[2:6])
        await endless.clock.sleep(30.0)
        waits.start(*jobs[6:])
        await endless.clock.sleep(13.0)
        assert asked_last(endless) == ids_of([*jobs[:2], *jobs[6:]])
        waits.cancel_all()


async def test_every_end_finds_its_waiter(minute: World) -> None:
    """Among many, one job fails, one is rejected, and each waiter gets its own end."""
    minute.sandbox.faults.add(Fault("fail_job", code="generation_timeout", message="Too slow."))
    failed = await order(minute.client)
    minute.sandbox.faults.add(Fault("reject_job", code="moderation", message="Not allowed."))
    rejected = await order(minute.client)
    jobs = await minute.order(10)
    done = await wait_for_all(minute.client, [failed, rejected, *jobs])
    assert completed_of(done) == ids_of(jobs)
    first, second = done[failed.id], done[rejected.id]
    assert isinstance(first, GenerationFailedError)
    assert (first.code, first.generation.error) == ("generation_timeout", "Too slow.")
    assert isinstance(second, GenerationRejectedError)
    assert second.generation.id == rejected.id


async def test_many_updates(minute: World) -> None:
    """Each of many gets its own changes once, its key kept, and takes its time with them."""
    jobs = await minute.order(30)
    seen: dict[str, list[str]] = {}

    async def follow(number: int) -> None:
        job = jobs[number]
        async with minute.client.generations.updates(job) as changes:
            async for change in changes:
                assert (change.id, change.idempotency_key) == (job.id, job.idempotency_key)
                seen.setdefault(job.id, []).append(str(change.status))
                await minute.clock.sleep(number * 4)

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(follow, number)
    assert seen == {job.id: ["PROCESSING", "COMPLETED"] for job in jobs}


async def test_an_id_alone_is_enough_for_many(minute: World) -> None:
    """Of bare ids the first status is a change, too."""
    jobs = await minute.order(6)
    seen: list[str] = []
    await wait_for_all(
        minute.client, [job.id for job in jobs], on_update=lambda job: seen.append(str(job.status))
    )
    assert seen == ["PENDING"] * 6 + ["PROCESSING"] * 6 + ["COMPLETED"] * 6


async def test_many_wait_for_one_job(minute: World) -> None:
    """Ten waits for one job cost no more than one, and each gets an object of its own."""
    (job,) = await minute.order(1)
    done: list[Generation] = []

    async def wait_for_it() -> None:
        done.append(await minute.client.generations.wait_until_complete(job))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(wait_for_it)
    assert len({id(each) for each in done}) == 10
    assert (minute.lists, minute.looks) == (0, 6)


async def test_progress_is_looked_for_alone(minute: World) -> None:
    """Lists show no progress, so anyone who wants it looks for itself, however many wait."""
    jobs = await minute.order(11)
    curious = minute.client.with_options(poll=PollPolicy(progress=True, max_interval=2.0))
    seen: list[float | None] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_for_all, minute.client, jobs[1:])
        await curious.generations.wait_until_complete(
            jobs[0], on_update=lambda job: seen.append(job.progress_percent)
        )
    assert len(seen) > 20
    assert minute.looks == minute.sandbox.requests.count(*LOOKS, query={"include": "progress"})
    assert minute.lists == pytest.approx(60 / INTERVAL, abs=2)


@pytest.mark.parametrize("leaving", [[0], [19], [3, 4, 5], range(15)])
async def test_who_is_cancelled_disturbs_no_one(minute: World, leaving: Sequence[int]) -> None:
    """Waits are cancelled in the middle, the leader's or others; the rest goes on as before."""
    jobs = await minute.order(20)
    gone = [jobs[number] for number in leaving]
    async with waiting(minute.client, *jobs) as waits:
        await minute.clock.sleep(20.2)
        waits.cancel(*gone)
    assert completed_of(waits.outcomes) == ids_of(jobs) - ids_of(gone)
    assert 60 <= minute.clock.now() <= 60 + INTERVAL + 0.2
    assert minute.lists == pytest.approx(60 / INTERVAL, abs=3)
    assert asked_last(minute) == ids_of(jobs) - ids_of(gone)


async def test_a_leader_leaves_in_the_middle_of_a_look(minute: World) -> None:
    """A look that is under way when its maker is cancelled is made again by another at once."""
    jobs = await minute.order(20)
    minute.sandbox.faults.add(Fault("hang", method="GET", path=LISTS[1]))
    async with waiting(minute.client, *jobs) as waits:
        await minute.clock.sleep(5.0)
        assert minute.lists == 1
        waits.cancel(*jobs[:5])  # among them the one that leads
        await minute.clock.sleep(0.2)
        assert minute.lists == 2
    assert completed_of(waits.outcomes) == ids_of(jobs[5:])


async def test_everybody_leaves_at_once(endless: World) -> None:
    """When all are cancelled in the middle of a look, nothing is left, and one may begin anew."""
    jobs = await endless.order(20)
    endless.sandbox.faults.add(Fault("hang", method="GET", path=LISTS[1]))
    async with anyio.create_task_group() as tasks:
        Waits(endless.client, tasks).start(*jobs)
        await endless.clock.sleep(5.0)
        tasks.cancel_scope.cancel()
    assert remains(poller_of(endless.client)) == []
    endless.complete(*jobs)
    assert completed_of(await wait_for_all(endless.client, jobs)) == ids_of(jobs)


async def test_limits_are_kept_to_the_second(endless: World) -> None:
    """Each of many has a limit of its own, kept exactly, and disturbs no one by it."""
    jobs = await endless.order(12)
    ended: dict[str, float] = {}

    async def wait_for(number: int) -> None:
        limit = 0.3 + 1.7 * number
        with pytest.raises(WaitTimeoutError, match=f"after {limit:g} s") as caught:
            await endless.client.generations.wait_until_complete(jobs[number], timeout=limit)
        assert caught.value.generation == jobs[number]
        ended[jobs[number].id] = endless.clock.now() - limit

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(wait_for, number)
    assert ended == pytest.approx({job.id: 0.0 for job in jobs})


@pytest.mark.parametrize(("left", "most"), [(20, 0), (1, 52)])
async def test_a_last_look_before_the_limit(endless: World, left: int, most: int) -> None:
    """A job that ends shortly before the limit is seen, of many and few, without the long poll."""
    endless.break_looks("ignore_wait")
    jobs = await endless.order(20)
    endless.clock.call_later(5.0, partial(endless.complete, *jobs[left:]))
    endless.clock.call_later(29.2, partial(endless.complete, *jobs[:left]))
    done = await wait_for_all(endless.client, jobs, timeout=30.0)
    assert completed_of(done) == ids_of(jobs)
    assert endless.looks <= most


async def test_no_time_for_others(endless: World) -> None:
    """Who has less than a second looks for itself, once, so that it has looked at all."""
    jobs = await endless.order(20)
    outcomes = await wait_for_all(endless.client, jobs, timeout=0.3)
    assert {type(outcome) for outcome in outcomes.values()} == {WaitTimeoutError}
    assert (endless.lists, endless.looks, endless.clock.now()) == (0, 20, 0.3)


async def test_a_revoked_key_reaches_everybody(endless: World) -> None:
    """A key that dies ends all waits at once, each with its own job, after one request."""
    jobs = await endless.order(110)
    body = {"message": "Unauthorized", "statusCode": 401}
    async with waiting(endless.client, *jobs) as waits:
        await endless.clock.sleep(5.0)
        lists = endless.lists
        endless.sandbox.faults.add(Fault("status", status=401, body=body, count=None))
    assert 5.0 <= endless.clock.now() <= 5.0 + INTERVAL
    assert (endless.lists, endless.looks) == (lists + 1, 0)
    errors = waits.outcomes
    assert {type(error) for error in errors.values()} == {AuthenticationError}
    named = {job_id: error.generation for job_id, error in errors.items()}  # type: ignore[union-attr]
    assert named == {job.id: job for job in jobs}
    assert len({id(error) for error in errors.values()}) == 110


@pytest.mark.parametrize("kind", ["status", "reset_before", "hang", "malformed_json"])
async def test_an_outage_is_sat_out_by_all(minute: World, kind: str) -> None:
    """Thirty seconds of a broken service end no wait, and bring no storm of requests."""
    jobs = await minute.order(20)
    status = 500 if kind == "status" else None
    minute.clock.call_later(
        20.0, lambda: minute.sandbox.faults.add(Fault(kind, status=status, count=None))
    )
    minute.clock.call_later(50.0, minute.sandbox.faults.clear)
    minute.clock.call_later(20.0, minute.sandbox.requests.clear)
    counted: list[int] = []
    minute.clock.call_later(50.0, lambda: counted.append(minute.lists))
    done = await wait_for_all(minute.client, jobs)
    assert completed_of(done) == ids_of(jobs)
    assert counted[0] <= 10
    assert minute.looks == 0


@pytest.mark.parametrize(
    ("patience", "soonest", "latest"), [(300.0, 200.0, 301.0), (5.0, 0.0, 6.0)]
)
async def test_an_outage_without_end_is_told_to_all(
    minute: World, patience: float, soonest: float, latest: float
) -> None:
    """After `give_up_after` each waiter gets an error of its own, which names its job."""
    jobs = await minute.order(20)
    minute.sandbox.faults.add(Fault("status", status=503, count=None))
    hasty = RetryPolicy(give_up_after=patience, first_pause=0.5)
    errors = await wait_for_all(minute.client.with_options(retry=hasty), jobs)
    assert {type(error) for error in errors.values()} == {ServerError}
    assert {job.id: errors[job.id].generation for job in jobs} == {  # type: ignore[union-attr]
        job.id: job for job in jobs
    }
    assert soonest <= minute.clock.now() <= latest


async def test_limits_hold_in_an_outage(minute: World) -> None:
    """A limit that falls into an outage is kept to the second, for the leader as for others."""
    jobs = await minute.order(20)
    minute.sandbox.faults.add(Fault("hang", count=None))
    errors = await wait_for_all(minute.client, jobs, timeout=42.0)
    assert {type(error) for error in errors.values()} == {WaitTimeoutError}
    assert minute.clock.now() == 42.0


async def test_a_laptop_sleeps(endless: World) -> None:
    """After a gap of hours the looks just go on, without a burst, and find what has ended."""
    jobs = await endless.order(120)
    async with waiting(endless.client, *jobs, timeout=None) as waits:
        await endless.clock.sleep(10.0)
        endless.sandbox.requests.clear()
        endless.clock.advance(4 * 3600.0)
        endless.complete(*jobs[:80])
        await endless.clock.sleep(INTERVAL + 0.2)
        assert completed_of(waits.outcomes) == ids_of(jobs[:80])
        assert endless.lists <= 4
        endless.complete(*jobs[80:])
    assert completed_of(waits.outcomes) == ids_of(jobs)


async def test_looks_go_by_the_settings_of_the_view_that_leads(endless: World) -> None:
    """Of two views' waits the first leads: its interval holds and it sees the answers."""
    jobs = await endless.order(20)
    seen: list[Response] = []
    slow = endless.client.with_options(
        poll=PollPolicy(shared_interval=2.0), on_response=seen.append
    )
    async with anyio.create_task_group() as tasks:
        first = Waits(slow, tasks)
        first.start(*jobs[:10])
        Waits(endless.client, tasks).start(*jobs[10:])
        await endless.clock.sleep(20.1)
        assert len(seen) == endless.lists == 10
        first.cancel(*jobs[:10])
        await endless.clock.sleep(20.1)
        assert len(seen) == 10
        assert endless.lists == pytest.approx(10 + 20 / INTERVAL, abs=2)
        tasks.cancel_scope.cancel()


async def test_a_failing_on_response_fails_its_own_view(endless: World) -> None:
    """What a view's own function raises comes out of its waits as it is, and of no others."""
    jobs = await endless.order(20)
    refusals: list[str] = []

    def refuse(_: Response) -> None:
        raise RuntimeError("no room")

    async def wait_and_fail(job: Generation) -> None:
        with pytest.raises(RuntimeError, match="no room"):
            await odd.generations.wait_until_complete(job)
        refusals.append(job.id)

    odd = endless.client.with_options(on_response=refuse)
    async with anyio.create_task_group() as tasks:
        waits = Waits(endless.client, tasks)
        tasks.start_soon(wait_and_fail, jobs[0])  # the first leads
        waits.start(*jobs[1:])
        await endless.clock.sleep(5.0)
        assert refusals == [jobs[0].id]
        endless.complete(*jobs[1:])
    assert completed_of(waits.outcomes) == ids_of(jobs[1:])
