"""Projects, assets, voices, speech, transcriptions and dialogue edits: what each verb promises."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    ConflictError,
    DecodeError,
    GenerationRequest,
    InvalidRequestError,
    JobFailedError,
    JobTimeoutError,
    LipsyncError,
    NotFoundError,
    RemoveWord,
    ReplaceWord,
    RetryPolicy,
    ServerError,
    Transcript,
    UnprocessableError,
    Video,
)
from lipsync_async._models.http import Request, Response
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import Fault, Sandbox, VirtualClock
from tests.client.connections import Door, cancel_when, opened

Answers = Iterable[tuple[int, Any]]
Use = Callable[[Any], Awaitable[Any]]  # of a client, by arguments that may be wrong

VOICE = "EXAVITQu4vr4xnSDxMaL"
OWN = "3F2504E0-4F89-41D3-9A0C-0305E82C3301"
URL = "https://media.example/line.wav"
WORD = {"id": "w1", "text": "Hello", "startMs": 0, "endMs": 400}
RAW = {"segments": [{"id": "s1", "words": [WORD]}], "revision": 3}
TRANSCRIPT = Transcript(raw=RAW)
EDITS = [ReplaceWord("w1", "Hi"), RemoveWord("w2")]


@asynccontextmanager
async def answering(answers: Answers) -> AsyncIterator[tuple[AsyncClient, list[Request]]]:
    """Connect a client to a service that gives these answers, each once."""
    sent: list[Request] = []
    left = iter(answers)

    async def handle(request: Request) -> Response:
        sent.append(request)
        status, data = next(left)
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        return Response(request.method, request.url, status, {}, body)

    transport = MemoryTransport(handle, VirtualClock())
    async with AsyncClient("key", base_url="https://api.sync.so", transport=transport) as client:
        yield client, sent


async def left(use: Use, answers: Answers) -> tuple[LipsyncError, list[Request]]:
    """Return the error that a use ends with, and what was sent."""
    async with answering(answers) as (client, sent):
        with pytest.raises(LipsyncError) as caught:
            await use(client)
    return caught.value, sent


# --- what is sent ------------------------------------------------------------------------------

SENT: list[tuple[Use, str, dict[str, Any]]] = [
    (
        lambda c: c.projects.create(
            "n", id=OWN, visibility="USER", mode="CREATOR", default_workflow="lipsync"
        ),
        "POST /v2/projects",
        {
            "id": OWN,
            "name": "n",
            "visibility": "USER",
            "mode": "CREATOR",
            "defaultWorkflow": "lipsync",
        },
    ),
    (
        lambda c: c.projects.update(OWN, description="d", default_workflow="timeline"),
        f"PATCH /v2/projects/{OWN}",
        {"description": "d", "defaultWorkflow": "timeline"},
    ),
    (
        lambda c: c.assets.update(OWN, duration_seconds=0, size=0, format="mp4", width=1, height=2),
        f"PATCH /v2/assets/{OWN}",
        {"durationSeconds": 0, "size": 0, "format": "mp4", "width": 1, "height": 2},
    ),
    (
        lambda c: c.assets.register(URL, "AUDIO", visibility="ORGANIZATION", project_id=OWN),
        "POST /v2/assets",
        {"url": URL, "type": "AUDIO", "visibility": "ORGANIZATION", "projectId": OWN},
    ),
    (
        lambda c: c.voices.clone("me", url=URL),
        "POST /v2/voices",
        {"name": "me", "provider": "elevenlabs", "url": URL},
    ),
    (
        lambda c: c.speech.create("Hello.", VOICE, stability=0, similarity_boost=1),
        "POST /v2/tts",
        {
            "script": "Hello.",
            "voiceId": VOICE,
            "provider": "elevenlabs",
            "stability": 0,
            "similarityBoost": 1,
        },
    ),
    (
        lambda c: c.transcriptions.create(
            video_url=URL, start_ms=0, end_ms=3_600_000, max_source_seconds=60, project_id=OWN
        ),
        "POST /v2/transcriptions",
        {
            "sourceVideoUrl": URL,
            "startMs": 0,
            "endMs": 3_600_000,
            "maxSourceSeconds": 60,
            "projectId": OWN,
        },
    ),
    (
        lambda c: c.dialogue_edits.create(
            TRANSCRIPT, EDITS, video_url=URL, voice_id="v", rerun_of="e", project_id=OWN
        ),
        "POST /v2/dialogue-edits",
        {
            "transcript": RAW,
            "edits": [
                {"kind": "change", "wordId": "w1", "replacement": "Hi"},
                {"kind": "remove", "wordId": "w2"},
            ],
            "sourceVideoUrl": URL,
            "voiceId": "v",
            "rerunOfJobId": "e",
            "projectId": OWN,
        },
    ),
    (
        lambda c: c.dialogue_edits.create(RAW, EDITS[:1], video_url=URL),
        "POST /v2/dialogue-edits",
        {
            "transcript": RAW,
            "edits": [{"kind": "change", "wordId": "w1", "replacement": "Hi"}],
            "sourceVideoUrl": URL,
        },
    ),
    (
        lambda c: c.projects.list(search="a b", sort_by="name", limit=2, cursor="c&d"),
        "GET /v2/projects?limit=2&cursor=c%26d&searchQuery=a+b&sortBy=name",
        {},
    ),
    (
        lambda c: c.assets.list(types=["AUDIO", "IMAGE"], project_id=OWN, sort_by="sizeAsc"),
        f"GET /v2/assets?types=AUDIO,IMAGE&projectId={OWN}&sortBy=sizeAsc&limit=100",
        {},
    ),
]


@pytest.mark.parametrize(("use", "place", "body"), SENT, ids=[place for _, place, _ in SENT])
async def test_what_is_not_given_is_not_sent(use: Use, place: str, body: dict[str, Any]) -> None:
    """Arguments have their names of the wire; what is left out is no null, and zero is told."""
    _, (request, *_) = await left(use, [(400, {}), (400, {})])
    assert f"{request.method} {request.url.removeprefix('https://api.sync.so')}" == place
    assert json.loads(request.body or b"{}") == body


ID = "../a?b#c%/ü"
BY_ID: list[tuple[Use, str]] = [
    (lambda c: c.projects.get(ID), "/v2/projects/*"),
    (lambda c: c.projects.update(ID, name="n"), "/v2/projects/*"),
    (lambda c: c.projects.delete(ID), "/v2/projects/*"),
    (lambda c: c.projects.attach(ID, "a"), "/v2/projects/*/assets"),
    (lambda c: c.projects.detach(ID, ID), "/v2/projects/*/assets/*"),
    (lambda c: c.assets.get(ID), "/v2/assets/*"),
    (lambda c: c.assets.update(ID, name="n"), "/v2/assets/*"),
    (lambda c: c.assets.delete(ID), "/v2/assets/*"),
    (lambda c: c.assets.download_url(ID), "/v2/assets/*/download"),
    (lambda c: c.voices.delete(ID), "/v2/voices/*"),
    (lambda c: c.speech.get(ID), "/v2/tts/jobs/*"),
    (lambda c: c.speech.wait_until_complete(ID), "/v2/tts/jobs/*"),
    (lambda c: c.transcriptions.get(ID), "/v2/transcriptions/*"),
    (lambda c: c.transcriptions.wait_until_complete(ID), "/v2/transcriptions/*"),
    (lambda c: c.dialogue_edits.get(ID), "/v2/dialogue-edits/*"),
    (lambda c: c.dialogue_edits.wait_until_complete(ID), "/v2/dialogue-edits/*"),
]


@pytest.mark.parametrize(("use", "place"), BY_ID)
async def test_no_id_leaves_its_place(use: Use, place: str) -> None:
    """An id is one segment of the path, whatever it holds."""
    _, (request,) = await left(use, [(403, {})])
    path = request.url.removeprefix("https://api.sync.so")
    segments = [unquote(each) for each in path.split("/")]
    assert segments == [ID if each == "*" else each for each in place.split("/")]


WRONG: list[tuple[Use, list[str]]] = [
    (lambda c: c.projects.create("", id="1", mode="x"), ["name", "id", "mode"]),
    (lambda c: c.projects.create("n" * 256, description=""), ["name", "description"]),
    (lambda c: c.projects.list(limit=101, sort_by="size"), ["limit", "sort_by"]),
    (lambda c: c.projects.update("", visibility="x"), ["project_id", "visibility"]),
    (lambda c: c.projects.update(""), ["project_id", "arguments"]),
    (lambda c: c.projects.attach("", ""), ["project_id", "asset_id"]),
    (lambda c: c.projects.detach("", ""), ["project_id", "asset_id"]),
    (lambda c: c.assets.register("a.mp4", "video"), ["url", "type"]),
    (lambda c: c.assets.register("ftp://h/x", "VIDEO", visibility="ALL"), ["url", "visibility"]),
    (lambda c: c.assets.list(types=[], limit=0), ["types", "limit"]),
    (lambda c: c.assets.list(types=["x"], sort_by="name"), ["types[0]", "sort_by"]),
    (lambda c: c.assets.update("", size=-1, width=1.5), ["asset_id", "size", "width"]),
    (lambda c: c.assets.update("a"), ["arguments"]),
    (lambda c: c.assets.get_many([]), ["asset_ids"]),
    (lambda c: c.assets.get_many(5), ["asset_ids"]),
    (lambda c: c.assets.get_many(["", *"a" * 100]), ["asset_ids[0]", "asset_ids"]),
    (lambda c: c.assets.find_uploaded("A" * 64, "SOUND"), ["sha256", "type"]),
    (lambda c: c.voices.clone("n" * 101), ["name", "url"]),
    (lambda c: c.voices.clone("n", url=URL, asset_id="a"), ["url"]),
    (lambda c: c.voices.delete(""), ["voice_id"]),
    (lambda c: c.speech.create("x" * 5001, "", stability=2), ["script", "voice_id", "stability"]),
    (lambda c: c.speech.create("x", "v", similarity_boost=-1), ["similarity_boost"]),
    (lambda c: c.speech.start("", "v", idempotency_key="a b"), ["script", "idempotency_key"]),
    (lambda c: c.speech.run("", ""), ["script", "voice_id"]),
    (lambda c: c.speech.wait_until_complete("", timeout=-1), ["id", "timeout"]),
    (lambda c: c.transcriptions.create(), ["video_url"]),
    (lambda c: c.transcriptions.create(video_url=URL, audio_url=URL), ["video_url"]),
    (lambda c: c.transcriptions.create(video_url="x", start_ms=-1), ["video_url", "start_ms"]),
    (lambda c: c.transcriptions.create(audio_url=URL, start_ms=5, end_ms=5), ["end_ms"]),
    (lambda c: c.transcriptions.create(audio_url=URL, end_ms=3_600_001), ["end_ms"]),
    (
        lambda c: c.transcriptions.create(audio_url=URL, max_source_seconds=0),
        ["max_source_seconds"],
    ),
    (
        lambda c: c.dialogue_edits.create({}, [], video_url="x"),
        ["transcript", "edits", "video_url"],
    ),
    (lambda c: c.dialogue_edits.create(5, EDITS, video_url=URL), ["transcript"]),
    (
        lambda c: c.dialogue_edits.create(
            Transcript(), [ReplaceWord("", ""), RemoveWord(""), "x"], video_url=URL
        ),
        ["transcript", "edits[0].word_id", "edits[0].replacement", "edits[1].word_id", "edits[2]"],
    ),
]


@pytest.mark.parametrize(("use", "wrong"), WRONG)
async def test_what_is_wrong_is_told_at_once(use: Use, wrong: list[str]) -> None:
    """One error names every argument that is wrong, and nothing is sent."""
    error, sent = await left(use, [])
    assert isinstance(error, InvalidRequestError)
    assert [problem.partition(":")[0] for problem in error.problems] == wrong
    assert sent == []


# --- what comes back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        [{"id": "a"}, {"id": "b", "odd": 1}],
        {"items": [{"id": "a"}, {"id": "b", "odd": 1}]},
        {"voices": [{"id": "a", "name": 5}, {"id": "b", "odd": 1}, {"name": "no id"}]},
    ],
)
async def test_voices_come_in_any_form(answer: Any) -> None:
    """A list is read bare or under a name; a bad member costs only itself."""
    async with answering([(200, answer)]) as (client, _):
        voices = await client.voices.list()
    assert [(voice.id, voice.name) for voice in voices] == [("a", None), ("b", None)]
    assert voices[1].raw == {"id": "b", "odd": 1}


A, B = {"id": "a", "type": "AUDIO"}, {"id": "b", "type": "VIDEO"}
PAGES: list[tuple[list[Any], list[str], int]] = [
    ([[A]], ["a"], 1),
    ([{"items": []}], [], 1),
    ([{"items": [A], "nextCursor": None}], ["a"], 1),
    ([{"items": [A], "nextCursor": ""}], ["a"], 1),
    ([{"items": [A], "nextCursor": "x"}, {"items": [B]}], ["a", "b"], 2),
    ([{"items": [A], "nextCursor": "x"}] * 3, ["a", "a"], 2),
]


@pytest.mark.parametrize(("answers", "ids", "requests"), PAGES)
async def test_pages_end(answers: list[Any], ids: list[str], requests: int) -> None:
    """Pages are read until there is no cursor, or one that was there before."""
    async with answering([(200, answer) for answer in answers]) as (client, sent):
        assert [project.id async for project in client.projects.iter()] == ids
    assert len(sent) == requests
    async with answering([(200, answer) for answer in answers]) as (client, sent):
        assert [asset.id async for asset in client.assets.iter()] == ids
    assert [("cursor=x" in request.url) for request in sent] == [False, True][:requests]


async def test_a_project_has_the_id_that_was_sent() -> None:
    """An answer about another project is no success; capitals make no other id."""
    other = {"id": "another", "name": "n"}
    error, _ = await left(lambda c: c.projects.create("n", id=OWN), [(201, other)])
    assert isinstance(error, DecodeError)
    assert error.paths == (f"expected {OWN!r}, not 'another' @ $.id",)
    async with answering([(200, {"id": OWN.lower()})]) as (client, _):
        assert (await client.projects.create("n", id=OWN)).id == OWN.lower()


async def test_a_project_is_created_once() -> None:
    """A create whose answer is lost is repeated under the same id."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault("reset_after", method="POST", path="/v2/projects"))
        made = await client.projects.create("demo")
        assert [project.id async for project in client.projects.iter()] == [made.id]
        assert sandbox.requests.count("POST", "/v2/projects") == 2
        assert (await client.projects.create("other", id=made.id)).name == "demo"


GONE: list[tuple[str, str]] = [
    ("projects", "/v2/projects/*"),
    ("assets", "/v2/assets/*"),
    ("voices", "/v2/voices/*"),
]


async def made(client: AsyncClient, sandbox: Sandbox, kind: str) -> str:
    """Make a thing of a kind, and return its id."""
    if kind == "projects":
        return (await client.projects.create("demo")).id
    said = await client.speech.create("Hello there.", VOICE)
    asset = await client.assets.register(said.url, "AUDIO")
    return asset.id if kind == "assets" else (await client.voices.clone("me", asset_id=asset.id)).id


@pytest.mark.parametrize(("kind", "path"), GONE)
async def test_what_was_deleted_is_gone(kind: str, path: str) -> None:
    """After a lost answer, "not found" says that it worked; at first it is an error."""
    async with opened("memory") as (client, sandbox):
        thing = await made(client, sandbox, kind)
        sandbox.faults.add(Fault("reset_after", method="DELETE", path=path))
        await getattr(client, kind).delete(thing)
        assert sandbox.requests.count("DELETE", path) == 2
        with pytest.raises(NotFoundError):
            await getattr(client, kind).delete(thing)


# --- what costs --------------------------------------------------------------------------------

PAID: list[tuple[Use, str, str]] = [
    (lambda c: c.voices.clone("me", url=URL), "/v2/voices", "voices.list()"),
    (lambda c: c.speech.create("Hello.", VOICE), "/v2/tts", "speech.start()"),
    (
        lambda c: c.dialogue_edits.create(TRANSCRIPT, EDITS, video_url=URL),
        "/v2/dialogue-edits",
        "may be paid again",
    ),
]


@pytest.mark.parametrize("answer", [(500, {}), (502, b"<html>"), (201, b""), (201, {"odd": 1})])
@pytest.mark.parametrize(("use", "path", "advice"), PAID)
async def test_what_may_be_paid_is_not_repeated(
    use: Use, path: str, advice: str, answer: tuple[int, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A try of unknown outcome is the last; the error and the log say what to do first."""
    error, (request,) = await left(use, [answer])
    assert request.url.endswith(path)
    assert error.may_have_worked
    assert [note for note in error.__notes__ if advice in note] != []
    assert advice in caplog.text


@pytest.mark.parametrize("answer", [(400, {}), (409, {}), (422, {})])
@pytest.mark.parametrize(("use", "path", "advice"), PAID)
async def test_a_refusal_is_no_doubt(
    use: Use, path: str, advice: str, answer: tuple[int, Any]
) -> None:
    """What the service refused was not paid, and the error says nothing else."""
    error, (request,) = await left(use, [answer])
    assert request.url.endswith(path)
    assert (error.may_have_worked, advice in str(getattr(error, "__notes__", ""))) == (False, False)


async def test_a_speech_job_is_paid_once() -> None:
    """All tries carry one key, which the job shows; the same key gives the same job."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault("reset_after", method="POST", path="/v2/tts/jobs"))
        job = await client.speech.start("Hello.", VOICE)
        sent = sandbox.requests.find("POST", "/v2/tts/jobs")
        assert [each.headers["idempotency-key"] for each in sent] == [job.idempotency_key] * 2
        again = await client.speech.start("Hello.", VOICE, idempotency_key=job.idempotency_key)
        assert again.id == job.id
        with pytest.raises(ConflictError) as caught:
            await client.speech.start("Other.", VOICE, idempotency_key=job.idempotency_key)
    assert caught.value.idempotency_key == job.idempotency_key


@pytest.mark.parametrize("answer", [(500, {}), (202, b"{"), (503, b"<html>")])
async def test_a_speech_job_in_doubt_keeps_its_key(answer: tuple[int, Any]) -> None:
    """The error names the key under which the job can be asked for again."""
    use = lambda c: c.with_options(retry=RetryPolicy(attempts=2)).speech.start(  # noqa: E731
        "Hello.", VOICE, idempotency_key="own-key"
    )
    error, sent = await left(use, [answer, answer])
    assert [request.headers["idempotency-key"] for request in sent] == ["own-key"] * 2
    assert (error.idempotency_key, error.may_have_worked) == ("own-key", True)
    assert "own-key" in str(error)


@pytest.mark.parametrize(
    ("answers", "notes"),
    [
        ([(503, {"errorCode": "plan_feature_unavailable"})], 1),
        ([(503, {"message": "Not enabled"})], 1),
        ([(503, {"errorCode": "IDEMPOTENCY_OUTCOME_UNKNOWN"}), (503, {})], 0),
    ],
)
async def test_a_503_refuses_speech_jobs_for_good(answers: Answers, notes: int) -> None:
    """The service's own 503 is not tried again, and leads to the other verb if nothing is paid."""
    error, sent = await left(lambda c: c.speech.start("Hello.", VOICE), answers)
    assert isinstance(error, ServerError)
    assert len(sent) == len([*answers])
    told = [note for note in getattr(error, "__notes__", ()) if "speech.create()" in note]
    assert (len(told), error.may_have_worked) == (notes, notes == 0)


# --- jobs --------------------------------------------------------------------------------------

JOBS = ["speech", "transcriptions", "dialogue_edits"]


@pytest.mark.parametrize("kind", JOBS)
async def test_a_wait_ends_with_the_job(kind: str) -> None:
    """Each change of the status is told once; a word that is not known ends nothing."""
    seen = []
    states = ["PENDING", "PENDING", "TUNING", "COMPLETED"]
    answers = [(200, {"id": "j", "status": state}) for state in states]
    async with answering(answers) as (client, _):
        wait = getattr(client, kind).wait_until_complete
        done = await wait("j", on_update=lambda job: seen.append(job.status))
        assert await wait(done) is done
    assert (seen, done.status) == (["PENDING", "TUNING", "COMPLETED"], "COMPLETED")


@pytest.mark.parametrize("kind", JOBS)
@pytest.mark.parametrize("status", ["FAILED", "REJECTED", "CANCELED", "CANCELLED", "TIMED_OUT"])
@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        ({"code": "NO_AUDIO", "message": "It is silent"}, "NO_AUDIO", " (NO_AUDIO): It is silent"),
        ({"code": 5}, None, ": the service gave no reason"),
        ("It is silent", None, ": It is silent"),
        (None, None, ": the service gave no reason"),
    ],
)
async def test_a_bad_end_is_an_error(
    kind: str, status: str, error: Any, code: str | None, words: str
) -> None:
    """It names the job and the service's reason, in whatever form that came."""
    answer = {"id": "job-1", "status": status, "error": error}
    caught, _ = await left(lambda c: getattr(c, kind).wait_until_complete("job-1"), [(200, answer)])
    assert isinstance(caught, JobFailedError)
    assert (caught.job.id, caught.job.status, caught.code) == ("job-1", status, code)
    assert f"job-1 ended as {status}{words}" in str(caught)


@pytest.mark.parametrize("kind", JOBS)
async def test_a_wait_has_an_end(kind: str) -> None:
    """When the time is up, the error names the job, which goes on."""
    answers = ((200, {"id": "job-1", "status": "PROCESSING"}) for _ in range(100))
    use: Use = lambda c: getattr(c, kind).wait_until_complete("job-1", timeout=30)  # noqa: E731
    error, _ = await left(use, answers)
    assert isinstance(error, JobTimeoutError)
    assert "job-1" in str(error)


async def test_speech_is_usable_when_it_is_there() -> None:
    """`run` gives the audio's address and length."""
    async with opened("memory") as (client, _):
        job = await client.speech.run("Hello there.", VOICE)
    assert job.url is not None
    assert (job.status, job.url.startswith("http")) == ("SUCCESS", True)


async def test_a_partial_edit_is_told() -> None:
    """An edit that has ended in part is a good end, and says so."""
    answer = {
        "id": "e",
        "status": "COMPLETED_PARTIAL",
        "partialDetail": {"reason": "background_bed_missing"},
        "resultTranscript": RAW,
    }
    async with answering([(200, answer)]) as (client, _):
        done = await client.dialogue_edits.wait_until_complete("e")
    assert (done.is_partial, done.partial_detail) == (True, answer["partialDetail"])
    assert done.result_transcript is not None
    assert (done.result_transcript.text, done.result_transcript.raw) == ("Hello", RAW)


@pytest.mark.parametrize("door", ["memory", "blocking"])
async def test_an_edit_is_rendered(door: Door, tmp_path: Path) -> None:
    """By a create, a batch and a run with a journal; in the blocking client as well."""
    async with opened(door, progression="polls(1)", creates_per_minute=None) as (client, sandbox):
        (tmp_path / "v.mp4").write_bytes(b"video")
        face = await client.assets.register(sandbox.host_file(tmp_path / "v.mp4"), "VIDEO")
        job = await client.transcriptions.create(video_url=face.url)
        known = (await client.transcriptions.wait_until_complete(job.id)).transcript
        assert known is not None
        change = ReplaceWord(known.words[0].id, "Bye")
        edit = await client.dialogue_edits.create(known, [change], video_url=str(face.url))
        asked = GenerationRequest(model="lipsync-2", input=[Video(face.url)], dialogue_edit=edit.id)
        with pytest.raises(UnprocessableError) as refused:
            await client.generations.create(asked)
        await client.dialogue_edits.wait_until_complete(edit)
        done = await client.generations.run(
            model="lipsync-2", input=[Video(asset_id=face.id)], dialogue_edit=edit.id
        )
        batch = await client.batches.create([asked] * 20)
        await client.batches.wait_until_complete(batch.id)
        rows = [outcome async for outcome in client.batches.results(batch)]
        journal = tmp_path / "j.sqlite"
        runs = [await client.generations.run_all([asked], journal=journal) for _ in "ab"]
    assert refused.value.code == "dialogue_edit_not_found"
    assert (done.status, done.dialogue_edit) == ("COMPLETED", edit.id)
    assert done.raw["dialogueEdit"] == {"id": edit.id}
    assert [row.request for row in rows] == [
        attrs.evolve(asked, request_id=f"r-{number:04}") for number in range(1, 21)
    ]
    again = [each for (each,) in runs]
    assert [each.generation and each.generation.dialogue_edit for each in again] == [edit.id] * 2
    assert [each.resumed for each in again] == [False, True]


# --- what is looked for before it is repeated ----------------------------------------------------

ASSETS = "/v2/assets"


@pytest.mark.parametrize(
    ("kind", "count", "creates"),
    [("reset_after", 1, 1), ("reset_before", 1, 2), ("reset_before", 2, 3)],
)
async def test_an_asset_is_registered_once(kind: str, count: int, creates: int) -> None:
    """After a lost answer the asset is looked for, and made again only if it is not there."""
    async with opened("memory") as (client, sandbox):
        await client.assets.register("https://media.example/other.wav", "AUDIO")
        sandbox.faults.add(Fault(kind, method="POST", path=ASSETS, count=count))
        asset = await client.assets.register(URL, "AUDIO")
        assert [each async for each in client.assets.iter() if each.url == URL] == [asset]
        assert sandbox.requests.count("POST", ASSETS) == 1 + creates


@pytest.mark.parametrize(
    ("answers", "methods"),
    [
        ([(500, {}), (200, []), (502, b""), (200, []), (500, {}), (200, [])], "POST GET " * 3),
        ([(500, {}), (401, {})], "POST GET"),
        ([(422, {})], "POST"),
        ([(201, {"odd": 1})], "POST"),
    ],
)
async def test_a_registration_ends(answers: Answers, methods: str) -> None:
    """It is tried three times, not at all after a refusal, and not without a look."""
    error, sent = await left(lambda c: c.assets.register(URL, "AUDIO"), answers)
    assert [request.method for request in sent] == methods.split()
    assert error.may_have_worked == (422 not in [status for status, _ in answers])


async def test_a_wait_that_is_cancelled_names_the_job(caplog: pytest.LogCaptureFixture) -> None:
    """What goes on at the service is in the log."""
    seen: list[Any] = []
    answers = ((200, {"id": "job-1", "status": "PROCESSING"}) for _ in range(100_000))
    async with answering(answers) as (client, _):
        wait = client.speech.wait_until_complete
        await cancel_when(lambda: bool(seen), lambda: wait("job-1", on_update=seen.append))
    assert "Job job-1 goes on" in caplog.text
