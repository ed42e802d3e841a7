"""The renderer of real media: two jobs at a time, in threads, off the event loop."""

from __future__ import annotations

import errno
import hashlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import attrs

from lipsync_async.errors import ConfigurationError
from lipsync_async.sandbox.clock import Clock
from lipsync_async.sandbox.files import Folder, HostedFiles
from lipsync_async.sandbox.input_loader import InputLoader, LoadedInputs
from lipsync_async.sandbox.jobs import Result
from lipsync_async.sandbox.media.engines import working_engines
from lipsync_async.sandbox.media.errors import EngineError, MediaError, RenderCancelledError
from lipsync_async.sandbox.media.render import RenderJob, RenderSegment, render
from lipsync_async.sandbox.media.timeline import output_seconds
from lipsync_async.sandbox.outbound_http import OutboundHttp
from lipsync_async.sandbox.renderer import cannot_render
from lipsync_async.sandbox.server.api_errors import error as api_error
from lipsync_async.sandbox.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lipsync_async.sandbox.jobs import Failed, Job, Produced

_logger = logging.getLogger("lipsync_async.sandbox")

_RENDERS_AT_ONCE = 2  # more would only slow each other down on a small machine
_DEFAULT_MODE = "bounce"  # Source: "Create generation", sync.so API reference


@attrs.define(kw_only=True)
class MediaRenderer:
    """Renderer of real media."""

    _files: HostedFiles
    _folder: Folder
    _outbound: OutboundHttp
    _tasks: Tasks
    _clock: Clock  # virtual time stands still while something renders
    _engines: dict[str, str]  # for people; `open` asks what really does the work
    _loader: InputLoader = attrs.field(init=False)
    _limiter: anyio.CapacityLimiter = attrs.field(
        init=False, factory=lambda: anyio.CapacityLimiter(_RENDERS_AT_ONCE)
    )
    _is_closed: bool = attrs.field(init=False, default=False)

    @_loader.default
    def _new_loader(self) -> InputLoader:
        return InputLoader(self._files, self._folder, self._outbound)

    async def open(self) -> None:
        """Ask the engines one small question each; `ConfigurationError` where one does not work."""
        try:
            with self._clock.hold():
                self._engines = await anyio.to_thread.run_sync(working_engines)
        except EngineError as error:
            raise ConfigurationError(cannot_render(str(error))) from error

    async def check(self, body: dict[str, Any]) -> None:
        """Pass a create body unless its media are refused or visibly not there."""
        try:
            await self._loader.check(body)
        except MediaError as error:
            raise api_error(error.code, error.message, is_input=True) from None

    async def seconds(self, body: dict[str, Any]) -> float:
        """Return how long the output will play; fetches and probes the media."""
        try:
            async with self._loader.load(body) as inputs:
                visual = inputs.info.duration or 0.0
                if body.get("segments") or not inputs.tracks:
                    return visual
                heard = inputs.tracks[0].seconds
                is_image = inputs.info.kind == "image"
                return output_seconds(_mode(body.get("options")), visual, heard, is_image=is_image)
        except MediaError as error:
            raise api_error(error.code, error.message, is_input=True) from None

    def start(self, job: Job, produced: Produced, failed: Failed) -> None:
        """Begin to render a job."""
        self._tasks.start(self._run(job, produced, failed))

    def engines(self) -> dict[str, str]:
        """Return what does the work, for people."""
        return self._engines

    def close(self) -> None:
        """Let renders that run stop at their next frame."""
        self._is_closed = True

    async def _run(self, job: Job, produced: Produced, failed: Failed) -> None:
        """Tell of every end but a cancelled one."""
        try:
            with self._clock.hold():
                result = await self._render(job)
        except MediaError as error:
            failed(job, error.code, error.message)
        except RenderCancelledError:
            return
        except Exception as error:
            _logger.exception("rendering job %s went wrong", job.id)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                failed(job, "generation_infra_storage_error", "The sandbox's disk is full.")
            else:
                failed(job, "generation_unknown_error", "An unknown error occurred.")
        else:
            produced(job, result)

    async def _render(self, job: Job) -> Result:
        async with self._loader.load(job.body) as inputs:
            spoken = next((track for track in inputs.tracks if track.is_spoken), None)
            if spoken is not None:
                # Stays, so that the take can be fetched and used again.
                job.files.take_over(inputs.files.hand_over(spoken.path))
                job.speech_url = self._files.host(spoken.path, name=f"{job.id}.wav")
                job.encoded = None
            work = partial(
                _make,
                _render_job(job.body, inputs, job.files.new_path(".mp4")),
                on_progress=partial(setattr, job, "percent"),
                is_cancelled=lambda: self._is_closed or job.is_ended,
            )
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)


def _make(
    job: RenderJob, *, on_progress: Callable[[float], object], is_cancelled: Callable[[], bool]
) -> Result:
    """Render in a worker thread, and learn what a media host must know of the file."""
    rendered = render(job, on_progress=on_progress, is_cancelled=is_cancelled)
    with rendered.path.open("rb") as file:
        etag = f'"{hashlib.file_digest(file, "sha256").hexdigest()[:32]}"'
        return Result(rendered.path, file.tell(), etag, rendered.duration)


def _render_job(body: Mapping[str, Any], inputs: LoadedInputs, output: Path) -> RenderJob:
    segments = body.get("segments") or []
    tracks = {track.ref_id: track for track in inputs.tracks}
    mode = _mode(body.get("options"))
    return RenderJob(
        visual=inputs.visual,
        is_image=inputs.info.kind == "image",
        audio=inputs.tracks[0].path if inputs.tracks and not segments else None,
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
