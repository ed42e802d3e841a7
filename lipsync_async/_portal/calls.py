"""One blocking call: a coroutine that runs in the loop, and a caller that waits for it.

The caller waits at a queue. What comes through it is an errand to run in the caller's
thread, an item of an iteration, or the task itself once it has ended. So callbacks run
where the user wrote them, and one wait serves them all.

Whatever interrupts the wait (Ctrl-C, an alarm, an exit) cancels the coroutine, waits for
its clean-up and goes on its way. A second interruption gives up the clean-up.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from inspect import iscoroutine
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from lipsync_async._rules.warning_place import CALLER
from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context
    from types import FrameType

    from lipsync_async._portal.loop_thread import LoopThread

_CURRENT: ContextVar[Call] = ContextVar("_CURRENT")


@attrs.define(slots=True, eq=False)
class Item:
    """Hold what one step of an iteration brought: a value or an error."""

    value: Any = None
    error: Exception | None = None


class Errand:
    """Take a function to the caller's thread, and what came of it back to the loop."""

    def __init__(self, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self._function = function
        self._arguments = arguments
        self.reply: asyncio.Future[tuple[object, Exception | None]] = (
            asyncio.get_running_loop().create_future()
        )

    def run(self, thread: LoopThread) -> None:
        """Run the function here; only what is no `Exception` leaves at once."""
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
        thread.offer(self._settle, result, failure)  # if it was stopped, the end is on its way

    def _settle(self, result: object, failure: Exception | None) -> None:
        if not self.reply.done():
            self.reply.set_result((result, failure))


# The next item; or the task, when it has ended.
Answer: TypeAlias = "Item | asyncio.Task[Any]"
Message: TypeAlias = "Errand | Answer"


class Call:
    """Join one coroutine with the thread that waits for it.

    Args:
        thread: Where the coroutine runs.
        work: The coroutine; it is closed if it cannot be started.
        caller: The user's own frame, whose line warnings show.

    """

    def __init__(
        self,
        thread: LoopThread,
        work: Coroutine[Any, Any, Any],
        caller: FrameType,
    ) -> None:
        self.thread = thread
        self.is_over: bool = False
        self._work = work
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._context: Context | None = copy_context()
        self._context.run(self._mark, caller)
        self._task: asyncio.Task[Any] | None = None
        self._is_begun = False

    def begin(self) -> Answer:
        """Start the coroutine and wait for its first item or its end.

        Raises:
            ConfigurationError: The thread would wait for itself, has been stopped, or is
                the parent process's.

        """
        try:
            self._start()
            return self._received()
        except BaseException as interruption:
            self.leave(interruption)
            raise

    def ask(self, callback: Callable[..., object], *arguments: object) -> Answer:
        """Let the loop call something, and wait for the next item or the end.

        Raises:
            ConfigurationError: As for `begin`.

        """
        self._refuse_own_thread()
        try:
            self.thread.submit(callback, *arguments)
            return self._received()
        except BaseException as interruption:
            self.leave(interruption)
            raise

    def send(self, item: Item) -> None:
        """Hand an item to the caller; called in the loop."""
        self._messages.put(item)

    def leave(self, interruption: BaseException) -> None:
        """Cancel the coroutine, wait for its clean-up, and note what it leaves behind.

        Args:
            interruption: What ended the wait; gets the notes.

        """
        has_ended, self.is_over = self.is_over, True  # a second interruption does not wait
        if not self._is_begun:
            self._work.close()
        if not self._is_begun or has_ended or self.thread.is_elsewhere:
            return
        self.thread.offer(self._cancel)  # whoever stopped the thread has cancelled it
        while isinstance(message := self._received(), Item):
            pass
        for note in _remains(message):
            interruption.add_note(note)

    async def run_at_caller(
        self,
        function: Callable[..., object],
        arguments: tuple[object, ...],
    ) -> object:
        """Run a function in the caller's thread and wait for what comes of it."""
        errand = Errand(function, arguments)
        self._messages.put(errand)
        result, failure = await errand.reply
        if failure is not None:
            raise failure
        return result

    def _mark(self, caller: FrameType) -> None:
        _CURRENT.set(self)
        CALLER.set(caller)

    def _start(self) -> None:
        try:
            self._refuse_own_thread()
            self._is_begun = True  # before it is: an interruption may come in between
            self.thread.submit(self._begin)
        except ConfigurationError:
            self._is_begun = False
            raise

    def _refuse_own_thread(self) -> None:
        if self.thread.is_current:
            raise ConfigurationError(
                "A blocking call from the client's own event loop would wait for itself for "
                "ever. Make it from another thread, or use AsyncClient.",
            )

    def _received(self) -> Answer:
        """Wait for an answer, and run the errands that come before."""
        while True:
            message = self._messages.get()
            if isinstance(message, Errand):
                message.run(self.thread)
                continue
            if not isinstance(message, Item):
                self.is_over = True
                self._task = None  # it holds the context, which holds this call
            return message

    def _begin(self) -> None:
        context, self._context = self._context, None
        self._task = asyncio.get_running_loop().create_task(self._work, context=context)
        self._task.add_done_callback(self._messages.put, context=context)

    def _cancel(self) -> None:
        """Make sure that an end comes, even if an interruption has swallowed the first."""
        if self._context is not None:  # it was never begun
            self._begin()
        task = self._task
        if task is None:  # the end has come already
            return
        if task.done():
            self._messages.put(task)
        else:
            task.cancel()


def current_call() -> Call:
    """Return the call that the running coroutine belongs to."""
    return _CURRENT.get()


def result_of(answer: Answer) -> Any:
    """Return or raise what an answer stands for.

    Raises:
        StopIteration: The iteration has no more items.
        ConfigurationError: The coroutine was cancelled, which only `close` does.

    """
    if isinstance(answer, Item):
        if answer.error is not None:
            raise answer.error
        return answer.value
    try:
        return answer.result()
    except asyncio.CancelledError as error:
        notes = list(getattr(error, "__notes__", []))
    closed = ConfigurationError("The client was closed while this call was under way.")
    for note in notes:
        closed.add_note(note)
    raise closed


def _remains(task: asyncio.Task[Any]) -> list[str]:
    """Say what an interrupted call has left: its notes, its late result or its error."""
    try:
        result = task.result()
    except asyncio.CancelledError as error:
        return list(getattr(error, "__notes__", []))
    except Exception as error:  # noqa: BLE001 - the interruption is what is raised
        return [f"The call had failed meanwhile: {error}"]
    return [] if result is None else [f"The call had succeeded meanwhile: {result!r}"]
