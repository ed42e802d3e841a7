"""Fixtures of the sandbox's tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.sandbox.doors import Door, memory_door, socket_door

OpenDoor = Callable[..., AbstractAsyncContextManager[Door]]


@pytest.fixture(params=[socket_door, memory_door], ids=["socket", "memory"])
def open_door(request: pytest.FixtureRequest) -> Any:
    """Return what runs a sandbox with some settings and connects to it."""
    return request.param


@pytest.fixture
async def door(open_door: OpenDoor) -> AsyncIterator[Door]:
    """Connect to a sandbox whose jobs are moved by hand."""
    async with open_door(progression="manual") as connected:
        yield connected
