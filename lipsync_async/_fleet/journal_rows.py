"""Reading the journal's table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async._fleet.journal_entry import FIELDS, JobState, JournalEntry, entry_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_SELECT = f"SELECT {', '.join(FIELDS)} FROM jobs"  # noqa: S608 - the names are our own


def find(connection: sqlite3.Connection, position: int) -> JournalEntry | None:
    """Return the entry at a position."""
    row = connection.execute(f"{_SELECT} WHERE position = ?", (position,)).fetchone()
    return None if row is None else entry_of(row)


def find_range(connection: sqlite3.Connection, start: int, end: int) -> dict[int, JournalEntry]:
    """Return the entries at positions from `start` to before `end`, by their positions."""
    query = f"{_SELECT} WHERE position >= ? AND position < ?"
    entries = map(entry_of, connection.execute(query, (start, end)))
    return {entry.position: entry for entry in entries}


def find_after(
    connection: sqlite3.Connection,
    position: int,
    states: Sequence[JobState],
    most: int,
) -> list[JournalEntry]:
    """Return the first entries behind a position that are in one of the states, in order."""
    marks = ", ".join("?" * len(states))
    query = f"{_SELECT} WHERE position > ? AND state IN ({marks}) ORDER BY position LIMIT ?"
    return [entry_of(row) for row in connection.execute(query, (position, *states, most))]


def find_fingerprint(connection: sqlite3.Connection, fingerprint: str) -> int | None:
    """Return the first position that holds a request, wherever that is: it reads them all."""
    query = "SELECT min(position) FROM jobs WHERE fingerprint = ?"
    position: int | None = connection.execute(query, (fingerprint,)).fetchone()[0]
    return position


def find_length(connection: sqlite3.Connection) -> int:
    """Return the number of positions that the journal reaches over."""
    (highest,) = connection.execute("SELECT max(position) FROM jobs").fetchone()
    return 0 if highest is None else highest + 1


def count_states(connection: sqlite3.Connection) -> dict[JobState, int]:
    """Return how many entries are in each state, none left out."""
    rows = connection.execute("SELECT state, count(*) FROM jobs GROUP BY state")
    return dict.fromkeys(JobState, 0) | {JobState(state): count for state, count in rows}
