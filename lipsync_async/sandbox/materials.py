"""Brings a job's inputs onto the disk: hosted files, fetched ones, and spoken text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import attrs

from lipsync_async.sandbox.fetch import FetchError
from lipsync_async.sandbox.media.probe import MediaInfo, probe
from lipsync_async.sandbox.media.problems import MediaError
from lipsync_async.sandbox.media.speech import speak

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async.sandbox.files import HostedFiles
    from lipsync_async.sandbox.folder import Folder
    from lipsync_async.sandbox.outside import Outside

_VISUAL = frozenset({"video", "image"})
_MOST_SECONDS = 1800.0  # the longest output of any listed plan, contract section 5.3


@attrs.frozen(slots=True)
class Track:
    """Hold one audio of a job.

    Attributes:
        ref_id: The name that segments know it by.
        path: Where it is.
        seconds: How long it is.
        is_spoken: Whether it was made of a text input.

    """

    ref_id: str | None
    path: Path
    seconds: float
    is_spoken: bool = False


@attrs.frozen(slots=True)
class Materials:
    """Hold everything that one output is made of."""

    visual: Path
    info: MediaInfo
    tracks: tuple[Track, ...]


class Stockroom:
    """Fetch, find and speak inputs.

    Args:
        files: Hosts some of them.
        folder: Where the others go.
        outside: Fetches them.

    """

    def __init__(self, files: HostedFiles, folder: Folder, outside: Outside) -> None:
        """Hold on to all of it."""
        self._files = files
        self._folder = folder
        self._outside = outside

    async def check(self, order: Mapping[str, Any]) -> None:
        """Look at what can be looked at before a job is accepted: own files, and rules.

        What is hosted elsewhere is fetched by the job, as the service does it.

        Raises:
            MediaError: An input cannot be had or used.

        """
        for item in order["input"]:
            if item["type"] == "text":
                continue
            path = self._own(item)
            if path is not None:
                await _probe(path, item["type"])
            elif (reason := self._outside.refusal(item["url"])) is not None:
                raise _inaccessible(item["type"], f"{item['url']}: {reason}")

    async def gather(self, order: Mapping[str, Any]) -> Materials:
        """Bring every input of a create body onto the disk.

        Raises:
            MediaError: An input cannot be had or used.

        """
        visual = next(item for item in order["input"] if item["type"] in _VISUAL)
        path = await self._path(visual)
        info = await _probe(path, visual["type"])
        spoken = [item for item in order["input"] if item["type"] not in _VISUAL]
        return Materials(path, info, tuple([await self._track(item) for item in spoken]))

    async def _track(self, item: Mapping[str, Any]) -> Track:
        if item["type"] == "text":
            voice, path = item["provider"], self._folder.new_path(".wav")
            seconds = await anyio.to_thread.run_sync(speak, voice["script"], voice["voiceId"], path)
            return Track(item.get("refId"), path, seconds, is_spoken=True)
        path = await self._path(item)
        info = await _probe(path, "audio")
        return Track(item.get("refId"), path, info.duration or 0.0)

    async def _path(self, item: Mapping[str, Any]) -> Path:
        own = self._own(item)
        if own is not None:
            return own
        path = self._folder.new_path(Path(item["url"].partition("?")[0]).suffix)
        try:
            await self._outside.fetch(item["url"], path)
        except FetchError as error:
            raise _inaccessible(item["type"], error.reason) from None
        return path

    def _own(self, item: Mapping[str, Any]) -> Path | None:
        """Return the file of an input that this sandbox hosts; `None`: it is elsewhere."""
        url = item.get("url")
        if url is None:
            file = self._files.asset(item["assetId"])
            if file is None:
                raise MediaError("asset_not_found", f"There is no asset {item['assetId']}.")
            return file.path
        if not self._files.is_own(url):
            return None
        file = self._files.at(url)
        if file is None:
            raise _inaccessible(item["type"], f"{url}: there is no such file")
        return file.path


async def _probe(path: Path, kind: str) -> MediaInfo:
    info = await anyio.to_thread.run_sync(probe, path, kind)
    if info.duration is not None and info.duration > _MOST_SECONDS:
        message = f"{path.name} is longer than {_MOST_SECONDS:g} s."
        raise MediaError("generation_input_duration_greater_than_max_duration", message)
    return info


def _inaccessible(kind: str, reason: str) -> MediaError:
    return MediaError(f"generation_input_{kind}_inaccessible", f"The {kind} is not there: {reason}")
