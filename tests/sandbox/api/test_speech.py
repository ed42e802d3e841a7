"""Voices and speech, over the wire."""

import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from lipsync_async.sandbox import Fault
from lipsync_async.sandbox.media.demo_media import tone
from tests.sandbox.clients import NOW, Answer, Client, memory_client

VOICE = "EXAVITQu4vr4xnSDxMaL"
NONE = "00000000-0000-4000-8000-000000000000"
SPEECH = {"script": "Hello there.", "voiceId": VOICE, "provider": "elevenlabs"}
KEYED = {"idempotency-key": "take-1"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Connect to a sandbox in memory."""
    async with memory_client(progression="polls(2)") as connected:
        yield connected


def hosted(client: Client, folder: Path, name: str) -> str:
    """Host a small file of any kind."""
    (folder / name).write_bytes(b"sound")
    return client.sandbox.host_file(folder / name)


async def cloned(client: Client, name: str = "me", **source: Any) -> Answer:
    """Try to clone a voice."""
    body = {"name": name, "provider": "elevenlabs", **source}
    return await client.send("POST", "/v2/voices", body)


async def test_speech_is_there_at_once(client: Client) -> None:
    """The answer has an id, an address, and the length in seconds of what is behind it."""
    said = await client.send("POST", "/v2/tts", SPEECH)
    sound = await client.send("GET", said.json["url"], headers={"x-api-key": ""})
    assert (said.status, said.json.keys()) == (200, {"id", "url", "duration"})
    assert (said.json["duration"], sound.body[:4]) == (0.8, b"RIFF")


@pytest.mark.parametrize("path", ["/v2/tts", "/v2/tts/jobs"])
@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({"script": ""}, 400, ["script must be 1 to 5000 characters"]),
        ({"script": "a" * 5001}, 400, ["script must be 1 to 5000 characters"]),
        ({"stability": 1.1}, 400, ["stability must be a number from 0 to 1"]),
        ({"similarityBoost": -0.1}, 400, ["similarityBoost must be a number from 0 to 1"]),
        ({"provider": None}, 400, ["provider should not be empty"]),
        ({"voiceId": NONE}, 422, f"Voice {NONE} was not found."),
    ],
)
async def test_speech_that_cannot_be_is_refused(
    client: Client, path: str, changed: dict[str, Any], status: int, message: Any
) -> None:
    """Both forms check the same."""
    answer = await client.send("POST", path, {**SPEECH, **changed})
    assert (answer.status, answer.json["message"]) == (status, message)


async def test_a_job_ends_as_success(client: Client) -> None:
    """202 with its address, `Retry-After: 3` while it runs, and a result only at its end."""
    made = await client.send("POST", "/v2/tts/jobs", SPEECH)
    path = f"/v2/tts/jobs/{made.json['id']}"
    empty = dict.fromkeys(("url", "duration", "error", "startedAt", "finishedAt"))
    shown = {"id": made.json["id"], "status": "PENDING", "createdAt": made.json["createdAt"]}
    assert (made.status, made.headers["location"], made.json) == (202, path, {**shown, **empty})
    running, done = await client.send("GET", path), await client.send("GET", path)
    assert (running.json["status"], running.headers["retry-after"]) == ("PROCESSING", "3")
    assert (done.json["status"], "retry-after" in done.headers) == ("SUCCESS", False)
    assert (done.json["duration"], done.json["error"]) == (0.8, None)
    assert made.json["createdAt"] <= done.json["startedAt"] <= done.json["finishedAt"]
    assert (await client.send("GET", f"/v2/tts/jobs/{NONE}")).status == 404


async def test_a_key_makes_one_job(client: Client) -> None:
    """The same body shows the job as it is now, another body is a conflict."""
    first = await client.send("POST", "/v2/tts/jobs", SPEECH, headers={**KEYED, **NOW})
    again = await client.send("POST", "/v2/tts/jobs", SPEECH, headers=KEYED)
    other = {**SPEECH, "script": "Bye."}
    refused = await client.send("POST", "/v2/tts/jobs", other, headers=KEYED)
    assert (again.status, again.json["id"]) == (202, first.json["id"])
    assert again.json["status"] == "SUCCESS"
    assert (refused.status, refused.json["errorCode"]) == (409, "IDEMPOTENCY_KEY_REUSED")


async def test_a_key_may_have_any_characters(client: Client) -> None:
    """One to 128 of them, without the blanks around."""
    ids, statuses = set(), []
    for key in ("take/1, two", "  take/1, two ", "x" * 128, f" {'x' * 128}", "  ", "x" * 129):
        answer = await client.send("POST", "/v2/tts/jobs", SPEECH, headers={"idempotency-key": key})
        statuses.append(answer.status)
        ids.add(answer.json.get("id", answer.json.get("errorCode")))
    assert statuses == [202, 202, 202, 202, 400, 400]
    assert (len(ids), "INVALID_IDEMPOTENCY_KEY" in ids) == (3, True)


@pytest.mark.parametrize(
    ("kind", "details", "status", "error"),
    [
        ("fail_job", {"code": "X", "message": "No."}, "FAILED", ("X", "No.")),
        ("fail_job", {}, "FAILED", ("generation_pipeline_failed", "An unknown error occurred.")),
        ("stick_job", {}, "PROCESSING", None),
    ],
)
async def test_faults_apply_to_a_job(
    client: Client, kind: str, details: Any, status: str, error: Any
) -> None:
    """They stay with the job that their request made."""
    client.sandbox.faults.add(Fault(kind, path="/v2/tts/jobs", **details))
    made = await client.send("POST", "/v2/tts/jobs", SPEECH, headers=NOW)
    found = (await client.send("GET", f"/v2/tts/jobs/{made.json['id']}")).json
    told = error and dict(zip(("code", "message"), error, strict=True))
    assert (found["status"], found["error"], found["url"]) == (status, told, None)


@pytest.mark.parametrize(
    ("path", "body", "most"),
    [("/v2/tts", SPEECH, 60), ("/v2/tts/jobs", SPEECH, 60), ("/v2/voices", {}, 10)],
)
async def test_each_has_a_limit_of_its_own(path: str, body: Any, most: int) -> None:
    """What is over it is a 429, and other requests still pass."""
    async with memory_client(plan="scale") as client:
        found = [(await client.send("POST", path, body)).status for _ in range(most + 1)]
        assert ([429 in found[:-1], found[-1]]) == [False, 429]
        assert (await client.send("GET", "/v2/voices")).status == 200


async def test_the_free_plan_speaks_ten_times_a_month() -> None:
    """The eleventh is a 402, and the next month begins anew."""
    async with memory_client(plan="free") as client:
        found = [await client.send("POST", "/v2/tts", SPEECH) for _ in range(11)]
        assert [answer.status for answer in found] == [200] * 10 + [402]
        assert found[-1].json["errorCode"] == "free_tier_generations_exhausted"
        await client.sleep(32 * 86_400)
        assert (await client.send("POST", "/v2/tts", SPEECH)).status == 200


async def test_a_clone_is_listed_until_it_is_deleted(client: Client, tmp_path: Path) -> None:
    """It speaks by its id; once deleted it is not found, in a path or in a body."""
    made = await cloned(client, url=hosted(client, tmp_path, "a.wav"))
    voice = made.json["id"]
    path = f"/v2/voices/{voice}"
    expected = {"id": voice, "name": "me", "provider": "elevenlabs"}
    assert (made.status, made.json) == (201, expected)
    listed = (await client.send("GET", "/v2/voices")).json
    assert (VOICE in [each["id"] for each in listed], listed[-1]) == (True, expected)
    said = await client.send("POST", "/v2/tts", {**SPEECH, "voiceId": voice})
    gone = [await client.send("DELETE", path) for _ in range(2)]
    assert (said.status, gone[0].status, gone[0].json) == (200, 200, True)
    assert (gone[1].status, gone[1].json["errorCode"]) == (404, "voice_not_found")
    unsaid = await client.send("POST", "/v2/tts", {**SPEECH, "voiceId": voice})
    assert (unsaid.status, unsaid.json["errorCode"]) == (422, "voice_not_found")


async def test_two_clones_at_once_of_one_name_make_one(client: Client, tmp_path: Path) -> None:
    """The name is taken for the second, whichever that is."""
    url, statuses = hosted(client, tmp_path, "a.wav"), list[int]()

    async def clone() -> None:
        statuses.append((await cloned(client, url=url)).status)

    async with anyio.create_task_group() as group:
        group.start_soon(clone)
        group.start_soon(clone)
    assert sorted(statuses) == [201, 409]


async def test_clones_have_a_limit(tmp_path: Path) -> None:
    """A clone that the plan does not allow is a 403; a deleted one makes room."""
    async with memory_client(voice_clones=1) as client:
        url = hosted(client, tmp_path, "a.wav")
        made, over = await cloned(client, "a", url=url), await cloned(client, "b", url=url)
        assert (over.status, over.json["errorCode"]) == (403, "voice_clone_limit_reached")
        await client.send("DELETE", f"/v2/voices/{made.json['id']}")
        assert (await cloned(client, "b", url=url)).status == 201


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ({}, 400, None),
        ({"url": "{a.wav}", "assetId": NONE}, 400, None),
        ({"assetId": NONE}, 422, "asset_not_found"),
        ({"url": "https://media.example/a.wav"}, 400, "voice_sample_upload_required"),
        ({"url": "{a.wav}-gone"}, 400, "voice_sample_not_accessible"),
        ({"url": "{a.png}"}, 400, "voice_sample_type_unsupported"),
    ],
)
async def test_a_sample_that_is_none_is_refused(
    client: Client, tmp_path: Path, source: dict[str, str], status: int, code: str | None
) -> None:
    """With the code of what is wrong; one way to name it is needed, and no more."""
    urls = {name: hosted(client, tmp_path, name) for name in ("a.wav", "a.png")}
    told = {
        name: text.replace("{a.wav}", urls["a.wav"]).replace("{a.png}", urls["a.png"])
        for name, text in source.items()
    }
    answer = await cloned(client, **told)
    assert (answer.status, answer.json.get("errorCode")) == (status, code)


async def test_an_asset_is_a_sample(client: Client, tmp_path: Path) -> None:
    """By its id, if it is hosted here."""
    told = {"url": hosted(client, tmp_path, "a.wav"), "type": "AUDIO"}
    asset = (await client.send("POST", "/v2/assets", told)).json["id"]
    assert (await cloned(client, assetId=asset)).status == 201


async def test_a_sample_is_listened_to(tmp_path: Path) -> None:
    """Too short a sound, or what is no sound, is refused; so nothing is cloned of noise."""
    tone(tmp_path / "long.wav", seconds=1.2, hertz=440)
    tone(tmp_path / "short.wav", seconds=0.3, hertz=440)
    (tmp_path / "text.wav").write_bytes(b"no sound")
    async with memory_client(render=True) as client:
        found = {}
        for name in ("long", "short", "text"):
            url = client.sandbox.host_file(tmp_path / f"{name}.wav")
            answer = await cloned(client, name, url=url)
            found[name] = answer.status, answer.json.get("errorCode")
    assert found == {
        "long": (201, None),
        "short": (400, "voice_sample_too_short"),
        "text": (400, "voice_sample_invalid"),
    }


async def test_speech_is_as_long_as_it_says(tmp_path: Path) -> None:
    """With an engine that speaks, the sound has the stated length."""
    async with memory_client(render=True) as client:
        said = (await client.send("POST", "/v2/tts", SPEECH)).json
        (tmp_path / "a.wav").write_bytes((await client.send("GET", said["url"])).body)
    with wave.open(str(tmp_path / "a.wav")) as sound:
        seconds = sound.getnframes() / sound.getframerate()
    assert seconds == pytest.approx(said["duration"], abs=0.001)
