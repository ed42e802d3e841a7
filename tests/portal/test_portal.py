"""The portal by itself: contexts, iterations, callbacks, tracebacks."""

import asyncio
import gc
import threading
import traceback
import warnings
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import pytest

from lipsync_async import Client, Generation, PollPolicy, Response, Status
from lipsync_async._callsite import CallSite
from lipsync_async._models.request import GenerationRequest, Options
from lipsync_async._portal import (
    CURRENT_CALL,
    BlockingCall,
    CallerTask,
    LoopThread,
    Portal,
    StepResult,
)
from lipsync_async.errors import (
    ConfigurationError,
    GenerationFailedError,
    InvalidRequestError,
    LipsyncError,
    NotFoundError,
)
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import INPUTS, ORDER
from tests.portal.verbs import verb

COLOUR: ContextVar[str] = ContextVar("COLOUR")
# Frames between the user's line and the line that raised.
MOST_FRAMES = 4


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox in a loop of its own, so that the test may block."""
    with Sandbox(render=False, progression="polls(2)") as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    """Connect a quick blocking client."""
    poll = PollPolicy(initial_interval=0.001, max_interval=0.002, long_poll=None)
    with Client(sandbox.api_key, base_url=sandbox.url, poll=poll) as opened:
        yield opened


class Source:
    """An async generator that tells how far it is, and when it is closed."""

    made = 0
    is_closed = False

    async def numbers(self) -> AsyncGenerator[int, None]:
        """Yield without end."""
        try:
            while True:
                await anyio.lowlevel.checkpoint()
                self.made += 1
                yield self.made
        finally:
            await anyio.lowlevel.checkpoint()
            self.is_closed = True

    async def closed(self) -> None:
        """Wait until it is closed."""
        while not self.is_closed:
            await anyio.lowlevel.checkpoint()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[AsyncIterator[int]]:
        """Swallow a `LookupError`, turn a `ValueError` into another error."""
        with anyio.CancelScope():
            try:
                yield self.numbers()
            except ValueError as error:
                raise TypeError("instead") from error
            except LookupError:
                pass
            finally:
                self.is_closed = True


def test_break_closes_the_generator(portal: Portal) -> None:
    """After `break` the async generator is closed, in the loop, before later calls go on."""
    source = Source()
    for number in verb(portal.iterate, source.numbers()):  # pragma: no branch - without end
        assert source.made == number  # nothing runs ahead of the demand
        if number == 3:
            break
    verb(portal.call, source.closed)
    assert (source.is_closed, source.made) == (True, 3)


def test_unbegun_iteration(portal: Portal) -> None:
    """An iteration that is not begun does nothing and needs no closing."""
    source = Source()
    verb(portal.iterate, source.numbers()).close()
    assert (source.is_closed, source.made) == (False, 0)


def test_block_over_items(portal: Portal) -> None:
    """A block hands out the items one by one, and nothing more after it."""
    source = Source()
    with verb(portal.open, source.opened()) as numbers:
        assert [next(numbers), next(numbers)] == [1, 2]
    assert source.is_closed
    assert list(numbers) == []


PASSED_ON = [each("passed on") for each in (ArithmeticError, StopIteration, KeyboardInterrupt)]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (LookupError("swallowed"), type(None)),
        (ValueError("changed"), TypeError),
        *((each, type(each)) for each in PASSED_ON),
    ],
)
def test_errors_in_a_block(portal: Portal, raised: BaseException, expected: type) -> None:
    """The async context manager sees what goes wrong in the block, and may change it."""
    source = Source()
    caught = outcome(portal, source, raised)
    assert source.is_closed
    assert isinstance(caught, expected)
    if isinstance(raised, expected):
        assert caught is raised
        assert [frame.name for frame in traceback.extract_tb(raised.__traceback__)] == ["outcome"]


def outcome(portal: Portal, source: Source, raised: BaseException) -> BaseException | None:
    """Raise something in a block and return what comes out of it."""
    block: AbstractContextManager[Iterator[int], bool] = verb(portal.open, source.opened())
    try:
        with block as numbers:
            next(numbers)
            raise raised  # noqa: TRY301 - this is the block
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    return None


def test_failing_to_enter(portal: Portal) -> None:
    """An error on entering comes out of the `with` line."""

    async def refuse() -> None:
        raise LookupError("closed today")

    @asynccontextmanager
    async def failing() -> AsyncIterator[AsyncIterator[int]]:
        await refuse()
        yield Source().numbers()  # pragma: no cover - never reached

    with pytest.raises(LookupError, match="closed today"), verb(portal.open, failing()):
        pass  # pragma: no cover - never entered


def test_failing_step(portal: Portal) -> None:
    """An error in a step comes out of the iteration, which is then over."""

    async def failing() -> AsyncGenerator[int, None]:
        yield 1
        raise LookupError("no more")

    numbers = verb(portal.iterate, failing())
    assert next(numbers) == 1
    with pytest.raises(LookupError, match="no more"):
        next(numbers)
    assert list(numbers) == []


def test_closed_in_the_middle_of_a_block(portal: Portal) -> None:
    """A portal that is closed inside a block has ended the iteration."""
    source = Source()
    with verb(portal.open, source.opened()) as numbers:
        next(numbers)
        verb(portal.close, anyio.lowlevel.checkpoint)
        assert source.is_closed
        with pytest.raises(ConfigurationError, match="closed"):
            next(numbers)
    with suppress(ConfigurationError), verb(portal.open, source.opened()):
        pass  # pragma: no cover - never entered


def test_a_generator_that_the_loop_collects(portal: Portal) -> None:
    """The last reference may go in the loop's own thread, where a wait is impossible."""
    source = Source()
    numbers = [verb(portal.iterate, source.numbers())]
    next(numbers[0])

    async def drop() -> None:
        numbers.clear()
        await source.closed()

    verb(portal.call, drop)
    assert source.is_closed


def test_context(portal: Portal) -> None:
    """A call sees the caller's context variables, and changes only its own copy."""

    async def swap() -> str:
        before = COLOUR.get()
        COLOUR.set("changed")
        return before

    COLOUR.set("blue")
    assert verb(portal.call, swap) == "blue"
    assert COLOUR.get() == "blue"


def test_nothing_is_kept(portal: Portal) -> None:
    """Neither a result nor an error lives longer than its user needs it."""

    class GoneError(Exception): ...

    async def fail() -> None:
        raise GoneError

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(GoneError) as caught:
            verb(portal.call, fail)
        error = weakref.ref(caught.value)
        del caught
        verb(portal.call, anyio.lowlevel.checkpoint)
        assert error() is None
    finally:
        gc.enable()


def test_callbacks_run_in_the_calling_thread(client: Client) -> None:
    """`on_update` and `on_response` are called where the verb was called."""
    threads: set[threading.Thread] = set()
    answers: list[Response] = []

    def note(answer: Response) -> None:
        answers.append(answer)
        threads.add(threading.current_thread())

    view = client.with_options(on_response=note)
    view.generations.run(**ORDER, on_update=lambda _: threads.add(threading.current_thread()))
    assert len(list(view.generations.iter())) == 1
    assert len(answers) == 4
    assert threads == {threading.current_thread()}


def test_callback_that_calls_back(client: Client) -> None:
    """A callback may use the client itself."""
    seen: list[Status] = []

    def look(job: Generation) -> None:
        seen.append(client.generations.get(job.id).status)

    client.generations.run(**ORDER, on_update=look)
    assert seen[-1] == Status.COMPLETED


@pytest.mark.parametrize("name", ["on_update", "on_response"])
def test_coroutine_functions_are_no_callbacks(client: Client, sandbox: Sandbox, name: str) -> None:
    """A callback that would have to be awaited is refused before anything is sent."""

    async def note(_: object) -> None:
        raise AssertionError  # pragma: no cover - never awaited

    def hidden(job: Generation) -> Any:
        return note(job)

    verb: Callable[..., object] = client.with_options
    if name == "on_update":
        verb = partial(client.generations.run, **ORDER)
    with pytest.raises(ConfigurationError, match=f"{name} is a coroutine function"):
        verb(**{name: note})
    with pytest.raises(ConfigurationError, match="returned a coroutine"):
        client.generations.run(**ORDER, on_update=hidden)
    assert len(sandbox.requests) == 1


def test_warnings_show_the_callers_line(client: Client) -> None:
    """What the service will ignore is a warning at the user's own line, once a place."""
    request = GenerationRequest(model="sync-3", input=INPUTS, options=Options(temperature=0.2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            client.generations.create(request)
        client.generations.run(request)
    lines = [(warning.filename, warning.lineno) for warning in caught]
    first = traceback.extract_stack()[-1].lineno
    assert first is not None
    assert lines == [(__file__, first - 3), (__file__, first - 2)]
    with pytest.raises(Warning, match="temperature"):  # of pytest's, each is an error
        client.generations.create(request)


NO_JOB = "00000000-0000-4000-8000-000000000000"
DONE = Generation(id=NO_JOB, status=Status.COMPLETED)


def fail_by_updates(client: Client) -> None:
    """Watch a job that does not exist."""
    with client.generations.updates(NO_JOB) as changes:
        next(changes)


def fail_itself(_: object) -> None:
    """Fail as a user's own code does."""
    raise LookupError("mine")


FAILURES: dict[str, tuple[Callable[[Client], object], type[Exception]]] = {
    "get": (lambda client: client.generations.get(NO_JOB), NotFoundError),
    "create": (lambda client: client.generations.create(model="", input=[]), InvalidRequestError),
    "run": (lambda client: client.generations.run(**ORDER), GenerationFailedError),
    "download": (lambda client: client.generations.download(DONE, "out/"), NotFoundError),
    "iter": (lambda client: next(client.generations.iter(page_size=0)), InvalidRequestError),
    "updates": (fail_by_updates, NotFoundError),
    "a callback": (
        lambda client: client.generations.run(**ORDER, on_update=fail_itself),
        LookupError,
    ),
}


@pytest.mark.parametrize(("fail", "expected"), FAILURES.values(), ids=FAILURES)
def test_tracebacks_are_short(
    client: Client, sandbox: Sandbox, fail: Callable[[Client], object], expected: type[Exception]
) -> None:
    """Between the user's line and the line that raised are at most four frames."""
    sandbox.faults.add(Fault("fail_job"))
    patient = client.with_options(poll=PollPolicy(not_found_grace=0, long_poll=None))
    with pytest.raises(expected) as caught:
        fail(patient)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[1].name == fail.__name__
    assert len(frames) <= 3 + MOST_FRAMES
    raised_here = [frame.name for frame in frames[-1:] if frame.filename == __file__]
    assert raised_here == ([] if isinstance(caught.value, LipsyncError) else ["fail_itself"])


def test_surprises_keep_their_frames(portal: Portal) -> None:
    """Of an error that is not ours nothing is hidden but the portal."""

    async def inner() -> None:
        raise ZeroDivisionError

    async def outer() -> None:
        await inner()

    with pytest.raises(ZeroDivisionError) as caught:
        verb(portal.call, outer)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names == ["test_surprises_keep_their_frames", "verb", "outer", "inner"]


def test_closed_in_a_callback(client: Client) -> None:
    """Who closes the client in a callback ends the call that it is in."""
    with pytest.raises(ConfigurationError, match="closed while this call was under way") as caught:
        client.generations.run(**ORDER, on_update=lambda _: client.close())
    assert "goes on; call wait_until_complete" in caught.value.__notes__[0]


class Late(AsyncIterator[str]):
    """An iteration whose item comes just behind what interrupts the wait for it."""

    async def __anext__(self) -> str:
        CURRENT_CALL.get().messages.put(KeyboardInterrupt())
        return "outcome of generation g1"


def test_an_item_that_comes_with_the_interruption(portal: Portal) -> None:
    """What an interrupted wait would have brought is noted: it is handed over no more."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        yield Late()

    with pytest.raises(KeyboardInterrupt) as caught, portal.open(opened()) as items:
        next(items)
    assert caught.value.__notes__ == ["An item had come meanwhile: 'outcome of generation g1'"]


def test_interrupted_on_entering(portal: Portal) -> None:
    """What is entered names no job, and is no item."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        CURRENT_CALL.get().messages.put(KeyboardInterrupt())
        yield Late()

    with pytest.raises(KeyboardInterrupt) as caught, ExitStack() as stack:
        stack.enter_context(portal.open(opened()))
    assert getattr(caught.value, "__notes__", []) == []


def test_dropped_in_its_own_loop() -> None:
    """The last reference to a portal may go in its own thread; the thread then ends."""
    held = [Portal()]

    async def drop_soon() -> threading.Thread:
        asyncio.get_running_loop().call_later(0.001, held.clear)
        return threading.current_thread()

    thread = verb(held[0].call, drop_soon)
    thread.join()
    assert held == []


def test_a_thread_whose_loop_is_closed_is_no_loops_own() -> None:
    """A later thread may get the number of one that has ended, and is refused nothing."""
    thread, told = LoopThread(), list[bool]()
    thread.submit(lambda: told.append(thread.thread_id == threading.get_native_id()))
    thread.stop()
    assert (told, thread.thread_id) == ([True], None)


def test_interrupted_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the thread starts is no harm: the next call finds it, or starts another."""
    started: list[threading.Thread] = []

    def start_interrupted(thread: threading.Thread) -> None:
        monkeypatch.undo()
        thread.start()
        started.append(thread)
        raise KeyboardInterrupt

    opened = Portal()
    monkeypatch.setattr(threading.Thread, "start", start_interrupted)
    with pytest.raises(KeyboardInterrupt):
        verb(opened.call, anyio.lowlevel.checkpoint)
    verb(opened.call, anyio.lowlevel.checkpoint)
    verb(opened.close, anyio.lowlevel.checkpoint)
    assert not started[0].is_alive()


def test_repr(client: Client) -> None:
    """A client shows where it is connected, and its parts what they are."""
    assert repr(client).startswith("<Client base_url='http://127.0.0.1:")
    assert "object at" in repr(client.models)


def test_what_came_while_a_wait_was_ending_is_not_left() -> None:
    """A callback that was meant for a wait that ends just then runs at its end; an input waits."""
    portal = Portal()
    ran: list[str] = []

    nothing = anyio.lowlevel.checkpoint
    portal.call(nothing)
    call = BlockingCall(portal._thread(), nothing, CallSite.here())  # noqa: SLF001

    async def fill() -> None:
        call.messages.put(StepResult(value="item"))
        for word, can_wait in (("callback", False), ("input", True)):
            call.messages.put(CallerTask(ran.append, (word,), can_wait=can_wait))

    portal.call(fill)
    item = call._receive()  # noqa: SLF001
    assert item is not None
    assert item.result() == "item"
    assert ran == ["callback"]
    portal.close(nothing)
