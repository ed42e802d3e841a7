"""The output of a sandbox that does not render: the smallest thing that calls itself mp4."""

from __future__ import annotations

import hashlib

from lipsync_async.sandbox.jobs import Result

_FILE_TYPE = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
_NOTE = b"SANDBOX "
_BOX_HEADER_BYTES = 8
_SMALLEST = len(_FILE_TYPE) + _BOX_HEADER_BYTES + len(_NOTE)
# A placeholder plays nothing; clients should see a number all the same.
PLACEHOLDER_SECONDS = 1.0


def placeholder(size: int) -> Result:
    """Return an output of `size` bytes: a file type box and a free box, no picture."""
    size = max(size, _SMALLEST)
    free_size = size - len(_FILE_TYPE)
    filler = (_NOTE * (free_size // len(_NOTE) + 1))[: free_size - _BOX_HEADER_BYTES]
    body = _FILE_TYPE + free_size.to_bytes(4) + b"free" + filler
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Result(body, len(body), etag, PLACEHOLDER_SECONDS)
