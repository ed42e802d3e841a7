"""Generations: one, many, how many, their media; and deleting them.

Source: "Get generation", "List generations", sync.so API reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import attrs

from lipsync_async._enums import Status
from lipsync_async.sandbox.api.query import last, limit as page_limit, values
from lipsync_async.sandbox.clock import retry_after
from lipsync_async.sandbox.files import IN_DOWNLOAD
from lipsync_async.sandbox.jobs import ListFilter
from lipsync_async.sandbox.server.api_errors import error, malformed
from lipsync_async.sandbox.server.messages import Response, dump, json_response
from lipsync_async.sandbox.server.pipeline import Resource
from lipsync_async.sandbox.server.shapes import is_uuid
from lipsync_async.sandbox.webhooks import payload

if TYPE_CHECKING:
    from lipsync_async.sandbox.api.query import Query
    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.files import SignedUrls
    from lipsync_async.sandbox.jobs import Job
    from lipsync_async.sandbox.server.api_errors import ApiError
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State
    from lipsync_async.sandbox.webhooks import WebhookSender

_RETRY_SECONDS = 2.0  # advised after a long poll
_PAGE_LIMIT = 100
_WAIT_DEFAULT, _WAIT_SHORTEST, _WAIT_LONGEST = 5.0, 1.0, 10.0
_NEARLY_DONE = 99.0
# A rejected job has no webhook.
_NOTIFIED = frozenset({Status.COMPLETED, Status.FAILED})
_ORIGINS = ("playground", "api")

one: Resource = Resource("/v2/generate")
many: Resource = Resource("/v2/generations")


def job_or_404(state: State, job_id: str) -> Job:
    """Return a job."""
    if not is_uuid(job_id):
        raise _malformed_id(job_id)
    return state.jobs.find(job_id)


@one.route("GET", "/{id}")
async def get(state: State, request: Request) -> Response:
    """Answer with one generation, at once or as a long poll."""
    job = job_or_404(state, request.params["id"])
    wait, shows_progress = _get_query(request.query) if request.query else (None, False)
    state.runner.count_poll(job)
    if shows_progress:
        shown = generation_json(job, state.urls)
        return json_response({**shown, "progress_percent": _percent(job, state.clock)})
    if wait is None or any(fault.kind == "ignore_wait" for fault in request.faults):
        return Response(body=encoded(job, state.urls))
    # The client means seconds of its own, and sets its read timeout by them.
    await _until_ended(state, job, wait * state.calendar.speed)
    headers = {
        "Retry-After": retry_after(_RETRY_SECONDS, state.calendar.speed),
        "X-Sync-Wait-Mode": "long_poll",
        "X-Sync-Wait-Timeout-Seconds": f"{wait:g}",
    }
    return Response(body=encoded(job, state.urls), headers=headers)


@many.route("GET", "/{id}")
def get_by_scope(state: State, request: Request) -> Response:
    """Answer with one generation; this path has no parameters."""
    job = job_or_404(state, request.params["id"])
    state.runner.count_poll(job)
    return Response(body=encoded(job, state.urls))


@many.route("GET")
def list_all(state: State, request: Request) -> Response:
    """Answer with a bare array."""
    wanted = list_filter(request.query)
    if wanted.cursor is not None and wanted.cursor not in state.jobs:
        raise malformed(["cursor must be the id of a generation"])
    # A list polls each job that it names, also one that it then leaves out for its status.
    is_named = bool(wanted.ids) and wanted.limit is None
    jobs = state.jobs.select(attrs.evolve(wanted, statuses=()) if is_named else wanted)
    for job in jobs:
        state.runner.count_poll(job)
    # A poll may move a job: it is shown only where it still is what was asked for.
    shown = [encoded(job, state.urls) for job in jobs if wanted.fits(job)]
    return Response(body=b"[" + b",".join(shown) + b"]")


@many.route("GET", "/count")
def count(state: State, request: Request) -> Any:
    """Answer with a number.

    `currentUserOnly` changes nothing: a sandbox has one user. `generationSource` says through
    which door of the service a job came, not what its `x-sync-source` said.
    """
    origins = values(request.query, "type", _ORIGINS)
    origins = values(request.query, "generationSource") or origins
    wanted = ListFilter(_statuses(request.query), sources=values(request.query, "source"))
    # Every job here came through the API.
    return {"count": len(state.jobs.select(wanted)) if "api" in (origins or ("api",)) else 0}


@many.route("DELETE", "/{id}")
def delete(state: State, request: Request) -> Any:
    """Delete an ended job with its output; there is no cancel, so others stay."""
    job = job_or_404(state, request.params["id"])
    if not job.is_ended:
        message = f"The generation is {job.status}; only ended generations can be deleted."
        raise error("generation_not_deletable_while_processing", message)
    state.jobs.delete(job.id)
    return {"id": job.id}


@many.route("GET", "/{id}/download")
def download(state: State, request: Request) -> Response:
    """Answer with a fresh URL as plain text."""
    job = job_or_404(state, request.params["id"])
    if job.status is not Status.COMPLETED:
        message = f"The generation is {job.status} and has no output."
        raise error("generation_not_found", message)
    link = state.urls.media(job.id, version=job.link_version, via=IN_DOWNLOAD)
    return Response(200, link.encode(), "text/plain; charset=utf-8")


def generation_json(job: Job, urls: SignedUrls) -> dict[str, Any]:
    """Return a job as the service shows it; what is not known yet is left out."""
    shown: dict[str, Any] = {
        "id": job.id,
        "createdAt": job.created_at,
        "status": str(job.status),
        **job.body,
        "outputDuration": None,
    }
    if job.status is Status.COMPLETED and job.result is not None:
        link = urls.media(job.id, version=job.link_version)
        shown |= {"outputUrl": link, "outputMediaUrl": link, "outputDuration": job.result.duration}
        if job.body.get("segments"):
            shown["segmentOutputUrl"] = link  # the sandbox makes no other file of the segments
    known = {
        "error": job.error,
        "errorCode": job.error_code,
        "synthesizedAudioUrl": job.speech_url,
        "source": job.source,
    }
    return shown | {name: value for name, value in known.items() if value is not None}


def encoded(job: Job, urls: SignedUrls) -> bytes:
    """Return a job as JSON, made once per change: most polls find nothing new."""
    if job.encoded is not None:
        return job.encoded
    body = dump(generation_json(job, urls))
    if urls.lifetime is None or job.status is not Status.COMPLETED:
        job.encoded = body
    return body


def send_webhook(urls: SignedUrls, sender: WebhookSender, job: Job) -> None:
    """Send the webhook of a job that has just ended, if its create asked for one."""
    url = job.body.get("webhookUrl")
    if url is not None and job.status in _NOTIFIED:
        sender.send(url, payload(generation_json(job, urls)), job.faults.values())


def _percent(job: Job, clock: Clock) -> float:
    if job.status is Status.COMPLETED:
        return 100.0
    percent, amount = job.percent, job.progression.amount
    if job.progression.kind == "time":
        percent = (clock.now() - job.born) / amount * 100 if amount else 100.0
    elif job.progression.kind == "polls":
        percent = job.polls / amount * 100
    return round(min(percent, _NEARLY_DONE), 1)


async def _until_ended(state: State, job: Job, seconds: float) -> None:
    if job.is_ended:
        return
    woken = anyio.Event()
    job.waiters.append(woken)
    timer = state.clock.call_later(seconds, woken.set)
    try:
        await woken.wait()
    finally:
        timer.cancel()
        if woken in job.waiters:
            job.waiters.remove(woken)


def list_filter(query: Query) -> ListFilter:
    """Return what a list request asks for."""
    ids = values(query, "ids")
    for generation_id in ids:
        if not is_uuid(generation_id):
            raise _malformed_id(generation_id)
    limit, cursor = page_limit(query, _PAGE_LIMIT, None), last(query, "cursor")
    if cursor is not None and limit is None:
        raise malformed(["cursor must come with a limit"])
    return ListFilter(
        _statuses(query),
        tuple(generation_id.lower() for generation_id in ids),
        values(query, "source"),
        (last(query, "projectId") or "").lower() or None,
        limit,
        None if cursor is None else cursor.lower(),
    )


def _get_query(query: Query) -> tuple[float | None, bool]:
    """Return how long to wait for an end, if at all, and whether progress is shown."""
    wait, timeout = last(query, "wait"), last(query, "timeout")
    include = values(query, "include")
    if wait not in {None, "true", "false"}:
        raise malformed(["wait must be a boolean value"])
    if not set(include) <= {"progress"}:
        raise malformed(["include must be one of the following values: progress"])
    if include and (wait is not None or timeout is not None):
        message = "include=progress cannot be combined with wait or timeout."
        raise error("generation_input_validation_failed", message)
    try:
        seconds = _WAIT_DEFAULT if timeout is None else float(timeout)
    except ValueError:
        seconds = 0.0
    if not _WAIT_SHORTEST <= seconds <= _WAIT_LONGEST:
        allowed = f"from {_WAIT_SHORTEST:g} to {_WAIT_LONGEST:g}"
        raise malformed([f"timeout must be a number {allowed}"])
    return seconds if wait == "true" else None, bool(include)


def _statuses(query: Query) -> tuple[Status, ...]:
    # Older names that a client may still ask for are fine; no job here ever has them.
    return tuple(map(Status, values(query, "status", [str(status) for status in Status])))


def _malformed_id(generation_id: str) -> ApiError:
    return error("invalid_generation_id", f"{generation_id!r} is not a generation id.")
