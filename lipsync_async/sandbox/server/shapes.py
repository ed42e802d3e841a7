"""The shape of JSON bodies as data: types, ranges and vocabularies, every problem in one list.

This is the service's side; the client has rules of its own, and neither knows the other.
Unknown fields pass, as the service's own older clients send some. Problems come one by one, so
that a body with a million of them costs no more than the hundred that are shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit

import attrs

from lipsync_async.sandbox.server.api_errors import MOST_PROBLEMS, malformed

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBERS = frozenset({int, float})  # exactly, as JSON gives them: a bool is an int, too
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@attrs.frozen(slots=True)
class Rule:
    """What a plain value must be."""

    is_fine: Callable[[Any], bool]
    demand: str

    def problems(self, value: Any, path: str) -> Iterator[str]:
        """Yield what is wrong with a value."""
        if not self.is_fine(value):
            yield f"{path} {self.demand}"


@attrs.frozen(slots=True)
class Shape:
    """What the fields of an object must be; a plain field that is `null` counts as left out."""

    fields: Mapping[str, Rule | Shape | ListOf | Tagged]
    needed: frozenset[str] = frozenset()
    any_of: tuple[str, ...] = ()  # of which at least one must be there
    or_flag: bool = False  # a bare boolean is allowed in its place

    def problems(self, value: Any, path: str = "") -> Iterator[str]:
        """Yield what is wrong with a value."""
        if not isinstance(value, dict):
            if not (self.or_flag and isinstance(value, bool)):
                yield f"{path} must be an object" if path else "the body must be a JSON object"
            return
        prefix = f"{path}." if path else ""
        for name, rule in self.fields.items():
            found = value.get(name)
            is_plain = isinstance(rule, Rule)
            if found is None and (is_plain or name not in value):
                if name in self.needed and isinstance(rule, ListOf):
                    yield from rule.problems(found, f"{prefix}{name}")
                elif name in self.needed:
                    yield f"{prefix}{name} should not be empty"
            else:
                yield from rule.problems(found, f"{prefix}{name}")
        if self.any_of and all(value.get(name) is None for name in self.any_of):
            yield f"{prefix}{' or '.join(self.any_of)} must be given"


@attrs.frozen(slots=True)
class ListOf:
    """What the items of a list must be."""

    item: Shape | Tagged
    least: int = 0

    def problems(self, value: Any, path: str) -> Iterator[str]:
        """Yield what is wrong with a value."""
        if not isinstance(value, list) or len(value) < self.least:
            yield f"{path} must be {'a non-empty' if self.least else 'an'} array"
            return
        for index, item in enumerate(value):
            yield from self.item.problems(item, f"{path}.{index}")


@attrs.frozen(slots=True)
class Tagged:
    """Objects of several shapes, told apart by the value of a field."""

    tag: str
    shapes: Mapping[str, Shape]

    def problems(self, value: Any, path: str) -> Iterator[str]:
        """Yield what is wrong with a value."""
        found = value.get(self.tag) if isinstance(value, dict) else None
        shape = self.shapes.get(found) if isinstance(found, str) else None
        if not isinstance(value, dict):
            yield f"{path} must be an object"
        elif shape is None:
            known = ", ".join(self.shapes)
            yield f"{path}.{self.tag} must be one of the following values: {known}"
        else:
            yield from shape.problems(value, path)


def checked(shape: Shape, body: Any) -> dict[str, Any]:
    """Return a body that has a shape; raise an `ApiError` that lists what is wrong with it."""
    problems = list(islice(shape.problems(body), MOST_PROBLEMS))
    if problems:
        raise malformed(problems)
    fine: dict[str, Any] = body
    return fine


def checked_changes(shape: Shape, body: Any) -> dict[str, Any]:
    """Return what a PATCH changes; that `null` would clear a field is not documented."""
    fine = checked(shape, body)
    changes = {name: fine[name] for name in shape.fields if name in fine}
    if None in changes.values():
        raise malformed([f"{name} must not be null" for name in changes if changes[name] is None])
    return changes


def one_of(words: Iterable[str]) -> Rule:
    """Return the rule of a vocabulary."""
    known = [str(word) for word in words]
    return Rule(
        lambda value: isinstance(value, str) and value in known,
        f"must be one of the following values: {', '.join(known)}",
    )


def text(longest: int) -> Rule:
    """Return the rule of a text of 1 to so many characters."""
    return Rule(
        lambda value: isinstance(value, str) and 1 <= len(value) <= longest,
        f"must be 1 to {longest} characters",
    )


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether `value` is a finite number."""
    return type(value) in _NUMBERS and math.isfinite(value)


def is_time(value: Any) -> TypeGuard[float]:
    """Return whether `value` is a number of seconds: finite, and not below zero."""
    return is_number(value) and value >= 0


def is_uuid(value: Any) -> bool:
    """Return whether `value` is a UUID in its usual spelling."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_web_address(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


STRING = Rule(lambda value: isinstance(value, str), "must be a string")
TEXT = Rule(lambda value: isinstance(value, str) and value != "", "must be a non-empty string")
FLAG = Rule(lambda value: isinstance(value, bool), "must be a boolean value")
SHARE = Rule(lambda value: is_number(value) and 0 <= value <= 1, "must be a number from 0 to 1")
POSITIVE = Rule(lambda value: is_number(value) and value > 0, "must be a positive, finite number")
TIME = Rule(is_time, "must not be less than 0")
COUNT = Rule(lambda value: _is_index(value) and value > 0, "must be an integer above 0")
INDEX = Rule(_is_index, "must be an integer not less than 0")
WEB_URL = Rule(_is_web_address, "must be an http or https URL")
UUID = Rule(is_uuid, "must be a UUID")
