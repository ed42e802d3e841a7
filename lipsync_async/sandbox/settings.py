"""How one sandbox is set up, and the limits of an account's plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import attrs

from lipsync_async.sandbox.job_progress import Progression

_GIB = 1024**3
# Tokens of the real service begin like this; one here is a mistake.
LIVE_KEY_PREFIX = "sk-"
_DIGITS = 10  # of the jobs at once that a plan may have

# Generations at once; `None`: by agreement. Source: "Rate limits", sync.so guides.
PLANS: dict[str, int | None] = {
    "free": 1,
    "hobbyist": 1,
    "creator": 3,
    "growth": 6,
    "scale": 15,
    "enterprise": None,
}


@attrs.frozen(slots=True)
class RateClass:
    """Requests that share one limit on an account with a plan."""

    name: str
    limit: int
    seconds: float = 60.0


# The lowest numbers that are documented. Source: "Rate limits", sync.so guides.
CREATES = RateClass("creates", 60)
OTHERS = RateClass("others", 600)


@attrs.define(slots=True)
class RateWindow:
    """The requests that were admitted of late; `None` as the limit admits all."""

    _limit: int | None
    _seconds: float = 60.0
    _admitted: deque[float] = attrs.field(factory=deque)

    def admit(self, now: float) -> bool:
        """Return whether a request at `now` passes; only those that pass count."""
        if self._limit is None:
            return True
        while self._admitted and self._admitted[0] <= now - self._seconds:
            self._admitted.popleft()
        if len(self._admitted) >= self._limit:
            return False
        self._admitted.append(now)
        return True


@attrs.frozen(slots=True)
class Allowance:
    """An account's limits; `None` means that there is none."""

    concurrency: int | None = None
    creates_per_minute: int | None = None
    requests_per_minute: int | None = None

    def window(self, rate: RateClass) -> RateWindow:
        """Return the empty window of a rate class."""
        others = None if self.requests_per_minute is None else rate.limit
        limits = {CREATES: self.creates_per_minute, OTHERS: self.requests_per_minute}
        return RateWindow(limits.get(rate, others), rate.seconds)


def allowance(plan: str | None) -> Allowance:
    """Return the limits of a plan; `None`: no limits."""
    if plan is None:
        return Allowance()
    name, _, agreed = plan.partition(":")
    is_number = agreed.isascii() and agreed.isdecimal() and 0 < len(agreed.lstrip("0")) < _DIGITS
    agreement_is_fine = not agreed or (name == "enterprise" and is_number)
    if name not in PLANS or not agreement_is_fine:
        known = ", ".join(PLANS)
        raise ValueError(f"there is no plan {plan!r}; use {known} or enterprise:N.")
    concurrency = int(agreed) if agreed else PLANS[name]
    return Allowance(concurrency, CREATES.limit, OTHERS.limit)


def _refuse_live_key(_: object, __: object, api_key: str) -> None:
    if api_key.startswith(LIVE_KEY_PREFIX):
        raise ValueError(
            "this api_key looks like one of the real service; leave it out and use the "
            "sandbox's own.",
        )


def texts(name: str, given: object) -> frozenset[str]:
    """Return a collection of texts; a text alone would be read as its letters, in silence."""
    is_collection = isinstance(given, Iterable) and not isinstance(given, str)
    items: list[Any] = [*given] if is_collection else [None]  # type: ignore[misc]
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f"{name} must be a list of texts, even for a single one.")
    return frozenset(items)


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """Everything that a sandbox is told at its start; `Sandbox` says what it means."""

    seed: int
    api_key: str = attrs.field(repr=False, validator=_refuse_live_key)
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
