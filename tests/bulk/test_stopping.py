"""What makes a run begin nothing more, and what becomes of all that is under way then."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from lipsync_async import GenerationRequest, JournalView, Progress, errors
from lipsync_async._bulk.results import MAX_SAME_REFUSALS
from lipsync_async.sandbox.faults import Fault, concurrency_limited
from tests.bulk.runs import counted, made, opened, requests, run, slots
from tests.client.connections import INPUTS

CREATE = "/v2/generate"


@pytest.mark.parametrize(
    ("status", "kind"), [(401, errors.AuthenticationError), (402, errors.PaymentRequiredError)]
)
async def test_what_all_would_meet_stops_the_input(status: int, kind: type[Exception]) -> None:
    """A create that is refused for a dead key, or for want of credit, is the last but one."""
    taken: list[GenerationRequest] = []
    async with opened(slots(4)) as (client, sandbox, _):
        sandbox.faults.add(Fault("status", path=CREATE, status=status, skip=8, count=None))
        found = await client.generations.run_all(counted(requests(100), taken))
        assert sum(each.is_success for each in found) == 8
        assert {type(each.error) for each in found if not each.is_success} == {kind}
        assert len(found) <= 8 + 4
        assert len(taken) <= len(found) + 2
        assert all(each.error is None or each.error.idempotency_key for each in found)


async def test_a_key_that_dies_in_mid_run() -> None:
    """Every job that runs is named by its outcome, and nothing else is sent."""
    async with opened(slots(5), progression="time(60)") as (client, sandbox, clock):
        async with client.generations.run_many(requests(50)) as outcomes:
            await clock.sleep(70)
            sandbox.faults.add(Fault("status", status=401, count=None))
            sandbox.requests.clear()
            found = [each async for each in outcomes]
        assert len(sandbox.requests) <= 20
        dead = [each for each in found if each.error is not None]
        assert {type(each.error) for each in dead} == {errors.AuthenticationError}
        assert len(found) == sandbox.jobs.created == 10
        named = {each.generation.id for each in found if each.generation}
        assert named == {job.id for job in sandbox.jobs}
        assert len({id(each.error) for each in dead}) == len(dead)
        assert all(each.error and each.error.generation is each.generation for each in dead)


@pytest.mark.parametrize(
    "fault",
    [Fault("fail_job", skip=3), Fault("status", path=CREATE, status=422, skip=3)],
    ids=["a job", "a create"],
)
async def test_stop_on_error(fault: Fault) -> None:
    """After the first error nothing is begun; what runs comes to its own end."""
    taken: list[GenerationRequest] = []
    async with opened(slots(3)) as (client, sandbox, _):
        sandbox.faults.add(fault)
        found = await client.generations.run_all(counted(requests(60), taken), stop_on_error=True)
        assert [each.index for each in found] == list(range(len(found)))
        assert sum(not each.is_success for each in found) == 1
        assert 4 <= len(found) <= 4 + 3
        assert len(taken) <= len(found) + 2
        assert sandbox.jobs.created >= sum(each.is_success for each in found)
        assert sandbox.jobs.active == 0


async def test_a_wrong_request_is_an_error_too() -> None:
    """With `stop_on_error` nothing after it is begun, though nothing was sent."""
    mixed = [*requests(2), GenerationRequest(model="", input=()), *requests(50)]
    async with opened() as (client, sandbox, _):
        found = await client.generations.run_all(mixed, stop_on_error=True)
        assert [each.is_success for each in found] == [True, True, False]
        assert isinstance(found[2].error, errors.InvalidRequestError)
        assert sandbox.jobs.created == 2


async def test_orders_that_wait_for_a_slot_are_dropped() -> None:
    """Refused or in line: what has no job yet when a run stops has no outcome."""
    async with opened(slots(4)) as (client, sandbox, clock):
        sandbox.faults.add(Fault("status", path=CREATE, status=402, skip=2, count=1))
        sandbox.faults.add(concurrency_limited(4, retry_after_seconds=600, count=2))
        async with client.generations.run_many(requests(20)) as outcomes:
            found = [each async for each in outcomes]
        # Two of the first four were refused for want of a slot, and one for want of credit.
        assert clock.now() < 60
        (bad,) = (each.error for each in found if not each.is_success)
        assert isinstance(bad, errors.PaymentRequiredError)
        assert sandbox.jobs.created == len(found) - 1


async def test_an_order_that_is_refused_after_the_stop_is_dropped() -> None:
    """It was under way when the run stopped, found no slot, and does not wait for one."""
    async with opened(slots(2)) as (client, sandbox, clock):
        sandbox.faults.add(Fault("status", path=CREATE, status=402, count=1))
        sandbox.faults.add(Fault("latency", path=CREATE, seconds=3, skip=1, count=1))
        no_slot = concurrency_limited(2, retry_after_seconds=600, count=1)
        sandbox.faults.add(attrs.evolve(no_slot, skip=1))
        found = await client.generations.run_all(requests(20))
        assert [type(each.error) for each in found] == [errors.PaymentRequiredError]
        assert sandbox.jobs.created == 0
        assert clock.now() < 60


async def test_the_input_is_left_where_it_waits() -> None:
    """An input that takes its time is not waited for when a run stops."""

    async def rows() -> AsyncIterator[GenerationRequest]:
        for request in requests(2):
            yield request
        await anyio.sleep_forever()

    async with opened() as (client, sandbox, _):
        sandbox.faults.add(Fault("fail_job", count=1))
        found = await client.generations.run_all(rows(), stop_on_error=True)
        assert sorted(each.is_success for each in found) == [False, True]


async def test_a_journal_that_breaks(journal: Path) -> None:
    """No order leaves without its record; what runs is waited for, then the error comes."""
    async with opened(slots(3)) as (client, sandbox, _):
        found: list[Any] = []
        with pytest.raises(errors.JournalError):  # noqa: PT012 - the loop raises
            async with client.generations.run_many(requests(20), journal=journal) as outcomes:
                async for each in outcomes:
                    found.append(each)
                    if len(found) == 1:
                        damage(journal)
        assert sandbox.jobs.active == 0
        assert sandbox.jobs.created <= len(found) + 1
        assert set(made(sandbox).values()) == {1}


def damage(journal: Path) -> None:
    """Take a journal's table away while it is in use."""
    with sqlite3.connect(journal) as connection:
        connection.execute("DROP TABLE jobs")
    connection.close()


async def test_looks_that_fail_for_good() -> None:
    """A service that cannot be polled is given up after `give_up_after`."""
    async with opened(slots(3)) as (client, sandbox, _):
        sandbox.faults.add(Fault("status", method="GET", status=500, count=None))
        found = await client.generations.run_all(requests(3))
        assert {type(each.error) for each in found} == {errors.ServerError}
        assert all(each.generation is not None for each in found)


async def test_a_job_that_the_service_does_not_know() -> None:
    """A fresh job may be unknown for a while; one that stays unknown is an error."""
    body = {"message": "No such generation.", "statusCode": 404}
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(Fault("status", method="GET", status=404, body=body, count=3))
        (good,) = await client.generations.run_all(requests(1))
        assert good.is_success
        sandbox.faults.add(Fault("status", method="GET", status=404, body=body, count=None))
        (bad,) = await client.generations.run_all(requests(1))
        assert bad.error is not None
        assert bad.generation is not None
        assert bad.generation.input == [*INPUTS]


async def test_a_journal_that_breaks_while_jobs_run(journal: Path) -> None:
    """What the service says of them cannot be noted, but every outcome comes before the error."""
    found: list[Any] = []
    async with opened(slots(3)) as (client, sandbox, clock):
        with pytest.raises(errors.JournalError):  # noqa: PT012 - the loop raises
            async with client.generations.run_many(requests(3), journal=journal) as outcomes:
                await clock.sleep(1)
                damage(journal)
                async for each in outcomes:
                    found.append(each)  # noqa: PERF401 - it raises in the end
        assert sandbox.jobs.created == 3
    assert [each.is_success for each in found] == [True] * 3


async def test_news_of_what_has_ended_is_late() -> None:
    """Two looks that fail for all at the same moment make one outcome of each job."""
    async with opened(progression="manual") as (client, sandbox, clock):
        sandbox.faults.add(Fault("latency", method="GET", seconds=20, count=None))
        sandbox.faults.add(Fault("status", method="GET", status=401, count=None))
        async with client.generations.run_many(requests(150)) as outcomes:
            while sandbox.requests.count("GET") < 2:
                await clock.sleep(0.1)
            clock.advance(25)
            found = [each async for each in outcomes]
        assert sorted(each.index for each in found) == list(range(150))


async def test_a_job_that_has_ended_before_it_is_accepted() -> None:
    """An answer that was lost comes again when the job is over: no look is needed."""
    async with opened(progression="immediate") as (client, sandbox, _):
        sandbox.faults.add(Fault("reset_after", path=CREATE))
        (request,) = requests(1)
        async with client.generations.run_many([request]) as outcomes:
            while sandbox.jobs.created < 1:
                await anyio.lowlevel.checkpoint()
            (job,) = sandbox.jobs
            await client.generations.wait_until_complete(job.id)
            looks = sandbox.requests.count("GET")
            found = [each async for each in outcomes]
        assert [each.is_success for each in found] == [True]
        assert sandbox.requests.count("GET") == looks
        assert sandbox.jobs.created == 1


async def test_an_old_failure_stops_nothing(journal: Path) -> None:
    """With a journal and `stop_on_error`, each run gets further than the one before."""
    async with opened(slots(1)) as (client, sandbox, _):
        sandbox.faults.add(Fault("fail_job", skip=1, count=1))
        first, second = [
            await client.generations.run_all(requests(5), journal=journal, stop_on_error=True)
            for _ in range(2)
        ]
        assert [each.is_success for each in first] == [True, False]
        assert [each.is_success for each in second] == [True, False, True, True, True]
        assert [each.resumed for each in second] == [True, True, False, False, False]
        assert sandbox.jobs.created == 5


FILTER = "<html><h1>This request was blocked</h1></html>"
MET_BY_ALL = {
    "a filter's page": Fault("status", path=CREATE, status=403, body=FILTER, count=None),
    "no such path": Fault("status", path=CREATE, status=404, body=FILTER, count=None),
    "a log-in page": Fault("status", path=CREATE, status=200, body=FILTER, count=None),
}


@pytest.mark.parametrize("fault", MET_BY_ALL.values(), ids=MET_BY_ALL)
async def test_what_meets_all_alike_stops_the_run(
    fault: Fault, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A few are refused, the rest is not begun, and says so; the next run brings all to an end."""
    told: list[Progress] = []
    async with opened(slots(4)) as (client, sandbox, _):
        (first,) = await client.generations.run_all(requests(1), journal=journal)
        assert first.is_success
        sandbox.faults.add(fault)
        with caplog.at_level(logging.WARNING, "lipsync_async"):
            found = await run(client, 60, journal=journal, on_progress=told.append)
        refused = [each for each in found if not each.is_success]
        assert MAX_SAME_REFUSALS <= len(refused) <= MAX_SAME_REFUSALS + 4
        assert told[0].ended_by is None
        assert told[-1].ended_by in [each.error for each in refused]
        assert f"{MAX_SAME_REFUSALS} creates in a row were refused alike" in caplog.text
        with JournalView.open(journal) as view:
            assert view.length == len(found)
        sandbox.faults.clear()
        found = await client.generations.run_all(requests(60), journal=journal)
        assert [each.error for each in found] == [None] * 60
        assert sandbox.jobs.created == 60


async def test_what_the_service_says_of_many_stops_no_other() -> None:
    """Its own words about each request are outcomes, however many there are in a row."""
    body = {"message": "Too short.", "errorCode": "generation_input_trim_invalid"}
    async with opened(slots(4)) as (client, sandbox, _):
        sandbox.faults.add(Fault("status", path=CREATE, status=422, body=body, count=40))
        found = await client.generations.run_all(requests(60))
        assert [each.is_success for each in found] == [False] * 40 + [True] * 20


async def test_refusals_between_acceptances() -> None:
    """What is refused now and then does not meet all."""
    async with opened(slots(1)) as (client, sandbox, _):
        sandbox.faults.add(attrs.evolve(MET_BY_ALL["a filter's page"], every=2))
        found = await client.generations.run_all(requests(40))
        assert sum(each.is_success for each in found) == 20


# What lets nothing more be ordered: a fault of the creates, and an option.
HALTS: dict[str, tuple[Fault | None, dict[str, Any]]] = {
    "the money is spent": (None, {}),
    "no credit": (Fault("status", path=CREATE, status=402, count=None), {}),
    "the first error": (
        Fault("status", path=CREATE, status=422, count=None),
        {"stop_on_error": True, "max_cost": None},
    ),
    "a filter": (MET_BY_ALL["a filter's page"], {"max_cost": None}),
    "enough jobs": (None, {"max_cost": None, "max_jobs": 1}),
}
# How an earlier run has left its jobs: a fault, and whether it was left while they ran.
STATES: dict[str, tuple[Fault | None, bool]] = {
    "running": (None, True),
    "completed": (None, False),
    "failed": (Fault("fail_job", count=None), False),
    "unknown": (Fault("reset_after", path=CREATE, count=None), False),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("halt", HALTS)
async def test_what_was_ordered_is_gone_on_with(
    tmp_path: Path, journal: Path, halt: str, state: str
) -> None:
    """A run that may order nothing more still brings to their ends the jobs of earlier runs."""
    asked = [attrs.evolve(each, request_id=f"row {n}") for n, each in enumerate(requests(150))]
    earlier = asked[9::15]
    trouble, is_left = STATES[state]
    fault, options = HALTS[halt]
    async with opened(slots(20), progression="time(60)") as (client, sandbox, clock):
        price = (await client.generations.estimate(asked[0])).cost * len(earlier)
        if trouble is not None:
            sandbox.faults.add(trouble)
        with anyio.CancelScope() as scope:
            if is_left:
                clock.call_later(30, scope.cancel)
            await client.generations.run_all(earlier, journal=journal, max_cost=price)
        sandbox.faults.clear()
        if fault is not None:
            sandbox.faults.add(fault)
        settings = {"max_cost": price, **options}
        found = await client.generations.run_all(
            asked, journal=journal, download_to=tmp_path / "out", **settings
        )
        new = settings.get("max_jobs", 0)
        assert sandbox.jobs.created == len(earlier) + new
    gone_on = {each.request.request_id for each in found if each.generation is not None}
    is_sent_again = halt == "the money is spent"  # for it is counted already
    is_known = state != "unknown" or is_sent_again
    if is_known:
        assert gone_on == {each.request_id for each in [*asked[:new], *earlier]}
    for each in found:
        is_good = each.generation is not None and (state != "failed" or each.index < new)
        assert each.is_success is is_good
        assert (each.path is not None) is is_good


async def test_an_endless_input_is_not_searched_for_what_was_ordered(journal: Path) -> None:
    """Where an input has no end, a run that may order nothing more ends."""
    async with opened(slots(2)) as (client, sandbox, _):
        for _ in range(2):
            endless = iter(lambda: next(requests(1)), None)
            found = await client.generations.run_all(endless, journal=journal, max_jobs=3)
            assert isinstance(found[-1].error, errors.SpendingLimitError)
        assert sandbox.jobs.created == 6
