"""All clients of a process that use one account share its budgets and its slots."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given, settings, strategies as st

from lipsync_async import AsyncClient, BatchLimitError, Client, Limits, PollPolicy, RetryPolicy
from lipsync_async._enums import Status
from lipsync_async._logic import endpoints
from lipsync_async._logic.config import settle
from lipsync_async._logic.endpoints import (
    CREATE,
    RATE_CLASSES,
    REQUEST,
    RateClass,
    done,
    resource,
)
from lipsync_async._models.response import Generation
from lipsync_async._rate_limits import AccountLimits, SlotPool, Throttle, limits_for
from lipsync_async._requester import Requester, RequestOptions
from lipsync_async.sandbox import Sandbox, VirtualClock
from tests.bulk.runs import made, most_at_once, opened, refusals, requests, slots
from tests.client.connections import ORDER, UNLIMITED, order

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from lipsync_async._rate_limits import Slot

(UPLOAD,) = (each for each in RATE_CLASSES if each.setting == "uploads_per_minute")
HERE = ("key", "https://api.example")
SAME = [
    *("https://api.example/", "https://api.example//", "https://API.example"),
    *("https://api.EXAMPLE/", "https://api.example:443", "https://api.example:443/"),
    "HTTPS://api.example",
]
OTHERS = [
    *((key, "https://api.example") for key in ("KEY", "key2", "ke", "k\u0065y.")),
    *(("key", f"https://api.example{end}") for end in (":444", ".org", "/proxy", "/Proxy")),
    *(("key", "https://api2.example"), ("key", "https://example"), ("key", "http://localhost")),
    *(("key", f"http://127.0.0.1{port}") for port in (":443", "", ":8765")),
]


def account_of(key: str, url: str) -> AccountLimits:
    """Return what the clients with this key share at this address."""
    return limits_for(settle(key, url, {})[0])


@pytest.mark.parametrize("url", SAME)
def test_the_same_account(url: str) -> None:
    """However the address is written, the same key at the same server is the same account."""
    assert account_of("key", url) is account_of(*HERE)


@pytest.mark.parametrize("given_as", OTHERS)
def test_another_account(given_as: tuple[str, str]) -> None:
    """Another key, or another server, has limits of its own."""
    assert account_of(*given_as) is not account_of(*HERE)


def test_accounts_outlive_their_clients() -> None:
    """A program that builds a client for each request has one budget all the same."""
    first = id(account_of("outlives", "https://api.example").rates[CREATE])
    for limits in (Limits(), UNLIMITED) * 3:
        gc.collect()
        client = AsyncClient("outlives", base_url="https://api.example/", limits=limits)
        assert id(client._requester.account.rates[CREATE]) == first  # noqa: SLF001


def test_thousands_of_accounts_are_not_kept() -> None:
    """What is at rest and that no client holds is forgotten; what is used is not."""
    used = account_of("used", "https://api.example")
    used.rates[CREATE].reserve(time.monotonic(), 60)
    held = account_of("held", "https://api.example")
    first = id(used)
    del used
    for number in range(300):
        account_of(f"tenant-{number}", "https://api.example")
    gc.collect()
    assert id(account_of("used", "https://api.example")) == first
    assert account_of("held", "https://api.example") is held


def test_what_is_used_after_others_were_forgotten_is_kept() -> None:
    """Whenever the accounts at rest are forgotten, one that a client holds may be used yet."""
    for number in range(300):  # any of them may be the one that has the others forgotten
        account = account_of(f"late-{number}", "https://api.example")
        account.rates[CREATE].reserve(time.monotonic(), 60)
        first = id(account)
        del account
        gc.collect(0)
        assert id(account_of(f"late-{number}", "https://api.example")) == first


def test_a_forked_child_begins_anew() -> None:
    """Neither places nor slots of the parent count for a child, which may be one of many."""
    client = AsyncClient(*HERE[:1], base_url=HERE[1], limits=Limits())
    exchange = client._requester  # noqa: SLF001
    account = exchange.account
    taken = account.slots.take_anyhow(None)
    assert account.slots.used == 1
    pid = os.fork()
    if not pid:  # pragma: no cover - the child
        anew = exchange.account
        is_new = anew is not account and anew is account_of(*HERE) and not anew.slots.used
        os._exit(not is_new)
    account.slots.release(taken)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_key_is_not_kept() -> None:
    """What finds an account again is a digest."""
    account_of("a-very-secret-key", "https://api.example")
    from lipsync_async import _rate_limits  # noqa: PLC0415

    assert "a-very-secret-key" not in repr(vars(_rate_limits._REGISTRY))  # noqa: SLF001


def exchanges(sandbox: Sandbox, *limits: Limits) -> list[Requester]:
    """Return what clients with these limits send by, on one account."""
    account = AccountLimits()
    config, _ = settle(sandbox.api_key, sandbox.url, {})
    return [Requester(sandbox.transport(), config, lambda: account, each) for each in limits]


SETTINGS = RequestOptions(5.0, RetryPolicy(attempts=1), PollPolicy())


async def counted(exchange: Requester, many: int) -> None:
    """Make so many requests at once."""
    async with anyio.create_task_group() as tasks:
        for _ in range(many):
            call = endpoints.count_generations()
            tasks.start_soon(exchange.execute, call, SETTINGS)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([6, 30, 60, 120]), min_size=2, max_size=4), st.integers(1, 25))
def test_clients_share_a_budget(limits: list[int], many: int) -> None:
    """However many clients ask, with whatever limits: no minute sees more than the lowest."""

    async def story() -> None:
        clock = VirtualClock()
        least = min(limits)
        async with Sandbox(render=False, clock=clock, requests_per_minute=least) as sandbox:
            given = [Limits(requests_per_minute=limit) for limit in limits]
            clients = exchanges(sandbox, *given)
            for exchange in clients:
                await counted(exchange, 1)
            async with anyio.create_task_group() as tasks:
                for exchange in clients:
                    tasks.start_soon(counted, exchange, many)
            assert refusals(sandbox) == 0
            assert len(sandbox.requests) == (many + 1) * len(limits)

    anyio.run(story)


PRESIGN = {"fileName": "a.wav", "contentType": "audio/wav", "size": 1}


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([6, 30, 90]),
    st.sampled_from([4, 20, 60]),
    st.integers(1, 3),
    st.integers(1, 12),
)
def test_clients_share_the_limit_of_a_class(every: int, own: int, clients: int, many: int) -> None:
    """Uploads beside other requests, by many clients: no minute sees too many of either."""

    async def story() -> None:
        clock = VirtualClock()
        async with Sandbox(render=False, clock=clock, requests_per_minute=every) as sandbox:
            limits = Limits(requests_per_minute=every, uploads_per_minute=own)

            async def use(exchange: Requester) -> None:
                presign = resource("POST", "/v2/assets/upload", done, body=PRESIGN)
                await exchange.execute(presign, SETTINGS)
                await counted(exchange, 1)

            async with anyio.create_task_group() as tasks:
                for exchange in exchanges(sandbox, *[limits] * clients) * many:
                    tasks.start_soon(use, exchange)
            sent = [entry.time for entry in sandbox.requests]
            uploads = [entry.time for entry in sandbox.requests.find("POST")]
            assert len(sent) == 2 * len(uploads) == 2 * many * clients
            for times, limit in ((sent, every), (uploads, own)):
                spans = zip(times, times[limit:], strict=False)
                assert all(later - first >= 60 for first, later in spans)

    anyio.run(story)


@pytest.mark.parametrize(
    ("every", "kinds", "uploads"),
    [
        (600, [REQUEST, UPLOAD] * 10, 360),
        (60, [REQUEST, UPLOAD], 90),
        (100, [UPLOAD] * 10, 300),
    ],
)
async def test_many_clients_have_the_whole_of_both_limits(
    every: int, kinds: list[RateClass], uploads: int
) -> None:
    """In a rush of all, uploads get the rate of their class, or half of a low limit of all."""
    account, clock = AccountLimits(), VirtualClock()
    sent, longest = {REQUEST: 0, UPLOAD: 0}, 0.0
    limits = Limits(requests_per_minute=every)
    async with Sandbox(render=False, clock=clock) as sandbox:

        async def use(throttle: Throttle, kind: RateClass) -> None:
            nonlocal longest
            while clock.now() < 180.0:
                _, waited = await throttle.acquire(None)
                longest = max(longest, waited)
                sent[kind] += 1

        async with anyio.create_task_group() as tasks:
            for kind in kinds:
                throttle = Throttle(sandbox.transport(), account.rates, limits, kind)
                tasks.start_soon(use, throttle, kind)
                tasks.start_soon(use, throttle, kind)
    assert sent[UPLOAD] == pytest.approx(uploads, rel=0.3 if every == 60 else 0.1)
    assert sum(sent.values()) == pytest.approx(3 * every, rel=0.05)
    assert longest < 30.0  # nothing starves


async def test_a_low_limit_counts_while_its_client_asks() -> None:
    """When the client with the lowest limit is done, the others go on at their own."""
    clock = VirtualClock()
    async with Sandbox(render=False, clock=clock, requests_per_minute=None) as sandbox:
        low, high = exchanges(sandbox, *(Limits(requests_per_minute=many) for many in (6, 60)))
        await counted(low, 6)
        await clock.sleep(70.0)
        begun = clock.now()
        await counted(high, 60)
        assert clock.now() - begun <= 62


async def test_who_has_no_limit_neither_waits_nor_counts() -> None:
    """Without a limit a client does as it likes, and takes no place of another."""
    clock = VirtualClock()
    async with Sandbox(render=False, clock=clock, requests_per_minute=None) as sandbox:
        free, bound = exchanges(sandbox, UNLIMITED, Limits(requests_per_minute=30))
        await counted(free, 200)
        await counted(bound, 20)
        assert clock.now() == 0.0


def test_threads_share_a_limiter() -> None:
    """Times that many threads take at once are those of one: none twice, none too early."""
    rates = AccountLimits().rates
    times: list[float] = []

    async def acquire() -> None:
        async with Sandbox(render=False, clock=VirtualClock()) as sandbox:
            throttle = Throttle(sandbox.transport(), rates, Limits(), CREATE)
            for _ in range(200):
                held, _ = await throttle.acquire(None)
                assert held is not None
                (reservation,) = held
                times.append(reservation.time)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(anyio.run, acquire) for _ in range(8)]:
            done.result()
    assert len(times) == 1600
    times.sort()
    assert all(later - earlier >= 60 for earlier, later in zip(times, times[60:], strict=False))


def test_what_is_given_back_in_the_midst_of_a_use_is_given_back() -> None:
    """A finalizer that runs while its own thread holds the lock does not wait for it."""
    shared = AccountLimits().rates[CREATE]
    reservation = shared.reserve(0.0, 1)
    with shared.lock:
        shared.unused.append(reservation)
    assert shared.reserve(0.0, 1).due == 0.0
    slots = SlotPool()
    slot = slots.take(0.0, 1)
    with slots.lock:
        slots.release(slot)
    assert slots.take(0.0, 1) is not None


def test_what_was_given_back_counts_no_more() -> None:
    """A refusal teaches by what was sent; neither it nor many short waits leave anything over."""
    learnt = []
    for cancelled in (0, 3):
        shared = AccountLimits().rates[CREATE]
        sent = [shared.reserve(0.0, 4) for _ in range(4)]
        shared.unused.extend([shared.reserve(0.0, 4) for _ in range(cancelled)])
        shared.on_429(sent[3], 95.0)
        learnt.append(shared.limit(95.0, 4))
        assert shared.is_idle(1e6)
    assert learnt[0] == learnt[1]
    slots = SlotPool()
    slots.release(slots.occupied("job", 1, 0.0))
    for _ in range(100):
        slot = slots.hold("job")
        assert slot is not None
        assert len(slots.limiter.owners[slot]) == 1
        slots.release(slot)
    slots.saw([("job", True)], 0.0)
    assert slots.next_try(0.0, 1) == 0.0


def test_each_loop_gives_its_own_hold_back() -> None:
    """A job that two loops hold stays held by one when the other has closed."""
    slots, (left, other) = SlotPool(), (asyncio.new_event_loop() for _ in range(2))

    async def hold() -> Slot | None:
        return slots.hold("job")

    async def release(slot: Slot | None) -> None:
        slots.release(slot)

    slots.release(slots.occupied("job", 1, 0.0))
    held = [loop.run_until_complete(hold()) for loop in (left, left, other)]
    left.run_until_complete(release(held[0]))
    left.close()
    slots.saw([("job", True)], 0.0)
    assert (slots.take(0.0, 1), slots.used) == (None, 1)
    other.run_until_complete(release(held[2]))
    other.close()
    assert slots.take(0.0, 1) is not None


QUICK = PollPolicy(
    initial_interval=0.001, max_interval=0.002, long_poll=None, shared_interval=0.001
)


@pytest.mark.parametrize("limit", [1, 3, 6])
async def test_everything_shares_the_slots(limit: int) -> None:
    """Clients async and blocking, `create`, `run` and `run_many`, at once: none is refused."""
    async with Sandbox(render=False, progression="polls(2)", concurrency=limit) as sandbox:
        shared: dict[str, Any] = {"base_url": sandbox.url, "limits": slots(limit), "poll": QUICK}
        key = sandbox.api_key

        def block(many: int) -> None:
            with Client(key, **shared) as client:
                for request in requests(many):
                    client.generations.run(request)

        async with AsyncClient(key, **shared) as one, AsyncClient(key, **shared) as two:
            async with anyio.create_task_group() as tasks:
                for request in requests(6):
                    tasks.start_soon(one.generations.run, request)
                tasks.start_soon(two.generations.run_all, requests(6))
                tasks.start_soon(anyio.to_thread.run_sync, block, 4)
            job = await two.generations.create(*requests(1))
            await one.generations.wait_until_complete(job)
            assert one._requester.account.slots.used == 0  # noqa: SLF001
        assert refusals(sandbox) == 0
        assert set(made(sandbox).values()) <= {1, 2, 3, 4}
        assert sandbox.jobs.created == 17
        assert most_at_once(sandbox) <= limit


@pytest.mark.traced_once
@pytest.mark.parametrize(
    ("limits", "most"),
    [(Limits(concurrent_generations=15), 0), (Limits(), 4), (slots(15), 0), (slots(None), 4)],
    ids=["paced", "paced-learnt", "configured", "learnt"],
)
async def test_hundreds_of_runs_at_once(limits: Limits, most: int) -> None:
    """120 `run` on 15 slots: nothing is refused, or a handful while the limit is learnt."""
    paced: dict[str, Any] = {"creates_per_minute": limits.creates_per_minute}
    world = opened(limits, concurrency=15, progression="time(5-30)", seed=3, **paced)
    async with world as (client, sandbox, clock):
        async with anyio.create_task_group() as tasks:
            for request in requests(120):
                tasks.start_soon(client.generations.run, request)
        assert refusals(sandbox) <= most
        assert sandbox.jobs.count("COMPLETED") == 120
        assert client._requester.account.slots.used == 0  # noqa: SLF001
        assert clock.now() <= 120 * 17.5 / 15 * 1.3


@pytest.mark.parametrize(("own", "most"), [(None, 3), (2, 2), (9, 3)])
async def test_the_account_names_the_slots(own: int | None, most: int) -> None:
    """Once the account was asked, nothing is refused and every slot is used; own limits stay."""
    async with opened(slots(own), plan="creator", progression="time(20)") as (
        client,
        sandbox,
        clock,
    ):
        account = await client.account.get()
        assert account.concurrent_generations == 3
        async with anyio.create_task_group() as tasks:
            for request in requests(12):
                tasks.start_soon(client.generations.run, request)
        assert refusals(sandbox) == 0
        assert most_at_once(sandbox) == most
        assert clock.now() <= 12 / most * 20 * 1.1


async def test_the_account_is_asked_while_a_run_goes_on() -> None:
    """What was found out is made certain: after the answer nothing more is refused."""
    async with opened(slots(None), plan="growth", progression="time(20)") as (
        client,
        sandbox,
        clock,
    ):
        refused = -1

        async def ask() -> None:
            nonlocal refused
            await clock.sleep(30.0)
            await client.account.get()
            refused = refusals(sandbox)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(client.generations.run_all, requests(60))
        assert refusals(sandbox) == refused
        assert sandbox.jobs.count("COMPLETED") == 60
        assert most_at_once(sandbox) == 6


async def test_a_refused_batch_takes_no_slot() -> None:
    """Too many batches at once tell nothing of the generations that may run."""
    brief = {"retry": RetryPolicy(batch_timeout=20.0)}
    async with opened(slots(None), brief, batches_at_once=1, progression="time(60)") as (
        client,
        sandbox,
        _,
    ):
        await client.batches.create(requests(20))
        with pytest.raises(BatchLimitError):
            await client.batches.create(requests(20))
        pool = client._requester.account.slots  # noqa: SLF001
        assert (pool.limiter.limit, pool.used) == (None, 0)
        refused = refusals(sandbox)
        await client.generations.run_all(requests(8))
        assert refusals(sandbox) == refused


async def test_a_forgotten_job_is_looked_at() -> None:
    """Jobs that are created and never looked at keep their slots until they have ended."""
    async with opened(slots(3), concurrency=3, progression="time(20)") as (client, sandbox, clock):
        for request in requests(12):
            await client.generations.create(request)
        assert refusals(sandbox) == 0
        assert sandbox.jobs.created == 12
        # Three rounds, each seen at most one look too late.
        assert 60 <= clock.now() <= 3 * 26
        # A few looks a minute, anyone who waits.
        assert sandbox.requests.count("GET") <= clock.now() / 5 + 1


@pytest.mark.parametrize("seen_by", ["get", "list", "wait", "iter", "delete", "updates", "run"])
async def test_an_end_is_seen_by_any_look(seen_by: str) -> None:
    """Whatever call shows that a job has ended, its slot is free at once."""
    async with opened(slots(1), concurrency=1, progression="time(10)") as (client, sandbox, clock):
        generations = client.generations
        job = await order(client)
        if seen_by in {"get", "list", "iter", "delete"}:
            await clock.sleep(11.0)
        seen: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "get": lambda: generations.get(job),
            "list": lambda: generations.list(ids=[job.id]),
            "wait": lambda: generations.wait_until_complete(job),
            "iter": lambda: anext(generations.iter(page_size=5)),
            "delete": lambda: generations.delete(job),
            "run": lambda: generations.run(**ORDER, idempotency_key=job.idempotency_key),
        }
        if seen_by == "updates":
            async with generations.updates(job) as changes:
                assert [each.status async for each in changes][-1] == Status.COMPLETED
        else:
            await seen[seen_by]()
        assert client._requester.account.slots.used == 0  # noqa: SLF001
        begun = clock.now()
        await order(client)
        assert clock.now() == begun
        assert refusals(sandbox) == 0


async def test_an_order_that_is_repeated_has_its_slot() -> None:
    """The same key asks for the same job, which has a slot already."""
    async with opened(slots(1), concurrency=1, progression="time(30)") as (client, sandbox, clock):
        first = await order(client, idempotency_key="take-1")
        again = await order(client, idempotency_key="take-1")
        assert (first.id, sandbox.jobs.created, clock.now()) == (again.id, 1, 0.0)
        assert client._requester.account.slots.used == 1  # noqa: SLF001


async def test_a_client_that_allows_less_gets_its_slot() -> None:
    """Beside one that keeps many slots full, it waits until there are few, and not for ever."""
    clock = VirtualClock()
    async with Sandbox(render=False, clock=clock, progression="time(10)") as sandbox:
        many, few = exchanges(sandbox, slots(6), slots(2))

        async def go_on(exchange: Requester, count: int) -> None:
            async def one(number: int) -> None:
                (request,) = requests(1)
                key = f"{id(exchange)}-{number}"
                call = endpoints.create_generation(request, idempotency_key=key)
                await exchange.execute(call, SETTINGS)

            async with anyio.create_task_group() as tasks:
                for number in range(count):
                    tasks.start_soon(one, number)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(go_on, many, 60)
            await clock.sleep(1.0)
            begun = clock.now()
            await go_on(few, 2)
            assert clock.now() - begun <= 40
        assert most_at_once(sandbox) <= 6


def test_threads_share_the_slots() -> None:
    """What is taken and given back in many threads adds up, and never exceeds the limit."""
    account = SlotPool()
    most: list[int] = []

    def use(number: int) -> None:
        for turn in range(100):
            slot = account.take(0.0, 8)
            assert slot is not None
            most.append(account.used)
            job = Generation(id=f"{number}-{turn}", status=Status.PENDING)
            account.accepted(slot, job, 0.0)
            account.saw([(job.id, True)], 0.0)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(use, number) for number in range(8)]:
            done.result()
    assert (len(most), account.used) == (800, 0)
    assert max(most) <= 8


async def test_what_has_ended_before_takes_no_slot() -> None:
    """An order that is repeated after its job's end, and a job that ends at once, leave none."""
    async with opened(slots(1), progression="immediate") as (client, sandbox, clock):
        for key in ("take-1", "take-1", "take-2"):
            assert (await order(client, idempotency_key=key)).id
        assert clock.now() == 0.0
        assert sandbox.jobs.created == 2


async def test_a_job_of_an_earlier_run_takes_a_slot() -> None:
    """It runs already, so it is not asked whether it may; once for each job, not for each run."""
    account = SlotPool()
    held = [account.occupied("job-1", 1, 0.0), account.occupied("job-1", 1, 0.0)]
    assert account.used == 1
    assert account.take(0.0, 1) is None
    account.saw([("job-1", True)], 0.0)
    for slot, left in zip(held, (1, 0), strict=True):
        account.release(slot)
        assert account.used == left


def test_what_a_closed_loop_has_held_is_given_back() -> None:
    """Creates under way and jobs that were held there; what another loop holds stays held."""
    account = SlotPool()
    jobs = [Generation(id=f"job-{number}", status=Status.PENDING) for number in range(3)]

    async def leave() -> None:
        for job in jobs:
            slot = account.take(0.0, 9)
            assert slot is not None
            account.accepted(slot, job, 0.0, is_held=True)
        for _ in range(2):
            assert account.take(0.0, 9) is not None

    async def hold() -> list[Slot | None]:
        assert account.hold("unknown") is None
        return [account.hold(f"job-{number}") for number in (0, 0, 1, 1)]

    async def go_on(held: list[Slot | None]) -> None:
        assert account.used == 5
        assert account.jobs_to_check(100.0) == []
        assert account.take(0.0, 5) is not None
        assert account.used == 4
        assert account.jobs_to_check(100.0) == ["job-2"]
        for slot in (held[3], held[2], held[1], held[0]):
            account.release(slot)
        assert sorted(account.jobs_to_check(200.0)) == ["job-0", "job-1", "job-2"]

    left, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    left.run_until_complete(leave())
    held = other.run_until_complete(hold())
    left.close()
    other.run_until_complete(go_on(held))
    other.close()


def test_a_slot_is_found_across_loops() -> None:
    """A create in one thread's loop waits for a job that another thread's loop sees end."""
    order_of: list[str] = []
    account = SlotPool()
    is_waiting = threading.Event()

    async def hold() -> None:
        slot = account.take(0.0, 1)
        assert slot is not None
        job = Generation(id="job", status=Status.PENDING)
        own = account.accepted(slot, job, 0.0, is_held=True)
        await asyncio.to_thread(is_waiting.wait)
        order_of.append("ended")
        account.saw([("job", True)], 0.0)
        account.release(own)

    async def wait() -> None:
        woken = asyncio.Event()
        with account.on_change(woken.set, 1):
            while (slot := account.take(0.0, 1)) is None:
                is_waiting.set()
                await woken.wait()
                woken.clear()
        order_of.append("taken")
        account.release(slot)

    async def begin() -> None:
        holding = asyncio.create_task(hold())
        await anyio.lowlevel.checkpoint()
        await asyncio.to_thread(asyncio.run, wait())
        await holding

    asyncio.run(begin())
    assert order_of == ["ended", "taken"]
    assert account.used == 0
