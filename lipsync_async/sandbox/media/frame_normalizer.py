"""Bring the frames of any video into one shape: upright, even, progressive, 8-bit `yuv420p`, SDR.

What a player would do is done to the pixels: they are turned and mirrored, fields become
frames, high dynamic range becomes bt709. What an mp4 can say again is only said again: the
shape of a pixel, and the colours of SDR video.

Sources: ITU-T H.273 (the numbers), ITU-R BT.2100 (PQ and HLG), BT.2087 (the gamut), BT.2408
(203 cd/m2 for white), BT.2390 (the shoulder).
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import av
import av.filter
import numpy as np
from av.error import BlockingIOError as NothingYetError, EOFError as NothingMoreError
from av.sidedata.sidedata import Type as SideData
from av.video.frame import PictureType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.filter.context import FilterContext

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

UNKNOWN = 2  # in all three fields of H.273
BT709 = 1  # likewise
_BT2020_MATRIX = 9
# The matrices that filters know: RGB, SDR, and bt2020 for both ways to make its luma.
_MATRICES = {**{number: number for number in (0, 1, 4, 5, 6, 7, 9)}, 10: _BT2020_MATRIX}


class _Transfer(IntEnum):
    PQ = 16
    HLG = 18


class PixelTags(NamedTuple):
    """What a file says of its pixels; the numbers of colours are those of ITU-T H.273."""

    aspect: Fraction = Fraction(1)  # width by height of one pixel
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN
    matrix: int = UNKNOWN


class Orientation(NamedTuple):
    """Where the pixel x, y is seen: at `a` * x + `c` * y from the left, `b` * x + `d` * y down."""

    a: float = 1
    b: float = 0
    c: float = 0
    d: float = 1

    @property
    def is_turned(self) -> bool:
        """Whether width and height change places."""
        return abs(self.b) + abs(self.c) > abs(self.a) + abs(self.d)

    @property
    def filters(self) -> list[tuple[str, str]]:
        """The filters that do it to the pixels."""
        if self.is_turned:
            names = {(False, False): "clock_flip", (False, True): "cclock", (True, False): "clock"}
            return [("transpose", names.get((self.b > 0, self.c > 0), "cclock_flip"))]
        flips = {"hflip": self.a < 0, "vflip": self.d < 0}
        return [(name, "") for name, is_needed in flips.items() if is_needed]


# Exif's tag 0x0112, from 1 to 8.
EXIF_ORIENTATIONS = (
    Orientation(),
    Orientation(-1, 0, 0, 1),
    Orientation(-1, 0, 0, -1),
    Orientation(1, 0, 0, -1),
    Orientation(0, 1, 1, 0),
    Orientation(0, 1, -1, 0),
    Orientation(0, -1, -1, 0),
    Orientation(0, -1, 1, 0),
)


def display_orientation(frame: av.VideoFrame) -> Orientation:
    """Return how a video's frame is to be shown."""
    # The container of side data and the frame hold each other, so only a few frames may be asked.
    try:
        kinds: Any = frame.side_data  # whose type in PyAV says that names are its keys
        data = kinds.get(SideData.DISPLAYMATRIX)
    except ValueError:  # pragma: no cover - PyAV 19 knows more kinds than 18
        # PyAV does not know all kinds, such as the Exif data in Motion JPEG. The angle alone
        # does not tell a mirrored picture from a turned one, but none of those is mirrored.
        turn = Fraction(frame.rotation, 90)
        return EXIF_ORIENTATIONS[{0: 0, 1: 7, -1: 5}.get(round(turn), 2)]
    if data is None:
        return Orientation()
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    return Orientation(a, b, c, d)


class FrameNormalizer:
    """Normalizer of one video's frames; all get the size and the tags of the first one.

    4:2:0 colour needs even sides; an odd line is cut off. A change of geometry in mid-stream
    is followed.
    """

    def __init__(
        self,
        time_base: Fraction,
        *,
        aspect: Fraction = Fraction(1),  # of a stored pixel
        still: Orientation | None = None,  # of a photograph; `None`: a video, which says it itself
    ) -> None:
        self._time_base = time_base
        self._aspect = aspect
        self._still = still
        self._size: tuple[int, int] = (0, 0)  # none yet
        self.tags: PixelTags = PixelTags()  # of all frames, once there is one
        self._geometry: object = None
        self._is_interlaced = False
        self._graph: av.filter.Graph
        self._source: FilterContext
        self._sink: FilterContext

    def normalized(
        self, frames: Iterable[av.VideoFrame]
    ) -> Iterator[tuple[int | None, av.VideoFrame]]:
        """Yield each frame with its old time stamp.

        A frame of fields needs its neighbours: it comes when the next one was taken.
        """
        stamps: deque[int | None] = deque()
        if self._is_interlaced:
            self._geometry = None  # what the filter remembers is not the frame before
        for frame in frames:
            # Others are unknown to the filters, which would refuse to work.
            frame.colorspace = _MATRICES.get(frame.colorspace, UNKNOWN)
            # A PNG that is sent line by line says so, too, but has no fields.
            has_fields = frame.interlaced_frame and self._still is None
            self._is_interlaced = self._is_interlaced or has_fields
            colours = (frame.colorspace, frame.color_range, frame.color_trc)
            shape = (frame.width, frame.height, frame.format.name, frame.rotation)
            if (geometry := (*shape, *colours, self._is_interlaced)) != self._geometry:
                if stamps:
                    self._source.push(None)
                    yield from self._pulled(stamps)
                self._build(frame)
                self._geometry = geometry
            stamps.append(frame.pts)
            self._source.push(frame)
            yield from self._pulled(stamps)
        if stamps:
            self._source.push(None)
            self._geometry = None
            yield from self._pulled(stamps)

    def _pulled(self, stamps: deque[int | None]) -> Iterator[tuple[int | None, av.VideoFrame]]:
        while stamps:
            try:
                shaped = cast("av.VideoFrame", self._sink.pull())
            except (NothingYetError, NothingMoreError):
                return
            # Otherwise the encoder would repeat the source's choice of key frames.
            shaped.pict_type = PictureType.NONE
            yield stamps.popleft(), shaped

    def _build(self, frame: av.VideoFrame) -> None:
        width, height = frame.width, frame.height
        seen = display_orientation(frame) if self._still is None else self._still
        upright = (height, width) if seen.is_turned else (width, height)
        kept = [min(length, even(length)) for length in upright]
        if self._size == (0, 0):
            self._size = even(upright[0]), even(upright[1])
            self.tags = self._tags(frame, seen)
        matrix = "" if self.tags.matrix == UNKNOWN else f":out_color_matrix={self.tags.matrix}"
        wanted = [
            *([("bwdif", "mode=send_frame:deint=interlaced")] if self._is_interlaced else []),
            *(_THROUGH_TABLE if _is_wide(frame) else []),
            *seen.filters,
            ("crop", f"{kept[0]}:{kept[1]}:0:0"),
            ("scale", f"{self._size[0]}:{self._size[1]}:out_range=limited{matrix}"),
            ("format", "yuv420p"),
            ("buffersink", ""),
        ]
        self._graph = graph = av.filter.Graph()  # which its filters do not keep alive
        self._source = graph.add(
            "buffer",
            f"video_size={width}x{height}:pix_fmt={frame.format.name}:time_base={self._time_base}"
            f":colorspace={frame.colorspace}:range={frame.color_range}",
        )
        steps = [graph.add(name, arguments or None) for name, arguments in wanted]
        self._sink = steps[-1]
        if _is_wide(frame):
            table = _bt709_table(frame.color_trc)
            size = f"{table.width}x{table.height}"
            entries = graph.add("buffer", f"video_size={size}:pix_fmt=rgb48le:time_base=1")
            entries.link_to(steps[[name for name, _ in wanted].index("haldclut")], 0, 1)
            graph.link_nodes(self._source, *steps).configure()
            entries.push(table)
            entries.push(None)
        else:
            graph.link_nodes(self._source, *steps).configure()

    def _tags(self, frame: av.VideoFrame, seen: Orientation) -> PixelTags:
        aspect = 1 / self._aspect if seen.is_turned else self._aspect
        is_rgb = frame.format.is_rgb or frame.format.name == "pal8"
        # Pictures are taken for sRGB, whose primaries are those of bt709.
        if self._still is not None or is_rgb or _is_wide(frame):
            return PixelTags(aspect, BT709, BT709, BT709)
        return PixelTags(aspect, frame.color_primaries, frame.color_trc, frame.colorspace)


def even(length: int) -> int:
    """Return the largest even number of pixels that fits, at least two."""
    return max(2, length - length % 2)


# Through a table of colours. Only packed pixels: for planar ones the filter of libav 8 mixes
# the channels up.
_THROUGH_TABLE = (
    ("scale", "in_color_matrix=bt2020:out_range=full"),
    ("format", "rgb48le"),
    ("haldclut", ""),
)
_TABLE_LEVEL = 6  # its square is the number of steps of each channel
_WHITE_NITS, _PEAK_NITS = 203, 1000
_GAMMA = 2.4
_HLG_KNEE = 0.5
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593])


def _is_wide(frame: av.VideoFrame) -> bool:
    """Whether a frame has more colours or more brightness than bt709."""
    return frame.color_trc in {_Transfer.PQ, _Transfer.HLG} or frame.colorspace == _BT2020_MATRIX


def _bt709_table(transfer: int) -> av.VideoFrame:
    """Return the bt709 colour of each bt2020 colour, as `haldclut` reads it: red changes first."""
    steps = np.linspace(0, 1, _TABLE_LEVEL**2)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    codes = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    peak = (_PEAK_NITS / _WHITE_NITS) ** (1 / _GAMMA)
    match transfer:
        case _Transfer.PQ:
            light = _pq_nits(codes) / _WHITE_NITS
        case _Transfer.HLG:
            light = _hlg_nits(codes) / _WHITE_NITS
        case _:
            light, peak = codes**_GAMMA, 1.0
    values = np.maximum(light @ _TO_BT709.T, 0) ** (1 / _GAMMA)
    # The brightest channel decides for all three, so that no hue changes.
    brightest = values.max(axis=1, keepdims=True)
    values *= _shouldered(brightest, peak) / np.maximum(brightest, 1e-9)
    side = _TABLE_LEVEL**3
    pixels = np.round(values * 65_535).astype(np.uint16).reshape(side, side, 3)
    return av.VideoFrame.from_ndarray(pixels, format="rgb48le")


def _shouldered(values: Floats, peak: float) -> Floats:
    """Return values up to `peak` as values up to 1; dark ones stay as they are (BT.2390)."""
    top = 1 / peak
    knee = 1.5 * top - 0.5
    whole = np.minimum(values * top, 1)
    part = np.maximum(whole - knee, 0) / max(1 - knee, 1e-9)
    bent = (
        (2 * part**3 - 3 * part**2 + 1) * knee
        + (part**3 - 2 * part**2 + part) * (1 - knee)
        + (3 * part**2 - 2 * part**3) * top
    )
    return np.where(whole < knee, whole, bent) * peak


def _pq_nits(codes: Floats) -> Floats:
    root = codes ** (1 / 78.84375)
    return 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (
        1 / 0.1593017578125
    )


def _hlg_nits(codes: Floats) -> Floats:
    """Return what a display of 1,000 cd/m2 shows."""
    bright = (np.exp((codes - 0.55991073) / 0.17883277) + 0.28466892) / 12
    scene: Floats = np.where(codes <= _HLG_KNEE, codes**2 / 3, bright)
    return np.asarray(_PEAK_NITS * scene * (scene @ _BT2020_LUMA)[:, None] ** 0.2)
