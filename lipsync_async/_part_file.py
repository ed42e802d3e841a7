"""A file that appears under its final name only when it is whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import CancelScope, to_thread

if TYPE_CHECKING:
    from typing import BinaryIO


class PartFile:
    """Collect bytes in `NAME.part`, then sync them and rename the file to `NAME`.

    Every touch of the disk happens in a worker thread.
    """

    def __init__(self, file: BinaryIO, part: Path, target: Path) -> None:
        self.target = target
        self.size = 0
        self._file = file
        self._part = part

    @classmethod
    async def open(cls, to: str | os.PathLike[str], *, name: str, distinct: str) -> PartFile:
        """Open the file that `to` names, or one in the folder that it names.

        Args:
            to: A folder (one that exists, or a name with a trailing slash), which is made
                if need be; or exactly the file, which is replaced in the end.
            name: The file's name in a folder.
            distinct: What `name` gets before its suffix if it is taken, by a file or by a
                transfer under way: nothing that belongs to somebody else is replaced. A
                name that holds it already is nobody else's.

        """
        return await to_thread.run_sync(cls._open, to, name, distinct)

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        await to_thread.run_sync(self._file.write, data)
        self.size += len(data)

    async def restart(self) -> None:
        """Forget every byte so far."""
        await to_thread.run_sync(self._empty)
        self.size = 0

    async def finish(self) -> Path:
        """Sync the bytes to the disk, give the file its name, and return it."""
        return await to_thread.run_sync(self._settle)

    async def abandon(self) -> None:
        """Remove what there is; harmless after `finish`."""
        with CancelScope(shield=True):
            await to_thread.run_sync(self._remove)

    @classmethod
    def _open(cls, to: str | os.PathLike[str], name: str, distinct: str) -> PartFile:
        path = Path(to)
        if not (os.fspath(to).endswith(("/", os.sep)) or path.is_dir()):
            return cls._open_at(path)
        path.mkdir(parents=True, exist_ok=True)
        wanted = path / name
        if distinct in name:
            return cls._open_at(wanted)
        if not wanted.exists():
            part = wanted.with_name(f"{wanted.name}.part")
            # Taken by another transfer; a leftover of a killed one counts too.
            with suppress(FileExistsError):
                return cls(part.open("xb"), part, wanted)
        return cls._open_at(wanted.with_name(f"{wanted.stem}-{distinct}{wanted.suffix}"))

    @classmethod
    def _open_at(cls, target: Path) -> PartFile:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        return cls(part.open("wb"), part, target)

    def _empty(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def _settle(self) -> Path:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self.target)
        _sync_folder(self.target.parent)
        return self.target

    def _remove(self) -> None:
        # A full disk refuses the last buffered bytes once more; nobody wants them now.
        with suppress(OSError):
            self._file.close()
        self._part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can."""
    if os.name != "posix":  # pragma: no cover - Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
