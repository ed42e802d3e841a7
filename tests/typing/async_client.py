"""The async client under a user's type checker."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, assert_type

from lipsync_async import (
    AsyncClient,
    Audio,
    GenerationRequest,
    Input,
    LipsyncError,
    OnUpdate,
    Options,
    Outcome,
    PollPolicy,
    Progress,
    Response,
    RetryPolicy,
    Transport,
    Video,
)
from lipsync_async._enums import Status
from lipsync_async._models.response import CostEstimate, Generation, GenerationPage, ModelInfo


async def tell(generation: Generation) -> None:
    """Take an update in its own time."""
    assert_type(generation.status, Status)


async def order(client: AsyncClient) -> Path:
    """Go the whole way, step by step and at once."""
    created = await client.generations.create(
        model="lipsync-2",
        input=[Video(url="https://example.com/v.mp4"), Audio(url="https://example.com/a.wav")],
        options=Options(sync_mode="bounce"),
        output_file_name="take-1",
        idempotency_key=None,
    )
    assert_type(created, Generation)
    assert_type(created.idempotency_key, str | None)
    await client.generations.wait_until_complete(created.id, timeout=None, on_update=print)
    request = GenerationRequest(model="sync-3", input=[Video(asset_id="v"), Audio(asset_id="a")])
    done = await client.generations.run(request, timeout=7200.0, on_update=tell)
    assert_type(done, Generation)
    return assert_type(await client.generations.download(done, Path("out")), Path)


async def watch(client: AsyncClient, generation_id: str) -> None:
    """Follow one job."""
    async with client.generations.updates(generation_id) as changes:
        assert_type(changes, AsyncIterator[Generation])
        async for change in changes:
            assert_type(change.progress_percent, float | None)


async def run_many(client: AsyncClient, requests: list[GenerationRequest]) -> list[Outcome]:
    """Run many jobs, from a list and from what has to be awaited."""

    async def later() -> AsyncIterator[GenerationRequest]:
        yield requests[0]

    def show(progress: Progress) -> None:
        assert_type(progress.eta, float | None)

    async with client.generations.run_many(later(), journal="j", on_progress=show) as outcomes:
        iterator: AsyncIterator[Outcome] = outcomes
        assert iterator is outcomes
        assert_type(outcomes.progress(), Progress)
        async for outcome in outcomes:
            assert_type(outcome.generation, Generation | None)
            assert_type(outcome.error, LipsyncError | None)
            assert_type(outcome.path, Path | None)
    return assert_type(await client.generations.run_all(requests, max_jobs=3), list[Outcome])


async def look_around(client: AsyncClient) -> int:
    """Read what is there."""
    page = await client.generations.list(status=["COMPLETED", Status.FAILED], limit=100)
    assert_type(page, GenerationPage)
    assert_type(page.next_cursor, str | None)
    assert_type([item.id for item in page], list[str])
    assert_type(page[0], Generation)
    async for generation in client.generations.iter(status=[Status.PENDING]):
        assert_type(generation.is_terminal, bool)
    assert_type(await client.generations.get("id", progress=True), Generation)
    assert_type(await client.models.list(), list[ModelInfo])
    price = await client.generations.estimate_duration(model="sync-3", duration=1.5)
    assert_type(price, CostEstimate)
    return assert_type(await client.generations.count(), int)


async def settle() -> None:
    """Build clients of every kind."""
    async with AsyncClient(
        "key",
        base_url="http://localhost:8765",
        timeout=None,
        retry=RetryPolicy(attempts=1),
        poll=PollPolicy(progress=True),
    ) as client:
        assert_type(client, AsyncClient)
        assert_type(client.with_options(timeout=5), AsyncClient)
        await client.generations.delete("id")


async def stay_open(client: AsyncClient, transport: Transport, on_update: OnUpdate) -> Response:
    """Use values that only a later service knows, types of callbacks, and raw requests."""
    options = Options(sync_mode="mirror", model_mode="neck", prompt="bored")
    inputs: list[Input] = [Video(asset_id="v"), Audio(asset_id="a")]
    request = GenerationRequest(model="sync-9", input=inputs, options=options)
    done = await client.generations.run(request, on_update=on_update)
    await client.generations.list(status=["PAUSED", Status.COMPLETED])
    for outcome in await client.generations.run_all([request]):
        assert_type(outcome.unwrap(), Generation)
        assert_type(outcome.to_dict(), dict[str, Any])
    assert_type(done.to_json(indent=2), str)
    async with AsyncClient(transport=transport) as other:
        quiet = other.with_options(on_response=None, extra_headers={"X-Scene": "4"})
        return assert_type(await quiet.request("GET", "/v2/assets"), Response)


async def misuse(client: AsyncClient) -> None:
    """Make mistakes that a type checker must find: an unused `ignore` is an error."""
    await client.generations.create("lipsync-2")  # type: ignore[call-overload]
    await client.generations.create()  # type: ignore[call-overload]
    await client.generations.create(model="sync-3")  # type: ignore[call-overload]
    await client.generations.run(model="sync-3", input=42)  # type: ignore[call-overload]
    await client.generations.get(7)  # type: ignore[arg-type]
    await client.generations.list(["COMPLETED"])  # type: ignore[call-arg]
    client.generations.wait()  # type: ignore[attr-defined]
