"""Give any frame of a video by its number, in bounded memory.

`bounce` reads backwards, which codecs cannot. So frames are decoded in runs that fit
`CACHE_BYTES`, and only one run is held. Reading forwards, the next run just continues
the decoder; for any other run it starts again at the key frame before it. A video of a
few seconds fits one run and is decoded once, whatever is asked of it.

Frame numbers count a constant rate, at which every frame is shown. In a video of variable
rate each number means the frame that is nearest to that moment.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from math import floor
from typing import TYPE_CHECKING, NamedTuple

from PIL import ExifTags, Image

from lipsync_async.sandbox.media.errors import DURATION_EXCEEDED, VIDEO_INVALID, MediaError
from lipsync_async.sandbox.media.frame_normalizer import (
    EXIF_ORIENTATIONS,
    FrameNormalizer,
    Orientation,
    PixelTags,
)
from lipsync_async.sandbox.media.open_media import (
    MOST_SECONDS,
    THREADS,
    average_rate,
    is_picture,
    open_media,
    picture_stream,
    stated,
    translated,
)
from lipsync_async.sandbox.media.timeline import steady_rate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream


# 758 frames of 640x360, so that a demo is decoded once. 84 of 1920x1080: three runs from one key
# frame to the next, which are 250 frames apart as a rule. Read backwards, after the last run was
# read forwards, each frame is then decoded once more on average; at 3840x2160 five to six times.
CACHE_BYTES = 250 * 1024 * 1024
# Colour is kept at a quarter of the resolution: 12 bits a pixel.
_BYTES_PER_PIXEL = Fraction(3, 2)


class _Stamp(NamedTuple):
    """When one frame is shown, and where a decoder can start to reach it."""

    shown: int
    entry: int


class FrameReader:
    """Reader of the frames of one video or picture, all in the shape that the encoder takes."""

    def __init__(
        self, path: Path, *, code: str = VIDEO_INVALID, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._path = path
        self._code = code
        with ExitStack() as stack, translated(code, path):
            self._container = stack.enter_context(open_media(path))
            self._stream = picture_stream(self._container, path, code)
            self._stream.codec_context.thread_type = "AUTO"
            self._stream.codec_context.thread_count = THREADS
            average = average_rate(self._stream, path)
            self._stamps, lasts = _index(self._container, self._stream)
            # What a scanner says of a picture's pixels is for printers.
            if is_picture(path):
                aspect, still = Fraction(1), _exif_orientation(path)
            else:
                aspect, still = stated(self._stream.sample_aspect_ratio) or Fraction(1), None
            ticks = [stamp.shown - self._stamps[0].shown for stamp in self._stamps]
            rates = (average, stated(self._stream.guessed_rate) or average)
            self.rate: Fraction = steady_rate(ticks, self._time_base, rates)
            # The last frame, too, is shown for one frame of the output at least.
            seconds = ticks[-1] * self._time_base + max(lasts * self._time_base, 1 / self.rate)
            if seconds > MOST_SECONDS + 1:  # whatever the head of the file says
                raise MediaError(DURATION_EXCEEDED, f"is longer than {MOST_SECONDS:g} s.", path)
            self.count: int = round(seconds * self.rate)
            # Held open from here on; `__exit__` closes it.
            stack.pop_all()
        self._normalizer = FrameNormalizer(self._time_base, aspect=aspect, still=still)
        pixels = max(1, self._stream.width * self._stream.height)
        self._run_length = max(1, int(cache_bytes / (pixels * _BYTES_PER_PIXEL)))
        self._frames: Iterator[tuple[int | None, av.VideoFrame]] = iter(())
        self._next_run = -1
        self._run_number = -1
        self._run: list[tuple[int, av.VideoFrame]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The iterator holds this reader, so all frames would stay until cycles are collected.
        self._frames, self._run = iter(()), []
        self._container.close()

    @property
    def _time_base(self) -> Fraction:
        return stated(self._stream.time_base) or Fraction(1, 90_000)

    @property
    def tags(self) -> PixelTags:
        """What is to be said of all frames; known when one has been read."""
        return self._normalizer.tags

    @property
    def origin(self) -> float:
        """Second, on the file's own clock, at which the first frame is shown."""
        return float(self._stamps[0].shown * self._time_base)

    def frame(self, number: int) -> av.VideoFrame:
        """Return a frame, whose time stamps the caller may set; runs of neighbours are cheap."""
        position = self._position(number)
        run_number = position // self._run_length
        if run_number != self._run_number:
            # The old run goes first: the cap is for one run, not for two.
            last, self._run = self._run[-1:], []
            with translated(self._code, self._path):
                self._run = self._decode_run(run_number) or last
            self._run_number = run_number
        if not self._run:
            raise MediaError(self._code, "holds no picture that decodes.", self._path)
        shown = self._stamps[position].shown
        # A frame that did not decode is covered by its neighbour, if possible the earlier one.
        place = bisect_right(self._run, shown, key=lambda pair: pair[0]) - 1
        return self._run[max(0, place)][1]

    def _position(self, number: int) -> int:
        """Return the place, in the order of display, of the frame nearest to a moment."""
        half_a_frame = Fraction(1, 2) / self.rate
        moment = (number / self.rate + half_a_frame) / self._time_base + self._stamps[0].shown
        place = bisect_right(self._stamps, floor(moment), key=lambda stamp: stamp.shown) - 1
        return max(0, place)

    def _decode_run(self, run_number: int) -> list[tuple[int, av.VideoFrame]]:
        first = run_number * self._run_length
        stamps = self._stamps[first : first + self._run_length]
        if run_number != self._next_run:
            # With the frame before it, which fields need to become a frame.
            before = self._stamps[max(0, first - 1)]
            self._container.seek(before.entry, stream=self._stream)
            self._frames = self._normalizer.normalized(self._decoded(before.shown))
        self._next_run = run_number + 1
        run: list[tuple[int, av.VideoFrame]] = []
        for stamp, frame in self._frames:
            shown = stamps[0].shown if stamp is None else stamp
            if shown > stamps[-1].shown:
                # The frames before it did not decode; it belongs to the next run.
                self._frames = chain([(stamp, frame)], self._frames)
                break
            if shown >= stamps[0].shown:
                run.append((shown, frame))
            if shown == stamps[-1].shown:
                break
        return run

    def _decoded(self, first: int) -> Iterator[av.VideoFrame]:
        for frame in self._container.decode(self._stream):
            if frame.pts is None or frame.pts >= first:
                yield frame


def _exif_orientation(path: Path) -> Orientation:
    """Return how a photograph was held; one whose data are damaged is shown as it is stored."""
    try:
        with Image.open(path) as picture:
            number = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, struct.error, UserWarning):
        number = 1  # a warning where the program turns those into errors
    # Compared, for damaged data may hold a number of any type.
    places = enumerate(EXIF_ORIENTATIONS, 1)
    return next((seen for place, seen in places if place == number), Orientation())


def _index(container: InputContainer, stream: VideoStream) -> tuple[list[_Stamp], int]:
    """Return every frame's stamps in the order of display, and how long the last is shown.

    Nothing is decoded. A stream without a key frame gets one stamp, at which nothing will
    decode. The length is 0 where the container does not say it.
    """
    packets: list[tuple[int, int, bool, bool, int]] = []
    for packet in container.demux(stream):
        shown = packet.pts if packet.pts is not None else packet.dts
        if shown is not None:
            # Containers seek by decoding time, which is never after the time of display.
            decoded = packet.dts if packet.dts is not None else shown
            lasts = packet.duration or 0
            packets.append((shown, decoded, packet.is_keyframe, packet.is_discard, lasts))
    stamps: list[_Stamp] = []
    last, entry = 0, None
    for shown, decoded, is_key_frame, is_discarded, lasts in sorted(packets):
        # What comes before the first key frame, as in a recording cut open, never decodes.
        # What an edit list hides is decoded, but not shown.
        entry = decoded if is_key_frame else entry
        if entry is not None and not is_discarded:
            stamps.append(_Stamp(shown, entry))
            last = lasts
    return stamps or [_Stamp(0, 0)], last
