"""Requests for tests: a good one, and ways to change one part of it."""

from __future__ import annotations

from typing import Any

from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    DubParams,
    ElevenLabs,
    Image,
    Options,
    Segment,
    SegmentAudio,
    Text,
    Video,
)

VIDEO = Video("https://media.example/clip.mp4")
AUDIO = Audio("https://media.example/speech.wav")
IMAGE = Image("https://media.example/face.png")
VOICE = ElevenLabs(voice_id="voice", script="Hello.")
NAMED_AUDIO = Audio("https://media.example/speech.wav", ref_id="a1")

# By rule: keyword arguments of `GenerationRequest`, and path of the problem with part of its text.
BadRequests = dict[str, tuple[dict[str, Any], str]]


def order(*inputs: Any, **fields: Any) -> dict[str, Any]:
    """Return a request's arguments: a good one, but for what the caller breaks."""
    return {"model": "lipsync-2", "input": list(inputs) or [VIDEO, AUDIO], **fields}


def with_options(**fields: Any) -> dict[str, Any]:
    """Return the arguments of a request with these options."""
    return order(options=Options(**fields))


def with_speaker(**fields: Any) -> dict[str, Any]:
    """Return the arguments of a request that chooses the speaker so."""
    return with_options(active_speaker_detection=ActiveSpeaker(**fields))


def with_video(*source: Any, **fields: Any) -> dict[str, Any]:
    """Return the arguments of a request with this video."""
    return order(Video(*source, **fields), AUDIO)


def with_audio(*source: Any, **fields: Any) -> dict[str, Any]:
    """Return the arguments of a request with this audio."""
    return order(VIDEO, Audio(*source, **fields))


def with_face(**fields: Any) -> dict[str, Any]:
    """Return the arguments of a request with an image, in which the speaker is chosen so."""
    options = Options(active_speaker_detection=ActiveSpeaker(**fields))
    return order(IMAGE, AUDIO, model="sync-3", options=options)


def dubbed(*inputs: Any, **fields: Any) -> dict[str, Any]:
    """Return the arguments of a request for a dub."""
    return order(*inputs or [VIDEO], dub_params=DubParams(**{"target_lang": "de", **fields}))


def at(path: str, rows: BadRequests) -> BadRequests:
    """Return rows whose problems are told without the beginning of their path."""
    return {name: (fields, path + problem) for name, (fields, problem) in rows.items()}


def with_voice(**fields: Any) -> dict[str, Any]:
    """Return the arguments of a request that speaks so."""
    return order(VIDEO, Text(ElevenLabs(**{"voice_id": "voice", "script": "Hello.", **fields})))


def segment(start: Any, end: Any, ref_id: Any = "a1", **fields: Any) -> Segment:
    """Return a segment that uses a named audio."""
    audio = SegmentAudio(
        ref_id, start_time=fields.pop("crop", None), end_time=fields.pop("to", None)
    )
    return Segment(start_time=start, end_time=end, audio_input=audio, **fields)


def with_segments(*segments: Any) -> dict[str, Any]:
    """Return the arguments of a request whose segments are these."""
    return order(VIDEO, NAMED_AUDIO, segments=list(segments))
