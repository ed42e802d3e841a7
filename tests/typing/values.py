"""Values, errors and webhooks under a user's type checker."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

from lipsync_async import (
    ActiveSpeaker,
    Audio,
    BatchMetrics,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    JobState,
    JournalEntry,
    JournalView,
    ManifestRow,
    Options,
    PollPolicy,
    RetryPolicy,
    Segment,
    SegmentAudio,
    Text,
    Video,
    read_manifest,
    webhooks,
)
from lipsync_async.errors import (
    ConcurrencyLimitError,
    GenerationFailedError,
    InvalidRequestError,
    LipsyncError,
    ResponseError,
    WaitTimeoutError,
)

plain = GenerationRequest(
    model="lipsync-2",
    input=[Video(url="https://example.com/video.mp4"), Audio(file=Path("line.wav"))],
    options=Options(
        sync_mode="bounce",
        temperature=0.5,
        active_speaker_detection=ActiveSpeaker(frame_number=0, coordinates=[10, 20]),
    ),
)
assert_type(plain.output_file_name, str | None)

spoken = GenerationRequest(
    model="sync-3",
    input=(Image(asset_id="face"), Text(provider=ElevenLabs(voice_id="v", script="Hello."))),
)
assert_type(spoken.options, Options | None)

pieces = GenerationRequest(
    model="lipsync-2",
    input=[Video(url="https://example.com/v.mp4"), Audio(file=b"RIFF", ref_id="a")],
    segments=[Segment(start_time=0, end_time=1.5, audio_input=SegmentAudio("a"))],
)
dubbed = GenerationRequest(
    model="lipsync-2", input=[Video(file="v.mp4")], dub_params=DubParams(target_lang="fr")
)

policies = (RetryPolicy(attempts=3), PollPolicy(long_poll=None))
assert_type(policies[0].give_up_after, float | None)
assert_type(policies[1].progress, bool)


def advise(error: LipsyncError) -> str:
    """Read what each error knows."""
    match error:
        case InvalidRequestError():
            assert_type(error.problems, tuple[str, ...])
        case ConcurrencyLimitError():
            assert_type(error.concurrency_limit, int | None)
        case ResponseError():
            assert_type(error.retry_after, float | None)
            assert_type(error.status, int)
        case GenerationFailedError():
            assert_type(error.code, str | None)
        case WaitTimeoutError():
            assert_type(error.generation.id, str)
            assert_type(error.generation.created_at, datetime | None)
            assert_type(error.generation.raw, Mapping[str, Any])
        case _:
            assert_type(error.idempotency_key, str | None)
    return "again" if error.is_retryable else "never"


def receive(body: bytes, header: str | None) -> str | None:
    """Verify and read a delivery."""
    webhooks.verify(body, header, ["new", "old"], tolerance=None)
    event = webhooks.unwrap(body, {"Sync-Signature": header}, ["new", "old"])
    if isinstance(event, webhooks.BatchEvent):
        assert_type(event.metrics, BatchMetrics | None)
    else:
        assert_type(event.output_duration, float | None)
    return event.output_url


# Mistakes that a type checker must find: were one of them accepted, its `ignore` would be
# unused, and both checkers call that an error.
Options("bounce")  # type: ignore[call-arg]
GenerationRequest(model="lipsync-2")  # type: ignore[call-arg]
GenerationRequest(model="lipsync-2", input=42)  # type: ignore[arg-type]
GenerationRequest(model="lipsync-2", input=["v.mp4"])  # type: ignore[list-item]
ActiveSpeaker(coordinates=["left"])  # type: ignore[list-item]
plain.model = "sync-3"  # type: ignore[misc]


def survey(manifest: Path) -> dict[JobState, int]:
    """Read what stands beside a run: its manifest, its journal."""
    rows = read_manifest(manifest)
    assert_type(rows, list[ManifestRow])
    assert_type(rows[0].request, GenerationRequest)
    assert_type(rows[0].request_id, str | None)
    with JournalView.open("run.sqlite") as view:
        for entry in view.entries(JobState.FAILED):
            assert_type(entry, JournalEntry)
            assert_type(entry.error_message, str | None)
            assert_type(entry.accepted_at, datetime | None)
        return view.counts()
