"""Reading the journal's tables, and the sums by which damage is noticed.

SQLite notices when its own pages are wrong, but not that a disk has changed a letter in a
text, lost one of two pages that belong together, or that the file was copied in the middle
of a commit. So each row holds a checksum of its other columns, and the one row of the table
`journal` holds the number of all rows and the sum of their checksums. Each transaction ends
by `Transaction.seal`, which brings them up to date; `verify` compares them.
"""

from __future__ import annotations

from hashlib import blake2b
from operator import lt
from typing import TYPE_CHECKING, Any

from lipsync_async._fleet.journal_entry import (
    FIELDS,
    JobState,
    JournalEntry,
    entry_of,
    unreadable,
)
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

# The columns of a row that its checksum covers; `row_key` is `id:NAME` of a request that has
# a name of its own, `output:NAME` of one that is known by the name of its result.
COLUMNS = (
    *("position", "row_key", "state", "fingerprint", "tries", "cost", "idempotency_key"),
    *("attempts", "generation_id", "status", "download_path", "download_near", "error_class"),
    *("error_code", "error_message", "intended_at", "accepted_at", "ended_at", "updated_at"),
    *("request_json", "generation_json", "earlier_json", "origin_json"),
)
# The columns of `journal` that its checksum covers.
FACTS = ("secret", "salt", "service", "key_digests", "owner", "serial", "rows", "total")
ID_PREFIX, OUTPUT_PREFIX = "id:", "output:"
_SEALED = f"seal({', '.join(COLUMNS)})"
_SEALED_FACTS = f"seal({', '.join(FACTS)})"
# In an UPDATE, names stand for what was there before it.
_AFTERWARDS = {"serial": "serial + 1", "rows": ":rows", "total": ":total"}
_SEALED_AFTERWARDS = f"seal({', '.join(_AFTERWARDS.get(name, name) for name in FACTS)})"
# Bytes of a checksum: small enough that SQLite can add up eight million of them.
_CHECKSUM = 5
# Rows of one look: another program may write between two.
_PAGE = 1000
# Positions in one statement.
_MOST_MARKS = 500

_SELECT = f"SELECT {', '.join(FIELDS)} FROM entries"  # noqa: S608 - the names are our own
_OF_TODAY = {
    "request_id": f"CASE WHEN substr(row_key, 1, {len(ID_PREFIX)}) = '{ID_PREFIX}' "
    f"THEN substr(row_key, {len(ID_PREFIX) + 1}) END"
}
# Columns that the first version's table did not have.
_OF_THE_FIRST = dict.fromkeys(("request_id", "cost", "earlier_json", "origin_json"), "NULL") | {
    "tries": "1"
}


def prepare_reading(connection: sqlite3.Connection, version: int) -> None:
    """Let `entries` be what every function here reads, whatever the version of the file."""
    special = _OF_THE_FIRST if version == 1 else _OF_TODAY
    columns = ", ".join(f"{special.get(name, name)} AS {name}" for name in FIELDS)
    connection.execute(f"CREATE TEMP VIEW entries AS SELECT {columns} FROM jobs")  # noqa: S608 - our own
    prepare_sealing(connection)


def prepare_sealing(connection: sqlite3.Connection) -> None:
    """Teach SQLite the checksum."""
    connection.create_function("seal", -1, _checksum, deterministic=True)


def read_all(connection: sqlite3.Connection) -> None:
    """Read every entry.

    Raises:
        JournalError: One cannot be read.

    """
    for row in connection.execute(_SELECT):
        entry = entry_of(row)
        _ = entry.request, entry.generation


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
    found = map(entry_of, connection.execute(query, (position, *states, most)))
    # In a file that was damaged meanwhile the order may be a circle.
    return [entry for entry in found if entry.position > position]


def find_fingerprint(connection: sqlite3.Connection, fingerprint: str) -> list[int]:
    """Return the positions that hold a request: it reads them all."""
    query = "SELECT position FROM jobs WHERE fingerprint = ? ORDER BY position"
    return [position for (position,) in connection.execute(query, (fingerprint,))]


def find_fingerprints(connection: sqlite3.Connection) -> set[str]:
    """Return the fingerprints of all requests."""
    return {fingerprint for (fingerprint,) in connection.execute("SELECT fingerprint FROM jobs")}


def find_keys(connection: sqlite3.Connection, start: int, end: int) -> dict[int, str]:
    """Return the row keys at positions from `start` to before `end`, where there are any."""
    query = (
        "SELECT position, row_key FROM jobs WHERE position >= ? AND position < ? "
        "AND row_key IS NOT NULL"
    )
    return dict(connection.execute(query, (start, end)))


def find_positions(connection: sqlite3.Connection, start: int, end: int) -> set[int]:
    """Return where there are rows from `start` to before `end`."""
    query = "SELECT position FROM jobs WHERE position >= ? AND position < ?"
    return {position for (position,) in connection.execute(query, (start, end))}


def find_near(connection: sqlite3.Connection, start: int, end: int) -> dict[int, str | bytes]:
    """Return where results are as seen from the journal's folder, by positions."""
    query = (
        "SELECT position, download_near FROM jobs WHERE position >= ? AND position < ? "
        "AND download_near IS NOT NULL"
    )
    return dict(connection.execute(query, (start, end)))


def find_row_key(connection: sqlite3.Connection, position: int) -> str | None:
    """Return the key of the row at a position, if it has one."""
    row = connection.execute("SELECT row_key FROM jobs WHERE position = ?", (position,)).fetchone()
    return None if row is None else row[0]


def find_key(connection: sqlite3.Connection, row_key: str) -> int | None:
    """Return the position of the row with a key."""
    query = "SELECT position FROM jobs WHERE row_key = ?"
    row = connection.execute(query, (row_key,)).fetchone()
    return None if row is None else row[0]


def find_length(connection: sqlite3.Connection) -> int:
    """Return the number of positions that the journal reaches over."""
    (highest,) = connection.execute("SELECT max(position) FROM entries").fetchone()
    return 0 if highest is None else highest + 1


def count_states(connection: sqlite3.Connection) -> dict[JobState, int]:
    """Return how many entries are in each state, none left out."""
    rows = connection.execute("SELECT state, count(*) FROM entries GROUP BY state")
    try:
        return dict.fromkeys(JobState, 0) | {JobState(state): count for state, count in rows}
    except ValueError as error:
        raise JournalError(unreadable("unknown", error)) from error


def sum_orders(connection: sqlite3.Connection) -> tuple[int, float, int]:
    """Return how many orders may have become jobs, their cost, and of how many it is unknown."""
    orders = [
        connection.execute(
            f"SELECT count(*), total(cost), count(*) - count(cost) FROM {table} "  # noqa: S608 - our own
            "WHERE state <> ?",
            (JobState.REFUSED,),
        ).fetchone()
        for table in ("jobs", "tries")
    ]
    count, cost, unknown = (sum(column) for column in zip(*orders, strict=True))
    return count, cost, unknown


class Transaction:
    """Change rows, and keep the sums right.

    Args:
        connection: In an open transaction.
        moment: The time to note, as text.
        owner: What the journal must say of its owner.

    Attributes:
        secret: What no other journal has.

    """

    def __init__(self, connection: sqlite3.Connection, moment: str, owner: str | None) -> None:
        self.connection = connection
        self.moment = moment
        facts = connection.execute(
            "SELECT secret, owner, rows, total, EXISTS (SELECT 1 FROM tries) FROM journal"
        ).fetchone()
        if facts is None or [type(fact) for fact in facts[2:4]] != [int, int]:
            raise JournalError(
                "another program has changed the journal while it was in use. Go on with a copy "
                "that is whole."
            )
        self.secret, found, self._rows, self._total, self._has_tries = facts
        if owner is not None and found != owner:
            raise JournalError(
                "another run has taken the journal over, by another name of its file or because "
                "its lock was removed. Let one run go on, and nothing is ordered twice."
            )
        self._touched: dict[int, None] = {}

    def touch(self, *positions: int) -> None:
        """Say which rows are about to change; each is counted once, however often it is said."""
        fresh = [each for each in dict.fromkeys(positions) if each not in self._touched]
        self._touched.update(dict.fromkeys(fresh))
        for first in range(0, len(fresh), _MOST_MARKS):
            self._count(fresh[first : first + _MOST_MARKS], -1)

    def archive(self, position: int) -> None:
        """Put a row into the table of tries, as it is."""
        self._has_tries = True
        columns = ", ".join(COLUMNS)
        self.connection.execute(
            f"INSERT INTO tries ({columns}, checksum) "  # noqa: S608 - our own
            f"SELECT {columns}, checksum FROM jobs WHERE position = ?",
            (position,),
        )

    def move(self, position: int, to: int) -> None:
        """Give a row, and its tries, another position, at which there must be none."""
        self.touch(position, to)
        for table in self._tables():
            self.connection.execute(
                f"UPDATE {table} SET position = ? WHERE position = ?",  # noqa: S608 - our own
                (to, position),
            )

    def vacate(self, position: int, end: int) -> None:
        """Put the row at a position behind all others, and behind the input up to `end`."""
        (last,) = self.connection.execute("SELECT max(position) FROM jobs").fetchone()
        self.move(position, max(last + 1, end))

    def name(self, position: int, row_key: str) -> None:
        """Give a row a key."""
        self.touch(position)
        self.connection.execute(
            "UPDATE jobs SET row_key = ? WHERE position = ?", (row_key, position)
        )

    def describe(self, position: int, origin: str) -> None:
        """Note where a request comes from."""
        self.touch(position)
        self.connection.execute(
            "UPDATE jobs SET origin_json = ? WHERE position = ?", (origin, position)
        )

    def seal(self) -> None:
        """Bring the sums up to date; nothing may be changed after this."""
        touched = [*self._touched]
        for first in range(0, len(touched), _MOST_MARKS):
            some = touched[first : first + _MOST_MARKS]
            marks = ", ".join("?" * len(some))
            for table in self._tables():
                self.connection.execute(
                    f"UPDATE {table} SET checksum = {_SEALED} "  # noqa: S608 - our own
                    f"WHERE position IN ({marks})",
                    some,
                )
            self._count(some, 1)
        self.connection.execute(
            "UPDATE journal SET serial = serial + 1, rows = :rows, total = :total, "  # noqa: S608 - our own
            f"checksum = {_SEALED_AFTERWARDS}",
            {"rows": self._rows, "total": self._total},
        )

    def _count(self, positions: list[int], sign: int) -> None:
        marks = ", ".join("?" * len(positions))
        for table in self._tables():
            rows, total = self.connection.execute(
                f"SELECT count(*), coalesce(sum(checksum), 0) FROM {table} "  # noqa: S608 - our own
                f"WHERE position IN ({marks})",
                positions,
            ).fetchone()
            self._rows += sign * rows
            self._total += sign * total

    def _tables(self) -> tuple[str, ...]:
        return ("jobs", "tries") if self._has_tries else ("jobs",)


def seal_all(connection: sqlite3.Connection) -> None:
    """Bring all sums up to date, in a file that had none."""
    connection.execute(f"UPDATE jobs SET checksum = {_SEALED}")  # noqa: S608 - our own
    connection.execute(
        "UPDATE journal SET rows = (SELECT count(*) FROM jobs), "
        "total = (SELECT coalesce(sum(checksum), 0) FROM jobs)"
    )
    seal_facts(connection)


def seal_facts(connection: sqlite3.Connection) -> None:
    """Bring the checksum of the journal's own facts up to date."""
    connection.execute(f"UPDATE journal SET checksum = {_SEALED_FACTS}")  # noqa: S608 - our own


def verify(connection: sqlite3.Connection) -> str | None:
    """Return what is wrong with the tables, as far as sums tell; `None`: nothing.

    Others may write meanwhile, so no look takes long.
    """
    begun = _facts(connection)
    if begun is None:
        return "it does not say whose it is"
    rows, total, altered, last = 0, 0, 0, -1
    while True:
        some = connection.execute(
            f"SELECT position, checksum, checksum IS NOT {_SEALED} FROM jobs "  # noqa: S608 - our own
            "WHERE position > ? ORDER BY position LIMIT ?",
            (last, _PAGE),
        ).fetchall()
        if not some:
            break
        places = [last, *(position for position, _, _ in some)]
        if not all(map(lt, places, places[1:])):  # or this would go round for ever
            return "its entries are not in their order"
        last = places[-1]
        rows, total, altered = _added(some, rows, total, altered)
    tries = connection.execute(
        f"SELECT position, checksum, checksum IS NOT {_SEALED} FROM tries"  # noqa: S608 - our own
    ).fetchall()
    rows, total, altered = _added(tries, rows, total, altered)
    if altered:
        return f"{altered} of {rows} entries are not as they were written"
    if _facts(connection) == begun and (rows, total) != begun[1:]:
        return f"it holds {rows} entries, and not the {begun[1]} that were written"
    return None


def _added(
    found: Sequence[tuple[int, Any, int]], rows: int, total: int, altered: int
) -> tuple[int, int, int]:
    whole = [checksum for _, checksum, is_altered in found if not is_altered]
    return rows + len(found), total + sum(whole), altered + len(found) - len(whole)


def _facts(connection: sqlite3.Connection) -> tuple[int, int, int] | None:
    """Return serial number, rows and total, if they are as they were written."""
    facts: tuple[int, int, int] | None = connection.execute(
        f"SELECT serial, rows, total FROM journal WHERE checksum IS {_SEALED_FACTS}"  # noqa: S608 - our own
    ).fetchone()
    return facts


def _checksum(*values: object) -> int:
    # Not `repr`: which characters it escapes differs from one Python to the next.
    digest = blake2b(ascii(values).encode("ascii"), digest_size=_CHECKSUM).digest()
    return int.from_bytes(digest, "big")
