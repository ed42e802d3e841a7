"""Requests from a file: JSON lines or a CSV table, all of them right or none taken.

What the forms hold is said in `manifest_lines.py` and `manifest_table.py`. Paths of local
files are relative to the manifest's own folder.
"""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_async._fleet.manifest_lines import read_lines
from lipsync_async._fleet.manifest_table import read_table
from lipsync_async._rules.checks import shown
from lipsync_async._rules.targets import expanded, path_problems
from lipsync_async._values.invisible import ignored
from lipsync_async.errors import InvalidRequestError

if TYPE_CHECKING:
    import os

    from lipsync_async._fleet.manifest_rows import Contents, ManifestRow

_READERS = {
    ".jsonl": read_lines,
    ".ndjson": read_lines,
    ".csv": read_table,
    ".tsv": read_table,
}
# Byte order marks, those first that begin like another one.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# How files of spreadsheets begin, whatever they are called.
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_SPREADSHEET_SUFFIXES = frozenset({".xlsx", ".xlsm", ".xls", ".ods", ".numbers"})
_SAVE_IT = "save the sheet as 'CSV UTF-8'"


def read_manifest(path: str | os.PathLike[str]) -> list[ManifestRow]:
    """Return the requests of a manifest, in its order; all of them right, or none.

    `.jsonl` and `.ndjson` hold a generate body a line, by the names of the HTTP API and
    with `"file"` for a local file (or a line of a batch: `request_id`, `endpoint`,
    `payload`). `.csv` and `.tsv` hold one request a row under these columns, of which only
    `model` must be there; an empty cell is a field left out:

    `model`, `video_url`, `video_asset_id`, `video_file`, `image_url`, `image_asset_id`,
    `image_file`, `audio_url`, `audio_asset_id`, `audio_file`, `voice_id`, `script`,
    `stability`, `similarity_boost`, `target_lang`, `source_lang`, `sync_mode`,
    `temperature`, `model_mode`, `prompt`, `occlusion_detection_enabled`,
    `reasoning_enabled`, `speaker_auto_detect`, `speaker_boxes_url`, `output_file_name`,
    `webhook_url`, `project_id`, `request_id`.

    Columns of your own are kept (`ManifestRow.extra`) unless they read like one of these; so
    are the texts in an object `extra` of a generate body.
    Files are looked up (relative to the manifest's folder; `~` is the home folder); nothing
    is sent.

    Args:
        path: The file, in UTF-8, or in UTF-16 with a byte order mark. `~` is the home folder.

    Returns:
        At least one row; `.request` is what `run_many` takes.

    Raises:
        InvalidRequestError: The file cannot be read, or holds no request, or not only
            requests that can be sent; each problem begins with its line (`line 7: `).

    Example:
        `client.generations.run_many([row.request for row in read_manifest("takes.csv")])`

    """
    problems = [*path_problems("manifest", path)]
    if problems:
        raise InvalidRequestError(problems)
    file = Path(expanded(path))
    try:
        data = file.read_bytes()
    except OSError as error:
        told = ignored(f"{file}")
        hint = "" if told is None else f"; its name holds {told}"
        problem = f"manifest: cannot be read ({error.strerror}): {shown(f'{file}')}{hint}"
        raise InvalidRequestError([problem]) from error
    return parse_manifest(data, suffix=file.suffix, folder=file.parent.absolute())


def parse_manifest(data: bytes, *, suffix: str, folder: Path) -> list[ManifestRow]:
    """Return the requests that a manifest's bytes hold.

    Args:
        data: The file's content.
        suffix: The end of its name, which tells its form.
        folder: What the paths of local files are relative to.

    Raises:
        InvalidRequestError: As of `read_manifest`.

    """
    read = _READERS.get(suffix.lower())
    if read is None:
        names = ", ".join(_READERS)
        advice = f"; {_SAVE_IT}" if suffix.lower() in _SPREADSHEET_SUFFIXES else ""
        problem = f"manifest: must end in {names}, not {shown(suffix)}{advice}"
        raise InvalidRequestError([problem])
    contents = read(_in_utf_8(data), folder=folder)
    _judge_names(contents)
    if contents.flaws:
        flaws = sorted(contents.flaws, key=lambda flaw: flaw[0])
        raise InvalidRequestError([f"line {line}: {flaw}" for line, flaw in flaws])
    if not contents.rows:
        raise InvalidRequestError(["manifest: holds no request"])
    return contents.rows


def _in_utf_8(data: bytes) -> bytes:
    """Return a file's text in UTF-8 and without a mark; what is wrong with that has its lines.

    Raises:
        InvalidRequestError: It is no text, or it is damaged.

    """
    if data.startswith(_SPREADSHEETS):
        raise InvalidRequestError([f"manifest: is no text but a spreadsheet's file; {_SAVE_IT}"])
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8-sig")
    if encoding != "utf-8-sig":
        try:
            return data.decode(encoding).encode()
        except UnicodeDecodeError:
            problem = f"manifest: is {encoding.upper()} and damaged; save the file as UTF-8"
            raise InvalidRequestError([problem]) from None
    if b"\0" in data:
        problem = "manifest: holds null characters; save the file as UTF-8"
        raise InvalidRequestError([problem])
    return data.removeprefix(codecs.BOM_UTF8)


def _judge_names(contents: Contents) -> None:
    """Refuse rows that share a name: most likely one was copied, and its rest forgotten.

    Names of results count without case, for files of other systems do.
    """
    outputs: dict[str, int] = {}
    ids: dict[str, int] = {}
    for row in contents.rows:
        name = row.request.output_file_name
        if isinstance(name, str):
            first = outputs.setdefault(name.casefold(), row.line)
            if first != row.line:
                words = f"names its output {shown(name)} as line {first} does; give each its own"
                contents.blame(row.line, words)
        if not isinstance(row.request_id, str):  # none, or no name at all
            continue
        if ids.setdefault(row.request_id, row.line) != row.line:
            words = f"must differ from that of line {ids[row.request_id]}"
            contents.blame(row.line, words, "request_id")
