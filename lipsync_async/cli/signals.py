"""Signals: the first ends a command in good order, the second is ignored, the third kills.

The handler is installed before anything else is imported. Until async work runs, a signal
raises `KeyboardInterrupt`. An import can swallow that, so received signals are recorded. While
async work runs, the first signal cancels its task.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

# SIGTERM is how service managers end processes, SIGHUP comes when a terminal is closed,
# SIGBREAK is Ctrl-Break on Windows.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
_WAIT_SECONDS = 0.5  # on Windows, signals do not end a longer one
_STATUS_OF_SIGNALS = 128  # as in shells: plus the number of the signal


class SignalHandler:
    """Handler of the signals that end a command."""

    def __init__(self) -> None:
        self.received: list[int] = []
        # Ends the async work that runs; `None`: none runs.
        self.cancel: Callable[[], object] | None = None

    def __call__(self, number: int, _frame: object) -> None:
        """Handle a signal."""
        self.received.append(number)
        if len(self.received) > 1:
            # Wrappers such as `timeout` deliver one Ctrl-C twice, so only a third one kills.
            signal.signal(number, signal.SIG_DFL)
        elif self.cancel is None:
            raise KeyboardInterrupt
        else:
            self.cancel()

    def exit_status(self, status: int) -> int:
        """Return a command's exit status, or that of the signal that has ended it."""
        return _STATUS_OF_SIGNALS + self.received[0] if self.received and status else status


_installed: list[SignalHandler] = []


def has_come() -> bool:
    """Tell whether a signal has come that ends the command."""
    return any(handler.received for handler in _installed)


@contextmanager
def handled_signals() -> Iterator[SignalHandler]:
    """Install a handler for the block, in the main thread; an outer block's is used again."""
    if _installed:
        yield _installed[0]
        return
    handler = SignalHandler()
    before = {}
    _installed.append(handler)
    for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as shells do for background jobs
            before[number] = signal.signal(number, handler)
    try:
        yield handler
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
        _installed.clear()


def run_interruptibly(work: Callable[[], Awaitable[T]]) -> T:
    """Run async work to its end, or until a signal has cancelled it.

    It runs in a thread of its own. The main thread, which handles signals, only waits, so that
    a loop that is busy delays no third signal.
    """
    # Here and not above: the handler is to be installed before these are imported.
    import asyncio  # noqa: PLC0415 - see above
    from concurrent.futures import ThreadPoolExecutor, wait  # noqa: PLC0415 - see above

    import anyio  # noqa: PLC0415 - see above

    async def run() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop is closed: the work has ended
                loop.call_soon_threadsafe(task.cancel)

        handler.cancel = cancel
        if handler.received:
            raise asyncio.CancelledError
        return await work()

    with handled_signals() as handler:
        handler.cancel = lambda: None  # until there is a task, `received` is enough
        try:
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(anyio.run, run)
                while not running.done():
                    wait([running], _WAIT_SECONDS)
        finally:
            handler.cancel = None
            if handler.received:
                raise KeyboardInterrupt
        return running.result()
