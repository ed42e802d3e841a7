"""Read the vectors, and compare what is expected with what came."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

Vector = dict[str, Any]

_ANY: Any = object()


def load(*names: str) -> list[Vector]:
    """Return all vectors of some files."""
    folder = Path(__file__).parent
    return [
        vector
        for name in names
        for vector in json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    ]


def each(vectors: list[Vector]) -> pytest.MarkDecorator:
    """Run a test once for each vector, under its title."""
    return pytest.mark.parametrize(
        "vector", [pytest.param(vector, id=vector["title"]) for vector in vectors]
    )


WIRE = load("creates", "generations", "errors", "catalogue", "resources")
WEBHOOKS = load("webhooks")
EVENTS = load("events")


def differences(expected: Any, actual: Any, varies: frozenset[str] = frozenset()) -> list[str]:
    """Return where an object lacks something expected; it may have more.

    Args:
        expected: JSON data; an object stands for attributes or for keys.
        actual: What is there.
        varies: Names of fields whose value may be any of the same type.

    """
    found: list[str]
    if isinstance(expected, dict):
        found = []
        for name, value in expected.items():
            if name == "@":
                found += _unequal(value, type(actual).__name__)
            elif name in varies:
                found += _unequal(type(value).__name__, type(_part(actual, name)).__name__)
            else:
                problems = differences(value, _part(actual, name), varies)
                found += [f"{name}.{problem}" for problem in problems]
        return found
    if isinstance(expected, list) and not isinstance(actual, str):
        members = list(actual)
        pairs = enumerate(zip(expected, members, strict=False))
        found = [f"{n}.{problem}" for n, pair in pairs for problem in differences(*pair, varies)]
        return found + _unequal(len(expected), len(members))
    return _unequal(expected, actual.isoformat() if isinstance(actual, datetime) else actual)


def _part(whole: Any, name: str) -> Any:
    if isinstance(whole, Mapping):
        return whole.get(name, _ANY)
    return getattr(whole, name, _ANY)


def _unequal(expected: Any, actual: Any) -> list[str]:
    return [] if expected == actual else [f"{expected!r} expected, {actual!r} found"]
