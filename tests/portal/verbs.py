"""Use the portal as the generated verbs do, and interrupt it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from lipsync_async._portal import call_in_caller


def verb(method: Any, *arguments: Any) -> Any:
    """BlockingCall the portal from where a verb would."""
    return method(*arguments)


def ringing(function: Any) -> Any:
    """Return what calls a function in the caller's thread."""
    return call_in_caller("on_update", function)


def interrupt() -> None:
    """Raise what Ctrl-C raises, in the thread that waits."""
    raise KeyboardInterrupt


@contextmanager
def interrupted(is_time: Callable[[], bool], *, wakes: bool = True) -> Iterator[None]:
    """Send this process a SIGINT when it is time."""
    has_ended = threading.Event()

    def press() -> None:
        while not (is_time() or has_ended.is_set()):
            os.sched_yield()
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    how = signal.SIG_UNBLOCK if wakes else signal.SIG_BLOCK
    before = signal.pthread_sigmask(how, {signal.SIGINT})
    try:
        yield
    finally:
        has_ended.set()
        with suppress(KeyboardInterrupt):  # one that was not needed
            pressing.join()
        with suppress(KeyboardInterrupt):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unheard(is_time: Callable[[], bool]) -> AbstractContextManager[None]:
    """Let another thread receive a SIGINT in time: no wait of this one is woken by it.

    So it is on Windows before Python 3.14, where a signal wakes no wait for a lock.
    """
    return interrupted(is_time, wakes=False)
