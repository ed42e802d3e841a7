"""What all who run many jobs order."""

from __future__ import annotations

from lipsync_async import Audio, GenerationRequest, Options, Video

VIDEO = "https://assets.sync.so/docs/example-video.mp4"
AUDIO = "https://assets.sync.so/docs/example-audio.wav"


def order(take: int) -> GenerationRequest:
    """Make a request; its take tells it from the others."""
    return GenerationRequest(
        model="lipsync-2",
        input=[Video(f"{VIDEO}?take={take}"), Audio(AUDIO)],
        options=Options(sync_mode="cut_off", temperature=0.5),
    )
