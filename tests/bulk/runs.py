"""A sandbox in memory and a client for runs of many requests, in virtual time."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from lipsync_async import AsyncClient, GenerationRequest, Limits, Outcome, Status
from lipsync_async.sandbox import Sandbox, VirtualClock
from tests.client.connections import INPUTS, UNLIMITED, connect

FREE = attrs.evolve(UNLIMITED, concurrent_generations=10_000)


def slots(limit: int | None) -> Limits:
    """Return limits of nothing but the generations at once."""
    return attrs.evolve(UNLIMITED, concurrent_generations=limit)


def requests(many: int) -> Iterator[GenerationRequest]:
    """Yield so many requests that differ in the name of their result."""
    for number in range(many):
        yield GenerationRequest(model="lipsync-2", input=INPUTS, output_file_name=f"take-{number}")


def counted(
    rows: Iterable[GenerationRequest], taken: list[GenerationRequest]
) -> Iterator[GenerationRequest]:
    """Yield requests and note which were taken."""
    for request in rows:  # pragma: no branch - not all are taken
        taken.append(request)
        yield request


@asynccontextmanager
async def opened(
    limits: Limits = FREE, client: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[AsyncClient, Sandbox, VirtualClock]]:
    """Run a sandbox in memory, and a client with a user's own patience."""
    clock = VirtualClock()
    usual: dict[str, Any] = {"render": False, "progression": "time(10)", "clock": clock}
    async with (
        Sandbox(**usual | settings) as sandbox,
        connect(sandbox, limits=limits, **client or {}) as connected,
    ):
        yield connected, sandbox, clock


@attrs.frozen
class Runs:
    """Runs with one journal, which the first makes, by a client of a sandbox in memory."""

    client: AsyncClient
    sandbox: Sandbox
    journal: Path  # the first run makes it

    async def all(self, asked: Iterable[GenerationRequest], **options: Any) -> list[Outcome]:
        """Run all requests; return the outcomes."""
        options.setdefault("journal", self.journal)
        return await self.client.generations.run_all(asked, **options)


async def run(client: AsyncClient, many: int, **options: Any) -> list[Outcome]:
    """Run as many requests; return the outcomes in their order."""
    return await client.generations.run_all(requests(many), **options)


def names(outcomes: Iterable[Outcome]) -> list[str | None]:
    """Return the names of the results."""
    return [outcome.request.output_file_name for outcome in outcomes]


def made(sandbox: Sandbox) -> Counter[str]:
    """Return how many jobs were made of each name."""
    return Counter(str(job.body.get("outputFileName")) for job in sandbox.jobs)


def refusals(sandbox: Sandbox) -> int:
    """Return how often the account's limits were exceeded."""
    return sum(entry.status == 429 for entry in sandbox.requests)


def most_at_once(sandbox: Sandbox) -> int:
    """Return how many generations ran at the same time at most."""
    lives = [(job.history[0][0], job.history[-1]) for job in sandbox.jobs]
    moves = [(begun, 1) for begun, _ in lives]
    moves += [(end, -1) for _, (end, status) in lives if Status(status).is_terminal]
    running = most = 0
    for _, change in sorted(moves):
        running += change
        most = max(most, running)
    return most
