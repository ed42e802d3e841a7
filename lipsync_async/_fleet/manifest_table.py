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
| `request_id` | a name of your own for the row, not sent |

Names of columns count without case, blanks and signs (`Video URL` is `video_url`). Columns of
other names are the author's own, and kept, unless they read like one of these: that is most
likely a slip, and what it says would be ignored.

An empty cell is a field left out, and so is one that a short row has not got. Cells are
separated by commas, semicolons, tabs or bars. Blanks and invisible characters at the ends of
cells are taken off, but for scripts. `0,7` is a number. What no column says (segments, faces
by pixel) takes JSON lines.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._fleet.manifest_rows import Contents
from lipsync_async._rules.checks import shown
from lipsync_async._values.invisible import bare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_SEPARATORS = ",;\t|"
# The line that tells a spreadsheet which separator comes; it writes others behind it.
_SEPARATOR_LINE = re.compile(r'\s*"?sep=([,;\t|])"?[,;\t| ]*', re.IGNORECASE)
# ASCII digits and a point or a comma: `float` would also take "nan", "1_000" and other
# scripts' digits. What has both ("1.234,5") could be read in two ways.
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
# Spreadsheets write the words of their user's language, even if `true` was typed.
_TRUE = (
    "true yes 1 wahr ja vrai oui verdadero sí si vero verdadeiro sim waar prawda tak igaz igen "
    "pravda ano истина да істина так sant sand sann tosi doğru evet adevărat da cert veritat "
    "αληθησ tõene patiess teisinga egia"
)
_FALSE = (
    "false no 0 falsch nein faux non falso não nao onwaar nee fałsz nie hamis nem nepravda ne "
    "ложь нет хибність ні falskt falsk usann epätosi yanl\u0131ş yanliş hay\u0131r fals nu "
    "ψευδησ väär aplams klaidinga faltsua"
)
# Where a column of 1 and 0 has gaps, programs for tables write 1.0 and 0.0.
_FLAGS = dict.fromkeys([*_TRUE.split(), "1.0", "1,0"], True) | dict.fromkeys(
    [*_FALSE.split(), "0.0", "0,0"], False
)
# What spreadsheets write into a cell that they cannot compute, in their user's language.
_BROKEN_CELL = re.compile(
    r"#[¡¿]?(N/A|N/D|NV|NAME|NOM|NOMBRE|NOME|NAAM|REF|BEZUG|RIF|VERW|VALUE|WERT|VALEUR|VALOR|"
    r"VALORE|WAARDE|DIV/0|DEEL/0|NULL|NUL|NULO|NULLO|NUM|ZAHL|GETAL|SPILL|CALC)[!?]?"
)
# What is meant by names that are too short to be like a column's.
_SHORT_NAMES = {
    "video": "video_url",
    "audio": "audio_url",
    "image": "image_url",
    "temp": "temperature",
    "autodetect": "speaker_auto_detect",
    "boxesurl": "speaker_boxes_url",
}
_LIKENESS = 0.8
_LONG_BEGINNING = 8  # letters


def _text(cell: str) -> Any:
    return bare(cell)


def _verbatim(cell: str) -> Any:
    return cell


def _number(cell: str) -> Any:
    """Return a number; what is none is left for validation to quote."""
    plain = bare(cell)
    return float(plain.replace(",", ".")) if _NUMBER.fullmatch(plain) else plain


def _flag(cell: str) -> Any:
    plain = bare(cell)
    return _FLAGS.get(_folded(plain), plain)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().replace("i\u0307", "i")


def _squeezed(name: str) -> str:
    """Return what counts of a column's name."""
    return re.sub(r"[\W_]+", "", _folded(bare(name)))


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
    "request_id": _Column("body", "request_id"),
}
_KNOWN = {_squeezed(name): name for name in COLUMNS}
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
        data: The file's text in UTF-8, without a byte order mark.
        folder: What the paths of local files are relative to.

    """
    contents = Contents()
    lines = data.splitlines(keepends=True)  # of bytes: CR, LF or both, and nothing else
    texts = [contents.decode(number, line) for number, line in enumerate(lines, 1)]
    readable = [text for text in texts if text is not None]
    if len(readable) < len(texts):
        return contents
    rows = _rows(contents, readable)
    line, cells = next(rows, (1, []))
    header = _read_header(contents, line, cells)
    if not contents.flaws:
        for line, cells in rows:
            _read_row(contents, line, header, cells, folder)
    return contents


def _rows(contents: Contents, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line that it begins in."""
    first = next((index for index, line in enumerate(lines) if bare(line)), 0)
    told = _SEPARATOR_LINE.fullmatch(lines[first].rstrip("\r\n")) if lines else None
    begin = first if told is None else first + 1
    separator = _separator(lines[begin:]) if told is None else told[1]
    table = csv.reader(lines[begin:], delimiter=separator, strict=True)
    while True:
        line = begin + table.line_num + 1
        try:
            cells = next(table, None)
        except csv.Error as error:
            contents.blame(line, f"is no CSV ({error}); what follows was not looked at")
            return
        if cells is None:
            return
        if any(bare(cell) for cell in cells):
            yield line, cells


def _separator(lines: list[str]) -> str:
    """Return the separator by which most of the header's names are known ones."""
    counts = {mark: "".join(lines[:1]).count(mark) for mark in _SEPARATORS}
    return max(_SEPARATORS, key=lambda mark: (_known_names(lines, mark), counts[mark]))


def _known_names(lines: list[str], separator: str) -> int:
    try:
        header = next(csv.reader(lines, delimiter=separator, strict=True), [])
    except csv.Error:
        return 0
    return len({_squeezed(name) for name in header} & _KNOWN.keys())


def _read_header(contents: Contents, line: int, cells: list[str]) -> list[str]:
    """Return the columns' names: those of `COLUMNS`, the author's own, and empty ones."""
    names: list[str] = []
    for cell in cells:
        own = bare(cell)
        name = _KNOWN.get(_squeezed(own), own)
        meant = None if name in COLUMNS else _meant(own)
        if name in names and name:
            contents.blame(line, f"column {shown(own)} is there twice")
        elif meant is not None:
            contents.blame(
                line,
                f"column {shown(own)} is unknown; did you mean {meant}? "
                "A column of your own needs a name that is less like it",
            )
        names.append(name)
    if names and "model" not in names:
        contents.blame(line, "column 'model' is missing; the first line names the columns")
    return names


def _meant(name: str) -> str | None:
    """Return the column that a name most likely means, if it is most likely a slip."""
    squeezed = _squeezed(name)
    for known, column in _KNOWN.items():
        is_beginning = len(squeezed) >= _LONG_BEGINNING and known.startswith(squeezed)
        if is_beginning or sorted(known) == sorted(squeezed):
            return column
    (like,) = get_close_matches(squeezed, [*_KNOWN], n=1, cutoff=_LIKENESS) or (None,)
    return _SHORT_NAMES.get(squeezed) if like is None else _KNOWN[like]


def _read_row(
    contents: Contents,
    line: int,
    header: list[str],
    cells: list[str],
    folder: Path,
) -> None:
    given: dict[str, str] = {}
    extra: dict[str, str] = {}
    for index, cell in enumerate(cells):
        name = header[index] if index < len(header) else ""
        if name in COLUMNS and bare(cell):
            given[name] = cell
        elif name not in COLUMNS and name:
            extra[name] = cell
        elif not name and bare(cell):
            contents.blame(line, f"{shown(bare(cell))} is in a column without a name")
    flaws = {name: words for name, cell in given.items() if (words := _flaw(name, cell))}
    request_id = bare(given.pop("request_id", "")) or None
    body, places = _body(
        {name: given[name] for name in given if name not in flaws or name == "model"}
    )
    columns = {
        f"{places[column.part]}{column.name}": name
        for name, column in COLUMNS.items()
        if column.part in places
    }
    contents.take(
        line,
        body,
        folder=folder,
        place_of=lambda path: columns.get(path, path),
        request_id=request_id,
        extra=extra,
    )
    for name, words in flaws.items():
        contents.blame(line, words, name)


def _flaw(name: str, cell: str) -> str | None:
    """Return why a cell cannot be meant as it is, where its field's own rule would not say it."""
    plain = bare(cell)
    if _BROKEN_CELL.fullmatch(plain):
        return f"holds {shown(plain)}, which a spreadsheet writes for a formula that has failed"
    if COLUMNS[name].read is _flag and _flag(cell) == plain:
        return f"must be true or false, not {shown(plain)}; 1 and 0 survive every spreadsheet"
    if name == "model" and plain.startswith("#"):
        return f"must be a model, not {shown(plain)}; a table has no comments"
    return None


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
