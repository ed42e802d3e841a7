"""How one sandbox is set up, and the limits of an account's plan."""

from __future__ import annotations

from collections import deque

import attrs

from lipsync_async.sandbox.job_progress import Progression

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


_DIGITS = 10  # of the jobs at once that a plan may have
WINDOW_SECONDS = 60.0  # contract section 5.1
CREATES_PER_MINUTE = 60  # contract section 5.1, the lowest documented number
REQUESTS_PER_MINUTE = 600  # contract section 5.1

# Contract section 5.2; `None`: by agreement.
PLANS: dict[str, int | None] = {
    "free": 1,
    "hobbyist": 1,
    "creator": 3,
    "growth": 6,
    "scale": 15,
    "enterprise": None,
}


@attrs.frozen(slots=True)
class Allowance:
    """Hold an account's limits; `None` means that there is none."""

    concurrency: int | None = None
    creates_per_minute: int | None = None
    requests_per_minute: int | None = None


def allowance(plan: str | None) -> Allowance:
    """Return the limits of a plan; `None`: no limits.

    Args:
        plan: One of `PLANS`; `enterprise:40` is an enterprise plan of 40 at once.

    Raises:
        ValueError: There is no such plan.

    """
    if plan is None:
        return Allowance()
    name, _, agreed = plan.partition(":")
    is_number = agreed.isascii() and agreed.isdecimal() and 0 < len(agreed.lstrip("0")) < _DIGITS
    agreement_is_fine = not agreed or (name == "enterprise" and is_number)
    if name not in PLANS or not agreement_is_fine:
        known = ", ".join(PLANS)
        raise ValueError(f"there is no plan {plan!r}; use {known} or enterprise:N.")
    concurrency = int(agreed) if agreed else PLANS[name]
    return Allowance(concurrency, CREATES_PER_MINUTE, REQUESTS_PER_MINUTE)


class MinuteWindow:
    """Admit a number of requests in any sixty seconds.

    Args:
        limit: Requests admitted in a window; `None`: all.

    """

    def __init__(self, limit: int | None) -> None:
        """Start with an empty window."""
        self._limit = limit
        self._admitted: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Return whether a request at `now` passes; only those that pass count."""
        if self._limit is None:
            return True
        while self._admitted and self._admitted[0] <= now - WINDOW_SECONDS:
            self._admitted.popleft()
        if len(self._admitted) >= self._limit:
            return False
        self._admitted.append(now)
        return True
