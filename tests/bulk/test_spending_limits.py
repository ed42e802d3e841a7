"""What may be ordered: so many jobs, so much money, and never more by mistake."""

import logging
from math import inf, isfinite, nan
from pathlib import Path
from sys import float_info
from typing import Any

import attrs
import pytest
from hypothesis import example, given, strategies as st

from lipsync_async import AsyncClient, GenerationRequest, Options, RetryPolicy, Video, errors
from lipsync_async._bulk.journal import NullJournal
from lipsync_async._bulk.results import MAX_SAME_REFUSALS
from lipsync_async._bulk.submitter import SpendingLimit
from lipsync_async.sandbox.faults import Fault
from tests.bulk.runs import opened, requests, run, slots
from tests.client.connections import INPUTS

ANALYZE, ESTIMATE = "/v2/analyze/cost", "/v2/generations/estimate"
CREATE = "/v2/generate"


async def test_max_jobs() -> None:
    """Exactly so many are ordered; the next has an outcome that says why, and no other."""
    async with opened(slots(3)) as (client, sandbox, _):
        found = await client.generations.run_all(requests(50), max_jobs=7)
        assert [each.is_success for each in found[:7]] == [True] * 7
        assert 1 <= len(found) - 7 <= 3
        for each in found[7:]:
            assert isinstance(each.error, errors.SpendingLimitError)
            words = f"Request {each.index} has no job: max_jobs=7 is reached."
            assert str(each.error).startswith(words)
        assert sandbox.jobs.created == 7
        assert sandbox.requests.count("POST") == 7


async def test_max_cost_by_the_media() -> None:
    """One estimate for each request that might be ordered, and the sum is kept."""
    async with opened(slots(2)) as (client, sandbox, _):
        price = (await client.generations.estimate(next(requests(1)))).cost
        sandbox.requests.clear()
        found = await client.generations.run_all(requests(30), max_cost=price * 5)
        assert sum(each.is_success for each in found) == 5 == sandbox.jobs.created
        assert {type(each.error) for each in found[5:]} == {errors.SpendingLimitError}
        assert sandbox.requests.count("POST", ANALYZE) <= len(found)
        assert sandbox.requests.count("POST", ANALYZE) >= 6


async def test_max_cost_by_a_duration() -> None:
    """One estimate for each model and manner, however many requests; no media are looked at."""
    kinds: list[dict[str, Any]] = [
        {"model": "lipsync-2"},
        {"model": "lipsync-2-pro"},
        {"model": "lipsync-2-pro", "options": Options(reasoning_enabled=True)},
    ]
    mixed = [GenerationRequest(input=INPUTS, **kind) for kind in kinds * 10]
    async with opened() as (client, sandbox, _):
        found = await client.generations.run_all(mixed, max_cost=1e6, duration=60)
        assert all(each.is_success for each in found)
        assert sandbox.requests.count("POST", ESTIMATE) == 3
        assert sandbox.requests.count("POST", ANALYZE) == 0


async def test_after_the_limit_no_price_is_asked_for() -> None:
    """What will not be ordered is not analyzed either."""
    async with opened(slots(1)) as (client, sandbox, _):
        found = await client.generations.run_all(requests(9), max_jobs=1, max_cost=1e-9)
        assert [type(each.error) for each in found] == [errors.SpendingLimitError]
        assert sandbox.requests.count("POST") == 1


@pytest.fixture
def local(tmp_path: Path) -> GenerationRequest:
    """Return a request with a local file."""
    (clip := tmp_path / "clip.mp4").write_bytes(b"clip")
    return GenerationRequest(model="lipsync-2", input=[Video(file=clip), INPUTS[1]])


async def test_a_local_file_has_no_price(local: GenerationRequest) -> None:
    """The service cannot look at it before it is sent, so nothing is ordered at all."""
    async with opened() as (client, sandbox, _):
        with pytest.raises(errors.InvalidRequestError) as caught:
            await client.generations.run_all([*requests(2), *[local] * 8], max_cost=1e6)
        assert caught.value.problems == (
            *(
                f"requests[{index}].input[0].file: cannot be estimated; pass duration=, the "
                "seconds of the longest result"
                for index in range(2, 7)
            ),
            "requests: 3 more local files",
        )
        assert sandbox.requests.count("POST") == 0
        found = await client.generations.run_all([local], max_cost=1e6, duration=60)
        assert found[0].is_success


async def test_a_local_file_that_comes_later(local: GenerationRequest) -> None:
    """An input that comes: the first of all ends the run, a later one is refused for itself."""
    async with opened(slots(1)) as (client, sandbox, _):
        found = await client.generations.run_all(iter([local, *requests(3)]), max_cost=1e6)
        assert {type(each.error) for each in found} == {errors.SpendingLimitError}
        assert "max_cost cannot be kept, for prices cannot be known" in str(found[0].error)
        assert isinstance(found[0].error and found[0].error.__cause__, errors.InvalidRequestError)
        assert sandbox.jobs.created == 0
        found = await client.generations.run_all(iter([*requests(2), local]), max_cost=1e6)
        assert [each.is_success for each in found[:-1]] == [True] * 2
        assert isinstance(found[-1].error, errors.InvalidRequestError)
        assert sandbox.jobs.created == 2


@pytest.mark.filterwarnings("ignore::lipsync_async.IgnoredOptionWarning")
async def test_without_a_price_there_is_no_order() -> None:
    """A model that has none, or a service that will not tell, is an error of that request."""
    odd = GenerationRequest(model="lipsync-9", input=INPUTS)
    async with opened() as (client, sandbox, _):
        for duration, kind in (None, errors.BadRequestError), (60.0, errors.UnprocessableError):
            rows = [odd, *requests(2)]
            found = await client.generations.run_all(rows, max_cost=1e6, duration=duration)
            assert [type(each.error) for each in found] == [kind, type(None), type(None)]
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
        assert [each.is_success for each in found] == [False] * len(found) != []


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


async def test_what_an_earlier_run_has_ordered_is_not_counted(journal: Path) -> None:
    """The limits are those of this run: resumed jobs cost nothing anew."""
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


PAGE, FEW = "<html>Blocked</html>", MAX_SAME_REFUSALS
WORDS = {"message": "There is no price for this.", "errorCode": "cost_estimate_unavailable"}
# What the estimates answer, with or without a duration, and how many requests that costs.
UNKNOWN: dict[str, tuple[Fault, float | None, int]] = {
    "no such path": (Fault("status", path=ANALYZE, status=404, body=PAGE), None, 1),
    "no such path, in JSON": (Fault("status", path=ANALYZE, status=404), None, 1),
    "no such path for durations": (Fault("status", path=ESTIMATE, status=404, body=PAGE), 60.0, 1),
    "no such method": (Fault("status", path=ANALYZE, status=405, body=PAGE), None, 1),
    "not implemented": (Fault("status", path=ANALYZE, status=501, body=PAGE), None, 1),
    "a filter": (Fault("status", path=ANALYZE, status=403, body=PAGE), None, FEW),
    "a log-in page": (Fault("status", path=ANALYZE, status=200, body=PAGE), None, FEW),
    "no price for durations": (Fault("status", path=ESTIMATE, status=422, body=WORDS), 60.0, FEW),
}


@pytest.mark.parametrize(("fault", "duration", "lost"), UNKNOWN.values(), ids=UNKNOWN)
async def test_prices_that_cannot_be_known(fault: Fault, duration: float | None, lost: int) -> None:
    """A limit of money that cannot be kept ends the run before anything is ordered."""
    told: list[Any] = []
    async with opened(slots(3)) as (client, sandbox, _):
        sandbox.faults.add(attrs.evolve(fault, count=None))
        found = await run(client, 200, max_cost=5.0, on_progress=told.append, duration=duration)
        assert lost <= len(found) <= lost + 3
        assert isinstance(told[-1].ended_by, errors.SpendingLimitError)
        assert "max_cost cannot be kept" in str(told[-1].ended_by)
        assert isinstance(told[-1].ended_by.__cause__, errors.ResponseError | errors.DecodeError)
        assert sandbox.jobs.created == 0
        assert sandbox.requests.count("POST") <= lost * 20


async def test_media_without_a_price_are_an_error_of_their_own() -> None:
    """What the service says of some media does not stop the run, however many in a row."""
    async with opened(slots(3)) as (client, sandbox, _):
        sandbox.faults.add(Fault("status", path=ANALYZE, status=422, body=WORDS, count=20))
        found = await client.generations.run_all(requests(30), max_cost=1e6)
        assert [each.is_success for each in found] == [False] * 20 + [True] * 10


async def test_a_run_says_first_and_last_what_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the limits at the beginning, and what was met in the end."""
    async with opened(slots(1)) as (client, _, _):
        with caplog.at_level(logging.INFO, "lipsync_async"):
            await client.generations.run_all(requests(3), max_jobs=1, max_cost=7.5)
    why = (
        "max_jobs=1 is reached. No later request is started. To go on, run again with another "
        "limit, and the same journal if there is one."
    )
    begin, *_, halt, end = [line for line in caplog.messages if line.startswith("run_many")]
    assert begin == "run_many begins: max_jobs=1, max_cost=7.5 US dollars"
    assert halt.endswith(f"waits for those that run: Request 1 has no job: {why}")
    assert end == (
        "run_many ends: 2 requests begun, 2 with their outcomes; ended by SpendingLimitError: "
        f"{why}"
    )


@pytest.mark.parametrize("duration", [None, 60.0])
async def test_money_counts_per_journal(journal: Path, duration: float | None) -> None:
    """What earlier runs have ordered is paid for; what was refused for certain is not."""
    settings: dict[str, Any] = {"journal": journal, "duration": duration}
    async with opened(slots(1)) as (client, sandbox, _):
        price = (await client.generations.estimate(next(requests(1)))).cost
        if duration is not None:
            told = client.generations.estimate_duration(model="lipsync-2", duration=duration)
            price = (await told).cost
        sandbox.faults.add(Fault("status", path=CREATE, status=422, count=2))
        for limit, done in (3.5, 3), (3.5, 3), (5.5, 5), (1.0, 5), (9.5, 9), (9.5, 9):
            found = await run(client, 12, max_cost=limit * price, **settings)
            assert (limit, sandbox.jobs.created) == (limit, done)
            last = found[-1].error
            assert isinstance(last, errors.SpendingLimitError)
            assert "are created" in str(last)
        assert f"jobs for {9 * price:.2f} US dollars are created ({9 * price:.2f}" in str(last)


async def test_an_order_of_unknown_outcome_is_counted_once(journal: Path) -> None:
    """It may be paid for already, and costs nothing more when it is sent again."""
    async with opened(slots(1)) as (client, sandbox, _):
        price = (await client.generations.estimate(next(requests(1)))).cost
        sandbox.faults.add(Fault("reset_after", path=CREATE, count=1))
        hasty = client.with_options(retry=RetryPolicy(give_up_after=1e-9))
        (lost,) = await run(hasty, 1, journal=journal, max_cost=1.5 * price)
        assert lost.error is not None
        assert lost.error.may_have_worked
        estimates = sandbox.requests.count("POST", ANALYZE)
        found = await client.generations.run_all(requests(3), journal=journal, max_cost=2.5 * price)
        assert [each.is_success for each in found] == [True, True, False]
        assert sandbox.jobs.created == 2
        assert sandbox.requests.count("POST", ANALYZE) == estimates + 2


async def test_a_journal_without_prices(journal: Path) -> None:
    """What was ordered without a limit has no price, so that none can be kept; all else can."""
    async with opened(slots(1)) as (client, sandbox, _):
        await client.generations.run_all(requests(2), journal=journal)
        found = await client.generations.run_all(requests(4), journal=journal, max_cost=1e6)
        assert [each.is_success for each in found] == [True, True, False]
        assert "2 of 2 jobs in the journal were created without it" in str(found[-1].error)
        assert sandbox.jobs.created == 2
        done = await client.generations.run_all(requests(2), journal=journal, max_cost=1e6)
        assert [each.is_success for each in done] == [True, True]
        found = await client.generations.run_all(requests(4), journal=journal, max_jobs=9)
        assert [each.is_success for each in found] == [True] * 4


# What halts a run: a fault of the creates, how many of them it takes, and an option.
HALTS: dict[str, tuple[Fault, int, dict[str, Any]]] = {
    "a dead key": (Fault("status", status=401), 1, {}),
    "no credit": (Fault("status", status=402), 1, {}),
    "a filter": (Fault("status", status=403, body=PAGE), FEW, {}),
    "no such path": (Fault("status", status=404, body=PAGE), FEW, {}),
    "no such method": (Fault("status", status=405, body=PAGE), FEW, {}),
    "the first wrong one": (Fault("status", status=422), 1, {"stop_on_error": True}),
    "the first refused one": (Fault("status", status=403), 1, {"stop_on_error": True}),
}


@pytest.mark.traced_once("halt")
@pytest.mark.parametrize("seconds", [1.0, 30.0])
@pytest.mark.parametrize("halt", HALTS)
async def test_nothing_is_sent_after_a_halt(journal: Path, halt: str, seconds: float) -> None:
    """Requests that wait for their price when a run halts are not begun, and cost nothing."""
    fault, many, options = HALTS[halt]
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(Fault("latency", path=ANALYZE, seconds=seconds, count=None))
        sandbox.faults.add(attrs.evolve(fault, path=CREATE, count=None))
        found = await run(client, 40, max_cost=1e6, journal=journal, **options)
        assert [each.error is not None for each in found] == [True] * many
        assert sandbox.requests.count("POST", CREATE) == many
        assert sandbox.requests.count("POST", ANALYZE) == many + 1
        sandbox.faults.clear()
        found = await client.generations.run_all(requests(8), max_cost=1e6, journal=journal)
        assert [each.error for each in found] == [None] * 8
        assert sandbox.jobs.created == 8


@pytest.mark.parametrize("halt", HALTS)
async def test_prices_that_come_at_once(halt: str) -> None:
    """What was sent before the halt has its outcome; without a journal it is the same."""
    fault, many, options = HALTS[halt]
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(attrs.evolve(fault, path=CREATE, count=None))
        found = await client.generations.run_all(requests(40), max_cost=1e6, **options)
        assert many <= len(found) == sandbox.requests.count("POST", CREATE)
        assert all(each.error is not None for each in found)
        assert sandbox.jobs.created == 0


def limit(*, max_jobs: int | None = None, max_cost: float | None = None) -> SpendingLimit:
    """Return a limit of a run that asks for no price."""
    client = AsyncClient("key")
    requester, settings = client._requester, client._options  # noqa: SLF001
    limits: dict[str, Any] = {"max_jobs": max_jobs, "max_cost": max_cost, "duration": None}
    return SpendingLimit(requester, settings, NullJournal(), **limits)


PRICES = st.floats(0, 1e6) | st.sampled_from([nan, inf, -inf, -1.0, -1e300, 1e300, 1e-300])
LIMITS = st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False)
# What becomes of an order: it is placed, or it is certain that nothing was made of it.
ORDERS = st.lists(st.tuples(PRICES, st.booleans()), max_size=40)


@example(3, 0.3, [(0.1, False)] * 4)
@example(None, float_info.max, [(float_info.max, False), (inf, False)])
@example(None, 1.0, [(1.0, False), (-1e300, False), (1e300, False)])
@given(st.none() | st.integers(1, 30), LIMITS, ORDERS)
def test_limits_are_kept(
    max_jobs: int | None, max_cost: float | None, orders: list[tuple[float, bool]]
) -> None:
    """Whatever prices come back, the orders that stand are within both limits."""
    spending = limit(max_jobs=max_jobs, max_cost=max_cost)
    standing: list[float] = []
    for price, comes_to_nothing in orders:
        cost = 0.0 if max_cost is None else price
        if spending.count(cost) is not None:
            continue
        if comes_to_nothing:
            spending.refund(cost)
        else:
            standing.append(cost)
        assert len(standing) == spending.jobs <= (inf if max_jobs is None else max_jobs)
        assert all(isfinite(each) and each >= 0 for each in standing)
        if max_cost is not None:
            assert sum(standing) <= max_cost * (1 + 1e-6) or max_cost == float_info.max


@given(LIMITS.filter(lambda limit: limit is not None), ORDERS)
def test_once_over_always_over(max_cost: float, orders: list[tuple[float, bool]]) -> None:
    """After the first refusal even what costs nothing is refused, whatever is taken back."""
    spending = limit(max_cost=max_cost)
    refused = False
    for price, _ in orders:
        problem = spending.count(price)
        assert problem is not None or not refused
        refused = problem is not None
        assert (spending.why_over is not None) is refused
    spending.count(inf)
    spending.refund(max_cost)
    assert spending.count(0.0) is not None


@given(st.lists(PRICES, max_size=20))
def test_without_limits_all_is_let_through(prices: list[float]) -> None:
    """Without a limit none is made up."""
    spending = limit()
    assert [spending.count(price) for price in prices] == [None] * len(prices)
    assert spending.why_over is None


@pytest.mark.parametrize(("price", "shown"), [(0.51, "0.51"), (nan, "nan"), (inf, "inf")])
def test_a_refusal_says_what_would_be_needed(price: float, shown: str) -> None:
    """It names the limit, what is ordered already, and the price that does not fit."""
    spending = limit(max_cost=1.0)
    assert spending.count(0.5) is None
    assert spending.count(price) == (
        "max_cost=1 does not allow it: jobs for 0.50 US dollars are created, and this one "
        f"would cost {shown}"
    )


def test_three_tenths_are_enough_for_three_times_a_tenth() -> None:
    """Sums of prices are no round numbers, and that must not matter."""
    spending = limit(max_cost=0.3)
    assert [spending.count(0.1) for _ in range(3)] == [None] * 3
    assert spending.count(0.01) is not None
