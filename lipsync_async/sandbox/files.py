"""Files that the sandbox hosts, so that a local file can be an input's URL."""

from __future__ import annotations

import mimetypes
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import attrs

from lipsync_async.sandbox.links import FILES_PATH

if TYPE_CHECKING:
    from lipsync_async.sandbox.links import Links
    from lipsync_async.sandbox.wire import StoredFile

_ANY_TYPE = "application/octet-stream"


@attrs.frozen(slots=True)
class HostedFile:
    """Hold one file and its media type."""

    path: Path
    content_type: str

    def facts(self) -> tuple[int, str]:
        """Return its present length and validator."""
        facts = self.path.stat()
        return facts.st_size, f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"'


class HostedFiles:
    """Give local files an address.

    Args:
        links: Knows where the sandbox is.

    """

    def __init__(self, links: Links) -> None:
        """Start without files."""
        self._links = links
        self._files: dict[str, HostedFile] = {}

    def host(self, path: Path, *, name: str | None = None) -> str:
        """Serve a file that stays where it is, and return its URL.

        Args:
            path: The file.
            name: What to call it; `None`: as it is called, with a number if that is taken.

        """
        name, count = name or path.name, 1
        while name in self._files and self._files[name].path != path:
            count += 1
            name = f"{path.stem}-{count}{path.suffix}"
        self._files[name] = HostedFile(path, mimetypes.guess_type(name)[0] or _ANY_TYPE)
        return self._links.file(name)

    def adopt(self, file: StoredFile, name: str) -> str:
        """Serve a file that came with a request, and return its URL."""
        guessed = mimetypes.guess_type(name)[0] or _ANY_TYPE
        content_type = guessed if file.content_type == _ANY_TYPE else file.content_type
        self._files[name] = HostedFile(file.path, content_type)
        return self._links.file(name)

    def get(self, name: str) -> HostedFile | None:
        """Return a hosted file, or `None` where there is none (any more)."""
        file = self._files.get(name)
        return file if file is not None and file.path.is_file() else None

    def asset(self, asset_id: str) -> HostedFile | None:
        """Return the uploaded file that became an asset."""
        names = [name for name in self._files if PurePosixPath(name).stem == asset_id]
        return self.get(names[0]) if names else None

    def is_own(self, url: str) -> bool:
        """Return whether a URL is one of this host's, whether or not the file exists."""
        return url.startswith(f"{self._links.base_url}{FILES_PATH}")

    def at(self, url: str) -> HostedFile | None:
        """Return the file behind a URL of this host."""
        return self.get(unquote(PurePosixPath(urlsplit(url).path).name))
