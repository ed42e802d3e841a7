"""`POST /v2/generate`: take in a job, once per idempotency key (contract sections 2 and 4.4)."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import anyio

from lipsync_async.sandbox.api.create_rules import check_generation
from lipsync_async.sandbox.api.generations import encoded
from lipsync_async.sandbox.clock import real_seconds
from lipsync_async.sandbox.faults import JOB_KINDS, WEBHOOK_KINDS
from lipsync_async.sandbox.idempotency import Claim, fingerprint, form_fingerprint, is_well_formed
from lipsync_async.sandbox.job_progress import Progression
from lipsync_async.sandbox.jobs import Job
from lipsync_async.sandbox.server.api_errors import (
    bad_request,
    coded,
    concurrency_limited,
    malformed,
)
from lipsync_async.sandbox.server.body_reading import json_of, parsed
from lipsync_async.sandbox.server.messages import JSON, Outgoing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async.sandbox.server.messages import Form, Incoming, StoredFile
    from lipsync_async.sandbox.state import State


_LASTING_KINDS = JOB_KINDS | WEBHOOK_KINDS
# What the service echoes of a create body (contract section 2.7).
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


async def create(state: State, incoming: Incoming, _: str) -> Outgoing:
    """Create a generation, or answer with the one that the key already stands for."""
    key = incoming.headers.get("idempotency-key")
    form = incoming.form
    order = json_of(incoming) if form is None else None
    if key is None:
        return await _accept(state, incoming, order)
    if not is_well_formed(key):
        message = "Send exactly one Idempotency-Key of 1 to 128 letters, digits, . _ ~ or -."
        raise coded(400, "INVALID_IDEMPOTENCY_KEY", message)
    body = fingerprint(order) if form is None else form_fingerprint(form)
    while (claim := state.keys.claim(key, body)) is Claim.RUNNING:
        await state.key_is_free[key].wait()
    if claim is Claim.CONFLICT:
        message = "This Idempotency-Key was used with another body."
        raise coded(422, "IDEMPOTENCY_KEY_REUSED", message)
    if claim is Claim.SETTLED:
        return _replay(state, key)
    return await _accept_once(state, incoming, order, key)


async def _accept_once(state: State, incoming: Incoming, order: Any, key: str) -> Outgoing:
    """Create while others with the same key wait; a refusal leaves the key free."""
    state.key_is_free[key] = anyio.Event()
    try:
        return await _accept(state, incoming, order, key)
    finally:
        state.keys.release(key)
        state.key_is_free.pop(key).set()


def _replay(state: State, key: str) -> Outgoing:
    job = state.jobs.get(state.keys.generation_id(key) or "")
    if job is None:
        message = "The generation of this Idempotency-Key was deleted."
        raise coded(404, "generation_not_found", message)
    return Outgoing(201, encoded(job, state.links), JSON, {"x-sandbox-replayed": "true"})


async def _accept(state: State, incoming: Incoming, order: Any, key: str | None = None) -> Outgoing:
    progression = _progression(state, incoming)
    form = incoming.form
    if form is not None:
        order = body_of_form(state, form)
    try:
        check_generation(order, projects=state.settings.projects)
        with state.clock.hold():
            await state.renderer.check(order)
        _check_slots(state)
    except BaseException:
        discard_files(form)
        raise
    job = Job(
        id=state.new_id(),
        number=state.jobs.created + 1,
        created_at=state.calendar.timestamp(),
        born=state.clock.now(),
        order={name: order[name] for name in _ECHOED if order.get(name) is not None},
        progression=progression.drawn(state.durations),
        source=incoming.headers.get("x-sync-source"),
        faults={fault.kind: fault for fault in incoming.faults if fault.kind in _LASTING_KINDS},
    )
    state.jobs.add(job)
    if key is not None:
        state.keys.settle(key, job.id)
    body = encoded(job, state.links)
    state.runner.start(job)
    return Outgoing(201, body)


def _progression(state: State, incoming: Incoming) -> Progression:
    asked = incoming.headers.get("x-sandbox-progression")
    if asked is None:
        return state.settings.progression
    try:
        return Progression.parse(asked)
    except ValueError as error:
        raise bad_request(f"x-sandbox-progression: {error}") from None


def _check_slots(state: State) -> None:
    """Refuse, not queue, what is over the plan (contract section 5.2)."""
    limit, active = state.settings.allowance.concurrency, state.jobs.active
    if limit is not None and active >= limit:
        settings = state.settings
        told = real_seconds(settings.retry_after_seconds, settings.speed)
        raise concurrency_limited(active, limit, told)


_TEXTS = frozenset({"model", "webhookUrl", "outputFileName", "projectId"})
_NESTED = frozenset({"input", "options", "segments", "dubParams"})
_SLOTS = ("video", "image", "audio")


def body_of_form(state: State, form: Form) -> Any:
    """Return the create body that a form stands for; its files become hosted assets.

    Raises:
        Refusal: A nested field is no JSON, or a file is over the plan's limit.

    """
    body: dict[str, Any] = {}
    for name, text in form.texts.items():
        if name in _TEXTS:
            body[name] = text
        elif name in _NESTED:
            body[name] = _parsed(name, text)
    for slot in _SLOTS:
        if slot in form.files:
            body["input"] = _with_file(state, body.get("input"), slot, form.files[slot])
    return body


def discard_files(form: Form | None) -> None:
    """Remove the files of a form that came to nothing."""
    for file in form.files.values() if form is not None else ():
        file.path.unlink(missing_ok=True)


def _parsed(name: str, text: str) -> Any:
    try:
        return parsed(text)
    except (ValueError, RecursionError):
        raise malformed([f"{name} must be one JSON string"]) from None


def _with_file(state: State, items: Any, slot: str, file: StoredFile) -> list[Any]:
    """Put a file into its slot: it wins over an input of that type, and keeps its refId."""
    limit = state.settings.plan_file_bytes
    if limit is not None and file.size > limit:
        message = f"The plan takes files of {limit} bytes at most."
        raise coded(422, "file_size_exceeds_plan_limit", message, field=slot)
    asset_id = state.new_id()
    url = state.files.adopt(file, f"{asset_id}{PurePath(file.name).suffix}")
    found: list[Any] = items if isinstance(items, list) else []
    replaced: dict[str, Any] = next((item for item in found if _is_of_type(item, slot)), {})
    kept = {"refId": replaced["refId"]} if "refId" in replaced else {}
    others = [item for item in found if item is not replaced]
    return [*others, {"type": slot, "url": url, "assetId": asset_id, **kept}]


def _is_of_type(item: Any, slot: str) -> bool:
    return isinstance(item, dict) and item.get("type") == slot


def summary(form: Form) -> Mapping[str, Any]:
    """Return what the request log keeps of a form: its texts, and its files' facts."""
    files = {
        name: {"filename": file.name, "size": file.size, "sha256": file.digest}
        for name, file in form.files.items()
    }
    return {**form.texts, **files}
