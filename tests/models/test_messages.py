from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, strategies as st

from lipsync_async._models.http import NO_HEADERS, FilePart, Request, Response, TextPart

KEY = "sk-very-secret"


@given(st.binary())
def test_bytes_have_their_length(content: bytes) -> None:
    """A file in memory is as long as its bytes."""
    assert FilePart("video", "clip.mp4", "video/mp4", content).size == len(content)


def test_files_are_measured_when_asked(tmp_path: Path) -> None:
    """Each attempt sends the file as it is then, so its size is never remembered."""
    path = tmp_path / "clip.mp4"
    part = FilePart("video", "clip.mp4", "video/mp4", path)
    path.write_bytes(b"short")
    assert part.size == 5
    path.write_bytes(b"longer than before")
    assert part.size == 18


def test_a_missing_file_has_no_size(tmp_path: Path) -> None:
    """A file that is gone is an error of the file system, never an empty upload."""
    part = FilePart("video", "clip.mp4", "video/mp4", tmp_path / "gone.mp4")
    with pytest.raises(FileNotFoundError):
        _ = part.size


def test_a_request_shows_neither_key_nor_content() -> None:
    """The repr of a request may be logged."""
    file = FilePart("video", "clip.mp4", "video/mp4", b"private bytes")
    request = Request("POST", "https://h/x", {"x-api-key": KEY}, b"private", (file,))
    assert repr(request) == "Request(method='POST', url='https://h/x')"
    assert "private" not in repr(file)


def test_a_request_without_extras_has_none() -> None:
    """The defaults are empty and cannot be filled by accident."""
    request = Request("GET", "https://h/x")
    assert (dict(request.headers), request.body, request.form) == ({}, None, ())
    with pytest.raises(TypeError, match="does not support item assignment"):
        cast("dict[str, str]", NO_HEADERS)["x-api-key"] = KEY


def test_an_answer_shows_where_it_came_from() -> None:
    """The repr of an answer names call and status, and spares the reader the rest."""
    response = Response("GET", "https://h/x", 200, {"server": "cloud"}, b"many bytes")
    assert repr(response) == "Response(method='GET', url='https://h/x', status=200)"


def test_text_parts_show_what_they_hold() -> None:
    """A text field holds no secret."""
    assert repr(TextPart("model", "sync-3")) == "TextPart(name='model', value='sync-3')"
