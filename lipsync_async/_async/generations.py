"""Everything about generations: `client.generations`."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from lipsync_async import _download
from lipsync_async._async.campaigns import AsyncCampaigns
from lipsync_async._async.lookups import AsyncLookups, job_problems
from lipsync_async._async.orders import AsyncOrders, refuse, whole_order
from lipsync_async._callsite import call_back, is_from_callback, notes_of, tell_left, under_way
from lipsync_async._logic import validation
from lipsync_async._logic.validation import target_problems
from lipsync_async._logic.validators import flag
from lipsync_async._models.request import GenerationRequest
from lipsync_async._models.response import Generation
from lipsync_async._polling import wait
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from lipsync_async._models.request import DubParams, Input, Options, Segment

    OnUpdate = Callable[[Generation], Awaitable[None] | None]

# Two hours: the slowest model takes 55 minutes for 2 minutes of video (contract section 3.1).
_WAIT_SECONDS = 7200.0
_GOES_ON = "Generation {id} goes on; call wait_until_complete({id!r}) to wait for it again."
_HAS_ENDED = "Generation {id} has ended; call get({id!r}) for what became of it."
_NOT_SAVED = "The result of generation {id} was not saved; call download({id!r}, ...) again."


class AsyncGenerations(AsyncOrders, AsyncLookups, AsyncCampaigns):
    """Create, look up, wait for and fetch generations. Reached as `client.generations`."""

    async def wait_until_complete(
        self,
        generation: Generation | str,
        *,
        timeout: float | None = _WAIT_SECONDS,
        on_update: OnUpdate | None = None,
    ) -> Generation:
        """Wait for a job's good end and return it COMPLETED.

        Wire: `GET /v2/generate/{id}` with `wait`; `GET /v2/generations?ids=` for many at once

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
        refuse(validation.callback_problems(on_update))
        async with self.updates(generation, timeout=timeout) as changes:
            last = wait.as_generation(generation)
            async for last in changes:
                await _tell(on_update, last)
        return wait.raise_unless_completed(last)

    @asynccontextmanager
    async def updates(
        self,
        generation: Generation | str,
        *,
        timeout: float | None = _WAIT_SECONDS,
    ) -> AsyncIterator[AsyncIterator[Generation]]:
        """Iterate over a job's changes, until it has ended.

        Wire: `GET /v2/generate/{id}` with `wait`; `GET /v2/generations?ids=` for many at once

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
        refuse([*job_problems(generation), *validation.timeout_problems(timeout)])
        last = wait.as_generation(generation)
        watched = wait.changes(
            self._requester, self._pollers.get(), self._options, last, timeout=timeout
        )

        async def remembered() -> AsyncGenerator[Generation, None]:
            nonlocal last
            async with aclosing(watched) as changes:
                async for last in changes:
                    yield last

        async with aclosing(remembered()) as changes:
            try:
                yield changes
            except GeneratorExit:  # an iteration around this one was left in good order
                raise
            except BaseException as error:
                _tell_of(last, error)
                raise

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
        order = whole_order(
            request,
            GenerationRequest(
                model="" if model is None else model,
                input=input,
                options=options,
                segments=segments,
                webhook_url=webhook_url,
                output_file_name=output_file_name,
                project_id=project_id,
                dub_params=dub_params,
            ),
        )
        refuse([*validation.timeout_problems(timeout), *validation.callback_problems(on_update)])
        created = await self._place(order, idempotency_key)
        try:
            with under_way(lambda: [_GOES_ON.format(id=created.id)]):
                await _tell(on_update, created)
                return await self.wait_until_complete(created, timeout=timeout, on_update=on_update)
        except LipsyncError as error:
            if error.generation is None:  # it is one of the user's own `on_update`
                error.generation = created
            raise
        except BaseException as error:
            _tell_of(created, error)
            raise

    async def download(
        self,
        generation: Generation | str,
        to: str | os.PathLike[str],
        *,
        overwrite: bool = False,
    ) -> Path:
        """Save a COMPLETED generation's result and return the file's path.

        Wire: `GET` of the result's address, which is renewed when it has expired

        A file under its final name is always whole, and never a page or an error message.
        Broken connections are resumed, and the API key is not sent to the media host. Beside
        `timeout`, which counts between two pieces, 1,000 bytes a second must come, taken over
        twice `timeout` or ten seconds, whichever is longer.

        Args:
            generation: The job, or its id.
            to: A folder, where the file is named after the result, or exactly the file. What
                is there decides; if nothing is, a name that ends with a slash or has no suffix
                ("out") becomes a folder, and any other ("take.mp4") is the file. `~` is the
                home folder.
            overwrite: Replace a file that has the name. Otherwise none is replaced: in a
                folder, the file then gets the job's id, and if need be a number, in its name;
                a file that `to` names must be missing, or hold the same bytes already.

        Raises:
            InvalidRequestError: The generation is not COMPLETED.
            DownloadError: No address yields the whole file, or it cannot be written.
            ResponseError: The media host failed (429, 5xx), retries included.
            TransportError: The connection failed for good, retries included.

        Source: contract section 5.5.
        """
        refuse([*job_problems(generation), *target_problems(to), *flag("overwrite", overwrite)])
        job = wait.as_generation(generation)
        try:
            if not isinstance(generation, Generation):
                job = await self.get(generation)
            place = _download.Place.of(to, overwrite=overwrite)
            return await _download.save(self._requester, self._options, job, place)
        except BaseException as error:
            _tell_of(job, error, _NOT_SAVED)
            raise


def _tell_of(job: Generation, error: BaseException, message: str | None = None) -> None:
    """Say what becomes of a job, unless the exception that ends its call names it already."""
    named = error.generation if isinstance(error, LipsyncError) else None
    is_named = named is not None and named.id == job.id and not is_from_callback(error)
    if not is_named and not any(job.id in note for note in notes_of(error)):
        message = message or (_HAS_ENDED if job.is_terminal else _GOES_ON)
        tell_left(error, message.format(id=job.id))


async def _tell(on_update: OnUpdate | None, generation: Generation) -> None:
    if on_update is not None:
        await call_back(on_update, generation)
