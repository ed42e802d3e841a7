"""An event loop in a thread of its own, which belongs to one process.

The thread starts with the first call. It is a daemon, so that a program that forgets to
close its client can still end; a finalizer of the portal stops it before the interpreter
is taken apart.

Three things can happen in the middle of any line here, and none may find a lock taken: a
signal handler that uses the client, the garbage collector that closes an iteration, and
an interruption. So there is a lock for starting only, which the same thread may take
twice, and everything else can be repeated. That nobody waits in vain is seen to at the
end: whoever is still in the list of calls then is told.

A forked child inherits the object, but not the thread, and shares the loop's selector and
sockets with its parent: whatever it closed or unregistered there, the parent would lose.
So everything here asks first which process it is in.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from lipsync_async._threads import Joinable, Mailbox, in_executor, may_wait, start_thread
from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

# A task that will not be cancelled must not keep a program from ending.
FAREWELL_SECONDS = 5.0
# What anyio loads when it is first used.
_BACKEND = "anyio._backends._asyncio"


def prepare() -> None:
    """Load what an event loop needs, before there is a thread, or a call to interrupt.

    A child that is forked while another thread imports can never import that module, and
    an interruption of one who waits for an import can leave its lock taken.
    """
    import_module(_BACKEND)


class Waiting(Protocol):
    """Stand for somebody who waits for a coroutine's end."""

    def give_up(self) -> None:
        """Learn that there will be no end, because there is no loop any more."""
        ...


class _Running:
    """Hold the loop of a thread that has one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: Joinable) -> None:
        self.loop = loop
        self.thread = thread
        self.thread_id = threading.get_native_id()  # greenlets have others, but not this one
        self.stopped = asyncio.Event()


class _Attempt:
    """Hold what comes of starting a thread."""

    def __init__(self) -> None:
        # No event: its lock is lost when a signal handler or an interruption comes in between.
        self.settled: Mailbox[None] = Mailbox()
        self.failure: Exception | None = None


class LoopThread:
    """Run an event loop for the process that this was made in."""

    def __init__(self) -> None:
        self.is_stopped: bool = False
        # While the interpreter ends, only daemon threads wait, and they are not to be woken:
        # they would say on the terminal that their client is gone.
        self.is_silent: bool = False
        # Everybody who waits, and with them, strongly, their tasks: asyncio forgets a task
        # that nobody else holds.
        self.waiting: set[Waiting] = set()
        self._process = os.getpid()
        self._published: dict[str, _Running] = {}

    @property
    def is_elsewhere(self) -> bool:
        """Whether the thread runs in the process that this one was forked from."""
        return os.getpid() != self._process

    @property
    def is_current(self) -> bool:
        """Whether the thread is the one that asks."""
        running = self._running
        return running is not None and running.thread_id == threading.get_native_id()

    @property
    def _running(self) -> _Running | None:
        return self._published.get("loop")

    def submit(self, callback: Callable[..., object], *arguments: object) -> None:
        """Let the loop call something; calls are made in the order of their submission.

        Raises:
            ConfigurationError: The loop has been stopped, is the parent process's, or
                cannot be started.

        """
        if not self.offer(callback, *arguments):
            raise ConfigurationError("This client is closed. Build a new one to go on.")

    def offer(self, callback: Callable[..., object], *arguments: object) -> bool:
        """Do as `submit`, but only tell whether the loop has not been stopped.

        Raises:
            ConfigurationError: The loop is the parent process's, or cannot be started.

        """
        if self.is_elsewhere:
            raise ConfigurationError(
                "This began before the process was forked, and goes on in the parent only. "
                "Begin anew here.",
            )
        if self.is_stopped:
            return False
        running = self._running or self._start()
        try:
            running.loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # pragma: no cover - only if it was closed just now
            if not running.loop.is_closed():  # a RecursionError is one, too
                raise
            return False
        return True

    def stop(self) -> None:
        """Cancel every task, wait for their clean-up and end the thread; twice is fine."""
        self.is_stopped = True
        running = self._running
        if running is None:
            return
        with suppress(RuntimeError):  # it is closed already
            running.loop.call_soon_threadsafe(running.stopped.set)
        self.join()

    def join(self) -> None:
        """Wait for the thread's end."""
        running = self._running
        # A finalizer may run anywhere.
        if running is not None and not self.is_current and may_wait():
            running.thread.join(FAREWELL_SECONDS)

    def refuse_itself(self) -> None:
        """Raise where waiting would be waiting for oneself.

        Raises:
            ConfigurationError: This is the loop's own thread.

        """
        running = self._running
        # The number of a thread that has ended is given to another one; its loop is closed.
        if running is not None and self.is_current and not running.loop.is_closed():
            raise ConfigurationError(
                "A blocking call from the client's own event loop would wait for itself for "
                "ever. Make it from another thread, or use AsyncClient.",
            )

    def _start(self) -> _Running:
        """Start the thread and wait for its loop.

        An interruption may come after a thread was started and before anybody knows. So
        each publishes itself; a second one finds that out and ends. So does that of another
        caller at the same time. No lock keeps them apart: one that gevent or eventlet has
        replaced may never wake a real thread that waits for it.
        """
        attempt = _Attempt()
        try:
            start_thread(partial(self._run, attempt), "lipsync_async")
            attempt.settled.get()
        except RuntimeError as error:
            attempt.failure = error
        running = self._running
        if running is None:
            message = f"The client's event loop cannot be started ({attempt.failure})."
            raise ConfigurationError(message) from attempt.failure
        return running

    def _run(self, attempt: _Attempt, thread: Joinable) -> None:
        """Run the loop until it is stopped, then end what is left in it."""
        try:
            # With a factory the runner does not touch any thread's own event loop.
            runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
            running = _Running(runner.get_loop(), thread)
            vars(running.loop)["run_in_executor"] = partial(in_executor, running.loop)
            is_first = self._published.setdefault("loop", running) is running
        except Exception as error:  # noqa: BLE001 - no file to be had, for instance
            attempt.failure = error
            return
        finally:
            attempt.settled.put(None)
        # While the interpreter ends, the runner cannot start a thread to wait for others.
        with suppress(RuntimeError), runner:
            if is_first:
                runner.run(_wait(running.stopped))
        if is_first:
            self.is_stopped = True
            for waiting in list(self.waiting):
                waiting.give_up()


async def _wait(stopped: asyncio.Event) -> None:
    await stopped.wait()
