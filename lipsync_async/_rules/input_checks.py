"""Judge each input by itself: where its media come from, what it says.

How inputs go together is judged in `combination_checks`. Sources: contract sections 2.3,
2.5, 5.4 and 13 (rules 6, 7 and 16).
"""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, TypeGuard

from lipsync_async._rules.checks import (
    Check,
    fields_of,
    http_url,
    instance_of,
    items_of,
    list_of,
    name,
    number,
    numbers_of,
    optional,
    shown,
    text_up_to,
    wrong,
)
from lipsync_async._values.inputs import Audio, ElevenLabs, Image, Text, Video
from lipsync_async._values.invisible import hidden
from lipsync_async._values.paths import at_home, unknown_home

if TYPE_CHECKING:
    from collections.abc import Iterator

# Contract sections 2.5 and 5.4: the parser's ceiling for one file.
MAX_FILE_BYTES = 5 * 1024**3

# Contract section 5.4.
MAX_SCRIPT_CHARACTERS = 5000


def input_item(path: str, value: object) -> Iterator[str]:
    """Check one item of a request's `input`."""
    if isinstance(value, Video):
        yield from _media(path, value)
        yield from fields_of(path, value, _DEPRECATED_FIELDS)
    elif isinstance(value, Image | Audio):
        yield from _media(path, value)
    elif isinstance(value, Text):
        yield from fields_of(path, value, _TEXT_FIELDS)
    else:
        yield wrong(path, "Video, Image, Audio or Text", value)


def local_file(path: str, value: object) -> Iterator[str]:
    """Ask for bytes that fit into one upload, or a path, wherever that leads."""
    if isinstance(value, bytes):
        yield from _size_problems(path, len(value))
    elif not _is_path(value):
        yield wrong(path, "a path or bytes", value)
    elif _has_no_home(value):
        yield f"{path}: {unknown_home(os.fspath(value))}"


def disk_problems(inputs: object) -> Iterator[str]:
    """Ask for regular files, that fit into one upload, behind the paths of a request's `input`.

    The one look at the disk of all rules: a bad path is best known before sending.
    """
    for position, item in enumerate(items_of(inputs)):
        file = getattr(item, "file", None) if isinstance(item, Video | Image | Audio) else None
        if _is_path(file) and not _has_no_home(file):
            yield from _file_problems(f"input[{position}].file", file)


def _is_path(value: object) -> TypeGuard[str | PathLike[str]]:
    try:
        return isinstance(value, str | PathLike) and b"\0" not in os.fsencode(Path(value))
    except (TypeError, ValueError):  # a path of bytes, or of what no system can name
        return False


def _has_no_home(value: str | PathLike[str]) -> bool:
    """Tell whether a path begins with a `~` that means no known folder."""
    return at_home(os.fspath(value)) is None


def _file_problems(path: str, source: str | PathLike[str]) -> Iterator[str]:
    try:
        status = Path(source).stat()
    except OSError as error:
        told = hidden(str(source))
        hint = "" if told is None else f"; it holds {told}"
        yield f"{path}: cannot be read ({error.strerror}): {shown(str(source))}{hint}"
    else:
        if S_ISREG(status.st_mode):
            yield from _size_problems(path, status.st_size)
        else:
            yield wrong(path, "a regular file", str(source))


def _size_problems(path: str, size: int) -> Iterator[str]:
    if size == 0:
        yield f"{path}: must not be empty"
    elif size > MAX_FILE_BYTES:
        yield f"{path}: must be at most 5 GiB, not {size:,} bytes; host it and pass url"


def _media_url(path: str, value: object) -> Iterator[str]:
    looks_local = isinstance(value, PathLike) or (isinstance(value, str) and "://" not in value)
    for problem in http_url(path, value):
        yield f"{problem}; pass a local file as file" if looks_local else problem


def _media(path: str, value: Video | Image | Audio) -> Iterator[str]:
    yield from fields_of(path, value, _MEDIA_FIELDS)
    hosted = [part for part in ("url", "asset_id") if getattr(value, part) is not None]
    if value.file is None and not hosted:
        yield f"{path}: needs url, asset_id or file"
    elif value.file is not None and hosted:
        yield f"{path}.file: cannot be combined with {' and '.join(hosted)}; choose one"
    if value.file is not None and value.ref_id is not None:
        yield f"{path}.ref_id: cannot be combined with file; pass url or asset_id instead of file"


def _seconds(path: str, value: object) -> Iterator[str]:
    ends = numbers_of(value)
    if len(ends) != 2 or not 0 <= ends[0] <= ends[1]:  # noqa: PLR2004 - a start and an end
        yield wrong(path, "[start, end] in seconds, the start first", value)


def _frames(path: str, value: object) -> Iterator[str]:
    """Ask for a range that is not empty, unlike one in seconds (contract section 6)."""
    ends = numbers_of(value)
    is_range = len(ends) == 2 and 0 <= ends[0] < ends[1]  # noqa: PLR2004 - a start and an end
    if not is_range or not all(isinstance(end, int) for end in ends):
        yield wrong(path, "[start, end] in whole frames, the start first", value)


_MEDIA_FIELDS: dict[str, Check] = {
    "url": optional(_media_url),
    "asset_id": optional(name),
    "file": optional(local_file),
    "ref_id": optional(name),
}

_DEPRECATED_FIELDS: dict[str, Check] = {
    "segments_secs": optional(list_of(_seconds)),
    "segments_frames": optional(list_of(_frames)),
}

_VOICE_FIELDS: dict[str, Check] = {
    "voice_id": name,
    "script": text_up_to(MAX_SCRIPT_CHARACTERS),
    "stability": optional(number(0, 1)),
    "similarity_boost": optional(number(0, 1)),
}

_TEXT_FIELDS: dict[str, Check] = {
    "provider": instance_of(ElevenLabs, _VOICE_FIELDS),
    "ref_id": optional(name),
}
