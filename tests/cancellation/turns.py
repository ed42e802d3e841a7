"""Leave a call at any turn of the event loop, and find what is lost by that.

A scenario makes one call in a world of its own: a sandbox, a client, a folder. It runs once
for each turn of the loop that it takes, and is left in that turn. Then everything that the
service made must be known to the caller: returned, named on the exception or in the log, or
in the journal; and nothing may be left open.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import anyio
import attrs
from anyio.lowlevel import checkpoint

from lipsync_async import AsyncClient, Generation, JournalView, LipsyncError, Outcome
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.faults import Fault
from tests.bulk.runs import requests
from tests.client.connections import ORDER, connect, records_of

MANY = 3
# Turns in which what a call has begun to close comes to its end.
_LAST_TURNS = 20


class TurnLoop(asyncio.SelectorEventLoop):
    """Count the loop's turns, and do something before one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self._strikes: dict[int, Callable[[], object]] = {}

    def strike_at(self, strikes: dict[int, Callable[[], object]]) -> None:
        """Count from here, and call something before each of some turns."""
        self.turns, self._strikes = 0, strikes

    def _run_once(self) -> None:
        strike = self._strikes.pop(self.turns, None)
        self.turns += 1
        if strike is not None:
            strike()
        super()._run_once()  # type: ignore[misc]


@contextmanager
def listening() -> Iterator[list[str]]:
    """Keep the lines that the package logs where a program sees them."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("lipsync_async")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


@attrs.define(slots=True)
class World:
    """What one call is made in, and all that has come of it."""

    client: AsyncClient
    sandbox: Sandbox
    folder: Path
    heard: list[str]  # what was logged
    before: Generation | None  # a job that had ended before the call
    seen: list[object] = attrs.field(factory=list)  # what the call has handed over
    error: BaseException | None = None  # how it has ended, unless it has returned

    @property
    def journal(self) -> Path:
        """The journal of its run."""
        return self.folder / "run.sqlite"

    @property
    def results(self) -> Path:
        """Where its results go."""
        return self.folder / "results"

    def keys(self) -> dict[str, str]:
        """Return the keys that jobs were made of, by the jobs' ids."""
        book = records_of(self.sandbox)
        return {str(record.created): key for key, record in book.items()}

    def told(self) -> str:
        """Return all that the caller has been told."""
        said = [told_by(self.error), *self.heard]
        said += [self.before.id] if self.before is not None else []
        for each in self.seen:
            said.append(repr(each))
            outcomes = each if isinstance(each, list) else [each]
            said += [told_by(one.error) for one in outcomes if isinstance(one, Outcome)]
        if self.journal.exists():
            with JournalView.open(self.journal) as view:
                for entry in view.entries():
                    said.append(f"{entry.idempotency_key} {entry.generation_id}")
        return "\n".join(said)

    def lost(self) -> list[str]:
        """Return the jobs of which the caller knows neither the id nor the key."""
        told, keys = self.told(), self.keys()
        known = [job.id for job in self.sandbox.jobs if job.id in told or keys[job.id] in told]
        return [job.id for job in self.sandbox.jobs if job.id not in known]


def told_by(error: BaseException | None) -> str:
    """Return what an exception says, with all that it came from or holds."""
    said: list[str] = []
    left, met = [error], set[int]()
    while left:
        each = left.pop()
        if each is None or id(each) in met:
            continue
        met.add(id(each))
        said += [str(each), *getattr(each, "__notes__", ())]
        if isinstance(each, LipsyncError):
            said += [repr(each.generation), str(each.idempotency_key)]
            said += [*each.generation_ids, *each.idempotency_keys.values()]
        left += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return "\n".join(said)


Scenario = Callable[[World], Coroutine[Any, Any, object]]


async def wait(world: World) -> object:
    """Wait for one."""
    job = await world.client.generations.create(**ORDER)
    world.seen.append(job)
    return await world.client.generations.wait_until_complete(job)


async def updates(world: World) -> object:
    """Watch one."""
    job = await world.client.generations.create(**ORDER)
    world.seen.append(job)
    async with world.client.generations.updates(job) as changes:
        return [change async for change in changes]


async def run_many(
    world: World, *, has_journal: bool = False, has_files: bool = False, **how: Any
) -> object:
    """Run several, and take the outcomes one by one."""
    how |= {"journal": world.journal} if has_journal else {}
    how |= {"download_to": world.results} if has_files else {}
    async with world.client.generations.run_many(requests(MANY), **how) as outcomes:
        async for outcome in outcomes:
            world.seen.append(outcome)
    return None


async def break_out(world: World) -> object:
    """Run several, and leave after the first outcome."""
    async with world.client.generations.run_many(requests(MANY)) as outcomes:
        async for outcome in outcomes:
            world.seen.append(outcome)
            break
    return None


async def through_a_generator(world: World) -> object:
    """Run several in an async generator of the caller's own."""

    async def results() -> AsyncIterator[Outcome]:
        async with world.client.generations.run_many(requests(MANY)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async for outcome in results():
        world.seen.append(outcome)
    return None


async def break_off(world: World) -> object:
    """Run several with a journal, and do something else after the first outcome."""
    async with world.client.generations.run_many(requests(MANY), journal=world.journal) as outcomes:
        world.seen.append(await anext(outcomes))
        for _ in range(3 * _LAST_TURNS):
            await checkpoint()
    return None


async def read(world: World) -> object:
    """Look at all there are."""
    return [job async for job in world.client.generations.iter(page_size=1)]


SCENARIOS: dict[str, Scenario] = {
    "create": lambda world: world.client.generations.create(**ORDER),
    "run": lambda world: world.client.generations.run(**ORDER),
    "wait": wait,
    "updates": updates,
    "read": read,
    "download": lambda world: world.client.generations.download(
        cast("Generation", world.before), world.results / "one.mp4"
    ),
    "run_all": lambda world: world.client.generations.run_all(requests(MANY)),
    "run_many": run_many,
    "run_ordered": partial(run_many, ordered=True),
    "run_with_journal": partial(run_many, has_journal=True),
    "run_with_files": partial(run_many, has_journal=True, has_files=True),
    "run_and_save": partial(run_many, has_files=True),
    "break_out": break_out,
    "break_off": break_off,
    "through_a_generator": through_a_generator,
}


# What may be wrong with a service meanwhile.
CREATES: dict[str, Any] = {"method": "POST", "path": "/v2/generate"}
TROUBLES: dict[str, tuple[Fault, ...]] = {
    "none": (),
    "slow": (Fault("latency", seconds=1.0, count=None),),
    "slow answers": (Fault("slow_body", seconds=0.05, count=None, **CREATES),),
    "unknown": (
        Fault("reset_after", every=2, count=None, **CREATES),
        Fault("status", status=500, method="GET", every=3, count=None),
    ),
    "named": (Fault("outcome_unknown", count=2, **CREATES),),
    "lost": (Fault("reset_before", every=2, count=None), Fault("truncate", count=2, **CREATES)),
    "failing": (
        Fault("fail_job", every=2, count=None, **CREATES),
        Fault("status", status=402, skip=2, count=1, **CREATES),
    ),
}


@asynccontextmanager
async def opened(
    trouble: str = "none", *, has_before: bool = True, **settings: Any
) -> AsyncIterator[World]:
    """Open a world in memory, on a virtual clock."""
    with TemporaryDirectory() as folder, listening() as heard:
        usual: dict[str, Any] = {"progression": "time(10)", "clock": VirtualClock()}
        sandbox = Sandbox(render=False, placeholder_size=100_000, **usual | settings)
        async with sandbox, connect(sandbox) as client:
            before = await client.generations.run(**ORDER) if has_before else None
            for fault in TROUBLES[trouble]:
                sandbox.faults.add(fault)
            yield World(client, sandbox, Path(folder), heard, before)


# How a call is left. Each runs the call and returns what strikes, by turns from the first.
Way = Callable[[World, Scenario], tuple[Awaitable[object], list[Callable[[], object]]]]


def by_cancel(world: World, scenario: Scenario) -> tuple[Awaitable[object], list[Any]]:
    """Cancel its task."""
    task = asyncio.ensure_future(scenario(world))
    return task, [task.cancel]


def by_two_cancels(world: World, scenario: Scenario) -> tuple[Awaitable[object], list[Any]]:
    """Cancel its task again in the turn after, when it cleans up."""
    task = asyncio.ensure_future(scenario(world))
    return task, [task.cancel, task.cancel]


def by_scope(world: World, scenario: Scenario) -> tuple[Awaitable[object], list[Any]]:
    """Cancel a scope of anyio around it."""
    scope = anyio.CancelScope()

    async def scoped() -> object:
        with scope:
            return await scenario(world)
        return None

    return asyncio.ensure_future(scoped()), [scope.cancel]


def by_timeout(world: World, scenario: Scenario) -> tuple[Awaitable[object], list[Any]]:
    """Let a time limit of asyncio around it be over."""
    limits: list[asyncio.Timeout] = []

    async def limited() -> object:
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            return await scenario(world)

    def end() -> None:
        for limit in limits:
            with suppress(RuntimeError):  # the call has ended in this turn
                limit.reschedule(asyncio.get_running_loop().time() - 1)

    return asyncio.ensure_future(limited()), [end]


def by_sibling(world: World, scenario: Scenario) -> tuple[Awaitable[object], list[Any]]:
    """Let another task of its task group fail."""
    failing = asyncio.get_running_loop().create_future()

    async def fail() -> None:
        await failing

    async def grouped() -> object:
        async with asyncio.TaskGroup() as tasks:
            sibling = tasks.create_task(fail())
            made = tasks.create_task(scenario(world))
            result = await made
            sibling.cancel()
        return result

    def strike() -> None:
        if not failing.done():
            failing.set_exception(LookupError("a sibling"))

    return asyncio.ensure_future(grouped()), [strike]


def by_close(world: World, scenario: Scenario) -> tuple[Awaitable[object], list[Any]]:
    """Close the client."""
    closing: list[asyncio.Task[None]] = []

    async def closed() -> object:
        try:
            return await scenario(world)
        finally:
            for each in closing:
                await each

    def close() -> None:
        closing.append(asyncio.ensure_future(world.client.aclose()))

    return asyncio.ensure_future(closed()), [close]


WAYS: dict[str, Way] = {
    each.__name__: each
    for each in (by_cancel, by_two_cancels, by_scope, by_timeout, by_sibling, by_close)
}


async def recorded(world: World, scenario: Scenario) -> None:
    """Make a call, and keep what it returns: the caller has it, whatever else goes on."""
    world.seen.append(await scenario(world))


async def leave(world: World, scenario: Scenario, way: Way, turn: int) -> bool:
    """Leave a call in one turn of the loop; tell whether it had ended by itself before.

    How it has ended is kept in the world.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TurnLoop)
    call, strikes = way(world, partial(recorded, scenario=scenario))
    struck: list[int] = []

    def strike(number: int) -> None:
        struck.append(number)
        strikes[number]()

    loop.strike_at({turn + number: partial(strike, number) for number in range(len(strikes))})
    try:
        await call
    except BaseException as error:  # noqa: BLE001 - how a call ends is what is looked at
        world.error = error
    loop.strike_at({})
    return not struck


# Over sockets, with little to wait for.
_QUICK: dict[str, Any] = {"clock": None, "progression": "polls(2)", "trouble": "slow answers"}


def drop(scenario: Scenario, turn: int, **settings: Any) -> tuple[World, bool]:
    """Drop the loop in one turn of a call; return its world, and whether the call had ended."""
    loop, stack = TurnLoop(), AsyncExitStack()
    world = loop.run_until_complete(stack.enter_async_context(opened(**settings)))
    world.seen.append(stack)  # it is never closed
    call = loop.create_task(recorded(world, scenario))
    call.add_done_callback(lambda _: loop.stop())
    loop.strike_at({turn: loop.stop})
    loop.run_forever()
    loop.close()
    return world, call.done()


def drop_often(in_memory: dict[str, int], over_sockets: dict[str, int]) -> None:
    """Drop loops in the middle of calls, and print for each job whether the caller knows it.

    The arguments say for each scenario in every how many turns a loop is dropped.
    """
    slow = {"trouble": "slow", "has_before": False}
    cases = [(name, step, slow) for name, step in in_memory.items()]
    cases += [(name, step, _QUICK) for name, step in over_sockets.items()]
    worlds: list[World] = []
    for name, step, settings in cases:
        turn, has_ended = 0, False
        # Python 3.11 traces a function no further when a coroutine was dropped in it.
        while not has_ended:  # pragma: no branch
            world, has_ended = drop(SCENARIOS[name], turn, seed=len(worlds), **settings)
            worlds.append(world)
            turn += step
    _print_jobs(worlds)  # pragma: no cover - as above


def _print_jobs(worlds: list[World]) -> None:
    gc.collect()
    for world in worlds:
        lost = world.lost()
        for job, key in world.keys().items():
            print(job, key, job not in lost)  # noqa: T201 - for another program to read
    logging.getLogger("lipsync_async").handlers.clear()  # what comes now is for the terminal


async def left_over(world: World, own: set[asyncio.Task[Any]]) -> list[str]:
    """Return what a call has left open."""
    for _ in range(_LAST_TURNS):
        await checkpoint()
    held: list[str] = [
        repr(task)
        for task in asyncio.all_tasks() - own
        # The sandbox's own tasks bring its jobs to their ends. aiohttp looks a host up to the
        # end for the next connection too, and cancels that when the client is closed.
        if not any(name in repr(task.get_coro()) for name in ("sandbox", "_resolve_host"))
    ]
    held += [f"in flight: {world.client!r}"] if "in_flight=0" not in repr(world.client) else []
    held += [str(path) for path in world.folder.rglob("*.part")]
    return held
