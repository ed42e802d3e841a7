from pathlib import Path

import numpy as np
import pytest

from lipsync_async import (
    AsyncClient,
    Audio,
    ElevenLabs,
    Options,
    Segment,
    SegmentAudio,
    Text,
    Video,
)
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.media.demo_media import tone
from lipsync_async.sandbox.media.speech import sine, write_wav
from tests.end_to_end.results import FRAME, Result, fetch
from tests.sandbox.media.clips import Clip, heard, loudness, shown_numbers, strength

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

SECONDS = 6.0
# Hertz of each sound; far enough apart, and none an overtone of another.
OWN, FIRST, UNUSED, SECOND = 220, 700, 1130, 1810
LOUD, QUIET = 0.2, 0.02  # measured: 0.37 and 0.50 in place, under 0.012 elsewhere
LIKENESS = 0.95  # correlation; measured: 1.00 in place, 0.70 one period of the voice away
EDGE = 0.06  # seconds beside a cut that belong to both sides: a frame, and the codec's smear
# First and last second of each stretch, and the only tone that is heard there.
STRETCHES = [
    (0.0, 0.6, OWN),
    (0.6, 1.6, FIRST),
    (1.6, 2.0, None),  # the audio is over, and the segment is not
    (2.0, 2.6, OWN),
    (2.6, 3.6, SECOND),
    (3.6, 4.4, OWN),
    (4.4, 5.2, None),  # somebody speaks
    (5.2, 6.0, OWN),
]


async def test_each_stretch_has_its_own_sound_and_pictures(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Two recorded lines and a spoken one stand in a humming video, whose length stays."""
    video = Clip(int(SECONDS * 25), size=(64, 32), hertz=OWN).write(tmp_path / "video.mp4")
    first = tone(tmp_path / "first.wav", seconds=1.0, hertz=FIRST)
    second = tmp_path / "second.wav"
    write_wav(
        second, np.concatenate([sine(1.0, UNUSED, 48_000), sine(2.0, SECOND, 48_000)]), 48_000
    )
    voice = ElevenLabs(voice_id="anybody", script="The quick brown fox jumps over a lazy dog.")
    cropped = SegmentAudio("second", start_time=1.0, end_time=2.5)
    generation = await client.generations.run(
        model="lipsync-2",
        input=[
            Video(sandbox.host_file(video)),
            Audio(sandbox.host_file(first), ref_id="first"),
            Audio(sandbox.host_file(second), ref_id="second"),
            Text(voice, ref_id="line"),
        ],
        segments=[
            Segment(
                start_time=0.6,
                end_time=2.0,
                audio_input=SegmentAudio("first"),
                options_override=Options(sync_mode="remap"),
            ),
            Segment(start_time=2.6, end_time=3.6, audio_input=cropped),
            Segment(start_time=4.4, end_time=5.2, audio_input=SegmentAudio("line")),
        ],
    )
    path = await client.generations.download(generation, tmp_path / "out.mp4")
    result, sound = Result.read(path), heard(path)
    assert result.seconds == pytest.approx(SECONDS, abs=FRAME)
    assert generation.output_duration == result.seconds
    assert (result.codecs, result.starts) == (("h264", "aac"), (0, 0))

    # Inside a segment its own, cropped sound is heard alone; outside the video's own.
    found = [_tones(sound, start, end) for start, end, _ in STRETCHES]
    assert found == [[] if hertz is None else [hertz] for _, _, hertz in STRETCHES]
    assert loudness(sound, 1.6 + EDGE, 2.0 - EDGE) < QUIET

    # The speech that can be fetched is what is heard in its segment, from its beginning.
    assert generation.synthesized_audio_url is not None
    line = await fetch(generation.synthesized_audio_url, tmp_path / "line.wav")
    spoken = heard(line)[: round((5.2 - 4.4) * 48_000)]
    segment = sound[round(4.4 * 48_000) :][: len(spoken)]
    assert np.corrcoef(spoken, segment)[0, 1] > LIKENESS

    # Only the first segment is remapped, in its own window; all other pictures stay.
    hurried = [15 + number * 35 // 25 for number in range(25)]
    assert shown_numbers(path) == [*range(15), *hurried, *[49] * 10, *range(50, 150)]


def _tones(sound: Floats, start: float, end: float) -> list[int]:
    """Return which of the tones are heard between two cuts."""
    hertz = (OWN, FIRST, UNUSED, SECOND)
    return [each for each in hertz if strength(sound, start + EDGE, end - EDGE, each) > LOUD]
