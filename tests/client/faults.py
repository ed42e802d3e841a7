"""What can go wrong between a client and its service: one case a row.

A row says what a client makes of the fault when it strikes once, and when it never
ends. `None` is success; anything else is the documented error.
"""

from collections.abc import Iterator
from typing import Any

import attrs

from lipsync_async import (
    ConcurrencyLimitError,
    ConnectError,
    ConnectionLostError,
    DecodeError,
    LipsyncError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)
from lipsync_async.sandbox.faults import Fault, concurrency_limited, rate_limited

_HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
# A MiB. An answer may have 32 of them, an error's page one.
_BLANKS = " " * (1 << 20)

# The verbs that a fault can hit, by what it needs of the answer.
_ALL = ("create", "get", "list", "wait", "download", "delete")
_JSON = ("create", "get", "list", "wait")
_CREATE = ("create",)


@attrs.frozen
class FaultCase:
    """One row of the matrix."""

    name: str
    fault: Fault
    lasting: type[LipsyncError] | None  # what comes of it when it never ends
    once: type[LipsyncError] | None = None  # and when it strikes once
    in_memory: type[LipsyncError] | None = None  # `lasting` without sockets, where it tells more
    verbs: tuple[str, ...] = _ALL
    timeout: float | None = None  # seconds for each try; `None`: more than are needed
    is_slow: bool = False  # takes longer than a test over sockets may

    def outcome(self, door: str, *, lasts: bool) -> type[LipsyncError] | None:
        """Return the documented error, or `None` for success."""
        if not lasts:
            return self.once
        return self.in_memory if door == "memory" and self.in_memory else self.lasting


def _changed(**fields: Any) -> Fault:
    return Fault("replace_fields", fields=fields)


def _status(status: int, **details: Any) -> Fault:
    return Fault("status", status=status, **details)


def _told(seconds: str, status: int = 429) -> Fault:
    return _status(status, headers={"Retry-After": seconds})


def _full(name: str, seconds: float | None) -> FaultCase:
    fault = concurrency_limited(3, retry_after_seconds=seconds)
    return FaultCase(name, fault, ConcurrencyLimitError, verbs=_CREATE, is_slow=True)


# Statuses above 499 that mean that nothing was done; of all others the outcome is unknown.
_FINAL = (501, 505)
_UNKNOWN = (504, 506, 507, 508, 510, 511, 520, 524, 530, 561, 598, 599)
# What no pause can be, and what no service can mean.
_NO_PAUSES = ("-1", "-86400", "nan", "inf", "-inf", "soon", "", "9" * 5000, "1e999", "0x10")
_ENDLESS = ("86400", "31536000", "30000", "1e300", "9" * 300)


FAULT_CASES = (
    FaultCase("500", _status(500), ServerError),
    FaultCase("502-html", _status(502, body=_HTML), ServerError),
    FaultCase("503", _status(503), ServerError),
    FaultCase("429-rate", rate_limited(), RateLimitError),
    FaultCase("429-rate-with-retry-after", rate_limited(0.002), RateLimitError),
    _full("429-slots", None),
    _full("429-slots-with-retry-after", 30),
    FaultCase("reset-before", Fault("reset_before"), ConnectionLostError, in_memory=ConnectError),
    FaultCase("reset-after", Fault("reset_after"), ConnectionLostError),
    FaultCase("hang", Fault("hang"), RequestTimeoutError, timeout=0.05),
    FaultCase("late", Fault("latency", seconds=0.3), RequestTimeoutError, timeout=0.05),
    FaultCase("truncated", Fault("truncate"), ConnectionLostError),
    FaultCase("slow-body", Fault("slow_body", seconds=0.02), None),
    FaultCase("wrong-content-type", Fault("content_type"), None),
    FaultCase("malformed-json", Fault("malformed_json"), DecodeError, verbs=_JSON),
    FaultCase("empty-body", _status(200, body=""), DecodeError, verbs=_JSON),
    FaultCase("html-success", _status(200, body=_HTML), DecodeError, verbs=_JSON),
    FaultCase("wrong-types", _changed(id=7), DecodeError, DecodeError, verbs=_JSON),
    FaultCase("unknown-status", _changed(status="DREAMING"), None, verbs=_JSON[:3]),
    FaultCase("unknown-enum", _changed(options={"sync_mode": "sideways"}), None, verbs=_JSON),
    FaultCase("unknown-input", _changed(input=[{"type": "hologram", "x": 1}]), None, verbs=_JSON),
    FaultCase("unknown-field", _changed(mood={"deep": [1]}), None, verbs=_JSON),
    FaultCase(
        "too-long",
        _changed(blanks=_BLANKS * 33),
        DecodeError,
        DecodeError,
        verbs=("create", "get"),
        is_slow=True,
    ),
    FaultCase(
        "too-long-page", _status(502, body=_BLANKS * 2), ServerError, verbs=("create", "get")
    ),
    FaultCase("outcome-unknown", Fault("outcome_unknown"), None, verbs=_CREATE),
    FaultCase(
        "outcome-unknown-nameless",
        Fault("outcome_unknown", body={"errorCode": "IDEMPOTENCY_OUTCOME_UNKNOWN"}),
        ServerError,
        verbs=_CREATE,
    ),
    FaultCase("another-job", _changed(id="another"), DecodeError, verbs=("get", "wait")),
    *(FaultCase(f"{status}", _status(status), ServerError, is_slow=True) for status in _UNKNOWN),
    *(
        FaultCase(f"{status}", _status(status), ServerError, ServerError, is_slow=True)
        for status in _FINAL
    ),
    *(
        FaultCase(f"429-after-{told:.9}", _told(told), RateLimitError, is_slow=True)
        for told in _NO_PAUSES
    ),
    # A call that has less patience than it is told to have gives up at once.
    *(
        FaultCase(f"429-after-{told:.9}", _told(told), RateLimitError, RateLimitError, is_slow=True)
        for told in _ENDLESS
    ),
    *(
        FaultCase(f"503-after-{told:.9}", _told(told, 503), ServerError, ServerError, is_slow=True)
        for told in _ENDLESS
    ),
    *(_full(f"429-slots-after-{told:.9}", float(told)) for told in _ENDLESS),
)


def cases() -> Iterator[tuple[FaultCase, str, str]]:
    """Yield every case with each verb that it can hit and each door that can show it."""
    for case in FAULT_CASES:
        for verb in case.verbs:
            yield case, verb, "memory"
            if not case.is_slow:
                yield case, verb, "sockets"
                yield case, verb, "blocking"
