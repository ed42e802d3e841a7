"""JSON in and out, by the standard library.

One answer holds up to a hundred jobs, and what one of them carries must cost the others
nothing. So reading is tolerant where a strict parser gives up the whole text: a number
that no float holds (NaN, Infinity, 1e999, thousands of digits) is read as null, half of a
surrogate pair is kept, and bytes that are not UTF-8 become U+FFFD. Writing is strict.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

_MOST_DIGITS = 308  # of an integer that is surely in the range of a float


def loads(data: bytes) -> Any:
    """Decode JSON.

    Raises:
        ValueError: The text is no JSON: something else, empty, cut off, or nested too deeply.

    """
    encoding = json.detect_encoding(data)
    try:
        return loads_text(data.decode(encoding, errors="surrogatepass"))
    except UnicodeDecodeError:
        return loads_text(data.decode(encoding, errors="replace"))


def loads_text(data: str) -> Any:
    """Decode JSON whose encoding is known.

    Raises:
        ValueError: The text is no JSON.

    """
    try:
        return _DECODER.decode(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def dumps(value: Any) -> bytes:
    """Encode as compactly as can be; half of a surrogate pair is written as its escape.

    Raises:
        ValueError: A number is not finite.

    """
    return _ENCODER.encode(value).encode(errors="backslashreplace")


def _null(_: str) -> None:
    """Stand in for NaN and the infinities."""


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if isfinite(number) else None


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


# `json.loads` and `json.dumps` build these anew for each call that has wishes of its own.
_DECODER = json.JSONDecoder(parse_constant=_null, parse_float=_finite, parse_int=_whole)
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
