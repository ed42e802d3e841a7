"""Manifests of JSON lines: what is right is taken as it is, what is wrong has its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lipsync_async._bulk.manifest import parse_manifest
from lipsync_async._logic.codec import encode_request
from lipsync_async._models.request import GenerationRequest, Origin
from tests.bulk.manifests import BODY, LINE, body, problems
from tests.logic.good_requests import GOOD_REQUESTS

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_FILES = {name: fields for name, fields in GOOD_REQUESTS.items() if name != "bytes"}
VIDEO, AUDIO = BODY["input"]
SEGMENT = {"startTime": 0, "endTime": 1, "audioInput": {"refId": "a1"}}


def told(line: Any, folder: Path) -> list[str]:
    """Return the problems of a manifest of one line."""
    text = line if isinstance(line, str) else json.dumps(line)
    return problems(text, folder, ".jsonl")


@pytest.mark.parametrize("fields", WITHOUT_FILES.values(), ids=WITHOUT_FILES)
def test_every_body_of_the_wire_is_read(tmp_path: Path, fields: dict[str, Any]) -> None:
    """What the client would send can be written into a manifest, and is sent just so."""
    sent = encode_request(GenerationRequest(**fields))
    data = json.dumps(sent).encode()
    (row,) = parse_manifest(data, suffix=".jsonl", folder=tmp_path)
    assert json.dumps(encode_request(row.request)) == json.dumps(sent)


def test_numbers_stay_as_they_were_written(tmp_path: Path) -> None:
    """Whole numbers stay whole: pixels must be, and a body should be what was typed."""
    speaker = {"frame_number": 0, "coordinates": [960, 540]}
    options = {"temperature": 1, "active_speaker_detection": speaker}
    data = json.dumps(body(options=options)).encode()
    (row,) = parse_manifest(data, suffix=".jsonl", folder=tmp_path)
    assert json.dumps(encode_request(row.request)["options"]) == json.dumps(options)


def test_null_is_a_field_left_out(tmp_path: Path) -> None:
    """Exporters write null for what they do not know."""
    line = body(options=None, segments=None, outputFileName=None, dubParams=None)
    (row,) = parse_manifest(json.dumps(line).encode(), suffix=".jsonl", folder=tmp_path)
    assert encode_request(row.request) == BODY


@pytest.mark.parametrize("extra", [None, {}, {"note": "a"}, {"note": "", "": "b"}])
def test_texts_of_your_own_are_kept(tmp_path: Path, extra: dict[str, str] | None) -> None:
    """They are beside the body and not in it."""
    line = json.dumps(body(extra=extra))
    (row,) = parse_manifest(line.encode(), suffix=".jsonl", folder=tmp_path)
    assert (row.extra, row.request.origin) == (extra or {}, Origin(1, extra or {}))
    assert encode_request(row.request) == BODY


@pytest.mark.parametrize("extra", ["note", 1, True, [], ["a"], {"a": 1}, {"a": None}, {"a": {}}])
def test_texts_of_your_own_are_texts(tmp_path: Path, extra: object) -> None:
    """A journal keeps nothing else; the line and the name are told."""
    (problem,) = told(body(extra=extra), tmp_path)
    assert problem.startswith("line 1: extra: must be an object of texts, not ")


def test_a_provider_need_not_be_named(tmp_path: Path) -> None:
    """There is one; its name is sent all the same."""
    text = {"type": "text", "provider": {"voiceId": "v", "script": "Hello."}}
    line = json.dumps(body(input=[VIDEO, text]))
    (row,) = parse_manifest(line.encode(), suffix=".jsonl", folder=tmp_path)
    assert encode_request(row.request)["input"][1]["provider"]["name"] == "elevenlabs"


def test_lines_of_a_batch_are_read(tmp_path: Path) -> None:
    """A file for the service's own batches is a manifest, too."""
    lines = [
        {"request_id": name, "endpoint": "/v2/generate", "payload": BODY} for name in ("a", "b")
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    rows = parse_manifest(data, suffix=".jsonl", folder=tmp_path)
    assert [(row.line, row.request_id) for row in rows] == [(1, "a"), (2, "b")]
    assert [row.request.request_id for row in rows] == ["a", "b"]
    assert [encode_request(row.request) for row in rows] == [BODY, BODY]


def test_a_body_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    """It stands beside what is sent, and a journal knows the row by it."""
    data = json.dumps(body(request_id="scene 1")).encode()
    (row,) = parse_manifest(data, suffix=".jsonl", folder=tmp_path)
    assert (row.request_id, row.request.request_id) == ("scene 1", "scene 1")
    assert encode_request(row.request) == BODY


def test_line_ends_of_every_kind(tmp_path: Path) -> None:
    """CRLF, blank lines and a missing last line end are fine; odd separators are text."""
    spoken = {"type": "text", "provider": {"voiceId": "v", "script": "One\u2028two\x85three"}}
    line = json.dumps(body(input=[VIDEO, spoken]), ensure_ascii=False)
    data = f"\r\n{line}\r\n \t\n\n{LINE}".encode()
    rows = parse_manifest(data, suffix=".jsonl", folder=tmp_path)
    assert [row.line for row in rows] == [2, 5]
    rows = parse_manifest(f"{line}\r\r{LINE}\r".encode(), suffix=".jsonl", folder=tmp_path)
    assert [row.line for row in rows] == [1, 3]


BAD: dict[str, tuple[Any, list[str]]] = {
    "cut off": ('{"model": "x"', ["is no JSON (Expecting ',' delimiter at character 14)"]),
    "two values": (f"{LINE} {LINE}", [f"is no JSON (Extra data at character {len(LINE) + 2})"]),
    "no number": ('{"a": NaN}', ["is no JSON (NaN is no number of JSON)"]),
    "twice": ('{"model": "a", "model": "b"}', ["is no JSON ('model' is given twice)"]),
    "bottomless": ("[" * 100_000, ["is no JSON that can be read (it is nested too deeply)"]),
    "list": ([1], ["must be an object, not [1]"]),
    "nothing": ({}, ["model: is missing", "input: is missing"]),
    "null": (body(model=None), ["model: is missing"]),
    "misspelt": (
        body(outputFilename="a", webhook_url="https://h/x", fps=25),
        [
            "outputFilename: is unknown; did you mean outputFileName?",
            "webhook_url: is unknown; did you mean webhookUrl?",
            "fps: is unknown",
        ],
    ),
    "no name": (
        body(**{"a b": 1, "half \ud800": 1, "x" * 1000: 1}),
        [
            "'a b': is unknown",
            "'half \\ud800': is unknown",
            f"'{'x' * 27}...{'x' * 28}': is unknown",
        ],
    ),
    "deep": (
        body(
            input=[{**VIDEO, "assetid": "1"}, {**AUDIO, "ref": 2}],
            options={"syncMode": "loop", "active_speaker_detection": {"autodetect": True}},
        ),
        [
            "input[0].assetid: is unknown; did you mean assetId?",
            "input[1].ref: is unknown; did you mean refId?",
            "options.syncMode: is unknown; did you mean sync_mode?",
            "options.active_speaker_detection.autodetect: is unknown; did you mean auto_detect?",
        ],
    ),
    "no parts": (
        body(input=[VIDEO], options=5, dubParams="de"),
        ["options: must be an object, not 5", "dubParams: must be an object, not 'de'"],
    ),
    "odd inputs": (
        body(input=[{"type": "hologram"}, 7, {"url": "https://h/x"}, {"type": ["video"]}]),
        [
            "input[0].type: must be one of video, image, audio, text, not 'hologram'",
            "input[1]: must be an object, not 7",
            "input[2].type: must be one of video, image, audio, text, not None",
            "input[3].type: must be one of video, image, audio, text, not ['video']",
        ],
    ),
    "input": (body(input={"type": "video"}), ["input: must be a list, not dict"]),
    "url": (
        body(input=[{"type": "video", "url": "v.mp4"}, AUDIO]),
        ["input[0].url: must be an http or https URL; pass a local file as file"],
    ),
    "file": (
        body(input=[{"type": "video", "file": 5}, AUDIO]),
        ["input[0].file: must be a path or bytes, not 5"],
    ),
    "other names": (
        body(outputFileName="take 1", input=[{**VIDEO, "assetId": ""}, {**AUDIO, "refId": 5}]),
        [
            "input[0].assetId: must not be empty",
            "input[1].refId: must be text, not 5",
            (
                "outputFileName: must be 1 to 255 letters, digits, - or _ without an extension, "
                "not 'take 1'"
            ),
        ],
    ),
    "provider": (
        body(input=[VIDEO, {"type": "text", "provider": {"name": "other", "script": ""}}]),
        [
            "input[1].provider.name: must be 'elevenlabs', not 'other'",
            "input[1].provider.voiceId: is missing",
            "input[1].provider.script: must not be empty",
        ],
    ),
    "segments": (
        body(input=[VIDEO, {**AUDIO, "refId": "a1"}], segments=[SEGMENT, {"endTime": 2}, 5]),
        [
            "segments[1].startTime: is missing",
            "segments[1].audioInput: is missing",
            "segments[2]: must be an object, not 5",
        ],
    ),
    "segments' references": (
        body(segments=[{**SEGMENT, "optionsOverride": {"temperature": "hot"}}]),
        [
            "segments[0].optionsOverride.temperature: must be a number, not 'hot'",
            "input[1].refId: must be given, for segments refer to audio and text by it",
            "segments[0].audioInput.refId: no input has ref_id 'a1'; none has one",
        ],
    ),
    "batch": (
        {"request_id": 5, "endpoint": "/v2/generat", "payload": {"model": "x"}, "pay": 1},
        [
            "pay: is unknown; did you mean payload?",
            "endpoint: must be '/v2/generate', not '/v2/generat'",
            "request_id: must be text, not 5",
            "payload.input: is missing",
        ],
    ),
    "empty batch": (
        {"request_id": " ", "payload": None},
        [
            "endpoint: must be '/v2/generate', not None",
            "request_id: must be text, not ' '",
            "payload: must be an object, not None",
        ],
    ),
    "nameless": (body(request_id=" "), ["request_id: must not be empty"]),
    "numbered": (body(request_id=7), ["request_id: must be text, not 7"]),
    "listed": (body(request_id=["a"]), ["request_id: must be text, not ['a']"]),
    "long name": (
        {"request_id": "a" * 256, "endpoint": "/v2/generate", "payload": BODY},
        ["request_id: must be 1 to 255 characters, not 256"],
    ),
    "unseen": (
        body(model="lipsync-2\u200b", input=[{"type": "video", "assetId": "a\u2060b"}, AUDIO]),
        [
            (
                "model: must not hold U+200B (ZERO WIDTH SPACE), which is not seen, at character "
                "10; delete it"
            ),
            (
                "input[0].assetId: must not hold U+2060 (WORD JOINER), which is not seen, at "
                "character 2; delete it"
            ),
        ],
    ),
}


@pytest.mark.parametrize(("line", "expected"), BAD.values(), ids=BAD)
def test_each_flaw_is_told_with_its_place(tmp_path: Path, line: Any, expected: list[str]) -> None:
    """Every flaw of a line is named, in the names that stand in the file."""
    assert told(line, tmp_path) == [f"line 1: {problem}" for problem in expected]


def test_a_number_of_too_many_digits(tmp_path: Path) -> None:
    """Python refuses to read it; that is told as the line's problem."""
    (problem,) = told('{"model": ' + "1" * 5000 + "}", tmp_path)
    assert problem.startswith("line 1: is no JSON (Exceeds the limit (4300 digits)")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Local files are looked up before anything is sent."""
    (problem,) = told(body(input=[{"type": "video", "file": "no.mp4"}, AUDIO]), tmp_path)
    assert problem.startswith("line 1: input[0].file: cannot be read (No such file or directory): ")


def test_every_bad_line_is_told_at_once(tmp_path: Path) -> None:
    """Good lines between bad ones neither hide nor move them."""
    lines = [b'{"model": 1}', LINE.encode(), b"\xff\xfe", b"", b"[]", b'"\xc3"']
    assert problems(b"\r\n".join(lines), tmp_path, ".jsonl") == [
        "line 1: input: is missing",
        "line 1: model: must be text, not 1",
        (
            "line 3: is not UTF-8 (byte 0xff, 'ÿ' in Windows-1252); save the file as UTF-8, which "
            "spreadsheets call 'CSV UTF-8'"
        ),
        "line 5: must be an object, not []",
        (
            "line 6: is not UTF-8 (byte 0xc3, 'Ã' in Windows-1252); save the file as UTF-8, which "
            "spreadsheets call 'CSV UTF-8'"
        ),
    ]
