from pathlib import Path

from lipsync_async.sandbox import Sandbox
from tests.engines.recipes import NAMES, needs, program, save

pytestmark = needs("distributed")


async def test_a_killed_worker(sandbox: Sandbox, tmp_path: Path) -> None:
    """The tasks of a worker that is killed are repeated, and wait for the jobs that exist."""
    async with program(save("dask", tmp_path), sandbox) as running:
        await running.until_created(sandbox, len(NAMES))
        killed, _ = running.workers("spawn_main")
        running.kill(killed)
        results = await running.results()
    assert sorted(results) == sorted(NAMES)
    assert sandbox.jobs.created == len(set(results.values())) == len(NAMES)
    assert sandbox.requests.count("POST", "/v2/generate") > len(NAMES)  # there were repeats
