"""`POST /v2/generate`: take in a job, once per idempotency key (contract sections 2 and 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from lipsync_async.sandbox.endpoints.bodies import json_of
from lipsync_async.sandbox.endpoints.forms import body_of_form, discard_files
from lipsync_async.sandbox.fault import JOB_KINDS, WEBHOOK_KINDS
from lipsync_async.sandbox.jobs import Job
from lipsync_async.sandbox.picture import encoded
from lipsync_async.sandbox.rules.checks import check_generation
from lipsync_async.sandbox.rules.idempotency import (
    Claim,
    fingerprint,
    form_fingerprint,
    is_well_formed,
)
from lipsync_async.sandbox.rules.pace import real_seconds
from lipsync_async.sandbox.rules.progression import Progression
from lipsync_async.sandbox.rules.refusals import bad_request, coded, concurrency_limited
from lipsync_async.sandbox.wire import JSON, Outgoing

if TYPE_CHECKING:
    from lipsync_async.sandbox.state import State
    from lipsync_async.sandbox.wire import Incoming

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
            await state.studio.admit(order)
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
