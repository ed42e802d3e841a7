"""Bring decoded pictures into the one shape that the encoder takes.

Upright (rotation metadata applied), even width and height (4:2:0 colour needs them; an
odd line is cut off), `yuv420p`, and all of the size that the first picture had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import av.filter
from av.video.frame import PictureType

if TYPE_CHECKING:
    from fractions import Fraction

# Counter-clockwise display rotation of a frame, and the filters that apply it.
_TURNS: dict[int, tuple[tuple[str, str], ...]] = {
    90: (("transpose", "cclock"),),
    -90: (("transpose", "clock"),),
    180: (("hflip", ""), ("vflip", "")),
    -180: (("hflip", ""), ("vflip", "")),
}
_QUARTER_TURNS = (90, -90)

_Geometry = tuple[int, int, str, int]


class FrameShaper:
    """Shape one video's frames; a change of geometry in mid-stream is followed.

    Args:
        time_base: Time base of the frames that will be given.

    """

    def __init__(self, time_base: Fraction) -> None:
        """Start without a size; the first frame decides it."""
        self._time_base = time_base
        self._size: tuple[int, int] | None = None
        self._geometry: _Geometry | None = None
        self._graph = av.filter.Graph()

    def shape(self, frame: av.VideoFrame) -> av.VideoFrame:
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

    def _build(self, geometry: _Geometry) -> av.filter.Graph:
        """Return the filters for frames of one geometry."""
        width, height, pixel_format, rotation = geometry
        upright = (height, width) if rotation in _QUARTER_TURNS else (width, height)
        if self._size is None:
            self._size = even(upright[0]), even(upright[1])
        target_width, target_height = self._size
        graph = av.filter.Graph()
        steps = [
            graph.add_buffer(
                width=width,
                height=height,
                format=av.VideoFormat(pixel_format),
                time_base=self._time_base,
            ),
        ]
        wanted = (
            *_TURNS.get(rotation, ()),
            (
                "crop",
                f"{min(upright[0], even(upright[0]))}:{min(upright[1], even(upright[1]))}:0:0",
            ),
            ("scale", f"{target_width}:{target_height}"),
            ("format", "yuv420p"),
            ("buffersink", ""),
        )
        steps.extend(graph.add(name, arguments or None) for name, arguments in wanted)
        graph.link_nodes(*steps).configure()
        return graph


def even(length: int) -> int:
    """Return the largest even number of pixels that fits, at least two."""
    return max(2, length - length % 2)
