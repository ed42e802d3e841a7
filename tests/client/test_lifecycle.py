"""A client's life: built anywhere, used by several loops, closed or just left."""

import asyncio
import pickle
import sys
from importlib.metadata import version

import anyio
import pytest

import lipsync_async
from lipsync_async import (
    AsyncClient,
    ConfigurationError,
    PollPolicy,
    Response,
    RetryPolicy,
    ServerError,
)
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import completed, connect, order

Pair = tuple[AsyncClient, Sandbox]

_PROGRAM = """
import asyncio, logging
from lipsync_async import AsyncClient

logging.getLogger("asyncio").setLevel("ERROR")  # not of slow steps, which -X dev reports

async def ask(client):
    print(len(await client.models.list()) > 0)

async def drop():
    client = AsyncClient("key", base_url="URL")
    await ask(client)
    del client

async def close():
    async with AsyncClient("key", base_url="URL") as client:
        await ask(client)

client = AsyncClient("key", base_url="URL")
for _ in range(3):
    asyncio.run(ask(client))
asyncio.run(client.aclose())
asyncio.run(drop())
asyncio.run(drop(), debug=True)
asyncio.run(close())
alive = AsyncClient("key", base_url="URL")
asyncio.run(ask(alive))
"""


async def run(program: str) -> tuple[int, str, str]:
    """Run a program with every warning an error; return its exit code and output."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    found = await anyio.run_process(command, check=False)
    return found.returncode, found.stdout.decode(), found.stderr.decode()


async def test_nothing_is_printed() -> None:
    """However a client is left, several loops work and nothing is said about sessions."""
    async with Sandbox(api_key="key", render=False) as sandbox:
        assert await run(_PROGRAM.replace("URL", sandbox.url)) == (0, "True\n" * 7, "")


def test_trio_is_refused_clearly() -> None:
    """Under trio a call is one clear error, and closing is harmless."""
    trio = pytest.importorskip("trio")

    async def main() -> None:
        async with AsyncClient("key", base_url="http://127.0.0.1:1") as client:
            with pytest.raises(ConfigurationError, match="trio will not do"):
                await client.models.list()
            with pytest.raises(ConfigurationError, match="trio will not do"):
                await order(client)

    trio.run(main)


def test_environment_is_read_when_a_client_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key and address come from the environment as it is then; arguments come first."""
    with pytest.raises(ConfigurationError, match="There is no API key"):
        AsyncClient()
    monkeypatch.setenv("SYNC_API_KEY", "from-environment")
    monkeypatch.setenv("SYNC_BASE_URL", "https://one.example")
    assert repr(AsyncClient()) == "<AsyncClient base_url='https://one.example' in_flight=0>"
    monkeypatch.setenv("SYNC_BASE_URL", "https://two.example/")
    assert "'https://two.example'" in repr(AsyncClient())
    assert "'https://three.example'" in repr(AsyncClient(base_url="https://three.example"))
    monkeypatch.delenv("SYNC_BASE_URL")
    assert "'https://api.sync.so'" in repr(AsyncClient("key"))


def test_key_is_shown_nowhere() -> None:
    """Neither the repr of a client and its parts nor a pickle gives the key away."""
    client = AsyncClient("the-secret")
    parts = [client, client.generations, vars(client), *map(vars, _parts_of(client))]
    assert [part for part in parts if "the-secret" in repr(part)] == []
    with pytest.raises(TypeError, match="an API key is not pickled"):
        pickle.dumps(client)


def _parts_of(client: AsyncClient) -> list[object]:
    return [part for part in vars(client).values() if hasattr(part, "__dict__")]


def test_public_names() -> None:
    """The package and its sandbox list names before they are loaded, and have no others."""
    assert {"AsyncClient", "Video", "RetryPolicy"} <= set(dir(lipsync_async))
    assert lipsync_async.__version__ == version("lipsync-async")
    for module in (lipsync_async, lipsync_async.sandbox):
        with pytest.raises(AttributeError, match="has no attribute 'Unknown'"):
            getattr(module, "Unknown")  # noqa: B009 - the type checker knows it as well


async def test_closed(client_and_sandbox: Pair) -> None:
    """A client can be closed twice; one on sockets then says that it is closed."""
    client, sandbox = client_and_sandbox
    await client.models.list()
    await client.aclose()
    await client.aclose()
    if sandbox.url.startswith("http://127"):
        with pytest.raises(ConfigurationError, match="This client is closed"):
            await client.models.list()


async def test_views(client_and_sandbox: Pair) -> None:
    """A view shares the account and the connections, and differs in what was set."""
    client, sandbox = client_and_sandbox
    seen: list[Response] = []
    hasty = client.with_options(
        retry=RetryPolicy(attempts=1),
        poll=PollPolicy(long_poll=None, initial_interval=0.001),
        on_response=seen.append,
    )
    sandbox.faults.add(Fault("status", status=500, count=2))
    with pytest.raises(ServerError):
        await hasty.models.list()
    assert len(await client.models.list()) > 0
    assert [each.status for each in seen] == [500]
    assert (await completed(hasty.with_options(timeout=None))).is_completed
    assert [each.status for each in seen] == [500, 201, 200, 200]
    await hasty.with_options(on_response=None).models.list()
    assert len(seen) == 4
    assert repr(hasty) == repr(client)
    with pytest.raises(ConfigurationError, match="timeout: must be"):
        client.with_options(timeout=-1.0)


async def test_one_client_in_two_running_loops() -> None:
    """A client that one loop is using tells another running loop so, and breaks nothing."""
    async with Sandbox(seed=1, render=False) as sandbox, connect(sandbox) as client:
        await client.generations.count()

        def elsewhere() -> None:
            with pytest.raises(ConfigurationError, match="another running event loop"):
                asyncio.run(client.generations.count())

        await asyncio.to_thread(elsewhere)
        assert await client.generations.count() == 0
