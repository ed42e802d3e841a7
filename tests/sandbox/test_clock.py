"""A fast sandbox: jobs and limits go by its clock, what a client is told goes by the client's."""

import asyncio
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from lipsync_async import webhooks
from lipsync_async.sandbox import Fault
from lipsync_async.sandbox.clock import real_seconds, retry_after
from tests.sandbox.clients import created, order, socket_client, until

pytestmark = pytest.mark.anyio

# Fast enough to tell the two clocks apart, slow enough that a busy machine's seconds,
# which count tenfold, reach none of the times below.
SPEED = 10.0
DURATIONS = st.floats(0, 1e6)
SPEEDS = st.floats(1e-3, 1e6)


@pytest.mark.parametrize(
    ("seconds", "speed", "told", "header"),
    [
        (30.0, 1.0, 30.0, "30"),
        (30.0, 10.0, 3.0, "3"),
        (30.0, 0.5, 60.0, "60"),
        (0.07, 1.0, 0.07, "1"),
        (2.0, 10.0, 0.2, "1"),
        (1.0, 3.0, 0.334, "1"),
        (30.0, 1_000_000.0, 0.001, "1"),
    ],
)
def test_waits_are_told_in_real_seconds(
    seconds: float, speed: float, told: float, header: str
) -> None:
    """A field takes milliseconds; a header takes whole seconds, and never none."""
    assert (real_seconds(seconds, speed), retry_after(seconds, speed)) == (told, header)


@given(DURATIONS, SPEEDS)
def test_who_waits_as_told_is_not_early(seconds: float, speed: float) -> None:
    """Rounding goes up, by less than what the field or the header can tell apart."""
    told, header = real_seconds(seconds, speed), int(retry_after(seconds, speed))
    assert -1e-6 <= told - seconds / speed <= 0.001 + 1e-6
    assert told <= header < told + 1 or header == 1


async def test_the_advice_of_a_full_account_is_real() -> None:
    """`retryAfterSeconds` shrinks as much as the time in which a slot becomes free."""
    async with socket_client(concurrency=1, progression="manual", speed=SPEED) as client:
        await created(client)
        answer = await client.send("POST", "/v2/generate", order())
    assert (answer.status, answer.json["retryAfterSeconds"]) == (429, 3.0)


async def test_a_budget_fills_up_with_the_clock() -> None:
    """A fast minute is over in seconds: six real ones at ten times the speed."""
    async with socket_client(requests_per_minute=1, speed=SPEED) as client:
        statuses = []
        for seconds in (0.0, 0.0, 60.0):
            await client.sleep(seconds)
            statuses.append((await client.send("GET", "/v2/models")).status)
    assert statuses == [200, 429, 200]


async def test_a_long_poll_holds_for_the_clients_seconds() -> None:
    """Ten seconds are a hundred of the clock, and the pause advised after them is real."""
    async with socket_client(progression="manual", speed=SPEED) as client:
        job_id = await created(client)
        job = client.sandbox.jobs[job_id]
        waiting = asyncio.create_task(
            client.send("GET", f"/v2/generate/{job_id}?wait=true&timeout=10")
        )
        await until(lambda: job.waiters)
        await client.sleep(50.0)
        is_held = not job.waiters[0].is_set()
        await client.sleep(50.0)
        answer = await waiting
    assert (is_held, answer.json["status"]) == (True, "PENDING")
    assert answer.headers["x-sync-wait-timeout-seconds"] == "10"
    assert answer.headers["retry-after"] == "1"


async def test_faults_say_what_they_are_told_to_say() -> None:
    """Headers of a fault are bytes to send, not times of the sandbox."""
    async with socket_client(speed=SPEED) as client:
        client.sandbox.faults.add(Fault("status", status=429, headers={"Retry-After": "7"}))
        answer = await client.send("GET", "/v2/models")
    assert answer.headers["retry-after"] == "7"


async def test_links_expire_by_the_clock() -> None:
    """An output lives as long as its jobs' time says: 60 s are six real ones."""
    async with socket_client(progression="immediate", link_lifetime=60.0, speed=SPEED) as client:
        link = (await client.send("GET", f"/v2/generations/{await created(client)}/download")).body
        statuses = []
        for seconds in (0.0, 60.0):
            await client.sleep(seconds)
            statuses.append((await client.send("GET", link.decode())).status)
    assert statuses == [200, 403]


async def test_signatures_are_good_for_who_has_a_usual_clock() -> None:
    """After hours of the sandbox, also of one that sends late, the webhook is not from tomorrow."""
    async with socket_client(progression="immediate", speed=1_000_000.0) as client:
        client.sandbox.faults.add(Fault("webhook_delay", seconds=86_400.0))
        await created(client, webhookUrl=f"{client.sandbox.url}/__sandbox/inbox")
        await until(lambda: client.sandbox.inbox)
        (received,) = client.sandbox.inbox
        secret = client.sandbox.webhook_secret
    webhooks.verify(received.body, received.headers["sync-signature"], secret)
    assert received.problem is None


async def test_dates_are_those_of_today() -> None:
    """A client may tell a generation's age by its own calendar."""
    async with socket_client(progression="manual", speed=1_000_000.0) as client:
        answer = await client.send("POST", "/v2/generate", order())
    created_at = datetime.fromisoformat(answer.json["createdAt"])
    assert created_at.tzinfo == UTC
    assert abs(created_at.timestamp() - time.time()) < 60.0
