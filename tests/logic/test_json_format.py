import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async._logic.codec import dumps
from lipsync_async._logic.responses import loads

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HALVES = st.text()  # halves of surrogate pairs included
WITHOUT_FLOATS = st.none() | st.booleans() | st.integers() | TEXT


def nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for JSON of these scalars."""
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=10,
    )


JSON = nested(WITHOUT_FLOATS | st.floats(allow_nan=False, allow_infinity=False))

BAD_TEXTS = {
    "empty": b"",
    "blank": b"  \n",
    "cut off": b'{"id": "g1", "sta',
    "page": b"<html><body>502 Bad Gateway</body></html>",
    "two values": b"{} {}",
    "no name of a number": b"[nan]",
    "an infinity of another language": b"[+Infinity]",
    "a number and more": b"[1.5s]",
    "no UTF-8 outside of text": b"\xff{}",
    "no UTF-8, and cut off": b'{"error": "\xff',
    "a compressed page": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "bottomless": b"[" * 100_000,
    "bottomless objects": b'{"a":' * 100_000,
}


@given(JSON)
def test_what_is_written_is_read(value: Any) -> None:
    """Whatever JSON can say survives."""
    assert loads(dumps(value)) == value


@given(JSON | HALVES)
def test_what_is_written_is_read_by_strict_parsers(value: Any) -> None:
    """What is sent is UTF-8 and JSON, halves of surrogate pairs included."""
    assert json.loads(dumps(value).decode()) == value


@given(JSON)
def test_answers_are_read_as_the_standard_library_reads_them(value: Any) -> None:
    """Spaces, escapes and indents change nothing."""
    assert loads(json.dumps(value, indent=1).encode()) == value


def test_what_is_written_is_compact() -> None:
    """Text goes as it is, without spaces between."""
    value = {"a": [1, 0.5, None, True], "é": "\U0001f600 \ud83d"}
    expected = '{"a":[1,0.5,null,true],"é":"\U0001f600 \\ud83d"}'.encode()
    assert dumps(value) == expected


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    """Whatever a proxy sends, it is refused with the same error."""
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the parser's
        loads(text)


@given(st.dictionaries(TEXT, JSON, min_size=1, max_size=3), st.data())
def test_a_truncated_answer_is_never_read(value: dict[str, Any], data: st.DataObject) -> None:
    """Half of an answer is no answer."""
    whole = dumps(value)
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the parser's
        loads(part)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_not_written(number: float) -> None:
    """Nothing is written that no other parser reads."""
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps({"temperature": number})


class Float64(float):
    """What a data frame gives: a float of another class, with a repr of its own."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)})"


class Count(int):
    """An integer of another class."""

    def __repr__(self) -> str:
        return f"np.int64({int(self)})"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (Float64(0.5), b"0.5"),
        (Float64(-0.0), b"-0.0"),
        (Count(7), b"7"),
        (2**63, b"9223372036854775808"),
        (2**64, b"18446744073709551616"),
        (-(2**70), b"-1180591620717411303424"),
        (10**30, b"1000000000000000000000000000000"),
        (1e308, b"1e+308"),
        (5e-324, b"5e-324"),
    ],
)
def test_numbers_of_any_size_and_class_are_written(number: float, expected: bytes) -> None:
    """A number that passes the checks is sent as the number it is."""
    assert dumps(number) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_digit(number: float) -> None:
    """A float comes back as the same float."""
    assert loads(dumps(number)) == number


# What one job of a list may carry, and what is read in its place.
POISONS = {
    "NaN": (b"NaN", None),
    "Infinity": (b"Infinity", None),
    "-Infinity": (b"-Infinity", None),
    "too large": (b"1e309", None),
    "too large below zero": (b"-1e309", None),
    "too large for its exponent": (b"1e99999999999999999999", None),
    "too large, written out": (b"9" * 309, None),
    "more digits than Python reads": (b"1" * 5000, None),
    "more digits below zero": (b"-" + b"1" * 5000, None),
    "the most digits": (b"9" * 308, 10**308 - 1),
    "large": (b"1e308", 1e308),
    "small": (b"1e-999", 0.0),
    "a long fraction": (b"0." + b"3" * 5000, 1 / 3),
    "the first half of a pair": (rb'"\ud83d"', "\ufffd"),
    "the second half of a pair": (rb'"a\ude00b"', "a\ufffdb"),
    "halves in the wrong order": (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
    "half a pair as bytes": (b'"\xed\xa0\xbd"', "\ufffd\ufffd\ufffd"),
    "half a pair as a name": (rb'{"\ud83d": 1}', {"\ufffd": 1}),
    "a byte that is no UTF-8": (b'"\xff"', "\ufffd"),
    "Latin-1": (b'"caf\xe9 \xe0 la carte"', "caf\ufffd \ufffd la carte"),
    "a character cut in two": (b'"\xf0\x9f\x98"', "\ufffd"),
    "a name that is no UTF-8": (b'{"\xff": 1}', {"\ufffd": 1}),
    "a null character": (rb'"a\u0000b"', "a\0b"),
    "a name twice": (b'{"a": 1, "a": 2}', {"a": 2}),
}


@pytest.mark.parametrize(("poison", "expected"), POISONS.values(), ids=POISONS)
def test_one_bad_value_costs_no_more_than_itself(poison: bytes, expected: object) -> None:
    """The other jobs of a list are read, and so is the rest of its own."""
    text = b'[{"id": "1", "x": 0.5}, {"id": "2", "x": %b, "y": 2}, {"id": "3"}]' % poison
    assert loads(text) == [{"id": "1", "x": 0.5}, {"id": "2", "x": expected, "y": 2}, {"id": "3"}]


# Texts, and whether they are nested too deeply. The members of a list are read by themselves, so
# that two levels more are read there.
DEPTHS = {
    "a hundred lists": (b"[" * 100 + b"]" * 100, False),
    "one more, of which the member is read": (b"[" * 101 + b"]" * 101, False),
    "three more": (b"[" * 103 + b"]" * 103, True),
    "a hundred objects": (b'{"a":' * 100 + b"0" + b"}" * 100, False),
    "two more objects": (b'{"a":' * 102 + b"0" + b"}" * 102, True),
    "both in turn": (b'[{"a":' * 50 + b"0" + b"}]" * 50, False),
    "both, once more": (b'[{"a":' * 50 + b"[]" + b"}]" * 50, False),
    "many beside each other": (b"[" + b"[]," * 5000 + b"0]", False),
    "many beside a deep one": (b"[" + b"[]," * 5000 + b"[" * 103 + b"]" * 103 + b"]", True),
    "steps": (b"[[]," * 100 + b"0" + b"]" * 100, False),
    "fewer steps": (b"[[]," * 99 + b"0" + b"]" * 99, False),
    "brackets in a text": (b'["' + b"[" * 5000 + b'"]', False),
    "brackets after an escape": (rb'["\"' + b"[" * 5000 + b'"]', False),
    "brackets after an escaped backslash": (b'["\\\\",' + b"[" * 101 + b"]" * 101 + b"]", False),
    "brackets in a name": (b'{"' + b"{" * 200 + b'": 1}', False),
    "a text in depth": (b"[" * 100 + b'"}]{["' + b"]" * 100, False),
    "a text in too much depth": (b"[" * 103 + b'"}]{["' + b"]" * 103, True),
    "300": (b"[" * 300 + b"]" * 300, True),
    "500, which is read but not pickled": (b"[" * 500 + b"]" * 500, True),
    "letters whose halves look like brackets": (
        ("[" + '"\u5b5b",' * 200 + "0]").encode("utf-16"),
        False,
    ),
    "a hundred jobs": (b"[" + b'{"input": [{}, {}], "options": {}},' * 100 + b"{}]", False),
}


@pytest.mark.parametrize(("text", "is_deep"), DEPTHS.values(), ids=DEPTHS)
def test_what_is_read_can_be_passed_on(text: bytes, is_deep: bool) -> None:  # noqa: FBT001
    """Depths that the parser reads, but `pickle` or a deep stack does not bear, are refused."""
    if is_deep:
        with pytest.raises(ValueError, match="it is no JSON"):
            loads(text)
    else:
        read = loads(text)
        assert pickle.loads(pickle.dumps(read)) == json.loads(text)  # noqa: S301 - our own bytes
