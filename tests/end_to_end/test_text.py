from pathlib import Path

import pytest

from lipsync_async import AsyncClient, Audio, ElevenLabs, Image, Text, Video
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.media.speech import read_wav
from tests.end_to_end.conftest import Make
from tests.end_to_end.results import FRAME, Result, fetch

LINE = Text(ElevenLabs(voice_id="anybody", script="Nothing is said twice in the same way. Ça va?"))


async def test_text_is_spoken(
    client: AsyncClient, sandbox: Sandbox, head: Make, tmp_path: Path
) -> None:
    """The speech can be fetched without a key, and the output lasts as long as it."""
    generation = await client.generations.run(
        model="lipsync-2", input=[Video(sandbox.host_file(head(0.8))), LINE]
    )
    result = Result.read(await client.generations.download(generation, tmp_path / "out.mp4"))
    assert generation.synthesized_audio_url is not None
    samples, rate = read_wav(await fetch(generation.synthesized_audio_url, tmp_path / "line.wav"))
    assert result.seconds == pytest.approx(len(samples) / rate, abs=FRAME)
    assert abs(samples).max() > 3_000
    assert generation.input[1] == LINE


async def test_a_take_can_be_used_again(
    client: AsyncClient, sandbox: Sandbox, head: Make, portrait: Path
) -> None:
    """The speech of one generation is an audio input of the next."""
    first = await client.generations.run(
        model="sync-3", input=[Image(sandbox.host_file(portrait)), LINE]
    )
    second = await client.generations.run(
        model="lipsync-2",
        input=[Video(sandbox.host_file(head(0.8))), Audio(first.synthesized_audio_url)],
    )
    assert second.output_duration == pytest.approx(first.output_duration, abs=FRAME)
    assert second.synthesized_audio_url is None
