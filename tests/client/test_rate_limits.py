"""A client sends no more than its account allows, and loses nothing by waiting for it."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    Limits,
    PollPolicy,
    RateLimitError,
    Request,
    Response,
    RetryPolicy,
    WaitTimeoutError,
)
from lipsync_async._logic.endpoints import raw_request
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import Fault, Sandbox, VirtualClock
from lipsync_async.sandbox.api import RESOURCES
from lipsync_async.sandbox.plans import RATES
from lipsync_async.sandbox.server.pipeline import Access
from tests.bulk.runs import opened, refusals
from tests.client.connections import cancel_when, connect, order

PLAN = Limits()  # what a user gets who says nothing


async def at_once(many: int, call: Callable[[], Awaitable[object]]) -> None:
    """Make so many calls at once, and see all of them succeed."""

    async def make() -> None:
        await call()

    async with anyio.create_task_group() as tasks:
        for _ in range(many):
            tasks.start_soon(make)


async def upload(client: AsyncClient) -> object:
    """Upload a file, whatever the service has already."""
    return await client.assets.upload(SOUND, name="line.wav", deduplicate=False)


async def clone(client: AsyncClient) -> object:
    """Clone a voice under a new name, from the one sample there is."""
    [sample] = await client.assets.list()
    return await client.voices.clone(str(uuid.uuid4()), asset_id=sample.id)


SOUND = b"RIFF\x24\0\0\0WAVEfmt " + bytes(28)
Use = Callable[[AsyncClient], Awaitable[object]]
VOICE = "EXAVITQu4vr4xnSDxMaL"

# For each class: what sends one, to where, the setting, the limit, and its seconds.
CLASSES: dict[str, tuple[Use, str, str, int, float]] = {
    "creates": (order, "/v2/generate", "creates_per_minute", 60, 60.0),
    "requests": (
        lambda client: client.generations.count(),
        "/v2/generations/count",
        "requests_per_minute",
        600,
        60.0,
    ),
    "uploads": (upload, "/v2/assets/upload", "uploads_per_minute", 120, 60.0),
    "speech": (
        lambda client: client.speech.create("Hello.", VOICE),
        "/v2/tts",
        "speeches_per_minute",
        60,
        60.0,
    ),
    "speech jobs": (
        lambda client: client.speech.start("Hello.", VOICE),
        "/v2/tts/jobs",
        "speeches_per_minute",
        60,
        60.0,
    ),
    "voices": (clone, "/v2/voices", "voices_per_hour", 10, 3600.0),
    "feedback": (
        lambda client: client.account.send_feedback("other", "Thanks."),
        "/v2/feedback",
        "feedback_per_minute",
        30,
        60.0,
    ),
}


@asynccontextmanager
async def rush(
    kind: str, times: int, client: Mapping[str, Any]
) -> AsyncIterator[tuple[Callable[[], Awaitable[object]], int, Sandbox, VirtualClock]]:
    """Connect a client whose limit is so many times the service's, with a sample to clone."""
    use, _, setting, limit, seconds = CLASSES[kind]
    limits = attrs.evolve(PLAN, **{setting: times * limit})
    async with opened(limits, client, plan="enterprise:1000") as (connected, sandbox, clock):
        await upload(connected)
        await clock.sleep(2 * seconds)
        sandbox.requests.clear()
        yield partial(use, connected), limit * 5 // 2, sandbox, clock


def test_every_endpoint_has_the_limit_of_the_service() -> None:
    """It counts in the client among as many, in as many seconds, as it does there."""
    routes = [route for each in RESOURCES for route in each.routes if route.access is Access.KEY]
    assert {route.rate for route in routes} == set(RATES)
    for route in routes:
        path = f"{route.path}?x=1"
        own = raw_request(
            route.method, path, headers={}, json=None, body=None, idempotency_key=None
        ).rate_class
        assert (getattr(PLAN, own.setting), own.seconds) == RATES[route.rate]


@pytest.mark.parametrize("kind", CLASSES)
async def test_a_rush_within_the_limits(kind: str) -> None:
    """Far more calls than the limit allows: none is refused, and the rate is 98 % of the limit."""
    _, path, setting, limit, seconds = CLASSES[kind]
    assert getattr(PLAN, setting) == limit
    # A timeout that the waiting would use up, and no second try.
    hasty = {"timeout": 1.0, "retry": RetryPolicy(attempts=1)}
    async with rush(kind, 1, hasty) as (use, many, sandbox, clock):
        begun = clock.now()
        await at_once(many, use)
        assert refusals(sandbox) == 0
        assert sum(each.path == path for each in sandbox.requests) == many
        # The first burst comes on top, so a run is a little shorter than evenly spread.
        assert many / ((clock.now() - begun) / seconds) >= 0.98 * limit


@pytest.mark.parametrize("kind", CLASSES)
async def test_the_service_allows_less(kind: str) -> None:
    """Where the service allows half of what was configured, refusals stay rare; all succeed."""
    _, path, _, limit, seconds = CLASSES[kind]
    async with rush(kind, 2, {}) as (use, many, sandbox, clock):
        begun = clock.now()
        await at_once(many, use)
        assert refusals(sandbox) <= 4
        assert sum(each.path == path for each in sandbox.requests) == many + refusals(sandbox)
        assert many / ((clock.now() - begun) / seconds) >= 0.95 * limit


async def test_late_refusals_end_no_call() -> None:
    """Calls that were under way at the first refusal are refused, too, and succeed later."""
    limits, clock = attrs.evolve(PLAN, uploads_per_minute=720), VirtualClock()
    async with Sandbox(render=False, clock=clock, plan="enterprise:1000") as sandbox:
        inner = sandbox.transport()

        async def late(request: Request) -> Response:
            await clock.sleep(1.5)
            answer = await inner.send(request, timeout=None)
            await clock.sleep(1.5)
            return answer

        async with connect(
            sandbox, limits=limits, transport=MemoryTransport(late, clock)
        ) as client:
            await at_once(200, partial(upload, client))
        paths = [each.path for each in sandbox.requests if each.status != 429]
        assert paths.count("/v2/assets/upload") == 200
        assert 30 <= refusals(sandbox) <= 100


async def test_a_class_counts_among_all_requests() -> None:
    """Uploads wait for the limit of all requests as well, and nothing is sent too late for it."""
    few = Limits(requests_per_minute=30, uploads_per_minute=120)
    async with opened(few, requests_per_minute=30) as (client, sandbox, clock):
        await at_once(10, client.generations.count)
        await at_once(30, partial(upload, client))
        sent = [each.time for each in sandbox.requests if each.method != "PUT"]
        assert refusals(sandbox) == 0
        assert len(sent) == 70
        assert all(later - first >= 60 for first, later in zip(sent, sent[30:], strict=False))
        assert clock.now() <= 60 * (1 + 40 / 29)


async def test_a_refused_class_stops_no_other() -> None:
    """Who is refused an upload may still look at jobs at once."""
    async with opened(PLAN, plan="enterprise:1000") as (client, sandbox, clock):
        sandbox.faults.add(
            Fault("status", status=429, path="/v2/tts", headers={"Retry-After": "30"})
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.speech.create, "Hello.", VOICE)
            await anyio.lowlevel.checkpoint()
            await client.generations.count()
            assert clock.now() == 0.0
        assert clock.now() >= 30.0
        assert sum(each.path == "/v2/tts" for each in sandbox.requests) == 2


async def test_a_class_without_a_limit_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """Without a limit of ours a refusal is the caller's to see, and holds nothing else back."""
    free = attrs.evolve(PLAN, feedback_per_minute=None)
    report = CLASSES["feedback"][0]
    once = {"retry": RetryPolicy(attempts=1)}
    async with opened(free, once, plan="enterprise:1000") as (client, _, clock):
        await at_once(30, partial(report, client))
        with pytest.raises(RateLimitError):
            await report(client)
        await client.generations.count()
        assert clock.now() <= 32 * 60 * 1.02 / 600
    assert "the service refuses more" not in caplog.text


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
