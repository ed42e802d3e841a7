"""What a sandbox may be told, and the limits of an account's plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import attrs

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


# Requests a minute, the lowest numbers that are documented.
# Source: "Rate limits", sync.so guides.
_CREATES, _OTHERS = 60, 600


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
    return Allowance(concurrency, _CREATES, _OTHERS)


def checked_key(api_key: str) -> str:
    """Return an API key, unless it looks like one of the real service."""
    if api_key.startswith(LIVE_KEY_PREFIX):
        raise ValueError(
            "this api_key looks like one of the real service; leave it out and use the "
            "sandbox's own.",
        )
    return api_key


def texts(name: str, given: object) -> frozenset[str]:
    """Return a collection of texts; a text alone would be read as its letters, in silence."""
    is_collection = isinstance(given, Iterable) and not isinstance(given, str)
    items: list[Any] = [*given] if is_collection else [None]  # type: ignore[misc]
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f"{name} must be a list of texts, even for a single one.")
    return frozenset(items)
