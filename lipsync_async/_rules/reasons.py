"""Why requests fail, in words that are the same for all that fail alike.

Messages of errors name ids, keys and addresses, which differ for each request. A reason
leaves them out, so that a thousand failures can be counted in a few lines.
"""

from __future__ import annotations

import re

from lipsync_async.errors import (
    DecodeError,
    GenerationFailedError,
    GenerationRejectedError,
    InvalidRequestError,
    LipsyncError,
    ResponseError,
    SpendingLimitError,
    TransportError,
)

_LONGEST = 200
# Ids, keys and digests: a UUID, or 16 hexadecimal digits or more.
_ID = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{16,}\b", re.IGNORECASE
)
_ADDRESS = re.compile(r"\bhttps?://\S+", re.IGNORECASE)
_WHICH_REQUEST = re.compile(r"^Request \d+ was not ordered: ")
# What a limit counts differs from request to request; the limit itself has another form.
_MONEY = re.compile(r"\d+\.\d\d\b")


def reason_of(error: BaseException) -> str:
    """Return why a request failed, in one line of at most 200 characters.

    Two requests that failed alike have the same reason: no id, key or address is in it.

    Args:
        error: What the request ended with.

    """
    text = " ".join(_words(error).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _words(error: BaseException) -> str:
    if isinstance(error, InvalidRequestError):
        return "; ".join(error.problems)
    if isinstance(error, ResponseError):
        code = f" {error.code}" if error.code else ""
        return _plain(f"{error.status}{code}: {error.message}")
    if isinstance(error, DecodeError):
        status = f"an answer with status {error.response.status} cannot be read"
        return _plain("; ".join([status, *error.paths]))
    if isinstance(error, GenerationFailedError | GenerationRejectedError):
        code = f" ({error.code})" if error.code else ""
        why = error.generation.error or "the service gave no reason"
        return _plain(f"{error.generation.status}{code}: {why}")
    message = str(error.args[0]) if error.args else ""
    if isinstance(error, TransportError):
        message = message.partition(": ")[2]
    elif isinstance(error, SpendingLimitError):
        message = _MONEY.sub("...", _WHICH_REQUEST.sub("", message))
    elif isinstance(error, LipsyncError) and error.generation is not None:
        message = re.sub(rf"(?<!\w){re.escape(error.generation.id)}(?!\w)", "...", message)
    return f"{type(error).__name__}: {_plain(message)}" if message else type(error).__name__


def _plain(message: str) -> str:
    """Leave out what only one request has."""
    return _ID.sub("...", _ADDRESS.sub("...", message))
