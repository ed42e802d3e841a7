"""Bringing results home: where they land, and addresses that no longer work."""

from pathlib import Path

import anyio
import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    DownloadError,
    Generation,
    InvalidRequestError,
    NotFoundError,
    Status,
)
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.fault import Fault
from tests.client.doors import Door, completed, opened, order

pytestmark = pytest.mark.anyio

Pair = tuple[AsyncClient, Sandbox]
MEDIA = ("GET", "/__sandbox/media/*")


def files_in(folder: Path) -> list[str]:
    """Return all that is in a folder, folders left out."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def content(sandbox: Sandbox, job: Generation) -> bytes:
    """Return the result that the sandbox made."""
    result = sandbox.jobs[job.id].result
    assert result is not None
    assert isinstance(result.source, bytes)
    return result.source


async def test_into_a_folder(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """In a folder that exists, the file is named after the result."""
    client, sandbox = client_and_sandbox
    job = await completed(client, output_file_name="take-1")
    path = await client.generations.download(job, tmp_path)
    assert path == tmp_path / "take-1.mp4"
    assert path.read_bytes() == content(sandbox, job)
    assert files_in(tmp_path) == ["take-1.mp4"]


async def test_into_a_new_folder(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """A trailing slash means a folder, which is made."""
    client, _ = client_and_sandbox
    job = await completed(client, output_file_name="take-1")
    path = await client.generations.download(job.id, f"{tmp_path}/new/deep/")
    assert path == tmp_path / "new" / "deep" / "take-1.mp4"
    assert files_in(tmp_path) == ["new/deep/take-1.mp4"]


async def test_to_a_file(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """Without a trailing slash it is the file itself, which is replaced."""
    client, sandbox = client_and_sandbox
    target = tmp_path / "made" / "mine.bin"
    target.parent.mkdir()
    target.write_text("another take")
    job = await completed(client)
    assert await client.generations.download(job, target) == target
    assert target.read_bytes() == content(sandbox, job)
    assert files_in(tmp_path) == ["made/mine.bin"]


async def test_same_name_of_another_job(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """In a folder no job's file takes the place of another's, also not at the same time."""
    client, _ = client_and_sandbox
    jobs = [await completed(client, output_file_name="take") for _ in range(2)]
    paths: dict[str, Path] = {}

    async def download(job: Generation) -> None:
        paths[job.id] = await client.generations.download(job, tmp_path)

    async with anyio.create_task_group() as tasks:
        for job in jobs:
            tasks.start_soon(download, job)
    first, second = (paths[job.id].name for job in jobs)
    assert {first, second} in [
        {"take.mp4", f"take-{jobs[0].id}.mp4"},
        {"take.mp4", f"take-{jobs[1].id}.mp4"},
    ]
    third = await completed(client, output_file_name="take")
    await client.generations.download(third, tmp_path)
    assert files_in(tmp_path) == sorted([first, second, f"take-{third.id}.mp4"])


async def test_own_name_is_replaced(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """A file that is named after the job's id can only be its own, and is replaced."""
    client, _ = client_and_sandbox
    job = await completed(client)
    paths = [await client.generations.download(job, tmp_path) for _ in range(2)]
    assert paths == [tmp_path / f"{job.id}.mp4"] * 2
    assert files_in(tmp_path) == [f"{job.id}.mp4"]


async def test_key_is_not_sent_to_the_media_host(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """The address of the result is asked without the API key."""
    client, sandbox = client_and_sandbox
    await client.generations.download(await completed(client), tmp_path)
    (entry,) = sandbox.requests.assert_count(1, *MEDIA)
    assert "x-api-key" not in entry.headers


async def test_truncated_result_is_resumed(door: Door, tmp_path: Path) -> None:
    """When the result breaks off, only the rest is fetched, if it is still the same."""
    async with opened(door, placeholder_size=2_000_000) as (client, sandbox):
        sandbox.faults.add(Fault("truncate_output"))
        job = await completed(client)
        path = await client.generations.download(job, tmp_path)
        assert path.read_bytes() == content(sandbox, job)
        first, second = sandbox.requests.assert_count(2, *MEDIA)
        assert "range" not in first.headers
        start = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
        assert 500_000 <= start <= 1_000_000
        result = sandbox.jobs[job.id].result
        assert result is not None
        assert second.headers["if-range"] == result.etag


async def test_expired_address_is_renewed(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """An address that has expired is renewed through the generation."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("expire_output"))
    job = await completed(client)
    sandbox.requests.clear()
    path = await client.generations.download(job, tmp_path)
    assert path.read_bytes() == content(sandbox, job)
    visited = [entry.path.split(job.id)[0] for entry in sandbox.requests]
    assert visited == ["/__sandbox/media/", "/v2/generate/", "/__sandbox/media/"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_download_endpoint_is_the_last_resort(
    client_and_sandbox: Pair,
    tmp_path: Path,
    status: int,
) -> None:
    """When the generation shows the same dead address, the download endpoint is asked."""
    client, sandbox = client_and_sandbox
    job = await completed(client)
    sandbox.faults.add(Fault("status", path=MEDIA[1], status=status))
    sandbox.requests.clear()
    path = await client.generations.download(job, tmp_path)
    assert path.read_bytes() == content(sandbox, job)
    visited = [entry.path.replace(job.id, "*") for entry in sandbox.requests]
    assert visited == [
        "/__sandbox/media/*.mp4",
        "/v2/generate/*",
        "/v2/generations/*/download",
        "/__sandbox/media/*.mp4",
    ]


async def test_every_address_is_refused(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """When no address is left, the error names the job and the last refusal, and no file is."""
    client, sandbox = client_and_sandbox
    job = await completed(client)
    sandbox.faults.add(Fault("status", path=MEDIA[1], status=404, count=None))
    with pytest.raises(DownloadError, match="every address is refused") as caught:
        await client.generations.download(job, f"{tmp_path}/out/")
    assert caught.value.generation == job
    assert caught.value.is_retryable
    assert isinstance(caught.value.__cause__, NotFoundError)
    assert files_in(tmp_path) == []


async def test_download_endpoint_knows_no_better(
    client_and_sandbox: Pair,
    tmp_path: Path,
) -> None:
    """An address that was refused is not asked a second time."""
    client, sandbox = client_and_sandbox
    job = await completed(client)
    sandbox.faults.add(Fault("status", path=MEDIA[1], status=410, count=None))
    sandbox.faults.add(Fault("status", path="*/download", status=200, body=job.output_url))
    with pytest.raises(DownloadError, match="every address is refused"):
        await client.generations.download(job, tmp_path)
    assert sandbox.requests.count(*MEDIA) == 1


async def test_address_that_was_never_known(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """A job without an address (from a webhook, say) gets one from the service."""
    client, sandbox = client_and_sandbox
    done = await completed(client)
    bare = Generation(id=done.id, status=Status.COMPLETED)
    newer = attrs.evolve(done, output_url=None)
    for number, job in enumerate([bare, newer]):
        path = await client.generations.download(job, tmp_path / f"{number}.mp4")
        assert path.read_bytes() == content(sandbox, done)


async def test_redirected_result(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """A media host may send elsewhere; neither place sees the key."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("redirect_output"))
    job = await completed(client)
    path = await client.generations.download(job, tmp_path)
    assert path.read_bytes() == content(sandbox, job)
    entries = sandbox.requests.assert_count(2, *MEDIA)
    assert [entry.status for entry in entries] == [302, 200]
    assert [entry for entry in entries if "x-api-key" in entry.headers] == []


async def test_unfinished_job_has_no_result(door: Door, tmp_path: Path) -> None:
    """Only a COMPLETED job can be downloaded; nothing is sent for another."""
    async with opened(door, progression="manual") as (client, sandbox):
        job = await order(client)
        sandbox.requests.clear()
        with pytest.raises(InvalidRequestError, match="generation: is PENDING; only a COMPLETED"):
            await client.generations.download(job, tmp_path)
        assert len(sandbox.requests) == 0
        with pytest.raises(InvalidRequestError, match="generation: is PENDING"):
            await client.generations.download(job.id, tmp_path)
    assert files_in(tmp_path) == []


async def test_parent_that_is_a_file(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """A place that cannot be written is a `DownloadError` that says so."""
    client, _ = client_and_sandbox
    (tmp_path / "file").write_text("mine")
    job = await completed(client)
    for target in (tmp_path / "file" / "out.mp4", f"{tmp_path}/file/", tmp_path / ("n" * 300)):
        with pytest.raises(DownloadError, match="it cannot be written") as caught:
            await client.generations.download(job, target)
        assert caught.value.generation == job
        assert isinstance(caught.value.__cause__, OSError)
    assert files_in(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"
