"""Reads the JSON that a request brought."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.rules.refusals import bad_request

if TYPE_CHECKING:
    from lipsync_async.sandbox.wire import Incoming


def json_of(incoming: Incoming) -> Any:
    """Return the decoded body.

    Raises:
        Refusal: It is no JSON.

    """
    try:
        return json.loads(incoming.body)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"The body is not valid JSON: {error}") from None
