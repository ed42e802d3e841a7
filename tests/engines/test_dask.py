from pathlib import Path

from lipsync_async.sandbox import Sandbox
from tests.engines.recipes import NAMES, needs, program, save
from tests.servers import RedisServer

pytestmark = needs("distributed")


async def test_a_killed_worker(sandbox: Sandbox, tmp_path: Path, redis_server: RedisServer) -> None:
    """The tasks of a worker that is killed are repeated, and wait for the jobs that exist."""
    shared = {"SYNC_ACCOUNT": redis_server.url}
    async with program(save("dask", tmp_path), sandbox, **shared) as running:
        await running.until_created(sandbox, 8)  # about one a second
        killed, _ = running.workers("spawn_main")
        running.kill(killed)
        results = await running.results()
    assert sorted(results) == sorted(NAMES)
    assert sandbox.jobs.created == len(set(results.values())) == len(NAMES)
    assert sandbox.requests.count("POST", "/v2/generate") > len(NAMES)  # there were repeats
