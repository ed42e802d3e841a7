"""The journal's file: its tables, how it is opened, and SQLite's errors in words."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_async._fleet.journal_entry import JobState
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Written into the file's header, so that no other SQLite file is taken for a journal.
APPLICATION_ID = int.from_bytes(b"lips", "big")
SCHEMA_VERSION = 1

# Nothing newer than SQLite 3.24 (2018): Python uses whatever the system has.
_STATES = ", ".join(f"'{state}'" for state in JobState)
_WITH_A_JOB = ", ".join(f"'{state}'" for state in JobState if state.has_job)
_JOBS = f"""
CREATE TABLE jobs (
    position INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ({_STATES})),
    fingerprint TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    generation_id TEXT,
    status TEXT,
    download_path TEXT,
    error_class TEXT,
    error_code TEXT,
    error_message TEXT,
    intended_at TEXT NOT NULL,
    accepted_at TEXT,
    ended_at TEXT,
    updated_at TEXT NOT NULL,
    request_json TEXT NOT NULL,
    generation_json TEXT,
    CHECK ((generation_id IS NOT NULL) = (state IN ({_WITH_A_JOB})))
)
"""

_ADVICE = {
    sqlite3.SQLITE_BUSY: "Close the program that is writing to it, then run again.",
    sqlite3.SQLITE_FULL: "Make room on the disk, then run again with the same journal.",
    sqlite3.SQLITE_CANTOPEN: "Give a path in a folder that exists and may be written to.",
    sqlite3.SQLITE_READONLY: "Give a path in a folder that exists and may be written to.",
    sqlite3.SQLITE_NOTADB: "Give the path of a journal, or of a new file.",
}
_OTHER_ADVICE = "What was noted before is kept; see to the disk, then run again."


def connect_owner(path: Path, *, patience: float) -> sqlite3.Connection:
    """Open a journal to write it, or make a new one.

    Args:
        path: Where it is to be, absolute.
        patience: Seconds to wait for a program that is writing to it.

    Raises:
        JournalError: It is no journal, or one of a newer release, or it cannot be written.

    """
    with in_words(path):
        connection = _connected(path, "rwc", patience)
        with _closed_on_failure(connection):
            is_new = _is_blank(connection)
            if not is_new:  # before a foreign file is changed in any way
                _check(connection, path)
            prepare(connection, path)
            if is_new:
                _create(connection)
    return connection


def connect_reader(path: Path, *, patience: float) -> sqlite3.Connection:
    """Open a journal to read it, whether or not somebody owns it.

    Nothing is ever written: not even SQLite's own two files beside it are cleared away, as
    its next owner does.

    Raises:
        JournalError: There is none, or it is no journal, or one of a newer release.

    """
    if not os.path.isfile(path):  # noqa: PTH113 - `Path.is_file` raises for too long a name
        raise JournalError(f"there is no journal at {path}. Check the path.")
    with in_words(path):
        connection = _connected(path, "ro", patience)
        with _closed_on_failure(connection):
            _check(connection, path)
    return connection


def located(path: str | os.PathLike[str]) -> Path:
    """Return where a journal really is: by links, it must have one lock under all names.

    Raises:
        JournalError: No file can be there.

    """
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links; a null character
        message = f"{str(path)!r} can be no journal ({error}). Give another path."
        raise JournalError(message) from error


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as ours.

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


@contextmanager
def _closed_on_failure(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _connected(path: Path, mode: str, patience: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=patience,
        isolation_level=None,  # transactions are begun and ended by hand
        check_same_thread=False,  # a blocking client closes from another thread; see the lock
    )


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make every commit reach the disk before it returns, and readers never wait.

    Raises:
        JournalError: The file system cannot share memory, so others could not read along.

    """
    # A key must be on the disk before its create is sent: NORMAL would keep it from a
    # killed process, but not from a power cut, and the create would be paid for again.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone stops at the drive
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalError(
            f"the journal {path} is on a file system without shared memory. Give a path on a "
            "disk of this machine.",
        )


def _is_blank(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return tables == 0 and _pragma(connection, "application_id") == 0


def _create(connection: sqlite3.Connection) -> None:
    """Make the table and sign the file, all at once or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_JOBS)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise JournalError(f"{path} is no journal. Give the path of one, or of a new file.")
    version = _pragma(connection, "user_version")
    if version != SCHEMA_VERSION:
        raise JournalError(
            f"the journal {path} is of version {version}, and this release reads version "
            f"{SCHEMA_VERSION}. Go on with the release of lipsync_async that wrote it.",
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
