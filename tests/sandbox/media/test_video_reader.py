import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipsync_async.sandbox.media.demo_media import tone
from lipsync_async.sandbox.media.errors import MediaError
from lipsync_async.sandbox.media.frame_normalizer import FrameNormalizer, even
from lipsync_async.sandbox.media.video_reader import FrameReader
from tests.sandbox.media.clips import Clip, number_of, refused, turn_clockwise

_FRAME_BYTES = 160 * 96 * 3 // 2
_REORDERED = {"preset": "veryfast", "threads": "1", "g": "12", "bf": "3", "sc_threshold": "0"}


@pytest.mark.parametrize(
    ("name", "codec", "options", "pixel_format"),
    [
        ("long_gop.mp4", "libx264", {"preset": "ultrafast", "threads": "1"}, "yuv420p"),
        ("reordered.mp4", "libx264", _REORDERED, "yuv420p"),
        ("open_gop.mov", "libx264", {**_REORDERED, "x264-params": "open-gop=1"}, "yuv420p"),
        ("reordered.mkv", "libx264", _REORDERED, "yuv420p"),
        ("vp9.webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}, "yuv420p"),
        ("reordered.avi", "mpeg4", {"g": "12", "bf": "2"}, "yuv420p"),
        ("pictures.avi", "mjpeg", {}, "yuvj422p"),
    ],
)
def test_any_frame_can_be_read_in_any_order_from_little_memory(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], pixel_format: str
) -> None:
    """Forwards, backwards and in leaps: with seven frames held, each number is right."""
    clip = Clip(60, codec=codec, options=options, pixel_format=pixel_format)
    with FrameReader(clip.write(tmp_path / name), cache_bytes=7 * _FRAME_BYTES) as frames:
        assert frames.count == 60
        assert frames.rate == 25
        wanted = [*range(60), *range(59, -1, -1), 31, 2, 58, 30, 0]
        assert [number_of(frames.frame(number)) for number in wanted] == wanted


def test_even_the_smallest_cache_reads_every_frame(tmp_path: Path) -> None:
    """A cap below one frame still holds one."""
    path = Clip(5).write(tmp_path / "clip.mp4")
    with FrameReader(path, cache_bytes=1) as frames:
        assert [number_of(frames.frame(number)) for number in (4, 0, 3)] == [4, 0, 3]


def test_a_closed_reader_holds_no_frame(tmp_path: Path) -> None:
    """A render's frames go with its end, not when the collector of cycles runs."""
    with FrameReader(Clip(5).write(tmp_path / "clip.mp4")) as frames:
        frame = frames.frame(0)
        held = sys.getrefcount(frame)
    assert sys.getrefcount(frame) == held - 1


def test_variable_rates_are_read_at_the_average_rate(tmp_path: Path) -> None:
    """A pause in the stamps repeats the frame before it, and the length is kept."""
    # Ten frames, 4 ticks apart, then a pause of 0.6 s, then ten more.
    stamps = [*range(0, 100, 10), *range(250, 350, 10)]
    path = Clip(20, stamps=stamps).write(tmp_path / "pause.mkv")
    with FrameReader(path) as frames:
        rate = frames.rate
        shown = [number_of(frames.frame(number)) for number in range(frames.count)]
        assert abs(frames.count / rate - Fraction(35, 25)) <= 1 / rate
    assert shown == sorted(shown)
    assert shown[0] == 0
    assert shown[-1] == 19
    assert shown.count(9) > 3


def test_a_turned_camera_gives_upright_frames(tmp_path: Path) -> None:
    """Rotation metadata is applied to the pixels."""
    path = Clip(3, options={"preset": "ultrafast"}).write(tmp_path / "phone.mp4")
    with FrameReader(path) as frames:
        lying = frames.frame(2).to_ndarray(format="gray")
    with FrameReader(turn_clockwise(path)) as frames:
        upright = frames.frame(2)
        assert (upright.width, upright.height) == (96, 160)
        assert np.array_equal(np.rot90(lying, -1), upright.to_ndarray(format="gray"))


def test_odd_sizes_lose_one_line(tmp_path: Path) -> None:
    """Chroma needs even sides, so one odd line is cut off."""
    clip = Clip(2, size=(161, 97), pixel_format="yuv444p")
    with FrameReader(clip.write(tmp_path / "odd.mp4")) as frames:
        frame = frames.frame(1)
    assert (frame.width, frame.height, frame.format.name) == (160, 96, "yuv420p")
    assert number_of(frame) == 1


@pytest.mark.parametrize(("length", "expected"), [(1, 2), (2, 2), (3, 2), (640, 640), (641, 640)])
def test_a_side_is_even_and_never_nothing(length: int, expected: int) -> None:
    """The smallest possible picture has two pixels each way."""
    assert even(length) == expected


def test_a_change_of_size_in_mid_stream_is_scaled_back() -> None:
    """The first frame decides the size of all; no frame loses its time stamp."""

    def frames() -> Iterator[av.VideoFrame]:
        for stamp, size in enumerate([(64, 48), (32, 32), (33, 65), (64, 48)]):
            frame = av.VideoFrame(*size, "rgb24")
            frame.pts = stamp
            yield frame

    shaped = list(FrameNormalizer(Fraction(1, 25)).normalized(frames()))
    found = [(stamp, frame.width, frame.height) for stamp, frame in shaped]
    assert found == [(stamp, 64, 48) for stamp in range(4)]


def test_a_file_cut_short_holds_its_last_frame(tmp_path: Path) -> None:
    """Half a download plays as far as it goes."""
    path = Clip(60, options={**_REORDERED, "bf": "0"}).write(tmp_path / "half.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with FrameReader(path) as frames:
        count = frames.count
        assert 1 < count < 60
        assert number_of(frames.frame(count - 1)) == count - 1


def _blank_packets(path: Path, first: int, last: int) -> None:
    """Overwrite some packets of a file with zeros."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [(packet.pos or 0, packet.size) for packet in packets]
    data = bytearray(path.read_bytes())
    for place, size in places[first:last]:
        data[place : place + size] = bytes(size)
    path.write_bytes(data)


@pytest.mark.parametrize("cache_frames", [4, 100])
def test_frames_that_do_not_decode_are_covered_by_a_neighbour(
    tmp_path: Path, cache_frames: int
) -> None:
    """A damaged stretch leaves no hole and costs no frame behind it."""
    clip = Clip(40, codec="mpeg2video", options={"g": "1"})
    path = clip.write(tmp_path / "hole.mp4")
    _blank_packets(path, 10, 22)
    with FrameReader(path, cache_bytes=cache_frames * _FRAME_BYTES) as frames:
        shown = [number_of(frames.frame(number)) for number in range(40)]
    assert set(shown[10:22]) <= {9, 22}
    assert [*shown[:10], *shown[22:]] == [*range(10), *range(22, 40)]


def test_a_tail_that_does_not_decode_holds_the_last_good_frame(tmp_path: Path) -> None:
    """A damaged end is as long as a good one."""
    path = Clip(12, codec="mpeg2video", options={"g": "1"}).write(tmp_path / "tail.mp4")
    _blank_packets(path, 8, 12)
    with FrameReader(path, cache_bytes=3 * _FRAME_BYTES) as frames:
        assert [number_of(frames.frame(number)) for number in (7, 8, 11)] == [7, 7, 7]


def test_a_body_of_zeros_is_an_invalid_video(tmp_path: Path) -> None:
    """A decoder that gives nothing without a complaint is not believed."""
    path = Clip(6, codec="mpeg2video", options={"g": "1"}).write(tmp_path / "zeros.mp4")
    _blank_packets(path, 0, 6)
    reader = FrameReader(path)
    with reader, refused("generation_input_video_invalid", "no picture that decodes"):
        reader.frame(0)


def test_a_recording_cut_open_starts_at_its_first_key_frame(tmp_path: Path) -> None:
    """Frames that lean on a missing key frame are left out, as if they were not there."""
    whole = Clip(36, options=_REORDERED).write(tmp_path / "whole.mkv")
    path = tmp_path / "cut.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in [each for each in source.demux(video=0) if each.size][5:]:
            packet.stream = stream
            target.mux(packet)
    with FrameReader(path) as frames:
        assert frames.count == 24
        shown = [number_of(frames.frame(number)) for number in (23, 0, 12)]
    assert shown == [35, 12, 24]


def test_damage_that_the_decoder_reports_is_an_invalid_video(tmp_path: Path) -> None:
    """A codec error in the middle has the service's code and names the file."""
    clip = Clip(6, codec="png", pixel_format="rgb24", options={})
    path = clip.write(tmp_path / "broken.avi")
    _blank_packets(path, 3, 4)
    with FrameReader(path) as frames, refused("generation_input_video_invalid", r"broken\.avi"):
        frames.frame(5)


def test_a_head_without_a_body_is_an_invalid_video(tmp_path: Path) -> None:
    """A file that promises pictures and has none is refused at the first frame."""
    path = tmp_path / "head.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with FrameReader(path) as frames:
        assert frames.count == 1
        with refused("generation_input_video_invalid", "cannot be read"):
            frames.frame(0)


def test_a_file_without_video_is_refused(tmp_path: Path) -> None:
    """Sound alone is no visual input; nothing stays open."""
    path = tone(tmp_path / "tone.wav", seconds=0.1, hertz=440)
    with pytest.raises(MediaError, match="no video stream"):
        FrameReader(path)
