"""What is the same for all accounts: models, error codes."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.server.api_errors import ERROR_CODES
from lipsync_async.sandbox.server.pipeline import Access, Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async.sandbox.server.messages import Request
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

# Accepted though not listed: names seen in older code.
LEGACY_MODELS = frozenset(
    {
        "appearence-1",
        "lipsync-1.6.0",
        "lipsync-1.7.1",
        "lipsync-1.8.0",
        "lipsync-1.8.0-beta",
        "lipsync-2-mini",
    }
)

# Price of one second at 25 frames, in US dollars, the lower ends.
PRICES_PER_SECOND: Mapping[str, float] = MappingProxyType(
    {
        "sync-3": 0.107,
        "lipsync-2": 0.04,
        "lipsync-2-pro": 0.067,
        "lipsync-1.9.0-beta": 0.02,
        "react-1": 0.167,
    }
)


models: Resource = Resource("/v2/models")
errors: Resource = Resource("/v2/errors", Access.PUBLIC)


@models.route("GET")
def list_models(_: State, __: Request) -> Any:
    """Answer with every model."""
    return [dict(model) for model in MODELS]


@errors.route("GET")
def list_errors(_: State, __: Request) -> Any:
    """Answer with every error code; no key is needed."""
    return [
        {
            "code": code,
            "message": code.replace("_", " ").capitalize() + ".",
            "suggestion": facts.advice,
        }
        for code, facts in ERROR_CODES.items()
    ]
