"""Bringing results home: where they land, and addresses that no longer work."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import anyio
import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    DownloadError,
    Generation,
    GenerationRequest,
    InvalidRequestError,
    Status,
)
from lipsync_async._logic.media_types import name_of_id
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import ORDER, Door, completed, opened, order
from tests.client.media_world import FILM, MEDIA, Says, World, names_in, opened_world

Pair = tuple[AsyncClient, Sandbox]
RESULT = ("GET", "/__sandbox/media/*")


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
    """In a folder, there or new, the file is named after the result; a slash means a folder."""
    client, sandbox = client_and_sandbox
    job = await completed(client, output_file_name="take-1")
    path = await client.generations.download(job, tmp_path)
    assert path == tmp_path / "take-1.mp4"
    assert path.read_bytes() == content(sandbox, job)
    path = await client.generations.download(job.id, f"{tmp_path}/new/deep/")
    assert path == tmp_path / "new" / "deep" / "take-1.mp4"
    assert files_in(tmp_path) == ["new/deep/take-1.mp4", "take-1.mp4"]


async def test_to_a_file(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """Another name is the file itself, which replaces nothing but what it is told to."""
    client, sandbox = client_and_sandbox
    target = tmp_path / "made" / "mine.bin"
    job = await completed(client)
    for _ in range(2):  # the same bytes are as good
        assert await client.generations.download(job, target) == target
    assert target.read_bytes() == content(sandbox, job)
    for other in (b"another take", content(sandbox, job)[:-1] + b"?"):
        target.write_bytes(other)
        with pytest.raises(DownloadError, match="nothing is replaced in silence") as caught:
            await client.generations.download(job, target)
        assert caught.value.generation == job
        assert f"{target}" in str(caught.value)
        assert "overwrite=True" in str(caught.value)
        assert target.read_bytes() == other
    assert await client.generations.download(job, target, overwrite=True) == target
    assert target.read_bytes() == content(sandbox, job)
    assert files_in(tmp_path) == ["made/mine.bin"]


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("out", "out/take.mp4"),
        ("out/", "out/take.mp4"),
        ("deep/out", "deep/out/take.mp4"),
        ("2026.05", "2026.05/take.mp4"),
        ("out.d/", "out.d/take.mp4"),
        ("~", "home/take.mp4"),
        ("~/out", "home/out/take.mp4"),
        ("take-1.mp4", "take-1.mp4"),
        ("~/take-1.mov", "home/take-1.mov"),
        ("deep/take-1.bin", "deep/take-1.bin"),
    ],
)
async def test_one_rule_for_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, expected: str
) -> None:
    """`download` and `run_many` agree on what a folder is, and where home is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", f"{tmp_path}/home")
    request = GenerationRequest(**ORDER, output_file_name="take")
    async with opened("memory") as (client, _):
        job = await completed(client, output_file_name="take")
        path = await client.generations.download(job, to)
        assert files_in(tmp_path) == [expected]
        assert path.samefile(expected)
        if expected.endswith("/take.mp4"):
            (outcome,) = await client.generations.run_all([request], download_to=to)
            assert outcome.path is not None
            assert outcome.path.parent.samefile(Path(expected).parent)
        else:
            with pytest.raises(InvalidRequestError, match="download_to: must be a folder"):
                await client.generations.run_all([request], download_to=to)


@pytest.mark.parametrize(
    "odd", ["x/../../../evil", "/etc/passwd", "CON", "C:x", "ü/../ö", "a" * 255]
)
async def test_a_name_from_an_odd_id(tmp_path: Path, odd: str) -> None:
    """An id never leads out of the folder, and is found again in the name."""
    async with opened_world() as (client, world):
        world.known = f"{MEDIA}/no-suffix"
        job = attrs.evolve(world.job, id=odd)
        first = await client.generations.download(job, tmp_path / "out")
        assert first.name == f"{name_of_id(odd)}.mp4"
        again = await client.generations.download(job, tmp_path / "out")
        assert again == first
        world.known = f"{MEDIA}/clip.mp4"
        job = attrs.evolve(world.job, id=odd)
        names = [(await client.generations.download(job, tmp_path / "out")).name for _ in "12"]
        assert names == ["clip.mp4", f"clip-{name_of_id(odd)}.mp4"]
    assert {path.parts[0] for path in map(Path, files_in(tmp_path))} == {"out"}


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


async def test_own_name_is_kept(client_and_sandbox: Pair, tmp_path: Path) -> None:
    """A file named after the job's id is its own: the same bytes are done, others are kept."""
    client, sandbox = client_and_sandbox
    job = await completed(client)
    paths = [await client.generations.download(job, tmp_path) for _ in range(2)]
    assert paths == [tmp_path / f"{job.id}.mp4"] * 2
    paths[0].write_text("edited")
    second = [await client.generations.download(job, tmp_path) for _ in range(2)]
    assert second == [tmp_path / f"{job.id}-2.mp4"] * 2
    assert (paths[0].read_text(), second[0].read_bytes()) == ("edited", content(sandbox, job))
    third = await client.generations.download(job, tmp_path, overwrite=True)
    assert third == paths[0]
    assert files_in(tmp_path) == [f"{job.id}-2.mp4", f"{job.id}.mp4"]


def take(world: World, number: int) -> Generation:
    """Plan the result of another job, as long as every other one, and return the job."""
    world.plan(f"take-{number}.mp4", Says(FILM + b"%d" % number))
    return attrs.evolve(world.job, id=f"g{number}", output_url=f"{MEDIA}/take-{number}.mp4")


async def test_what_the_program_saved_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A name may be used again: its last result is replaced, and a warning names both jobs."""
    target = tmp_path / "out.mp4"
    (tmp_path / "same").symlink_to(tmp_path)
    async with opened_world() as (client, world):
        again = tmp_path / "same" / "out.mp4"
        for number, place in [(1, target), (2, target), (2, target), (3, again)]:
            path = await client.generations.download(take(world, number), place)
            assert path == place
            assert path.read_bytes() == FILM + b"%d" % number
    assert names_in(tmp_path) == ["out.mp4", "same"]
    told = "the result of generation {} replaces the result of generation {}, which this program"
    assert [record.getMessage() for record in caplog.records] == [
        f"{target}: {told.format('g2', 'g1')} had saved there.",
        f"{again}: {told.format('g3', 'g2')} had saved there.",
    ]
    assert {(record.levelname, record.name) for record in caplog.records} == {
        ("WARNING", "lipsync_async.http")
    }


def edited_in_place(target: Path) -> None:
    """Change a byte, and a moment later set its time back, as some editors of metadata do."""
    found = target.stat()
    edited_at_once(target)

    def is_later() -> bool:
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
        return target.stat().st_ctime_ns != found.st_ctime_ns

    assert any(is_later() for _ in count())


def edited_at_once(target: Path) -> None:
    """Change a byte as soon as the file is there."""
    with target.open("r+b") as file:
        file.write(b"?")


def exchanged(target: Path) -> None:
    """Put another file in its place, as most editors do."""
    new = target.with_name("new")
    new.write_bytes(target.read_bytes())
    new.replace(target)


def moved_there(target: Path) -> None:
    """Put another download in its place."""
    target.with_name("second.mp4").replace(target)


def linked(target: Path) -> None:
    """Put a link to the file in its place."""
    moved = target.rename(target.with_name("moved.mp4"))
    target.symlink_to(moved)


@pytest.mark.parametrize(
    "change", [edited_in_place, edited_at_once, exchanged, moved_there, linked, Path.unlink]
)
async def test_what_was_changed_since(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """What the program saved, and anything has touched since, is never replaced in silence."""
    target = tmp_path / "out.mp4"
    async with opened_world() as (client, world):
        await client.generations.download(take(world, 1), target)
        await client.generations.download(take(world, 2), target.with_name("second.mp4"))
        change(target)
        is_free = change is Path.unlink
        before = FILM + b"3" if is_free else target.read_bytes()
        third = take(world, 3)
        for _ in range(2):
            refused = pytest.raises(DownloadError, match="nothing is replaced in silence")
            with nullcontext() if is_free else refused:
                await client.generations.download(third, target)
            assert target.read_bytes() == before
        await client.generations.download(third, target, overwrite=True)
        await client.generations.download(take(world, 4), target)  # that one is its own again
    assert target.read_bytes() == FILM + b"4"


async def test_a_download_that_fails_replaces_nothing(tmp_path: Path) -> None:
    """What the program has saved stays until the next result is there as a whole."""
    target = tmp_path / "out.mp4"
    async with opened_world() as (client, world):
        await client.generations.download(take(world, 1), target)
        second = take(world, 2)
        for answer in (Says(b"<html>", status=403), Says(b"<!doctype html><title>no</title>")):
            world.plan("take-2.mp4", answer)
            world.plan_all(answer)
            with pytest.raises(DownloadError, match="was not saved"):
                await client.generations.download(second, target)
            assert (names_in(tmp_path), target.read_bytes()) == (["out.mp4"], FILM + b"1")
        assert await client.generations.download(take(world, 2), target) == target
    assert target.read_bytes() == FILM + b"2"


async def test_a_folder_replaces_nothing(tmp_path: Path) -> None:
    """Where the result names the file, each job has its own, also beside one that was named."""
    async with opened_world() as (client, world):
        named = await client.generations.download(take(world, 1), tmp_path / "take-2.mp4")
        second = await client.generations.download(take(world, 2), tmp_path)
    assert (named.name, second.name) == ("take-2.mp4", "take-2-g2.mp4")
    assert [named.read_bytes()[-1:], second.read_bytes()[-1:]] == [b"1", b"2"]


async def test_truncated_result_is_resumed(door: Door, tmp_path: Path) -> None:
    """When the result breaks off, only the rest is fetched, if it is still the same."""
    async with opened(door, placeholder_size=2_000_000) as (client, sandbox):
        sandbox.faults.add(Fault("truncate_output"))
        job = await completed(client)
        path = await client.generations.download(job, tmp_path)
        assert path.read_bytes() == content(sandbox, job)
        first, second = sandbox.requests.assert_count(2, *RESULT)
        assert {"range", "if-range"} & first.headers.keys() == set()
        start = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
        assert 500_000 <= start <= 1_000_000
        result = sandbox.jobs[job.id].result
        assert result is not None
        assert second.headers["if-range"] == result.etag
        assert {each.headers["accept-encoding"] for each in (first, second)} == {"identity"}


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


async def test_download_endpoint_is_the_last_resort(
    client_and_sandbox: Pair, tmp_path: Path
) -> None:
    """When the generation shows the same dead address, the download endpoint is asked."""
    client, sandbox = client_and_sandbox
    job = await completed(client)
    sandbox.faults.add(Fault("status", path=RESULT[1], status=403))
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
    entries = sandbox.requests.assert_count(2, *RESULT)
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
    file, long = tmp_path / "file", tmp_path / ("n" * 300)
    for target in (file / "out.mp4", f"{file}/", file / "out", long, f"{long}.mp4"):
        with pytest.raises(DownloadError, match="it cannot be written") as caught:
            await client.generations.download(job, target)
        assert caught.value.generation == job
        assert isinstance(caught.value.__cause__, OSError)
    assert files_in(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"
