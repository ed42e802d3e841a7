"""What went wrong, in lines: a command says it without a traceback."""

from __future__ import annotations

from lipsync_async.errors import InvalidRequestError


def complaints(error: Exception) -> tuple[str, ...]:
    """Return an error's message as lines: one, or one for each problem of a request."""
    if isinstance(error, InvalidRequestError):
        return error.problems
    return (" ".join(str(error).split()),)
