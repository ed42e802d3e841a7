"""What both faces of the official client do against the sandbox, unchanged.

Its two clients have the same verbs; `done` waits for an answer where the face is async.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from sync import (
    AsyncSync,
    Audio,
    BadRequestError,
    ElevenLabs,
    Generation,
    GenerationNotification,
    GenerationOptions,
    GenerationSegment,
    InternalServerError,
    NotFoundError,
    SegmentAudioInput,
    Sync,
    Tts,
    UnauthorizedError,
    Video,
)
from sync.core import ApiError
from sync.core.request_options import RequestOptions
from sync.core.unchecked_base_model import construct_type

from lipsync_async.sandbox import Fault, Sandbox

Peer = Sync | AsyncSync
Media = list[Video | Audio | Tts]
Answer = TypeVar("Answer")

FRAME = 1 / 25
UNKNOWN = "00000000-0000-4000-8000-000000000000"
# Ends as soon as the job does; the client itself has no verb for waiting.
WAIT = RequestOptions(additional_query_parameters={"wait": "true", "timeout": "10"})
STAY = RequestOptions(additional_headers={"x-sandbox-progression": "manual"})


@pytest.fixture(params=["blocking", "async"])
async def peer(request: pytest.FixtureRequest, sandbox: Sandbox) -> AsyncIterator[Peer]:
    """Build the client as its manual does; its own httpx client would never be closed."""
    if request.param == "blocking":
        with httpx.Client(timeout=60, follow_redirects=True) as blocking:
            yield Sync(base_url=sandbox.url, api_key=sandbox.api_key, httpx_client=blocking)
    else:
        async with httpx.AsyncClient(timeout=60, follow_redirects=True) as session:
            yield AsyncSync(base_url=sandbox.url, api_key=sandbox.api_key, httpx_client=session)


@pytest.fixture
def media(sandbox: Sandbox, video: Path, audio: Path) -> Media:
    """Host the small media."""
    return [Video(url=sandbox.host_file(video)), Audio(url=sandbox.host_file(audio))]


@pytest.fixture
def sound(audio: Path) -> bytes:
    """Load the audio, to be sent without a name."""
    return audio.read_bytes()


async def done(answer: Awaitable[Answer] | Answer) -> Answer:
    """Return what either face answers."""
    if isinstance(answer, Awaitable):
        return await answer
    return answer


async def ordered(peer: Peer, media: Media, **how: Any) -> Generation:
    """Create a job."""
    return await done(peer.generations.create(model="lipsync-2", input=media, **how))


async def finished(peer: Peer, generation: Generation) -> Generation:
    """Look until the job has ended."""
    while generation.status in {"PENDING", "PROCESSING"}:
        generation = await done(peer.generations.get(generation.id, request_options=WAIT))
    return generation


async def downloaded(url: str | None) -> bytes:
    """Return what a URL of the sandbox holds; it needs no key."""
    assert url is not None
    async with httpx.AsyncClient() as session:
        answer = await session.get(url)
    assert answer.status_code == 200
    return answer.content


async def test_a_generation_is_created_and_completed(peer: Peer, media: Media) -> None:
    """The quickstart works: create, look again and again, fetch the video."""
    options = GenerationOptions(sync_mode="cut_off", temperature=0.7)
    created = await ordered(peer, media, options=options, output_file_name="take-1")
    completed = await finished(peer, created)
    assert created.status == "PENDING"
    assert created.created_at.tzinfo is not None
    assert (completed.id, completed.status) == (created.id, "COMPLETED")
    assert completed.model == "lipsync-2"
    assert completed.options == options
    assert [type(item) for item in completed.input] == [Video, Audio]
    assert completed.output_duration == pytest.approx(2.0, abs=FRAME)
    assert (await downloaded(completed.output_url))[4:8] == b"ftyp"


async def test_segments_and_text_go_through(peer: Peer, media: Media) -> None:
    """Its camelCase segments and its spoken input are understood and echoed."""
    video = media[0]
    line = Tts(provider=ElevenLabs(voice_id="anybody", script="Hello!"), ref_id="line")
    sound = SegmentAudioInput(ref_id="line", start_time=0.0, end_time=0.5)
    segment = GenerationSegment(start_time=0.5, end_time=1.5, audio_input=sound)
    created = await ordered(peer, [video, line], segments=[segment])
    completed = await finished(peer, created)
    assert completed.status == "COMPLETED"
    assert completed.segments == [segment]
    assert completed.input[1] == line
    assert completed.output_duration == pytest.approx(2.0, abs=FRAME)


async def test_files_are_uploaded(peer: Peer, video: Path, sound: bytes) -> None:
    """`create_with_files` takes an open file, and bytes without any name or type."""
    with video.open("rb") as opened:
        created = await done(
            peer.generations.create_with_files(model="lipsync-2", video=opened, audio=sound)
        )
    completed = await finished(peer, created)
    assert completed.status == "COMPLETED"
    assert completed.output_duration == pytest.approx(3.0, abs=FRAME)


async def test_generations_are_listed(peer: Peer, sandbox: Sandbox, media: Media) -> None:
    """Its repeated keys filter as the documented commas do, by status and by id."""
    first, second = [await ordered(peer, media, request_options=STAY) for _ in range(2)]
    assert {item.id for item in await done(peer.generations.list())} == {first.id, second.id}
    waiting = await done(peer.generations.list(status=["PENDING", "PROCESSING"]))
    assert {item.id for item in waiting} == {first.id, second.id}
    assert await done(peer.generations.list(status=["COMPLETED", "FAILED", "REJECTED"])) == []
    found = await done(peer.generations.list(ids=[second.id, UNKNOWN]))
    assert [item.id for item in found] == [second.id]
    both = await done(peer.generations.list(ids=[first.id, second.id], status=["PENDING"]))
    assert {item.id for item in both} == {first.id, second.id}
    sent = [value for name, value in list(sandbox.requests)[-1].query if name == "ids"]
    assert sent == [first.id, second.id]


async def test_a_cost_is_estimated(peer: Peer, media: Media) -> None:
    """An estimate is an array of one: 3 s of 25 frames, at the listed price."""
    (estimate,) = await done(peer.generations.estimate_cost(model="lipsync-2", input=media))
    assert estimate.estimated_frame_count == 75
    assert estimate.estimated_generation_cost == pytest.approx(0.12)


async def test_models_are_listed(peer: Peer) -> None:
    """Every model comes with a type that the client knows."""
    models = await done(peer.models.list())
    names = ("sync-3", "lipsync-2", "lipsync-2-pro", "lipsync-1.9.0-beta")
    expected = dict.fromkeys(names, "lipsync") | {"react-1": "react"}
    assert {model.id: model.type for model in models} == expected
    assert [model.deprecated_at for model in models] == [None] * 5


async def test_a_webhook_is_what_the_client_models(
    peer: Peer, sandbox: Sandbox, media: Media
) -> None:
    """The signed body reads as the client's own `GenerationNotification`."""
    hook = f"{sandbox.url}/__sandbox/inbox"
    created = await ordered(peer, media, webhook_url=hook)
    completed = await finished(peer, created)
    (received,) = json.loads(await downloaded(hook))
    assert received["signature"] == "valid"
    event = construct_type(type_=GenerationNotification, object_=received["body"])
    assert isinstance(event, GenerationNotification)
    assert (event.id, event.status) == (created.id, "COMPLETED")
    assert event.webhook_url == hook
    assert event.output_duration == completed.output_duration


async def test_errors_have_the_clients_own_classes(
    peer: Peer, sandbox: Sandbox, media: Media
) -> None:
    """A wrong key, an unknown id, an order that breaks a rule, a fault of the service."""
    wrong = RequestOptions(additional_headers={"x-api-key": "another"})
    hot = GenerationOptions(temperature=3.0)
    calls: list[tuple[Callable[[], Any], type[ApiError], int, str]] = [
        (lambda: peer.generations.list(request_options=wrong), UnauthorizedError, 401, "Unauth"),
        (lambda: peer.generations.get(UNKNOWN), NotFoundError, 404, UNKNOWN),
        (lambda: ordered(peer, media, options=hot), BadRequestError, 400, "temperature"),
        (peer.models.list, InternalServerError, 500, "Internal"),
    ]
    sandbox.faults.add(Fault("status", status=500, path="/v2/models"))
    for call, kind, status, word in calls:
        with pytest.raises(kind) as caught:
            await done(call())
        assert caught.value.body.status_code == status
        assert word in str(caught.value.body.message)
    assert len(await done(peer.models.list())) == 5


async def test_other_refusals_keep_their_codes(peer: Peer, sandbox: Sandbox, media: Media) -> None:
    """Errors that the client has no class for carry the body: absent media, no free slot."""
    gone = Video(url=f"{sandbox.url}/__sandbox/files/gone.mp4")
    with pytest.raises(ApiError) as absent:
        await ordered(peer, [gone, media[1]])
    for _ in range(2):
        await ordered(peer, media, request_options=STAY)
    with pytest.raises(ApiError) as busy:
        await ordered(peer, media)
    assert absent.value.status_code == 422
    assert absent.value.body["errorCode"] == "generation_input_video_inaccessible"
    assert busy.value.status_code == 429
    assert busy.value.body["errorCode"] == "concurrency_limit_reached"
    assert busy.value.body["concurrencyLimit"] == 2


async def test_a_failed_job_says_why(peer: Peer, sandbox: Sandbox, media: Media) -> None:
    """The reason stands in `error`; the code under the wire's new name, which it lets through."""
    sandbox.faults.add(Fault("fail_job", code="generation_pipeline_failed", message="No face."))
    failed = await finished(peer, await ordered(peer, media))
    assert (failed.status, failed.error) == ("FAILED", "No face.")
    assert failed.model_extra is not None
    assert failed.model_extra["errorCode"] == "generation_pipeline_failed"
    assert failed.output_url is None
