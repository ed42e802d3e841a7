"""A request's canonical form: the same for the same request, another for any other."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async._fleet.fingerprint import difference, identify
from lipsync_async._rules.codec import encode_request
from lipsync_async._values.inputs import Audio, GenerationRequest, Image, Options, Video
from tests.fleet.jobs import request
from tests.rules.good_requests import GOOD_REQUESTS
from tests.rules.orders import AUDIO, VIDEO, order

if TYPE_CHECKING:
    from pathlib import Path

IDENTITIES = {
    name: identify(GenerationRequest(**fields)).fingerprint
    for name, fields in GOOD_REQUESTS.items()
}


@pytest.mark.parametrize("fields", GOOD_REQUESTS.values(), ids=GOOD_REQUESTS)
def test_the_document_is_the_wire_json(fields: dict[str, Any]) -> None:
    """What is stored is what is sent, and the facts of files that go along."""
    sent = encode_request(GenerationRequest(**fields))
    stored = json.loads(identify(GenerationRequest(**fields)).document)
    for item in stored["input"]:
        item.pop("file", None)
    assert stored == json.loads(json.dumps(sent))


def test_every_request_has_its_own_fingerprint() -> None:
    """No two of many different requests are taken for one."""
    assert len(set(IDENTITIES.values())) == len(IDENTITIES)


@given(st.floats(0, 1) | st.integers(0, 1))
def test_a_number_is_a_number(temperature: float) -> None:
    """1 and 1.0 are the same in JSON, so they are the same here; nothing else is."""
    one, other = (
        request(0, options=Options(temperature=value))
        for value in (temperature, float(temperature))
    )
    assert identify(one) == identify(other)
    changed = request(0, options=Options(temperature=temperature + 0.5))
    assert identify(changed) != identify(one)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_their_value(number: float) -> None:
    """However large or small a number is, the stored one equals it."""
    stored = json.loads(identify(request(0, options=Options(temperature=number))).document)
    assert stored["options"]["temperature"] == number


def test_files_count_by_what_they_are_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path, size and time of change make a local file, wherever the program is run from."""
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"123")
    os.utime(file, ns=(1, 1_000_000_007))
    before = identify(GenerationRequest(**order(Video(file=file), AUDIO)))
    facts = {"path": str(file), "size": 3, "mtime_ns": 1_000_000_007}
    assert json.loads(before.document)["input"][0] == {"type": "video", "file": facts}
    monkeypatch.chdir(tmp_path)
    assert identify(GenerationRequest(**order(Video(file="clip.mp4"), AUDIO))) == before
    os.utime(file, ns=(1, 1_000_000_008))
    after = identify(GenerationRequest(**order(Video(file=file), AUDIO)))
    assert difference(before.document, after.document) == f"its file {file} has changed since"


def test_a_file_that_is_gone_is_what_it_was(tmp_path: Path) -> None:
    """Known from before it is recognised; unknown it has a name only."""
    file = tmp_path / "clip.mp4"
    local = GenerationRequest(**order(Video(file=str(file)), AUDIO))
    unknown = identify(local)
    assert json.loads(unknown.document)["input"][0]["file"] == {"path": str(file)}
    file.write_bytes(b"123")
    known = identify(local)
    file.unlink()
    assert identify(local, recorded=known.document) == known
    assert identify(local, recorded=unknown.document) == unknown


def test_bytes_count_by_their_content() -> None:
    """Media in memory have no name, and are stored nowhere, but they are recognised."""
    one, same, other = (
        identify(GenerationRequest(**order(Video(file=data), Audio(file=b"a"))))
        for data in (b"1" * 1000, b"1" * 1000, b"2")
    )
    assert one == same != other
    assert "1" * 100 not in one.document
    assert difference(one.document, other.document) == "they differ in input"


def test_names_that_are_no_unicode_are_stored(tmp_path: Path) -> None:
    """A file's name may be in any encoding."""
    file = tmp_path / "na\udcefve.mp4"
    file.write_bytes(b"123")
    document = identify(GenerationRequest(**order(Video(file=file), AUDIO))).document
    assert document.isascii()
    assert json.loads(document)["input"][0]["file"]["path"] == str(file)


def test_more_than_a_file_may_differ(tmp_path: Path) -> None:
    """If not only the file has changed, the fields are named."""
    file = tmp_path / "face.png"
    file.write_bytes(b"123")
    before = identify(request(0, model="sync-3", input=[Image(file=file), AUDIO]))
    file.write_bytes(b"12345")
    after = identify(request(0, model="sync-4", input=[Image(file=file), AUDIO]))
    assert difference(before.document, after.document) == "they differ in input and model"
    assert difference(before.document, identify(request(0, input=[VIDEO])).document) == (
        "they differ in input and model"
    )
