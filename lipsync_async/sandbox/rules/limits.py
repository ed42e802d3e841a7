"""How many requests a minute and how many generations at once an account may have."""

from __future__ import annotations

from collections import deque

import attrs

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
