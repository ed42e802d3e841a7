"""A part file is whole or gone, however its task ends."""

import asyncio
import os
from pathlib import Path

import pytest

from lipsync_async._part_file import PartFile

pytestmark = pytest.mark.anyio


async def test_cancelled_while_the_disk_is_slow(tmp_path: Path) -> None:
    """A task cancelled in the middle of opening leaves neither file nor handle behind."""
    slow = tmp_path / "v.mp4.part"
    os.mkfifo(slow)  # opening it for writing lasts until somebody reads
    file = PartFile()
    opening = asyncio.create_task(file.open(tmp_path / "v.mp4", name="", distinct="id"))
    while not file._lock.locked():  # noqa: ASYNC110, SLF001 - a thread sets no event
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    ending = asyncio.create_task(file.abandon())
    await asyncio.sleep(0)
    reader = os.open(slow, os.O_RDONLY | os.O_NONBLOCK)
    await ending
    os.close(reader)
    assert [*os.scandir(tmp_path)] == []


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
