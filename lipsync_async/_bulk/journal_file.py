"""The journal's file: tables, checksums, opening, lock, and SQLite's errors in words.

**One file.** The file is whole by itself whenever no commit is under way, so it may be moved
or copied by its one name, after a kill as well. That is why SQLite keeps a rollback journal
here and no write-ahead log: with a log, the last commits would be in `NAME-wal` for hours, and
a copy of `NAME` alone would be an old state that looks complete. A kill within the few
milliseconds of a commit leaves a file that is half old and half new, and `NAME-journal`, with
which the next owner restores it; without that, the checksums do not match, and the file is
refused. A new file is made under another name and then renamed, so an empty file is one that
was cut off.

**Checksums.** SQLite notices when its own pages are wrong, but not that a disk has changed a
letter in a text, lost one of two pages that belong together, or that the file was copied in
the middle of a commit. So each row holds a checksum of its other columns, and the one row of
the table `journal` holds the number of all rows and the sum of their checksums. The owner's
connection has triggers that keep them up to date; `_SEAL` ends each transaction.

**One owner.** `_lock` takes a lock on a file of its own, `NAME.lock`, which the system releases
when the owner ends. (SQLite has locks on the journal itself, which closing any other handle of
it would drop.) The owner writes its process id and its machine's name into the lock's file, which
may be on a drive that several machines share. The file stays when the lock is released: removing
it safely is more work than it is worth. `flock` and not `lockf`, which guards against other
processes only, and which any handle that the process closes would end. A child made by `os.fork`
shares its parent's lock: the parent can release it all the same, but if the parent ends without
that, the lock stays until its children have ended. Programs that are started by `subprocess` share
nothing.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import attrs

from lipsync_async._bulk.journal_entry import SELECT_ENTRIES, JournalEntry, entry_of
from lipsync_async._models.text import at_home, unknown_home, unreplaced
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, Protocol

    class Rows(Protocol):
        """What a statement has found or changed; a cursor of SQLite's or of psycopg's."""

        @property
        def rowcount(self) -> int: ...
        def fetchone(self) -> Any: ...
        def fetchall(self) -> list[Any]: ...
        def __iter__(self) -> Iterator[Any]: ...

    class JournalStore(Protocol):
        """Tables `jobs`, `tries` and `journal`, and the view `entries`, of one journal.

        Statements are ones that SQLite and PostgreSQL both accept, with SQLite's parameters.
        `begin` raises an error unless the journal has the owner of that name. So only the owner
        writes between it and the statements of `ending`, after which all is on a disk. A block of
        `errors` raises the database's errors as `JournalError` that says what to do.
        """

        @property
        def path(self) -> Path | str: ...
        @property
        def execute(self) -> Callable[..., Rows]: ...
        @property
        def errors(self) -> Errors: ...

        ending: ClassVar[tuple[str, ...]]

        def begin(self, owner: str | None) -> None: ...
        def rollback(self) -> None: ...
        def storable(self, text: str) -> str: ...
        def path_columns(self, path: Path) -> dict[str, str | bytes | None]: ...
        def close(self) -> None: ...


if sys.platform == "win32":  # pragma: no cover - the tests run on POSIX
    import msvcrt

    _LOCK, _UNLOCK = msvcrt.LK_NBLCK, msvcrt.LK_UNLCK
    # Windows forbids others to read what is locked, so the lock lies far behind the text.
    _LOCKED_BYTE = 1 << 30

    def _flock(file: BinaryIO, mode: int) -> None:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), mode, 1)

else:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock as _flock

    _LOCK, _UNLOCK = LOCK_EX | LOCK_NB, LOCK_UN


# Written into the file's header, so that no other SQLite file is taken for a journal.
APPLICATION_ID = int.from_bytes(b"lips", "big")
SCHEMA_VERSION = 2

# Nothing newer than SQLite 3.24 (2018): Python uses whatever the system has.
DEFINITIONS = """
    row_key TEXT {unique},
    state TEXT NOT NULL CHECK (state IN
        ('intended', 'doubtful', 'refused', 'accepted', 'completed', 'failed')),
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
    {checksum}
    CHECK ((generation_id IS NOT NULL) = (state IN ('accepted', 'completed', 'failed')))
"""
_CHECKSUM_COLUMN = "checksum INTEGER NOT NULL DEFAULT 0,"
_JOBS = DEFINITIONS.format(unique="UNIQUE", checksum=_CHECKSUM_COLUMN)
_TRIES = DEFINITIONS.format(unique="", checksum=_CHECKSUM_COLUMN)
# `jobs` holds the last try of each request, `tries` those before it.
_TABLES = (
    f"CREATE TABLE jobs (position INTEGER PRIMARY KEY, {_JOBS})",
    f"CREATE TABLE tries (position INTEGER NOT NULL, {_TRIES})",
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
_COLUMNS_OF_VERSION_1 = (
    *("position", "state", "fingerprint", "idempotency_key", "attempts", "generation_id"),
    *("status", "download_path", "error_class", "error_code", "error_message", "intended_at"),
    *("accepted_at", "ended_at", "updated_at", "request_json", "generation_json"),
)

# The columns that a row's checksum covers; `row_key` is `id:NAME` of a request with a
# `request_id`, `output:NAME` of one that is known by the name of its result.
COLUMNS = (
    *("position", "row_key", "state", "fingerprint", "tries", "cost", "idempotency_key"),
    *("attempts", "generation_id", "status", "download_path", "download_near", "error_class"),
    *("error_code", "error_message", "intended_at", "accepted_at", "ended_at", "updated_at"),
    *("request_json", "generation_json", "earlier_json", "origin_json"),
)
ID_PREFIX, OUTPUT_PREFIX = "id:", "output:"
_CHECKSUM = f"checksum({', '.join(COLUMNS)})"
# Of the table `journal`.
_OWN_CHECKSUM = "checksum(secret, salt, service, key_digests, owner, serial, rows, total)"
# Serial number, rows and total, if they are as they were written.
_TOTALS = f"SELECT serial, rows, total FROM journal WHERE checksum IS {_OWN_CHECKSUM}"  # noqa: S608
# Brings the checksum of that table up to date, at the end of a transaction.
_SEAL = f"""
UPDATE journal SET serial = serial + 1, checksum = {_OWN_CHECKSUM.replace("serial", "serial + 1")}
"""  # noqa: S608 - our own
# Makes a file with the tables a journal of its own.
_INITIALIZE = (
    "INSERT INTO journal (id, secret, salt) VALUES (1, :secret, :salt)",
    f"UPDATE jobs SET checksum = {_CHECKSUM}",  # noqa: S608 - our own
    """
    UPDATE journal SET rows = (SELECT count(*) FROM jobs),
        total = (SELECT coalesce(sum(checksum), 0) FROM jobs)
    """,
    _SEAL,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_TRIGGERS = """
CREATE TEMP TRIGGER {table}_inserted AFTER INSERT ON main.{table} BEGIN
    UPDATE journal SET rows = rows + 1, total = total + new.checksum;
    UPDATE {table} SET checksum = {checksum} WHERE position = new.position AND tries = new.tries;
END;
CREATE TEMP TRIGGER {table}_updated AFTER UPDATE OF {columns} ON main.{table} BEGIN
    UPDATE {table} SET checksum = {checksum} WHERE position = new.position AND tries = new.tries;
END;
CREATE TEMP TRIGGER {table}_summed AFTER UPDATE OF checksum ON main.{table} BEGIN
    UPDATE journal SET total = total - old.checksum + new.checksum;
END;
CREATE TEMP TRIGGER {table}_deleted AFTER DELETE ON main.{table} BEGIN
    UPDATE journal SET rows = rows - 1, total = total - old.checksum;
END;
"""
# Seconds. A reader waits while a commit is under way, which is soon done. Only a program that is
# not ours can be in an owner's way, such as an editor of tables.
PATIENCE = 10.0
# Milliseconds to wait for a reader before something harmless is left beside the file.
_LAST_PATIENCE = 200
# Bytes of a checksum: small enough that SQLite can add up eight million of them.
_CHECKSUM_SIZE = 5
# Rows of one query: another program may write between two.
_PAGE = 1000
# Creates the view `entries`, which has the same columns for each version of the file.
_VIEW = "CREATE TEMP VIEW entries AS SELECT {}, * FROM jobs"
_MORE_COLUMNS = {
    1: "NULL AS request_id, 1 AS tries, NULL AS cost, NULL AS earlier_json, NULL AS origin_json, "
    "NULL AS row_key, NULL AS download_near",
    2: f"CASE WHEN substr(row_key, 1, {len(ID_PREFIX)}) = '{ID_PREFIX}' "
    f"THEN substr(row_key, {len(ID_PREFIX) + 1}) END AS request_id",
}
# Makes every commit reach the disk before it returns, in the file itself. A key must be there
# before its create is sent: NORMAL would keep it from a killed process, but not from a power cut.
# On macOS, fsync alone stops at the drive. PERSIST commits by overwriting a few bytes, and is the
# fastest mode without a log.
_WITHOUT_A_LOG = "PRAGMA journal_mode = PERSIST"
_WRITING = (
    *("PRAGMA synchronous = FULL", "PRAGMA fullfsync = ON", _WITHOUT_A_LOG),
    "PRAGMA journal_size_limit = 1000000",
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
_OTHER_ADVICE = "What was recorded before is kept; check the disk, then run again."
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ADVICE[sqlite3.SQLITE_CORRUPT] = _DAMAGED

# SQLite's file format (https://www.sqlite.org/fileformat.html, 1.3).
_OTHER_PATH = "Check the path; a new journal is made only where there is no file."
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
_BEGINNINGS = (_MAGIC, _JOURNAL_MAGIC, bytes.fromhex("377f0682"), bytes.fromhex("377f0683"))
# What SQLite says where it cannot read without writing, or has no locks.
_UNREADABLE_IN_PLACE = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PROTOCOL,
    }
)

_LONGEST_NAME = 200
# What the systems say of a lock that is held.
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})


# How an address begins that is given for a path, also one that `Path` has changed.
ADDRESS = re.compile(r"\s*(postgres(ql)?:/|[a-z][a-z0-9+]+://)", re.IGNORECASE)

# Files that this process writes, by device and number. Any handle of a file that a process
# closes ends the locks that SQLite has on it there, so no other way looks into these.
_OWN: set[tuple[int, int]] = set()


# An open file, and what closes it, and removes what is to be removed then.
Opened: TypeAlias = tuple[sqlite3.Connection, ExitStack]
Errors: TypeAlias = Callable[[], AbstractContextManager[None]]


@attrs.define(eq=False, repr=False)
class JournalFile:
    """An open journal in a file."""

    path: Path
    connection: sqlite3.Connection
    execute: Callable[..., Rows]
    errors: Errors
    ending: ClassVar[tuple[str, ...]] = (_SEAL, "COMMIT")
    _files: ExitStack
    _opened: os.stat_result | None = None  # the file that its owner has opened
    _process: int = attrs.field(factory=os.getpid, init=False)

    def begin(self, owner: str | None) -> None:
        """Begin a transaction of the file's owner, which is written to the file itself."""
        assert self._opened is not None  # noqa: S101 - only an owner writes
        try:
            is_here = os.path.samestat(self._opened, self.path.stat())
        except OSError:
            is_here = False
        if not is_here:  # SQLite would go on writing where the file now is
            raise JournalError(
                f"the journal {self.path} was moved, removed or replaced while it was in use. Put "
                "it back, then run again; without it, jobs that exist would be created again."
            )
        for _ in range(2):
            self.execute("BEGIN EXCLUSIVE")  # so that a commit never has to wait
            if self.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                break
            self.execute("ROLLBACK")
            with suppress(sqlite3.OperationalError):  # it is in use
                self.execute(_WITHOUT_A_LOG).fetchone()
        else:
            raise JournalError(
                f"another program has the journal {self.path} open and keeps a log beside it, "
                "without which the file would not be whole. Close that program, then run again."
            )
        # A trigger of another program would change rows, and ours would believe it.
        found = self.execute(
            "SELECT owner, typeof(rows), typeof(total), "
            "(SELECT count(*) FROM sqlite_master WHERE type = 'trigger') FROM journal"
        ).fetchone()
        if found is None or found[1:] != ("integer", "integer", 0):
            raise JournalError(
                "another program has changed the journal while it was in use. Go on with an "
                "undamaged copy."
            )
        if owner not in {None, found[0]}:
            raise JournalError(
                "another run has taken the journal over, by another name of its file or because "
                "its lock was removed. Let one run go on, and no job is created twice."
            )

    def rollback(self) -> None:
        """End a transaction of which nothing is kept."""
        self.connection.rollback()

    def storable(self, text: str) -> str:
        """Return text that can be stored: half of a surrogate pair is written out."""
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    def path_columns(self, path: Path) -> dict[str, str | bytes | None]:
        """Return where a file is, in itself and as seen from the journal's folder."""
        near: str | None = None
        with suppress(ValueError):  # on another drive of Windows
            near = os.path.relpath(os.path.realpath(path), self.path.parent).replace(os.sep, "/")
        return {"path": _storable_path(os.fspath(path)), "near": near and _storable_path(near)}

    def close(self) -> None:
        """Close the file and let others own it; harmless when repeated."""
        # Not one that was forked from the owner.
        if self._opened is not None and os.getpid() == self._process:
            with suppress(sqlite3.Error):  # leave nothing beside it, unless a reader is looking
                self.execute(f"PRAGMA busy_timeout = {_LAST_PATIENCE}")
                self.execute("PRAGMA journal_mode = DELETE").fetchone()
        self._files.close()


def _storable_path(name: str) -> str | bytes:
    """Return a path as text, or as bytes where its name is none."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def connect_owner(path: Path, *, patience: float) -> JournalFile:
    """Open a journal as its only owner, or make a new one."""
    with translate_errors(path), ExitStack() as files:
        _lock(path, files)
        version: int | None = SCHEMA_VERSION
        if not path.exists():
            _make(path)
        elif path.stat().st_nlink > 1:
            raise JournalError(
                f"the journal {path} has another name as well (a hard link), under which another "
                "run could write it. Make a copy, and give that."
            )
        else:
            version = _version(path)
        if version is None:
            copy, copied = _read_copy(path)
            with copied:
                version = _version_of(copy, path)
        status = path.stat()
        _OWN.add(inode := (status.st_dev, status.st_ino))
        files.callback(_OWN.discard, inode)
        connection = _connect(path, "rw", patience, files)
        for pragma in _WRITING:
            connection.execute(pragma).fetchone()
        _check_pages(connection, path)
        if version == 1:
            _migrate(connection)
        connection.execute(_VIEW.format(_MORE_COLUMNS[SCHEMA_VERSION]))
        _check_rows(connection, path)
        for table in ("jobs", "tries"):
            connection.executescript(
                _TRIGGERS.format(table=table, columns=", ".join(COLUMNS), checksum=_CHECKSUM)
            )
        execute, errors = connection.execute, partial(translate_errors, path)
        return JournalFile(path, connection, execute, errors, files.pop_all(), status)


def connect_reader(path: Path, *, patience: float) -> JournalFile:
    """Open a journal to read it, whether or not it has an owner.

    Nothing is ever written beside it. What cannot be read without writing (a commit that a
    kill has left half done, the log of an earlier release) is read from a copy.
    """
    with translate_errors(path):
        if not path.exists():
            raise JournalError(f"there is no journal at {path}. Check the path.")
        in_place = _inode(path) in _OWN or _version(path) is not None
        opened = _read_in_place(path, patience) if in_place else None
        connection, files = opened or _read_copy(path)
        with files:
            version = _version_of(connection, path)
            connection.execute(_VIEW.format(_MORE_COLUMNS[version]))
            check = _check_pages if version == 1 else _check_rows
            check(connection, path)
            execute, errors = connection.execute, partial(translate_errors, path)
            return JournalFile(path, connection, execute, errors, files.pop_all())


def _read_in_place(path: Path, patience: float) -> Opened | None:
    """Open a file as it is; `None`: SQLite would have to write before it could read."""
    with ExitStack() as files:
        connection = _connect(path, "ro", patience, files)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in _UNREADABLE_IN_PLACE:
                return None
            raise
        return connection, files.pop_all()


def _read_copy(path: Path) -> Opened:
    """Open a copy of a file and of what belongs to it, in a folder that goes in the end."""
    with ExitStack() as files:
        folder = tempfile.TemporaryDirectory(prefix="lipsync-journal-")
        copy = Path(files.enter_context(folder)) / "journal"
        shutil.copyfile(path, copy)
        for side in _PARTS:
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{side}", f"{copy}{side}")
        return _connect(copy, "rw", 0, files), files.pop_all()


def resolve(path: str | os.PathLike[str]) -> Path:
    """Return where a journal really is: by links, it must have one lock under all names.

    `~` is the home folder.
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
    """Return a path with the home folder in the place of a leading `~`."""
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise JournalError(f"A path must be text or a Path, not {type(path).__name__}.")
    if ADDRESS.match(text):  # which may hold a password
        raise JournalError("An address cannot be used here. Give the path of a file.")
    found = at_home(text)
    if found is None:
        raise JournalError(f"{text!r} cannot be used: {unknown_home(text)}.")
    problem = unreplaced(text)
    if problem is not None:
        raise JournalError(f"{text!r} cannot be used: {problem}.")
    return Path(found)


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise SQLite's errors, and the system's, as `JournalError` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        # Extended codes hold the plain one in their lower byte; misuse has no code at all.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = _ADVICE.get(code, _OTHER_ADVICE)
        raise JournalError(f"the journal {path} cannot be used ({error}). {advice}") from error
    except UnicodeDecodeError as error:  # damage, told in words that quote it
        raise JournalError(f"the journal {path} cannot be used ({error}). {_DAMAGED}") from error
    except OSError as error:
        code = sqlite3.SQLITE_FULL if error.errno in _FULL else sqlite3.SQLITE_CANTOPEN
        reason = error.strerror or error
        raise JournalError(
            f"the journal {path} cannot be used ({reason}). {_ADVICE[code]}"
        ) from error


def _connect(path: Path, mode: str, patience: float, files: ExitStack) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=patience,
        isolation_level=None,  # transactions are begun and ended by hand
        check_same_thread=False,  # it is used in one thread after another; see the lock
    )
    files.callback(connection.close)
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.create_function("checksum", -1, _checksum, deterministic=True)
    return connection


def _make(path: Path) -> None:
    """Make a new journal, whole or not at all, where SQLite would take nothing for a part of it."""
    for side in _PARTS:
        remains = Path(f"{path}{side}")
        with suppress(FileNotFoundError):
            with remains.open("rb") as file:
                beginning = file.read(len(_JOURNAL_MAGIC))
            if beginning == _JOURNAL_MAGIC or (beginning and side == "-wal"):
                raise JournalError(
                    f"there is no journal at {path}, but {remains.name} is there, which belongs to "
                    "one that was moved or removed. Bring that back; or remove the rest, too, and "
                    "its jobs are created again."
                )
            remains.unlink()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.create_function("checksum", -1, _checksum, deterministic=True)
        own = {"secret": token_hex(16), "salt": token_hex(16)}
        for statement in (*_TABLES, *_INITIALIZE):
            connection.execute(statement, own)
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
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    with suppress(OSError):  # where a folder cannot be opened, the system sees to it
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring a journal of the first version to today's, all at once or not at all."""
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute(_VIEW.format(_MORE_COLUMNS[1]))
    for row in connection.execute(SELECT_ENTRIES):
        entry = entry_of(row)
        _ = entry.request, entry.generation  # each must be readable
    connection.execute("DROP VIEW entries")
    connection.execute("ALTER TABLE jobs RENAME TO jobs_of_version_1")
    for table in _TABLES:
        connection.execute(table)
    columns = ", ".join(_COLUMNS_OF_VERSION_1)
    connection.execute(
        f"INSERT INTO jobs ({columns}) SELECT {columns} FROM jobs_of_version_1"  # noqa: S608 - our own
    )
    connection.execute("DROP TABLE jobs_of_version_1")
    own = {"secret": token_hex(16), "salt": token_hex(16)}
    for statement in _INITIALIZE:
        connection.execute(statement, own)
    connection.execute("COMMIT")


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise _damaged(path, " ".join(str(found).split()))


def _damaged(path: Path, reason: str) -> JournalError:
    return JournalError(f"the journal {path} is damaged ({reason}). {_DAMAGED}")


def _version_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of an open file; it must be a journal."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application:
        raise JournalError(
            f"{path} is a part of a journal: the rest is in a file of the same name with -wal at "
            "its end, where it was written. Bring that along."
        )
    return _checked_version(path, application, version)


def _version(path: Path) -> int | None:
    """Return the version of a file; `None`: a part of it may be in `NAME-wal`, as in the first."""
    with path.open("rb") as file:
        beginning = file.read(_HEADER)
    if not beginning:
        raise JournalError(
            f"{path} is empty. If it was a journal, it was cut off: go on with a copy that is "
            "whole. To begin a new one, remove it first."
        )
    if not beginning.startswith(_MAGIC) or len(beginning) < _HEADER:
        raise JournalError(f"{path} is no journal. {_OTHER_PATH}")
    if beginning[19] == _WITH_A_LOG:
        return None  # all that counts may be in the log
    application, version = beginning[68:72], beginning[60:64]
    return _checked_version(
        path, int.from_bytes(application, "big"), int.from_bytes(version, "big")
    )


def _checked_version(path: Path, application: int, version: int) -> int:
    if application != APPLICATION_ID or version < 1:
        raise JournalError(f"{path} is no journal. {_OTHER_PATH}")
    if version > SCHEMA_VERSION:
        raise too_new(path, version)
    return version


def too_new(path: Path | str, version: int) -> JournalError:
    """Return that only a newer release reads a journal."""
    return JournalError(
        f"the journal {path} is of version {version}, and this release reads version "
        f"{SCHEMA_VERSION}. Go on with the release of lipsync_async that wrote it."
    )


def is_of_database(path: Path) -> bool:
    """Tell whether something is a file of SQLite, as journals are, or lies beside one."""
    for name in {path.name, *(path.name.removesuffix(side) for side in SIDES)} - {""}:
        other = path.with_name(name)
        if other.is_file():
            if _inode(other) in _OWN:
                return True
            with other.open("rb") as file:
                if file.read(_HEADER).startswith(_BEGINNINGS):
                    return True
    return False


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _checksum(*values: object) -> int:
    # Not `repr`: which characters it escapes differs from one Python to the next.
    digest = blake2b(ascii(values).encode("ascii"), digest_size=_CHECKSUM_SIZE).digest()
    return int.from_bytes(digest, "big")


def find(store: JournalStore, position: int) -> JournalEntry | None:
    """Return the entry at a position."""
    row = store.execute(f"{SELECT_ENTRIES} WHERE position = ?", (position,)).fetchone()
    return None if row is None else entry_of(row)


def find_key(store: JournalStore, row_key: str) -> int | None:
    """Return the position of the row with a key."""
    query = "SELECT position FROM jobs WHERE row_key = ?"
    row: tuple[int] | None = store.execute(query, (row_key,)).fetchone()
    return None if row is None else row[0]


def _check_rows(connection: sqlite3.Connection, path: Path) -> None:
    """Check the tables, as far as checksums tell.

    Others may write meanwhile, so no query takes long.
    """
    begun = connection.execute(_TOTALS).fetchone()
    if begun is None:
        raise _damaged(path, "it does not say whose it is")
    rows, total, altered, last = 0, 0, 0, -1
    query = f"SELECT position, checksum, checksum IS NOT {_CHECKSUM} FROM"
    is_read = False
    while not is_read:
        page = connection.execute(
            f"{query} jobs WHERE position > ? ORDER BY position LIMIT ?", (last, _PAGE)
        ).fetchall()
        is_read = not page
        for position, _, _ in page:
            if position <= last:  # or this would never end
                raise _damaged(path, "its entries are not in their order")
            last = position
        page = page or connection.execute(f"{query} tries").fetchall()
        rows += len(page)
        for _, checksum, is_altered in page:
            altered += is_altered
            total += 0 if is_altered else checksum
    if altered:
        raise _damaged(path, f"{altered} of {rows} entries are not as they were written")
    if connection.execute(_TOTALS).fetchone() == begun and (rows, total) != begun[1:]:
        written = begun[1]
        raise _damaged(path, f"it holds {rows} entries, and not the {written} that were written")


def _lock(journal: Path, files: ExitStack) -> None:
    """Take the right to write a journal at once, until `files` are closed or the process ends."""
    file = Path(f"{journal}.lock").open("a+b", buffering=0)  # noqa: SIM115 - until then
    try:
        _flock(file, _LOCK)
    except OSError as error:
        owner = _owner(file)
        file.close()
        raise JournalError(lock_failure(journal, error, owner)) from error
    files.callback(_unlock, file, os.getpid())
    with suppress(OSError):  # a full disk: the lock holds, and others see no number
        file.truncate(0)
        name = f"{os.getpid()} {platform.node()}"
        file.write(name.encode("ascii", "replace")[:_LONGEST_NAME])


def _unlock(file: BinaryIO, process: int) -> None:
    """Give a lock up, unless the process that took it is the one that this was forked from."""
    if os.getpid() == process:
        # To close it would not do: a worker that was forked meanwhile has it open as well.
        with suppress(OSError):
            _flock(file, _UNLOCK)
    file.close()


def _owner(file: BinaryIO) -> str:
    """Return who has written itself into the lock's file."""
    file.seek(0)
    return owner_in_words(file.read(_LONGEST_NAME).decode("ascii", "replace"))


def owner_in_words(name: str) -> str:
    """Return what messages call the owner of a name."""
    digits, _, machine = name.partition(" ")
    if not digits.isdigit():
        return "another process"
    return f"process {digits}" if machine in {"", platform.node()} else f"a process on {machine}"


def lock_failure(journal: Path, error: OSError, owner: str) -> str:
    """Return why the lock could not be taken."""
    if error.errno not in _TAKEN:
        return f"the journal {journal} cannot be locked ({error}). Give a path on a local disk."
    return in_use(journal, owner)


def in_use(journal: Path | str, owner: str) -> str:
    """Return that a journal has an owner."""
    return (
        f"the journal {journal} is in use by {owner}. Wait until that has ended, or give this "
        "run a journal of its own; the status can be read meanwhile."
    )
