from pathlib import Path

from lipsync_async.sandbox import Sandbox
from tests.engines.recipes import NAMES, needs, program, save
from tests.servers import PostgresServer

pytestmark = needs("dbos")


async def check(sandbox: Sandbox, path: Path, **more: str) -> None:
    """Kill the program while its jobs run, start it twice more, and count the jobs."""
    async with program(path, sandbox, **more) as running:
        await running.until_created(sandbox, len(NAMES))
    creates = sandbox.requests.count("POST", "/v2/generate")
    async with program(path, sandbox, **more) as running:
        results = await running.results()
    assert sorted(results) == sorted(NAMES)
    assert sandbox.jobs.created == len(set(results.values())) == len(NAMES)
    repeats = sandbox.requests.count("POST", "/v2/generate") - creates
    assert repeats == len(NAMES)
    async with program(path, sandbox, **more) as running:
        assert await running.results() == results
    assert sandbox.requests.count("POST", "/v2/generate") == creates + repeats


async def test_a_killed_process(sandbox: Sandbox, tmp_path: Path) -> None:
    """After a kill, the next start waits for the jobs that exist; ended ones are not repeated."""
    await check(sandbox, save("dbos", tmp_path))


async def test_a_killed_process_beside_postgresql(
    sandbox: Sandbox, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """The same holds where the workflows are kept in PostgreSQL."""
    await check(sandbox, save("dbos", tmp_path), DBOS_DATABASE=postgres_server.url)
