"""JSON in and out, by orjson where the `fast` extra is installed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def standard_loads(data: bytes) -> Any:
    """Decode by the standard library, which takes NaN for JSON; orjson and we do not.

    Raises:
        ValueError: The text is no JSON.

    """
    try:
        return json.loads(data, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def standard_dumps(value: Any) -> bytes:
    """Encode by the standard library, as compactly as orjson does."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


loads: Callable[[bytes], Any] = standard_loads
dumps: Callable[[Any], bytes] = standard_dumps

with suppress(ImportError):
    import orjson

    loads = orjson.loads
    dumps = orjson.dumps
