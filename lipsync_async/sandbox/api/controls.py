"""The sandbox's own controls, below `/__sandbox/`; none of them needs a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lipsync_async._enums import Status
from lipsync_async.sandbox.api.generations import generation_json, job_or_404
from lipsync_async.sandbox.faults import fault_from_json, fault_to_json
from lipsync_async.sandbox.job_progress import IllegalMoveError
from lipsync_async.sandbox.server.api_errors import bad_request, error
from lipsync_async.sandbox.server.body_reading import JSON_BODY, RAW
from lipsync_async.sandbox.server.routing import Access, Resource
from lipsync_async.sandbox.server.shapes import is_time

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State

# Python's dates end with the next year, and a clock that is there never comes back.
_LAST_DATE = 253_370_764_800.0  # 9999-01-01T00:00:00Z

controls = Resource("/__sandbox", Access.CONTROL)


@controls.get("/health")
def health(state: State, _: Request) -> Any:
    """Tell what does the work, and how much there is."""
    jobs = {str(status): state.jobs.count(status) for status in Status}
    return {
        "status": "ok",
        "renders": state.settings.renders,
        "engines": state.renderer.engines(),
        "jobs": {status: number for status, number in jobs.items() if number},
        "created": state.jobs.created,
        "now": state.clock.now(),
    }


@controls.get("/faults")
def list_faults(state: State, _: Request) -> Any:
    """Tell what is armed, and how often it struck."""
    return state.faults.to_json()


@controls.post("/faults", body=JSON_BODY, status=201)
def add_faults(state: State, request: Request) -> Any:
    """Arm one fault or a list of them."""
    data = request.data
    try:
        faults = [fault_from_json(item) for item in (data if isinstance(data, list) else [data])]
    except ValueError as problem:
        raise bad_request(str(problem)) from None
    return [fault_to_json(state.faults.add(fault)) for fault in faults]


@controls.delete("/faults")
def clear_faults(state: State, _: Request) -> Any:
    """Forget every fault."""
    state.faults.clear()
    return []


@controls.get("/requests")
def list_requests(state: State, _: Request) -> Any:
    """Show the log, oldest first."""
    return state.requests.to_json()


@controls.delete("/requests")
def clear_requests(state: State, _: Request) -> Any:
    """Forget every request."""
    state.requests.clear()
    return []


@controls.get("/inbox")
def list_inbox(state: State, _: Request) -> Any:
    """Show the webhooks that arrived, oldest first."""
    return state.inbox.to_json()


@controls.post("/inbox", body=RAW, status=201)
def receive(state: State, request: Request) -> Any:
    """Take a webhook."""
    return state.inbox.add(request.body, request.headers, now=state.calendar.unix()).to_json()


@controls.delete("/inbox")
def clear_inbox(state: State, _: Request) -> Any:
    """Forget every webhook."""
    state.inbox.clear()
    return []


@controls.post("/jobs/{id}", body=JSON_BODY)
def move(state: State, request: Request) -> Any:
    """Move a job along the table of transitions."""
    job, data = job_or_404(state, request.params["id"]), request.data
    status = data.get("status") if isinstance(data, dict) else None
    if not isinstance(status, str) or status not in list(Status):
        raise bad_request('Send {"status": …} with a status that jobs have.')
    try:
        state.jobs.move(job.id, status, error=data.get("error"), error_code=data.get("errorCode"))
    except IllegalMoveError as problem:
        raise error("generation_conflict", str(problem)) from None
    return generation_json(job, state.urls)


@controls.get("/clock")
def clock(state: State, _: Request) -> Any:
    """Tell the time."""
    return {"now": state.clock.now(), "date": state.calendar.timestamp()}


@controls.post("/clock", body=JSON_BODY)
def advance(state: State, request: Request) -> Any:
    """Let `{"advance": seconds}` pass at once."""
    data = request.data
    seconds = data.get("advance") if isinstance(data, dict) else None
    if not is_time(seconds):
        raise bad_request('Send {"advance": seconds}, at least 0.')
    if state.calendar.unix() + seconds / state.settings.speed > _LAST_DATE:
        raise bad_request("advance must not lead beyond the year 9998.")
    state.clock.advance(seconds)
    return {"now": state.clock.now(), "date": state.calendar.timestamp()}
