"""Routes as data, and which one answers."""

import pytest

from lipsync_async._models.http import Request as Sent
from lipsync_async.sandbox import Sandbox, VirtualClock
from lipsync_async.sandbox.api import RESOURCES
from lipsync_async.sandbox.server.body_reading import JSON_BODY
from lipsync_async.sandbox.server.memory_server import MemoryServer
from lipsync_async.sandbox.server.messages import Request
from lipsync_async.sandbox.server.pipeline import Pipeline
from lipsync_async.sandbox.server.routing import Resource, Router
from lipsync_async.sandbox.state import State

pytestmark = pytest.mark.anyio

projects = Resource("/v2/projects")


@projects.route("GET", "/{id}/assets/{asset_id}")
def asset(_: State, request: Request) -> object:
    """Answer with what the path names."""
    return dict(request.params)


@projects.route("POST", body=JSON_BODY, status=201)
async def create(_: State, request: Request) -> object:
    """Answer with what was sent."""
    return {"id": "1", **request.data}


@projects.route("GET", "/count")
def count(_: State, __: Request) -> object:
    """Answer with a number."""
    return {"count": 1}


@projects.route("GET", "/{id}")
def get(_: State, request: Request) -> object:
    """Answer with what the path names."""
    return dict(request.params)


async def test_a_new_resource_is_one_file_and_one_line() -> None:
    """Its handlers return plain values; keys, limits, bodies and errors come with the pipeline."""
    clock = VirtualClock()
    async with Sandbox(clock=clock, render=False) as sandbox:
        pipeline = Pipeline(sandbox._state, Router([*RESOURCES, projects]))  # noqa: SLF001
        transport = MemoryServer(pipeline, clock).transport()
        key = {"x-api-key": sandbox.api_key, "content-type": "application/json"}

        async def answer(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
            url = f"{sandbox.url}/v2/projects{path}"
            found = await transport.send(Sent(method, url, key, body), timeout=None)
            return found.status, found.body

        assert await answer("POST", "", b'{"name":"x"}') == (201, b'{"id":"1","name":"x"}')
        assert await answer("GET", "/count") == (200, b'{"count":1}')
        assert await answer("GET", "/a%2Fb") == (200, b'{"id":"a/b"}')
        assert await answer("GET", "/7/assets/8") == (200, b'{"id":"7","asset_id":"8"}')
        assert [(await answer("GET", path))[0] for path in ("/", "/7/assets/", "/7/x/8")] == [
            404
        ] * 3
