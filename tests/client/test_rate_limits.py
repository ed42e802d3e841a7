"""A client sends no more than its account allows, and loses nothing by waiting for it."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from lipsync_async import Limits, PollPolicy, RateLimitError, RetryPolicy, WaitTimeoutError
from lipsync_async.sandbox.faults import Fault
from tests.bulk.runs import opened, refusals
from tests.client.connections import cancel_when, order

PLAN = Limits()  # what a user gets who says nothing


async def at_once(many: int, call: Callable[[], Awaitable[object]]) -> None:
    """Make so many calls at once, and see all of them succeed."""

    async def make() -> None:
        await call()

    async with anyio.create_task_group() as tasks:
        for _ in range(many):
            tasks.start_soon(make)


@pytest.mark.parametrize(
    ("method", "limit", "many"), [("POST", 60, 300), ("GET", 600, 1300)], ids=["creates", "others"]
)
async def test_a_rush_within_the_limits(method: str, limit: int, many: int) -> None:
    """Far more calls than a minute allows: none is refused, and the rate is 98 % of the limit."""
    # A timeout that the waiting would use up, and no second try.
    hasty = {"timeout": 1.0, "retry": RetryPolicy(attempts=1)}
    async with opened(PLAN, hasty, plan="enterprise:1000") as (client, sandbox, clock):
        call = partial(order, client) if method == "POST" else client.generations.count
        await at_once(many, call)
        assert refusals(sandbox) == 0
        assert sandbox.requests.count(method) == many
        # The first burst comes on top, so a run is a little shorter than evenly spread.
        assert many / (clock.now() / 60) >= 0.98 * limit


async def test_a_lone_user_waits_for_nothing() -> None:
    """A few calls in a row are not held up."""
    async with opened(PLAN) as (client, _, clock):
        for _ in range(10):
            await order(client)
            await client.generations.count()
        assert clock.now() == 0.0


async def test_somebody_else_uses_the_key() -> None:
    """When the service allows less than believed, refusals stay rare and all calls succeed."""
    async with opened(PLAN, creates_per_minute=30) as (client, sandbox, _):
        await at_once(200, partial(order, client))
        assert sandbox.jobs.created == 200
        assert refusals(sandbox) <= 20


async def test_a_wait_ends_in_time() -> None:
    """A wait whose looks are held up by the budget still ends when its time is over."""
    tight, short = Limits(requests_per_minute=1), {"poll": PollPolicy(long_poll=None)}
    async with opened(tight, short, progression="manual") as (client, sandbox, clock):
        job = await order(client)
        with pytest.raises(WaitTimeoutError):
            await client.generations.wait_until_complete(job, timeout=30.0)
        assert clock.now() == 30.0
        assert sandbox.requests.count("GET") == 1


async def test_who_leaves_the_line_leaves_no_gap() -> None:
    """The place of a call that is cancelled while it waits is used by the next one."""
    async with opened(Limits(requests_per_minute=2)) as (client, sandbox, clock):
        await at_once(2, client.models.list)
        turns = iter(range(20))  # of the loop, in which all come to stand in line
        await cancel_when(lambda: next(turns, None) is None, *[client.models.list] * 3)
        assert len(sandbox.requests) == 2
        await client.models.list()
        assert clock.now() <= 60 * 1.03
        assert len(sandbox.requests) == 3


async def test_who_never_left_the_line_has_ordered_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A create that is cancelled while it waits for its turn is not said to have worked."""
    world = opened(Limits(creates_per_minute=1), plan="enterprise:1000")
    async with world as (client, sandbox, _):
        await order(client)
        turns = iter(range(20))
        await cancel_when(lambda: next(turns, None) is None, *[partial(order, client)] * 3)
        assert sandbox.requests.count("POST") == 1
    assert "may have worked" not in caplog.text


async def test_a_refusal_without_retries() -> None:
    """A refusal is the caller's to see when nothing is to be tried again."""
    async with opened(PLAN, {"retry": RetryPolicy(attempts=1)}) as (client, sandbox, _):
        sandbox.faults.add(Fault("status", status=429, headers={"Retry-After": "7"}))
        with pytest.raises(RateLimitError):
            await client.models.list()


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "60"])
def test_wrong_limits(wrong: int) -> None:
    """A limit that is none is refused at once."""
    with pytest.raises(ValueError, match="creates_per_minute must be a whole number above 0"):
        Limits(creates_per_minute=wrong)
