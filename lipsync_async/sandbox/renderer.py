"""What makes the media of jobs: without an engine, one small file."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

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


@attrs.define(eq=False)
class Renderer:
    """Maker of the media of jobs; this one looks at no media and makes no pictures.

    Its output is always the same small file, so ten thousand jobs cost nothing.
    """

    engines: dict[str, str]  # what does the work, for people
    size: int = 0  # bytes of that file
    makes_media: ClassVar[bool] = False

    async def open(self) -> None:
        """See whether everything works, or raise `ConfigurationError`."""

    async def check(self, body: dict[str, Any]) -> None:
        """Pass a create body, or raise `ApiError` where its media are visibly not there."""

    async def seconds(self, body: dict[str, Any]) -> float:  # noqa: ARG002 - all are equally long
        """Return how long the output will play, or raise `ApiError` as `check` does."""
        return PLACEHOLDER_SECONDS

    def start(self, job: Job, produced: Produced, failed: Failed) -> None:  # noqa: ARG002 - no end but one
        """Begin to make a job's media, and call one of the two when that has ended."""
        produced(job, placeholder(self.size))

    def close(self) -> None:
        """Let work that still runs stop soon."""


@cache
def placeholder(size: int) -> Result:
    """Return an output of `size` bytes: a file type box and a free box, no picture."""
    size = max(size, _SMALLEST)
    free_size = size - len(_FILE_TYPE)
    filler = (_NOTE * (free_size // len(_NOTE) + 1))[: free_size - _BOX_HEADER_BYTES]
    body = _FILE_TYPE + free_size.to_bytes(4) + b"free" + filler
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Result(body, len(body), etag, PLACEHOLDER_SECONDS)
