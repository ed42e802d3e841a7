"""What a generation would cost: three shapes of one sum (contract section 2.9)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.api.catalogue import PRICES_PER_SECOND
from lipsync_async.sandbox.api.create_rules import check_generation
from lipsync_async.sandbox.server.api_errors import coded, malformed
from lipsync_async.sandbox.server.body_reading import json_of
from lipsync_async.sandbox.server.messages import answer

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Incoming, Outgoing
    from lipsync_async.sandbox.state import State


_PRICED_FPS = 25.0  # prices are quoted at this rate
_DEFAULT_FPS = 30.0  # where an estimate names none
_MOST_FRAMES = 2**53  # beyond it neither JSON's usual readers nor sums are exact
_REASONING_FACTOR = 1.25  # the sandbox's own; the real price is not documented


async def analyze(state: State, incoming: Incoming, _: str) -> Outgoing:
    """Answer `POST /v2/analyze/cost`: takes a create body, answers an array of one."""
    order = json_of(incoming)
    check_generation(order, projects=state.settings.projects)
    with state.clock.hold():
        await state.renderer.check(order)
        seconds = await state.renderer.seconds(order)
    estimate = _estimate(order["model"], seconds, _PRICED_FPS)
    return answer([estimate])


async def estimate(_: State, incoming: Incoming, __: str) -> Outgoing:
    """Answer `POST /v2/generations/estimate` and its alias: touches no media."""
    order = json_of(incoming)
    problems = _problems(order)
    if problems:
        raise malformed(problems)
    found = _estimate(order["model"], order["duration"], order.get("fps") or _DEFAULT_FPS)
    if order.get("reasoningEnabled"):
        found["estimatedGenerationCost"] *= _REASONING_FACTOR
    return answer({**found, "estimatedCredits": None})


def _estimate(model: str, seconds: float, fps: float) -> dict[str, float]:
    """Return frames and price: billing is per output frame."""
    price = PRICES_PER_SECOND.get(model)
    if price is None:
        message = f"No price is known for model {model!r}."
        raise coded(422, "cost_estimate_unavailable", message)
    frames = math.ceil(round(seconds * fps, 6))
    cost = round(frames / _PRICED_FPS * price, 6)
    return {"estimatedFrameCount": frames, "estimatedGenerationCost": cost}


def _problems(order: Any) -> list[str]:
    if not isinstance(order, dict):
        return ["the body must be a JSON object"]
    problems = []
    if not isinstance(order.get("model"), str) or not order["model"]:
        problems.append("model must be a non-empty string")
    if not _is_positive(order.get("duration")):
        problems.append("duration must be a positive, finite number")
    if order.get("fps") is not None and not _is_positive(order["fps"]):
        problems.append("fps must be a positive, finite number")
    if not isinstance(order.get("reasoningEnabled", False), bool):
        problems.append("reasoningEnabled must be a boolean value")
    if not problems and order["duration"] * (order.get("fps") or _DEFAULT_FPS) > _MOST_FRAMES:
        problems.append(f"duration and fps must give at most {_MOST_FRAMES} frames")
    return problems


def _is_positive(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0
