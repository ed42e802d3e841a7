"""Every endpoint of the API: one verb each, against the sandbox, through three doors."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    Audio,
    Generation,
    GenerationRequest,
    ReplaceWord,
    Transcript,
    Transcription,
    Video,
)
from lipsync_async._models.http import FilePart, Request
from lipsync_async._tools.endpoints import ENDPOINTS, rows
from lipsync_async.cli.commands import COMMANDS
from lipsync_async.sandbox import Fault, Sandbox
from tests.client.connections import ORDER, Door, completed, connect, opened, order

VOICE = "EXAVITQu4vr4xnSDxMaL"
SOUND = b"RIFF\x24\0\0\0WAVEfmt " + bytes(28)
REQUEST = GenerationRequest(**ORDER)


@attrs.frozen
class Given:
    """What a use of an endpoint may need."""

    client: AsyncClient
    sandbox: Sandbox
    folder: Path

    async def asset(self) -> Any:
        """Upload a sound."""
        return await self.client.assets.upload(SOUND, name="line.wav")

    async def transcript(self) -> Transcript:
        """Speak a line, and write down what is said."""
        job = await self.transcription()
        done = await self.client.transcriptions.wait_until_complete(job)
        assert done.transcript is not None
        return done.transcript

    async def transcription(self) -> Transcription:
        """Begin to write down what a spoken line says."""
        said = await self.client.speech.create("Hello there.", VOICE)
        return await self.client.transcriptions.create(audio_url=said.url)

    async def edit(self) -> Any:
        """Begin an edit of what is said."""
        said = await self.client.speech.create("Hello there.", VOICE)
        transcript = await self.transcript()
        word = transcript.segments[0].words[0]
        edits = [ReplaceWord(word.id, "Goodbye")]
        return await self.client.dialogue_edits.create(transcript, edits, video_url=said.url)

    async def batch(self) -> Any:
        """Create a batch."""
        return await self.client.batches.create([REQUEST] * 20)


async def _generate(given: Given) -> None:
    made = await order(given.client)
    assert (made.status, len(given.sandbox.jobs)) == ("PENDING", 1)


async def _generate_by_form(given: Given) -> None:
    place = given.folder / "line.wav"
    place.write_bytes(SOUND)
    made = await given.client.generations.create(
        model="lipsync-2", input=[Video("https://media.example/v.mp4"), Audio(file=place)]
    )
    assert [type(item) for item in made.input] == [Video, Audio]


async def _get(given: Given) -> None:
    made = await order(given.client)
    assert (await given.client.generations.get(made)).id == made.id


async def _list(given: Given) -> None:
    made = await order(given.client)
    page = await given.client.generations.list()
    assert [job.id for job in page.items] == [made.id]


async def _get_again(given: Given) -> None:
    made = await order(given.client)
    answer = await given.client.request("GET", f"/v2/generations/{made.id}")
    assert answer.status == 200


async def _delete(given: Given) -> None:
    await given.client.generations.delete(await completed(given.client))
    assert [*given.sandbox.jobs] == []


async def _count(given: Given) -> None:
    await order(given.client)
    assert await given.client.generations.count() == 1


async def _download(given: Given) -> None:
    done: Generation = await completed(given.client)
    given.sandbox.faults.add(Fault("expire_output"))
    path = await given.client.generations.download(done, given.folder / "done.mp4")
    assert path.stat().st_size > 0
    await given.client.request("GET", f"/v2/generations/{done.id}/download")


async def _analyze(given: Given) -> None:
    assert (await given.client.generations.estimate(REQUEST)).frame_count > 0


async def _estimate(given: Given) -> None:
    found = await given.client.generations.estimate_duration(model="lipsync-2", duration=10, fps=25)
    assert found.frame_count == 250


async def _estimate_again(given: Given) -> None:
    body = {"model": "lipsync-2", "duration": 10}
    answer = await given.client.request("POST", "/v2/generate/estimate-cost", json=body)
    assert answer.status == 200


async def _costs(given: Given) -> None:
    done = await completed(given.client)
    found = await given.client.generations.costs(done)
    assert (found.availability, found.generation_id) == ("complete", done.id)


async def _usage(given: Given) -> None:
    done = await completed(given.client)
    assert done.created_at is not None
    day = timedelta(days=1)
    span = (done.created_at - day, done.created_at + day)
    page = await given.client.account.usage(*span)
    assert [item.generation_id for item in page.items] == [done.id]
    assert [item.model async for item in given.client.account.iter_usage(*span)] == ["lipsync-2"]


async def _batch_by_file(given: Given) -> None:
    """No verb sends the file's form; the vendor's clients do."""
    kinds = ("video", "audio")
    inputs = [{"type": kind, "url": f"https://media.example/{kind}"} for kind in kinds]
    payload = {"model": "lipsync-2", "input": inputs}
    names = [f"r{number}" for number in range(20)]
    row = {"endpoint": "/v2/generate", "payload": payload}
    lines = "\n".join(json.dumps({"request_id": name, **row}) for name in names)
    form = (FilePart("input", "rows.jsonl", "application/jsonl", lines.encode()),)
    headers = {"x-api-key": given.sandbox.api_key}
    request = Request("POST", f"{given.sandbox.url}/v2/batch", headers, form=form)
    async with connect(given.sandbox) as client:
        answer = await client._requester.transport.send(request, timeout=10.0)  # noqa: SLF001
    assert (answer.status, len(given.sandbox.jobs)) == (201, 20)


async def _batch(given: Given) -> None:
    await given.client.batches.validate([REQUEST] * 20)
    assert len(given.sandbox.jobs) == 0
    made = await given.batch()
    assert (made.status, len(given.sandbox.jobs)) == ("PENDING", 20)


async def _get_batch(given: Given) -> None:
    made = await given.client.batches.get((await given.batch()).id)
    made = await given.client.batches.wait_until_complete(made)
    found = [outcome async for outcome in given.client.batches.results(made)]
    assert [each.request.request_id for each in found][:2] == ["r-0001", "r-0002"]
    assert {each.error for each in found} == {None}


async def _list_batches(given: Given) -> None:
    made = await given.batch()
    assert [batch.id for batch in await given.client.batches.list()] == [made.id]
    before = made.created_at - timedelta(seconds=5)
    assert await given.client.batches.find(created_after=before, rows=19) == []
    assert len(await given.client.batches.find(created_after=before, rows=20)) == 1


async def _upload(given: Given) -> None:
    asset = await given.asset()
    assert (asset.type, asset.size, asset.name) == ("AUDIO", len(SOUND), "line.wav")


async def _register(given: Given) -> None:
    asset = await given.client.assets.register("https://media.example/v.mp4", "VIDEO", name="v")
    assert (asset.type, asset.name, asset.visibility) == ("VIDEO", "v", "USER")


async def _list_assets(given: Given) -> None:
    asset = await given.asset()
    page = await given.client.assets.list(types=["AUDIO", "VIDEO"], sort_by="sizeDesc")
    assert ([each.id for each in page.items], page.total_count) == ([asset.id], 1)
    assert [each.id async for each in given.client.assets.iter(search="LINE")] == [asset.id]


async def _get_asset(given: Given) -> None:
    asset = await given.asset()
    assert await given.client.assets.get(asset.id) == asset


async def _update_asset(given: Given) -> None:
    asset = await given.asset()
    changed = await given.client.assets.update(asset.id, name="new", duration_seconds=2.5)
    assert (changed.name, changed.duration_seconds) == ("new", 2.5)


async def _delete_asset(given: Given) -> None:
    await given.client.assets.delete((await given.asset()).id)
    assert (await given.client.assets.list()).items == []


async def _download_asset(given: Given) -> None:
    asset = await given.asset()
    assert await given.client.assets.download_url(asset.id) == asset.url


async def _get_assets(given: Given) -> None:
    asset = await given.asset()
    none = "00000000-0000-4000-8000-000000000000"
    assert await given.client.assets.get_many([none, asset.id]) == [asset]


async def _uploaded(given: Given) -> None:
    asset = await given.asset()
    digest = hashlib.sha256(SOUND).hexdigest()
    assert await given.client.assets.find_uploaded(digest, "AUDIO") == asset
    assert await given.client.assets.find_uploaded(digest, "VIDEO") is None


async def _models(given: Given) -> None:
    assert "lipsync-2" in [model.id for model in await given.client.models.list()]


async def _errors(given: Given) -> None:
    found = {error.code: error.suggestion for error in await given.client.account.errors()}
    assert "rate_limit_exceeded" in found


async def _speak(given: Given) -> None:
    said = await given.client.speech.create("Hello there.", VOICE, stability=0.4)
    assert said.duration is not None
    assert said.duration > 0


async def _start_speech(given: Given) -> None:
    job = await given.client.speech.start("Hello there.", VOICE)
    assert job.status == "PENDING"


async def _get_speech(given: Given) -> None:
    job = await given.client.speech.run("Hello there.", VOICE, similarity_boost=0.1)
    assert (job.status, job.url is not None) == ("SUCCESS", True)
    assert await given.client.speech.get(job.id) == job
    assert await given.client.speech.wait_until_complete(job.id) == job


async def _voices(given: Given) -> None:
    assert VOICE in [voice.id for voice in await given.client.voices.list()]


async def _clone(given: Given) -> None:
    asset = await given.asset()
    voice = await given.client.voices.clone("me", asset_id=asset.id)
    assert voice.name == "me"


async def _delete_voice(given: Given) -> None:
    asset = await given.asset()
    voice = await given.client.voices.clone("me", asset_id=asset.id)
    await given.client.voices.delete(voice.id)
    assert voice.id not in [each.id for each in await given.client.voices.list()]


async def _project(given: Given) -> None:
    made = await given.client.projects.create("demo", description="d", mode="DEVELOPER")
    assert (made.name, made.description, made.mode) == ("demo", "d", "DEVELOPER")


async def _list_projects(given: Given) -> None:
    made = await given.client.projects.create("demo")
    page = await given.client.projects.list(search="dem", sort_by="name")
    assert [project.id for project in page.items] == [made.id]
    assert [project.id async for project in given.client.projects.iter()] == [made.id]


async def _get_project(given: Given) -> None:
    made = await given.client.projects.create("demo")
    assert await given.client.projects.get(made.id) == made


async def _update_project(given: Given) -> None:
    made = await given.client.projects.create("demo")
    changed = await given.client.projects.update(made.id, name="new")
    assert changed.name == "new"


async def _delete_project(given: Given) -> None:
    made = await given.client.projects.create("demo")
    await given.client.projects.delete(made.id)
    assert (await given.client.projects.list()).items == []


async def _attach(given: Given) -> None:
    made, asset = await given.client.projects.create("demo"), await given.asset()
    await given.client.projects.attach(made.id, asset.id)
    page = await given.client.assets.list(project_id=made.id)
    assert [each.id for each in page.items] == [asset.id]


async def _detach(given: Given) -> None:
    await _attach(given)
    (made,) = (await given.client.projects.list()).items
    (asset,) = (await given.client.assets.list()).items
    await given.client.projects.detach(made.id, asset.id)
    assert (await given.client.assets.list(project_id=made.id)).items == []


async def _transcribe(given: Given) -> None:
    job = await given.transcription()
    assert (await given.client.transcriptions.get(job.id)).id == job.id


async def _get_transcription(given: Given) -> None:
    transcript = await given.transcript()
    assert [word.text for word in transcript.segments[0].words] == ["Hello", "there."]


async def _edit(given: Given) -> None:
    assert (await given.edit()).status == "PENDING"


async def _get_edit(given: Given) -> None:
    job = await given.client.dialogue_edits.get((await given.edit()).id)
    done = await given.client.dialogue_edits.wait_until_complete(job)
    assert done.result_transcript is not None
    assert done.result_transcript.segments[0].words[0].text == "Goodbye"


async def _account(given: Given) -> None:
    found = await given.client.account.get()
    assert (found.billing_model, found.credential_type) == ("usage", "api_key")


async def _secret(given: Given) -> None:
    assert await given.client.account.webhook_secret() == given.sandbox.webhook_secret


async def _feedback(given: Given) -> None:
    assert await given.client.account.send_feedback("docs", "It reads well.") is not None


USES: dict[str, Callable[[Given], Awaitable[None]]] = {
    "1": _generate,
    "2": _generate_by_form,
    "3": _get,
    "4": _list,
    "5": _get_again,
    "6": _delete,
    "7": _count,
    "8": _download,
    "9": _analyze,
    "10": _estimate,
    "11": _estimate_again,
    "12": _batch_by_file,
    "13": _batch,
    "14": _get_batch,
    "15": _list_batches,
    "16": _upload,
    "17": _register,
    "18": _list_assets,
    "19": _get_asset,
    "20a": _update_asset,
    "20b": _delete_asset,
    "21": _download_asset,
    "22": _models,
    "23": _errors,
    "24": _speak,
    "25a": _start_speech,
    "25b": _get_speech,
    "26a": _voices,
    "26b": _clone,
    "26c": _delete_voice,
    "27a": _project,
    "27b": _list_projects,
    "27c": _get_project,
    "27d": _update_project,
    "27e": _delete_project,
    "27f": _attach,
    "27g": _detach,
    "28": _secret,
    "30": _costs,
    "31": _usage,
    "32": _get_assets,
    "33": _uploaded,
    "34": _transcribe,
    "35": _get_transcription,
    "36": _edit,
    "37": _get_edit,
    "38": _account,
    "39": _feedback,
}


@pytest.fixture(params=["memory", "sockets", "blocking"])
async def given(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Given]:
    """Connect to a sandbox, each way."""
    door: Door = request.param
    async with opened(door) as (client, sandbox):
        yield Given(client, sandbox, tmp_path)


@pytest.mark.parametrize("number", USES)
async def test_an_endpoint(number: str, given: Given) -> None:
    """Its verb does what it says, by this endpoint."""
    await USES[number](given)
    endpoint = ENDPOINTS[number]
    path = endpoint.path.replace("{id}", "*").replace("{assetId}", "*")
    assert given.sandbox.requests.find(endpoint.method, path) != []


def test_every_endpoint_has_verb_route_and_test() -> None:
    """No row of the table lacks one; none of the sandbox's routes lacks a row."""
    table = rows()
    assert {row.number for row in table} == {*USES}
    assert [row.number for row in table if not (row.verbs and row.route)] == []


def test_commands_name_verbs_that_exist() -> None:
    """Each verb that the table of commands names is one of an endpoint."""
    named = {verb for command in COMMANDS for verb in command.verbs.split()}
    assert named - {verb for row in rows() for verb in row.verbs} == set()
    assert len(named) > 20
