"""The files of a run: names from request and job, suffixes from the bytes."""

from pathlib import Path

import anyio
import attrs
import pytest

from lipsync_async import AsyncClient, Generation, GenerationRequest
from lipsync_async._download import ResultDownloader
from lipsync_async._logic.media_types import name_of_id
from lipsync_async._part_file import StalePartFiles
from tests.client.connections import ORDER
from tests.client.media_world import FILM, MEDIA, Says, World, opened_world
from tests.logic.test_media_host import MEDIA as MEDIA_BYTES


def names_in(folder: Path) -> list[str]:
    """Return the names of what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def downloaded(
    client: AsyncClient, job: Generation, folder: Path, name: str | None = "take"
) -> Path:
    """Fetch a job's result as a run does."""
    own = client.generations
    downloader = ResultDownloader(own._requester, own._options, folder, at_once=1)  # noqa: SLF001
    downloader.waiting += 1  # it is announced
    return await downloader.download(GenerationRequest(**ORDER, output_file_name=name), job)


@pytest.mark.parametrize(
    ("body", "kind", "address", "expected"),
    [
        (FILM, "video/mp4", "v.mp4", "take-g1.mp4"),
        (FILM, "video/quicktime", "v.mov", "take-g1.mp4"),
        (MEDIA_BYTES["QuickTime"], "video/mp4", "v.mp4", "take-g1.mov"),
        (MEDIA_BYTES["old QuickTime"], None, "v", "take-g1.mov"),
        (MEDIA_BYTES["WebM"], None, "v.mp4", "take-g1.webm"),
        (MEDIA_BYTES["AVI"], "text/plain", "v", "take-g1.avi"),
        (MEDIA_BYTES["WAV"], None, "v.mp4", "take-g1.wav"),
        (MEDIA_BYTES["PNG"], None, "v.mp4", "take-g1.png"),
        (bytes(99), "video/quicktime", "v.mp4", "take-g1.mov"),
        (bytes(99), "VIDEO/WebM; codecs=vp9", "v.mp4", "take-g1.webm"),
        (bytes(99), "application/octet-stream", "v.mov", "take-g1.mov"),
        (bytes(99), "binary/octet-stream", "v.MOV", "take-g1.mov"),
        (bytes(99), None, "v.mp4", "take-g1.mp4"),
        (bytes(99), None, "v.php", "take-g1.mp4"),
        (bytes(99), "text/html", "v", "take-g1.mp4"),
        (bytes(99), None, "", "take-g1.mp4"),
        (b"m" * 1000, "application/json", "v.mp4", "take-g1.mp4"),
    ],
)
async def test_the_suffix_of_a_result(
    tmp_path: Path, body: bytes, kind: str | None, address: str, expected: str
) -> None:
    """Bytes come first, then the type, then the address; a video is the usual thing."""
    async with opened_world() as (client, world):
        world.known = f"{MEDIA}/{address}"
        world.plan(address, Says(body, headers={} if kind is None else {"content-type": kind}))
        path = await downloaded(client, world.job, tmp_path)
    assert path == tmp_path / expected


async def test_the_server_has_no_say_in_the_name(tmp_path: Path) -> None:
    """Request and job alone name a run's file, so that each is found again."""
    disposition = {"content-disposition": 'attachment; filename="other.mp4"'}
    async with opened_world() as (client, world):
        world.plan("old.mp4", Says(headers=disposition))
        for name, expected in [("take", "take-g1.mp4"), (None, "generation-g1.mp4")]:
            assert (await downloaded(client, world.job, tmp_path, name)).name == expected
        long = await downloaded(client, world.job, tmp_path, "a" * 255)
        assert len(long.name) < 250


async def test_ids_that_differ_in_case_alone(tmp_path: Path) -> None:
    """Each job has a file of its own, also where case does not tell names apart."""
    odd = ["g1", "G1", "x/../../evil", "x_.._.._evil", "a:b", "a\\b"]
    async with opened_world() as (client, world):
        names = [
            (await downloaded(client, attrs.evolve(world.job, id=each), tmp_path / "out")).name
            for each in odd
        ]
    assert names == [f"take-{name_of_id(each)}.mp4" for each in odd]
    assert len({name.lower() for name in names}) == len(odd)
    assert names_in(tmp_path) == ["out"]


async def again(client: AsyncClient, world: World, folder: Path) -> str:
    """Fetch the result once more, as after a crash before it was noted."""
    return (await downloaded(client, world.job, folder)).name


async def test_what_is_there_is_kept(tmp_path: Path) -> None:
    """The result that a crash has left unnoted is as good; an edited one is not replaced."""
    async with opened_world() as (client, world):
        assert [await again(client, world, tmp_path) for _ in "12"] == ["take-g1.mp4"] * 2
        (tmp_path / "take-g1.mp4").write_text("edited")
        assert [await again(client, world, tmp_path) for _ in "12"] == ["take-g1-2.mp4"] * 2
    assert (tmp_path / "take-g1.mp4").read_text() == "edited"
    assert names_in(tmp_path) == ["take-g1-2.mp4", "take-g1.mp4"]


async def test_what_a_crash_has_left_half_done_is_cleared_away(tmp_path: Path) -> None:
    """Parts of this very result go; those of others, and files of people, stay."""
    for name in ("take-g1.0123abcd.part", "take-g2.0123abcd.part", "take-g1.mine.part"):
        (tmp_path / name).touch()
    async with opened_world() as (client, world):
        await downloaded(client, world.job, tmp_path)
    assert names_in(tmp_path) == ["take-g1.mine.part", "take-g1.mp4", "take-g2.0123abcd.part"]


async def test_many_clear_at_once(tmp_path: Path) -> None:
    """The folder is looked through once, and each waits for that."""
    for number in range(5):
        (tmp_path / f"take-g{number}.0123abcd.part").touch()
    leftovers = StalePartFiles(tmp_path)
    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(leftovers.clear, f"take-g{number}")
    assert names_in(tmp_path) == ["take-g4.0123abcd.part"]
    (tmp_path / "take-g5.0123abcd.part").touch()  # of a process that runs now
    await leftovers.clear("take-g5")
    assert names_in(tmp_path) == ["take-g4.0123abcd.part", "take-g5.0123abcd.part"]
