"""The sandbox's files: its folder on disk, hosted files, and signed URLs."""

from __future__ import annotations

import hmac
import mimetypes
from itertools import count
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.server.messages import StoredFile


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


MEDIA_PATH = "/__sandbox/media/"
FILES_PATH = "/__sandbox/files/"
INBOX_PATH = "/__sandbox/inbox"

# Where a link was handed out; faults tell them apart.
IN_GENERATION = "generation"
IN_DOWNLOAD = "download"
IN_REDIRECT = "redirect"


class Links:
    """Mint addresses and judge those that come back.

    Args:
        base_url: Where the sandbox is.
        secret: Signs the media links.
        clock: Lets links expire.
        lifetime: Seconds that a media link works; `None`: for ever.

    """

    def __init__(self, base_url: str, secret: str, clock: Clock, lifetime: float | None) -> None:
        """Hold on to all of it."""
        self.base_url = base_url
        self._secret = secret.encode()
        self._clock = clock
        self._lifetime = lifetime

    @property
    def never_expire(self) -> bool:
        """Whether a link, once minted, may be handed out again."""
        return self._lifetime is None

    def media(self, job_id: str, *, version: int, via: str = IN_GENERATION) -> str:
        """Return a link to a job's output."""
        expires = "" if self._lifetime is None else f"{self._clock.now() + self._lifetime:.3f}"
        facts = {"expires": expires, "version": str(version), "via": via}
        signature = self._sign(job_id, facts)
        # Digits, hex and plain words: nothing that a query would have to escape.
        query = f"expires={expires}&version={version}&via={via}&signature={signature}"
        return f"{self.base_url}{MEDIA_PATH}{job_id}.mp4?{query}"

    def elsewhere(self, job_id: str, *, version: int) -> str:
        """Return a link to the same output under another host name of this machine."""
        link = self.media(job_id, version=version, via=IN_REDIRECT)
        parts = urlsplit(link)
        other = "127.0.0.1" if parts.hostname == "localhost" else "localhost"
        port = "" if parts.port is None else f":{parts.port}"
        return parts._replace(netloc=other + port).geturl()

    def is_good(self, job_id: str, facts: Mapping[str, str]) -> bool:
        """Return whether a link was minted here and has not expired."""
        expected = self._sign(job_id, facts)
        if not hmac.compare_digest(expected.encode(), facts.get("signature", "").encode()):
            return False
        expires = facts.get("expires")
        return not expires or self._clock.now() <= float(expires)

    def file(self, name: str) -> str:
        """Return the address of a hosted file."""
        return f"{self.base_url}{FILES_PATH}{quote(name)}"

    def _sign(self, job_id: str, facts: Mapping[str, str]) -> str:
        signed = [job_id, *(facts.get(name, "") for name in ("expires", "version", "via"))]
        return hmac.digest(self._secret, "\n".join(signed).encode(), "sha256").hex()[:32]


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
