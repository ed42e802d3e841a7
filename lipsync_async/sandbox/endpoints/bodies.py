"""Reads the JSON that a request brought."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.rules.refusals import bad_request
from lipsync_async.sandbox.wire import dump

if TYPE_CHECKING:
    from lipsync_async.sandbox.wire import Incoming

_MOST_DIGITS = 308  # every integer of so many is a finite double


def json_of(incoming: Incoming) -> Any:
    """Return the decoded body.

    Raises:
        Refusal: It is no JSON.

    """
    try:
        return parsed(incoming.body)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"The body is not valid JSON: {error}") from None


def parsed(text: str | bytes) -> Any:
    """Return decoded JSON, as strictly as services read it.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested beyond all sense.

    """
    value = _DECODER.decode(text if isinstance(text, str) else text.decode("utf-8-sig"))
    dump(value)  # half a surrogate pair can be read, but never be written again
    return value


def _refuse(constant: str) -> Any:
    """Refuse NaN and the infinities, which Python alone takes for JSON."""
    raise ValueError(f"{constant} is no JSON value")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text:.40} is too large a number")
    return number


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"{text:.40}… is too large a number")
    return int(text)


# Made once, used by every create. JSON knows no largest number, services do: a double's.
_DECODER = json.JSONDecoder(
    parse_float=_float,
    parse_int=_integer,
    parse_constant=_refuse,
)
