"""Processes that share an account through a store keep its limits together.

Each client here stands for a process: it has a transport of its own, and so limits of its own.
Real processes and real stores are in `tests/processes/`.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from lipsync_async import (
    AccountStoreError,
    AsyncClient,
    Client,
    ConcurrencyLimitError,
    ConfigurationError,
    Limits,
    LipsyncError,
    MemoryAccountStore,
    RetryPolicy,
    WaitTimeoutError,
    _shared_limits,
)
from lipsync_async.sandbox import Fault, Sandbox, VirtualClock
from tests.bulk.runs import made, most_at_once, refusals, requests
from tests.client.connections import ORDER, UNLIMITED, completed, connect, order

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from lipsync_async import Response
    from lipsync_async._stores.protocol import Rule

SLOTS = 15
KNOWN = Limits(concurrent_generations=SLOTS)


@attrs.define
class Store:
    """A store in memory that can be stopped, and lose or restore its documents.

    Attributes:
        memory: What holds the documents.
        clock: The clock of the processes.
        fails: What the names of the documents contain whose changes fail; empty: all.
        error: What those raise.
        seconds: How long each change takes.
        told: How many changes were told to those who listen.
        changes: How many changes there were.
        names: The names of the documents that were asked for.
        connection: What a change has to itself for that long.
    """

    memory: MemoryAccountStore
    clock: VirtualClock
    fails: str | None = None
    error: type[Exception] = AccountStoreError
    seconds: float = 0.0
    told: int = 0
    changes: int = 0
    names: set[str] = attrs.field(factory=set)
    connection: AbstractAsyncContextManager[Any] = attrs.field(factory=nullcontext)

    async def change(self, name: str, rule: Rule[Any], *, tells: bool = False) -> Any:
        """Change a document, unless the store is stopped."""
        async with self.connection:
            self.changes += 1
        self.told += tells
        await self.clock.sleep(self.seconds)
        if self.fails is not None and self.fails in name:
            raise self.error("the store does not answer. Start it.")
        self.names.add(name)
        return await self.memory.change(name, rule, tells=tells)

    def listen(self, name: str, callback: Callable[[], object]) -> Any:
        """Listen to a document."""
        return self.memory.listen(name, callback)

    async def aclose(self) -> None:
        """Fail: only its owner may close it."""
        raise AssertionError("the store was closed by another")  # pragma: no cover

    async def documents(self) -> dict[str, bytes]:
        """Return all documents."""
        return {
            name: await self.memory.change(name, lambda old, _: (None, old or b""))
            for name in sorted(self.names)
        }

    async def replace(self, documents: dict[str, bytes]) -> None:
        """Put documents into the place of those that are there."""
        for name in self.names:
            await self.memory.forget(name)
        for name, content in documents.items():
            await self.memory.change(name, lambda *_, new=content: (new, None))


@attrs.frozen
class World:
    """Processes of one account: clients, the store that they share, the service and its clock."""

    clients: list[AsyncClient]
    store: Store
    sandbox: Sandbox
    clock: VirtualClock

    async def run(self, many: int, **fields: Any) -> list[str]:
        """See so many jobs through, dealt to the clients; return their ids."""
        ids: list[str] = []

        async def one(number: int) -> None:
            client = self.clients[number % len(self.clients)]
            job = await client.generations.run(
                **ORDER | {"output_file_name": f"take-{number}"} | fields
            )
            ids.append(job.id)

        async with anyio.create_task_group() as tasks:
            for number in range(many):
                tasks.start_soon(one, number)
        return ids


@asynccontextmanager
async def processes(
    many: int = 4,
    *limits: Limits,
    client: dict[str, Any] | None = None,
    ahead: float = 0.0,
    **settings: Any,
) -> AsyncIterator[World]:
    """Connect so many clients to one sandbox and one store, whose clock is `ahead`."""
    clock = VirtualClock()
    store = Store(MemoryAccountStore(clock=lambda: clock.now() + ahead), clock)
    usual: dict[str, Any] = {
        "render": False,
        "progression": "time(15)",
        "clock": clock,
        "concurrency": SLOTS,
        "creates_per_minute": 60,
        "requests_per_minute": 600,
    }
    async with Sandbox(**usual | settings) as sandbox, AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                connect(
                    sandbox,
                    limits=limits[number % len(limits)] if limits else Limits(),
                    account=store,
                    **client or {},
                )
            )
            for number in range(many)
        ]
        yield World(clients, store, sandbox, clock)


@pytest.mark.parametrize("concurrent", [None, SLOTS])
async def test_no_limit_is_exceeded(concurrent: int | None) -> None:
    """Four processes see no refusal, and lose little time."""
    async with processes(4, Limits(concurrent_generations=concurrent)) as world:
        ids = await world.run(80)
        assert len(set(ids)) == len(world.sandbox.jobs) == 80
        assert refusals(world.sandbox) == 0
        assert most_at_once(world.sandbox) == SLOTS
        assert world.clock.now() < 80 * 1.02 + 15 + 5


@pytest.mark.parametrize("ahead", [5.0, -5.0])
async def test_clocks_that_differ(ahead: float) -> None:
    """Only the store's clock enters a rule; processes wait for seconds, not for moments."""
    async with processes(4, KNOWN, ahead=ahead) as world:
        ids = await world.run(40)
        assert (len(set(ids)), len(world.sandbox.jobs), refusals(world.sandbox)) == (40, 40, 0)
        assert world.clock.now() < 40 * 1.02 + 15 + 5


async def test_a_process_that_starts_with_many_creates() -> None:
    """It reserves one turn at a time, so that the others lose none of theirs."""
    async with processes(2, Limits(concurrent_generations=200), concurrency=200) as world:
        world.store.seconds, world.store.connection = 0.1, anyio.Lock()
        first, second = world.clients

        async def begin() -> None:
            await world.clock.sleep(70)
            async with anyio.create_task_group() as tasks:
                for number in range(60):
                    name = f"later-{number}"
                    tasks.start_soon(partial(order, second, output_file_name=name))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin)
            for number in range(120):
                tasks.start_soon(partial(order, first, output_file_name=f"first-{number}"))
        times = [entry.time for entry in world.sandbox.requests.find("POST", "/v2/generate")]
        assert (len(times), refusals(world.sandbox)) == (180, 0)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert max(gaps) < 3


async def test_runs_and_creates_mixed() -> None:
    """`run`, `create` and `run_many` of several processes share slots and turns."""
    async with processes(3) as world:
        first, second, third = world.clients
        outcomes: list[Any] = []

        async def many() -> None:
            outcomes.extend(await first.generations.run_all(requests(40)))

        async def creates() -> None:
            for number in range(20):
                await order(second, output_file_name=f"created-{number}")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(many)
            tasks.start_soon(creates)
            for number in range(20):
                name = f"run-{number}"
                tasks.start_soon(partial(completed, third, output_file_name=name))
        assert [outcome.error for outcome in outcomes] == [None] * 40
        assert set(made(world.sandbox).values()) == {1}
        assert (len(world.sandbox.jobs), refusals(world.sandbox)) == (80, 0)


async def test_state_that_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """The store loses all documents twice in mid-run: no refusal, nothing lost or doubled."""
    caplog.set_level("INFO")
    async with processes(4) as world:

        async def lose() -> None:
            for _ in range(2):
                await world.clock.sleep(35)
                await world.store.replace({})

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lose)
            ids = await world.run(80)
        assert (len(set(ids)), len(world.sandbox.jobs), refusals(world.sandbox)) == (80, 80, 0)
    assert any("so no slot is given out" in each for each in caplog.messages)


async def test_a_lost_state_takes_no_number_along() -> None:
    """Each process knows how many jobs the account may run, and writes it into the new state."""
    async with processes(4, Limits()) as world:

        async def lose() -> None:
            await world.clock.sleep(30)
            await world.store.replace({})

        await world.clients[0].account.get()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lose)
            await world.run(60)
        use = await world.clients[3].account.shared()
        assert use is not None
        assert (use.slots_limit, refusals(world.sandbox)) == (SLOTS, 0)


@pytest.mark.parametrize("seconds", [1, 10, 30])
async def test_state_that_is_lost_after_a_burst(seconds: int) -> None:
    """A minute may have begun with a burst that the new documents do not know: no refusal."""
    async with processes(4, Limits(concurrent_generations=100), concurrency=100) as world:

        async def lose() -> None:
            await world.clock.sleep(seconds)
            await world.store.replace({})

        await world.run(4)
        await world.clock.sleep(60)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lose)
            ids = await world.run(100, output_file_name="later")
        assert (len(set(ids)), len(world.sandbox.jobs), refusals(world.sandbox)) == (100, 104, 0)


async def test_an_older_state_that_is_restored() -> None:
    """After a failover to a copy of some seconds ago, at most a burst is refused."""
    async with processes(4) as world:

        async def restore() -> None:
            await world.clock.sleep(40)
            older = await world.store.documents()
            await world.clock.sleep(5)
            await world.store.replace(older)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(restore)
            ids = await world.run(80)
        assert (len(set(ids)), len(world.sandbox.jobs)) == (80, 80)
        assert refusals(world.sandbox) <= 5


@pytest.mark.parametrize("seconds", [20, 400])
async def test_a_store_that_is_down(seconds: int, caplog: pytest.LogCaptureFixture) -> None:
    """Meanwhile nothing is created, and jobs that run are waited for; then all goes on."""
    patient = {"retry": RetryPolicy(give_up_after=1000)}
    async with processes(2, KNOWN, client=patient) as world:
        sent: list[str] = []

        async def stop() -> None:
            await world.clock.sleep(20)
            world.store.fails = ""
            before = len(world.sandbox.jobs)
            await world.clock.sleep(seconds)
            sent.append(f"{len(world.sandbox.jobs) - before} created")
            ended = [job for job in [*world.sandbox.jobs][:before] if job.status.is_terminal]
            sent.append(f"{before - len(ended)} running")
            world.store.fails = None

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            ids = await world.run(60)
        # One may have got its turn in the moment before.
        assert sent in (["0 created", "0 running"], ["1 created", "0 running"])
        assert (len(set(ids)), len(world.sandbox.jobs), refusals(world.sandbox)) == (60, 60, 0)
    warnings = [each for each in caplog.messages if "while the account store fails" in each]
    assert len(warnings) == 2


async def test_a_create_gives_up_on_a_store() -> None:
    """After `give_up_after` it says that nothing was sent; waits for jobs go on."""
    async with processes(1, client={"retry": RetryPolicy(give_up_after=30)}) as world:
        [client] = world.clients
        job = await order(client)
        world.store.fails = ""
        began = world.clock.now()
        with pytest.raises(AccountStoreError, match="Start it") as raised:
            await order(client)
        assert 30 <= world.clock.now() - began < 33
        assert not raised.value.may_have_worked
        assert len(world.sandbox.jobs) == 1
        done = await client.generations.wait_until_complete(job.id)
        assert done.is_terminal


async def test_one_document_that_fails_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Changes of the others, which work, do not make each failure a new one."""
    patience = {"retry": RetryPolicy(give_up_after=60)}
    async with processes(1, KNOWN, client=patience, progression="time(100)") as world:
        [client] = world.clients
        job = await order(client)
        for _ in range(2):
            world.store.fails = ":slots"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(create_in_vain, client)
                for _ in range(60):
                    await client.generations.get(job.id)
                    await world.clock.sleep(1)
            world.store.fails = None
            await world.clock.sleep(15)
            await client.generations.get(job.id)
    assert len([each for each in caplog.messages if "the account store fails" in each]) == 2


async def test_creates_give_up_on_a_store_together() -> None:
    """Those that wait behind others for a slot do not each try a store that does not answer."""
    async with processes(1, KNOWN, client={"retry": RetryPolicy(give_up_after=30)}) as world:
        [client] = world.clients
        for number in range(SLOTS):
            await order(client, output_file_name=f"running-{number}")
        world.store.fails, world.store.seconds = "", 5.0
        began, waited = world.clock.now(), []

        async def wait(number: int) -> None:
            with pytest.raises(AccountStoreError, match="Start it") as raised:
                await order(client, idempotency_key=f"waiting-{number}")
            waited.append(world.clock.now() - began)
            assert raised.value.idempotency_key == f"waiting-{number}"

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(wait, number)
        assert len(waited) == 40
        assert 30 <= min(waited) <= max(waited) < 60


async def test_patience_with_a_store_begins_when_it_fails() -> None:
    """A create that has waited for its slot for long bears with a store that fails shortly."""
    patience = {"retry": RetryPolicy(give_up_after=30)}
    async with processes(
        2, Limits(concurrent_generations=1), client=patience, progression="time(100)"
    ) as world:
        first, second = world.clients
        await order(first)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(order, second)
            await world.clock.sleep(60)
            world.store.fails = ""
            await world.clock.sleep(20)
            world.store.fails = None
        assert len(world.sandbox.jobs) == 2


async def test_jobs_are_not_looked_at_again_while_the_store_fails() -> None:
    """A create that lacks a slot asks the service once for what may have ended, then waits."""
    patience = {"retry": RetryPolicy(give_up_after=60)}
    async with processes(2, KNOWN, client=patience) as world:
        dead, alive = world.clients
        world.sandbox.faults.add(Fault("stick_job", count=None))
        for number in range(SLOTS):
            await order(dead, output_file_name=f"dead-{number}")
        looks = partial(world.sandbox.requests.find, method="GET")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create_in_vain, alive)
            while not looks():
                await world.clock.sleep(0.5)
            world.store.fails = "slots"
        assert len(looks()) == 1


async def create_in_vain(client: AsyncClient) -> None:
    """Order a generation for which there is no store."""
    with pytest.raises(AccountStoreError):
        await order(client)


@pytest.mark.parametrize("seconds", [1.0, 5.0])
async def test_a_store_that_is_slow(seconds: float) -> None:
    """Each job has its turn, though a question about it would come too late."""
    async with processes(4, KNOWN) as world:
        world.store.seconds = seconds
        ids = await world.run(20)
        assert (len(set(ids)), refusals(world.sandbox)) == (20, 0)
        assert world.clock.now() < 200


async def test_a_store_that_does_not_answer_delays_no_deadline() -> None:
    """A wait for a job ends at its deadline, though the store hangs."""
    async with processes(1, KNOWN) as world:
        client = world.clients[0]
        job = await client.generations.create(**ORDER)
        world.store.connection = lock = anyio.Lock()
        async with lock, anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(timed_out, client, job.id)


@pytest.fixture
def _short_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what no other change depends on take a moment at most."""
    monkeypatch.setattr(_shared_limits, "_LATE_NOTE", 0.01)
    monkeypatch.setattr(_shared_limits, "_LONGEST_NOTE", 0.02)


async def limited(call: Awaitable[object], *, is_native: bool) -> None:
    """Await a call for a moment."""
    if is_native:
        await asyncio.wait_for(call, 0.01)
    with anyio.fail_after(0.01):
        await call


@pytest.mark.usefixtures("_short_notes")
@pytest.mark.parametrize("is_native", [False, True])
async def test_a_store_that_does_not_answer_delays_no_cancellation(*, is_native: bool) -> None:
    """A create that is cancelled before it is sent ends at once, and holds no slot for long."""
    async with processes(1, KNOWN) as world:
        world.store.connection = lock = anyio.Lock()
        async with lock:
            with pytest.raises(TimeoutError):
                await limited(order(world.clients[0]), is_native=is_native)
        assert list(world.sandbox.jobs) == []


class Hanging(AbstractAsyncContextManager[None]):
    """Connection of a store that never answers.

    Attributes:
        asked: Is released when a change begins.
    """

    def __init__(self) -> None:
        self.asked = anyio.Semaphore(0)

    async def __aenter__(self) -> None:
        self.asked.release()
        await anyio.sleep_forever()

    async def __aexit__(self, *_: object) -> None: ...


@pytest.mark.usefixtures("_short_notes")
async def test_a_create_that_is_cancelled_twice() -> None:
    """Nothing was sent, so no job is named."""
    async with processes(1, KNOWN) as world:
        world.store.connection = hanging = Hanging()
        creating = asyncio.ensure_future(order(world.clients[0]))
        for _ in range(2):
            await hanging.asked.acquire()
            creating.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await asyncio.gather(creating)
        assert "succeeded" not in str(getattr(caught.value, "__notes__", ""))
        world.store.connection = nullcontext()


@pytest.mark.usefixtures("_short_notes")
@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_store_that_hangs_when_a_job_was_made(
    *, is_cancelled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is given all the same; a cancellation names the job."""
    lock = asyncio.Lock()

    async def hang(_: Response) -> None:
        await lock.acquire()
        if is_cancelled:
            asyncio.get_running_loop().call_soon(creating.cancel)

    async with processes(1, KNOWN, client={"on_response": hang}) as world:
        world.store.connection = lock
        creating = asyncio.ensure_future(order(world.clients[0]))
        done = await asyncio.wait([creating])
        lock.release()
        (job,) = world.sandbox.jobs
        assert done == ({creating}, set())
        if is_cancelled:
            with pytest.raises(asyncio.CancelledError) as caught:
                creating.result()
            assert (
                f"The create has succeeded: it made generation {job.id}." in caught.value.__notes__
            )
        else:
            assert creating.result().id == job.id
        assert "the account store has not answered for 0.02 seconds" in caplog.text


@pytest.mark.usefixtures("_short_notes")
async def test_a_wait_ends_though_the_store_hangs_after_an_answer() -> None:
    """What the answer has shown is noted later."""
    lock = asyncio.Lock()

    async def hang(response: Response) -> None:
        if response.method == "GET":
            await lock.acquire()

    async with processes(1, KNOWN, client={"on_response": hang}) as world:
        world.store.connection = lock
        job = await order(world.clients[0])
        await world.clock.sleep(20)
        waiting = world.clients[0].generations.wait_until_complete(job, timeout=5)
        assert (await asyncio.ensure_future(waiting)).is_completed
        lock.release()


async def timed_out(client: AsyncClient, job: str) -> None:
    """Wait for a job, but not for as long as it takes."""
    with pytest.raises(WaitTimeoutError):
        await client.generations.wait_until_complete(job, timeout=0.01)


async def test_other_requests_keep_to_a_tenth_without_a_store() -> None:
    """While the store fails, a process sends a tenth of the limit, and is not refused."""
    async with processes(1) as world:
        [client] = world.clients
        world.store.fails = ""
        for _ in range(100):
            await client.generations.count()
        seconds = world.clock.now()
        assert 75 < seconds < 90  # 20 at once, the others evenly
        world.store.fails = None
        await world.clock.sleep(6)
        began = world.clock.now()
        for _ in range(20):
            await client.generations.count()
        assert world.clock.now() - began < 3


async def test_a_process_that_is_killed() -> None:
    """Its jobs keep their slots while they run; then they are looked at, and the slots are free."""
    async with processes(2) as world:
        dead, alive = world.clients
        for number in range(SLOTS):
            await order(dead, output_file_name=f"dead-{number}")
        began = world.clock.now()
        job = await alive.generations.run(**ORDER)
        assert job.is_terminal
        assert world.clock.now() - began < 15 + 15 + 5 + 15
        assert (most_at_once(world.sandbox), refusals(world.sandbox)) == (SLOTS, 0)


async def test_a_create_of_unknown_outcome_counts_for_two_minutes() -> None:
    """A process may have been killed while its create was under way."""
    async with processes(2, Limits(concurrent_generations=1)) as world:
        first, second = world.clients
        world.sandbox.faults.add(Fault("hang", method="POST", count=1))
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(order, first)
                await world.clock.sleep(5)
                scope.cancel()
        began = world.clock.now()
        await order(second)
        assert 100 < world.clock.now() - began < 125


async def test_the_same_key_has_the_same_slot() -> None:
    """A worker that repeats the create of another needs no second slot, and waits for no end."""
    async with processes(2, Limits(concurrent_generations=1)) as world:
        first, second = world.clients
        job = await order(first, idempotency_key="task-7")
        again = await order(second, idempotency_key="task-7")
        assert (again.id, len(world.sandbox.jobs)) == (job.id, 1)
        assert world.clock.now() < 10
        await order(second, idempotency_key="task-8")
        assert (most_at_once(world.sandbox), refusals(world.sandbox)) == (1, 0)


async def test_a_refused_create_gives_its_slot_back() -> None:
    """What was certainly not accepted holds no slot."""
    async with processes(2, Limits(concurrent_generations=1)) as world:
        first, second = world.clients
        world.sandbox.faults.add(Fault("status", status=400, method="POST", count=1))
        with pytest.raises(LipsyncError):
            await order(first)
        began = world.clock.now()
        await order(second)
        assert world.clock.now() - began < 5


async def test_others_who_use_the_key_teach_all() -> None:
    """A refusal for the lack of a slot, or for the rate, is known to all processes at once."""
    async with processes(4) as world:
        stranger = AsyncClient(
            world.sandbox.api_key, transport=world.sandbox.transport(), account=""
        )
        for number in range(10):
            await order(stranger, output_file_name=f"stranger-{number}")
        ids = await world.run(60)
        assert (len(set(ids)), len(world.sandbox.jobs)) == (60, 70)
        assert refusals(world.sandbox) <= 8


async def test_the_lowest_limits_count(caplog: pytest.LogCaptureFixture) -> None:
    """Processes with other limits share the lowest, and each that allows itself more is told."""
    wide, narrow = Limits(), Limits(creates_per_minute=30, concurrent_generations=5)
    async with processes(2, wide, narrow) as world:
        await world.run(40)
        assert most_at_once(world.sandbox) == 5
    told = "another process of this account has Limits.creates_per_minute=30"
    assert len([each for each in caplog.messages if told in each]) == 1


async def test_the_lowest_number_of_slots_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """A create that waits because another process allows fewer jobs says so."""
    caplog.set_level("INFO")
    wide, narrow = Limits(concurrent_generations=5), Limits(concurrent_generations=1)
    async with processes(2, wide, narrow) as world:
        first, second = world.clients
        await order(second)
        await order(first)
    told = "Limits.concurrent_generations=1 allows no more just now. Another process has set that"
    assert len([each for each in caplog.messages if f"{told}; here it is 5." in each]) == 1


async def test_a_job_that_goes_on_is_no_news() -> None:
    """Processes that wait for a slot hear of creates and ends, not of each poll."""
    async with processes(1, KNOWN, progression="time(100)") as world:
        [client] = world.clients
        job = await order(client)
        assert world.store.told == 1
        await client.generations.wait_until_complete(job.id)
        assert world.store.told == 2
        book = json.loads((await world.store.documents()).popitem()[1])
        assert book["slots"] == []


async def test_a_closed_client_leaves_the_store_alone() -> None:
    """Creates that waited for a slot end, and nothing would connect to the store anew."""
    async with processes(2, Limits(concurrent_generations=1)) as world:
        first, second = world.clients
        await order(first)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(closed_meanwhile, partial(order, second))
            await world.clock.sleep(5)
            changes = world.store.changes
            await second.aclose()
        for call in (second.account.shared, second.generations.count, partial(order, second)):
            await closed_meanwhile(call)
        assert (world.store.changes, len(world.sandbox.jobs)) == (changes, 1)


async def closed_meanwhile(call: Callable[[], Awaitable[object]]) -> None:
    """Make a call with a client that is or will be closed."""
    with pytest.raises(ConfigurationError, match="closed"):
        await call()


async def test_the_account_tells_all() -> None:
    """What `account.get` says counts for all processes."""
    async with processes(2, concurrency=3) as world:
        await world.clients[0].account.get()
        await world.run(12)
        assert (most_at_once(world.sandbox), refusals(world.sandbox)) == (3, 0)


async def test_no_key_is_in_the_store() -> None:
    """Neither names nor documents hold the API key; documents say which version wrote them."""
    async with processes(2) as world:
        await world.run(4)
        documents = await world.store.documents()
        assert len(documents) == 3
        for name, content in documents.items():
            assert name.isascii()
            assert len(name) < 100
            assert world.sandbox.api_key not in name + content.decode()
            assert json.loads(content)["version"] == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"version": 2}', "a newer version of this package has written"),
        (b"\xff", "cannot be read"),
        (b"[]", "cannot be read"),
        (b'{"version": 1}', "cannot be read"),
        (b'{"version": 1, "now": 0, "id": "x", "since": 0, "x": 1}', "cannot be read"),
    ],
)
async def test_documents_that_cannot_be_used(content: bytes, expected: str) -> None:
    """A create ends at once, in words; nothing was sent."""
    async with processes(1) as world:
        [client] = world.clients
        await order(client)
        await world.store.replace(dict.fromkeys(world.store.names, content))
        with pytest.raises(AccountStoreError, match=expected):
            await order(client)
        assert len(world.sandbox.jobs) == 1
        assert world.clock.now() < 10


async def test_a_clock_that_is_set_back() -> None:
    """By some seconds time stands still; by an hour, the documents count as lost."""
    for hours in (5 / 3600, 1):
        async with processes(1) as world:
            await world.run(3)
            later = {
                name: content.replace(
                    b'"now":', b'"now":%d,"was":' % (3600 * hours + world.clock.now())
                )
                for name, content in (await world.store.documents()).items()
            }
            await world.store.replace(later)
            began = world.clock.now()
            await world.run(3)
            assert world.clock.now() - began < 60


async def test_a_store_that_raises_errors_of_others() -> None:
    """A create says so, and gives up as ever; other requests go on."""
    async with processes(1, client={"retry": RetryPolicy(give_up_after=30)}) as world:
        [client] = world.clients
        world.store.fails, world.store.error = "", OSError
        assert await client.generations.count() == 0
        with pytest.raises(AccountStoreError, match="OSError: the store does") as raised:
            await order(client)
        assert (raised.value.is_retryable, len(world.sandbox.jobs)) == (True, 0)
        assert world.clock.now() >= 30


async def test_what_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything but an address or a store is refused in words, which name what was set."""
    with pytest.raises(ConfigurationError, match="account must be an address such as 'redis:"):
        AsyncClient("key", account=7)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"^account must .* begins with redis://"):
        AsyncClient("key", account="ftp://cache.example")
    for wrong in ("ftp://cache.example", "redis://host:port"):
        monkeypatch.setenv("SYNC_ACCOUNT", wrong)
        with pytest.raises(ConfigurationError, match=r"^SYNC_ACCOUNT must be an address"):
            AsyncClient("key")


async def test_a_store_that_was_given_as_an_address_is_closed() -> None:
    """The client has made it, so it closes it; nothing was connected yet."""
    async with AsyncClient("key", account="redis://127.0.0.1:1/0") as client:
        assert client._requester.shared is not None  # noqa: SLF001


def test_the_blocking_client_shows_what_is_shared() -> None:
    """It has the verb, too; without a store there is nothing to show."""
    with Client("key", account="") as client:
        assert client.account.shared() is None


async def test_a_create_that_waits_for_its_turn_while_the_store_fails() -> None:
    """Its slot was given out already; it waits for the store, and is sent then."""
    async with processes(1) as world:
        [client] = world.clients
        await order(client)
        world.store.fails = ":create"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(order, client)
            await world.clock.sleep(20)
            assert len(world.sandbox.jobs) == 1
            world.store.fails = None
        assert len(world.sandbox.jobs) == 2


@pytest.mark.parametrize("error", [AccountStoreError, ConfigurationError, OSError])
async def test_a_store_that_fails_when_a_job_is_made(error: type[Exception]) -> None:
    """The job is returned all the same, and the book learns of it when it is polled."""

    def stop(response: Response) -> None:
        if response.status == 201:
            world.store.fails, world.store.error = "", error

    async with processes(2, KNOWN, client={"on_response": stop}) as world:
        first, second = world.clients
        job = await order(first)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.generations.wait_until_complete, job.id)
            await world.clock.sleep(1)
            world.store.fails = None
            await world.clock.sleep(11)
            content = (await world.store.documents()).popitem()[1]
            assert job.id in content.decode()
        assert (await completed(second)).is_terminal


async def test_a_job_of_which_the_store_was_not_told() -> None:
    """The next create of its process tells of it, though it is never polled."""

    def stop(response: Response) -> None:
        if not told:
            world.store.fails = ""
        told.append(response.status)

    told: list[int] = []
    async with processes(1, KNOWN, client={"on_response": stop}, progression="time(900)") as world:
        [client] = world.clients
        first = await order(client)
        world.store.fails = None
        await world.clock.sleep(6)
        second = await order(client)
        used = await client.account.shared()
        assert used is not None
        assert {slot.generation_id for slot in used.slots} == {first.id, second.id}
        assert told == [201, 201]


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_turn_that_is_not_used_goes_to_another(*, is_lost: bool) -> None:
    """A create that is cancelled while it waits costs no turn; a long wait keeps the slot."""
    async with processes(1, Limits(creates_per_minute=1)) as world:
        [client] = world.clients
        await order(client)
        began = world.clock.now()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(order, client)
                await world.clock.sleep(30)
                scope.cancel()
        assert len(world.sandbox.jobs) == 1
        if is_lost:  # and of the turn nothing is left
            await world.store.replace({})
        await order(client)
        # A new document knows nothing of the last minute, and waits for another.
        assert 61 < world.clock.now() - began < (140 if is_lost else 63)
        assert len(world.sandbox.jobs) == 2


async def test_without_a_limit_the_store_is_not_asked_for_turns() -> None:
    """A client that counts nothing shares only the slots."""
    async with processes(2, UNLIMITED) as world:
        await world.run(4)
        assert [name.rpartition(":")[2] for name in world.store.names] == ["slots"]


async def test_patience_for_a_slot_ends() -> None:
    """When others have had all slots for `slot_timeout`, the service decides."""
    patience = {"retry": RetryPolicy(slot_timeout=10)}
    async with processes(
        2, Limits(concurrent_generations=1), client=patience, concurrency=1
    ) as world:
        first, second = world.clients
        world.sandbox.faults.add(Fault("stick_job"))
        await order(first)
        with pytest.raises(ConcurrencyLimitError):
            await order(second)
        assert world.clock.now() > 7200
        assert len(world.sandbox.jobs) == 1


async def test_a_class_that_is_not_shared_learns_by_itself() -> None:
    """Uploads have a limit of each process; a refusal does not slow the others' requests."""
    async with processes(1) as world:
        [client] = world.clients
        world.sandbox.faults.add(
            Fault(
                "status", status=429, code="rate_limit_exceeded", path="/v2/assets/upload", count=1
            )
        )
        asset = await client.assets.upload(b"RIFF\x24\0\0\0WAVEfmt " + bytes(28), name="line.wav")
        assert asset.id
        assert refusals(world.sandbox) == 1


async def test_what_is_known_of_ended_jobs_is_bounded() -> None:
    """A process that looks at very many jobs does not keep them all, and tells of each once."""
    async with processes(1) as world:
        [client] = world.clients
        shared = client._requester.shared  # noqa: SLF001
        assert shared is not None
        await shared.saw([(f"job-{number}", True) for number in range(10_010)])
        assert len(shared._told) == 10_000  # noqa: SLF001


async def test_what_the_processes_use_is_shown() -> None:
    """Places, slots and holders; a look changes nothing, and sends nothing."""
    async with processes(2, KNOWN) as world:
        first, second = world.clients
        empty = await second.account.shared()
        assert empty is not None
        assert (empty.creates, empty.creates_limit, empty.slots_limit) == (0, None, None)
        assert await world.store.documents() == dict.fromkeys(world.store.names, b"")
        job = await order(first, idempotency_key="mine")
        world.sandbox.faults.add(Fault("hang", method="POST", count=1))
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(order, second, idempotency_key="another"))
                await world.clock.sleep(5)
                used = await second.account.shared()
                scope.cancel()
        assert used is not None
        assert (used.creates, used.creates_limit) == (2, 60)
        assert (used.requests, used.requests_limit, used.slots_limit) == (0, None, SLOTS)
        pending, running = used.slots
        assert (pending.key, pending.generation_id) == ("another", None)
        assert (running.key, running.generation_id) == ("mine", job.id)
        assert running.holder != pending.holder
        assert 4 < pending.seconds == pending.unseen_seconds < 6
        assert len(world.sandbox.requests.find(method="POST")) == 2


async def test_a_look_does_not_hide_a_loss() -> None:
    """A process that looks at a new document still writes its running jobs in, and pauses."""
    async with processes(2, KNOWN, progression="time(300)") as world:
        first, second = world.clients
        for number in range(10):
            await order(first, output_file_name=f"before-{number}")
        await world.store.replace({})
        await order(second)  # makes the new documents
        assert await first.account.shared() is not None
        await order(first, output_file_name="after")
        used = await second.account.shared()
        assert used is not None
        assert len(used.slots) == len(world.sandbox.jobs) == 12


async def test_a_client_that_shares_nothing_has_nothing_to_show() -> None:
    """Without a store there are no processes to tell of."""
    async with processes(1) as world:
        alone = AsyncClient(world.sandbox.api_key, transport=world.sandbox.transport(), account="")
        assert await alone.account.shared() is None
