"""The renderer of real media: it brings a job's inputs onto the disk, and renders them.

Two jobs at a time are rendered, in two threads each, off the event loop.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import anyio.to_thread
import attrs
from anyio import CapacityLimiter

from lipsync_async.errors import ConfigurationError
from lipsync_async.sandbox.clock import Clock
from lipsync_async.sandbox.files import Folder, HostedFiles, OwnedFiles
from lipsync_async.sandbox.jobs import Renderer, Result, cannot_render
from lipsync_async.sandbox.media.audio_reader import heard_stretches
from lipsync_async.sandbox.media.engines import working_engines
from lipsync_async.sandbox.media.errors import (
    DURATION_EXCEEDED,
    FACE_SELECTION_INVALID,
    EngineError,
    MediaError,
    RenderCancelledError,
)
from lipsync_async.sandbox.media.face_landmarks import LARGEST, Edges, Speaker
from lipsync_async.sandbox.media.lips import PaintLips
from lipsync_async.sandbox.media.open_media import MOST_SECONDS, MediaInfo, probe
from lipsync_async.sandbox.media.render import RenderJob, RenderSegment, render
from lipsync_async.sandbox.media.speech import speak
from lipsync_async.sandbox.media.timeline import output_seconds
from lipsync_async.sandbox.outbound_http import FetchError, OutboundHttp
from lipsync_async.sandbox.server.api_errors import error as api_error
from lipsync_async.sandbox.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from lipsync_async.sandbox.jobs import Finished, Job

    Boxes = tuple[Edges | None, ...]

_logger = logging.getLogger("lipsync_async.sandbox")

_REPLACED = "replaced"  # the name of speech that replaces a video's own
_DEFAULT_MODE = "bounce"  # Source: "Create generation", sync.so API reference
_VISUAL = frozenset({"video", "image"})
_MOST_SECONDS_IN_BATCH = 30.0  # Source: "Batch processing", sync.so guides


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


@attrs.define(eq=False, kw_only=True)
class MediaRenderer(Renderer):
    """Renderer of real media."""

    makes_media: ClassVar[bool] = True
    _files: HostedFiles
    _folder: Folder
    _outbound: OutboundHttp
    _tasks: Tasks
    _clock: Clock  # virtual time stands still while something renders
    _paint_lips: PaintLips | None = None
    # Ten thousand jobs that begin at once open neither as many connections nor as many
    # processes. More renders would only slow each other down on a small machine.
    _fetching: CapacityLimiter = attrs.field(init=False, factory=partial(CapacityLimiter, 8))
    _speaking: CapacityLimiter = attrs.field(init=False, factory=partial(CapacityLimiter, 2))
    _rendering: CapacityLimiter = attrs.field(init=False, factory=partial(CapacityLimiter, 2))
    _is_closed: bool = attrs.field(init=False, default=False)
    _engines: dict[str, str] = attrs.field(init=False, factory=dict)

    async def open(self) -> None:
        """Ask the engines one small question each; `ConfigurationError` where one does not work."""
        try:
            with self._clock.hold():
                found = await anyio.to_thread.run_sync(working_engines)
        except EngineError as error:
            raise ConfigurationError(cannot_render(str(error))) from error
        painted = {} if self._paint_lips is None else {"lips": "those that paint_lips paints"}
        self._engines = found | painted

    def engines(self) -> dict[str, str]:
        """Return what was found to work when the sandbox was opened."""
        return self._engines

    async def check(self, body: dict[str, Any]) -> None:
        """Pass a create body unless its media are refused or visibly not there."""
        names: dict[Path, str] = {}
        with _as_api_errors(), _named(names):
            for index, item in enumerate(body["input"]):
                if item["type"] == "text":
                    continue
                path = self._own(item)
                if path is not None:
                    names[path] = _place(index, item)
                    await _probe(path, item["type"])
                # The job fetches what is hosted elsewhere.
                elif (reason := self._outbound.refusal(url := self._url(item))) is not None:
                    raise _inaccessible(item["type"], f"{url}: {reason}")

    async def seconds(self, body: dict[str, Any]) -> float:
        """Return how long the output will play; fetches and probes the media."""
        with _as_api_errors():
            async with self._load(body) as inputs:
                visual = inputs.info.duration or 0.0
                if body.get("segments") or not inputs.tracks:
                    return visual
                heard = inputs.tracks[0].seconds
                is_image = inputs.info.kind == "image"
                return output_seconds(_mode(body.get("options")), visual, heard, is_image=is_image)

    async def facts(self, path: Path, kind: str) -> dict[str, Any]:
        """Return what an asset shows of a file, or raise `ApiError` if it is no such media."""
        with _as_api_errors(), _named({path: "The file"}):
            info = await _probe(path, kind)
        return {"durationSeconds": info.duration, "width": info.width, "height": info.height}

    async def hear(self, path: Path) -> tuple[float, list[tuple[float, float]]]:
        """Return how long a file's sound is, and where something is said in it, in seconds."""
        with _as_api_errors(), _named({path: "The file"}):
            return await anyio.to_thread.run_sync(heard_stretches, path, limiter=self._rendering)

    async def speak(self, script: str, voice_id: str, path: Path) -> float:
        """Speak a script into a WAV file, and return its length in seconds."""
        with _as_api_errors():
            return await anyio.to_thread.run_sync(
                speak, script, voice_id, path, limiter=self._speaking
            )

    def start(self, job: Job, finished: Finished) -> None:
        """Begin to render a job."""
        self._tasks.start(self._run(job, finished))

    def close(self) -> None:
        """Let renders that run stop at their next frame."""
        self._is_closed = True

    async def _run(self, job: Job, finished: Finished) -> None:
        """Tell of every end but a cancelled one."""
        try:
            with self._clock.hold():
                result = await self._render(job)
        except MediaError as error:
            finished(job, (error.code, error.message))
        except RenderCancelledError:
            return
        except Exception as error:
            _logger.exception("rendering job %s went wrong", job.id)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                failure = ("generation_infra_storage_error", "The sandbox's disk is full.")
            else:
                failure = ("generation_unknown_error", "An unknown error occurred.")
            finished(job, failure)
        else:
            finished(job, result)

    async def _render(self, job: Job) -> Result:
        body = job.body
        if job.speech is not None:
            audio = {"type": "audio", "url": job.speech, "refId": _REPLACED}
            body = {**body, "input": [*body["input"], audio]}
        longest = MOST_SECONDS if job.batch_id is None else _MOST_SECONDS_IN_BATCH
        async with self._load(body, longest) as inputs:
            if job.speech is not None:  # over the whole video, which keeps its length
                whole = {"startTime": 0.0, "endTime": inputs.info.duration}
                segment = {**whole, "audioInput": {"refId": _REPLACED}}
                body = {**body, "segments": [segment], "options": {"sync_mode": "silence"}}
            spoken = next((track for track in inputs.tracks if track.is_spoken), None)
            if spoken is not None:
                # Stays, so that the take can be fetched and used again.
                job.files.take_over(inputs.files.hand_over(spoken.path))
                job.speech_url = self._files.host(spoken.path, name=f"{job.id}.wav")
                job.encoded = None
            boxes = await self._boxes(body, inputs.files)
            render_job = _render_job(body, inputs, job.files.new_path(".mp4"), boxes)
            work = partial(
                _make,
                attrs.evolve(render_job, paint_lips=self._paint_lips),
                on_progress=partial(setattr, job, "percent"),
                is_cancelled=lambda: self._is_closed or job.is_ended,
            )
            return await anyio.to_thread.run_sync(work, limiter=self._rendering)

    @asynccontextmanager
    async def _load(
        self, body: Mapping[str, Any], longest: float = MOST_SECONDS
    ) -> AsyncIterator[LoadedInputs]:
        names: dict[Path, str] = {}
        tracks: list[AudioTrack] = []
        with OwnedFiles(self._folder) as files, _named(names):
            # The picture first: without it, nothing need be spoken.
            pairs = enumerate(body["input"])
            for index, item in sorted(pairs, key=lambda pair: pair[1]["type"] not in _VISUAL):
                if item["type"] == "text":
                    tracks.append(await self._speak(item, files.new_path(".wav")))
                    continue
                path = await self._path(item, files)
                names[path] = _place(index, item)
                info = await _probe(path, item["type"], longest)
                if item["type"] in _VISUAL:
                    visual = path, info
                else:
                    tracks.append(AudioTrack(item.get("refId"), path, info.duration or 0.0))
            yield LoadedInputs(*visual, tuple(tracks), files)

    async def _boxes(self, body: Mapping[str, Any], files: OwnedFiles) -> dict[str, Boxes]:
        """Return the boxes of faces that are in files of their own, by their addresses."""
        found: dict[str, Boxes] = {}
        for chosen in map(_chosen_speaker, [body, *(body.get("segments") or [])]):
            url = chosen.get("bounding_boxes_url")
            if url is None or url in found:
                continue
            try:
                path = await self._path({"url": url, "type": "video"}, files)
                found[url] = await anyio.to_thread.run_sync(_read_boxes, path)
            except (MediaError, ValueError, TypeError, KeyError) as error:
                reason = error.words if isinstance(error, MediaError) else "it holds no boxes."
                raise MediaError(
                    FACE_SELECTION_INVALID, f"bounding_boxes_url, {url}: {reason}"
                ) from error
        return found

    async def _speak(self, item: Mapping[str, Any], path: Path) -> AudioTrack:
        voice = item["provider"]
        seconds = await anyio.to_thread.run_sync(
            speak, voice["script"], voice["voiceId"], path, limiter=self._speaking
        )
        return AudioTrack(item.get("refId"), path, seconds, is_spoken=True)

    async def _path(self, item: Mapping[str, Any], files: OwnedFiles) -> Path:
        own = self._own(item)
        if own is not None:
            return own
        # Without the suffix of the URL, which would decide how the file is read.
        path = files.new_path()
        try:
            async with self._fetching:
                await self._outbound.fetch(self._url(item), path)
        except FetchError as error:
            raise _inaccessible(item["type"], error.reason) from None
        return path

    def _url(self, item: Mapping[str, Any]) -> str:
        return str(item.get("url") or self._files.assets[item["assetId"].lower()])

    def _own(self, item: Mapping[str, Any]) -> Path | None:
        """Return the file of an input that this sandbox hosts; `None`: it is elsewhere."""
        url = self._url(item)
        if not self._files.is_own(url):
            return None
        file = self._files.at(url)
        if file is None:
            raise _inaccessible(item["type"], f"{url}: there is no such file")
        return file.path


@contextmanager
def _as_api_errors() -> Iterator[None]:
    try:
        yield
    except MediaError as error:
        raise api_error(error.code, error.message, is_input=True) from None


@contextmanager
def _named(names: Mapping[Path, str]) -> Iterator[None]:
    """Let errors call files what the create body calls them; here they only have numbers."""
    try:
        yield
    except MediaError as error:
        name = None if error.file is None else names.get(error.file)
        if name is None:
            raise
        raise MediaError(error.code, f"{name} {error.words}") from error


def _place(index: int, item: Mapping[str, Any]) -> str:
    address = "" if "assetId" in item else f" at {item['url']}"
    return f"input[{index}]{address}"


async def _probe(path: Path, kind: str, longest: float = MOST_SECONDS) -> MediaInfo:
    info = await anyio.to_thread.run_sync(probe, path, kind)
    if info.duration is not None and info.duration > longest:
        raise MediaError(DURATION_EXCEEDED, f"is longer than {longest:g} s.", path)
    return info


def _inaccessible(kind: str, reason: str) -> MediaError:
    return MediaError(f"generation_input_{kind}_inaccessible", f"The {kind} is not there: {reason}")


def _make(
    job: RenderJob, *, on_progress: Callable[[float], object], is_cancelled: Callable[[], bool]
) -> Result:
    """Render in a worker thread, and learn what a media host must know of the file."""
    rendered = render(job, on_progress=on_progress, is_cancelled=is_cancelled)
    with rendered.path.open("rb") as file:
        etag = f'"{hashlib.file_digest(file, "sha256").hexdigest()[:32]}"'
        return Result(rendered.path, file.tell(), etag, rendered.duration, rendered.lips)


def _render_job(
    body: Mapping[str, Any], inputs: LoadedInputs, output: Path, boxes: Mapping[str, Boxes]
) -> RenderJob:
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
                crop=(segment["audioInput"]["startTime"], segment["audioInput"]["endTime"])
                if segment["audioInput"].get("startTime") is not None
                else None,
                sync_mode=_mode(segment.get("optionsOverride"), mode),
                speaker=_speaker(segment, boxes),
            )
            for segment in segments
        ),
        speaker=_speaker(body, boxes) or LARGEST,
    )


def _chosen_speaker(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a create body, or one of its segments, says of the speaker."""
    options = part.get("optionsOverride" if "startTime" in part else "options") or {}
    chosen = options.get("active_speaker_detection")
    # A bare boolean is a shorthand.
    return chosen if isinstance(chosen, dict) else {"auto_detect": chosen}


def _speaker(part: Mapping[str, Any], boxes_at: Mapping[str, Boxes]) -> Speaker | None:
    """Return whose lips move; `None`: nothing is said of that."""
    chosen = _chosen_speaker(part)
    url, point = chosen.get("bounding_boxes_url"), chosen.get("coordinates")
    boxes = boxes_at[url] if url else _boxes_of(chosen.get("bounding_boxes") or [])
    if boxes:
        return Speaker(boxes=boxes)
    if point:
        return Speaker(chosen["frame_number"], (point[0], point[1]))
    return LARGEST if chosen.get("auto_detect") else None


def _boxes_of(items: Sequence[Sequence[float] | None]) -> Boxes:
    boxes: list[Edges | None] = []
    for item in items:
        if item is None:
            boxes.append(None)
        else:
            left, top, right, bottom = map(float, item)
            boxes.append((left, top, right, bottom))
    return tuple(boxes)


def _read_boxes(path: Path) -> Boxes:
    """Return the boxes of a file; `ValueError`, `TypeError` or `KeyError`: it holds none."""
    found = json.loads(path.read_bytes())
    return _boxes_of(found["bounding_boxes"] if isinstance(found, dict) else found)


def _mode(options: Mapping[str, Any] | None, otherwise: str = _DEFAULT_MODE) -> str:
    return (options or {}).get("sync_mode") or otherwise
