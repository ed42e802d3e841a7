from pathlib import Path

import pytest
from PIL import Image

from lipsync_async.sandbox.media.demo_media import speak_line, tone
from lipsync_async.sandbox.media.errors import MediaError
from lipsync_async.sandbox.media.render import RenderJob, RenderSegment, render
from tests.sandbox.media.clips import Clip, heard, loudness, shown_numbers, strength

OWN, FIRST, SECOND = 300, 700, 1100


def _order(
    folder: Path,
    *segments: RenderSegment,
    visual: str = "in.mp4",
    is_image: bool = False,
) -> RenderJob:
    """Order an output with segments."""
    return RenderJob(
        folder / visual,
        is_image=is_image,
        audio=None,
        output=folder / "out.mp4",
        segments=segments,
    )


def test_each_sound_is_heard_in_its_own_window_only(tmp_path: Path) -> None:
    """Two tones and a spoken line replace the video's own tone where they belong."""
    Clip(150, hertz=OWN).write(tmp_path / "in.mp4")
    first = tone(tmp_path / "first.wav", seconds=1.0, hertz=FIRST)
    second = tone(tmp_path / "second.wav", seconds=5.0, hertz=SECOND, rate=22_050)
    line = speak_line(tmp_path / "line.wav", seconds=0.8, text="Here I am.")
    rendered = render(
        _order(
            tmp_path,
            RenderSegment(4.0, 5.0, line, sync_mode="cut_off"),
            RenderSegment(1.0, 2.0, first),
            RenderSegment(2.0, 3.0, second, crop=(1.0, 1.5), sync_mode="remap"),
        ),
    )
    assert rendered.duration == pytest.approx(6.0, abs=0.04)
    sound = heard(rendered.path)
    pitches = (OWN, FIRST, SECOND)
    tones = {
        (0.05, 0.95): OWN,
        (1.05, 1.95): FIRST,
        (2.05, 2.45): SECOND,
        (3.05, 3.95): OWN,
        (5.05, 5.95): OWN,
    }
    for (start, end), pitch in tones.items():
        audible = [hertz for hertz in pitches if strength(sound, start, end, hertz) > 0.02]
        assert audible == [pitch], f"between {start} s and {end} s"
    assert loudness(sound, 2.55, 2.95) < 0.001
    assert loudness(sound, 4.05, 4.75) > 0.01
    assert loudness(sound, 4.85, 4.98) < 0.001
    assert strength(sound, 4.05, 4.75, OWN) < 0.02


def test_the_picture_outside_the_windows_is_the_video_itself(tmp_path: Path) -> None:
    """Inside, the window's mode decides; outside, frame n is frame n."""
    Clip(20).write(tmp_path / "in.mp4")
    short = tone(tmp_path / "short.wav", seconds=2 / 25, hertz=FIRST)
    rendered = render(
        _order(
            tmp_path,
            RenderSegment(4 / 25, 10 / 25, short, sync_mode="remap"),
            RenderSegment(12 / 25, 16 / 25, short, sync_mode="silence"),
        ),
    )
    assert shown_numbers(rendered.path) == [0, 1, 2, 3, 4, 7, 8, 9, 9, 9, *range(10, 20)]


def test_a_mute_video_is_silent_outside_its_segments(tmp_path: Path) -> None:
    """Nothing is invented where the video has no sound."""
    Clip(50).write(tmp_path / "in.mp4")
    first = tone(tmp_path / "first.wav", seconds=1.0, hertz=FIRST)
    sound = heard(render(_order(tmp_path, RenderSegment(1.0, 2.0, first))).path)
    assert loudness(sound, 0.0, 0.95) < 0.001
    assert strength(sound, 1.05, 1.95, FIRST) > 0.3


def test_segments_without_length_change_nothing(tmp_path: Path) -> None:
    """A zero-length window, and a zero-length crop in a window, are both fine."""
    Clip(10, hertz=OWN).write(tmp_path / "in.mp4")
    first = tone(tmp_path / "first.wav", seconds=1.0, hertz=FIRST)
    rendered = render(
        _order(
            tmp_path,
            RenderSegment(0.2, 0.2, first),
            RenderSegment(0.24, 0.32, first, crop=(0.5, 0.5)),
        ),
    )
    assert shown_numbers(rendered.path) == list(range(10))


def test_a_segment_beyond_the_video_is_refused(tmp_path: Path) -> None:
    """The service's code says that the segments are wrong."""
    Clip(10).write(tmp_path / "in.mp4")
    first = tone(tmp_path / "first.wav", seconds=1.0, hertz=FIRST)
    with pytest.raises(MediaError, match=r"segments\[0\]") as caught:
        render(_order(tmp_path, RenderSegment(0.0, 1.0, first)))
    assert caught.value.code == "generation_input_segments_invalid"


@pytest.mark.parametrize("crop", [(1.5, 2.0), (0.5, 0.2), (-0.5, 0.5)])
def test_a_crop_that_does_not_fit_its_audio_is_refused(
    tmp_path: Path,
    crop: tuple[float, float],
) -> None:
    """A crop must run forwards and begin inside the audio."""
    Clip(10).write(tmp_path / "in.mp4")
    first = tone(tmp_path / "first.wav", seconds=1.0, hertz=FIRST)
    with pytest.raises(MediaError, match=r"does not fit 1\.00 s") as caught:
        render(_order(tmp_path, RenderSegment(0.0, 0.2, first, crop=crop)))
    assert caught.value.code == "generation_input_trim_invalid"


def test_segments_of_a_picture_are_refused(tmp_path: Path) -> None:
    """Segments are places in a video."""
    Image.new("RGB", (16, 16)).save(tmp_path / "face.png")
    first = tone(tmp_path / "first.wav", seconds=1.0, hertz=FIRST)
    segment = RenderSegment(0.0, 0.2, first)
    with pytest.raises(MediaError, match="video inputs only") as caught:
        render(_order(tmp_path, segment, visual="face.png", is_image=True))
    assert caught.value.code == "generation_input_segments_invalid"
