"""Open media files, and look at them as the service does before it accepts them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import attrs
import av
import av.error
from av.stream import Disposition

from lipsync_async.sandbox.media.errors import (
    AUDIO_INVALID,
    METADATA_MISSING,
    RESOLUTION_UNSUPPORTED,
    VALIDATION_FAILED,
    VIDEO_INVALID,
    MediaError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Two threads wherever a codec takes a number: fast on small machines, and a fixed number
# is what makes a render's bytes repeatable.
THREADS = 2
MICROSECONDS = 1_000_000  # libav counts the length of a whole file in them
# A portrait video may be as large as a landscape one.
# Source: "Supported media", sync.so documentation.
_MAX_LONG_SIDE, _MAX_SHORT_SIDE = 4096, 2160
# libavcodec's names of the containers that the service takes. Playlists are none of them: they
# would name further files, also on this machine, and libav would open those.
_FORMATS = ["mov", "matroska", "webm", "avi", "wav", "mp3", "ogg", "flac", "aac", "asf"]
# Of those, what the service takes as video; of Matroska only what calls itself WebM.
_VIDEO_FORMATS = frozenset({"mov", "matroska", "avi"})
_WEBM = re.compile(rb"B\x82.{1,8}?webm", re.DOTALL)  # its document type
# By their first bytes; a suffix would make libav take a numbered series of pictures instead.
# Moving ones, which have a chunk of their own, are none.
_PICTURES = {
    "jpeg_pipe": re.compile(rb"\xff\xd8\xff"),
    "png_pipe": re.compile(rb"\x89PNG\r\n\x1a\n(?!((?!IDAT).)*acTL)", re.DOTALL),
    "webp_pipe": re.compile(rb"RIFF....WEBP(?!VP8X.*ANIM)", re.DOTALL),
}
_HEAD_BYTES = 1024
# A few kilobytes of PNG can hold a picture of gigabytes, and opening it would already decode
# it. Twice what the service takes leaves room for codecs' own padding.
_LIMITS = {"max_pixels": str(2 * _MAX_LONG_SIDE * _MAX_SHORT_SIDE)}
_OPTIONS = _LIMITS | {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join([*_FORMATS, *_PICTURES]),
}
# Up to PyAV 18, a tag that is not UTF-8 is an error unless another way is asked for. From 19
# on, such a tag is always read, and the argument is gone.
_LAST_STRICT_VERSION = 18
_TAGS: dict[str, Any] = (
    {"metadata_errors": "replace"}
    if int(av.__version__.partition(".")[0]) <= _LAST_STRICT_VERSION
    else {}
)
QUARTER_TURNS = (90, -90)  # of a frame's display rotation
MOST_SECONDS = 1800.0  # Source: "Pricing", sync.so: the longest output of any listed plan
_INVALID = {"video": VIDEO_INVALID, "audio": AUDIO_INVALID, "image": VALIDATION_FAILED}
_ARTICLED = {"video": "a video", "image": "a JPEG, PNG or WebP picture"}


@attrs.frozen(slots=True)
class MediaInfo:
    """What is known about one media file."""

    kind: str  # `video`, `audio` or `image`
    duration: float | None  # seconds; `None` for an image
    width: int | None  # pixels as shown, after rotation; `None` for audio
    height: int | None
    fps: float | None  # on average; `None` unless it is a video


def stated(ratio: Any) -> Fraction | None:
    """Return a rate or a time base as a fraction; `None` when the file does not state it.

    Up to version 18 PyAV gives a `Fraction`, and `None` for a number that is not stated. From
    19 on it gives an `AVRational` as libav has it, in which either part is zero then.
    """
    if ratio is None or not ratio.numerator or not ratio.denominator:
        return None
    return Fraction(ratio.numerator, ratio.denominator)


@contextmanager
def translated(code: str, path: Path) -> Iterator[None]:
    """Turn any codec error inside into a `MediaError` with `code`."""
    try:
        yield
    except (av.error.FFmpegError, UnicodeDecodeError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(code, f"cannot be read: {reason}.", path) from error


def open_media(path: Path) -> InputContainer:
    """Open a file of a format that the service takes; what the file is called does not count."""
    try:
        container: InputContainer = av.open(
            str(path), "r", format=_picture_format(path), options=_OPTIONS, **_TAGS
        )
    except av.error.ArgumentError as error:
        reason = "the service does not take this format"
        raise av.error.InvalidDataError(error.errno or 0, reason, path.name) from error
    for stream in filter(_is_decodable, container.streams.video):
        stream.codec_context.options = _LIMITS
    return container


def picture_stream(container: InputContainer, path: Path, code: str) -> VideoStream:
    """Return the first video stream; the cover of a song is none."""
    for stream in filter(_is_decodable, container.streams.video):
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise MediaError(code, "has no video stream.", path)


def audio_stream(container: InputContainer) -> AudioStream | None:
    """Return the first audio stream; one of a codec that libav does not know is passed over."""
    return next(filter(_is_decodable, container.streams.audio), None)


def _is_decodable(stream: Any) -> bool:
    """Whether libav knows a decoder; otherwise PyAV gives no context, whatever its types say."""
    return stream.codec_context is not None


def probe(path: Path, kind: str) -> MediaInfo:
    """Return a file's properties, or refuse it as the service does; one frame is decoded to see."""
    code = _INVALID[kind]
    with translated(code, path):
        if kind != "audio" and (kind == "image") is not is_picture(path):
            raise MediaError(code, f"is not {_ARTICLED[kind]}.", path)
        with open_media(path) as container:
            if kind == "audio":
                return _audio(container, path)
            return _visual(container, path, code)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def is_picture(path: Path) -> bool:
    """Whether a file is a picture of a kind that the service takes."""
    return _picture_format(path) is not None


def _picture_format(path: Path) -> str | None:
    head = _head(path)
    return next((name for name, mark in _PICTURES.items() if mark.match(head)), None)


def _audio(container: InputContainer, path: Path) -> MediaInfo:
    stream = audio_stream(container)
    if stream is None:
        raise MediaError(AUDIO_INVALID, "has no audio stream.", path)
    if next(container.decode(stream), None) is None:
        raise MediaError(AUDIO_INVALID, "holds no sound.", path)
    return MediaInfo("audio", _seconds(container, stream, path), None, None, None)


def _visual(container: InputContainer, path: Path, code: str) -> MediaInfo:
    stream = picture_stream(container, path, code)
    name = container.format.name.partition(",")[0]
    is_other = name == "matroska" and _WEBM.search(_head(path)) is None
    if code == VIDEO_INVALID and (is_other or name not in _VIDEO_FORMATS):
        raise MediaError(code, "is not an mp4, mov, WebM or AVI video.", path)
    words = f"is larger than {_MAX_LONG_SIDE}x{_MAX_SHORT_SIDE}."
    too_large = MediaError(RESOLUTION_UNSUPPORTED, words, path)
    # Before a picture is decoded that would fill the memory.
    shorter, longer = sorted((stream.width, stream.height))
    if longer > _MAX_LONG_SIDE or shorter > _MAX_SHORT_SIDE:
        raise too_large
    try:
        frame = next(container.decode(stream), None)
    except av.error.ArgumentError as error:
        # What the decoder says to more pixels than `open_media` allows.
        raise too_large from error
    if frame is None:
        raise MediaError(code, "holds no picture.", path)
    width, height = frame.width, frame.height
    if frame.rotation in QUARTER_TURNS:
        width, height = height, width
    if container.format.name in _PICTURES:
        return MediaInfo("image", None, width, height, None)
    rate = float(average_rate(stream, path))
    return MediaInfo("video", _seconds(container, stream, path), width, height, rate)


def average_rate(stream: VideoStream, path: Path) -> Fraction:
    """Return the frames a second that a video states."""
    rate = stated(stream.average_rate)
    if rate is None:
        raise MediaError(METADATA_MISSING, "states no frame rate.", path)
    return rate


def _seconds(container: InputContainer, stream: AudioStream | VideoStream, path: Path) -> float:
    time_base = stated(stream.time_base)
    if stream.duration and time_base:
        return float(stream.duration * time_base)
    if container.duration:
        return container.duration / MICROSECONDS
    raise MediaError(METADATA_MISSING, "states no duration.", path)
