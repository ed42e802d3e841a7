"""The sandbox that the programs speak to."""

from collections.abc import AsyncIterator

import pytest

from lipsync_async.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Run a sandbox whose jobs end at the second look."""
    async with Sandbox(render=False, progression="polls(2)", placeholder_size=2_000_000) as running:
        yield running
