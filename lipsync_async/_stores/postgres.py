"""Account store in PostgreSQL: a change locks the row of its document.

Read and write are one message each, of several statements: one round trip, and nothing that a
connection pooler in transaction mode would lose.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias
from uuid import uuid4

from lipsync_async._stores.server import Reading, Refused, ServerStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

    Connection: TypeAlias = AsyncConnection[TupleRow]

_CHANNEL = "lipsync_documents"
_CREATE = "CREATE TABLE IF NOT EXISTS lipsync_documents (name text PRIMARY KEY, document bytea)"
# A crash of the server may lose the changes of its last milliseconds. A process that is stopped
# within a change must not keep the others from the document. The clock is read after the lock.
_READ = """
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL synchronous_commit = off;
SET LOCAL lock_timeout = 4000;
SET LOCAL idle_in_transaction_session_timeout = 2000;
INSERT INTO lipsync_documents VALUES (%(name)s, NULL) ON CONFLICT DO NOTHING;
SELECT FROM lipsync_documents WHERE name = %(name)s FOR UPDATE;
SELECT document, extract(epoch FROM clock_timestamp())::float8 FROM lipsync_documents
WHERE name = %(name)s
"""
_WRITE = "UPDATE lipsync_documents SET document = %(document)s WHERE name = %(name)s;"
_TELL = f"SELECT pg_notify('{_CHANNEL}', %(name)s);"


class PostgresAccountStore(ServerStore[Any]):
    """Account store in a PostgreSQL database; needs the extra `postgres`.

    Only the server's clock counts. The documents are rows of the table `lipsync_documents`, which
    the first change makes.

    Args:
        url: The server's address: `postgresql://user:password@host:5432/database`, as libpq
            reads it.

    Raises:
        ConfigurationError: It is no such address.

    """

    SCHEMES: ClassVar[tuple[str, ...]] = ("postgresql", "postgres")
    _SERVER, _EXAMPLE = "PostgreSQL", "postgresql://user:password@host:5432/database"
    _EXTRA = "postgres"

    async def _connect(self) -> Connection:
        try:
            from psycopg import AsyncClientCursor, AsyncConnection  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise self._missing(error) from error
        return await AsyncConnection.connect(
            self._url.revealed,
            autocommit=True,
            connect_timeout=int(self._LIMIT),
            cursor_factory=AsyncClientCursor,
        )

    def _abort(self, connection: Connection) -> None:
        connection.pgconn.finish()  # the server rolls back

    async def _close(self, connection: Connection) -> None:
        await connection.close()

    def _is_lost(self, error: Exception) -> bool:
        from psycopg import OperationalError  # noqa: PLC0415

        # An error that the server sends has a code. 08: connection lost, 57: shutdown or start.
        state = error.sqlstate if isinstance(error, OperationalError) else ""
        return state is None or state[:2] in {"08", "57"}

    async def _read(self, connection: Connection, name: str) -> Reading:
        from psycopg.errors import UndefinedTable  # noqa: PLC0415

        try:
            return await self._locked(connection, name)
        except UndefinedTable:
            await connection.execute("ROLLBACK")
            await self._create(connection)
            return await self._locked(connection, name)

    async def _locked(self, connection: Connection, name: str) -> Reading:
        cursor = await connection.execute(_READ, {"name": name})
        while cursor.nextset():
            pass
        [(document, now)] = await cursor.fetchall()
        return Reading(document, now)

    async def _create(self, connection: Connection) -> None:
        from psycopg.errors import InsufficientPrivilege, UniqueViolation  # noqa: PLC0415

        try:
            with suppress(UniqueViolation):  # another process has made it at the same moment
                await connection.execute(_CREATE)
        except InsufficientPrivilege:
            raise Refused(
                "the table lipsync_documents is not there, and this user may not create it (let "
                f"another one run: {_CREATE}; GRANT SELECT, INSERT, UPDATE ON lipsync_documents "
                "TO PUBLIC)"
            ) from None

    async def _write(
        self,
        connection: Connection,
        name: str,
        read: Reading,  # noqa: ARG002 - the row is locked
        document: bytes | None,
        *,
        tells: bool,
    ) -> bool:
        if document is None:
            await connection.execute("ROLLBACK")
        else:
            statements = f"{_WRITE}{_TELL if tells else ''}COMMIT"
            await connection.execute(statements, {"name": name, "document": document})
        return True

    async def _notifications(self, connection: Connection) -> AsyncGenerator[str | None, None]:
        await connection.execute(f"LISTEN {_CHANNEL}")
        # A pooler in transaction mode accepts the statement, but no notification arrives.
        first = f"{uuid4()}"
        async with await self._connect() as other:
            await other.execute(_TELL, {"name": first})
        patience = self._LIMIT
        while arrived := [
            note async for note in connection.notifies(timeout=patience, stop_after=1)
        ]:
            patience = self._QUIET
            for note in arrived:
                yield None if note.payload == first else note.payload
        if patience == self._LIMIT:
            raise Refused("another connection's notification does not arrive")
