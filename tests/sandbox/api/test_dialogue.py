"""Transcriptions and dialogue edits, over the wire."""

import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from lipsync_async.sandbox import Fault
from lipsync_async.sandbox.media.demo_media import draw_talking_head, tone
from lipsync_async.sandbox.media.open_media import probe
from tests.sandbox.clients import NOW, Answer, Client, created, memory_client, shown
from tests.sandbox.media.clips import heard, loudness

NONE = "00000000-0000-4000-8000-000000000000"
SCRIPT = "Hello there, my friend."
HOUR = 3_600_000


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Connect to a sandbox in memory."""
    async with memory_client(progression="polls(2)") as connected:
        yield connected


async def said(client: Client, script: str = SCRIPT) -> str:
    """Speak a script, and return the address of the sound."""
    body = {"script": script, "voiceId": "v", "provider": "elevenlabs"}
    return str((await client.send("POST", "/v2/tts", body)).json["url"])


async def written(client: Client, url: str, **fields: Any) -> Answer:
    """Ask for what is said in a sound."""
    body = {"sourceAudioUrl": url, **fields}
    return await client.send("POST", "/v2/transcriptions", body, headers=NOW)


async def transcript(client: Client, url: str, **fields: Any) -> dict[str, Any]:
    """Return a transcription that has ended."""
    job_id = (await written(client, url, **fields)).json["id"]
    found: dict[str, Any] = (await client.send("GET", f"/v2/transcriptions/{job_id}")).json
    return found


def words(found: Any) -> list[str]:
    """Return the words of a transcript."""
    return [word["text"] for segment in found["segments"] for word in segment["words"]]


async def edit_body(client: Client, **fields: Any) -> dict[str, Any]:
    """Return the body of an edit that the service takes."""
    url = await said(client)
    known = (await transcript(client, url))["transcript"]
    change = {"kind": "change", "wordId": "w1", "replacement": "Bye"}
    return {"transcript": known, "edits": [change], "sourceVideoUrl": url, **fields}


async def edited(client: Client, **fields: Any) -> dict[str, Any]:
    """Return an edit that has ended."""
    body = await edit_body(client, **fields)
    made = await client.send("POST", "/v2/dialogue-edits", body, headers=NOW)
    assert made.status == 201, made.body
    answer = await client.send("GET", f"/v2/dialogue-edits/{made.json['id']}")
    found: dict[str, Any] = answer.json
    return found


async def test_a_transcription_has_the_words_that_were_spoken(client: Client) -> None:
    """In order, in milliseconds, within the source; nothing of them before the end."""
    url = await said(client)
    made = await client.send("POST", "/v2/transcriptions", {"sourceVideoUrl": url})
    path = f"/v2/transcriptions/{made.json['id']}"
    expected = {
        "id": made.json["id"],
        "status": "PENDING",
        "createdAt": made.json["createdAt"],
        "sourceVideoUrl": url,
        "sourceStartMs": 0,
        "sourceEndMs": None,
        "transcript": None,
        "speakerCount": None,
    }
    assert (made.status, made.json) == (201, expected)
    found = [(await client.send("GET", path)).json for _ in range(2)]
    assert [each["status"] for each in found] == ["PROCESSING", "COMPLETED"]
    done = found[1]
    assert (done["speakerCount"], done["sourceEndMs"]) == (1, 1000)
    assert words(done["transcript"]) == SCRIPT.split()
    times = [
        time
        for segment in done["transcript"]["segments"]
        for word in segment["words"]
        for time in (word["startMs"], word["endMs"])
    ]
    assert (times, times[0], times[-1]) == (sorted(times), 0, 1000)


async def test_a_window_shows_its_words_only(client: Client) -> None:
    """Their times stay those of the source; an end past the source is clamped."""
    url = await said(client)
    whole = await transcript(client, url)
    part = await transcript(client, url, startMs=600, endMs=HOUR)
    known = whole["transcript"]["segments"][0]["words"]
    expected = [word for word in known if word["endMs"] > 600]
    assert part["transcript"]["segments"][0]["words"] == expected
    assert (part["sourceStartMs"], part["sourceEndMs"]) == (600, 1000)


async def test_one_source_and_window_is_one_job(client: Client) -> None:
    """Whatever else is asked; another window, or a source that failed, is another job."""
    url = await said(client)
    first = (await written(client, url)).json["id"]
    again = ({"startMs": 0}, {"maxSourceSeconds": 9})
    same = [(await written(client, url, **fields)).json["id"] for fields in again]
    body = {"sourceVideoUrl": f"{url}?signature=new"}
    same.append((await client.send("POST", "/v2/transcriptions", body)).json["id"])
    assert same == [first] * 3
    other = (await written(client, url, startMs=5)).json["id"]
    failed = [(await written(client, url, endMs=9, maxSourceSeconds=0.1)).json for _ in range(2)]
    assert len({first, other, *(each["id"] for each in failed)}) == 4


async def test_a_job_that_runs_for_an_hour_is_not_shown_again(client: Client) -> None:
    """The same source gets a new one then."""
    body = {"sourceAudioUrl": await said(client)}
    first = (await client.send("POST", "/v2/transcriptions", body)).json["id"]
    second = (await client.send("POST", "/v2/transcriptions", body)).json["id"]
    await client.sleep(3_600)
    third = (await client.send("POST", "/v2/transcriptions", body)).json["id"]
    assert (first == second, first == third) == (True, False)


async def test_two_at_once_for_one_source_make_one_job(client: Client) -> None:
    """Also while the first is still being made."""
    url, ids = await said(client), list[str]()

    async def write() -> None:
        ids.append((await written(client, url)).json["id"])

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        group.start_soon(write)
    assert (len(ids), len(set(ids))) == (2, 1)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"sourceAudioUrl": None}, 400, None),
        ({"sourceVideoUrl": "http://localhost/v.mp4"}, 400, None),
        ({"startMs": -1}, 400, None),
        ({"endMs": 1.5}, 400, None),
        ({"startMs": 5, "endMs": 5}, 400, None),
        ({"startMs": 5, "endMs": 6 + HOUR}, 400, None),
        ({"maxSourceSeconds": 0}, 400, None),
        ({"projectId": NONE}, 422, "project_not_found"),
        ({"sourceAudioUrl": "https://media.example/a.wav"}, 422, "file_not_in_org_storage"),
        ({"sourceAudioUrl": "{base}/__sandbox/files/gone.wav"}, 422, "file_not_in_org_storage"),
    ],
)
async def test_a_transcription_that_cannot_be_is_refused(
    client: Client, fields: dict[str, Any], status: int, code: str | None
) -> None:
    """With the code of what is wrong."""
    told = {
        name: value.replace("{base}", client.sandbox.url) if isinstance(value, str) else value
        for name, value in fields.items()
    }
    answer = await client.send(
        "POST", "/v2/transcriptions", {"sourceAudioUrl": await said(client), **told}
    )
    assert (answer.status, answer.json.get("errorCode")) == (status, code)


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"maxSourceSeconds": 0.5}, "SOURCE_TOO_LONG"), ({"startMs": 2000}, "NO_AUDIO")],
)
async def test_a_source_that_does_not_do_fails_the_job(
    client: Client, fields: dict[str, Any], code: str
) -> None:
    """The codes inside a job are in upper case."""
    found = await transcript(client, await said(client), **fields)
    assert (found["status"], found["error"]["code"]) == ("FAILED", code)
    assert (found["transcript"], type(found["error"]["message"])) == (None, str)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/transcriptions/no-id", 400),
        (f"/v2/transcriptions/{NONE}", 404),
        ("/v2/dialogue-edits/no-id", 404),
        (f"/v2/dialogue-edits/{NONE}", 404),
    ],
)
async def test_a_job_that_is_not_there(client: Client, path: str, status: int) -> None:
    """An id that is none is told apart for transcriptions only."""
    assert (await client.send("GET", path)).status == status


async def test_an_edit_speaks_the_changed_words(client: Client) -> None:
    """The other words stay; the result has a sound, its words and where they lie."""
    body = await edit_body(client)
    remove = {"kind": "remove", "wordId": "w2"}
    body["edits"] = [*body["edits"], remove]
    made = await client.send("POST", "/v2/dialogue-edits", body)
    expected = {
        "id": made.json["id"],
        "status": "PENDING",
        "sourceVideoUrl": body["sourceVideoUrl"],
        "sourceStartMs": 0,
        "edits": body["edits"],
    }
    assert (made.status, made.json) == (201, expected)
    path = f"/v2/dialogue-edits/{made.json['id']}"
    found = [(await client.send("GET", path)).json for _ in range(2)]
    assert [each["status"] for each in found] == ["PROCESSING", "COMPLETED"]
    done = found[1]
    assert words(done["resultTranscript"]) == ["Bye", "my", "friend."]
    assert done["sourceTranscript"] == body["transcript"]
    (slot,) = done["resultSlots"]
    expected = {"outputStartMs": 0, "outputDurationMs": 933, "sourceStartMs": 0}
    assert slot == {**expected, "sourceDurationMs": 1000}
    assert done["resultTranscript"]["segments"][0]["words"][-1]["endMs"] == 933
    sound = await client.send("GET", done["previewAudioUrl"])
    assert (sound.status, sound.body[:4]) == (200, b"RIFF")


async def test_the_voice_of_an_edit_can_be_used_again(client: Client) -> None:
    """It is a clone of who speaks, which the next edit keeps."""
    first = await edited(client)
    voice = first["voiceId"]
    assert voice in [each["id"] for each in (await client.send("GET", "/v2/voices")).json]
    second = await edited(client, voiceId=voice, rerunOfJobId=first["id"])
    assert second["voiceId"] == voice
    assert len((await client.send("GET", "/v2/voices")).json) == 5


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"startMs": 0}, 422, "dialogue_edit_unsupported"),
        ({"edits": []}, 400, None),
        ({"edits": [{"kind": "shout", "wordId": "w1"}]}, 400, None),
        ({"edits": [{"kind": "remove", "wordId": "w99"}]}, 400, None),
        ({"transcript": {"segments": []}}, 400, None),
        ({"projectId": NONE}, 422, "project_not_found"),
        ({"voiceId": NONE}, 422, "voice_not_found"),
        ({"rerunOfJobId": NONE}, 422, "dialogue_edit_not_found"),
        ({"sourceVideoUrl": "https://media.example/v.mp4"}, 422, "file_not_in_org_storage"),
        (
            {"edits": [{"kind": "remove", "wordId": f"w{number}"} for number in range(1, 5)]},
            422,
            "dialogue_edit_removal_too_large",
        ),
    ],
)
async def test_an_edit_that_cannot_be_is_refused(
    client: Client, fields: dict[str, Any], status: int, code: str | None
) -> None:
    """Nothing is spoken or cloned for it."""
    body = await edit_body(client, **fields)
    answer = await client.send("POST", "/v2/dialogue-edits", body)
    assert (answer.status, answer.json.get("errorCode")) == (status, code)
    assert len((await client.send("GET", "/v2/voices")).json) == 4


async def test_one_speaker_only(client: Client) -> None:
    """Words of a second one are refused; words of none are as those of the one."""
    body = await edit_body(client)
    spoken = body["transcript"]["segments"][0]["words"]
    del spoken[0]["speakerId"]
    fine = await client.send("POST", "/v2/dialogue-edits", body)
    spoken[1]["speakerId"] = "speaker-2"
    refused = await client.send("POST", "/v2/dialogue-edits", body)
    assert fine.status == 201
    assert (refused.status, refused.json["errorCode"]) == (422, "dialogue_edit_unsupported")


async def test_an_edit_that_is_too_long_fails(client: Client) -> None:
    """The job names the words, and makes no sound; no generation takes it."""
    change = {"kind": "change", "wordId": "w2", "replacement": "a" * 201}
    found = await edited(client, edits=[change])
    error = {"code": "EDIT_TOO_LONG", "message": "The replacement is too long."}
    told = {**error, "spanText": "a" * 201, "wordIds": ["w2"]}
    assert (found["status"], found["error"]) == ("FAILED", told)
    assert "previewAudioUrl" not in found
    body = {
        "model": "lipsync-2",
        "input": [{"type": "video", "url": found["sourceVideoUrl"]}],
        "dialogueEdit": {"id": found["id"]},
    }
    refused = await client.send("POST", "/v2/generate", body)
    assert (refused.status, refused.json["errorCode"]) == (422, "dialogue_edit_not_found")


async def test_faults_apply_to_both(client: Client) -> None:
    """A job that a fault fails has no result."""
    for path in ("/v2/transcriptions", "/v2/dialogue-edits"):
        client.sandbox.faults.add(Fault("fail_job", path=path, code="VOICE_BLOCKED", skip=1))
    edit_of = await edit_body(client)
    failed = await transcript(client, edit_of["sourceVideoUrl"], startMs=1)
    assert (failed["status"], failed["error"]["code"]) == ("FAILED", "VOICE_BLOCKED")
    made = [await client.send("POST", "/v2/dialogue-edits", edit_of, headers=NOW) for _ in "ab"]
    paths = [f"/v2/dialogue-edits/{each.json['id']}" for each in made]
    found = [(await client.send("GET", path)).json["status"] for path in paths]
    assert found == ["COMPLETED", "FAILED"]


async def test_unknown_sound_is_one_word(tmp_path: Path) -> None:
    """Where something is to be heard; silence has no words, and an edit of it is partial."""
    tone(tmp_path / "tone.wav", seconds=0.5, hertz=440)
    tone(tmp_path / "silence.wav", seconds=0.5, hertz=0)
    async with memory_client(render=True) as client:
        loud, silent = (
            client.sandbox.host_file(tmp_path / f"{name}.wav") for name in ("tone", "silence")
        )
        found = await transcript(client, loud)
        assert (found["status"], words(found["transcript"])) == ("COMPLETED", ["(speech)"])
        assert (await transcript(client, silent))["error"]["code"] == "NO_AUDIO"
        partial = await edited(client, sourceVideoUrl=silent)
    assert (partial["status"], partial["partialDetail"]) == (
        "COMPLETED_PARTIAL",
        {"reason": "background_bed_missing"},
    )


async def test_an_edit_of_a_long_source_fails(tmp_path: Path) -> None:
    """Ten minutes are the most."""
    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setparams((1, 1, 100, 0, "NONE", "not compressed"))
        file.writeframes(b"\x80" * 60_100)
    async with memory_client(render=True) as client:
        url = client.sandbox.host_file(tmp_path / "long.wav")
        found = await edited(client, sourceVideoUrl=url)
    assert (found["status"], found["error"]["code"]) == ("FAILED", "SOURCE_TOO_LONG")


async def test_a_generation_says_what_the_edit_says(tmp_path: Path) -> None:
    """The output is as long as its video, with the edit's sound from the beginning."""
    draw_talking_head(tmp_path / "clip.mp4", seconds=2.0, width=96, height=64)
    async with memory_client(render=True) as client:
        url = client.sandbox.host_file(tmp_path / "clip.mp4")
        edit = await edited(client)
        (slot,) = edit["resultSlots"]
        video = {"type": "video", "url": url}
        job_id = await created(client, input=[video], dialogueEdit={"id": edit["id"]})
        await client.send("GET", f"/v2/generate/{job_id}?wait=true&timeout=10")
        done = await shown(client, job_id)
        assert (done["status"], done["dialogueEdit"]) == ("COMPLETED", {"id": edit["id"]})
        known = await transcript(client, done["outputUrl"])
        (tmp_path / "out.mp4").write_bytes((await client.send("GET", done["outputUrl"])).body)
    info = probe(tmp_path / "out.mp4", "video")
    assert [done["outputDuration"], info.duration] == pytest.approx([2.0] * 2, abs=0.05)
    sound, end = heard(tmp_path / "out.mp4"), slot["outputDurationMs"] / 1000
    assert loudness(sound, 0.1, end) > 10 * max(loudness(sound, end + 0.2, 1.9), 1e-4)
    assert words(known["transcript"])[0] == "Bye"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("text", ["Hi", "you."]), ("url", SCRIPT.split()), ("tone", ["(speech)"])],
)
async def test_the_words_of_an_output_are_those_of_its_input(
    tmp_path: Path, kind: str, expected: list[str]
) -> None:
    """Speech that was made here is known again in the video that says it."""
    draw_talking_head(tmp_path / "clip.mp4", seconds=1.0, width=64, height=64)
    tone(tmp_path / "tone.wav", seconds=1.0, hertz=440)
    async with memory_client(render=True) as client:
        provider = {"name": "elevenlabs", "voiceId": "v", "script": "Hi you."}
        heard_in = {
            "text": {"type": "text", "provider": provider},
            "url": {"type": "audio", "url": await said(client)},
            "tone": {"type": "audio", "url": client.sandbox.host_file(tmp_path / "tone.wav")},
        }
        video = {"type": "video", "url": client.sandbox.host_file(tmp_path / "clip.mp4")}
        job_id = await created(client, input=[video, heard_in[kind]])
        await client.send("GET", f"/v2/generate/{job_id}?wait=true&timeout=10")
        output = (await shown(client, job_id))["outputUrl"]
        assert words((await transcript(client, output))["transcript"]) == expected


async def test_an_output_that_was_not_rendered_has_one_word(client: Client) -> None:
    """A placeholder plays nothing, and is as long as it says."""
    job_id = await created(client, NOW)
    output = (await shown(client, job_id))["outputUrl"]
    found = await transcript(client, output)
    assert (words(found["transcript"]), found["sourceEndMs"]) == (["(speech)"], 1000)
