"""What does not depend on any job: models, error codes, the webhook secret."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.server.api_errors import error_catalogue
from lipsync_async.sandbox.server.messages import answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async.sandbox.server.messages import Incoming, Outgoing
    from lipsync_async.sandbox.state import State


def _model(name: str, kind: str, version: str, description: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "type": kind,
        "version": version,
        "description": f"{description} In this sandbox every model renders alike.",
    }


MODELS: tuple[Mapping[str, Any], ...] = (
    _model("sync-3", "lipsync", "3.0.0", "Takes videos and images."),
    _model("lipsync-2", "lipsync", "2.0.0", "Takes videos."),
    _model("lipsync-2-pro", "lipsync", "2.0.0", "Takes videos; finer detail."),
    _model("lipsync-1.9.0-beta", "lipsync", "1.9.0-beta", "Takes videos; the fastest."),
    _model("react-1", "react", "1.0.0", "Takes short videos; directs the expression."),
)

# Accepted though not listed: names seen in older code (contract section 3.1).
LEGACY_MODELS = frozenset(
    {
        "appearence-1",
        "lipsync-1.6.0",
        "lipsync-1.7.1",
        "lipsync-1.8.0",
        "lipsync-1.8.0-beta",
        "lipsync-2-mini",
    },
)

# Price of one second at 25 frames, in US dollars (contract section 2.9, the lower ends).
PRICES_PER_SECOND: Mapping[str, float] = MappingProxyType(
    {
        "sync-3": 0.107,
        "lipsync-2": 0.04,
        "lipsync-2-pro": 0.067,
        "lipsync-1.9.0-beta": 0.02,
        "react-1": 0.167,
    },
)


async def models(_: State, __: Incoming, ___: str) -> Outgoing:
    """Answer `GET /v2/models`."""
    return answer([dict(model) for model in MODELS])


async def errors(_: State, __: Incoming, ___: str) -> Outgoing:
    """Answer `GET /v2/errors`, which needs no key."""
    return answer(error_catalogue())


async def webhook_secret(state: State, _: Incoming, __: str) -> Outgoing:
    """Answer `GET /v2/organizations/webhook/secret`."""
    return answer({"secret": state.settings.webhook_secret})
