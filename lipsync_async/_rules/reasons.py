"""Why requests fail, in words that are the same for all that fail alike.

Messages of errors name ids, keys and addresses, which differ for each request. A reason
leaves them out, so that a thousand failures can be counted in a few lines.
"""

from __future__ import annotations

import re

from lipsync_async._values.invisible import on_one_line
from lipsync_async.errors import (
    ConnectError,
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
_FIRST_SERVER_ERROR = 500
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
    text = on_one_line(_words(error))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def reason_in(message: str) -> str:
    """Return a message without what only one request has, in one line."""
    return on_one_line(_plain(message))


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


# So many in a row are no accident, and few enough to lose: a create that is refused costs
# nothing, and the next run sends it again.
MOST_ALIKE = 5
# With these, JSON is the service's word about one request; with the others, its code tells.
_OF_ONE_REQUEST = frozenset({400, 409, 413, 422})


class Alike:
    """Tell when a refusal that one request has met is one that all would meet.

    A filter's page, a log-in page, a path that is not there or a certificate that is not
    trusted meets every request, and thousands would be spent on it.

    Args:
        most: How many refusals in a row, all for the same reason, are enough.

    """

    def __init__(self, most: int = MOST_ALIKE) -> None:
        self._most = most
        self._reason = ""
        self._count = 0

    def accepted(self) -> None:
        """Begin anew: a request was let through."""
        self._count = 0

    def refused(self, error: BaseException, *, may_be_of_one: bool = True) -> bool:
        """Count a refusal; tell whether all others would meet it as well.

        A server that is down and a broken line are no refusals, and count for nothing. A word
        of the service about one request shows that the service is there: that begins anew.

        Args:
            error: What a request ended with.
            may_be_of_one: Whether requests differ in what was refused.

        """
        if not _is_refusal(error):
            return False
        if may_be_of_one and _is_of_one(error):
            self._count = 0
            return False
        reason = reason_of(error)
        self._count = self._count + 1 if reason == self._reason else 1
        self._reason = reason
        return self._count >= self._most


def _is_refusal(error: BaseException) -> bool:
    """Tell whether something has answered, and would answer the same once more."""
    if isinstance(error, ConnectError):
        return error.is_lasting
    if isinstance(error, ResponseError):
        return error.status < _FIRST_SERVER_ERROR and not error.is_retryable
    return isinstance(error, DecodeError)


def _is_of_one(error: BaseException) -> bool:
    """Tell whether the service itself says what is wrong with one request."""
    if not isinstance(error, ResponseError) or not isinstance(error.body, dict):
        return False
    return error.status in _OF_ONE_REQUEST or error.code is not None
