"""From blocking code into async code: an event loop in a thread of its own.

The thread belongs to one process and starts with the first call. It is a daemon, so that a
program that never closes its client can still end; a finalizer stops it before the
interpreter shuts down.

Three things can happen in the middle of any line here, and none may find a lock taken: a
signal handler that uses the client, the garbage collector that closes an iteration, and
an interruption. So there is no lock, and everything can be repeated. No call waits in
vain: those that are still in the list of calls when the loop ends are told so.

A forked child inherits the objects, but not the thread, and shares the loop's selector and
sockets with its parent: whatever it closed or unregistered there, the parent would lose.
So everything here first asks which process it is in, and the child starts a thread anew.

A call is a coroutine in that thread, and the caller that waits for it at a queue. Through
it come functions to run in the caller's thread (callbacks, input, log lines), the items of
an iteration, and `None` once the coroutine has ended. So callbacks run in the thread that
made the call, and one wait serves them all. How the coroutine ended is kept on the call and
is not sent through the queue: an interruption can lose the message that a wait has just
received.

Whatever interrupts the wait (Ctrl-C, an alarm, an exit) cancels the coroutine, waits for
its clean-up and is then raised. A second interruption does not wait for the clean-up; what
the call logs, returns or raises after that goes to the log.

An iteration is one call, too: a cancel scope must be left by the task that entered it. So
one task enters an async iterator, takes each step and leaves it. Nothing runs ahead of the
demand: what is not asked for is not fetched.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sized
from contextlib import aclosing, suppress
from contextvars import Context, ContextVar, copy_context
from enum import IntEnum, auto
from functools import partial
from importlib import import_module
from inspect import iscoroutine, iscoroutinefunction
from queue import Empty
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar, cast

import attrs

from lipsync_async._bulk.results import Outcome
from lipsync_async._callsite import CALL_SITE, HTTP_LOG, LOG_SINK, CallSite, LogLine, log
from lipsync_async._threads import (
    SLICE,
    Mailbox,
    Thread,
    has_greenlets,
    in_executor,
    in_own_thread,
    start_thread,
)
from lipsync_async.errors import ConfigurationError, LipsyncError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import Self

    from lipsync_async._bulk.results import OutcomeIterator, Progress


# A task that refuses its cancellation must not keep a program from ending.
SHUTDOWN_TIMEOUT = 5.0
_FROM_OWN_LOOP = (
    "A blocking call from the client's own event loop would wait for itself for ever. Make it "
    "from another thread, or use AsyncClient."
)


@attrs.define(eq=False)
class _Running:
    """Loop that runs, with its thread."""

    loop: asyncio.AbstractEventLoop
    thread: Thread
    thread_id: int  # the system's: greenlets have others, but not this one
    stopped: asyncio.Event


@attrs.define(slots=False, eq=False)
class LoopThread:
    """Event loop for the process in which this was made."""

    is_stopped: bool = False
    # While the interpreter ends, only daemon threads wait, and they are not to be woken: they
    # would say on the terminal that their client is gone.
    is_silent: bool = False
    # The thread's number while its loop is open: one that has ended gives it to another thread.
    thread_id: int | None = None
    # The calls under way, and with them, strongly, their tasks: asyncio forgets a task that
    # nothing else holds.
    calls: set[BlockingCall] = attrs.field(factory=set)
    process: int = attrs.field(factory=os.getpid)
    _published: dict[str, _Running] = attrs.field(factory=dict)

    def submit(self, callback: Callable[..., object], *arguments: object) -> bool:
        """Have the loop call something, in order; return `False` once it has been stopped.

        The first call starts the thread. An interruption may come when that has started and this
        function does not know it yet. So each loop publishes itself, and a second one finds the
        first and ends; so does that of another caller at the same time. No lock keeps them apart:
        one that gevent or eventlet has replaced may never wake a real thread that waits for it.
        """
        if os.getpid() != self.process:
            raise ConfigurationError(
                "This began before the process was forked, and goes on in the parent only. "
                "Begin anew here."
            )
        if self.is_stopped:
            return False
        running, failure = self._published.get("loop"), None
        if running is None:
            # No event: its lock is lost when a signal handler or an interruption comes in between.
            started: Mailbox[Exception | None] = Mailbox()
            try:
                start_thread(partial(self._run, started), "lipsync_async")
                failure = started.receive()
            except RuntimeError as error:
                failure = error
            running = self._published.get("loop")
        if running is None:
            message = f"The client's event loop cannot be started ({failure})."
            raise ConfigurationError(message) from failure
        try:
            running.loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # pragma: no cover - only if it was closed just now
            if not running.loop.is_closed():  # a RecursionError is one, too
                raise
            return False
        return True

    def stop(self, *, is_final: bool = False) -> None:
        """Cancel every task, wait for their clean-up and for the thread's end. Idempotent.

        Args:
            is_final: Nothing uses the client any more, or the interpreter ends.

        """
        if os.getpid() != self.process:  # it is the parent's
            return
        if is_final:
            self.is_silent = not threading.main_thread().is_alive()
        self.is_stopped = True
        running = self._published.get("loop")
        if running is None:
            return
        with suppress(RuntimeError):  # it is closed already
            running.loop.call_soon_threadsafe(running.stopped.set)
        # A finalizer may run anywhere: in the thread itself, or in the midst of a greenlet's wait,
        # where another wait would take the switch that ends the first.
        is_current = running.thread_id == threading.get_native_id()
        if is_current or (is_final and not self.is_silent and has_greenlets()):
            return
        deadline = time.monotonic() + SHUTDOWN_TIMEOUT
        while running.thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            running.thread.join(min(left, SLICE))

    def _run(self, started: Mailbox[Exception | None], thread: Thread) -> None:
        """Run the loop until it is stopped, then end what is left in it."""
        failure: Exception | None = None
        try:
            # With a factory the runner does not touch any thread's own event loop.
            runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
            thread_id = threading.get_native_id()
            running = _Running(runner.get_loop(), thread, thread_id, asyncio.Event())
            vars(running.loop)["run_in_executor"] = in_executor
            is_first = self._published.setdefault("loop", running) is running
        except Exception as error:  # noqa: BLE001 - no file to be had, for instance
            failure = error
            return
        finally:
            started.put(failure)
        # While the interpreter ends, the runner cannot start a thread to wait for others.
        with suppress(RuntimeError), runner:
            if is_first:
                self.thread_id = thread_id
                runner.run(running.stopped.wait())
        if is_first:
            self.thread_id = None
            self.is_stopped = True
            for call in list(self.calls):
                call.finish()


# The call that the running coroutine belongs to.
CURRENT_CALL: ContextVar[BlockingCall] = ContextVar("CURRENT_CALL")


class CallState(IntEnum):
    """State of a blocking call; it only moves forward."""

    CREATED = auto()  # the coroutine has not begun
    RUNNING = auto()  # it runs; the caller waits for it, or uses what it has yielded
    LEAVING = auto()  # the caller is on its way out: no more input is drawn
    CANCELLING = auto()  # the coroutine was cancelled; the caller waits for its clean-up
    DONE = auto()  # the coroutine has ended
    ABANDONED = auto()  # the caller has gone; what comes is not read any more


@attrs.define(slots=True, eq=False)
class StepResult:
    """Result of one step of an iteration: a value, an error, or the end."""

    value: Any = None
    error: Exception | None = None
    is_last: bool = False

    def result(self) -> Any:
        """Return the value or raise the error."""
        if self.is_last:
            raise StopIteration
        if self.error is not None:
            raise self.error
        return self.value


class CallerTask:
    """Function that runs in the caller's thread, and whose result goes back to the loop."""

    def __init__(
        self, function: Callable[..., object], arguments: tuple[object, ...], *, can_wait: bool
    ) -> None:
        self.can_wait = can_wait
        self._function = function
        self._arguments = arguments
        self._claim = threading.Lock()
        self.reply: asyncio.Future[tuple[object, Exception | None]] = (
            asyncio.get_running_loop().create_future()
        )

    def run(self, call: BlockingCall) -> None:
        """Run the function here, unless another thread does.

        `KeyboardInterrupt`, `SystemExit` and the like are raised here.
        """
        if not self._claim.acquire(blocking=False):
            return
        result, failure = None, None
        try:
            result = self._function(*self._arguments)
        except Exception as error:  # noqa: BLE001 - it is raised again, in the coroutine
            failure = error
        if iscoroutine(result):
            result.close()
            failure = ConfigurationError(
                f"{self._function!r} returned a coroutine, which the blocking client cannot "
                "await. Pass a plain function, or use AsyncClient."
            )
        call.thread.submit(self._settle, result, failure)  # a stopped loop ends the call anyway

    def _settle(self, result: object, failure: Exception | None) -> None:
        if not self.reply.done():
            self.reply.set_result((result, failure))


# An exception was raised by a callback in another thread than the caller's; `None`: the
# coroutine has ended.
Message: TypeAlias = "CallerTask | LogLine | BaseException | StepResult | None"


@attrs.define(eq=False, repr=False)
class BlockingCall:
    """Coroutine in the loop's thread, with the caller that waits for it.

    Two threads move the state, and a signal handler or the garbage collector may make
    another call in the middle of any line. So there is no lock: each thread writes a field
    of its own, and the later of both counts. The loop's thread sets RUNNING and DONE, the
    caller's sets LEAVING, CANCELLING and ABANDONED.
    """

    thread: LoopThread
    # Called in the loop: Python warns of a coroutine that is made and, because of an
    # interruption, never awaited.
    _work: Callable[[], Coroutine[Any, Any, Any]]
    _call_site: CallSite
    cleanups: list[Callable[[], None]] = attrs.field(factory=list)
    messages: Mailbox[Message] = attrs.field(factory=Mailbox)
    _loop_state: CallState = CallState.CREATED
    _caller_state: CallState = CallState.CREATED
    _result: Any = None
    _error: BaseException | None = None
    _is_waiting: bool = False
    _task: asyncio.Task[None] | None = None
    _context: Context = attrs.field(factory=copy_context)

    @property
    def state(self) -> CallState:
        """How far the call is."""
        return max(self._loop_state, self._caller_state)

    def request(self, callback: Callable[..., object], *arguments: object) -> Any:
        """Have the loop call something; return or raise the next item, or how the call ended."""
        if self.thread.thread_id == threading.get_native_id():
            raise ConfigurationError(_FROM_OWN_LOOP)
        try:
            if self._loop_state is CallState.CREATED:
                self.thread.calls.add(self)
            self._is_waiting = True
            # It has ended if the client was closed between two items.
            if self._loop_state is not CallState.DONE and not self.thread.submit(
                callback, *arguments
            ):
                message = "This client is closed. Build a new one to go on."
                raise ConfigurationError(message)  # noqa: TRY301 - the call must be ended
            item = self._receive()
        except BaseException as interruption:
            self.cancel_and_wait(interruption)
            raise
        if item is not None:
            return item.result()
        if self._error is None:
            return self._result
        self._caller_state = CallState.ABANDONED
        # Not kept any longer: the error's frames lead to this call, which must not lead back.
        error, self._error = self._error, None
        if isinstance(error, asyncio.CancelledError):  # only a close of the client cancels it
            notes = self._leftovers(error)
            error = ConfigurationError("The client was closed while this call was under way.")
            _add_notes(error, notes)
        raise error

    def run_cleanups(self) -> None:
        """Draw no more input, and run the clean-ups in the caller's thread. Idempotent."""
        self._caller_state = max(self._caller_state, CallState.LEAVING)
        for each in self.cleanups:
            each()

    def cancel_and_wait(self, interruption: BaseException) -> None:
        """Cancel the coroutine, wait for its clean-up, and note what the call leaves behind.

        Does nothing once the caller has gone.
        """
        if self._caller_state is CallState.ABANDONED or os.getpid() != self.thread.process:
            return
        self.run_cleanups()
        self._caller_state = CallState.CANCELLING
        late: list[str] = []
        try:
            try:
                is_sent = self.thread.submit(self._cancel)
            except ConfigurationError:  # there is no loop
                is_sent = False
            except BaseException:  # a second interruption: it may have come before the sending
                self.thread.submit(self._cancel)
                raise
            if not is_sent:  # the loop was stopped, and ends the calls that it knows
                if self.thread.is_stopped:
                    self.thread.stop()
                self.finish()
            # Also if it has ended by now: there may be log lines to read.
            while (item := self._receive()) is not None or self._loop_state is not CallState.DONE:
                # An outcome, say, which names its job; the answer to entering a block names none.
                value = None if item is None else item.value
                if value is not None and not isinstance(value, AsyncIterator):  # pragma: no branch
                    late.append(f"An item had come meanwhile: {value!r}")
        finally:
            self._caller_state = CallState.ABANDONED
        _add_notes(interruption, [*self._leftovers(self._error), *late])

    async def run_in_caller(
        self,
        function: Callable[..., object],
        arguments: tuple[object, ...],
        *,
        can_wait: bool = False,
    ) -> object:
        """Run a function in the caller's thread, and return or raise what it does.

        While the caller works on an item, the function runs in a thread of its own: the loop
        must not stand still for as long as that takes.
        """
        task = CallerTask(function, arguments, can_wait=can_wait)
        self.messages.put(task)
        if not (can_wait or self._is_waiting):
            await in_own_thread(self._run_apart, task)
        result, failure = await task.reply
        if failure is not None:
            raise failure
        return result

    def _run_apart(self, task: CallerTask) -> None:
        """Run a function outside of the caller's thread, where an exit would end the loop."""
        try:
            task.run(self)
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            self.messages.put(error)

    def _log(self, line: LogLine) -> None:
        if self.thread.is_silent:
            _write(line)
        elif self._caller_state is CallState.ABANDONED:
            # Not here: a thread that waits for the loop may hold a handler's lock.
            start_thread(lambda _: _write(line), "lipsync_async log")
        else:
            self.messages.put(line)

    def _receive(self) -> StepResult | None:
        """Wait for an item or the end, and run the functions that come before."""
        item: StepResult | None = None
        self._is_waiting = True
        try:
            while item is None and not (
                self._loop_state is CallState.DONE and self.messages.empty()
            ):
                message = self.messages.receive()
                if isinstance(message, StepResult):
                    item = message
                elif message is not None:
                    self._handle(message)
        finally:
            self._is_waiting = False
        if item is not None:
            self._run_urgent()
            return item
        self.messages.put(None)  # for other threads that wait here
        is_too_late = self.thread.is_silent and threading.current_thread().daemon
        if is_too_late:  # pragma: no cover - such threads do not end
            self._log_leftovers()
            Mailbox[None]().receive()  # it stays there while the rest ends
        return None

    def _handle(self, message: CallerTask | LogLine | BaseException) -> None:
        if isinstance(message, CallerTask):
            message.run(self)
        elif isinstance(message, LogLine):
            message.write()
        elif self._caller_state < CallState.CANCELLING:
            raise message

    def _run_urgent(self) -> None:
        """Run what was sent while the loop still took the caller for waiting."""
        kept: list[Message] = []
        try:
            with suppress(Empty):
                while True:
                    message = self.messages.get_nowait()
                    if isinstance(message, BaseException) or (
                        isinstance(message, CallerTask) and not message.can_wait
                    ):
                        self._handle(message)
                    else:
                        kept.append(message)
        finally:
            for message in kept:
                self.messages.put(message)

    def begin(self) -> None:
        """Start the coroutine; runs in the loop, as all that follows."""
        self._loop_state = CallState.RUNNING
        context = self._context
        del self._context  # it will hold this call
        context.run(CURRENT_CALL.set, self)
        context.run(CALL_SITE.set, self._call_site)
        context.run(LOG_SINK.set, self._log)
        work = self._run()
        try:
            self._task = asyncio.get_running_loop().create_task(work, context=context)
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            work.close()
            self._error = error
            self.finish()
        else:
            self._task.add_done_callback(self.finish)

    async def _run(self) -> None:
        """Keep how the coroutine ends; an exit, above all, must not end the loop."""
        try:
            self._result = await self._work()
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            self._error = error

    def _cancel(self) -> None:
        if self._loop_state is CallState.CREATED:
            self.begin()
        if self._task is not None:
            self._task.cancel()

    def finish(self, task: asyncio.Task[None] | None = None) -> None:
        """Note the end and wake the caller; without a task there is no loop to end it."""
        if self._loop_state is CallState.DONE:
            return
        if self._error is None and (task is None or task.cancelled()):
            self._error = asyncio.CancelledError()
        self._task = None  # it holds the context, which holds this call
        self._loop_state = CallState.DONE
        self.thread.calls.discard(self)
        if self.thread.is_silent:
            self._log_leftovers()
            return
        self.messages.put(None)
        if self._caller_state is CallState.ABANDONED:  # by a second interruption
            start_thread(lambda _: self._log_leftovers(), "lipsync_async log")

    def _log_leftovers(self) -> None:
        """Log, once, what the caller does not get any more."""
        if not isinstance(self._error, asyncio.CancelledError):  # what was cancelled has logged it
            for each in self._leftovers(self._error):
                log(HTTP_LOG, logging.WARNING, each)
        self._result = self._error = None

    def _leftovers(self, error: BaseException | None) -> list[str]:
        """Describe what a call leaves: the notes of a cancelled one, its result or its error."""
        if isinstance(error, asyncio.CancelledError):
            return list(getattr(error, "__notes__", []))
        if error is not None:
            return [f"The call had failed meanwhile: {error}"]
        if self._result is not None:
            return [f"The call had succeeded meanwhile: {self._result!r}"]
        return []


def _write(line: LogLine) -> None:
    with suppress(Exception):  # of a filter, say
        line.write()


def _add_notes(error: BaseException, notes: list[str]) -> None:
    with suppress(Exception):  # an exception may be frozen
        for note in notes:
            error.add_note(note)


def shorten(error: BaseException) -> None:
    """Remove the frames of the portal from the traceback of an error that leaves the loop.

    An error of this package keeps the line that raised it. An error of a user's callback
    keeps the callback's frames. Any other error is unexpected, and keeps all frames but those
    of the portal.
    """
    steps: list[TracebackType] = []
    step = error.__traceback__
    while step is not None:
        steps.append(step)
        step = step.tb_next
    callbacks = [
        number
        for number, step in enumerate(steps)
        if step.tb_frame.f_code is CallerTask.run.__code__
    ]
    if callbacks:
        steps = steps[callbacks[-1] + 1 :]
    elif isinstance(error, LipsyncError):
        steps = steps[-1:]
    else:
        steps = [each for each in steps if each.tb_frame.f_code.co_filename != __file__]
    chain: TracebackType | None = None
    for each in reversed(steps):
        chain = TracebackType(chain, each.tb_frame, each.tb_lasti, each.tb_lineno)
    error.with_traceback(chain)  # a frozen exception cannot be assigned to


T = TypeVar("T")

# What may be asked for, besides an exception that is to be raised inside.
_NEXT, _STOP = object(), object()
_END = object()


class BlockingIterator(Generic[T]):
    """Async context manager that is kept entered, and whose items are taken one by one."""

    def __init__(
        self,
        owner: object,
        thread: LoopThread,
        manager: AbstractAsyncContextManager[AsyncIterator[T]],
        call_site: CallSite,
    ) -> None:
        self._owner = owner
        self._demands: asyncio.Queue[object] = asyncio.Queue()
        self._stepping = threading.Lock()
        self._is_entered = False
        self._is_left = False
        self._call = BlockingCall(thread, partial(_serve, manager, self._demands), call_site)

    def __enter__(self) -> Self:
        self._enter()
        return self

    def _enter(self) -> Any:
        """Enter the async context manager, and return what it yields."""
        if self._is_entered:
            raise ConfigurationError("This block was entered before. Ask for a new one.")
        self._is_entered = True
        return self._request(self._call.begin)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self._is_entered:
            raise ConfigurationError("Enter it first: `with ... as items:`, then iterate.")
        if self._is_left or self._call.state is CallState.ABANDONED:
            raise StopIteration
        if not self._stepping.acquire(blocking=False):
            raise ValueError("this iteration is being asked for its next item already")
        try:
            item: T = self._request(self._demands.put_nowait, _NEXT)
        finally:
            self._stepping.release()
        return item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            self._run_cleanups()
            return self._leave(error, traceback)
        except BaseException as interruption:
            if not isinstance(interruption, Exception):
                self._call.cancel_and_wait(interruption)
            raise
        finally:
            self._run_cleanups()  # the input may have been begun only just now
            self._is_left = True

    def __del__(self) -> None:
        call = getattr(self, "_call", None)  # an interruption may have come before it was made
        if call is not None and self._is_entered and call.state < CallState.DONE:
            self.request_stop()

    def request_stop(self) -> None:
        """Ask for the end without waiting for it."""
        self._is_left = True
        with suppress(ConfigurationError):
            self._call.thread.submit(self._demands.put_nowait, _STOP)

    def _run_cleanups(self) -> None:
        if self._call.thread.thread_id != threading.get_native_id():
            self._call.run_cleanups()

    def _leave(self, error: BaseException | None, traceback: TracebackType | None) -> bool:
        """End the iteration and wait for that; return whether `error` was swallowed inside."""
        call = self._call
        if self._is_left or call.state >= CallState.DONE or call.thread.process != os.getpid():
            return False
        is_current = call.thread.thread_id == threading.get_native_id()
        # The garbage collector may run this, see `stop`.
        is_unsafe = isinstance(error, GeneratorExit) and has_greenlets()
        if is_current or is_unsafe or self._stepping.locked():  # or another thread waits here
            self.request_stop()
            return False
        # The latter two cannot be raised in a coroutine.
        is_stop = error is None or isinstance(error, (GeneratorExit, StopIteration))
        if call.thread.is_stopped or not (is_stop or isinstance(error, Exception)):
            # Another thread closes the client; or this is an interruption.
            call.cancel_and_wait(GeneratorExit() if error is None else error)
            return False
        try:
            self._request(self._demands.put_nowait, _STOP if is_stop else error)
        except Exception as raised:
            if raised is not error:
                raise
            raised.with_traceback(traceback)  # without its way through the loop
            return False
        return not is_stop

    def _request(self, callback: Callable[..., object], *arguments: object) -> Any:
        """Make a request of the call; what it raises has a short traceback."""
        try:
            return self._call.request(callback, *arguments)
        except StopIteration:
            raise
        except BaseException as error:
            shorten(error)
            raise


class BlockingOutcomes(BlockingIterator[Outcome]):
    """Iterator over a run's outcomes for a blocking caller."""

    _outcomes: OutcomeIterator | None = None

    def __enter__(self) -> Self:
        self._outcomes = self._enter()
        return self

    def progress(self) -> Progress:
        """Return how far the run is: outcomes are counted when they are taken."""
        if self._outcomes is None:
            raise ConfigurationError("Enter it first: `with ... as outcomes:`, then ask.")
        return self._outcomes.progress()


async def _serve(
    manager: AbstractAsyncContextManager[AsyncIterator[Any]], demands: asyncio.Queue[object]
) -> None:
    send = CURRENT_CALL.get().messages.put
    async with manager as items:
        send(StepResult(items))
        while (demand := await demands.get()) is not _STOP:
            if isinstance(demand, BaseException):
                raise demand
            try:
                step = StepResult(await anext(items))
            except StopAsyncIteration:
                step = StepResult(is_last=True)
            except Exception as error:  # noqa: BLE001 - it is raised again, at the caller
                step = StepResult(error=error)
            send(step)


def iterate(iterator: BlockingIterator[T]) -> Generator[T, None, None]:
    """Yield the items; leaving the generator leaves the context manager."""
    with iterator as items:
        try:
            yield from items
        except GeneratorExit:
            # Often raised by the garbage collector, which drops what a generator raises then.
            # A wait here could lose a Ctrl-C; so the loop is told to close, and closes alone.
            iterator.request_stop()
            raise


def iterate_in_caller(items: Iterable[T]) -> Iterable[T] | AsyncIterator[T]:
    """Let async code draw items in the thread that waits for it.

    A generator may be bound to that thread, so it is also let go there. While the thread does
    something else, nothing is drawn; once it leaves, nothing more is.
    """
    # A list runs no code of the user's, and the async code refuses what is no input.
    if isinstance(items, list | tuple | str | bytes | Mapping) or not isinstance(items, Iterable):
        return items
    if isinstance(items, Sized):
        return _SizedCallerIterator(items, len(items))
    return CallerIterator(items)


class CallerIterator(AsyncIterator[T]):
    """Items that are drawn in the caller's thread."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items: Iterator[T] | None = iter(items)

    def __aiter__(self) -> Self:
        CURRENT_CALL.get().cleanups.append(self._let_go)
        return self

    async def __anext__(self) -> T:
        call = CURRENT_CALL.get()
        try:
            item = await call.run_in_caller(self._next, (call,), can_wait=True)
        except StopAsyncIteration as error:  # which would end the input in silence
            raise RuntimeError("the input raised StopAsyncIteration") from error
        if item is _END:
            raise StopAsyncIteration
        return cast("T", item)

    def _next(self, call: BlockingCall) -> Any:
        if call.state >= CallState.LEAVING or self._items is None:
            return _END
        return next(self._items, _END)

    def _let_go(self) -> None:
        self._items = None


class _SizedCallerIterator(CallerIterator[T]):
    """Items whose number is known."""

    def __init__(self, items: Iterable[T], length: int) -> None:
        super().__init__(items)
        self._length = length

    def __len__(self) -> int:
        return self._length


class Portal:
    """Access to async code for any number of blocking threads at once."""

    def __init__(self) -> None:
        # By process: a fork copies the mapping, and the child must not use the parent's entry.
        self._threads: dict[int, LoopThread] = {}
        # Who closes first, and where the others wait for that.
        self._closings: dict[int, tuple[int, Mailbox[None]]] = {}
        # What anyio loads when it is first used: a child that is forked while another thread
        # imports can never import that module, and an interrupted import can leave its lock taken.
        import_module("anyio._backends._asyncio")
        self._thread()

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop, wait for it, and return or raise what it does.

        Whatever interrupts the wait cancels the coroutine and waits for its clean-up first.
        """
        call = BlockingCall(self._thread(), work, CallSite.of_caller())
        try:
            result: T = call.request(call.begin)
            return result  # noqa: TRY300 - an interruption may come even here
        except BaseException as error:
            if not isinstance(error, Exception):
                call.cancel_and_wait(error)  # it may have come when the wait was over already
            shorten(error)
            raise
        finally:
            if call.cleanups:
                call.run_cleanups()
            del call  # it may hold its error, whose traceback holds this frame

    def open(
        self, manager: AbstractAsyncContextManager[AsyncIterator[T]]
    ) -> AbstractContextManager[Iterator[T]]:
        """Return a blocking context manager over the items of an async one."""
        return BlockingIterator(self, self._thread(), manager, CallSite.of_caller())

    def open_run(self, manager: AbstractAsyncContextManager[OutcomeIterator]) -> BlockingOutcomes:
        """Return a blocking context manager over the outcomes of a run."""
        return BlockingOutcomes(self, self._thread(), manager, CallSite.of_caller())

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Return a blocking generator over an async one; leaving it closes both."""
        return iterate(
            BlockingIterator(self, self._thread(), aclosing(items), CallSite.of_caller())
        )

    def close(self, aclose: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a last coroutine, then end the thread. Idempotent.

        Calls that are under way in other threads end with an error.
        """
        thread, closed = self._thread(), Mailbox[None]()
        if thread.thread_id == threading.get_native_id():
            raise ConfigurationError(_FROM_OWN_LOOP)
        mine = (threading.get_ident(), closed)
        first, is_over = self._closings.setdefault(os.getpid(), mine)
        try:
            if is_over is closed:
                if not thread.is_stopped:
                    self.call(aclose)
            # Not for what a signal handler has interrupted in this very thread.
            elif first != threading.get_ident() or has_greenlets():
                with suppress(Empty):
                    is_over.receive(SHUTDOWN_TIMEOUT)
                is_over.put(None)  # for others that wait
        finally:
            thread.stop()
            closed.put(None)

    def _thread(self) -> LoopThread:
        process = os.getpid()
        thread = self._threads.get(process)
        if thread is None:
            made = LoopThread()
            weakref.finalize(self, made.stop, is_final=True)
            # `setdefault` is atomic: threads that begin at once all get the same.
            thread = self._threads.setdefault(process, made)
        return thread


class SyncWrapper:
    """Base of the blocking objects: an async object, and the portal to it."""

    _portal: Portal
    _source: Any

    # What a blocking object holds besides: its attributes, and their classes.
    _parts: ClassVar[tuple[tuple[str, type[SyncWrapper]], ...]] = ()

    def __init__(self, portal: Portal, source: Any) -> None:
        self._portal = portal
        self._source = source
        for name, kind in self._parts:
            setattr(self, name, kind(portal, getattr(source, name)))

    def _view(self, source: Any) -> Self:
        """Return a wrapper of another async object, of the same class."""
        view = object.__new__(type(self))
        SyncWrapper.__init__(view, self._portal, source)
        return view

    def __repr__(self) -> str:
        """Show what the async object shows, if it has a repr, under this one's name."""
        source = getattr(self, "_source", None)
        if "__repr__" not in vars(type(source)):
            return super().__repr__()
        shown = repr(source)
        return shown.replace(type(source).__name__, type(self).__name__, 1)


def call_in_caller(name: str, function: T) -> T:
    """Let async code call a function in the thread that waits for it; it is to be awaited there."""
    if not callable(function):
        return function
    if iscoroutinefunction(function):
        raise ConfigurationError(
            f"{name} is a coroutine function, which the blocking client cannot await. Pass a "
            "plain function, or use AsyncClient."
        )
    callback: Callable[..., object] = function

    async def run_in_caller(*arguments: object) -> Any:
        return await CURRENT_CALL.get().run_in_caller(callback, arguments)

    return cast("T", run_in_caller)
