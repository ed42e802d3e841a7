"""An event loop in a thread of its own, which belongs to one process.

The thread starts with the first call. It is a daemon, so that a program that never closes
its client can still end; a finalizer of the portal stops it before the interpreter shuts
down.

Three things can happen in the middle of any line here, and none may find a lock taken: a
signal handler that uses the client, the garbage collector that closes an iteration, and
an interruption. So there is no lock, and everything can be repeated. No call waits in
vain: those that are still in the list of calls when the loop ends are told so.

A forked child inherits the object, but not the thread, and shares the loop's selector and
sockets with its parent: whatever it closed or unregistered there, the parent would lose.
So everything here first asks which process it is in.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import attrs

from lipsync_async._threads import Joinable, Mailbox, in_executor, may_wait, start_thread
from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

# A task that refuses its cancellation must not keep a program from ending.
SHUTDOWN_TIMEOUT = 5.0


class WaitingCall(Protocol):
    """Call that waits for its coroutine's end."""

    def finish(self) -> None:
        """Learn that there will be no other end, because there is no loop any more."""
        ...


@attrs.define(eq=False)
class _Running:
    """Loop that runs, with its thread."""

    loop: asyncio.AbstractEventLoop
    thread: Joinable
    thread_id: int  # the system's: greenlets have others, but not this one
    stopped: asyncio.Event


class LoopThread:
    """Event loop for the process in which this was made."""

    def __init__(self) -> None:
        self.is_stopped: bool = False
        # While the interpreter ends, only daemon threads wait, and they are not to be woken:
        # they would say on the terminal that their client is gone.
        self.is_silent: bool = False
        # The calls under way, and with them, strongly, their tasks: asyncio forgets a task
        # that nothing else holds.
        self.calls: set[WaitingCall] = set()
        self._process = os.getpid()
        self._published: dict[str, _Running] = {}
        # What anyio loads when it is first used: a child that is forked while another thread
        # imports can never import that module, and an interrupted import can leave its lock taken.
        import_module("anyio._backends._asyncio")

    @property
    def in_other_process(self) -> bool:
        """Whether the thread runs in the process that this one was forked from."""
        return os.getpid() != self._process

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is this one."""
        running = self._published.get("loop")
        # The number of a thread that has ended is given to another one; its loop is closed.
        return (
            running is not None
            and running.thread_id == threading.get_native_id()
            and not running.loop.is_closed()
        )

    def submit(self, callback: Callable[..., object], *arguments: object) -> bool:
        """Have the loop call something, in order; return `False` once it has been stopped."""
        if os.getpid() != self._process:
            raise ConfigurationError(
                "This began before the process was forked, and goes on in the parent only. "
                "Begin anew here.",
            )
        if self.is_stopped:
            return False
        running = self._published.get("loop") or self._start()
        try:
            running.loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # pragma: no cover - only if it was closed just now
            if not running.loop.is_closed():  # a RecursionError is one, too
                raise
            return False
        return True

    def stop(self) -> None:
        """Cancel every task, wait for their clean-up and end the thread. Idempotent."""
        self.is_stopped = True
        running = self._published.get("loop")
        if running is not None:
            with suppress(RuntimeError):  # it is closed already
                running.loop.call_soon_threadsafe(running.stopped.set)
            self.join()

    def join(self) -> None:
        """Wait for the thread's end."""
        running = self._published.get("loop")
        # A finalizer may run anywhere, in the thread itself as well.
        if running is not None and running.thread_id != threading.get_native_id() and may_wait():
            running.thread.join(SHUTDOWN_TIMEOUT)

    def check_not_loop_thread(self) -> None:
        """Refuse to wait where that would be waiting for oneself."""
        if self.is_current:
            raise ConfigurationError(
                "A blocking call from the client's own event loop would wait for itself for "
                "ever. Make it from another thread, or use AsyncClient.",
            )

    def _start(self) -> _Running:
        """Start the thread and wait for its loop.

        An interruption may come when the thread has started and this function does not know
        it yet. So each loop publishes itself, and a second one finds the first and ends; so
        does that of another caller at the same time. No lock keeps them apart: one that gevent
        or eventlet has replaced may never wake a real thread that waits for it.
        """
        # No event: its lock is lost when a signal handler or an interruption comes in between.
        started: Mailbox[Exception | None] = Mailbox()
        try:
            start_thread(partial(self._run, started), "lipsync_async")
            failure = started.get()
        except RuntimeError as error:
            failure = error
        running = self._published.get("loop")
        if running is None:
            message = f"The client's event loop cannot be started ({failure})."
            raise ConfigurationError(message) from failure
        return running

    def _run(self, started: Mailbox[Exception | None], thread: Joinable) -> None:
        """Run the loop until it is stopped, then end what is left in it."""
        failure: Exception | None = None
        try:
            # With a factory the runner does not touch any thread's own event loop.
            runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
            loop, stopped = runner.get_loop(), asyncio.Event()
            running = _Running(loop, thread, threading.get_native_id(), stopped)
            vars(loop)["run_in_executor"] = partial(in_executor, loop)
            is_first = self._published.setdefault("loop", running) is running
        except Exception as error:  # noqa: BLE001 - no file to be had, for instance
            failure = error
            return
        finally:
            started.put(failure)
        # While the interpreter ends, the runner cannot start a thread to wait for others.
        with suppress(RuntimeError), runner:
            if is_first:
                runner.run(stopped.wait())
        if is_first:
            self.is_stopped = True
            for call in list(self.calls):
                call.finish()
