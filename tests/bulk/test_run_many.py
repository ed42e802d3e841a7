"""Many requests at once: full slots, one poller, honest outcomes, nothing lost or doubled."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from lipsync_async import GenerationRequest, Limits, Progress, RetryPolicy
from lipsync_async.errors import ConcurrencyLimitError, JournalError, ServerError
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.faults import Fault
from tests.bulk.runs import opened, refusals, requests, run, slots
from tests.client.connections import connect


async def test_one_request_a_tick() -> None:
    """A hundred jobs at once cost one list request each half second, not one each."""
    async with opened(progression="time(30)") as (client, sandbox, clock):
        await client.generations.run_all(requests(100))
        looks = sandbox.requests.count("GET")
        assert looks <= 30 / 0.5 + 2
        assert sandbox.requests.count("GET", "/v2/generations") == looks
        assert clock.now() <= 30 + 2


@pytest.mark.parametrize("concurrency", [1, 3, 15])
@pytest.mark.parametrize("is_known", [True, False])
async def test_slots_stay_full(concurrency: int, is_known: bool) -> None:  # noqa: FBT001
    """The plan's slots are refilled as jobs end, whether their number is known or learnt."""
    limits = slots(concurrency if is_known else None)
    many = {1: 12, 3: 24, 15: 60}[concurrency]
    async with opened(limits, concurrency=concurrency) as (client, sandbox, clock):
        found = await client.generations.run_all(requests(many))
        assert all(outcome.is_success for outcome in found)
        refused = refusals(sandbox)
        assert refused == 0 if is_known else refused <= many
        perfect = many / concurrency * 10
        assert clock.now() <= perfect + many / concurrency * 1.1 + 30


async def test_within_the_plan() -> None:
    """By default nothing is refused: creates, looks and slots are within the plan."""
    async with opened(Limits(concurrent_generations=15), plan="scale") as (client, sandbox, _):
        found = await client.generations.run_all(requests(75))
        assert all(outcome.is_success for outcome in found)
        assert refusals(sandbox) == 0


async def test_input_is_taken_as_needed() -> None:
    """An endless input is no problem: requests are taken when there is a slot."""
    taken: list[int] = []

    async def endless() -> AsyncIterator[GenerationRequest]:
        for request in requests(10**9):  # pragma: no branch - without end
            taken.append(len(taken))
            await anyio.lowlevel.checkpoint()
            yield request

    async with opened(Limits(concurrent_generations=5)) as (client, sandbox, _):
        async with client.generations.run_many(endless()) as outcomes:
            found = [await anext(outcomes) for _ in range(12)]
        assert len(found) == 12
        assert len(taken) <= 12 + 5 + 1
        assert sandbox.jobs.created <= 12 + 5


async def test_a_slow_caller_holds_the_run_back() -> None:
    """Outcomes that are not taken do not pile up without end."""
    async with opened(slots(100), progression="immediate") as (client, sandbox, clock):
        async with client.generations.run_many(requests(1150)) as outcomes:
            first = await anext(outcomes)
            await clock.sleep(600.0)
            assert 1000 <= sandbox.jobs.created <= 1000 + 100 + 1
            rest = [outcome async for outcome in outcomes]
        assert first.is_success
        assert len(rest) == 1149


async def test_results_are_fetched(tmp_path: Path) -> None:
    """With a folder, an outcome comes when its result is there, whole, under its own name."""
    async with opened() as (client, _, _):
        found = await client.generations.run_all(requests(12), download_to=tmp_path / "out")
        for each in found:
            assert each.path is not None
            assert each.generation is not None
            assert each.path == tmp_path / "out" / f"take-{each.index}-{each.generation.id}.mp4"
            assert each.path.stat().st_size == 1024


async def test_again_with_the_same_journal(tmp_path: Path) -> None:
    """A second run orders nothing anew and fetches nothing twice."""
    journal, out = tmp_path / "journal.sqlite", tmp_path / "out"
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(Fault("fail_job", count=1))
        runs = [
            await client.generations.run_all(requests(20), journal=journal, download_to=out)
            for _ in range(2)
        ]
        first, second = (
            [(each.index, each.path, type(each.error), each.generation.id) for each in run]  # type: ignore[union-attr]
            for run in runs
        )
        assert first == second
        assert sandbox.jobs.created == 20
        assert sandbox.requests.count("GET", "/__sandbox/media/*") == 19


async def test_journal_in_use(journal: Path) -> None:
    """Two runs cannot share a journal."""
    async with (
        opened(progression="manual") as (client, _, _),
        client.generations.run_many(requests(1), journal=journal),
    ):
        with pytest.raises(JournalError):
            await client.generations.run_all(requests(1), journal=journal)


async def test_others_never_leave_a_slot() -> None:
    """When others have all slots for `slot_timeout`, the run says so and begins nothing more."""
    retry = RetryPolicy(slot_timeout=600.0)
    clock = VirtualClock()
    async with (
        Sandbox(render=False, progression="manual", clock=clock, concurrency=1) as sandbox,
        connect(sandbox, limits=Limits(), retry=retry) as client,
        connect(sandbox) as somebody,
    ):
        await somebody.generations.create(next(requests(1)))
        (only,) = await client.generations.run_all(requests(100))
        assert isinstance(only.error, ConcurrencyLimitError)
        assert 600 <= clock.now() <= 700
        assert sandbox.requests.count("POST") <= 600 / 5 + 3
        assert sandbox.jobs.created == 1


@pytest.mark.parametrize("attempts", [1, 2])
async def test_attempts_count(attempts: int) -> None:
    """Each create is tried as often as the policy says; by default until `give_up_after`."""
    async with opened(slots(None)) as (client, sandbox, _):
        sandbox.faults.add(Fault("status", path="/v2/generate", status=503, count=9))
        chosen = client.with_options(retry=RetryPolicy(attempts=attempts))
        (outcome,) = await chosen.generations.run_all(requests(1))
        assert isinstance(outcome.error, ServerError)
        assert sandbox.requests.count("POST") == attempts
        (outcome,) = await client.generations.run_all(requests(1))
        assert outcome.is_success
        assert sandbox.requests.count("POST") == 10


@pytest.mark.parametrize("is_saved", [True, False])
async def test_what_an_earlier_run_has_ended_is_resumed(tmp_path: Path, *, is_saved: bool) -> None:
    """Also if this run only downloads the result, or tries in vain."""
    journal, folder = tmp_path / "j.sqlite", tmp_path / "out"
    async with opened() as (client, sandbox, _):
        (first,) = await client.generations.run_all(requests(1), journal=journal)
        if not is_saved:
            sandbox.faults.add(Fault("status", path="/__sandbox/media/*", status=410, count=None))
        (again,) = await run(client, 1, journal=journal, download_to=folder, stop_on_error=True)
        assert (first.resumed, again.resumed) == (False, True)
        assert (again.path is not None, again.is_success) == (is_saved, is_saved)
        assert sandbox.jobs.created == 1


async def test_progress_at_any_time() -> None:
    """It is known without a callback: jobs that run, outcomes taken, and the end."""
    async with opened() as (client, sandbox, clock):
        async with client.generations.run_many(requests(3)) as outcomes:
            assert outcomes.progress() == Progress(
                total=None, running=0, succeeded=0, failed=0, elapsed=0.0, rate=0.0, eta=None
            )
            while sandbox.jobs.created < 3:
                await clock.sleep(0.1)
            await clock.sleep(0.1)
            assert (outcomes.progress().running, outcomes.progress().total) == (3, 3)
            found = [outcome async for outcome in outcomes]
            shown = outcomes.progress()
        assert len(found) == 3
        assert (shown.running, shown.total, shown.succeeded, shown.eta) == (0, 3, 3, 0.0)
        assert shown.elapsed >= 10
