"""The studio that really renders: two jobs at a time, in threads, off the event loop."""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from lipsync_async.errors import ConfigurationError
from lipsync_async.sandbox.jobs import Result
from lipsync_async.sandbox.materials import Materials, Stockroom
from lipsync_async.sandbox.media.engines import working_engines
from lipsync_async.sandbox.media.problems import EngineError, MediaError, RenderCancelledError
from lipsync_async.sandbox.media.render import RenderOrder, RenderSegment, render
from lipsync_async.sandbox.media.timeline import output_seconds
from lipsync_async.sandbox.rules.refusals import coded
from lipsync_async.sandbox.studio import cannot_render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.files import HostedFiles
    from lipsync_async.sandbox.folder import Folder
    from lipsync_async.sandbox.jobs import Job
    from lipsync_async.sandbox.outside import Outside
    from lipsync_async.sandbox.studio import Failed, Produced
    from lipsync_async.sandbox.tasks import Tasks

_logger = logging.getLogger("lipsync_async.sandbox")

_RENDERS_AT_ONCE = 2  # more would only slow each other down on a small machine
_DEFAULT_MODE = "bounce"  # contract section 2.4


class RenderingStudio:
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

    async def admit(self, order: dict[str, Any]) -> None:
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

    def produce(self, job: Job, produced: Produced, failed: Failed) -> None:
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
