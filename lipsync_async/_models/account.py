"""What an account may do, what it has used, and what its generations have cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import attrs

from lipsync_async._models.request import Serializable

FeedbackKind: TypeAlias = Literal[
    "confusing_error", "bug", "missing_capability", "workaround", "docs", "other"
]


@attrs.define(slots=True, kw_only=True)
class Account(Serializable):
    """The organization that a key belongs to, its plan and its balance.

    The service documents the first five fields only. Names inside `plan`, `limits` and
    `balance` are assumed.

    Attributes:
        organization: The organization.
        credential_type: `api_key`, `oauth` or `session`.
        billing_model: `credits`, `usage`, `free` or `enterprise`.
        billing_url: Where to top up, pay or upgrade.
        account: The key's owner; `None`: the key has none.
        plan: The plan.
        limits: What the plan allows.
        balance: What is left of it.
        raw: The whole object as received.

    Source: "Get account", sync.so API reference.
    """

    organization: dict[str, Any] | None = None
    credential_type: str | None = None
    billing_model: str | None = None
    billing_url: str | None = None
    account: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    limits: dict[str, Any] | None = None
    balance: dict[str, Any] | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def concurrent_generations(self) -> int | None:
        """Jobs that may run at once, where the service says it under the assumed name."""
        found = (self.limits or {}).get("concurrency")
        return found if isinstance(found, int) and not isinstance(found, bool) else None


@attrs.define(slots=True, kw_only=True)
class SharedSlot(Serializable):
    """One of the account's slots, as the processes that share them know it.

    Attributes:
        key: The Idempotency-Key of the create.
        generation_id: The job; `None`: the create was not answered yet.
        holder: The process that has sent the create, or has polled the job since: its host, its
            process id and a random part, separated by colons.
        seconds: Seconds since the job was accepted, or, if the create was not answered yet, since
            it got the slot.
        unseen_seconds: Seconds since a process has last noted the job here. After 15, another
            process that lacks a slot asks the service whether the job has ended.
    """

    key: str
    generation_id: str | None
    holder: str
    seconds: float
    unseen_seconds: float


@attrs.define(slots=True, kw_only=True)
class SharedUse(Serializable):
    """What the processes that share the limits of an account use at present.

    Attributes:
        creates: Creates in the last 60 seconds.
        creates_limit: The most in 60 seconds at present: the lowest `Limits` of the processes,
            or fewer after a refusal; `None`: no process has sent any yet, or none has a limit.
        requests: Other requests in the last 60 seconds.
        requests_limit: The most of them, as above.
        slots: The creates under way, and the jobs that run.
        slots_limit: The most jobs at once, from `Limits` or the service; `None`: not known.
    """

    creates: int
    creates_limit: int | None
    requests: int
    requests_limit: int | None
    slots: tuple[SharedSlot, ...]
    slots_limit: int | None


@attrs.define(slots=True, kw_only=True)
class GenerationCosts(Serializable):
    """What a generation has cost, in US dollars of face value.

    Attributes:
        generation_id: The job's id.
        generation_status: Its status.
        currency: `USD`.
        availability: `complete`, `pending`, `partial` or `unavailable`.
        total_cost_usd: The whole; `None` unless `availability` is `complete`.
        known_subtotal_usd: What is known by now; it may be less than the whole.
        retry_after_seconds: When to ask again; `None`: there is nothing to wait for.
        components: What it is made of; their fields are not documented.
        excluded_costs: What is not counted, such as tax.
        raw: The whole object as received.

    Source: "Get generation costs", sync.so API reference.
    """

    generation_id: str
    generation_status: str | None = None
    currency: str | None = None
    availability: str | None = None
    total_cost_usd: Decimal | None = None
    known_subtotal_usd: Decimal | None = None
    retry_after_seconds: float | None = None
    components: list[dict[str, Any]] = attrs.field(factory=list)
    excluded_costs: list[Any] = attrs.field(factory=list)
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


@attrs.define(slots=True, kw_only=True)
class UsageItem(GenerationCosts):
    """Costs of one generation that has ended.

    Attributes:
        created_at: When it was created (UTC).
        finished_at: When it ended (UTC).
        model: Its model.
        api_key: The key that created it; its form is not documented.

    Source: "List usage", sync.so API reference.
    """

    created_at: datetime | None = None
    finished_at: datetime | None = None
    model: str | None = None
    api_key: Any = attrs.field(default=None, repr=False)


@attrs.define(slots=True, kw_only=True)
class ErrorInfo(Serializable):
    """Entry of the service's error catalogue.

    Attributes:
        code: The code, as errors name it.
        message: What it means.
        suggestion: What to do.
        raw: The whole object as received.

    Source: "List errors", sync.so API reference.
    """

    code: str
    message: str | None = None
    suggestion: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
