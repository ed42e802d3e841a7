"""Account stores: where processes keep the limits that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async._stores.protocol import AccountStore


def store_at(url: str) -> AccountStore:
    """Return the store at an address; nothing is connected yet.

    Raises:
        ConfigurationError: It is no address of a store.

    """
    from lipsync_async._stores.postgres import PostgresAccountStore  # noqa: PLC0415 - rarely used
    from lipsync_async._stores.redis import RedisAccountStore  # noqa: PLC0415

    scheme = url.partition("://")[0]
    for kind in (RedisAccountStore, PostgresAccountStore):
        if scheme in kind.SCHEMES:
            return kind(url)
    raise ConfigurationError(
        "account must be an address that begins with redis://, rediss://, unix://, postgresql:// "
        "or postgres://; this one begins otherwise"
    )


def store_of(
    account: object, environment: Mapping[str, str]
) -> tuple[AccountStore | None, list[str]]:
    """Return the store that an argument or the environment names, and what is wrong with it."""
    chosen = environment.get("SYNC_ACCOUNT", "") if account is None else account
    if isinstance(chosen, str):
        try:
            return (store_at(chosen) if chosen else None), []
        except ConfigurationError as error:
            name = "SYNC_ACCOUNT" if account is None else "account"
            return None, [f"{name}{str(error).removeprefix('account')}"]
    if all(callable(getattr(chosen, name, None)) for name in ("change", "listen", "aclose")):
        return chosen, []  # type: ignore[return-value]
    kind = type(chosen).__name__
    return None, [
        f"account must be an address such as 'redis://host:6379/0' or a store, not {kind}"
    ]
