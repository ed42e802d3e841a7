"""A file that appears under its final name only when it is whole."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from anyio import CancelScope

from lipsync_async._threads import in_thread, new_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

# Room in a file name of 255 bytes for a token and `.part`, also in four-byte characters.
_LONGEST_STEM = 50
_TOKEN = re.compile(r"\.[0-9a-f]{8}\.part$")


class PartFile:
    """Collect bytes in a `.part` file of its own, then sync them and give them their name.

    Every touch of the disk happens in a worker thread. A cancelled task does not wait for
    its thread, so each touch takes a lock, and none has an effect after the end.
    """

    def __init__(self) -> None:
        self.size = 0
        self._lock = new_lock()
        self._file: BinaryIO | None = None
        self._part = self._target = Path()
        self._otherwise: Path | None = None
        self._has_ended = False

    async def open(self, to: str | os.PathLike[str], *, name: str, distinct: str) -> None:
        """Open the file that `to` names, or one in the folder that it names.

        Args:
            to: A folder (one that exists, or a name with a trailing slash), which is made
                if need be; or exactly the file, which is replaced in the end.
            name: The file's name in a folder.
            distinct: What `name` gets before its suffix if it is taken in the end: nothing
                that belongs to somebody else is replaced. A name that holds it already is
                nobody else's.

        """
        await in_thread(self._open, to, name, distinct)

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        await in_thread(self._append, data)
        self.size += len(data)

    async def restart(self) -> None:
        """Forget every byte so far."""
        await in_thread(self._empty)
        self.size = 0

    async def finish(self) -> Path:
        """Sync the bytes to the disk, give the file its name, and return it."""
        await in_thread(self._settle)
        return self._target

    async def abandon(self) -> None:
        """Remove what there is; harmless after `finish`."""
        with CancelScope(shield=True):
            await in_thread(self._remove)

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Give the file to one thread at a time, as long as there is one."""
        with self._lock:
            if self._file is None or self._has_ended:
                raise FileNotFoundError(f"{self._part} was given up")
            yield self._file

    def _open(self, to: str | os.PathLike[str], name: str, distinct: str) -> None:
        with self._lock:
            if self._has_ended:
                return
            path = Path(to)
            if os.fspath(to).endswith(("/", os.sep)) or path.is_dir():
                self._target = path / name
                if distinct not in name:
                    stem, suffix = self._target.stem, self._target.suffix
                    self._otherwise = self._target.with_name(f"{stem}-{distinct}{suffix}")
            else:
                self._target = path
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._part = self._target.with_name(f"{_stem(self._target)}.{token_hex(4)}.part")
            self._file = self._part.open("xb")

    def _append(self, data: bytes) -> None:
        with self._opened() as file:
            file.write(data)

    def _empty(self) -> None:
        with self._opened() as file:
            file.seek(0)
            file.truncate()

    def _settle(self) -> None:
        with self._opened() as file:
            file.flush()
            os.fsync(file.fileno())
            file.close()
            self._publish()
            self._has_ended = True
        _sync_folder(self._target.parent)

    def _publish(self) -> None:
        """Give the file its name; in a folder, one that nobody else has taken by then."""
        if self._otherwise is not None:
            try:
                os.link(self._part, self._target)
            except FileExistsError:
                self._target = self._otherwise
            except OSError:  # pragma: no cover - a file system without links, such as FAT
                if self._target.exists():
                    self._target = self._otherwise
            else:
                self._part.unlink()
                return
        self._part.replace(self._target)

    def _remove(self) -> None:
        with self._lock:
            if self._file is not None and not self._has_ended:
                with suppress(OSError):  # a full disk; what is not written is not wanted
                    self._file.close()
                self._part.unlink(missing_ok=True)
            self._has_ended = True


class Leftovers:
    """Find, and clear away, the part files of processes that were killed.

    Whoever clears must know that nobody else is fetching the same target.

    Args:
        folder: Where to look, once, when it is first needed.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = new_lock()
        self._found: defaultdict[str, list[Path]] | None = None

    async def clear(self, target: Path) -> None:
        """Remove what was once begun for a target and never finished, if that can be."""
        await in_thread(self._clear, _stem(target))

    def _clear(self, stem: str) -> None:
        with self._lock:
            if self._found is None:
                self._found = defaultdict(list)
                with suppress(OSError):  # whoever writes there next will say what is wrong
                    for path in self._folder.glob("*.part"):
                        self._found[_TOKEN.sub("", path.name)].append(path)
            left = self._found.pop(stem, [])
        for path in left:
            with suppress(OSError):  # it is in nobody's way
                path.unlink()


def _stem(target: Path) -> str:
    """Return what a target's part file begins with: the end of the name, where ids are."""
    return target.name[-_LONGEST_STEM:]


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can."""
    if os.name != "posix":  # pragma: no cover - Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
