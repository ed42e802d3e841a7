"""Stores of the account's limits: each promise holds in memory, in Redis and in PostgreSQL."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lipsync_async import AccountStore, MemoryAccountStore
from lipsync_async._stores import store_at
from tests.interpreter import Fork
from tests.servers import Server, emptied

NAME = "lipsync:0123456789abcdef:create"
# What a program of several processes does: `COUNTS`, with the server's address.
INCREMENT = """
import asyncio, gc, os, sys
from lipsync_async._stores import store_at

NAME = "lipsync:0123456789abcdef:create"

def increment(document, now):
    count = int(document or b"0") + 1
    return b"%d" % count, count
"""
COUNTS = f"""{INCREMENT}
async def main(store):
    for _ in range(500):
        await store.change(NAME, increment, tells=True)
    await store.aclose()

asyncio.run(main(store_at("URL")), debug=False)
"""
FORKS = f"""{INCREMENT}
async def first(store, heard):
    block = store.listen(NAME, heard.set)
    await block.__aenter__()
    await heard.wait()
    print(await store.change(NAME, increment))
    return block

async def in_child(store):
    gc.collect()  # which must close nothing that is the parent's
    print(await store.change(NAME, increment), flush=True)
    await store.aclose()

async def last(store, heard, block):
    heard.clear()
    print(await store.change(NAME, increment, tells=True))
    await heard.wait()
    await block.__aexit__(None, None, None)
    await store.aclose()

store = store_at("URL")
with asyncio.Runner(debug=False) as runner:
    heard = asyncio.Event()
    block = runner.run(first(store, heard))
    sys.stdout.flush()
    if not (child := os.fork()):
        asyncio.run(in_child(store), debug=False)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
    runner.run(last(store, heard, block))
"""
HELD = """
import asyncio, os, threading, warnings
from lipsync_async import MemoryAccountStore

warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside a thread
store, entered, leave = MemoryAccountStore(), threading.Event(), threading.Event()

def hold(document, now):
    entered.set()
    leave.wait()
    return b"1", None

def change(rule):
    asyncio.run(store.change("name", rule), debug=False)

thread = threading.Thread(target=change, args=(hold,))
thread.start()
entered.wait()
if not (child := os.fork()):
    change(lambda *_: (b"2", None))
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
leave.set()
thread.join()
"""
LAZY = """
import sys
from lipsync_async import PostgresAccountStore, RedisAccountStore

RedisAccountStore("redis://host"), PostgresAccountStore("postgresql://host")
print({"redis", "psycopg"} & {*sys.modules})
"""


@pytest.fixture(scope="session", params=["redis", "postgres"])
def _running_server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(f"_{request.param}_server")  # type: ignore[no-any-return]


@pytest.fixture
def server(_running_server: Server) -> Iterator[Server]:
    """Give a server of each kind, without documents."""
    with emptied(_running_server):
        yield _running_server


@pytest.fixture(scope="session", params=["memory", "redis", "postgres"])
def _any_server(request: pytest.FixtureRequest) -> Server | None:
    if request.param == "memory":
        return None
    return request.getfixturevalue(f"_{request.param}_server")  # type: ignore[no-any-return]


@pytest.fixture
def store(_any_server: Server | None) -> Iterator[AccountStore]:
    """Give a store of each kind, without documents."""
    if _any_server is None:
        yield MemoryAccountStore(clock=time.time)
        return
    with emptied(_any_server):
        yield store_at(_any_server.url)


def increment(document: bytes | None, now: float) -> tuple[bytes, int]:
    """Count one more."""
    count = int(document or b"0") + 1
    return b"%d" % count, count


def look(document: bytes | None, now: float) -> tuple[None, bytes | None]:
    """Change nothing."""
    return None, document


async def test_a_rule_that_raises_changes_nothing(store: AccountStore) -> None:
    """What a rule raises is passed on, and the document stays as it was."""

    def rule(document: bytes | None, now: float) -> tuple[bytes, None]:
        raise TimeoutError("the rule's own")

    for count in (1, 2):
        with pytest.raises(TimeoutError, match="the rule's own"):
            await store.change(NAME, rule)
        assert await store.change(NAME, increment) == count
    await store.aclose()
    assert await store.change(NAME, increment) == 3
    await store.aclose()


async def test_documents_are_any_bytes_and_apart(store: AccountStore) -> None:
    """Each name has its own document, of any bytes; `None` leaves it as it is."""
    whole = bytes(range(256)) * 50
    assert await store.change(NAME, look) is None
    assert await store.change(NAME, lambda document, _: (whole, document)) is None
    assert await store.change("other", lambda document, _: (b"", document)) is None
    assert await store.change(NAME, look) == whole
    assert await store.change("other", look) == b""
    await store.aclose()


async def test_the_clock_is_the_stores_own(store: AccountStore) -> None:
    """A rule gets the time of the store's clock, in seconds, at the moment of the change."""
    before = time.time()
    now = await store.change(NAME, lambda _, now: (None, now))
    assert before - 0.001 <= now <= time.time() + 0.001
    await store.aclose()


async def test_news_arrive(store: AccountStore) -> None:
    """A change that tells is told to all that listen to its document, and no other change is."""
    heard: list[str] = []
    ready, told = asyncio.Event(), asyncio.Event()

    def hear() -> None:
        heard.append("own")
        ready.set()
        if len(heard) > 2:
            told.set()

    async with (
        store.listen(NAME, hear),
        store.listen("other", lambda: heard.append("other")),
    ):
        if isinstance(store, MemoryAccountStore):
            await store.change(NAME, increment, tells=True)
        await ready.wait()  # servers tell once at first: what came before is not known
        heard[:] = ["own"]
        await store.change(NAME, increment)
        await store.change(NAME, look, tells=True)
        await store.change("other", increment, tells=True)
        await store.change(NAME, increment, tells=True)
        await told.wait()
        assert heard == ["own", "other", "own"]
    await store.change(NAME, increment, tells=True)
    assert heard == ["own", "other", "own"]
    await store.aclose()


def test_a_store_is_used_by_two_loops_at_once(store: AccountStore) -> None:
    """Each loop has its own connections; no change is lost between them."""

    async def count() -> None:
        for _ in range(20):
            await store.change(NAME, increment)
        await store.aclose()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(asyncio.run, count()) for _ in range(2)]:
            done.result()

    async def last() -> int:
        counted = await store.change(NAME, increment)
        await store.aclose()
        return counted

    assert asyncio.run(last()) == 41


def test_memory_counts_exactly() -> None:
    """Four loops in four threads lose no change of 2,000."""
    store = MemoryAccountStore()

    async def count() -> None:
        for _ in range(500):
            await store.change(NAME, increment)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(asyncio.run, count()) for _ in range(4)]:
            done.result()
    assert asyncio.run(store.change(NAME, look)) == b"2000"


@pytest.mark.usefixtures("interpreter")
async def test_processes_count_exactly(server: Server) -> None:
    """Four processes, which also make the table at the same moment, lose no change of 2,000."""
    processes = [await Fork.start(COUNTS.replace("URL", server.url)) for _ in range(4)]
    ended = await asyncio.gather(*(process.communicate() for process in processes))
    assert ended == [(b"", b"")] * 4
    store = store_at(server.url)
    assert await store.change(NAME, look) == b"2000"
    await store.aclose()


@pytest.mark.usefixtures("interpreter")
async def test_a_forked_child_begins_anew(server: Server) -> None:
    """A child has its own connections, and leaves those of its parent alone."""
    process = await Fork.start(FORKS.replace("URL", server.url))
    assert await process.communicate() == (b"1\n2\n0\n3\n", b"")


@pytest.mark.usefixtures("interpreter")
async def test_a_forked_child_waits_for_no_thread_of_its_parent() -> None:
    """The thread that held the lock of a store in memory is not there in the child."""
    process = await Fork.start(HELD)
    assert await process.communicate() == (b"7\n", b"")


@pytest.mark.usefixtures("interpreter")
async def test_a_store_that_is_not_used_imports_nothing() -> None:
    """The packages of the servers are imported with the first change."""
    process = await Fork.start(LAZY)
    assert await process.communicate() == (b"set()\n", b"")
