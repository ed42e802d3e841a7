"""The sandbox's files: its folder on disk, who owns what in it, hosted files, signed URLs."""

from __future__ import annotations

import hmac
import mimetypes
import os
import shutil
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote, urlsplit

import attrs

from lipsync_async.sandbox.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping


MEDIA_PATH = "/__sandbox/media/"
FILES_PATH = "/__sandbox/files/"
BATCHES_PATH = "/__sandbox/batches/"
UPLOADS_PATH = "/__sandbox/uploads/"
INBOX_PATH = "/__sandbox/inbox"

# Where a link was handed out; faults tell them apart.
IN_GENERATION = "generation"
IN_DOWNLOAD = "download"
IN_REDIRECT = "redirect"

_ANY_TYPE = "application/octet-stream"
_PREFIX = "lipsync-sandbox-"
_YOUNG_SECONDS = 60.0  # the sandbox of an empty folder may be about to lock it


class Folder:
    """The sandbox's folder on disk: made when first needed, gone when the sandbox is."""

    def __init__(self) -> None:
        self._directory: TemporaryDirectory[str] | None = None
        self._lock: int | None = None
        self._numbers = count(1)

    def new_path(self, suffix: str = "") -> Path:
        """Return a path at which there is no file yet."""
        if self._directory is None:
            sweep(Path(gettempdir()))
            self._directory = TemporaryDirectory(prefix=_PREFIX)
            self._lock = _lock(Path(self._directory.name))
        return Path(self._directory.name) / f"{next(self._numbers)}{suffix}"

    def close(self) -> None:
        """Remove everything."""
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def sweep(parent: Path, now: float | None = None) -> None:
    """Remove the folders of sandboxes that were killed.

    A sandbox holds a lock on its folder for as long as its process lives, and locks it before
    the first file is in it. A process id would say less: another container that shares the
    folder counts its own.
    """
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            age = (time.time() if now is None else now) - folder.stat().st_mtime
            is_dead = age > _YOUNG_SECONDS or any(folder.iterdir())
            lock = _lock(folder) if is_dead else None
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder until the descriptor is closed; `None`: another process holds the lock."""
    if sys.platform == "win32":  # pragma: no cover - folders have no locks there
        return None
    import fcntl  # noqa: PLC0415 - Windows has none

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@attrs.define(slots=True)
class OwnedFiles:
    """The files of one owner, such as a request or a job: they are deleted together."""

    folder: Folder = attrs.field(factory=Folder)
    _paths: list[Path] = attrs.field(factory=list)

    def new_path(self, suffix: str = "") -> Path:
        """Return a path at which there is no file yet; what will be there is owned."""
        path = self.folder.new_path(suffix)
        self._paths.append(path)
        return path

    def hand_over(self, path: Path) -> Path:
        """Own a file no longer."""
        self._paths.remove(path)
        return path

    def take_over(self, path: Path) -> None:
        """Own a file from now on."""
        self._paths.append(path)

    def delete(self) -> None:
        """Delete everything that is owned."""
        while self._paths:
            self._paths.pop().unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.delete()


@attrs.define(slots=True)
class SignedUrls:
    """The addresses of the sandbox's media: minted, and judged when they come back."""

    base_url: str
    _secret: bytes
    _clock: Clock
    lifetime: float | None  # seconds; `None`: a link may be handed out again and again
    has_other_host: bool = True  # has another name for outputs and uploads

    @property
    def other_url(self) -> str:
        """The origin of outputs and uploads.

        The real service has them on another host, to which no API key may be sent.
        """
        return on_other_host(self.base_url) if self.has_other_host else self.base_url

    def media(self, job_id: str, *, version: int, via: str = IN_GENERATION) -> str:
        """Return a link to a job's output."""
        return self._link(f"{MEDIA_PATH}{job_id}.mp4", job_id, version, via)

    def batch(self, batch_id: str, *, is_signed: bool = False) -> str:
        """Return a link to a batch's results; the one without a signature points to the other."""
        path = f"{BATCHES_PATH}{batch_id}.jsonl"
        return self._link(path, batch_id, 0, IN_DOWNLOAD) if is_signed else self.base_url + path

    def _link(self, path: str, row_id: str, version: int, via: str) -> str:
        expires = "" if self.lifetime is None else f"{self._clock.now() + self.lifetime:.3f}"
        facts = {"expires": expires, "version": str(version), "via": via}
        signature = self._sign(row_id, facts)
        # Digits, hex and plain words: nothing that a query would have to escape.
        query = f"expires={expires}&version={version}&via={via}&signature={signature}"
        return f"{self.other_url}{path}?{query}"

    def is_good(self, job_id: str, facts: Mapping[str, str]) -> bool:
        """Return whether a link was minted here and has not expired."""
        expected = self._sign(job_id, facts)
        if not hmac.compare_digest(expected.encode(), facts.get("signature", "").encode()):
            return False
        expires = facts.get("expires")
        return not expires or self._clock.now() <= float(expires)

    def upload(self, upload_id: str, name: str) -> str:
        """Return the address to which a file may be PUT."""
        return f"{self.other_url}{UPLOADS_PATH}{upload_id}/{quote(name, safe='')}"

    def is_ours(self, url: str) -> bool:
        """Return whether a URL is one of this sandbox, under either of its names."""
        return url.startswith((f"{self.base_url}/", f"{self.other_url}/"))

    def file(self, name: str) -> str:
        """Return the address of a hosted file."""
        return f"{self.base_url}{FILES_PATH}{quote(name, safe='')}"

    def _sign(self, job_id: str, facts: Mapping[str, str]) -> str:
        signed = [job_id, *(facts.get(name, "") for name in ("expires", "version", "via"))]
        return hmac.digest(self._secret, "\n".join(signed).encode(), "sha256").hex()[:32]


_OTHER_NAMES = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}


def on_other_host(url: str) -> str:
    """Return a URL under this machine's other loopback name; other hosts have none."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    return parts._replace(netloc=parts.netloc.replace(name, _OTHER_NAMES.get(name, name))).geturl()


@attrs.frozen(slots=True)
class HostedFile:
    """One file with its media type; `is_owned` says that it is the sandbox's to delete."""

    path: Path
    content_type: str
    is_owned: bool = False
    digest: str | None = None  # SHA-256 of what was uploaded


@attrs.define(slots=True)
class HostedFiles:
    """Local files with an address, so that they can be inputs."""

    _urls: SignedUrls
    _files: dict[str, HostedFile] = attrs.field(factory=dict)
    assets: dict[str, str] = attrs.field(factory=dict)  # URLs by ids, those of deleted ones too

    def host(self, path: Path, *, name: str | None = None) -> str:
        """Serve a file that stays where it is, and return its URL."""
        name, number = name or path.name, 1
        while name in self._files and self._files[name].path != path:
            number += 1
            name = f"{path.stem}-{number}{path.suffix}"
        self._files[name] = HostedFile(path, mimetypes.guess_type(name)[0] or _ANY_TYPE)
        return self._urls.file(name)

    def adopt(self, path: Path, name: str, content_type: str, *, digest: str | None = None) -> str:
        """Serve a file that came with a request, in place of an older one of that name."""
        if content_type == _ANY_TYPE:
            content_type = mimetypes.guess_type(name)[0] or _ANY_TYPE
        older = self._files.get(name)
        if older is not None and older.is_owned:
            older.path.unlink(missing_ok=True)
        self._files[name] = HostedFile(path, content_type, is_owned=True, digest=digest)
        return self._urls.file(name)

    def get(self, name: str) -> HostedFile | None:
        """Return a hosted file, or `None` where there is none (any more)."""
        file = self._files.get(name)
        return file if file is not None and file.path.is_file() else None

    def is_own(self, url: str) -> bool:
        """Return whether a URL is one of this host's, whether or not the file exists."""
        return url.startswith(f"{self._urls.base_url}{FILES_PATH}")

    def at(self, url: str) -> HostedFile | None:
        """Return the file behind a URL of this host."""
        return self.get(unquote(PurePosixPath(urlsplit(url).path).name))
