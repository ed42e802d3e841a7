"""The sandbox that commands are run against."""

from collections.abc import Iterator

import pytest

from lipsync_async.sandbox import Sandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Stand in for the service, in a thread of its own, by the environment that users set."""
    with Sandbox(render=False, progression="immediate") as running:
        monkeypatch.setenv("SYNC_BASE_URL", running.url)
        monkeypatch.setenv("SYNC_API_KEY", running.api_key)
        yield running
