from collections.abc import Iterable
from fractions import Fraction
from itertools import accumulate, pairwise, product
from math import ceil

import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.media import timeline
from tests.sandbox.media.clips import refused

MODES = ("bounce", "loop", "cut_off", "silence", "remap")
FPS = Fraction(25)

rates = st.sampled_from(
    [Fraction(25), Fraction(24), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60)]
)
frame_numbers = st.integers(1, 400)
seconds = st.floats(0, 30)


@pytest.mark.parametrize(
    ("mode", "video", "audio", "expected"),
    [
        *((mode, 4.0, 8.64, 8.64) for mode in ("bounce", "loop", "remap", "silence")),
        ("cut_off", 4.0, 8.64, 4.0),
        *((mode, 10.0, 1.74, 1.74) for mode in ("bounce", "loop", "remap", "cut_off")),
        ("silence", 10.0, 1.74, 10.0),
    ],
)
def test_the_documented_examples_last_as_documented(
    mode: str, video: float, audio: float, expected: float
) -> None:
    """The service's two worked examples have the documented lengths in every mode."""
    assert timeline.output_seconds(mode, video, audio) == expected
    mapped = timeline.index_map(mode, timeline.frame_count(video, FPS), FPS, audio)
    assert len(mapped) == timeline.frame_count(expected, FPS)


@pytest.mark.parametrize("mode", MODES)
def test_an_image_lasts_as_long_as_the_audio(mode: str) -> None:
    """For a picture the mode and the video's length do not matter."""
    assert timeline.output_seconds(mode, 10.0, 3.5, is_image=True) == 3.5


@pytest.mark.parametrize(
    ("mode", "audio_frames", "expected"),
    [
        ("bounce", 9, [0, 1, 2, 3, 2, 1, 0, 1, 2]),
        ("loop", 9, [0, 1, 2, 3, 0, 1, 2, 3, 0]),
        ("remap", 8, [0, 0, 1, 1, 2, 2, 3, 3]),
        ("cut_off", 9, [0, 1, 2, 3]),
        ("silence", 6, [0, 1, 2, 3, 3, 3]),
        *((mode, 2, [0, 1]) for mode in ("bounce", "loop", "cut_off")),
        ("remap", 2, [0, 2]),
        ("silence", 2, [0, 1, 2, 3]),
    ],
)
def test_each_mode_orders_the_frames_in_its_own_way(
    mode: str, audio_frames: int, expected: list[int]
) -> None:
    """Four frames are fitted to longer and to shorter audio as each mode says."""
    assert timeline.index_map(mode, 4, FPS, audio_frames / 25) == expected


def test_small_cases_are_right_without_exception() -> None:
    """For every small video and audio the length and the bounds hold in every mode."""
    for mode, frames, audio in product(MODES, range(1, 13), range(1, 31)):
        mapped = timeline.index_map(mode, frames, FPS, audio / 25)
        expected = round(timeline.output_seconds(mode, frames / 25, audio / 25) * 25)
        assert len(mapped) == expected
        assert mapped[0] == 0
        assert 0 <= min(mapped) <= max(mapped) < frames


@given(st.sampled_from(MODES), frame_numbers, rates, seconds)
def test_every_output_frame_exists_in_the_source(
    mode: str, frames: int, fps: Fraction, audio: float
) -> None:
    """No mode ever asks for a frame that the video does not have, or for no frame."""
    mapped = timeline.index_map(mode, frames, fps, audio)
    assert mapped
    assert set(mapped) <= set(range(frames))


@given(frame_numbers, rates, seconds)
def test_bounce_moves_by_one_frame_and_is_its_own_mirror(
    frames: int, fps: Fraction, audio: float
) -> None:
    """Bounce never jumps, never rests at a turning point, and returns as it went."""
    mapped = timeline.index_map("bounce", frames, fps, audio)
    step = 0 if frames == 1 else 1
    assert {abs(after - before) for before, after in pairwise(mapped)} <= {step}
    there_and_back = mapped[: 2 * frames - 1]
    if len(there_and_back) == 2 * frames - 1:
        assert there_and_back == there_and_back[::-1]


@given(frame_numbers, rates, seconds)
def test_remap_only_goes_forwards_and_spreads_evenly(
    frames: int, fps: Fraction, audio: float
) -> None:
    """Remap is monotonic, and neighbouring steps differ by one frame at most."""
    mapped = timeline.index_map("remap", frames, fps, audio)
    steps = {after - before for before, after in pairwise(mapped)}
    assert all(step >= 0 for step in steps)
    assert len(steps) <= 2
    assert frames - mapped[-1] <= max(1, -(-frames // len(mapped)))


@given(frame_numbers, rates, seconds)
def test_silence_shows_every_frame_and_then_holds_the_last(
    frames: int, fps: Fraction, audio: float
) -> None:
    """Silence never cuts the video."""
    mapped = timeline.index_map("silence", frames, fps, audio)
    assert mapped[:frames] == list(range(frames))
    assert set(mapped[frames:]) <= {frames - 1}


@given(rates, st.integers(0, 10_000))
def test_samples_follow_the_frames_without_drift(fps: Fraction, frame: int) -> None:
    """After any number of frames, sound and picture are within half a sample."""
    assert abs(timeline.sample_position(frame, fps) - frame / fps * 48_000) <= Fraction(1, 2)


def test_an_unknown_mode_is_refused_by_name() -> None:
    """A mode that does not exist is the caller's mistake, not a crash."""
    with refused("generation_input_validation_failed", "'sideways' is not one of bounce, loop"):
        timeline.index_map("sideways", 10, FPS, 1.0)


def test_frames_outside_segments_keep_their_place() -> None:
    """Two windows leave the rest of the video, and its own audio, alone."""
    windows = [timeline.Window(0.24, 0.32, 0.04, "loop"), timeline.Window(0.08, 0.16, 1.0, "remap")]
    spans = timeline.plan_segments(10, FPS, windows)
    assert [(list(span.frames), span.window) for span in spans] == [
        ([0, 1], None),
        ([2, 2], 1),
        ([4, 5], None),
        ([6, 7], 0),
        ([8, 9], None),
    ]


@pytest.mark.parametrize(
    ("mode", "audio", "expected"),
    [
        ("bounce", 0.08, [2, 3, 4, 5, 6]),
        ("remap", 0.08, [2, 4, 5, 6, 6]),
        ("remap", 0.4, [2, 2, 3, 3, 4]),
        ("loop", 1.0, [2, 3, 4, 5, 6]),
        ("silence", 0.0, [2, 3, 4, 5, 6]),
    ],
)
def test_a_window_keeps_its_length_in_every_mode(
    mode: str, audio: float, expected: list[int]
) -> None:
    """Shorter audio lets the picture go on; longer audio is cut."""
    spans = timeline.plan_segments(7, FPS, [timeline.Window(0.08, 0.28, audio, mode)])
    assert list(spans[-1].frames) == expected


@given(
    frames=st.integers(1, 200),
    fps=rates,
    cuts=st.lists(st.floats(0, 1), min_size=2, max_size=8),
    audio=st.floats(0, 5),
    mode=st.sampled_from(MODES),
)
def test_segments_never_change_the_length(
    frames: int, fps: Fraction, cuts: list[float], audio: float, mode: str
) -> None:
    """Whatever the windows are, the output is as long as the video, frame for frame."""
    moments = sorted(cut * float(frames / fps) for cut in cuts)
    windows = [
        timeline.Window(start, end, audio, mode)
        for start, end in zip(moments[::2], moments[1::2], strict=False)
    ]
    spans = timeline.plan_segments(frames, fps, windows)
    shown = [number for span in spans for number in span.frames]
    assert len(shown) == frames
    assert set(shown) <= set(range(frames))
    done = 0
    for span in spans:
        if span.window is None:
            assert list(span.frames) == list(range(done, done + len(span.frames)))
        done += len(span.frames)


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        # Start and end may be equal, even inside another window.
        ([timeline.Window(0.0, 0.4, 1, "loop"), timeline.Window(0.08, 0.08, 1, "loop")], [(10, 0)]),
        # A length that was rounded up by a person still works.
        ([timeline.Window(0.0, 0.44, 1.0, "loop")], [(10, 0)]),
    ],
)
def test_windows_need_not_be_exact(
    windows: list[timeline.Window], expected: list[tuple[int, int | None]]
) -> None:
    """One without length has no effect, one may reach a frame beyond the video."""
    spans = timeline.plan_segments(10, FPS, windows)
    assert [(len(span.frames), span.window) for span in spans] == expected


LONG = r"segments\[0\].*the video lasts 0\.40 s"


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ([(0.0, 0.5)], LONG),
        ([(0.3, 0.2)], LONG),
        ([(-0.1, 0.2)], LONG),
        ([(5.0, 5.0)], LONG),
        ([(0.2, 0.4), (0.0, 0.3)], r"segments\[0\] overlaps"),
    ],
)
def test_windows_that_do_not_fit_are_refused(
    windows: list[tuple[float, float]], words: str
) -> None:
    """They run forwards, inside the video, and one after the other; the message says which."""
    with refused("generation_input_segments_invalid", words):
        timeline.plan_segments(
            10, FPS, [timeline.Window(start, end, 1.0, "bounce") for start, end in windows]
        )


_NTSC = Fraction(30_000, 1001)


def _moments(rate: Fraction, numbers: Iterable[int], unit: int) -> list[int]:
    """Return frames of a rate in ticks of a container."""
    return [round(number / rate * unit) for number in numbers]


@pytest.mark.parametrize(
    ("ticks", "unit", "stated", "expected"),
    [
        # Regular ones, at what the file states or, where that is nonsense, at what they are.
        (_moments(_NTSC, range(600), 90_000), 90_000, [_NTSC], _NTSC),
        (_moments(_NTSC, range(600), 1000), 1000, [Fraction(1000)], _NTSC),
        (_moments(Fraction(25), range(900), 1000), 1000, [Fraction(25)], Fraction(25)),
        (_moments(Fraction(240), range(900), 600), 600, [Fraction(240)], Fraction(240)),
        # Pauses, whatever the average is.
        (_moments(_NTSC, [*range(300), *range(900, 950)], 90_000), 90_000, [Fraction(9)], _NTSC),
        (_moments(Fraction(60), range(0, 900, 7), 1000), 1000, [Fraction(70)], Fraction(60)),
        # Slow ones are multiplied: 10 becomes 30, 1 becomes 24.
        (_moments(Fraction(10), range(30), 1000), 1000, [Fraction(10)], Fraction(30)),
        (_moments(Fraction(1), range(3), 1000), 1000, [Fraction(1)], Fraction(24)),
        (_moments(Fraction(15), range(30), 1000), 1000, [Fraction(15)], Fraction(15)),
        (_moments(Fraction(25), range(30), 1000), 1000, [Fraction(1, 9000)], Fraction(25)),
        # One frame has any rate; a thousand in a second are shown as fast as possible.
        ([0], 1000, [Fraction(25)], Fraction(25)),
        (list(range(1000)), 1000, [Fraction(1000)], Fraction(240)),
    ],
)
def test_a_rate_is_found_for_frames_at_any_moments(
    ticks: list[int], unit: int, stated: list[Fraction], expected: Fraction
) -> None:
    """What the frames do decides; the file's own word counts where it agrees with them."""
    assert timeline.steady_rate(ticks, Fraction(1, unit), stated) == expected


@given(st.lists(st.integers(5, 2000), min_size=1, max_size=60), st.fractions(1, 100))
def test_no_frame_is_left_out_and_none_comes_at_another_time(
    pauses: list[int], average: Fraction
) -> None:
    """Of frames at least 5 ms apart, each is shown within half a frame of its moment."""
    ticks = [0, *accumulate(pauses)]
    rate = timeline.steady_rate(ticks, Fraction(1, 1000), [average])
    # As the reader chooses frames: the last one that has begun at the middle of the place.
    places = [ceil(Fraction(tick, 1000) * rate - Fraction(1, 2)) for tick in ticks]
    assert len(set(places)) == len(ticks)
    assert all(
        abs(place / rate - Fraction(tick, 1000)) * rate * 2 <= 1
        for place, tick in zip(places, ticks, strict=True)
    )
    assert 12 <= rate <= 240
