"""Plans: what an account may do at once, in a minute, in a month, and for how long.

Source: "Rate limits", sync.so guides; "Pricing", sync.so.
"""

from __future__ import annotations

from collections import Counter, deque

import attrs

from lipsync_async.sandbox.clock import Calendar
from lipsync_async.sandbox.server.api_errors import error

# Requests, and in how many seconds, by kind; the lowest numbers that are documented.
RATES: dict[str, tuple[int, float]] = {
    "create": (60, 60.0),
    "request": (600, 60.0),
    "upload": (120, 60.0),
    "speech": (60, 60.0),
    "speech job": (60, 60.0),
    "voice": (10, 3600.0),
    "feedback": (30, 60.0),
}
_DIGITS = 10  # of the jobs at once that a plan may have
_SYNC_3_SECONDS = 15.0  # on the free plan
_REACT_SECONDS = 15.0  # on every plan


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
class Plan:
    """An account's limits; `None` means that there is none."""

    name: str | None = None
    concurrency: int | None = None  # generations at once
    seconds: float | None = None  # of one output
    monthly: dict[str, int] = attrs.field(factory=dict)  # by what is counted
    has_batches: bool = True
    creates_per_minute: int | None = None
    requests_per_minute: int | None = None

    def window(self, rate: str) -> RateWindow:
        """Return what counts the requests of a kind."""
        most, seconds = RATES[rate]
        by_hand = {"create": self.creates_per_minute, "request": self.requests_per_minute}
        return RateWindow(by_hand.get(rate, None if self.name is None else most), seconds)

    def check_seconds(self, model: str, seconds: float) -> None:
        """Refuse an output that is longer than the plan, or the model, allows."""
        if model == "react-1" and seconds > _REACT_SECONDS:
            message = f"react-1 takes {_REACT_SECONDS:g} s at most, not {seconds:.1f}."
            raise error("generation_model_duration_exceeded", message)
        most = _SYNC_3_SECONDS if self.name == "free" and model == "sync-3" else self.seconds
        if most is not None and seconds > most:
            message = f"The plan allows {most:g} s of output, not {seconds:.1f}."
            raise error("generation_plan_duration_exceeded", message)


PLANS: dict[str, Plan] = {
    "free": Plan(
        "free",
        concurrency=1,
        seconds=20.0,
        monthly={"generations": 3, "sync-3 generations": 1, "speeches": 10},
        has_batches=False,
    ),
    "hobbyist": Plan("hobbyist", 1, 60.0, has_batches=False),
    "creator": Plan("creator", 3, 300.0, has_batches=False),
    "growth": Plan("growth", 6, 600.0, has_batches=False),
    "scale": Plan("scale", 15, 1800.0),
    "enterprise": Plan("enterprise"),  # by agreement
}


def plan_of(text: str | None) -> Plan:
    """Return a plan; `None`: no limits."""
    if text is None:
        return Plan()
    name, _, agreed = text.partition(":")
    is_number = agreed.isascii() and agreed.isdecimal() and 0 < len(agreed.lstrip("0")) < _DIGITS
    agreement_is_fine = not agreed or (name == "enterprise" and is_number)
    if name not in PLANS or not agreement_is_fine:
        known = ", ".join(PLANS)
        raise ValueError(f"there is no plan {text!r}; use {known} or enterprise:N.")
    plan = attrs.evolve(
        PLANS[name], creates_per_minute=RATES["create"][0], requests_per_minute=RATES["request"][0]
    )
    return attrs.evolve(plan, concurrency=int(agreed)) if agreed else plan


@attrs.define(slots=True)
class Quota:
    """What an account has used of its plan, month by month."""

    _plan: Plan
    _calendar: Calendar
    used: Counter[tuple[str, str]] = attrs.field(factory=Counter)

    def count(self, what: str) -> int:
        """Return how many of something this month has seen."""
        return self.used[self.month, what]

    @property
    def month(self) -> str:
        """This month, such as `2026-01`."""
        return self._calendar.timestamp()[:7]

    def use(self, *kinds: str) -> None:
        """Use one of each, or refuse if the month has none left of one."""
        for what in kinds:
            most = self._plan.monthly.get(what)
            if most is not None and self.count(what) >= most:
                message = f"The plan's {most} {what} of this month are used up."
                raise error("free_tier_generations_exhausted", message)
        for what in kinds:
            self.used[self.month, what] += 1
