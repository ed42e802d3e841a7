"""Give any frame of a video by its number, in bounded memory.

`bounce` reads backwards, which codecs cannot. So frames are decoded in runs that fit
`CACHE_BYTES`, and only one run is held. Reading forwards, the next run just continues
the decoder; for any other run it starts again at the key frame before it. A video of a
few seconds fits one run and is decoded once, whatever is asked of it.

Frame numbers count a constant rate, the stream's average. In a video of variable rate
each number means the frame that is nearest to that moment.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from math import floor
from typing import TYPE_CHECKING, NamedTuple

import av
import av.filter
from av.video.frame import PictureType

from lipsync_async.sandbox.media.errors import VIDEO_INVALID, MediaError
from lipsync_async.sandbox.media.open_media import (
    QUARTER_TURNS,
    THREADS,
    average_rate,
    open_media,
    picture_stream,
    stated,
    translated,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from av.container import InputContainer
    from av.video.stream import VideoStream


# 388 frames of 640x360, so that a demo is decoded once, or 43 of 1920x1080, where reading
# backwards decodes each frame about three times (key frames are 250 frames apart as a rule).
CACHE_BYTES = 128 * 1024 * 1024
# Colour is kept at a quarter of the resolution: 12 bits a pixel.
_BYTES_PER_PIXEL = Fraction(3, 2)
# Containers without a real rate report nonsense such as 90,000; outputs stay playable.
_MAX_RATE = Fraction(120)


# Counter-clockwise display rotation of a frame, and the filters that apply it.
_TURNS: dict[int, tuple[tuple[str, str], ...]] = {
    90: (("transpose", "cclock"),),
    -90: (("transpose", "clock"),),
    180: (("hflip", ""), ("vflip", "")),
    -180: (("hflip", ""), ("vflip", "")),
}


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
            # In numbers small enough for any container.
            rate = average_rate(self._stream, path).limit_denominator(1001)
            self.rate: Fraction = min(rate, _MAX_RATE)
            self._stamps = _index(self._container, self._stream)
            # Held open from here on; `__exit__` closes it.
            stack.pop_all()
        self._normalizer = FrameNormalizer(self._time_base)
        pixels = max(1, self._stream.width * self._stream.height)
        self._run_length = max(1, int(cache_bytes / (pixels * _BYTES_PER_PIXEL)))
        self._decoder: Iterator[av.VideoFrame] = iter(())
        self._next_run = -1
        self._run_number = -1
        self._run: list[tuple[int, av.VideoFrame]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def _time_base(self) -> Fraction:
        return stated(self._stream.time_base) or Fraction(1, 90_000)

    @property
    def count(self) -> int:
        """How many frames the video has at its average rate."""
        shown = (self._stamps[-1].shown - self._stamps[0].shown) * self._time_base
        return round(shown * self.rate) + 1

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
        stamps = self._stamps[run_number * self._run_length :][: self._run_length]
        if run_number != self._next_run:
            self._container.seek(stamps[0].entry, stream=self._stream)
            self._decoder = self._container.decode(self._stream)
        self._next_run = run_number + 1
        run: list[tuple[int, av.VideoFrame]] = []
        for frame in self._decoder:
            shown = frame.pts if frame.pts is not None else stamps[0].shown
            if shown > stamps[-1].shown:
                # The frames before it did not decode; it belongs to the next run.
                self._decoder = chain([frame], self._decoder)
                break
            if shown >= stamps[0].shown:
                run.append((shown, self._normalizer.normalize(frame)))
            if shown == stamps[-1].shown:
                break
        return run


def _index(container: InputContainer, stream: VideoStream) -> list[_Stamp]:
    """Return every frame's stamps in the order of display, without decoding any.

    A stream without a key frame gets one stamp, at which nothing will decode.
    """
    packets: list[tuple[int, int, bool]] = []
    for packet in container.demux(stream):
        shown = packet.pts if packet.pts is not None else packet.dts
        if shown is not None and not packet.is_discard:
            # Containers seek by decoding time, which is never after the time of display.
            decoded = packet.dts if packet.dts is not None else shown
            packets.append((shown, decoded, packet.is_keyframe))
    stamps: list[_Stamp] = []
    for shown, decoded, is_key_frame in sorted(packets):
        # What comes before the first key frame, as in a recording cut open, never decodes.
        if is_key_frame or stamps:
            stamps.append(_Stamp(shown, decoded if is_key_frame else stamps[-1].entry))
    return stamps or [_Stamp(0, 0)]


class FrameNormalizer:
    """Normalizer of one video's frames: upright, even, `yuv420p`, all of the first one's size.

    4:2:0 colour needs even sides; an odd line is cut off. A change of geometry in mid-stream
    is followed.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._size: tuple[int, int] | None = None
        self._geometry: tuple[int, int, str, int] | None = None
        self._graph = av.filter.Graph()

    def normalize(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame upright, even, `yuv420p`, free of its old picture type."""
        geometry = (frame.width, frame.height, frame.format.name, frame.rotation)
        if geometry != self._geometry:
            self._graph = self._build(geometry)
            self._geometry = geometry
        self._graph.vpush(frame)
        shaped = self._graph.vpull()
        # Otherwise the encoder would repeat the source's choice of key frames.
        shaped.pict_type = PictureType.NONE
        return shaped

    def _build(self, geometry: tuple[int, int, str, int]) -> av.filter.Graph:
        width, height, pixel_format, rotation = geometry
        upright = (height, width) if rotation in QUARTER_TURNS else (width, height)
        kept = [min(length, even(length)) for length in upright]
        target = self._size = self._size or (even(upright[0]), even(upright[1]))
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=width,
            height=height,
            format=av.VideoFormat(pixel_format),
            time_base=self._time_base,
        )
        wanted = (
            *_TURNS.get(rotation, ()),
            ("crop", f"{kept[0]}:{kept[1]}:0:0"),
            ("scale", f"{target[0]}:{target[1]}"),
            ("format", "yuv420p"),
            ("buffersink", ""),
        )
        steps = [graph.add(name, arguments or None) for name, arguments in wanted]
        graph.link_nodes(source, *steps).configure()
        return graph


def even(length: int) -> int:
    """Return the largest even number of pixels that fits, at least two."""
    return max(2, length - length % 2)
