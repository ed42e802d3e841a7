"""A service and its media hosts in memory, on a virtual clock, saying what a test has planned."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs

from lipsync_async import AsyncClient, Generation, RetryPolicy, Status
from lipsync_async._models.http import Request, Response
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import VirtualClock
from tests.client.connections import UNLIMITED

API = "http://127.0.0.1:1"
MEDIA = "https://media.example"
FILM = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(range(256)) * 16


@attrs.define
class Says:
    """One planned answer of a media host."""

    body: bytes | Sequence[bytes] = FILM  # or the pieces in which it comes
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    pause: float = 0.0  # virtual seconds before each piece


class World(MemoryTransport):
    """A service with one COMPLETED job, `g1`, and its media at any address."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        super().__init__(self._reply, self.clock)
        # What is said at each address in turn, the last again and again; else `Says()`.
        self.media: dict[str, list[Says]] = {}
        # The address that the job has at first, that a look at it shows (a number is an error
        # status), and that the download endpoint tells (likewise; `None` is 404).
        self.known: Any = f"{MEDIA}/old.mp4"
        self.fresh: Any = f"{MEDIA}/fresh.mp4"
        self.resolved: Any = f"{MEDIA}/resolved.mp4"
        self.visits: list[str] = []  # the address of each request, without its query
        self.requests: list[Request] = []

    @property
    def job(self) -> Generation:
        """The job as it was seen at first."""
        return Generation(id="g1", status=Status.COMPLETED, output_url=self.known)

    def plan(self, name: str, *answers: Says) -> None:
        """Plan what is said at an address of the media host."""
        self.media[f"{MEDIA}/{name}"] = list(answers)

    def plan_all(self, answer: Says) -> None:
        """Plan that every address that the job ever has says the same."""
        for name in ("old.mp4", "fresh.mp4", "resolved.mp4"):
            self.plan(name, answer)

    @property
    def ranges(self) -> list[str | None]:
        """The range that each request to the media host asks for."""
        return [request.headers.get("range") for request in self.requests]

    async def _reply(self, request: Request) -> Response:
        """Answer as the service."""
        self.visits.append(request.url.removeprefix(API))
        if request.url.endswith("/download"):
            told = 404 if self.resolved is None else self.resolved
            return self._said(request, told, str(told))
        job = {"id": "g1", "status": "COMPLETED", "model": "lipsync-2"}
        facts = {**job, "createdAt": "2026-01-01T00:00:00Z", "outputUrl": self.fresh}
        return self._said(request, self.fresh, json.dumps(facts))

    def _said(self, request: Request, told: Any, body: str) -> Response:
        status = told if isinstance(told, int) else 200
        return Response(request.method, request.url, status, {}, body.encode())

    @asynccontextmanager
    async def stream(
        self,
        request: Request,
        *,
        timeout: float | None,  # noqa: ARG002 - as the protocol has it
    ) -> AsyncIterator[Any]:
        """Say what is planned for the address."""
        self.visits.append(request.url.removeprefix(MEDIA).partition("?")[0])
        self.requests.append(request)
        planned = self.media.get(request.url.partition("?")[0], [Says()])
        says = planned.pop(0) if len(planned) > 1 else planned[0]
        yield SimpleNamespace(
            status=says.status, headers=says.headers, chunks=partial(self._pieces, says)
        )

    async def _pieces(self, says: Says) -> AsyncGenerator[bytes, None]:
        for piece in [says.body] if isinstance(says.body, bytes) else says.body:
            await self.clock.sleep(says.pause)
            if piece:
                yield piece


@asynccontextmanager
async def opened_world(
    retry: RetryPolicy | None = None, timeout: float | None = 60.0
) -> AsyncIterator[tuple[AsyncClient, World]]:
    """Connect a client with the product's own patience to a new world."""
    world = World()
    async with AsyncClient(
        "key",
        base_url=API,
        transport=world,
        limits=UNLIMITED,
        retry=retry or RetryPolicy(),
        timeout=timeout,
    ) as client:
        yield client, world


async def saved(client: AsyncClient, world: World, folder: Path) -> bytes:
    """Download the job's result, and return what was saved."""
    return (await client.generations.download(world.job, folder)).read_bytes()


def names_in(folder: Path) -> list[str]:
    """Return the names of what is in a folder, if it is there."""
    return sorted(path.name for path in folder.glob("*"))
