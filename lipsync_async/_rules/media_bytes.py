"""Tell a media file's format from how it begins.

What begins in no known way is of no known format: a wrong answer makes a service read a file
as what it is not, and none makes it look for itself.

Sources: RFC 9559 and RFC 8794 (Matroska, WebM), RFC 3533 and 5334 (Ogg), RFC 9639 (FLAC),
RFC 4867 (AMR), ISO/IEC 14496-12 with the brands of mp4ra.org, ISO/IEC 13818-1 (transport
stream), ISO/IEC 11172-3 (MPEG audio), ID3v2.4, the WHATWG's MIME Sniffing Standard.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from typing import BinaryIO

Kind = Literal["video", "image", "audio"]

# Enough for two packets of a transport stream.
HEAD_BYTES = 512

# Position, bytes, suffix. What the suffix of a format depends on is read below.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"GIF87a", ".gif"),
    (0, b"GIF89a", ".gif"),
    (0, b"II*\0", ".tiff"),
    (0, b"MM\0*", ".tiff"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", ".jxl"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", ".jp2"),
    (0, b"fLaC", ".flac"),
    (0, b"#!AMR\n", ".amr"),
    (0, b"#!AMR-WB\n", ".awb"),
    (0, b"caff\0\1", ".caf"),
    (0, b".snd\0\0", ".au"),
    (0, b"ADIF", ".aac"),
    (0, b"FLV\1", ".flv"),
    (0, b"\0\0\1\xba", ".mpg"),
    (0, b"\0\0\1\xb3", ".mpg"),
)
# Forms of a chunk file by its first and its third word.
_CHUNKS = {
    (b"RIFF", b"WAVE"): ".wav",
    (b"RIFX", b"WAVE"): ".wav",
    (b"RF64", b"WAVE"): ".wav",
    (b"BW64", b"WAVE"): ".wav",
    (b"RIFF", b"AVI "): ".avi",
    (b"RIFF", b"WEBP"): ".webp",
    (b"FORM", b"AIFF"): ".aiff",
    (b"FORM", b"AIFC"): ".aiff",
}
# Brands of files that begin with `ftyp`: pictures first, for those name several.
_PICTURE_BRANDS = {
    ".avif": frozenset({b"avif", b"avis"}),
    ".heic": frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}),
    ".heif": frozenset({b"mif1", b"msf1", b"miaf"}),
}
_PICTURES = frozenset().union(*_PICTURE_BRANDS.values())
_FILM_BRANDS = {
    b"qt  ": ".mov",
    b"M4A ": ".m4a",
    b"M4B ": ".m4b",
    b"M4V ": ".m4v",
    b"M4VH": ".m4v",
    b"M4VP": ".m4v",
}
_MPEG_4 = re.compile(
    rb"isom|iso[2-9a-c]|mp4[12]|mp71|avc1|hvc1|hev1|av01|dash|cmf[a-z0-9]|msnv|mmp4"
)
_PHONES = {b"3gp": ".3gp", b"3gr": ".3gp", b"3gs": ".3gp", b"3ge": ".3gp", b"3g2": ".3g2"}
# How QuickTime files begin that are older than `ftyp`.
_OLD_ATOMS = frozenset({b"moov", b"wide", b"free", b"skip", b"pnot"})
_MOST_OF_AN_ATOM = 2**28
_OUTER_BOXES = frozenset(
    b"ftyp styp pdin moov moof mfra mdat free skip wide uuid meta sidx ssix prft emsg".split()
)
_BOX, _SMALLEST_BOX = 16, 8  # bytes of a box's head, at most and at least
_OGG_CODECS = (
    (b"\x80theora", ".ogv"),
    (b"OpusHead", ".opus"),
    (b"\x01vorbis", ".ogg"),
    (b"\x7fFLAC", ".ogg"),
    (b"Speex   ", ".ogg"),
)
_DOCTYPE = re.compile(rb"\x42\x82(?:[\x80-\x9f]|\x40.)([a-z]+)", re.DOTALL)
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_PACKET, _SYNC = 188, 0x47
_PADDING = 4096  # bytes looked at behind a tag: zeros may come first
_TAG = 10  # bytes of the head of an ID3 tag, and of its footer

# What a container's own suffix tells better than its first bytes.
_REFINED: dict[str, frozenset[str]] = {
    suffix: family
    for family in (
        frozenset({".mp4", ".m4v", ".m4a", ".m4b", ".m4r", ".f4v", ".alac"}),
        frozenset({".mkv", ".mka"}),
        frozenset({".ogg", ".oga", ".ogv", ".opus", ".spx"}),
        frozenset({".wma", ".wmv", ".asf"}),
        frozenset({".3gp", ".3ga"}),
    )
    for suffix in family
}


def head_of(file: BinaryIO) -> bytes:
    """Return how a file begins, for `suffix_of_bytes`: of a tag no more than its head.

    Args:
        file: A file at its beginning.

    """
    head = file.read(HEAD_BYTES)
    end = _end_of_tag(head)
    if end == 0:
        return head
    file.seek(end)
    return head[:5] + bytes(5) + file.read(_PADDING)


def suffix_of_bytes(kind: Kind, data: bytes) -> str:
    """Return the suffix of a file that begins so, such as `.mp4`; empty if that is not certain.

    Args:
        kind: What the file is meant to be; it decides where a container may hold either.
        data: The file, or its head.

    """
    for position, signature, suffix in _SIGNATURES:
        if data.startswith(signature, position):
            return suffix
    readers = (_chunks, _boxes, _matroska, _ogg, _windows, _mpeg_audio, _bitmap, _packets)
    return next(filter(None, (read(kind, data) for read in readers)), "")


def is_cut(file: BinaryIO, size: int) -> bool:
    """Tell whether an MPEG-4 or QuickTime file says of itself that there is more of it.

    Of other formats, and of boxes that are not known, nothing is told.

    Args:
        file: The file, which can be read anywhere.
        size: Its length.

    """
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(_BOX)
        if len(head) < _SMALLEST_BOX:
            return place > 0 and any(head)  # zeros may be padding
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # it did not fit
            length = int.from_bytes(head[8:].ljust(8, b"\xff"), "big")
        if head[4:8] not in _OUTER_BOXES or length < _SMALLEST_BOX:
            return False
        place += length
    return place > size


def is_refined_by(found: str, named: str) -> bool:
    """Tell whether a file's own suffix says the same as its bytes, or says it better."""
    return named == found or named in _REFINED.get(found, frozenset())


def _chunks(_: Kind, data: bytes) -> str:
    return _CHUNKS.get((data[:4], data[8:12]), "")


def _boxes(_: Kind, data: bytes) -> str:
    """Read the boxes of MPEG-4 and QuickTime."""
    atom, size = data[4:8], int.from_bytes(data[:4], "big")
    # Only media are large; what would be, but for them, is a text with the word "free" in it.
    if atom == b"mdat" or (atom in _OLD_ATOMS and size < _MOST_OF_AN_ATOM):
        return ".mov"
    if atom != b"ftyp":
        return ""
    brand, others = data[8:12], data[16 : min(size, HEAD_BYTES)]
    brands = {brand, *(others[at : at + 4] for at in range(0, len(others), 4))}
    if brand in _PICTURES:
        return next(suffix for suffix, names in _PICTURE_BRANDS.items() if brands & names)
    named = _FILM_BRANDS.get(brand) or _PHONES.get(brand[:3])
    if named is not None:
        return named
    return ".mp4" if any(_MPEG_4.fullmatch(each.lower()) for each in brands) else ""


def _matroska(kind: Kind, data: bytes) -> str:
    if not data.startswith(b"\x1a\x45\xdf\xa3"):
        return ""
    found = _DOCTYPE.search(data, 4, 64)
    if found is None or found[1] not in {b"webm", b"matroska"}:
        return ""
    if found[1] == b"webm":
        return ".webm"
    return ".mka" if kind == "audio" else ".mkv"


def _ogg(kind: Kind, data: bytes) -> str:
    if not data.startswith(b"OggS\0"):
        return ""
    usual = ".ogv" if kind == "video" else ".ogg"
    return next((suffix for mark, suffix in _OGG_CODECS if mark in data[:64]), usual)


def _windows(kind: Kind, data: bytes) -> str:
    if not data.startswith(_ASF[: max(8, min(len(data), len(_ASF)))]):
        return ""
    return ".wma" if kind == "audio" else ".wmv"


def _mpeg_audio(kind: Kind, data: bytes) -> str:
    """Read the head of a frame; a tag may stand before it."""
    if not data.startswith(b"ID3"):
        return _frame(data)
    end = _end_of_tag(data)
    rest = data[end : end + _PADDING].lstrip(b"\0")
    # Tags of this kind were made for mp3, so a tag behind which nothing is seen is of one.
    return (not rest.startswith(b"ID3") and suffix_of_bytes(kind, rest)) or ".mp3"


def _end_of_tag(data: bytes) -> int:
    """Return where an ID3 tag ends; 0 if there is none."""
    if not data.startswith(b"ID3") or len(data) < _TAG:
        return 0
    size = 0
    for byte in data[6:_TAG]:
        size = size << 7 | byte & 0x7F
    return _TAG + size + (_TAG if data[5] & 0x10 else 0)


def _frame(data: bytes) -> str:
    if len(data) < 3 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:  # noqa: PLR2004
        return ""
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    if layer == 0:  # ADTS: 12 bits of synchronization, then a rate out of 13
        return ".aac" if version & 2 and data[2] >> 2 & 15 < 13 else ""  # noqa: PLR2004
    is_frame = version != 1 and data[2] >> 4 != 15 and data[2] >> 2 & 3 != 3  # noqa: PLR2004
    # Layer 1 is hardly used, and looks like the byte order mark of UTF-16.
    return {1: ".mp3", 2: ".mp2"}.get(layer, "") if is_frame else ""


def _bitmap(_: Kind, data: bytes) -> str:
    is_bitmap = data.startswith(b"BM") and data[6:10] == bytes(4)
    return ".bmp" if is_bitmap and int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS else ""


def _packets(_: Kind, data: bytes) -> str:
    """Read a transport stream; cameras write four bytes before each packet."""
    for start, suffix in ((0, ".ts"), (4, ".mts")):
        step = _PACKET + start
        marks = data[start : start + step + 1 : step]
        if marks == bytes([_SYNC, _SYNC]) and data[start + 3] & 0x30:
            return suffix
    return ""
