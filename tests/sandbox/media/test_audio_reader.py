from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipsync_async.sandbox.media.audio_reader import SampleReader, sound_seconds, sound_start
from lipsync_async.sandbox.media.demo_media import tone
from lipsync_async.sandbox.media.errors import MediaError
from lipsync_async.sandbox.media.speech import write_wav
from tests.sandbox.media.clips import Clip, Floats, encoded, loudness, refused, sine, strength

RATE = 48_000


def _left(
    path: Path, *stretches: tuple[int, int], lead: float = 0.0, seconds: float | None = None
) -> list[Floats]:
    """Return the left channel of some stretches."""
    with SampleReader(path, lead=lead, seconds=seconds) as sound:
        return [sound.read(start, end)[:, 0] / 32_768 for start, end in stretches]


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_becomes_48_khz_stereo(tmp_path: Path, rate: int) -> None:
    """Pitch and length survive the change of rate, and both channels are equal."""
    path = tone(tmp_path / "tone.wav", seconds=0.5, hertz=1000, rate=rate)
    with SampleReader(path) as sound:
        samples = sound.read(0, RATE)
    assert samples.shape == (RATE, 2)
    assert np.array_equal(samples[:, 0], samples[:, 1])
    left = samples[:, 0] / 32_768
    assert strength(left, 0.0, 0.49, 1000) == pytest.approx(0.5, abs=0.01)
    assert loudness(left, 0.52, 1.0) == 0
    assert sound_seconds(path) == 0.5


def test_a_sound_can_be_read_in_pieces_and_leaps(tmp_path: Path) -> None:
    """Pieces join without a seam, and what lies between is skipped."""
    path = tone(tmp_path / "tone.wav", seconds=1.0, hertz=330)
    whole = _left(path, (0, RATE))[0]
    pieces = _left(path, (0, 1000), (1000, 1001), (40_000, 41_000), (47_000, 49_000))
    assert np.array_equal(pieces[0], whole[:1000])
    assert np.array_equal(pieces[1], whole[1000:1001])
    assert np.array_equal(pieces[2], whole[40_000:41_000])
    assert np.array_equal(pieces[3][:1000], whole[47_000:])
    assert not pieces[3][1000:].any()


def test_a_lead_places_the_sound_on_the_timeline(tmp_path: Path) -> None:
    """A positive lead is silence first; a negative one begins inside the file."""
    path = tone(tmp_path / "tone.wav", seconds=0.1, hertz=330)
    whole = _left(path, (0, 4800))[0]
    later = _left(path, (0, 4800), lead=0.05)[0]
    assert not later[:2400].any()
    assert np.array_equal(later[2400:], whole[:2400])
    assert np.array_equal(_left(path, (0, 2400), lead=-0.05)[0], whole[2400:])


def test_a_sound_can_end_before_its_file(tmp_path: Path) -> None:
    """After the given second there is silence."""
    path = tone(tmp_path / "tone.wav", seconds=0.1, hertz=330)
    samples = _left(path, (0, 4800), seconds=0.05)[0]
    assert samples[:2400].any()
    assert not samples[2400:].any()


def test_an_empty_file_is_silent(tmp_path: Path) -> None:
    """A head without samples reads as nothing to hear, and has no length."""
    path = tone(tmp_path / "tone.wav", seconds=0.0, hertz=330)
    assert not _left(path, (0, 100))[0].any()
    with pytest.raises(MediaError, match="holds no sound"):
        sound_seconds(path)


def test_a_format_that_changes_midway_is_followed(tmp_path: Path) -> None:
    """Two recordings in one file, mono and then stereo at another rate, play as one."""
    path = tmp_path / "joined.mp3"
    parts: list[bytes] = []
    for layout, rate in (("mono", 22_050), ("stereo", 44_100)):
        source = tone(tmp_path / "tone.wav", seconds=1.0, hertz=440, rate=rate)
        options = {"write_xing": "0", "id3v2_version": "0"}
        encoded(source, path, "libmp3lame", rate, layout=layout, options=options)
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    left = _left(path, (0, 2 * RATE))[0]
    assert sound_seconds(path) == pytest.approx(2.0, abs=0.2)
    assert strength(left, 0.2, 0.8, 440) > 0.3
    assert strength(left, 1.3, 1.8, 440) > 0.3


def test_a_mute_video_is_silent_where_it_may_be(tmp_path: Path) -> None:
    """Where nothing is heard, zeros are."""
    with SampleReader(Clip(5).write(tmp_path / "mute.mp4"), may_be_silent=True) as sound:
        assert sound.read(10, 15).tolist() == [[0, 0]] * 5


CODECS = [
    *(("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.ogg", "libopus"), ("a.mka", "libopus")),
    *(("a.flac", "flac"), ("a.aac", "aac")),
]
STEREO: dict[str, Any] = {"layout": "stereo", "bit_rate": 128_000}
LAGGARDS = [("a.wma", "wmav2"), ("a.avi", "libmp3lame"), ("a.mov", "alac")]


@pytest.mark.parametrize(("name", "codec"), CODECS)
def test_compressed_sound_has_its_true_length(tmp_path: Path, name: str, codec: str) -> None:
    """The padding that encoders add does not count."""
    source = tone(tmp_path / "tone.wav", seconds=1.23, hertz=440)
    path = encoded(source, tmp_path / name, codec, **STEREO)
    assert sound_seconds(path) == pytest.approx(1.23, abs=0.03)


@pytest.mark.parametrize(("name", "codec"), CODECS + LAGGARDS)
def test_far_into_a_file_the_sound_is_where_it_was(tmp_path: Path, name: str, codec: str) -> None:
    """A reader that leaps there hears the same as one that decodes everything."""
    clap = np.zeros(round(7.0 * RATE), np.int16)
    clap[round(6.2 * RATE) :][:480] = sine(0.01, 1000)
    source = tmp_path / "clap.wav"
    write_wav(source, clap, RATE)
    path = encoded(source, tmp_path / name, codec, **STEREO)
    stretch = round(6.1 * RATE), round(6.3 * RATE)
    (leapt,) = _left(path, stretch)
    _, decoded = _left(path, (0, 1), stretch)
    places = [int(np.argmax(np.abs(sound) > 0.1)) / RATE for sound in (leapt, decoded)]
    # Matroska counts in milliseconds.
    assert places[0] == pytest.approx(places[1], abs=0.001)
    assert places[0] == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize(("name", "codec"), [*CODECS, ("a.avi", "libmp3lame"), ("a.mov", "alac")])
def test_a_sound_that_stays_open_can_be_read_anywhere(
    tmp_path: Path, name: str, codec: str
) -> None:
    """Forwards and back, what is heard is what a reader hears that has just been opened."""
    rise = np.arange(14 * RATE) / RATE
    source = tmp_path / "rise.wav"
    write_wav(source, np.asarray(9000 * np.sin(2 * np.pi * 50 * (1 + rise) * rise), np.int16), RATE)
    path = encoded(source, tmp_path / name, codec, **STEREO)
    with SampleReader(path) as kept:
        for second in (0, 12, 2, 7, 10, 0, 13):
            with SampleReader(path, lead=-second, seconds=0.5) as fresh:
                expected = fresh.read(0, RATE)
            kept.restart(lead=-second, seconds=0.5)
            difference = kept.read(0, RATE).astype(int) - expected
            assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("seconds", [0.0, 6.0])
def test_beyond_its_end_a_file_is_silent(tmp_path: Path, seconds: float) -> None:
    """A leap over the end finds nothing, and no error."""
    path = tone(tmp_path / "tone.wav", seconds=seconds, hertz=440)
    assert not _left(path, (100 * RATE, 100 * RATE + 9))[0].any()


def test_a_cut_file_lasts_as_long_as_it_plays(tmp_path: Path) -> None:
    """A head that promises more than the body holds is not believed."""
    path = tone(tmp_path / "tone.wav", seconds=2.0, hertz=440)
    path.write_bytes(path.read_bytes()[: 44 + RATE])
    assert sound_seconds(path) == 0.5


def test_a_video_says_when_its_sound_starts(tmp_path: Path) -> None:
    """One without an audio stream has none to say of."""
    assert sound_start(Clip(5, hertz=440).write(tmp_path / "loud.mp4")) == 0.0
    assert sound_start(Clip(5).write(tmp_path / "mute.mp4")) == 0.0


@pytest.mark.parametrize("measure", [SampleReader, sound_seconds])
def test_a_file_without_sound_is_refused(tmp_path: Path, measure: object) -> None:
    """A mute video and a text file are no audio."""
    mute = Clip(5).write(tmp_path / "mute.mp4")
    text = tmp_path / "text.wav"
    text.write_text("not a sound")
    assert callable(measure)
    for path in (mute, text):
        with refused("generation_input_audio_invalid"):
            measure(path)
