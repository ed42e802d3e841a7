"""What only the store in Redis meets: changes that come between, and users without rights."""

import pytest
import redis
from anyio.lowlevel import checkpoint

from lipsync_async import AccountStoreError
from lipsync_async._stores import store_at
from tests.servers import RedisServer
from tests.stores.test_stores import NAME, increment


async def test_a_rule_is_called_again_after_a_change_that_came_between(
    redis_server: RedisServer,
) -> None:
    """The last call has the newest document, and it alone counts."""
    store, seen = store_at(redis_server.url), list[bytes | None]()
    with redis.Redis.from_url(redis_server.url) as other:

        def rule(document: bytes | None, now: float) -> tuple[bytes, int]:
            seen.append(document)
            if len(seen) < 3:
                other.hset(NAME, mapping={"version": f"v{len(seen)}", "document": len(seen) * 10})
            return increment(document, now)

        assert await store.change(NAME, rule) == 21
    assert seen == [None, b"10", b"20"]
    await store.aclose()


async def test_a_key_that_is_no_document_is_told(redis_server: RedisServer) -> None:
    """What another program has stored under the name is left alone; the error names it."""
    store = store_at(redis_server.url)
    assert await store.change("other", increment) == 1
    with redis.Redis.from_url(redis_server.url) as other:
        other.set(NAME, "not ours")
        with pytest.raises(AccountStoreError, match="WRONGTYPE"):
            await store.change(NAME, increment)
        assert other.get(NAME) == b"not ours"
    assert await store.change("other", increment) == 2
    await store.aclose()


async def test_a_document_is_deleted_after_one_day(redis_server: RedisServer) -> None:
    """Each change puts the end off."""
    store = store_at(redis_server.url)
    await store.change(NAME, increment)
    with redis.Redis.from_url(redis_server.url) as other:
        other.persist(NAME)
        await store.change(NAME, increment)
        assert 86_300_000 < int(str(other.pttl(NAME))) <= 86_400_000
    await store.aclose()


async def test_a_user_who_may_not_tell_or_hear(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Changes work, and one log record says that there will be no news."""
    with redis.Redis.from_url(redis_server.url) as owner:
        owner.acl_setuser(
            "guest",
            enabled=True,
            passwords=[f"+{redis_server.secret}"],
            keys=["*"],
            channels=[],
            reset_channels=True,
            commands=["+@all"],
        )
        store = store_at(redis_server.url.replace("//:", "//guest:"))
        async with store.listen(NAME, checkpoint):
            while not caplog.records:
                await checkpoint()
            assert await store.change(NAME, increment, tells=True) == 1
        await store.aclose()
        owner.acl_deluser("guest")
    (record,) = caplog.records
    assert "sends no notifications (NoPermissionError: " in record.message
