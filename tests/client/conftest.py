"""The fixtures through which one suite runs over memory, over sockets and blocking."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from lipsync_async import AsyncClient
from lipsync_async.sandbox import Sandbox
from tests.client.connections import Door, opened


@pytest.fixture(params=["memory", "sockets", "blocking"])
def door(request: pytest.FixtureRequest) -> Any:
    """Run a test once through each door."""
    return request.param


@pytest.fixture(params=["memory", "sockets"])
def async_door(request: pytest.FixtureRequest) -> Any:
    """Run a test of tasks and cancellation, which blocking code knows by other means."""
    return request.param


@pytest.fixture
async def client_and_sandbox(door: Door) -> AsyncIterator[tuple[AsyncClient, Sandbox]]:
    """Connect a client to a sandbox whose jobs end at the second look."""
    async with opened(door) as pair:
        yield pair


@pytest.fixture
async def async_client_and_sandbox(async_door: Door) -> AsyncIterator[tuple[AsyncClient, Sandbox]]:
    """Connect an async client only."""
    async with opened(async_door) as pair:
        yield pair
