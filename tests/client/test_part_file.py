"""A part file is whole or gone, however its task ends."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from lipsync_async._part_file import PartFile, StalePartFiles, TakenError, _mark, _remember
from tests.client.media_world import names_in

NAMED = [("v.mp4", True)]


@asynccontextmanager
async def begun(
    folder: Path, data: bytes, name: str = "v.mp4", content: str | None = None
) -> AsyncIterator[PartFile]:
    """Write some bytes, and abandon the file in the end."""
    file = PartFile(folder, name, content)
    try:
        await file.open(name)
        await file.write(data)
        yield file
    finally:
        await file.discard()


def killed(file: PartFile) -> None:
    """Close a file as the end of its process would."""
    file._file.close()  # noqa: SLF001


def held_up(file: PartFile) -> threading.Event:
    """Hold a part file's thread, as a slow disk does, until the event is set."""
    gate = threading.Event()
    file._thread.submit(gate.wait)  # noqa: SLF001 - no disk is slow on demand
    return gate


@pytest.mark.parametrize("turns", range(4))
async def test_cancelled_while_the_disk_is_slow(tmp_path: Path, turns: int) -> None:
    """A task cancelled in the middle of opening leaves neither file nor handle behind."""
    file = PartFile(tmp_path, "v.mp4")
    gate = held_up(file)
    opening = asyncio.create_task(file.open("v.mp4"))
    for _ in range(turns):
        await checkpoint()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    gate.set()
    await file.discard()
    assert names_in(tmp_path) == []


async def test_a_disk_that_does_not_answer(tmp_path: Path) -> None:
    """Giving up waits no longer than it may; what is left goes when the disk answers again."""
    file = PartFile(tmp_path, "v.mp4", patience=0.0)
    await file.open("v.mp4")
    gate = held_up(file)
    # In a task of its own: Python 3.11 does not trace what comes behind a cancelled wait.
    await asyncio.create_task(file.discard())
    assert len(names_in(tmp_path)) == 1
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "lipsync_async download":
            thread.join()
    assert names_in(tmp_path) == []


async def test_a_name_taken_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """The name is settled in the end: the first to finish has it, the next another one."""
    names = [("v.mp4", False), ("v-1.mp4", True), ("v-2.mp4", True)]
    contents = [b"first", b"other", b"third", b"other"]
    paths = []
    for content in contents:
        async with begun(tmp_path, content) as file:
            paths.append(await file.finish(names))
    assert [path.name for path in paths] == ["v.mp4", "v-1.mp4", "v-2.mp4", "v-1.mp4"]
    assert [path.read_bytes() for path in paths] == contents
    assert names_in(tmp_path) == ["v-1.mp4", "v-2.mp4", "v.mp4"]


async def test_many_at_once_never_share_a_name(tmp_path: Path) -> None:
    """However many finish at the same moment, each has a file of its own."""
    names = [(f"v-{number}.mp4", False) for number in range(20)]
    paths: dict[int, Path] = {}

    async def fetch(number: int) -> None:
        async with begun(tmp_path, b"%d" % number) as file:
            paths[number] = await file.finish(names)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(fetch, number)
    assert names_in(tmp_path) == sorted(name for name, _ in names)
    assert all(path.read_bytes() == b"%d" % number for number, path in paths.items())


LARGE = bytes(range(256)) * 12_000


@pytest.mark.parametrize(
    ("there", "new", "overwrite", "expected"),
    [
        (None, b"new", False, b"new"),
        (b"new", b"new", False, b"new"),
        (b"old", b"new", False, None),
        (b"longer", b"new", False, None),
        (b"", b"new", False, None),
        (b"old", b"new", True, b"new"),
        (LARGE, LARGE, False, LARGE),
        (LARGE[:-1] + b"x", LARGE, False, None),
        (b"x" + LARGE[1:], LARGE, False, None),
        (LARGE, LARGE[::-1], True, LARGE[::-1]),
    ],
)
async def test_what_is_there_is_not_replaced_in_silence(
    tmp_path: Path, there: bytes | None, new: bytes, expected: bytes | None, *, overwrite: bool
) -> None:
    """The same bytes are as good; others are replaced only where that is asked for."""
    if there is not None:
        (tmp_path / "v.mp4").write_bytes(there)
    async with begun(tmp_path, new) as file:
        if expected is None:
            with pytest.raises(TakenError, match=r"v\.mp4 is there already"):
                await file.finish(NAMED, overwrite=overwrite)
        else:
            assert await file.finish(NAMED, overwrite=overwrite) == tmp_path / "v.mp4"
    assert names_in(tmp_path) == ["v.mp4"]
    assert (tmp_path / "v.mp4").read_bytes() == (there if expected is None else expected)


@pytest.mark.parametrize("there", [False, True])
async def test_two_at_once_onto_one_name(tmp_path: Path, *, there: bool) -> None:
    """One gets the name, and the other does not replace it, though this process has saved it."""
    if there:
        async with begun(tmp_path, b"before", content="zero") as file:
            await file.finish(NAMED)
    async with (
        begun(tmp_path, b"first", content="one") as first,
        begun(tmp_path, b"other", content="two") as second,
    ):
        await first.finish(NAMED)
        with pytest.raises(TakenError, match=r"v\.mp4 is there already"):
            await second.finish(NAMED)
    assert (first.replaced, second.replaced) == ("zero" if there else None, None)
    assert names_in(tmp_path) == ["v.mp4"]
    assert (tmp_path / "v.mp4").read_bytes() == b"first"


async def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    """A program may save any number of files: the last thousand names can be used again."""
    for number in range(1001):
        path = tmp_path / f"{number}.mp4"
        path.touch()
        _remember(path, _mark(path), f"{number}")
    for name, size in {"0.mp4": 0, "1.mp4": None, "1000.mp4": None}.items():
        file = PartFile(tmp_path, name, "new")
        assert await file.open(name) == size
        await file.discard()


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_link_that_points_outside(tmp_path: Path, overwrite: bool) -> None:  # noqa: FBT001
    """Nothing is written through it: it is passed by, or itself replaced."""
    outside, folder = tmp_path / "outside.mp4", tmp_path / "out"
    outside.write_bytes(b"precious")
    folder.mkdir()
    (folder / "v.mp4").symlink_to(outside)
    (folder / "w.mp4").symlink_to(tmp_path / "nothing.mp4")
    for name in ("v", "w"):
        async with begun(folder, b"new") as file:
            path = await file.finish(
                [(f"{name}.mp4", True), (f"{name}-2.mp4", True)], overwrite=overwrite
            )
        assert path.name == (f"{name}.mp4" if overwrite else f"{name}-2.mp4")
        assert not path.is_symlink()
        assert path.read_bytes() == b"new"
    assert outside.read_bytes() == b"precious"
    assert names_in(tmp_path) == ["out", "outside.mp4"]


async def test_a_folder_that_has_the_name(tmp_path: Path) -> None:
    """It is no file of the same content, and is passed by."""
    (tmp_path / "v.mp4").mkdir()
    async with begun(tmp_path, b"new") as file:
        path = await file.finish([("v.mp4", True), ("v-2.mp4", True)])
    assert path.name == "v-2.mp4"


@pytest.mark.parametrize("size", [0, 1, 2_097_151, 2_097_152, 2_097_153, 9_000_000])
async def test_every_size_arrives(tmp_path: Path, size: int) -> None:
    """Pieces of any size are put together as they came."""
    content = (LARGE * 3)[:size]
    async with begun(tmp_path, b"") as file:
        for start in range(0, size, 300_001):
            await file.write(content[start : start + 300_001])
        assert file.size == size
        path = await file.finish(NAMED)
    assert path.read_bytes() == content


async def test_many_small_pieces(tmp_path: Path) -> None:
    """Bytes that come one by one are not kept in memory one by one."""
    async with begun(tmp_path, b"") as file:
        for number in range(2000):
            await file.write(bytes([number % 256]))
        assert len(file._collected) < 1000  # noqa: SLF001 - what memory they take
        path = await file.finish(NAMED)
    assert path.read_bytes() == (bytes(range(256)) * 8)[:2000]


async def test_starting_anew(tmp_path: Path) -> None:
    """Nothing of what came before is left, handed over or not."""
    async with begun(tmp_path, LARGE) as file:
        await file.write(b"more")
        await file.restart()
        assert file.size == 0
        await file.write(b"new")
        path = await file.finish(NAMED)
    assert path.read_bytes() == b"new"


async def test_what_is_known_when_it_is_opened(tmp_path: Path) -> None:
    """The size of what has the name is told, and a name that is too long at once."""
    (tmp_path / "v.mp4").write_bytes(b"12345")
    sizes = []
    for name in ("v.mp4", "w.mp4"):
        file = PartFile(tmp_path / "deep" / "..", name)
        sizes.append(await file.open(name))
        await file.discard()
    assert sizes == [5, None]
    file = PartFile(tmp_path, "v" * 300)
    with pytest.raises(OSError, match="too long") as caught:
        await file.open("v" * 300)
    await file.discard()
    assert caught.value.errno == errno.ENAMETOOLONG
    assert names_in(tmp_path) == ["deep", "v.mp4"]


async def test_a_part_that_was_taken_away(tmp_path: Path) -> None:
    """Where the part file is gone, no file gets the name."""
    async with begun(tmp_path, b"new") as file:
        file._part.unlink()  # noqa: SLF001
        with pytest.raises(FileNotFoundError):
            await file.finish(NAMED)
    assert names_in(tmp_path) == []


async def test_given_up_before_it_was_opened(tmp_path: Path) -> None:
    """There is nothing to be removed then."""
    await PartFile(tmp_path / "new", "v").discard()
    assert names_in(tmp_path) == []


async def fill(file: PartFile, pieces: int) -> Path:
    """Write large pieces, and finish."""
    for _ in range(pieces):
        await file.write(bytes(2_097_152))
    return await file.finish(NAMED)


@pytest.mark.parametrize("pieces", [1, 9])
async def test_a_failure_of_the_disk_is_raised(tmp_path: Path, pieces: int) -> None:
    """It may come with a later call, but never gets lost."""
    async with begun(tmp_path, b"") as file:
        killed(file)
        with pytest.raises(ValueError, match="closed file"):
            await fill(file, pieces)
    assert names_in(tmp_path) == []


async def test_leftovers_of_the_killed(tmp_path: Path) -> None:
    """What was begun for a stem is cleared away, and nothing else; one look finds all."""
    long_stem = f"{'take' * 40}-{{}}"
    stems = ["v", "w.x", long_stem.format("id-1"), long_stem.format("id-2")]
    for stem in [*stems, *stems]:
        file = PartFile(tmp_path, stem)
        await file.open("v")
        killed(file)
        file._is_open = False  # noqa: SLF001 - nothing is there that would remove it
        await file.discard()
    (tmp_path / "v.mine.part").touch()
    left = StalePartFiles(tmp_path)
    for stem in stems[::2]:
        await left.clear(stem)
    beginnings = [name.removesuffix(".part").rpartition(".")[0][-4:] for name in names_in(tmp_path)]
    assert sorted(beginnings) == ["id-2", "id-2", "v", "w.x", "w.x"]
    await left.clear("v")  # what there was is gone
    await StalePartFiles(tmp_path / "nowhere").clear("v")
