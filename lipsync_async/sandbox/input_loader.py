"""The loader of a job's inputs: hosted files, fetched ones, and spoken text, as local paths."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import attrs

from lipsync_async.sandbox.files import Folder, HostedFiles, OwnedFiles
from lipsync_async.sandbox.media.errors import MediaError
from lipsync_async.sandbox.media.open_media import MediaInfo, probe
from lipsync_async.sandbox.media.speech import speak
from lipsync_async.sandbox.outbound_http import FetchError, OutboundHttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


_VISUAL = frozenset({"video", "image"})
_MOST_SECONDS = 1800.0  # Source: "Pricing", sync.so: the longest output of any listed plan
# Ten thousand jobs that begin at once open neither as many connections nor as many processes.
_FETCHES_AT_ONCE = 8
_SPEECHES_AT_ONCE = 2


@attrs.frozen(slots=True)
class AudioTrack:
    """One audio of a job."""

    ref_id: str | None  # the name that segments know it by
    path: Path
    seconds: float
    is_spoken: bool = False  # made of a text input


@attrs.frozen(slots=True)
class LoadedInputs:
    """Everything that one output is made of."""

    visual: Path
    info: MediaInfo
    tracks: tuple[AudioTrack, ...]  # in the order of the create body
    files: OwnedFiles  # those that are removed when they are no longer needed


@attrs.frozen
class InputLoader:
    """Loader of inputs, a few at a time."""

    _files: HostedFiles
    _folder: Folder
    _outbound: OutboundHttp
    _fetching: anyio.CapacityLimiter = attrs.field(
        init=False, factory=lambda: anyio.CapacityLimiter(_FETCHES_AT_ONCE)
    )
    _speaking: anyio.CapacityLimiter = attrs.field(
        init=False, factory=lambda: anyio.CapacityLimiter(_SPEECHES_AT_ONCE)
    )

    async def check(self, body: Mapping[str, Any]) -> None:
        """Refuse inputs that are visibly unusable; the job fetches those hosted elsewhere."""
        for item in body["input"]:
            if item["type"] == "text":
                continue
            path = self._own(item)
            if path is not None:
                await _probe(path, item["type"])
            elif (reason := self._outbound.refusal(item["url"])) is not None:
                raise _inaccessible(item["type"], f"{item['url']}: {reason}")

    @asynccontextmanager
    async def load(self, body: Mapping[str, Any]) -> AsyncIterator[LoadedInputs]:
        """Bring every input of a create body onto the disk, for as long as the block runs."""
        with OwnedFiles(self._folder) as files:
            visual = next(item for item in body["input"] if item["type"] in _VISUAL)
            path = await self._path(visual, files)
            info = await _probe(path, visual["type"])
            audios = [item for item in body["input"] if item["type"] not in _VISUAL]
            tracks = [await self._track(item, files) for item in audios]
            yield LoadedInputs(path, info, tuple(tracks), files)

    async def _track(self, item: Mapping[str, Any], files: OwnedFiles) -> AudioTrack:
        if item["type"] == "text":
            voice, path = item["provider"], files.new_path(".wav")
            seconds = await anyio.to_thread.run_sync(
                speak, voice["script"], voice["voiceId"], path, limiter=self._speaking
            )
            return AudioTrack(item.get("refId"), path, seconds, is_spoken=True)
        path = await self._path(item, files)
        info = await _probe(path, "audio")
        return AudioTrack(item.get("refId"), path, info.duration or 0.0)

    async def _path(self, item: Mapping[str, Any], files: OwnedFiles) -> Path:
        own = self._own(item)
        if own is not None:
            return own
        # Without the suffix of the URL, which would decide how the file is read.
        path = files.new_path()
        try:
            async with self._fetching:
                await self._outbound.fetch(item["url"], path)
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
