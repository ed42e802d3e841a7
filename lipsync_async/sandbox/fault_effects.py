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
    from collections.abc import Iterable

    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.faults import Fault

_FIRST_ERROR_STATUS = 400
_OUTCOME_UNKNOWN = "IDEMPOTENCY_OUTCOME_UNKNOWN"


async def before_handler(faults: Iterable[Fault], clock: Clock) -> Response | None:
    """Do what comes before the work; an answer that is returned replaces the work."""
    replaced = None
    for fault in faults:
        match fault.kind:
            case "reset_before":
                raise DropConnection(was_handled=False)
            case "reset_upload":  # there was no body to cut
                raise DropConnection(was_handled=True)
            case "hang":
                if fault.seconds is None:
                    await anyio.sleep_forever()
                await clock.sleep(fault.seconds or 0.0)
                raise DropConnection(was_handled=False)
            case "status":
                replaced = _instead(fault)
    return replaced


async def after_handler(faults: Iterable[Fault], response: Response, clock: Clock) -> Response:
    """Do what comes after the work, in the order of the faults.

    A late answer was worked out at once: a client that gives up on it was served all the same.
    """
    for fault in faults:
        match fault.kind:
            case "latency":
                await clock.sleep(fault.seconds or 0.0)
            case "reset_after":
                raise DropConnection(was_handled=True)
            case "truncate":
                response.breaks_off = True
            case "slow_body":
                response.seconds = fault.seconds or 0.0
            case _:
                response = _rewritten(fault, response)
    return response


def _rewritten(fault: Fault, response: Response) -> Response:
    match fault.kind:
        case "malformed_json":
            body = fault.body if isinstance(fault.body, str) else '{"id": "'
            return attrs.evolve(response, body=body.encode())
        case "content_type":
            lies, response.content_type = _headers_and_type(fault, "text/html; charset=utf-8")
            response.headers = {**response.headers, **lies}
        case "outcome_unknown":
            created, response = response.created, _instead(fault)
            if created is not None and fault.body is None:
                response.body = dump({**json.loads(response.whole), "generationId": created})
        case "replace_fields":
            # Over the top level of a success: of the object, or of each object of a list.
            is_json = response.content_type == JSON and response.whole
            if response.status < _FIRST_ERROR_STATUS and is_json:
                found = json.loads(response.whole)
                items = found if isinstance(found, list) else [found]
                changed = [
                    {**item, **fault.fields} if isinstance(item, dict) else item for item in items
                ]
                response.body = dump(changed if isinstance(found, list) else changed[0])
    return response


def _headers_and_type(fault: Fault, otherwise: str) -> tuple[dict[str, str], str]:
    """Return a fault's headers without the content type, and that."""
    headers = dict(fault.headers)
    types = [headers.pop(name) for name in list(headers) if name.lower() == "content-type"]
    return headers, types[0] if types else otherwise


def _instead(fault: Fault) -> Response:
    """Return what `status` and `outcome_unknown` answer instead of the service."""
    is_unknown = fault.kind == "outcome_unknown"
    status = fault.status or (503 if is_unknown else 500)
    code = fault.code or (_OUTCOME_UNKNOWN if is_unknown else None)
    if isinstance(fault.body, str):
        kind = "html" if fault.body.lstrip().startswith("<") else "plain"
        body, content_type = fault.body.encode(), f"text/{kind}; charset=utf-8"
    else:
        usual = _usual_body(fault, status, code)
        body, content_type = dump(usual if fault.body is None else fault.body), JSON
    headers, content_type = _headers_and_type(fault, content_type)
    return Response(status, body, content_type, headers)


def _usual_body(fault: Fault, status: int, code: str | None) -> dict[str, object]:
    phrase = responses.get(status, "Error")
    body = {"statusCode": status, "message": fault.message or phrase, "error": phrase}
    if code is None:
        return body
    facts = ERROR_CODES.get(code)
    advice = {} if facts is None else {"suggestion": facts.advice}
    return {**body, "errorCode": code, **advice}
