"""Downloads that go on at once: as chunks for an answer that streams, as bytes, and of assets."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from lipsync_async import (
    Asset,
    AsyncClient,
    ConnectionLostError,
    DownloadError,
    Generation,
    InvalidRequestError,
    NotFoundError,
    RetryPolicy,
    Status,
)
from lipsync_async._download import Pipe
from lipsync_async.sandbox import Fault, Sandbox
from tests.client.connections import completed
from tests.client.media_world import FILM, MEDIA, Says, opened_world
from tests.client.test_download import content

LENGTH = {"content-length": str(len(FILM))}
TAGGED = {**LENGTH, "etag": '"v1"'}
HALF = len(FILM) // 2
ONCE = RetryPolicy(attempts=2)
Pair = tuple[AsyncClient, Sandbox]


@pytest.mark.parametrize("is_named", [False, True])
async def test_a_result_as_bytes_and_as_chunks(
    client_and_sandbox: Pair,
    tmp_path: Path,
    is_named: bool,  # noqa: FBT001
) -> None:
    """Both are what a download saves; no media host is sent the key."""
    client, sandbox = client_and_sandbox
    job = await completed(client)
    saved = (await client.generations.download(job, tmp_path)).read_bytes()
    given = job.id if is_named else job
    assert await client.generations.download_bytes(given) == saved
    chunks = [chunk async for chunk in client.generations.download_chunks(given)]
    assert b"".join(chunks) == saved
    visits = [entry for entry in sandbox.requests if "/media/" in entry.path]
    assert ["x-api-key" in entry.headers for entry in visits] == [False] * 3


@pytest.mark.parametrize("fault", ["truncate_output", "expire_output"])
async def test_what_breaks_goes_on(client_and_sandbox: Pair, fault: str) -> None:
    """A cut connection is resumed and an expired link renewed, in the middle of the stream."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault(fault))
    job = await completed(client)
    assert await client.generations.download_bytes(job) == content(sandbox, job)


async def test_a_host_that_begins_anew() -> None:
    """What comes again is compared, and given once."""
    async with opened_world(ONCE) as (client, world):
        again = Says([FILM[:100], FILM[100 : HALF + 50], FILM[HALF + 50 :]], headers=LENGTH)
        world.plan("old.mp4", Says(FILM[:HALF], headers=LENGTH), again)
        assert await client.generations.download_bytes(world.job) == FILM
        assert world.ranges == [None, None]


async def test_a_host_that_can_go_on() -> None:
    """Only the rest is asked for."""
    async with opened_world(ONCE) as (client, world):
        place = {"content-range": f"bytes {HALF}-{len(FILM) - 1}/{len(FILM)}", "etag": '"v1"'}
        rest = Says(FILM[HALF:], 206, place)
        world.plan("old.mp4", Says(FILM[:HALF], headers=TAGGED), rest)
        assert await client.generations.download_bytes(world.job) == FILM
        assert world.ranges == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize(
    ("again", "words"),
    [
        (Says(FILM[:20] + bytes(len(FILM) - 20), headers=LENGTH), "with other bytes"),
        (Says(FILM[:100], headers={"content-length": "100"}), "ended earlier"),
    ],
)
async def test_no_mixture_is_given(again: Says, words: str) -> None:
    """Where other content comes again, the stream ends with an error that names the job."""
    async with opened_world(ONCE) as (client, world):
        world.plan("old.mp4", Says(FILM[:HALF], headers=LENGTH), again)
        chunks = client.generations.download_chunks(world.job)
        assert await anext(chunks) == FILM[:HALF]
        with pytest.raises(DownloadError, match=words) as caught:
            await anext(chunks)
        assert caught.value.generation == world.job


async def test_a_connection_that_breaks_for_good() -> None:
    """What came is given before the error."""
    async with opened_world(RetryPolicy(attempts=1)) as (client, world):
        world.plan_all(Says(FILM[:HALF], headers=LENGTH))
        with pytest.raises(ConnectionLostError):
            await client.generations.download_bytes(world.job)


async def test_no_result_yet() -> None:
    """A job that runs has none, and nothing is asked."""
    async with opened_world() as (client, world):
        with pytest.raises(InvalidRequestError, match="only a COMPLETED one"):
            await client.generations.download_bytes(Generation(id="g1", status=Status.PROCESSING))
        assert world.visits == []


async def test_a_reader_that_leaves() -> None:
    """The download ends with it, though a slow reader has left pieces waiting."""
    async with opened_world() as (client, world):
        world.plan("old.mp4", Says([FILM[at : at + 9] for at in range(0, len(FILM), 9)]))
        before = len(asyncio.all_tasks())
        async with aclosing(client.generations.download_chunks(world.job)) as chunks:
            assert await anext(chunks) == FILM[:9]
            await anyio.lowlevel.checkpoint()
        assert len(asyncio.all_tasks()) == before


async def test_a_pipe_that_repeats_itself_in_pieces() -> None:
    """It compares as soon as all that was given has come again."""
    pipe = Pipe()
    await pipe.write(b"abcd")
    await pipe.restart()
    await pipe.write(b"ab")
    with pytest.raises(DownloadError, match="ended earlier"):
        await pipe.finish()
    with pytest.raises(DownloadError, match="with other bytes"):
        await pipe.write(b"xdef")
    assert not await pipe.is_cut()


def _asset(url: str) -> Asset:
    """Return an asset as it was seen once."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    facts = {"created_at": moment, "updated_at": moment, "visibility": "USER"}
    return Asset(id="a1", type="VIDEO", url=url, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_named", [False, True])
async def test_an_asset_comes_back(
    client_and_sandbox: Pair,
    tmp_path: Path,
    is_named: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was uploaded can be saved under its name, or streamed."""
    client, _ = client_and_sandbox
    asset = await client.assets.upload(FILM, name="film.mp4")
    given = asset.id if is_named else asset
    path = await client.assets.download(given, tmp_path / "take.mp4")
    assert path.read_bytes() == FILM
    assert b"".join([chunk async for chunk in client.assets.download_chunks(given)]) == FILM
    second = await client.assets.upload(FILM + b"2", name="second.mp4")
    assert await client.assets.download(second, path) == path
    assert path.read_bytes() == FILM + b"2"
    told = f"asset {second.id} replaces asset {asset.id}, which this program had saved there."
    assert caplog.messages == [f"{path}: {told}"]
    with pytest.raises(NotFoundError):
        await client.assets.download(str(UUID(int=1)), tmp_path)
    with pytest.raises(InvalidRequestError, match="to: "):
        await client.assets.download(given, 5)  # type: ignore[arg-type]


async def test_an_asset_whose_link_is_refused(tmp_path: Path) -> None:
    """Its own address is tried as well; the error names the asset, and no job."""
    async with opened_world(ONCE) as (client, world):
        world.fresh = 404
        world.plan("resolved.mp4", Says(status=403))
        world.plan("own.mp4", Says(status=403), Says(status=403), Says())
        asset = _asset(f"{MEDIA}/own.mp4")
        with pytest.raises(DownloadError, match="Asset a1 was not saved") as caught:
            await client.assets.download(asset, tmp_path)
        assert caught.value.generation is None
