"""What a generation would cost: three shapes of one sum.

Source: "Estimate cost", sync.so API reference.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.api.catalogue import PRICES_PER_SECOND
from lipsync_async.sandbox.api.create_body import check_generation
from lipsync_async.sandbox.server.api_errors import error, malformed
from lipsync_async.sandbox.server.messages import JSON_BODY
from lipsync_async.sandbox.server.pipeline import Resource
from lipsync_async.sandbox.server.shapes import FLAG, POSITIVE, TEXT, Shape

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State

_PRICED_FPS = 25.0  # prices are quoted at this rate
_DEFAULT_FPS = 30.0  # where an estimate names none
_MOST_FRAMES = 2**53  # beyond it neither JSON's usual readers nor sums are exact
_REASONING_FACTOR = 1.25  # the sandbox's own; the real price is not documented
_ESTIMATE = Shape(
    {"model": TEXT, "duration": POSITIVE, "fps": POSITIVE, "reasoningEnabled": FLAG},
    frozenset({"model", "duration"}),
)

costs: Resource = Resource("/v2")


@costs.route("POST", "/analyze/cost", body=JSON_BODY)
async def analyze(state: State, request: Request) -> Any:
    """Take a create body, answer an array of one; the media are looked at."""
    body = request.data
    check_generation(body, projects=state.projects, http_hosts=state.allowed_hosts)
    with state.clock.hold():
        await state.renderer.check(body)
        seconds = await state.renderer.seconds(body)
    is_reasoned = (body.get("options") or {}).get("reasoning_enabled") is True
    return [_priced(body["model"], seconds, _PRICED_FPS, is_reasoned=is_reasoned)]


@costs.route("POST", "/generations/estimate", body=JSON_BODY)
@costs.route("POST", "/generate/estimate-cost", body=JSON_BODY)
def estimate(_: State, request: Request) -> Any:
    """Answer from stated lengths; no media are looked at."""
    body = request.data
    problems = list(_ESTIMATE.problems(body))
    if problems:
        raise malformed(problems)
    fps = body.get("fps") or _DEFAULT_FPS
    if body["duration"] * fps > _MOST_FRAMES:
        raise malformed([f"duration and fps must give at most {_MOST_FRAMES} frames"])
    is_reasoned = bool(body.get("reasoningEnabled"))
    found = _priced(body["model"], body["duration"], fps, is_reasoned=is_reasoned)
    return {**found, "estimatedCredits": None}


def _priced(model: str, seconds: float, fps: float, *, is_reasoned: bool) -> dict[str, float]:
    """Return frames and price: billing is per output frame."""
    price = PRICES_PER_SECOND.get(model)
    if price is None:
        raise error("cost_estimate_unavailable", f"No price is known for model {model!r}.")
    frames = math.ceil(round(seconds * fps, 6))
    factor = _REASONING_FACTOR if is_reasoned else 1.0
    cost = round(frames / _PRICED_FPS * price * factor, 6)
    return {"estimatedFrameCount": frames, "estimatedGenerationCost": cost}
