"""What no error of the package is, raised in the middle of a run: it is one request's outcome."""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from lipsync_async import AsyncClient, GenerationRequest, Outcome, Response, Video
from lipsync_async._callsite import notes_of
from lipsync_async._models.http import Request
from lipsync_async._transport.protocol import Stream, Transport
from lipsync_async.errors import DownloadError, InvalidRequestError, UnexpectedError
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.faults import Fault
from tests.bulk.jobs import entries
from tests.bulk.runs import FREE, requests, run
from tests.bulk.test_leaving_runs import held
from tests.client.connections import INPUTS, connect


class Silent(Exception):  # noqa: N818 - as foreign as can be
    """An exception whose message raises."""

    def __str__(self) -> str:
        raise LookupError("no words")


@attrs.frozen
class Frozen(Exception):  # noqa: N818 - as foreign as can be
    """An exception that cannot be changed."""

    words: str


class Odd(Exception):  # noqa: N818 - as foreign as can be
    """An exception that is false, and whose notes are no list."""

    __notes__: Any = 5

    def __bool__(self) -> bool:
        return False


def failures() -> list[Exception]:
    """Return one exception of each kind, all new."""
    return [
        ValueError("Exceeds the limit (4300 digits) for integer string conversion"),
        *(TypeError("Type is not JSON serializable: Float64"), AssertionError(), KeyError("id")),
        IndexError("list index out of range"),
        AttributeError("'NoneType' object has no attribute 'scheme'"),
        OverflowError("Python int too large to convert to C long"),
        ZeroDivisionError("division by zero"),
        *(RecursionError("maximum recursion depth exceeded"), MemoryError()),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        *(OSError(5, "Input/output error"), PermissionError(13, "Permission denied")),
        *(TimeoutError("too slow"), EOFError("end of file"), NotImplementedError()),
        *(RuntimeError("Session is closed"), StopAsyncIteration()),
        *(ImportError("no module named brotli"), BufferError("memoryview has exported buffers")),
        *(ssl.SSLError(1, "wrong version number"), asyncio.InvalidStateError("invalid state")),
        *(asyncio.QueueEmpty(), ExceptionGroup("several", [ValueError("one"), KeyError("two")])),
        *(Warning("deprecated"), Exception("terminal \x1b[31m escape\r\nand a line"), Silent()),
        *(Frozen("as it is"), Odd("falsy")),
    ]


KINDS = [type(failure).__name__ for failure in failures()]
MANY = len(KINDS)


Strikes = Callable[[Request], Exception | None]


class Spoilt:
    """A transport in which something else than the network goes wrong."""

    def __init__(self, inner: Transport, before: Strikes, after: Strikes, streams: Strikes) -> None:
        self._inner = inner
        self._before, self._after, self._streams = before, after, streams

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send(self, request: Request, **settings: Any) -> Response:
        """Send a request, unless it strikes."""
        _raise(self._before(request))
        response = await self._inner.send(request, **settings)
        _raise(self._after(request))
        return response

    def stream(self, request: Request, **settings: Any) -> AbstractAsyncContextManager[Stream]:
        """Open a body, unless it strikes."""
        _raise(self._streams(request))
        return self._inner.stream(request, **settings)


def _raise(failure: BaseException | None) -> None:
    if failure is not None:
        raise failure


def never(_: Request) -> None:
    """Strike nothing."""


@asynccontextmanager
async def spoilt(
    before: Strikes = never, after: Strikes = never, streams: Strikes = never
) -> AsyncIterator[tuple[AsyncClient, Sandbox, VirtualClock]]:
    """Run a sandbox in memory, and a client whose transport is spoilt."""
    clock = VirtualClock()
    async with Sandbox(render=False, progression="time(10)", clock=clock) as sandbox:
        transport: Any = Spoilt(sandbox.transport(), before, after, streams)
        async with connect(sandbox, transport=transport, limits=FREE) as client:
            yield client, sandbox, clock


class Named:
    """The failures of chosen requests, which are named after their number and sent to a path."""

    def __init__(self, path: str, chosen: range = range(MANY)) -> None:
        self.all = failures()
        self._path, self._chosen = path, chosen

    def strikes(self, request: Request) -> Exception | None:
        """Return what a request raises."""
        if not request.url.endswith(self._path) or request.body is None:
            return None
        name = str(json.loads(request.body).get("outputFileName"))
        number = int(name.partition("-")[2])
        return self.all[number] if number in self._chosen else None

    def is_told(self, outcome: Outcome) -> bool:
        """Tell whether an outcome says what was raised for it."""
        words = str(outcome.error)
        return (
            type(outcome.error) is UnexpectedError
            and outcome.error.__cause__ is self.all[outcome.index]
            and KINDS[outcome.index] in words
            and words.isprintable()
        )


@pytest.mark.parametrize("is_delivered", [False, True])
async def test_in_creates(journal: Path, is_delivered: bool) -> None:  # noqa: FBT001
    """Each has its outcome with its key, and counts as an order that may have been accepted."""
    named = Named("/v2/generate")
    after: Strikes = named.strikes if is_delivered else never
    before: Strikes = never if is_delivered else named.strikes
    async with spoilt(before, after) as (client, sandbox, _):
        found = await client.generations.run_all(requests(MANY), journal=journal)
        assert [named.is_told(each) for each in found] == [True] * MANY
        keys = {each.error.idempotency_key for each in found if each.error}
        assert len(keys) == MANY
        assert all(each.error and each.error.may_have_worked for each in found)
        assert sandbox.jobs.created == MANY * is_delivered
    known = [(str(entry.state), entry.idempotency_key) for entry in entries(journal)]
    assert sorted(known) == [("unknown", key) for key in sorted(filter(None, keys))]


async def test_in_creates_of_some() -> None:
    """The others run, whatever is raised for one of two, and no slot is lost to them."""
    named = Named("/v2/generate", range(0, MANY, 2))
    async with spoilt(named.strikes) as (client, _, _):
        with anyio.fail_after(60):
            found = await client.generations.run_all(requests(MANY))
        assert [named.is_told(each) for each in found[::2]] == [True] * (MANY // 2)
        assert [each.is_success for each in found[1::2]] == [True] * (MANY // 2)
        assert client._requester.account.slots.used == 0  # noqa: SLF001


async def test_in_estimates() -> None:
    """Nothing is ordered without a price, and no key says that anything was."""
    named = Named("/v2/analyze/cost")
    async with spoilt(named.strikes) as (client, sandbox, _):
        found = await client.generations.run_all(requests(MANY), max_cost=1e6)
        assert [named.is_told(each) for each in found] == [True] * MANY
        assert not any(each.error and each.error.idempotency_key for each in found)
        assert sandbox.jobs.created == 0


async def test_in_looks() -> None:
    """One job disturbs no other's poll: lists are asked for in parts, and it fails by itself."""
    poison: dict[str, Exception] = {}

    def strikes(request: Request) -> Exception | None:
        return next((poison[job] for job in poison if job in request.url), None)

    async with spoilt(never, strikes) as (client, sandbox, _):
        for failure in failures()[::3]:
            before = sandbox.jobs.created

            def choose(_: object, before: int = before, failure: Exception = failure) -> None:
                poison.setdefault([job.id for job in sandbox.jobs][before + 3], failure)

            view = client.with_options(on_response=choose)
            found = await view.generations.run_all(requests(6))
            (failed,) = [each for each in found if each.error is not None]
            assert type(failed.error) is UnexpectedError
            assert failed.error.__cause__ is failure
            assert failed.generation is not None
            assert poison[failed.generation.id] is failure
            assert failed.error.generation is failed.generation


async def test_a_callback_in_a_download(tmp_path: Path) -> None:
    """What `on_response` raises while an address is renewed is the caller's, and ends the run."""
    failure = LookupError("no display")
    ended: list[str] = []

    def show(response: Response) -> None:
        if any(response.url.endswith(job) for job in ended):
            raise failure
        if b"COMPLETED" in response.body:
            ended.extend(job.id for job in sandbox.jobs)

    async with spoilt() as (client, sandbox, _):
        sandbox.faults.add(Fault("expire_output", count=None))
        view = client.with_options(on_response=show)
        with pytest.raises(LookupError) as caught:
            await view.generations.run_all(requests(2), download_to=tmp_path)
        assert caught.value is failure
        assert all(job.id in "".join(notes_of(failure)) for job in sandbox.jobs)


async def test_in_downloads(tmp_path: Path) -> None:
    """A result that raises is an error of its own, which holds the job; the others are fetched."""
    left = failures()
    async with spoilt(streams=lambda _: left.pop() if left else None) as (client, _, _):
        found = await run(client, MANY + 5, download_to=tmp_path, concurrent_downloads=3)
    failed = [each for each in found if each.error is not None]
    assert len([each.path for each in found if each.path]) == 5
    causes = [each.error and each.error.__cause__ for each in failed]
    # Inside of a generator, Python itself makes a `RuntimeError` of what would end it.
    assert Counter(map(type, causes)) == Counter(
        RuntimeError if isinstance(each, StopAsyncIteration) else type(each) for each in failures()
    )
    assert {type(each.error) for each in failed} == {DownloadError}
    assert all(each.generation and each.generation.is_completed for each in failed)
    assert all(each.error and each.error.generation is each.generation for each in failed)


class Fickle(PathLike[str]):
    """A path that can be read so many times, and raises then."""

    def __init__(self, path: Path, failure: Exception, reads: int) -> None:
        self._path, self._failure, self._reads = path, failure, reads

    def __fspath__(self) -> str:
        self._reads -= 1
        if self._reads < 0:
            raise self._failure
        return str(self._path)


@pytest.mark.parametrize("has_journal", [False, True])
async def test_in_the_request_itself(tmp_path: Path, has_journal: bool) -> None:  # noqa: FBT001
    """Whenever a request's own values raise, nothing was sent, and the next request is."""
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"clip")

    def rows(many: int) -> Iterator[GenerationRequest]:
        for number, good in enumerate(requests(MANY)):
            fickle = Fickle(file, failures()[number], (number + 3 * many) % 8)
            yield GenerationRequest(model="lipsync-2", input=[Video(file=fickle), INPUTS[1]])
            yield good

    journal = tmp_path / "journal.sqlite" if has_journal else None
    async with spoilt() as (client, _, _):
        for many in range(3):
            found = await client.generations.run_all(rows(many), journal=journal)
            assert [each.is_success for each in found[1::2]] == [True] * MANY
            wrong = [each.error for each in found[::2] if each.error is not None]
            assert {type(error) for error in wrong} == {InvalidRequestError}
            assert not any(error.may_have_worked for error in wrong)


class Ending(list[Any]):
    """A list of inputs that raises when it is gone through, from some moment on."""

    failure: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        if self.failure is not None:
            raise self.failure
        return super().__iter__()


async def test_in_the_conclusion() -> None:
    """A job that cannot be told of as it was seen is told of by its id."""
    strikes = {"GET": KeyError("id")}
    async with spoilt(never, lambda sent: strikes.get(sent.method)) as (client, sandbox, _):
        for failure in failures():
            request = GenerationRequest(model="lipsync-2", input=())
            ending = Ending(INPUTS)
            object.__setattr__(request, "input", ending)

            def end(_: object, ending: Ending = ending, failure: Exception = failure) -> None:
                ending.failure = failure

            view = client.with_options(on_response=end)
            (found,) = await view.generations.run_all([request])
            assert bool(failure) is not isinstance(failure, Odd)  # some exceptions are false
            assert type(found.error) is UnexpectedError
            assert found.error.__cause__ is failure
            assert found.generation is not None
            assert found.generation.id == [job.id for job in sandbox.jobs][-1]


async def run_raising(client: AsyncClient, where: str, failure: BaseException) -> None:
    """Run requests so that the caller's own code raises."""

    def called(_: object = None) -> Any:
        raise failure

    async def awaited() -> AsyncIterator[GenerationRequest]:
        for request in requests(2):
            yield request
        called()

    view = client.with_options(on_response=called) if where == "on_response" else client
    ends = {"input": chain(requests(2), (called() for _ in "a")), "awaited input": awaited()}
    rows: Any = ends.get(where, requests(2))
    await view.generations.run_all(rows, on_progress=called if where == "on_progress" else None)


@pytest.mark.parametrize("where", ["input", "awaited input", "on_progress", "on_response"])
async def test_what_the_caller_raises_stays_the_callers(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The input's error and a callback's leave the run as they are, and name what is left."""
    async with spoilt() as (client, sandbox, _):
        for failure in failures():
            before = sandbox.jobs.created
            # What ends an iteration cannot come out of one.
            is_end = isinstance(failure, StopAsyncIteration)
            caplog.clear()
            with pytest.raises(RuntimeError if is_end else type(failure)) as caught:
                await run_raising(client, where, failure)
            assert (caught.value.__cause__ if is_end else caught.value) is failure
            told = [line for line in caplog.messages if "was left" in line]
            for job in [job.id for job in sandbox.jobs][before:]:
                assert any(job in line or "with idempotency_key=" in line for line in told)
            assert notes_of(caught.value) == ([] if isinstance(failure, Odd) else told)
            assert held(client) == []


class Exit(BaseException):
    """What ends a thread of some framework."""


EXITS: list[Callable[[], BaseException]] = [
    Exit,
    GeneratorExit,
    lambda: BaseExceptionGroup("two", [Exit(), GeneratorExit()]),
    lambda: BaseExceptionGroup("one", [BaseExceptionGroup("inner", [Exit()])]),
]


@pytest.mark.parametrize("made", EXITS)
@pytest.mark.parametrize("where", ["input", "awaited input", "on_progress", "on_response"])
async def test_what_is_no_exception_ends_a_run_at_once(
    where: str, made: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """It leaves the run as it is, where the outcomes are taken, and names what is left."""
    async with spoilt() as (client, sandbox, _):
        failure = made()
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - see `made`
            with anyio.fail_after(60):
                await run_raising(client, where, failure)
        is_taken_apart = where == "on_response" and isinstance(failure, BaseExceptionGroup)
        assert is_taken_apart or caught.value is failure
        told = " ".join(line for line in caplog.messages if "was left" in line)
        assert all(job.id in told or "idempotency_key=" in told for job in sandbox.jobs)


@pytest.mark.parametrize("end", [StopIteration, StopAsyncIteration])
@pytest.mark.parametrize("is_awaited", [False, True])
async def test_an_end_of_an_iteration_out_of_a_callback(
    end: type[Exception], *, is_awaited: bool
) -> None:
    """It would end something in silence; it is a `RuntimeError`, and the caller's own."""

    def called(_: object) -> None:
        raise end

    async def awaited(_: object) -> None:
        raise end

    callback = awaited if is_awaited else called
    async with spoilt() as (client, sandbox, _):
        for call in (
            lambda: client.with_options(on_response=callback).generations.run_all([*requests(1)]),
            lambda: client.generations.run_all(requests(1), on_progress=callback),
            lambda: client.generations.run(next(requests(1)), on_update=callback),
        ):
            before = sandbox.jobs.created
            with pytest.raises(RuntimeError, match=f"raised {end.__name__}"):
                await call()
            assert sandbox.jobs.created == before + 1


async def test_a_verb_by_itself() -> None:
    """`create`, `get` and waits raise it as an error of the package, with key or job on it."""
    failure = ValueError("5,000 digits")

    def strikes(request: Request) -> Exception | None:
        return failure if request.method == "POST" or "/v2/generate/" in request.url else None

    async with spoilt(never, strikes) as (client, sandbox, _):
        with pytest.raises(UnexpectedError, match="POST /v2/generate raised ValueError") as caught:
            await client.generations.create(model="lipsync-2", input=INPUTS)
        assert caught.value.idempotency_key is not None
        assert f"idempotency_key={caught.value.idempotency_key!r}" in str(caught.value)
        (job,) = sandbox.jobs
        for call in (client.generations.get, client.generations.wait_until_complete):
            with pytest.raises(UnexpectedError) as caught:
                await call(job.id)
            assert caught.value.__cause__ is failure
        assert caught.value.generation is not None


async def test_a_download_by_itself(tmp_path: Path) -> None:
    """`download` raises it as an error of the package, which holds the job."""
    failure = AssertionError()
    async with spoilt(streams=lambda _: failure) as (client, _, _):
        done = await client.generations.run(model="lipsync-2", input=INPUTS)
        with pytest.raises(DownloadError, match="AssertionError") as caught:
            await client.generations.download(done, tmp_path)
        assert caught.value.__cause__ is failure
        assert caught.value.generation is done
