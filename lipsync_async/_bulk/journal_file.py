"""The journal's file: its tables, how it is made and opened, and SQLite's errors in words.

The file is whole by itself whenever no commit is under way, so it may be moved or copied by
its one name, after a kill as well. That is why SQLite keeps a rollback journal here and no
write-ahead log: with a log, what was committed last would be in `NAME-wal` for hours, and a
copy of `NAME` alone would be an old state that looks like a whole one. A kill in the few
milliseconds of a commit leaves a file that is half old and half new, and `NAME-journal`
with which the next owner makes it whole; without that, the sums of `journal_rows` do not
fit, and the file is refused.

A new file is made under another name and then renamed, so that none is ever half made: an
empty file is one that was cut off.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import sqlite3
import stat
import sys
import tempfile
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import blake2b
from operator import lt
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._bulk.journal_entry import FIELDS, JobState, JournalEntry, entry_of, unreadable
from lipsync_async._models.text import at_home, unknown_home, unreplaced
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO


if sys.platform == "win32":  # pragma: no cover - the tests run on POSIX
    import msvcrt

    # Windows forbids others to read what is locked, so the lock lies far behind the text.
    _LOCKED_BYTE = 1 << 30

    def _lock(file: BinaryIO) -> None:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file: BinaryIO) -> None:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


_LONGEST_NAME = 200
# What the systems say of a lock that somebody has.
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})


class JournalLock:
    """Hold a journal as its only owner, until `release` or the end of the process."""

    def __init__(self, journal: Path) -> None:
        """Take the lock at once.

        Raises:
            JournalError: Another owner has it, or the file system has no locks.

        """
        self._process = os.getpid()
        path = journal.with_name(f"{journal.name}.lock")
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise JournalError(
                f"the journal {journal} cannot be written ({error.strerror or error}). Give a path "
                "in a folder that exists and may be written to."
            ) from error
        try:
            _lock(self._file)
        except OSError as error:
            owner = _owner(self._file)
            self._file.close()
            raise JournalError(refusal(journal, error, owner)) from error
        with suppress(OSError):  # a full disk: the lock holds, and others see no number
            self._file.truncate(0)
            name = f"{os.getpid()} {platform.node()}"
            self._file.write(name.encode("ascii", "replace")[:_LONGEST_NAME])

    @property
    def is_held(self) -> bool:
        """Whether this process holds it, and not the one that it was forked from."""
        return not self._file.closed and os.getpid() == self._process

    def release(self) -> None:
        """Let others own the journal; harmless when repeated."""
        # To close it would not do: a worker that was forked meanwhile has it open as well.
        if self.is_held:
            with suppress(OSError):
                _unlock(self._file)
        self._file.close()


def _owner(file: BinaryIO) -> str:
    """Return who has written itself into the lock's file."""
    file.seek(0)
    digits, _, machine = file.read(_LONGEST_NAME).decode("ascii", "replace").partition(" ")
    if not digits.isdigit():
        return "another process"
    return f"process {digits}" if machine in {"", platform.node()} else f"a process on {machine}"


def refusal(journal: Path, error: OSError, owner: str) -> str:
    """Say why the lock was not to be had."""
    if error.errno not in _TAKEN:
        return f"the journal {journal} cannot be locked ({error}). Give a path on a local disk."
    return (
        f"the journal {journal} is in use by {owner}. Wait until that has ended, or give this "
        "run a journal of its own; the status can be read meanwhile."
    )


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


# Written into the file's header, so that no other SQLite file is taken for a journal.
APPLICATION_ID = int.from_bytes(b"lips", "big")
SCHEMA_VERSION = 2

# Nothing newer than SQLite 3.24 (2018): Python uses whatever the system has.
_STATES = ", ".join(f"'{state}'" for state in JobState)
_WITH_A_JOB = ", ".join(f"'{state}'" for state in JobState if state.has_job)
_COLUMNS = f"""
    row_key TEXT {{unique}},
    state TEXT NOT NULL CHECK (state IN ({_STATES})),
    fingerprint TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 1,
    cost REAL,
    idempotency_key TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    generation_id TEXT,
    status TEXT,
    download_path TEXT,
    download_near TEXT,
    error_class TEXT,
    error_code TEXT,
    error_message TEXT,
    intended_at TEXT NOT NULL,
    accepted_at TEXT,
    ended_at TEXT,
    updated_at TEXT NOT NULL,
    request_json TEXT NOT NULL,
    generation_json TEXT,
    earlier_json TEXT,
    origin_json TEXT,
    checksum INTEGER NOT NULL DEFAULT 0,
    CHECK ((generation_id IS NOT NULL) = (state IN ({_WITH_A_JOB})))
"""
# `jobs` holds the last try of each request, `tries` those before it.
_TABLES = (
    f"CREATE TABLE jobs (position INTEGER PRIMARY KEY, {_COLUMNS.format(unique='UNIQUE')})",
    f"CREATE TABLE tries (position INTEGER NOT NULL, {_COLUMNS.format(unique='')})",
    "CREATE UNIQUE INDEX tries_of ON tries (position, tries)",
    """
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        secret TEXT NOT NULL,
        salt TEXT NOT NULL,
        service TEXT,
        key_digests TEXT NOT NULL DEFAULT '[]',
        owner TEXT,
        serial INTEGER NOT NULL DEFAULT 0,
        rows INTEGER NOT NULL DEFAULT 0,
        total INTEGER NOT NULL DEFAULT 0,
        checksum INTEGER NOT NULL DEFAULT 0
    )
    """,
)
_COLUMNS_OF_THE_FIRST = (
    *("position", "state", "fingerprint", "idempotency_key", "attempts", "generation_id"),
    *("status", "download_path", "error_class", "error_code", "error_message", "intended_at"),
    *("accepted_at", "ended_at", "updated_at", "request_json", "generation_json"),
)

_DAMAGED = (
    "It is not as it was written: a disk or another program has changed it, or it was copied in "
    "the middle of a commit. Go on with a copy that is whole; a file of the same name with "
    "-journal at its end, if there is one where it was written, belongs to it."
)
_ADVICE = {
    sqlite3.SQLITE_BUSY: "Close the program that is writing to it, then run again.",
    sqlite3.SQLITE_FULL: "Make room on the disk, then run again with the same journal.",
    sqlite3.SQLITE_CANTOPEN: "Give a path in a folder that exists and may be written to.",
    sqlite3.SQLITE_READONLY: "Give a path in a folder that exists and may be written to.",
    sqlite3.SQLITE_NOTADB: "Give the path of a journal, or of a new file.",
}
_OTHER_ADVICE = "What was noted before is kept; see to the disk, then run again."
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ADVICE[sqlite3.SQLITE_CORRUPT] = _DAMAGED

# Milliseconds to wait for a reader before something harmless is left beside the file.
_LAST_PATIENCE = 200

# SQLite's file format (https://www.sqlite.org/fileformat.html, 1.3).
_HEADER = 100
_MAGIC = b"SQLite format 3\0"
_WITH_A_LOG = 2
# What may lie beside a journal, and is needed for it.
SIDES = ("-journal", "-wal", "-shm", ".lock")
# Where a part of a file may be, and how such a part begins; a rollback journal that begins
# otherwise is of no use any more.
_PARTS = ("-journal", "-wal")
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
# How files of SQLite begin: databases, rollback journals, and logs (4.1 of the format).
_BEGINNINGS = (
    _MAGIC,
    _JOURNAL_MAGIC,
    bytes.fromhex("377f0682"),
    bytes.fromhex("377f0683"),
)
# What SQLite says where it cannot read without writing, or has no locks.
_UNREADABLE_IN_PLACE = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PROTOCOL,
    }
)


@attrs.frozen(slots=True)
class Opened:
    """Hold an open file.

    Attributes:
        connection: Its connection.
        files: What is to be cleared away when it is closed.

    """

    connection: sqlite3.Connection
    files: ExitStack = attrs.field(factory=ExitStack)

    def close(self) -> None:
        """Close it; harmless when repeated."""
        self.connection.close()
        self.files.close()


@attrs.frozen(slots=True)
class _Header:
    """Hold what the first bytes of a file tell.

    Attributes:
        is_ours: Whether it says that it is a journal.
        version: Of its tables.
        has_log: Whether a part of it may be in `NAME-wal`, as in the first version.

    """

    is_ours: bool
    version: int
    has_log: bool


# Files that this process writes, by device and number. Any handle of a file that a process
# closes ends the locks that SQLite has on it there, so no other way looks into these.
_OWN: set[tuple[int, int]] = set()


def connect_owner(path: Path, *, patience: float) -> Opened:
    """Open a journal to write it, or make a new one; its lock must be held.

    Args:
        path: Where it is to be, absolute.
        patience: Seconds to wait for a program that is writing to it.

    Raises:
        JournalError: It is no journal, or one of a newer release, it is damaged, or it
            cannot be written.

    """
    with in_words(path):
        if path.exists():
            _refuse_second_name(path)
        else:
            _make(path)
        header = _header(path)
        if header.has_log:
            with closing(_read_copy(path)) as copy:
                header = _checked(copy.connection, path)
        opened = Opened(_connected(path, "rw", patience))
        with _closed_on_failure(opened):
            place = _place(path)
            _OWN.add(place)
            opened.files.callback(_OWN.discard, place)
            _prepare_writing(opened.connection)
            _refuse_damaged_pages(opened.connection, path)
            if header.version == 1:
                _migrate(opened.connection)
            prepare_reading(opened.connection, SCHEMA_VERSION)
            _refuse_damaged_rows(opened.connection, path)
    return opened


def connect_reader(path: Path, *, patience: float) -> Opened:
    """Open a journal to read it, whether or not it has an owner.

    Nothing is ever written beside it. What cannot be read without writing (a commit that a
    kill has left half done, the log of an earlier release) is read from a copy.

    Raises:
        JournalError: There is none, or it is no journal, or one of a newer release, or it
            is damaged.

    """
    with in_words(path):
        if not path.exists():
            raise JournalError(f"there is no journal at {path}. Check the path.")
        is_own = _place(path) in _OWN
        in_place = is_own or not _header(path).has_log
        opened = (_read_in_place(path, patience) if in_place else None) or _read_copy(path)
        with _closed_on_failure(opened):
            header = _checked(opened.connection, path)
            prepare_reading(opened.connection, header.version)
            if header.version == 1:
                _refuse_damaged_pages(opened.connection, path)
            else:
                _refuse_damaged_rows(opened.connection, path)
    return opened


def _read_in_place(path: Path, patience: float) -> Opened | None:
    """Open a file as it is; `None`: SQLite would have to write before it could read."""
    connection = _connected(path, "ro", patience)
    with _closed_on_failure(connection):
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _UNREADABLE_IN_PLACE:
                raise
            connection.close()
            return None
    return Opened(connection)


def _read_copy(path: Path) -> Opened:
    """Open a copy of a file and of what belongs to it, in a folder that goes in the end."""
    files = ExitStack()
    with _closed_on_failure(files):
        folder = tempfile.TemporaryDirectory(prefix="lipsync-journal-")
        copy = Path(files.enter_context(folder)) / "journal"
        shutil.copyfile(path, copy)
        for side in _PARTS:
            with suppress(FileNotFoundError):
                shutil.copyfile(beside(path, side), beside(copy, side))
        connection = _connected(copy, "rw", 0)
        files.callback(connection.close)
    return Opened(connection, files)


def located(path: str | os.PathLike[str]) -> Path:
    """Return where a journal really is: by links, it must have one lock under all names.

    `~` is the home folder.

    Raises:
        JournalError: No file can be there, or what is there is none.

    """
    try:
        found = from_home(path).resolve()
        mode = found.stat().st_mode
    except FileNotFoundError:
        return found
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links; a null character
        message = f"{str(path)!r} can be no journal ({error}). Give another path."
        raise JournalError(message) from error
    if not stat.S_ISREG(mode):
        raise JournalError(
            f"{found} can be no journal, for it is no regular file. Give the path of one, or of a "
            "new file."
        )
    return found


def from_home(path: str | os.PathLike[str]) -> Path:
    """Return a path with the home folder in the place of a leading `~`.

    Raises:
        JournalError: That folder is not known, or it is no path.

    """
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise JournalError(f"A path must be text or a Path, not {type(path).__name__}.")
    found = at_home(text)
    if found is None:
        raise JournalError(f"{text!r} cannot be used: {unknown_home(text)}.")
    told = unreplaced(text)
    if told is not None:
        raise JournalError(f"{text!r} cannot be used: {told}.")
    return Path(found)


def beside(path: Path, side: str) -> Path:
    """Return the name of a file that belongs to another."""
    return path.with_name(f"{path.name}{side}")


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Raise SQLite's errors, and the system's, as ours.

    Raises:
        JournalError: SQLite failed; the message says what to do.

    """
    try:
        yield
    except sqlite3.Error as error:
        # Extended codes hold the plain one in their lower byte; misuse has no code at all.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = _ADVICE.get(code, _OTHER_ADVICE)
        raise JournalError(f"the journal {path} cannot be used ({error}). {advice}") from error
    except OSError as error:
        code = sqlite3.SQLITE_FULL if error.errno in _FULL else sqlite3.SQLITE_CANTOPEN
        reason = error.strerror or error
        raise JournalError(
            f"the journal {path} cannot be used ({reason}). {_ADVICE[code]}"
        ) from error


@contextmanager
def _closed_on_failure(thing: sqlite3.Connection | ExitStack | Opened) -> Iterator[None]:
    try:
        yield
    except BaseException:
        thing.close()
        raise


def _connected(path: Path, mode: str, patience: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=patience,
        isolation_level=None,  # transactions are begun and ended by hand
        check_same_thread=False,  # it is used in one thread after another; see the lock
    )
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _prepare_writing(connection: sqlite3.Connection) -> None:
    """Make every commit reach the disk before it returns, in the file itself."""
    # A key must be on the disk before its create is sent: NORMAL would keep it from a
    # killed process, but not from a power cut.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone stops at the drive
    # PERSIST commits by overwriting a few bytes, and is the fastest mode without a log.
    connection.execute("PRAGMA journal_mode = PERSIST").fetchone()
    connection.execute("PRAGMA journal_size_limit = 1000000")


def begin_writing(connection: sqlite3.Connection, path: Path) -> None:
    """Begin a transaction of which all will be in the file itself.

    Raises:
        JournalError: Another program keeps a log beside the file, and has it open.

    """
    connection.execute("BEGIN EXCLUSIVE")  # so that a commit never has to wait
    if not _has_log(connection):
        return
    connection.execute("ROLLBACK")
    with suppress(sqlite3.OperationalError):  # it is in use
        _prepare_writing(connection)
    connection.execute("BEGIN EXCLUSIVE")
    if _has_log(connection):
        connection.execute("ROLLBACK")
        raise JournalError(
            f"another program has the journal {path} open and keeps a log beside it, without which "
            "the file would not be whole. Close that program, then run again."
        )


def _has_log(connection: sqlite3.Connection) -> bool:
    """Tell whether what is written goes into a log: another program may have begun one."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return str(mode) == "wal"


def finish_writing(connection: sqlite3.Connection) -> None:
    """Leave nothing beside the file, unless a reader is just looking."""
    with suppress(sqlite3.Error):
        connection.execute(f"PRAGMA busy_timeout = {_LAST_PATIENCE}")
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()


def _make(path: Path) -> None:
    """Make a new journal, whole or not at all.

    Raises:
        JournalError: What is left of another journal lies there.

    """
    _refuse_remains(path)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for table in _TABLES:
            connection.execute(table)
        _sign(connection)
        data = connection.serialize()
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    with suppress(OSError):  # where a folder cannot be opened, the system sees to it
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _sign(connection: sqlite3.Connection) -> None:
    """Make a file a journal of its own."""
    prepare_sealing(connection)
    connection.execute(
        "INSERT INTO journal (id, secret, salt) VALUES (1, ?, ?)", (token_hex(16), token_hex(16))
    )
    seal_all(connection)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring a journal of the first version to today's, all at once or not at all.

    Raises:
        JournalError: An entry is damaged.

    """
    connection.execute("BEGIN EXCLUSIVE")
    prepare_reading(connection, 1)
    read_all(connection)
    connection.execute("DROP VIEW entries")
    connection.execute("ALTER TABLE jobs RENAME TO jobs_of_the_first")
    for table in _TABLES:
        connection.execute(table)
    columns = ", ".join(_COLUMNS_OF_THE_FIRST)
    connection.execute(
        f"INSERT INTO jobs ({columns}) SELECT {columns} FROM jobs_of_the_first"  # noqa: S608 - our own
    )
    connection.execute("DROP TABLE jobs_of_the_first")
    _sign(connection)
    connection.execute("COMMIT")


def _refuse_remains(path: Path) -> None:
    """Ask that nothing lies beside a new journal that SQLite would take for a part of it."""
    for side in _PARTS:
        remains = beside(path, side)
        try:
            with remains.open("rb") as file:
                beginning = file.read(len(_JOURNAL_MAGIC))
        except FileNotFoundError:
            continue
        if beginning == _JOURNAL_MAGIC or (beginning and side == "-wal"):
            raise JournalError(
                f"there is no journal at {path}, but {remains.name} is there, which belongs to one "
                "that was moved or removed. Bring that back; or remove the rest, too, and what was "
                "ordered with it is ordered anew."
            )
        remains.unlink(missing_ok=True)


def _refuse_second_name(path: Path) -> None:
    """Ask that a file has one name: under two, it could have two owners."""
    if path.stat().st_nlink > 1:
        raise JournalError(
            f"the journal {path} has another name as well (a hard link), under which another run "
            "could write it. Make a copy, and give that."
        )


def _refuse_damaged_pages(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        reason = " ".join(str(found).split())
        raise JournalError(f"the journal {path} is damaged ({reason}). {_DAMAGED}")


def _refuse_damaged_rows(connection: sqlite3.Connection, path: Path) -> None:
    found = verify(connection)
    if found is not None:
        raise JournalError(f"the journal {path} is damaged ({found}). {_DAMAGED}")


def _checked(connection: sqlite3.Connection, path: Path) -> _Header:
    """Ask that an open file is a journal.

    Raises:
        JournalError: It is none, or one of a newer release.

    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application:
        raise JournalError(
            f"{path} is a part of a journal: the rest is in a file of the same name with -wal at "
            "its end, where it was written. Bring that along."
        )
    header = _Header(application == APPLICATION_ID, version, has_log=False)
    _refuse_foreign(header, path)
    return header


def _header(path: Path) -> _Header:
    """Read what a file says of itself.

    Raises:
        JournalError: It is no journal, or one of a newer release.

    """
    with path.open("rb") as file:
        beginning = file.read(_HEADER)
    if not beginning:
        raise JournalError(
            f"{path} is empty. If it was a journal, it was cut off: go on with a copy that is "
            "whole. To begin a new one, remove it first."
        )
    if not beginning.startswith(_MAGIC) or len(beginning) < _HEADER:
        raise JournalError(f"{path} is no journal. Give the path of one, or of a new file.")
    header = _Header(
        is_ours=int.from_bytes(beginning[68:72], "big") == APPLICATION_ID,
        version=int.from_bytes(beginning[60:64], "big"),
        has_log=beginning[19] == _WITH_A_LOG,
    )
    if not header.has_log:  # or all that counts may be in the log
        _refuse_foreign(header, path)
    return header


def _refuse_foreign(header: _Header, path: Path) -> None:
    if not header.is_ours or header.version < 1:
        raise JournalError(f"{path} is no journal. Give the path of one, or of a new file.")
    if header.version > SCHEMA_VERSION:
        raise JournalError(
            f"the journal {path} is of version {header.version}, and this release reads version "
            f"{SCHEMA_VERSION}. Go on with the release of lipsync_async that wrote it."
        )


def is_of_database(path: Path) -> bool:
    """Tell whether something is a file of SQLite, as journals are, or lies beside one."""
    names = {path.name, *(path.name.removesuffix(side) for side in SIDES)} - {""}
    return any(_is_database(path.with_name(name)) for name in names)


def _is_database(path: Path) -> bool:
    if not path.is_file():
        return False
    if _place(path) in _OWN:
        return True
    with path.open("rb") as file:
        return file.read(_HEADER).startswith(_BEGINNINGS)


def _place(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
