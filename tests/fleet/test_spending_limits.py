"""How many jobs and how much money: nothing is ordered beyond what was allowed."""

from pathlib import Path
from typing import Any

import pytest

from lipsync_async import (
    BadRequestError,
    GenerationRequest,
    InvalidRequestError,
    Options,
    RetryPolicy,
    SpendingLimitError,
    UnprocessableError,
    Video,
)
from lipsync_async.sandbox.fault import Fault
from tests.client.doors import INPUTS
from tests.fleet.campaigns import opened, requests, slots

pytestmark = pytest.mark.anyio

ANALYZE, ESTIMATE = "/v2/analyze/cost", "/v2/generations/estimate"
CREATE = "/v2/generate"


async def test_max_jobs() -> None:
    """Exactly so many are ordered; the next has an outcome that says why, and no other."""
    async with opened(slots(3)) as (client, sandbox, _):
        found = await client.generations.run_all(requests(50), max_jobs=7)
        assert [each.is_success for each in found[:7]] == [True] * 7
        assert 1 <= len(found) - 7 <= 3
        for each in found[7:]:
            assert isinstance(each.error, SpendingLimitError)
            assert str(each.error).startswith(
                f"Request {each.index} was not ordered: max_jobs=7 is reached."
            )
        assert sandbox.jobs.created == 7
        assert sandbox.requests.count("POST") == 7


async def test_what_runs_is_waited_for() -> None:
    """The limit is met long before the jobs end, and each of them has its outcome."""
    async with opened(progression="time(500)") as (client, sandbox, clock):
        found = await client.generations.run_all(requests(500), max_jobs=20)
        assert sum(each.is_success for each in found) == 20
        assert clock.now() >= 500
        assert sandbox.jobs.active == 0


async def test_max_cost_by_the_media() -> None:
    """One estimate for each request that might be ordered, and the sum is kept."""
    async with opened(slots(2)) as (client, sandbox, _):
        price = (await client.generations.estimate(next(requests(1)))).cost
        sandbox.requests.clear()
        found = await client.generations.run_all(requests(30), max_cost=price * 5)
        assert sum(each.is_success for each in found) == 5 == sandbox.jobs.created
        assert {type(each.error) for each in found[5:]} == {SpendingLimitError}
        assert sandbox.requests.count("POST", ANALYZE) <= len(found)
        assert sandbox.requests.count("POST", ANALYZE) >= 6


async def test_max_cost_by_a_duration() -> None:
    """One estimate for each model and manner, however many requests; no media are looked at."""
    kinds: list[tuple[str, Options | None]] = [
        ("lipsync-2", None),
        ("lipsync-2-pro", None),
        ("lipsync-2-pro", Options(reasoning_enabled=True)),
    ]
    mixed = [
        GenerationRequest(model=model, input=INPUTS, options=options)
        for _ in range(10)
        for model, options in kinds
    ]
    async with opened() as (client, sandbox, _):
        found = await client.generations.run_all(mixed, max_cost=1e6, duration=60)
        assert all(each.is_success for each in found)
        assert sandbox.requests.count("POST", ESTIMATE) == 3
        assert sandbox.requests.count("POST", ANALYZE) == 0


async def test_a_duration_decides() -> None:
    """The price of the longest result is set aside for each."""
    async with opened(slots(1)) as (client, _, _):
        estimate = await client.generations.estimate_duration(model="lipsync-2", duration=60)
        found = await client.generations.run_all(
            requests(9), max_cost=estimate.cost * 3.5, duration=60
        )
        assert [each.is_success for each in found] == [True, True, True, False]
        assert isinstance(found[3].error, SpendingLimitError)
        assert f"this one would cost {estimate.cost:.2f}" in str(found[3].error)


async def test_both_limits() -> None:
    """Whichever is met first."""
    async with opened() as (client, sandbox, _):
        found = await client.generations.run_all(requests(9), max_jobs=4, max_cost=1e6)
        assert sum(each.is_success for each in found) == 4 == sandbox.jobs.created


async def test_after_the_limit_no_price_is_asked_for() -> None:
    """What will not be ordered is not analyzed either."""
    async with opened(slots(1)) as (client, sandbox, _):
        found = await client.generations.run_all(requests(9), max_jobs=1, max_cost=1e-9)
        assert [type(each.error) for each in found] == [SpendingLimitError]
        assert sandbox.requests.count("POST") == 1


async def test_a_local_file_has_no_price(tmp_path: Path) -> None:
    """The service cannot look at it before it is sent: an error that says so, for it alone."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"clip")
    mixed = [
        GenerationRequest(model="lipsync-2", input=[Video(file=clip), INPUTS[1]]),
        *requests(2),
    ]
    async with opened() as (client, sandbox, _):
        found = await client.generations.run_all(mixed, max_cost=1e6)
        assert [each.is_success for each in found] == [False, True, True]
        assert isinstance(found[0].error, InvalidRequestError)
        assert "input[0]" in str(found[0].error)
        assert sandbox.jobs.created == 2
        found = await client.generations.run_all(mixed[:1], max_cost=1e6, duration=60)
        assert found[0].is_success


@pytest.mark.filterwarnings("ignore::lipsync_async.IgnoredOptionWarning")
async def test_without_a_price_there_is_no_order() -> None:
    """A model that has none, or a service that will not tell, is an error of that request."""
    odd = GenerationRequest(model="lipsync-9", input=INPUTS)
    async with opened() as (client, sandbox, _):
        for duration, kind in (None, BadRequestError), (60.0, UnprocessableError):
            found = await client.generations.run_all(
                [odd, *requests(2)], max_cost=1e6, duration=duration
            )
            assert [type(each.error) for each in found] == [
                kind,
                type(None),
                type(None),
            ]
        assert sandbox.jobs.created == 4


ABSURD = ["NaN", "Infinity", "-Infinity", "-1", "1e400", "-1e300"]


@pytest.mark.parametrize("price", ABSURD)
@pytest.mark.parametrize("settings", [{}, {"duration": 60.0}], ids=["media", "duration"])
async def test_absurd_prices_buy_nothing(price: str, settings: dict[str, Any]) -> None:
    """What is no price does not fit, and does not make room for others either."""
    body = f'{{"estimatedFrameCount": 1, "estimatedGenerationCost": {price}}}'
    async with opened(slots(1)) as (client, sandbox, _):
        for path in (ANALYZE, ESTIMATE):
            sandbox.faults.add(Fault("status", path=path, status=200, body=body, count=None))
        found = await client.generations.run_all(requests(5), max_cost=1e6, **settings)
        assert sandbox.jobs.created == 0
        assert found
        assert not any(each.is_success for each in found)


async def test_what_was_certainly_not_made_is_not_paid_for() -> None:
    """A create that the service refuses gives its place back; one of unknown outcome does not."""
    async with opened(slots(1)) as (client, sandbox, _):
        sandbox.faults.add(Fault("status", path=CREATE, status=422, count=2))
        found = await client.generations.run_all(requests(9), max_jobs=3)
        assert [each.is_success for each in found] == [False, False, True, True, True, False]
        sandbox.faults.add(Fault("status", path=CREATE, status=500))
        hasty = client.with_options(retry=RetryPolicy(give_up_after=1e-9))
        found = await hasty.generations.run_all(requests(9), max_jobs=3)
        assert [each.is_success for each in found] == [False, True, True, False]


async def test_what_an_earlier_run_has_ordered_is_not_counted(tmp_path: Path) -> None:
    """The limits are those of this run: resumed jobs cost nothing anew."""
    journal = tmp_path / "journal.sqlite"
    async with opened(slots(2)) as (client, sandbox, _):
        for many in (3, 6, 9):
            found = await client.generations.run_all(requests(9), journal=journal, max_jobs=3)
            assert sum(each.is_success for each in found) == many
            assert sandbox.jobs.created == many


async def test_a_lost_estimate_is_asked_for_again() -> None:
    """Estimates change nothing, so they are tried like looks."""
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(Fault("reset_after", path=ESTIMATE, count=2))
        found = await client.generations.run_all(requests(5), max_cost=1e6, duration=60)
        assert all(each.is_success for each in found)
        assert sandbox.requests.count("POST", ESTIMATE) == 3


async def test_money_is_used_up_in_the_order_of_the_input() -> None:
    """However long an estimate takes, no later request gets the money of an earlier one."""
    async with opened() as (client, sandbox, clock):
        sandbox.faults.add(Fault("latency", path="/v2/analyze/cost", seconds=30, count=1))
        price = (await client.generations.estimate(next(requests(1)))).cost
        sandbox.faults.add(Fault("latency", path="/v2/analyze/cost", seconds=30, count=1))
        found = await client.generations.run_all(requests(6), max_cost=2.5 * price)
        assert [each.is_success for each in found] == [True, True, False, False, False, False]
        assert clock.now() >= 60
