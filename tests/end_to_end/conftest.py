"""A sandbox that renders, a client that speaks to it, and small actors to send."""

from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path

import pytest

from lipsync_async import AsyncClient
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.media.demo_media import draw_talking_head, speak_line
from lipsync_async.sandbox.media.drawn_face import DrawnFace

Make = Callable[[float], Path]

_WIDTH, _HEIGHT = 160, 96


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Serve on a socket; starting costs a millisecond, so every test has its own."""
    async with Sandbox(render=True, progression="real") as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[AsyncClient]:
    """Speak to the sandbox as users do, sockets and all."""
    async with AsyncClient(sandbox.api_key, base_url=sandbox.url) as client:
        yield client


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep the inputs that tests share and only read."""
    return tmp_path_factory.mktemp("actors")


@pytest.fixture(scope="session")
def head(folder: Path) -> Make:
    """Draw a talking head of some length, once."""

    @cache
    def make(seconds: float) -> Path:
        path = folder / f"head-{seconds:g}.mp4"
        return draw_talking_head(path, seconds=seconds, width=_WIDTH, height=_HEIGHT)

    return make


@pytest.fixture(scope="session")
def speech(folder: Path) -> Make:
    """Speak a line of some length, once."""
    return cache(lambda seconds: speak_line(folder / f"speech-{seconds:g}.wav", seconds=seconds))


@pytest.fixture(scope="session")
def portrait(folder: Path) -> Path:
    """Draw a picture of the head."""
    path = folder / "portrait.png"
    DrawnFace(_WIDTH, _HEIGHT, seed=1).draw(0.0).save(path)
    return path
