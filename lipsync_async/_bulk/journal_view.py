"""A journal to read: its entries, also as JSON lines or a table, or a manifest of their requests.

A file that is written appears whole or not at all.
"""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._bulk.journal_entry import (
    SELECT_ENTRIES,
    JobState,
    JournalEntry,
    entry_of,
    unreadable,
)
from lipsync_async._bulk.journal_file import (
    ADDRESS,
    PATIENCE,
    SIDES,
    connect_reader,
    find,
    from_home,
    is_of_database,
    resolve,
)
from lipsync_async._bulk.manifest import COLUMNS
from lipsync_async._logic.validation import shown
from lipsync_async._models.text import for_screens_by_line
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self, TextIO

    from lipsync_async._bulk.journal_file import JournalStore  # noqa: TC004 - a type only


# Columns of the table: facts of the entry, then of its job, then what was asked for.
_ENTRY_FACTS = (
    *("position", "line", "request_id", "state", "status", "generation_id", "download_path"),
    *("error_class", "error_code", "error_message", "tries", "attempts", "cost"),
    *("idempotency_key", "intended_at", "accepted_at", "ended_at", "updated_at"),
)
_JOB_FACTS = ("output_url", "output_duration")
_REQUEST_FACTS = {"model": "model", "output_file_name": "outputFileName"}
_FACTS_OF_THE_SERVICE = ("status", "generation_id", "error_code", "error_message", "output_url")
# OWASP, "CSV Injection".
_FORMULA_MARKS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_COLUMNS = (*_ENTRY_FACTS, *_JOB_FACTS, *_REQUEST_FACTS, "request")
_COLUMN_OF = {(column.part, column.name): name for name, column in COLUMNS.items()}
_MAX_PROBLEMS = 10
# Entries of one query: a journal of any length is read in little memory.
_PAGE = 500


@attrs.define(eq=False, repr=False)
class JournalView:
    """A journal to read, without a client: what was committed last.

    `with JournalView.open("takes.sqlite") as view:` works whether or not a run is
    writing to it, and disturbs none. Two calls may see two moments. Threads may share a
    view.

    Attributes:
        path: Where the journal is: an absolute path, or an address without its password.

    """

    path: Path | str
    _store: JournalStore
    # Threads may share the store, but not a transaction.
    _lock: Lock = attrs.field(factory=Lock, init=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a journal to read it, whether or not a run is writing to it.

        Nothing is left beside it, and it may lie where nothing can be written.

        Args:
            path: What `run_many` was given as `journal`.

        Returns:
            The view, to be closed in the end.

        Raises:
            JournalError: There is none, or it is no journal, or one of a newer release, or
                it is damaged, or its server cannot be reached.
            ConfigurationError: It is on PostgreSQL, and the extra `postgres` is not installed.

        """
        if ADDRESS.match(str(path)):
            from lipsync_async._bulk import journal_postgres  # noqa: PLC0415 - few need it

            store: JournalStore = journal_postgres.connect_reader(path)
        else:
            store = connect_reader(resolve(path), patience=PATIENCE)
        return cls(store.path, store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        with self._lock:
            self._store.close()

    @property
    def length(self) -> int:
        """Positions of the input that the journal reaches over.

        More than its entries where some requests were never sent.

        Raises:
            JournalError: The file cannot be read.

        """
        with self._reading() as store:
            (highest,) = store.execute("SELECT max(position) FROM entries").fetchone()
        return 0 if highest is None else highest + 1

    def counts(self) -> dict[JobState, int]:
        """Return how many requests are in each state, no state left out.

        Raises:
            JournalError: The file cannot be read.

        """
        with self._reading() as store:
            rows = store.execute("SELECT state, count(*) FROM entries GROUP BY state")
            try:
                counts = {JobState(state): count for state, count in rows}
            except ValueError as error:
                raise unreadable("unknown", error) from error
        return dict.fromkeys(JobState, 0) | counts

    def entry(self, position: int) -> JournalEntry | None:
        """Return what is known of the request at a position (from 0), `None` if nothing is.

        Raises:
            JournalError: The file cannot be read.

        """
        with self._reading() as store:
            return find(store, position)

    def entries(self, *states: JobState) -> Iterator[JournalEntry]:
        """Yield the entries in these states (in any, if none is given), by position.

        However long the journal is, a few hundred of them are in memory at once.

        Raises:
            JournalError: What is given is no state, or the file cannot be read.

        """
        return self._entries(_checked_states(states) if states else tuple(JobState))

    def export_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write each entry as a line of JSON; the file appears whole, or not at all.

        Args:
            path: The file; one that is there is replaced, but never the journal.

        Raises:
            JournalError: It cannot be written, or the journal not be read.

        """
        with _replacing(from_home(path).absolute(), self.path) as file:
            for entry in self.entries():
                answer = entry.generation_json
                line = {
                    **_facts(entry),
                    "fingerprint": entry.fingerprint,
                    "extra": dict(entry.origin.extra),
                    "request": entry.request,
                    "generation": None if answer is None else json.loads(answer),
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def export_csv(self, path: str | os.PathLike[str]) -> None:
        """Write each entry as a row of a table; the file appears whole, or not at all.

        What is unknown is an empty cell. The author's own columns come last. A spreadsheet
        computes a cell that begins like a formula, so what the service has said gets an
        apostrophe before such a beginning, and its control characters are written as escapes.
        What the author has written stays as it was.

        Args:
            path: The file; one that is there is replaced, but never the journal.

        Raises:
            JournalError: It cannot be written, or the journal not be read.

        """
        own = dict.fromkeys(name for entry in self.entries() for name in entry.origin.extra)
        with _replacing(from_home(path).absolute(), self.path) as file:
            table = csv.writer(file)
            table.writerow(
                [*_COLUMNS, *(f"{name} (own)" if name in _COLUMNS else name for name in own)]
            )
            for entry in self.entries():
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

    def export_manifest(
        self,
        path: str | os.PathLike[str],
        *,
        states: Iterable[JobState] = (JobState.FAILED, JobState.NOT_CREATED),
    ) -> int:
        """Write requests as a manifest that `read_manifest` reads, to be run anew.

        A table (`.csv`) has the columns that are needed, and the author's own ones; JSON lines
        (`.jsonl`) say everything else, too (segments, faces by pixel, names of inputs), and have
        the author's own texts in `extra`. Local files are named by their whole paths.

        Args:
            path: The file; one that is there is replaced, but never the journal.
            states: Which requests; those that have failed, or of which no job was made.

        Returns:
            How many requests there are.

        Raises:
            JournalError: What is given is no state, a request cannot be written in that form,
                the file cannot be written, or the journal not be read.

        """
        entries = self._entries(_checked_states(states))
        target = from_home(path).absolute()
        is_table = target.suffix.lower() == ".csv"
        rows: list[dict[str, Any]] = []
        problems: list[str] = []
        for entry in entries:
            name = {} if entry.request_id is None else {"request_id": entry.request_id}
            extra = dict(entry.origin.extra)
            try:
                body = body_of(entry)
                if is_table:
                    rows.append({**name, **cells_of(body), **extra})
                else:
                    rows.append({**name, **body, **({"extra": extra} if extra else {})})
            except NotExpressibleError as error:
                problems.append(f"{entry.place}: {error}")
        if problems:
            more = len(problems) - _MAX_PROBLEMS
            words = [*problems[:_MAX_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
            raise JournalError(f"{target} was not written. {'; '.join(words)}.")
        with _replacing(target, self.path) as file:
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

    def _entries(self, states: tuple[JobState, ...]) -> Iterator[JournalEntry]:
        position = -1
        while page := self._page(position, states):
            yield from page
            position = page[-1].position

    def _page(self, position: int, states: tuple[JobState, ...]) -> list[JournalEntry]:
        marks = ", ".join("?" * len(states))
        query = (
            f"{SELECT_ENTRIES} WHERE position > ? AND state IN ({marks}) ORDER BY position LIMIT ?"
        )
        values = (position, *(state.stored for state in states), _PAGE)
        with self._reading() as store:
            page = [*map(entry_of, store.execute(query, values))]
        # In a file that was damaged meanwhile the order may be a circle.
        return [entry for entry in page if entry.position > position]

    @contextmanager
    def _reading(self) -> Iterator[JournalStore]:
        with self._lock, self._store.errors():
            yield self._store


def has_journal(place: Path | str) -> bool:
    """Tell whether there is something at a path, or a journal at an address."""
    if isinstance(place, Path):
        return place.exists()
    from lipsync_async._bulk import journal_postgres  # noqa: PLC0415 - few need it

    return journal_postgres.exists(place)


def without_password(place: Path | str) -> Path | str:
    """Return what messages call a journal at a path, or at an address."""
    if isinstance(place, Path):
        return place
    from lipsync_async._bulk import journal_postgres  # noqa: PLC0415 - few need it

    return journal_postgres.Address.read(place).shown


def _checked_states(states: object) -> tuple[JobState, ...]:
    """Return states; a single one may stand for itself, and none but them finds anything."""
    given = [states] if isinstance(states, str) or not isinstance(states, Iterable) else states
    known = {word: state for state in JobState for word in (state.value, state.stored)}
    checked = []
    for state in given:
        if not isinstance(state, str) or state not in known:
            names = ", ".join(JobState)
            raise JournalError(f"{shown(state)} is no state of a request. Give some of {names}.")
        checked.append(known[state])
    return tuple(checked)


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
def _replacing(target: Path, journal: Path | str) -> Iterator[TextIO]:
    """Give a new file to write into, and put it in the target's place once it is whole."""
    try:
        _check_target(target, journal)
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


def _check_target(target: Path, journal: Path | str) -> None:
    """Check that a target is new or a regular file, and no part of a journal by any name."""
    names = [f"{journal}{side}" for side in ("", *SIDES)]
    parts = [*map(Path, names)] if isinstance(journal, Path) else []
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
            f"{target} is a database, or belongs to one: another journal, perhaps, and its "
            "jobs would be created again. Give another path."
        )


class NotExpressibleError(Exception):
    """Raised for a part of a request that a form of manifest cannot express."""


def body_of(entry: JournalEntry) -> dict[str, Any]:
    """Return the body of a request as a manifest has it, local files by their paths."""
    body, inputs = entry.request, []
    for item in body["input"]:
        path = item.get("file", {}).get("path")
        if path is None and "file" in item:
            raise NotExpressibleError(
                "its file was given as bytes, of which the journal holds a digest only"
            )
        inputs.append(item if path is None else {**item, "file": path})
    return {**body, "input": inputs}


def cells_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of a table that express a body."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in _columns(body)
        if value is not None
    }


def _columns(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the column and the value of everything in a body."""
    kinds: set[str] = set()
    for name, value in body.items():
        if name == "input":
            for item in value:
                yield from _input_columns(item, kinds)
        elif name == "options":
            yield from _option_columns(value)
        elif name == "dubParams":
            yield from _part("dubParams", value, skipped={"providerName": "elevenlabs"})
        elif name == "dialogueEdit":
            yield from _part("dialogueEdit", value)
        else:
            yield from _part("body", {name: value})


def _input_columns(item: Mapping[str, Any], kinds: set[str]) -> Iterator[tuple[str, Any]]:
    kind = item["type"]
    if kind in kinds:
        raise NotExpressibleError(
            f"a table holds one {kind} a row; write a file that ends in .jsonl"
        )
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
            raise NotExpressibleError(
                f"a table has no column for {name}; write a file that ends in .jsonl"
            )
        yield _COLUMN_OF[part, name], value
