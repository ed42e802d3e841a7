"""A journal to read, also while another process owns and writes it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from lipsync_async._bulk.journal_entry import FIELDS, JobState, JournalEntry, entry_of, unreadable
from lipsync_async._bulk.journal_file import connect_reader, from_home, resolve, translate_errors
from lipsync_async._logic.validation import shown
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from lipsync_async._bulk.journal_file import Opened

# Seconds. A reader waits while a commit is under way, which is soon done.
_PATIENCE = 10.0
# Entries of one query: a journal of any length is read in little memory.
_PAGE = 500
SELECT_ENTRIES = f"SELECT {', '.join(FIELDS)} FROM entries"  # noqa: S608 - the names are our own


class JournalView:
    """A journal to read, without a client: what was committed last.

    `with JournalView.open("takes.sqlite") as view:` works whether or not a run is
    writing to it, and disturbs none. Two calls may see two moments. Threads may share a
    view.

    Attributes:
        path: Where the journal is, absolute.

    """

    def __init__(self, path: Path, opened: Opened) -> None:
        self.path = path
        self._opened = opened
        self._connection = opened.connection
        self._lock = Lock()  # threads may share the connection, but not a transaction

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
                it is damaged.

        """
        resolved = resolve(path)
        return cls(resolved, connect_reader(resolved, patience=_PATIENCE))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        with self._lock:
            self._opened.close()

    @property
    def length(self) -> int:
        """Positions of the input that the journal reaches over.

        More than its entries where some requests were never sent.

        Raises:
            JournalError: The file cannot be read.

        """
        with self._reading() as connection:
            (highest,) = connection.execute("SELECT max(position) FROM entries").fetchone()
        return 0 if highest is None else highest + 1

    def counts(self) -> dict[JobState, int]:
        """Return how many requests are in each state, no state left out.

        Raises:
            JournalError: The file cannot be read.

        """
        with self._reading() as connection:
            rows = connection.execute("SELECT state, count(*) FROM entries GROUP BY state")
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
        with self._reading() as connection:
            return find(connection, position)

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
        from lipsync_async._bulk.journal_export import write_jsonl  # noqa: PLC0415 - no run needs it

        write_jsonl(self.entries(), from_home(path).absolute(), journal=self.path)

    def export_csv(self, path: str | os.PathLike[str]) -> None:
        """Write each entry as a row of a table; the file appears whole, or not at all.

        Args:
            path: The file; one that is there is replaced, but never the journal.

        Raises:
            JournalError: It cannot be written, or the journal not be read.

        """
        from lipsync_async._bulk.journal_export import write_csv  # noqa: PLC0415 - as above

        write_csv(self.entries, from_home(path).absolute(), journal=self.path)

    def export_manifest(
        self,
        path: str | os.PathLike[str],
        *,
        states: Iterable[JobState] = (JobState.FAILED, JobState.NOT_CREATED),
    ) -> int:
        """Write requests as a manifest that `read_manifest` reads, to be run anew.

        A table (`.csv`) has the columns that are needed, and the author's own ones; JSON lines
        (`.jsonl`) say everything else, too, and have the author's own texts in `extra`. Local
        files are named by their whole paths.

        Args:
            path: The file; one that is there is replaced, but never the journal.
            states: Which requests; those that have failed, or of which no job was made.

        Returns:
            How many requests there are.

        Raises:
            JournalError: What is given is no state, a request cannot be written in that form,
                the file cannot be written, or the journal not be read.

        """
        from lipsync_async._bulk.journal_export import write_manifest  # noqa: PLC0415 - as above

        entries = self._entries(_checked_states(states))
        return write_manifest(entries, from_home(path).absolute(), journal=self.path)

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
        with self._reading() as connection:
            page = [*map(entry_of, connection.execute(query, values))]
        # In a file that was damaged meanwhile the order may be a circle.
        return [entry for entry in page if entry.position > position]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translate_errors(self.path):
            yield self._connection


def find(connection: sqlite3.Connection, position: int) -> JournalEntry | None:
    """Return the entry at a position."""
    row = connection.execute(f"{SELECT_ENTRIES} WHERE position = ?", (position,)).fetchone()
    return None if row is None else entry_of(row)


def _checked_states(states: object) -> tuple[JobState, ...]:
    """Return states; a single one may stand for itself.

    Raises:
        JournalError: One is none, which would find nothing, and say nothing of it.

    """
    given = [states] if isinstance(states, str) or not isinstance(states, Iterable) else states
    known = {word: state for state in JobState for word in (state.value, state.stored)}
    checked = []
    for state in given:
        if not isinstance(state, str) or state not in known:
            names = ", ".join(JobState)
            raise JournalError(f"{shown(state)} is no state of a request. Give some of {names}.")
        checked.append(known[state])
    return tuple(checked)
