import ntpath
import re
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from lipsync_async._logic.media_types import (
    Kind,
    free_names,
    head_of,
    name_of_id,
    result_filename,
    upload_name_and_type,
)

# From Python 3.13 on there is a function for it, and the method warns.
is_reserved = getattr(ntpath, "isreserved", lambda name: PureWindowsPath(name).is_reserved())

OCTETS = "application/octet-stream"
FTYP = b"\0\0\0\x18ftyp"
EBML = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\x82"
PAGE = b"OggS\0\2" + bytes(20) + b"\1\x1e"
ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
FRAME = b"\xff\xfb\x90\x44"


def tag(size: int, inside: bytes = b"", flags: int = 0) -> bytes:
    """Return an ID3 tag of so many bytes."""
    syncsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    footer = b"3DI" + bytes(7) if flags & 0x10 else b""
    return b"ID3\4\0" + bytes([flags]) + syncsafe + inside.ljust(size, b"\0") + footer


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("video", "take 1.mov", ("take 1.mov", "video/quicktime")),
        ("video", "CLIP.MP4", ("CLIP.MP4", "video/mp4")),
        ("video", "clip", ("clip", OCTETS)),
        ("video", "clip.xyz", ("clip.xyz", OCTETS)),
        ("video", "Act 2. The end", ("Act 2. The end", OCTETS)),
        ("video", ".mp4", ("mp4", OCTETS)),
        ("video", "clip.mp4.part", ("clip.mp4.part", OCTETS)),
        ("video", "speech.wav", ("speech.wav", "audio/wav")),
        ("video", "clip.MKV", ("clip.MKV", "video/x-matroska")),
        ("video", "00001.MTS", ("00001.MTS", "video/mp2t")),
        ("video", "clip.m2ts", ("clip.m2ts", "video/mp2t")),
        ("video", "clip.mpeg", ("clip.mpeg", "video/mpeg")),
        ("video", "clip.ogv", ("clip.ogv", "video/ogg")),
        ("video", "clip.3G2", ("clip.3G2", "video/3gpp2")),
        ("image", "face.jpeg", ("face.jpeg", "image/jpeg")),
        ("image", "face.webp", ("face.webp", "image/webp")),
        ("image", "IMG_0001.HEIC", ("IMG_0001.HEIC", "image/heic")),
        ("image", "face.heif", ("face.heif", "image/heif")),
        ("image", "face.TIF", ("face.TIF", "image/tiff")),
        ("image", "face.svg", ("face.svg", "image/svg+xml")),
        ("image", "face.mp4", ("face.mp4", "video/mp4")),
        ("audio", "speech.mp4", ("speech.mp4", "audio/mp4")),
        ("audio", "speech.mp3", ("speech.mp3", "audio/mpeg")),
        ("audio", "note.opus", ("note.opus", "audio/ogg")),
        ("audio", "note.Opus", ("note.Opus", "audio/ogg")),
        ("audio", "note.3gp", ("note.3gp", "audio/3gpp")),
        ("audio", "note.awb", ("note.awb", "audio/amr-wb")),
        ("audio", "note.weba", ("note.weba", "audio/webm")),
        ("audio", "ring.m4r", ("ring.m4r", "audio/mp4")),
        ("audio", "old.snd", ("old.snd", "audio/basic")),
        ("audio", "clip.mov", ("clip.mov", "video/quicktime")),
        ("audio", "für\nalle.ogg", ("füralle.ogg", "audio/ogg")),
        ("audio", "a\udcff.flac", ("a.flac", "audio/flac")),
        ("audio", "\x01", ("audio.bin", OCTETS)),
    ],
)
def test_a_path_is_sent_under_its_name_and_the_type_of_its_suffix(
    kind: Kind, name: str, expected: tuple[str, str]
) -> None:
    """The suffix decides, as the part of the form understands it; what is unknown has no type."""
    assert upload_name_and_type(kind, Path("folder") / name) == expected
    assert upload_name_and_type(kind, f"folder/{name}", b"nothing that is known") == expected


@pytest.mark.parametrize(
    ("kind", "name", "head", "expected"),
    [
        ("video", "a.mp4", FTYP + b"qt  \0\0\0\0qt  ", ("a.mp4", "video/quicktime")),
        ("video", "a.mov", FTYP + b"isom", ("a.mov", "video/mp4")),
        ("video", "a.avi", EBML + b"\x84webm", ("a.avi", "video/webm")),
        ("video", "a.webm", EBML + b"\x88matroska", ("a.webm", "video/x-matroska")),
        ("video", "a", FTYP + b"mp42", ("a.mp4", "video/mp4")),
        ("video", "take 3.5", FTYP + b"mp42", ("take 3.5", "video/mp4")),
        ("video", "a.txt", FTYP + b"mp42", ("a.txt", "video/mp4")),
        ("video", "a.m4v", FTYP + b"mp42", ("a.m4v", "video/mp4")),
        ("image", "a.png", b"\xff\xd8\xff\xe1", ("a.png", "image/jpeg")),
        ("image", "a.jpg", FTYP + b"heic", ("a.jpg", "image/heic")),
        ("image", "a.JPG", b"\x89PNG\r\n\x1a\n", ("a.JPG", "image/png")),
        ("image", "a.heic", b"\xff\xd8\xff\xe1", ("a.heic", "image/jpeg")),
        ("image", "a", b"RIFF....WEBPVP8 ", ("a.webp", "image/webp")),
        ("audio", "a.wav", tag(0) + FRAME, ("a.wav", "audio/mpeg")),
        ("audio", "a.wav", FRAME, ("a.wav", "audio/mpeg")),
        ("audio", "a.mp3", b"RIFF....WAVEfmt ", ("a.mp3", "audio/wav")),
        ("audio", "a.mp3", FTYP + b"M4A ", ("a.mp3", "audio/mp4")),
        ("audio", "a.m4a", FTYP + b"isom", ("a.m4a", "audio/mp4")),
        ("audio", "a.m4a", b"\xff\xf1\x50", ("a.m4a", "audio/aac")),
        ("audio", "a.aac", FTYP + b"M4A ", ("a.aac", "audio/mp4")),
        ("audio", "a.ogg", b"fLaC", ("a.ogg", "audio/flac")),
        ("audio", "a.oga", PAGE + b"\x7fFLAC", ("a.oga", "audio/ogg")),
        ("audio", "a.opus", PAGE + b"\x01vorbis", ("a.opus", "audio/ogg")),
        ("audio", "a.mka", EBML + b"\x88matroska", ("a.mka", "audio/x-matroska")),
        ("video", "a.mka", EBML + b"\x88matroska", ("a.mka", "audio/x-matroska")),
        ("video", "a.wma", ASF, ("a.wma", "audio/x-ms-wma")),
        ("audio", "\x01", FRAME, ("audio.mp3", "audio/mpeg")),
    ],
)
def test_the_first_bytes_know_better_than_the_suffix(
    kind: Kind, name: str, head: bytes, expected: tuple[str, str]
) -> None:
    """A file with a wrong suffix, or none, is announced as what it is."""
    assert upload_name_and_type(kind, name, head) == expected


BYTES: list[tuple[Kind, bytes, tuple[str, str]]] = [
    ("image", b"\x89PNG\r\n\x1a\n...", (".png", "image/png")),
    ("image", b"\xff\xd8\xff\xe0...", (".jpg", "image/jpeg")),
    ("image", b"RIFF\0\0\0\0WEBPVP8 ", (".webp", "image/webp")),
    ("image", b"GIF87a", (".gif", "image/gif")),
    ("image", b"MM\0*\0\0\0\x08", (".tiff", "image/tiff")),
    ("image", b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", (".bmp", "image/bmp")),
    ("image", b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x29\0\0\0", (".bin", OCTETS)),
    ("image", b"BMW is a brand of cars", (".bin", OCTETS)),
    ("image", FTYP + b"heix\0\0\0\0mif1heix", (".heic", "image/heic")),
    ("image", FTYP + b"mif1\0\0\0\0mif1avif", (".avif", "image/avif")),
    ("image", FTYP + b"avis\0\0\0\0msf1", (".avif", "image/avif")),
    ("image", FTYP + b"msf1\0\0\0\0msf1", (".heif", "image/heif")),
    ("image", b"\0\0\0\x10ftypmif1\0\0\0\0avif", (".heif", "image/heif")),
    ("image", b"\0\0\0\x0cJXL \r\n\x87\n", (".jxl", "image/jxl")),
    ("image", FTYP + b"crx \0\0\0\1crx ", (".bin", OCTETS)),
    ("image", b"?", (".bin", OCTETS)),
    ("audio", b"RIFF\0\0\0\0WAVEfmt ", (".wav", "audio/wav")),
    ("audio", b"BW64\xff\xff\xff\xffWAVEds64", (".wav", "audio/wav")),
    ("audio", b"RIFX\0\0\0\0WAVEfmt ", (".wav", "audio/wav")),
    ("audio", b"RIFF\0\0\0\0sfbkLIST", (".bin", OCTETS)),
    ("audio", b"....\0\0\0\0WAVE", (".bin", OCTETS)),
    ("audio", b"FORM\0\0\0\0AIFC", (".aiff", "audio/aiff")),
    ("audio", b"ID3\x04...", (".mp3", "audio/mpeg")),
    ("audio", b"ID3", (".mp3", "audio/mpeg")),
    ("audio", tag(300) + FRAME, (".mp3", "audio/mpeg")),
    ("audio", tag(300) + bytes(1000) + FRAME, (".mp3", "audio/mpeg")),
    ("audio", tag(20_000, b"\xff\xf1\x50") + b"\xff\xf1\x50", (".aac", "audio/aac")),
    ("audio", tag(20, flags=0x10) + b"\xff\xf9\x4c", (".aac", "audio/aac")),
    ("audio", tag(20) + b"fLaC", (".flac", "audio/flac")),
    ("audio", tag(5) * 500 + FRAME, (".mp3", "audio/mpeg")),
    ("audio", b"ID3\4\0\0" + b"\x7f" * 4 + bytes(10), (".mp3", "audio/mpeg")),
    ("audio", b"\xff\xfb\x90", (".mp3", "audio/mpeg")),
    ("audio", b"\xff\xe2\x18", (".mp3", "audio/mpeg")),
    ("audio", b"\xff\xfd\x90", (".mp2", "audio/mpeg")),
    ("audio", b"\xff\xfb\xf0", (".bin", OCTETS)),
    ("audio", b"\xff\xfb\x9c", (".bin", OCTETS)),
    ("audio", b"\xff\xeb\x90", (".bin", OCTETS)),
    ("audio", "Text".encode("utf-16"), (".bin", OCTETS)),
    ("audio", "Text".encode("utf-16-be"), (".bin", OCTETS)),
    ("audio", b"\xff\xf1\x50", (".aac", "audio/aac")),
    ("audio", b"\xff\xf1\x34", (".bin", OCTETS)),
    ("audio", b"\xff\xe1\x50", (".bin", OCTETS)),
    ("audio", b"ADIF", (".aac", "audio/aac")),
    ("audio", PAGE + b"OpusHead", (".opus", "audio/ogg")),
    ("audio", PAGE + b"\x01vorbis", (".ogg", "audio/ogg")),
    ("audio", PAGE + b"\x80theora", (".ogv", "video/ogg")),
    ("audio", b"OggS\0\2", (".ogg", "audio/ogg")),
    ("audio", b"OggS...", (".bin", OCTETS)),
    ("audio", b"fLaC...", (".flac", "audio/flac")),
    ("audio", b"#!AMR-WB\n", (".awb", "audio/amr-wb")),
    ("audio", b"#!AMR-NB\n", (".bin", OCTETS)),
    ("audio", b".snd\0\0\0\x18", (".au", "audio/basic")),
    ("audio", b"\0\0\0\x20ftypM4A ...", (".m4a", "audio/mp4")),
    ("audio", b"\0\0\0\x20ftypM4B ...", (".m4b", "audio/mp4")),
    ("audio", b"\0\0\0\x20ftypisom...", (".mp4", "audio/mp4")),
    ("audio", FTYP + b"3gp6", (".3gp", "audio/3gpp")),
    ("audio", EBML + b"\x84webm", (".webm", "audio/webm")),
    ("audio", EBML + b"\x88matroska", (".mka", "audio/x-matroska")),
    ("audio", ASF, (".wma", "audio/x-ms-wma")),
    ("audio", b"", (".bin", OCTETS)),
    ("video", b"\0\0\0\x20ftypisom...", (".mp4", "video/mp4")),
    ("video", FTYP + b"MSNV\x01\x29\0\x46MSNV", (".mp4", "video/mp4")),
    ("video", FTYP + b"XAVC\0\0\0\0XAVCmp42", (".mp4", "video/mp4")),
    ("video", FTYP + b"XAVC\0\0\0\0XAVC", (".bin", OCTETS)),
    ("video", FTYP + b"M4V \0\0\0\0", (".m4v", "video/mp4")),
    ("video", FTYP + b"3g2a", (".3g2", "video/3gpp2")),
    ("video", b"\0\0\0\x14ftypqt  ...", (".mov", "video/quicktime")),
    ("video", b"\0\0\0\x08skip", (".mov", "video/quicktime")),
    ("video", b"\xff\0\0\0mdat", (".mov", "video/quicktime")),
    ("video", b"The free press", (".bin", OCTETS)),
    ("video", EBML + b"\x40\x04webm", (".webm", "video/webm")),
    ("video", EBML + b"\x84docu", (".bin", OCTETS)),
    ("video", b"\x1a\x45\xdf\xa3...", (".bin", OCTETS)),
    ("video", b"RIFF\0\0\0\0AVI LIST", (".avi", "video/x-msvideo")),
    ("video", b"\0\0\1\xba\x44", (".mpg", "video/mpeg")),
    ("video", b"FLV\1\5", (".flv", "video/x-flv")),
    ("video", ASF[:8], (".wmv", "video/x-ms-wmv")),
    ("video", ASF[:8] + b"otherwise", (".bin", OCTETS)),
    ("video", b"OggS\0\2", (".ogv", "video/ogg")),
    ("video", (b"\x47\x40\0\x30" + bytes(184)) * 3, (".ts", "video/mp2t")),
    ("video", (b"\0\0\0\0\x47\x40\0\x10" + bytes(184)) * 2, (".mts", "video/mp2t")),
    ("video", b"\x47\x40\0\x10" + bytes(184), (".bin", OCTETS)),
    ("video", b"\x47\x40\0\x00" + bytes(184) + b"\x47", (".bin", OCTETS)),
    ("video", b"?", (".bin", OCTETS)),
]


@pytest.mark.parametrize(("kind", "data", "expected"), BYTES, ids=range(len(BYTES)))
def test_bytes_are_named_by_how_they_begin(
    kind: Kind, data: bytes, expected: tuple[str, str]
) -> None:
    """Bytes have no name, but their first ones tell what they are, or nothing does."""
    suffix, media_type = expected
    assert upload_name_and_type(kind, data) == (f"{kind}{suffix}", media_type)
    assert head_of(BytesIO(data)).startswith(data[:3])
    by_head = upload_name_and_type(kind, f"{kind}", head_of(BytesIO(data)))
    assert by_head[1] == media_type


KINDS = st.sampled_from(["video", "image", "audio"])
BEGINNINGS = st.sampled_from([data[:12] for _, data, _ in BYTES] + [b""])


@given(kind=KINDS, beginning=BEGINNINGS, rest=st.binary(max_size=600), name=st.text(max_size=20))
def test_no_bytes_are_announced_as_what_their_name_denies(
    kind: Kind, beginning: bytes, rest: bytes, name: str
) -> None:
    """The name that bytes are given has the type that they are given, whatever they are."""
    data = beginning + rest
    given_name, media_type = upload_name_and_type(kind, data)
    assert upload_name_and_type(kind, given_name) == (given_name, media_type)
    _, by_path = upload_name_and_type(kind, name + PurePosixPath(given_name).suffix, data)
    assert by_path == media_type


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
    url: str, content_disposition: str | None, content_type: str | None, expected: str
) -> None:
    """The server's name, then the URL's, then the caller's; the type fills in the suffix."""
    told: Any = {"content_disposition": content_disposition, "content_type": content_type}
    assert result_filename(url=url, **told, fallback="the-id") == expected


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
    fallback: str, content_type: str | None, expected: str
) -> None:
    """No name is taken as it comes, and none is empty or too long."""
    told: Any = {"content_disposition": None, "content_type": content_type}
    assert result_filename(url=BARE_URL, **told, fallback=fallback) == expected


NASTY = st.one_of(st.text(), st.text("./\\:%2eEfF\0\n ~ncouNCO1$\"*';=\ud800é.", max_size=12))
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
    *("x/../../../evil", "..", ".", "", "/etc/passwd", "\\\\server\\share", "C:evil", "c:\\evil"),
    *("a:stream", "con", "nul.mp4", "a ", "a.", "a...", " a", "a\0b", "a\nb", "a\u202eb", "\ud800"),
    *("ü" * 300, "a" * 65, "a" * 100_000, "G1", "g1-", "-g1", "\N{FULLWIDTH SOLIDUS}", "a%2fb"),
    *("~", "$HOME", "*?<>|"),
]


def test_each_odd_id_has_a_harmless_name_of_its_own() -> None:
    """No id names another folder, a device or a hidden file, and no two share a name."""
    odd = {*ODD_IDS, *map(name_of_id, ODD_IDS), "g1", "a"}
    names = [name_of_id(each) for each in odd]
    plain = ["g1", "0", "3f0c7a52-8d1e-4c55-9d3b-0a4de0f3f9aa", "a_b", "a" * 64]
    assert [name_of_id(each) for each in plain] == plain  # as the service writes them
    assert len({name.lower() for name in names}) == len(names)
    harmless = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
    assert [name for name in names if not harmless.fullmatch(name)] == []


@given(first=NASTY, second=NASTY)
@example(first="a", second="A")
def test_two_ids_never_share_a_name(first: str, second: str) -> None:
    """Names tell ids apart, also where case does not count."""
    names = {name_of_id(each).lower() for each in (first, second)}
    assert len(names) == len({first, second})


FILM = b"\0\0\0\x14ftypqt  \0\0\0\0qt  "


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        ("v.mp4", "g1", ["v.mp4", "v-g1.mp4", "v-g1-2.mp4", "v-g1-3.mp4"]),
        ("v", "g1", ["v", "v-g1", "v-g1-2", "v-g1-3"]),
        ("g1.mp4", "g1", ["g1.mp4", "g1-2.mp4", "g1-3.mp4"]),
        ("take-g1.mp4", "g1", ["take-g1.mp4", "take-g1-2.mp4"]),
        ("g1-take.mp4", "g1", ["g1-take.mp4", "g1-take-g1.mp4", "g1-take-g1-2.mp4"]),
        ("bag1.mp4", "g1", ["bag1.mp4", "bag1-g1.mp4"]),
        ("a.mp4", "a", ["a.mp4", "a-2.mp4"]),
        ("take.mp4", "a", ["take.mp4", "take-a.mp4"]),
        ("Act 2. The end", "g1", ["Act 2. The end", "Act 2. The end-g1"]),
    ],
)
def test_names_to_try(name: str, tag: str, expected: list[str]) -> None:
    """First the name wished for, then names that this job alone can have."""
    found = [*islice(free_names(name, tag), len(expected))]
    assert [each for each, _ in found] == expected
    # The first may be another job's, unless it ends with this one's id.
    first = name.rpartition(".")[0] if " " not in name else name
    is_own = (first or name).split("-")[-1] == tag
    assert [own for _, own in found] == [is_own, *[True] * (len(found) - 1)]


@given(name=st.text("aü\N{PILE OF POO}.", min_size=1, max_size=200), tag=NASTY)
def test_names_to_try_are_short_enough(name: str, tag: str) -> None:
    """Every name to try fits into 255 bytes, with room for a part file's ending."""
    nothing: Any = {"content_disposition": None, "content_type": None}
    safe = result_filename(url="", **nothing, fallback=f"{name * 9}.mp4")
    names = [each for each, _ in islice(free_names(safe, name_of_id(tag)), 5)]
    assert [each for each in names if len(each.encode()) > 210] == []
    assert len({each.lower() for each in names}) == 5


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("x.mp4", FILM, "x.mov"),
        ("x.MOV", FILM, "x.MOV"),
        ("x", FILM, "x.mov"),
        ("x.php", FILM, "x.php.mov"),
        ("x.webm", FILM, "x.mov"),
        ("x.wav", FILM, "x.mov"),
        ("x. The end", FILM, "x. The end.mov"),
        ("x.mp4", b"\0\0\0\x18ftypM4A \0\0\0\0", "x.mp4"),
        ("x.mp4", b"?" * 99, "x.mp4"),
        ("x.mp4", b"", "x.mp4"),
        ("a" * 196 + ".mp4", FILM, "a" * 196 + ".mov"),
        ("a" * 197 + ".sh", FILM, "a" * 196 + ".mov"),
    ],
)
def test_the_bytes_settle_the_suffix(name: str, head: bytes, expected: str) -> None:
    """A name that says otherwise is corrected; one that is no media's gets a suffix."""
    places: list[dict[str, Any]] = [
        {"url": "", "content_disposition": f'attachment; filename="{name}"', "fallback": "id"},
        {"url": "", "content_disposition": None, "fallback": name},
    ]
    found = [result_filename(**place, content_type=None, head=head) for place in places]
    assert found == [expected] * 2


INVISIBLE = [*"\0\n\r\t\x1b\x7f\x85\x9f\xad\u061c\u180e\u200b\u200d\u200e\u200f\u2028\u2029"]
INVISIBLE += [*"\u202a\u202e\u2060\u2066\u2069\u206a\ufeff\ufff9\ud800\udcff\U000e0001\U000e007f"]


@pytest.mark.parametrize("character", INVISIBLE, ids=[f"{ord(each):x}" for each in INVISIBLE])
def test_what_cannot_be_seen_is_in_no_name(character: str) -> None:
    """Characters that hide, reorder or break text are left out, wherever they are."""
    fallback = f"{character}v{character}.{character}mp4{character}"
    found = result_filename(url="", content_disposition=None, content_type=None, fallback=fallback)
    assert found == "v.mp4"
