"""Which bytes of a file a `Range` header asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re

# No file has more bytes than eighteen digits count; Python refuses to read thousands.
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class UnsatisfiableRangeError(Exception):
    """Raised when a range begins behind the end of the file."""


def requested_slice(
    asked: str | None,
    if_range: str | None,
    *,
    size: int,
    etag: str,
) -> tuple[int, int] | None:
    """Return the (start, stop) that is asked for, or `None` for the whole file.

    A header that is malformed, asks for several ranges, or names another version of the
    file is ignored, as the RFC wants it.

    Args:
        asked: The `Range` header.
        if_range: The `If-Range` header.
        size: Length of the file in bytes.
        etag: The file's validator.

    Raises:
        UnsatisfiableRangeError: The range begins behind the end.

    """
    found = _ONE_RANGE.fullmatch(asked) if asked else None
    if found is None or (if_range is not None and if_range != etag):
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    if start >= size:
        raise UnsatisfiableRangeError
    return None if stop <= start else (start, stop)
