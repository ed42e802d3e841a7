"""Workers of task queues share one account: one is killed, and each request has one job."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery  # type: ignore[import-untyped]
from procrastinate import App, PsycopgConnector

from lipsync_async import AsyncClient, Audio, GenerationRequest, Video
from lipsync_async.engines import key_of
from lipsync_async.engines.procrastinate import generation_task
from lipsync_async.sandbox import Sandbox
from tests.house.code_blocks import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from tests.servers import PostgresServer, RedisServer

ROOT = Path(__file__).parents[2]
TASK = "lipsync_async.generate"
JOBS = 240
LIMITS: dict[str, Any] = {
    "creates_per_minute": 600,
    "requests_per_minute": 6000,
    "concurrency": 150,
}
# Half of the requests have names of their own.
REQUESTS: list[dict[str, Any]] = [
    {
        "request": GenerationRequest(
            model="lipsync-2",
            input=[Video(f"https://media.example/{n}.mp4"), Audio("https://media.example/a.wav")],
        ).to_json()
    }
    | ({"key": f"take-{n}"} if n % 2 else {})
    for n in range(JOBS)
]


class Workers:
    """Worker processes beside a sandbox; the block's end kills them and all that they started."""

    def __init__(self, folder: Path, sandbox: Sandbox, **variables: str) -> None:
        reach = {"SYNC_API_KEY": sandbox.api_key, "SYNC_BASE_URL": sandbox.url}
        self._variables = {**os.environ, **reach, **variables}
        self._folder = folder
        self._stack = ExitStack()
        self.running: list[Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            kill_group(process)
        self._stack.close()

    def start(self, *command: str) -> Popen[bytes]:
        """Start a worker."""
        return self.run(sys.executable, "-m", *command)

    def run(self, *command: str, folder: Path = ROOT) -> Popen[bytes]:
        """Start a program in a folder."""
        log = self._stack.enter_context((self._folder / f"{len(self.running)}.log").open("wb"))
        process = self._stack.enter_context(
            Popen(  # noqa: S603 - our own words
                command,
                cwd=folder,
                env=self._variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )
        self.running.append(process)
        return process

    def kill(self, process: Popen[bytes]) -> None:
        """Kill a worker, with its children, as when its machine is lost."""
        kill_group(process)
        self.running.remove(process)

    def check(self) -> None:
        """Fail if a worker has ended by itself."""
        if any(process.poll() is not None for process in self.running):
            pytest.fail("\n".join(text[-3000:] for text in self.logs()))

    def logs(self) -> list[str]:
        """Return what each worker has printed."""
        return [log.read_text() for log in self._folder.glob("*.log")]

    async def stop(self, *processes: Popen[bytes]) -> list[int]:
        """Ask workers to end, as a deployment does, and return how they have ended."""
        for process in processes:
            process.terminate()
        ended = [await asyncio.to_thread(process.wait, 60) for process in processes]
        self.running = [process for process in self.running if process not in processes]
        return ended


def kill_group(process: Popen[bytes]) -> None:
    """Kill a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def until(is_time: Any, workers: Workers, *, pause: float = 0.05) -> None:
    """Wait until it is time, or a worker has ended by itself."""
    while not await is_time():
        workers.check()
        with suppress(TimeoutExpired):
            await asyncio.to_thread(workers.running[0].wait, pause)


async def until_created(sandbox: Sandbox, count: int, workers: Workers) -> None:
    """Wait until the service has so many jobs, some of them under way."""

    async def is_time() -> bool:
        return sandbox.jobs.created >= count

    await until(is_time, workers)


def check_service(sandbox: Sandbox, keys: Sequence[str]) -> int:
    """Check that each request has one job, and that the service has refused nothing.

    Return how many creates were repeats, which were answered with the job that existed.
    """
    creates = [each for each in sandbox.requests if each.path == "/v2/generate"]
    assert sandbox.jobs.created == sandbox.jobs.count("COMPLETED") == JOBS
    assert {each.headers["idempotency-key"] for each in creates} == {*keys}
    assert [str(each) for each in sandbox.requests if each.status not in {200, 201, None}] == []
    return len(creates) - JOBS


def keys(engine: str, names: Sequence[str]) -> list[str]:
    """Return the key of each request, from its own name or what the engine calls its task."""
    return [
        each.get("key") or key_of(engine, *name.split("\n"))
        for each, name in zip(REQUESTS, names, strict=True)
    ]


async def test_procrastinate(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """Workers go on with the jobs of one that was killed, and of one that was stopped."""
    app = App(connector=PsycopgConnector(conninfo=postgres_server.url))
    async with (
        Sandbox(render=False, progression="time(4-8)", **LIMITS) as sandbox,
        app.open_async(),
    ):
        await app.schema_manager.apply_schema_async()
        numbers = await app.configure_task(TASK).batch_defer_async(*REQUESTS)
        url = postgres_server.url
        with Workers(tmp_path, sandbox, DATABASE_URL=url, SYNC_ACCOUNT=url) as workers:
            for _ in range(4):
                command = "worker --concurrency=60 --shutdown-graceful-timeout=1"
                where = "--app=tests.processes.procrastinate_app.app"
                workers.start("procrastinate", where, *command.split())
            await until_created(sandbox, JOBS // 4, workers)
            workers.kill(workers.running[0])
            await until_created(sandbox, JOBS // 2, workers)
            assert await workers.stop(workers.running[0]) == [0]

            async def is_done() -> bool:
                found = await app.job_manager.list_jobs_async(task=TASK, status="succeeded")
                return len([*found]) == JOBS

            await until(is_done, workers, pause=0.5)
            assert await workers.stop(*workers.running) == [0, 0]
    names = [
        "\n".join([TASK, str(number), each["request"]])
        for number, each in zip(numbers, REQUESTS, strict=True)
    ]
    assert check_service(sandbox, keys("procrastinate", names)) > 0


@pytest.mark.parametrize("key", ["k", "another"])
async def test_a_rescue_beside_a_job_with_the_same_queueing_lock(
    postgres_server: PostgresServer, key: str
) -> None:
    """The same request ends once; another one delays the rescue, as PostgreSQL refuses it."""
    app = App(connector=PsycopgConnector(conninfo=postgres_server.url))
    with Sandbox(render=False, progression="immediate") as sandbox:
        client = AsyncClient(sandbox.api_key, base_url=sandbox.url)
        task = generation_task(app, lambda: client, rescue_cron="0 0 29 2 *")
        async with client, app.open_async():
            await app.schema_manager.apply_schema_async()
            named = task.configure(queueing_lock="lock")
            await named.defer_async(request=REQUESTS[0]["request"], key="k")
            stalled = "update procrastinate_jobs set status = 'doing'"
            await app.connector.execute_query_async(stalled)
            await named.defer_async(request=REQUESTS[0]["request"], key=key)
            for _ in range(2):
                await app.tasks[f"{TASK}.rescue"].configure(priority=1).defer_async(timestamp=0)
                await app.run_worker_async(wait=False, install_signal_handlers=False)
            found = [job.status for job in await app.job_manager.list_jobs_async(task=TASK)]
    assert found == ["aborted" if key == "k" else "succeeded", "succeeded"]
    assert sandbox.jobs.created == len({"k", key})


@pytest.mark.parametrize(("pool", "concurrency"), [("threads", 40), ("prefork", 4)])
async def test_celery(
    redis_server: RedisServer, tmp_path: Path, pool: str, concurrency: int
) -> None:
    """A new node takes over the tasks of a lost one; of a lost process, its own node does."""
    url = redis_server.url
    app = Celery("tests", broker=url, backend=url, set_as_current=False)
    seconds = "time(4-8)" if pool == "threads" else "time(1)"
    async with Sandbox(render=False, progression=seconds, **LIMITS) as sandbox:
        with Workers(tmp_path, sandbox, REDIS_URL=url, SYNC_ACCOUNT=url) as workers:
            with app.connection_for_write() as connection:
                results = [
                    app.send_task(TASK, kwargs=each, connection=connection) for each in REQUESTS
                ]

            def start(name: str) -> Popen[bytes]:
                settings = f"--pool={pool} --concurrency={concurrency} --hostname={name}@test"
                command = f"-A tests.processes.celery_app worker {settings} --loglevel=WARNING"
                return workers.start("celery", *command.split())

            for number in range(4):
                start(f"w{number}")
            await until_created(sandbox, JOBS // 4, workers)
            if pool == "threads":
                workers.kill(workers.running[0])
                start("w4")
            else:
                os.kill(children(workers.running[0].pid)[0], signal.SIGKILL)

            async def is_done() -> bool:
                return await asyncio.to_thread(all_ended, results)

            await until(is_done, workers, pause=0.5)
            assert [result.state for result in results] == ["SUCCESS"] * JOBS
            urls = {result.result["output_url"] for result in results}
            assert len(urls) == JOBS
            assert await workers.stop(*workers.running) == [0, 0, 0, 0]
        app.close()
    repeats = check_service(sandbox, keys("celery", [result.id for result in results]))
    # The process that was killed may not have sent its create.
    assert repeats > 0 if pool == "threads" else "SIGKILL" in "".join(workers.logs())


@pytest.mark.parametrize("engine", ["procrastinate", "celery"])
async def test_the_page_works_as_pasted(
    redis_server: RedisServer, postgres_server: PostgresServer, tmp_path: Path, engine: str
) -> None:
    """Its programs, saved under the names that it gives them, and its commands."""
    url = postgres_server.url if engine == "procrastinate" else redis_server.url
    page = ROOT / "docs" / f"engines-{engine}.md"
    names = re.findall(r"\bthis as `(\w+\.py)`", page.read_text(encoding="utf-8"))
    for name, block in zip(names, blocks(page, "python"), strict=True):
        (tmp_path / name).write_text(block.source, encoding="utf-8")
    _, commands = blocks(page, "sh")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {"SYNC_ACCOUNT": url, "PATH": path, "PYTHONPATH": str(ROOT)}
    async with Sandbox(render=False, progression="time(1)", concurrency=15) as sandbox:
        with Workers(tmp_path, sandbox, **variables) as workers:
            workers.run("sh", "-c", commands.source, folder=tmp_path)

            async def is_done() -> bool:
                return videos(tmp_path) == 20

            await until(is_done, workers)
    assert sandbox.jobs.created == sandbox.jobs.count("COMPLETED") == 20
    assert [str(each) for each in sandbox.requests if each.status == 429] == []


def videos(folder: Path) -> int:
    """Return how many videos were saved."""
    return len([*folder.glob("videos/*.mp4")])


def all_ended(results: Sequence[Any]) -> bool:
    """Tell whether all tasks have a result."""
    return all(result.ready() for result in results)


def children(parent: int) -> Sequence[int]:
    """Return the processes that a process has started."""
    return [*_children(parent)]


def _children(parent: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(stat.parent.name)
