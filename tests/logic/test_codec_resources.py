"""The codec and the models of all resources but generations."""

import json
import pickle
from contextlib import nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest

from lipsync_async import (
    Account,
    Asset,
    Batch,
    BatchMetrics,
    DialogueEdit,
    ErrorInfo,
    GenerationCosts,
    JobFailure,
    Page,
    Project,
    Speech,
    SpeechJob,
    Transcript,
    Transcription,
    TranscriptSegment,
    UsageItem,
    Voice,
    Word,
)
from lipsync_async._logic.codec import ShapeError, camel_case, decode
from lipsync_async._models.request import Serializable

KINDS: list[type[Any]] = [
    *(Account, Asset, Batch, BatchMetrics, DialogueEdit, ErrorInfo, GenerationCosts, JobFailure),
    *(Project, Speech, SpeechJob, Transcript, Transcription, TranscriptSegment, UsageItem, Voice),
    Word,
]
WORD = {"id": "w1", "text": "Hello", "startMs": 0, "endMs": 400, "speakerId": "s"}
TRANSCRIPT = {"segments": [{"id": "s1", "words": [WORD]}]}
# For each type of a field, a value of the wire and what it is in Python.
VALUES: dict[Any, tuple[Any, Any]] = {
    str: ("words", "words"),
    int: (5, 5),
    float: (2, 2.0),
    datetime: ("2026-11-28T10:00:00Z", datetime(2026, 11, 28, 10, tzinfo=UTC)),
    Decimal: ("0.10", Decimal("0.10")),
    dict[str, Any]: ({"a": 1}, {"a": 1}),
    list[dict[str, Any]]: ([{"a": 1}], [{"a": 1}]),
    list[Any]: ([None, 5], [None, 5]),
    list[Word]: ([WORD], [decode(Word, WORD)]),
    list[TranscriptSegment]: (
        TRANSCRIPT["segments"],
        [decode(TranscriptSegment, TRANSCRIPT["segments"][0])],
    ),
    Transcript: (TRANSCRIPT, decode(Transcript, TRANSCRIPT)),
    JobFailure: ({"code": "c", "message": "m"}, JobFailure(code="c", message="m")),
    BatchMetrics: ({"success_count": 3}, BatchMetrics(success_count=3)),
    Any: ({"id": "k"}, {"id": "k"}),
}
ODD: list[Any] = [None, [5], {"a": []}, True, "", 5, "2026-13-01"]


def fields(kind: type[Any]) -> list[tuple[Any, str, Any, Any]]:
    """Return a class's fields that are on the wire, with their names and values there."""
    found = []
    for field in attrs.fields(attrs.resolve_types(kind)):
        if field.name not in {"raw", "idempotency_key", "request_ids"}:
            declared = [each for each in VALUES if field.type in (each, each | None)]
            wire, value = VALUES[declared[0]]
            found.append((field, field.metadata.get("wire", camel_case(field.name)), wire, value))
    return found


each = pytest.mark.parametrize("kind", KINDS)


@each
def test_every_field_is_read(kind: type[Any]) -> None:
    """Fields have their names of the wire, and what is not known stays in `raw`."""
    wire = {name: value for _, name, value, _ in fields(kind)}
    found = decode(kind, {**wire, "somethingNew": [1]})
    assert {field.name: getattr(found, field.name) for field, *_ in fields(kind)} == {
        field.name: value for field, _, _, value in fields(kind)
    }
    assert getattr(found, "raw", {"somethingNew": [1]})["somethingNew"] == [1]


@each
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_odd_value_costs_only_itself(kind: type[Any], odd: Any) -> None:
    """What a class can do without is as if it were absent, and what it needs is read."""
    needed, odds = {}, {}
    for field, name, wire, _ in fields(kind):
        if field.default is attrs.NOTHING:
            needed[name] = wire
        else:
            odds[name] = odd
    found, bare = decode(kind, {**odds, **needed}), decode(kind, needed)
    wanted = [field.name for field, name, *_ in fields(kind) if name in needed]
    assert [getattr(found, name) for name in wanted] == [getattr(bare, name) for name in wanted]
    assert (found == bare) or odd is not None


@each
def test_what_is_needed_must_be_there(kind: type[Any]) -> None:
    """The error names each field that is not there, as on the wire."""
    needed = [name for field, name, *_ in fields(kind) if field.default is attrs.NOTHING]
    with pytest.raises(ShapeError) if needed else nullcontext() as caught:
        decode(kind, {})
    paths = caught.value.paths if caught else []
    assert paths == [f"required field missing @ $.{name}" for name in needed]


@each
def test_values_are_values(kind: type[Any]) -> None:
    """They can be written as JSON, pickled and shown; what came is not part of that."""
    found = decode(kind, {name: wire for _, name, wire, _ in fields(kind)} | {"secret": "x"})
    assert isinstance(found, Serializable)
    assert json.loads(found.to_json()) == found.to_dict()
    assert set(found.to_dict()) == {f.name for f in attrs.fields(kind)} - {"raw"}
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - our own
    assert repr(found).startswith(f"{kind.__name__}(")
    assert "secret" not in repr(found) + found.to_json()


def test_a_page_is_written_with_its_items() -> None:
    """Items are dicts; a page is like a list."""
    page = Page([Voice(id="a"), Voice(id="b")], "next", 5)
    assert page.to_dict() == {
        "items": [voice.to_dict() for voice in page.items],
        "next_cursor": "next",
        "total_count": 5,
    }
    assert ([*page], len(page), page[1]) == (page.items, 2, page.items[1])


def test_lists_and_lengths_are_read_as_far_as_possible() -> None:
    """A word that cannot be read costs only itself; 400.0 and 399.6 are 400 milliseconds."""
    words = [WORD, {**WORD, "endMs": 400.0}, {**WORD, "endMs": 399.6}, {"id": "w"}, 5]
    found = decode(Transcript, {"segments": [{"words": words}, "odd", {"words": 5}, {}]})
    assert [len(segment.words) for segment in found.segments] == [3, 0, 0]
    assert {word.end_ms for word in found.words} == {400}
    assert decode(Asset, {"id": "a", "type": "VIDEO", "size": 5.0}).size == 5


@pytest.mark.parametrize(
    ("value", "expected"),
    [("12.340", Decimal("12.340")), ("NaN", None), ("Infinity", None), ("a", None), (1.5, None)],
)
def test_money_is_exact(value: Any, expected: Decimal | None) -> None:
    """An amount keeps its digits; what is none is not known."""
    found = decode(GenerationCosts, {"generationId": "g", "totalCostUsd": value})
    assert (found.total_cost_usd, found.raw["totalCostUsd"]) == (expected, value)
