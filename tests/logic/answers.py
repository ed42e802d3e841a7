"""Answers of the service, for tests that only read them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from lipsync_async._models.http import Response

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
JOB = {"id": "g1", "status": "PENDING"}


def reply(body: Any = b"", status: int = 200, method: str = "GET", **headers: str) -> Response:
    """Return an answer; bytes are sent as they are, everything else as JSON.

    Header names are written with underscores and are in lower case, as transports give them.
    """
    return Response(
        method=method,
        url="https://api.example/v2/thing",
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )
