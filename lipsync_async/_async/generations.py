"""Create, watch and fetch generations: `client.generations`."""

from __future__ import annotations

import uuid
from contextlib import aclosing, asynccontextmanager
from inspect import isawaitable
from typing import TYPE_CHECKING

from lipsync_async import _download, _watch
from lipsync_async._rules import endpoints, validation
from lipsync_async._values.inputs import GenerationRequest
from lipsync_async._values.models import Generation
from lipsync_async.errors import InvalidRequestError

if TYPE_CHECKING:
    import os
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Sequence,
    )
    from pathlib import Path

    from lipsync_async._exchange import Exchange, Settings
    from lipsync_async._values.inputs import DubParams, Input, Options, Segment
    from lipsync_async._values.models import CostEstimate, GenerationPage

    OnUpdate = Callable[[Generation], Awaitable[None] | None]

# Two hours: the slowest model takes 55 minutes for 2 minutes of video (contract section 3.1).
_WAIT_SECONDS = 7200.0
# Lines from `validation.check_request` up to the user's own, for the warnings.
_TO_THE_CALLER = 3


class AsyncGenerations:
    """Create, watch and fetch generations. Reached as `client.generations`."""

    def __init__(self, exchange: Exchange, settings: Settings) -> None:
        self._exchange = exchange
        self._settings = settings

    async def create(
        self,
        request: GenerationRequest | None = None,
        *,
        model: str | None = None,
        input: Sequence[Input] = (),  # noqa: A002 - the wire's name
        options: Options | None = None,
        segments: Sequence[Segment] | None = None,
        webhook_url: str | None = None,
        output_file_name: str | None = None,
        project_id: str | None = None,
        dub_params: DubParams | None = None,
        idempotency_key: str | None = None,
    ) -> Generation:
        """Order a generation and return it as the service accepted it, usually PENDING.

        Wire: `POST /v2/generate`, as JSON, or as a form when an input is a local file.

        The order carries one Idempotency-Key through all its tries, so that it is never
        placed, or paid for, twice.

        Args:
            request: The whole order; or give its fields one by one.
            model: See `GenerationRequest`, as for all fields down to `dub_params`.
            input: The video or image, and the audio or text.
            options: How the lips are made.
            segments: Time ranges of the video with an audio each.
            webhook_url: Gets a POST when the job has ended.
            output_file_name: Base name of the result, without extension.
            project_id: UUID of a project.
            dub_params: Dub the video's own speech.
            idempotency_key: 1 to 128 of `A-Za-z0-9._~-`; `None`: a new one is made. Pass
                your own, stored beforehand, to be able to repeat the call after a crash.

        Returns:
            The generation, its `idempotency_key` included.

        Raises:
            InvalidRequestError: The order is wrong; nothing was sent.
            ResponseError: The service refused it; the class tells the status.
            TransportError: No answer came, retries included; `.idempotency_key` is kept.
            DecodeError: The answer cannot be read; `.idempotency_key` is kept.

        Example:
            `await client.generations.create(model="lipsync-2", input=[Video(v), Audio(a)])`

        Source: contract sections 0, 2.2 and 4.4.
        """
        order = _order(
            request,
            GenerationRequest(
                model=model or "",
                input=input,
                options=options,
                segments=segments,
                webhook_url=webhook_url,
                output_file_name=output_file_name,
                project_id=project_id,
                dub_params=dub_params,
            ),
        )
        return await self._create(order, idempotency_key)

    async def _create(self, order: GenerationRequest, idempotency_key: str | None) -> Generation:
        key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
        _refuse(validation.idempotency_key_problems(key))
        validation.check_request(order, stacklevel=_TO_THE_CALLER)
        call = endpoints.create_generation(order, idempotency_key=key)
        return await self._exchange.perform(call, self._settings)

    async def get(self, generation_id: str, *, progress: bool = False) -> Generation:
        """Return one generation as it is now.

        Wire: `GET /v2/generate/{id}`

        Args:
            generation_id: The job's id.
            progress: Also ask for `progress_percent`.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such generation in the organization.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: contract section 2.6.
        """
        _refuse(validation.generation_id_problems(generation_id))
        call = endpoints.get_generation(generation_id, progress=progress)
        return await self._exchange.perform(call, self._settings)

    async def list(
        self,
        *,
        status: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        source: Sequence[str] | None = None,
        project_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> GenerationPage:
        """Return one page of generations; an id that does not exist is just absent.

        Wire: `GET /v2/generations`

        Args:
            status: Only these statuses.
            ids: Only these ids.
            source: Only those created with these `x-sync-source` labels.
            project_id: Only those of this project.
            limit: 1 to 100 a page, newest first; `None`: every match, in any order.
            cursor: `next_cursor` of the page before, with the same `limit`.

        Raises:
            InvalidRequestError: A filter is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: contract section 2.8.
        """
        _refuse(
            validation.list_problems(
                status=status,
                ids=ids,
                source=source,
                project_id=project_id,
                limit=limit,
                cursor=cursor,
            ),
        )
        call = endpoints.list_generations(
            status=status,
            ids=ids,
            source=source,
            project_id=project_id,
            limit=limit,
            cursor=cursor,
        )
        return await self._exchange.perform(call, self._settings)

    async def iter(
        self,
        *,
        status: Sequence[str] | None = None,
        source: Sequence[str] | None = None,
        project_id: str | None = None,
        page_size: int = 100,
    ) -> AsyncGenerator[Generation, None]:
        """Yield all matching generations, newest first, page after page.

        Wire: `GET /v2/generations`, repeatedly

        Args:
            status: Only these statuses.
            source: Only those created with these `x-sync-source` labels.
            project_id: Only those of this project.
            page_size: 1 to 100 a page.

        Raises:
            InvalidRequestError: A filter is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: contract section 2.8.
        """
        cursor: str | None = None
        while True:
            page = await self.list(
                status=status,
                source=source,
                project_id=project_id,
                limit=page_size,
                cursor=cursor,
            )
            for generation in page:
                yield generation
            if page.next_cursor is None or page.next_cursor == cursor:
                return
            cursor = page.next_cursor

    async def count(
        self,
        *,
        status: Sequence[str] | None = None,
        source: Sequence[str] | None = None,
    ) -> int:
        """Return how many generations match.

        Wire: `GET /v2/generations/count`

        Args:
            status: Only these statuses.
            source: Only those created with these `x-sync-source` labels.

        Raises:
            InvalidRequestError: A filter is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: contract section 2.1.
        """
        _refuse(
            validation.list_problems(
                status=status,
                ids=None,
                source=source,
                project_id=None,
                limit=None,
                cursor=None,
            ),
        )
        call = endpoints.count_generations(status=status, source=source)
        return await self._exchange.perform(call, self._settings)

    async def wait_until_complete(
        self,
        generation: Generation | str,
        *,
        timeout: float | None = _WAIT_SECONDS,
        on_update: OnUpdate | None = None,
    ) -> Generation:
        """Wait for a job's good end and return it COMPLETED.

        Wire: `GET /v2/generate/{id}`, with `wait` where the service honours it

        Stopping to wait, by timeout or cancellation, changes nothing about the job: it goes
        on, stays paid for, and can be waited for again.

        Args:
            generation: The job, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, and awaited if need be, with each changed status (and
                progress, with `PollPolicy(progress=True)`).

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            GenerationFailedError: The job ended as FAILED.
            GenerationRejectedError: The job ended as REJECTED; it never ran.
            WaitTimeoutError: The time is over; the job goes on.
            LipsyncError: Looking failed for good; `.generation` is the job as last seen.

        Source: contract sections 2.6 and 3.2.
        """
        async with self.updates(generation, timeout=timeout) as changes:
            last = _watch.as_last_seen(generation)
            async for last in changes:
                await _tell(on_update, last)
        return _watch.conclude(last)

    @asynccontextmanager
    async def updates(
        self,
        generation: Generation | str,
        *,
        timeout: float | None = _WAIT_SECONDS,
    ) -> AsyncIterator[AsyncIterator[Generation]]:
        """Iterate over a job's changes, until it has ended.

        Wire: `GET /v2/generate/{id}`, with `wait` where the service honours it

        Args:
            generation: The job as last seen (only later changes come), or its id.
            timeout: Seconds to watch at most; `None`: no limit.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            WaitTimeoutError: The time is over; the job goes on.
            LipsyncError: Looking failed for good; `.generation` is the job as last seen.

        Example:
            `async with client.generations.updates(job.id) as changes: ...`

        Source: contract sections 2.6 and 3.2.
        """
        _refuse([*_job_problems(generation), *validation.timeout_problems(timeout)])
        last = _watch.as_last_seen(generation)
        watched = _watch.changes(self._exchange, self._settings, last, timeout=timeout)
        async with aclosing(watched) as changes:
            yield changes

    async def run(
        self,
        request: GenerationRequest | None = None,
        *,
        model: str | None = None,
        input: Sequence[Input] = (),  # noqa: A002 - the wire's name
        options: Options | None = None,
        segments: Sequence[Segment] | None = None,
        webhook_url: str | None = None,
        output_file_name: str | None = None,
        project_id: str | None = None,
        dub_params: DubParams | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = _WAIT_SECONDS,
        on_update: OnUpdate | None = None,
    ) -> Generation:
        """Order a generation and wait for its good end: `create`, then `wait_until_complete`.

        Wire: `POST /v2/generate`, then `GET /v2/generate/{id}`

        Args:
            request: The whole order; or give its fields one by one.
            model: See `GenerationRequest`, as for all fields down to `dub_params`.
            input: The video or image, and the audio or text.
            options: How the lips are made.
            segments: Time ranges of the video with an audio each.
            webhook_url: Gets a POST when the job has ended.
            output_file_name: Base name of the result, without extension.
            project_id: UUID of a project.
            dub_params: Dub the video's own speech.
            idempotency_key: As for `create`.
            timeout: Seconds to wait after the order was accepted; `None`: no limit.
            on_update: Called, and awaited if need be, with the accepted job and each change.

        Raises:
            InvalidRequestError: The order is wrong; nothing was sent.
            GenerationFailedError: The job ended as FAILED.
            GenerationRejectedError: The job ended as REJECTED; it never ran.
            WaitTimeoutError: The time is over; the job goes on.
            LipsyncError: As for `create` and `wait_until_complete`; once the job exists,
                `.generation` is the job as last seen.

        Source: contract sections 0, 2.2, 2.6 and 4.4.
        """
        order = _order(
            request,
            GenerationRequest(
                model=model or "",
                input=input,
                options=options,
                segments=segments,
                webhook_url=webhook_url,
                output_file_name=output_file_name,
                project_id=project_id,
                dub_params=dub_params,
            ),
        )
        _refuse(validation.timeout_problems(timeout))
        created = await self._create(order, idempotency_key)
        await _tell(on_update, created)
        return await self.wait_until_complete(created, timeout=timeout, on_update=on_update)

    async def download(self, generation: Generation | str, to: str | os.PathLike[str]) -> Path:
        """Save a COMPLETED generation's result and return the file's path.

        Wire: `GET` of the result's address, which is renewed when it has expired

        A file under its final name is always whole. Broken connections are resumed, and
        the API key is not sent to the media host.

        Args:
            generation: The job, or its id.
            to: A folder (one that exists, or a name with a trailing slash): the file is
                named after the result and never replaces that of another job. Or the
                file itself, which is replaced.

        Raises:
            InvalidRequestError: The generation is not COMPLETED.
            DownloadError: No address yields the whole file, or it cannot be written.
            ResponseError: The media host refused.
            TransportError: The connection failed for good, retries included.

        Source: contract section 5.5.
        """
        _refuse(_job_problems(generation))
        job = generation if isinstance(generation, Generation) else await self.get(generation)
        return await _download.save(self._exchange, self._settings, job, to)

    async def delete(self, generation_id: str) -> None:
        """Delete a generation that has ended. There is no cancel for one that runs.

        Wire: `DELETE /v2/generations/{id}`

        Args:
            generation_id: The job's id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            ConflictError: The job is still running.
            NotFoundError: There is no such generation, perhaps since an earlier call
                whose answer was lost.
            ResponseError: The service refused.
            TransportError: No answer came; it is not repeated by itself.

        Source: contract section 2.1.
        """
        _refuse(validation.generation_id_problems(generation_id))
        await self._exchange.perform(endpoints.delete_generation(generation_id), self._settings)

    async def estimate(self, request: GenerationRequest) -> CostEstimate:
        """Return what an order would cost; the service looks at its media for that.

        Wire: `POST /v2/analyze/cost`

        Args:
            request: The order. Its inputs are urls or assets; for local files, see
                `estimate_duration`.

        Raises:
            InvalidRequestError: The order is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: contract section 2.9.
        """
        validation.check_request(request, stacklevel=_TO_THE_CALLER - 1)
        _refuse(validation.upload_problems(request))
        return await self._exchange.perform(endpoints.estimate_request(request), self._settings)

    async def estimate_duration(
        self,
        *,
        model: str,
        duration: float,
        fps: float | None = None,
        reasoning_enabled: bool | None = None,
    ) -> CostEstimate:
        """Return what a result of a known length would cost.

        Wire: `POST /v2/generations/estimate`

        Args:
            model: The model's name.
            duration: Seconds of output, more than 0.
            fps: Output frames a second; `None`: the service's 30.
            reasoning_enabled: As in `Options`; it changes the price.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            UnprocessableError: The service has no price for it.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: contract section 2.9.
        """
        _refuse(validation.estimate_problems(model=model, duration=duration, fps=fps))
        call = endpoints.estimate_duration(
            model=model,
            duration=duration,
            fps=fps,
            reasoning_enabled=reasoning_enabled,
        )
        return await self._exchange.perform(call, self._settings)


def _order(request: GenerationRequest | None, fields: GenerationRequest) -> GenerationRequest:
    """Take the order whole or by fields, but not both: one of them would be ignored."""
    if request is None:
        return fields
    if fields != GenerationRequest(model="", input=()):
        raise InvalidRequestError(["request: give a GenerationRequest or its fields, not both"])
    return request


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise InvalidRequestError(problems)


def _job_problems(generation: object) -> Sequence[str]:
    if isinstance(generation, Generation):
        return validation.generation_id_problems(generation.id)
    return validation.generation_id_problems(generation)


async def _tell(on_update: OnUpdate | None, generation: Generation) -> None:
    if on_update is None:
        return
    told = on_update(generation)
    if isawaitable(told):
        await told
