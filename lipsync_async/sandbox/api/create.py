"""`POST /v2/generate`: create a generation, from JSON or a form, once per idempotency key."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.api.assets import Asset, add_asset, check_file_size
from lipsync_async.sandbox.api.create_body import check_generation
from lipsync_async.sandbox.api.dialogue import edited_speech, known_script
from lipsync_async.sandbox.api.generations import encoded
from lipsync_async.sandbox.api.speech import check_voice, spoken
from lipsync_async.sandbox.clock import real_seconds
from lipsync_async.sandbox.faults import JOB_KINDS, WEBHOOK_KINDS
from lipsync_async.sandbox.files import OwnedFiles
from lipsync_async.sandbox.jobs import Job, Progression
from lipsync_async.sandbox.server.api_errors import (
    ApiError,
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
    "dialogueEdit",
)
_TEXTS = frozenset({"model", "webhookUrl", "outputFileName", "projectId"})
_NESTED = frozenset({"input", "options", "segments", "dubParams", "dialogueEdit"})
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


@generate.route("POST", rate="create", body=_BODY, replay=_replay)
async def create(state: State, request: Request) -> Response:
    """Create a generation."""
    progression = state.progression_of(request)
    body = request.data if request.form is None else _body_of_form(state, request.form)
    job = await create_generation(
        state,
        body,
        source=request.headers.get("x-sync-source"),
        progression=progression,
        faults=request.faults,
    )
    for slot, file in request.form.files.items() if request.form is not None else ():
        request.files.hand_over(file.path)
        item = next(item for item in body["input"] if item["type"] == slot)
        facts = {"url": item["url"], "type": slot.upper(), "name": file.name, "size": file.size}
        add_asset(state, facts, digest=file.digest, asset_id=item["assetId"])
    response = Response(201, encoded(job, state.urls), created=job.id)
    state.runner.start(job)
    return response


async def create_generation(
    state: State,
    body: Any,
    *,
    progression: Progression | None = None,
    source: str | None = None,
    faults: Iterable[Fault] = (),
) -> Job:
    """Create a generation from a body, whatever it came through; `runner.start` sets it going."""
    check(state, body)
    with state.clock.hold():
        await state.renderer.check(body)
        if state.plan.seconds is not None or body["model"] == "react-1":
            state.plan.check_seconds(body["model"], await state.renderer.seconds(body))
    speech = await speech_of(state, body)
    return new_job(
        state, body, speech=speech, progression=progression, source=source, faults=faults
    )


def check(state: State, body: Any) -> None:
    """Pass a create body that the service would accept, whatever its media are."""
    check_generation(body, http_hosts=state.allowed_hosts)
    if body.get("projectId") is not None:
        body["projectId"] = state.project(body["projectId"], is_input=True).id
    if body.get("dialogueEdit") is not None:
        edited_speech(state, body["dialogueEdit"]["id"])
    for index, item in enumerate(body["input"]):
        if item["type"] == "text":
            check_voice(state, item["provider"]["voiceId"], f"input[{index}].provider.voiceId")
        elif item.get("url") is None:
            asset = state.table(Asset).find(item["assetId"], is_input=True)
            if asset.fields["type"] != item["type"].upper():
                message = f"Asset {asset.id} is {asset.fields['type']}, not {item['type'].upper()}."
                field = f"input[{index}].assetId"
                raise error("generation_input_asset_type_mismatch", message, field=field)


def new_job(
    state: State,
    body: Mapping[str, Any],
    *,
    speech: str | None,
    progression: Progression | None = None,
    source: str | None = None,
    faults: Iterable[Fault] = (),
    batch_id: str | None = None,
) -> Job:
    """Add a generation of a body that was checked.

    It does not wait: creates that wait at once would pass the limits together.
    """
    limit, active = state.plan.concurrency, state.jobs.active
    if batch_id is None and limit is not None and active >= limit:  # refused, not queued
        told = real_seconds(state.retry_after_seconds, state.calendar.speed)
        raise ApiError(429, concurrency_limit_body(limit, active, told))
    state.quota.use("generations", *(["sync-3 generations"] if body["model"] == "sync-3" else []))
    return state.jobs.add(
        Job(
            id=state.new_id(),
            number=state.jobs.created + 1,
            created_at=state.calendar.timestamp(),
            born=state.clock.now(),
            body={name: body[name] for name in _ECHOED if body.get(name) is not None},
            speech=speech,
            progression=progression or state.progression.drawn(state.durations),
            source=source,
            batch_id=batch_id,
            faults={fault.kind: fault for fault in faults if fault.kind in _LASTING_KINDS},
            files=OwnedFiles(state.folder),
        )
    )


async def speech_of(state: State, body: Mapping[str, Any]) -> str | None:
    """Return the URL of the speech that replaces a video's own, where that is asked for.

    The sandbox does not translate: a dubbed video says its own words in another voice, or which
    language was asked for.
    """
    if body.get("dialogueEdit") is not None:
        return edited_speech(state, body["dialogueEdit"]["id"])
    if body.get("dubParams") is None:
        return None
    language = body["dubParams"]["targetLang"]
    known = known_script(state, body["input"][0].get("url") or "")
    script = known[0] if known else f"This video was dubbed into {language}."
    said = await spoken(state, script, f"dubbed-{language}")
    return str(said["url"])


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
    check_file_size(state, file.size, field=slot)
    asset_id = state.new_id()
    name = f"{asset_id}{PurePath(file.name).suffix}"
    url = state.files.adopt(file.path, name, file.content_type)
    found: list[Any] = items if isinstance(items, list) else []
    replaced: Mapping[str, Any] = next(
        (item for item in found if isinstance(item, dict) and item.get("type") == slot), {}
    )
    kept = {"refId": replaced["refId"]} if "refId" in replaced else {}
    others = [item for item in found if item is not replaced]
    return [*others, {"type": slot, "url": url, "assetId": asset_id, **kept}]
