"""Manifests as files: which are read, and what is told about those that are not."""

from __future__ import annotations

import codecs
import csv
import json
import re
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from lipsync_async._bulk.manifest import COLUMNS, parse_manifest, read_manifest
from lipsync_async._logic.codec import WIRE_NAMES, encode_request
from lipsync_async._models.request import Video
from lipsync_async.errors import InvalidRequestError
from tests.bulk.manifests import BODY, LINE, body, problems

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
    with pytest.raises(InvalidRequestError) as told:
        read_manifest(f"{tmp_path}/{name}")
    (found,) = told.value.problems
    assert found.startswith(problem)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize("data", [b"", b"\n \r\n\t\n", b"\xef\xbb\xbf"], ids=repr)
def test_an_empty_manifest_is_a_mistake(tmp_path: Path, suffix: str, data: bytes) -> None:
    """Nothing to do is told, for it was hardly meant."""
    assert problems(data, tmp_path, suffix) == ["manifest: holds no request"]


def test_a_header_alone_is_empty(tmp_path: Path) -> None:
    """A table without rows holds nothing."""
    assert problems("model,video_url\n", tmp_path, ".csv") == ["manifest: holds no request"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"],
)
def test_a_mark_tells_the_encoding(tmp_path: Path, suffix: str, encoding: str) -> None:
    """What spreadsheets call Unicode is read as well as UTF-8."""
    text = TABLE.format("a") if suffix == ".csv" else f"\n{LINE}\n"
    has_mark = encoding in {"utf-8", "utf-8-sig", "utf-16", "utf-32"}
    data = (text if has_mark else f"\ufeff{text}").encode(encoding)
    (row,) = parse_manifest(data, suffix=suffix, folder=tmp_path)
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
def test_what_is_no_text_is_refused_in_words(
    tmp_path: Path, suffix: str, data: bytes, told: str
) -> None:
    """A file that cannot be read is not guessed at."""
    (problem,) = problems(data, tmp_path, suffix)
    assert problem.startswith(f"manifest: {told}")


@pytest.mark.parametrize("suffix", [".xlsx", ".XLS", ".ods", ".numbers"])
def test_a_sheet_by_its_name_is_told_how_to_be_saved(tmp_path: Path, suffix: str) -> None:
    """The next step is in the message."""
    (problem,) = problems(XLSX, tmp_path, suffix)
    assert problem.endswith(f"not {suffix!r}; save the sheet as 'CSV UTF-8'")


OLD = {"cp1252": "ü", "latin-1": "é", "cp1250": "ł", "cp1251": "Ж", "shift_jis": "動", "gbk": "视"}


@pytest.mark.parametrize(("encoding", "letter"), OLD.items())
def test_old_encodings_are_refused_with_their_lines(
    tmp_path: Path, encoding: str, letter: str
) -> None:
    """It cannot be known which of them it is, and a wrong guess is spoken and paid for."""
    data = TABLE.format(letter).encode(encoding)
    byte = letter.encode(encoding)[0]
    (problem,) = problems(data, tmp_path, ".csv")
    assert problem.startswith(f"line 2: is not UTF-8 (byte {byte:#04x}")
    assert problem.endswith("save the file as UTF-8, which spreadsheets call 'CSV UTF-8'")


def test_a_byte_that_means_nothing_anywhere_is_told_alone(tmp_path: Path) -> None:
    """Windows has no letter for some bytes."""
    (problem,) = problems(TABLE.format("").encode() + b"\x81", tmp_path, ".csv")
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
def test_a_home_that_is_not_known_is_told(tmp_path: Path, written: str) -> None:
    """Nothing called `~` is looked for."""
    name = written[1:].partition("/")[0]
    told = f"there is no home folder of {name!r}; write the whole path of a file of that name"
    table = f"model,video_file,audio_url\nx,{written},https://h/a\n"
    assert problems(table, tmp_path, ".csv") == [f"line 2: video_file: {told}"]
    with pytest.raises(InvalidRequestError) as caught:
        read_manifest(f"{written}.csv")
    (problem,) = caught.value.problems
    assert problem.startswith("manifest: there is no home folder of ")


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
    with pytest.raises(InvalidRequestError) as caught:
        read_manifest(f"{tmp_path}/takes\u200b.csv")
    (problem,) = caught.value.problems
    assert "\\u200b.csv'; its name holds U+200B (ZERO WIDTH SPACE), which is not seen" in problem


def test_results_need_names_of_their_own(tmp_path: Path) -> None:
    """Two rows of one name, or of two that some systems take for one, are a slip of copying."""
    lines = [body(outputFileName=name) for name in ("Take", "b", "take", "c")]
    data = "\n".join(map(json.dumps, [*lines, BODY, BODY]))
    assert problems(data, tmp_path, ".jsonl") == [
        "line 3: names its output 'take' as line 1 does; give each its own"
    ]


def test_ids_of_a_batch_differ(tmp_path: Path) -> None:
    """The service would refuse a batch with one id for two lines."""
    line = json.dumps({"request_id": "a", "endpoint": "/v2/generate", "payload": BODY})
    assert problems(f"{line}\n{line}\n", tmp_path, ".jsonl") == [
        "line 2: request_id: must differ from that of line 1"
    ]


def test_equal_rows_are_two_requests(tmp_path: Path) -> None:
    """Who wants two takes of the same says it twice; only names must differ."""
    rows = parse_manifest(f"{LINE}\n{LINE}".encode(), suffix=".jsonl", folder=tmp_path)
    assert rows[0].request == rows[1].request


FOLDER = Path(tempfile.gettempdir()) / "there-is-no-such-folder"
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
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
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
# A busy machine is no reason to fail: what is looked for is a traceback.
unhurried = settings(deadline=None)

# (the end of the script, whether the row is good, blank lines before it)
ROWS = st.tuples(st.text("ab \n", max_size=6), st.booleans(), st.integers(0, 2))


def check(told: list[str]) -> None:
    """See that problems are lines of words, in the order of the file."""
    assert [problem for problem in told if not PROBLEM.fullmatch(problem)] == []
    assert [problem for problem in told if len(problem) > 1000] == []
    lines = [int(problem.split()[1].rstrip(":")) for problem in told if problem[0] == "l"]
    assert lines == sorted(lines)


@unhurried
@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".csv"]))
@example(b"\x00", ".csv")
@example(b'"\r"\r\n"', ".csv")
@example(b"model\x85\xc2\x85", ".csv")
def test_any_bytes_are_judged_in_words(data: bytes, suffix: str) -> None:
    """No file, however damaged, ends in a traceback."""
    check(problems(data, FOLDER, suffix))


@unhurried
@given(st.lists(GARBAGE, max_size=4))
@example([BODY])
def test_any_json_is_judged_in_words(values: list[Any]) -> None:
    """Objects of known names with odd contents are where a reader would stumble."""
    check(problems("\n".join(map(json.dumps, values)), FOLDER, ".jsonl"))


@unhurried
@given(st.dictionaries(NAMES, GARBAGE, max_size=5))
@example({})
def test_any_change_of_a_body_is_judged_in_words(changes: dict[str, Any]) -> None:
    """So are good bodies of which only a part is odd."""
    check(problems(json.dumps(body(**changes)), FOLDER, ".jsonl"))


@unhurried
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
    data = written.getvalue().encode("utf-8", "surrogatepass")
    check(problems(data, FOLDER, ".csv"))


@unhurried
@given(st.lists(st.sampled_from([LINE, "", "{}", "[]", "nonsense", " \r"]), max_size=10))
def test_lines_are_counted_as_editors_count_them(lines: list[str]) -> None:
    """Each bad line is told under its own number, and no good or blank one is."""
    told = problems("\n".join(lines), FOLDER, ".jsonl")
    named = {int(problem.split()[1].rstrip(":")) for problem in told if problem[0] == "l"}
    bad = {number for number, line in enumerate(lines, 1) if line.strip() not in {LINE, ""}}
    assert named == bad
    assert bool(told) is (bool(bad) or LINE not in lines)


@unhurried
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
    told = problems(text, FOLDER, ".csv")
    assert [problem.split(":")[0] for problem in told if rows] == bad
