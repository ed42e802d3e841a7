"""Write requests back as a manifest: what `read_manifest` reads, with the author's own columns.

A table says what its columns say. What they do not (segments, faces by pixel, names of inputs)
takes JSON lines, which say everything; there the author's own columns are in `extra`.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from lipsync_async._fleet.journal_export import replaced
from lipsync_async._fleet.manifest_table import COLUMNS
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from lipsync_async._fleet.journal_entry import JournalEntry

_MOST_TOLD = 10
_COLUMN_OF = {(column.part, column.name): name for name, column in COLUMNS.items()}


class UnsayableError(Exception):
    """Raised for a part of a request that no manifest of a form can say."""


def write_manifest(entries: Iterable[JournalEntry], target: Path, *, journal: Path) -> int:
    """Write the requests of entries as a manifest, and return how many there are.

    Args:
        entries: Of a journal.
        target: The file; its suffix tells the form: `.csv`, or JSON lines.
        journal: The journal, which is never overwritten.

    Raises:
        JournalError: A request cannot be written in that form, or the file not be written.

    """
    is_table = target.suffix.lower() == ".csv"
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for entry in entries:
        try:
            body = body_of(entry)
            rows.append(_row(entry, body) if is_table else _line(entry, body))
        except UnsayableError as error:
            problems.append(f"{entry.place}: {error}")
    if problems:
        more = len(problems) - _MOST_TOLD
        told = [*problems[:_MOST_TOLD], *([f"and {more} more"] if more > 0 else [])]
        raise JournalError(f"{target} was not written. {'; '.join(told)}.")
    with replaced(target, journal) as file:
        if is_table:
            own = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
            used = {name for row in rows for name in row}
            names = [*(name for name in COLUMNS if name in used), *own]
            table = csv.DictWriter(file, names or ["model"])
            table.writeheader()
            table.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return len(rows)


def body_of(entry: JournalEntry) -> dict[str, Any]:
    """Return the body of a request as a manifest has it, local files by their paths."""
    body = entry.request
    return {**body, "input": [_with_path(item) for item in body["input"]]}


def cells_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of a table that say a body."""
    return {name: _cell(value) for name, value in _columns(body) if value is not None}


def _row(entry: JournalEntry, body: Mapping[str, Any]) -> dict[str, str]:
    return {**_id(entry), **cells_of(body), **entry.origin.extra}


def _line(entry: JournalEntry, body: dict[str, Any]) -> dict[str, Any]:
    extra = dict(entry.origin.extra)
    return {**_id(entry), **body, **({"extra": extra} if extra else {})}


def _id(entry: JournalEntry) -> dict[str, str]:
    return {} if entry.request_id is None else {"request_id": entry.request_id}


def _with_path(item: Mapping[str, Any]) -> dict[str, Any]:
    if "file" not in item:
        return dict(item)
    path = item["file"].get("path")
    if path is None:
        raise UnsayableError(
            "its file was given as bytes, of which the journal holds a digest only"
        )
    return {**item, "file": path}


def _columns(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the column and the value of everything that a body says."""
    kinds: set[str] = set()
    for name, value in body.items():
        if name == "input":
            for item in value:
                yield from _input_columns(item, kinds)
        elif name == "options":
            yield from _option_columns(value)
        elif name == "dubParams":
            yield from _part("dubParams", value, skipped={"providerName": "elevenlabs"})
        else:
            yield from _part("body", {name: value})


def _input_columns(item: Mapping[str, Any], kinds: set[str]) -> Iterator[tuple[str, Any]]:
    kind = item["type"]
    if kind in kinds:
        raise UnsayableError(f"a table holds one {kind} a row; write a file that ends in .jsonl")
    kinds.add(kind)
    if kind == "text":
        yield from _part("provider", item["provider"], skipped={"name": "elevenlabs"})
        yield from _part("text", item, skipped={"type": kind, "provider": item["provider"]})
    else:
        yield from _part(kind, item, skipped={"type": kind})


def _option_columns(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    speaker = options.get("active_speaker_detection") or {}
    yield from _part("options", options, skipped={"active_speaker_detection": speaker})
    yield from _part("speaker", speaker)


def _part(
    part: str, values: Mapping[str, Any], skipped: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name in (skipped or {}) and value == (skipped or {})[name]:
            continue
        if (part, name) not in _COLUMN_OF:
            raise UnsayableError(
                f"a table has no column for {name}; write a file that ends in .jsonl"
            )
        yield _COLUMN_OF[part, name], value


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
