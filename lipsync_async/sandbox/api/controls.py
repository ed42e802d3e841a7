"""The sandbox's own controls, below `/__sandbox/`; none of them needs a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async._enums import Status
from lipsync_async.sandbox.api.create_body import is_time
from lipsync_async.sandbox.api.generations import existing, generation
from lipsync_async.sandbox.faults import fault_from_json, fault_to_json
from lipsync_async.sandbox.jobs import IllegalMoveError
from lipsync_async.sandbox.server.api_errors import bad_request, coded
from lipsync_async.sandbox.server.body_reading import json_of
from lipsync_async.sandbox.server.messages import Outgoing, answer

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Incoming
    from lipsync_async.sandbox.state import State


# Python's dates end with the next year, and a clock that is there never comes back.
_LAST_DATE = 253_370_764_800.0  # 9999-01-01T00:00:00Z


async def health(state: State, _: Incoming, __: str) -> Outgoing:
    """Answer `GET /__sandbox/health`: what does the work, and how much there is."""
    jobs = {str(status): state.jobs.count(status) for status in Status}
    return answer(
        {
            "status": "ok",
            "renders": state.settings.renders,
            "engines": state.renderer.engines(),
            "jobs": {status: number for status, number in jobs.items() if number},
            "created": state.jobs.created,
            "now": state.clock.now(),
        },
    )


async def list_faults(state: State, _: Incoming, __: str) -> Outgoing:
    """Answer `GET /__sandbox/faults`: what is armed, and how often it struck."""
    return answer(state.faults.to_json())


async def add_faults(state: State, incoming: Incoming, _: str) -> Outgoing:
    """Answer `POST /__sandbox/faults`: arm one fault or a list of them."""
    data = json_of(incoming)
    try:
        faults = [fault_from_json(item) for item in (data if isinstance(data, list) else [data])]
    except ValueError as error:
        raise bad_request(str(error)) from None
    return answer([fault_to_json(state.faults.add(fault)) for fault in faults], 201)


async def clear_faults(state: State, _: Incoming, __: str) -> Outgoing:
    """Answer `DELETE /__sandbox/faults`."""
    state.faults.clear()
    return answer([])


async def list_requests(state: State, _: Incoming, __: str) -> Outgoing:
    """Answer `GET /__sandbox/requests`: the log, oldest first."""
    return answer(state.requests.to_json())


async def clear_requests(state: State, _: Incoming, __: str) -> Outgoing:
    """Answer `DELETE /__sandbox/requests`."""
    state.requests.clear()
    return answer([])


async def list_inbox(state: State, _: Incoming, __: str) -> Outgoing:
    """Answer `GET /__sandbox/inbox`: the webhooks that arrived, oldest first."""
    return answer(state.inbox.to_json())


async def receive(state: State, incoming: Incoming, _: str) -> Outgoing:
    """Answer `POST /__sandbox/inbox`: take in a webhook, whoever sent it."""
    received = state.inbox.add(incoming.body, incoming.headers, now=state.calendar.unix())
    return answer(received.to_json(), 201)


async def clear_inbox(state: State, _: Incoming, __: str) -> Outgoing:
    """Answer `DELETE /__sandbox/inbox`."""
    state.inbox.clear()
    return answer([])


async def move(state: State, incoming: Incoming, job_id: str) -> Outgoing:
    """Answer `POST /__sandbox/jobs/{id}`: move a job along the table of transitions."""
    job, data = existing(state, job_id), json_of(incoming)
    status = data.get("status") if isinstance(data, dict) else None
    if not isinstance(status, str) or status not in list(Status):
        raise bad_request('Send {"status": …} with a status that jobs have.')
    try:
        state.jobs.move(
            job.id,
            status,
            error=data.get("error"),
            error_code=data.get("errorCode"),
        )
    except IllegalMoveError as error:
        raise coded(409, "generation_conflict", str(error)) from None
    return answer(generation(job, state.links))


async def clock(state: State, _: Incoming, __: str) -> Outgoing:
    """Answer `GET /__sandbox/clock`."""
    return answer({"now": state.clock.now(), "date": state.calendar.timestamp()})


async def advance(state: State, incoming: Incoming, _: str) -> Outgoing:
    """Answer `POST /__sandbox/clock`: let `{"advance": seconds}` pass at once."""
    data = json_of(incoming)
    seconds = data.get("advance") if isinstance(data, dict) else None
    if not is_time(seconds):
        raise bad_request('Send {"advance": seconds}, at least 0.')
    if state.calendar.unix() + seconds / state.settings.speed > _LAST_DATE:
        raise bad_request("advance must not lead beyond the year 9998.")
    state.clock.advance(seconds)
    return answer({"now": state.clock.now(), "date": state.calendar.timestamp()})
