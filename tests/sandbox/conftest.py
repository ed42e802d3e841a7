"""Fixtures of the sandbox's tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.sandbox.clients import Client, memory_client, socket_client

OpenClient = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(params=[socket_client, memory_client], ids=["socket", "memory"])
def open_client(request: pytest.FixtureRequest) -> Any:
    """Return what runs a sandbox with some settings and connects to it."""
    return request.param


@pytest.fixture
async def client(open_client: OpenClient) -> AsyncIterator[Client]:
    """Connect to a sandbox whose jobs are moved by hand."""
    async with open_client(progression="manual") as connected:
        yield connected
