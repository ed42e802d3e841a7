"""Manifests of JSON lines: each line is a generate body, or a line of a batch with one in it.

    {"model": "lipsync-2", "input": [{"type": "video", "url": …}, {"type": "audio", "url": …}]}
    {"request_id": "a1", "endpoint": "/v2/generate", "payload": {"model": …}}

A generate body may have a `request_id` as well, and texts of the author's own by their names
in `extra`; neither is sent.

Source: contract sections 2.2 and 7.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lipsync_async._fleet.generate_body import below, unknown
from lipsync_async._fleet.manifest_rows import NO_EXTRA, Contents
from lipsync_async._rules.checks import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BATCH_NAMES = ("request_id", "endpoint", "payload")
_MARKS_OF_A_BATCH = frozenset({"endpoint", "payload"})
_ENDPOINT = "/v2/generate"


def read_lines(data: bytes, *, folder: Path) -> Contents:
    """Read a manifest; blank lines are passed over.

    Args:
        data: The file's text in UTF-8, without a byte order mark.
        folder: What the paths of local files are relative to.

    """
    contents = Contents()
    # Of bytes, lines end in CR, LF or both, and in no other character of Unicode.
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            _read_line(contents, number, line, folder)
    return contents


def _read_line(contents: Contents, number: int, line: bytes, folder: Path) -> None:
    text = contents.decode(number, line)
    if text is None:
        return
    try:
        decoded = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        contents.blame(number, f"is no JSON ({error.msg} at character {error.colno})")
    except ValueError as error:  # a name given twice; a number that Python will not read
        contents.blame(number, f"is no JSON ({error})")
    except RecursionError:
        contents.blame(number, "is no JSON that can be read (it is nested too deeply)")
    else:
        _read_object(contents, number, decoded, folder)


def _read_object(contents: Contents, number: int, decoded: object, folder: Path) -> None:
    if not isinstance(decoded, dict) or decoded.keys().isdisjoint(_MARKS_OF_A_BATCH):
        known = decoded if isinstance(decoded, dict) else {}
        name, extra = known.pop("request_id", None), known.pop("extra", None)
        contents.take(
            number,
            decoded,
            folder=folder,
            place_of=str,
            request_id=name,
            extra=_texts(contents, number, extra),
        )
        return
    contents.take(
        number,
        decoded.get("payload"),
        folder=folder,
        place_of=_place_in_batch,
        request_id=_read_envelope(contents, number, decoded),
    )


def _texts(contents: Contents, number: int, extra: object) -> Mapping[str, str]:
    """Return the author's own texts; what is no text is blamed."""
    if extra is None:
        return NO_EXTRA
    if isinstance(extra, dict) and all(isinstance(text, str) for text in extra.values()):
        return extra
    contents.blame(number, f"must be an object of texts, not {shown(extra)}", "extra")
    return NO_EXTRA


def _place_in_batch(path: str) -> str:
    if path == "request_id":
        return path
    return f"payload.{path}" if path else "payload"


def _read_envelope(contents: Contents, number: int, decoded: dict[str, Any]) -> str | None:
    """Check what a batch's line has around its body (contract section 13, rule 15)."""
    for name in decoded:
        if name not in _BATCH_NAMES:
            contents.blame(number, unknown(name, _BATCH_NAMES), below("", name))
    request_id, endpoint = decoded.get("request_id"), decoded.get("endpoint")
    if endpoint != _ENDPOINT:
        contents.blame(number, f"must be {_ENDPOINT!r}, not {shown(endpoint)}", "endpoint")
    if isinstance(request_id, str) and request_id.strip():
        return request_id
    contents.blame(number, f"must be text, not {shown(request_id)}", "request_id")
    return None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; of a name that is given twice, nobody knows which is meant."""
    built = dict(pairs)
    if len(built) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} is given twice")
    return built


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
