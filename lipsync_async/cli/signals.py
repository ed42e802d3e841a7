"""Ctrl-C: the first ends a command in good order, and impatience does not break that.

Signals interrupt the main thread wherever it is. Before the work has begun, that is mostly
in the middle of an import, where an exception may be lost; so what was received is kept.
While the work runs, in another thread, the main thread only waits.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterator
    from concurrent.futures import Future


T = TypeVar("T")

# SIGTERM is how service managers end processes, SIGHUP comes when a terminal is closed,
# SIGBREAK is Ctrl-Break on Windows.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
# As shells have it: so much and the number of the signal.
_BY_SIGNAL = 128


class Interruptions:
    """Say what each signal means: one ends the work, a second is passed over, a third kills.

    Wrappers such as `timeout` deliver one key twice.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._begun: Future[asyncio.Task[Any]] | None = None
        self._before: dict[int, Any] = {}

    def heed(self) -> None:
        """Take the signals over; those that are ignored, as in background jobs, stay so."""
        for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._receive)

    def let_go(self) -> None:
        """Give the signals back."""
        for number, before in self._before.items():
            signal.signal(number, before)

    @contextmanager
    def ending(self, begun: Future[asyncio.Task[Any]]) -> Iterator[None]:
        """Let signals end the task, once it has begun.

        Raises:
            KeyboardInterrupt: One was received before, or meanwhile; then the task has ended.

        """
        self._begun = begun
        try:
            if self.received:
                raise KeyboardInterrupt
            yield
        finally:
            self._begun = None
        if self.received:
            raise KeyboardInterrupt

    def status(self, status: int) -> int:
        """Return a command's exit status, which tells of the signal if one has ended it."""
        return _BY_SIGNAL + self.received[0] if self.received and status else status

    def _receive(self, number: int, _: object) -> None:
        self.received.append(number)
        if self._begun is None:
            raise KeyboardInterrupt
        if len(self.received) == 1:
            self._begun.add_done_callback(_cancel)
        else:
            signal.signal(number, signal.SIG_DFL)


_heeded: list[Interruptions] = []


@contextmanager
def heeded() -> Iterator[Interruptions]:
    """Take the signals over for a block, unless a block around it has; in the main thread."""
    if _heeded:
        yield _heeded[0]
        return
    interruptions = Interruptions()
    _heeded.append(interruptions)
    interruptions.heed()
    try:
        yield interruptions
    finally:
        interruptions.let_go()
        _heeded.clear()


def run_interruptibly(work: Callable[[], Awaitable[T]]) -> T:
    """Run async work to its end, or until Ctrl-C. Call it from the main thread.

    The first Ctrl-C, SIGTERM or SIGHUP cancels the work, which then closes what it has opened.
    The second is passed over. The third kills.

    Raises:
        KeyboardInterrupt: It was interrupted, and everything is closed.

    """
    # Here and not above: this file is loaded first of all, to take the signals over.
    import asyncio  # noqa: PLC0415 - see above
    from concurrent.futures import Future, ThreadPoolExecutor, wait  # noqa: PLC0415 - see above

    import anyio  # noqa: PLC0415 - see above

    from lipsync_async._threads import SLICE  # noqa: PLC0415 - see above

    begun: Future[asyncio.Task[Any]] = Future()

    async def run() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - there is one in every coroutine
        begun.set_result(task)
        return await work()

    with heeded() as interruptions, interruptions.ending(begun), ThreadPoolExecutor(1) as pool:
        running = pool.submit(anyio.run, run)
        while not running.done():
            wait([running], SLICE)  # a longer one may be deaf to signals
    return running.result()


def _cancel(begun: Future[asyncio.Task[Any]]) -> None:
    task = begun.result()
    with suppress(RuntimeError):  # the loop has just come to its end
        task.get_loop().call_soon_threadsafe(task.cancel)
