"""The blocking client under a user's type checker.

`assert_type` takes neither `Any` nor a coroutine for the plain type that each verb returns.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import assert_type

from lipsync_async import (
    Audio,
    Client,
    GenerationRequest,
    Options,
    Outcome,
    PollPolicy,
    Progress,
    Response,
    RetryPolicy,
    Video,
)
from lipsync_async._enums import Status
from lipsync_async._models.response import CostEstimate, Generation, GenerationPage, ModelInfo
from lipsync_async._sync.client import Models
from lipsync_async._sync.generations import Generations


def tell(generation: Generation) -> None:
    """Take an update in the thread that waits."""
    assert_type(generation.status, Status)


async def tell_later(generation: Generation) -> None:
    """Take an update as only the async client can give it."""
    assert_type(generation.status, Status)


def log(response: Response) -> int:
    """Take a raw answer; what is returned does not matter."""
    return response.status


def order(client: Client) -> Path:
    """Go the whole way, step by step and at once."""
    created = client.generations.create(
        model="lipsync-2",
        input=[Video(url="https://example.com/v.mp4"), Audio(url="https://example.com/a.wav")],
        options=Options(sync_mode="bounce"),
        output_file_name="take-1",
        idempotency_key=None,
    )
    assert_type(created, Generation)
    assert_type(created.idempotency_key, str | None)
    waited = client.generations.wait_until_complete(created.id, timeout=None, on_update=print)
    assert_type(waited, Generation)
    request = GenerationRequest(model="sync-3", input=[Video(asset_id="v"), Audio(asset_id="a")])
    done = client.generations.run(request, timeout=7200.0, on_update=tell)
    assert_type(done, Generation)
    return assert_type(client.generations.download(done, Path("out")), Path)


def watch(client: Client, generation_id: str) -> None:
    """Follow one job."""
    changes = client.generations.updates(generation_id)
    assert_type(changes, AbstractContextManager[Iterator[Generation]])
    with client.generations.updates(generation_id, timeout=60.0) as entered:
        assert_type(entered, Iterator[Generation])
        assert_type(next(entered), Generation)
        for change in entered:
            assert_type(change.progress_percent, float | None)


def run_many(client: Client, requests: Iterator[GenerationRequest]) -> list[Outcome]:
    """Run many jobs."""
    opened = client.generations.run_many(requests, journal=Path("j"), on_progress=print)
    manager: AbstractContextManager[Iterator[Outcome]] = opened
    assert manager is opened
    with opened as outcomes:
        assert_type(outcomes.progress(), Progress)
        for outcome in outcomes:
            assert_type(outcome.index, int)
    return assert_type(client.generations.run_all(requests, max_cost=2.5), list[Outcome])


def look_around(client: Client) -> int:
    """Read what is there."""
    page = client.generations.list(status=["COMPLETED", Status.FAILED], limit=100)
    assert_type(page, GenerationPage)
    assert_type(page.next_cursor, str | None)
    assert_type([item.id for item in page], list[str])
    assert_type(page[0], Generation)
    pending = client.generations.iter(status=[Status.PENDING])
    assert_type(pending, Generator[Generation, None, None])
    for generation in pending:
        assert_type(generation.is_terminal, bool)
    pending.close()
    assert_type(client.generations.get("id", progress=True), Generation)
    assert_type(client.models.list(), list[ModelInfo])
    return assert_type(client.generations.count(), int)


def price(client: Client, request: GenerationRequest) -> float:
    """Ask what orders would cost."""
    exact = client.generations.estimate(request)
    assert_type(exact, CostEstimate)
    rough = client.generations.estimate_duration(model="sync-3", duration=1.5)
    assert_type(rough, CostEstimate)
    return rough.cost


def settle() -> None:
    """Build clients of every kind."""
    with Client(
        "key",
        base_url="http://localhost:8765",
        timeout=None,
        retry=RetryPolicy(attempts=1),
        poll=PollPolicy(progress=True),
        on_response=log,
    ) as client:
        assert_type(client, Client)
        assert_type(client.generations, Generations)
        assert_type(client.models, Models)
        assert_type(client.with_options(timeout=5, on_response=print), Client)
        assert_type(client.generations.delete("id"), None)
    assert_type(client.close(), None)


def share(client: Client) -> Generation:
    """Hand a verb to another thread: its signature stays, and its result."""
    with ThreadPoolExecutor() as pool:
        future = pool.submit(client.generations.get, "id", progress=True)
    assert_type(future, Future[Generation])
    return future.result()


class OwnClient(Client):
    """Extend the client, so that it can be told from it."""


def hurry(own: OwnClient) -> OwnClient:
    """Get a view with little patience: it is extended as well."""
    with own as entered:
        assert_type(entered, OwnClient)
    return assert_type(own.with_options(timeout=1.0), OwnClient)


def misuse(client: Client) -> None:
    """Make mistakes that a type checker must find: an unused `ignore` is an error."""
    client.generations.create("lipsync-2")  # type: ignore[call-overload]
    client.generations.create()  # type: ignore[call-overload]
    client.generations.run(model="sync-3", input=42)  # type: ignore[call-overload]
    client.generations.get(7)  # type: ignore[arg-type]
    client.generations.list(["COMPLETED"])  # type: ignore[call-arg]
    client.generations.wait()  # type: ignore[attr-defined]
    client.aclose()  # type: ignore[attr-defined]
    client.generations.updates("id").close()  # type: ignore[attr-defined]
    next(client.generations.updates("id"))  # type: ignore[call-overload]
    client.generations.run_all([], on_progress=tell_later)  # type: ignore[arg-type]
    client.generations.run_many(["lipsync-2"])  # type: ignore[list-item]
    request = GenerationRequest(model="sync-3", input=[])
    client.generations.run(request, on_update=tell_later)  # type: ignore[arg-type]
    client.generations.wait_until_complete("id", on_update=tell_later)  # type: ignore[arg-type]


async def confuse(client: Client) -> None:
    """Take it for the async client: nothing of it can be awaited."""
    await client.generations.get("id")  # type: ignore[misc]
    await client.models.list()  # type: ignore[misc]
    async for _ in client.generations.iter():  # type: ignore[attr-defined]
        break
    async with client.generations.updates("id"):  # type: ignore[attr-defined]
        pass
    async with client:  # type: ignore[attr-defined]
        pass
