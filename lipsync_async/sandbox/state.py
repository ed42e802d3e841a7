"""What one sandbox is told and holds, which its handlers work on; the limits of plans."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Any
from uuid import UUID

import attrs

from lipsync_async.sandbox.clock import Calendar, Clock
from lipsync_async.sandbox.faults import Faults
from lipsync_async.sandbox.files import Folder, HostedFiles, SignedUrls
from lipsync_async.sandbox.jobs import JobRunner, JobTable, Progression, Renderer
from lipsync_async.sandbox.request_log import RequestLog
from lipsync_async.sandbox.server.idempotency import IdempotencyKeys
from lipsync_async.sandbox.webhooks import Inbox

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


def texts(name: str, given: object) -> frozenset[str]:
    """Return a collection of texts; a text alone would be read as its letters, in silence."""
    is_collection = isinstance(given, Iterable) and not isinstance(given, str)
    items: list[Any] = [*given] if is_collection else [None]  # type: ignore[misc]
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f"{name} must be a list of texts, even for a single one.")
    return frozenset(items)


@attrs.define(slots=True, kw_only=True)
class State:
    """The settings and the parts of one sandbox; `Sandbox` says what the settings mean."""

    api_key: str = attrs.field(repr=False)
    webhook_secret: str = attrs.field(repr=False)
    progression: Progression
    allowance: Allowance
    allowed_hosts: frozenset[str]
    max_file_bytes: int
    plan_file_bytes: int | None
    retry_after_seconds: float
    projects: frozenset[str]
    folder: Folder  # of uploads and results; gone when the sandbox is
    clock: Clock
    calendar: Calendar
    chance: Random
    durations: Random  # apart from `chance`: one seed gives the same ids however jobs move along
    jobs: JobTable
    runner: JobRunner
    renderer: Renderer
    urls: SignedUrls
    files: HostedFiles
    faults: Faults
    requests: RequestLog
    inbox: Inbox
    idempotency: IdempotencyKeys = attrs.field(factory=IdempotencyKeys)
    creates: RateWindow = attrs.field(init=False)
    others: RateWindow = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.creates = RateWindow(self.allowance.creates_per_minute)
        self.others = RateWindow(self.allowance.requests_per_minute)

    def new_id(self) -> str:
        """Return the seed's next UUID."""
        return str(UUID(int=self.chance.getrandbits(128), version=4))
