"""What the faults that strike a request do to its answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio

from lipsync_async.sandbox.faults import error_answer
from lipsync_async.sandbox.server.messages import JSON, Cut, Outgoing, dump

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.faults import Fault


_LYING_TYPE = "text/html; charset=utf-8"
_FIRST_ERROR_STATUS = 400


async def spoil_before(faults: Iterable[Fault], clock: Clock) -> Outgoing | None:
    """Do what comes before the work; an answer that is returned replaces the work.

    Raises:
        Cut: The connection is to be cut and nothing was done.

    """
    replaced = None
    for fault in faults:
        if fault.kind == "reset_before":
            raise Cut(was_handled=False)
        if fault.kind == "hang":
            await _hang(fault, clock)
        if fault.kind == "status":
            replaced = _instead(fault)
    return replaced


async def spoil_after(faults: Iterable[Fault], outgoing: Outgoing, clock: Clock) -> Outgoing:
    """Do what comes after the work, in the order of the faults.

    A late answer was worked out at once: who gives up on it has been served all the same.

    Raises:
        Cut: The connection is to be cut although the work was done.

    """
    for fault in faults:
        if fault.kind == "latency":
            await clock.sleep(fault.seconds or 0.0)
        elif fault.kind == "reset_after":
            raise Cut(was_handled=True)
        elif fault.kind in _CHANGES:
            outgoing = _CHANGES[fault.kind](fault, outgoing)
    return outgoing


async def _hang(fault: Fault, clock: Clock) -> None:
    if fault.seconds is None:
        await anyio.sleep_forever()
    else:
        await clock.sleep(fault.seconds)
    raise Cut(was_handled=False)


def _instead(fault: Fault) -> Outgoing:
    status, headers, body = error_answer(fault)
    rest = {name: text for name, text in headers.items() if name.lower() != "content-type"}
    types = [text for name, text in headers.items() if name.lower() == "content-type"]
    return Outgoing(status, body, types[0], rest)


def _outcome_unknown(fault: Fault, outgoing: Outgoing) -> Outgoing:
    """Say that the outcome is unknown, and name the job that was made (contract section 4.4)."""
    answer = _instead(fault)
    is_success = outgoing.status < _FIRST_ERROR_STATUS and outgoing.content_type == JSON
    made = json.loads(outgoing.whole) if is_success else None
    if isinstance(made, dict) and "id" in made and fault.body is None:
        answer.body = dump({**json.loads(answer.whole), "generationId": made["id"]})
    return answer


def _truncate(_: Fault, outgoing: Outgoing) -> Outgoing:
    outgoing.breaks_off = True
    return outgoing


def _slow_body(fault: Fault, outgoing: Outgoing) -> Outgoing:
    outgoing.seconds = fault.seconds or 0.0
    return outgoing


def _content_type(fault: Fault, outgoing: Outgoing) -> Outgoing:
    lies = dict(fault.headers)
    types = [lies.pop(name) for name in list(lies) if name.lower() == "content-type"]
    outgoing.content_type = types[0] if types else _LYING_TYPE
    outgoing.headers = {**outgoing.headers, **lies}
    return outgoing


def _malformed_json(fault: Fault, outgoing: Outgoing) -> Outgoing:
    """Answer a success whose body nobody can read."""
    body = fault.body.encode() if isinstance(fault.body, str) else b'{"id": "'
    return Outgoing(outgoing.status, body, outgoing.content_type, outgoing.headers)


def _replace_fields(fault: Fault, outgoing: Outgoing) -> Outgoing:
    """Write over the top level of a success: of the object, or of each object of a list."""
    if outgoing.status >= _FIRST_ERROR_STATUS or outgoing.content_type != JSON:
        return outgoing
    found = json.loads(outgoing.whole)
    fields = dict(fault.fields)
    if isinstance(found, list):
        outgoing.body = dump([{**item, **fields} for item in found])
    else:
        outgoing.body = dump({**found, **fields})
    return outgoing


_CHANGES: dict[str, Callable[[Fault, Outgoing], Outgoing]] = {
    "outcome_unknown": _outcome_unknown,
    "truncate": _truncate,
    "slow_body": _slow_body,
    "content_type": _content_type,
    "malformed_json": _malformed_json,
    "replace_fields": _replace_fields,
}
