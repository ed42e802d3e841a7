"""Everything about generations: `client.generations`."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, overload

import attrs

from lipsync_async._asyncio_tools import LoopLocal
from lipsync_async._callsite import (
    HTTP_LOG,
    UNDER_WAY,
    call_back,
    is_from_callback,
    log,
    notes_of,
    tell_left,
)
from lipsync_async._logic import endpoints, validation
from lipsync_async._logic.validation import argument_problems
from lipsync_async._models.request import GenerationRequest
from lipsync_async._models.response import Generation
from lipsync_async._polling import JobWait, Poller, as_generation, error_of, retry_until_timeout
from lipsync_async._requester import Requester, RequestOptions
from lipsync_async.errors import InvalidRequestError, LipsyncError

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from lipsync_async._bulk.results import Outcome, OutcomeIterator, Progress
    from lipsync_async._logic.endpoints import Call
    from lipsync_async._models.account import GenerationCosts
    from lipsync_async._models.request import DubParams, Input, ModelName, Options, Segment
    from lipsync_async._models.response import CostEstimate, GenerationPage, StatusName
    from lipsync_async._upload import UploadInputs  # noqa: TC004 - attrs does not look at it
    from lipsync_async.webhooks import WebhookReceiver


T = TypeVar("T")

OnUpdate: TypeAlias = Callable[[Generation], Awaitable[None] | None]
OnUpload: TypeAlias = Callable[[int, int], Awaitable[None] | None]
UploadWay: TypeAlias = Literal["asset", "form"]
OnProgress: TypeAlias = "Callable[[Progress], Awaitable[None] | None]"  # as in `_bulk.results`

# Two hours: the slowest model takes 55 minutes for 2 minutes of video. Source: "Models",
# sync.so documentation.
_WAIT_SECONDS = 7200.0
_GOES_ON = "Generation {id} goes on; call wait_until_complete({id!r}) to wait for it again."
_HAS_ENDED = "Generation {id} has ended; call get({id!r}) for what became of it."
_NOT_SAVED = "The result of generation {id} was not saved; call download({id!r}, ...) again."
# A cancelled call raises no error of ours, and the service may have accepted the request.
_MAY_HAVE_WORKED = (
    "A create request was cancelled in flight and may have succeeded. To find out without paying "
    "twice, repeat it with idempotency_key={!r}."
)
_REPEATED = "A listing has ended early: the service gave a page again that it had given before."
_FIELDS = tuple(attrs.fields_dict(GenerationRequest))
# Frames from `_submit` up to the user's own, whose line the warnings name.
_TO_THE_CALLER = 3


class _RepeatDetector:
    """Detector of pages that repeat themselves, as those of a service that ignores cursors.

    With a limit pages go from new to old. So a listing ends with a page that repeats a cursor,
    or a job of the first page or of the one before, or shows a newer job than the first page.
    """

    def __init__(self) -> None:
        self._cursors: set[str] = set()
        self._first: set[str] | None = None
        self._before: set[str] = set()
        self._newest: datetime | None = None

    def repeats(self, page: GenerationPage) -> bool:
        """Add a page; return whether it was there before."""
        ids = {job.id for job in page}
        newest = max((job.created_at for job in page if job.created_at), default=None)
        if self._first is None:
            self._first, self._newest = ids, newest
        elif (
            page.next_cursor in self._cursors
            or not ids.isdisjoint(self._first | self._before)
            or (newest is not None and self._newest is not None and newest > self._newest)
        ):
            log(HTTP_LOG, logging.WARNING, _REPEATED)
            return True
        self._before = ids
        if page.next_cursor is not None:
            self._cursors.add(page.next_cursor)
        return False


@attrs.define(slots=False, eq=False, repr=False)
class AsyncGenerations:
    """Generations: create, look up, wait for and download them. Reached as `client.generations`."""

    _requester: Requester
    _options: RequestOptions
    _pollers: LoopLocal[Poller]
    _upload_inputs: UploadInputs

    @overload
    async def create(
        self,
        request: GenerationRequest,
        *,
        idempotency_key: str | None = None,
        upload: UploadWay = "asset",
        on_upload: OnUpload | None = None,
    ) -> Generation: ...

    @overload
    async def create(
        self,
        *,
        model: ModelName,
        input: Sequence[Input],
        options: Options | None = None,
        segments: Sequence[Segment] | None = None,
        webhook_url: str | None = None,
        output_file_name: str | None = None,
        project_id: str | None = None,
        dub_params: DubParams | None = None,
        dialogue_edit: str | None = None,
        idempotency_key: str | None = None,
        upload: UploadWay = "asset",
        on_upload: OnUpload | None = None,
    ) -> Generation: ...

    async def create(
        self,
        request: GenerationRequest | None = None,
        *,
        model: ModelName | None = None,
        input: Sequence[Input] = (),  # noqa: A002 - the wire's name
        options: Options | None = None,
        segments: Sequence[Segment] | None = None,
        webhook_url: str | None = None,
        output_file_name: str | None = None,
        project_id: str | None = None,
        dub_params: DubParams | None = None,
        dialogue_edit: str | None = None,
        idempotency_key: str | None = None,
        upload: UploadWay = "asset",
        on_upload: OnUpload | None = None,
    ) -> Generation:
        """Create a generation and return it as the service accepted it, usually PENDING.

        Wire: `POST /v2/generate`; before, for each file, the calls of `assets.upload`

        All tries carry the same Idempotency-Key, so that the job is never created, or paid for,
        twice.

        Args:
            request: The whole request; or give its fields one by one.
            model: See `GenerationRequest`, as for all fields down to `dialogue_edit`.
            input: The video or image, and the audio or text.
            options: How the lips are made.
            segments: Time ranges of the video with an audio each.
            webhook_url: Gets a POST when the job has ended.
            output_file_name: Base name of the result, without extension.
            project_id: UUID of a project.
            dub_params: Dub the video's own speech.
            dialogue_edit: Id of a dialogue edit to render.
            idempotency_key: 1 to 128 of `A-Za-z0-9._~-`; `None`: a new one is made. Pass
                your own, stored beforehand, to be able to repeat the call after a crash.
            upload: How files get there: as assets before the create, whose tries then send no
                file again, or with it in a `form` (at most one video, image and audio). Where
                the service has no uploads (404), files that a form takes go in one.
            on_upload: Called, and awaited if need be, with the bytes sent so far of all files
                together, and all their bytes; not with `form`.

        Returns:
            The generation, its `idempotency_key` included.

        Raises:
            InvalidRequestError: The request is wrong; nothing was sent.
            UploadError: A file did not arrive whole; no job was created.
            ResponseError: The service refused it; the class tells the status.
            TransportError: No answer came, retries included; `.idempotency_key` is kept.
            DecodeError: The answer cannot be read; `.idempotency_key` is kept.

        Example:
            `await client.generations.create(model="lipsync-2", input=[Video(v), Audio(a)])`

        Source: "Create generation", sync.so API reference.
        """
        fields = GenerationRequest(
            model="" if model is None else model,
            input=input,
            options=options,
            segments=segments,
            webhook_url=webhook_url,
            output_file_name=output_file_name,
            project_id=project_id,
            dub_params=dub_params,
            dialogue_edit=dialogue_edit,
        )
        problems = argument_problems(upload=upload, on_upload=on_upload)
        return await self._submit(
            request, fields, idempotency_key, problems, upload=upload, on_upload=on_upload
        )

    async def _submit(
        self,
        request: GenerationRequest | None,
        fields: GenerationRequest,
        idempotency_key: str | None,
        problems: Iterable[str],
        *,
        upload: UploadWay,
        on_upload: OnUpload | None,
    ) -> Generation:
        """Create a generation of a request that is given whole or by fields.

        `problems` are those of the caller's other arguments.
        """
        problems = [*problems, *argument_problems(idempotency_key=idempotency_key)]
        if request is None:
            request = fields
        elif _is_given(fields):
            problems.append("request: give a GenerationRequest or its fields, not both")
        is_form = upload == "form"
        if problems := [*problems, *validation.request_problems(request, is_form=is_form)]:
            raise InvalidRequestError(problems)
        validation.warn_of_ignored(request, stacklevel=_TO_THE_CALLER)
        key = str(uuid.uuid4()) if idempotency_key is None else str.__str__(idempotency_key)
        if not is_form and validation.has_files(request):
            request = await self._upload_inputs(
                self._requester, self._options, request, on_upload=on_upload
            )
        call = endpoints.create_generation(request, idempotency_key=key)
        return await send(self._requester, call, self._options)

    async def estimate(self, request: GenerationRequest) -> CostEstimate:
        """Return what a request would cost; the service looks at its media for that.

        Wire: `POST /v2/analyze/cost`

        Args:
            request: The request. Its inputs are urls or assets; for local files, see
                `estimate_duration`.

        Raises:
            InvalidRequestError: The request is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Analyze cost", sync.so API reference.
        """
        validation.validate(request, stacklevel=_TO_THE_CALLER - 1)
        if problems := validation.upload_problems(request):
            raise InvalidRequestError(problems)
        return await self._requester.execute(endpoints.estimate_request(request), self._options)

    async def estimate_duration(
        self,
        *,
        model: ModelName,
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

        Source: "Estimate cost", sync.so API reference.
        """
        if problems := validation.estimate_problems(model=model, duration=duration, fps=fps):
            raise InvalidRequestError(problems)
        call = endpoints.estimate_duration(
            model=model, duration=duration, fps=fps, reasoning_enabled=reasoning_enabled
        )
        return await self._requester.execute(call, self._options)

    async def wait_until_complete(
        self,
        generation: Generation | str,
        *,
        timeout: float | None = _WAIT_SECONDS,
        on_update: OnUpdate | None = None,
        webhooks: WebhookReceiver | None = None,
    ) -> Generation:
        """Wait until a job has succeeded and return it, COMPLETED.

        Wire: `GET /v2/generate/{id}` with `wait`; `GET /v2/generations?ids=` for many at once

        Stopping the wait, by timeout or cancellation, does not stop the job: it goes on, stays
        paid for, and can be waited for again.

        Args:
            generation: The job, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, and awaited if need be, with each changed status (and
                progress, with `PollPolicy(progress=True)`).
            webhooks: The receiver that your route passes deliveries to. An event of this job
                starts a poll at once. Until then, polls are 30 seconds apart, unless progress
                is wanted or the job has no `webhook_url`.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            GenerationFailedError: The job ended as FAILED.
            GenerationRejectedError: The job ended as REJECTED; it never ran.
            WaitTimeoutError: The time is up; the job goes on.
            LipsyncError: Polling failed for good; `.generation` is the job as last seen.

        Source: "Get generation", sync.so API reference.
        """
        if problems := argument_problems(
            on_update=on_update, generation_id=generation, timeout=timeout, webhooks=webhooks
        ):
            raise InvalidRequestError(problems)
        last = as_generation(generation)
        if isinstance(generation, Generation) and generation.webhook_url is None:
            webhooks = None  # no event will come
        options, limit = retry_until_timeout(self._options), inf if timeout is None else timeout
        poller = self._pollers.get()
        watched = JobWait(self._requester, poller, options, last, limit, webhooks)
        try:
            async with aclosing(watched.changes()) as changes:
                async for last in changes:
                    if on_update is not None:
                        await call_back(on_update, last)
        except BaseException as error:
            _note_job(last, error)
            raise
        if (failure := error_of(last)) is not None:
            raise failure
        return last

    @asynccontextmanager
    async def updates(
        self, generation: Generation | str, *, timeout: float | None = _WAIT_SECONDS
    ) -> AsyncIterator[AsyncIterator[Generation]]:
        """Iterate over a job's changes until it has ended.

        Wire: `GET /v2/generate/{id}` with `wait`; `GET /v2/generations?ids=` for many at once

        Args:
            generation: The job as last seen (only later changes come), or its id.
            timeout: Seconds to watch at most; `None`: no limit.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            WaitTimeoutError: The time is up; the job goes on.
            LipsyncError: Polling failed for good; `.generation` is the job as last seen.

        Example:
            `async with client.generations.updates(job.id) as changes: ...`

        Source: "Get generation", sync.so API reference.
        """
        if problems := argument_problems(generation_id=generation, timeout=timeout):
            raise InvalidRequestError(problems)
        last, poller = as_generation(generation), self._pollers.get()
        options, limit = retry_until_timeout(self._options), inf if timeout is None else timeout
        watched = JobWait(self._requester, poller, options, last, limit)
        async with aclosing(watched.changes()) as changes:
            try:
                yield changes
            except GeneratorExit:  # an iteration around this one was left by `break`
                raise
            except BaseException as error:
                _note_job(watched.last, error)
                raise

    @overload
    async def run(
        self,
        request: GenerationRequest,
        *,
        idempotency_key: str | None = None,
        upload: UploadWay = "asset",
        on_upload: OnUpload | None = None,
        timeout: float | None = _WAIT_SECONDS,
        on_update: OnUpdate | None = None,
        webhooks: WebhookReceiver | None = None,
    ) -> Generation: ...

    @overload
    async def run(
        self,
        *,
        model: ModelName,
        input: Sequence[Input],
        options: Options | None = None,
        segments: Sequence[Segment] | None = None,
        webhook_url: str | None = None,
        output_file_name: str | None = None,
        project_id: str | None = None,
        dub_params: DubParams | None = None,
        dialogue_edit: str | None = None,
        idempotency_key: str | None = None,
        upload: UploadWay = "asset",
        on_upload: OnUpload | None = None,
        timeout: float | None = _WAIT_SECONDS,
        on_update: OnUpdate | None = None,
        webhooks: WebhookReceiver | None = None,
    ) -> Generation: ...

    async def run(
        self,
        request: GenerationRequest | None = None,
        *,
        model: ModelName | None = None,
        input: Sequence[Input] = (),  # noqa: A002 - the wire's name
        options: Options | None = None,
        segments: Sequence[Segment] | None = None,
        webhook_url: str | None = None,
        output_file_name: str | None = None,
        project_id: str | None = None,
        dub_params: DubParams | None = None,
        dialogue_edit: str | None = None,
        idempotency_key: str | None = None,
        upload: UploadWay = "asset",
        on_upload: OnUpload | None = None,
        timeout: float | None = _WAIT_SECONDS,
        on_update: OnUpdate | None = None,
        webhooks: WebhookReceiver | None = None,
    ) -> Generation:
        """Create a generation and wait until it is COMPLETED: `create`, then `wait_until_complete`.

        Wire: `POST /v2/generate`, then `GET /v2/generate/{id}`

        Args:
            request: The whole request; or give its fields one by one.
            model: See `GenerationRequest`, as for all fields down to `dialogue_edit`.
            input: The video or image, and the audio or text.
            options: How the lips are made.
            segments: Time ranges of the video with an audio each.
            webhook_url: Gets a POST when the job has ended.
            output_file_name: Base name of the result, without extension.
            project_id: UUID of a project.
            dub_params: Dub the video's own speech.
            dialogue_edit: Id of a dialogue edit to render.
            idempotency_key: As for `create`.
            upload: As for `create`.
            on_upload: As for `create`.
            timeout: Seconds to wait after the request was accepted; `None`: no limit.
            on_update: Called, and awaited if need be, with the accepted job and each change.
            webhooks: As for `wait_until_complete`; the request needs a `webhook_url` for it.

        Raises:
            InvalidRequestError: The request is wrong; nothing was sent.
            GenerationFailedError: The job ended as FAILED.
            GenerationRejectedError: The job ended as REJECTED; it never ran.
            WaitTimeoutError: The time is up; the job goes on.
            LipsyncError: As for `create` and `wait_until_complete`; once the job exists,
                `.generation` is the job as last seen.

        Source: "Create generation", sync.so API reference.
        """
        fields = GenerationRequest(
            model="" if model is None else model,
            input=input,
            options=options,
            segments=segments,
            webhook_url=webhook_url,
            output_file_name=output_file_name,
            project_id=project_id,
            dub_params=dub_params,
            dialogue_edit=dialogue_edit,
        )
        problems = argument_problems(
            timeout=timeout,
            on_update=on_update,
            upload=upload,
            on_upload=on_upload,
            webhooks=webhooks,
        )
        created = await self._submit(
            request, fields, idempotency_key, problems, upload=upload, on_upload=on_upload
        )
        marker = object()
        UNDER_WAY[marker] = lambda: [_GOES_ON.format(id=created.id)]
        try:
            if on_update is not None:
                await call_back(on_update, created)
            return await self.wait_until_complete(
                created, timeout=timeout, on_update=on_update, webhooks=webhooks
            )
        except LipsyncError as error:
            if error.generation is None:  # it is one of the user's own `on_update`
                error.generation = created
            raise
        except BaseException as error:
            _note_job(created, error)
            raise
        finally:
            UNDER_WAY.pop(marker, None)

    async def download(
        self, generation: Generation | str, to: str | os.PathLike[str], *, overwrite: bool = False
    ) -> Path:
        """Save a COMPLETED generation's result and return the file's path.

        Wire: `GET` of the result's address; where that has expired, `GET /v2/generate/{id}` and
        `GET /v2/generations/{id}/download`

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
            overwrite: Replace a file that has the name. Otherwise, in a folder none is replaced:
                the file then gets the job's id, and if need be a number, in its name. A file
                that `to` names must be missing, hold the same bytes already, or be one that this
                program saved there by an earlier call and that is unchanged: it is replaced,
                and a warning in the log names both jobs.

        Raises:
            InvalidRequestError: The generation is not COMPLETED.
            DownloadError: No address yields the whole file, or it cannot be written.
            ResponseError: The media host failed (429, 5xx), retries included.
            TransportError: The connection failed for good, retries included.

        Source: "Get generation", sync.so API reference.
        """
        if problems := argument_problems(generation_id=generation, to=to, overwrite=overwrite):
            raise InvalidRequestError(problems)
        job = as_generation(generation)
        # Imported here: many clients download nothing.
        from lipsync_async import _download  # noqa: PLC0415

        try:
            if not isinstance(generation, Generation):
                job = await self.get(generation)
            place = _download.Target.of(to, overwrite=overwrite)
            return await _download.save(self._requester, self._options, job, place)
        except BaseException as error:
            _note_job(job, error, _NOT_SAVED)
            raise

    async def download_chunks(self, generation: Generation | str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a COMPLETED generation's result, as for an answer that streams.

        Wire: `GET` of the result's address, which is renewed when it has expired

        Nothing is written to the disk. Broken connections are resumed; where the host can only
        begin anew, what comes again is compared and not yielded again. A slow reader is waited
        for. The API key is not sent to the media host.

        Args:
            generation: The job, or its id.

        Raises:
            InvalidRequestError: The generation is not COMPLETED.
            DownloadError: No address yields the whole result, or it has changed meanwhile. What
                was yielded is then not whole.
            ResponseError: The media host failed (429, 5xx), retries included.
            TransportError: The connection failed for good, retries included.

        Example:
            `StreamingResponse(client.generations.download_chunks(job), media_type="video/mp4")`

        Source: "Get generation", sync.so API reference.
        """
        job = as_generation(generation)
        if not isinstance(generation, Generation):
            job = await self.get(generation)
        # Imported here: many clients download nothing.
        from lipsync_async import _download  # noqa: PLC0415

        async with aclosing(_download.stream(self._requester, self._options, job)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def download_bytes(self, generation: Generation | str) -> bytes:
        """Return a COMPLETED generation's result; all of it is held in memory.

        Wire: `GET` of the result's address, which is renewed when it has expired

        Args:
            generation: The job, or its id.

        Raises:
            InvalidRequestError: The generation is not COMPLETED.
            DownloadError: No address yields the whole result.
            ResponseError: The media host failed (429, 5xx), retries included.
            TransportError: The connection failed for good, retries included.

        Source: "Get generation", sync.so API reference.
        """
        job = generation if isinstance(generation, Generation) else await self.get(generation)
        try:
            async with aclosing(self.download_chunks(job)) as chunks:
                return b"".join([chunk async for chunk in chunks])
        except BaseException as error:
            _note_job(job, error, _NOT_SAVED)
            raise

    async def get(self, generation: Generation | str, *, progress: bool = False) -> Generation:
        """Return one generation as it is now.

        Wire: `GET /v2/generate/{id}`

        Args:
            generation: The job, or its id.
            progress: Also ask for `progress_percent`.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such generation in the organization.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Get generation", sync.so API reference.
        """
        job = _id_of(generation, progress=progress)
        call = endpoints.get_generation(job, progress=progress)
        return await self._requester.execute(call, self._options)

    async def list(
        self,
        *,
        status: Sequence[StatusName] | None = None,
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
            ids: Only these ids, at most 100.
            source: Only those created with these `x-sync-source` labels.
            project_id: Only those of this project.
            limit: 1 to 100 a page, newest first; `None`: every match, in any order.
            cursor: `next_cursor` of the page before, with the same `limit`.

        Raises:
            InvalidRequestError: A filter is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List generations", sync.so API reference.
        """
        if problems := validation.list_problems(
            status=status, ids=ids, source=source, project_id=project_id, limit=limit, cursor=cursor
        ):
            raise InvalidRequestError(problems)
        call = endpoints.list_generations(
            status=status, ids=ids, source=source, project_id=project_id, limit=limit, cursor=cursor
        )
        return await self._requester.execute(call, self._options)

    async def iter(
        self,
        *,
        status: Sequence[StatusName] | None = None,
        source: Sequence[str] | None = None,
        project_id: str | None = None,
        page_size: int = 100,
    ) -> AsyncGenerator[Generation, None]:
        """Yield all matching generations, newest first, page after page.

        Wire: `GET /v2/generations`, repeatedly

        Pages that repeat themselves end it, with a warning in the log.

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

        Source: "List generations", sync.so API reference.
        """
        if problems := argument_problems(page_size=page_size):
            raise InvalidRequestError(problems)
        detector = _RepeatDetector()
        fetch = partial(
            self.list, status=status, source=source, project_id=project_id, limit=page_size
        )
        page: GenerationPage | None = await fetch()
        while page is not None and page.items and not detector.repeats(page):
            for generation in page.items[:-1]:
                yield generation
            last, following = page.items[-1], None
            if page.next_cursor is not None:
                # Fetched before the last item is yielded: deleting that item deletes the cursor.
                following = await fetch(cursor=page.next_cursor)
            yield last
            page = following

    async def count(
        self, *, status: Sequence[StatusName] | None = None, source: Sequence[str] | None = None
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

        Source: "Count generations", sync.so API reference.
        """
        if problems := validation.list_problems(status=status, source=source):
            raise InvalidRequestError(problems)
        call = endpoints.count_generations(status=status, source=source)
        return await self._requester.execute(call, self._options)

    async def costs(self, generation: Generation | str) -> GenerationCosts:
        """Return what a generation has cost, as far as that is known by now.

        Wire: `GET /v2/generate/{id}/costs`

        The whole is usually known within 10 minutes after the end.

        Args:
            generation: The job, or its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such generation.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Get generation costs", sync.so API reference.
        """
        call = endpoints.generation_costs(_id_of(generation))
        return await self._requester.execute(call, self._options)

    async def delete(self, generation: Generation | str) -> None:
        """Delete a generation that has ended. There is no cancel for one that runs.

        Wire: `DELETE /v2/generations/{id}`

        A try whose outcome is unknown is repeated; if the generation is gone then, the call has
        succeeded.

        Args:
            generation: The job, or its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            ConflictError: The job is still running.
            NotFoundError: There was no such generation when the call began.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.

        Source: "Delete generation", sync.so API reference.
        """
        call = endpoints.delete_generation(_id_of(generation))
        await self._requester.execute(call, self._options)

    @asynccontextmanager
    async def run_many(
        self,
        requests: AsyncIterable[GenerationRequest] | Iterable[GenerationRequest],
        *,
        journal: str | os.PathLike[str] | None = None,
        download_to: str | os.PathLike[str] | None = None,
        concurrent_downloads: int = 4,
        ordered: bool = False,
        stop_on_error: bool = False,
        max_jobs: int | None = None,
        max_cost: float | None = None,
        duration: float | None = None,
        on_progress: OnProgress | None = None,
        retry_failed: bool = False,
        match_query: bool = False,
        accept_new_key: bool = False,
        upload: UploadWay = "asset",
        webhooks: WebhookReceiver | None = None,
    ) -> AsyncIterator[OutcomeIterator]:
        """Run any number of requests at once, within the account's limits.

        Wire: `POST /v2/generate`, then `GET /v2/generations` for a hundred jobs at a time

        Requests are read as slots become free: memory grows with the jobs that run, not with the
        input. A wrong request or a failed job becomes an outcome with an error and does not stop
        the others. If the block is left early, jobs that run go on at the service.

        Args:
            requests: The input, of any length; what it raises comes after all outcomes.
            journal: SQLite file in which the run survives a crash, or `postgresql://HOST/DB?run=NAME`.
                With the same input, nothing is created or downloaded twice. `None`: none is kept.
            download_to: Folder for the results, named after request and job; no file is
                replaced. It must exist, or its name must end with a slash or have no suffix.
                `None`: results are not downloaded.
            concurrent_downloads: Downloads at once, at least 1.
            ordered: Give outcomes in the order of the input, not as they come.
            stop_on_error: Submit nothing more after the first error that is not `resumed`, as
                always after a wrong key, a lack of credit or a `SpendingLimitError`.
            max_jobs: Jobs to create in this run; `None`: no limit.
            max_cost: US dollars for them, as estimated, and for all that the journal holds of
                earlier runs; refused before the first create if that cannot be known.
            duration: Seconds of the longest result, to estimate by; `None`: the service
                looks at each request's media.
            on_progress: Called, and awaited if need be, with each outcome's `Progress`.
            retry_failed: Create again, under a new key, what the journal holds as FAILED,
                REJECTED or refused. What may have become a job is never created again.
            match_query: Take a request for another one than in the journal if any part of
                a media address differs. Otherwise a link may have been signed anew.
            accept_new_key: The journal is of a run with another API key of the same account.
            upload: As for `create`. What a journal holds as sent is sent again as it was.
            webhooks: The receiver that your route passes deliveries to, for requests with a
                `webhook_url`. An event starts a poll at once. Other polls of these jobs are 30
                seconds apart.

        Raises:
            InvalidRequestError: An argument is wrong, or the journal is about another input.
            JournalError: The journal is in use or cannot be used.

        Source: "Rate limits" and "Create generation", sync.so documentation.
        """
        # Imported here: only runs of many requests need SQLite.
        from lipsync_async._bulk.runner import RunOptions, open_run  # noqa: PLC0415

        options = RunOptions(
            journal=journal,
            download_to=download_to,
            concurrent_downloads=concurrent_downloads,
            ordered=ordered,
            stop_on_error=stop_on_error,
            max_jobs=max_jobs,
            max_cost=max_cost,
            duration=duration,
            on_progress=on_progress,
            retry_failed=retry_failed,
            match_query=match_query,
            accept_new_key=accept_new_key,
            upload=upload,
            webhooks=webhooks,
        )
        run = open_run(
            requests,
            options,
            requester=self._requester,
            settings=self._options,
            poller=self._pollers.get(),
            upload_inputs=self._upload_inputs,
        )
        async with run as outcomes:
            yield outcomes

    async def run_all(
        self,
        requests: AsyncIterable[GenerationRequest] | Iterable[GenerationRequest],
        *,
        journal: str | os.PathLike[str] | None = None,
        download_to: str | os.PathLike[str] | None = None,
        concurrent_downloads: int = 4,
        stop_on_error: bool = False,
        max_jobs: int | None = None,
        max_cost: float | None = None,
        duration: float | None = None,
        on_progress: OnProgress | None = None,
        retry_failed: bool = False,
        match_query: bool = False,
        accept_new_key: bool = False,
        upload: UploadWay = "asset",
        webhooks: WebhookReceiver | None = None,
    ) -> builtins.list[Outcome]:
        """Run requests as `run_many` does, and return all outcomes in the input's order.

        Wire: `POST /v2/generate`, then `GET /v2/generations` for a hundred jobs at a time

        Args:
            requests: The input; if it raises, so does this call, once nothing runs any more.
            journal: As for `run_many`.
            download_to: As for `run_many`.
            concurrent_downloads: As for `run_many`.
            stop_on_error: Submit nothing more after the first error. Requests that were not
                submitted have no outcome, so the list is then shorter than the input.
            max_jobs: As for `run_many`.
            max_cost: As for `run_many`.
            duration: As for `run_many`.
            on_progress: Called, and awaited if need be, with each outcome's `Progress`.
            retry_failed: As for `run_many`.
            match_query: As for `run_many`.
            accept_new_key: As for `run_many`.
            upload: As for `run_many`.
            webhooks: As for `run_many`.

        Raises:
            InvalidRequestError: An argument is wrong, or the journal is about another input.
            JournalError: The journal is in use or cannot be used.

        Source: "Rate limits" and "Create generation", sync.so documentation.
        """
        # Imported here: only runs of many requests need SQLite.
        from lipsync_async._bulk.runner import RunOptions, open_run  # noqa: PLC0415

        options = RunOptions(
            journal=journal,
            download_to=download_to,
            concurrent_downloads=concurrent_downloads,
            stop_on_error=stop_on_error,
            max_jobs=max_jobs,
            max_cost=max_cost,
            duration=duration,
            on_progress=on_progress,
            retry_failed=retry_failed,
            match_query=match_query,
            accept_new_key=accept_new_key,
            upload=upload,
            webhooks=webhooks,
        )
        run = open_run(
            requests,
            options,
            requester=self._requester,
            settings=self._options,
            poller=self._pollers.get(),
            upload_inputs=self._upload_inputs,
        )
        async with run as outcomes:
            # Unordered: a job that takes hours must not hold back those after it.
            found = await outcomes.take_all()
        return sorted(found, key=attrgetter("index"))


def _is_given(fields: GenerationRequest) -> bool:
    """Tell whether any field was given."""
    # Looked at one by one: what a caller gives may raise when it is compared.
    given = (getattr(fields, name) for name in _FIELDS)
    return any(
        not (value is None or (type(value) in {str, list, tuple} and not value)) for value in given
    )


async def send(
    requester: Requester, call: Call[T], options: RequestOptions, *, has_slot: bool = False
) -> T:
    """Send a call, and name its key if it is left in flight: it may have created a job."""
    left = [] if call.idempotency_key is None else [_MAY_HAVE_WORKED.format(call.idempotency_key)]
    marker = object()
    UNDER_WAY[marker] = lambda: left if call.is_sent else []
    try:
        return await requester.execute(call, options, has_slot=has_slot)
    except BaseException as error:
        # An error of ours names the key by itself.
        if call.is_sent and (not isinstance(error, LipsyncError) or is_from_callback(error)):
            tell_left(error, *left)
        raise
    finally:
        UNDER_WAY.pop(marker, None)


def _note_job(job: Generation, error: BaseException, message: str | None = None) -> None:
    """Note what becomes of a job on the exception that ends its call, unless it names it."""
    named = error.generation if isinstance(error, LipsyncError) else None
    is_named = named is not None and named.id == job.id and not is_from_callback(error)
    if not is_named and not any(job.id in note for note in notes_of(error)):
        message = message or (_HAS_ENDED if job.is_terminal else _GOES_ON)
        tell_left(error, message.format(id=job.id))


def _id_of(generation: Generation | str, **arguments: object) -> str:
    """Return a job's id, or raise an error that names what is wrong with it and other arguments."""
    if problems := argument_problems(generation_id=generation, **arguments):
        raise InvalidRequestError(problems)
    return generation.id if isinstance(generation, Generation) else str.__str__(generation)
