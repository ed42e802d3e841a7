"""Values can be written as plain values and as JSON."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lipsync_async import Generation, Outcome, Status
from lipsync_async._models.request import (
    Audio,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Origin,
    Segment,
    SegmentAudio,
    Text,
    UnknownInput,
    Video,
)
from lipsync_async.errors import LipsyncError

REQUEST = GenerationRequest(
    model="sync-3",
    input=[
        Video(file=Path("v.mp4")),
        Audio(file=b"RIFF", ref_id="a"),
        Text(ElevenLabs(voice_id="anna", script="Hello.")),
        Image("https://media.example/i.png"),
    ],
    segments=[Segment(start_time=0, end_time=1.5, audio_input=SegmentAudio("a"))],
    origin=Origin(line=2, extra={"scene": "4"}),
)
JOB = Generation(
    id="job-1",
    status=Status.COMPLETED,
    created_at=datetime(2026, 11, 28, 12, tzinfo=UTC),
    input=[UnknownInput(type="hologram", raw={"type": "hologram"})],
    options=Options(sync_mode="bounce", occlusion_detection_enabled=True),
    raw={"id": "job-1", "secret": 1},
)


def test_a_request() -> None:
    """Nested values, paths and bytes become what JSON knows."""
    plain = REQUEST.to_dict()
    assert plain["input"][0]["file"] == "v.mp4"
    assert plain["input"][1]["file"] == "<4 bytes>"
    assert [item["type"] for item in plain["input"]] == ["video", "audio", "text", "image"]
    assert plain["segments"][0]["audio_input"]["ref_id"] == "a"
    assert plain["origin"] == {"line": 2, "extra": {"scene": "4"}}
    assert plain["options"] is None


def test_a_generation() -> None:
    """Statuses and dates become texts; `raw` is left out, except of what has nothing else."""
    plain = JOB.to_dict()
    assert (plain["status"], plain["created_at"]) == ("COMPLETED", "2026-11-28T12:00:00+00:00")
    assert plain["input"] == [{"type": "hologram", "raw": {"type": "hologram"}}]
    assert plain["options"]["occlusion_detection_enabled"] is True
    assert "raw" not in plain


@pytest.mark.parametrize("indent", [None, 2])
def test_json(indent: int | None) -> None:
    """The JSON holds the same, on one line or indented."""
    text = JOB.to_json(indent=indent)
    assert json.loads(text) == JOB.to_dict()
    assert len(text.splitlines()) == 1 or indent == 2


def test_an_outcome() -> None:
    """An error is written with its class; `unwrap` gives the generation or raises the error."""
    assert Outcome(index=0, request=REQUEST, generation=JOB).unwrap() is JOB
    error = LipsyncError("no luck")
    failed = Outcome(index=1, request=REQUEST, error=error)
    assert failed.to_dict()["error"] == {"type": "LipsyncError", "message": "no luck"}
    with pytest.raises(LipsyncError) as caught:
        failed.unwrap()
    assert caught.value is error
