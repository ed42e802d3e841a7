"""Requests travel as text: what one process writes, another reads as the same request."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from lipsync_async import read_manifest
from lipsync_async._logic.codec import encode_request
from lipsync_async._models.request import Audio, GenerationRequest, Origin, Video
from lipsync_async.errors import InvalidRequestError
from tests.bulk.manifests import BODY, LINE, body
from tests.bulk.test_manifest import WITHOUT_FILES
from tests.bulk.test_manifest_writing import REQUESTS
from tests.foreign import FOREIGN

AUDIO = Audio("https://media.example/a.wav")
BYTES = "is given by its bytes, which a text does not carry; give its path, or upload it "


def there_and_back(asked: GenerationRequest, indent: int | None = None) -> GenerationRequest:
    """Return what another process reads."""
    return GenerationRequest.from_json(asked.to_json(indent=indent))


def told(text: Any) -> list[str]:
    """Return what is wrong with a text."""
    with pytest.raises(InvalidRequestError) as caught:
        GenerationRequest.from_json(text)
    return [*caught.value.problems]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("fields", WITHOUT_FILES.values(), ids=WITHOUT_FILES)
def test_every_request_is_read_as_it_was(fields: dict[str, Any], indent: int | None) -> None:
    """Nothing is left out, and nothing is invented."""
    asked = GenerationRequest(**fields)
    arrived = there_and_back(asked, indent)
    assert json.dumps(encode_request(arrived)) == json.dumps(encode_request(asked))
    assert arrived.to_json() == asked.to_json()


@given(REQUESTS, st.none() | st.text("ab é\U0001f600", min_size=1).filter(str.strip))
def test_any_request_is_the_same(asked: GenerationRequest, name: str | None) -> None:
    """Also by `==`, with its own name."""
    asked = attrs.evolve(asked, request_id=None if name is None else name.strip())
    assert there_and_back(asked) == asked


def test_own_texts_travel(tmp_path: Path) -> None:
    """The line does not: the text has none. A manifest takes the text as a line of its own."""
    asked = GenerationRequest(
        model="x",
        input=[Video("https://h/v"), AUDIO],
        request_id="a1",
        origin=Origin(line=7, extra={"scene": "Straße \ud83d"}),
    )
    assert there_and_back(asked).origin == Origin(extra={"scene": "Straße \ud83d"})
    assert there_and_back(attrs.evolve(asked, origin=Origin(line=7))).origin is None
    (tmp_path / "m.jsonl").write_text(f"{asked.to_json()}\n", encoding="utf-8")
    (row,) = read_manifest(tmp_path / "m.jsonl")
    assert (row.request, row.extra) == (asked, {"scene": "Straße \ud83d"})


@pytest.mark.parametrize("is_text", [True, False])
def test_a_file_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_text: bool
) -> None:
    """So that a worker with another current folder finds it."""
    (tmp_path / "v.mp4").write_bytes(b"video")
    monkeypatch.chdir(tmp_path)
    file = "v.mp4" if is_text else Path("v.mp4")
    asked = GenerationRequest(model="x", input=[Video(file=file), AUDIO])
    whole = attrs.evolve(asked, input=[Video(file=tmp_path / "v.mp4"), AUDIO])
    assert there_and_back(asked) == whole
    assert there_and_back(whole) == whole


def test_a_file_is_looked_up_where_the_text_is_read(tmp_path: Path) -> None:
    """Who writes the text need not see it; who reads it must."""
    path = tmp_path / "v.mp4"
    text = GenerationRequest(model="x", input=[Video(file=path), AUDIO]).to_json()
    (problem,) = told(text)
    assert problem.startswith("input[0].file: cannot be read (No such file or directory): ")


@pytest.mark.parametrize("file", [b"video", BytesIO(b"video"), iter([b"video"])])
def test_bytes_do_not_travel(file: Any) -> None:
    """They are refused in words, with all else that is wrong."""
    asked = GenerationRequest(model="", input=[Video(file=file), AUDIO])
    with pytest.raises(InvalidRequestError) as caught:
        asked.to_json()
    name, content = caught.value.problems
    assert name == "model: must not be empty"
    assert content.startswith(f"input[0].file: {BYTES}")


@pytest.mark.parametrize("value", FOREIGN)
def test_a_wrong_request_is_not_written(value: Any) -> None:
    """Whatever it holds, the refusal is in words."""
    with pytest.raises(InvalidRequestError):
        GenerationRequest(model="x", input=value).to_json()


def test_all_problems_are_told_at_once() -> None:
    """With their paths, by the names of the wire."""
    line = body(modell="x", model=None, request_id="", extra={"a": 1})
    line["input"] = [{"type": "video", "url": "v.mp4"}, {"type": "audio", "refId": 3}]
    assert told(json.dumps(line)) == [
        "extra: must be an object of texts, not dict",
        "modell: is unknown; did you mean model?",
        "model: is missing",
        "input[0].url: must be an http or https URL; pass a local file as file",
        "input[1].refId: must be text, not 3",
        "input[1]: needs url, asset_id or file",
        "request_id: must not be empty",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{}", "text: must be text, not bytes"),
        (None, "text: must be text, not None"),
        ("", "request: is no JSON (Expecting value at character 1)"),
        ('{\n"model"', "request: is no JSON (Expecting ':' delimiter at character 10)"),
        ("[]", "request: must be an object, not []"),
        ('{"a": 1, "a": 2}', "request: is no JSON ('a' is given twice)"),
        ("[" * 100_000, "request: is no JSON that can be read (it is nested too deeply)"),
        (f"{LINE}\n{LINE}", f"request: is no JSON (Extra data at character {len(LINE) + 2})"),
    ],
)
def test_what_is_no_request_is_refused_in_words(text: Any, problem: str) -> None:
    """A text of several lines is not taken for its first."""
    assert told(text) == [problem]


def test_a_line_of_a_batch_is_read() -> None:
    """As in a manifest."""
    line = {"request_id": "a1", "endpoint": "/v2/generate", "payload": BODY}
    arrived = GenerationRequest.from_json(json.dumps(line))
    assert (encode_request(arrived), arrived.request_id) == (BODY, "a1")
