"""`POST /v2/generate`: create a generation, from JSON or a form, once per idempotency key."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.api.create_body import check_generation
from lipsync_async.sandbox.api.generations import encoded
from lipsync_async.sandbox.clock import real_seconds
from lipsync_async.sandbox.faults import JOB_KINDS, WEBHOOK_KINDS
from lipsync_async.sandbox.files import OwnedFiles
from lipsync_async.sandbox.jobs import Job, Progression
from lipsync_async.sandbox.server.api_errors import (
    ApiError,
    bad_request,
    concurrency_limit_body,
    error,
    malformed,
)
from lipsync_async.sandbox.server.messages import JSON, BodyPolicy, Response, parse_json
from lipsync_async.sandbox.server.pipeline import Resource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lipsync_async.sandbox.faults import Fault
    from lipsync_async.sandbox.server.messages import Form, Request, StoredFile
    from lipsync_async.sandbox.state import State

_LASTING_KINDS = JOB_KINDS | WEBHOOK_KINDS
# What the service echoes of a create body.
_ECHOED = (
    "model",
    "input",
    "options",
    "segments",
    "webhookUrl",
    "outputFileName",
    "projectId",
    "dubParams",
)
_TEXTS = frozenset({"model", "webhookUrl", "outputFileName", "projectId"})
_NESTED = frozenset({"input", "options", "segments", "dubParams"})
_LISTS = frozenset({"input", "segments"})  # some clients send one field for each item
_SLOTS = ("video", "image", "audio")
_BODY = BodyPolicy(is_json=True, file_fields=frozenset(_SLOTS))

generate: Resource = Resource("/v2/generate")


def _replay(state: State, job_id: str) -> Response:
    job = state.jobs.get(job_id)
    if job is None:
        message = "The generation of this Idempotency-Key was deleted."
        raise error("generation_not_found", message)
    return Response(201, encoded(job, state.urls), JSON, {"x-sandbox-replayed": "true"})


@generate.route("POST", is_create=True, body=_BODY, replay=_replay)
async def create(state: State, request: Request) -> Response:
    """Create a generation."""
    asked = request.headers.get("x-sandbox-progression")
    try:
        progression = None if asked is None else Progression.parse(asked)
    except ValueError as problem:
        raise bad_request(f"x-sandbox-progression: {problem}") from None
    body = request.data if request.form is None else _body_of_form(state, request.form)
    job = await create_generation(
        state,
        body,
        source=request.headers.get("x-sync-source"),
        progression=progression,
        faults=request.faults,
    )
    for file in request.form.files.values() if request.form is not None else ():
        request.files.hand_over(file.path)
    response = Response(201, encoded(job, state.urls), created=job.id)
    state.runner.start(job)
    return response


async def create_generation(
    state: State,
    body: Any,
    *,
    source: str | None = None,
    progression: Progression | None = None,
    faults: Iterable[Fault] = (),
) -> Job:
    """Create a generation from a body, whatever it came through; `runner.start` sets it going."""
    check_generation(body, projects=state.projects, http_hosts=state.allowed_hosts)
    with state.clock.hold():
        await state.renderer.check(body)
    limit, active = state.allowance.concurrency, state.jobs.active
    if limit is not None and active >= limit:  # what is over the plan is refused, not queued
        told = real_seconds(state.retry_after_seconds, state.calendar.speed)
        raise ApiError(429, concurrency_limit_body(limit, active, told))
    progression = progression or state.progression
    return state.jobs.add(
        Job(
            id=state.new_id(),
            number=state.jobs.created + 1,
            created_at=state.calendar.timestamp(),
            born=state.clock.now(),
            body={name: body[name] for name in _ECHOED if body.get(name) is not None},
            progression=progression.drawn(state.durations),
            source=source,
            faults={fault.kind: fault for fault in faults if fault.kind in _LASTING_KINDS},
            files=OwnedFiles(state.folder),
        )
    )


def _body_of_form(state: State, form: Form) -> Any:
    """Return the create body that a form stands for; its files become hosted assets."""
    body: dict[str, Any] = {}
    for name, texts in form.texts.items():
        if name in _TEXTS:
            body[name] = texts[-1]
        elif name in _NESTED:
            body[name] = _nested(name, texts)
    for slot in _SLOTS:
        if slot in form.files:
            body["input"] = _with_file(state, body.get("input"), slot, form.files[slot])
    return body


def _nested(name: str, texts: Sequence[str]) -> Any:
    try:
        values = [parse_json(text) for text in texts]
    except (ValueError, RecursionError):
        raise malformed([f"{name} must be one JSON string"]) from None
    if name in _LISTS and not isinstance(values[-1], list):
        return values
    return values[-1]


def _with_file(state: State, items: Any, slot: str, file: StoredFile) -> list[Any]:
    """Put a file into its slot: it wins over an input of that type, and keeps its refId."""
    limit = state.plan_file_bytes
    if limit is not None and file.size > limit:
        message = f"The plan takes files of {limit} bytes at most."
        raise error("file_size_exceeds_plan_limit", message, field=slot)
    asset_id = state.new_id()
    name = f"{asset_id}{PurePath(file.name).suffix}"
    url = state.files.adopt(file.path, name, file.content_type, asset_id=asset_id)
    found: list[Any] = items if isinstance(items, list) else []
    replaced: Mapping[str, Any] = next(
        (item for item in found if isinstance(item, dict) and item.get("type") == slot), {}
    )
    kept = {"refId": replaced["refId"]} if "refId" in replaced else {}
    others = [item for item in found if item is not replaced]
    return [*others, {"type": slot, "url": url, "assetId": asset_id, **kept}]
