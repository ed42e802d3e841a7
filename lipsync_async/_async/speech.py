"""Voices, and speech made of a script: `client.voices`, `client.speech`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from lipsync_async._async.resource import Resource, path, raise_if_invalid
from lipsync_async._logic import validation
from lipsync_async._logic.endpoints import done, list_of, one, resource
from lipsync_async._logic.validation import (
    MAX_SCRIPT_CHARACTERS,
    OrNone,
    http_url,
    number,
    text,
    up_to,
)
from lipsync_async._models.speech import Speech, SpeechJob, Voice
from lipsync_async.errors import ServerError

if TYPE_CHECKING:
    import builtins
    from collections.abc import Awaitable, Callable

    from lipsync_async._logic.endpoints import Call

_CLONED = (
    "The voice may have been cloned. Look for its name in voices.list() before cloning it again."
)
_SPOKEN = (
    "The script may have been spoken, and paid for. speech.start() with an idempotency_key can be "
    "repeated safely."
)
_NO_JOBS = (
    "Nothing was spoken: the organization may not use speech jobs. Call speech.create() instead."
)
_PAUSES = (3.0, 10.0)  # seconds between two polls; the service advises 3


class AsyncVoices(Resource):
    """Voices that speak scripts. Reached as `client.voices`."""

    async def list(self) -> list[Voice]:
        """Return all voices: the provider's own, and your clones.

        Wire: `GET /v2/voices`

        Raises:
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List voices", sync.so API reference.
        """
        return await self._send(resource("GET", "/v2/voices", list_of(Voice)))

    async def clone(
        self, name: str, *, url: str | None = None, asset_id: str | None = None
    ) -> Voice:
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
        problems = validation.problems_of(
            name=(name, up_to(100, text)),
            url=(url, OrNone(http_url)),
            asset_id=(asset_id, OrNone(validation.name)),
        )
        if (url is None) == (asset_id is None):
            problems.append("url: give url or asset_id, and not both")
        raise_if_invalid(problems)
        body = {"name": name, "provider": "elevenlabs", "url": url, "assetId": asset_id}
        call = resource("POST", "/v2/voices", one(Voice), body=body, is_repeatable=False)
        return await self._send(call, advice=_CLONED)

    async def delete(self, voice_id: str) -> None:
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
        voice = path("/v2/voices/{voice_id}", voice_id=voice_id)
        await self._send(resource("DELETE", voice, done, is_done_without=True))


class AsyncTextToSpeech(Resource):
    """Speech made of a script. Reached as `client.speech`."""

    async def create(
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
        body = _body(script, voice_id, stability, similarity_boost)
        call = resource("POST", "/v2/tts", one(Speech), body=body, is_repeatable=False)
        return await self._send(call, advice=_SPOKEN)

    async def start(
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
        problems = validation.argument_problems(idempotency_key=idempotency_key)
        body = _body(script, voice_id, stability, similarity_boost, problems)
        key = str(uuid.uuid4()) if idempotency_key is None else str.__str__(idempotency_key)
        call = resource(
            "POST",
            "/v2/tts/jobs",
            one(SpeechJob),
            body=body,
            is_refused_by_503=True,  # assumed
            idempotency_key=key,
        )
        try:
            job = await self._send(call)
        except ServerError as error:
            if not (error.is_retryable or error.may_have_worked):
                error.add_note(_NO_JOBS)
            raise
        job.idempotency_key = key
        return job

    async def get(self, job_id: str) -> SpeechJob:
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
        return await self._send(_get(job_id))

    async def wait_until_complete(
        self,
        job: SpeechJob | str,
        *,
        timeout: float | None = 600.0,
        on_update: Callable[[SpeechJob], Awaitable[None] | None] | None = None,
    ) -> SpeechJob:
        """Wait until a job has succeeded, and return it.

        Wire: `GET /v2/tts/jobs/{id}`, repeatedly

        Args:
            job: The job, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, and awaited if need be, with each changed status.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            JobFailedError: The job ended as FAILED.
            JobTimeoutError: The time is up; the job goes on.
            LipsyncError: Polling failed for good.

        Source: "Text to speech jobs", sync.so API reference.
        """
        return await self._wait(job, _get, timeout=timeout, on_update=on_update, pauses=_PAUSES)

    async def run(
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
        job = await self.start(
            script,
            voice_id,
            stability=stability,
            similarity_boost=similarity_boost,
            idempotency_key=idempotency_key,
        )
        return await self.wait_until_complete(job, timeout=timeout)


def _body(
    script: str,
    voice_id: str,
    stability: float | None,
    similarity_boost: float | None,
    problems: builtins.list[str] | None = None,
) -> dict[str, object]:
    """Return what is to be spoken, or refuse it with all problems."""
    share = OrNone(number(0, 1))
    found = validation.problems_of(
        script=(script, up_to(MAX_SCRIPT_CHARACTERS, text)),
        voice_id=(voice_id, validation.name),
        stability=(stability, share),
        similarity_boost=(similarity_boost, share),
    )
    raise_if_invalid([*found, *(problems or ())])
    return {
        "script": script,
        "voiceId": voice_id,
        "provider": "elevenlabs",
        "stability": stability,
        "similarityBoost": similarity_boost,
    }


def _get(job_id: str) -> Call[SpeechJob]:
    return resource("GET", path("/v2/tts/jobs/{job_id}", job_id=job_id), one(SpeechJob))
