"""What comes through the queue at which a blocking caller waits."""

from __future__ import annotations

import asyncio
import logging
import threading
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

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
