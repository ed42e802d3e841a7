"""Misuse: none of it hangs, loses or hides anything."""

import asyncio
import gc
import logging
import os
import sys
import threading
import weakref
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from lipsync_async import ConfigurationError
from lipsync_async._callsite import HTTP_LOG, CallSite, log
from lipsync_async._portal import CURRENT_CALL, BlockingCall, CallState, Portal
from lipsync_async.sandbox import Sandbox
from tests.portal.programs import run
from tests.portal.verbs import interrupt, ringing, verb


async def numbers() -> AsyncGenerator[int, None]:
    """Yield a few."""
    for number in range(5):
        await anyio.lowlevel.checkpoint()
        yield number


PROGRAMS = {
    "a signal handler that calls": """
        client = connect()
        rung = []

        def ring(*_):
            rung.append(len(client.models.list()))
            signal.setitimer(signal.ITIMER_REAL, 0.0005)

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        while len(rung) < 40:
            client.models.list()
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        client.close()
    """,
    "a signal handler that closes": """
        import random

        def ring(*_):
            client.close()
            raise SystemExit(0)

        signal.signal(signal.SIGALRM, ring)
        for _ in range(10):
            client = connect()
            client.models.list()
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0005, 0.006))
            try:
                while True:
                    client.models.list()
            except SystemExit:
                pass
    """,
    "iterations left half-way": """
        client = connect()
        for _ in range(3):
            client.generations.create(**ORDER)

        for _ in range(60):
            next(client.generations.iter(page_size=1))
        client.close()
    """,
    "closed by eight threads at once": """
        from concurrent.futures import ThreadPoolExecutor

        client = connect()
        gate = threading.Barrier(8)
        client.models.list()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: (gate.wait(), client.close()), range(8)))
    """,
    "an iteration over a client that is not kept": """
        for _ in range(2):
            connect().generations.create(**ORDER)
        assert len([job for job in connect().generations.iter()]) == 2
    """,
}


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("body", PROGRAMS.values(), ids=PROGRAMS)
async def test_programs(body: str) -> None:
    """Each comes to its end, and nothing is said."""
    async with Sandbox(render=False) as sandbox:
        assert await run(body, sandbox) == (0, "", "")


def test_stepping_in_its_own_step(portal: Portal) -> None:
    """A callback that asks the very iteration that waits for it gets an error, as a generator's."""
    told: list[object] = []

    def step() -> None:
        with pytest.raises(ValueError, match="already") as caught:
            next(items)
        told.append(caught.value)

    async def calling() -> AsyncGenerator[int, None]:
        await ringing(step)()
        yield 1

    with verb(portal.open, aclosing(calling())) as items:
        assert list(items) == [1]
    assert len(told) == 1


def test_left_by_another_thread_than_steps(portal: Portal) -> None:
    """Leaving a block while another thread waits for its next item ends both."""
    is_asked = threading.Event()
    found: list[object] = []

    async def endless() -> AsyncGenerator[int, None]:
        is_asked.set()
        await anyio.sleep_forever()
        yield 1  # pragma: no cover - never reached

    block = verb(portal.open, aclosing(endless()))
    items = block.__enter__()

    def wait() -> None:
        try:
            found.append(next(items))
        except (ConfigurationError, StopIteration) as error:
            found.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    is_asked.wait()
    block.__exit__(None, None, None)
    verb(portal.close, anyio.lowlevel.checkpoint)
    waiting.join()
    assert isinstance(found[0], ConfigurationError)


def test_exit_inside_the_loop(portal: Portal) -> None:
    """An exit that code in the loop raises reaches the caller, and the loop lives on."""

    async def leave() -> None:
        sys.exit(3)

    with pytest.raises(SystemExit) as caught:
        verb(portal.call, leave)
    assert caught.value.code == 3
    assert list(verb(portal.iterate, numbers())) == list(range(5))


def test_task_that_cannot_be_made(portal: Portal) -> None:
    """When there is no memory for a task, say, the caller learns it."""

    def refuse(loop: asyncio.AbstractEventLoop, *_: object, **__: object) -> Any:
        loop.set_task_factory(None)
        raise MemoryError

    async def break_factory() -> None:
        asyncio.get_running_loop().set_task_factory(refuse)

    verb(portal.call, break_factory)
    with pytest.raises(MemoryError):
        verb(portal.call, anyio.lowlevel.checkpoint)


def test_error_in_a_block_of_a_closed_client(portal: Portal) -> None:
    """What the user raises is never swallowed."""
    with pytest.raises(LookupError), verb(portal.open, aclosing(numbers())) as items:  # noqa: PT012
        next(items)
        verb(portal.close, anyio.lowlevel.checkpoint)
        raise LookupError


def test_entering_twice(portal: Portal) -> None:
    """A block is entered once."""
    block = verb(portal.open, aclosing(numbers()))
    with block as items:
        assert list(items) == list(range(5))
    with pytest.raises(ConfigurationError, match="entered before"), block:
        pass  # pragma: no cover - never entered


def test_iterating_before_entering(portal: Portal) -> None:
    """Who forgets the `with` is told so, instead of seeing a job without changes."""
    with pytest.raises(ConfigurationError, match="Enter it first"):
        list(verb(portal.open, aclosing(numbers())))


def test_a_loop_that_is_left_does_not_wait(portal: Portal) -> None:
    """`break` does not wait for the clean-up: Python would drop a Ctrl-C that came there."""
    may_close, is_closed = asyncio.Event(), []

    async def slow_to_close() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await may_close.wait()
            is_closed.append(True)

    async def close() -> None:
        may_close.set()
        while not is_closed:
            await anyio.lowlevel.checkpoint()

    for _ in verb(portal.iterate, slow_to_close()):  # pragma: no branch - left
        break
    verb(portal.call, close)
    assert is_closed == [True]


def test_interrupted_when_all_is_done(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption between the end and the return notes what would be lost."""

    async def order() -> str:
        return "job 7"

    request = BlockingCall.request

    def request_interrupted(call: BlockingCall, *arguments: Any) -> None:
        request(call, *arguments)
        interrupt()

    monkeypatch.setattr(BlockingCall, "request", request_interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        verb(portal.call, order)
    monkeypatch.undo()
    assert caught.value.__notes__ == ["The call had succeeded meanwhile: 'job 7'"]


def test_second_interruption_cancels(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """However early the second Ctrl-C comes, the coroutine is cancelled."""
    ended = threading.Event()

    async def wait() -> None:
        try:
            await ringing(interrupt_twice)()
        finally:
            ended.set()

    thread = portal._thread()  # noqa: SLF001
    submit = thread.submit

    def submit_interrupted(callback: Any, *arguments: Any) -> bool:
        monkeypatch.undo()
        raise KeyboardInterrupt

    def interrupt_twice() -> None:
        monkeypatch.setattr(thread, "submit", submit_interrupted)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verb(portal.call, wait)
    assert ended.wait(10)
    assert submit(lambda: None)


def test_what_an_abandoned_call_logs(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    """What a call logs or returns after a second Ctrl-C has left it is not lost."""
    may_end, is_heard = asyncio.Event(), threading.Event()

    def interrupt_again() -> None:
        # Elsewhere it runs while the caller does not wait yet, and is no second Ctrl-C.
        if threading.current_thread() is threading.main_thread():  # pragma: no branch - by chance
            is_heard.set()
            raise KeyboardInterrupt

    async def wait() -> str:
        with suppress(asyncio.CancelledError):
            await ringing(interrupt)()
        while not is_heard.is_set():
            second = asyncio.ensure_future(ringing(interrupt_again)())
            while not (second.done() or is_heard.is_set()):
                await anyio.lowlevel.checkpoint()
        await may_end.wait()
        second.cancel()
        log(HTTP_LOG, logging.WARNING, "the key is 7")
        return "job 7"

    async def end() -> None:
        may_end.set()

    with pytest.raises(KeyboardInterrupt):
        verb(portal.call, wait)
    verb(portal.call, end)
    while len(caplog.messages) < 2:
        os.sched_yield()
    told = ["The call had succeeded meanwhile: 'job 7'", "the key is 7"]
    assert sorted(caplog.messages) == told


def test_a_callers_values_are_let_go(portal: Portal) -> None:
    """A call keeps none of its caller's values alive."""

    async def answer() -> None:
        asyncio.get_running_loop().call_later(60, print)  # keeps the context of the call

    def call() -> "weakref.ref[set[int]]":
        large: set[int] = set()
        verb(portal.call, answer)
        return weakref.ref(large)

    assert call()() is None


@dataclass(frozen=True)
class FrozenError(Exception):
    """Refuse every change."""


def test_frozen_exceptions(portal: Portal) -> None:
    """An exception that cannot be changed comes through all the same."""

    def fail() -> None:
        raise FrozenError

    with pytest.raises(FrozenError):
        verb(portal.call, ringing(fail))
    with pytest.raises(FrozenError), verb(portal.open, aclosing(numbers())):
        fail()


def test_memory_stays_flat(portal: Portal) -> None:
    """Thousands of calls leave nothing behind for the garbage collector."""

    async def answer() -> int:
        return 7

    verb(portal.call, answer)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(2000):
            verb(portal.call, answer)
        assert len(gc.get_objects()) - before < 100
    finally:
        gc.enable()


def test_closed_in_its_own_loop(portal: Portal) -> None:
    """Calling and closing from the loop's own thread are refused."""

    async def close() -> None:
        for method in (portal.call, portal.close):
            with pytest.raises(ConfigurationError, match="own event loop"):
                verb(method, anyio.lowlevel.checkpoint)

    verb(portal.call, close)


def test_closed_by_another_thread_as_well(portal: Portal) -> None:
    """Who closes second waits for the first."""
    begun, told = threading.Event(), []

    async def close() -> None:
        begun.set()
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        told.append("closed")

    closing = threading.Thread(target=verb, args=(portal.close, close))
    closing.start()
    begun.wait()
    verb(portal.close, anyio.lowlevel.checkpoint)
    assert told == ["closed"]
    closing.join()


def test_left_while_another_thread_closes(portal: Portal) -> None:
    """A block that is left while its client is closed ends with that, and raises nothing."""

    async def ending() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            while CURRENT_CALL.get().state < CallState.CANCELLING:
                await anyio.lowlevel.checkpoint()

    closing = threading.Thread(target=verb, args=(portal.close, anyio.lowlevel.checkpoint))
    with verb(portal.open, aclosing(ending())) as items:
        next(items)
        closing.start()
        while not portal._thread().is_stopped:  # noqa: SLF001
            os.sched_yield()
    closing.join()
    assert list(items) == []


def test_interrupted_while_a_block_is_left(portal: Portal) -> None:
    """Ctrl-C during the clean-up at a block's end ends the clean-up and is raised."""

    async def calling() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await ringing(interrupt)()

    with pytest.raises(KeyboardInterrupt), verb(portal.open, aclosing(calling())) as items:
        next(items)


def test_what_the_loop_never_began(portal: Portal) -> None:
    """A call that comes to a loop just as it ends is told so."""
    verb(portal.call, anyio.lowlevel.checkpoint)
    thread = portal._thread()  # noqa: SLF001
    late = BlockingCall(thread, anyio.lowlevel.checkpoint, CallSite(__file__, 1, {}))
    thread.calls.add(late)
    thread.stop()
    assert late.state is CallState.DONE
    with pytest.raises(ConfigurationError, match="was closed while"):
        late.request(late.begin)


@pytest.mark.parametrize("reason", ["no thread", "no file"])
def test_nothing_to_be_had(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Where no loop can be started every call says so, closing included, and none hangs."""

    def refuse(*_: object) -> Any:
        raise RuntimeError(reason) if reason == "no thread" else OSError(reason)

    opened = Portal()
    target = "threading.Thread.start" if reason == "no thread" else "asyncio.new_event_loop"
    monkeypatch.setattr(target, refuse)
    for method in (opened.call, opened.close):
        with pytest.raises(ConfigurationError, match=f"cannot be started .{reason}"):
            verb(method, anyio.lowlevel.checkpoint)
    monkeypatch.undo()
