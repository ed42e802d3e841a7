"""Transcriptions, and edits of what is said in a video.

The sandbox knows the words of what it spoke itself. Of any other sound it hears where something
is said, and writes one word for each such stretch.

Source: "Create transcription", "Create dialogue edit", sync.so API reference.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import attrs

from lipsync_async.sandbox.api.speech import Voice, check_voice, spoken
from lipsync_async.sandbox.files import MEDIA_PATH
from lipsync_async.sandbox.jobs import PLACEHOLDER_SECONDS, Work, life_to
from lipsync_async.sandbox.server.api_errors import bad_request, error, malformed
from lipsync_async.sandbox.server.messages import JSON_BODY
from lipsync_async.sandbox.server.pipeline import Resource
from lipsync_async.sandbox.server.shapes import (
    INDEX,
    POSITIVE,
    TEXT,
    UUID,
    WEB_URL,
    ListOf,
    Shape,
    Tagged,
    checked,
    is_uuid,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State

_LONGEST_WINDOW = 3_600_000  # milliseconds
_LONGEST_EDITED = 600.0  # seconds
_LONGEST_REPLACEMENT = 200  # characters; the sandbox's own
_RUNNING_SECONDS = 3600.0  # a job that runs for longer is not shown for the same source
_UNKNOWN_WORD = "(speech)"
_TRANSCRIPTION = Shape(
    {
        "sourceVideoUrl": WEB_URL,
        "sourceAudioUrl": WEB_URL,
        "startMs": INDEX,
        "endMs": INDEX,
        "maxSourceSeconds": POSITIVE,
        "projectId": UUID,
    },
    any_of=("sourceVideoUrl", "sourceAudioUrl"),
)
_WORD = Shape(
    {"id": TEXT, "text": TEXT, "startMs": INDEX, "endMs": INDEX, "speakerId": TEXT},
    frozenset({"id", "text", "startMs", "endMs"}),
)
_EDIT = Shape(
    {
        "transcript": Shape(
            {"segments": ListOf(Shape({"words": ListOf(_WORD)}, frozenset({"words"})), least=1)},
            frozenset({"segments"}),
        ),
        "edits": ListOf(
            Tagged(
                "kind",
                {
                    "change": Shape(
                        {"wordId": TEXT, "replacement": TEXT}, frozenset({"wordId", "replacement"})
                    ),
                    "remove": Shape({"wordId": TEXT}, frozenset({"wordId"})),
                },
            ),
            least=1,
        ),
        "sourceVideoUrl": WEB_URL,
        "projectId": UUID,
        "voiceId": TEXT,
        "rerunOfJobId": TEXT,
    },
    frozenset({"transcript", "edits", "sourceVideoUrl"}),
)


@attrs.define(slots=True, eq=False, kw_only=True)
class Transcription(Work):
    """One sound that is written down."""

    NOUN: ClassVar[str] = "Transcription"

    transitions: Mapping[str, frozenset[str]] = attrs.field(
        default=life_to("COMPLETED"), repr=False
    )
    asked: Mapping[str, Any]  # the source and its window


@attrs.define(slots=True, eq=False, kw_only=True)
class DialogueEdit(Work):
    """One edit of what is said in a video."""

    NOUN: ClassVar[str] = "Dialogue edit"
    NOT_FOUND: ClassVar[str | None] = "dialogue_edit_not_found"

    transitions: Mapping[str, frozenset[str]] = attrs.field(
        default=life_to("COMPLETED", "COMPLETED_PARTIAL"), repr=False
    )
    asked: Mapping[str, Any]


@attrs.frozen(slots=True)
class _Failure(Exception):  # noqa: N818 - a job's end, not a request's
    code: str
    message: str
    facts: Mapping[str, Any] = attrs.field(factory=dict)


transcriptions: Resource = Resource("/v2/transcriptions")
edits: Resource = Resource("/v2/dialogue-edits")


@transcriptions.route("POST", body=JSON_BODY, status=201)
async def transcribe(state: State, request: Request) -> Any:
    """Begin a transcription; the same source and window show the one that there is."""
    body = checked(_TRANSCRIPTION, request.data)
    asked = {name: body[name] for name in _TRANSCRIPTION.fields if body.get(name) is not None}
    if "sourceVideoUrl" in asked and "sourceAudioUrl" in asked:
        raise malformed(["sourceVideoUrl or sourceAudioUrl must be given, not both"])
    start, end = asked.get("startMs", 0), asked.get("endMs")
    if end is not None and not start < end <= start + _LONGEST_WINDOW:
        raise malformed([f"endMs must be at most {_LONGEST_WINDOW} ms after startMs"])
    if "projectId" in asked:
        state.project(asked["projectId"], is_input=True)
    ends, result = await _settled(_transcribed(state, asked))
    for job in state.table(Transcription):  # as they are after the wait
        is_young = state.clock.now() - job.born < _RUNNING_SECONDS
        is_there = job.status == "COMPLETED" or (not job.is_ended and is_young)
        if is_there and _window(job.asked) == _window(asked):
            return _transcription_json(job)
    return _transcription_json(state.start_work(Transcription, request, ends, result, asked=asked))


@transcriptions.route("GET", "/{id}")
def get_transcription(state: State, request: Request) -> Any:
    """Answer with one transcription."""
    if not is_uuid(request.params["id"]):
        raise bad_request("A transcription's id is a UUID.")
    job = state.table(Transcription).find(request.params["id"])
    job.poll()
    return _transcription_json(job)


@edits.route("POST", body=JSON_BODY, status=201)
async def edit(state: State, request: Request) -> Any:
    """Begin an edit: speak the changed words anew."""
    if isinstance(request.data, dict) and request.data.keys() & {"startMs", "endMs"}:
        message = "A window is not for API keys; leave startMs and endMs out."
        raise error("dialogue_edit_unsupported", message)
    body = checked(_EDIT, request.data)
    words = [word for part in body["transcript"]["segments"] for word in part["words"]]
    known, speakers = {word["id"] for word in words}, {word.get("speakerId") for word in words}
    if body.get("projectId") is not None:
        state.project(body["projectId"], is_input=True)
    if body.get("rerunOfJobId") is not None:
        state.table(DialogueEdit).find(body["rerunOfJobId"], is_input=True)
    if body.get("voiceId") is not None:
        check_voice(state, body["voiceId"], "voiceId")
    if strange := [each["wordId"] for each in body["edits"] if each["wordId"] not in known]:
        raise malformed([f"edits: there is no word {word_id!r}" for word_id in strange])
    if len(speakers - {None}) > 1:
        raise error("dialogue_edit_unsupported", "Several people speak in the transcript.")
    ends, result = await _settled(_edited(state, body, words))
    return _edit_json(state.start_work(DialogueEdit, request, ends, result, asked=body))


@edits.route("GET", "/{id}")
def get_edit(state: State, request: Request) -> Any:
    """Answer with one edit."""
    job = state.table(DialogueEdit).find(request.params["id"])
    job.poll()
    return _edit_json(job)


def edited_speech(state: State, edit_id: str) -> str:
    """Return the URL of an edit's speech, or refuse what is no finished edit."""
    job = state.table(DialogueEdit).find(edit_id, is_input=True)
    if "previewAudioUrl" not in job.shown:
        message = f"Dialogue edit {edit_id} is {job.status}."
        raise error("dialogue_edit_not_found", message, is_input=True, field="dialogueEdit.id")
    return str(job.shown["previewAudioUrl"])


def known_script(state: State, url: str) -> tuple[str, float] | None:
    """Return what was spoken here into the sound at a URL, and how long that took."""
    path = PurePosixPath(urlsplit(url).path)
    job = state.jobs.get(path.stem) if MEDIA_PATH in str(path) else None
    if job is None:
        return state.scripts.get(url)
    if job.speech is not None:
        return state.scripts[job.speech]
    for item in job.body["input"]:
        if item["type"] == "text" and job.result is not None:
            return item["provider"]["script"], job.result.duration
        if item["type"] == "audio" and item.get("url") in state.scripts:
            return state.scripts[item["url"]]
    return None


async def _settled(
    making: Awaitable[tuple[str, dict[str, Any]]],
) -> tuple[str, dict[str, Any]]:
    """Return how a job ends, and what is shown of it then."""
    try:
        return await making
    except _Failure as failure:
        found = {"code": failure.code, "message": failure.message, **failure.facts}
        return "FAILED", {"error": found}


async def _transcribed(state: State, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    url, start, end = _window(asked)
    seconds, segments = await _heard(state, url)
    end = min(end, round(seconds * 1000))
    if end - start > _LONGEST_WINDOW or seconds > asked.get("maxSourceSeconds", math.inf):
        raise _Failure("SOURCE_TOO_LONG", f"The source is {seconds:.1f} s long.")
    segments = _within(segments, start, end)
    if not segments:
        raise _Failure("NO_AUDIO", "Nothing is to be heard.")
    transcript = {"segments": segments}
    return "COMPLETED", {
        "sourceEndMs": end,
        "speakerCount": 1,
        "revision": 1,
        "transcript": transcript,
    }


def _window(asked: Mapping[str, Any]) -> tuple[str, float, float]:
    """Return the source without its signature, and the window in milliseconds."""
    url = asked.get("sourceVideoUrl") or asked["sourceAudioUrl"]
    return url.partition("?")[0], asked.get("startMs", 0), asked.get("endMs", math.inf)


async def _edited(
    state: State, body: Mapping[str, Any], words: Sequence[Mapping[str, Any]]
) -> tuple[str, dict[str, Any]]:
    """Speak what the edits leave."""
    seconds, segments = await _heard(state, body["sourceVideoUrl"])
    if seconds > _LONGEST_EDITED:
        raise _Failure("SOURCE_TOO_LONG", f"The source is {seconds:.1f} s long.")
    changes = {each["wordId"]: each.get("replacement") for each in body["edits"]}
    for word_id, replacement in changes.items():
        if len(replacement or "") > _LONGEST_REPLACEMENT:
            facts = {"spanText": replacement, "wordIds": [word_id]}
            raise _Failure("EDIT_TOO_LONG", "The replacement is too long.", facts)
    changed = [(word, changes.get(word["id"], word["text"])) for word in words]
    kept = [{**word, "text": text} for word, text in changed if text is not None]
    if not kept:
        message = "The edits remove everything that is said."
        raise error("dialogue_edit_removal_too_large", message, field="edits")
    voice_id = body.get("voiceId")
    if voice_id is None:  # assumed: the clone of who speaks in the source is a voice as any other
        voice_id = state.new_id()
        state.table(Voice).add(Voice(voice_id, f"Dialogue edit {voice_id}"))
    texts = [word["text"] for word in kept]
    said = await spoken(state, " ".join(texts), voice_id)
    timed = _segments([(0.0, said["duration"], texts)])[0]["words"]
    result_words = [
        {**word, "startMs": new["startMs"], "endMs": new["endMs"]}
        for word, new in zip(kept, timed, strict=True)
    ]
    slot = {
        "outputStartMs": 0,
        "outputDurationMs": round(said["duration"] * 1000),
        "sourceStartMs": 0,
        "sourceDurationMs": round(seconds * 1000),
    }
    result = {
        "sourceTranscript": body["transcript"],
        "resultTranscript": {"segments": [{"id": "s1", "words": result_words}]},
        "voiceId": voice_id,
        "previewAudioUrl": said["url"],
        "resultSlots": [slot],
    }
    if segments:
        return "COMPLETED", result
    # There is no background to mix the speech with.
    return "COMPLETED_PARTIAL", {**result, "partialDetail": {"reason": "background_bed_missing"}}


async def _heard(state: State, url: str) -> tuple[float, list[dict[str, Any]]]:
    """Return how long a sound is, and what is said in it."""
    path, known = _hosted(state, url), known_script(state, url)
    seconds, stretches = PLACEHOLDER_SECONDS, [(0.0, PLACEHOLDER_SECONDS)]
    if path is not None:
        with state.clock.hold():
            seconds, stretches = await state.renderer.hear(path)
    if known is not None:
        script, spoken_seconds = known
        return seconds, _segments([(0.0, min(spoken_seconds, seconds), script.split())])
    return seconds, _segments([(start, end, [_UNKNOWN_WORD]) for start, end in stretches])


def _segments(parts: Sequence[tuple[float, float, Sequence[str]]]) -> list[dict[str, Any]]:
    """Return segments of a transcript; longer words take longer."""
    segments, number = [], 0
    for place, (start, end, texts) in enumerate(parts, 1):
        whole, at, words = sum(len(text) + 1 for text in texts), start * 1000, []
        for text in texts:
            number += 1
            until = at + (end - start) * 1000 * (len(text) + 1) / whole
            times = {"startMs": round(at), "endMs": round(until)}
            words.append({"id": f"w{number}", "text": text, **times, "speakerId": "speaker-1"})
            at = until
        segments.append({"id": f"s{place}", "words": words})
    return segments


def _within(
    segments: Sequence[Mapping[str, Any]], start: float, end: float
) -> list[dict[str, Any]]:
    """Return what is said in a window; times stay those of the source."""
    found = []
    for segment in segments:
        words = [
            word for word in segment["words"] if word["startMs"] < end and word["endMs"] > start
        ]
        if words:
            found.append({**segment, "words": words})
    return found


def _hosted(state: State, url: str) -> Path | None:
    """Return the file at a URL of this sandbox; `None`: its bytes are a placeholder."""
    name = PurePosixPath(urlsplit(url).path)
    job = state.jobs.get(name.stem) if MEDIA_PATH in str(name) else None
    if job is not None and job.result is not None:
        return job.result.source if isinstance(job.result.source, Path) else None
    file = state.files.at(url) if state.files.is_own(url) else None
    if file is None:
        raise error("file_not_in_org_storage", f"{url} is no file of yours.")
    return file.path


def _transcription_json(job: Transcription) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status,
        "createdAt": job.created_at,
        "sourceVideoUrl": job.asked.get("sourceVideoUrl"),
        "sourceStartMs": job.asked.get("startMs", 0),
        "sourceEndMs": job.asked.get("endMs"),
        "transcript": None,
        "speakerCount": None,
        **job.shown,
    }


def _edit_json(job: DialogueEdit) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status,
        "sourceVideoUrl": job.asked["sourceVideoUrl"],
        "sourceStartMs": 0,
        "edits": job.asked["edits"],
        **job.shown,
    }
