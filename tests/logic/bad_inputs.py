"""Ways to break the rules about models, inputs and dubbing."""

from __future__ import annotations

from lipsync_async._models.request import ActiveSpeaker, Audio, DubParams, Options, Text, Video
from tests.logic.requests import (
    AUDIO,
    IMAGE,
    NAMED_AUDIO,
    VIDEO,
    VOICE,
    BadRequests,
    order,
    segment,
    with_voice,
)


class PathOfBytes:
    """A path by the protocol, but one of bytes."""

    def __fspath__(self) -> bytes:
        """Return what `pathlib` takes for no path."""
        return b"speech.wav"


_SPEAKER = "options.active_speaker_detection"

BAD_INPUTS: BadRequests = {
    "1-model-empty": (order(model=""), "model: must not be empty"),
    "1-model-blank": (order(model=" \n"), "model: must not be empty"),
    "1-model-none": (order(model=None), "model: must be text, not None"),
    "1-model-surrogate": (order(model="a\ud800"), "model: half of a surrogate pair"),
    "2-input-none": ({"model": "lipsync-2", "input": None}, "input: must be a list, not None"),
    "2-input-text": ({"model": "lipsync-2", "input": "clip"}, "input: must be a list, not 'clip'"),
    "2-input-empty": ({"model": "lipsync-2", "input": []}, "input: one video or image, not 0"),
    "2-input-dict": (
        order({"type": "video"}, AUDIO),
        "input[0]: must be Video, Image, Audio or Text",
    ),
    "2-no-visual": (order(AUDIO), "input: exactly one video or image, not 0"),
    "2-two-videos": (order(VIDEO, VIDEO, AUDIO), "input: exactly one video or image, not 2"),
    "2-video-and-image": (order(VIDEO, IMAGE, AUDIO), "input: exactly one video or image, not 2"),
    "3-image-model": (order(IMAGE, AUDIO), "model: must be sync-3 with an image, not 'lipsync-2'"),
    "3-image-auto-detect": (
        order(
            IMAGE,
            AUDIO,
            model="sync-3",
            options=Options(active_speaker_detection=ActiveSpeaker(auto_detect=True)),
        ),
        f"{_SPEAKER}.auto_detect: cannot be True with an image",
    ),
    "3-image-later-frame": (
        order(
            IMAGE,
            AUDIO,
            model="sync-3",
            options=Options(
                active_speaker_detection=ActiveSpeaker(frame_number=3, coordinates=[1, 2])
            ),
        ),
        f"{_SPEAKER}.frame_number: must be 0 with an image, not 3",
    ),
    "3-image-segments": (
        order(IMAGE, NAMED_AUDIO, model="sync-3", segments=[segment(0, 1)]),
        "segments: need a video, not an image",
    ),
    "4-no-audio": (order(VIDEO), "input: exactly one audio or text, not 0"),
    "4-two-audios": (order(VIDEO, AUDIO, AUDIO), "input: not 2; for several use segments"),
    "4-audio-and-text": (order(VIDEO, AUDIO, Text(VOICE)), "input: one audio or text, not 2"),
    "5-dub-audio": (
        order(VIDEO, AUDIO, dub_params=DubParams(target_lang="de")),
        "input: takes no audio or text with dub_params, not 1",
    ),
    "5-dub-image": (
        order(IMAGE, model="sync-3", dub_params=DubParams(target_lang="de")),
        "dub_params: need a video, not an image",
    ),
    "5-dub-segments": (
        order(VIDEO, dub_params=DubParams(target_lang="de"), segments=[segment(0, 1)]),
        "segments: cannot be combined with dub_params",
    ),
    "5-dub-kind": (order(VIDEO, dub_params="de"), "dub_params: must be DubParams, not 'de'"),
    "5-dub-language": (
        order(VIDEO, dub_params=DubParams(target_lang="")),
        "dub_params.target_lang: must not be empty",
    ),
    "5-dub-source": (
        order(VIDEO, dub_params=DubParams(target_lang="de", source_lang=1)),  # type: ignore[arg-type]
        "dub_params.source_lang: must be text, not 1",
    ),
    "5-dub-provider": (
        order(VIDEO, dub_params=DubParams(target_lang="de", provider_name="other")),
        "dub_params.provider_name: must be one of elevenlabs, not 'other'",
    ),
    "6-no-source": (order(Video(), AUDIO), "input[0]: needs url, asset_id or file"),
    "6-local-path": (order(Video("clip.mp4"), AUDIO), "input[0].url: pass a local file as file"),
    "6-ftp": (
        order(VIDEO, Audio("ftp://host/a.wav")),
        "input[1].url: must be an http or https URL",
    ),
    "6-no-host": (order(VIDEO, Audio("https:///a.wav")), "input[1].url: an http or https URL"),
    "6-bad-port": (order(VIDEO, Audio("https://h:port/a")), "input[1].url: an http or https URL"),
    "6-number": (
        order(VIDEO, Audio(7)),  # type: ignore[arg-type]
        "input[1].url: an http or https URL, not 7",
    ),
    "6-space": (order(VIDEO, Audio("https://h/a b.wav")), "input[1].url: write a space as %20"),
    "6-newline": (order(VIDEO, Audio("https://h/a\n")), "input[1].url: must not hold spaces"),
    "6-asset-empty": (order(Video(asset_id=""), AUDIO), "input[0].asset_id: must not be empty"),
    "6-asset-control": (
        order(Video(asset_id="a\n"), AUDIO),
        "input[0].asset_id: control characters",
    ),
    "6-missing-file": (
        order(Video(file="no-such-file.mp4"), AUDIO),
        "input[0].file: cannot be read",
    ),
    "6-nul-in-path": (order(Video(file="a\0b"), AUDIO), "input[0].file: must be a path or bytes"),
    "6-folder": (order(Video(file="/"), AUDIO), "input[0].file: must be a regular file, not '/'"),
    "6-empty-bytes": (order(VIDEO, Audio(file=b"")), "input[1].file: must not be empty"),
    "6-bytes-path": (
        order(VIDEO, Audio(file=PathOfBytes())),  # type: ignore[arg-type]
        "input[1].file: must be a path or",
    ),
    "6-file-kind": (
        order(VIDEO, Audio(file=3)),  # type: ignore[arg-type]
        "input[1].file: must be a path or bytes, not 3",
    ),
    "6-file-and-url": (
        order(VIDEO, Audio("https://h/a.wav", file=b"RIFF")),
        "input[1].file: cannot be combined with url; choose one",
    ),
    "6-file-and-both": (
        order(VIDEO, Audio("https://h/a.wav", asset_id="a", file=b"RIFF")),
        "input[1].file: cannot be combined with url and asset_id",
    ),
    "6-file-and-ref-id": (
        order(Video(file=b"video", ref_id="v"), AUDIO),
        "input[0].ref_id: cannot be combined with file",
    ),
    "6-two-files-of-a-kind": (
        order(VIDEO, Audio(file=b"1"), Audio(file=b"2")),
        "input[2].file: must be the only Audio file, but input[1] has one",
    ),
    "6-file-with-segments": (
        order(VIDEO, Audio(file=b"1", ref_id="a1"), segments=[segment(0, 1)]),
        "input[1].file: cannot be used with segments",
    ),
    "6-ref-id": (
        order(Video("https://h/v", ref_id=""), AUDIO),
        "input[0].ref_id: must not be empty",
    ),
    "6-seconds-backward": (
        order(Video("https://h/v", segments_secs=[[0, 1], [3, 2]]), AUDIO),
        "input[0].segments_secs[1]: [start, end] in seconds, the start first, not [3, 2]",
    ),
    "6-frames-instant": (
        order(Video("https://h/v", segments_frames=[[2, 2]]), AUDIO),
        "input[0].segments_frames[0]: [start, end] in whole frames, the start first, not [2, 2]",
    ),
    "6-frames-broken": (
        order(Video("https://h/v", segments_frames=[[0.5, 2]]), AUDIO),  # type: ignore[list-item]
        "input[0].segments_frames[0]: in whole frames",
    ),
    "7-provider": (
        order(VIDEO, Text("Hello.")),  # type: ignore[arg-type]
        "input[1].provider: must be ElevenLabs",
    ),
    "7-voice-id": (with_voice(voice_id=""), "input[1].provider.voice_id: must not be empty"),
    "7-script-empty": (with_voice(script=""), "input[1].provider.script: must not be empty"),
    "7-script-long": (
        with_voice(script="a" * 5001),
        "input[1].provider.script: must be 1 to 5000 characters, not 5001",
    ),
    "7-stability": (
        with_voice(stability=1.5),
        "input[1].provider.stability: must be 0 to 1, not 1.5",
    ),
    "7-similarity-boost": (
        with_voice(similarity_boost=-1),
        "input[1].provider.similarity_boost: must be 0 to 1, not -1",
    ),
}
