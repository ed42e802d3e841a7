from __future__ import annotations

import ntpath
import re
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._rules.media_types import (
    Kind,
    name_of_id,
    result_filename,
    upload_name_and_type,
)

# From Python 3.13 on there is a function for it, and the method warns.
is_reserved = getattr(ntpath, "isreserved", lambda name: PureWindowsPath(name).is_reserved())


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("video", "take 1.mov", ("take 1.mov", "video/quicktime")),
        ("video", "CLIP.MP4", ("CLIP.MP4", "video/mp4")),
        ("video", "clip", ("clip", "video/mp4")),
        ("video", "clip.xyz", ("clip.xyz", "video/mp4")),
        ("video", "speech.wav", ("speech.wav", "audio/wav")),
        ("image", "face.jpeg", ("face.jpeg", "image/jpeg")),
        ("image", "face.webp", ("face.webp", "image/webp")),
        ("audio", "speech.mp4", ("speech.mp4", "audio/mp4")),
        ("audio", "speech.mp3", ("speech.mp3", "audio/mpeg")),
        ("audio", "für\nalle.ogg", ("füralle.ogg", "audio/ogg")),
        ("audio", "a\udcff.flac", ("a.flac", "audio/flac")),
        ("audio", "\x01", ("audio.wav", "audio/wav")),
    ],
)
def test_a_path_is_sent_under_its_name_and_the_type_of_its_suffix(
    kind: Kind,
    name: str,
    expected: tuple[str, str],
) -> None:
    """The suffix decides, as the part of the form understands it."""
    assert upload_name_and_type(kind, Path("folder") / name) == expected
    assert upload_name_and_type(kind, f"folder/{name}") == expected


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("image", b"\x89PNG\r\n\x1a\n...", ("image.png", "image/png")),
        ("image", b"\xff\xd8\xff\xe0...", ("image.jpg", "image/jpeg")),
        ("image", b"RIFF\0\0\0\0WEBPVP8 ", ("image.webp", "image/webp")),
        ("image", b"?", ("image.png", "image/png")),
        ("audio", b"RIFF\0\0\0\0WAVEfmt ", ("audio.wav", "audio/wav")),
        ("audio", b"ID3\x04...", ("audio.mp3", "audio/mpeg")),
        ("audio", b"\xff\xfb\x90", ("audio.mp3", "audio/mpeg")),
        ("audio", b"\xff\xf1\x50", ("audio.aac", "audio/aac")),
        ("audio", b"OggS...", ("audio.ogg", "audio/ogg")),
        ("audio", b"fLaC...", ("audio.flac", "audio/flac")),
        ("audio", b"\0\0\0\x20ftypM4A ...", ("audio.m4a", "audio/mp4")),
        ("audio", b"\0\0\0\x20ftypisom...", ("audio.mp4", "audio/mp4")),
        ("audio", b"", ("audio.wav", "audio/wav")),
        ("video", b"\0\0\0\x20ftypisom...", ("video.mp4", "video/mp4")),
        ("video", b"\0\0\0\x14ftypqt  ...", ("video.mov", "video/quicktime")),
        ("video", b"\x1a\x45\xdf\xa3...", ("video.webm", "video/webm")),
        ("video", b"RIFF\0\0\0\0AVI LIST", ("video.avi", "video/x-msvideo")),
        ("video", b"?", ("video.mp4", "video/mp4")),
    ],
)
def test_bytes_are_named_by_how_they_begin(
    kind: Kind,
    data: bytes,
    expected: tuple[str, str],
) -> None:
    """Bytes have no name, but their first ones tell what they are."""
    assert upload_name_and_type(kind, data) == expected


URL = "https://media.example/results/clip.mov?signature=a.b"
BARE_URL = "https://media.example/results/clip"


@pytest.mark.parametrize(
    ("url", "content_disposition", "content_type", "expected"),
    [
        (URL, 'attachment; filename="take 1.mp4"', "video/webm", "take 1.mp4"),
        (URL, "attachment; filename=take.mp4", None, "take.mp4"),
        (URL, 'attachment; FileName = "a\\"b;c.mp4" ; x=y', None, "a_b;c.mp4"),
        (URL, "attachment; filename=a.mp4; filename*=UTF-8''f%C3%BCr.mp4", None, "für.mp4"),
        (URL, "attachment; filename*=iso-8859-1'de'f%FCr.mp4", None, "für.mp4"),
        (URL, "attachment; filename*=utf-7''x.mp4; filename=a.mp4", None, "a.mp4"),
        (URL, "attachment; filename*=broken; filename=a.mp4", None, "a.mp4"),
        (URL, "attachment; filename=a.mp4; filename=b.mp4", None, "a.mp4"),
        (URL, 'attachment; filename="take"', "video/quicktime; x=y", "take.mov"),
        (URL, 'attachment; filename="Act 2. The end"', "video/mp4", "Act 2. The end.mp4"),
        (URL, 'attachment; filename="../../etc/passwd"', None, "passwd"),
        (URL, 'attachment; filename="..\\\\..\\\\a.mp4"', None, "a.mp4"),
        (URL, "attachment; filename*=UTF-8''%2e%2e%2fa.mp4", None, "a.mp4"),
        (URL, 'attachment; filename=".."', None, "clip.mov"),
        (URL, 'attachment; filename=""', None, "clip.mov"),
        (URL, "inline", None, "clip.mov"),
        (URL, None, "video/mp4", "clip.mov"),
        ("https://h/a%2F..%2F.hidden%20one.mp4", None, None, "hidden one.mp4"),
        ("https://h/con.mp4", None, None, "_con.mp4"),
        ("https://h/LPT1 .tar.mp4", None, None, "_LPT1 .tar.mp4"),
        ("https://h/a:b%00?.mp4", None, None, "the-id"),
        ("https://h/a:b%00.mp4", None, None, "a_b.mp4"),
        ("https://h/gpj%E2%80%AE.mp4", None, None, "gpj.mp4"),
        (BARE_URL, None, "video/mp4", "the-id.mp4"),
        (BARE_URL, None, "VIDEO/QuickTime", "the-id.mov"),
        (BARE_URL, None, "application/octet-stream", "the-id"),
        (BARE_URL, None, None, "the-id"),
        ("https://[", None, "audio/mp4", "the-id.m4a"),
        ("https://h/folder.mp4/", None, "image/png", "the-id.png"),
    ],
)
def test_a_result_gets_the_best_name_at_hand(
    url: str,
    content_disposition: str | None,
    content_type: str | None,
    expected: str,
) -> None:
    """The server's name, then the URL's, then the caller's; the type fills in the suffix."""
    found = result_filename(
        url=url,
        content_disposition=content_disposition,
        content_type=content_type,
        fallback="the-id",
    )

    assert found == expected


@pytest.mark.parametrize(
    ("fallback", "content_type", "expected"),
    [
        ("take.webm", "video/mp4", "take.webm"),
        ("..", "video/mp4", "result.mp4"),
        ("", None, "result"),
        ("a" * 300, "video/mp4", "a" * 196 + ".mp4"),
        ("ü" * 300, "video/mp4", "ü" * 98 + ".mp4"),
        ("a" + "ü" * 300, "video/mp4", "a" + "ü" * 97 + ".mp4"),
    ],
)
def test_the_fallback_is_made_safe_as_well(
    fallback: str,
    content_type: str | None,
    expected: str,
) -> None:
    """No name is taken as it comes, and none is empty or too long."""
    found = result_filename(
        url=BARE_URL,
        content_disposition=None,
        content_type=content_type,
        fallback=fallback,
    )

    assert found == expected


NASTY = st.one_of(
    st.text(),
    st.text("./\\:%2eEfF\0\n ~ncouNCO1$\"*';=\ud800é.", max_size=12),
)
HEADERS = st.one_of(
    st.none(),
    NASTY,
    NASTY.map(lambda name: f'attachment; filename="{name}"'),
    NASTY.map(lambda name: f"attachment; filename*=UTF-8''{name}"),
)


@given(
    url=NASTY | NASTY.map(lambda name: f"https://h/{name}"), name=HEADERS, kind=NASTY, last=NASTY
)
@example(url="", name='; filename="..%2f"', kind="", last="../..")
@example(url="", name=None, kind="video/mp4", last="a" * 190 + ". . . . " + "b" * 20)
def test_a_result_never_leaves_its_folder(url: str, name: str | None, kind: str, last: str) -> None:
    """Whatever a server says, the result is one visible file of the folder, on any system."""
    found = result_filename(url=url, content_disposition=name, content_type=kind, fallback=last)

    assert 1 <= len(found.encode()) <= 200
    assert PurePosixPath(found).parts == (found,)
    assert PureWindowsPath(found).parts == (found,)
    assert not is_reserved(found)
    assert (found[0] not in ". ", found[-1] not in ". ") == (True, True)
    assert [character for character in found if not 0x20 <= ord(character) != 0x7F] == []


ODD_IDS = [
    "x/../../../evil",
    "..",
    ".",
    "",
    "/etc/passwd",
    "\\\\server\\share",
    "C:evil",
    "c:\\evil",
    "a:stream",
    "con",
    "nul.mp4",
    "a ",
    "a.",
    "a...",
    " a",
    "a\0b",
    "a\nb",
    "a\u202eb",
    "\ud800",
    "ü" * 300,
    "a" * 65,
    "a" * 100_000,
    "G1",
    "g1-",
    "-g1",
    "\N{FULLWIDTH SOLIDUS}",
    "a%2fb",
    "~",
    "$HOME",
    "*?<>|",
]


@pytest.mark.parametrize(
    "plain", ["g1", "0", "3f0c7a52-8d1e-4c55-9d3b-0a4de0f3f9aa", "a_b", "a" * 64]
)
def test_a_plain_id_is_its_own_name(plain: str) -> None:
    """Ids as the service writes them are found again in file names."""
    assert name_of_id(plain) == plain


def test_each_odd_id_has_a_harmless_name_of_its_own() -> None:
    """No id names another folder, a device or a hidden file, and no two share a name."""
    odd = {*ODD_IDS, *map(name_of_id, ODD_IDS), "g1", "a"}
    names = [name_of_id(each) for each in odd]
    assert len({name.lower() for name in names}) == len(names)
    assert [
        name for name in names if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}", name)
    ] == []


@given(first=NASTY, second=NASTY)
@example(first="a", second="A")
def test_two_ids_never_share_a_name(first: str, second: str) -> None:
    """Names tell ids apart, also where case does not count."""
    names = {name_of_id(each).lower() for each in (first, second)}
    assert len(names) == len({first, second})
