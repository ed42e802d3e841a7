"""However a run is left, each job that was ordered and not handed over is named, by id or key."""

import asyncio
import gc
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint

from lipsync_async import AsyncClient, GenerationRequest, Outcome, Progress, Response, RetryPolicy
from lipsync_async._bulk.results import LeftJobs
from lipsync_async._callsite import notes_of
from lipsync_async.errors import LipsyncError
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault, concurrency_limited
from tests.bulk.runs import opened, requests, slots
from tests.bulk.test_leaving_runs import held
from tests.client.connections import connect, records_of

CREATE = "/v2/generate"
MEDIA = "/__sandbox/media/*"
MANY = 4


@attrs.define
class Scene:
    """A run that is about to be left, in some state."""

    client: AsyncClient
    sandbox: Sandbox
    settings: dict[str, Any] = attrs.field(factory=dict)  # what the run is called with
    taken: list[Outcome] = attrs.field(factory=list)
    made: list[str] = attrs.field(factory=list)


@attrs.frozen
class State:
    """How a run is when it is left: what went wrong before, and after how many seconds."""

    faults: tuple[Fault, ...] = ()
    progression: str = "manual"
    downloads: bool = False
    seconds: float = 30.0


STATES = {
    "running": State(),
    "ended": State(progression="time(10)"),
    "some have ended": State(progression="time(10-60)"),
    "failed": State((Fault("fail_job", count=None),), progression="time(10)"),
    "creates under way": State((Fault("slow_body", path=CREATE, seconds=500, count=None),)),
    "one create under way": State((Fault("slow_body", path=CREATE, seconds=500, skip=2),)),
    "a create of unknown outcome": State((Fault("reset_after", path=CREATE, count=None),)),
    "given up": State((Fault("status", path=CREATE, status=500, count=None),)),
    "given up after being accepted": State((Fault("outcome_unknown", path=CREATE, count=None),)),
    "unreadable": State((Fault("malformed_json", path=CREATE, count=2),)),
    "being fetched": State(
        (Fault("hang", path=MEDIA, count=None),), progression="time(10)", downloads=True
    ),
    "waiting to be fetched": State(
        (Fault("latency", path=MEDIA, seconds=900, count=None),),
        progression="immediate",
        downloads=True,
    ),
    "looks fail": State((Fault("status", method="GET", status=404, count=None),)),
    "the line is dead": State((Fault("reset_before", count=None, skip=4),), seconds=20.0),
}


@asynccontextmanager
async def scene(state: State, sandbox: Sandbox, folder: Path) -> AsyncIterator[Scene]:
    """Connect a client, and see to it that something goes wrong."""
    sandbox.faults.clear()
    for fault in state.faults:
        sandbox.faults.add(fault)
    hasty = RetryPolicy(give_up_after=5.0)
    known = {job.id for job in sandbox.jobs}
    async with connect(sandbox, limits=slots(MANY), retry=hasty) as client:
        at = Scene(client, sandbox, {"download_to": folder if state.downloads else None})
        yield at
    at.made += [job.id for job in sandbox.jobs if job.id not in known]


def pausing(seconds: float, client: AsyncClient) -> Callable[[], Awaitable[None]]:
    """Return what waits in the transport's time."""
    transport = client._requester.transport  # noqa: SLF001

    async def pause() -> None:
        await transport.sleep(seconds)
        for _ in range(20):  # so that what has come is dealt with
            await checkpoint()

    return pause


async def by_break(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
    """Leave the block in good order."""
    async with at.client.generations.run_many(requests(MANY), **at.settings):
        await pause()


async def by_break_after_one(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
    """Leave the block after an outcome, if there is one by then."""
    async with at.client.generations.run_many(requests(MANY), **at.settings) as outcomes:
        await pause()
        with anyio.move_on_after(0):
            at.taken.append(await anext(outcomes))


def by_raising(kind: type[BaseException]) -> Callable[..., Awaitable[None]]:
    """Return what raises in the block."""

    async def leave(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
        async with at.client.generations.run_many(requests(MANY), **at.settings):
            await pause()
            raise kind("enough")

    return leave


def by_ending(end: Callable[[Scene, asyncio.Task[Any]], object]) -> Callable[..., Awaitable[None]]:
    """Return what ends the task of a `run_all` from outside."""

    async def leave(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.create_task(at.client.generations.run_all(requests(MANY), **at.settings))
        await pause()
        result = end(at, task)
        if isinstance(result, Awaitable):
            await result
        at.taken += await task

    return leave


async def by_time_limit(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
    """Have a scope cancel a `run_all`, without an exception that anybody sees."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def end() -> None:
                await pause()
                scope.cancel()

            tasks.start_soon(end)
            at.taken += await at.client.generations.run_all(requests(MANY), **at.settings)
    raise TimeoutError


async def by_asyncio_timeout(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
    """Have asyncio's own time limit end a `run_all`."""
    async with asyncio.timeout(None) as limit:
        task = asyncio.create_task(_then(pause, lambda: limit.reschedule(0)))
        try:
            at.taken += await at.client.generations.run_all(requests(MANY), **at.settings)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _then(pause: Callable[[], Awaitable[None]], do: Callable[[], object]) -> None:
    await pause()
    do()


async def by_a_callback(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
    """Have `on_progress` raise, as soon as there is an outcome."""

    def refuse(_: Progress) -> None:
        raise LookupError("no display")

    async with at.client.generations.run_many(
        requests(MANY), on_progress=refuse, **at.settings
    ) as outcomes:
        await pause()
        with anyio.move_on_after(0):
            await anext(outcomes)
        raise LookupError("no outcome")


async def by_an_answer_callback(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
    """Have `on_response` raise, from some moment on."""
    is_over = False

    def refuse(_: Response) -> None:
        if is_over:
            raise LookupError("no display")

    view = at.client.with_options(on_response=refuse)
    async with view.generations.run_many(requests(MANY), **at.settings):
        await pause()
        is_over = True
        await pause()


async def by_the_input(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
    """Have the input raise, and do not wait for what runs then."""

    async def rows() -> AsyncIterator[GenerationRequest]:
        for request in requests(MANY):
            yield request
        await pause()
        raise LookupError("no more rows")

    async with at.client.generations.run_many(rows(), **at.settings):
        await pause()
        await pause()
        raise LookupError("enough")


async def by_stopping(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
    """Begin nothing more after an error, and leave then."""
    rows = [*requests(MANY), GenerationRequest(model="", input=())]
    async with at.client.generations.run_many(rows, stop_on_error=True, **at.settings):
        await pause()


async def by_closing_a_generator(at: Scene, pause: Callable[[], Awaitable[None]]) -> None:
    """Close an async generator around the block."""

    async def each() -> AsyncIterator[None]:
        async with at.client.generations.run_many(requests(MANY), **at.settings):
            await pause()
            yield

    generator: Any = each()
    await anext(generator)
    await generator.aclose()


WAYS: dict[str, Callable[[Scene, Callable[[], Awaitable[None]]], Awaitable[None]]] = {
    "break": by_break,
    "break after one": by_break_after_one,
    "an exception": by_raising(ValueError),
    "an error of ours": by_raising(LipsyncError),
    "Ctrl-C": by_raising(KeyboardInterrupt),
    "an exit": by_raising(SystemExit),
    "cancel": by_ending(lambda _, task: task.cancel()),
    "a scope": by_time_limit,
    "asyncio.timeout": by_asyncio_timeout,
    "on_progress": by_a_callback,
    "on_response": by_an_answer_callback,
    "the input": by_the_input,
    "stop_on_error": by_stopping,
    "aclose": by_ending(lambda at, _: at.client.aclose()),
    "a generator": by_closing_a_generator,
}


def handed_over(outcomes: list[Outcome]) -> str:
    """Return what outcomes tell of their jobs."""
    return " ".join(
        f"{each.generation and each.generation.id} {each.error and each.error.idempotency_key}"
        for each in outcomes
    )


def lost(at: Scene, told: str) -> list[str]:
    """Return the jobs that are named nowhere, neither by their ids nor by their keys."""
    records = records_of(at.sandbox)
    keys = {record.created: key for key, record in records.items()}
    return [job for job in at.made if job not in told and str(keys.get(job)) not in told]


@pytest.mark.parametrize("state", STATES)
async def test_each_job_is_named(
    state: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, and on the exception where one comes out; what was handed over is not."""
    named = 0
    async with opened(progression=STATES[state].progression) as (_, sandbox, _):
        for way, leave in WAYS.items():
            error: BaseException | None = None
            caplog.clear()
            async with scene(STATES[state], sandbox, tmp_path) as at:
                pause = pausing(STATES[state].seconds, at.client)
                try:
                    await leave(at, pause)
                except BaseException as raised:  # noqa: BLE001 - that is what is looked at
                    error = raised
                assert (way, held(at.client)) == (way, [])
            taken = handed_over(at.taken)
            left = [line for line in caplog.messages if line.startswith("The run was left")]
            assert (way, lost(at, " ".join(left) + taken)) == (way, [])
            for outcome in at.taken:
                assert outcome.generation is None or outcome.generation.id not in "".join(left)
            if error is not None and way not in {"a scope", "a generator"}:  # these raise another
                chain = [error, error.__cause__, error.__context__]
                notes = [note for each in chain if each for note in notes_of(each)]
                assert (way, set(left) - set(notes)) == (way, set())
            named += sum(line.count("idempotency_key=") or line.count("-4") for line in left)
    assert named >= MANY * len(WAYS) / 2


def test_the_words() -> None:
    """What goes on, what has ended and what is not known, each with what to do."""
    running, ended, unknown = LeftJobs(("a", "b"), ("c",), {7: "l", 3: "k"}).messages()
    assert running == (
        "The run was left while 2 generations run. They go on and are paid for; "
        "await wait_until_complete(id) for each: a b"
    )
    assert ended == (
        "The run was left before all outcomes were taken. Await get(id) or download(id) "
        "for each of the generations: c"
    )
    assert unknown == (
        "The run was left while the outcome of creates was not known; they may have been "
        "accepted. To find out without paying twice, create again request 3 with "
        "idempotency_key='k', request 7 with idempotency_key='l'"
    )
    assert "1 generation runs." in "".join(LeftJobs(("a",), (), {}).messages())
    assert not LeftJobs((), (), {})


async def made(sandbox: Sandbox, many: int) -> None:
    """Wait until so many jobs were made and are known to their client."""
    while sandbox.jobs.created < many:
        await checkpoint()
    for _ in range(20):
        await checkpoint()


def named_once(caplog: pytest.LogCaptureFixture, sandbox: Sandbox) -> bool:
    """Tell whether one line names all jobs."""
    (line,) = [line for line in caplog.messages if line.startswith("The run was left")]
    return all(line.count(job.id) == 1 for job in sandbox.jobs)


@pytest.mark.parametrize("is_around", [False, True], ids=["a block", "a generator around it"])
async def test_what_is_forgotten(caplog: pytest.LogCaptureFixture, *, is_around: bool) -> None:
    """The garbage collector ends what is entered and never left; no other task is cancelled."""

    async def each(block: Any) -> AsyncIterator[int]:
        async with block:
            yield 1

    async with opened(slots(MANY), progression="manual") as (client, sandbox, _):
        kept: Any = client.generations.run_many(requests(MANY))
        if is_around:
            kept = each(kept)
        await (anext(kept) if is_around else kept.__aenter__())
        await made(sandbox, MANY)
        del kept
        gc.collect()
        await made(sandbox, MANY)
        assert named_once(caplog, sandbox)
        assert held(client) == []


async def test_a_generator_that_another_task_closes(caplog: pytest.LogCaptureFixture) -> None:
    """A block may be left by another task than has entered it."""

    async def each(client: AsyncClient) -> AsyncIterator[Outcome]:
        async with client.generations.run_many(requests(MANY)) as outcomes:
            yield await anext(outcomes)

    async with opened(slots(1), progression="time(10)") as (client, sandbox, _):
        generator: Any = each(client)
        first = await anext(generator)
        await asyncio.create_task(generator.aclose())
        at = Scene(client, sandbox, made=[job.id for job in sandbox.jobs])
        assert lost(at, caplog.text) == [first.generation.id]


def test_a_loop_that_ends(caplog: pytest.LogCaptureFixture) -> None:
    """A program whose main task ends while another one holds a run learns of its jobs."""
    kept: list[Any] = []

    async def main() -> None:
        opening = opened(slots(MANY), progression="manual")
        client, sandbox, _ = await opening.__aenter__()
        kept.extend([opening, sandbox, asyncio.create_task(run(client))])
        await made(sandbox, MANY)

    async def run(client: AsyncClient) -> None:
        await client.generations.run_all(requests(MANY))

    # In a thread, for Python 3.11 traces nothing more where a cancellation was thrown in.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, main()).result()
    assert named_once(caplog, kept[1])
    assert kept[2].cancelled()


async def test_cancelled_again_while_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """A second cancellation does not leave the run's own tasks alone; it is obeyed after them."""
    async with opened(slots(MANY), progression="manual") as (client, sandbox, _):
        task = asyncio.create_task(client.generations.run_all(requests(MANY)))
        await made(sandbox, MANY)
        task.cancel()
        for _ in range(3):
            await checkpoint()
            task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert named_once(caplog, sandbox)
        assert held(client) == []
    assert any(line in notes_of(caught.value) for line in caplog.messages)


@pytest.mark.parametrize("has_journal", [False, True])
async def test_an_error_of_ours_holds_ids_and_keys(tmp_path: Path, has_journal: bool) -> None:  # noqa: FBT001
    """It can be asked for them, also after it was pickled; with a journal it names that."""
    journal = tmp_path / "journal.sqlite" if has_journal else None
    async with opened(slots(MANY), progression="manual") as (client, sandbox, _):
        sandbox.faults.add(Fault("slow_body", path=CREATE, seconds=500, skip=2, count=None))
        with pytest.raises(LipsyncError) as caught:  # noqa: PT012 - the block is what is tested
            async with client.generations.run_many(requests(MANY), journal=journal):
                await made(sandbox, MANY)
                raise LipsyncError("enough")
        error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
        ids = [job.id for job in sandbox.jobs]
        assert len(error.generation_ids) == 2
        assert set(error.generation_ids) < set(ids)
        assert list(error.idempotency_keys) == [2, 3]
        records = records_of(sandbox)
        keys = [records[key].created for key in error.idempotency_keys.values()]
        assert {*keys, *error.generation_ids} == {*ids}
    notes = "".join(notes_of(caught.value))
    assert (str(journal) in notes) is has_journal
    assert (ids[0] in notes) is not has_journal


async def test_a_journal_that_has_failed_knows_nothing(
    journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was ordered when the disk was full, say, is named as if there were no journal."""
    async with opened(slots(MANY), progression="manual") as (client, sandbox, _):
        with pytest.raises(LookupError):  # noqa: PT012 - the block is what is tested
            async with client.generations.run_many(requests(MANY), journal=journal):
                while sandbox.jobs.created < 1:
                    await checkpoint()
                journal.unlink()  # noqa: ASYNC240 - nothing else runs
                await made(sandbox, MANY)
                for job in sandbox.jobs:
                    sandbox.jobs.move(job.id, "PROCESSING")
                await client._requester.transport.sleep(20)  # noqa: SLF001
                raise LookupError("enough")
        assert [job.id for job in sandbox.jobs if job.id not in caplog.text] == []


async def test_an_order_that_waits_for_a_slot_after_an_unknown_try(tmp_path: Path) -> None:
    """When nothing more is begun, it has an outcome with its key: its job may be there."""
    rows = [*requests(1), GenerationRequest(model="", input=())]
    for journal in (None, tmp_path / "journal.sqlite"):
        async with opened(slots(2), progression="manual") as (client, sandbox, clock):
            sandbox.faults.add(Fault("reset_after", path=CREATE))
            refusal = concurrency_limited(1, retry_after_seconds=5, count=None)
            sandbox.faults.add(attrs.evolve(refusal, skip=1))

            async def slowly(wait: Any = clock.sleep) -> AsyncIterator[GenerationRequest]:
                yield rows[0]
                await wait(60)
                yield rows[1]

            found = await client.generations.run_all(slowly(), stop_on_error=True, journal=journal)
            assert [each.index for each in found] == [0, 1]
            assert found[0].error is not None
            assert found[0].error.may_have_worked
            key = str(found[0].error.idempotency_key)
            assert records_of(sandbox)[key].created is not None
            assert f"idempotency_key={key!r}" in str(found[0].error)


async def _nested(client: AsyncClient, job: str) -> None:
    await client.generations.wait_until_complete(await client.generations.get(job))


async def _updates(client: AsyncClient, job: str) -> None:
    async with client.generations.updates(job) as changes:
        async for _ in changes:
            pass


VERBS: dict[str, Callable[[AsyncClient, str], Awaitable[Any]]] = {
    "wait_until_complete": lambda client, job: client.generations.wait_until_complete(job),
    "a nested wait": _nested,
    "updates": _updates,
    "run": lambda client, _: client.generations.run(next(requests(1))),
    "create": lambda client, _: client.generations.create(next(requests(1))),
    "download": lambda client, job: client.generations.download(job, "anywhere"),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_cancelled_verb_names_its_job(
    verb: str, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, on the cancellation and in the log, by its id or its key."""
    monkeypatch.chdir(tmp_path)
    progression = "immediate" if verb == "download" else "manual"
    async with opened(slots(MANY), progression=progression) as (client, sandbox, clock):
        job = await client.generations.create(next(requests(1)))
        known = [job.id]
        if verb in {"create", "download"}:
            path = CREATE if verb == "create" else MEDIA
            sandbox.faults.add(Fault("slow_body", path=path, seconds=500))
        task = asyncio.ensure_future(VERBS[verb](client, job.id))
        await clock.sleep(30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        (line,) = caplog.messages
        assert notes_of(caught.value) == [line]
        if verb in {"run", "create"}:
            known = [made.id for made in sandbox.jobs if made.id != job.id]
        records = records_of(sandbox)
        known += [key for key, record in records.items() if record.created in known]
        assert any(name in line for name in known)


async def test_what_a_block_of_updates_raises() -> None:
    """It names the job as far as it was seen; an error that names it already says no more."""
    async with opened(slots(MANY), progression="polls(2)") as (client, _, _):
        job = await client.generations.create(next(requests(1)))
        with pytest.raises(LookupError) as caught:  # noqa: PT012 - the block is what is tested
            async with client.generations.updates(job.id) as changes:
                await anext(changes)
                raise LookupError("enough")
        (note,) = notes_of(caught.value)
        assert f"wait_until_complete({job.id!r})" in note
        with pytest.raises(LookupError) as caught:  # noqa: PT012 - the block is what is tested
            async with client.generations.updates(job.id) as changes:
                assert [each.status async for each in changes][-1] == "COMPLETED"
                raise LookupError("enough")
        assert notes_of(caught.value) == [
            f"Generation {job.id} has ended; call get({job.id!r}) for what became of it."
        ]
        done = await client.generations.get(job.id)
        with pytest.raises(LipsyncError) as told:  # noqa: PT012 - the block is what is tested
            async with client.generations.updates(done):
                error = LipsyncError("enough")
                error.generation = done
                raise error
        assert notes_of(told.value) == []


async def test_an_iteration_of_updates_may_be_left(caplog: pytest.LogCaptureFixture) -> None:
    """Leaving in good order, also by a generator around it, says nothing."""

    async def each(client: AsyncClient, job: str) -> AsyncIterator[str]:
        async with client.generations.updates(job) as changes:
            yield (await anext(changes)).status

    async with opened(slots(MANY), progression="polls(2)") as (client, _, _):
        job = await client.generations.create(next(requests(1)))
        generator: Any = each(client, job.id)
        await anext(generator)
        await generator.aclose()
    assert caplog.messages == []


async def test_a_journal_is_left_in_silence(
    journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It has what runs, so a block that is left in good order has nothing to say."""
    async with (
        opened(slots(MANY), progression="manual") as (client, sandbox, _),
        client.generations.run_many(requests(MANY), journal=journal),
    ):
        await made(sandbox, MANY)
    assert caplog.messages == []
