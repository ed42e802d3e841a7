"""The sandbox's own controls, below `/__sandbox/`; none of them needs a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lipsync_async._enums import Status
from lipsync_async.sandbox.api.generations import generation_json, job_or_404
from lipsync_async.sandbox.faults import fault_to_json, faults_from_json
from lipsync_async.sandbox.jobs import IllegalMoveError, Work
from lipsync_async.sandbox.server.api_errors import bad_request, error
from lipsync_async.sandbox.server.messages import JSON_BODY, RAW
from lipsync_async.sandbox.server.pipeline import Access, Resource
from lipsync_async.sandbox.server.shapes import is_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from lipsync_async.sandbox.faults import Faults
    from lipsync_async.sandbox.request_log import RequestLog
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State
    from lipsync_async.sandbox.webhooks import Inbox

# Python's dates end with the next year, and a clock that is there never comes back.
_LAST_DATE = 253_370_764_800.0  # 9999-01-01T00:00:00Z

controls: Resource = Resource("/__sandbox", Access.CONTROL)


@controls.route("GET", "/health")
def health(state: State, _: Request) -> Any:
    """Tell what does the work, and how much there is."""
    jobs = {str(status): state.jobs.count(status) for status in Status}
    return {
        "status": "ok",
        "renders": state.renderer.makes_media,
        "engines": state.renderer.engines(),
        "jobs": {status: number for status, number in jobs.items() if number},
        "created": state.jobs.created,
        "now": state.clock.now(),
    }


def _offer(name: str, kept: Callable[[State], Faults | RequestLog | Inbox]) -> None:
    """Let what is kept be listed, oldest first, and forgotten."""

    def forget(state: State, _: Request) -> Any:
        kept(state).clear()
        return []

    controls.route("GET", f"/{name}")(lambda state, _: kept(state).to_json())
    controls.route("DELETE", f"/{name}")(forget)


_offer("faults", lambda state: state.faults)  # with how often each struck
_offer("requests", lambda state: state.requests)
_offer("inbox", lambda state: state.inbox)


@controls.route("POST", "/faults", body=JSON_BODY, status=201)
def add_faults(state: State, request: Request) -> Any:
    """Arm one fault or a list of them."""
    try:
        faults = faults_from_json(request.data)
    except ValueError as problem:
        raise bad_request(str(problem)) from None
    return [fault_to_json(state.faults.add(fault)) for fault in faults]


@controls.route("POST", "/inbox", body=RAW, status=201)
def receive(state: State, request: Request) -> Any:
    """Take a webhook."""
    return state.inbox.add(request.body, request.headers, now=state.calendar.unix()).to_json()


@controls.route("GET", "/jobs/{id}")
def trace(state: State, request: Request) -> Any:
    """Tell what became of a job: its steps, and what moved the lips of its output."""
    job = state.work(request.params["id"]) or job_or_404(state, request.params["id"])
    result = None if isinstance(job, Work) else job.result
    return {
        "id": job.id,
        "history": [{"at": at, "status": str(status)} for at, status in job.history],
        "lips": None if result is None else result.lips,
    }


@controls.route("POST", "/jobs/{id}", body=JSON_BODY)
def move(state: State, request: Request) -> Any:
    """Move a job along the table of transitions."""
    job_id, data = request.params["id"], request.data
    status = data.get("status") if isinstance(data, dict) else None
    work = state.work(job_id)
    if work is not None:
        return _move_work(work, status)
    job = job_or_404(state, job_id)
    if not isinstance(status, str) or status not in list(Status):
        raise bad_request('Send {"status": …} with a status that jobs have.')
    try:
        state.jobs.move(job.id, status, error=data.get("error"), error_code=data.get("errorCode"))
    except IllegalMoveError as problem:
        raise error("generation_conflict", str(problem)) from None
    return generation_json(job, state.urls)


def _move_work(job: Work, status: Any) -> Any:
    """Move a job that is no generation."""
    try:
        job.move(str(status))
    except IllegalMoveError as problem:
        raise error("generation_conflict", str(problem)) from None
    return {"id": job.id, "status": job.status}


@controls.route("GET", "/clock")
def clock(state: State, _: Request) -> Any:
    """Tell the time."""
    return {"now": state.clock.now(), "date": state.calendar.timestamp()}


@controls.route("POST", "/clock", body=JSON_BODY)
def advance(state: State, request: Request) -> Any:
    """Let `{"advance": seconds}` pass at once."""
    data = request.data
    seconds = data.get("advance") if isinstance(data, dict) else None
    if not is_time(seconds):
        raise bad_request('Send {"advance": seconds}, at least 0.')
    if state.calendar.unix() + seconds / state.calendar.speed > _LAST_DATE:
        raise bad_request("advance must not lead beyond the year 9998.")
    state.clock.advance(seconds)
    return clock(state, request)
