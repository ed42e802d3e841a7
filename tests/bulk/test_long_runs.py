"""What a night brings to a run of many jobs: outages, sleeping laptops, clocks, dead keys."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from lipsync_async import AuthenticationError, Limits
from lipsync_async._bulk.journal import Journal
from lipsync_async.sandbox.faults import Fault
from tests.bulk.jobs import entries
from tests.bulk.runs import opened, requests

PLAN = Limits(concurrent_generations=15)
EVERYTHING = Fault("status", status=500, count=None)


async def test_half_a_minute_of_500s() -> None:
    """An outage of 30 s costs no job, no second order, and no more requests than before."""
    async with opened(PLAN, progression="time(60)") as (client, sandbox, clock):

        async def fail_for_a_while() -> None:
            await clock.sleep(20.0)
            sandbox.faults.add(EVERYTHING)
            before = len(sandbox.requests)
            await clock.sleep(30.0)
            assert len(sandbox.requests) - before <= 60
            sandbox.faults.clear()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail_for_a_while)
            found = await client.generations.run_all(requests(45))
        assert [outcome.error for outcome in found] == [None] * 45
        assert sandbox.jobs.created == 45
        # Three rounds of a minute, and the half minute in which no end could be seen.
        assert clock.now() <= 3 * 60 + 30 + 40


async def test_a_laptop_that_sleeps(journal: Path) -> None:
    """After hours without a step, all that has ended is found at once, and the rest goes on."""
    async with opened(PLAN, progression="time(60)") as (client, sandbox, clock):
        async with client.generations.run_many(requests(40), journal=journal) as outcomes:
            first = [await anext(outcomes) for _ in range(3)]
            clock.advance(8 * 3600.0)
            awake = clock.now()
            rest = [outcome async for outcome in outcomes]
        assert all(outcome.is_success for outcome in [*first, *rest])
        assert sandbox.jobs.created == len(first) + len(rest) == 40
        assert clock.now() - awake <= 2 * 60 + 15
        assert sum(entry.status == 429 for entry in sandbox.requests) == 0


CALENDARS = {
    "a day ahead": datetime.now(UTC) + timedelta(days=1),
    "a century ahead": datetime.now(UTC) + timedelta(days=36_525),
    "a year behind": datetime.now(UTC) - timedelta(days=365),
    "never set": datetime(1970, 1, 1, tzinfo=UTC),
    "before the epoch": datetime(1901, 12, 13, 20, 45, 51, tzinfo=UTC),
    "the first moment": datetime.min.replace(tzinfo=UTC),
    "the last moment": datetime.max.replace(tzinfo=UTC),
}


@pytest.mark.traced_once
@pytest.mark.parametrize("then", CALENDARS.values(), ids=CALENDARS)
async def test_a_calendar_that_jumps(tmp_path: Path, then: datetime) -> None:
    """A calendar that is set between orders and their ends changes nothing but what is noted."""
    path, asked = tmp_path / "journal.sqlite", [*requests(20)]
    with Journal.open(path, now=lambda: then) as journal:
        keys = journal.record_intents([*enumerate(asked)])
    async with opened(PLAN, progression="time(60)") as (client, sandbox, clock):
        found = await client.generations.run_all(asked, journal=path)
        assert [outcome.error for outcome in found] == [None] * 20
        assert sandbox.jobs.created == 20
        assert clock.now() <= 2 * 60 + 10
    noted = entries(path)
    assert [entry.idempotency_key for entry in noted] == keys
    assert {entry.intended_at for entry in noted} == {then}
    assert all(entry.ended_at is not None for entry in noted)


async def test_going_on_with_a_new_key(journal: Path) -> None:
    """The next run, with a key that works, waits for the jobs that the dead one had to leave."""
    async with opened(PLAN, progression="time(60)") as (client, sandbox, _):
        sandbox.faults.add(Fault("status", status=401, skip=20, count=None))
        lost = await client.generations.run_all(requests(25), journal=journal)
        assert {type(outcome.error) for outcome in lost} == {AuthenticationError}
        sandbox.faults.clear()
        found = await client.generations.run_all(requests(25), journal=journal)
        assert [outcome.error for outcome in found] == [None] * 25
        assert sandbox.jobs.created == 25
