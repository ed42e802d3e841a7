"""A part file is whole or gone, however its task ends."""

import asyncio
import os
from pathlib import Path

import pytest
from anyio.lowlevel import checkpoint

from lipsync_async._part_file import Leftovers, PartFile

pytestmark = pytest.mark.anyio


def list_of(folder: Path) -> list[Path]:
    """Return what is in a folder."""
    return [*folder.iterdir()]


async def test_cancelled_while_the_disk_is_slow(tmp_path: Path) -> None:
    """A task cancelled in the middle of opening leaves neither file nor handle behind."""
    file = PartFile()
    with file._lock:  # as if the disk took its time  # noqa: SLF001
        opening = asyncio.create_task(file.open(tmp_path / "v.mp4", name="", distinct="id"))
        for _ in range(10):
            await checkpoint()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    await file.abandon()
    assert [*os.scandir(tmp_path)] == []


async def test_a_name_taken_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """In a folder, the name is settled in the end: the first to finish has it."""
    first, second = PartFile(), PartFile()
    for file, distinct in ((first, "1"), (second, "2")):
        await file.open(f"{tmp_path}/", name="v.mp4", distinct=distinct)
        await file.write(distinct.encode())
    paths = [await first.finish(), await second.finish()]
    assert [path.name for path in paths] == ["v.mp4", "v-2.mp4"]
    assert [path.read_bytes() for path in paths] == [b"1", b"2"]


async def test_leftovers_of_the_killed(tmp_path: Path) -> None:
    """What was begun for a target is cleared away, and nothing else; one look finds all."""
    long_name = f"{'take' * 40}-{{}}.mp4"
    names = ["v.mp4", "w.mp4", long_name.format("id-1"), long_name.format("id-2")]
    for name in [*names, *names]:
        killed = PartFile()
        await killed.open(tmp_path / name, name="", distinct="id")
        killed._file.close()  # type: ignore[union-attr]  # noqa: SLF001 - as its process would
    (tmp_path / "v.mp4.mine.part").touch()
    left = Leftovers(tmp_path)
    for name in names[::2]:
        await left.clear(tmp_path / name)
    beginnings = sorted(path.name.rpartition(".mp4.")[0][-4:] for path in list_of(tmp_path))
    assert beginnings == ["id-2", "id-2", "v", "w", "w"]
    await Leftovers(tmp_path / "nowhere").clear(tmp_path / "nowhere" / "v.mp4")


async def test_given_up_before_it_was_opened(tmp_path: Path) -> None:
    """A thread that comes too late makes no file."""
    file = PartFile()
    await file.abandon()
    await file.open(tmp_path / "v.mp4", name="", distinct="id")
    assert [*os.scandir(tmp_path)] == []


async def test_given_up_is_given_up(tmp_path: Path) -> None:
    """Nothing is written after the end."""
    file = PartFile()
    await file.open(tmp_path / "v.mp4", name="", distinct="id")
    await file.abandon()
    with pytest.raises(FileNotFoundError, match="given up"):
        await file.write(b"late")
    assert [*os.scandir(tmp_path)] == []
