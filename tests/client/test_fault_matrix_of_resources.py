"""Every verb but those of generations meets trouble: done exactly once, or the outcome is unknown.

What may be repeated is repeated, and done once. What may not ends with an error that says so and
what to do; nothing is done twice.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    GenerationRequest,
    LipsyncError,
    ReplaceWord,
    RetryPolicy,
    ServerError,
    Transcript,
)
from lipsync_async.sandbox import Fault, Sandbox
from tests.client.connections import ORDER, connect, opened

VOICE = "EXAVITQu4vr4xnSDxMaL"
PROJECT = "00000000-0000-4000-8000-000000000001"
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
SOUND = b"RIFF\x24\0\0\0WAVEfmt " + bytes(28)
PATIENT = RetryPolicy(attempts=5, first_pause=0.1, longest_pause=0.2)


@attrs.frozen
class World:
    """What a verb needs, and what the sandbox holds."""

    client: AsyncClient
    sandbox: Sandbox
    url: str  # of a sound that was spoken
    asset: str
    voice: str
    speech_job: str
    transcription: str
    edit: str
    batch: str

    transcript: Transcript


Use = Callable[[World], Awaitable[Any]]
BATCH = [GenerationRequest(**ORDER)] * 20


async def results_of(world: World) -> None:
    """Read the results of a batch that has ended: each request has one row."""
    batch = await world.client.batches.wait_until_complete(world.batch)
    found = [outcome async for outcome in world.client.batches.results(batch)]
    assert [outcome.is_success for outcome in found] == [True] * len(BATCH)


# By verb: its request, and a call of it.
REPEATED: dict[str, tuple[str, str, Use]] = {
    "account.get": ("GET", "/v2/account", lambda w: w.client.account.get()),
    "account.errors": ("GET", "/v2/errors", lambda w: w.client.account.errors()),
    "account.usage": (
        "GET",
        "/v2/usage/generations",
        lambda w: w.client.account.usage(START, END),
    ),
    "account.webhook_secret": (
        "GET",
        "/v2/organizations/webhook/secret",
        lambda w: w.client.account.webhook_secret(),
    ),
    "assets.register": (
        "POST",
        "/v2/assets",
        lambda w: w.client.assets.register(w.url, "AUDIO"),
    ),
    "assets.upload, its slot": (
        "POST",
        "/v2/assets/upload",
        lambda w: w.client.assets.upload(SOUND, name="a.wav"),
    ),
    "assets.upload, its bytes": (
        "PUT",
        "/__sandbox/uploads/*",
        lambda w: w.client.assets.upload(SOUND, name="a.wav"),
    ),
    "assets.upload, its asset": (
        "POST",
        "/v2/assets",
        lambda w: w.client.assets.upload(SOUND, name="a.wav"),
    ),
    "assets.list": ("GET", "/v2/assets", lambda w: w.client.assets.list()),
    "assets.get": ("GET", "/v2/assets/*", lambda w: w.client.assets.get(w.asset)),
    "assets.get_many": (
        "POST",
        "/v2/assets/batch",
        lambda w: w.client.assets.get_many([w.asset]),
    ),
    "assets.find_uploaded": (
        "GET",
        "/v2/assets/uploaded",
        lambda w: w.client.assets.find_uploaded("0" * 64, "AUDIO"),
    ),
    "assets.update": (
        "PATCH",
        "/v2/assets/*",
        lambda w: w.client.assets.update(w.asset, name="b"),
    ),
    "assets.delete": ("DELETE", "/v2/assets/*", lambda w: w.client.assets.delete(w.asset)),
    "assets.download_url": (
        "GET",
        "/v2/assets/*/download",
        lambda w: w.client.assets.download_url(w.asset),
    ),
    "projects.create": ("POST", "/v2/projects", lambda w: w.client.projects.create("p")),
    "projects.list": ("GET", "/v2/projects", lambda w: w.client.projects.list()),
    "projects.get": ("GET", "/v2/projects/*", lambda w: w.client.projects.get(PROJECT)),
    "projects.update": (
        "PATCH",
        "/v2/projects/*",
        lambda w: w.client.projects.update(PROJECT, name="q"),
    ),
    "projects.delete": ("DELETE", "/v2/projects/*", lambda w: w.client.projects.delete(PROJECT)),
    "projects.attach": (
        "POST",
        "/v2/projects/*/assets",
        lambda w: w.client.projects.attach(PROJECT, w.asset),
    ),
    "projects.detach": (
        "DELETE",
        "/v2/projects/*/assets/*",
        lambda w: w.client.projects.detach(PROJECT, w.asset),
    ),
    "voices.list": ("GET", "/v2/voices", lambda w: w.client.voices.list()),
    "voices.delete": ("DELETE", "/v2/voices/*", lambda w: w.client.voices.delete(w.voice)),
    "speech.start": ("POST", "/v2/tts/jobs", lambda w: w.client.speech.start("Hi.", VOICE)),
    "speech.run": ("POST", "/v2/tts/jobs", lambda w: w.client.speech.run("Hi.", VOICE)),
    "speech.get": ("GET", "/v2/tts/jobs/*", lambda w: w.client.speech.get(w.speech_job)),
    "speech.wait_until_complete": (
        "GET",
        "/v2/tts/jobs/*",
        lambda w: w.client.speech.wait_until_complete(w.speech_job),
    ),
    "transcriptions.create": (
        "POST",
        "/v2/transcriptions",
        lambda w: w.client.transcriptions.create(audio_url=w.url, end_ms=500),
    ),
    "transcriptions.get": (
        "GET",
        "/v2/transcriptions/*",
        lambda w: w.client.transcriptions.get(w.transcription),
    ),
    "transcriptions.wait_until_complete": (
        "GET",
        "/v2/transcriptions/*",
        lambda w: w.client.transcriptions.wait_until_complete(w.transcription),
    ),
    "dialogue_edits.get": (
        "GET",
        "/v2/dialogue-edits/*",
        lambda w: w.client.dialogue_edits.get(w.edit),
    ),
    "dialogue_edits.wait_until_complete": (
        "GET",
        "/v2/dialogue-edits/*",
        lambda w: w.client.dialogue_edits.wait_until_complete(w.edit),
    ),
    "batches.validate": ("POST", "/v2/batch", lambda w: w.client.batches.validate(BATCH)),
    "batches.get": ("GET", "/v2/batch/*", lambda w: w.client.batches.get(w.batch)),
    "batches.list": ("GET", "/v2/batch", lambda w: w.client.batches.list()),
    "batches.wait_until_complete": (
        "GET",
        "/v2/batch/*",
        lambda w: w.client.batches.wait_until_complete(w.batch),
    ),
    "batches.results": ("GET", "/__sandbox/batches/*", results_of),
    "generations.costs": (
        "GET",
        "/v2/generate/*/costs",
        lambda w: w.client.generations.costs(next(iter(w.sandbox.jobs)).id),
    ),
}
# By verb: its request, a call of it, and a part of what its error advises.
ONCE: dict[str, tuple[str, str, Use, str]] = {
    "account.send_feedback": (
        "POST",
        "/v2/feedback",
        lambda w: w.client.account.send_feedback("bug", "It broke."),
        "report",
    ),
    "batches.create": (
        "POST",
        "/v2/batch",
        lambda w: w.client.batches.create(BATCH),
        "batches.find(",
    ),
    "dialogue_edits.create": (
        "POST",
        "/v2/dialogue-edits",
        lambda w: w.client.dialogue_edits.create(
            w.transcript, [ReplaceWord("w1", "Bye")], video_url=w.url
        ),
        "edit",
    ),
    "speech.create": ("POST", "/v2/tts", lambda w: w.client.speech.create("Hi.", VOICE), "start"),
    "voices.clone": (
        "POST",
        "/v2/voices",
        lambda w: w.client.voices.clone("new", asset_id=w.asset),
        "voices.list",
    ),
}
# Nothing was done when these strike, and the service says so, or nothing reached it.
HARMLESS: dict[str, dict[str, Any]] = {
    "reset_before": {"kind": "reset_before"},
    "429": {"kind": "status", "status": 429, "code": "rate_limit_exceeded"},
}
# After these it is not known.
UNKNOWN: dict[str, dict[str, Any]] = {
    "reset_after": {"kind": "reset_after"},
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503},
    "502": {"kind": "status", "status": 502, "body": "<html>Bad Gateway</html>"},
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Connect in memory to a sandbox that holds one of everything."""
    async with opened("memory", projects=[PROJECT]) as (calm, sandbox):
        await calm.generations.create(**ORDER)
        said = await calm.speech.create("Hello.", VOICE)
        asset = await calm.assets.upload(SOUND + b"1", name="a.wav")
        done = await calm.transcriptions.wait_until_complete(
            await calm.transcriptions.create(audio_url=said.url)
        )
        assert done.transcript is not None
        edit = await calm.dialogue_edits.create(
            done.transcript, [ReplaceWord("w1", "Bye")], video_url=said.url
        )
        world = World(
            calm,
            sandbox,
            said.url,
            asset.id,
            (await calm.voices.clone("old", asset_id=asset.id)).id,
            (await calm.speech.start("Hello.", VOICE)).id,
            (await calm.transcriptions.create(audio_url=said.url, start_ms=10)).id,
            edit.id,
            (await calm.batches.create(BATCH)).id,
            done.transcript,
        )
        async with connect(sandbox, retry=PATIENT) as client:
            yield attrs.evolve(world, client=client)


def held(world: World) -> dict[str, int]:
    """Return how many rows of each kind the sandbox has ever made."""
    state = world.sandbox._state  # noqa: SLF001 - there is no other way to see all
    counts = {kind.__name__: table.created for kind, table in state._tables.items()}  # noqa: SLF001
    speeches = state.quota.count("speeches")
    return {**counts, "Job": world.sandbox.jobs.created, "speech": speeches}


async def outcome(use: Use, world: World) -> LipsyncError | None:
    """Return the error that a call ends with."""
    try:
        await use(world)
    except LipsyncError as error:
        return error
    return None


@pytest.mark.traced_once("verb", "trouble")
@pytest.mark.parametrize("trouble", [*HARMLESS, *UNKNOWN])
@pytest.mark.parametrize("verb", REPEATED)
async def test_what_may_be_repeated_is_done_once(verb: str, trouble: str, world: World) -> None:
    """It succeeds, and what it makes is there once."""
    method, path, use = REPEATED[verb]
    before = held(world)
    world.sandbox.faults.add(Fault(method=method, path=path, **{**HARMLESS, **UNKNOWN}[trouble]))
    world.sandbox.requests.clear()
    error = await outcome(use, world)
    # Of this endpoint, it says that the organization is not enabled.
    is_final = trouble == "503" and path == "/v2/tts/jobs"
    assert type(error) is (ServerError if is_final else type(None))
    made = {kind: number - before.get(kind, 0) for kind, number in held(world).items()}
    made.pop("Upload", None)  # a spare place for bytes, which is harmless
    assert {number for number in made.values() if number > 0} <= {1}
    assert len(world.sandbox.requests.find(method, path)) >= 1


@pytest.mark.traced_once("verb", "trouble")
@pytest.mark.parametrize("trouble", [*HARMLESS, *UNKNOWN])
@pytest.mark.parametrize("verb", ONCE)
async def test_what_may_act_twice_is_sent_once(verb: str, trouble: str, world: World) -> None:
    """It succeeds where nothing was done; else its error says what to do before another try."""
    method, path, use, advice = ONCE[verb]
    before = held(world)
    world.sandbox.faults.add(Fault(method=method, path=path, **{**HARMLESS, **UNKNOWN}[trouble]))
    world.sandbox.requests.clear()
    error = await outcome(use, world)
    new = {kind for kind, number in held(world).items() if number > before.get(kind, 0)}
    if trouble in HARMLESS:
        assert error is None
        assert new != set()
        return
    assert error is not None
    assert error.may_have_worked
    assert advice in "".join(error.__notes__)
    assert (new != set()) is (trouble == "reset_after")
    assert len(world.sandbox.requests.find(method, path)) == 1
