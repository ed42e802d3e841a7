import importlib.util
import math
import sys
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async._rules import json_format

# What both ways can say: orjson keeps to 64 bits, and half a surrogate pair is no text.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
WITHOUT_FLOATS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT


def nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for JSON of these scalars."""
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=10,
    )


BAD_TEXTS = {
    "empty": b"",
    "blank": b"  \n",
    "cut off": b'{"id": "g1", "sta',
    "page": b"<html><body>502 Bad Gateway</body></html>",
    "two values": b"{} {}",
    "no number": b'{"cost": NaN}',
    "no end": b"[Infinity]",
    "no start": b"[-Infinity]",
    "no UTF-8": b'"\xff"',
    "bottomless": b"[" * 100_000,
}


@given(nested(WITHOUT_FLOATS | st.floats(allow_nan=False, allow_infinity=False)))
def test_what_is_written_is_read(value: Any) -> None:
    """Either way reads what either way wrote."""
    for written in (json_format.dumps(value), json_format.standard_dumps(value)):
        assert json_format.loads(written) == value
        assert json_format.standard_loads(written) == value


@given(nested(WITHOUT_FLOATS))
def test_both_ways_write_the_same_bytes(value: Any) -> None:
    """A body, and so an idempotent create, does not depend on what is installed."""
    assert json_format.standard_dumps(value) == json_format.dumps(value)


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    """Whatever a proxy sends, both ways refuse it with the same error."""
    for loads in (json_format.loads, json_format.standard_loads):
        with pytest.raises(ValueError):  # noqa: PT011 - the words are the parser's
            loads(text)


@given(st.dictionaries(TEXT, nested(WITHOUT_FLOATS), min_size=1, max_size=3), st.data())
def test_a_truncated_answer_is_never_read(value: dict[str, Any], data: st.DataObject) -> None:
    """Half of an answer is no answer."""
    whole = json_format.dumps(value)
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for loads in (json_format.loads, json_format.standard_loads):
        with pytest.raises(ValueError):  # noqa: PT011 - the words are the parser's
            loads(part)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_not_written(number: float) -> None:
    """The standard way never writes something that no other parser reads."""
    with pytest.raises(ValueError, match="JSON compliant"):
        json_format.standard_dumps({"temperature": number})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_digit(number: float) -> None:
    """A float comes back as the same float."""
    assert json_format.loads(json_format.dumps(number)) == number


def test_the_standard_library_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the faster package, the standard way is the way."""
    monkeypatch.setitem(sys.modules, "orjson", None)
    assert json_format.__file__ is not None
    spec = importlib.util.spec_from_file_location("plain_json_format", json_format.__file__)
    assert spec is not None
    assert spec.loader is not None
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    assert (plain.loads, plain.dumps) == (plain.standard_loads, plain.standard_dumps)
