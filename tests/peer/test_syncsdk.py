"""What both faces of the official client do against the sandbox, unchanged.

Its two clients have the same verbs; `done` waits for an answer where the face is async.
"""

import inspect
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import attrs
import httpx
import pytest
from sync import (
    Asset,
    AsyncSync,
    Audio,
    BadRequestError,
    BatchResponse,
    ElevenLabs,
    EstimatedGenerationCost,
    Generation,
    GenerationNotification,
    GenerationOptions,
    GenerationSegment,
    InternalServerError,
    ModelInfo,
    NotFoundError,
    PaginatedAssetsResponse,
    PaymentRequiredError,
    SegmentAudioInput,
    Sync,
    TooManyRequestsError,
    Tts,
    UnauthorizedError,
    ValidationResponse,
    Video,
)
from sync.core import ApiError
from sync.core.request_options import RequestOptions
from sync.core.unchecked_base_model import construct_type

from lipsync_async.sandbox import Fault, Sandbox
from tests.peer.methods import table, verbs

Peer = Sync | AsyncSync
Media = list[Video | Audio | Tts]
Answer = TypeVar("Answer")

FRAME = 1 / 25
UNKNOWN = "00000000-0000-4000-8000-000000000000"
# Ends as soon as the job does; the client itself has no verb for waiting.
WAIT = RequestOptions(additional_query_parameters={"wait": "true", "timeout": "10"})
STAY = RequestOptions(additional_headers={"x-sandbox-progression": "manual"})
UNRENDERED = {"render": False}
# A refusal after which the client does not pause.
BUSY = Fault("status", status=503, headers={"Retry-After": "0"}, count=None)


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


@attrs.frozen
class Given:
    """What the methods are called with."""

    media: Media
    sound: bytes
    job: str
    asset: str
    batch: str

    @property
    def rows(self) -> bytes:
        """The file of a batch."""
        return batch_file(self.media)


@pytest.fixture
def given(sandbox: Sandbox, media: Media, sound: bytes) -> Given:
    """Make what is to be found: by hand, since the client cannot upload."""
    headers = {"x-api-key": sandbox.api_key, **STAY["additional_headers"]}
    facts = {"type": "AUDIO", "name": "Line"}
    with httpx.Client(base_url=sandbox.url, headers=headers) as session:
        asset = session.post("/v2/assets", json={**facts, "url": media[1].dict()["url"]})
        batch = session.post("/v2/batch", files={"input": batch_file(media)})
        (job, *_) = session.get("/v2/generations").json()
    return Given(media, sound, job["id"], *(made.json()["id"] for made in (asset, batch)))


def batch_file(media: Media) -> bytes:
    """Return the least batch that is taken, as lines of JSON."""
    payload = {"model": "lipsync-2", "input": [item.dict() for item in media]}
    row = {"endpoint": "/v2/generate", "payload": payload}
    names = [f"take-{number}" for number in range(20)]
    return "\n".join(json.dumps({"request_id": name, **row}) for name in names).encode()


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
    async with httpx.AsyncClient(follow_redirects=True) as session:
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


# Each method: a call of it on its resource, and the class of the answer or of its items.
CALLS: dict[str, tuple[Callable[[Any, Given], Any], type]] = {
    "assets.get": (lambda assets, given: assets.get(given.asset), Asset),
    "assets.list": (lambda assets, _: assets.list(), PaginatedAssetsResponse),
    "batch.create": (lambda batch, given: batch.create(input=given.rows), BatchResponse),
    "batch.get": (lambda batch, given: batch.get(given.batch), BatchResponse),
    "batch.list": (lambda batch, _: batch.list(), BatchResponse),
    "generations.create": (
        lambda generations, given: generations.create(
            model="lipsync-2", input=given.media, request_options=STAY
        ),
        Generation,
    ),
    "generations.create_with_files": (
        lambda generations, given: generations.create_with_files(
            model="lipsync-2", video=given.sound, audio=given.sound, request_options=STAY
        ),
        Generation,
    ),
    "generations.estimate_cost": (
        lambda generations, given: generations.estimate_cost(model="lipsync-2", input=given.media),
        EstimatedGenerationCost,
    ),
    "generations.get": (lambda generations, given: generations.get(given.job), Generation),
    "generations.list": (lambda generations, _: generations.list(), Generation),
    "models.list": (lambda models, _: models.list(), ModelInfo),
}


def public(value: Any, kind: Callable[[Any], bool]) -> list[str]:
    """Return the names of an object's public attributes of a kind."""
    return [name for name, _ in inspect.getmembers(value, kind) if not name.startswith("_")]


async def test_every_method_is_tested_and_in_the_table(peer: Peer) -> None:
    """A method that the client gains is missed here; each has a verb of ours."""
    resources = public(peer, lambda value: hasattr(value, "with_raw_response"))
    methods = [
        f"{name}.{method}"
        for name in resources
        for method in public(getattr(peer, name), inspect.ismethod)
    ]
    assert sorted(CALLS) == methods
    assert table(0) == methods
    assert all(map(callable, verbs().values()))


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("sandbox", [UNRENDERED], indirect=True)
async def test_a_method_answers(peer: Peer, given: Given, method: str) -> None:
    """Each returns the class that it promises, and the same beside the raw response."""
    call, kind = CALLS[method]
    resource = getattr(peer, method.partition(".")[0])
    answer = await done(call(resource, given))
    raw = await done(call(resource.with_raw_response, given))
    for data in (answer, raw.data):
        assert {type(item) for item in (data if isinstance(data, list) else [data])} == {kind}
    assert raw.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("sandbox", [UNRENDERED], indirect=True)
async def test_a_batch_goes_its_way(peer: Peer, sandbox: Sandbox, media: Media) -> None:
    """Checked only, then created, listed and looked at until its results can be fetched."""
    hook = f"{sandbox.url}/__sandbox/inbox"
    file = ("rows.jsonl", batch_file(media), "application/jsonl")
    checked = await done(peer.batch.create(input=file, dry_run=True))
    assert checked == ValidationResponse(status="VALIDATED")
    assert await done(peer.batch.list()) == []
    created = await done(peer.batch.create(input=file, webhook_url=hook, request_options=STAY))
    assert isinstance(created, BatchResponse)
    assert (created.status, created.metrics.total_generations) == ("PENDING", 20)
    assert created.webhook_url == hook
    assert vars(created)["output_url"] is None  # against its type
    jobs = list(sandbox.jobs)
    for job in jobs:
        sandbox.jobs.move(job.id, "PROCESSING")
        sandbox.jobs.move(job.id, "FAILED" if job is jobs[0] else "COMPLETED")
    ended = await done(peer.batch.get(created.id))
    assert (ended.status, ended.metrics.success_count, ended.metrics.failed_count) == (
        "COMPLETED",
        19,
        1,
    )
    lines = [json.loads(line) for line in (await downloaded(ended.output_url)).splitlines()]
    assert [line["request_id"] for line in lines] == [f"take-{number}" for number in range(20)]
    moment = created.created_at
    uses: list[tuple[dict[str, Any], list[str]]] = [
        ({"status": "COMPLETED"}, [created.id]),
        ({"status": "FAILED"}, []),
        ({"created_after": moment - timedelta(seconds=1)}, [created.id]),
        ({"created_before": moment - timedelta(seconds=1)}, []),
    ]
    for filters, expected in uses:
        assert [batch.id for batch in await done(peer.batch.list(**filters))] == expected
    (received,) = [
        delivery
        for delivery in json.loads(await downloaded(hook))
        if delivery["body"]["id"] == created.id
    ]
    assert received["signature"] == "valid"


async def test_a_refused_batch_has_its_class(peer: Peer, sandbox: Sandbox, media: Media) -> None:
    """A bad row is named by its line; an account without batches, or with too many, is told so."""
    rows = batch_file(media)
    twice = rows.replace(b"take-19", b"take-18")
    with pytest.raises(BadRequestError) as bad:
        await done(peer.batch.create(input=twice))
    assert "line 20" in str(bad.value.body.message)
    for status, kind in ((402, PaymentRequiredError), (429, TooManyRequestsError)):
        sandbox.faults.add(Fault("status", status=status, method="POST", path="/v2/batch"))
        with pytest.raises(kind):
            await done(peer.batch.create(input=rows))
    with pytest.raises(NotFoundError):
        await done(peer.batch.get(UNKNOWN))
    assert await done(peer.batch.list()) == []


async def test_assets_are_found(peer: Peer, given: Given) -> None:
    """One by its id; pages, with each filter and an order."""
    ours = await done(peer.assets.get(given.asset))
    assert (ours.id, ours.type, ours.name) == (given.asset, "AUDIO", "Line")
    uses: list[tuple[dict[str, Any], list[str]]] = [
        ({"types": ["AUDIO", "VIDEO"]}, [given.asset]),
        ({"types": ["VIDEO", "IMAGE"]}, []),
        ({"search_query": "line"}, [given.asset]),
        ({"search_query": "other"}, []),
        ({"project_id": UNKNOWN}, []),
        ({"limit": 1, "sort_by": "nameAsc"}, [given.asset]),
    ]
    for filters, expected in uses:
        page = await done(peer.assets.list(**filters))
        assert [asset.id for asset in page.items] == expected
        assert page.next_cursor is None
    with pytest.raises(NotFoundError):
        await done(peer.assets.get(UNKNOWN))


async def test_assets_come_in_pages(peer: Peer, sandbox: Sandbox, given: Given) -> None:
    """A cursor leads to the next page."""
    headers, body = (
        {"x-api-key": sandbox.api_key},
        {"url": given.media[1].dict()["url"], "type": "AUDIO"},
    )
    async with httpx.AsyncClient(base_url=sandbox.url, headers=headers) as session:
        for _ in range(2):
            await session.post("/v2/assets", json=body)
    first = await done(peer.assets.list(limit=2))
    second = await done(peer.assets.list(limit=2, cursor=first.next_cursor))
    assert (len(first.items), len(second.items), first.total_count) == (2, 1, 3)
    assert second.items[0].id == given.asset


# Its known faults: what our client does otherwise stands in `docs/syncsdk.md`.


@pytest.mark.parametrize(("most", "sent"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3)])
async def test_the_first_two_tries_are_not_made(
    peer: Peer, sandbox: Sandbox, most: int, sent: int
) -> None:
    """`max_retries` counts from two."""
    sandbox.faults.add(BUSY)
    with pytest.raises(ApiError):
        await done(peer.models.list(request_options=RequestOptions(max_retries=most)))
    assert sandbox.requests.count("GET", "/v2/models") == sent


async def test_a_lost_answer_makes_a_second_job(peer: Peer, sandbox: Sandbox, media: Media) -> None:
    """A create is tried again without a key: it is paid twice."""
    lost = Fault("outcome_unknown", path="/v2/generate", headers={"Retry-After": "0"})
    sandbox.faults.add(lost)
    await ordered(peer, media, request_options=RequestOptions(max_retries=3))
    assert sandbox.jobs.created == 2


async def test_a_dry_run_tried_again_is_a_batch(peer: Peer, sandbox: Sandbox, media: Media) -> None:
    """A second try leaves the form's fields out: what was to be checked is created and billed."""
    sandbox.faults.add(attrs.evolve(BUSY, count=1))
    answer = await done(
        peer.batch.create(
            input=batch_file(media),
            dry_run=True,
            request_options=RequestOptions(max_retries=3, **STAY),
        )
    )
    assert isinstance(answer, BatchResponse)
    assert sandbox.jobs.created == 20


async def test_a_lost_connection_is_not_tried_again(peer: Peer, sandbox: Sandbox) -> None:
    """Only statuses are."""
    sandbox.faults.add(Fault("reset_before"))
    with pytest.raises(httpx.TransportError):
        await done(peer.models.list(request_options=RequestOptions(max_retries=4)))
    assert sandbox.requests.count("GET", "/v2/models") == 1


async def test_files_take_no_options_and_no_inputs(
    peer: Peer, sandbox: Sandbox, media: Media, sound: bytes
) -> None:
    """Nothing is sent with files; without one, the text is no JSON."""
    create = peer.generations.create_with_files
    options = GenerationOptions(sync_mode="loop")
    for extra in ({"options": options}, {"input": media[:1]}):
        with pytest.raises(TypeError):
            await done(create(model="lipsync-2", audio=sound, **extra))
    assert sandbox.requests.count("POST") == 0
    with pytest.raises(BadRequestError):
        await done(create(model="lipsync-2", input=media))


async def test_errors_lose_their_headers(peer: Peer, sandbox: Sandbox) -> None:
    """Neither `Retry-After` nor the id of the request is kept."""
    sandbox.faults.add(attrs.evolve(BUSY, headers={"Retry-After": "7"}))
    with pytest.raises(ApiError) as caught:
        await done(peer.models.list())
    assert set(vars(caught.value)) == {"status_code", "body"}


@pytest.mark.parametrize("sandbox", [UNRENDERED], indirect=True)
async def test_an_image_comes_back_as_a_video(peer: Peer, media: Media) -> None:
    """Its models have no image."""
    image = {"type": "image", "url": "https://media.example/face.png"}
    created = await done(
        peer.generations.create(
            model="sync-3",
            input=media[1:],
            request_options=RequestOptions(
                additional_body_parameters={"input": [image, media[1].dict()]}, **STAY
            ),
        )
    )
    assert (type(created.input[0]), created.input[0].type) == (Video, "image")


async def test_an_id_is_not_quoted(peer: Peer, sandbox: Sandbox) -> None:
    """Characters of an id change the path."""
    with pytest.raises(ApiError):
        await done(peer.generations.get("x/../y?z=1"))
    (sent,) = sandbox.requests
    assert sent.path == "/v2/generate/y"


async def test_a_redirect_takes_the_key_along(peer: Peer, sandbox: Sandbox) -> None:
    """Another host reads it."""
    with Sandbox(api_key=sandbox.api_key, render=False) as other:
        url = f"{other.url}/v2/models".replace("127.0.0.1", "localhost")
        sandbox.faults.add(Fault("status", status=302, headers={"Location": url}))
        assert len(await done(peer.models.list())) == 5
        assert other.requests.count("GET", "/v2/models") == 1


def test_the_key_is_read_at_import() -> None:
    """A variable that is set later is not seen; the error has no status."""
    program = """
import os, sync
from sync.core import ApiError
os.environ["SYNC_API_KEY"] = "late"
for kind in (sync.Sync, sync.AsyncSync):
    try:
        kind()
    except ApiError as error:
        print(error.status_code)
"""
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], env={}, capture_output=True, text=True, check=True
    )
    assert run.stdout == "None\nNone\n"


def test_a_client_cannot_be_closed() -> None:
    """There is neither `close` nor a context manager."""
    for kind in (Sync, AsyncSync):
        names = {"close", "aclose", "__enter__", "__aenter__"}
        assert names & set(dir(kind)) == set()
