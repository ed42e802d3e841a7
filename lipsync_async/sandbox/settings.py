"""How one sandbox is set up, as a frozen value."""

from __future__ import annotations

import attrs

from lipsync_async.sandbox.rules.limits import Allowance
from lipsync_async.sandbox.rules.progression import Progression

_GIB = 1024**3
# Tokens of the real service begin like this; one here is somebody's mistake.
LIVE_KEY_PREFIX = "sk-"


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """Hold everything that a sandbox is told at its start.

    Attributes:
        seed: Decides ids, keys and chances.
        api_key: The only key that is let in.
        webhook_secret: Signs webhooks.
        progression: How jobs move along unless their create says otherwise.
        allowance: The account's limits.
        speed: Sandbox seconds in a real second.
        renders: Whether real media are made.
        allowed_hosts: Hosts besides loopback from which media are fetched.
        link_lifetime: Sandbox seconds that an output URL works; `None`: for ever.
        placeholder_size: Bytes of the output where nothing is rendered.
        max_file_bytes: Most bytes of one uploaded or fetched file (contract section 2.5).
        plan_file_bytes: Most bytes of one uploaded file on this plan; `None`: no limit.
        retry_after_seconds: Sandbox seconds that a create over the concurrency limit is
            advised to wait.
        projects: Ids of the organization's projects.

    """

    seed: int
    api_key: str = attrs.field(repr=False)
    webhook_secret: str = attrs.field(repr=False)
    progression: Progression
    allowance: Allowance
    speed: float = 1.0
    renders: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    link_lifetime: float | None = None
    placeholder_size: int = 1024
    max_file_bytes: int = 5 * _GIB
    plan_file_bytes: int | None = None
    retry_after_seconds: float = 30.0
    projects: frozenset[str] = frozenset()
