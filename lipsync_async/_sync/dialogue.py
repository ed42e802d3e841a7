# Generated from lipsync_async/_async/dialogue.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""Transcriptions, and edits of what is said: `client.transcriptions`, `client.dialogue_edits`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from lipsync_async._portal import SyncWrapper, call_in_caller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lipsync_async._async.dialogue import AsyncDialogueEdits, AsyncTranscriptions
    from lipsync_async._models.speech import (
        DialogueEdit,
        RemoveWord,
        ReplaceWord,
        Transcript,
        Transcription,
    )


class Transcriptions(SyncWrapper):
    """Transcriptions: what is said in a video or an audio. Reached as `client.transcriptions`."""

    _source: AsyncTranscriptions

    def create(
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
        return self._portal.call(
            partial(
                self._source.create,
                video_url=video_url,
                audio_url=audio_url,
                start_ms=start_ms,
                end_ms=end_ms,
                max_source_seconds=max_source_seconds,
                project_id=project_id,
            )
        )

    def get(self, transcription_id: str) -> Transcription:
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
        return self._portal.call(partial(self._source.get, transcription_id))

    def wait_until_complete(
        self,
        transcription: Transcription | str,
        *,
        timeout: float | None = 3600.0,
        on_update: Callable[[Transcription], None] | None = None,
    ) -> Transcription:
        """Wait until a transcription has succeeded, and return it.

        Wire: `GET /v2/transcriptions/{id}`, repeatedly

        Args:
            transcription: The transcription, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, in the thread that waits, with each changed status.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            JobFailedError: It ended as FAILED; `.code` is the service's, in capitals.
            JobTimeoutError: The time is up; the transcription goes on.
            LipsyncError: Polling failed for good.

        Source: "Get transcription", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.wait_until_complete,
                transcription,
                timeout=timeout,
                on_update=call_in_caller("on_update", on_update),
            )
        )


class DialogueEdits(SyncWrapper):
    """Edits of what is said in a video (beta). Reached as `client.dialogue_edits`."""

    _source: AsyncDialogueEdits

    def create(
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
        return self._portal.call(
            partial(
                self._source.create,
                transcript,
                edits,
                video_url=video_url,
                voice_id=voice_id,
                rerun_of=rerun_of,
                project_id=project_id,
            )
        )

    def get(self, edit_id: str) -> DialogueEdit:
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
        return self._portal.call(partial(self._source.get, edit_id))

    def wait_until_complete(
        self,
        edit: DialogueEdit | str,
        *,
        timeout: float | None = 3600.0,
        on_update: Callable[[DialogueEdit], None] | None = None,
    ) -> DialogueEdit:
        """Wait until an edit has ended well, wholly or in part, and return it.

        Wire: `GET /v2/dialogue-edits/{id}`, repeatedly

        Args:
            edit: The edit, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, in the thread that waits, with each changed status.

        Returns:
            The edit. `is_partial` and `partial_detail` tell whether something is missing.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            JobFailedError: It ended as FAILED.
            JobTimeoutError: The time is up; the edit goes on.
            LipsyncError: Polling failed for good.

        Source: "Dialogue edits", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.wait_until_complete,
                edit,
                timeout=timeout,
                on_update=call_in_caller("on_update", on_update),
            )
        )
