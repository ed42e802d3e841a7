"""The sandbox in which commands try many jobs, and a client of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async._async.client import AsyncClient
from lipsync_async._values.policies import Limits
from lipsync_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SLOTS = 15  # of the largest plan (contract section 5.2)


def trial_sandbox(allowed_hosts: Iterable[str] = ()) -> Sandbox:
    """Return a sandbox that renders, with the slots of the largest plan.

    Args:
        allowed_hosts: Hosts besides loopback from which media may be fetched.

    """
    return Sandbox(concurrency=SLOTS, allowed_hosts=allowed_hosts)


def connect(
    sandbox: Sandbox,
    limits: Mapping[str, int | None] | None = None,
    *,
    timeout: float | None = 60.0,
) -> AsyncClient:
    """Return a client that finds out about the slots; requests a minute are not limited.

    Args:
        sandbox: Where it goes.
        limits: Arguments of `Limits` that shall hold all the same.
        timeout: Seconds for one try of one request; `None`: no limit.

    """
    none = {"creates_per_minute": None, "requests_per_minute": None}
    bounds = Limits(**none | dict(limits or {}))
    return AsyncClient(sandbox.api_key, base_url=sandbox.url, limits=bounds, timeout=timeout)
