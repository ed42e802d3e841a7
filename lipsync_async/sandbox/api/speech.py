"""Voices, and speech made of a script: at once, or as a job.

Source: "List voices", "Create voice", "Text to speech", sync.so API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from lipsync_async.sandbox.api.assets import Asset
from lipsync_async.sandbox.api.create_body import ELEVENLABS, VOICE
from lipsync_async.sandbox.clock import retry_after
from lipsync_async.sandbox.jobs import Work, life_to
from lipsync_async.sandbox.server.api_errors import ApiError, error, malformed
from lipsync_async.sandbox.server.idempotency import trimmed_key
from lipsync_async.sandbox.server.messages import JSON, JSON_BODY, Response, dump, json_response
from lipsync_async.sandbox.server.pipeline import Resource
from lipsync_async.sandbox.server.shapes import TEXT, WEB_URL, Shape, checked, is_uuid, text

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State

_POLL_SECONDS = 3.0  # advised while a job runs
_LONGEST_NAME = 100
_SHORTEST_SAMPLE = 1.0  # seconds; the sandbox's own, the real number is not documented
# The provider's own voices that its documentation shows. Any other id speaks as well.
_BUILT_IN = {
    "EXAVITQu4vr4xnSDxMaL": "Sarah",
    "JBFqnCBsd6RMkjVDRZzb": "George",
    "XrExE9yKIg1WjnnlVkGX": "Matilda",
    "onwK4e9ZLuTAKqWW03F9": "Daniel",
}
_VOICE = Shape(
    {"name": text(_LONGEST_NAME), "provider": ELEVENLABS, "url": WEB_URL, "assetId": TEXT},
    frozenset({"name", "provider"}),
    any_of=("url", "assetId"),
)
_SPEECH = Shape({"provider": ELEVENLABS, **VOICE}, frozenset({"provider", "script", "voiceId"}))


@attrs.frozen(slots=True, eq=False)
class Voice:
    """One cloned voice."""

    NOUN: ClassVar[str] = "Voice"
    NOT_FOUND: ClassVar[str | None] = "voice_not_found"

    id: str
    name: str


@attrs.define(slots=True, eq=False, kw_only=True)
class SpeechJob(Work):
    """One script that is spoken."""

    NOUN: ClassVar[str] = "TTS job"

    transitions: Mapping[str, frozenset[str]] = attrs.field(default=life_to("SUCCESS"), repr=False)


voices: Resource = Resource("/v2/voices")
speech: Resource = Resource("/v2/tts")


@voices.route("GET")
def list_voices(state: State, _: Request) -> Any:
    """Answer with the provider's voices and the clones."""
    found = [*_BUILT_IN.items(), *((voice.id, voice.name) for voice in state.table(Voice))]
    return [_voice_json(voice_id, name) for voice_id, name in found]


@voices.route("POST", body=JSON_BODY, status=201, rate="voice")
async def clone(state: State, request: Request) -> Any:
    """Clone a voice from a sample that was uploaded."""
    body = checked(_VOICE, request.data)
    if body.get("url") is not None and body.get("assetId") is not None:
        raise malformed(["url or assetId must be given, not both"])
    await _check_sample(state, body)
    voices_now = state.table(Voice)  # as they are after the wait
    if any(voice.name == body["name"] for voice in voices_now):
        raise error("voice_name_conflict", f"There is a voice {body['name']!r}.", field="name")
    if state.voice_clones is not None and len(voices_now) >= state.voice_clones:
        message = f"The plan has {state.voice_clones} voice clones; all are taken."
        raise error("voice_clone_limit_reached", message)
    voice = voices_now.add(Voice(state.new_id(), body["name"]))
    return _voice_json(voice.id, voice.name)


async def _check_sample(state: State, body: Mapping[str, Any]) -> None:
    """Pass a sample that was uploaded, and is long enough."""
    field = "assetId" if body.get("url") is None else "url"
    url = body.get("url") or state.table(Asset).find(body[field], is_input=True).fields["url"]
    if not state.files.is_own(url):
        message = "Upload the sample first; it must be hosted here."
        raise error("voice_sample_upload_required", message, field=field)
    file = state.files.at(url)
    if file is None:
        message = f"There is no file at {url}."
        raise error("voice_sample_not_accessible", message, field=field)
    kind = file.content_type.partition("/")[0]
    if kind not in {"audio", "video"}:
        message = f"A sample is audio or video, not {file.content_type}."
        raise error("voice_sample_type_unsupported", message, field=field)
    try:
        with state.clock.hold():
            seconds, _ = await state.renderer.hear(file.path)
    except ApiError as refusal:
        message = refusal.body["message"]
        raise error("voice_sample_invalid", message, field=field) from None
    if seconds < _SHORTEST_SAMPLE:
        message = f"A sample is {_SHORTEST_SAMPLE:g} s or longer, not {seconds:.2f} s."
        raise error("voice_sample_too_short", message, field=field)


@voices.route("DELETE", "/{id}")
def delete_voice(state: State, request: Request) -> Any:
    """Delete a clone."""
    table = state.table(Voice)
    table.delete(table.find(request.params["id"]).id)
    return True


@speech.route("POST", body=JSON_BODY, rate="speech")
async def speak(state: State, request: Request) -> Any:
    """Speak a script, and answer when that is done."""
    said = await _spoken(state, request.data)
    return {"id": state.new_id(), **said}


def _replay(state: State, job_id: str) -> Response:
    job = state.table(SpeechJob)[job_id]
    return _accepted(job)


@speech.route(
    "POST", "/jobs", body=JSON_BODY, rate="speech job", replay=_replay, key_of=trimmed_key
)
async def start(state: State, request: Request) -> Response:
    """Begin to speak a script, and answer at once."""
    said = await _spoken(state, request.data)
    job = state.start_work(SpeechJob, request, "SUCCESS", said)
    response = _accepted(job)
    response.created = job.id
    return response


@speech.route("GET", "/jobs/{id}")
def get(state: State, request: Request) -> Response:
    """Answer with one job."""
    job = state.table(SpeechJob).find(request.params["id"])
    job.poll()
    response = json_response(_job_json(job))
    if not job.is_ended:
        response.headers = {"Retry-After": retry_after(_POLL_SECONDS, state.calendar.speed)}
    return response


def check_voice(state: State, voice_id: str, field: str) -> None:
    """Refuse a clone that is not there; any other id is one of the provider's."""
    if is_uuid(voice_id) and state.table(Voice).get(voice_id.lower()) is None:
        message = f"Voice {voice_id} was not found."
        raise error("voice_not_found", message, is_input=True, field=field)


async def _spoken(state: State, body: Any) -> dict[str, Any]:
    """Speak the script of a body."""
    body = checked(_SPEECH, body)
    check_voice(state, body["voiceId"], "voiceId")
    state.quota.use("speeches")
    return await spoken(state, body["script"], body["voiceId"])


async def spoken(state: State, script: str, voice_id: str) -> dict[str, Any]:
    """Speak a script into a hosted file, and return its address and length."""
    path = state.folder.new_path(".wav")
    with state.clock.hold():
        seconds = await state.renderer.speak(script, voice_id, path)
    digest = sha256(path.read_bytes()).hexdigest()
    url = state.files.adopt(path, f"{state.new_id()}.wav", "audio/wav", digest=digest)
    state.scripts[url] = (script, seconds)
    return {"url": url, "duration": round(seconds, 3)}


def _accepted(job: SpeechJob) -> Response:
    headers = {"Location": f"/v2/tts/jobs/{job.id}"}
    return Response(202, dump(_job_json(job)), JSON, headers)


def _job_json(job: SpeechJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status,
        "createdAt": job.created_at,
        "url": None,
        "duration": None,
        "error": None,
        "startedAt": job.started_at,
        "finishedAt": job.finished_at,
        **job.shown,
    }


def _voice_json(voice_id: str, name: str) -> dict[str, Any]:
    return {"id": voice_id, "name": name, "provider": "elevenlabs"}
