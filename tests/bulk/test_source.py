"""What may be handed over as requests, and what becomes of it."""

import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from lipsync_async import GenerationRequest, Options, Outcome, Progress
from lipsync_async._bulk.journal import Journal
from lipsync_async.errors import IgnoredOptionWarning, InvalidRequestError
from lipsync_async.sandbox.faults import Fault, concurrency_limited
from tests.bulk.jobs import job, record
from tests.bulk.runs import FREE, counted, made, names, opened, requests, slots

IGNORED: dict[str, Any] = {"model": "sync-3", "options": Options(temperature=0.5)}
BAD = GenerationRequest(model="", input=())


async def slowly(many: int, pause: Callable[[], Any]) -> AsyncIterator[GenerationRequest]:
    """Yield requests with a pause before each."""
    for request in requests(many):
        await pause()
        yield request


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_empty_input(ordered: bool) -> None:  # noqa: FBT001
    """Nothing to do is done at once, without a request."""
    async with opened() as (client, sandbox, clock):
        async with client.generations.run_many([], ordered=ordered) as outcomes:
            assert [each async for each in outcomes] == []
        assert await client.generations.run_all(iter(())) == []
        assert len(sandbox.requests) == 0
        assert clock.now() == 0


async def test_what_is_no_request() -> None:
    """Each wrong item is an outcome with an error, in its place, and stops no other."""
    items: list[Any] = [None, {"model": "lipsync-2"}, *requests(1), "row", 3]
    async with opened() as (client, sandbox, _):
        found = await client.generations.run_all(items)
        wrong = [InvalidRequestError] * 2
        assert [type(each.error) for each in found] == [*wrong, type(None), *wrong]
        assert [each.request for each in found] == items
        assert sandbox.jobs.created == 1


async def test_arguments_are_looked_at_first() -> None:
    """All problems are named, before the input is touched or anything sent."""
    items: Any = 3
    async with opened() as (client, sandbox, _):
        with pytest.raises(InvalidRequestError) as caught:
            await client.generations.run_all(items, max_jobs=0, max_cost=-1)
        named = [problem.partition(":")[0] for problem in caught.value.problems]
        assert named == ["max_jobs", "max_cost", "requests"]
        assert len(sandbox.requests) == 0


@pytest.mark.parametrize("taken", [0, 1, 9])
@pytest.mark.parametrize("is_awaited", [True, False])
async def test_an_input_that_raises(taken: int, is_awaited: bool) -> None:  # noqa: FBT001
    """Its error comes last, after an outcome for each request that it gave."""

    def broken() -> Iterator[GenerationRequest]:
        yield from requests(taken)
        raise LookupError("no more rows")

    async def broken_and_awaited() -> AsyncIterator[GenerationRequest]:
        for request in broken():
            await anyio.lowlevel.checkpoint()
            yield request

    found: list[Outcome] = []
    async with opened(slots(3)) as (client, sandbox, _):
        rows = broken_and_awaited() if is_awaited else broken()
        async with client.generations.run_many(rows) as outcomes:
            with pytest.raises(LookupError, match="no more rows"):  # noqa: PT012 - the loop raises
                async for each in outcomes:
                    found.append(each)  # noqa: PERF401 - it raises in the end
            with pytest.raises(LookupError, match="no more rows"):  # asked again, it says the same
                await anext(outcomes)
        assert len(found) == sandbox.jobs.created == taken
        assert all(each.is_success for each in found)


async def test_refused_orders_do_not_wait_for_the_input() -> None:
    """What was refused for want of a slot is placed though the input takes its time."""
    async with opened(slots(6)) as (client, sandbox, clock):
        sandbox.faults.add(concurrency_limited(6, retry_after_seconds=2, count=1))
        found: list[float] = []
        pausing = slowly(2, lambda: clock.sleep(1000))
        async with client.generations.run_many(pausing) as outcomes:
            async for each in outcomes:
                assert each.is_success
                found.append(clock.now())
        assert len(found) == 2
        assert found[0] < 1000 + 2 + 10 + 2
        assert found[1] < 2000 + 10 + 2


async def test_an_endless_input_of_nonsense() -> None:
    """What is wrong is not taken in faster than its outcomes are taken."""
    taken: list[GenerationRequest] = []
    async with opened() as (client, _, _):
        async with client.generations.run_many(counted(repeat(BAD), taken)) as outcomes:
            found = [await anext(outcomes) for _ in range(1500)]
        assert {type(each.error) for each in found} == {InvalidRequestError}
        assert len(taken) <= 1500 + 1000 + 100
        one = await client.generations.run_all(repeat(BAD), stop_on_error=True)
        assert len(one) == 1


async def test_outcomes_that_wait_for_their_turn_hold_up_no_order() -> None:
    """However many wait behind a refused order, it is placed, for they all wait for it."""
    async with opened(slots(2)) as (client, sandbox, _):
        sandbox.faults.add(concurrency_limited(2, retry_after_seconds=30, count=1))
        found = await client.generations.run_all(chain(requests(1), repeat(BAD, 1500)))
        assert len(found) == 1501
        assert found[0].is_success
        assert [each.index for each in found] == list(range(1501))


async def test_results_that_were_not_fetched_are_fetched_a_few_at_a_time(tmp_path: Path) -> None:
    """A second run that wants the files of thousands of jobs does not begin all at once."""
    journal, taken = tmp_path / "journal.sqlite", list[GenerationRequest]()
    async with opened(FREE, progression="immediate") as (client, sandbox, _):
        done = await client.generations.run(next(requests(1)))
        ended = [job(f"g{n}", "COMPLETED", outputUrl=done.output_url) for n in range(1250)]
        with Journal.open(journal) as written:
            written.record_intents([*enumerate(requests(1250))])
            record(written, [*enumerate(ended)])
        sandbox.faults.add(Fault("latency", path="/__sandbox/media/*", seconds=5, count=None))
        rows, out = counted(requests(1250), taken), tmp_path / "out"
        async with client.generations.run_many(
            rows, journal=journal, download_to=out, concurrent_downloads=50
        ) as outcomes:
            first = await anext(outcomes)
            assert first.is_success
            assert first.path is not None
    assert len(taken) <= 1200


async def test_an_input_may_grow_meanwhile() -> None:
    """A list that gets longer is run to its end, and the total is never too small."""
    rows = [*requests(2)]
    told: list[Progress] = []

    def add(progress: Progress) -> None:
        told.append(progress)
        if len(rows) < 6:
            rows.extend(requests(1))

    async with opened(slots(1)) as (client, _, _):
        found = await client.generations.run_all(rows, on_progress=add)
    assert len(found) >= 4
    assert all(each.total is not None and each.total >= each.done for each in told)
    assert all(each.eta is None or each.eta >= 0 for each in told)
    assert told[-1].total == told[-1].done == len(found)


async def test_a_length_is_known_from_the_start() -> None:
    """An input with `len` has a total, one without has none before its end."""
    async with opened(slots(2)) as (client, _, _):
        for rows, first in ([*requests(5)], 5), (requests(5), None):
            told: list[Progress] = []
            await client.generations.run_all(rows, on_progress=told.append)
            assert told[0].total == first
            assert told[-1].total == 5


async def test_requests_that_a_limit_leaves_out_stay_in_the_total() -> None:
    """A run that ends before its input does not look complete; nothing more is due."""
    async with opened(slots(2)) as (client, _, _):
        for rows, total in ([*requests(9)], 9), (requests(9), None):
            told: list[Progress] = []
            await client.generations.run_all(rows, max_jobs=2, on_progress=told.append)
            assert (told[-1].total, told[-1].succeeded, told[-1].eta) == (total, 2, 0.0)
            assert told[-1].ended_by is not None
            assert told[-1].done < 9


async def test_the_same_request_twice_is_two_jobs() -> None:
    """Places in the input tell requests apart, not what they ask for."""
    (request,) = requests(1)
    async with opened() as (client, sandbox, _):
        found = await client.generations.run_all([request] * 3)
        assert names(found) == ["take-0"] * 3
        assert made(sandbox) == {"take-0": 3}
        assert len({each.generation.id for each in found if each.generation}) == 3


async def test_what_a_model_ignores_is_said_once_at_the_user_s_line() -> None:
    """Thousands of requests with the same useless option warn as one order would."""
    odd = [attrs.evolve(each, **IGNORED) for each in requests(20)]
    async with opened() as (client, sandbox, _):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            line = sys._getframe().f_lineno + 1  # noqa: SLF001
            found = await client.generations.run_all(odd)
            async with client.generations.run_many(odd) as outcomes:
                found += [each async for each in outcomes]
        assert all(each.is_success for each in found)
        assert sandbox.jobs.created == 40
    shown = [(each.category, each.filename, each.lineno) for each in caught]
    assert shown == [(IgnoredOptionWarning, __file__, line + number) for number in (0, 1)]
    assert "options.temperature" in str(caught[0].message)


async def test_warnings_may_be_errors() -> None:
    """A request that is warned about is refused then, for itself, before its order is sent."""
    odd = [attrs.evolve(each, **IGNORED) for each in requests(3)]
    async with opened() as (client, sandbox, _):
        found = await client.generations.run_all([*odd, *requests(1)])
        for each in found[:3]:
            assert isinstance(each.error, InvalidRequestError)
            assert each.error.problems[0].startswith("options.temperature: ignored by sync-3")
            assert isinstance(each.error.__cause__, IgnoredOptionWarning)
        assert found[3].is_success
        assert sandbox.jobs.created == 1
