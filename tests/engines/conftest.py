"""The service that the engines' tests order from."""

from collections.abc import AsyncIterator

import pytest

from lipsync_async.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Serve jobs of three seconds, over real HTTP."""
    async with Sandbox(render=False, progression="time(3)") as service:
        yield service
