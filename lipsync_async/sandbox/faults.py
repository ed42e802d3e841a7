"""Which faults strike which request, counted and seeded.

Everything here is decided, nothing is done: no clock, no socket. One seed gives the same
strikes in every run.
"""

from __future__ import annotations

import json
from http.client import responses
from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async.sandbox.fault import (
    JOB_KINDS,
    KINDS,
    REQUEST_KINDS,
    WEBHOOK_KINDS,
    Fault,
    fault_from_json,
    fault_to_json,
    faults_from_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "JOB_KINDS",
    "KINDS",
    "REQUEST_KINDS",
    "WEBHOOK_KINDS",
    "Fault",
    "Faults",
    "concurrency_limited",
    "error_answer",
    "fault_from_json",
    "fault_to_json",
    "rate_limited",
]

_OUTCOME_UNKNOWN_CODE = "IDEMPOTENCY_OUTCOME_UNKNOWN"  # contract section 4.4


def rate_limited(
    retry_after: float | None = None,
    *,
    method: str | None = None,
    path: str | None = None,
    count: int | None = 1,
) -> Fault:
    """Return the fault of too many requests in a minute.

    Args:
        retry_after: The `Retry-After` header, as it is at any speed; `None`: send none.
        method: Strike only this method; `None`: any.
        path: Strike only this path or glob; `None`: any.
        count: How often to strike at most; `None`: always.

    Source: contract section 4.1.
    """
    return Fault(
        "status",
        method=method,
        path=path,
        status=429,
        body={
            "statusCode": 429,
            "errorCode": "rate_limit_exceeded",
            "message": "Rate limit exceeded. Please try again later.",
            "error": "Too Many Requests",
        },
        headers={} if retry_after is None else {"Retry-After": f"{retry_after:g}"},
        count=count,
    )


def concurrency_limited(
    limit: int,
    active: int | None = None,
    retry_after_seconds: float | None = 30,
    *,
    path: str | None = "/v2/generate",
    count: int | None = 1,
) -> Fault:
    """Return the fault of a create when all slots of the plan are taken.

    Args:
        limit: Generations that the plan runs at once.
        active: Generations running now; `None`: as many as the limit.
        retry_after_seconds: Advice in the body, as it is at any speed; `None`: give none.
        path: Strike only POSTs to this path or glob; `None`: any.
        count: How often to strike at most; `None`: always.

    Source: contract sections 4.1 and 5.2.
    """
    generations = "1 generation" if limit == 1 else f"{limit} generations"
    advice = {} if retry_after_seconds is None else {"retryAfterSeconds": retry_after_seconds}
    return Fault(
        "status",
        method="POST",
        path=path,
        status=429,
        body={
            "statusCode": 429,
            "errorCode": "concurrency_limit_reached",
            "message": f"Concurrency limit reached: {generations} may run at once.",
            "activeGenerations": limit if active is None else active,
            "concurrencyLimit": limit,
            **advice,
            "upgradeUrl": "https://sync.so/pricing",
        },
        count=count,
    )


def error_answer(fault: Fault) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer that a fault gives.

    Made for `status` and `outcome_unknown`, which answer instead of the service.
    """
    unknown = fault.kind == "outcome_unknown"
    status = fault.status or (503 if unknown else 500)
    code = fault.code or (_OUTCOME_UNKNOWN_CODE if unknown else None)
    phrase = responses.get(status, "Error")
    if isinstance(fault.body, str):
        body, content_type = fault.body, _type_of_text(fault.body)
    else:
        usual = {"statusCode": status, "message": fault.message or phrase, "error": phrase}
        coded = usual if code is None else {**usual, "errorCode": code}
        body = json.dumps(coded if fault.body is None else fault.body, ensure_ascii=False)
        content_type = "application/json; charset=utf-8"
    headers = {"Content-Type": content_type, **fault.headers}
    if any(name.lower() == "content-type" for name in fault.headers):
        headers = dict(fault.headers)
    return status, headers, body.encode()


def _type_of_text(text: str) -> str:
    kind = "html" if text.lstrip().startswith("<") else "plain"
    return f"text/{kind}; charset=utf-8"


@attrs.define(slots=True)
class _Armed:
    """Count the requests that one registered fault has seen."""

    fault: Fault
    chance: Random
    matched: int = 0
    struck: int = 0

    def strikes(self, method: str, path: str) -> bool:
        """Count this request and return whether the fault strikes it."""
        if not self.fault.matches(method, path):
            return False
        self.matched += 1
        if not self._is_due():
            return False
        if self.fault.probability < 1 and self.chance.random() >= self.fault.probability:
            return False
        self.struck += 1
        return True

    def _is_due(self) -> bool:
        turn = self.matched - self.fault.skip
        is_used_up = self.fault.count is not None and self.struck >= self.fault.count
        return turn > 0 and turn % self.fault.every == 0 and not is_used_up


class Faults:
    """Keep the faults of one sandbox and tell which strike a request.

    Args:
        seed: Decides the strikes of faults with a probability.

    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._armed: list[_Armed] = []

    def add(self, fault: Fault) -> Fault:
        """Arm a fault and return it."""
        # A generator of its own keeps a fault's strikes the same whatever is added later.
        chance = Random(f"{self._seed}/{len(self._armed)}")
        self._armed.append(_Armed(fault, chance))
        return fault

    def clear(self) -> None:
        """Forget every fault and its counts."""
        self._armed.clear()

    def __iter__(self) -> Iterator[Fault]:
        return iter([armed.fault for armed in self._armed])

    def __len__(self) -> int:
        return len(self._armed)

    def __repr__(self) -> str:
        return f"<Faults {len(self)} armed>"

    def strike(self, method: str, path: str, *, header: str | None = None) -> tuple[Fault, ...]:
        """Count one request and return the faults that strike it, in the order added.

        Args:
            method: The request's method.
            path: The request's path, without its query.
            header: Value of its `x-sandbox-fault` header: a fault as JSON, or a list of
                them. These come last and strike this request, whatever their conditions.

        Raises:
            ValueError: The header cannot be read; every problem is listed.

        """
        ordered = faults_from_header(header) if header is not None else ()
        if not self._armed:
            return ordered
        struck = tuple(armed.fault for armed in self._armed if armed.strikes(method, path))
        return struck + ordered

    def to_json(self) -> list[dict[str, Any]]:
        """Return each fault with the numbers of requests it matched and struck."""
        return [
            {**fault_to_json(armed.fault), "matched": armed.matched, "struck": armed.struck}
            for armed in self._armed
        ]
