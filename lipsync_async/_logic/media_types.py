"""Name media: the name and type of a file to send, the safe name of one to keep.

Both directions read the same tables. Names that come from outside are never trusted: a
result has one plain name, which cannot leave its folder on any system.
"""

from __future__ import annotations

import hashlib
import re
from itertools import count
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal
from unicodedata import category
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from typing import BinaryIO


Kind = Literal["video", "image", "audio"]

# Enough for two packets of a transport stream.
HEAD_BYTES = 512

# How files begin. What the suffix of a format depends on is read below.
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF87a": ".gif",
    b"GIF89a": ".gif",
    b"II*\0": ".tiff",
    b"MM\0*": ".tiff",
    b"\0\0\0\x0cJXL \r\n\x87\n": ".jxl",
    b"\0\0\0\x0cjP  \r\n\x87\n": ".jp2",
    b"fLaC": ".flac",
    b"#!AMR\n": ".amr",
    b"#!AMR-WB\n": ".awb",
    b"caff\0\1": ".caf",
    b".snd\0\0": ".au",
    b"ADIF": ".aac",
    b"FLV\1": ".flv",
    b"\0\0\1\xba": ".mpg",
    b"\0\0\1\xb3": ".mpg",
}
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
_FAMILIES = [
    frozenset(family.split())
    for family in (
        ".mp4 .m4v .m4a .m4b .m4r .f4v .alac",
        ".mkv .mka",
        ".ogg .oga .ogv .opus .spx",
        ".wma .wmv .asf",
        ".3gp .3ga",
    )
]


def head_of(file: BinaryIO) -> bytes:
    """Return how a file begins, for `suffix_of_bytes`: of a tag no more than its head."""
    head = file.read(HEAD_BYTES)
    end = _end_of_tag(head)
    if end == 0:
        return head
    file.seek(end)
    return head[:5] + bytes(5) + file.read(_PADDING)


def suffix_of_bytes(kind: Kind, data: bytes) -> str:
    """Return the suffix of a file that begins so, such as `.mp4`; empty if that is not certain."""
    for signature, suffix in _SIGNATURES.items():
        if data.startswith(signature):
            return suffix
    readers = (_chunks, _boxes, _matroska, _ogg, _windows, _mpeg_audio, _bitmap, _packets)
    return next(filter(None, (read(kind, data) for read in readers)), "")


def is_cut(file: BinaryIO, size: int) -> bool:
    """Tell whether an MPEG-4 or QuickTime file says of itself that there is more of it.

    Of other formats, and of boxes that are not known, nothing is told.
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
    return named == found or any({named, found} <= family for family in _FAMILIES)


def _chunks(_: Kind, data: bytes) -> str:
    return _CHUNKS.get((data[:4], data[8:12]), "")


def _boxes(_: Kind, data: bytes) -> str:
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


# What the service reads and what people have beside it, by its registered or usual type. A file
# of a type is given its first suffix.
_FORMATS: dict[str, dict[str, str]] = {
    "video": {
        "video/mp4": ".mp4 .m4v .f4v",
        "video/quicktime": ".mov .qt",
        "video/webm": ".webm",
        "video/x-msvideo": ".avi",
        "video/x-matroska": ".mkv",
        "video/3gpp": ".3gp",
        "video/3gpp2": ".3g2",
        "video/mp2t": ".ts .mts .m2ts",
        "video/mpeg": ".mpg .mpeg",
        "video/x-ms-wmv": ".wmv",
        "video/x-ms-asf": ".asf",
        "video/x-flv": ".flv",
        "video/ogg": ".ogv",
        "application/mxf": ".mxf",
    },
    "image": {
        "image/png": ".png",
        "image/jpeg": ".jpg .jpeg .jpe .jfif",
        "image/webp": ".webp",
        "image/heic": ".heic",
        "image/heif": ".heif",
        "image/avif": ".avif",
        "image/gif": ".gif",
        "image/bmp": ".bmp .dib",
        "image/tiff": ".tiff .tif",
        "image/jxl": ".jxl",
        "image/jp2": ".jp2",
        "image/svg+xml": ".svg",
    },
    "audio": {
        "audio/wav": ".wav .wave",
        "audio/mpeg": ".mp3 .mpga .mp2 .m3a",
        "audio/ogg": ".ogg .oga .opus .spx",
        "audio/flac": ".flac",
        "audio/mp4": ".m4a .m4b .m4r .mp4 .alac",
        "audio/aac": ".aac .adts",
        "audio/x-ms-wma": ".wma",
        "audio/webm": ".webm .weba",
        "audio/x-matroska": ".mka",
        "audio/aiff": ".aiff .aif .aifc",
        "audio/amr": ".amr",
        "audio/amr-wb": ".awb",
        "audio/x-caf": ".caf",
        "audio/basic": ".au .snd",
        "audio/ac3": ".ac3",
        "audio/eac3": ".ec3 .eac3",
        "audio/3gpp": ".3gp .3ga",
        "audio/3gpp2": ".3g2",
    },
}
_TYPES = {
    kind: {suffix: media_type for media_type in types for suffix in types[media_type].split()}
    for kind, types in _FORMATS.items()
}

# RFC 2046 section 4.5.1: what is of no known type. The service looks into it by itself.
_NO_TYPE, _NO_SUFFIX = "application/octet-stream", ".bin"

_SUFFIXES = frozenset().union(*_TYPES.values())

# File systems allow 255 bytes; the rest is for `.part` and the like beside the file.
_LONGEST_NAME = 200

# "Act 2. The end" has no suffix, although it has a dot.
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")

# Categories of Unicode that no name needs: control characters, those that are invisible or
# reorder text on screen, halves of surrogate pairs, and ends of lines and paragraphs.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Nothing beyond this many characters of a name from outside is looked at.
_MOST_CHARACTERS = 4_096

# Not allowed in names on Windows; the colon would even name a hidden stream.
_FORBIDDEN = re.compile(r'[<>:"|?*]')

# Devices on Windows, whatever the suffix. Source: "Naming Files, Paths, and Namespaces",
# Microsoft.
_DEVICES = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE
)

# Ids as the service writes them; all others get a hash, so that no two ids share a name.
# (Case does not tell names apart on Windows and macOS.) What looks like such a hash is not plain.
_PLAIN_ID = re.compile(r"(?!.*-[0-9a-f]{16}\Z)[0-9a-z](?:[0-9a-z_-]{0,62}[0-9a-z])?")
_KEPT_OF_ID = 40

# One parameter of Content-Disposition, RFC 6266 section 4.1: a token or a quoted string.
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')

# RFC 8187 section 3.2.1 asks for the first; older servers still use the second.
_CHARSETS = frozenset({"utf-8", "iso-8859-1"})


def kind_of(name: str, head: bytes, declared: str | None = None) -> Kind | None:
    """Return what a file is by its first bytes, its name, or the type that its giver says."""
    found, named = suffix_of_bytes("video", head), _suffix_of(name).lower()
    suffix = named if is_refined_by(found, named) else found or named
    main = (declared or "").partition("/")[0]
    kinds: tuple[Kind, ...] = ("video", "image", "audio")
    fitting = (kind for kind in kinds if suffix in _TYPES[kind] or (not suffix and main == kind))
    return next(fitting, None)


def upload_name_and_type(
    kind: Kind, source: str | PathLike[str] | bytes, head: bytes = b""
) -> tuple[str, str]:
    """Return the file name and the media type to send a file with.

    The type is that of the first bytes, else that of the suffix, else none in particular
    (`application/octet-stream`).
    """
    found = suffix_of_bytes(kind, source if isinstance(source, bytes) else head)
    own = "" if isinstance(source, bytes) else _made_safe(PurePath(source).name, found)
    name = own or f"{kind}{found or _NO_SUFFIX}"
    named = _suffix_of(name).lower()
    suffix = named if is_refined_by(found, named) else found or named
    return name, _type_of(kind, suffix)


def result_filename(
    *,
    url: str,
    content_disposition: str | None,
    content_type: str | None,
    fallback: str,
    head: bytes = b"",
) -> str:
    """Return the name under which to keep a downloaded result.

    The name that the server gives comes first, then the last part of the URL's path if
    it has a suffix, then `fallback`. The suffix is right for the bytes where those tell
    what they are: a QuickTime film called `x.mp4` becomes `x.mov`. Otherwise a name without
    a suffix gets that of the type.

    Source: RFC 6266; RFC 8187.
    """
    right = suffix_of_bytes("video", head)
    suffix = right or _suffix_of_type(content_type)
    for name in _names_in(content_disposition):
        if safe := _made_safe(name, suffix):
            return _suited(safe, right)
    in_url = _made_safe(_last_part(url))
    if _suffix_of(in_url):
        return _suited(in_url, right)
    return _suited(_made_safe(fallback, suffix) or f"result{suffix}", right)


def result_suffix(*, url: str, content_type: str | None, head: bytes) -> str:
    """Return the suffix that a result should have: by its bytes, its type, its address."""
    in_url = _suffix_of(_made_safe(_last_part(url))).lower()
    known = in_url if in_url in _SUFFIXES else ".mp4"
    return suffix_of_bytes("video", head) or _suffix_of_type(content_type) or known


def free_names(name: str, tag: str) -> Iterator[tuple[str, bool]]:
    """Yield names to try in a folder, each with whether only this job can have it."""
    suffix = _suffix_of(name)
    stem = name.removesuffix(suffix)
    if stem != tag and not stem.endswith(f"-{tag}"):
        yield name, False
        stem = _cut(stem, _LONGEST_NAME - len(f"-{tag}{suffix}")) + f"-{tag}"
    yield stem + suffix, True
    yield from ((f"{stem}-{number}{suffix}", True) for number in count(2))


def name_of_id(generation_id: str) -> str:
    """Return what stands for a job's id in a file's name."""
    if _PLAIN_ID.fullmatch(generation_id):
        return generation_id
    kept = re.sub(r"[^0-9A-Za-z_-]+", "_", generation_id[:_KEPT_OF_ID]).strip("_-")
    data = generation_id.encode(errors="surrogatepass")
    return f"{kept or 'id'}-{hashlib.sha256(data).hexdigest()[:16]}"


def _suited(name: str, right: str) -> str:
    """Return a safe name with the suffix that its bytes call for, if they tell."""
    suffix = _suffix_of(name)
    if not right or is_refined_by(right, suffix.lower()):
        return name
    return _shortened((name.removesuffix(suffix) if suffix.lower() in _SUFFIXES else name) + right)


def _suffix_of(name: str) -> str:
    found = _SUFFIX.search(name)
    return found[0] if found else ""


def _type_of(kind: Kind, suffix: str) -> str:
    """Return the suffix's type, as `kind` understands it if it does."""
    for types in (_TYPES[kind], *_TYPES.values()):
        if suffix in types:
            return types[suffix]
    return _NO_TYPE


def _suffix_of_type(content_type: str | None) -> str:
    wanted = (content_type or "").partition(";")[0].strip().lower()
    found = (types[wanted].split()[0] for types in _FORMATS.values() if wanted in types)
    return next(found, "")


def _names_in(content_disposition: str | None) -> Iterator[str]:
    """Yield the names in the header, the extended form first (RFC 6266 section 4.3)."""
    found = _PARAMETER.findall(content_disposition or "")
    parameters = {name.lower(): value.strip() for name, value in reversed(found)}
    if "filename*" in parameters:
        yield _decoded(parameters["filename*"])
    if "filename" in parameters:
        yield _unquoted(parameters["filename"])


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        return re.sub(r"\\(.)", r"\1", value.strip('"'))
    return value


def _decoded(value: str) -> str:
    """Read `charset'language'percent-encoded`; what cannot be read is no name."""
    charset, _, rest = _unquoted(value).partition("'")
    if charset.lower() not in _CHARSETS:
        return ""
    return unquote(rest.partition("'")[2], encoding=charset, errors="replace")


def _last_part(url: str) -> str:
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    return unquote(path.rpartition("/")[2])


def _made_safe(name: str, suffix: str = "") -> str:
    """Return a name that cannot do harm, with `suffix` if it has none; empty if none is left."""
    seen = (each for each in name[-_MOST_CHARACTERS:] if category(each) not in _INVISIBLE)
    last = re.split(r"[/\\]", "".join(seen))[-1]
    plain = _FORBIDDEN.sub("_", last).strip(". ")
    if not plain:
        return ""
    if _DEVICES.match(plain):
        plain = f"_{plain}"
    return _shortened(plain if _suffix_of(plain) else plain + suffix)


def _shortened(name: str) -> str:
    """Cut the name to bytes that every file system takes, its suffix last."""
    suffix = _suffix_of(name)
    return _cut(name.removesuffix(suffix), _LONGEST_NAME - len(suffix)) + suffix


def _cut(stem: str, most: int) -> str:
    return stem.encode()[:most].decode(errors="ignore").rstrip(". ")
