"""An event loop in a thread of its own, which belongs to one process.

The thread starts with the first call. It is a daemon, so that a program that forgets to
close its client can still end; a finalizer of the portal stops it before the interpreter
is taken apart.

A forked child inherits the object, but not the thread, and shares the loop's selector and
sockets with its parent: whatever it closed or unregistered there, the parent would lose.
So everything here asks first which process it is in.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

# A task that will not be cancelled must not keep a program from ending.
_FAREWELL_SECONDS = 5.0


class LoopThread:
    """Run an event loop for the process that this was made in."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = asyncio.Event()
        self.is_stopped: bool = False

    @property
    def is_elsewhere(self) -> bool:
        """Whether the thread runs in the process that this one was forked from."""
        return os.getpid() != self._process

    @property
    def is_current(self) -> bool:
        """Whether the thread is the one that asks."""
        return self._thread is threading.current_thread()

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
        with self._lock:
            if self.is_stopped:
                return False
            if self._loop is None:
                self._loop = self._started()
            self._loop.call_soon_threadsafe(callback, *arguments)
            return True

    def stop(self) -> None:
        """Cancel every task, wait for their clean-up and end the thread; twice is fine."""
        with self._lock:
            self.is_stopped = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        with suppress(RuntimeError):  # it is closed already
            loop.call_soon_threadsafe(self._stopped.set)
        if not self.is_current:  # a finalizer may run anywhere
            thread.join(_FAREWELL_SECONDS)

    def _started(self) -> asyncio.AbstractEventLoop:
        # With a factory the runner does not touch the calling thread's own event loop.
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        loop, stopped = runner.get_loop(), asyncio.Event()
        thread = threading.Thread(
            target=_run,
            args=(runner, stopped),
            name="lipsync_async",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:
            runner.close()
            message = f"No thread can be started for the client's event loop ({error})."
            raise ConfigurationError(message) from error
        except BaseException:  # Ctrl-C: nobody will know of the loop
            loop.call_soon_threadsafe(stopped.set)
            raise
        self._stopped, self._thread = stopped, thread
        return loop


def _run(runner: asyncio.Runner, stopped: asyncio.Event) -> None:
    """Run the loop until it is stopped, then end what is left in it."""
    try:
        runner.run(_wait(stopped))
    finally:
        # While the interpreter ends, no thread can be started any more to wait for others.
        with suppress(RuntimeError):
            runner.close()


async def _wait(stopped: asyncio.Event) -> None:
    # Loads what anyio loads late. It must not happen in a later call: a child that is forked
    # while another thread imports can never import that module.
    await checkpoint()
    await stopped.wait()
