"""The renderer of real media: loads a job's inputs, and renders two jobs at a time in threads."""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import attrs

from lipsync_async.errors import ConfigurationError
from lipsync_async.sandbox.jobs import Result
from lipsync_async.sandbox.media.engines import working_engines
from lipsync_async.sandbox.media.errors import EngineError, MediaError, RenderCancelledError
from lipsync_async.sandbox.media.open_media import MediaInfo, probe
from lipsync_async.sandbox.media.render import RenderOrder, RenderSegment, render
from lipsync_async.sandbox.media.speech import speak
from lipsync_async.sandbox.media.timeline import output_seconds
from lipsync_async.sandbox.outbound_http import FetchError
from lipsync_async.sandbox.renderer import cannot_render
from lipsync_async.sandbox.server.api_errors import coded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.files import Folder, HostedFiles
    from lipsync_async.sandbox.jobs import Job
    from lipsync_async.sandbox.outbound_http import Outside
    from lipsync_async.sandbox.renderer import Failed, Produced
    from lipsync_async.sandbox.tasks import Tasks


_logger = logging.getLogger("lipsync_async.sandbox")

_RENDERS_AT_ONCE = 2  # more would only slow each other down on a small machine
_DEFAULT_MODE = "bounce"  # contract section 2.4


class MediaRenderer:
    """Make real media.

    Args:
        files: Hosts inputs, and the speech that is made of texts.
        folder: Where outputs go.
        outside: Fetches inputs.
        tasks: Runs the work.
        clock: Virtual time stands still while something renders.
        engines: What does the work, for people; `open` asks what really does.

    """

    def __init__(
        self,
        *,
        files: HostedFiles,
        folder: Folder,
        outside: Outside,
        tasks: Tasks,
        clock: Clock,
        engines: dict[str, str],
    ) -> None:
        """Start idle."""
        self._stockroom = Stockroom(files, folder, outside)
        self._files = files
        self._folder = folder
        self._tasks = tasks
        self._clock = clock
        self._engines = engines
        self._limiter = anyio.CapacityLimiter(_RENDERS_AT_ONCE)
        self._is_closed = False

    async def open(self) -> None:
        """Ask the engines one small question each.

        Raises:
            ConfigurationError: What rendering needs does not work.

        """
        try:
            with self._clock.hold():
                self._engines = await anyio.to_thread.run_sync(working_engines)
        except EngineError as error:
            raise ConfigurationError(cannot_render(str(error))) from error

    async def check(self, order: dict[str, Any]) -> None:
        """Pass a create body unless its media are refused or visibly not there."""
        try:
            await self._stockroom.check(order)
        except MediaError as error:
            raise coded(422, error.code, error.message) from None

    async def seconds(self, order: dict[str, Any]) -> float:
        """Return how long the output will play; fetches and probes the media."""
        try:
            materials = await self._stockroom.gather(order)
        except MediaError as error:
            raise coded(422, error.code, error.message) from None
        visual = materials.info.duration or 0.0
        if order.get("segments") or not materials.tracks:
            return visual
        heard = materials.tracks[0].seconds
        is_image = materials.info.kind == "image"
        return output_seconds(_mode(order.get("options")), visual, heard, is_image=is_image)

    def start(self, job: Job, produced: Produced, failed: Failed) -> None:
        """Begin to render a job."""
        self._tasks.start(self._produce(job, produced, failed))

    def engines(self) -> dict[str, str]:
        """Return what does the work, for people."""
        return self._engines

    def close(self) -> None:
        """Let renders that run stop at their next frame."""
        self._is_closed = True

    async def _produce(self, job: Job, produced: Produced, failed: Failed) -> None:
        """Tell of every end but a cancelled one."""
        try:
            with self._clock.hold():
                result = await self._render(job)
        except MediaError as error:
            failed(job, error.code, error.message)
        except RenderCancelledError:
            return
        except Exception:
            _logger.exception("rendering job %s went wrong", job.id)
            failed(job, "generation_unknown_error", "An unknown error occurred.")
        else:
            produced(job, result)

    async def _render(self, job: Job) -> Result:
        materials = await self._stockroom.gather(job.order)
        self._host_speech(job, materials)
        order = _render_order(job.order, materials, self._folder.new_path(".mp4"))
        work = partial(
            _make,
            order,
            on_progress=partial(setattr, job, "percent"),
            is_cancelled=lambda: self._is_closed or job.is_ended,
        )
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    def _host_speech(self, job: Job, materials: Materials) -> None:
        """Let the first speech be fetched, so that a take can be used again."""
        spoken = [track for track in materials.tracks if track.is_spoken]
        if spoken:
            job.speech_url = self._files.host(spoken[0].path, name=f"{job.id}.wav")
            job.encoded = None


def _make(
    order: RenderOrder,
    *,
    on_progress: Callable[[float], object],
    is_cancelled: Callable[[], bool],
) -> Result:
    """Render in a worker thread, and learn what a media host must know of the file."""
    rendered = render(order, on_progress=on_progress, is_cancelled=is_cancelled)
    with rendered.path.open("rb") as file:
        etag = f'"{hashlib.file_digest(file, "sha256").hexdigest()[:32]}"'
        return Result(rendered.path, file.tell(), etag, rendered.duration)


def _render_order(order: Mapping[str, Any], materials: Materials, output: Path) -> RenderOrder:
    segments = order.get("segments") or []
    tracks = {track.ref_id: track for track in materials.tracks}
    mode = _mode(order.get("options"))
    return RenderOrder(
        visual=materials.visual,
        is_image=materials.info.kind == "image",
        audio=materials.tracks[0].path if materials.tracks and not segments else None,
        output=output,
        sync_mode=mode,
        segments=tuple(
            RenderSegment(
                start=segment["startTime"],
                end=segment["endTime"],
                audio=tracks[segment["audioInput"]["refId"]].path,
                crop=_crop(segment["audioInput"]),
                sync_mode=_mode(segment.get("optionsOverride"), mode),
            )
            for segment in segments
        ),
    )


def _mode(options: Mapping[str, Any] | None, otherwise: str = _DEFAULT_MODE) -> str:
    return (options or {}).get("sync_mode") or otherwise


def _crop(audio: Mapping[str, Any]) -> tuple[float, float] | None:
    if audio.get("startTime") is None:
        return None
    return audio["startTime"], audio["endTime"]


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
