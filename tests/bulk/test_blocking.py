"""Runs of many requests from blocking code, over sockets."""

import asyncio
import gc
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from lipsync_async import Client, GenerationRequest, Progress
from lipsync_async._portal import BlockingOutcomes
from lipsync_async.errors import (
    ConfigurationError,
    GenerationFailedError,
    InvalidRequestError,
    SpendingLimitError,
)
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.bulk.runs import made, names, requests, slots
from tests.client.connections import QUICK

T = TypeVar("T")


class ClientThread:
    """A thread of its own for blocking code, which has a client of the sandbox there."""

    def __init__(self, sandbox: Sandbox, pool: ThreadPoolExecutor) -> None:
        self.sandbox = sandbox
        self._pool = pool

    async def do(self, work: Callable[[Client], T], *, limit: int | None = 4) -> T:
        """Do something with a client and return what comes of it."""

        def work_with_client() -> T:
            settings = QUICK | {"limits": slots(limit)}
            with Client(self.sandbox.api_key, base_url=self.sandbox.url, **settings) as client:
                return work(client)

        return await asyncio.get_running_loop().run_in_executor(self._pool, work_with_client)


@pytest.fixture(params=[{}])
async def thread(request: pytest.FixtureRequest) -> AsyncIterator[ClientThread]:
    """Run a sandbox, and a thread for those who cannot await."""
    usual: dict[str, Any] = {"render": False, "progression": "polls(2)"}
    async with Sandbox(**usual | request.param) as sandbox:
        with ThreadPoolExecutor(1) as pool:
            yield ClientThread(sandbox, pool)


class Bound:
    """Rows that only the thread that made them may draw, and that only it may clean up."""

    def __init__(self, many: int) -> None:
        self.owner = threading.get_ident()
        self.strangers: set[int] = set()
        self.drawn = 0
        self.is_closed = False
        self._many = many

    def rows(self) -> Iterator[GenerationRequest]:
        """Yield the rows."""
        try:
            for request in requests(self._many):
                self._note()
                self.drawn += 1
                yield request
        finally:
            self._note()
            self.is_closed = True

    def _note(self) -> None:
        self.strangers |= {threading.get_ident()} - {self.owner}


async def test_run_all(thread: ClientThread) -> None:
    """A list in the order of the input, errors in their places."""
    thread.sandbox.faults.add(Fault("fail_job", skip=3))

    rows = [*requests(12), GenerationRequest(model="", input=())]
    found = await thread.do(lambda client: client.generations.run_all(rows))
    assert names(found[:12]) == [f"take-{number}" for number in range(12)]
    errors = [type(each.error) for each in found if not each.is_success]
    assert errors == [GenerationFailedError, InvalidRequestError]
    assert set(made(thread.sandbox).values()) == {1}


@pytest.mark.parametrize("ordered", [True, False])
async def test_run_many(thread: ClientThread, ordered: bool) -> None:  # noqa: FBT001
    """An iterator inside a `with` block; ordered if that was asked for."""

    def work(client: Client) -> list[int]:
        with client.generations.run_many(requests(20), ordered=ordered) as outcomes:
            return [each.index for each in outcomes]

    found = await thread.do(work)
    assert sorted(found) == list(range(20))
    assert not ordered or found == sorted(found)


async def test_callbacks_run_in_the_caller_s_thread(thread: ClientThread) -> None:
    """Progress is told where the outcomes are asked for, once for each."""

    def work(client: Client) -> list[tuple[int, bool]]:
        told: list[tuple[int, bool]] = []
        mine = threading.get_ident()

        def note(progress: Progress) -> None:
            told.append((progress.done, threading.get_ident() == mine))

        client.generations.run_all(requests(6), on_progress=note)
        return told

    assert await thread.do(work) == [(done, True) for done in range(1, 7)]


async def test_a_run_goes_on_that_is_not_waited_for(thread: ClientThread) -> None:
    """Answers are shown elsewhere while the caller works on an outcome; nothing stands still."""

    def work(client: Client) -> list[bool]:
        mine, threads, over = threading.get_ident(), set[int](), threading.Event()

        def see(_: object) -> None:
            threads.add(threading.get_ident())
            if thread.sandbox.jobs.count("COMPLETED") == 12:
                over.set()

        seeing = client.with_options(on_response=see)
        with seeing.generations.run_many([*requests(12)]) as outcomes:
            first = next(outcomes)
            assert over.wait(20.0)  # the work on an outcome
            assert threads - {mine}
            return [each.is_success for each in [first, *outcomes]]

    assert await thread.do(work) == [True] * 12


async def test_a_callback_that_raises(thread: ClientThread) -> None:
    """Its error comes out of the call."""

    def refuse(_: Progress) -> None:
        raise LookupError("no display")

    def work(client: Client) -> None:
        with pytest.raises(LookupError, match="no display"):
            client.generations.run_all(requests(6), on_progress=refuse)
        with (
            client.generations.run_many(requests(3), on_progress=refuse) as outcomes,
            pytest.raises(LookupError, match="no display"),
        ):
            next(outcomes)

    await thread.do(work)


async def test_a_coroutine_function_is_no_callback(thread: ClientThread) -> None:
    """It would never be awaited, so it is refused before anything is sent."""

    async def note(_: Progress) -> None:
        pass  # pragma: no cover - it is never called

    def work(client: Client) -> None:
        with pytest.raises(ConfigurationError, match="on_progress is a coroutine function"):
            client.generations.run_all(requests(1), on_progress=note)  # type: ignore[arg-type]

    await thread.do(work)
    assert thread.sandbox.jobs.created == 0


@pytest.mark.parametrize("many", [0, 1, 40])
async def test_a_generator_is_drawn_in_the_caller_s_thread(thread: ClientThread, many: int) -> None:
    """From its first row to its clean-up, whichever verb draws it."""

    def work(client: Client) -> list[Bound]:
        all_at_once, one_by_one = Bound(many), Bound(many)
        assert len(client.generations.run_all(all_at_once.rows())) == many
        with client.generations.run_many(one_by_one.rows()) as outcomes:
            assert len([*outcomes]) == many
        return [all_at_once, one_by_one]

    for bound in await thread.do(work):
        assert (bound.drawn, bound.is_closed, bound.strangers) == (many, True, set())


@pytest.mark.parametrize("ending", ["break", "an exception", "nothing taken"])
async def test_a_generator_that_is_left_is_closed_by_the_caller(
    thread: ClientThread, ending: str
) -> None:
    """However the block is left, nothing more is drawn and the clean-up runs at home."""

    def take(client: Client, bound: Bound) -> int:
        with client.generations.run_many(bound.rows()) as outcomes:
            if ending != "nothing taken":
                next(outcomes)
            drawn = bound.drawn
            if ending == "an exception":
                raise LookupError(drawn)
        return drawn

    def work(client: Client) -> tuple[int, Bound]:
        bound = Bound(1000)
        try:
            drawn = take(client, bound)
        except LookupError as error:
            (drawn,) = error.args
            error.__traceback__ = None
        return drawn, bound

    drawn, bound = await thread.do(work)
    assert (bound.strangers, bound.is_closed) == (set(), drawn > 0)
    assert bound.drawn == drawn < 1000


async def test_a_failing_run_closes_its_generator_too(thread: ClientThread) -> None:
    """A call that ends early leaves nothing of its input to another thread."""

    def refuse(_: Progress) -> None:
        raise LookupError

    def work(client: Client) -> list[Bound]:
        stopped, broken = Bound(1000), Bound(1000)
        found = client.generations.run_all(stopped.rows(), max_jobs=3)
        assert sum(each.is_success for each in found) == 3
        assert isinstance(found[-1].error, SpendingLimitError)
        with pytest.raises(LookupError) as caught:
            client.generations.run_all(broken.rows(), on_progress=refuse)
        del caught
        gc.collect()  # the error's traceback holds the call, and that its input
        return [stopped, broken]

    for bound in await thread.do(work):
        assert (bound.strangers, bound.is_closed) == (set(), True)
        assert bound.drawn < 100


async def test_a_generator_may_use_the_client(thread: ClientThread) -> None:
    """The caller's thread is free for it while it waits."""

    def work(client: Client) -> int:
        def rows() -> Iterator[GenerationRequest]:
            for request in requests(5):
                assert client.generations.count() >= 0
                client.generations.run(request)
                yield request

        found = client.generations.run_all(rows())
        with client.generations.run_many(rows()) as outcomes:
            return len(found) + len([*outcomes])

    assert await thread.do(work) == 10
    assert thread.sandbox.jobs.created == 20


ENDS = {LookupError("no more rows"): "no more rows", StopAsyncIteration(): "the input raised Stop"}


@pytest.mark.parametrize(("failure", "words"), ENDS.items())
async def test_a_generator_that_raises(
    thread: ClientThread, failure: Exception, words: str
) -> None:
    """Its error comes last, after an outcome for each request; it ends no other iteration."""

    def broken() -> Iterator[GenerationRequest]:
        yield from requests(5)
        raise failure

    def work(client: Client) -> int:
        found = []
        with (  # noqa: PT012 - the loop raises
            client.generations.run_many(broken()) as outcomes,
            pytest.raises((LookupError, RuntimeError), match=words),
        ):
            for each in outcomes:
                found.append(each)  # noqa: PERF402 - it raises in the end
        return len(found)

    assert await thread.do(work) == 5


async def test_an_iterator_outlives_the_run(thread: ClientThread) -> None:
    """What the caller holds himself is not closed, and goes on where the run has left it."""

    def work(client: Client) -> tuple[int, list[str | None]]:
        rows = requests(8)
        found = client.generations.run_all(rows, max_jobs=1)
        return len(found), [request.output_file_name for request in rows]

    taken, rest = await thread.do(work, limit=1)
    assert taken >= 2
    assert rest == [f"take-{number}" for number in range(8 - len(rest), 8)]
    assert 4 <= len(rest) <= 6


@pytest.mark.parametrize("kind", [deque, list, iter])
async def test_the_length_of_the_input(thread: ClientThread, kind: Callable[[Any], Any]) -> None:
    """A total is known from the start where the input has a length, as for the async client."""

    def work(client: Client) -> list[Progress]:
        told: list[Progress] = []
        client.generations.run_all(kind(requests(5)), on_progress=told.append)
        return told

    told = await thread.do(work, limit=1)
    assert told[0].total == (None if kind is iter else 5)
    assert told[-1].total == 5


@pytest.mark.parametrize("wrong", ["rows", b"rows", {"model": "sync-3"}, 3, None])
async def test_what_is_no_input(thread: ClientThread, wrong: Any) -> None:
    """It is refused as by the async client, before anything is sent."""
    for call in (
        lambda client: client.generations.run_all(wrong),
        lambda client: client.generations.run_many(wrong).__enter__(),
    ):
        with pytest.raises(InvalidRequestError, match="requests: must be an iterable"):
            await thread.do(call)
    assert len(thread.sandbox.requests) == 0


@pytest.mark.parametrize("thread", [{"progression": "manual"}], indirect=True, ids=["manual"])
async def test_a_block_is_left_while_jobs_run(thread: ClientThread) -> None:
    """Leaving is at once, and closing the client does not wait for jobs."""

    def work(client: Client) -> None:
        with client.generations.run_many(requests(50)):
            pass
        with pytest.raises(LookupError), client.generations.run_many(requests(50)):
            raise LookupError

    await thread.do(work)
    assert thread.sandbox.jobs.created <= 8


def test_nothing_is_done_before_the_block() -> None:
    """A run that is never entered asks for nothing, not even for the first row."""
    bound = Bound(3)
    with Client("key", base_url="http://127.0.0.1:1") as client:
        client.generations.run_many(bound.rows())
    assert bound.drawn == 0


async def test_progress_without_a_callback(thread: ClientThread) -> None:
    """Blocking code may ask for it, also after the block, but not before."""

    def run(client: Client) -> tuple[Progress, Progress]:
        opening = client.generations.run_many(requests(3))
        assert isinstance(opening, BlockingOutcomes)
        with pytest.raises(ConfigurationError, match="Enter it first"):
            opening.progress()
        with opening as outcomes:
            next(outcomes)
            first = outcomes.progress()
            assert len([*outcomes]) == 2
        return first, outcomes.progress()

    first, last = await thread.do(run)
    assert (first.done, last.done, last.total, last.running) == (1, 3, 3, 0)
