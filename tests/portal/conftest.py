"""A portal to use, and the sandbox that the programs speak to."""

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from lipsync_async._portal import Portal
from lipsync_async.sandbox import Sandbox
from tests.portal.verbs import verb


@pytest.fixture
def portal() -> Iterator[Portal]:
    """Open an unused portal."""
    opened = Portal()
    yield opened
    verb(opened.close, anyio.lowlevel.checkpoint)


@pytest.fixture
async def sandbox(interpreter: None) -> AsyncIterator[Sandbox]:
    """Run a sandbox whose jobs end at the second look."""
    async with Sandbox(render=False, progression="polls(2)", placeholder_size=2_000_000) as running:
        yield running
