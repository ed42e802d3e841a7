"""One blocking call: a coroutine in the loop's thread, and the caller that waits for it.

The caller waits at a queue. Through it come functions to run in the caller's thread
(callbacks, input, log lines), the items of an iteration, and `None` once the coroutine has
ended. So callbacks run in the thread that made the call, and one wait serves them all. How
the coroutine ended is kept on the call and is not sent through the queue: an interruption
can lose the message that a wait has just received.

Whatever interrupts the wait (Ctrl-C, an alarm, an exit) cancels the coroutine, waits for
its clean-up and is then raised. A second interruption does not wait for the clean-up; what
the call logs, returns or raises after that goes to the log.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import ContextVar, copy_context
from enum import IntEnum, auto
from inspect import iscoroutine
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from lipsync_async._callsite import CALL_SITE, HTTP_LOG, LOG_SINK, CallSite, LogLine, log
from lipsync_async._threads import Mailbox, in_own_thread, start_thread
from lipsync_async.errors import ConfigurationError, LipsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    from lipsync_async._portal.loop_thread import LoopThread

_CURRENT: ContextVar[BlockingCall] = ContextVar("_CURRENT")
_PORTAL = str(Path(__file__).parent)


class CallState(IntEnum):
    """State of a blocking call; it only moves forward."""

    CREATED = auto()
    """The coroutine has not begun."""
    RUNNING = auto()
    """The coroutine runs; the caller waits for it, or uses what it has yielded."""
    LEAVING = auto()
    """The caller is on its way out: no more input is drawn."""
    CANCELLING = auto()
    """The coroutine was cancelled; the caller waits for its clean-up."""
    DONE = auto()
    """The coroutine has ended."""
    ABANDONED = auto()
    """The caller has gone; what comes is not read any more."""


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
                "await. Pass a plain function, or use AsyncClient.",
            )
        call.thread.submit(self._settle, result, failure)  # a stopped loop ends the call anyway

    def _settle(self, result: object, failure: Exception | None) -> None:
        if not self.reply.done():
            self.reply.set_result((result, failure))


@attrs.define(slots=True, eq=False)
class RaiseInCaller:
    """Exception that a callback has raised in another thread than the caller's."""

    error: BaseException

    def run(self, call: BlockingCall) -> None:
        """Raise it, unless the call is being cancelled already."""
        if not call.is_cancelling:
            raise self.error


# `None`: the coroutine has ended.
Message: TypeAlias = "CallerTask | LogLine | RaiseInCaller | StepResult | None"


class BlockingCall:
    """Coroutine in the loop's thread, with the caller that waits for it.

    Two threads move the state, and a signal handler or the garbage collector may make
    another call in the middle of any line. So there is no lock: each thread writes a field
    of its own, and the later of both counts. The loop's thread sets RUNNING and DONE, the
    caller's sets LEAVING, CANCELLING and ABANDONED.
    """

    def __init__(
        self,
        thread: LoopThread,
        work: Callable[[], Coroutine[Any, Any, Any]],
        call_site: CallSite,
    ) -> None:
        self.thread = thread
        self.cleanups: list[Callable[[], None]] = []
        # Called in the loop: Python warns of a coroutine that is made and, because of an
        # interruption, never awaited.
        self._work = work
        self._loop_state = self._caller_state = CallState.CREATED
        self._result: Any = None
        self._error: BaseException | None = None
        self._messages: Mailbox[Message] = Mailbox()
        self._is_waiting = False
        self._task: asyncio.Task[None] | None = None
        context: Context = copy_context()
        context.run(_CURRENT.set, self)
        context.run(CALL_SITE.set, call_site)
        context.run(LOG_SINK.set, self._log)
        self._context: Context | None = context

    @property
    def state(self) -> CallState:
        """How far the call is."""
        return max(self._loop_state, self._caller_state)

    @property
    def is_cancelling(self) -> bool:
        """Whether the caller has given the call up."""
        return self._caller_state >= CallState.CANCELLING

    def start(self) -> StepResult | None:
        """Start the coroutine and wait for its first item, or for its end (`None`)."""
        return self.request(self._begin)

    def request(self, callback: Callable[..., object], *arguments: object) -> StepResult | None:
        """Have the loop call something, and wait for the next item, or for the end (`None`)."""
        self.thread.check_not_loop_thread()
        try:
            if self._loop_state is CallState.CREATED:
                self.thread.calls.add(self)
            self._is_waiting = True
            if not self.thread.submit(callback, *arguments):
                message = "This client is closed. Build a new one to go on."
                raise ConfigurationError(message)  # noqa: TRY301 - the call must be ended
            return self._receive()
        except BaseException as interruption:
            self.cancel_and_wait(interruption)
            raise

    def send(self, item: StepResult) -> None:
        """Hand an item to the caller; called in the loop."""
        self._messages.put(item)

    def result(self) -> Any:
        """Return or raise what the coroutine did; only `close` cancels it."""
        if self._error is None:
            return self._result
        self._caller_state = CallState.ABANDONED
        # Not kept any longer: the error's frames lead to this call, which must not lead back.
        error, self._error = self._error, None
        if isinstance(error, asyncio.CancelledError):
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
        if self._caller_state is CallState.ABANDONED or self.thread.in_other_process:
            return
        self.run_cleanups()
        self._caller_state = CallState.CANCELLING
        late: list[str] = []
        try:
            try:
                is_sent = self._send_cancel()
            except BaseException:  # a second interruption: it may have come before the sending
                self.thread.submit(self._cancel)
                raise
            if not is_sent:  # the loop was stopped, and ends the calls that it knows
                self.thread.join()
                self.finish()
            # Also if it has ended by now: there may be log lines to read.
            while (item := self._receive()) is not None or not self.has_ended:
                # An outcome, say, which names its job; the answer to entering a block names none.
                value = None if item is None else item.value
                if value is not None and not isinstance(value, AsyncIterator):  # pragma: no branch
                    late.append(f"An item had come meanwhile: {value!r}")
        finally:
            self._caller_state = CallState.ABANDONED
        _add_notes(interruption, [*self._leftovers(self._error), *late])

    def _send_cancel(self) -> bool:
        try:
            return self.thread.submit(self._cancel)
        except ConfigurationError:  # there is no loop
            return False

    @property
    def has_ended(self) -> bool:
        """Whether the coroutine has ended."""
        return self._loop_state is CallState.DONE

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
        self._messages.put(task)
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
            self._messages.put(RaiseInCaller(error))

    def _log(self, line: LogLine) -> None:
        if self.thread.is_silent:
            _write(line)
        elif self._caller_state is CallState.ABANDONED:
            # Not here: a thread that waits for the loop may hold a handler's lock.
            start_thread(lambda _: _write(line), "lipsync_async log")
        else:
            self._messages.put(line)

    def _receive(self) -> StepResult | None:
        """Wait for an item or the end, and run the functions that come before."""
        item: StepResult | None = None
        self._is_waiting = True
        try:
            while item is None and not (
                self._loop_state is CallState.DONE and self._messages.is_empty()
            ):
                message = self._messages.get()
                if isinstance(message, StepResult):
                    item = message
                elif isinstance(message, LogLine):
                    message.write()
                elif message is not None:
                    message.run(self)
        finally:
            self._is_waiting = False
        if item is not None:
            self._run_urgent()
            return item
        self._messages.put(None)  # for other threads that wait here
        is_too_late = self.thread.is_silent and threading.current_thread().daemon
        if is_too_late:  # pragma: no cover - such threads do not end
            self._log_leftovers()
            Mailbox[None]().get()  # it stays there while the rest ends
        return None

    def _run_urgent(self) -> None:
        """Run what was sent while the loop still took the caller for waiting."""
        kept: list[Message] = []
        try:
            with suppress(Empty):
                while True:
                    message = self._messages.get_nowait()
                    if isinstance(message, RaiseInCaller) or (
                        isinstance(message, CallerTask) and not message.can_wait
                    ):
                        message.run(self)
                    else:
                        kept.append(message)
        finally:
            for message in kept:
                self._messages.put(message)

    def _begin(self) -> None:
        """Start the coroutine; runs in the loop, as all that follows."""
        self._loop_state = CallState.RUNNING
        context, self._context = self._context, None
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
            self._begin()
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
        self._messages.put(None)
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


def current_call() -> BlockingCall:
    """Return the call that the running coroutine belongs to."""
    return _CURRENT.get()


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
        steps = [each for each in steps if not each.tb_frame.f_code.co_filename.startswith(_PORTAL)]
    chain: TracebackType | None = None
    for each in reversed(steps):
        chain = TracebackType(chain, each.tb_frame, each.tb_lasti, each.tb_lineno)
    error.with_traceback(chain)  # a frozen exception cannot be assigned to
