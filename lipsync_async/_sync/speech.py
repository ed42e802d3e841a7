# Generated from lipsync_async/_async/speech.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""Voices, and speech made of a script: `client.voices`, `client.speech`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._portal import SyncWrapper, call_in_caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from lipsync_async._async.speech import AsyncTextToSpeech, AsyncVoices
    from lipsync_async._models.speech import Speech, SpeechJob, Voice


class Voices(SyncWrapper):
    """Voices that speak scripts. Reached as `client.voices`."""

    _source: AsyncVoices

    def list(self) -> list[Voice]:
        """Return all voices: the provider's own, and your clones.

        Wire: `GET /v2/voices`

        Raises:
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List voices", sync.so API reference.
        """
        return self._portal.call(self._source.list)

    def clone(self, name: str, *, url: str | None = None, asset_id: str | None = None) -> Voice:
        """Clone a voice from an audio or a video at the service.

        Wire: `POST /v2/voices`

        A try whose outcome is unknown is not repeated: look for the name in `list` first. When ten
        were sent within an hour (`Limits.voices_per_hour`), the next waits for its turn.

        Args:
            name: 1 to 100 characters, not the name of another voice.
            url: The sample's address at the service, as `assets.upload` gives it; or
            asset_id: the sample's asset.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            ConflictError: There is a voice of that name.
            PermissionDeniedError: The plan allows no more clones.
            ResponseError: The service refused.
            TransportError: No answer came; `.may_have_worked` says whether it may be cloned.
            DecodeError: The answer cannot be read.

        Source: "Create voice", sync.so API reference.
        """
        return self._portal.call(partial(self._source.clone, name, url=url, asset_id=asset_id))

    def delete(self, voice_id: str) -> None:
        """Delete a clone.

        Wire: `DELETE /v2/voices/{id}`

        A try whose outcome is unknown is repeated; if the voice is gone then, the call has
        succeeded.

        Args:
            voice_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There was no such voice when the call began.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.

        Source: "Delete voice", sync.so API reference.
        """
        self._portal.call(partial(self._source.delete, voice_id))


class TextToSpeech(SyncWrapper):
    """Speech made of a script. Reached as `client.speech`."""

    _source: AsyncTextToSpeech

    def create(
        self,
        script: str,
        voice_id: str,
        *,
        stability: float | None = None,
        similarity_boost: float | None = None,
    ) -> Speech:
        """Speak a script, and return the audio when it is there. This costs.

        Wire: `POST /v2/tts`

        A try whose outcome is unknown is not repeated, for it may have been paid. `run` does the
        same as a job, and repeats it safely.

        Args:
            script: 1 to 5,000 characters.
            voice_id: `id` of a voice.
            stability: 0 to 1; `None`: the service's 0.5.
            similarity_boost: 0 to 1; `None`: the service's 0.75.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came; `.may_have_worked` says whether it may be paid.
            DecodeError: The answer cannot be read.

        Source: "Text to speech", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.create,
                script,
                voice_id,
                stability=stability,
                similarity_boost=similarity_boost,
            )
        )

    def start(
        self,
        script: str,
        voice_id: str,
        *,
        stability: float | None = None,
        similarity_boost: float | None = None,
        idempotency_key: str | None = None,
    ) -> SpeechJob:
        """Begin to speak a script in the background. This costs.

        Wire: `POST /v2/tts/jobs`

        All tries carry the same Idempotency-Key, so that it is never paid for twice.

        Args:
            script: 1 to 5,000 characters.
            voice_id: `id` of a voice.
            stability: 0 to 1; `None`: the service's 0.5.
            similarity_boost: 0 to 1; `None`: the service's 0.75.
            idempotency_key: 1 to 128 of `A-Za-z0-9._~-`; `None`: a new one is made.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            ConflictError: The key was used with another script.
            ServerError: 503: the organization may not use speech jobs; use `create`.
            ResponseError: The service refused.
            TransportError: No answer came, retries included; `.idempotency_key` is kept.
            DecodeError: The answer cannot be read; `.idempotency_key` is kept.

        Source: "Text to speech jobs", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.start,
                script,
                voice_id,
                stability=stability,
                similarity_boost=similarity_boost,
                idempotency_key=idempotency_key,
            )
        )

    def get(self, job_id: str) -> SpeechJob:
        """Return a job as it is now.

        Wire: `GET /v2/tts/jobs/{id}`

        Args:
            job_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such job.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Text to speech jobs", sync.so API reference.
        """
        return self._portal.call(partial(self._source.get, job_id))

    def wait_until_complete(
        self,
        job: SpeechJob | str,
        *,
        timeout: float | None = 600.0,
        on_update: Callable[[SpeechJob], None] | None = None,
    ) -> SpeechJob:
        """Wait until a job has succeeded, and return it.

        Wire: `GET /v2/tts/jobs/{id}`, repeatedly

        Args:
            job: The job, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, in the thread that waits, with each changed status.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            JobFailedError: The job ended as FAILED.
            JobTimeoutError: The time is up; the job goes on.
            LipsyncError: Polling failed for good.

        Source: "Text to speech jobs", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.wait_until_complete,
                job,
                timeout=timeout,
                on_update=call_in_caller("on_update", on_update),
            )
        )

    def run(
        self,
        script: str,
        voice_id: str,
        *,
        stability: float | None = None,
        similarity_boost: float | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = 600.0,
    ) -> SpeechJob:
        """Speak a script in the background, and wait for the audio. This costs.

        Wire: `POST /v2/tts/jobs`, then `GET /v2/tts/jobs/{id}`, repeatedly

        Args:
            script: 1 to 5,000 characters.
            voice_id: `id` of a voice.
            stability: 0 to 1; `None`: the service's 0.5.
            similarity_boost: 0 to 1; `None`: the service's 0.75.
            idempotency_key: 1 to 128 of `A-Za-z0-9._~-`; `None`: a new one is made.
            timeout: Seconds to wait at most; `None`: no limit.

        Raises:
            LipsyncError: As `start` and `wait_until_complete` say.

        Source: "Text to speech jobs", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.run,
                script,
                voice_id,
                stability=stability,
                similarity_boost=similarity_boost,
                idempotency_key=idempotency_key,
                timeout=timeout,
            )
        )
