import errno
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import av
import numpy as np
import pytest
from PIL import Image

from lipsync_async.sandbox.media.demo_media import tone
from lipsync_async.sandbox.media.errors import MediaError, RenderCancelledError
from lipsync_async.sandbox.media.mp4_writer import Mp4Writer
from lipsync_async.sandbox.media.render import Rendered, RenderJob, RenderSegment, render
from tests.sandbox.media.clips import (
    Clip,
    heard,
    loudness,
    number_of,
    refused,
    shown_numbers,
    strength,
    turn_clockwise,
)

FRAME = 1 / 25
_SMALL = (64, 32)
OWN, FIRST = 300, 700


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold the inputs that many tests share."""
    folder = tmp_path_factory.mktemp("clips")
    Clip(100, size=_SMALL, hertz=300).write(folder / "4.00.mp4")
    Clip(250, size=_SMALL).write(folder / "10.00.mp4")
    tone(folder / "8.64.wav", seconds=8.64, hertz=700, rate=22_050)
    tone(folder / "1.74.wav", seconds=1.74, hertz=700, rate=96_000)
    return folder


def _film(video: Path, audio: Path | None, folder: Path, *, sync_mode: str = "bounce") -> RenderJob:
    """Order an output of a video."""
    output = folder / "out.mp4"
    return RenderJob(video, is_image=False, audio=audio, output=output, sync_mode=sync_mode)


def _order(
    folder: Path, *segments: RenderSegment, visual: str = "in.mp4", is_image: bool = False
) -> RenderJob:
    """Order an output with segments."""
    return RenderJob(
        folder / visual, is_image=is_image, audio=None, output=folder / "out.mp4", segments=segments
    )


def _expect_well_formed(rendered: Rendered, seconds: float) -> None:
    """Check everything that any output promises."""
    with av.open(str(rendered.path)) as container:
        assert (container.duration or 0) / 1e6 == rendered.duration
        assert rendered.duration == pytest.approx(seconds, abs=FRAME)
        assert container.metadata["comment"] == f"SANDBOX, lips: {rendered.lips}"
        (video,), (audio,) = container.streams.video, container.streams.audio
        assert container.streams.get() == [video, audio]
        assert (video.format.name, video.codec_context.name) == ("yuv420p", "h264")
        assert audio.codec_context.name == "aac"
        for stream in (video, audio):
            assert stream.start_time == 0
            length = float((stream.duration or 0) * (stream.time_base or 0))
            assert length == pytest.approx(seconds, abs=FRAME)
    data = rendered.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("mode", "lengths", "seconds"),
    [
        ("bounce", ("4.00", "8.64"), 8.64),
        ("cut_off", ("4.00", "8.64"), 4.00),
        ("loop", ("10.00", "1.74"), 1.74),
        ("remap", ("10.00", "1.74"), 1.74),
        ("silence", ("10.00", "1.74"), 10.00),
    ],
)
def test_the_documented_examples_render_as_documented(
    tmp_path: Path, clips: Path, mode: str, lengths: tuple[str, str], seconds: float
) -> None:
    """Of the service's worked examples, all planned in `test_timeline`, one of each mode."""
    video, audio = lengths
    order = _film(clips / f"{video}.mp4", clips / f"{audio}.wav", tmp_path, sync_mode=mode)
    rendered = render(order)
    _expect_well_formed(rendered, seconds)
    sound = heard(rendered.path)
    spoken = min(float(audio), seconds)
    assert strength(sound, 0.1, spoken - 0.1, 700) > 0.3
    assert strength(sound, 0.1, spoken - 0.1, 300) < 0.01
    if spoken < seconds:
        assert loudness(sound, spoken + 0.1, seconds) < 0.001


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("bounce", [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 1, 2]),
        ("loop", [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0]),
        ("remap", [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
        ("cut_off", [0, 1, 2, 3, 4, 5]),
        ("silence", [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5]),
    ],
)
def test_the_file_shows_exactly_the_planned_frames(
    tmp_path: Path, mode: str, expected: list[int]
) -> None:
    """What a viewer sees is the plan, picture by picture."""
    video = Clip(6).write(tmp_path / "in.mp4")
    audio = tone(tmp_path / "in.wav", seconds=13 / 25, hertz=700)
    rendered = render(_film(video, audio, tmp_path, sync_mode=mode))
    assert shown_numbers(rendered.path) == expected
    assert rendered.frames == len(expected)


def test_an_image_is_shown_for_as_long_as_the_audio(tmp_path: Path) -> None:
    """A picture takes its length from the audio, whatever the mode says."""
    picture = tmp_path / "face.png"
    Image.new("RGBA", (161, 97), "#3366cc80").save(picture)
    audio = tone(tmp_path / "in.wav", seconds=1.2, hertz=700)
    film = _film(picture, audio, tmp_path, sync_mode="cut_off")
    rendered = render(attrs.evolve(film, is_image=True))
    _expect_well_formed(rendered, 1.2)
    assert rendered.frames == 30
    with av.open(str(rendered.path)) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (160, 96)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_the_other_picture_formats_work_too(tmp_path: Path, suffix: str) -> None:
    """JPEG with the camera's rotation, and WebP."""
    picture = tmp_path / f"face.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48), "#3366cc").save(picture, exif=exif)
    audio = tone(tmp_path / "in.wav", seconds=0.2, hertz=700)
    rendered = render(attrs.evolve(_film(picture, audio, tmp_path), is_image=True))
    _expect_well_formed(rendered, 0.2)


def test_dubbing_keeps_the_video_and_its_own_sound(tmp_path: Path) -> None:
    """Without audio inputs the output is the video again."""
    video = Clip(30, hertz=300).write(tmp_path / "in.mov")
    rendered = render(_film(video, None, tmp_path))
    _expect_well_formed(rendered, 1.2)
    assert shown_numbers(rendered.path) == list(range(30))
    assert strength(heard(rendered.path), 0.1, 1.1, 300) > 0.3


def test_a_mute_video_gets_a_silent_audio_stream(tmp_path: Path) -> None:
    """Every output has one audio stream."""
    video = Clip(10).write(tmp_path / "in.mp4")
    rendered = render(_film(video, None, tmp_path))
    _expect_well_formed(rendered, 0.4)
    assert loudness(heard(rendered.path), 0.0, 0.4) < 1e-4


def test_a_turned_odd_video_at_another_rate_comes_out_upright_and_even(tmp_path: Path) -> None:
    """Telephones film sideways, at 30000/1001, in any size."""
    clip = Clip(30, rate=Fraction(30_000, 1001), size=(161, 97), pixel_format="yuv444p")
    video = turn_clockwise(clip.write(tmp_path / "in.mp4"))
    audio = tone(tmp_path / "in.wav", seconds=1.0, hertz=700)
    rendered = render(_film(video, audio, tmp_path))
    _expect_well_formed(rendered, 30 * 1001 / 30_000)
    with av.open(str(rendered.path)) as container:
        frame = next(container.decode(video=0))
        assert container.streams.video[0].average_rate == Fraction(30_000, 1001)
    assert (frame.width, frame.height, frame.rotation) == (96, 160, 0)


def test_the_same_order_gives_the_same_bytes(tmp_path: Path, clips: Path) -> None:
    """Nothing in the file depends on the time, the name or what else is being rendered."""
    order = _film(clips / "4.00.mp4", clips / "1.74.wav", tmp_path)
    orders = [attrs.evolve(order, output=tmp_path / name) for name in ("one.mp4", "two.mp4")]
    with ThreadPoolExecutor(2) as threads:
        one, two = (rendered.path.read_bytes() for rendered in threads.map(render, orders))
    assert one == two


@pytest.mark.parametrize(("frames", "calls"), [(30, 31), (250, 101)])
def test_progress_rises_to_one_hundred(tmp_path: Path, frames: int, calls: int) -> None:
    """Each whole percent comes once, however many frames there are; the last with the file."""
    video = Clip(frames, size=_SMALL).write(tmp_path / "in.mp4")
    order = _film(video, None, tmp_path)
    seen: list[tuple[float, bool]] = []
    render(order, on_progress=lambda percent: seen.append((percent, order.output.exists())))
    percents = [percent for percent, _ in seen]
    assert percents == sorted(set(percents) & set(range(101)))
    assert (seen[0], seen[-1], len(seen)) == ((0.0, False), (100.0, True), calls)


def test_a_cancelled_render_leaves_nothing_behind(tmp_path: Path) -> None:
    """The render stops at the next frame; neither the output nor a part of it stays."""
    video = Clip(30).write(tmp_path / "in.mp4")
    answers = iter([False] * 10 + [True])
    with pytest.raises(RenderCancelledError, match="at frame 10 of 30"):
        render(_film(video, None, tmp_path), is_cancelled=lambda: next(answers))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
def test_a_full_disk_ends_a_render_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """The error says so, whatever libav does to finish the file."""
    video = Clip(60).write(tmp_path / "in.mp4")
    (tmp_path / "out.mp4.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        render(_film(video, None, tmp_path))
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_an_older_output_survives_a_failed_render(tmp_path: Path) -> None:
    """The file changes only when the new one is complete."""
    video = Clip(3).write(tmp_path / "in.mp4")
    output = tmp_path / "out.mp4"
    output.write_bytes(b"older")
    with pytest.raises(RenderCancelledError):
        render(_film(video, None, tmp_path), is_cancelled=lambda: True)
    assert output.read_bytes() == b"older"


SEGMENTS = "generation_input_segments_invalid"


def _crop(*crop: float) -> list[tuple[Any, ...]]:
    return [(0.0, 0.2, crop)]


@pytest.mark.parametrize(
    ("visual", "audio", "segments", "words", "code"),
    [
        ("face.png", None, [], "needs an audio", "generation_input_validation_failed"),
        ("face.png", None, [(0.0, 0.2, None)], "video inputs only", SEGMENTS),
        ("in.mp4", None, [(0.0, 1.0, None)], r"segments\[0\]", SEGMENTS),
        ("in.mp4", None, _crop(1.5, 2.0), "not fit 1.00 s", "generation_input_trim_invalid"),
        ("in.mp4", None, _crop(0.5, 0.2), "not fit 1.00 s", "generation_input_trim_invalid"),
        ("in.mp4", None, _crop(-0.5, 0.5), "not fit 1.00 s", "generation_input_trim_invalid"),
        ("bad.mp4", None, [], "bad.mp4 cannot be read", "generation_input_video_invalid"),
        ("bad.png", None, [], "bad.png cannot be read", "generation_input_validation_failed"),
        ("in.mp4", "bad.mp4", [], "cannot be read", "generation_input_audio_invalid"),
    ],
)
def test_what_cannot_be_rendered_is_refused(
    *, tmp_path: Path, visual: str, audio: str | None, segments: Any, words: str, code: str
) -> None:
    """Pictures with segments, windows that do not fit and damage are refused; no file is left."""
    Clip(10).write(tmp_path / "in.mp4")
    Image.new("RGB", (16, 16)).save(tmp_path / "face.png")
    for name in ("bad.mp4", "bad.png"):
        (tmp_path / name).write_bytes(b"<html>Not found</html>" * 50)
    line = tone(tmp_path / "line.wav", seconds=1.0, hertz=FIRST)
    parts = [RenderSegment(start, end, line, crop) for start, end, crop in segments]
    order = _order(tmp_path, *parts, visual=visual, is_image=visual.endswith("png"))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(MediaError, match=words) as caught:
        render(attrs.evolve(order, audio=tmp_path / audio if audio else None))
    assert (caught.value.code, sorted(tmp_path.iterdir())) == (code, before)


def test_a_damaged_soundtrack_makes_the_video_invalid(tmp_path: Path) -> None:
    """The video's own sound is part of the video, not an audio input."""
    video = Clip(50, hertz=300).write(tmp_path / "in.mkv")
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size > 20]
        places = [(packet.pos or 0, packet.size) for packet in packets[20:30]]
    data = bytearray(video.read_bytes())
    for place, size in places:
        data[place + 8 : place + size] = b"\xff" * (size - 8)
    video.write_bytes(data)
    with refused("generation_input_video_invalid", r"in\.mkv cannot be read"):
        render(_film(video, None, tmp_path))


def test_memory_does_not_grow_with_the_output(tmp_path: Path) -> None:
    """An output many times as long as the video holds no more frames than the video has."""
    video = Clip(4, size=_SMALL).write(tmp_path / "in.mp4")
    audio = tone(tmp_path / "in.wav", seconds=3, hertz=700)
    counts: list[int] = []
    gc.collect()  # what errors of earlier tests hold

    def count_frames(percent: float) -> None:
        if percent in {20, 50, 90}:
            counts.append(sum(issubclass(type(each), av.VideoFrame) for each in gc.get_objects()))

    rendered = render(_film(video, audio, tmp_path, sync_mode="loop"), on_progress=count_frames)
    assert rendered.frames == 75
    assert len(counts) == 3
    # PyAV makes one for a moment for each that it encodes.
    assert max(counts) - min(counts) <= 1
    with av.open(str(rendered.path)) as container:
        last = list(container.decode(video=0))[-1]
    assert number_of(last) == 74 % 4


def test_few_frames_wait_for_the_encoder(tmp_path: Path) -> None:
    """However fast they come, a writer holds three of them at most, and one is being encoded."""
    waiting: list[weakref.ref[Any]] = []
    counts: list[int] = []
    path, rate = tmp_path / "out.mp4", Fraction(25)
    with Mp4Writer(path, width=64, height=32, rate=rate, comment="") as writer:
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), number, np.uint8), "yuv420p")
            sound = np.zeros((1920, 2), np.int16)
            waiting.append(weakref.ref(sound))
            writer.write(frame, sound)
            del sound
            counts.append(sum(each() is not None for each in waiting))
    assert max(counts) <= 4
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 60


def test_the_picture_outside_the_windows_is_the_video_itself(tmp_path: Path) -> None:
    """Inside, the window's mode decides; outside, frame n is frame n."""
    Clip(20).write(tmp_path / "in.mp4")
    short = tone(tmp_path / "short.wav", seconds=2 / 25, hertz=FIRST)
    first = RenderSegment(4 / 25, 10 / 25, short, sync_mode="remap")
    second = RenderSegment(12 / 25, 16 / 25, short, sync_mode="silence")
    rendered = render(_order(tmp_path, first, second))
    assert shown_numbers(rendered.path) == [0, 1, 2, 3, 4, 7, 8, 9, 9, 9, *range(10, 20)]


def test_a_mute_video_is_silent_outside_its_segments(tmp_path: Path) -> None:
    """Nothing is invented where the video has no sound."""
    Clip(50, size=_SMALL).write(tmp_path / "in.mp4")
    first = tone(tmp_path / "first.wav", seconds=1.0, hertz=FIRST)
    sound = heard(render(_order(tmp_path, RenderSegment(1.0, 2.0, first))).path)
    assert loudness(sound, 0.0, 0.95) < 0.001
    assert strength(sound, 1.05, 1.95, FIRST) > 0.3


def test_segments_without_length_change_nothing(tmp_path: Path) -> None:
    """A zero-length window, and a zero-length crop in a window, are both fine."""
    Clip(10, hertz=OWN).write(tmp_path / "in.mp4")
    first = tone(tmp_path / "first.wav", seconds=1.0, hertz=FIRST)
    parts = RenderSegment(0.2, 0.2, first), RenderSegment(0.24, 0.32, first, crop=(0.5, 0.5))
    rendered = render(_order(tmp_path, *parts))
    assert shown_numbers(rendered.path) == list(range(10))
