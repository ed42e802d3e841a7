"""Manifests as files: which are read, and what is told about those that are not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from lipsync_async._fleet.manifest import parse_manifest, read_manifest
from lipsync_async._rules.codec import encode_request
from lipsync_async._values.inputs import Video
from lipsync_async.errors import InvalidRequestError
from tests.fleet.manifests import BODY, LINE, body, problems

if TYPE_CHECKING:
    from pathlib import Path

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
        ("nu\0ll.csv", "manifest: cannot be read (embedded null byte): '"),
        ("m.txt", "manifest: must end in .jsonl, .ndjson, .csv, not '.txt'"),
        ("m", "manifest: must end in .jsonl, .ndjson, .csv, not ''"),
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


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_named(tmp_path: Path, encoding: str) -> None:
    """The encoding that spreadsheets call Unicode gets a better answer than nonsense."""
    data = ("\ufeff" + TABLE.format("a")).encode(encoding)
    assert problems(data, tmp_path, ".csv") == ["manifest: is UTF-16; save the file as UTF-8"]


def test_results_need_names_of_their_own(tmp_path: Path) -> None:
    """Two rows of one name, or of two that some systems take for one, are a slip of copying."""
    lines = [body(outputFileName=name) for name in ("Take", "b", "take", "c")]
    data = "\n".join(map(json.dumps, [*lines, BODY, BODY]))
    assert problems(data, tmp_path, ".jsonl") == [
        "line 3: names its output 'take' as line 1 does; give each its own",
    ]


def test_ids_of_a_batch_differ(tmp_path: Path) -> None:
    """The service would refuse a batch with one id for two lines."""
    line = json.dumps({"request_id": "a", "endpoint": "/v2/generate", "payload": BODY})
    assert problems(f"{line}\n{line}\n", tmp_path, ".jsonl") == [
        "line 2: request_id: must differ from that of line 1",
    ]


def test_equal_rows_are_two_requests(tmp_path: Path) -> None:
    """Who wants two takes of the same says it twice; only names must differ."""
    rows = parse_manifest(f"{LINE}\n{LINE}".encode(), suffix=".jsonl", folder=tmp_path)
    assert rows[0].request == rows[1].request
