"""What lists do not show, show wrongly or are refused for: every job is seen to all the same."""

from math import ceil

import anyio
import pytest

from lipsync_async import BadRequestError, DecodeError, Generation, NotFoundError, PollPolicy
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import Door, opened, order
from tests.client.waiters import (
    LISTS,
    LOOKS,
    Planned,
    Waits,
    completed_of,
    ids_of,
    poller_of,
    remains,
    wait_for_all,
)

INTERVAL = PollPolicy().shared_interval


async def test_what_a_list_does_not_show(async_door: Door) -> None:
    """Empty lists make every job be asked for by itself, and all are found."""
    async with opened(async_door, progression="polls(2)") as (client, sandbox):
        jobs = [await order(client) for _ in range(8)]
        sandbox.faults.add(Fault("status", path=LISTS[1], status=200, body="[]", count=None))
        sandbox.requests.clear()
        assert completed_of(await wait_for_all(client, jobs)) == ids_of(jobs)
        # A wait that goes on alone may look at a job that a look for all is on its way to.
        assert 16 <= sandbox.requests.count(*LOOKS) <= 20


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *[(status, None) for status in (400, 403, 404, 405, 414, 422, 501)],
        (200, '{"data": []}'),  # a success of another shape is worth no more than a refusal
        (200, '"[]"'),
    ],
)
async def test_refused_lists(async_door: Door, status: int, body: str | None) -> None:
    """When the service takes no list at all, jobs are looked at one by one."""
    async with opened(async_door, progression="polls(2)") as (client, sandbox):
        jobs = [await order(client) for _ in range(6)]
        sandbox.faults.add(Fault("status", path=LISTS[1], status=status, body=body, count=None))
        sandbox.requests.clear()
        assert completed_of(await wait_for_all(client, jobs)) == ids_of(jobs)
        # 6, 3, 3, 2, 2 at most in a row, and each may be made anew when its leader leaves. Who
        # learns nothing makes as many in each of two rounds.
        assert sandbox.requests.count(*LISTS) < 10


async def test_an_id_that_breaks_lists(async_door: Door) -> None:
    """One id of a wrong form, for which the service refuses a list, harms only its own wait."""
    async with opened(async_door, progression="polls(4)") as (client, sandbox):
        jobs = [await order(client) for _ in range(15)]
        odd = "not-a-uuid"
        outcomes = await wait_for_all(client, [*jobs[:7], odd, *jobs[7:]])
        assert completed_of(outcomes) == ids_of(jobs)
        error = outcomes[odd]
        assert isinstance(error, BadRequestError)
        assert error.generation is not None
        assert error.generation.id == odd
        assert sandbox.requests.count(*LISTS) >= 3


@pytest.mark.parametrize(
    "shape",
    [
        None,
        "job-3",
        [],
        {},
        {"id": "job-3"},
        {"id": "job-3", "status": 7},
        {"id": 3, "status": "COMPLETED"},
        {"id": "job-unknown", "status": "COMPLETED"},  # which was not asked for
        {"id": "job-3", "status": "COMPLETED", "outputUrl": 7},
    ],
)
async def test_a_wrong_shape_in_a_list_harms_no_one(shape: object) -> None:
    """The job is asked for by itself; if that is readable, all is well."""
    service = Planned(10)
    service.shapes["job-3"] = shape
    service.end_all(5.0)
    assert len(completed_of(await service.outcomes())) == 10
    assert ("job-3",) in service.looks


async def test_a_job_of_a_wrong_shape_fails_alone() -> None:
    """If it cannot be read anywhere, its own waiter gets the error, and no one else."""
    service = Planned(10)
    service.shapes["job-3"] = service.shapes_alone["job-3"] = {"id": "job-3", "status": 7}
    service.end_all(5.0)
    outcomes = await service.outcomes()
    assert len(completed_of(outcomes)) == 9
    error = outcomes["job-3"]
    assert isinstance(error, DecodeError)
    assert error.generation == Generation(id="job-3", status=error.generation.status)  # type: ignore[union-attr]


async def test_unknown_statuses_are_not_the_end() -> None:
    """A status of a newer service is a change, and is waited through, among many, too."""
    service = Planned(8)
    later = dict.fromkeys(service.jobs, "UPSCALING")
    service.clock.call_later(5.0, lambda: service.statuses.update(later))
    service.end_all(10.0)
    seen: list[str] = []
    async with service.client() as client:
        await wait_for_all(client, service.jobs, on_update=lambda job: seen.append(job.status))
    assert seen == ["PROCESSING"] * 8 + ["UPSCALING"] * 8 + ["COMPLETED"] * 8


async def test_a_fresh_create_may_still_spread_among_many() -> None:
    """For ten seconds "no such generation" is no error, and then it is its own waiter's only."""
    service = Planned(10)
    service.end_all(60.0)
    late, never = "job-late", "job-never"
    service.clock.call_later(8.0, lambda: service.statuses.update({late: "PROCESSING"}))
    async with service.client() as client, anyio.create_task_group() as tasks:
        waits = Waits(client, tasks)
        waits.start(*service.jobs, late, never)
        await service.clock.sleep(15.0)
        assert set(waits.outcomes) == {never}
    assert len(completed_of(waits.outcomes)) == 11
    error = waits.outcomes[never]
    assert isinstance(error, NotFoundError)
    assert error.generation is not None
    assert error.generation.id == never


async def test_a_vanished_job_among_many() -> None:
    """A job that was seen to change and then is gone is an error at once."""
    service = Planned(10)
    service.clock.call_later(3.0, lambda: service.statuses.pop("job-4"))
    service.clock.call_later(30.0, lambda: service.statuses.update(completed))
    completed = {job: "COMPLETED" for job in service.jobs if job != "job-4"}
    gone: list[float] = []

    async def wait_for_it() -> None:
        with pytest.raises(NotFoundError):
            await client.generations.wait_until_complete("job-4")
        gone.append(service.clock.now())

    async with service.client() as client, anyio.create_task_group() as tasks:
        Waits(client, tasks).start(*completed)
        tasks.start_soon(wait_for_it)
    assert 3.0 <= gone[0] <= 4.0


async def test_looks_overlap_when_answers_are_slow() -> None:
    """With a second from look to answer, a thousand jobs still go round in about a second."""
    service = Planned(1000)
    service.way = 1.0
    async with service.client() as client, anyio.create_task_group() as tasks:
        Waits(client, tasks).start(*service.jobs)
        await service.clock.sleep(4.0)
        early = len(service.lists)
        await service.clock.sleep(5.0)
        assert remains(poller_of(client)) != []
        tasks.cancel_scope.cancel()
    assert len(service.lists) - early == pytest.approx(5 * 9.8, rel=0.1)
    assert 8 <= service.most <= 12
    assert remains(poller_of(client)) == []


async def test_overlap_has_a_bound() -> None:
    """However slow the answers and however many the jobs, 20 looks are under way at most."""
    service = Planned(2100)
    service.way = 8.0
    async with service.client() as client, anyio.create_task_group() as tasks:
        Waits(client, tasks).start(*service.jobs)
        await service.clock.sleep(16.0)
        tasks.cancel_scope.cancel()
    assert service.most == 20
    assert len(service.looks) <= ceil(16 / 8) * 20


async def test_a_rate_limit_is_kept() -> None:
    """A 429 is waited for by the look that met it, and is no waiter's error."""
    service = Planned(150)
    service.failures = [429, 429, 503, 429]
    service.end_all(60.0)
    assert len(completed_of(await service.outcomes())) == 150
