"""Values that are not what an argument asks for, of every class that programs bring along."""

import enum
from collections import UserString, deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np


def _loud(*_: object) -> Any:
    raise LookupError("looked at")


class Loud:
    """Raise whenever it is shown or compared."""

    __repr__ = __eq__ = __bool__ = __iter__ = _loud
    __hash__ = None  # type: ignore[assignment]


class LoudNumber(int):
    """Be a number that raises when it is shown."""

    __repr__ = __str__ = _loud


def _deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(10_000):
        found = [found]
    return found


def _circle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


# None of these is a number (of JSON), a flag, a text, or one of this package's classes.
FOREIGN: dict[str, Any] = {
    "decimal": Decimal("0.5"),
    "signalling": Decimal("sNaN"),
    "fraction": Fraction(1, 2),
    "complex": 1j,
    "float32": np.float32(0.5),
    "int64": np.int64(3),
    "bool_": np.bool_(True),  # noqa: FBT003 - it is the value
    "array": np.array([1, 2]),
    "no array": np.array([]),
    "datetime64": np.datetime64("2026-01-01"),
    "moment": datetime(2026, 1, 1, tzinfo=UTC),
    "span": timedelta(seconds=5),
    "uuid": UUID(int=1),
    "member": enum.Enum("Member", "ONE").ONE,  # type: ignore[attr-defined]
    "bytearray": bytearray(b"x"),
    "view": memoryview(b"x"),
    "path": PurePosixPath("x"),
    "user text": UserString("x"),
    "deque": deque([1]),
    "set": {1},
    "range": range(3),
    "generator": (each for each in "ab"),
    "mapping": {None: None, 1: 2},
    "namespace": SimpleNamespace(id="x"),
    "class": type,
    "ellipsis": ...,
    "exception": KeyboardInterrupt(),
    "loud": Loud(),
    "deep": _deep(),
    "circle": _circle(),
}
