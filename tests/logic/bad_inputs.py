"""Ways to break the rules about models, inputs and dubbing."""

from __future__ import annotations

from io import StringIO

from lipsync_async._models.request import Text
from tests.logic.requests import (
    AUDIO,
    IMAGE,
    NAMED_AUDIO,
    VIDEO,
    VOICE,
    BadRequests,
    at,
    dubbed,
    order,
    segment,
    with_audio,
    with_face,
    with_video,
    with_voice,
)

WEB = "https://h/v"
ONE = [segment(0, 1)]


class PathOfBytes:
    """A path by the protocol, but one of bytes."""

    def __fspath__(self) -> bytes:
        """Return what `pathlib` takes for no path."""
        return b"speech.wav"


_MODEL_AND_INPUT: BadRequests = {
    "1-model-empty": (order(model=""), "model: must not be empty"),
    "1-model-blank": (order(model=" \n"), "model: must not be empty"),
    "1-model-none": (order(model=None), "model: must be text, not None"),
    "1-model-surrogate": (order(model="a\ud800"), "model: half of a surrogate pair"),
    "2-input-none": ({"model": "lipsync-2", "input": None}, "input: must be a list, not None"),
    "2-input-text": ({"model": "lipsync-2", "input": "clip"}, "input: must be a list, not 'clip'"),
    "2-input-empty": ({"model": "lipsync-2", "input": []}, "input: one video or image, not 0"),
    "2-input-dict": (order({"type": "video"}, AUDIO), "input[0]: be Video, Image, Audio or Text"),
    "2-no-visual": (order(AUDIO), "input: exactly one video or image, not 0"),
    "2-two-videos": (order(VIDEO, VIDEO, AUDIO), "input: exactly one video or image, not 2"),
    "2-video-and-image": (order(VIDEO, IMAGE, AUDIO), "input: exactly one video or image, not 2"),
    "3-image-model": (order(IMAGE, AUDIO), "model: must be sync-3 with an image, not 'lipsync-2'"),
    "3-image-segments": (
        order(IMAGE, NAMED_AUDIO, model="sync-3", segments=ONE),
        "segments: need a video, not an image",
    ),
    "4-no-audio": (order(VIDEO), "input: exactly one audio or text, not 0"),
    "4-two-audios": (order(VIDEO, AUDIO, AUDIO), "input: not 2; for several use segments"),
    "4-audio-and-text": (order(VIDEO, AUDIO, Text(VOICE)), "input: one audio or text, not 2"),
}
_FACE: BadRequests = {
    "3-image-auto-detect": (
        with_face(auto_detect=True),
        "auto_detect: cannot be True with an image",
    ),
    "3-image-later-frame": (
        with_face(frame_number=3, coordinates=[1, 2]),
        "frame_number: must be 0 with an image, not 3",
    ),
}
_DUBS: BadRequests = {
    "5-dub-audio": (dubbed(VIDEO, AUDIO), "input: takes no audio or text with dub_params, not 1"),
    "5-dub-image": (
        {**dubbed(IMAGE), "model": "sync-3"},
        "dub_params: can only go with a video, not with an image",
    ),
    "5-dub-segments": (
        {**dubbed(), "segments": ONE},
        "segments: cannot be combined with dub_params",
    ),
    "5-dub-kind": (order(VIDEO, dub_params="de"), "dub_params: must be DubParams, not 'de'"),
    "5-dub-language": (dubbed(target_lang=""), "dub_params.target_lang: must not be empty"),
    "5-dub-source": (dubbed(source_lang=1), "dub_params.source_lang: must be text, not 1"),
    "5-dub-provider": (
        dubbed(provider_name="other"),
        "dub_params.provider_name: must be one of elevenlabs, not 'other'",
    ),
}
_EDITED: BadRequests = {
    "17-id-empty": (order(VIDEO, dialogue_edit=""), "dialogue_edit: must not be empty"),
    "17-id-kind": (order(VIDEO, dialogue_edit={"id": "e"}), "dialogue_edit: must be text"),
    "17-audio": (
        order(dialogue_edit="e"),
        "input: takes no audio or text with dialogue_edit, not 1",
    ),
    "17-no-video": (
        order(Text(VOICE), dialogue_edit="e"),
        "input: needs exactly one video or image, not 0",
    ),
    "17-image": (
        order(IMAGE, dialogue_edit="e", model="sync-3"),
        "dialogue_edit: can only go with a video, not with an image",
    ),
    "17-segments": (
        order(VIDEO, dialogue_edit="e", segments=ONE),
        "segments: cannot be combined with dialogue_edit",
    ),
    "17-dubbing": (
        {**dubbed(), "dialogue_edit": "e"},
        "dialogue_edit: cannot be combined with dub_params",
    ),
}
_VIDEO: BadRequests = {
    "6-no-source": (with_video(), ": needs url, asset_id or file"),
    "6-local-path": (with_video("clip.mp4"), ".url: pass a local file as file"),
    "6-asset-empty": (with_video(asset_id=""), ".asset_id: must not be empty"),
    "6-asset-control": (with_video(asset_id="a\n"), ".asset_id: control characters"),
    "6-missing-file": (with_video(file="no-such-file.mp4"), ".file: cannot be read"),
    "6-nul-in-path": (with_video(file="a\0b"), ".file: must be a path or bytes"),
    "6-folder": (with_video(file="/"), ".file: must be a regular file, not '/'"),
    "6-ref-id": (with_video(WEB, ref_id=""), ".ref_id: must not be empty"),
    "6-seconds-backward": (
        with_video(WEB, segments_secs=[[0, 1], [3, 2]]),
        ".segments_secs[1]: [start, end] in seconds, the start first, not [3, 2]",
    ),
    "6-frames-instant": (
        with_video(WEB, segments_frames=[[2, 2]]),
        ".segments_frames[0]: [start, end] in whole frames, the start first, not [2, 2]",
    ),
    "6-frames-broken": (
        with_video(WEB, segments_frames=[[0.5, 2]]),
        ".segments_frames[0]: in whole frames",
    ),
}
_AUDIO: BadRequests = {
    "6-ftp": (with_audio("ftp://host/a.wav"), ".url: must be an http or https URL"),
    "6-no-host": (with_audio("https:///a.wav"), ".url: an http or https URL"),
    "6-bad-port": (with_audio("https://h:port/a"), ".url: an http or https URL"),
    "6-number": (with_audio(7), ".url: an http or https URL, not 7"),
    "6-space": (with_audio("https://h/a b.wav"), ".url: write a space as %20"),
    "6-newline": (with_audio("https://h/a\n"), ".url: must not hold spaces"),
    "6-empty-bytes": (with_audio(file=b""), ".file: must not be empty"),
    "6-bytes-path": (with_audio(file=PathOfBytes()), ".file: must be a path or"),
    "6-file-kind": (with_audio(file=3), ".file: must be a path or bytes, an open file"),
    "6-text-file": (with_audio(file=StringIO("text")), ".file: must be a binary file"),
    "6-file-and-url": (
        with_audio(WEB, file=b"RIFF"),
        ".file: cannot be combined with url; choose one",
    ),
    "6-file-and-both": (
        with_audio(WEB, asset_id="a", file=b"RIFF"),
        ".file: cannot be combined with url and asset_id",
    ),
    "7-provider": (order(VIDEO, Text("Hello.")), ".provider: must be ElevenLabs"),  # type: ignore[arg-type]
}
_VOICE: BadRequests = {
    "7-voice-id": (with_voice(voice_id=""), "voice_id: must not be empty"),
    "7-script-empty": (with_voice(script=""), "script: must not be empty"),
    "7-script-long": (with_voice(script="a" * 5001), "script: 1 to 5000 characters, not 5001"),
    "7-stability": (with_voice(stability=1.5), "stability: must be 0 to 1, not 1.5"),
    "7-similarity-boost": (
        with_voice(similarity_boost=-1),
        "similarity_boost: must be 0 to 1, not -1",
    ),
}
BAD_INPUTS: BadRequests = {
    **_MODEL_AND_INPUT,
    **at("options.active_speaker_detection.", _FACE),
    **_DUBS,
    **_EDITED,
    **at("input[0]", _VIDEO),
    **at("input[1]", _AUDIO),
    **at("input[1].provider.", _VOICE),
}
