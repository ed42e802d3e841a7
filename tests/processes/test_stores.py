"""Stores whose processes are stopped in the midst of a change."""

import signal

import pytest

from lipsync_async._stores import store_at
from tests.interpreter import Fork
from tests.servers import PostgresServer, RedisServer, Server
from tests.stores.test_stores import NAME, increment

STOPS = """
import asyncio, os, signal
from lipsync_async import AccountStoreError
from lipsync_async._stores import store_at

seen = []

def rule(document, now):
    seen.append(document)
    if len(seen) == 1:
        print("stops", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    return document + b"0", None

async def main(store):
    try:
        await store.change("NAME", rule)
    except AccountStoreError as error:
        print(str(error).count("Nothing was sent"), end=" ")
    await store.change("NAME", rule)
    await store.aclose()
    print(*map(bytes.decode, seen))

asyncio.run(main(store_at("URL")), debug=False)
"""


async def stopped_in_its_rule(server: Server) -> str:
    """Change a document while another process stands still in its rule; return what that saw."""
    store = store_at(server.url)
    assert await store.change(NAME, increment) == 1
    process = await Fork.start(STOPS.replace("URL", server.url).replace("NAME", NAME))
    assert await process.stdout.readline() == b"stops\n"
    assert await store.change(NAME, increment) == 2
    await store.aclose()
    process.send_signal(signal.SIGCONT)
    printed, errors = await process.communicate()
    assert errors == b""
    return printed.decode().strip()


@pytest.mark.usefixtures("interpreter")
async def test_a_stopped_process_does_not_keep_others_from_redis(
    redis_server: RedisServer,
) -> None:
    """Others go on at once; the rule is called again when the process goes on."""
    assert await stopped_in_its_rule(redis_server) == "1 2 20"


@pytest.mark.usefixtures("interpreter")
async def test_a_stopped_process_does_not_keep_others_from_postgresql(
    postgres_server: PostgresServer,
) -> None:
    """Others go on after two seconds; the change is then an error when the process goes on."""
    assert await stopped_in_its_rule(postgres_server) == "1 1 2"
