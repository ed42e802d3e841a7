from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, strategies as st

from lipsync_async._models.http import NO_HEADERS, FilePart, Request, Response, TextPart

KEY = "sk-very-secret"


@given(st.binary())
def test_bytes_have_their_length(content: bytes) -> None:
    """A file in memory is as long as its bytes."""
    assert FilePart("video", "clip.mp4", "video/mp4", content).checked_size() == len(content)


def test_files_are_measured_when_asked(tmp_path: Path) -> None:
    """Each attempt sends the file as it is then; one that is gone is never an empty upload."""
    path = tmp_path / "clip.mp4"
    part = FilePart("video", "clip.mp4", "video/mp4", path)
    with pytest.raises(FileNotFoundError):
        part.checked_size()
    for content in (b"short", b"longer than before"):
        path.write_bytes(content)
        assert part.checked_size() == len(content)


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


def test_other_messages_show_what_they_are() -> None:
    """A text field holds no secret; of an answer call and status are named."""
    response = Response("GET", "https://h/x", 200, {"server": "cloud"}, b"many bytes")
    assert repr(response) == "Response(method='GET', url='https://h/x', status=200)"
    assert repr(TextPart("model", "sync-3")) == "TextPart(name='model', value='sync-3')"
