"""The sandbox's own place on disk: made when first needed, gone when the sandbox is."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory


class Folder:
    """Hand out paths for files that nobody else knows."""

    def __init__(self) -> None:
        """Make nothing yet."""
        self._directory: TemporaryDirectory[str] | None = None
        self._numbers = count(1)

    def new_path(self, suffix: str = "") -> Path:
        """Return a path at which there is no file yet."""
        if self._directory is None:
            self._directory = TemporaryDirectory(prefix="lipsync-sandbox-")
        return Path(self._directory.name) / f"{next(self._numbers)}{suffix}"

    def close(self) -> None:
        """Remove everything."""
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None
