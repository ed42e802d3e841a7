"""Stores of the account's limits: each promise holds in memory, in Redis and in PostgreSQL."""

from collections.abc import Iterator

import pytest

from lipsync_async import AccountStore, MemoryAccountStore
from lipsync_async._stores import store_at
from tests.servers import Server, emptied

NAME = "lipsync:0123456789abcdef:create"


@pytest.fixture(scope="session", params=["memory", "redis", "postgres"])
def _server(request: pytest.FixtureRequest) -> Server | None:
    if request.param == "memory":
        return None
    return request.getfixturevalue(f"_{request.param}_server")  # type: ignore[no-any-return]


@pytest.fixture
def store(_server: Server | None) -> Iterator[AccountStore]:
    """Give a store of each kind, without documents."""
    if _server is None:
        yield MemoryAccountStore()
        return
    with emptied(_server):
        yield store_at(_server.url)


def increment(document: bytes | None, now: float) -> tuple[bytes, int]:
    """Count one more."""
    count = int(document or b"0") + 1
    return b"%d" % count, count


async def test_a_rule_that_raises_changes_nothing(store: AccountStore) -> None:
    """What a rule raises is passed on, and the document stays as it was."""

    def rule(document: bytes | None, now: float) -> tuple[bytes, None]:
        raise TimeoutError("the rule's own")

    with pytest.raises(TimeoutError, match="the rule's own"):
        await store.change(NAME, rule)
    assert await store.change(NAME, increment) == 1
    with pytest.raises(TimeoutError, match="the rule's own"):
        await store.change(NAME, rule)
    assert await store.change(NAME, increment) == 2
    await store.aclose()
    assert await store.change(NAME, increment) == 3
    await store.aclose()
