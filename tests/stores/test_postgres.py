"""What only the store in PostgreSQL meets: locks, rights, and connection poolers."""

import asyncio
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import attrs
import psycopg
import pytest
from anyio.lowlevel import checkpoint

from lipsync_async import AccountStoreError
from lipsync_async._stores import store_at
from tests.servers import PostgresServer
from tests.stores.test_server_stores import HastyPostgres
from tests.stores.test_stores import NAME, increment, look


class Impatient(HastyPostgres):
    """Store that asks for news again at once where it was refused."""

    _LONG_PAUSE = 0.0


@attrs.define
class Pooler:
    """Relay to the server that replaces the statement LISTEN by another word of its length."""

    server: PostgresServer
    word: bytes
    asked: int = 0
    twice: asyncio.Event = attrs.field(factory=asyncio.Event)
    relayed: list[asyncio.Future[None]] = attrs.field(factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Give the address, while the block runs."""
        relay = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        async with relay:
            port = relay.sockets[0].getsockname()[1]
            yield self.server.url.replace(f"{self.server.port}", f"{port}")
            await asyncio.gather(*self.relayed)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self.server.port)
        ways = self._copied(reader, there[1]), self._copied(there[0], writer)
        self.relayed += map(asyncio.ensure_future, ways)

    async def _copied(self, reader: StreamReader, writer: StreamWriter) -> None:
        with closing(writer), suppress(ConnectionResetError):
            while data := await reader.read(65536):
                self.asked += data.count(b"LISTEN ")
                writer.write(data.replace(b"LISTEN ", self.word + b" "))
                if self.asked > 1:
                    self.twice.set()


def running(connection: psycopg.Connection, condition: str) -> int:
    """Return how many other connections are in some state."""
    rows = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "  # noqa: S608
        f"AND datname = current_database() AND {condition}"
    ).fetchall()
    connection.rollback()  # the view is a snapshot of the transaction
    return int(rows[0][0])


async def test_the_clock_is_read_after_the_lock(postgres_server: PostgresServer) -> None:
    """A change that has waited for another one has a later time."""
    store = store_at(postgres_server.url)
    await store.change(NAME, increment)
    with (
        psycopg.connect(postgres_server.url) as holder,
        psycopg.connect(postgres_server.url) as see,
    ):
        holder.execute("SELECT FROM lipsync_documents FOR UPDATE")
        task = asyncio.create_task(store.change(NAME, lambda _, now: (None, now)))
        while not running(see, "wait_event_type = 'Lock'"):
            await checkpoint()
        released = time.time()
        holder.rollback()
        assert await task >= released - 0.001
    await store.aclose()


async def test_a_locked_document_is_waited_for_some_seconds(
    postgres_server: PostgresServer,
) -> None:
    """A change that does not get the lock ends in words, and leaves no transaction."""
    store = HastyPostgres(postgres_server.url)
    slow = store_at(postgres_server.url)
    await slow.change(NAME, increment)
    with (
        psycopg.connect(postgres_server.url) as holder,
        psycopg.connect(postgres_server.url) as see,
    ):
        holder.execute("SELECT FROM lipsync_documents FOR UPDATE")
        with pytest.raises(AccountStoreError, match=r"did not answer within 0\.3 seconds"):
            await store.change(NAME, increment)
        holder.rollback()
        while running(see, "state LIKE 'idle in transaction%'"):
            await checkpoint()
        assert await slow.change(NAME, look) == b"1"
    await store.aclose()
    await slow.aclose()


async def test_another_process_makes_the_table_at_the_same_moment(
    postgres_server: PostgresServer,
) -> None:
    """The one that comes second takes the table of the first."""
    store = store_at(postgres_server.url)
    url = postgres_server.url
    with psycopg.connect(url) as other, psycopg.connect(url) as see:
        other.execute("CREATE TABLE lipsync_documents (name text PRIMARY KEY, document bytea)")
        task = asyncio.create_task(store.change(NAME, increment))
        while not running(see, "wait_event_type = 'Lock'"):
            await checkpoint()
        other.commit()
        assert await task == 1
    await store.aclose()


async def test_a_user_who_may_not_make_the_table(postgres_server: PostgresServer) -> None:
    """The error says what somebody else must run; with the table there, all is well."""
    with psycopg.connect(postgres_server.url, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS guest")
        owner.execute(f"CREATE ROLE guest LOGIN PASSWORD '{postgres_server.secret}'")
        owner.execute("GRANT USAGE ON SCHEMA public TO guest")
        store = store_at(postgres_server.url.replace("postgres:", "guest:"))
        with pytest.raises(AccountStoreError, match="may not create it") as caught:
            await store.change(NAME, increment)
        statements = str(caught.value).partition("run: ")[2].partition("). ")[0]
        for statement in statements.split("; "):
            owner.execute(statement.encode())
        assert await store.change(NAME, increment, tells=True) == 1
        await store.aclose()


@pytest.mark.parametrize(
    ("word", "why"),
    [(b"LISTEX", "SyntaxError: "), (b"NOTIFY", "what another connection tells does not arrive")],
)
async def test_a_pooler_without_news_is_told_once(
    postgres_server: PostgresServer,
    word: bytes,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where LISTEN is refused, or is in vain, one log record says so, and changes work."""
    pooler, heard = Pooler(postgres_server, word), list[None]()
    async with pooler.running() as url:
        store = Impatient(url)
        async with store.listen(NAME, lambda: heard.append(None)):
            await pooler.twice.wait()
            assert await store.change(NAME, increment, tells=True) == 1
        await store.aclose()
    assert heard == []
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"tells no news ({why}" in record.message
    assert "not to a connection pooler" in record.message
    assert postgres_server.secret not in record.message
