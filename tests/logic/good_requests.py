"""Requests that are right: what the contract allows must never be refused."""

from __future__ import annotations

from typing import Any

from lipsync_async._enums import SyncMode
from lipsync_async._models.request import Audio, Options, Text, Video
from tests.logic.requests import (
    AUDIO,
    IMAGE,
    NAMED_AUDIO,
    VIDEO,
    VOICE,
    dubbed,
    order,
    segment,
    with_face,
    with_options,
    with_segments,
    with_speaker,
    with_video,
    with_voice,
)

GOOD_REQUESTS: dict[str, dict[str, Any]] = {
    "plain": order(),
    "asset": order(Video(asset_id="a"), Audio(asset_id="b")),
    "url and asset": order(Video("https://h/v.mp4", asset_id="a"), AUDIO),
    "bytes": order(Video(file=b"video"), Audio(file=b"audio")),
    "text": with_voice(script="a" * 5000, stability=0, similarity_boost=1.0),
    "image": order(IMAGE, AUDIO, model="sync-3", options=Options(sync_mode="loop")),
    "image, by pixel": with_face(frame_number=0, coordinates=(960, 540)),
    "unknown model": order(model="sync-9"),
    "dubbing": dubbed(source_lang="en"),
    "dialogue edit": order(VIDEO, dialogue_edit="e"),
    "another dialogue edit": order(VIDEO, dialogue_edit="f"),
    "every option": with_options(
        sync_mode=SyncMode.CUT_OFF,
        temperature=1,
        model_mode="lips",
        prompt="happy",
        occlusion_detection_enabled=False,
        reasoning_enabled=True,
    ),
    "speaker off": with_speaker(auto_detect=False),
    "speaker off, by pixel": with_speaker(auto_detect=False, frame_number=0, coordinates=[0, 0]),
    "speaker found": with_speaker(auto_detect=True, v3=True),
    "speaker in boxes": with_speaker(bounding_boxes=[None, (0, 0.5, 10, 20)]),
    "speaker in hosted boxes": with_speaker(bounding_boxes_url="https://h/b.json"),
    "segments that touch": with_segments(segment(0, 2), segment(2, 2), segment(2, 3.5)),
    "segments with two voices": order(
        VIDEO,
        NAMED_AUDIO,
        Text(VOICE, ref_id="t1"),
        segments=[
            segment(0, 1, crop=0, to=0),
            segment(1, 2, "t1", options_override=Options(temperature=0.5)),
        ],
    ),
    "old segments": with_video("https://h/v", segments_secs=[[1, 1]], segments_frames=[[0, 1]]),
    "names": order(webhook_url="https://h/hook", output_file_name="take_1-A", project_id="p"),
    **{
        f"webhook at {host}": order(webhook_url=f"http://{host}/hook")
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1", "127.8.9.10:8080", "[::1]:80")
    },
}
