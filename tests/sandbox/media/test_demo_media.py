from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lipsync_async.sandbox.media.demo_media import (
    clock_text,
    contact_sheet,
    draw_talking_head,
    speak_line,
    tone,
)
from lipsync_async.sandbox.media.drawn_face import eye_openness, palette
from lipsync_async.sandbox.media.errors import RenderCancelledError
from lipsync_async.sandbox.media.open_media import MediaInfo, probe
from lipsync_async.sandbox.media.speech import read_phonemes
from tests.sandbox.media.clips import Clip, heard, loudness, strength


def test_a_talking_head_is_a_real_video_with_a_quiet_room(tmp_path: Path) -> None:
    """The actor has picture and sound of the length asked for."""
    path = draw_talking_head(tmp_path / "head.mp4", seconds=1.2, width=160, height=96)
    assert probe(path, "video") == MediaInfo("video", 1.2, 160, 96, 25.0)
    assert probe(path, "audio").duration == pytest.approx(1.2, abs=0.04)
    assert 0 < loudness(heard(path), 0.1, 1.1) < 0.002


def test_the_head_moves_and_blinks(tmp_path: Path) -> None:
    """Consecutive pictures differ, and at the blink the eyes are shut."""
    path = draw_talking_head(tmp_path / "head.mp4", seconds=1.2, width=160, height=96, seed=3)
    with av.open(str(path)) as container:
        frames = [
            frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)
        ]
    assert len(frames) == 30
    assert np.abs(frames[0] - frames[12]).mean() > 0.1
    # The dark of the eyes goes at 0.99 s, in the middle of the first blink.
    eyes = [frame[38:56, 60:100].mean() for frame in frames]
    assert max(eyes) > eyes[0]
    assert eye_openness(0.99) == pytest.approx(0.0)
    assert eye_openness(0.5) == eye_openness(1.2) == 1.0


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    """An actor is the same on every run; another seed is somebody else."""
    films = [
        draw_talking_head(tmp_path / f"{n}.mp4", seconds=0.2, width=64, height=48, seed=seed)
        for n, seed in enumerate((1, 1, 2))
    ]
    one, again, other = (film.read_bytes() for film in films)
    assert one == again
    assert one != other
    assert len({palette(seed) for seed in range(20)}) > 15


@pytest.mark.parametrize("seconds", [0.3, 1.74, 8.64])
def test_a_line_can_have_an_exact_length(tmp_path: Path, seconds: float) -> None:
    """Short lines are padded and long ones cut; what is said in them is still known."""
    path = speak_line(tmp_path / "line.wav", seconds=seconds)
    assert probe(path, "audio").duration == pytest.approx(seconds, abs=1 / 22_050)
    assert 0 < read_phonemes(path)[-1].end <= seconds


def test_a_line_is_as_long_as_its_words_otherwise(tmp_path: Path) -> None:
    """More words take more time."""
    short = probe(speak_line(tmp_path / "a.wav", text="Hi."), "audio").duration
    long = probe(speak_line(tmp_path / "b.wav", text="Hi. " * 4, voice="x"), "audio").duration
    assert short is not None
    assert long is not None
    assert 0.2 <= short < long


def test_a_tone_has_its_pitch_only(tmp_path: Path) -> None:
    """A test tone is easy to recognise."""
    sound = heard(tone(tmp_path / "tone.wav", seconds=0.5, hertz=440))
    assert strength(sound, 0.0, 0.5, 440) == pytest.approx(0.5, abs=0.01)
    assert strength(sound, 0.0, 0.5, 880) < 0.001


@pytest.mark.parametrize(("columns", "rows"), [(4, 3), (2, 1)])
def test_a_contact_sheet_shows_the_video_evenly(tmp_path: Path, columns: int, rows: int) -> None:
    """Every cell shows the middle of its part of the video."""
    video = Clip(120).write(tmp_path / "in.mp4")
    png = contact_sheet(video, tmp_path / "sheet.png", columns=columns, rows=rows)
    with Image.open(png) as page:
        assert page.size == (columns * 334 + 14, rows * (192 + 14) + 46)
        grey = np.asarray(page.convert("L"))
    for cell in range(columns * rows):
        number = (2 * cell + 1) * 120 // (2 * columns * rows)
        left, top = 14 + cell % columns * 334, 46 + cell // columns * 206
        bars = [
            grey[top + 20 : top + 140, left + 40 * bit + 15 : left + 40 * bit + 25]
            for bit in range(8)
        ]
        assert sum(1 << bit for bit, bar in enumerate(bars) if bar.mean() > 128) == number


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00.00"), (8.644, "0:08.64"), (59.999, "1:00.00"), (83.5, "1:23.50")],
)
def test_times_read_like_a_clock(seconds: float, text: str) -> None:
    """Minutes, seconds and hundredths, rounded together."""
    assert clock_text(seconds) == text


def test_drawing_is_cancelled(tmp_path: Path) -> None:
    """A drawing stops before the frame at which it is told to."""
    answers = iter([False, False, True])
    with pytest.raises(RenderCancelledError, match=r"^the drawing stopped at frame 2\.$"):
        draw_talking_head(
            tmp_path / "head.mp4",
            seconds=1.0,
            width=64,
            height=48,
            is_cancelled=lambda: next(answers),
        )
