"""A journal's entries as a file for other programs, which appears whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from lipsync_async._bulk.journal_file import SIDES, beside, is_of_database
from lipsync_async._models.text import for_screens_by_line
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TextIO

    from lipsync_async._bulk.journal_entry import JournalEntry


# Columns of the table: facts of the entry, then of its job, then what was asked for.
_ENTRY_FACTS = (
    "position",
    "line",
    "request_id",
    "state",
    "status",
    "generation_id",
    "download_path",
    "error_class",
    "error_code",
    "error_message",
    "tries",
    "attempts",
    "cost",
    "idempotency_key",
    "intended_at",
    "accepted_at",
    "ended_at",
    "updated_at",
)
_JOB_FACTS = ("output_url", "output_duration")
_REQUEST_FACTS = {"model": "model", "output_file_name": "outputFileName"}
_FACTS_OF_THE_SERVICE = ("status", "generation_id", "error_code", "error_message", "output_url")
# OWASP, "CSV Injection".
_FORMULA_MARKS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_COLUMNS = (*_ENTRY_FACTS, *_JOB_FACTS, *_REQUEST_FACTS, "request")


def write_jsonl(entries: Iterable[JournalEntry], target: Path, *, journal: Path) -> None:
    """Write one JSON object a line: the entry's facts, `request` and `generation`.

    Raises:
        JournalError: The file cannot be written, or is the journal's own.

    """
    with replaced(target, journal) as file:
        for entry in entries:
            answer = entry.generation_json
            line = {
                **_facts(entry),
                "fingerprint": entry.fingerprint,
                "extra": dict(entry.origin.extra),
                "request": entry.request,
                "generation": None if answer is None else json.loads(answer),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def write_csv(
    entries: Callable[[], Iterable[JournalEntry]], target: Path, *, journal: Path
) -> None:
    """Write one row an entry, under a header; what is unknown is an empty cell.

    The author's own columns come last. A spreadsheet computes a cell that begins like a
    formula, so what the service has said gets an apostrophe before such a beginning, and its
    control characters are written as escapes. What the author has written stays as it was.

    Args:
        entries: Gives the entries; it is called twice.
        target: The file.
        journal: The journal, which is never overwritten.

    Raises:
        JournalError: The file cannot be written, or is the journal's own.

    """
    own = dict.fromkeys(name for entry in entries() for name in entry.origin.extra)
    with replaced(target, journal) as file:
        table = csv.writer(file)
        table.writerow(
            [*_COLUMNS, *(f"{name} (own)" if name in _COLUMNS else name for name in own)]
        )
        for entry in entries():
            request, generation = entry.request, entry.generation
            row = {
                **_facts(entry),
                **{name: getattr(generation, name, None) for name in _JOB_FACTS},
                **{name: request.get(wire) for name, wire in _REQUEST_FACTS.items()},
                "request": entry.request_json,
            }
            row |= {name: _harmless(row[name]) for name in _FACTS_OF_THE_SERVICE}
            extra = entry.origin.extra
            table.writerow([*(row[name] for name in _COLUMNS), *map(extra.get, own)])


def _harmless(value: object) -> object:
    """Return text of the service's that no spreadsheet computes."""
    if not isinstance(value, str):
        return value
    text = for_screens_by_line(value)
    return f"'{text}" if text.startswith(_FORMULA_MARKS) else text


def _facts(entry: JournalEntry) -> dict[str, Any]:
    """Return an entry's own facts, times as ISO 8601 text."""
    facts: dict[str, Any] = {}
    for name in _ENTRY_FACTS:
        value: Any = entry.origin.line if name == "line" else getattr(entry, name)
        facts[name] = value.isoformat() if name.endswith("_at") and value else value
    if entry.download_path is not None:
        facts["download_path"] = str(entry.download_path)
    return facts


@contextmanager
def replaced(target: Path, journal: Path) -> Iterator[TextIO]:
    """Give a new file to write into, and put it in the target's place once it is whole."""
    try:
        _refuse_own(target, journal)
        part = target.with_name(f".{token_hex(8)}.part")
        # Half of a surrogate pair, which no encoding has, is written as JSON escapes it.
        file = part.open("x", encoding="utf-8", errors="backslashreplace", newline="")
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null character, or no name at all
        reason = getattr(error, "strerror", None) or error  # without the name of the part
        message = f"{target} cannot be written ({reason}). Give another path."
        raise JournalError(message) from error


def _refuse_own(target: Path, journal: Path) -> None:
    """Ask for a regular file, or a new one, that is no part of a journal by any name.

    Raises:
        JournalError: It is another kind of thing, or a journal's.

    """
    parts = [journal, *(beside(journal, side) for side in SIDES)]
    found = Path(os.path.realpath(target))  # which takes a circle of links as it is
    is_own = found in parts
    if target.exists():
        status = target.stat()
        own = [part.stat() for part in parts if part.exists()]
        is_own = is_own or any(os.path.samestat(status, each) for each in own)
        if not stat.S_ISREG(status.st_mode):
            raise JournalError(
                f"{target} cannot be written (it is no regular file). Give another path."
            )
    if is_own:
        raise JournalError(
            f"{target} is the journal itself, or belongs to it, and would be destroyed. Give "
            "another path."
        )
    if is_of_database(found):
        raise JournalError(
            f"{target} is a database, or belongs to one: another journal, perhaps, and what was "
            "ordered with it would be ordered anew. Give another path."
        )
