"""A sandbox in a thread of its own, so that a client may block, and small media."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.media.demo_media import draw_talking_head, tone


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Serve with everything real, unless told, and room for two generations at once."""
    with Sandbox(**{"concurrency": 2, **getattr(request, "param", {})}) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw two seconds of a talking head."""
    path = tmp_path_factory.mktemp("peer") / "head.mp4"
    return draw_talking_head(path, seconds=2.0, width=160, height=96)


@pytest.fixture(scope="session")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound a tone for three seconds."""
    return tone(tmp_path_factory.mktemp("peer") / "tone.wav", seconds=3.0, hertz=440)
