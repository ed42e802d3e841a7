"""What the faults that strike a request do to its response."""

from __future__ import annotations

import json
from http.client import responses
from typing import TYPE_CHECKING

import anyio
import attrs

from lipsync_async.sandbox.server.api_errors import ERROR_CODES
from lipsync_async.sandbox.server.messages import JSON, DropConnection, Response, dump

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.faults import Fault

_LYING_TYPE = "text/html; charset=utf-8"
_FIRST_ERROR_STATUS = 400
_OUTCOME_UNKNOWN = "IDEMPOTENCY_OUTCOME_UNKNOWN"


async def before_handler(faults: Iterable[Fault], clock: Clock) -> Response | None:
    """Do what comes before the work; an answer that is returned replaces the work."""
    replaced = None
    for fault in faults:
        if fault.kind == "reset_before":
            raise DropConnection(was_handled=False)
        if fault.kind == "hang":
            await _hang(fault, clock)
        if fault.kind == "status":
            replaced = _instead(fault)
    return replaced


async def after_handler(faults: Iterable[Fault], response: Response, clock: Clock) -> Response:
    """Do what comes after the work, in the order of the faults.

    A late answer was worked out at once: a client that gives up on it was served all the same.
    """
    for fault in faults:
        if fault.kind == "latency":
            await clock.sleep(fault.seconds or 0.0)
        elif fault.kind == "reset_after":
            raise DropConnection(was_handled=True)
        elif fault.kind in _CHANGES:
            response = _CHANGES[fault.kind](fault, response)
    return response


async def _hang(fault: Fault, clock: Clock) -> None:
    if fault.seconds is None:
        await anyio.sleep_forever()
    else:
        await clock.sleep(fault.seconds)
    raise DropConnection(was_handled=False)


def _instead(fault: Fault) -> Response:
    """Return what `status` and `outcome_unknown` answer instead of the service."""
    is_unknown = fault.kind == "outcome_unknown"
    status = fault.status or (503 if is_unknown else 500)
    code = fault.code or (_OUTCOME_UNKNOWN if is_unknown else None)
    headers = dict(fault.headers)
    types = [headers.pop(name) for name in list(headers) if name.lower() == "content-type"]
    if isinstance(fault.body, str):
        kind = "html" if fault.body.lstrip().startswith("<") else "plain"
        body, content_type = fault.body.encode(), f"text/{kind}; charset=utf-8"
    else:
        usual = _usual_body(fault, status, code)
        body, content_type = dump(usual if fault.body is None else fault.body), JSON
    return Response(status, body, types[0] if types else content_type, headers)


def _usual_body(fault: Fault, status: int, code: str | None) -> dict[str, object]:
    phrase = responses.get(status, "Error")
    body = {"statusCode": status, "message": fault.message or phrase, "error": phrase}
    if code is None:
        return body
    facts = ERROR_CODES.get(code)
    advice = {} if facts is None else {"suggestion": facts.advice}
    return {**body, "errorCode": code, **advice}


def _outcome_unknown(fault: Fault, response: Response) -> Response:
    unknown = _instead(fault)
    if response.created is not None and fault.body is None:
        unknown.body = dump({**json.loads(unknown.whole), "generationId": response.created})
    return unknown


def _truncate(_: Fault, response: Response) -> Response:
    response.breaks_off = True
    return response


def _slow_body(fault: Fault, response: Response) -> Response:
    response.seconds = fault.seconds or 0.0
    return response


def _content_type(fault: Fault, response: Response) -> Response:
    lies = dict(fault.headers)
    types = [lies.pop(name) for name in list(lies) if name.lower() == "content-type"]
    response.content_type = types[0] if types else _LYING_TYPE
    response.headers = {**response.headers, **lies}
    return response


def _malformed_json(fault: Fault, response: Response) -> Response:
    body = fault.body.encode() if isinstance(fault.body, str) else b'{"id": "'
    return attrs.evolve(response, body=body)


def _replace_fields(fault: Fault, response: Response) -> Response:
    """Write over the top level of a success: of the object, or of each object of a list."""
    if response.status >= _FIRST_ERROR_STATUS or response.content_type != JSON:
        return response
    found = json.loads(response.whole)
    items = found if isinstance(found, list) else [found]
    changed = [{**item, **fault.fields} if isinstance(item, dict) else item for item in items]
    response.body = dump(changed if isinstance(found, list) else changed[0])
    return response


_CHANGES: dict[str, Callable[[Fault, Response], Response]] = {
    "outcome_unknown": _outcome_unknown,
    "truncate": _truncate,
    "slow_body": _slow_body,
    "content_type": _content_type,
    "malformed_json": _malformed_json,
    "replace_fields": _replace_fields,
}
