"""Lips that move in time with the words, as they are seen in the encoded file."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import av
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from lipsync_async.sandbox.media.demo_media import draw_talking_head
from lipsync_async.sandbox.media.drawn_face import DrawnFace
from lipsync_async.sandbox.media.errors import RenderCancelledError
from lipsync_async.sandbox.media.face_landmarks import LARGEST, FaceFinder, FaceTrack, box_of
from lipsync_async.sandbox.media.lips import (
    DrawnFacePainter,
    FunctionPainter,
    Spoken,
    WarpedFacePainter,
)
from lipsync_async.sandbox.media.mouth_shapes import Mouth, is_vowel
from lipsync_async.sandbox.media.mouth_warp import EYES, INNER_ABOVE, INNER_BELOW
from lipsync_async.sandbox.media.render import RenderJob, RenderSegment, render
from lipsync_async.sandbox.media.speech import (
    Phoneme,
    read_phonemes,
    read_wav,
    speak,
    write_wav,
)
from lipsync_async.sandbox.media.timeline import index_map
from lipsync_async.sandbox.media.video_reader import FrameReader
from tests.sandbox.media.clips import Clip, Floats, heard, shown_numbers
from tests.sandbox.media.faces import filmed, needed_models, photograph, planes_in

SENTENCES = (
    "Peter bought a big bottle of milk, maybe from the shop by my home.",
    "Whatever you make it say, the mouth will open for papa, mama and bobby.",
)
NO_MODELS = "none (there are no models; run: lipsync-async sandbox models)"
SIDE, FPS = 160, 25
STEP = 0.01  # seconds between the points at which curves are compared
MOST_LAG = 0.6
SHIFT = 0.3
LEAD = 0.015  # seconds by which mouths are ahead of what they say
STOPS = {**dict.fromkeys("ptk", 0.045), **dict.fromkeys("bdg", 0.025)}


@attrs.frozen
class Speech:
    """What is said, and when."""

    path: Path
    phonemes: Sequence[Phoneme]
    seconds: float

    def middles(self) -> tuple[list[float], list[float]]:
        """Return when vowels are open, and when lips meet, in seconds."""
        vowels, closures = [], []
        for each, following in zip(self.phonemes, [*self.phonemes[1:], None], strict=True):
            name = each.name.strip("',")
            if is_vowel(name):
                # A stop is shut before its burst, of which alone the engine tells.
                stop = "" if following is None else following.name[:1]
                end = each.end - STOPS.get(stop, 0.0)
                vowels += [(each.start + end) / 2] if end - each.start > 0.05 else []
            elif name in {"p", "b", "m"}:
                middle = {"p": each.start - 0.02, "b": each.start}
                closures.append(middle.get(name, (each.start + each.end) / 2))
        return vowels, closures

    def vowel_curve(self) -> Floats:
        """Return 1 where a vowel is said, else 0."""
        curve = np.zeros(round(self.seconds / STEP))
        for each in self.phonemes:
            if is_vowel(each.name):
                curve[round(each.start / STEP) : round(each.end / STEP)] = 1
        return curve


@attrs.frozen
class Seen:
    """What an output shows: how open the mouth is in each frame, in pixels."""

    path: Path
    lips: str
    openness: Floats

    def at(self, moments: object) -> Floats:
        """Return the openness at moments in seconds."""
        middles = (np.arange(len(self.openness)) + 0.5) / FPS
        return np.asarray(np.interp(moments, middles, self.openness))  # type: ignore[call-overload]

    def separation(self, speech: Speech) -> float:
        """Return how often a vowel is more open than a closure, of all pairs (AUC)."""
        vowels, closures = (self.at(moments) for moments in speech.middles())
        pairs = vowels[:, None] - closures[None]
        return float((pairs > 0).mean() + (pairs == 0).mean() / 2)

    def lag(self, curve: Floats) -> tuple[float, float]:
        """Return by how many seconds the mouth is behind a curve, and how alike they are then."""
        own = self.at((np.arange(len(curve)) + 0.5) * STEP)
        reach = round(MOST_LAG / STEP)
        inner = curve[reach : len(curve) - reach]
        found = [
            float(np.corrcoef(own[reach + by : reach + by + len(inner)], inner)[0, 1])
            for by in range(-reach, reach + 1)
        ]
        best = int(np.argmax(found))
        return (best - reach) * STEP, found[best]


def openness(path: Path) -> Floats:
    """Return how many pixels below the nose are not skin, in each frame."""
    head = SIDE * 0.235
    left, right = round(SIDE / 2 - head / 2), round(SIDE / 2 + head / 2)
    top, bottom = (round(SIDE * 0.47 + head * below) for below in (0.62, 1.22))
    counts = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            box = frame.to_ndarray(format="gray", threads=1)[top:bottom, left:right].astype(int)
            skin = np.bincount(box.ravel()).argmax()
            counts.append(float((np.abs(box - skin) > 30).sum()))
    return np.asarray(counts)


def loudness_curve(path: Path) -> Floats:
    """Return the loudness of the vowels' band in a file's sound, in decibels."""
    sound, width = heard(path), round(STEP * 48_000)
    windows = sound[: len(sound) // width * width].reshape(-1, width)
    hertz = np.fft.rfftfreq(width, 1 / 48_000)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    band = power[:, (hertz >= 300) & (hertz <= 3000)].sum(axis=1)
    return np.asarray(10 * np.log10(band + 1e-3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw the clip."""
    folder = tmp_path_factory.mktemp("lips")
    draw_talking_head(folder / "face.mp4", seconds=4, width=SIDE, height=SIDE)
    return folder


@pytest.fixture(scope="module")
def speech(folder: Path) -> Speech:
    """Speak both sentences, by two voices, into one file."""
    pieces, said, seconds = [], list[Phoneme](), 0.0
    for voice, sentence in zip(("v", "w"), SENTENCES, strict=True):
        path = folder / f"{voice}.wav"
        speak(sentence, voice, path, engine="espeak-ng")
        samples, rate = read_wav(path)
        said += [
            Phoneme(each.name, each.start + seconds, each.end + seconds)
            for each in read_phonemes(path)
        ]
        pieces.append(samples)
        seconds += len(samples) / rate
    seconds = write_wav(folder / "line.wav", np.concatenate(pieces), rate, said)
    return Speech(folder / "line.wav", said, seconds)


def said(speech: Speech, phonemes: Sequence[Phoneme], video: Path, name: str) -> Path:
    """Write the speech beside a video, as if these phonemes were known of it."""
    samples, rate = read_wav(speech.path)
    audio = video.with_name(f"{name}-{video.stem}.wav")
    write_wav(audio, samples, rate, phonemes)
    return audio


def spoken_late(speech: Speech) -> list[Phoneme]:
    """Return the phonemes as if they were said too late."""
    late = [Phoneme(name, start + SHIFT, end + SHIFT) for name, start, end in speech.phonemes]
    return [each for each in late if each.end <= speech.seconds]


def seen(speech: Speech, phonemes: Sequence[Phoneme], video: Path, name: str) -> Seen:
    """Render a video with the speech, of which phonemes are known, and look at it."""
    rendered = render(order(video, said(speech, phonemes, video, name), name))
    return Seen(rendered.path, rendered.lips, openness(rendered.path))


def order(video: Path, audio: Path | None, name: str, **how: Any) -> RenderJob:
    """Order an output of a video, without the models, unless their folder is given."""
    output, none = video.with_name(f"{name}.mp4"), video.with_name("no-models")
    job = RenderJob(video, is_image=False, audio=audio, output=output)
    return attrs.evolve(job, **{**how, "models": how.get("models") or none})


def drives(least: float) -> pytest.MarkDecorator:
    """Return what moves the mouth, with the separation that is expected, and the lag."""
    return pytest.mark.parametrize(
        ("drive", "is_late", "separations", "lag"),
        [
            ("phonemes", False, (least, 1.0), 0.0),
            ("sound", False, (0.85, 1.0), 0.0),
            ("phonemes", True, (0.3, 0.75), SHIFT),
        ],
        ids=["told", "heard", "late"],
    )


@drives(least=0.95)
def test_the_drawn_face_speaks_in_time(
    *,
    folder: Path,
    speech: Speech,
    drive: str,
    is_late: bool,
    separations: tuple[float, float],
    lag: float,
) -> None:
    """The mouth opens for vowels and shuts for m, b and p, by phonemes better than by ear."""
    known = spoken_late(speech) if is_late else speech.phonemes if drive == "phonemes" else ()
    one = seen(speech, known, folder / "face.mp4", f"{drive}-{is_late}")
    assert one.lips == f"drawn ({drive})"
    least, most = separations
    assert least <= one.separation(speech) <= most
    found, likeness = one.lag(speech.vowel_curve())
    assert likeness >= 0.5
    assert found == pytest.approx(lag - LEAD, abs=0.03)
    found, _ = one.lag(loudness_curve(one.path))
    assert found == pytest.approx(lag, abs=0.06)


def test_a_drawn_mouth_that_does_not_move_says_nothing(folder: Path, speech: Speech) -> None:
    """A face that is not known as one shows what the measure finds there."""
    still = folder / "still.mp4"
    still.write_bytes((folder / "face.mp4").read_bytes().replace(b"SANDBOX face", b"SANDBOX FACE"))
    untouched = seen(speech, speech.phonemes, still, "untouched")
    assert untouched.lips == NO_MODELS
    assert 0.35 <= untouched.separation(speech) <= 0.65
    curves = speech.vowel_curve(), loudness_curve(untouched.path)
    assert max(untouched.lag(curve)[1] for curve in curves) <= 0.3


def opened(path: Path, finder: FaceFinder) -> Floats:
    """Return how far the lips of a photograph are apart in each frame, in eye distances."""
    found, box = [], None
    with FrameReader(path) as frames:
        for number in range(frames.count):
            planes = planes_in(frames.frame(number))
            box = box or finder.faces(planes)[0]
            points = finder.points(planes, box)
            assert points is not None
            box = box_of(points)
            upper, lower, left, right = points[[INNER_ABOVE[5], INNER_BELOW[5], *EYES]]
            found.append(float(np.hypot(*(lower - upper)) / np.hypot(*(right - left))))
    return np.asarray(found)


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Path:
    """Film a photograph that pans, turns and comes nearer."""
    needed_models()
    picture, pictures = photograph(), []
    for number in range(30):
        side = 150 - 0.6 * number
        turned = picture.rotate(0.3 * number - 4, Image.Resampling.BICUBIC, center=(224, 130))
        left, top = 224 - side / 2 + 0.4 * number, 115 - side / 2
        box = (left, top, left + side, top + side)
        pictures.append(turned.resize((192, 192), Image.Resampling.BICUBIC, box))
    return filmed(folder / "stranger.mp4", pictures)


@drives(least=0.9)
def test_a_face_in_a_photograph_speaks_in_time(
    *,
    stranger: Path,
    speech: Speech,
    drive: str,
    is_late: bool,
    separations: tuple[float, float],
    lag: float,
) -> None:
    """Its lips part for vowels and meet for m, b and p, as another look at the output finds."""
    models = needed_models()
    known = spoken_late(speech) if is_late else speech.phonemes if drive == "phonemes" else ()
    name = f"{drive}-{is_late}"
    audio = said(speech, known, stranger, name)
    rendered = render(order(stranger, audio, name, models=models.mesh.parent))
    assert rendered.lips == f"warped ({drive}, a face in 100 % of the frames)"
    seen = Seen(rendered.path, rendered.lips, opened(rendered.path, FaceFinder(models)))
    least, most = separations
    assert least <= seen.separation(speech) <= most
    found, likeness = seen.lag(speech.vowel_curve())
    assert likeness >= 0.5
    assert found == pytest.approx(lag - LEAD, abs=0.03)


def test_a_photograph_whose_lips_do_not_move_says_nothing(stranger: Path, speech: Speech) -> None:
    """The film itself, forwards and backwards, shows what the measure finds in a smile."""
    own = opened(stranger, FaceFinder(needed_models()))
    shown = index_map("bounce", len(own), Fraction(FPS), speech.seconds)
    still = Seen(stranger, "", own[shown])
    assert 0.35 <= still.separation(speech) <= 0.65
    assert still.lag(speech.vowel_curve())[1] <= 0.3


def test_a_face_keeps_its_own_lips_outside_of_the_words(stranger: Path, word: Path) -> None:
    """Frames around a segment are as they were; the same order has the same bytes."""
    folder = needed_models().mesh.parent
    part = RenderSegment(0.4, 0.8, word, crop=(0.0, 0.4), sync_mode="cut_off")
    job = order(stranger, None, "part", segments=(part,), models=folder)
    rendered = render(job)
    assert rendered.lips == "warped (phonemes, a face in 100 % of the frames)"
    plain = render(order(stranger, None, "own", segments=(part,)))
    with FrameReader(rendered.path) as frames, FrameReader(plain.path) as own:
        changed = [
            int((np.abs(here.to_ndarray().astype(int) - there.to_ndarray()) > 25).sum())
            for here, there in ((frames.frame(n), own.frame(n)) for n in range(frames.count))
        ]
    assert max(changed[:11] + changed[20:]) < 20
    assert min(changed[13:17]) > 200
    before = rendered.path.read_bytes()
    assert render(job).path.read_bytes() == before


def test_a_still_picture_speaks(folder: Path, word: Path) -> None:
    """A photograph becomes a video whose lips move."""
    photograph().crop((150, 40, 300, 190)).save(folder / "still.png")
    models = needed_models().mesh.parent
    job = order(folder / "still.png", word, "still-out", is_image=True, models=models)
    rendered = render(job)
    assert rendered.lips == "warped (phonemes, a face in 100 % of the frames)"
    with FrameReader(rendered.path) as frames:
        first, later = (frames.frame(number).to_ndarray().astype(int) for number in (0, 3))
    assert (np.abs(later - first) > 40).sum() > 100


def test_frames_without_the_face_stay_as_they_are(folder: Path, word: Path, stranger: Path) -> None:
    """A video in which no face is seen says so."""
    models = needed_models().mesh.parent
    empty = Clip(10).write(folder / "empty.mp4")
    assert render(order(empty, word, "kept", models=models)).lips == "none (no face is seen)"
    with FrameReader(stranger) as frames:
        picture = frames.frame(0)
        track = FaceTrack([], np.zeros((0, 1, 2), np.float32), np.zeros(0, np.float32))
        painter = WarpedFacePainter({LARGEST: track})
        assert painter.paint(picture, 0, Mouth(jaw=1.0), Spoken(word, 0.0)) is picture


@pytest.fixture(scope="module")
def word(folder: Path) -> Path:
    """Speak for about a second."""
    speak("Papa may move.", "v", folder / "word.wav", engine="espeak-ng")
    return folder / "word.wav"


@pytest.fixture(scope="module")
def short(folder: Path) -> Path:
    """Draw a clip of 0.48 s."""
    return draw_talking_head(folder / "short.mp4", seconds=0.48, width=SIDE, height=SIDE)


def test_lips_follow_the_sound_whichever_way_the_video_runs(short: Path, word: Path) -> None:
    """In every mode the mouth is that of the output's moment; the same order has the same bytes."""
    shown = {
        mode: openness(render(order(short, word, mode, sync_mode=mode)).path)
        for mode in ("bounce", "loop", "remap", "silence", "cut_off")
    }
    first = shown.pop("bounce")
    assert np.ptp(first) > 100
    for mouth in shown.values():
        assert np.corrcoef(first[: len(mouth)], mouth)[0, 1] > 0.97
    again = render(order(short, word, "again"))
    assert again.path.read_bytes() == short.with_name("bounce.mp4").read_bytes()


def test_lips_move_inside_their_segments_only(folder: Path, word: Path) -> None:
    """They follow the crop of the audio that is heard; at the edges they are the video's own."""
    clip = folder / "face.mp4"
    parts = (
        RenderSegment(0.4, 1.2, word, crop=(0.2, 1.0), sync_mode="cut_off"),
        RenderSegment(2.0, 3.6, word, sync_mode="cut_off"),
    )
    rendered = render(order(clip, None, "segments", segments=parts))
    assert rendered.lips == "drawn (phonemes)"
    own, shown = openness(clip), openness(rendered.path)
    whole = openness(render(order(clip, word, "whole")).path)
    still = [*range(11), *range(29, 51), *range(89, 100)]
    # Each frame is encoded anew, so that single pixels may change.
    assert np.abs(own - shown)[still].max() < 15
    assert np.corrcoef(shown[13:27], whole[8:22])[0, 1] > 0.97
    assert np.corrcoef(shown[53 : 50 + len(whole)], whole[3:])[0, 1] > 0.97
    after = 50 + len(whole)
    assert np.abs(own - shown)[after:].max() < 15


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"seed=1 ", b"seed=2 "), (b"=160x160", b"=160x162"), (b"SANDBOX ", b"sandbox ")],
)
def test_a_face_that_is_not_as_it_was_drawn_keeps_its_mouth(
    short: Path, word: Path, old: bytes, new: bytes
) -> None:
    """A comment alone is not believed, and the output says why nothing moved."""
    other = short.with_name("other.mp4")
    other.write_bytes(short.read_bytes().replace(old, new))
    rendered = render(order(other, word, "kept"))
    assert rendered.lips == NO_MODELS
    assert np.ptp(openness(rendered.path)) < 15


def test_without_an_audio_the_mouth_is_the_videos_own(short: Path) -> None:
    """Dubbing a video with its own sound moves nothing."""
    rendered = render(order(short, None, "own"))
    assert rendered.lips == "none (the video keeps its own sound)"


def test_a_sound_of_which_nothing_is_known_is_listened_to(short: Path, word: Path) -> None:
    """Both ways may come together; listening stops when the render does, and leaves nothing."""
    samples, rate = read_wav(word)
    write_wav(word.with_name("plain.wav"), samples, rate)
    parts = (
        RenderSegment(0.0, 0.2, word.with_name("plain.wav")),
        RenderSegment(0.2, 0.4, word),
    )
    job = order(short, None, "both", segments=parts)
    with pytest.raises(RenderCancelledError, match="at frame 0 of 12"):
        render(job, is_cancelled=lambda: True)
    assert list(short.parent.glob("both.mp4*")) == []
    assert render(job).lips == "drawn (phonemes and sound)"


def test_a_painter_leaves_the_readers_frame_alone(short: Path) -> None:
    """The same frame is handed out again where the video is shown twice."""
    with FrameReader(short) as frames:
        painter = DrawnFacePainter(DrawnFace(SIDE, SIDE, 1), frames.rate)
        picture = frames.frame(3)
        before = picture.to_ndarray()
        painted = painter.paint(picture, 3, Mouth(jaw=1.0), Spoken(short, 0.0)).to_ndarray()
        assert np.array_equal(picture.to_ndarray(), before)
        # Above the mouth and beside the face nothing changes.
        changed = np.argwhere(np.abs(painted[:SIDE].astype(int) - before[:SIDE]) > 30)
    assert len(changed) > 50
    assert changed.min(axis=0).tolist() > [80, 55]


def test_a_function_paints_the_frames_of_any_video(tmp_path: Path, word: Path) -> None:
    """It is given pixels of its own, the mouth and the moment; other frames stay as they are."""
    video = Clip(10).write(tmp_path / "in.mp4")
    seen: list[tuple[float, str, float]] = []

    def paint(pixels: Any, mouth: Mouth, audio: Path, second: float) -> Any:
        seen.append((round(second, 2), audio.name, mouth.jaw))
        pixels[:] = 255
        return pixels

    part = RenderSegment(0.08, 0.32, word, crop=(0.2, 0.6))
    job = order(video, None, "out", segments=(part,), paint_lips=paint)
    rendered = render(job)
    assert rendered.lips == "painted (phonemes)"
    assert [each[:2] for each in seen] == [(at / 100, "word.wav") for at in (26, 30, 34, 38)]
    assert any(jaw > 0 for *_, jaw in seen)
    white = 255
    assert shown_numbers(rendered.path) == [0, 1, 2, *[white] * 4, 7, 8, 9]


@pytest.mark.parametrize("made", [np.zeros((1, 1, 3), np.uint8), np.zeros((96, 160, 3)), None])
def test_a_function_that_returns_something_else_is_told(
    tmp_path: Path, word: Path, made: Any
) -> None:
    """The words say what was wanted, and no file is left."""
    video = Clip(2).write(tmp_path / "in.mp4")
    job = order(video, word, "out", paint_lips=lambda *_: made)
    with pytest.raises(
        ValueError, match=r"^paint_lips returned .*, not of \(96, 160, 3\) uint8\.$"
    ):
        render(job)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("matrix", [1, 5])
def test_a_painted_frame_keeps_its_colours(word: Path, matrix: int) -> None:
    """Those of a camera (bt709) and of a DVD (bt601)."""
    planes = np.repeat(np.array([120, 90, 200], np.uint8), [64, 16, 16])[:, None]
    frame = av.VideoFrame.from_ndarray(np.repeat(planes, 64, axis=1), format="yuv420p")
    frame.colorspace = matrix
    painter = FunctionPainter(lambda pixels, *_: pixels)
    painted = painter.paint(frame, 0, Mouth(), Spoken(word, 0.0))
    difference = painted.to_ndarray().astype(int) - frame.to_ndarray()
    assert np.abs(difference).max() <= 1


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda size: (size[0] * 2, size[1] * 2)),
    st.floats(0, 20),
    st.builds(Mouth, *[st.floats(0, 1), st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1)]),
)
@settings(max_examples=40, deadline=None)
def test_the_lower_face_is_part_of_the_whole(
    size: tuple[int, int], moment: float, mouth: Mouth
) -> None:
    """At any size a mouth changes nothing around the part that is drawn anew."""
    face = DrawnFace(*size, seed=1)
    part, (left, top) = face.draw_lower_face(moment, mouth)
    assert [edge % 2 for edge in (left, top, *part.size)] == [0, 0, 0, 0]
    patched = face.draw(moment)
    patched.paste(part, (left, top))
    whole, put = (np.asarray(each).astype(int) for each in (face.draw(moment, mouth), patched))
    # Edges of large shapes are half a pixel elsewhere in a part; in tiny pictures all is edge.
    most = 0.01 if min(size) >= 48 else 1.0
    assert (np.abs(whole - put).max(axis=2) > 16).mean() <= most
