"""Generation requests and their parts, as frozen values.

Nothing is checked here, so that one error can later name every problem at once (see
`_logic/validation.py`). The names are Python's; the wire's mixed camelCase and
snake_case live in `_logic/codec.py`.
"""
# ruff: noqa: PYI051 - beside `str`, the literals are what an editor offers

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from os import PathLike
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

import attrs
from attrs.converters import optional

from lipsync_async._models.text import at_home

if TYPE_CHECKING:
    ModelName: TypeAlias = (
        Literal["sync-3", "lipsync-2", "lipsync-2-pro", "lipsync-1.9.0-beta", "react-1"] | str
    )
    SyncModeName: TypeAlias = Literal["bounce", "loop", "cut_off", "silence", "remap"] | str
    ModelModeName: TypeAlias = Literal["lips", "face", "head"] | str
    EmotionName: TypeAlias = (
        Literal["happy", "sad", "angry", "disgusted", "surprised", "neutral"] | str
    )

    class Readable(Protocol):
        """An open binary file, or an upload of a web framework, whose `read` may be awaited."""

        def read(self, size: int = ..., /) -> Any:
            """Return so many bytes; fewer at the end, none behind it."""

    FileSource: TypeAlias = (
        str
        | PathLike[str]
        | bytes
        | bytearray
        | memoryview
        | Readable
        | AsyncIterable[bytes]
        | Iterator[bytes]
    )
    StreamSource: TypeAlias = (
        PathLike[str]
        | bytes
        | bytearray
        | memoryview
        | Readable
        | AsyncIterable[bytes]
        | Iterator[bytes]
    )

    def _address(value: str | StreamSource | None) -> str | None:
        """Take a file in the place of an address; a request makes it the input's `file`."""

else:  # what the codec reads
    ModelName = SyncModeName = ModelModeName = EmotionName = str
    FileSource = StreamSource = Any
    _address = None


def _freeze(value: object, *names: str) -> None:
    """Replace lists in fields, and lists in those, by tuples; leave all else for validation.

    A list that raises is left, too.
    No converters: a type checker would take their parameter's type for the field's.
    """
    for name in names:
        found = getattr(value, name)
        with suppress(Exception):
            if issubclass(type(found), list):
                inner = (tuple(each) if type(each) is list else each for each in found)
                object.__setattr__(value, name, tuple(inner))


class Serializable:
    """Base of the values that can be written as plain values and as JSON."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by their names, as dicts, lists, texts, numbers and `None`.

        Inputs also have their `type`: "video", "image", "audio" or "text". Dates are in ISO 8601.
        Bytes are described, not copied. `raw` is left out.
        """
        fields: dict[str, Any] = _plain(self)
        return fields

    def to_json(self, *, indent: int | None = None) -> str:
        """Return `to_dict()` as JSON.

        Args:
            indent: Spaces for each level; `None`: all on one line.

        """
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        kind = getattr(value, "TYPE", None)  # of an input, whose fields do not tell
        return ({} if kind is None else {"type": kind}) | {
            field.name: _plain(getattr(value, field.name))
            for field in attrs.fields(type(value))
            if field.name != "raw" or field.eq  # an unknown input has nothing else
        }
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case BaseException():
            return {"type": type(value).__name__, "message": str(value)}
    if isinstance(value, bytes):
        value = f"<{len(value)} bytes>"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def is_stream(value: object) -> bool:
    """Tell whether a value gives bytes, perhaps only once: a file, an upload, an iterator."""
    with suppress(Exception):  # raised by a class of the user's
        return callable(getattr(value, "read", None)) or isinstance(value, AsyncIterable | Iterator)
    return False


def _settled(item: Any) -> Any:
    """Return an input with what stands in the place of its address, and is none, as its file."""
    given = getattr(item, "url", None)
    if given is None or isinstance(given, str) or type(item) not in _MEDIA or item.file is not None:
        return item
    if isinstance(given, PathLike | bytes | bytearray | memoryview) or is_stream(given):
        return attrs.evolve(item, url=None, file=given)
    return item


def _at_home(file: FileSource | None) -> FileSource | None:
    """Replace `~` by the home folder; leave anything unknown for validation."""
    with suppress(Exception):  # raised by a class of the user's
        if isinstance(file, bytearray | memoryview):
            return bytes(file)  # which nothing changes
        if isinstance(file, str):
            return at_home(file) or str.__str__(file)
        if isinstance(file, PurePath) and str(file).startswith("~"):
            found = at_home(str(file))
            return file if found is None else Path(found)
    return file


@attrs.frozen(slots=True)
class Video:
    """Video whose lips are moved.

    Args:
        url: Public `http(s)` URL; it is fetched when the job runs, so a link that
            expires soon will fail.
        asset_id: Id of an asset of your organization, instead of `url`.
        file: A file instead of `url`: a path (`~` is the home folder), bytes, an open
            binary file, an upload of a web framework, or an iterator of bytes, async or not;
            1 byte to 5 GiB. All but a text may stand in the place of `url` as well: a text
            there is always an address, so that no user of yours can name a file of yours.
        ref_id: Name by which other parts of the request refer to this input.
        segments_secs: Deprecated by the service: `[[start, end], …]` in seconds.
        segments_frames: Deprecated by the service: `[[start, end], …]` in frames.

    Source: "Create generation", sync.so API reference.
    """

    TYPE: ClassVar[str] = "video"

    url: str | None = attrs.field(default=None, converter=_address)
    asset_id: str | None = attrs.field(default=None, kw_only=True)
    file: FileSource | None = attrs.field(
        default=None, converter=optional(_at_home), kw_only=True, repr=False
    )
    ref_id: str | None = attrs.field(default=None, kw_only=True)
    segments_secs: Sequence[Sequence[float]] | None = attrs.field(default=None, kw_only=True)
    segments_frames: Sequence[Sequence[int]] | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(slots=True)
class Image:
    """Still picture to animate; model `sync-3` only.

    Args:
        url: Public `http(s)` URL of a JPEG, PNG or WebP.
        asset_id: Id of an asset of your organization, instead of `url`.
        file: A file instead of `url`, as in `Video`.
        ref_id: Name by which other parts of the request refer to this input.

    Source: "Create generation", sync.so API reference.
    """

    TYPE: ClassVar[str] = "image"

    url: str | None = attrs.field(default=None, converter=_address)
    asset_id: str | None = attrs.field(default=None, kw_only=True)
    file: FileSource | None = attrs.field(
        default=None, converter=optional(_at_home), kw_only=True, repr=False
    )
    ref_id: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(slots=True)
class Audio:
    """Recorded speech.

    Args:
        url: Public `http(s)` URL.
        asset_id: Id of an asset of your organization, instead of `url`.
        file: A file instead of `url`, as in `Video`.
        ref_id: Name by which segments refer to this input; required with segments.

    Source: "Create generation", sync.so API reference.
    """

    TYPE: ClassVar[str] = "audio"

    url: str | None = attrs.field(default=None, converter=_address)
    asset_id: str | None = attrs.field(default=None, kw_only=True)
    file: FileSource | None = attrs.field(
        default=None, converter=optional(_at_home), kw_only=True, repr=False
    )
    ref_id: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(slots=True, kw_only=True)
class ElevenLabs:
    """ElevenLabs voice, with the text that it speaks.

    Args:
        voice_id: ElevenLabs voice id, or the id of a voice cloned at sync.so.
        script: The text to speak, 1 to 5000 characters.
        stability: 0 to 1; `None`: the service's default, 0.5.
        similarity_boost: 0 to 1; `None`: the service's default, 0.75.

    Source: "Create generation", sync.so API reference.
    """

    voice_id: str
    script: str
    stability: float | None = None
    similarity_boost: float | None = None


@attrs.frozen(slots=True)
class Text:
    """Speech made from text. Each run gives another take.

    Args:
        provider: The voice and the script.
        ref_id: Name by which segments refer to this input; required with segments.

    Source: "Create generation", sync.so API reference.
    """

    TYPE: ClassVar[str] = "text"

    provider: ElevenLabs
    ref_id: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(slots=True)
class UnknownInput:
    """Input of a type that this release does not know, as the service sent it.

    Attributes:
        type: The wire's `type`, or `None` where it had none.
        raw: The whole object.

    """

    type: str | None
    raw: Mapping[str, Any]


_MEDIA = (Video, Image, Audio)
Input = Video | Image | Audio | Text
AnyInput = Video | Image | Audio | Text | UnknownInput


@attrs.frozen(slots=True, kw_only=True)
class ActiveSpeaker:
    """Choice of the speaker whose lips move, in exactly one of three ways.

    Args:
        auto_detect: Let the service find the speaker; videos only.
        frame_number: Frame (from 0) in which `coordinates` point at the face.
        coordinates: `(x, y)` in native pixels, with `frame_number`.
        bounding_boxes: One `(x1, y1, x2, y2)` in native pixels, or `None`, per frame.
        bounding_boxes_url: URL of a JSON file with a `bounding_boxes` list.
        v3: Use version 3 of the detector.

    Source: "Speaker selection", sync.so documentation.
    """

    auto_detect: bool | None = None
    frame_number: int | None = None
    coordinates: Sequence[int] | None = None
    bounding_boxes: Sequence[Sequence[float] | None] | None = None
    bounding_boxes_url: str | None = None
    v3: bool | None = None

    def __attrs_post_init__(self) -> None:
        _freeze(self, "coordinates", "bounding_boxes")


@attrs.frozen(slots=True, kw_only=True)
class Options:
    """Options of a generation. `None` leaves a choice to the service.

    The service silently ignores an option that the model does not support; this client
    warns (`IgnoredOptionWarning`).

    Args:
        sync_mode: `bounce` (the service's default), `loop`, `cut_off`, `silence` or
            `remap`; see `SyncMode`. Ignored for images.
        temperature: 0 to 1, expressiveness; the service's default is 0.5.
        model_mode: `lips`, `face` or `head`; `react-1` only.
        prompt: One emotion, see `Emotion`; `react-1` only.
        occlusion_detection_enabled: Handle objects in front of the face; slower.
        active_speaker_detection: Whose lips move.
        reasoning_enabled: `lipsync-2-pro` only; changes the price.

    Source: "Create generation", sync.so API reference.
    """

    sync_mode: SyncModeName | None = None
    temperature: float | None = None
    model_mode: ModelModeName | None = None
    prompt: EmotionName | None = None
    occlusion_detection_enabled: bool | None = None
    active_speaker_detection: ActiveSpeaker | None = None
    reasoning_enabled: bool | None = None


@attrs.frozen(slots=True)
class SegmentAudio:
    """Audio of a segment, and optionally which part of it.

    Args:
        ref_id: The `ref_id` of an audio or text input.
        start_time: Seconds into that audio; give both times or neither.
        end_time: Seconds into that audio.

    Source: "Segments", sync.so documentation.
    """

    ref_id: str
    start_time: float | None = attrs.field(default=None, kw_only=True)
    end_time: float | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(slots=True, kw_only=True)
class Segment:
    """Time range of the video, with an audio of its own.

    Args:
        start_time: Seconds into the video, at least 0.
        end_time: Seconds into the video, at least `start_time`.
        audio_input: Which audio is heard there.
        options_override: Options for this range only.

    Source: "Segments", sync.so documentation.
    """

    start_time: float
    end_time: float
    audio_input: SegmentAudio
    options_override: Options | None = None


@attrs.frozen(slots=True, kw_only=True)
class DubParams:
    """Dubbing of the video's own speech into another language, instead of an audio input.

    Args:
        target_lang: Language code to dub into.
        source_lang: Language code spoken in the video; `None`: the service's `auto`.
        provider_name: Only `elevenlabs` exists.

    Source: "Create generation", sync.so API reference.
    """

    target_lang: str
    source_lang: str | None = None
    provider_name: str = "elevenlabs"


@attrs.frozen(slots=True)
class Origin:
    """Where a request comes from; nothing of it is sent.

    A journal stores it, names requests by their lines, and exports the rest.

    Args:
        line: The line of the manifest that it was read from, from 1; `None`: of none.
        extra: Texts of your own by names of your own, such as cells of a table.

    """

    line: int | None = None
    extra: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(slots=True, kw_only=True)
class GenerationRequest(Serializable):
    """Request to create one generation.

    Args:
        model: See `Model`; any other name is sent with a warning.
        input: Exactly one video or image, and exactly one audio or text; with
            `segments` several audios and texts; with `dub_params` or `dialogue_edit` none.
        options: How the lips are made.
        segments: Time ranges of the video with an audio each, in order.
        webhook_url: `https` URL that gets a POST when the job has ended (`http` is
            allowed for a loopback host).
        output_file_name: Base name of the result without extension: 1 to 255 letters,
            digits, `_` or `-`.
        project_id: UUID of a project of your organization.
        dub_params: Dub the video's own speech.
        dialogue_edit: Id of a dialogue edit that has ended well: render it into the video.
        request_id: A name of your own for this request, never sent: 1 to 255 characters,
            unique in a run. A journal knows the request by it wherever it stands.
        origin: Where it comes from; never sent, and ignored when requests are compared.

    Source: "Create generation", sync.so API reference.
    """

    model: ModelName
    # A list of its own, which can be changed; out of the hash, because lists have none.
    input: Sequence[Input] = attrs.field(hash=False)
    options: Options | None = None
    segments: Sequence[Segment] | None = None
    webhook_url: str | None = None
    output_file_name: str | None = None
    project_id: str | None = None
    dub_params: DubParams | None = None
    dialogue_edit: str | None = None
    request_id: str | None = None
    origin: Origin | None = attrs.field(default=None, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.segments is not None:
            _freeze(self, "segments")
        with suppress(Exception):
            if issubclass(type(self.input), list | tuple):
                object.__setattr__(self, "input", [*map(_settled, self.input)])

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the request as JSON that another process can read with `from_json`.

        It has the form of a line of a manifest: the body, by the names of the HTTP API, and, if
        they are set, `request_id`, and `origin.extra` as `extra`. A local file is named by its
        absolute path, so each reader must find it there. `to_dict` has Python's names.

        Args:
            indent: Spaces for each level; `None`: all on one line.

        Raises:
            InvalidRequestError: The request is wrong, or a file is given as bytes, an open file
                or an iterator.

        """
        text: str = _manifest().write_request(self, indent=indent)
        return text

    @classmethod
    def from_json(cls, text: str) -> GenerationRequest:
        """Return the request that `to_json` wrote, or that a line of a manifest describes.

        Local files must exist; paths are relative to the current folder. Do not read text from
        people whom you do not trust: it can name any file of this machine.

        Args:
            text: JSON: a generate body, with `request_id` and `extra` if need be, or a line of a
                batch.

        Raises:
            InvalidRequestError: It is no JSON, or no request that can be sent; all problems, each
                with its path by the names of the HTTP API.

        """
        request: GenerationRequest = _manifest().read_request(text)
        return request


def _manifest() -> Any:
    """Load the module of manifests at first use: it imports this one."""
    return import_module("lipsync_async._bulk.manifest")
