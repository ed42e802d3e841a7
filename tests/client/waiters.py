"""Many who wait at once, and a service that answers their looks as a test has planned."""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
from anyio.abc import TaskGroup

from lipsync_async import AsyncClient, Generation, LipsyncError, Response
from lipsync_async._models.http import Request
from lipsync_async._polling.poller import Poller
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import VirtualClock

LOOKS = ("GET", "/v2/generate/*")
LISTS = ("GET", "/v2/generations")


class Waits:
    """Wait for jobs, in a task each, and write down how each wait ended.

    Args:
        client: Waits.
        tasks: Hold the tasks.

    """

    def __init__(self, client: AsyncClient, tasks: TaskGroup) -> None:
        self.outcomes: dict[str, Generation | LipsyncError] = {}
        self._client = client
        self._tasks = tasks
        self._scopes: dict[str, anyio.CancelScope] = {}

    def start(self, *jobs: Generation | str, **settings: Any) -> None:
        """Wait for jobs, each in a task of its own."""
        for job in jobs:
            self._tasks.start_soon(partial(self._wait, job, **settings))

    def cancel(self, *jobs: Generation) -> None:
        """Cancel the waits for jobs."""
        for job in jobs:
            self._scopes[job.id].cancel()

    async def _wait(self, job: Generation | str, **settings: Any) -> None:
        job_id = job if isinstance(job, str) else job.id
        with anyio.CancelScope() as self._scopes[job_id]:
            try:
                done = await self._client.generations.wait_until_complete(job, **settings)
            except LipsyncError as error:
                self.outcomes[job_id] = error
            else:
                self.outcomes[job_id] = done


async def wait_for_all(
    client: AsyncClient, jobs: Iterable[Generation | str], **settings: Any
) -> dict[str, Generation | LipsyncError]:
    """Wait for jobs at once and return how each wait ended."""
    async with anyio.create_task_group() as tasks:
        waits = Waits(client, tasks)
        waits.start(*jobs, **settings)
    return waits.outcomes


def completed_of(outcomes: Mapping[str, Generation | LipsyncError]) -> set[str]:
    """Return the ids of those that ended well, and were their own."""
    return {
        job_id
        for job_id, outcome in outcomes.items()
        if isinstance(outcome, Generation) and outcome.is_completed and outcome.id == job_id
    }


def ids_of(jobs: Iterable[Generation]) -> set[str]:
    """Return the ids of jobs."""
    return {job.id for job in jobs}


def poller_of(client: AsyncClient) -> Poller:
    """Return the poller that a client's waits of this loop share."""
    return client._pollers.get()  # noqa: SLF001


def remains(poller: Poller) -> list[object]:
    """Return what a poller still holds; empty when all who waited have left."""
    shift = poller._leader  # noqa: SLF001
    held: list[Any] = [
        poller.subscriptions,
        poller._deadlines,  # noqa: SLF001
        poller._scheduler,  # noqa: SLF001
        poller.waits,
        poller._polls,  # noqa: SLF001
        shift._followers,  # noqa: SLF001
        shift._leader,  # noqa: SLF001
    ]
    return [each for each in held if each]


class Planned:
    """Answer looks on a virtual clock, in ways that the sandbox does not know.

    Attributes:
        statuses: The jobs' statuses, by id.
        shapes: What is shown of a job instead of an object with id and status.
        shapes_alone: The same of a look at the job by its own path.
        unlisted: Jobs that lists leave out.
        spoilers: Jobs for which a list is refused.
        longest: Ids that a list may have.
        refusal: Status of a refused list.
        failures: Statuses of every look that fails, oldest first.
        way: Seconds from a look to its answer.
        looks: The ids of each look that arrived.
        times: When each arrived.
        most: The most looks that were under way at once.

    """

    def __init__(self, number: int, status: str = "PROCESSING") -> None:
        """Let so many jobs run."""
        self.clock = VirtualClock()
        self.statuses = {f"job-{index}": status for index in range(number)}
        self.shapes: dict[str, Any] = {}
        self.shapes_alone: dict[str, Any] = {}
        self.unlisted: set[str] = set()
        self.spoilers: set[str] = set()
        self.longest = 100
        self.refusal = 400
        self.failures: list[int] = []
        self.way = 0.0
        self.looks: list[tuple[str, ...]] = []
        self.times: list[float] = []
        self.most = 0
        self._under_way = 0

    @property
    def jobs(self) -> list[str]:
        """The ids of all jobs."""
        return list(self.statuses)

    @property
    def lists(self) -> list[tuple[str, ...]]:
        """The looks at several jobs."""
        return [ids for ids in self.looks if len(ids) > 1]

    def client(self, **settings: Any) -> AsyncClient:
        """Return a client of this service."""
        return AsyncClient("key", transport=MemoryTransport(self._handle, self.clock), **settings)

    def end_all(self, after: float, status: str = "COMPLETED") -> None:
        """Let all jobs end after seconds."""
        self.clock.call_later(
            after, lambda: self.statuses.update(dict.fromkeys(self.statuses, status))
        )

    async def _handle(self, request: Request) -> Response:
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            await self.clock.sleep(self.way)
            status, body = self._answer(request)
        finally:
            self._under_way -= 1
        return Response("GET", request.url, status, {}, json.dumps(body).encode())

    def _answer(self, request: Request) -> tuple[int, Any]:
        parts = urlsplit(request.url)
        asked = parse_qs(parts.query).get("ids")
        ids = tuple(asked[0].split(",")) if asked else (parts.path.rsplit("/", 1)[1],)
        self.looks.append(ids)
        self.times.append(self.clock.now())
        if self.failures:
            return self.failures.pop(0), {}
        if asked:
            return self._list(ids)
        if ids[0] not in self.statuses:
            return 404, {"message": "No such generation."}
        return 200, self.shapes_alone.get(ids[0], self._shown(ids[0]))

    def _list(self, ids: tuple[str, ...]) -> tuple[int, Any]:
        if len(ids) > self.longest or not self.spoilers.isdisjoint(ids):
            return self.refusal, {}
        shown = [job for job in ids if job in self.statuses and job not in self.unlisted]
        return 200, [self.shapes.get(job, self._shown(job)) for job in shown]

    def _shown(self, job: str) -> dict[str, Any]:
        return {"id": job, "status": self.statuses[job]}
