"""Name media: the name and type of a file to send, the safe name of one to keep.

Both directions read the same tables. Names that come from outside are never trusted: a
result has one plain name, which cannot leave its folder on any system.
"""

from __future__ import annotations

import hashlib
import re
from itertools import count
from pathlib import PurePath
from typing import TYPE_CHECKING
from unicodedata import category
from urllib.parse import unquote, urlsplit

from lipsync_async._rules.media_bytes import Kind, is_refined_by, suffix_of_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

# What the service reads (contract section 5.3) and what people have beside it, under its
# registered or usual type. The first suffix of a type is the one that a file of that type
# is given.
_TYPES: dict[str, dict[str, str]] = {
    "video": {
        ".mp4": "video/mp4",
        ".m4v": "video/mp4",
        ".f4v": "video/mp4",
        ".mov": "video/quicktime",
        ".qt": "video/quicktime",
        ".webm": "video/webm",
        ".avi": "video/x-msvideo",
        ".mkv": "video/x-matroska",
        ".3gp": "video/3gpp",
        ".3g2": "video/3gpp2",
        ".ts": "video/mp2t",
        ".mts": "video/mp2t",
        ".m2ts": "video/mp2t",
        ".mpg": "video/mpeg",
        ".mpeg": "video/mpeg",
        ".wmv": "video/x-ms-wmv",
        ".asf": "video/x-ms-asf",
        ".flv": "video/x-flv",
        ".ogv": "video/ogg",
        ".mxf": "application/mxf",
    },
    "image": {
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".jpeg": "image/jpeg",
        ".jpe": "image/jpeg",
        ".jfif": "image/jpeg",
        ".webp": "image/webp",
        ".heic": "image/heic",
        ".heif": "image/heif",
        ".avif": "image/avif",
        ".gif": "image/gif",
        ".bmp": "image/bmp",
        ".dib": "image/bmp",
        ".tiff": "image/tiff",
        ".tif": "image/tiff",
        ".jxl": "image/jxl",
        ".jp2": "image/jp2",
        ".svg": "image/svg+xml",
    },
    "audio": {
        ".wav": "audio/wav",
        ".wave": "audio/wav",
        ".mp3": "audio/mpeg",
        ".mpga": "audio/mpeg",
        ".mp2": "audio/mpeg",
        ".ogg": "audio/ogg",
        ".oga": "audio/ogg",
        ".opus": "audio/ogg",
        ".spx": "audio/ogg",
        ".flac": "audio/flac",
        ".m4a": "audio/mp4",
        ".m4b": "audio/mp4",
        ".m4r": "audio/mp4",
        ".mp4": "audio/mp4",
        ".alac": "audio/mp4",
        ".m3a": "audio/mpeg",
        ".aac": "audio/aac",
        ".adts": "audio/aac",
        ".wma": "audio/x-ms-wma",
        ".webm": "audio/webm",
        ".weba": "audio/webm",
        ".mka": "audio/x-matroska",
        ".aiff": "audio/aiff",
        ".aif": "audio/aiff",
        ".aifc": "audio/aiff",
        ".amr": "audio/amr",
        ".awb": "audio/amr-wb",
        ".caf": "audio/x-caf",
        ".au": "audio/basic",
        ".snd": "audio/basic",
        ".ac3": "audio/ac3",
        ".ec3": "audio/eac3",
        ".eac3": "audio/eac3",
        ".3gp": "audio/3gpp",
        ".3ga": "audio/3gpp",
        ".3g2": "audio/3gpp2",
    },
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


def upload_name_and_type(
    kind: Kind,
    source: str | PathLike[str] | bytes,
    head: bytes = b"",
) -> tuple[str, str]:
    """Return the file name and the media type to send a file with.

    The type is that of the first bytes, else that of the suffix, else none in particular
    (`application/octet-stream`).

    Args:
        kind: The part of the form that the file fills.
        source: The file's path, or its bytes.
        head: How a file begins that is given by its path, as far as is known.

    Returns:
        For example `("take 1.mov", "video/quicktime")`, or `("audio.wav", "audio/wav")`.
        A path keeps its name; one without a suffix gets that of its bytes.

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

    Args:
        url: Where the file came from.
        content_disposition: The answer's header, if any.
        content_type: The answer's header, if any.
        fallback: What to call it otherwise, such as the generation's id.
        head: How the file begins.

    Returns:
        One name of 1 to 200 bytes that is safe in any folder: no separators, no `..`,
        no leading dot, no control characters, no device of Windows.

    Source: contract section 5.5; RFC 6266; RFC 8187.
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
    """Return the suffix that a result should have: by its bytes, its type, its address.

    Args:
        url: Where the file came from.
        content_type: The answer's header, if any.
        head: How the file begins.

    Returns:
        Such as `.mov`; `.mp4` where nothing tells.

    """
    in_url = _suffix_of(_made_safe(_last_part(url))).lower()
    known = in_url if in_url in _SUFFIXES else ".mp4"
    return suffix_of_bytes("video", head) or _suffix_of_type(content_type) or known


def free_names(name: str, tag: str) -> Iterator[tuple[str, bool]]:
    """Yield names to try in a folder, each with whether only this job can have it.

    Args:
        name: The name that is wished for.
        tag: The job's `name_of_id`.

    Returns:
        The name, then the name with the tag, then that with a number, without end.

    """
    suffix = _suffix_of(name)
    stem = name.removesuffix(suffix)
    if stem != tag and not stem.endswith(f"-{tag}"):
        yield name, False
        stem = _cut(stem, _LONGEST_NAME - len(f"-{tag}{suffix}")) + f"-{tag}"
    yield stem + suffix, True
    yield from ((f"{stem}-{number}{suffix}", True) for number in count(2))


def name_of_id(generation_id: str) -> str:
    """Return what stands for a job's id in a file's name.

    Args:
        generation_id: The id, as the service gave it.

    Returns:
        A plain id as it is; another one without what harms, and with a hash of the whole:
        1 to 64 ASCII characters, another name for each id, also where case does not count.

    """
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
    for types in _TYPES.values():
        for suffix, media_type in types.items():
            if media_type == wanted:
                return suffix
    return ""


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
    """Return what fits of a stem into so many bytes."""
    return stem.encode()[:most].decode(errors="ignore").rstrip(". ")
