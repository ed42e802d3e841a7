"""Manifests as tables: CSV with a header, one request a row.

| columns | meaning |
|---|---|
| `model` | required |
| `video_url`, `video_asset_id`, `video_file` | the video, or instead |
| `image_url`, `image_asset_id`, `image_file` | the image |
| `audio_url`, `audio_asset_id`, `audio_file` | recorded speech, or instead |
| `voice_id`, `script`, `stability`, `similarity_boost` | speech to be made, or instead |
| `target_lang`, `source_lang` | dubbing of the video's own speech |
| `sync_mode`, `temperature`, `model_mode`, `prompt` | options |
| `occlusion_detection_enabled`, `reasoning_enabled` | options: true or false |
| `speaker_auto_detect`, `speaker_boxes_url` | whose lips move |
| `output_file_name`, `webhook_url`, `project_id` | as in `GenerationRequest` |

An empty cell is a field left out. Cells are separated as in the header: by commas,
semicolons or tabs. What no column says (segments, faces by pixel) takes JSON lines.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._fleet.generate_body import unknown
from lipsync_async._fleet.manifest_rows import Contents
from lipsync_async._rules.checks import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_SEPARATORS = ",;\t"
# ASCII digits and a point: `float` would also take "nan", "1_000" and other scripts' digits.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _text(cell: str) -> Any:
    return cell.strip()


def _verbatim(cell: str) -> Any:
    return cell


def _number(cell: str) -> Any:
    """Return a number; what is none is left for validation to quote."""
    bare = cell.strip()
    return float(bare) if _NUMBER.fullmatch(bare) else bare


def _flag(cell: str) -> Any:
    bare = cell.strip()
    return _FLAGS.get(bare.lower(), bare)


@attrs.frozen(slots=True)
class _Column:
    """Say where a column's cells go: into which part of the body, under which name."""

    part: str
    name: str
    read: Callable[[str], Any] = _text


COLUMNS: Mapping[str, _Column] = {
    "model": _Column("body", "model"),
    **{
        f"{kind}_{suffix}": _Column(kind, name)
        for kind in ("video", "image", "audio")
        for suffix, name in (("url", "url"), ("asset_id", "assetId"), ("file", "file"))
    },
    "voice_id": _Column("provider", "voiceId"),
    "script": _Column("provider", "script", _verbatim),
    "stability": _Column("provider", "stability", _number),
    "similarity_boost": _Column("provider", "similarityBoost", _number),
    "target_lang": _Column("dubParams", "targetLang"),
    "source_lang": _Column("dubParams", "sourceLang"),
    "sync_mode": _Column("options", "sync_mode"),
    "temperature": _Column("options", "temperature", _number),
    "model_mode": _Column("options", "model_mode"),
    "prompt": _Column("options", "prompt"),
    "occlusion_detection_enabled": _Column("options", "occlusion_detection_enabled", _flag),
    "reasoning_enabled": _Column("options", "reasoning_enabled", _flag),
    "speaker_auto_detect": _Column("speaker", "auto_detect", _flag),
    "speaker_boxes_url": _Column("speaker", "bounding_boxes_url"),
    "output_file_name": _Column("body", "outputFileName"),
    "webhook_url": _Column("body", "webhookUrl"),
    "project_id": _Column("body", "projectId"),
}
# Where the parts are that have a fixed place in a body.
_PLACES = {
    "body": "",
    "options": "options.",
    "speaker": "options.active_speaker_detection.",
    "dubParams": "dubParams.",
}


def read_table(data: bytes, *, folder: Path) -> Contents:
    """Read a manifest; rows of empty cells are passed over.

    Args:
        data: The file's bytes, without a byte order mark.
        folder: What the paths of local files are relative to.

    """
    contents = Contents()
    lines = [contents.decode(number, line) for number, line in enumerate(data.split(b"\n"), 1)]
    if None in lines:
        return contents
    rows = _rows(contents, data.decode("utf-8"))
    line, header = next(rows, (1, []))
    names = [name.strip() for name in header]
    _judge_header(contents, line, names)
    if not contents.flaws:
        for line, cells in rows:
            _read_row(contents, line, names, cells, folder)
    return contents


def _rows(contents: Contents, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line that it begins in."""
    first_line = text.lstrip().partition("\n")[0]
    separator = max(_SEPARATORS, key=first_line.count)
    table = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = table.line_num + 1
        try:
            cells = next(table, None)
        except csv.Error as error:
            contents.blame(line, f"is no CSV ({error}); what follows was not looked at")
            return
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, cells


def _judge_header(contents: Contents, line: int, names: list[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index] and name:
            contents.blame(line, f"column {shown(name)} is there twice")
        elif name and name not in COLUMNS:
            contents.blame(line, f"column {shown(name)} {unknown(name, COLUMNS)}")
    if names and "model" not in names:
        contents.blame(line, "column 'model' is missing; the first line names the columns")


def _read_row(
    contents: Contents,
    line: int,
    names: list[str],
    cells: list[str],
    folder: Path,
) -> None:
    if len(cells) != len(names):
        contents.blame(line, f"has {len(cells)} cells, but the header has {len(names)}")
        return
    given = {name: cell for name, cell in zip(names, cells, strict=True) if cell.strip()}
    if "" in given:
        contents.blame(line, f"{shown(given.pop(''))} is in a column without a name")
    body, places = _body(given)
    columns = {
        f"{places[column.part]}{column.name}": name
        for name, column in COLUMNS.items()
        if column.part in places
    }
    contents.take(line, body, folder=folder, place_of=lambda path: columns.get(path, path))


def _body(given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the body that a row's cells make, and the path of each part in it."""
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, cell in given.items():
        column = COLUMNS[name]
        parts[column.part][column.name] = column.read(cell)
    places = dict(_PLACES)
    inputs: list[dict[str, Any]] = []
    for kind in ("video", "image", "audio"):
        if kind in parts:
            places[kind] = f"input[{len(inputs)}]."
            inputs.append({"type": kind, **parts[kind]})
    if "provider" in parts:
        places["provider"] = f"input[{len(inputs)}].provider."
        inputs.append({"type": "text", "provider": parts["provider"]})
    if "speaker" in parts:
        parts["options"]["active_speaker_detection"] = parts["speaker"]
    body: dict[str, Any] = {**parts["body"], "input": inputs}
    for name in ("options", "dubParams"):
        if name in parts:
            body[name] = parts[name]
    return body, places
