import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lipsync_async.sandbox import Sandbox
from tests.engines.recipes import NAMES, needs, program, save
from tests.servers import RedisServer

pytestmark = needs("ray")


@pytest.fixture
def ray_folder() -> Iterator[str]:
    """Give Ray a folder with a short path: it has sockets in it."""
    folder = tempfile.mkdtemp(prefix="ray-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def test_a_killed_actor(
    sandbox: Sandbox, tmp_path: Path, redis_server: RedisServer, ray_folder: str
) -> None:
    """The tasks of an actor that is killed are repeated, and wait for the jobs that exist."""
    quiet = {"RAY_TMPDIR": ray_folder, "RAY_USAGE_STATS_ENABLED": "0"}
    shared = {"SYNC_ACCOUNT": redis_server.url}
    async with program(save("ray", tmp_path), sandbox, **shared, **quiet) as running:
        await running.until_created(sandbox, 8)  # about one a second
        killed, _ = running.workers("ray::LipSync")
        running.kill(killed)
        results = await running.results()
    assert sorted(results) == sorted(NAMES)
    assert sandbox.jobs.created == len(set(results.values())) == len(NAMES)
    assert sandbox.requests.count("POST", "/v2/generate") > len(NAMES)  # there were repeats
