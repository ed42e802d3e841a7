"""The service that the engines make jobs with."""

from collections.abc import AsyncIterator

import pytest

from lipsync_async.sandbox import Sandbox
from tests.processes.conftest import _server, store  # noqa: F401 - fixtures


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Serve jobs of six seconds, over real HTTP."""
    async with Sandbox(render=False, progression="time(6)") as service:
        yield service
