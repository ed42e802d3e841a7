"""What media hosts say: addresses, refusals, pages instead of media, lengths, paces."""

import gzip
import json
import random
import zlib
from io import BytesIO

import pytest
from hypothesis import given, strategies as st

from lipsync_async._logic.media_host import (
    HEAD_BYTES,
    Inflater,
    Pace,
    checked_address,
    coding_of,
    is_refusal,
    is_worth_more_patience,
    no_media,
    part_place,
    redirect_address,
    refusal_of,
    strong_validator,
    whole_length,
)
from lipsync_async._logic.media_types import is_cut
from lipsync_async._models.http import Response
from lipsync_async.errors import NotFoundError, RateLimitError, ResponseError, ServerError


def zipped(data: bytes) -> bytes:
    """Compress data, always to the same bytes."""
    return gzip.compress(data, mtime=0)


SIGNED = "https://s3.example/b/v.mp4?X-Amz-Signature=a%2Fb%2bc&response='x'&e=~!*()|{}^`<>\"\\"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (SIGNED, SIGNED),
        ("HTTP://CDN.example/v.mp4", "HTTP://CDN.example/v.mp4"),
        ("http://127.0.0.1:8080/v.mp4", "http://127.0.0.1:8080/v.mp4"),
        ("http://[::1]:8080/v.mp4", "http://[::1]:8080/v.mp4"),
        ("https://my_bucket.s3.example./v", "https://my_bucket.s3.example./v"),
        ("https://h", "https://h"),
        ("https://h/v?a#t=10", "https://h/v?a"),
        ("  https://h/v.mp4\n", "https://h/v.mp4"),
        ("https://h/a b.mp4?c d", "https://h/a%20b.mp4?c%20d"),
        ("https://h/für.mp4?ü=%C3%BC", "https://h/f%C3%BCr.mp4?%C3%BC=%C3%BC"),
        ("https://h/a\udcfc.mp4", "https://h/a%FC.mp4"),
        ("https://bücher.example:81/v", "https://xn--bcher-kva.example:81/v"),
        ("http://[::1]:81/ü", "http://[::1]:81/%C3%BC"),
    ],
)
def test_addresses_that_can_be_asked(address: str, expected: str) -> None:
    """A plain address goes as it is, for it may be signed; the rest is escaped as in browsers."""
    assert checked_address(address) == expected


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (None, "no text but NoneType"),
        (5, "no text but int"),
        (b"https://h/v.mp4", "no text but bytes"),
        (["https://h/v.mp4"], "no text but list"),
        ("", "neither http:// nor https://"),
        *(
            (address, "neither http")
            for address in [
                *("//cdn.example/v.mp4", "cdn.example/v.mp4", "/v.mp4", "nowhere"),
                *("https:/cdn.example/v.mp4", "https:cdn.example", "ftp://h/v.mp4", "ws://h/v"),
                *("file:///etc/passwd", "data:video/mp4;base64,AAAA", "s3://bucket/v.mp4"),
                *("javascript:alert(1)//https://h/", "blob:https://h/1"),
            ]
        ),
        *(
            (f"https://h/{end}", "control characters")
            for end in ("a\tb", "a\r\nX-Evil: 1", "\0", "\x9b31m")
        ),
        ("https://h/" + "a" * 100_000, "has 100010 characters"),
        ("https://", "no host that can be asked"),
        ("https://user:secret@h/v.mp4", "no host that can be asked (there is a user name"),
        ("https://user@h/v.mp4", "there is a user name or a password"),
        ("https://h:0/v", "0 is no port"),
        *(
            (f"https://{rest}", "no host")
            for rest in [
                *("/v.mp4", "?a", ":80/v", "h:99999/v", "h:port/v", "h:-1/v", "[::1/v", "[v1.x]/v"),
                *("[fe80::1%25eth0]/v", "[fe80::1%eth0]/v", "a b/v", "h\\@evil/v", "h\\evil/v"),
                *("a..b/v", ".h/v", "%2e/v", "\N{SNOWMAN}.\ud800/v", "ü" * 70 + ".example/v"),
                "h/\ud800",
            ]
        ),
    ],
)
def test_addresses_that_cannot(address: object, reason: str) -> None:
    """Each gets a reason in words, which shows no password and not all of a long address."""
    with pytest.raises(ValueError, match=r"^(is|has|holds|begins|names) ") as caught:
        checked_address(address)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 250
    assert "secret" not in str(caught.value)


ODD = st.text("htps:/[]@%.?#\\ \0ü\udc80\ud800")


@given(st.text() | ODD.map("http://{}".format) | ODD.map("http://h/{}".format))
def test_an_address_is_ascii_or_refused(address: str) -> None:
    """Nothing else comes out, whatever goes in."""
    try:
        found = checked_address(address)
    except ValueError:
        return
    assert found.isascii()
    assert found.isprintable()
    assert " " not in found
    assert checked_address(found) == found


@pytest.mark.parametrize(
    ("status", "location", "expected"),
    [
        (301, "/b", "https://h/b"),
        (302, "b?c=%2F", "https://h/a/b?c=%2F"),
        (303, "//other/b", "https://other/b"),
        (307, "http://other:81/b", "http://other:81/b"),
        (308, "?c", "https://h/a/v?c"),
        (302, "/ü b", "https://h/%C3%BC%20b"),
        (302, "/f\udcfcr", "https://h/f%FCr"),
        (200, "/b", None),
        (300, "/b", None),
        (304, "/b", None),
        (404, "/b", None),
    ],
)
def test_pointers(status: int, location: str, expected: str | None) -> None:
    """A pointer may be relative, and leads to a web address."""
    assert redirect_address("https://h/a/v", status, {"location": location}) == expected


@pytest.mark.parametrize(
    "location",
    [
        *(None, "", "   ", "ftp://h/v", "file:///etc/passwd", "javascript:1", "data:,x"),
        *("https://user:pw@h/", "https://h:99999/", "https://[bad/", "https://[fe80::1%25lo]/"),
        *("/a\0b", "/a\nb", "\\\\h\\share\0", "https://h/" + "a" * 20_000, "/\ud800"),
        *("mailto:x@h", "about:blank", "https://h h/"),
    ],
)
def test_pointers_to_nowhere(location: str | None) -> None:
    """A pointer elsewhere than into the web is no way to go on, and says why."""
    headers = {} if location is None else {"location": location}
    with pytest.raises(ValueError, match=r"^(is|has|holds|begins|names|cannot) "):
        redirect_address("https://h/a/v", 302, headers)


def test_which_statuses_speak_of_the_address() -> None:
    """A fresh address may help against every refusal, but not against a host that is ill."""
    later = {408, 429, *range(500, 600)}
    statuses = {*range(200, 600)} - {200, 203, 206}
    assert {status for status in statuses if not is_refusal(status)} == later


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (403, b"<Error><Code>AccessDenied</Code></Error>", ResponseError, "AccessDenied"),
        (404, b"", NotFoundError, "no reason was given"),
        (404, b" \n", NotFoundError, "no reason was given"),
        (410, b"gone", ResponseError, "'gone'"),
        (429, b'{"concurrencyLimit": 1}', RateLimitError, "concurrencyLimit"),
        (500, b'{"errorCode": "generation_timeout"}', ServerError, "generation_timeout"),
        (530, b"\x1b[31mred\x1b[0m", ServerError, "'[31mred [0m'"),
        (400, b"\xff\xfe\xfd", ResponseError, "answered 400"),
        (302, b"", ResponseError, "answered 302"),
    ],
)
def test_refusals(status: int, body: bytes, kind: type[Exception], words: str) -> None:
    """What a media host says is quoted, and never taken for the service's own words."""
    headers = {"retry-after": "7"}
    error = refusal_of(Response("GET", "https://h/v", status, headers, body))
    assert isinstance(error, kind)
    assert words in str(error)
    assert "says nothing about the account" in str(error)
    assert str(error).isprintable()
    assert (error.code, error.retry_after) == (None, 7.0)
    assert json.loads(json.dumps(error.body)) == error.body


PAGE = "<!DOCTYPE html><html><head><title>Access blocked</title></head><body>für</body></html>"
TEXTS = {
    "HTML": PAGE.encode(),
    "HTML behind blanks": b"\r\n\t  " + PAGE.encode(),
    "HTML behind a comment": b"<!-- generated --><html>",
    "HTML in capitals": PAGE.upper().encode(),
    "HTML with a mark": b"\xef\xbb\xbf" + PAGE.encode(),
    "HTML, UTF-16 with a mark": PAGE.encode("utf-16"),
    "HTML, UTF-16 big-endian with a mark": b"\xfe\xff" + PAGE.encode("utf-16-be"),
    "HTML, UTF-16": PAGE.encode("utf-16-le"),
    "HTML, UTF-16 big-endian": PAGE.encode("utf-16-be"),
    "HTML, UTF-32": PAGE.encode("utf-32"),
    "HTML, Latin 1": PAGE.encode("latin-1"),
    "HTML, Shift-JIS": "<p>ページが見つかりません</p>".encode("shift-jis"),
    "HTML, Cyrillic": "<p>доступ запрещён</p>".encode("cp1251"),
    "a long page": PAGE.encode() + b"x" * 5000,
    "a page with bytes in it": b"<html>\0\1\2" + bytes(2000),
    "a log-in form": b'<form action="/login"><input name="password"></form>',
    "a meta refresh": b'<meta http-equiv="refresh" content="0; url=/login">',
    "an end tag": b"</html>",
    "XML": b'<?xml version="1.0"?><Error><Code>ExpiredToken</Code></Error>',
    "XML without its line": b"<Error><Code>AccessDenied</Code></Error>",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "JSON": b'{"error":"link expired"}',
    "a JSON list": b'[{"error": 1}]',
    "JSON text": b'"expired"',
    "pretty JSON": b'\n{\n  "message": "expired"\n}\n',
    "JSON with a prefix": b")]}',\n{}",
    "a JSON number": b"403",
    "null": b"null",
    "a digit": b"0",
    "dots": b"...",
    "words": b"quota exceeded, try again tomorrow",
    "a word": b"Forbidden",
    "a word and a line end": b"gone\n",
    "words, Cyrillic": "доступ запрещён".encode("cp1251"),
    "words, UTF-8": "このリンクの有効期限が切れています。 また明日。".encode(),
    "words, UTF-16": "quota exceeded".encode("utf-16"),
    "a playlist": b"#EXTM3U\n#EXT-X-VERSION:3\nsegment0.ts\n",
    "a script": b"(function(){location='/login'})()",
    "an address": b"https://cdn.example/v.mp4",
    "a form's data": b"error=expired&code=403",
    "blanks": b"  \r\n\t ",
    "a null-free log": b"2026-01-01 ERROR upstream timed out\n" * 100,
    "a PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "hidden gzip": zipped(PAGE.encode()),
}
MPEG_4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(500)
MEDIA = {
    "MPEG-4": MPEG_4,
    "only its first box": MPEG_4[:24],
    "QuickTime": b"\0\0\0\x14ftypqt  \0\0\2\0qt  " + bytes(8),
    "old QuickTime": b"\0\0\0\x08wide\0\0\0\0mdat" + bytes(20),
    "WebM": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\xf7\x81\1\x42\x82\x84webm",
    "AVI": b"RIFF<htmAVI LIST\xec\1\0\0hdrlavih8\0\0\0",
    "WAV": b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0",
    "MP3": b"\xff\xfb\x90\x64" + b"Info" * 100,
    "MP3 with a tag": b"ID3\4\0\0\0\0\0\x0aTIT2",
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "GIF": b"GIF89a\1\0\1\0",
    "OGG": b"OggS\0\2" + bytes(20),
    "FLAC": b"fLaC\0\0\0\x22",
    "a transport stream": (b"\x47\x40\0\x10" + bytes(184)) * 3,
    "MPEG program stream": b"\0\0\1\xba\x44",
    "zip": b"PK\3\4\x14\0\0\0",
    "zeros": bytes(1000),
    "one zero": b"\0",
    "all bytes": bytes(range(256)),
    "noise": random.Random(1).randbytes(2000),
    "noise like a mark of UTF-16": b"\xff\xfe" + random.Random(2).randbytes(2000),
    "noise like a mark of UTF-32": b"\xff\xfe\0\0" + random.Random(3).randbytes(2000),
    "a long run of letters": b"m" * 1000,
    "a very long word": b"AAAAGGZ0eXBpc29t" * 100,
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_no_media(name: str) -> None:
    """Pages and errors are told by their bytes, in any form and encoding."""
    told = no_media(TEXTS[name][:HEAD_BYTES])
    assert told is not None
    assert told.isprintable()
    assert len(told) < 150


@pytest.mark.parametrize("name", MEDIA)
def test_media_and_unknown_bytes_are_accepted(name: str) -> None:
    """What is no text may be media of a kind that is not known here."""
    assert no_media(MEDIA[name][:HEAD_BYTES]) is None


@given(st.binary(min_size=1, max_size=64))
def test_any_bytes_are_judged(data: bytes) -> None:
    """No bytes are too odd, and those with a zero byte alone are never taken for a text."""
    for head in (data, data * 40, b"\xff\xfe" + data, b"\xef\xbb\xbf" + data):
        told = no_media(head[:HEAD_BYTES])
        assert told is None or told.isprintable()


@pytest.mark.parametrize(
    ("headers", "whole", "part", "validator", "coding"),
    [
        ({"content-length": "5", "etag": '"v1"'}, 5, None, '"v1"', None),
        ({"content-length": " 5 ", "etag": ' "v1"'}, 5, None, '"v1"', None),
        ({"content-length": "0"}, 0, None, None, None),
        ({"content-length": "9" * 5000, "etag": 'W/"v1"'}, None, None, None, None),
        ({"content-length": "-5", "etag": "v1"}, None, None, None, None),
        ({"content-length": "+5"}, None, None, None, None),
        ({"content-length": "5.0"}, None, None, None, None),
        ({"content-length": "\u0665"}, None, None, None, None),
        ({"content-length": "5, 5"}, None, None, None, None),
        ({"content-length": "5", "content-encoding": "GZIP"}, None, None, None, "gzip"),
        ({"etag": '"v"', "content-encoding": "gzip"}, None, None, None, "gzip"),
        ({"content-length": "5", "content-encoding": "identity"}, 5, None, None, None),
        ({"content-length": "5", "content-encoding": ""}, 5, None, None, None),
        ({"content-encoding": "gzip, br"}, None, None, None, "gzip, br"),
        ({"content-range": "bytes 2-4/5"}, None, (2, 5), None, None),
        ({"content-range": "Bytes 2-4/5"}, None, (2, 5), None, None),
        ({"content-range": "bytes 2-4/*"}, None, None, None, None),
        ({"content-range": "bytes */5"}, None, None, None, None),
        ({"content-range": "bytes 2-4/" + "9" * 5000}, None, None, None, None),
        ({"content-range": "bytes \u0662-\u0664/\u0665"}, None, None, None, None),
        ({"content-range": "items 2-4/5"}, None, None, None, None),
        ({}, None, None, None, None),
    ],
)  # fmt: skip
def test_headers_are_read_with_suspicion(
    headers: dict[str, str],
    whole: int | None,
    part: tuple[int, int] | None,
    validator: str | None,
    coding: str | None,
) -> None:
    """A length, a place or a validator is one only if it is exactly as documented."""
    assert (whole_length(headers), part_place(headers)) == (whole, part)
    assert (strong_validator(headers), coding_of(headers)) == (validator, coding)


BODY = bytes(range(256)) * 9 + b"end"


def raw_deflate(data: bytes) -> bytes:
    """Compress as servers do that leave the header out."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CODINGS = {
    "gzip": ("gzip", zipped(BODY)),
    "x-gzip": ("x-gzip", zipped(BODY)),
    "two members": ("gzip", zipped(BODY[:7]) + zipped(BODY[7:])),
    "deflate": ("deflate", zlib.compress(BODY)),
    "bare deflate": ("deflate", raw_deflate(BODY)),
}


@pytest.mark.parametrize("name", CODINGS)
def test_compressed_bytes_are_unpacked_wherever_they_are_cut(name: str) -> None:
    """Pieces of any size give the same; the end is known, and padding behind it is none."""
    coding, packed = CODINGS[name]
    for cut in range(1, len(packed)):
        inflater = Inflater(coding)
        pieces = [*inflater.unpacked(packed[:cut]), *inflater.unpacked(packed[cut:] + bytes(3))]
        assert b"".join(pieces) == BODY
        assert inflater.is_whole


@pytest.mark.parametrize("name", CODINGS)
def test_compressed_bytes_that_break_off_are_never_whole(name: str) -> None:
    """Wherever they end before their end, it is known."""
    coding, packed = CODINGS[name]
    member = len(zipped(BODY[:7])) if name == "two members" else 0
    for cut in {*range(len(packed))} - {member}:
        inflater = Inflater(coding)
        assert BODY.startswith(b"".join(inflater.unpacked(packed[:cut])))
        assert not inflater.is_whole


LARGE = 16 * 1_048_576
DULL = zipped(bytes(LARGE + 1))


@pytest.mark.parametrize("size", [1, 100, 4096, len(DULL) - 1, len(DULL)])
def test_a_bomb_goes_off_early(size: int) -> None:
    """What unpacks to far more than media do is given up, however it is cut."""
    inflater = Inflater("gzip")
    came: list[int] = []
    parts = (DULL[start : start + size] for start in range(0, len(DULL), size))
    with pytest.raises(ValueError, match="far more than media"):
        came.extend(len(piece) for part in parts for piece in inflater.unpacked(part))
    assert sum(came) <= LARGE


@pytest.mark.parametrize("size", [5_000_000, LARGE - 1, LARGE])
def test_dull_media_are_no_bomb(size: int) -> None:
    """A black picture packs well; of what is in a few bytes no more than a MiB is held."""
    sizes = [len(piece) for piece in Inflater("gzip").unpacked(zipped(bytes(size)))]
    assert (sum(sizes), max(sizes)) == (size, 1_048_576)


def test_large_media_that_pack_a_little_are_no_bomb() -> None:
    """Beyond that size, media may unpack to a hundred times what came, and to no more."""
    block = random.Random(4).randbytes(1024) + bytes(40_000)
    packed = zipped(block * 450)
    assert len(packed) > len(block) * 450 / 100
    assert sum(len(piece) for piece in Inflater("gzip").unpacked(packed)) == len(block) * 450


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "aes128gcm", "x" * 999])
def test_codings_that_are_not_unpacked(coding: str) -> None:
    """What was not asked for and cannot be judged is refused in words."""
    with pytest.raises(ValueError, match="compressed") as caught:
        Inflater(coding)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", b"<html>not packed</html>"),
        ("gzip", b"\x1f\x8b\xff" + bytes(20)),
        ("gzip", zipped(BODY)[:-8] + bytes(8)),
        ("deflate", b"\x78\x9c" + b"\xff" * 20),
        ("deflate", b"\xff\xff\xff\xff"),
    ],
)
def test_damaged_compressed_bytes(coding: str, data: bytes) -> None:
    """Damage is an error, also where only the checksum shows it."""
    with pytest.raises(ValueError, match="damaged"):
        list(Inflater(coding).unpacked(data))


def first_problem(timeout: float | None, every: float, size: int, most: int = 5000) -> float | None:
    """Return after how many seconds a pace is found too slow; `None`: never."""
    pace = Pace(timeout)
    for number in range(1, most + 1):
        if pace.problem(every, size) is not None:
            return number * every
    return None


@pytest.mark.parametrize(
    ("timeout", "every", "size", "expected"),
    [
        (1.0, 0.5, 1, 10.0),
        (1.0, 0.99, 900, 10.89),
        (1.0, 0.1, 99, 10.0),
        (0.01, 0.005, 1, 10.0),
        (5.0, 2.5, 1, 10.0),
        (6.0, 3.0, 1, 12.0),
        (60.0, 59.0, 1, 177.0),
        (60.0, 59.0, 58_000, 177.0),
        (60.0, 30.0, 29_999, 120.0),
        (600.0, 300.0, 1, 1200.0),
        (1.0, 1.0, 999, 10.0),
        (1.0, 1.0, 1000, None),
        (1.0, 0.5, 500, None),
        (1.0, 0.99, 1000, None),
        (60.0, 59.0, 60_000, None),
        (60.0, 30.0, 30_000, None),
        (1.0, 0.0, 1, None),
        (1.0, 0.001, 65_536, None),
        (None, 1e6, 1, None),
        (None, 0.5, 1, None),
        (1e6, 0.5, 1, None),
    ],
)
def test_least_pace(timeout: float | None, every: float, size: int, expected: float | None) -> None:
    """A thousand bytes a second must come, over ten seconds or twice the timeout."""
    found = first_problem(timeout, every, size)
    assert found == (None if expected is None else pytest.approx(expected, abs=1.1 * every))


def test_a_hold_up_of_one_piece_is_allowed() -> None:
    """A piece may take nearly all of `timeout`, if the others come as they should."""
    pace = Pace(60.0)
    pieces = [(59.9, 1000), *[(0.1, 2000)] * 610] * 3
    assert [pace.problem(*piece) for piece in pieces] == [None] * len(pieces)


def test_the_words_of_a_hold_up() -> None:
    """They say what came, in how long, and what is expected."""
    told = [Pace(1.0).problem(seconds, 5) for seconds in (9.9, 10.0)]
    words = "only 5 bytes came in 10 s; less than 1000 a second is a hold-up"
    assert told == [None, words]


@pytest.mark.parametrize(
    ("size", "seconds", "expected"),
    [
        (0, 0.0, False),
        (1, 0.0, False),
        (65_535, 0.001, False),
        (65_536, 0.001, True),
        (65_536, 65.0, True),
        (65_536, 66.0, False),
        (300_000, 300.0, True),
        (299_999, 300.0, False),
    ],
)
def test_patience_is_earned(size: int, seconds: float, expected: bool) -> None:  # noqa: FBT001
    """Another round of tries is for a transfer that gets on, not for one that trickles."""
    assert is_worth_more_patience(size, seconds) is expected


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box of MPEG-4."""
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def large_box(kind: bytes, content: bytes) -> bytes:
    """Return a box whose length is written in 64 bits."""
    return b"\0\0\0\1" + kind + (16 + len(content)).to_bytes(8, "big") + content


FTYP = box(b"ftyp", b"isom\0\0\2\0isom")
BOXES = {
    "MPEG-4": FTYP + box(b"moov", bytes(50)) + box(b"mdat", bytes(200)),
    "MPEG-4, large": FTYP + large_box(b"mdat", bytes(200)) + box(b"moov", bytes(50)),
    "QuickTime": box(b"wide", b"") + box(b"mdat", bytes(200)) + box(b"moov", bytes(50)),
    "fragments": FTYP + (box(b"moof", bytes(20)) + box(b"mdat", bytes(30))) * 5,
    "odd boxes": FTYP + box(b"free", bytes(30)) + box(b"uuid", bytes(30)) + box(b"meta", b"x" * 9),
}


def cut_at(data: bytes, length: int) -> bool:
    """Tell whether the beginning of a file is seen to be no more than that."""
    return is_cut(BytesIO(data[:length]), length)


@pytest.mark.parametrize("name", BOXES)
def test_a_film_tells_where_it_was_cut(name: str) -> None:
    """At every byte but between two boxes, and in the zeros that a next one begins with."""
    whole = BOXES[name]
    ends, place = {0}, 0
    while place < len(whole):
        zeros = len(whole) - place - len(whole[place:].lstrip(b"\0"))
        ends |= {*range(place, place + zeros + 1)}
        length = int.from_bytes(whole[place : place + 4], "big")
        place += int.from_bytes(whole[place + 8 : place + 16], "big") if length == 1 else length
    missed = {length for length in range(len(whole) + 1) if not cut_at(whole, length)}
    assert missed == {*ends, *range(8), place}
    assert cut_at(whole + b"\0" * 7, len(whole) + 7) is False


@pytest.mark.parametrize(
    "data",
    [
        FTYP + box(b"mdat", bytes(20)) + b"\0\0\0\0free" + bytes(9),  # to the end
        FTYP + bytes(100),
        FTYP + b"\0\0\0\7free" + bytes(9),
        FTYP + b"\0\0\0\1mdat" + bytes(8) + bytes(20),
        FTYP + b"\0\0\xff\xffodds" + bytes(40),
        FTYP + bytes(range(256)),
        b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(40),
        b"\0\0\xff\xffmdia" + bytes(40),
        b"\x1a\x45\xdf\xa3" + bytes(40),
        *(data for name, data in MEDIA.items() if name != "only its first box"),
    ],
)
def test_what_tells_no_length_is_taken_as_it_is(data: bytes) -> None:
    """Files that reach "to the end", and formats that tell nothing, are never called cut."""
    assert not is_cut(BytesIO(data), len(data))
