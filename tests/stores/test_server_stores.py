"""What stores on a server do when something goes wrong, and what they say then."""

import asyncio
import gc
import socket
import sys
import weakref
from urllib.parse import unquote

import pytest
from anyio.lowlevel import checkpoint

from lipsync_async import (
    AccountStore,
    AccountStoreError,
    ConfigurationError,
    PostgresAccountStore,
    RedisAccountStore,
)
from lipsync_async._stores import store_at
from tests.servers import RedisServer, Server
from tests.stores.relay import Relay
from tests.stores.test_stores import NAME, _running_server, increment, look, server

__all__ = ["_running_server", "server"]  # fixtures


class HastyRedis(RedisAccountStore):
    """Store that gives up soon, for tests in which it will."""

    _LIMIT = 0.3


class HastyPostgres(PostgresAccountStore):
    """Store that gives up soon, for tests in which it will."""

    _LIMIT = 0.3


class RestlessRedis(RedisAccountStore):
    """Store that soon connects anew to hear news."""

    _QUIET, _PAUSE = 0.05, 0.01


class RestlessPostgres(PostgresAccountStore):
    """Store that soon connects anew to hear news."""

    _QUIET, _PAUSE = 0.05, 0.01


def hasty(server: Server, url: str) -> AccountStore:
    """Return a store of the server's kind that gives up soon."""
    return (HastyRedis if isinstance(server, RedisServer) else HastyPostgres)(url)


def everything_in(error: BaseException | None) -> str:
    """Return all that an error and its causes would show."""
    text = ""
    while error is not None:
        text += f"{error}{error!r}{vars(error)}"
        error = error.__cause__ or error.__context__
    return text


async def test_a_server_that_was_restarted_is_used_again(server: Server) -> None:
    """A restart between two changes is not noticed; one in a change is an error in words."""
    store = store_at(server.url)
    assert await store.change(NAME, increment) == 1
    server.stop()
    server.start()
    assert await store.change(NAME, increment) == 2

    def stopping(document: bytes | None, now: float) -> tuple[bytes, None]:
        server.stop()
        return b"100", None

    for rule in (stopping, increment):
        with pytest.raises(AccountStoreError, match=r"used: .*[^.?]\. Nothing was sent\. Check"):
            await store.change(NAME, rule)
    server.start()
    assert await store.change(NAME, increment) == 3
    await store.aclose()


async def test_an_error_of_a_rule_is_passed_on_from_a_lost_server(server: Server) -> None:
    """What a rule raises comes before what the server does meanwhile."""
    store = store_at(server.url)

    def rule(document: bytes | None, now: float) -> tuple[bytes, None]:
        server.stop()
        raise ValueError("the rule's own")

    with pytest.raises(ValueError, match="the rule's own"):
        await store.change(NAME, rule)
    await store.aclose()


async def test_a_server_that_lost_its_state_begins_anew(server: Server) -> None:
    """A document that was lost is not there; the next change makes it, and the table."""
    store = store_at(server.url)
    assert await store.change(NAME, increment) == 1
    server.lose_state()
    assert await store.change(NAME, increment) == 1
    await store.aclose()


async def test_a_listener_is_told_after_each_restart(server: Server) -> None:
    """A lost connection is made anew; as news may have been missed, the listeners are called."""
    kind = RestlessRedis if isinstance(server, RedisServer) else RestlessPostgres
    store, heard = kind(server.url), asyncio.Event()
    async with store.listen(NAME, heard.set):
        await heard.wait()
        server.stop()
        heard.clear()
        server.start()
        await heard.wait()
        heard.clear()
        await heard.wait()  # again, for nothing came for some time
        await store.aclose()
    await store.aclose()


def test_connections_are_closed_with_their_loop(server: Server) -> None:
    """A store that was not closed leaves neither connections nor loops behind."""
    store, heard = store_at(server.url), list[None]()

    async def use() -> weakref.ref[asyncio.AbstractEventLoop]:
        async with store.listen("other", lambda: heard.append(None)):
            await asyncio.gather(*(store.change(NAME, increment) for _ in range(2)))
        left = store.listen("other", lambda: heard.append(None))
        await left.__aenter__()
        while not heard:
            await checkpoint()
        return weakref.ref(asyncio.get_running_loop())

    loops = [asyncio.run(use()) for _ in range(2)]
    gc.collect()
    assert [loop() for loop in loops] == [None, None]


async def test_a_change_that_is_cancelled_leaves_a_usable_store(server: Server) -> None:
    """At whatever moment it is cancelled: no transaction is left, and the next change works."""
    store = store_at(server.url)
    counted = 0
    for turns in range(40):
        task = asyncio.create_task(store.change(NAME, increment))
        others = [asyncio.create_task(store.change("other", increment)) for _ in range(2)]
        for _ in range(turns):
            await checkpoint()
        task.cancel()
        others[0].cancel()
        await asyncio.wait([task, *others])
        await others[1]
        now = int(await store.change(NAME, look) or 0)
        assert now - counted in {0, 1}
        counted = now
    await store.aclose()


async def test_a_change_that_is_cancelled_in_its_rule_ends(server: Server) -> None:
    """A cancellation between read and write is raised; the document is not locked by it."""
    store = store_at(server.url)
    assert await store.change(NAME, increment) == 1

    async def change() -> None:
        task = asyncio.current_task()
        assert task is not None
        await store.change(NAME, lambda *_: (b"100", task.cancel()))

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(change())
    assert await store.change("other", increment) == 1
    assert await store.change(NAME, increment) in {2, 101}
    await store.aclose()


async def test_a_server_that_does_not_answer_is_waited_for_some_seconds(server: Server) -> None:
    """A change ends by the time limit, and so do those that wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = server.url.replace(f"{server.port}", f"{silent.getsockname()[1]}")
        store = hasty(server, url)
        changes = [store.change(NAME, increment) for _ in range(3)]
        for error in await asyncio.gather(*changes, return_exceptions=True):
            assert isinstance(error, AccountStoreError)
            assert "it did not answer within 0.3 seconds. Nothing was sent." in str(error)
        await store.aclose()


async def test_a_server_that_stops_answering_in_a_change(server: Server) -> None:
    """The change ends by the time limit; nothing of it is stored, and the next one works."""
    relay = Relay(server)

    def rule(document: bytes | None, now: float) -> tuple[bytes, None]:
        relay.is_lossy = True
        return b"100", None

    async with relay.running() as url:
        store, later = hasty(server, url), store_at(url)
        assert await later.change(NAME, increment) == 1
        with pytest.raises(AccountStoreError, match=r"did not answer within 0\.3 seconds"):
            await store.change(NAME, rule)
        relay.is_lossy = False
        await store.aclose()
        assert await later.change(NAME, increment) == 2
        await later.aclose()


async def refusal(url: str) -> str:
    """Return the error of a change, and check that it shows no password."""
    store, secret = store_at(url), url.rpartition("@")[0].rpartition(":")[2]
    with pytest.raises(AccountStoreError) as caught:
        await store.change(NAME, increment)
    told = everything_in(caught.value) + repr(store)
    assert (secret in told, unquote(secret) in told) == (False, False)
    await store.aclose()
    return str(caught.value)


async def test_wrong_addresses_are_told_without_the_password(server: Server) -> None:
    """The error names the address and what is wrong, and nothing shows the password."""
    told = await refusal(server.url.replace(server.secret, "pa%20ss-which-is-wrong"))
    shown = server.url.replace(f":{server.secret}@", "@").replace("//@", "//")
    assert f"The account store at {shown} cannot be used: " in told
    assert "password" in told
    told = await refusal(server.url.replace(f"{server.port}", "1"))
    shown = shown.replace(f"{server.port}", "1")
    assert f"The account store at {shown} cannot be used: " in told
    assert "port 1" in told.replace(":1.", " port 1")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache", "redis://cache"),
        ("rediss://user:secret@[::1]:6379/0", "rediss://user@[::1]:6379/0"),
        ("unix://:secret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("postgresql://a:1,b:2/db?password=secret&sslmode=disable", "postgresql://a:1,b:2/db"),
        ("postgres://user@/db?host=/run/postgresql", "postgres://user@/db"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, shown: str) -> None:
    """A store's repr has scheme, user, hosts and path."""
    store = store_at(url)
    assert repr(store) == f"<{type(store).__name__} {shown}>"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret/1@host",
        "redis://:secret?@host",
        "redis://:12?secret@host",
        "redis://:secret#@host",
        "redis://:secret@1@host",
        "redis://host:secret",
        "postgresql://user:secret/1@host/db",
        "postgresql://host/db?password=secret@1",
        "postgres://host/db#secret",
        "mysql://user:secret@host",
        "host=secret",
        "",
    ],
)
def test_what_is_no_address_is_refused_without_showing_it(url: str) -> None:
    """An address that cannot be read may hold a password anywhere, so nothing of it is shown."""
    with pytest.raises(ConfigurationError, match=r"^account must be an address") as caught:
        store_at(url)
    assert "secret" not in everything_in(caught.value)


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("redis://:password@host", "redis.asyncio", "redis"),
        ("postgresql://user:password@host", "psycopg", "postgres"),
    ],
)
async def test_a_missing_package_is_named_with_its_extra(
    url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first change says what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    store = store_at(url)
    async with store.listen(NAME, checkpoint):
        for _ in range(5):
            await checkpoint()  # nothing to hear
    with pytest.raises(ConfigurationError) as caught:
        await store.change(NAME, increment)
    await store.aclose()
    assert f"Run: pip install 'lipsync-async[{extra}]'" in str(caught.value)
    assert "password@" not in everything_in(caught.value)
