"""JSON in and out, by the standard library.

One answer holds up to a hundred jobs, and what one of them carries must cost the others
nothing. So reading is tolerant where a strict parser gives up the whole text: a number
that no float holds (NaN, Infinity, 1e999, thousands of digits) is read as null, half of a
surrogate pair is kept, and bytes that are not UTF-8 become U+FFFD. Writing is strict.

What is nested a hundred times deep is refused: Python's parser reads some hundreds, but what
it has read could then not be pickled, nor stored where the stack is deeper already.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

_MOST_DIGITS = 308  # of an integer that is surely in the range of a float
_MOST_DEPTH = 100  # documented answers have 6 levels; `pickle` ends at some 300
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TEXTS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # also one that is cut off


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
        ValueError: The text is no JSON, or nested too deeply.

    """
    if _is_deep(data):
        raise ValueError("it is nested too deeply")
    return _DECODER.decode(data)


def _is_deep(text: str) -> bool:
    """Tell whether a text is nested too deeply, in a small part of the time that reading takes."""
    if text.count("[") + text.count("{") <= _MOST_DEPTH:
        return False
    data = text.encode(errors="replace")
    brackets = data.translate(None, _NO_BRACKETS)
    for _ in range(_MOST_DEPTH // 2):
        if not brackets:
            return False
        # This takes off the innermost level; or two, where they are of both kinds.
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    # It has brackets in its texts, or is cut off, or is deep.
    depth = 0
    for bracket in _TEXTS.sub(b"", data).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > _MOST_DEPTH:
            return True
    return False


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
