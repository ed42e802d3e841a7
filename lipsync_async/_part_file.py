"""A file that appears under its final name only when it is whole."""

from __future__ import annotations

import errno
import os
import re
import time
from collections import OrderedDict, defaultdict, deque
from contextlib import suppress
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from anyio import Lock

from lipsync_async._logic.media_types import is_cut
from lipsync_async._threads import WORKERS, OneThread, until_done

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Iterable

# Handing bytes to the thread costs about 50 µs, which two MiB are worth; two such pieces on
# their way keep thread and network busy at once.
_PIECE_BYTES = 2_097_152
_MOST_CHUNKS = 512
_PIECES_AHEAD = 2
_COMPARED_BYTES = 1_048_576
_KEPT_BYTES = 8_388_608
# A disk that does not answer must not hold up a cancelled task for longer.
_PATIENCE = 5.0

# Room in a file name of 255 bytes for a token and `.part`, also in four-byte characters.
_LONGEST_STEM = 50
_TOKEN = re.compile(r"\.[0-9a-f]{8}\.part$")
# What systems say where a file cannot have two names: FAT, some network and phone disks.
_NO_LINKS = frozenset(
    {
        errno.EPERM,
        errno.EACCES,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
        errno.EXDEV,
    }
)


@cache
def _keep_freed_memory() -> None:
    """Have the C library keep memory that was freed, up to twice the size of this block.

    glibc gives it back at once and takes it anew page by page, which was a third of a
    download's CPU time, unless a large block was freed before. Source: mallopt(3),
    M_MMAP_THRESHOLD. The block itself is never touched, and costs nothing.
    """
    bytes(_KEPT_BYTES)


class _Saved(NamedTuple):
    """File that this process has saved, and its state then.

    Attributes:
        state: Numbers of the file; any change of it changes one. See `_state`.
        content: Words for what was saved.
    """

    state: tuple[int, ...]
    content: str


# What this process has saved under names that its user gave. A file that is not in it is not
# replaced, so the oldest entries may be dropped. Threads share it, by atomic operations.
_SAVED: OrderedDict[Path, _Saved] = OrderedDict()
_MOST_SAVED = 1000


class TakenError(OSError):
    """Raised when a file has no name left that nothing else has."""


class PartFile:
    """`.part` file that collects bytes, is synced, and then gets its final name.

    A thread of its own touches the disk, so that it waits for no thread of the program, and
    the loop waits for no disk. Bytes are handed over in large pieces, a few ahead.

    Args:
        content: Words for what is saved, if a user gave the file's name. Then it may replace a file
            that this process saved under that name before, if that file is unchanged.

    Attributes:
        replaced: The `content` of the file that was replaced.
    """

    def __init__(
        self, folder: Path, stem: str, content: str | None = None, *, patience: float = _PATIENCE
    ) -> None:
        self.size = 0
        self.replaced: str | None = None
        self._folder = folder
        self._content = content
        self._before: _Saved | None = None  # what may be replaced
        self._part = folder / f"{_short(stem)}.{token_hex(4)}.part"
        self._patience = patience
        self._is_open = False
        _keep_freed_memory()
        self._thread = OneThread("lipsync_async download")
        self._collected: list[bytes] = []
        self._collected_bytes = 0
        self._ahead: deque[Future[None]] = deque()
        self._failure: Exception | None = None

    async def open(self, name: str) -> int | None:
        """Make folder and part file; return the size of the file of that name that is to stay."""
        return await self._thread.submit(self._open, name)

    async def write(self, data: bytes) -> None:
        """Append bytes; an error of the disk may come with a later call."""
        self.size += len(data)
        self._collected.append(data)
        self._collected_bytes += len(data)
        if self._collected_bytes >= _PIECE_BYTES or len(self._collected) >= _MOST_CHUNKS:
            self._start_write()
            await self._wait_until(_PIECES_AHEAD)

    async def restart(self) -> None:
        """Forget every byte so far."""
        self._collected, self._collected_bytes = [], 0
        self._ahead.clear()
        await self._thread.submit(self._empty)
        self.size = 0

    async def is_cut(self) -> bool:
        """Tell whether the bytes so far say of themselves that more must come."""
        self._start_write()
        await self._wait_until(0)
        return await self._thread.submit(self._is_cut)

    async def finish(self, names: Iterable[tuple[str, bool]], *, overwrite: bool = False) -> Path:
        """Sync the bytes to the disk, give the file the first name that is free, and return it."""
        self._start_write()
        await self._wait_until(0)
        return await self._thread.submit(self._commit, names, overwrite)

    async def discard(self) -> None:
        """Remove what there is; harmless after `finish`.

        A thread whose disk does not answer does so later by itself.
        """
        removed = self._thread.submit(self._remove)
        self._thread.end()
        await until_done(removed, self._patience)

    async def _wait_until(self, ahead: int) -> None:
        """Wait until no more than so many pieces are on their way to the disk."""
        while len(self._ahead) > ahead:
            await self._ahead.popleft()
        if self._failure is not None:
            raise self._failure

    def _start_write(self) -> None:
        self._ahead.append(self._thread.submit(self._append, self._collected))
        self._collected, self._collected_bytes = [], 0

    # What follows runs in the thread, one after another.

    def _open(self, name: str) -> int | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / name
        try:  # first, for a name may be too long
            size = target.stat().st_size
        except FileNotFoundError:
            size = None
        self._file: BinaryIO = self._part.open("x+b")
        self._is_open = True
        if self._content is not None:
            # A file that another task saves there from now on stays: the program has not used it.
            self._before = _unchanged(target)
        return None if self._before is not None else size

    def _append(self, chunks: list[bytes]) -> None:
        """Write; an error is kept, for nothing may wait for this any more."""
        try:
            for chunk in chunks if self._failure is None else ():
                self._file.write(chunk)
        except Exception as error:  # noqa: BLE001 - it is raised by the next call
            self._failure = error

    def _empty(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def _is_cut(self) -> bool:
        found = is_cut(self._file, self.size)
        self._file.seek(0, os.SEEK_END)
        return found

    def _commit(self, names: Iterable[tuple[str, bool]], overwrite: bool) -> Path:  # noqa: FBT001 - as given
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        target = self._named(names, overwrite=overwrite)
        self._is_open = False
        _sync_folder(self._folder)
        return target

    def _named(self, names: Iterable[tuple[str, bool]], *, overwrite: bool) -> Path:
        target = self._part
        mark = () if self._content is None else _mark(self._part)
        for name, is_same_as_good in names:
            target = self._folder / name
            if overwrite:
                self._part.replace(target)
            elif not self._link(target):
                if is_same_as_good and _have_same_content(self._part, target):
                    self._part.unlink()
                    return target
                if not self._may_replace(target):
                    continue
                self._part.replace(target)
            if self._content is not None:
                _remember(target, mark, self._content)
            return target
        raise TakenError(f"{target} is there already")

    def _may_replace(self, target: Path) -> bool:
        """Tell whether the file there is the one that this process saved before."""
        if self._before is None or _unchanged(target) is not self._before:
            return False
        self.replaced = self._before.content
        return _SAVED.pop(_place(target), None) is self._before  # of two at once, one replaces it

    def _link(self, target: Path) -> bool:
        """Give the file a name that is free; two that finish at once never both get it."""
        try:
            os.link(self._part, target)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._replace(target)  # pragma: no cover - there are links here
        self._part.unlink()
        return True

    def _replace(self, target: Path) -> bool:  # pragma: no cover - as above
        try:
            target.open("xb").close()
        except FileExistsError:
            return False
        try:
            self._part.replace(target)
        except OSError:
            target.unlink()  # it is empty
            raise
        return True

    def _remove(self) -> None:
        if self._is_open:
            with suppress(OSError):  # a full disk; what is not written is not wanted
                self._file.close()
            with suppress(OSError):  # what was wrong before matters more
                self._part.unlink()


class StalePartFiles:
    """Part files of processes that were killed.

    Who clears must know that nothing else is fetching the same target.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock(fast_acquire=True)
        self._found: defaultdict[str, list[Path]] | None = None

    async def clear(self, stem: str) -> None:
        """Remove what was once begun under a stem and never finished, if that can be."""
        async with self._lock:
            if self._found is None:
                self._found = await WORKERS.submit(self._look)
            left = self._found.pop(_short(stem), [])
        if left:
            await WORKERS.submit(_unlink_all, left)

    def _look(self) -> defaultdict[str, list[Path]]:
        found: defaultdict[str, list[Path]] = defaultdict(list)
        with suppress(OSError):  # what is wrong will be said when something is written there
            for path in self._folder.glob("*.part"):
                found[_TOKEN.sub("", path.name)].append(path)
        return found


def _unlink_all(paths: list[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # it is in no one's way
            path.unlink()


def _place(target: Path) -> Path:
    return Path(os.path.realpath(target.parent), target.name)


def _state(target: Path) -> tuple[int, ...]:
    found = target.lstat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _mark(part: Path) -> tuple[int, ...]:
    """Set a modification time that any later change replaces; return the file's state.

    The system's own times advance in steps of some milliseconds, so that a change within one
    step would not show. Where the file system's times are coarser, no file counts as unchanged.
    """
    now = time.time_ns() // 1000 * 1000  # Windows counts in 100 ns
    with suppress(OSError):  # as where times are coarser
        os.utime(part, ns=(now, now))
    return (*_state(part)[:3], now)


def _remember(target: Path, mark: tuple[int, ...], content: str) -> None:
    _SAVED[_place(target)] = _Saved((*mark, _state(target)[-1]), content)
    if len(_SAVED) > _MOST_SAVED:
        _SAVED.popitem(last=False)


def _unchanged(target: Path) -> _Saved | None:
    """Return what this process has saved under a name, if that file is there unchanged."""
    saved = _SAVED.get(_place(target))
    with suppress(FileNotFoundError):
        return saved if saved is not None and saved.state == _state(target) else None
    return None


def _short(stem: str) -> str:
    return stem[-_LONGEST_STEM:]


def _have_same_content(one: Path, other: Path) -> bool:
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while (piece := first.read(_COMPARED_BYTES)) == second.read(_COMPARED_BYTES):
            if not piece:
                return True
    return False


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can."""
    with suppress(OSError):  # Windows opens no folders, and some disks sync none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
