import json
import runpy
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import espeakng_loader  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.media import espeak_child, speech
from lipsync_async.sandbox.media.open_media import probe
from lipsync_async.sandbox.media.speech import (
    Phoneme,
    read_phonemes,
    read_wav,
    speak,
    speech_engine,
    write_wav,
)
from tests.sandbox.media.clips import refused

SCRIPT = "Hello there, this is a line. It has 2 sentences!"
ENGINE = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
BOTH = pytest.mark.parametrize("engine", ["espeak-ng", "tones"])


@BOTH
def test_a_script_becomes_a_wav_with_the_length_that_is_told(tmp_path: Path, engine: str) -> None:
    """The returned seconds are the file's, and something is heard."""
    path = tmp_path / "line.wav"
    seconds = speak(SCRIPT, "voice", path, engine=engine)
    assert probe(path, "audio").duration == pytest.approx(seconds, abs=0.001)
    assert 1.0 < seconds < 6.0
    samples, rate = read_wav(path)
    assert rate == 22_050
    assert np.abs(samples).max() > 2000


@BOTH
def test_the_same_words_give_the_same_bytes(tmp_path: Path, engine: str) -> None:
    """Speech is deterministic, and another voice sounds different."""
    paths = [tmp_path / name for name in ("one.wav", "two.wav", "other.wav")]
    for path, voice in zip(paths, ("a", "a", "b"), strict=True):
        speak(SCRIPT, voice, path, engine=engine)
    one, two, other = (path.read_bytes() for path in paths)
    assert one == two
    assert one != other


def test_a_spoken_file_knows_what_is_said_in_it(tmp_path: Path) -> None:
    """Each phoneme has its time; the tones have none, and players skip the chunk."""
    path = tmp_path / "line.wav"
    seconds = speak("Papa moves.", "voice", path)
    said = read_phonemes(path)
    assert [each.name.strip("'") for each in said][:4] == ["p", "A:", "p", "@"]
    assert [each.end for each in said[:-1]] == [each.start for each in said[1:]]
    assert (said[0].start < 0.2, said[-1].end) == (True, seconds)
    assert probe(path, "audio").duration == pytest.approx(seconds, abs=0.001)
    speak("Papa moves.", "voice", path, engine="tones")
    assert read_phonemes(path) == ()


def _forged(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x07\x00\x08\x00", b"\x07\x00\x09\x00"),  # a sample
        (b"phon2\x00", b"fact2\x00"),
        (b'"crc"', b'"cRc"'),
        (b'["m", 0.0, 0.5]', b'["m", 0.0, NaN]'),
        (b'["m", 0.0, 0.5]', b'["m", 0.0, 9.5]'),
        (b'["m", 0.0, 0.5]', b'["m", 0.5, 0.0]'),
        (b'["m", 0.0, 0.5]', b'["m",  0 ,"1" ]'),
        (b'["m", 0.0, 0.5]', b'["m", 0.0 0.5 ]'),
        (b'["m", 0.0, 0.5]', b'["m", 0.0, 0.5\xff'),
        (b'[["m", 0.0, 0.5]]', b"7                "),
        (b"\x11\x00\x00\x00", b"\x00\x00\x00\x00"),
        (b"RIFF", b"RIFX"),
    ],
)
def test_phonemes_that_do_not_fit_their_file_are_not_believed(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    """A file that another program cut, or somebody forged, is like any other sound."""
    samples = np.full(16, 1, np.int16)
    samples[6:8] = 7, 8
    path = tmp_path / "line.wav"
    write_wav(path, samples, 17, [Phoneme("m", 0.0, 0.5)])
    assert read_phonemes(path) == (Phoneme("m", 0.0, 0.5),)
    assert read_phonemes(_forged(path, old, new)) == ()


@BOTH
@pytest.mark.parametrize("script", ["…", "", "-- --", "Grüße, 世界 🎬 привет"])
def test_any_script_has_a_length(tmp_path: Path, engine: str, script: str) -> None:
    """Any text is accepted, and an output has at least one frame."""
    assert speak(script, "voice", tmp_path / "line.wav", engine=engine) >= 0.15


@pytest.mark.parametrize("variant", speech.VARIANTS)
def test_all_voices_exist(variant: str) -> None:
    """No voice id leads to a voice that the engine lacks."""
    rate, _, samples = espeak_child.synthesize(*ENGINE, f"en-us+{variant}", "Hi.")
    assert len(samples) / 2 / rate > 0.2


def test_the_best_engine_present_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the speech package the tones take over by themselves."""
    best, hummed = tmp_path / "best.wav", tmp_path / "hummed.wav"
    assert speech_engine() == "espeak-ng"
    speak(SCRIPT, "voice", best)
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert speech_engine() == "tones"
    speak(SCRIPT, "voice", hummed)
    assert best.read_bytes() != hummed.read_bytes()


def test_an_engine_that_fails_is_the_pipelines_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line that the child printed is told."""
    broken = SimpleNamespace(
        __spec__=object(),
        get_library_path=espeakng_loader.get_library_path,
        get_data_path=lambda: str(tmp_path),
    )
    monkeypatch.setitem(sys.modules, "espeakng_loader", broken)
    with refused("generation_pipeline_failed", "finds no voice"):
        speak(SCRIPT, "voice", tmp_path / "line.wav", engine="espeak-ng")


def test_an_engine_that_hangs_is_ended(tmp_path: Path) -> None:
    """The child is killed when its time is over; its command says nothing to a caller."""
    with refused("generation_pipeline_failed", "espeak-ng failed: timed out after"):
        speak(SCRIPT, "voice", tmp_path / "line.wav", engine="espeak-ng", timeout=0.0)


def test_the_child_writes_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script takes its text from one pipe, and gives rate and samples to another."""
    heard = BytesIO()
    monkeypatch.setattr(sys, "argv", ["", *ENGINE, "en-us+f3"])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=BytesIO(SCRIPT.encode())))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=heard))
    runpy.run_path(espeak_child.__file__, run_name="__main__")
    head, _, samples = heard.getvalue().partition(b"\n")
    told = json.loads(head)
    assert (told["rate"], told["phonemes"][1][0]) == (22_050, "@")  # of "Hello"
    assert len(samples) > 2 * 22_050


def test_a_voice_that_does_not_exist_is_named() -> None:
    """A missing voice never falls back in silence."""
    with pytest.raises(OSError, match="no voice 'martian' in "):
        espeak_child.synthesize(*ENGINE, "martian", "hi")


@given(st.text(max_size=60), st.integers(0, 255))
def test_any_text_can_be_hummed(script: str, voice: int) -> None:
    """Tones exist for every text, are not empty, and never clip."""
    samples = speech.hum(script, voice)
    assert samples.any()
    assert np.abs(samples).max() <= 16_384


def test_asking_for_engines_loads_none() -> None:
    """A sandbox without the extra can still say what is missing."""
    code = (
        "import sys; from lipsync_async.sandbox.media.engines import engines; engines();"
        "print(sorted({'av', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    answer = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
