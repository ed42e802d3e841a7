"""What makes the media of jobs, and a stand-in that hands out one small file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from lipsync_async.sandbox.jobs import Result

if TYPE_CHECKING:
    from lipsync_async.sandbox.jobs import Failed, Job, Produced

_FILE_TYPE = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
_NOTE = b"SANDBOX "
_BOX_HEADER_BYTES = 8
_SMALLEST = len(_FILE_TYPE) + _BOX_HEADER_BYTES + len(_NOTE)
# A placeholder plays nothing; clients should see a number all the same.
PLACEHOLDER_SECONDS = 1.0


def cannot_render(reason: str) -> str:
    """Say that a sandbox cannot render, and what can be done."""
    return f"The sandbox cannot render: {reason}. Or use render=False, which makes placeholders."


class Renderer(Protocol):
    """Maker of the media of jobs."""

    async def open(self) -> None:
        """See whether everything works, or raise `ConfigurationError`."""

    async def check(self, body: dict[str, Any]) -> None:
        """Pass a create body, or raise `ApiError` where its media are visibly not there."""

    async def seconds(self, body: dict[str, Any]) -> float:
        """Return how long the output will play, or raise `ApiError` as `check` does."""

    def start(self, job: Job, produced: Produced, failed: Failed) -> None:
        """Begin to make a job's media, and call one of the two when that has ended."""

    def engines(self) -> dict[str, str]:
        """Return what does the work, for people."""

    def close(self) -> None:
        """Let work that still runs stop soon."""


@attrs.frozen
class PlaceholderRenderer:
    """Stand-in whose output is always the same small file: ten thousand jobs cost nothing."""

    size: int  # bytes of that file
    _engines: dict[str, str]
    _result: Result = attrs.field(init=False)

    @_result.default
    def _placeholder(self) -> Result:
        return placeholder(self.size)

    async def open(self) -> None:
        """Need nothing."""

    async def check(self, body: dict[str, Any]) -> None:
        """Pass everything: no media are looked at."""

    async def seconds(self, body: dict[str, Any]) -> float:  # noqa: ARG002 - see `Renderer`
        """Return the placeholder's length."""
        return PLACEHOLDER_SECONDS

    def start(self, job: Job, produced: Produced, failed: Failed) -> None:  # noqa: ARG002 - see `Renderer`
        """Be done at once."""
        produced(job, self._result)

    def engines(self) -> dict[str, str]:
        """Return what was said of the engines."""
        return self._engines

    def close(self) -> None:
        """Do nothing; nothing runs."""


def placeholder(size: int) -> Result:
    """Return an output of `size` bytes: a file type box and a free box, no picture."""
    size = max(size, _SMALLEST)
    free_size = size - len(_FILE_TYPE)
    filler = (_NOTE * (free_size // len(_NOTE) + 1))[: free_size - _BOX_HEADER_BYTES]
    body = _FILE_TYPE + free_size.to_bytes(4) + b"free" + filler
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Result(body, len(body), etag, PLACEHOLDER_SECONDS)
