"""What a generation would cost, in three shapes of one sum; what generations have cost.

Source: "Estimate cost", "Get generation costs", "List usage", sync.so API reference.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lipsync_async._enums import Status
from lipsync_async.sandbox.api.catalogue import PRICES_PER_SECOND
from lipsync_async.sandbox.api.create import check
from lipsync_async.sandbox.api.generations import job_or_404
from lipsync_async.sandbox.api.query import limit, moment, page
from lipsync_async.sandbox.server.api_errors import error, malformed
from lipsync_async.sandbox.server.messages import JSON_BODY
from lipsync_async.sandbox.server.pipeline import Resource
from lipsync_async.sandbox.server.shapes import FLAG, POSITIVE, TEXT, Shape, checked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async.sandbox.jobs import Job
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State

_PRICED_FPS = 25.0  # prices are quoted at this rate
_DEFAULT_FPS = 30.0  # where an estimate names none
_MOST_FRAMES = 2**53  # beyond it neither JSON's usual readers nor sums are exact
_REASONING_FACTOR = 1.25  # the sandbox's own; the real price is not documented
_PAGE, _LONGEST_PAGE = 100, 500
_RETRY_SECONDS = 60  # advised while a job goes on
_ESTIMATE = Shape(
    {"model": TEXT, "duration": POSITIVE, "fps": POSITIVE, "reasoningEnabled": FLAG},
    frozenset({"model", "duration"}),
)

costs: Resource = Resource("/v2")
usage: Resource = Resource("/v2/usage")


@costs.route("POST", "/analyze/cost", body=JSON_BODY)
async def analyze(state: State, request: Request) -> Any:
    """Take a create body, answer an array of one; the media are looked at."""
    body = request.data
    check(state, body)
    with state.clock.hold():
        await state.renderer.check(body)
        seconds = await state.renderer.seconds(body)
    return [_priced(body["model"], seconds, _PRICED_FPS, is_reasoned=_is_reasoned(body))]


@costs.route("POST", "/generations/estimate", body=JSON_BODY)
@costs.route("POST", "/generate/estimate-cost", body=JSON_BODY)
def estimate(_: State, request: Request) -> Any:
    """Answer from stated lengths; no media are looked at."""
    body = checked(_ESTIMATE, request.data)
    fps = body.get("fps") or _DEFAULT_FPS
    if body["duration"] * fps > _MOST_FRAMES:
        raise malformed([f"duration and fps must give at most {_MOST_FRAMES} frames"])
    is_reasoned = bool(body.get("reasoningEnabled"))
    found = _priced(body["model"], body["duration"], fps, is_reasoned=is_reasoned)
    return {**found, "estimatedCredits": None}


def _priced(model: str, seconds: float, fps: float, *, is_reasoned: bool) -> dict[str, Any]:
    """Return frames and price: billing is per output frame."""
    price = PRICES_PER_SECOND.get(model)
    if price is None:
        raise error("cost_estimate_unavailable", f"No price is known for model {model!r}.")
    frames = math.ceil(round(seconds * fps, 6))
    factor = _REASONING_FACTOR if is_reasoned else 1.0
    cost = round(frames / _PRICED_FPS * price * factor, 6)
    return {"estimatedFrameCount": frames, "estimatedGenerationCost": cost}


@costs.route("GET", "/generate/{id}/costs")
def costs_of_job(state: State, request: Request) -> Any:
    """Answer with what a generation has cost."""
    return _costs(job_or_404(state, request.params["id"]))


@usage.route("GET", "/generations")
def list_usage(state: State, request: Request) -> Any:
    """Answer with a page of what the generations have cost that ended in a range of time."""
    query = request.query
    start, end = moment(query, "startTime"), moment(query, "endTime")
    if start is None or end is None or end <= start:
        raise malformed(["startTime and endTime must be there, and endTime after startTime"])
    ended = [job for job in state.jobs if job.is_ended]
    found = [job for job in ended if start <= state.calendar.unix_at(job.history[-1][0]) < end]
    size = limit(query, _LONGEST_PAGE, _PAGE)
    shown, cursor = page(found, query, size, lambda job: (job.history[-1][0], job.number))
    return {"items": [_usage(state, job) for job in shown], "nextCursor": cursor}


def _costs(job: Job) -> dict[str, Any]:
    """Return a job's costs: nothing without an output, and no total where no price is known."""
    _, amount = billed(job)
    total = None if amount is None else f"{amount:.6f}"
    if not job.is_ended:
        availability, total = "pending", None
    else:
        availability = "unavailable" if total is None else "complete"
    component = {"type": "lipsync", "availability": availability, "amountUsd": total}
    return {
        "generationId": job.id,
        "generationStatus": str(job.status),
        "currency": "USD",
        "availability": availability,
        "totalCostUsd": total,
        "knownSubtotalUsd": total or "0",
        "retryAfterSeconds": None if job.is_ended else _RETRY_SECONDS,
        "components": [component] if job.is_ended else [],
        "excludedCosts": ["tax", "subscription fees"],
    }


def _usage(state: State, job: Job) -> dict[str, Any]:
    frames, _ = billed(job)
    return {
        **_costs(job),
        "createdAt": job.created_at,
        "finishedAt": state.calendar.timestamp_at(job.history[-1][0]),
        "model": job.body["model"],
        "apiKey": None,
        "billedFrames": frames,
    }


def billed(job: Job) -> tuple[int, float | None]:
    """Return the frames that are billed, and their price in US dollars; `None`: not known."""
    if job.result is None or job.status is not Status.COMPLETED:
        return 0, 0.0
    model, is_reasoned = job.body["model"], _is_reasoned(job.body)
    if model not in PRICES_PER_SECOND:  # an older model's
        return math.ceil(round(job.result.duration * _PRICED_FPS, 6)), None
    found = _priced(model, job.result.duration, _PRICED_FPS, is_reasoned=is_reasoned)
    return found["estimatedFrameCount"], found["estimatedGenerationCost"]


def _is_reasoned(body: Mapping[str, Any]) -> bool:
    return (body.get("options") or {}).get("reasoning_enabled") is True
