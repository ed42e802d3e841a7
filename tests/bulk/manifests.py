"""Manifests for tests: right ones, and what is told about wrong ones."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipsync_async._bulk.manifest import parse_manifest
from lipsync_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from lipsync_async import ManifestRow

BODY: dict[str, Any] = {
    "model": "lipsync-2",
    "input": [
        {"type": "video", "url": "https://media.example/v.mp4"},
        {"type": "audio", "url": "https://media.example/a.wav"},
    ],
}
LINE = json.dumps(BODY)
FOLDER = Path(tempfile.gettempdir()) / "there-is-no-such-folder"


def body(**changes: Any) -> dict[str, Any]:
    """Return a good body but for what the caller changes."""
    return {**BODY, **changes}


def read(data: bytes | str, suffix: str = ".csv", folder: Path = FOLDER) -> list[ManifestRow]:
    """Return the rows of a manifest that is right."""
    encoded = data.encode("utf-8") if isinstance(data, str) else data
    return parse_manifest(encoded, suffix=suffix, folder=folder)


def row_of(line: dict[str, Any]) -> ManifestRow:
    """Return the row of a manifest of one line."""
    (row,) = read(json.dumps(line), ".jsonl")
    return row


def problems(data: bytes | str, suffix: str = ".csv") -> list[str]:
    """Return what is told about a manifest; nothing, if it is right."""
    try:
        read(data, suffix)
    except InvalidRequestError as error:
        return [*error.problems]
    return []
