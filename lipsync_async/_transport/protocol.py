"""What the requester asks of a transport: send, stream, tell the time, sleep, close.

Time belongs to the transport: the clock and each pause are asked of it. So a client on the
memory transport runs an hour-long job in milliseconds. A transport raises only this project's
errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lipsync_async.errors import RequestTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from lipsync_async._models.http import Request, Response


# The longest answers are lists of a hundred jobs, each with scripts of up to 5,000 characters:
# some megabytes. What is longer is no answer of the service, and might never end.
_MOST_BYTES = 32 * 1024 * 1024
# Of anything but a success, the status counts; a body only explains it.
_MOST_BYTES_OF_REFUSALS = 1024 * 1024
# What is kept of a body that is too long.
CUT_BYTES = 65_536


def most_bytes(status: int) -> int:
    """Return how long an answer's body may be, decompressed."""
    return _MOST_BYTES if 200 <= status < 300 else _MOST_BYTES_OF_REFUSALS  # noqa: PLR2004 - 2xx


def no_place_in_time(request: Request) -> RequestTimeoutError:
    """Return the error of a request whose deadline came before a connection was free."""
    message = "no connection was free in time, so it was not sent."
    return RequestTimeoutError(message, method=request.method, url=request.url)


class Session(Protocol):
    """An `aiohttp.ClientSession`, named without an import of aiohttp."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


class Stream(Protocol):
    """Answer whose body has not been read yet."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body's bytes as they come.

        Raises:
            ConnectionLostError: The body broke off.
            RequestTimeoutError: No byte came for `timeout` seconds.

        """
        ...


class Transport(Protocol):
    """Carrier of requests, and owner of the time."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task; for no time if `seconds` is negative.

        Time goes on between a look at the clock and the pause until a moment.

        Raises:
            ConfigurationError: The transport is closed, or was closed meanwhile.

        """
        ...

    def hold(self) -> AbstractContextManager[None]:
        """Keep time from jumping while something real, like a thread, is at work."""
        ...

    async def send(
        self, request: Request, *, timeout: float | None, deadline: float | None = None
    ) -> Response:
        """Send one request, once, and return the whole answer, whatever its status.

        Redirects are not followed. A body that is longer than `most_bytes` is cut to
        `CUT_BYTES`, and the answer says so.

        Args:
            request: What to send.
            timeout: Seconds for the attempt, not counting the wait for a connection that is
                free; `None`: no limit.
            deadline: The time, by `now`, at which the attempt is over, and with it any wait
                for a connection; `None`: none.

        Raises:
            ConnectError: The request was never delivered.
            ConnectionLostError: The connection broke after sending had begun.
            RequestTimeoutError: `timeout` passed; the outcome is unknown. Or `deadline` came
                before a connection was free, and nothing was sent.
            ConfigurationError: The transport is closed, or was closed meanwhile.

        """
        ...

    def stream(
        self, request: Request, *, timeout: float | None
    ) -> AbstractAsyncContextManager[Stream]:
        """Send one request and hand out the answer before its body is read.

        Args:
            request: What to send.
            timeout: Seconds until the headers, and between two chunks, at most;
                `None`: no limit.

        """
        ...

    async def aclose(self) -> None:
        """Close every connection and end all that is under way; closing twice is fine."""
        ...
