"""Clocks of the sandbox: a fast one, with what a client is told by its own, and one that jumps."""

import asyncio
import time
from datetime import UTC, datetime

import anyio
import anyio.to_thread
import pytest
from hypothesis import given, strategies as st

from lipsync_async import webhooks
from lipsync_async.sandbox import Fault, VirtualClock
from lipsync_async.sandbox.clock import real_seconds, retry_after
from tests.sandbox.clients import created, order, socket_client, until

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


async def test_sleepers_wake_in_order() -> None:
    """Sleepers wake by time, those of one moment in the order in which they lay down."""
    clock, woken = VirtualClock(start=100.0), list[tuple[str, float]]()

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now()))

    async with anyio.create_task_group() as tasks:
        for name, seconds in [("c", 7200.0), ("a", 1.0), ("b", 1.0), ("now", 0.0), ("past", -5.0)]:
            tasks.start_soon(sleep, name, seconds)
    assert woken == [("now", 100.0), ("past", 100.0), ("a", 101.0), ("b", 101.0), ("c", 7300.0)]


@pytest.mark.parametrize("others", [1, 2, 20])
async def test_clocks_of_one_loop_stop_none(others: int) -> None:
    """Each clock looks again in every turn of the loop, and yet all of them jump."""
    clocks = [VirtualClock() for _ in range(others + 1)]
    async with anyio.create_task_group() as tasks:
        for number, clock in enumerate(clocks):
            tasks.start_soon(clock.sleep, 10.0 + number)
    assert [clock.now() for clock in clocks] == [10.0 + number for number in range(others + 1)]


async def test_callbacks_in_every_turn_stop_no_clock() -> None:
    """What runs in every turn without a task, such as a cancellation, stops no clock."""
    clock, loop, turns = VirtualClock(), asyncio.get_running_loop(), list[None]()

    def turn() -> None:
        turns.append(None)
        if clock.now() < 30.0:
            loop.call_soon(turn)

    turn()
    for _ in range(3):
        await clock.sleep(10.0)
    assert clock.now() == 30.0
    assert len(turns) > 3


async def test_a_task_at_work_stops_the_clock_for_any_number_of_turns() -> None:
    """However many turns a task needs, no time passes meanwhile."""
    clock, seen = VirtualClock(), set[float]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 10.0)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
            seen.add(clock.now())
    assert seen == {0.0}


async def test_hold() -> None:
    """Real work under `hold`, such as a thread's, takes no virtual time."""
    clock = VirtualClock()
    during: list[float] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 10.0)
        await anyio.lowlevel.checkpoint()
        with clock.hold():
            await anyio.to_thread.run_sync(int)
            during.append(clock.now())
    assert (during, clock.now()) == ([0.0], 10.0)


async def test_advance() -> None:
    """Moving by hand runs what falls due on the way, each at its own time."""
    clock, seen = VirtualClock(), list[float]()
    for seconds in (3.0, 1.0, 9.0):
        clock.call_later(seconds, lambda: seen.append(clock.now()))
    clock.call_later(-1.0, lambda: seen.append(clock.now()))
    clock.advance(5.0)
    assert (seen, clock.now()) == ([0.0, 1.0, 3.0], 5.0)
    await clock.sleep(20.0)
    assert (seen, clock.now()) == ([0.0, 1.0, 3.0, 9.0], 25.0)


async def test_cancelled_timers_never_run() -> None:
    """A cancelled timer neither runs nor moves the clock; cancelling late is harmless."""
    clock, seen = VirtualClock(), list[str]()
    cancelled = clock.call_later(50.0, lambda: seen.append("cancelled"))
    kept = clock.call_later(10.0, lambda: seen.append("kept"))
    cancelled.cancel()
    await clock.sleep(20.0)
    kept.cancel()
    assert (seen, clock.now()) == (["kept"], 20.0)
    clock.call_later(5.0, lambda: seen.append("by hand")).cancel()
    clock.advance(10.0)
    assert (seen, clock.now()) == (["kept"], 30.0)


async def test_timer_without_a_task() -> None:
    """A timer runs although no one sleeps, as soon as everybody waits."""
    clock, rung = VirtualClock(), anyio.Event()
    clock.call_later(3600.0, rung.set)
    await rung.wait()
    assert clock.now() == 3600.0


def test_clock_outlives_its_loop() -> None:
    """A clock whose loop ended with timers left goes on in the next loop."""
    clock, seen = VirtualClock(), list[float]()

    async def leave_a_timer() -> None:
        clock.call_later(5.0, lambda: seen.append(clock.now()))

    asyncio.run(leave_a_timer())
    asyncio.run(clock.sleep(10.0))
    assert seen == [5.0]
    assert clock.now() >= 10.0


@pytest.mark.parametrize("rings", [1, 3])
async def test_raising_callback_stops_no_clock(rings: int) -> None:
    """A callback that raises is the loop's to report; the clock goes on."""
    clock, reported = VirtualClock(), list[object]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(type(context["exception"])))
    for _ in range(rings):
        clock.call_later(1.0, lambda: 1 // 0)
    await clock.sleep(2.0)
    loop.set_exception_handler(None)
    assert (reported, clock.now()) == ([ZeroDivisionError] * rings, 2.0)
