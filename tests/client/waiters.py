"""Many who wait at once, and a service that answers their looks as a test has planned."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import attrs
from anyio.abc import TaskGroup

from lipsync_async import AsyncClient, Generation, Limits, LipsyncError, Response
from lipsync_async._models.http import Request
from lipsync_async._polling import Poller
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import Fault, Sandbox, VirtualClock
from tests.client.connections import connect, opened, order

LOOKS = ("GET", "/v2/generate/*")
LISTS = ("GET", "/v2/generations")
# What looks may cost on any plan; orders are no matter here.
PLAN = Limits(creates_per_minute=None, requests_per_minute=600)


@attrs.frozen(slots=True)
class World:
    """Hold a client, its sandbox, and the clock that both live by."""

    client: AsyncClient
    sandbox: Sandbox
    clock: VirtualClock

    async def order(self, number: int) -> list[Generation]:
        """Order so many jobs, and forget those requests."""
        jobs = [await order(self.client) for _ in range(number)]
        self.sandbox.requests.clear()
        return jobs

    def complete(self, *jobs: Generation) -> None:
        """Let jobs end well, here and now."""
        for job in jobs:
            self.sandbox.jobs.move(job.id, "PROCESSING")
            self.sandbox.jobs.move(job.id, "COMPLETED")

    def break_looks(self, kind: str, **details: Any) -> None:
        """Let every look at a single job fail from now on, unless the details say otherwise."""
        settings = {"method": "GET", "path": LOOKS[1], "count": None, **details}
        self.sandbox.faults.add(Fault(kind, **settings))

    @property
    def lists(self) -> int:
        """Number of lists so far."""
        return self.sandbox.requests.count(*LISTS)

    @property
    def looks(self) -> int:
        """Number of looks at single jobs so far."""
        return self.sandbox.requests.count(*LOOKS)


@asynccontextmanager
async def world(progression: str, **settings: Any) -> AsyncIterator[World]:
    """Run a sandbox and a client on a virtual clock, and see that no wait is left."""
    clock = VirtualClock()
    async with (
        opened("memory", clock=clock, progression=progression) as (_, sandbox),
        connect(sandbox, **{"limits": PLAN, **settings}) as client,
    ):
        yield World(client, sandbox, clock)
        assert remains(poller_of(client)) == []


class Waits:
    """Wait for jobs, in a task each, and write down how each wait ended."""

    def __init__(self, client: AsyncClient, tasks: TaskGroup) -> None:
        self.outcomes: dict[str, Generation | LipsyncError] = {}
        self._client = client
        self._tasks = tasks
        self._scopes: dict[str, anyio.CancelScope] = {}

    def start(self, *jobs: Generation | str, **settings: Any) -> None:
        """Wait for jobs, each in a task of its own."""
        for job in jobs:
            self._tasks.start_soon(partial(self._wait, job, **settings))

    def cancel_all(self) -> None:
        """Cancel all waits, and what else runs beside them."""
        self._tasks.cancel_scope.cancel()

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


@asynccontextmanager
async def waiting(
    client: AsyncClient, *jobs: Generation | str, **settings: Any
) -> AsyncIterator[Waits]:
    """Let jobs be waited for, in a task each, until the waits are over."""
    async with anyio.create_task_group() as tasks:
        waits = Waits(client, tasks)
        waits.start(*jobs, **settings)
        yield waits


async def wait_for_all(
    client: AsyncClient, jobs: Iterable[Generation | str], **settings: Any
) -> dict[str, Generation | LipsyncError]:
    """Wait for jobs at once and return how each wait ended."""
    async with waiting(client, *jobs, **settings) as waits:
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
    shift = poller._leadership  # noqa: SLF001
    held: list[Any] = [
        poller.subscriptions,
        poller._deadlines,  # noqa: SLF001
        poller._scheduler,  # noqa: SLF001
        poller._solo,  # noqa: SLF001
        poller._eager,  # noqa: SLF001
        poller.waits,
        poller._polls,  # noqa: SLF001
        shift._followers,  # noqa: SLF001
        shift._leader,  # noqa: SLF001
    ]
    return [each for each in held if each]


class Planned:
    """Answer looks on a virtual clock, in ways that the sandbox does not know."""

    def __init__(self, number: int, status: str = "PROCESSING") -> None:
        self.clock = VirtualClock()
        self.statuses = {f"job-{index}": status for index in range(number)}
        self.shapes: dict[str, Any] = {}  # of jobs in lists, if not id and status
        self.shapes_alone: dict[str, Any] = {}  # the same by their own paths
        self.failures: list[int] = []  # statuses of the looks that fail, oldest first
        # Whether a list for some statuses shows another; or how such a list is refused.
        self.filter: Callable[[str, Sequence[str]], bool] | int = lambda one, some: one in some
        self.filtered: list[tuple[str, ...]] = []  # ids of lists for some statuses only
        self.longest = 100  # ids that a list may name
        self.way = 0.0  # seconds from a look to its answer
        self.looks: list[tuple[str, ...]] = []  # ids of each that arrived
        self.most = 0  # looks that were under way at once
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

    async def outcomes(self, **settings: Any) -> dict[str, Generation | LipsyncError]:
        """Wait for all jobs at once, by a client of its own, and return how each wait ended."""
        async with self.client(**settings) as client:
            return await wait_for_all(client, self.jobs)

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
        query = parse_qs(parts.query)
        asked, wanted = query.get("ids"), query.get("status", [""])[0].split(",")
        ids = tuple(asked[0].split(",")) if asked else (parts.path.rsplit("/", 1)[1],)
        self.looks.append(ids)
        if wanted != [""]:
            self.filtered.append(ids)
        if self.failures:
            return self.failures.pop(0), {}
        if len(ids) > self.longest:
            return 413, {}
        if asked:
            shown = [job for job in ids if job in self.statuses]
            if wanted != [""]:
                if isinstance(self.filter, int):
                    return self.filter, {}
                shown = [job for job in shown if self.filter(self.statuses[job], wanted)]
            return 200, [self.shapes.get(job, self._shown(job)) for job in shown]
        if ids[0] not in self.statuses:
            return 404, {"message": "No such generation."}
        return 200, self.shapes_alone.get(ids[0], self._shown(ids[0]))

    def _shown(self, job: str) -> dict[str, Any]:
        return {"id": job, "status": self.statuses[job]}
