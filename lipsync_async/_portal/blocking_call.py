"""One blocking call: a coroutine that runs in the loop, and a caller that waits for it.

The caller waits at a queue. What comes through it is an errand to run in the caller's
thread, an item of an iteration, or the news that the coroutine has ended. So callbacks run
where the user wrote them, and one wait serves them all. How it ended is kept on the call
and not sent, for an interruption can swallow what it has just received.

Whatever interrupts the wait (Ctrl-C, an alarm, an exit) cancels the coroutine, waits for
its clean-up and goes on its way. A second interruption gives up the clean-up.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from contextvars import ContextVar, copy_context
from inspect import iscoroutine
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from lipsync_async._callsite import LOG, PLACE, Place
from lipsync_async._threads import Mailbox, in_own_thread
from lipsync_async.errors import ConfigurationError, LipsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextvars import Context

    from lipsync_async._portal.loop_thread import LoopThread


@attrs.define(slots=True, eq=False)
class Item:
    """Hold what one step of an iteration brought: a value, an error, or the news of its end."""

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


class Errand:
    """Take a function to the caller's thread, and what came of it back to the loop."""

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

    def run(self, thread: LoopThread) -> None:
        """Run the function here, unless another thread does.

        Only what is no `Exception` leaves at once.
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
        thread.offer(self._settle, result, failure)  # if it was stopped, the end is on its way

    def _settle(self, result: object, failure: Exception | None) -> None:
        if not self.reply.done():
            self.reply.set_result((result, failure))


@attrs.define(slots=True, eq=False)
class LogLine:
    """Hold what is to be logged in the caller's thread.

    A handler's lock may be held by the very caller who waits.
    """

    level: int
    message: str

    def run(self, _: LoopThread) -> None:
        """Log it."""
        logging.getLogger("lipsync_async").log(self.level, "%s", self.message)


@attrs.define(slots=True, eq=False)
class Interruption:
    """Hold what is to interrupt the caller: what a callback raised in another thread."""

    error: BaseException

    def run(self, _: LoopThread) -> None:
        """Raise it."""
        raise self.error


# `None`: the coroutine has ended.
Message: TypeAlias = "Errand | LogLine | Interruption | Item | None"


_PORTAL = str(Path(__file__).parent)
_ERRAND = Errand.run.__code__


def shorten(error: BaseException) -> None:
    """Take the frames that help nobody off an error that comes out of the loop.

    Of an error of this package, the line that raised it is left. Of an error in a user's
    own callback, all of the callback. Anything else is a surprise, and keeps all frames
    but those of the portal.
    """
    steps = list(_steps(error.__traceback__))
    errands = [number for number, step in enumerate(steps) if step.tb_frame.f_code is _ERRAND]
    if errands:
        steps = steps[errands[-1] + 1 :]
    elif isinstance(error, LipsyncError):
        steps = steps[-1:]
    else:
        steps = [step for step in steps if not _is_portal(step)]
    error.with_traceback(_chained(steps))  # a frozen exception cannot be assigned to


def _steps(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_portal(step: TracebackType) -> bool:
    return step.tb_frame.f_code.co_filename.startswith(_PORTAL)


def _chained(steps: list[TracebackType]) -> TracebackType | None:
    chain: TracebackType | None = None
    for step in reversed(steps):
        chain = TracebackType(chain, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return chain


_CURRENT: ContextVar[Call] = ContextVar("_CURRENT")


class Call:
    """Join one coroutine with the thread that waits for it.

    Args:
        thread: Where the coroutine runs.
        work: Makes the coroutine, in the loop: one that was made and then, because of an
            interruption, never begun would be complained about.
        place: The user's own line, which warnings show.

    """

    def __init__(
        self,
        thread: LoopThread,
        work: Callable[[], Coroutine[Any, Any, Any]],
        place: Place,
    ) -> None:
        self.has_ended: bool = False
        self._thread = thread
        self._work = work
        self._result: Any = None
        self._error: BaseException | None = None
        self.is_left: bool = False
        self._messages: Mailbox[Message] = Mailbox()
        self._is_waiting = False
        self._context: Context | None = copy_context()
        self._context.run(self._mark, place)
        self._task: asyncio.Task[None] | None = None
        self.is_leaving: bool = False
        self.at_leaving: list[Callable[[], None]] = []

    def begin(self) -> Item | None:
        """Start the coroutine and wait for its first item, or for its end (`None`).

        Raises:
            ConfigurationError: The thread would wait for itself, has been stopped, or is
                the parent process's.

        """
        self._thread.refuse_itself()
        try:
            self._thread.waiting.add(self)
            self._is_waiting = True
            self._thread.submit(self._begin)
            return self._received()
        except BaseException as interruption:
            self.leave(interruption)
            raise

    def ask(self, callback: Callable[..., object], *arguments: object) -> Item | None:
        """Let the loop call something, and wait for the next item or the end (`None`).

        Raises:
            ConfigurationError: As for `begin`.

        """
        self._thread.refuse_itself()
        try:
            self._is_waiting = True
            self._thread.submit(callback, *arguments)
            return self._received()
        except BaseException as interruption:
            self.leave(interruption)
            raise

    def send(self, item: Item) -> None:
        """Hand an item to the caller; called in the loop."""
        self._messages.put(item)

    def result(self) -> Any:
        """Return or raise what the coroutine did.

        Raises:
            ConfigurationError: It was cancelled, which only `close` does.

        """
        if self._error is None:
            return self._result
        self.is_left = True
        raise self._given_away(self._error)

    def _given_away(self, error: BaseException) -> BaseException:
        """Keep the error no longer: its frames lead to this call, which must not lead back."""
        self._error = None
        if not isinstance(error, asyncio.CancelledError):
            return error
        closed = ConfigurationError("The client was closed while this call was under way.")
        _add_notes(closed, getattr(error, "__notes__", []))
        return closed

    def leave(self, interruption: BaseException) -> None:
        """Cancel the coroutine, wait for its clean-up, and note what it leaves behind.

        Args:
            interruption: What ended the wait; gets the notes.

        """
        if self._thread.is_elsewhere or self.is_left:
            return
        self.let_go()
        try:
            is_told = self._thread.offer(self._cancel)
        except ConfigurationError:  # there is no loop
            is_told = False
        except BaseException:  # a second interruption: it does not wait, but cancels
            self._thread.offer(self._cancel)
            raise
        finally:
            self.is_left = True
        if not is_told:  # the loop was stopped, and tells all whom it knows
            self._thread.join()
            self.give_up()
        # Also when it has ended by now: what it has logged at last is still to be read.
        late: list[str] = []
        while (item := self._received()) is not None or not self.has_ended:
            # An outcome, say, with its job; what else comes is luck.
            if item is not None and item.value is not None:  # pragma: no branch
                late.append(f"An item had come meanwhile: {item.value!r}")
        _add_notes(interruption, [*self.remains(), *late])

    def let_go(self) -> None:
        """Do, in the caller's thread, what is to be done at leaving; twice is fine."""
        self.is_leaving = True
        for each in self.at_leaving:
            each()

    def remains(self) -> list[str]:
        """Say what an interrupted call has left: its notes, its late result or its error."""
        if isinstance(self._error, asyncio.CancelledError):
            return list(getattr(self._error, "__notes__", []))
        if self._error is not None:
            return [f"The call had failed meanwhile: {self._error}"]
        if self._result is not None:
            return [f"The call had succeeded meanwhile: {self._result!r}"]
        return []

    def give_up(self) -> None:
        """Take the coroutine for cancelled: there is no loop that could end it."""
        if not self.has_ended:
            self._end(asyncio.CancelledError())

    async def run_at_caller(
        self,
        function: Callable[..., object],
        arguments: tuple[object, ...],
        *,
        can_wait: bool = False,
    ) -> object:
        """Run a function in the caller's thread and wait for what comes of it.

        While the caller does something else than wait, it runs in a thread of its own: the
        loop must not stand still for as long as a user works on what he was given.

        Args:
            function: The function.
            arguments: Its arguments.
            can_wait: Whether to wait for the caller, however long.

        """
        errand = Errand(function, arguments, can_wait=can_wait)
        self._messages.put(errand)
        if not (can_wait or self._is_waiting):
            await in_own_thread(self._run_apart, errand)
        result, failure = await errand.reply
        if failure is not None:
            raise failure
        return result

    def _run_apart(self, errand: Errand) -> None:
        """Run an errand in another thread than the caller's, where an exit would end the loop."""
        try:
            errand.run(self._thread)
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            self._messages.put(Interruption(error))

    def _mark(self, place: Place) -> None:
        _CURRENT.set(self)
        PLACE.set(place)
        LOG.set(self._log)

    def _log(self, level: int, message: str) -> None:
        line = LogLine(level, message)
        if not self._thread.is_silent:
            self._messages.put(line)
            return
        with suppress(Exception):  # of a filter, say; the caller reads nothing any more
            line.run(self._thread)

    def _put(self, message: Message) -> None:
        if not self._thread.is_silent:
            self._messages.put(message)

    def _received(self) -> Item | None:
        """Wait for an item or the end, and run the errands that come before."""
        self._is_waiting = True
        try:
            item = self._next_item()
        finally:
            self._is_waiting = False
        if item is not None:
            self._run_what_is_left()
            return item
        self._messages.put(None)  # for whoever else waits here
        is_too_late = self._thread.is_silent and threading.current_thread().daemon
        if is_too_late:  # pragma: no cover - such threads do not end
            self._tell_unheard()
            Mailbox[None]().get()  # it stays there while the rest ends
        return None

    def _next_item(self) -> Item | None:
        while not self.has_ended or not self._messages.is_empty():
            message = self._messages.get()
            if isinstance(message, Errand | LogLine | Interruption):
                self._run(message)
            elif message is not None:
                return message
        return None

    def _run_what_is_left(self) -> None:
        """Run the errands that came while the wait was still taken for going on."""
        kept: list[Message] = []
        try:
            with suppress(Empty):
                while True:
                    message = self._messages.get_nowait()
                    if isinstance(message, Interruption) or (
                        isinstance(message, Errand) and not message.can_wait
                    ):
                        self._run(message)
                    else:
                        kept.append(message)
        finally:
            for message in kept:
                self._messages.put(message)

    def _run(self, message: Errand | LogLine | Interruption) -> None:
        """Run what came; but who is leaving already is not interrupted once more."""
        if not (self.is_left and isinstance(message, Interruption)):
            message.run(self._thread)

    def _begin(self) -> None:
        context, self._context = self._context, None
        work = self._complete()
        try:
            task = asyncio.get_running_loop().create_task(work, context=context)
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            work.close()
            self._end(error)
        else:
            self._task = task
            task.add_done_callback(self._settle, context=context)

    async def _complete(self) -> None:
        """Keep how the coroutine ends; an exit, above all, must not end the loop."""
        try:
            self._result = await self._work()
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            self._error = error

    def _settle(self, task: asyncio.Task[None]) -> None:
        error = self._error
        self._end(asyncio.CancelledError() if task.cancelled() else error)

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        self._task = None  # it holds the context, which holds this call
        self.has_ended = True
        self._thread.waiting.discard(self)
        if self._thread.is_silent:
            self._tell_unheard()
        self._put(None)

    def _tell_unheard(self) -> None:
        """Log, once, what the caller will not get any more."""
        if not isinstance(self._error, asyncio.CancelledError):  # which has told by itself
            for each in self.remains():
                self._log(logging.WARNING, each)
        self._result = self._error = None

    def _cancel(self) -> None:
        if self._context is not None:  # it was never begun
            self._begin()
        if self._task is not None:
            self._task.cancel()


def current_call() -> Call:
    """Return the call that the running coroutine belongs to."""
    return _CURRENT.get()


def _add_notes(error: BaseException, notes: list[str]) -> None:
    with suppress(Exception):  # an exception may be frozen
        for note in notes:
            error.add_note(note)
