"""The journal on PostgreSQL: one database for many runs, in the same tables and records.

**Tables.** The schema `lipsync` holds the rows of all runs (`all_journals`, `all_jobs`,
`all_tries`). Views show those of one run, which the setting `lipsync.run` of a session names. So
statements are the same as for a file. To delete a run: `DELETE FROM lipsync.all_journals WHERE
run = 'NAME'`. There are no checksums: the server itself keeps what was committed.

**One owner.** The session of the owner holds an advisory lock, which the server releases when the
session ends. The owner writes in this session only. So an owner that has lost its connection has
lost the lock, too, and can store no intent: it creates no more jobs. What it has to record later
(ids of jobs that run) it writes in a new session, if this gets the lock and no other run has owned
the journal meanwhile. If a machine is lost, the server checks its connection after 10 s, and ends
its session after 25 s.

**Poolers.** A pooler that gives each transaction another session breaks lock and settings. It is
found out so: it reports another backend process id than the server, and two connections have the
same session.
"""

from __future__ import annotations

import os
import platform
import re
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache, partial
from hashlib import sha256
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import unquote

import attrs

from lipsync_async._bulk.journal_file import (
    COLUMNS,
    DEFINITIONS,
    ID_PREFIX,
    PATIENCE,
    SCHEMA_VERSION,
    in_use,
    owner_in_words,
    too_new,
)
from lipsync_async._models.text import for_screens, on_one_line
from lipsync_async.errors import ConfigurationError, JournalError

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
except ImportError as error:
    raise ConfigurationError(
        f"A journal on PostgreSQL needs psycopg, which cannot be imported ({error}). Nothing was "
        "sent. Run: pip install 'lipsync-async[postgres]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lipsync_async._bulk.journal_file import Rows

T = TypeVar("T")

_FORM = "postgresql://USER@HOST/DATABASE?run=NAME"
# An address whose password is not percent-encoded is refused: a part of it could be read as a host,
# and be shown.
_ADDRESS = re.compile(
    r"(?P<scheme>postgres(?:ql)?://)(?:(?P<user>[^@/?#:]*)(?::[^@/?#]*)?@)?(?P<place>[^@?#]*)"
    r"(?:\?(?P<options>[^@?#]*))?"
)
# Options that hold secrets, and names that are written for them by mistake.
_IS_SECRET = re.compile("pass(?!file)|pwd|secret|token", re.IGNORECASE)
_LONGEST_NAME = 100
# Settings of a connection, which the address may replace. If the server does not answer, the
# connection fails after at most 25 s.
_CONNECTION = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
# Settings of a session; those that an old server does not know are left out. A commit is on the
# disk when it returns. Hours may pass between two commits, and local files are read within one
# transaction. So the timeouts of a role or a database are switched off: they would end the session,
# and with it the lock. `lock_timeout`: only a program that is not ours locks the tables for long.
_SESSION = {
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": f"{PATIENCE:.0f}s",
    "search_path": "lipsync",
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "on",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
_SET = """
SELECT set_config(known.name, told.value, false)
FROM unnest(?::text[], ?::text[]) AS told (name, value) JOIN pg_settings AS known USING (name)
"""
# Seconds without a byte from the server after which a statement has failed: its process may have
# stopped while its machine still answers. A statement waits for a lock for `PATIENCE` at most.
_LONGEST_SILENCE = 60.0
# Seconds that the server needs to end the session of an owner that was killed.
_ENDING_SECONDS = 1.0
_OWNER = """
SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND ((classid::bigint << 32) | objid::bigint) = ?
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_APPLICATION = "lipsync_async "

_ROWS = DEFINITIONS.replace("REAL", "DOUBLE PRECISION").replace("path TEXT", "path BYTEA")
_RUN = "run TEXT NOT NULL DEFAULT current_setting('lipsync.run')"
_ITS = "REFERENCES lipsync.all_journals ON DELETE CASCADE, position BIGINT NOT NULL"
_NAMES = ", ".join(COLUMNS)
_OF_RUN = "WHERE run = current_setting('lipsync.run')"
_SCHEMA = f"""
CREATE SCHEMA lipsync;
CREATE TABLE lipsync.all_journals ({_RUN} PRIMARY KEY,
    version INTEGER NOT NULL DEFAULT {SCHEMA_VERSION}, secret TEXT NOT NULL, salt TEXT NOT NULL,
    service TEXT, key_digests TEXT NOT NULL DEFAULT '[]', owner TEXT);
CREATE TABLE lipsync.all_jobs ({_RUN} {_ITS}, {_ROWS.format(unique="", checksum="")},
    PRIMARY KEY (run, position), UNIQUE (run, row_key));
CREATE TABLE lipsync.all_tries ({_RUN} {_ITS}, {_ROWS.format(unique="", checksum="")},
    PRIMARY KEY (run, position, tries));
CREATE VIEW lipsync.journal AS SELECT * FROM lipsync.all_journals {_OF_RUN};
CREATE VIEW lipsync.jobs AS SELECT {_NAMES} FROM lipsync.all_jobs {_OF_RUN};
CREATE VIEW lipsync.tries AS SELECT {_NAMES} FROM lipsync.all_tries {_OF_RUN};
CREATE VIEW lipsync.entries AS SELECT CASE WHEN substr(row_key, 1, {len(ID_PREFIX)}) =
    '{ID_PREFIX}' THEN substr(row_key, {len(ID_PREFIX) + 1}) END AS request_id, *
    FROM lipsync.jobs;
"""  # noqa: S608 - our own
_PARAMETER = re.compile(r"\?|(?<!:):(\w+)")

_POOLER = (
    "a connection pooler gives each transaction another session, so no run could own the journal. "
    "Give the address of the server itself, or of a pool in session mode."
)
_ADVICE = {
    "53100": "Make room on the server's disk, then run again with the same journal.",
    "55P03": "Close the program that holds a lock on the tables, then run again.",
    "42501": "Give the user the right to create a schema in the database, or to use `lipsync`.",
    "42P01": "Its tables were deleted; without them, jobs that exist would be created again.",
    "25006": "This server is read-only; give the address of the one that accepts writes.",
}
_OTHER_ADVICE = "What was recorded before is kept; check the server, then run again."


@attrs.frozen(repr=False)
class Address:
    """Where a journal is: a database, and the run's name in it.

    Attributes:
        connection: The address for the server, with the password.
        run: The run's name.
        shown: The address for messages, without the password.
    """

    connection: str
    run: str
    shown: str

    @classmethod
    def read(cls, text: object) -> Address:
        """Read an address.

        Raises:
            JournalError: It is none, or does not name its run once.

        """
        found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise JournalError(
                f"the journal's address cannot be used. Give text such as {_FORM}, in which "
                "characters like @ : / ? # of a user or password are percent-encoded (%40 for @); "
                "or the path of a file."
            )
        scheme, user, place, options = found.groups()
        pairs = [pair.partition("=") for pair in (options or "").split("&") if pair]
        # Refused below; `unquote` has one character for all that is no UTF-8.
        decoded = partial(unquote, errors="surrogateescape")
        runs = [decoded(value) for name, _, value in pairs if name == "run"]
        run = for_screens(runs[0]) if len(runs) == 1 else ""
        if not 0 < len(run) <= _LONGEST_NAME or [run] != runs:
            raise JournalError(
                f"the journal's address must name its run once, by 1 to {_LONGEST_NAME} "
                f"characters, as in {_FORM}. Runs of one database have different names."
            )
        others = ["".join(pair) for pair in pairs if pair[0] != "run"]
        public = ["".join(pair) for pair in pairs if not _IS_SECRET.search(unquote(pair[0]))]
        connection = "?".join([found.string.partition("?")[0], "&".join(others)])
        begin = scheme + ("" if user is None else f"{user}@")
        return cls(connection, run, for_screens(f"{begin}{place}?{'&'.join(public)}"))


def connect_owner(address: object, *, patience: float) -> PostgresJournal:
    """Open a journal as its only owner, or make a new one."""
    return PostgresJournal.open(address, patience=patience)


def connect_reader(address: object) -> PostgresJournal:
    """Open a journal to read it, whether or not it has an owner."""
    journal = PostgresJournal.open(address)
    if not journal.is_there:
        journal.close()
        raise JournalError(f"there is no journal at {journal.path}. Check the address.")
    return journal


def exists(address: object) -> bool:
    """Tell whether there is a journal."""
    with closing(PostgresJournal.open(address)) as journal:
        return journal.is_there


@attrs.define(eq=False, repr=False)
class PostgresJournal:
    """An open journal on PostgreSQL, by one session."""

    _address: Address
    _patience: float | None  # seconds to wait for the lock; `None`: it is only read
    _connection: psycopg.Connection = attrs.field(init=False)
    ending: ClassVar[tuple[str, ...]] = ("COMMIT",)
    is_there: bool = attrs.field(default=False, init=False)
    _session: int = attrs.field(default=0, init=False)
    _process: int = attrs.field(factory=os.getpid, init=False)

    @classmethod
    def open(cls, address: object, *, patience: float | None = None) -> PostgresJournal:
        """Connect, and become the owner if `patience` is given."""
        read = Address.read(address)
        with _errors(read.shown), ExitStack() as opened:
            journal = cls(read, patience)
            journal._begin_session()
            opened.callback(journal.close)
            if patience is not None:
                journal._make()
            if journal._has_schema():
                found = journal.execute("SELECT version FROM journal").fetchone()
                journal.is_there = found is not None
                if found is not None and found[0] > SCHEMA_VERSION:
                    raise too_new(read.shown, found[0])
            opened.pop_all()
        return journal

    @property
    def path(self) -> str:
        """The address without the password."""
        return self._address.shown

    def execute(self, query: str, values: Any = ()) -> Rows:
        """Run a statement that is written as for SQLite."""
        return self._connection.execute(_translated(query), values)

    def begin(self, owner: str | None) -> None:
        """Begin a transaction of the owner; if the connection was lost, in a new session."""
        if self._connection.closed:
            self._begin_session()
        self.execute("BEGIN")
        found = self.execute("SELECT owner, pg_backend_pid() FROM journal").fetchone()
        if found is None:
            raise JournalError(
                f"the journal {self.path} was deleted while it was in use. Without it, jobs that "
                "exist would be created again."
            )
        if found[1] != self._session:
            raise self._pooled()
        if owner not in {None, found[0]}:
            raise JournalError(
                f"another run has taken the journal {self.path} over while this one had no "
                "connection. Let that one go on: then no job is created twice."
            )

    def rollback(self) -> None:
        """Undo a transaction; if the connection is lost, the server does it."""
        with suppress(psycopg.Error):
            self._connection.rollback()

    def errors(self) -> AbstractContextManager[None]:
        """Raise errors of the block as `JournalError` that says what to do."""
        return _errors(self.path)

    def storable(self, text: str) -> str:
        """Return text that can be stored: half of a surrogate pair, and NUL, are escaped."""
        whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
        return whole.replace("\0", "\\x00")

    def path_columns(self, path: Path) -> dict[str, str | bytes | None]:
        """Return the columns for a file's path: as bytes, since it may be no text."""
        return {"path": os.fsencode(path), "near": None}

    def close(self) -> None:
        """End the session and let others own the journal; harmless when repeated."""
        if os.getpid() == self._process:  # a forked child leaves its parent's connection open
            self._connection.close()

    def _begin_session(self) -> None:
        """Connect, and take the lock if this is to be the owner's session."""
        self._connection = _connected(self._address)
        with ExitStack() as failed:  # a session without the lock must not be written in
            failed.callback(self._connection.close)
            (self._session,) = self.execute("SELECT pg_backend_pid()").fetchone()
            if self._session != self._connection.info.backend_pid:
                with closing(_connected(self._address)) as other:
                    found = other.execute("SELECT pg_backend_pid()").fetchone()
                if found == (self._session,):
                    raise self._pooled()
            self.execute(_SET, ([*_SESSION], [*_SESSION.values()]))
            name = "SELECT set_config('lipsync.run', ?, false), pg_backend_pid()"
            if self.execute(name, (self._address.run,)).fetchone()[1] != self._session:
                raise self._pooled()
            if self._patience is not None:
                self._lock(self._patience)
            failed.pop_all()

    def _lock(self, patience: float) -> None:
        waiting = max(1, round(1000 * min(patience, _ENDING_SECONDS)))  # milliseconds
        key = _lock_key(f"journal {self._address.run}")
        try:
            with self._connection.transaction():
                self.execute(f"SET LOCAL lock_timeout = {waiting}")
                self.execute("SELECT pg_advisory_lock(?)", (key,))
        except psycopg.errors.LockNotAvailable as error:
            names = [name for (name,) in self.execute(_OWNER, (key,)) if name]
            owner = owner_in_words("".join(names).removeprefix(_APPLICATION))
            raise JournalError(in_use(self.path, owner)) from error

    def _make(self) -> None:
        """Make a journal, and the tables for all, where they are missing."""
        encoding = self._connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise JournalError(
                f"the journal {self.path} cannot be used: its database has the encoding "
                f"{encoding}, which lacks characters of messages. Give one with the encoding UTF8."
            )
        with self._connection.transaction():
            self.execute("SELECT pg_advisory_xact_lock(?)", (_lock_key("schema"),))
            if not self._has_schema():
                self.execute(_SCHEMA)
        self.execute(
            "INSERT INTO journal (secret, salt) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (token_hex(16), token_hex(16)),
        )

    def _has_schema(self) -> bool:
        found = self.execute("SELECT to_regclass('lipsync.entries') IS NOT NULL").fetchone()
        return bool(found[0])

    def _pooled(self) -> JournalError:
        return JournalError(f"the journal {self.path} cannot be used: {_POOLER}")


class _Connection(psycopg.Connection):
    """Connection that is closed when the server does not answer."""

    def wait(self, gen: Generator[Any, Any, T], *more: Any, **options: Any) -> T:
        """Wait for the end of a statement."""
        try:
            return super().wait(_limited(gen), *more, **options)
        except TimeoutError as error:
            self.close()
            raise psycopg.OperationalError(str(error)) from None


def _limited(steps: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """Pass on the steps of a statement until the server has said nothing for too long."""
    ready, heard = None, monotonic()
    while True:
        try:
            wanted = steps.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result
        ready = yield wanted
        if ready:
            heard = monotonic()
        elif monotonic() - heard > _LONGEST_SILENCE:
            raise TimeoutError(f"the server has not answered for {_LONGEST_SILENCE:g} seconds")


def _connected(address: Address) -> psycopg.Connection:
    try:
        settings: dict[str, Any] = {**_CONNECTION, **conninfo_to_dict(address.connection)}
    except psycopg.Error:  # its text may have a part of the password
        raise JournalError(
            f"the journal's address {address.shown} cannot be used. Percent-encode characters like "
            "@ : / ? # % in each of its parts, and give options that PostgreSQL knows."
        ) from None
    settings["client_encoding"] = "utf8"  # whatever a name or a message has in it
    settings["application_name"] = f"{_APPLICATION}{os.getpid()} {platform.node()}"
    return _Connection.connect(autocommit=True, **settings)


@contextmanager
def _errors(place: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        advice = _ADVICE.get(error.sqlstate or "", _OTHER_ADVICE)
        raise JournalError(
            f"the journal {place} cannot be used ({on_one_line(str(error))}). {advice}"
        ) from error


@cache
def _translated(query: str) -> bytes:
    """Return a statement with its parameters in psycopg's form."""
    return _PARAMETER.sub(lambda found: f"%({found[1]})s" if found[1] else "%s", query).encode()


def _lock_key(name: str) -> int:
    digest = sha256(f"lipsync_async {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
