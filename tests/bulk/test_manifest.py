"""Manifests as files, JSON lines and tables: what is read, and what is told about the rest."""

from __future__ import annotations

import codecs
import csv
import json
import re
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._bulk import manifest
from lipsync_async._bulk.manifest import COLUMNS, read_manifest
from lipsync_async._logic.codec import WIRE_NAMES, encode_request
from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Origin,
    Text,
    Video,
)
from lipsync_async.errors import InvalidRequestError
from tests.bulk.manifests import BODY, LINE, body, problems, read, row_of
from tests.logic.good_requests import GOOD_REQUESTS

TABLE = "model,video_url,audio_url,output_file_name\nx,https://h/v,https://h/a,{}\n"


@pytest.mark.parametrize("name", ["m.jsonl", "m.ndjson", "M.JSONL"])
def test_json_lines_are_read_from_their_file(tmp_path: Path, name: str) -> None:
    """The name's end tells the form, with or without a byte order mark in the file."""
    (tmp_path / name).write_text(f"{LINE}\n", encoding="utf-8-sig")
    (row,) = read_manifest(tmp_path / name)
    assert (row.line, encode_request(row.request), row.request_id) == (1, BODY, None)


def test_a_table_is_read_from_its_file(tmp_path: Path) -> None:
    """Spreadsheets write a mark before the first column's name."""
    (tmp_path / "m.csv").write_text(TABLE.format("a"), encoding="utf-8-sig")
    (row,) = read_manifest(str(tmp_path / "m.csv"))
    assert (row.line, row.request.output_file_name) == (2, "a")


def test_local_files_are_looked_for_beside_it(tmp_path: Path) -> None:
    """The manifest and its media can be moved together."""
    (tmp_path / "v.mp4").write_bytes(b"video")
    line = body(input=[{"type": "video", "file": "v.mp4"}, BODY["input"][1]])
    (tmp_path / "m.jsonl").write_text(json.dumps(line), encoding="utf-8")
    (row,) = read_manifest(tmp_path / "m.jsonl")
    assert row.request.input[0] == Video(file=tmp_path / "v.mp4")


def refusal(path: str) -> str:
    """Return the one problem for which a file is refused."""
    with pytest.raises(InvalidRequestError) as caught:
        read_manifest(path)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no.jsonl", "manifest: cannot be read (No such file or directory): '"),
        ("folder.csv", "manifest: cannot be read (Is a directory): '"),
        ("nu\0ll.csv", "manifest: must not hold a null character"),
        ("m.txt", "manifest: must end in .jsonl, .ndjson, .csv, .tsv, not '.txt'"),
        ("m", "manifest: must end in .jsonl, .ndjson, .csv, .tsv, not ''"),
    ],
)
def test_what_is_no_manifest_is_refused_in_words(tmp_path: Path, name: str, problem: str) -> None:
    """A wrong path is an error like any other wrong argument."""
    (tmp_path / "folder.csv").mkdir()
    for other in ("m.txt", "m"):
        (tmp_path / other).write_text(LINE, encoding="utf-8")
    assert refusal(f"{tmp_path}/{name}").startswith(problem)


EMPTY = [b"", b"\n \r\n\t\n", b"\xef\xbb\xbf"]


@pytest.mark.parametrize(
    ("data", "suffix"), [*product(EMPTY, [".jsonl", ".csv"]), (b"model,video_url\n", ".csv")]
)
def test_an_empty_manifest_is_a_mistake(suffix: str, data: bytes) -> None:
    """Nothing to do is told, for it was hardly meant."""
    assert problems(data, suffix) == ["manifest: holds no request"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"],
)
def test_a_mark_tells_the_encoding(suffix: str, encoding: str) -> None:
    """What spreadsheets call Unicode is read as well as UTF-8."""
    text = TABLE.format("a") if suffix == ".csv" else f"\n{LINE}\n"
    has_mark = encoding in {"utf-8", "utf-8-sig", "utf-16", "utf-32"}
    data = (text if has_mark else f"\ufeff{text}").encode(encoding)
    (row,) = read(data, suffix)
    assert (row.line, len(row.request.input)) == (2, 2)


XLSX, XLS = b"PK\x03\x04" + bytes(40), b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40)
NO_TEXT = {
    "UTF-16 without a mark": (TABLE.encode("utf-16-le"), "holds null characters; save"),
    "UTF-16 of the other order": (TABLE.encode("utf-16-be"), "holds null characters; save"),
    "nulls": (b"model\0,video_url\n", "holds null characters; save"),
    "half a character": (codecs.BOM_UTF16_LE + b"abc", "is UTF-16 and damaged; save"),
    "half a pair": (codecs.BOM_UTF16_BE + b"\xd8\x3d\x00\x41", "is UTF-16 and damaged; save"),
    "no character": (codecs.BOM_UTF32_BE + b"\x7f\xff\xff\xff", "is UTF-32 and damaged; save"),
    "a spreadsheet": (XLSX, "is no text but a spreadsheet's file; save the sheet as 'CSV UTF-8'"),
    "an old one": (XLS, "is no text but a spreadsheet's file; save the sheet as 'CSV UTF-8'"),
}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize(("data", "told"), NO_TEXT.values(), ids=NO_TEXT)
def test_what_is_no_text_is_refused_in_words(suffix: str, data: bytes, told: str) -> None:
    """A file that cannot be read is not guessed at."""
    (problem,) = problems(data, suffix)
    assert problem.startswith(f"manifest: {told}")


@pytest.mark.parametrize("suffix", [".xlsx", ".XLS", ".ods", ".numbers"])
def test_a_sheet_by_its_name_is_told_how_to_be_saved(suffix: str) -> None:
    """The next step is in the message."""
    (problem,) = problems(XLSX, suffix)
    assert problem.endswith(f"not {suffix!r}; save the sheet as 'CSV UTF-8'")


SAVE = "save the file as UTF-8, which spreadsheets call 'CSV UTF-8'"
OLD = {"cp1252": "ü", "latin-1": "é", "cp1250": "ł", "cp1251": "Ж", "shift_jis": "動", "gbk": "视"}


@pytest.mark.parametrize(("encoding", "letter"), OLD.items())
def test_old_encodings_are_refused_with_their_lines(encoding: str, letter: str) -> None:
    """It cannot be known which of them it is, and a wrong guess is spoken and paid for."""
    data = TABLE.format(letter).encode(encoding)
    byte = letter.encode(encoding)[0]
    (problem,) = problems(data)
    assert problem.startswith(f"line 2: is not UTF-8 (byte {byte:#04x}")
    assert problem.endswith(SAVE)


def test_a_byte_that_means_nothing_anywhere_is_told_alone() -> None:
    """Windows has no letter for some bytes."""
    (problem,) = problems(TABLE.format("").encode() + b"\x81")
    assert problem.startswith("line 3: is not UTF-8 (byte 0x81); ")


@pytest.mark.parametrize("written", ["~/v.mp4", "~//v.mp4", "~/./v.mp4"])
def test_the_home_folder_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """`~` is the home folder, for the manifest and in it, in both forms."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    (home / "v.mp4").write_bytes(b"video")
    line = json.dumps(body(input=[{"type": "video", "file": written}, BODY["input"][1]]))
    table = f"model,video_file,audio_url\nx,{written},https://h/a\n"
    for name, text in {"m.jsonl": line, "m.csv": table}.items():
        (home / name).write_text(text, encoding="utf-8")
        (row,) = read_manifest(f"~/{name}")
        assert row.request.input[0] == Video(file=home / "v.mp4")


@pytest.mark.parametrize("written", ["~no-such-user/v.mp4", "~no-such-user", "~$v.mp4"])
def test_a_home_that_is_not_known_is_told(written: str) -> None:
    """Nothing called `~` is looked for."""
    name = written[1:].partition("/")[0]
    told = f"there is no home folder of {name!r}; write the whole path of a file of that name"
    table = f"model,video_file,audio_url\nx,{written},https://h/a\n"
    assert problems(table) == [f"line 2: video_file: {told}"]
    assert refusal(f"{written}.csv").startswith("manifest: there is no home folder of ")


def test_a_manifest_beside_a_tilde_is_not_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the manifest's folder may be called so, however the folder is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~v.mp4").write_bytes(b"video")
    (tmp_path / "m.csv").write_text("model,video_file,audio_url\nx,./~v.mp4,https://h/a\n")
    (row,) = read_manifest("m.csv")
    assert row.request.input[0] == Video(file=tmp_path / "~v.mp4")


def test_a_name_that_looks_right_and_is_not_is_made_visible(tmp_path: Path) -> None:
    """Of a file that is not there, the invisible character is named."""
    told = "\\u200b.csv'; its name holds U+200B (ZERO WIDTH SPACE), which is not seen"
    assert told in refusal(f"{tmp_path}/takes\u200b.csv")


def test_results_need_names_of_their_own() -> None:
    """Two rows of one name, or of two that some systems take for one, are a slip of copying."""
    lines = [body(outputFileName=name) for name in ("Take", "b", "take", "c")]
    data = "\n".join(map(json.dumps, [*lines, BODY, BODY]))
    told = "line 3: names its output 'take' as line 1 does; give each its own"
    assert problems(data, ".jsonl") == [told]


def test_ids_of_a_batch_differ() -> None:
    """The service would refuse a batch with one id for two lines."""
    line = json.dumps({"request_id": "a", "endpoint": "/v2/generate", "payload": BODY})
    told = "line 2: request_id: must differ from that of line 1"
    assert problems(f"{line}\n{line}\n", ".jsonl") == [told]


def test_equal_rows_are_two_requests() -> None:
    """Who wants two takes of the same says it twice; only names must differ."""
    rows = read(f"{LINE}\n{LINE}", ".jsonl")
    assert rows[0].request == rows[1].request


PROBLEM = re.compile(r"(manifest|line [1-9][0-9]*): \S.*")
NAMES = st.sampled_from(
    [
        *{name for names in WIRE_NAMES.values() for name in names.values()},
        *("type", "url", "file", "provider", "model", "input", "options", "segments", "name"),
        *("request_id", "endpoint", "payload"),
    ]
)
GARBAGE: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.text(max_size=20)),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["video", "audio", "text", "https://h/v", "/v2/generate", "\ud800", "a\0"]),
        st.just(BODY),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
CELLS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "lipsync-2", "https://h/v", "0.5", "true", "loop", 'a"b', "c\nd", "e,f"]),
)
# (the end of the script, whether the row is good, blank lines before it)
ROWS = st.tuples(st.text("ab \n", max_size=6), st.booleans(), st.integers(0, 2))


def check(told: list[str]) -> None:
    """See that problems are lines of words, in the order of the file."""
    assert [problem for problem in told if not PROBLEM.fullmatch(problem)] == []
    assert [problem for problem in told if len(problem) > 1000] == []
    lines = [int(problem.split()[1].rstrip(":")) for problem in told if problem[0] == "l"]
    assert lines == sorted(lines)


@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".csv"]))
@example(b"\x00", ".csv")
@example(b'"\r"\r\n"', ".csv")
@example(b"model\x85\xc2\x85", ".csv")
def test_any_bytes_are_judged_in_words(data: bytes, suffix: str) -> None:
    """No file, however damaged, ends in a traceback."""
    check(problems(data, suffix))


@given(st.lists(GARBAGE, max_size=4))
@example([BODY])
def test_any_json_is_judged_in_words(values: list[Any]) -> None:
    """Objects of known names with odd contents are where a reader would stumble."""
    check(problems("\n".join(map(json.dumps, values)), ".jsonl"))


@given(st.dictionaries(NAMES, GARBAGE, max_size=5))
@example({})
def test_any_change_of_a_body_is_judged_in_words(changes: dict[str, Any]) -> None:
    """So are good bodies of which only a part is odd."""
    check(problems(json.dumps(body(**changes)), ".jsonl"))


@given(
    st.lists(st.sampled_from([*COLUMNS]) | CELLS, max_size=6),
    st.lists(st.lists(CELLS, max_size=6), max_size=4),
    st.sampled_from(",;\t"),
)
@example(["model", "video_url", "audio_url"], [["x", "https://h/v", "https://h/a"]], ",")
def test_any_table_is_judged_in_words(
    header: list[str], rows: list[list[str]], separator: str
) -> None:
    """Well-formed tables of any cells under any header are judged cell by cell."""
    written = StringIO()
    csv.writer(written, delimiter=separator).writerows([header, *rows])
    check(problems(written.getvalue().encode("utf-8", "surrogatepass")))


@given(st.lists(st.sampled_from([LINE, "", "{}", "[]", "nonsense", " \r"]), max_size=10))
def test_lines_are_counted_as_editors_count_them(lines: list[str]) -> None:
    """Each bad line is told under its own number, and no good or blank one is."""
    told = problems("\n".join(lines), ".jsonl")
    named = {int(problem.split()[1].rstrip(":")) for problem in told if problem[0] == "l"}
    bad = {number for number, line in enumerate(lines, 1) if line.strip() not in {LINE, ""}}
    assert named == bad
    assert bool(told) is (bool(bad) or LINE not in lines)


@given(st.lists(ROWS, max_size=6))
def test_rows_are_counted_by_the_lines_that_they_take(rows: list[tuple[str, bool, int]]) -> None:
    """Breaks inside quotes and blank lines move the rows below them, and only those."""
    text, line, bad = "model,video_url,voice_id,script\n", 2, []
    for script, is_good, blanks in rows:
        url = "https://h/v" if is_good else "nowhere"
        text += "\n" * blanks + f'x,{url},v,"a{script}"\n'
        line += blanks
        if not is_good:
            bad.append(f"line {line}")
        line += 1 + script.count("\n")
    told = problems(text)
    assert [problem.split(":")[0] for problem in told if rows] == bad


WITHOUT_FILES = {name: fields for name, fields in GOOD_REQUESTS.items() if name != "bytes"}
VIDEO, AUDIO = BODY["input"]
SEGMENT = {"startTime": 0, "endTime": 1, "audioInput": {"refId": "a1"}}


def told(line: Any) -> list[str]:
    """Return the problems of a manifest of one line."""
    return problems(line if isinstance(line, str) else json.dumps(line), ".jsonl")


@pytest.mark.parametrize("fields", WITHOUT_FILES.values(), ids=WITHOUT_FILES)
def test_every_body_of_the_wire_is_read(fields: dict[str, Any]) -> None:
    """What the client would send can be written into a manifest, and is sent just so."""
    sent = encode_request(GenerationRequest(**fields))
    assert json.dumps(encode_request(row_of(sent).request)) == json.dumps(sent)


def test_numbers_stay_as_they_were_written() -> None:
    """Whole numbers stay whole: pixels must be, and a body should be what was typed."""
    speaker = {"frame_number": 0, "coordinates": [960, 540]}
    options = {"temperature": 1, "active_speaker_detection": speaker}
    row = row_of(body(options=options))
    assert json.dumps(encode_request(row.request)["options"]) == json.dumps(options)


def test_null_is_a_field_left_out() -> None:
    """Exporters write null for what they do not know."""
    row = row_of(body(options=None, segments=None, outputFileName=None, dubParams=None))
    assert encode_request(row.request) == BODY


@pytest.mark.parametrize("extra", [None, {}, {"note": "a"}, {"note": "", "": "b"}])
def test_texts_of_your_own_are_kept(extra: dict[str, str] | None) -> None:
    """They are beside the body and not in it."""
    row = row_of(body(extra=extra))
    assert (row.extra, row.request.origin) == (extra or {}, Origin(1, extra or {}))
    assert encode_request(row.request) == BODY


@pytest.mark.parametrize("extra", ["note", 1, True, [], ["a"], {"a": 1}, {"a": None}, {"a": {}}])
def test_texts_of_your_own_are_texts(extra: object) -> None:
    """A journal keeps nothing else; the line and the name are told."""
    (problem,) = told(body(extra=extra))
    assert problem.startswith("line 1: extra: must be an object of texts, not ")


def test_a_provider_need_not_be_named() -> None:
    """There is one; its name is sent all the same."""
    text = {"type": "text", "provider": {"voiceId": "v", "script": "Hello."}}
    row = row_of(body(input=[VIDEO, text]))
    assert encode_request(row.request)["input"][1]["provider"]["name"] == "elevenlabs"


def test_lines_of_a_batch_are_read() -> None:
    """A file for the service's own batches is a manifest, too."""
    line = {"endpoint": "/v2/generate", "payload": BODY}
    rows = read("\n".join(json.dumps({"request_id": n, **line}) for n in "ab"), ".jsonl")
    assert [(row.line, row.request_id) for row in rows] == [(1, "a"), (2, "b")]
    assert [row.request.request_id for row in rows] == ["a", "b"]
    assert [encode_request(row.request) for row in rows] == [BODY, BODY]


def test_a_body_may_have_a_name_of_its_own() -> None:
    """It stands beside what is sent, and a journal knows the row by it."""
    row = row_of(body(request_id="scene 1"))
    assert (row.request_id, row.request.request_id) == ("scene 1", "scene 1")
    assert encode_request(row.request) == BODY


def test_line_ends_of_every_kind() -> None:
    """CRLF, blank lines and a missing last line end are fine; odd separators are text."""
    spoken = {"type": "text", "provider": {"voiceId": "v", "script": "One\u2028two\x85three"}}
    line = json.dumps(body(input=[VIDEO, spoken]), ensure_ascii=False)
    for text, lines in (f"\r\n{line}\r\n \t\n\n{LINE}", [2, 5]), (f"{line}\r\r{LINE}\r", [1, 3]):
        assert [row.line for row in read(text, ".jsonl")] == lines


NO_NAME = "must be 1 to 255 letters, digits, - or _ without an extension, not 'take 1'"
NOT_SEEN = "which is not seen, at character"
# A line, and all of its problems.
BAD: dict[str, tuple[Any, ...]] = {
    "cut off": ('{"model": "x"', "is no JSON (Expecting ',' delimiter at character 14)"),
    "two values": (f"{LINE} {LINE}", f"is no JSON (Extra data at character {len(LINE) + 2})"),
    "no number": ('{"a": NaN}', "is no JSON (NaN is no number of JSON)"),
    "twice": ('{"model": "a", "model": "b"}', "is no JSON ('model' is given twice)"),
    "bottomless": ("[" * 100_000, "is no JSON that can be read (it is nested too deeply)"),
    "list": ([1], "must be an object, not [1]"),
    "nothing": ({}, "model: is missing", "input: is missing"),
    "null": (body(model=None), "model: is missing"),
    "misspelt": (
        body(outputFilename="a", webhook_url="https://h/x", fps=25),
        "outputFilename: is unknown; did you mean outputFileName?",
        "webhook_url: is unknown; did you mean webhookUrl?",
        "fps: is unknown",
    ),
    "no name": (
        body(**{"a b": 1, "half \ud800": 1, "x" * 1000: 1}),
        "'a b': is unknown",
        "'half \\ud800': is unknown",
        f"'{'x' * 27}...{'x' * 28}': is unknown",
    ),
    "deep": (
        body(
            input=[{**VIDEO, "assetid": "1"}, {**AUDIO, "ref": 2}],
            options={"syncMode": "loop", "active_speaker_detection": {"autodetect": True}},
        ),
        "input[0].assetid: is unknown; did you mean assetId?",
        "input[1].ref: is unknown; did you mean refId?",
        "options.syncMode: is unknown; did you mean sync_mode?",
        "options.active_speaker_detection.autodetect: is unknown; did you mean auto_detect?",
    ),
    "no parts": (
        body(input=[VIDEO], options=5, dubParams="de"),
        "options: must be an object, not 5",
        "dubParams: must be an object, not 'de'",
    ),
    "no id": (
        body(input=[VIDEO], dialogueEdit={"ID": "e"}),
        "dialogueEdit.ID: is unknown",
        "dialogueEdit.id: is missing",
    ),
    "no object": (
        body(input=[VIDEO], dialogueEdit=5),
        "dialogueEdit: must be an object, not 5",
    ),
    "odd id": (
        body(input=[VIDEO], dialogueEdit={"id": 5}, dubParams={"targetLang": "de"}),
        "dialogueEdit.id: must be text, not 5",
        "dialogueEdit.id: cannot be combined with dub_params",
    ),
    "odd inputs": (
        body(input=[{"type": "hologram"}, 7, {"url": "https://h/x"}, {"type": ["video"]}]),
        "input[0].type: must be one of video, image, audio, text, not 'hologram'",
        "input[1]: must be an object, not 7",
        "input[2].type: must be one of video, image, audio, text, not None",
        "input[3].type: must be one of video, image, audio, text, not ['video']",
    ),
    "input": (body(input={"type": "video"}), "input: must be a list, not dict"),
    "url": (
        body(input=[{"type": "video", "url": "v.mp4"}, AUDIO]),
        "input[0].url: must be an http or https URL; pass a local file as file",
    ),
    "file": (
        body(input=[{"type": "video", "file": 5}, AUDIO]),
        "input[0].file: must be a path or bytes, an open file, an upload or an iterator, not 5",
    ),
    "other names": (
        body(outputFileName="take 1", input=[{**VIDEO, "assetId": ""}, {**AUDIO, "refId": 5}]),
        "input[0].assetId: must not be empty",
        "input[1].refId: must be text, not 5",
        f"outputFileName: {NO_NAME}",
    ),
    "provider": (
        body(input=[VIDEO, {"type": "text", "provider": {"name": "other", "script": ""}}]),
        "input[1].provider.name: must be 'elevenlabs', not 'other'",
        "input[1].provider.voiceId: is missing",
        "input[1].provider.script: must not be empty",
    ),
    "segments": (
        body(input=[VIDEO, {**AUDIO, "refId": "a1"}], segments=[SEGMENT, {"endTime": 2}, 5]),
        "segments[1].startTime: is missing",
        "segments[1].audioInput: is missing",
        "segments[2]: must be an object, not 5",
    ),
    "segments' references": (
        body(segments=[{**SEGMENT, "optionsOverride": {"temperature": "hot"}}]),
        "segments[0].optionsOverride.temperature: must be a number, not 'hot'",
        "input[1].refId: must be given, for segments refer to audio and text by it",
        "segments[0].audioInput.refId: no input has ref_id 'a1'; none has one",
    ),
    "batch": (
        {"request_id": 5, "endpoint": "/v2/generat", "payload": {"model": "x"}, "pay": 1},
        "pay: is unknown; did you mean payload?",
        "endpoint: must be '/v2/generate', not '/v2/generat'",
        "request_id: must be text, not 5",
        "payload.input: is missing",
    ),
    "empty batch": (
        {"request_id": " ", "payload": None},
        "endpoint: must be '/v2/generate', not None",
        "request_id: must be text, not ' '",
        "payload: must be an object, not None",
    ),
    "nameless": (body(request_id=" "), "request_id: must not be empty"),
    "numbered": (body(request_id=7), "request_id: must be text, not 7"),
    "listed": (body(request_id=["a"]), "request_id: must be text, not ['a']"),
    "long name": (
        {"request_id": "a" * 256, "endpoint": "/v2/generate", "payload": BODY},
        "request_id: must be 1 to 255 characters, not 256",
    ),
    "unseen": (
        body(model="lipsync-2\u200b", input=[{"type": "video", "assetId": "a\u2060b"}, AUDIO]),
        f"model: must not hold U+200B (ZERO WIDTH SPACE), {NOT_SEEN} 10; delete it",
        f"input[0].assetId: must not hold U+2060 (WORD JOINER), {NOT_SEEN} 2; delete it",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_each_flaw_is_told_with_its_place(name: str) -> None:
    """Every flaw of a line is named, in the names that stand in the file."""
    line, *expected = BAD[name]
    assert told(line) == [f"line 1: {problem}" for problem in expected]


def test_a_number_of_too_many_digits() -> None:
    """Python refuses to read it; that is told as the line's problem."""
    (problem,) = told('{"model": ' + "1" * 5000 + "}")
    assert problem.startswith("line 1: is no JSON (Exceeds the limit (4300 digits)")


def test_a_file_that_is_not_there() -> None:
    """Local files are looked up before anything is sent."""
    (problem,) = told(body(input=[{"type": "video", "file": "no.mp4"}, AUDIO]))
    assert problem.startswith("line 1: input[0].file: cannot be read (No such file or directory): ")


def test_every_bad_line_is_told_at_once() -> None:
    """Good lines between bad ones neither hide nor move them."""
    lines = [b'{"model": 1}', LINE.encode(), b"\xff\xfe", b"", b"[]", b'"\xc3"']
    assert problems(b"\r\n".join(lines), ".jsonl") == [
        "line 1: input: is missing",
        "line 1: model: must be text, not 1",
        f"line 3: is not UTF-8 (byte 0xff, 'ÿ' in Windows-1252); {SAVE}",
        "line 5: must be an object, not []",
        f"line 6: is not UTF-8 (byte 0xc3, 'Ã' in Windows-1252); {SAVE}",
    ]


GUIDE = (Path(__file__).parents[2] / "docs" / "manifests.md").read_text(encoding="utf-8")

HEADER = "model,video_url,audio_url,output_file_name"
ROW = "lipsync-2,https://h/v.mp4,https://h/a.wav"

SPEECH = "model,image_asset_id,voice_id,script,stability,similarity_boost,sync_mode"
SPOKEN = GenerationRequest(
    model="sync-3",
    input=[
        Image(asset_id="face"),
        Text(ElevenLabs(voice_id="v", script=" They said:\n“Well, well.” ", stability=0.0)),
    ],
)
OPTIONS = (
    "sync_mode;temperature;model_mode;prompt;occlusion_detection_enabled;reasoning_enabled;"
    "speaker_auto_detect"
)
TABLES: dict[str, tuple[str, GenerationRequest]] = {
    "plain": (
        f"{HEADER}\n{ROW},take-1\n",
        GenerationRequest(
            model="lipsync-2",
            input=[Video("https://h/v.mp4"), Audio("https://h/a.wav")],
            output_file_name="take-1",
        ),
    ),
    "speech": (f'{SPEECH}\r\n"sync-3", face ,v," They said:\n“Well, well.” ",0,,\r\n', SPOKEN),
    "options": (
        (
            f"model;video_asset_id;audio_asset_id;{OPTIONS}\n"
            "lipsync-2; v ;a; loop ; 0.5 ;face;happy;TRUE;no;1"
        ),
        GenerationRequest(
            model="lipsync-2",
            input=[Video(asset_id="v"), Audio(asset_id="a")],
            options=Options(
                sync_mode="loop",
                temperature=0.5,
                model_mode="face",
                prompt="happy",
                occlusion_detection_enabled=True,
                reasoning_enabled=False,
                active_speaker_detection=ActiveSpeaker(auto_detect=True),
            ),
        ),
    ),
    "dubbing": (
        (
            "model\tvideo_url\ttarget_lang\tsource_lang\twebhook_url\tproject_id\tspeaker_boxes_url\n"
            "x\thttps://h/v\tde\t\thttps://h/hook\tp\thttps://h/b.json\n"
        ),
        GenerationRequest(
            model="x",
            input=[Video("https://h/v")],
            options=Options(
                active_speaker_detection=ActiveSpeaker(bounding_boxes_url="https://h/b.json")
            ),
            dub_params=DubParams(target_lang="de"),
            webhook_url="https://h/hook",
            project_id="p",
        ),
    ),
    "dialogue edit": (
        "model,Video URL,Dialogue Edit\nx,https://h/v, e \n",
        GenerationRequest(model="x", input=[Video("https://h/v")], dialogue_edit="e"),
    ),
}


@pytest.mark.parametrize(("table", "expected"), TABLES.values(), ids=TABLES)
def test_each_cell_has_its_place(table: str, expected: GenerationRequest) -> None:
    """Columns in any order, in any of three separators, make the request that they name."""
    (row,) = read(table)
    assert row.request == expected


def test_files_are_beside_the_table(tmp_path: Path) -> None:
    """All three kinds of media can be local, relative to the table's folder."""
    for name in ("face.png", "v.mp4", "a.wav"):
        (tmp_path / name).write_bytes(b"data")
    table = (
        "model,image_file,video_file,audio_file\n"
        "sync-3,face.png,,a.wav\n"
        f"lipsync-2,,{tmp_path / 'v.mp4'},a.wav\n"
    )
    rows = read(table, folder=tmp_path)
    assert [list(row.request.input) for row in rows] == [
        [Image(file=tmp_path / "face.png"), Audio(file=tmp_path / "a.wav")],
        [Video(file=tmp_path / "v.mp4"), Audio(file=tmp_path / "a.wav")],
    ]


def test_columns_without_a_name_may_stand_empty() -> None:
    """Spreadsheets leave extra separators; a cell there would be lost, so it is told."""
    table = f"{HEADER},\n{ROW},a,\n{ROW},b, note\n{ROW},c,,,,far\u200b\n"
    assert problems(table) == [
        "line 3: 'note' is in a column without a name",
        "line 4: 'far' is in a column without a name",
    ]


def no_csv(line: int, reason: str) -> str:
    """Return what is told about a table that cannot be read on from a line."""
    return f"line {line}: is no CSV ({reason}); what follows was not looked at"


OWN = "If it is your own column, rename it, so that it is not taken for"
SURVIVES = "1 and 0 survive every spreadsheet"
BAD_TABLES: dict[str, tuple[str, ...]] = {
    "columns": (
        "model,videourls,Model,script,script,nonsense,nonsense\nx,,,,,\n",
        f"line 1: column 'videourls' is unknown; did you mean video_url? {OWN} video_url",
        "line 1: column 'Model' is there twice",
        "line 1: column 'script' is there twice",
        "line 1: column 'nonsense' is there twice",
    ),
    "no header": (
        f"{ROW}\n",
        "line 1: column 'model' is missing; the first line names the columns",
    ),
    "values": (
        (
            f"{HEADER},temperature,occlusion_detection_enabled\n"
            ",v.mp4,https://h/a.wav,,hot,maybe\n"
            f'{ROW},,"1.000,5",\n'
            f"{ROW},,1_0,\n"
            f"{ROW},,nan,\n"
            f"{ROW},,1e999,\n"
        ),
        "line 2: model: is missing",
        "line 2: video_url: must be an http or https URL; name a local file in video_file",
        "line 2: temperature: must be a number, not 'hot'",
        "line 2: occlusion_detection_enabled: must be true or false, not 'maybe'; " + SURVIVES,
        "line 3: temperature: must be a number, not '1.000,5'",
        "line 4: temperature: must be a number, not '1_0'",
        "line 5: temperature: must be a number, not 'nan'",
        "line 6: temperature: must be 0 to 1, not inf",
    ),
    "more values": (
        (
            f"{HEADER},sync_mode,reasoning_enabled,webhook_url\n"
            "x,v.mp4,https://h/a.wav,take 1,lop,maybe,http://h/x\n"
        ),
        "line 2: video_url: must be an http or https URL; name a local file in video_file",
        "line 2: sync_mode: must be one of bounce, loop, cut_off, silence, remap, not 'lop'",
        (
            "line 2: webhook_url: must be an https URL; http is only for a loopback host like "
            "localhost"
        ),
        f"line 2: output_file_name: {NO_NAME}",
        "line 2: reasoning_enabled: must be true or false, not 'maybe'; " + SURVIVES,
    ),
    "combinations": (
        (
            "model,video_url,image_url,audio_url,script,source_lang\n"
            "x,https://h/v,https://h/i,,,\n"
            "x,https://h/v,,https://h/a,Hello.,\n"
            "x,https://h/v,,,,en\n"
        ),
        "line 2: needs exactly one video or image, not 2",
        "line 2: needs exactly one audio or text, not 0",
        "line 3: voice_id: is missing",
        "line 3: needs exactly one audio or text, not 2; for several use segments",
        "line 4: target_lang: is missing",
    ),
    "dialogue edit": (
        f"{HEADER},dialogue_edit\n{ROW},,e\u200bf\n",
        (
            "line 2: dialogue_edit: must not hold U+200B (ZERO WIDTH SPACE), "
            f"{NOT_SEEN} 2; delete it"
        ),
        "line 2: takes no audio or text with dialogue_edit, not 1",
    ),
    "quotes": (f'{HEADER}\n{ROW},"a"b\n', no_csv(2, "',' expected after '\"'")),
    "open quotes": (f'{HEADER}\n{ROW},a\n{ROW},"b\n', no_csv(3, "unexpected end of data")),
    "huge cell": (
        f"{HEADER}\n{ROW},{'a' * 140_000}\n",
        no_csv(2, "field larger than field limit (131072)"),
    ),
    "broken header": ('"model\n', no_csv(1, "unexpected end of data")),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_each_flaw_of_a_table_is_told(name: str) -> None:
    """Every problem has its line and, where one cell causes it, its column."""
    table, *expected = BAD_TABLES[name]
    assert problems(table) == expected


def test_lines_that_are_no_text_are_all_told() -> None:
    """A table in another encoding is no table; all its lines that show it are named."""
    data = f"{HEADER}\n{ROW},b".encode() + b"\xe4\nx\n\xf6"
    assert problems(data) == [
        f"line 2: is not UTF-8 (byte 0xe4, 'ä' in Windows-1252); {SAVE}",
        f"line 4: is not UTF-8 (byte 0xf6, 'ö' in Windows-1252); {SAVE}",
    ]


@pytest.mark.parametrize("documented", [read_manifest.__doc__, GUIDE])
def test_every_column_is_documented(documented: str) -> None:
    """Wherever columns are listed, all of them are."""
    columns = [*manifest.COLUMNS]
    assert [name for name in columns if f"`{name}`" not in documented] == []
