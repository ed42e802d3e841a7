"""The virtual clock and the transport on it: order, jumps, timeouts, and nothing left."""

import asyncio

import anyio
import anyio.to_thread
import pytest

from lipsync_async import ConnectError, RequestTimeoutError, Response
from lipsync_async._models.http import Request
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async._transport.protocol import Transport
from lipsync_async.sandbox import VirtualClock

pytestmark = pytest.mark.anyio

ASKED = Request("GET", "http://localhost/x")


async def answer(request: Request) -> Response:
    """Answer anything."""
    await anyio.lowlevel.checkpoint()
    return Response(request.method, request.url, 200, {"etag": '"1"'}, bytes(200_000))


def nothing() -> asyncio.Future[Response]:
    """Return what never comes."""
    return asyncio.get_running_loop().create_future()


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


async def test_time_stands_still_while_somebody_works() -> None:
    """The clock does not jump while a task can still run."""
    clock = VirtualClock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 10.0)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
            assert clock.now() == 0.0
    assert clock.now() == 10.0


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


async def test_answer_in_time() -> None:
    """An answer that comes in time is handed over, and its timeout forgotten."""
    clock = VirtualClock()

    async def slow(request: Request) -> Response:
        await clock.sleep(4.0)
        return await answer(request)

    transport = MemoryTransport(slow, clock)
    assert (await transport.send(ASKED, timeout=5.0)).status == 200
    assert (await transport.send(ASKED, timeout=None)).status == 200
    assert (transport.now(), clock.now()) == (8.0, 8.0)
    await transport.sleep(1.0)
    assert transport.now() == 9.0
    await transport.aclose()
    await transport.aclose()


async def test_answer_too_late() -> None:
    """A handler that is too slow is cancelled at the very second."""
    clock, ended = VirtualClock(), list[float]()

    async def hang(_: Request) -> Response:
        try:
            return await nothing()
        finally:
            ended.append(clock.now())

    with pytest.raises(RequestTimeoutError, match=r"no answer within 2\.5 s"):
        await MemoryTransport(hang, clock).send(ASKED, timeout=2.5)
    assert (ended, clock.now()) == ([2.5], 2.5)


async def test_handlers_error() -> None:
    """What the handler raises comes out, and its timeout is forgotten."""
    clock = VirtualClock()

    async def refuse(request: Request) -> Response:
        raise ConnectError("none there", method=request.method, url=request.url)

    with pytest.raises(ConnectError, match="none there"):
        await MemoryTransport(refuse, clock).send(ASKED, timeout=60.0)
    await clock.sleep(1.0)
    assert clock.now() == 1.0


async def test_cancelled_request() -> None:
    """A cancelled request ends at once, without a timeout error, and leaves no timer."""
    clock = VirtualClock()

    async def hang(_: Request) -> Response:
        return await nothing()

    with anyio.CancelScope() as scope:
        clock.call_later(3.0, scope.cancel)
        await MemoryTransport(hang, clock).send(ASKED, timeout=60.0)
    assert scope.cancelled_caught
    await clock.sleep(1.0)
    assert clock.now() == 4.0


async def pieces_of(transport: Transport) -> list[bytes]:
    """Return the body's pieces as any transport hands them out."""
    async with transport.stream(ASKED, timeout=1.0) as stream:
        assert (stream.status, stream.headers) == (200, {"etag": '"1"'})
        return [piece async for piece in stream.chunks()]


async def test_stream_in_pieces() -> None:
    """A streamed answer shows status and headers first, then its body piece by piece."""
    pieces = await pieces_of(MemoryTransport(answer, VirtualClock()))
    assert (len(pieces), b"".join(pieces)) == (4, bytes(200_000))


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


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0.0, -1e-6, -10.0])
async def test_what_is_due_already_is_not_waited_for(seconds: float) -> None:
    """No time passes, forwards or backwards, but others get their turn."""
    clock = VirtualClock(5.0)
    await clock.sleep(seconds)
    assert clock.now() == 5.0
