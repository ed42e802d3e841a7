"""What the exchange asks of a transport: send, stream, tell the time, sleep, close.

Time belongs to the transport. Whoever needs the clock or a pause asks the transport
for it, which is why a client on the memory transport runs an hour-long job in
milliseconds. A transport raises only this project's errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from contextlib import AbstractAsyncContextManager

    from lipsync_async._values.messages import Request, Response


class Stream(Protocol):
    """Hold an answer whose body has not been read yet."""

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
    """Carry requests and own the time."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Pause the calling task; a time that is over already is none."""
        ...

    async def send(self, request: Request, *, timeout: float | None) -> Response:
        """Send one request, once, and return the whole answer, whatever its status.

        Redirects are not followed.

        Args:
            request: What to send.
            timeout: Seconds for the whole attempt; `None`: no limit.

        Raises:
            ConnectError: The request was never delivered.
            ConnectionLostError: The connection broke after sending had begun.
            RequestTimeoutError: `timeout` passed; the outcome is unknown.

        """
        ...

    def stream(
        self,
        request: Request,
        *,
        timeout: float | None,
    ) -> AbstractAsyncContextManager[Stream]:
        """Send one request and hand out the answer before its body is read.

        Args:
            request: What to send.
            timeout: Seconds until the headers, and between two chunks, at most;
                `None`: no limit.

        """
        ...

    async def aclose(self) -> None:
        """Close every connection; closing twice is fine."""
        ...
