"""Each kind of file that people bring comes out as long, as bright and as loud as it is."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import av
import av.filter
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from PIL import Image

from lipsync_async.sandbox.media.audio_reader import SampleReader, sound_seconds
from lipsync_async.sandbox.media.demo_media import tone
from lipsync_async.sandbox.media.frame_normalizer import FrameNormalizer, PixelTags
from lipsync_async.sandbox.media.open_media import probe
from lipsync_async.sandbox.media.render import RenderJob, render
from lipsync_async.sandbox.media.video_reader import FrameReader
from tests.sandbox.media.clips import heard, refused

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

SIZE = 160, 96
RATE = Fraction(25)
FINE = {"crf": "3", "preset": "ultrafast", "threads": "1"}
HERTZ = 500.0
UNTAGGED = PixelTags()
SPEED = 5  # of a scene in which a field is too late to be overlooked


def scene(moment: float, size: tuple[int, int]) -> list[Floats]:
    """Return brightness (16 to 235) and colour of a picture without symmetry, which moves."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    turn = 2 * np.pi
    bright = 116 + 55 * np.sin(turn * (0.8 * x + 0.6 * moment)) + 35 * np.cos(turn * 0.7 * (y - x))
    return [bright, 128 + 25 * np.cos(turn * 0.4 * x), 128 - 25 * np.sin(turn * 0.4 * y)]


def drawn(moment: float, size: tuple[int, int]) -> av.VideoFrame:
    """Return the scene as most cameras write it, with full colour."""
    frame = av.VideoFrame(*size, "yuv444p")
    for plane, values in zip(frame.planes, scene(moment, size), strict=True):
        rows = np.zeros((size[1], plane.line_size), np.uint8)
        rows[:, : size[0]] = np.round(values)
        plane.update(rows.tobytes())
    return frame


def woven(moment: float, size: tuple[int, int], *, is_lower_first: bool = False) -> av.VideoFrame:
    """Return a picture of two fields, as tape recorders write it: the second is 20 ms later."""
    early, late = drawn(moment, size), drawn(moment + SPEED / 50, size)
    for old, new in zip(early.planes, late.planes, strict=True):
        rows = np.frombuffer(bytes(old), np.uint8).reshape(size[1], -1).copy()
        later = np.frombuffer(bytes(new), np.uint8).reshape(size[1], -1)
        first = 0 if is_lower_first else 1
        rows[first::2] = later[first::2]
        old.update(rows.tobytes())
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=size[0], height=size[1], format=early.format, time_base=1 / RATE
    )
    mark = graph.add("setfield", "bff" if is_lower_first else "tff")
    graph.link_nodes(source, mark, graph.add("buffersink")).configure()
    graph.push(early)
    return graph.vpull()


# Linear light of bt709 in bt2020, and the transfer functions of BT.2100.
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
LUMA = np.array([0.2627, 0.6780, 0.0593])


def sdr(light: Floats) -> Floats:
    """Encode light, of which white is 1, for an ordinary display."""
    return np.power(light, 1 / 2.4)


def pq(light: Floats) -> Floats:
    """Encode light, of which white has 203 cd/m2."""
    power = (light * 203 / 10_000) ** 0.1593017578125
    return np.power((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power), 78.84375)


def hlg(light: Floats) -> Floats:
    """Encode light for a display of 1,000 cd/m2, on which white has 203."""
    shown = light * 203 / 1000
    scene = shown * np.maximum(shown @ LUMA, 1e-9)[..., None] ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright))


def wide(encode: Callable[[Floats], Floats]) -> Callable[[float, tuple[int, int]], av.VideoFrame]:
    """Draw the scene in bt2020, with 10 bits."""

    def draw(moment: float, size: tuple[int, int]) -> av.VideoFrame:
        bright, blue, red = scene(moment, size)
        grey, pb, pr = (bright - 16) / 219, (blue - 128) / 224, (red - 128) / 224
        rgb = np.stack([grey + 1.5748 * pr, grey - 0.1873 * pb - 0.4681 * pr, grey + 1.8556 * pb])
        light = np.clip(np.moveaxis(rgb, 0, -1), 0, 1) ** 2.4 @ TO_BT2020.T
        codes = encode(light)
        luma = codes @ LUMA
        colours = (codes[..., 2] - luma) / 1.8814, (codes[..., 0] - luma) / 1.4746
        frame = av.VideoFrame(*size, "yuv444p10le")
        values = [64 + 876 * luma, *(512 + 896 * colour for colour in colours)]
        for plane, numbers in zip(frame.planes, values, strict=True):
            rows = np.zeros((size[1], plane.line_size // 2), np.uint16)
            rows[:, : size[0]] = np.round(numbers)
            plane.update(rows.tobytes())
        return frame

    return draw


@attrs.frozen(kw_only=True)
class Film:
    """One kind of video, and what is to come out."""

    name: str
    codec: str = "libx264"
    options: dict[str, str] = FINE
    pixel_format: str = "yuv420p"
    size: tuple[int, int] = SIZE
    rate: Fraction = RATE  # that the file states
    clock: int = 90_000  # ticks in a second
    moments: tuple[Fraction, ...] = ()  # of the frames, seconds; without any: at `rate`, for 1 s
    last: Fraction = Fraction(0)  # how long the last frame is shown; 0: as `rate` says
    finish: Callable[[Path], object] = str  # what is done to the file
    draw: Callable[[float, tuple[int, int]], av.VideoFrame] = drawn
    speed: float = 1
    cut: tuple[int, int] | None = None  # the size of the output, if it is another
    container: dict[str, str] = attrs.field(factory=dict)  # its options
    timecode: str = ""  # of its first frame, which gets a stream of its own
    stated: PixelTags = UNTAGGED  # what the file says
    is_full: bool = False  # values from 0 to 255
    start: Fraction = Fraction(0)  # what is seen first, seconds
    seconds: float = 1.0
    shown: Fraction = RATE  # the rate of the output
    turned: Callable[[Floats], Floats] = np.asarray
    tags: PixelTags = UNTAGGED

    def write(self, folder: Path) -> Path:
        """Make the file."""
        path = folder / self.name
        moments = self.moments or tuple(n / self.rate for n in range(round(self.rate)))
        base = Fraction(1, self.clock)
        ends = [*moments[1:], moments[-1] + (self.last or 1 / self.rate)]
        lengths = {
            round(moment / base): round((end - moment) / base)
            for moment, end in zip(moments, ends, strict=True)
        }
        with av.open(str(path), "w", options=self.container) as container:
            container.metadata["timecode"] = self.timecode
            stream = container.add_stream(self.codec, rate=self.rate, options=self.options)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = self.size
            stream.pix_fmt = self.pixel_format
            stream.codec_context.time_base = base
            stream.codec_context.sample_aspect_ratio = self.stated.aspect
            stream.codec_context.color_primaries = self.stated.primaries
            stream.codec_context.color_trc = self.stated.transfer
            stream.codec_context.colorspace = self.stated.matrix
            stream.codec_context.color_range = 2 if self.is_full else 1
            frames = [self.draw(float(moment) * self.speed, self.size) for moment in moments]
            for stamp, frame in zip(lengths, frames, strict=True):
                # In the ranges that are converted, colours are those of bt709.
                frame.colorspace, frame.color_range = 1, 1
                span = 2 if self.is_full else 1
                given = frame.reformat(
                    format=self.pixel_format, dst_colorspace=1, dst_color_range=span, threads=1
                )
                given.pts, given.time_base = stamp, base
                for packet in stream.encode(given):
                    packet.duration = lengths[packet.pts or 0]
                    container.mux(packet)
            for packet in stream.encode(None):
                packet.duration = lengths[packet.pts or 0]
                container.mux(packet)
        self.finish(path)
        return path

    def expected(self, number: int) -> Floats:
        """Return the brightness of a frame of the output."""
        moments = self.moments or tuple(n / self.rate for n in range(round(self.rate)))
        place = bisect_right(moments, self.start + (number + Fraction(1, 2)) / self.shown)
        seen = self.turned(scene(float(moments[place - 1]) * self.speed, self.size)[0])
        return seen if self.cut is None else seen[: self.cut[1], : self.cut[0]]


def matrix(a: int, b: int, c: int, d: int) -> Callable[[Path], object]:
    """Mark a film as held in another way, by the matrix of its track."""

    def finish(path: Path) -> None:
        data = bytearray(path.read_bytes())
        # 40 bytes behind the name of the first track's header (ISO 14496-12).
        place, one = data.index(b"tkhd") + 44, 1 << 16
        struct.pack_into(
            ">9i", data, place, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30
        )
        path.write_bytes(data)

    return finish


def trim(start: float, end: float) -> Callable[[Path], object]:
    """Let the edit lists show a part only, as editors do that do not encode again."""

    def finish(path: Path) -> None:
        data = bytearray(path.read_bytes())
        (whole,) = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)
        for track in re.finditer(b"trak", data):
            (own,) = struct.unpack_from(">I", data, data.index(b"mdhd", track.end()) + 16)
            place = data.index(b"elst", track.end()) + 12
            (offset,) = struct.unpack_from(">i", data, place + 4)
            length, first = round((end - start) * whole), offset + round(start * own)
            struct.pack_into(">Ii", data, place, length, first)
        path.write_bytes(data)

    return finish


def held_upright(path: Path) -> None:
    """Give each picture of a Motion JPEG Exif data, as cameras do: turned by a quarter."""
    plain = path.rename(path.with_stem("plain"))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes()
    part = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
    with av.open(str(plain)) as given, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                picture = bytes(packet)
                marked = av.Packet(picture[:2] + part + picture[2:])
                marked.pts, marked.dts, marked.time_base = packet.pts, packet.dts, packet.time_base
                marked.stream, marked.is_keyframe = stream, True
                marked.duration = packet.duration
                target.mux(marked)


def tell(text: str) -> Callable[[Path], object]:
    """Change what the H.264 stream says of itself."""

    def finish(path: Path) -> None:
        plain = path.rename(path.with_stem("plain"))
        with av.open(str(plain)) as given, av.open(str(path), "w") as target:
            old = given.streams.video[0]
            stream = target.add_stream_from_template(old)
            change = BitStreamFilterContext(f"h264_metadata={text}", old, stream)
            for packet in given.demux(old):
                for changed in change.filter(packet) if packet.size else []:
                    changed.stream = stream
                    target.mux(changed)

    return finish


ORIENTATIONS: list[tuple[tuple[int, int, int, int], Callable[[Floats], Floats]]] = [
    ((1, 0, 0, 1), np.asarray),
    ((-1, 0, 0, 1), np.fliplr),
    ((-1, 0, 0, -1), lambda seen: np.rot90(seen, 2)),
    ((1, 0, 0, -1), np.flipud),
    ((0, 1, 1, 0), np.transpose),
    ((0, 1, -1, 0), lambda seen: np.rot90(seen, -1)),
    ((0, -1, -1, 0), lambda seen: np.rot90(seen.T, 2)),
    ((0, -1, 1, 0), np.rot90),
]  # in the order of Exif's numbers


def at(rate: int | Fraction, *numbers: int) -> tuple[Fraction, ...]:
    """Return moments as numbers of frames."""
    return tuple(number / Fraction(rate) for number in numbers)


GOPS = FINE | {"g": "10", "bf": "2", "preset": "veryfast", "sc_threshold": "0"}
BURSTS = at(30, *range(10), *range(40, 50), *range(75, 90))
CAPTURE = tuple(Fraction(round(n * 1000 / 60), 1000) for n in range(60) if n % 7 not in {2, 3, 5})
TRIMMED = Film(name="trimmed.mp4", options=GOPS)
MJPEG = Film(name="camera.mov", codec="mjpeg", options={"q:v": "1"}, pixel_format="yuvj420p")
HEVC = {"preset": "ultrafast", "crf": "4", "x265-params": "log-level=none:pools=1"}
MPEG = {"qmin": "1", "qmax": "2", "b": "9M"}
VP9 = {"crf": "4", "b": "0", "deadline": "realtime", "cpu-used": "8"}
VP8 = Film(name="gap.webm", codec="libvpx", options={"crf": "4", "b": "8M"})
HD, PAL_WIDE = PixelTags(Fraction(1), 1, 1, 1), PixelTags(Fraction(16, 11))
PAL, NTSC_COLOURS = PixelTags(Fraction(1), 5, 5, 5), PixelTags(Fraction(1), 6, 6, 6)
P3 = PixelTags(Fraction(1), 12, 13, 1)  # of a telephone's screen
NTSC, SIXTY, FAST = Fraction(30_000, 1001), Fraction(60), Fraction(240)
FILMS = [
    *(
        Film(name=f"orientation-{number}.mp4", finish=matrix(*numbers), turned=turned)
        for number, (numbers, turned) in enumerate(ORIENTATIONS, 1)
    ),
    attrs.evolve(MJPEG, finish=held_upright, turned=ORIENTATIONS[5][1], tags=PixelTags(matrix=5)),
    attrs.evolve(TRIMMED, finish=trim(0.2, 0.8), start=Fraction(1, 5), seconds=0.6),
    attrs.evolve(TRIMMED, finish=trim(0.4, 1.0), start=Fraction(2, 5), seconds=0.6, name="key.mov"),
    Film(name="bursts.mp4", rate=Fraction(30), moments=BURSTS, seconds=3.0, shown=Fraction(30)),
    Film(name="held.mp4", moments=at(25, *range(10)), last=Fraction(8, 5), seconds=1.96),
    attrs.evolve(VP8, moments=at(25, *range(10), 35, 36), seconds=1.48, tags=PixelTags(matrix=5)),
    Film(name="capture.mp4", rate=SIXTY, moments=CAPTURE, last=Fraction(1, 20), shown=SIXTY),
    Film(name="240.mp4", rate=FAST, moments=at(240, *range(60)), seconds=0.25, shown=FAST),
    Film(name="slides.mp4", rate=Fraction(1), moments=at(1, 0, 1), seconds=2.0, shown=Fraction(24)),
    Film(name="120.mov", rate=SIXTY * 2, moments=at(120, *range(60)), seconds=0.5, shown=SIXTY * 2),
    Film(name="one.mp4", moments=at(25, 0), seconds=0.04),
    attrs.evolve(VP8, name="one.webm", moments=at(25, 0), seconds=0.04, tags=PixelTags(matrix=5)),
    Film(name="late.mov", options=GOPS, moments=at(25, *range(50, 75)), start=Fraction(2)),
    Film(name="ntsc.mov", rate=NTSC, shown=NTSC, seconds=1.001),
    Film(name="reordered.mp4", options=GOPS),
    Film(name="open-gop.mov", options=GOPS | {"x264-params": "open-gop=1"}),
    Film(name="fragments.mp4", container={"movflags": "frag_keyframe+empty_moov"}),
    Film(name="chunks.mp4", options=GOPS, container={"movflags": "cmaf+frag_every_frame"}),
    Film(name="timecode.mov", timecode="01:00:00:00"),
    Film(name="444.mp4", pixel_format="yuv444p"),
    Film(name="422.mov", pixel_format="yuv422p10le"),
    Film(name="odd.mp4", size=(161, 97), pixel_format="yuv444p", cut=(160, 96)),
    Film(
        name="turned-odd.mp4",
        size=(161, 97),
        pixel_format="yuv444p",
        finish=matrix(0, 1, -1, 0),
        turned=ORIENTATIONS[5][1],
        cut=(96, 160),
    ),
    Film(
        name="odd.avi",
        codec="rawvideo",
        options={},
        size=(161, 97),
        pixel_format="bgr24",
        tags=HD,
        cut=(160, 96),
    ),
    Film(name="cropped.mp4", finish=tell("crop_right=4:crop_bottom=2"), cut=(156, 94)),
    Film(name="hevc.mp4", codec="libx265", options=HEVC),
    Film(name="hevc-10.mov", codec="libx265", options=HEVC, pixel_format="yuv420p10le"),
    Film(name="hevc-12.mp4", codec="libx265", options=HEVC, pixel_format="yuv420p12le"),
    Film(name="hevc-rgb.mp4", codec="libx265", options=HEVC, pixel_format="gbrp", tags=HD),
    Film(
        name="alpha-edit.mov",
        codec="prores_ks",
        options={"profile": "4444"},
        pixel_format="yuva444p10le",
        tags=PixelTags(matrix=1),
    ),
    Film(name="capture-card.mov", codec="v210", options={}, pixel_format="yuv422p10le"),
    Film(
        name="edit.mov",
        codec="prores_ks",
        options={},
        pixel_format="yuv422p10le",
        tags=PixelTags(matrix=1),
    ),
    Film(name="edit.mp4", codec="mpeg2video", options=MPEG, clock=25),
    Film(name="old.avi", codec="mpeg4", options=MPEG, clock=25),
    Film(name="vp9.webm", codec="libvpx-vp9", options=VP9),
    Film(name="vp9.mp4", codec="libvpx-vp9", options=VP9),
    Film(name="alpha.webm", codec="libvpx-vp9", options=VP9, pixel_format="yuva420p"),
    Film(name="av1.mp4", codec="libsvtav1", options={"preset": "12", "crf": "5"}),
    Film(name="alpha.mov", codec="png", options={}, pixel_format="rgba", tags=HD),
    Film(name="lossless.avi", codec="ffv1", options={}),
    Film(name="raw.avi", codec="rawvideo", options={}),
    Film(
        name="dnxhr.mov",
        codec="dnxhd",
        options={"profile": "dnxhr_hq"},
        size=(256, 120),
        pixel_format="yuv422p",
        tags=PixelTags(matrix=1),
    ),
    Film(
        name="dv.avi",
        codec="dvvideo",
        options={},
        size=(720, 576),
        moments=at(25, *range(5)),
        seconds=0.2,
        tags=PixelTags(Fraction(16, 15)),
    ),
    Film(name="anamorphic.mp4", stated=PAL_WIDE, tags=PAL_WIDE),
    Film(
        name="turned-anamorphic.mp4",
        stated=PAL_WIDE,
        finish=matrix(0, 1, -1, 0),
        turned=ORIENTATIONS[5][1],
        tags=PixelTags(1 / PAL_WIDE.aspect),
    ),
    Film(name="aspect.mkv", finish=tell("sample_aspect_ratio=16/11"), tags=PAL_WIDE),
    # Matrices that no filter knows are not said of the output, nor is the file refused.
    Film(name="ycgco.mp4", finish=tell("matrix_coefficients=8")),
    Film(name="ictcp.mp4", finish=tell("matrix_coefficients=14")),
    Film(name="bt709.mp4", stated=HD, tags=HD),
    Film(name="bt601-625.mp4", stated=PAL, tags=PAL),
    Film(name="bt601-525.mov", stated=NTSC_COLOURS, tags=NTSC_COLOURS),
    Film(name="wide-gamut.mp4", stated=P3, tags=P3),
    Film(name="full-range.mp4", stated=HD, tags=HD, is_full=True),
    Film(
        name="bt2020.mp4",
        draw=wide(sdr),
        stated=PixelTags(Fraction(1), 9, 14, 9),
        tags=HD,
        pixel_format="yuv420p10le",
    ),
    Film(name="rgb.mp4", codec="libx264rgb", pixel_format="rgb24", tags=HD),
    Film(name="tape.mp4", options=FINE | {"flags": "+ildct"}, draw=woven, speed=SPEED),
    Film(
        name="tape-lower-first.mov",
        options=FINE | {"flags": "+ildct"},
        draw=partial(woven, is_lower_first=True),
        speed=SPEED,
    ),
]


def psnr(pairs: list[tuple[Floats, Floats]]) -> float:
    """Return how near pictures are to others, in decibels."""
    error = np.mean([((seen - expected) ** 2).mean() for seen, expected in pairs])
    return float(10 * np.log10(255**2 / error))


def brightness(path: Path) -> tuple[list[Floats], Fraction | None, PixelTags]:
    """Return the pictures of an output, its rate, and what it says of them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        colours = context.color_primaries, context.color_trc, context.colorspace
        tags = PixelTags(stream.sample_aspect_ratio or Fraction(1), *colours)
        frames = [
            frame.to_ndarray()[: frame.height].astype(float) for frame in container.decode(stream)
        ]
        return frames, stream.average_rate, tags


@pytest.mark.parametrize("film", FILMS, ids=lambda film: film.name)
def test_a_film_is_shown_as_a_player_shows_it(tmp_path: Path, film: Film) -> None:
    """As long, as fast, the right way round, and each picture is the right one."""
    rendered = render(
        RenderJob(film.write(tmp_path), is_image=False, audio=None, output=tmp_path / "out.mp4")
    )
    pictures, rate, tags = brightness(rendered.path)
    assert (rate, tags) == (film.shown, film.tags)
    assert rendered.duration == pytest.approx(film.seconds, abs=float(1 / film.shown))
    pairs = [(picture, film.expected(number)) for number, picture in enumerate(pictures)]
    assert psnr(pairs) >= 38


@pytest.mark.parametrize(("encode", "transfer"), [(pq, 16), (hlg, 18)], ids=["pq", "hlg"])
def test_high_dynamic_range_becomes_bt709(
    tmp_path: Path, encode: Callable[[Floats], Floats], transfer: int
) -> None:
    """With its tags; what is as bright as paper stays so, and only what is brighter is dimmed."""
    film = Film(
        name="hdr.mov",
        draw=wide(encode),
        pixel_format="yuv420p10le",
        stated=PixelTags(Fraction(1), 9, transfer, 9),
    )
    path = film.write(tmp_path)
    job = RenderJob(path, is_image=False, audio=None, output=tmp_path / "out.mp4")
    pictures, _, tags = brightness(render(job).path)
    expected = [film.expected(number) for number in range(len(pictures))]
    assert (len(pictures), tags) == (25, HD)
    assert np.mean(pictures) == pytest.approx(np.mean(expected), rel=0.1)
    # The darker half is that of the scene itself.
    pairs = list(zip(pictures, expected, strict=True))
    errors = [(seen - right)[right < 120] for seen, right in pairs]
    assert np.abs(np.concatenate(errors)).mean() < 2


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_photograph_is_shown_the_right_way_round(
    tmp_path: Path, suffix: str, number: int
) -> None:
    """Turned and mirrored as its Exif data say, in the colours of bt709."""
    grey = scene(0.0, SIZE)[0]
    exif = Image.Exif()
    exif[0x0112] = number
    picture = tmp_path / f"face.{suffix}"
    full = np.round((grey - 16) * 255 / 219).astype(np.uint8)
    Image.fromarray(full).convert("RGB").save(picture, exif=exif, quality=95)
    sound = tone(tmp_path / "sound.wav", seconds=0.2, hertz=HERTZ)
    rendered = render(RenderJob(picture, is_image=True, audio=sound, output=tmp_path / "out.mp4"))
    pictures, rate, tags = brightness(rendered.path)
    assert (rate, tags, len(pictures)) == (RATE, PixelTags(Fraction(1), 1, 1, 1), 5)
    assert psnr([(seen, ORIENTATIONS[number - 1][1](grey)) for seen in pictures]) >= 38


PICTURES: list[tuple[str, str, dict[str, Any]]] = [
    ("baseline.jpg", "RGB", {"quality": 95}),
    ("progressive.jpg", "RGB", {"quality": 95, "progressive": True}),
    ("full-colour.jpg", "RGB", {"quality": 95, "subsampling": 0}),
    ("grey.jpg", "L", {"quality": 95}),
    ("print.jpg", "CMYK", {"quality": 95}),
    ("scan.jpg", "RGB", {"quality": 95, "dpi": (72, 144)}),  # its pixels are square all the same
    ("two.mpo", "RGB", {"quality": 95}),
    ("palette.png", "P", {}),
    ("grey-alpha.png", "LA", {}),
    ("16-bit.png", "I;16", {}),
    ("scan.png", "RGB", {"dpi": (72, 144)}),
    ("lossy.webp", "RGB", {"quality": 95}),
    ("lossless.webp", "RGBA", {"lossless": True}),
]


@pytest.mark.parametrize(("name", "mode", "options"), PICTURES, ids=[each[0] for each in PICTURES])
def test_a_picture_is_shown_as_a_browser_shows_it(
    tmp_path: Path, name: str, mode: str, options: dict[str, Any]
) -> None:
    """Whatever way its pixels are kept, with square ones, in the colours of bt709."""
    grey = scene(0.0, SIZE)[0]
    full = np.round((grey - 16) * 255 / 219).astype(np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(full.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(full).convert(mode)
    picture.save(tmp_path / name, **options)
    sound = tone(tmp_path / "sound.wav", seconds=0.04, hertz=HERTZ)
    job = RenderJob(tmp_path / name, is_image=True, audio=sound, output=tmp_path / "out.mp4")
    (shown,), _, tags = brightness(render(job).path)
    assert tags == HD
    assert psnr([(shown, grey)]) >= 38


NO_SUCH_ORIENTATION = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0"


CUT_OFF = b"II*\0\x08\0\0\0\x01\0\x12\x01"


@pytest.mark.parametrize("exif", [b"II*\0\xff", b"garbage", NO_SUCH_ORIENTATION, CUT_OFF])
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_a_photograph_with_damaged_exif_data_is_shown_as_it_is_stored(
    tmp_path: Path, suffix: str, exif: bytes
) -> None:
    """Data that cannot be read, or an orientation that does not exist, do no harm."""
    grey = scene(0.0, SIZE)[0]
    picture = tmp_path / f"face.{suffix}"
    full = np.round((grey - 16) * 255 / 219).astype(np.uint8)
    Image.fromarray(full).save(picture, exif=b"Exif\0\0" + exif, quality=95)
    sound = tone(tmp_path / "sound.wav", seconds=0.04, hertz=HERTZ)
    rendered = render(RenderJob(picture, is_image=True, audio=sound, output=tmp_path / "out.mp4"))
    (shown,), _, _ = brightness(rendered.path)
    assert psnr([(shown, grey)]) >= 38


@pytest.mark.parametrize("name", ["capture.mp4", "tape.mp4", "bt2020.mp4", "camera.mov"])
def test_each_kind_gives_the_same_bytes_again(tmp_path: Path, name: str) -> None:
    """Neither filters nor tables depend on anything but the file."""
    (film,) = (each for each in FILMS if each.name == name)
    job = RenderJob(film.write(tmp_path), is_image=False, audio=None, output=tmp_path / "out.mp4")
    assert render(job).path.read_bytes() == render(job).path.read_bytes()


def test_fields_become_the_same_frames_however_they_are_read(tmp_path: Path) -> None:
    """In runs of three frames, backwards too, each gets the neighbours that it has in the file."""
    tape = Film(name="tape.mp4", options=FINE | {"flags": "+ildct"}, draw=woven, speed=SPEED)
    path = tape.write(tmp_path)
    with FrameReader(path) as whole, FrameReader(path, cache_bytes=3 * 160 * 96 * 2) as parts:
        for number in (*range(25), *range(24, -1, -1), 7):
            seen, expected = (frames.frame(number).to_ndarray() for frames in (parts, whole))
            assert np.array_equal(seen, expected)


def test_fields_of_another_size_lose_no_frame() -> None:
    """What waits for its neighbour comes out before the size changes."""

    def frames() -> Iterator[av.VideoFrame]:
        for stamp, size in enumerate([(64, 48)] * 2 + [(32, 32)] * 3):
            frame = woven(0.0, size)
            frame.pts = stamp
            yield frame

    shaped = list(FrameNormalizer(1 / RATE).normalized(frames()))
    found = [(stamp, frame.width, frame.height) for stamp, frame in shaped]
    assert found == [(stamp, 64, 48) for stamp in range(5)]


@attrs.frozen(kw_only=True)
class Sound:
    """One kind of sound file, of 0.6 s."""

    name: str
    codec: str
    rate: int = 48_000
    layout: str = "stereo"
    channels: tuple[int, ...] = (0, 1)  # in which there is a tone
    decibels: float = 0.0  # that the output is louder

    def write(self, folder: Path) -> Path:
        """Make the file."""
        path = folder / self.name
        count = len(av.AudioLayout(self.layout).channels)
        samples = np.zeros((count, round(0.6 * self.rate)), np.float32)
        wave = LEVEL * np.sin(2 * np.pi * HERTZ * np.arange(samples.shape[1]) / self.rate)
        samples[list(self.channels)] = wave
        with av.open(str(path), "w") as container:
            stream = container.add_stream(self.codec, rate=self.rate, layout=self.layout)
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = 192_000
            packed = samples.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=self.layout)
            frame.sample_rate, frame.pts = self.rate, 0
            frame.time_base = Fraction(1, self.rate)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path


LEVEL = 0.25
SOUNDS = [
    Sound(name="mono.wav", codec="pcm_s16le", layout="mono", channels=(0,)),
    Sound(name="telephone.wav", codec="pcm_u8", rate=8000, layout="mono", channels=(0,)),
    Sound(name="float.wav", codec="pcm_f32le", rate=192_000),
    Sound(name="24-bit.wav", codec="pcm_s24le", rate=44_100),
    Sound(name="64-bit.wav", codec="pcm_f64le"),
    Sound(name="call.wav", codec="pcm_alaw", rate=8000, layout="mono", channels=(0,)),
    Sound(name="call.mp3", codec="libmp3lame", rate=8000, layout="mono", channels=(0,)),
    Sound(name="recorder.wav", codec="adpcm_ms", rate=22_050),
    Sound(name="camera.mov", codec="pcm_s24be"),
    Sound(name="voice.mp4", codec="libopus"),
    Sound(name="lossless.ogg", codec="flac", rate=44_100),
    Sound(name="three.wav", codec="pcm_s16le", layout="3.0"),
    Sound(name="four.wav", codec="pcm_s16le", layout="quad"),
    Sound(name="speech.mp3", codec="libmp3lame", layout="mono", channels=(0,)),
    Sound(name="music.mp3", codec="libmp3lame", rate=44_100),
    Sound(name="voice.ogg", codec="libopus"),
    Sound(name="music.flac", codec="flac", rate=44_100),
    Sound(name="memo.m4a", codec="aac", rate=44_100),
    Sound(name="lossless.m4a", codec="alac", rate=44_100),
    Sound(name="raw.aac", codec="aac", rate=44_100),
    Sound(name="old.wma", codec="wmav2", rate=44_100),
    Sound(name="voice.webm", codec="libopus"),
    Sound(name="front.wav", codec="pcm_s16le", layout="5.1"),
    # Of the centre, each of two loudspeakers has half the power.
    *(
        attrs.evolve(sound, channels=(2,), decibels=-3.01)
        for sound in (
            Sound(name="centre.wav", codec="pcm_s16le", layout="5.1"),
            Sound(name="centre.mp4", codec="ac3", layout="5.1"),
            Sound(name="centre.flac", codec="flac", rate=96_000, layout="7.1"),
        )
    ),
]


@pytest.mark.parametrize("sound", SOUNDS, ids=lambda sound: sound.name)
def test_a_sound_is_as_long_and_as_loud_as_it_was(tmp_path: Path, sound: Sound) -> None:
    """On both sides, within a decibel, for as long as it plays, within a frame."""
    video = Film(name="film.mp4", moments=at(25, *range(5))).write(tmp_path)
    order = RenderJob(video, is_image=False, audio=sound.write(tmp_path), output=tmp_path / "o.mp4")
    rendered = render(order)
    with av.open(str(rendered.path)) as container:
        samples = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)
    heard = np.sqrt((samples[:, 9600:19_200] ** 2).mean(axis=1))
    assert rendered.duration == pytest.approx(0.6, abs=0.041)
    assert 20 * np.log10(heard / (LEVEL / np.sqrt(2))) == pytest.approx([sound.decibels] * 2, abs=1)


def joined(first: bytes) -> bytes:
    """Join two songs, of which the second has tags that are larger than a frame."""
    return first + b"ID3\x03\0\0\0\0\x10\0" + bytes(2048) + first


def damaged(whole: bytes) -> bytes:
    """Lose a part of a frame in the middle."""
    middle = len(whole) // 2
    return whole[:middle] + bytes(200) + whole[middle + 200 :]


@pytest.mark.parametrize(
    ("sound", "change", "seconds"),
    [
        (Sound(name="joined.mp3", codec="libmp3lame", rate=44_100), joined, 1.2),
        (Sound(name="hole.mp3", codec="libmp3lame", rate=44_100), damaged, 0.6),
        (Sound(name="hole.aac", codec="aac", rate=44_100), damaged, 0.6),
        (Sound(name="cut.aac", codec="aac"), lambda whole: whole[: len(whole) // 2], 0.3),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_sound_goes_on_behind_a_packet_that_does_not_decode(
    tmp_path: Path, sound: Sound, change: Callable[[bytes], bytes], seconds: float
) -> None:
    """Players pass over it, and what follows comes when it should."""
    path = sound.write(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    assert sound_seconds(path) == pytest.approx(seconds, abs=0.1)
    with SampleReader(path) as reader:
        last = reader.read(0, round(seconds * 48_000))[round((seconds - 0.15) * 48_000) :]
    assert np.abs(last[:2400]).max() > 0.2 * 32_768


def clapped(
    path: Path,
    *,
    is_kept: Callable[[float], bool] = lambda _: True,
    start: int = 0,  # seconds on the file's clock
    late: float = 0.0,  # by which the sound begins after the picture
) -> Path:
    """Write two seconds of a film with a clap at 1.6 s; some packets of sound may get lost."""
    clap = np.zeros((1, 96_000), np.int16)
    clap[0, 76_800:77_280] = 20_000
    with av.open(str(path), "w", options={"cluster_time_limit": "500"}) as container:
        video = container.add_stream("mpeg4", rate=25)
        audio = container.add_stream("aac", rate=48_000, layout="mono")
        assert isinstance(video, av.VideoStream)
        assert isinstance(audio, av.AudioStream)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        heard = av.AudioFrame.from_ndarray(clap, format="s16", layout="mono")
        heard.sample_rate, heard.pts = 48_000, round((start + late) * 48_000)
        sounds = [*audio.encode(heard), *audio.encode(None)]
        for number in range(25 * start, 25 * start + 50):
            frame = drawn(0.0, SIZE).reformat(format="yuv420p", threads=1)
            frame.pts = number
            container.mux(video.encode(frame))
            due = [p for p in sounds if int((p.pts or 0) / 1920) == number]
            container.mux([p for p in due if is_kept((p.pts or 0) / 48_000)])
        container.mux(video.encode(None))
    return path


def shift(path: Path, first: int, milliseconds: int) -> Path:
    """Set the clocks of a Matroska file's four clusters, from one on; the first is number 0."""
    data = bytearray(path.read_bytes())
    # The name of a cluster, its size, a checksum, and the clock: the first in one byte.
    clusters = re.finditer(rb"\x1f\x43\xb6\x75..\xbf\x84....\xe7[\x81\x82]", data, re.DOTALL)
    places = [match.end() for match in clusters]
    assert len(places) == 4
    for place in places[first:]:
        (stamp,) = struct.unpack_from(">H", data, place)
        struct.pack_into(">H", data, place, stamp + milliseconds)
    path.write_bytes(data)
    return path


def clap_second(path: Path, output: Path) -> float:
    """Return when the clap is heard in an output that keeps the film's own sound."""
    sound = heard(render(RenderJob(path, is_image=False, audio=None, output=output)).path)
    return int(np.argmax(np.abs(sound) > 0.1)) / 48_000


LOST = [lambda _: True, lambda t: not 0.4 < t < 0.9, lambda t: int(t * 50) % 9 > 1 or t > 1.5]


@pytest.mark.parametrize("is_kept", LOST, ids=["none", "a-stretch", "here-and-there"])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_sound_with_gaps_stays_with_the_picture(
    tmp_path: Path, suffix: str, is_kept: Callable[[float], bool]
) -> None:
    """What was not recorded is silent; what follows comes when it came."""
    path = clapped(tmp_path / f"film.{suffix}", is_kept=is_kept)
    assert clap_second(path, tmp_path / "out.mp4") == pytest.approx(1.6, abs=0.045)
    assert sound_seconds(path) == pytest.approx(2.0, abs=0.045)


@pytest.mark.parametrize(("start", "late"), [(5, 0.0), (0, 0.2), (5, -0.2)])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_sound_that_begins_before_or_after_the_picture_stays_with_it(
    tmp_path: Path, suffix: str, start: int, late: float
) -> None:
    """Wherever the file's clock begins."""
    path = clapped(tmp_path / f"film.{suffix}", start=start, late=late)
    assert clap_second(path, tmp_path / "out.mp4") == pytest.approx(1.6 + late, abs=0.045)


def test_a_codec_that_is_not_known_is_no_reason_to_stop(tmp_path: Path) -> None:
    """Sound of one is silence; a film of one is refused in words, as is a sound of one."""
    data = clapped(tmp_path / "film.mkv").read_bytes()
    assert (data.count(b"A_AAC"), data.count(b"V_MPEG4/ISO/ASP")) == (1, 1)
    mute, blind = tmp_path / "mute.mkv", tmp_path / "blind.mkv"
    mute.write_bytes(data.replace(b"A_AAC", b"A_ZZZ"))
    blind.write_bytes(data.replace(b"V_MPEG4/ISO/ASP", b"V_ZZZZZ/ISO/ASP"))
    job = RenderJob(mute, is_image=False, audio=None, output=tmp_path / "out.mp4")
    rendered = render(job)
    assert rendered.duration == pytest.approx(2.0, abs=0.04)
    assert not heard(rendered.path).any()
    with refused("generation_input_audio_invalid", "has no audio stream"):
        probe(mute, "audio")
    with refused("generation_input_video_invalid", "has no video stream"):
        render(attrs.evolve(job, visual=blind))


def test_a_film_with_a_frame_of_hours_is_refused(tmp_path: Path) -> None:
    """What the head of the file says is not believed."""
    film = Film(name="hours.mp4", moments=(*at(25, 0, 1), Fraction(2000)))
    path = film.write(tmp_path)
    with refused("generation_input_duration_greater_than_max_duration", "longer than 1800 s"):
        render(RenderJob(path, is_image=False, audio=None, output=tmp_path / "out.mp4"))


def test_the_sound_of_a_trimmed_film_stays_with_its_picture(tmp_path: Path) -> None:
    """Both begin at the cut."""
    path = clapped(tmp_path / "film.mp4")
    trim(0.54, 1.94)(path)
    assert clap_second(path, tmp_path / "out.mp4") == pytest.approx(1.06, abs=0.045)


@pytest.mark.parametrize(
    ("first", "milliseconds", "second"),
    [(1, 0, 1.6), (1, 300, 1.9), (1, -300, 1.3), (3, -1400, 1.6), (1, 40_000, 1.6)],
)
def test_a_clock_that_leaps_does_not_take_the_sound_away(
    tmp_path: Path, first: int, milliseconds: int, second: float
) -> None:
    """Only a plausible leap is a gap; what comes twice is heard once."""
    path = shift(clapped(tmp_path / "film.mkv"), first, milliseconds)
    with SampleReader(path) as reader:
        found = np.argmax(np.abs(reader.read(0, 3 * 48_000)[:, 0]) > 3000) / 48_000
    assert found == pytest.approx(second, abs=0.045)
