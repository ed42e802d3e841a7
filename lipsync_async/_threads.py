"""Threads that are real, waits that can be interrupted, and blocking work beside the loop.

A wait for a lock is not always woken by Ctrl-C: not on Windows before Python 3.14, and not
where another thread receives the signal. So each wait is made of short ones.

gevent and eventlet replace threads by greenlets, which take turns in one thread. An event
loop in a greenlet would stop all others and be seen by all. So threads are started by the
interpreter's own function, and greenlets wait by sleeping: the others run meanwhile.

Blocking work (files, disks) runs in threads of this library. The threads that anyio and
asyncio offer belong to the whole program. Its own work may occupy them all, and may wait
for this library there: that would be a deadlock.
"""

from __future__ import annotations

import _thread
import asyncio
import os
import sys
import threading
import time
import weakref
from _queue import Empty, SimpleQueue  # the one that no library replaces
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from math import inf
from types import BuiltinFunctionType
from typing import Any, TypeVar, cast

import attrs
from anyio import CancelScope

from lipsync_async.errors import ConfigurationError

T = TypeVar("T")

# Longest wait, in seconds, that a signal may not wake.
SLICE = 0.2
# A greenlet looks again after a tenth of the time that it has waited, within these limits.
_SHORTEST, _SHARE, _LONGEST = 0.001, 0.1, 0.2
# Seconds for which an idle worker waits for more work, and the largest number of workers.
_IDLE_SECONDS, _MOST_WORKERS = 0.1, 32


class Mailbox(SimpleQueue[T]):
    """Queue between threads, real also among greenlets."""

    def receive(self, seconds: float | None = None) -> T:
        """Wait for a message, or raise `Empty` after so many seconds."""
        began = now = time.monotonic()
        deadline = inf if seconds is None else began + seconds
        sleeps = has_greenlets()
        while True:
            try:
                if sleeps:
                    return self.get_nowait()
                return self.get(timeout=min(SLICE, max(deadline - now, 0.0)))
            except Empty:
                now = time.monotonic()
                if now >= deadline:
                    raise
            if sleeps:
                time.sleep(min(max(_SHORTEST, (now - began) * _SHARE), _LONGEST))


def start_thread(function: Callable[[Thread], None], name: str) -> None:
    """Start a thread, real also among greenlets, that does not keep the program from ending."""
    is_real = isinstance(_thread.start_new_thread, BuiltinFunctionType)
    thread = (Thread if is_real else _Native)(name=name, daemon=True)
    thread.function = function
    thread.start()


class Thread(threading.Thread):
    """Thread of the standard library, of which its function is told."""

    function: Callable[[Thread], None]

    def run(self) -> None:
        """Run the function."""
        try:
            self.function(self)
        finally:
            del self.function  # which may hold what holds this thread
            if has_greenlets():
                _leave_greenlets()


class _Native(Thread):
    """Thread of the system, unknown to the standard library."""

    def start(self) -> None:
        self._end: Mailbox[None] = Mailbox()
        start = _real("start_new_thread")
        if start is None:
            by = getattr(_thread.start_new_thread, "__module__", None)
            raise ConfigurationError(
                f"Threads were replaced in this process (by {by}), and the client needs a real "
                "one. Nothing was sent. gevent and eventlet are supported; with anything else, "
                "leave threads as they are when you patch."
            )
        # gevent makes a loop for each thread, and two that are made at once wait for each other.
        time.sleep(0)
        start(self.run, ())

    # Threads that are begun so are not traced.
    def run(self) -> None:  # pragma: no cover
        try:
            super().run()
        finally:
            # The standard library may have taken note of this thread, and does not see its end.
            getattr(threading, "_active", {}).pop(threading.get_ident(), None)
            self._end.put(None)

    def is_alive(self) -> bool:
        return self._end.empty()

    def join(self, timeout: float | None = None) -> None:
        with suppress(Empty):
            self._end.receive(timeout)
            self._end.put(None)  # for others that wait


def has_greenlets() -> bool:
    """Return whether a library runs other greenlets while one sleeps."""
    return not isinstance(time.sleep, BuiltinFunctionType)


def new_lock() -> threading.Lock:  # pragma: no cover - gevent may trace it or not
    """Return a lock that threads share, real also among greenlets.

    What is done under it must not let another greenlet run.
    """
    lock: threading.Lock = (_real("allocate_lock") or threading.Lock)()
    return lock


def _real(name: str) -> Callable[..., Any] | None:
    """Return what `_thread` offers by a name, as the interpreter made it; `None`: not found."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    found: list[Callable[..., Any]] = [getattr(_thread, name)]
    if gevent is not None:
        found.append(gevent.get_original("_thread", name))
    if eventlet is not None:
        found.append(getattr(eventlet.original("_thread"), name))
    return next((function for function in found if isinstance(function, BuiltinFunctionType)), None)


def _leave_greenlets() -> None:
    """Close what gevent or eventlet has opened for this thread, which they would keep."""
    if (gevent := sys.modules.get("gevent.hub")) is not None:
        gevent.get_hub().destroy(destroy_loop=True)
    if (eventlet := sys.modules.get("eventlet.hubs")) is not None:
        hub = eventlet.get_hub()
        if hub.running:  # one that does not would run for ever
            hub.abort(wait=True)
        getattr(getattr(hub, "poll", None), "close", int)()


async def until_done(done: asyncio.Future[Any], seconds: float = inf) -> None:
    """Wait until something has ended; a cancellation is raised only then.

    A shielded scope of anyio does not hold off asyncio's own cancellations; this does.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    cancelled: asyncio.CancelledError | None = None
    with CancelScope(shield=True):
        while not done.done() and (left := deadline - loop.time()) > 0:
            try:
                await asyncio.wait([done], timeout=None if left == inf else left)
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        if done.done() and not done.cancelled():
            done.exception()  # retrieved, so that asyncio does not log it
        raise cancelled


async def in_own_thread(function: Callable[..., T], *arguments: object) -> T:
    """Run a blocking function in a thread of its own: it may take any time."""
    work = _Work(asyncio.get_running_loop().create_future(), function, arguments)
    start_thread(lambda _: work.run(), "lipsync_async callback")
    return cast("T", await work.done)


@attrs.define(slots=True, eq=False)
class _Work:
    """Function that waits for a thread, with the future of its result."""

    done: asyncio.Future[Any]
    _function: Callable[..., Any]
    _arguments: tuple[object, ...]
    _context: Context = attrs.field(factory=copy_context)

    def run(self) -> None:
        """Run it in this thread."""
        result, failure = None, None
        try:
            result = self._context.run(self._function, *self._arguments)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            failure = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            self.done.get_loop().call_soon_threadsafe(self._settle, result, failure)

    def _settle(self, result: Any, failure: BaseException | None) -> None:
        if self.done.done():  # its task was cancelled
            return
        if failure is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(failure)


class _Workers:
    """Pool of threads for blocking work; each ends soon after its last work.

    There is no lock: it would be a greenlet's, or a fork or a signal would leave it locked.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin without a thread."""
        self._places: SimpleQueue[None] = SimpleQueue()  # one for each thread that may start
        for _ in range(_MOST_WORKERS):
            self._places.put(None)
        self._idle: list[SimpleQueue[None]] = []
        self._waiting: SimpleQueue[_Work] = SimpleQueue()

    def submit(self, function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """Run a blocking function, such as one that writes a file, as soon as there is a thread.

        A cancelled task does not wait for the function, which then ends by itself.
        """
        work = _Work(asyncio.get_running_loop().create_future(), function, arguments)
        self._waiting.put(work)
        with suppress(IndexError):
            self._idle.pop().put(None)
            return work.done
        with suppress(Empty):  # all are busy, and each takes more work before it rests
            self._places.get_nowait()
            try:
                start_thread(self._run, "lipsync_async worker")
            # The system has no more threads: run it here.
            except (RuntimeError, ConfigurationError):  # pragma: no cover - the system's doing
                self._places.put(None)
                while True:
                    self._waiting.get_nowait().run()
        return work.done

    def _run(self, _: Thread) -> None:
        call: SimpleQueue[None] = SimpleQueue()
        while True:
            with suppress(Empty):
                while True:
                    self._waiting.get_nowait().run()
            self._idle.append(call)
            with suppress(Empty):
                call.get(timeout=_IDLE_SECONDS if self._waiting.empty() else 0.0)
                continue
            try:
                self._idle.remove(call)
            except ValueError:  # pragma: no cover - a call is on its way
                call.get()
                continue
            if not self._waiting.empty():  # pragma: no cover - it came just now
                continue
            self._places.put(None)
            # Between the two lines above, work may have come.
            if self._waiting.empty() or not self._has_place():  # pragma: no branch
                return

    def _has_place(self) -> bool:  # pragma: no cover - as rare as that
        try:
            self._places.get_nowait()
        except Empty:
            return False
        return True


WORKERS = _Workers()
if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=WORKERS.reset)  # it has no threads yet


def in_executor(_: object, function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
    """Replace a loop's `run_in_executor`, whose threads may be greenlets, or all occupied."""
    return WORKERS.submit(function, *arguments)


class OneThread:
    """Thread that runs one blocking function after another."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._ending: weakref.finalize[..., OneThread] | None = None

    def submit(self, function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """Run a function after all that were submitted before.

        Cancelling the task that submitted it does not withdraw it.
        """
        if self._ending is None:
            start_thread(partial(_run_all, self._work), self._name)
            # A loop that was stopped in the middle drops this object without calling `end`.
            self._ending = weakref.finalize(self, self._work.put, None)
            self._ending.atexit = False
        work = _Work(asyncio.get_running_loop().create_future(), function, arguments)
        self._work.put(work)
        return work.done

    def end(self) -> None:
        """Let the thread end after its last function; there may be no thread."""
        if self._ending is not None:
            self._ending()


def _run_all(works: SimpleQueue[_Work | None], _: Thread) -> None:
    while True:
        work = works.get()
        if work is None:
            return
        work.run()
        del work  # and what it holds, while there is no more
