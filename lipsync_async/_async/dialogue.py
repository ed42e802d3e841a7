"""Transcriptions, and edits of what is said: `client.transcriptions`, `client.dialogue_edits`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lipsync_async._async.resource import Resource, path, raise_if_invalid
from lipsync_async._logic import validation
from lipsync_async._logic.endpoints import one, resource
from lipsync_async._logic.validation import OrNone, http_url, positive, whole_number
from lipsync_async._models.speech import (
    DialogueEdit,
    RemoveWord,
    ReplaceWord,
    Transcript,
    Transcription,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from lipsync_async._logic.endpoints import Call

_LONGEST_WINDOW = 3_600_000  # milliseconds
_PAUSES = (2.0, 15.0)  # seconds between two polls
_EDITED = (
    "The edit may have been accepted, and a voice cloned for it. The service offers no list of "
    "edits; a repeated one may be paid again."
)


class AsyncTranscriptions(Resource):
    """Transcriptions: what is said in a video or an audio. Reached as `client.transcriptions`."""

    async def create(
        self,
        *,
        video_url: str | None = None,
        audio_url: str | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        max_source_seconds: float | None = None,
        project_id: str | None = None,
    ) -> Transcription:
        """Begin a transcription; the same source and window give the same job. It is free.

        Wire: `POST /v2/transcriptions`

        Args:
            video_url: A video at the service; or
            audio_url: an audio at the service.
            start_ms: Where the window begins, in milliseconds; `None`: at the start.
            end_ms: Where it ends, at most an hour later; `None`: with the source.
            max_source_seconds: Refuse a longer source.
            project_id: UUID of a project.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            UnprocessableError: The source is not at the service.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Create transcription", sync.so API reference.
        """
        moment = OrNone(whole_number(0))
        problems = validation.problems_of(
            video_url=(video_url, OrNone(http_url)),
            audio_url=(audio_url, OrNone(http_url)),
            start_ms=(start_ms, moment),
            end_ms=(end_ms, moment),
            max_source_seconds=(max_source_seconds, OrNone(positive)),
            project_id=(project_id, OrNone(validation.name)),
        )
        if (video_url is None) == (audio_url is None):
            problems.append("video_url: give video_url or audio_url, and not both")
        if (
            not problems
            and end_ms is not None
            and not 0 < end_ms - (start_ms or 0) <= _LONGEST_WINDOW
        ):
            problems.append(f"end_ms: must be 1 to {_LONGEST_WINDOW:,} ms after start_ms")
        raise_if_invalid(problems)
        body = {
            "sourceVideoUrl": video_url,
            "sourceAudioUrl": audio_url,
            "startMs": start_ms,
            "endMs": end_ms,
            "maxSourceSeconds": max_source_seconds,
            "projectId": project_id,
        }
        call = resource("POST", "/v2/transcriptions", one(Transcription), body=body)
        return await self._send(call)

    async def get(self, transcription_id: str) -> Transcription:
        """Return a transcription as it is now.

        Wire: `GET /v2/transcriptions/{id}`

        Args:
            transcription_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such transcription.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Get transcription", sync.so API reference.
        """
        return await self._send(_transcription(transcription_id))

    async def wait_until_complete(
        self,
        transcription: Transcription | str,
        *,
        timeout: float | None = 3600.0,
        on_update: Callable[[Transcription], Awaitable[None] | None] | None = None,
    ) -> Transcription:
        """Wait until a transcription has succeeded, and return it.

        Wire: `GET /v2/transcriptions/{id}`, repeatedly

        Args:
            transcription: The transcription, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, and awaited if need be, with each changed status.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            JobFailedError: It ended as FAILED; `.code` is the service's, in capitals.
            JobTimeoutError: The time is up; the transcription goes on.
            LipsyncError: Polling failed for good.

        Source: "Get transcription", sync.so API reference.
        """
        return await self._wait(
            transcription, _transcription, timeout=timeout, on_update=on_update, pauses=_PAUSES
        )


class AsyncDialogueEdits(Resource):
    """Edits of what is said in a video (beta). Reached as `client.dialogue_edits`."""

    async def create(
        self,
        transcript: Transcript | Mapping[str, Any],
        edits: Sequence[ReplaceWord | RemoveWord],
        *,
        video_url: str,
        voice_id: str | None = None,
        rerun_of: str | None = None,
        project_id: str | None = None,
    ) -> DialogueEdit:
        """Begin an edit. It may clone a voice, and cost.

        Wire: `POST /v2/dialogue-edits`

        A try whose outcome is unknown is not repeated. When it has ended well, a generation of the
        same video with its id as `dialogue_edit` renders it.

        Args:
            transcript: The whole transcript of one speaker: `transcript` of a transcription,
                or its `raw`, if you have kept that as JSON.
            edits: What to change, at least one.
            video_url: The video at the service, of at most 600 s.
            voice_id: Clone of an earlier edit to speak with; `None`: a new one is made.
            rerun_of: Id of an edit whose edits run again.
            project_id: UUID of a project.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            UnprocessableError: The service cannot make these edits; the code says why.
            ResponseError: The service refused.
            TransportError: No answer came; `.may_have_worked` says whether it may be accepted.
            DecodeError: The answer cannot be read.

        Source: "Dialogue edits", sync.so API reference.
        """
        optional = OrNone(validation.name)
        raise_if_invalid(
            validation.problems_of(
                transcript=(transcript, _transcript),
                edits=(edits, validation.list_of(_edit, is_required=True)),
                video_url=(video_url, http_url),
                voice_id=(voice_id, optional),
                rerun_of=(rerun_of, optional),
                project_id=(project_id, optional),
            )
        )
        body = {
            "transcript": _raw(transcript),
            "edits": [*map(_written, edits)],
            "sourceVideoUrl": video_url,
            "voiceId": voice_id,
            "rerunOfJobId": rerun_of,
            "projectId": project_id,
        }
        read = one(DialogueEdit)
        call = resource("POST", "/v2/dialogue-edits", read, body=body, is_repeatable=False)
        return await self._send(call, advice=_EDITED)

    async def get(self, edit_id: str) -> DialogueEdit:
        """Return an edit as it is now.

        Wire: `GET /v2/dialogue-edits/{id}`

        Args:
            edit_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such edit.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Dialogue edits", sync.so API reference.
        """
        return await self._send(_dialogue_edit(edit_id))

    async def wait_until_complete(
        self,
        edit: DialogueEdit | str,
        *,
        timeout: float | None = 3600.0,
        on_update: Callable[[DialogueEdit], Awaitable[None] | None] | None = None,
    ) -> DialogueEdit:
        """Wait until an edit has ended well, wholly or in part, and return it.

        Wire: `GET /v2/dialogue-edits/{id}`, repeatedly

        Args:
            edit: The edit, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, and awaited if need be, with each changed status.

        Returns:
            The edit. `is_partial` and `partial_detail` tell whether something is missing.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            JobFailedError: It ended as FAILED.
            JobTimeoutError: The time is up; the edit goes on.
            LipsyncError: Polling failed for good.

        Source: "Dialogue edits", sync.so API reference.
        """
        return await self._wait(
            edit, _dialogue_edit, timeout=timeout, on_update=on_update, pauses=_PAUSES
        )


def _transcript(place: str, value: object) -> Iterator[str]:
    if not isinstance(value, Transcript | Mapping):
        yield validation.wrong(place, "Transcript", value)
    elif not _raw(value).get("segments"):
        yield f"{place}: must be one that the service gave, with segments"


def _raw(transcript: Transcript | Mapping[str, Any]) -> Mapping[str, Any]:
    return transcript.raw if isinstance(transcript, Transcript) else transcript


def _edit(place: str, value: object) -> Iterator[str]:
    if isinstance(value, ReplaceWord):
        yield from validation.name(f"{place}.word_id", value.word_id)
        yield from validation.text(f"{place}.replacement", value.replacement)
    elif isinstance(value, RemoveWord):
        yield from validation.name(f"{place}.word_id", value.word_id)
    else:
        yield validation.wrong(place, "ReplaceWord or RemoveWord", value)


def _written(edit: ReplaceWord | RemoveWord) -> dict[str, str]:
    if isinstance(edit, ReplaceWord):
        return {"kind": "change", "wordId": edit.word_id, "replacement": edit.replacement}
    return {"kind": "remove", "wordId": edit.word_id}  # assumed, see `RemoveWord`


def _transcription(job_id: str) -> Call[Transcription]:
    place = path("/v2/transcriptions/{transcription_id}", transcription_id=job_id)
    return resource("GET", place, one(Transcription))


def _dialogue_edit(job_id: str) -> Call[DialogueEdit]:
    return resource("GET", path("/v2/dialogue-edits/{edit_id}", edit_id=job_id), one(DialogueEdit))
