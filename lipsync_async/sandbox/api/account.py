"""The account: its plan and what is left of it, the webhook secret, feedback.

Source: "Get account", "Webhook secret", "Send feedback", sync.so API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from lipsync_async.sandbox.api.costs import billed
from lipsync_async.sandbox.api.query import choice
from lipsync_async.sandbox.server.api_errors import malformed
from lipsync_async.sandbox.server.messages import JSON_BODY
from lipsync_async.sandbox.server.pipeline import Resource
from lipsync_async.sandbox.server.shapes import TEXT, Shape, checked, one_of

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State

_MASKED = "whsec_********"  # signs nothing
_KINDS = ("confusing_error", "bug", "missing_capability", "workaround", "docs", "other")
_FEEDBACK = Shape(
    {
        "kind": one_of(_KINDS),
        "message": TEXT,
        "tool": TEXT,
        "jobId": TEXT,
        "severity": TEXT,
        "errorCode": TEXT,
        "generationId": TEXT,
    },
    frozenset({"kind", "message"}),
)


@attrs.frozen(slots=True, eq=False)
class Report:
    """One piece of feedback."""

    NOUN: ClassVar[str] = "Feedback"
    NOT_FOUND: ClassVar[str | None] = None

    id: str
    fields: Mapping[str, Any]


account: Resource = Resource("/v2/account")
organization: Resource = Resource("/v2/organizations")
feedback: Resource = Resource("/v2/feedback")


@account.route("GET")
def get(state: State, _: Request) -> Any:
    """Answer with the plan, its limits, and what this month has used of them.

    The names in `plan`, `limits` and `balance` are assumed; the service's are not documented.
    """
    plan, quota = state.plan, state.quota
    used = {"generations": quota.count("generations"), "textToSpeech": quota.count("speeches")}
    most = {
        "generations": plan.monthly.get("generations"),
        "textToSpeech": plan.monthly.get("speeches"),
    }
    year, month = map(int, quota.month.split("-"))
    reset = f"{year + month // 12}-{month % 12 + 1:02}-01T00:00:00.000Z"
    monthly = {name: {"used": used[name], "max": most[name]} for name in used}
    is_free = plan.name == "free"
    return {
        "account": None,  # the key has no owner
        "organization": {"id": "00000000-0000-4000-8000-000000000000", "name": "Sandbox"},
        "credentialType": "api_key",
        "billingModel": "free" if is_free else "usage",
        "billingUrl": "https://sync.so/billing",
        "plan": {"name": plan.name or "unlimited"},
        "limits": {"concurrency": plan.concurrency, "maxDurationSeconds": plan.seconds},
        "balance": {
            "credits": None,
            "freeMonthlyLimits": {**monthly, "monthlyResetDate": reset} if is_free else None,
            "usage": None if is_free else _usage(state),
        },
    }


def _usage(state: State) -> dict[str, Any]:
    bills = [billed(job) for job in state.jobs]
    return {
        "totalCostCents": round(sum(price or 0.0 for _, price in bills) * 100),
        "totalFrames": sum(frames for frames, _ in bills),
        "totalTtsSeconds": round(sum(seconds for _, seconds in state.scripts.values()), 3),
    }


@organization.route("GET", "/webhook/secret")
def webhook_secret(state: State, request: Request) -> Any:
    """Answer with the signing secret, or with a masked one that signs nothing."""
    is_masked = choice(request.query, "masked", ("true", "false"), "false") == "true"
    return {"secret": _MASKED if is_masked else state.webhook_secret}


@feedback.route("POST", body=JSON_BODY, status=201, rate="feedback")
def report(state: State, request: Request) -> Any:
    """Keep a report; unlike elsewhere, unknown fields are refused."""
    body = checked(_FEEDBACK, request.data)
    if unknown := sorted(body.keys() - _FEEDBACK.fields):
        raise malformed([f"property {name} should not exist" for name in unknown])
    return {"id": state.table(Report).add(Report(state.new_id(), body)).id}
