"""The fixtures through which one suite runs over memory and over sockets."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from lipsync_async import AsyncClient
from lipsync_async.sandbox import Sandbox
from tests.client.doors import Door, opened


@pytest.fixture(params=["memory", "sockets"])
def door(request: pytest.FixtureRequest) -> Any:
    """Run a test once through each door."""
    return request.param


@pytest.fixture
async def client_and_sandbox(door: Door) -> AsyncIterator[tuple[AsyncClient, Sandbox]]:
    """Connect a client to a sandbox whose jobs end at the second look."""
    async with opened(door) as pair:
        yield pair
