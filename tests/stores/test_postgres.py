"""What only the store in PostgreSQL meets: locks, rights, and connection poolers."""

import asyncio
import time

import psycopg
import pytest
from anyio.lowlevel import checkpoint

from lipsync_async import AccountStoreError
from lipsync_async._stores import store_at
from tests.servers import PostgresServer
from tests.stores.relay import Relay
from tests.stores.test_server_stores import HastyPostgres
from tests.stores.test_stores import NAME, increment, look


class Impatient(HastyPostgres):
    """Store that asks for news again at once where it was refused."""

    _LONG_PAUSE = 0.0


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
    [
        (b"LISTEX", "SyntaxError: "),
        (b"NOTIFY", "another connection's notification does not arrive"),
    ],
)
async def test_a_pooler_without_news_is_told_once(
    postgres_server: PostgresServer,
    word: bytes,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where LISTEN is refused, or is in vain, one log record says so, and changes work."""
    pooler, heard = Relay(postgres_server, {b"LISTEN ": word + b" "}), list[None]()
    async with pooler.running() as url:
        store, other = Impatient(url), store_at(url)
        async with store.listen(NAME, lambda: heard.append(None)):
            await pooler.twice.wait()
            assert await other.change(NAME, increment, tells=True) == 1
        await store.aclose()
        await other.aclose()
    assert heard == []
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"sends no notifications ({why}" in record.message
    assert "not of a connection pooler" in record.message
    assert postgres_server.secret not in record.message
