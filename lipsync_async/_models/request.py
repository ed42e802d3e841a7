"""What a user asks for: a generation request and its parts, as frozen values.

Nothing is checked here, so that one error can later name every problem at once (see
`_logic/validation.py`). The names are Python's; the wire's mixed camelCase and
snake_case live in `_logic/codec.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path, PurePath
from typing import Any

import attrs

from lipsync_async._models.text import at_home


def _tuple(value: Any) -> Any:
    """Freeze a list; leave everything else for validation to judge, also a list that raises."""
    with suppress(Exception):
        return tuple(value) if issubclass(type(value), list) else value
    return value


def _list(value: Any) -> Any:
    """Copy a list or tuple, so that it can be changed; leave everything else for validation."""
    with suppress(Exception):
        return [*value] if issubclass(type(value), list | tuple) else value
    return value


def _at_home(
    file: str | PathLike[str] | bytes | None,
) -> str | PathLike[str] | bytes | None:
    """Put the home folder in the place of `~`; leave what is not known for validation to judge."""
    with suppress(Exception):  # of a foreign class: for validation to judge
        if isinstance(file, str):
            return at_home(file) or str.__str__(file)
        if isinstance(file, PurePath) and str(file).startswith("~"):
            found = at_home(str(file))
            return file if found is None else Path(found)
    return file


@attrs.frozen(slots=True)
class Video:
    """Name the video whose lips are to be moved.

    Args:
        url: Public `http(s)` URL; it is fetched when the job runs, so a link that
            expires soon will fail.
        asset_id: Id of an asset of your organization, instead of `url`.
        file: A local file (path or bytes) sent along with the request, instead of
            `url`; at most 5 GiB. `~` is the home folder.
        ref_id: Name by which other parts of the request refer to this input.
        segments_secs: Deprecated by the service: `[[start, end], …]` in seconds.
        segments_frames: Deprecated by the service: `[[start, end], …]` in frames.

    Source: contract section 2.3.
    """

    url: str | None = None
    asset_id: str | None = attrs.field(default=None, kw_only=True)
    file: str | PathLike[str] | bytes | None = attrs.field(
        default=None, converter=_at_home, kw_only=True, repr=False
    )
    ref_id: str | None = attrs.field(default=None, kw_only=True)
    segments_secs: Sequence[Sequence[float]] | None = attrs.field(default=None, kw_only=True)
    segments_frames: Sequence[Sequence[int]] | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(slots=True)
class Image:
    """Name a still picture to bring to life; model `sync-3` only.

    Args:
        url: Public `http(s)` URL of a JPEG, PNG or WebP.
        asset_id: Id of an asset of your organization, instead of `url`.
        file: A local file (path or bytes), instead of `url`; at most 5 GiB.
        ref_id: Name by which other parts of the request refer to this input.

    Source: contract section 2.3.
    """

    url: str | None = None
    asset_id: str | None = attrs.field(default=None, kw_only=True)
    file: str | PathLike[str] | bytes | None = attrs.field(
        default=None, converter=_at_home, kw_only=True, repr=False
    )
    ref_id: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(slots=True)
class Audio:
    """Name the recorded speech.

    Args:
        url: Public `http(s)` URL.
        asset_id: Id of an asset of your organization, instead of `url`.
        file: A local file (path or bytes), instead of `url`; at most 5 GiB.
        ref_id: Name by which segments refer to this input; required with segments.

    Source: contract section 2.3.
    """

    url: str | None = None
    asset_id: str | None = attrs.field(default=None, kw_only=True)
    file: str | PathLike[str] | bytes | None = attrs.field(
        default=None, converter=_at_home, kw_only=True, repr=False
    )
    ref_id: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(slots=True, kw_only=True)
class ElevenLabs:
    """Choose an ElevenLabs voice and what it says.

    Args:
        voice_id: ElevenLabs voice id, or the id of a voice cloned at sync.so.
        script: The text to speak, 1 to 5000 characters.
        stability: 0 to 1; `None`: the service's default, 0.5.
        similarity_boost: 0 to 1; `None`: the service's default, 0.75.

    Source: contract sections 2.3, 5.4 and 9.
    """

    voice_id: str
    script: str
    stability: float | None = None
    similarity_boost: float | None = None


@attrs.frozen(slots=True)
class Text:
    """Ask for speech made from text. Each run is a different take.

    Args:
        provider: The voice and the script.
        ref_id: Name by which segments refer to this input; required with segments.

    Source: contract sections 2.3 and 9.
    """

    provider: ElevenLabs
    ref_id: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(slots=True)
class UnknownInput:
    """Hold an input of a type that this release does not know, as the service sent it.

    Attributes:
        type: The wire's `type`, or `None` where it had none.
        raw: The whole object.

    """

    type: str | None
    raw: Mapping[str, Any]


Input = Video | Image | Audio | Text
AnyInput = Video | Image | Audio | Text | UnknownInput


@attrs.frozen(slots=True, kw_only=True)
class ActiveSpeaker:
    """Choose whose lips move, in exactly one of three ways.

    Args:
        auto_detect: Let the service find the speaker; videos only.
        frame_number: Frame (from 0) in which `coordinates` point at the face.
        coordinates: `(x, y)` in native pixels, with `frame_number`.
        bounding_boxes: One `(x1, y1, x2, y2)` in native pixels, or `None`, per frame.
        bounding_boxes_url: URL of a JSON file with a `bounding_boxes` list.
        v3: Use version 3 of the detector.

    Source: contract section 8.
    """

    auto_detect: bool | None = None
    frame_number: int | None = None
    coordinates: Sequence[int] | None = attrs.field(default=None, converter=_tuple)
    bounding_boxes: Sequence[Sequence[float] | None] | None = attrs.field(
        default=None,
        converter=_tuple,
    )
    bounding_boxes_url: str | None = None
    v3: bool | None = None


@attrs.frozen(slots=True, kw_only=True)
class Options:
    """Set how the lips are made. `None` leaves a choice to the service.

    The service silently ignores an option that the model does not support; this client
    warns (`IgnoredOptionWarning`).

    Args:
        sync_mode: `bounce` (the service's default), `loop`, `cut_off`, `silence` or
            `remap`; see `SyncMode`. Ignored for images.
        temperature: 0 to 1, expressiveness; the service's default is 0.5.
        model_mode: `lips`, `face` or `head`; `react-1` only.
        prompt: One emotion, see `Emotion`; `react-1` only.
        occlusion_detection_enabled: Mind things in front of the face; slower.
        active_speaker_detection: Whose lips move.
        reasoning_enabled: `lipsync-2-pro` only; changes the price.

    Source: contract section 2.4.
    """

    sync_mode: str | None = None
    temperature: float | None = None
    model_mode: str | None = None
    prompt: str | None = None
    occlusion_detection_enabled: bool | None = None
    active_speaker_detection: ActiveSpeaker | None = None
    reasoning_enabled: bool | None = None


@attrs.frozen(slots=True)
class SegmentAudio:
    """Choose the audio of a segment, and optionally which part of it.

    Args:
        ref_id: The `ref_id` of an audio or text input.
        start_time: Seconds into that audio; give both times or neither.
        end_time: Seconds into that audio.

    Source: contract section 6.
    """

    ref_id: str
    start_time: float | None = attrs.field(default=None, kw_only=True)
    end_time: float | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(slots=True, kw_only=True)
class Segment:
    """Give one time range of the video an audio of its own.

    Args:
        start_time: Seconds into the video, at least 0.
        end_time: Seconds into the video, at least `start_time`.
        audio_input: Which audio is heard there.
        options_override: Options for this range only.

    Source: contract section 6.
    """

    start_time: float
    end_time: float
    audio_input: SegmentAudio
    options_override: Options | None = None


@attrs.frozen(slots=True, kw_only=True)
class DubParams:
    """Ask for the video's own speech in another language, instead of an audio input.

    Args:
        target_lang: Language code to dub into.
        source_lang: Language code spoken in the video; `None`: the service's `auto`.
        provider_name: Only `elevenlabs` exists.

    Source: contract section 2.2.
    """

    target_lang: str
    source_lang: str | None = None
    provider_name: str = "elevenlabs"


@attrs.frozen(slots=True)
class Origin:
    """Say where a request comes from, in its author's own words; nothing of it is sent.

    A journal keeps it, names requests by their lines, and gives the rest back when it is
    exported.

    Args:
        line: The line of the manifest that it was read from, from 1; `None`: of none.
        extra: Texts of your own by names of your own, such as cells of a table.

    """

    line: int | None = None
    extra: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(slots=True, kw_only=True)
class GenerationRequest:
    """Describe one generation to create.

    Args:
        model: See `Model`; any other name is sent with a warning.
        input: Exactly one video or image, and exactly one audio or text; with
            `segments` several audios and texts; with `dub_params` none.
        options: How the lips are made.
        segments: Time ranges of the video with an audio each, in order.
        webhook_url: `https` URL that gets a POST when the job has ended (`http` is
            allowed for a loopback host).
        output_file_name: Base name of the result without extension: 1 to 255 letters,
            digits, `_` or `-`.
        project_id: UUID of a project of your organization.
        dub_params: Dub the video's own speech.
        request_id: A name of your own for this request, never sent: 1 to 255 characters,
            unique in a run. A journal knows the request by it wherever it stands.
        origin: Where it comes from, never sent, and no part of what it is.

    Source: contract sections 0 and 2.2.
    """

    model: str
    # A list of its own, as it is written; out of the hash, because lists have none.
    input: Sequence[Input] = attrs.field(converter=_list, hash=False)
    options: Options | None = None
    segments: Sequence[Segment] | None = attrs.field(default=None, converter=_tuple)
    webhook_url: str | None = None
    output_file_name: str | None = None
    project_id: str | None = None
    dub_params: DubParams | None = None
    request_id: str | None = None
    origin: Origin | None = attrs.field(default=None, eq=False, repr=False)
