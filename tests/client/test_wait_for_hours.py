"""Waiting in virtual time: hours, outages and deadlines, in milliseconds."""

from collections.abc import AsyncIterator
from functools import partial

import anyio
import pytest

from lipsync_async import (
    AsyncClient,
    Generation,
    NotFoundError,
    PollPolicy,
    RequestTimeoutError,
    Response,
    ServerError,
    Status,
    WaitTimeoutError,
)
from lipsync_async._models.http import Request
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import ORDER, opened, order

pytestmark = pytest.mark.anyio

LOOKS = ("GET", "/v2/generate/*")


class Hours:
    """Hold a client, its sandbox and the clock that both live by."""

    def __init__(self, client: AsyncClient, sandbox: Sandbox, clock: VirtualClock) -> None:
        self.client = client
        self.sandbox = sandbox
        self.clock = clock

    def break_looks(self, kind: str, **details: object) -> None:
        """Let every look fail from now on, unless the details say otherwise."""
        settings = {"method": "GET", "path": LOOKS[1], "count": None, **details}
        self.sandbox.faults.add(Fault(kind, **settings))  # type: ignore[arg-type]

    @property
    def looks(self) -> int:
        """Number of looks so far."""
        return self.sandbox.requests.count(*LOOKS)


@pytest.fixture
async def hours() -> AsyncIterator[Hours]:
    """Give jobs of ten minutes on a clock that takes no time."""
    clock = VirtualClock()
    async with opened("memory", clock=clock, progression="time(600)") as (client, sandbox):
        yield Hours(client, sandbox, clock)


@pytest.fixture
async def endless() -> AsyncIterator[Hours]:
    """Give jobs that never end by themselves."""
    clock = VirtualClock()
    async with opened("memory", clock=clock, progression="manual") as (client, sandbox):
        yield Hours(client, sandbox, clock)


async def test_two_hours_are_the_usual_limit(endless: Hours) -> None:
    """A wait ends after two hours to the second, and says how to go on."""
    created = await order(endless.client)
    with pytest.raises(WaitTimeoutError) as caught:
        await endless.client.generations.wait_until_complete(created)
    assert endless.clock.now() == 7200.0
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.generation == created
    assert f"wait_until_complete({created.id!r}) to go on waiting" in str(caught.value)
    endless.sandbox.jobs.move(created.id, "PROCESSING")
    endless.sandbox.jobs.move(created.id, "COMPLETED")
    assert (await endless.client.generations.wait_until_complete(created.id)).is_completed


@pytest.mark.parametrize("timeout", [0.25, 1.0, 1.5, 90.0])
async def test_any_limit_is_kept(endless: Hours, timeout: float) -> None:
    """Short limits are kept as exactly as long ones, and hold at least one look."""
    created = await order(endless.client)
    with pytest.raises(WaitTimeoutError, match=f"after {timeout:g} s"):
        await endless.client.generations.wait_until_complete(created, timeout=timeout)
    assert endless.clock.now() == timeout
    assert endless.looks >= 1


async def test_no_limit() -> None:
    """With `None` a wait lasts as long as the job."""
    clock = VirtualClock()
    rarely = PollPolicy(long_poll=None, max_interval=600.0)
    async with opened("memory", clock=clock, progression="time(100000)") as (client, _):
        done = await client.with_options(poll=rarely).generations.run(**ORDER, timeout=None)
    assert done.is_completed
    assert 100_000.0 <= clock.now() <= 100_600.0


async def test_long_poll_is_honoured(hours: Hours) -> None:
    """The end is seen within two seconds of it, for about five requests a minute."""
    done = await hours.client.generations.run(**ORDER)
    assert done.is_completed
    assert 600.0 <= hours.clock.now() <= 602.0
    assert 50 <= hours.looks <= 61
    assert hours.sandbox.requests.count(*LOOKS, query={"wait": "true"}) == hours.looks


async def test_ignored_long_poll_is_no_busy_loop(hours: Hours) -> None:
    """A service that answers a long poll at once is looked at with growing pauses."""
    hours.break_looks("ignore_wait")
    done = await hours.client.generations.run(**ORDER)
    assert done.is_completed
    assert hours.looks <= 600 / 5 + 10
    assert hours.sandbox.requests.count(*LOOKS, query={"wait": "true"}) == 1


async def test_lying_long_poll_is_no_busy_loop() -> None:
    """A service that claims to hold looks open, but answers at once, is spared too."""
    clock, looks = VirtualClock(), 0

    async def answer(request: Request) -> Response:
        nonlocal looks
        looks += 1
        await anyio.lowlevel.checkpoint()
        headers = {"x-sync-wait-mode": "long_poll"}
        return Response("GET", request.url, 200, headers, b'{"id": "job-1", "status": "PENDING"}')

    async with AsyncClient("key", transport=MemoryTransport(answer, clock)) as client:
        with pytest.raises(WaitTimeoutError):
            await client.generations.wait_until_complete("job-1", timeout=600.0)
    assert looks <= 600 / 5 + 10


async def test_plain_polling(hours: Hours) -> None:
    """Without the long poll, pauses grow to the longest and no further."""
    plain = hours.client.with_options(poll=PollPolicy(long_poll=None))
    assert (await plain.generations.run(**ORDER)).is_completed
    assert 600.0 <= hours.clock.now() <= 610.0
    assert 600 / 10 <= hours.looks <= 600 / 5 + 10


async def test_a_fresh_create_may_still_spread(hours: Hours) -> None:
    """Right after the create, "no such generation" is given some seconds of grace."""
    hours.break_looks("status", status=404, count=3)
    assert (await hours.client.generations.run(**ORDER)).is_completed


async def test_grace_ends(hours: Hours) -> None:
    """A job that no one knows is an error after the grace, not after two hours."""
    job_id = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(NotFoundError) as caught:
        await hours.client.generations.wait_until_complete(job_id)
    assert 10.0 <= hours.clock.now() <= 25.0
    assert caught.value.generation is not None
    assert caught.value.generation.id == job_id


async def test_grace_can_be_none(hours: Hours) -> None:
    """Without grace the first "no such generation" is the answer."""
    strict = hours.client.with_options(poll=PollPolicy(not_found_grace=0))
    with pytest.raises(NotFoundError):
        await strict.generations.wait_until_complete("00000000-0000-4000-8000-000000000000")
    assert hours.clock.now() == 0.0


@pytest.mark.parametrize("kind", ["status", "reset_before", "hang", "malformed_json"])
async def test_an_outage_is_sat_out(hours: Hours, kind: str) -> None:
    """Four minutes of a broken service do not end a wait."""
    created = await order(hours.client)
    hours.break_looks(kind, status=500 if kind == "status" else None)
    hours.clock.call_later(240.0, hours.sandbox.faults.clear)
    assert (await hours.client.generations.wait_until_complete(created)).is_completed


async def test_an_outage_without_end(hours: Hours) -> None:
    """After `give_up_after` an outage is an error that still names the job."""
    created = await order(hours.client)
    hours.break_looks("status", status=503)
    with pytest.raises(ServerError) as caught:
        await hours.client.generations.wait_until_complete(created)
    assert 200.0 <= hours.clock.now() <= 300.0
    assert caught.value.generation == created


@pytest.mark.parametrize(("kind", "cause"), [("hang", RequestTimeoutError), ("status", None)])
async def test_deadline_clips_requests_and_pauses(
    endless: Hours, kind: str, cause: type[Exception] | None
) -> None:
    """Neither a hanging look nor the pause after a failed one outlasts the wait's limit."""
    created = await order(endless.client)
    endless.break_looks(kind, status=500 if kind == "status" else None)
    with pytest.raises(WaitTimeoutError) as caught:
        await endless.client.generations.wait_until_complete(created, timeout=42.0)
    assert endless.clock.now() == 42.0
    assert caught.value.generation == created
    assert isinstance(caught.value.__cause__, cause or Exception)


async def test_changes_that_the_limit_cuts_off(endless: Hours) -> None:
    """Updates end with the limit as an error, after what was seen until then."""
    created = await order(endless.client)
    endless.clock.call_later(5.0, lambda: endless.sandbox.jobs.move(created.id, "PROCESSING"))
    seen: list[Generation] = []
    async with endless.client.generations.updates(created, timeout=60.0) as changes:
        seen.append(await anext(changes))
        with pytest.raises(WaitTimeoutError, match="is still PROCESSING"):
            seen.append(await anext(changes))
    assert [change.status for change in seen] == [Status.PROCESSING]


async def test_a_look_may_be_held_beyond_the_timeout(hours: Hours) -> None:
    """A look that the service holds open for ten seconds is no failure at `timeout=3`."""
    created = await order(hours.client)
    quick = hours.client.with_options(timeout=3.0)
    assert (await quick.generations.wait_until_complete(created)).is_completed
    assert hours.looks <= 61


async def test_hundred_waiters(hours: Hours) -> None:
    """A hundred tasks wait at once over one client, each for its own job."""
    done: list[str] = []
    rare = hours.client.with_options(poll=PollPolicy(long_poll=None, shared_interval=5.0))

    async def run() -> None:
        done.append((await rare.generations.run(**ORDER)).id)

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(run)
    assert len(set(done)) == 100
    assert hours.sandbox.jobs.count("COMPLETED") == 100


async def test_waiters_leave_room(hours: Hours) -> None:
    """However many wait, next to no looks are held open: the first few only, and once."""
    rare = hours.client.with_options(poll=PollPolicy(shared_interval=5.0))
    async with anyio.create_task_group() as tasks:
        for _ in range(60):
            tasks.start_soon(partial(rare.generations.run, **ORDER))
    assert hours.sandbox.jobs.count("COMPLETED") == 60
    held = hours.sandbox.requests.count(*LOOKS, query={"wait": "true"})
    assert held <= 8
