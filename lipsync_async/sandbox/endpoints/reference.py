"""What does not depend on any job: models, error codes, the webhook secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async.sandbox.rules.catalogue import MODELS, error_catalogue
from lipsync_async.sandbox.wire import answer

if TYPE_CHECKING:
    from lipsync_async.sandbox.state import State
    from lipsync_async.sandbox.wire import Incoming, Outgoing


async def models(_: State, __: Incoming, ___: str) -> Outgoing:
    """Answer `GET /v2/models`."""
    return answer([dict(model) for model in MODELS])


async def errors(_: State, __: Incoming, ___: str) -> Outgoing:
    """Answer `GET /v2/errors`, which needs no key."""
    return answer(error_catalogue())


async def webhook_secret(state: State, _: Incoming, __: str) -> Outgoing:
    """Answer `GET /v2/organizations/webhook/secret`."""
    return answer({"secret": state.settings.webhook_secret})
