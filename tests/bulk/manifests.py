"""Manifests for tests: right ones, and what is told about wrong ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lipsync_async._bulk.manifest import parse_manifest
from lipsync_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async import ManifestRow

BODY: dict[str, Any] = {
    "model": "lipsync-2",
    "input": [
        {"type": "video", "url": "https://media.example/v.mp4"},
        {"type": "audio", "url": "https://media.example/a.wav"},
    ],
}
LINE = json.dumps(BODY)


def body(**changes: Any) -> dict[str, Any]:
    """Return a good body but for what the caller changes."""
    return {**BODY, **changes}


def row_of(line: dict[str, Any], folder: Path) -> ManifestRow:
    """Return the row of a manifest of one line."""
    (row,) = parse_manifest(json.dumps(line).encode(), suffix=".jsonl", folder=folder)
    return row


def problems(data: bytes | str, folder: Path, suffix: str) -> list[str]:
    """Return what is told about a manifest; nothing, if it is right."""
    encoded = data.encode("utf-8") if isinstance(data, str) else data
    try:
        parse_manifest(encoded, suffix=suffix, folder=folder)
    except InvalidRequestError as error:
        return [*error.problems]
    return []
