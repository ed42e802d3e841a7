"""Faults as data: what goes wrong, where and when; and which of them strike a request.

A fault says *what* happens (`kind` and its details), *where* (method and path) and *when*
(skip, every, count, probability). It strikes a request. What it then does depends on its
kind: request faults change that one answer; job faults and webhook faults strike a create
and stay with the job that it made. One seed gives the same strikes in every run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async.sandbox.server.api_errors import concurrency_limit_body, rate_limit_body
from lipsync_async.sandbox.server.shapes import INDEX, SHARE, TEXT, Rule, is_time

if TYPE_CHECKING:
    from collections.abc import Iterator


REQUEST_KINDS = frozenset(
    {
        "status",  # answer `status` with an error body
        "latency",  # answer `seconds` late
        "hang",  # never answer; with `seconds`: cut the connection after them
        "reset_before",  # cut the connection, nothing was done
        "reset_upload",  # cut the connection when half of the request's body has come
        "reset_after",  # do the work, then cut the connection
        "truncate",  # promise the whole body, send half of it
        "content_type",  # send the right body under headers that lie (text/html by default)
        "malformed_json",  # send a success whose body is no JSON
        "slow_body",  # spread the body over `seconds`
        "replace_fields",  # put `fields` over the top level of a success body
        "ignore_wait",  # answer a long poll at once
        "outcome_unknown",  # accept the create, answer 503 IDEMPOTENCY_OUTCOME_UNKNOWN
    }
)
JOB_KINDS = frozenset(
    {
        "fail_job",  # end as FAILED with `code` and `message`
        "stick_job",  # stay in PROCESSING
        "reject_job",  # end as REJECTED with `code` and `message`
        "expire_output",  # complete, but the output's URL answers 403
        "missing_output",  # complete, but the output's URL answers 404
        "truncate_output",  # complete, but the output breaks off in the middle
        "redirect_output",  # complete, the output's URL redirects to another one
    }
)
WEBHOOK_KINDS = frozenset(
    {
        "webhook_delay",  # send it `seconds` late
        "webhook_drop",  # never send it
        "webhook_twice",  # send it again, `seconds` later
        "webhook_out_of_order",  # hold it back so that later jobs overtake it
        "webhook_bad_signature",  # sign it with another secret
        "webhook_stale_time",  # sign it `seconds` in the past
    }
)
KINDS = REQUEST_KINDS | JOB_KINDS | WEBHOOK_KINDS

# Details without which a kind would say nothing.
_NEEDED = {
    "status": "status",
    "latency": "seconds",
    "slow_body": "seconds",
    "replace_fields": "fields",
    "webhook_delay": "seconds",
}


def _read_only(value: Any) -> Any:
    """Copy a mapping; anything else passes on to the check that refuses it."""
    return MappingProxyType(dict(value)) if isinstance(value, Mapping) else value


@attrs.frozen(slots=True)
class Fault:
    """One thing that goes wrong. `ValueError` lists everything wrong with it.

    Args:
        kind: What happens; see `KINDS`.
        method: Strike only requests with this method; `None`: any.
        path: Strike only this path; may be a glob such as `/v2/generate/*`, whose `*`
            also covers slashes; `None`: any.
        status: Status to answer, 200 to 599.
        code: Error code of the answer or of the job.
        message: Error text of the answer or of the job.
        body: Body of the answer: text is sent as it is, anything else as JSON; `None`:
            the service's usual error body.
        headers: Headers added to the answer.
        seconds: How long by the sandbox's clock, for the kinds that take time.
        fields: What `replace_fields` writes over the answer.
        skip: Matching requests that pass before the first strike.
        every: Strike each n-th matching request after those.
        count: How often to strike at most; `None`: always.
        probability: Chance, 0 to 1, that a strike that is due really happens.

    """

    kind: str
    method: str | None = attrs.field(default=None, kw_only=True)
    path: str | None = attrs.field(default=None, kw_only=True)
    status: int | None = attrs.field(default=None, kw_only=True)
    code: str | None = attrs.field(default=None, kw_only=True)
    message: str | None = attrs.field(default=None, kw_only=True)
    body: Any = attrs.field(default=None, kw_only=True)
    headers: Mapping[str, str] = attrs.field(factory=dict, converter=_read_only, kw_only=True)
    seconds: float | None = attrs.field(default=None, kw_only=True)
    fields: Mapping[str, Any] = attrs.field(factory=dict, converter=_read_only, kw_only=True)
    skip: int = attrs.field(default=0, kw_only=True)
    every: int = attrs.field(default=1, kw_only=True)
    count: int | None = attrs.field(default=1, kw_only=True)
    probability: float = attrs.field(default=1.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Refuse a fault that could not strike as it reads."""
        problems = _problems({name: getattr(self, name) for name in _CHECKS})
        if problems:
            raise _refusal(problems)

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is among those that this fault is about.

        A fault of a job or its webhook is about creates of generations, unless it names a path.
        """
        of_job = self.kind not in REQUEST_KINDS
        wanted_method = self.method or ("POST" if of_job else None)
        wanted_path = self.path or ("/v2/generate" if of_job else None)
        return (wanted_method is None or wanted_method.upper() == method.upper()) and (
            wanted_path is None or wanted_path == path or fnmatchcase(path, wanted_path)
        )


def fault_to_json(fault: Fault) -> dict[str, Any]:
    """Return a fault as JSON data, without what it leaves at its default."""
    plain = {
        name: dict(value) if isinstance(value, Mapping) else value
        for name in _CHECKS
        if (value := getattr(fault, name)) != getattr(_UNCHANGED, name)
    }
    return {"kind": fault.kind, **plain}


def faults_from_json(data: Any) -> tuple[Fault, ...]:
    """Return the faults that JSON data describes: one, or a list."""
    items = data if isinstance(data, list) else [data]
    problems = [
        f"[{index}].{problem}" if items is data else problem
        for index, item in enumerate(items)
        for problem in _json_problems(item)
    ]
    if problems:
        raise _refusal(problems)
    return tuple(Fault(**item) for item in items)


def _refusal(problems: list[str]) -> ValueError:
    listed = "".join(f"\n  {problem}" for problem in problems)
    return ValueError(f"this fault cannot be used; correct:{listed}")


def _json_problems(data: Any) -> list[str]:
    if not isinstance(data, dict):
        return [f"fault: must be a JSON object, not {data!r:.60}"]
    unknown = [f"{name}: no such field" for name in data if name not in _CHECKS]
    missing = [] if "kind" in data else ["kind: is missing"]
    known = {name: value for name, value in data.items() if name in _CHECKS}
    return unknown + missing + _problems(known)


def _problems(values: Mapping[str, Any]) -> list[str]:
    wrong = [
        f"{name}: must be {rule.demand}, not {values[name]!r:.60}"
        for name, rule in _CHECKS.items()
        if name in values and not rule.is_fine(values[name])
    ]
    kind = values.get("kind")
    needed = _NEEDED.get(kind) if isinstance(kind, str) else None
    if needed is not None and values.get(needed) in (None, {}):
        wrong.append(f"{needed}: a fault of kind {kind!r} needs it")
    return wrong


def _is_whole(value: Any, lowest: int, highest: float = math.inf) -> bool:
    return INDEX.is_fine(value) and lowest <= value <= highest


def _is_headers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(text, str) and not {"\r", "\n"} & {*name, *text}
        for name, text in value.items()
    )


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _or_none(is_fine: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_fine(value)


_TEXT = Rule(_or_none(TEXT.is_fine), "text or null")
_LONGEST_SECONDS = 86_400.0  # no test waits for more than a day

_CHECKS: Mapping[str, Rule] = {
    "kind": Rule(
        lambda value: isinstance(value, str) and value in KINDS,
        f"one of {', '.join(sorted(KINDS))}",
    ),
    "method": _TEXT,
    "path": _TEXT,
    "status": Rule(_or_none(lambda value: _is_whole(value, 200, 599)), "a status from 200 to 599"),
    "code": _TEXT,
    "message": _TEXT,
    "body": Rule(_is_json, "text or JSON data"),
    "headers": Rule(_is_headers, "an object of one-line texts"),
    "seconds": Rule(
        _or_none(lambda value: is_time(value) and value <= _LONGEST_SECONDS),
        f"a number from 0 to {_LONGEST_SECONDS:g}",
    ),
    "fields": Rule(lambda value: isinstance(value, Mapping) and _is_json(dict(value)), "an object"),
    "skip": Rule(INDEX.is_fine, "a whole number, at least 0"),
    "every": Rule(lambda value: _is_whole(value, 1), "a whole number, at least 1"),
    "count": Rule(
        _or_none(lambda value: _is_whole(value, 1)), "a whole number, at least 1, or null"
    ),
    "probability": Rule(SHARE.is_fine, "a number from 0 to 1"),
}

_UNCHANGED = Fault("hang")


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

    Source: "Rate limits", sync.so guides.
    """
    return Fault(
        "status",
        method=method,
        path=path,
        status=429,
        body=rate_limit_body(),
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

    Source: "Rate limits", sync.so guides.
    """
    running = limit if active is None else active
    return Fault(
        "status",
        method="POST",
        path=path,
        status=429,
        body=concurrency_limit_body(limit, running, retry_after_seconds),
        count=count,
    )


@attrs.define(slots=True)
class _Armed:
    """A fault with the requests that it has seen."""

    fault: Fault
    chance: Random
    matched: int = 0
    struck: int = 0

    def strikes(self, method: str, path: str) -> bool:
        """Count this request and return whether the fault strikes it."""
        if not self.fault.matches(method, path):
            return False
        self.matched += 1
        turn = self.matched - self.fault.skip
        is_used_up = self.fault.count is not None and self.struck >= self.fault.count
        if turn <= 0 or turn % self.fault.every or is_used_up:
            return False
        if self.fault.probability < 1 and self.chance.random() >= self.fault.probability:
            return False
        self.struck += 1
        return True


class Faults:
    """The faults of one sandbox, and which of them strike a request.

    Args:
        seed: Decides the strikes of faults with a probability.

    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._armed: list[_Armed] = []

    def add(self, fault: Fault) -> Fault:
        """Arm a fault and return it.

        Raises:
            TypeError: It is no `Fault`.

        """
        if not issubclass(type(fault), Fault):
            raise TypeError(f"a fault is a Fault(kind, ...), not {fault!r}.")
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
        try:
            ordered = faults_from_json(json.loads(header)) if header is not None else ()
        except (json.JSONDecodeError, RecursionError) as error:
            raise _refusal([f"x-sandbox-fault: no JSON ({error})"]) from None
        if not self._armed:
            return ordered
        struck = tuple(armed.fault for armed in self._armed if armed.strikes(method, path))
        return struck + ordered

    def strike_job(self, path: str) -> tuple[Fault, ...]:
        """Count one job that comes without a create of its own, and return what strikes it.

        Args:
            path: Where it would be created by itself.

        """
        lasting = [armed for armed in self._armed if armed.fault.kind not in REQUEST_KINDS]
        return tuple(armed.fault for armed in lasting if armed.strikes("POST", path))

    def to_json(self) -> list[dict[str, Any]]:
        """Return each fault with the numbers of requests it matched and struck."""
        return [
            {**fault_to_json(armed.fault), "matched": armed.matched, "struck": armed.struck}
            for armed in self._armed
        ]
