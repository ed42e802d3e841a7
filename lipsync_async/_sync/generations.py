# Generated from lipsync_async/_async/generations.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""Everything about generations: `client.generations`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, overload

from lipsync_async._async.generations import _WAIT_SECONDS, AsyncGenerations
from lipsync_async._portal import BlockingOutcomes, SyncWrapper, call_in_caller, iterate_in_caller

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lipsync_async._bulk.results import Outcome, Progress
    from lipsync_async._models.account import GenerationCosts
    from lipsync_async._models.request import (
        DubParams,
        GenerationRequest,
        Input,
        ModelName,
        Options,
        Segment,
    )
    from lipsync_async._models.response import CostEstimate, Generation, GenerationPage, StatusName
    from lipsync_async.webhooks import WebhookReceiver

    OnUpdate = Callable[[Generation], None]
    OnUpload = Callable[[int, int], None]
    UploadWay = Literal["asset", "form"]
    OnProgress = Callable[[Progress], None]


class Generations(SyncWrapper):
    """Generations: create, look up, wait for and download them. Reached as `client.generations`."""

    _source: AsyncGenerations

    @overload
    def create(
        self,
        request: GenerationRequest,
        *,
        idempotency_key: str | None = None,
        upload: UploadWay = "asset",
        on_upload: OnUpload | None = None,
    ) -> Generation: ...

    @overload
    def create(
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

    def create(
        self,
        request: GenerationRequest | None = None,
        *,
        model: ModelName | None = None,
        input: Sequence[Input] = (),
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
            on_upload: Called, in the thread that waits, with the bytes sent so far of all files
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
            `client.generations.create(model="lipsync-2", input=[Video(v), Audio(a)])`

        Source: "Create generation", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.create,
                request,
                model=model,
                input=input,
                options=options,
                segments=segments,
                webhook_url=webhook_url,
                output_file_name=output_file_name,
                project_id=project_id,
                dub_params=dub_params,
                dialogue_edit=dialogue_edit,
                idempotency_key=idempotency_key,
                upload=upload,
                on_upload=call_in_caller("on_upload", on_upload),
            )
        )

    def estimate(self, request: GenerationRequest) -> CostEstimate:
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
        return self._portal.call(partial(self._source.estimate, request))

    def estimate_duration(
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
        return self._portal.call(
            partial(
                self._source.estimate_duration,
                model=model,
                duration=duration,
                fps=fps,
                reasoning_enabled=reasoning_enabled,
            )
        )

    def wait_until_complete(
        self,
        generation: Generation | str,
        *,
        timeout: float | None = _WAIT_SECONDS,
        on_update: OnUpdate | None = None,
        webhooks: WebhookReceiver | None = None,
    ) -> Generation:
        """Wait until a job has succeeded and return it, COMPLETED.

        Wire: `GET /v2/generate/{id}` with `wait`; `GET /v2/generations?ids=` for many at once

        Stopping the wait, by timeout or Ctrl-C, does not stop the job: it goes on, stays
        paid for, and can be waited for again.

        Args:
            generation: The job, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, in the thread that waits, with each changed status (and
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
        return self._portal.call(
            partial(
                self._source.wait_until_complete,
                generation,
                timeout=timeout,
                on_update=call_in_caller("on_update", on_update),
                webhooks=webhooks,
            )
        )

    def updates(
        self, generation: Generation | str, *, timeout: float | None = _WAIT_SECONDS
    ) -> AbstractContextManager[Iterator[Generation]]:
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
            `with client.generations.updates(job.id) as changes: ...`

        Source: "Get generation", sync.so API reference.
        """
        return self._portal.open(self._source.updates(generation, timeout=timeout))

    @overload
    def run(
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
    def run(
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

    def run(
        self,
        request: GenerationRequest | None = None,
        *,
        model: ModelName | None = None,
        input: Sequence[Input] = (),
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
            on_update: Called, in the thread that waits, with the accepted job and each change.
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
        return self._portal.call(
            partial(
                self._source.run,
                request,
                model=model,
                input=input,
                options=options,
                segments=segments,
                webhook_url=webhook_url,
                output_file_name=output_file_name,
                project_id=project_id,
                dub_params=dub_params,
                dialogue_edit=dialogue_edit,
                idempotency_key=idempotency_key,
                upload=upload,
                on_upload=call_in_caller("on_upload", on_upload),
                timeout=timeout,
                on_update=call_in_caller("on_update", on_update),
                webhooks=webhooks,
            )
        )

    def download(
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
        return self._portal.call(
            partial(self._source.download, generation, to, overwrite=overwrite)
        )

    def download_chunks(self, generation: Generation | str) -> Generator[bytes, None, None]:
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
        return self._portal.iterate(self._source.download_chunks(generation))

    def download_bytes(self, generation: Generation | str) -> bytes:
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
        return self._portal.call(partial(self._source.download_bytes, generation))

    def get(self, generation: Generation | str, *, progress: bool = False) -> Generation:
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
        return self._portal.call(partial(self._source.get, generation, progress=progress))

    def list(
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
        return self._portal.call(
            partial(
                self._source.list,
                status=status,
                ids=ids,
                source=source,
                project_id=project_id,
                limit=limit,
                cursor=cursor,
            )
        )

    def iter(
        self,
        *,
        status: Sequence[StatusName] | None = None,
        source: Sequence[str] | None = None,
        project_id: str | None = None,
        page_size: int = 100,
    ) -> Generator[Generation, None, None]:
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
        return self._portal.iterate(
            self._source.iter(
                status=status, source=source, project_id=project_id, page_size=page_size
            )
        )

    def count(
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
        return self._portal.call(partial(self._source.count, status=status, source=source))

    def costs(self, generation: Generation | str) -> GenerationCosts:
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
        return self._portal.call(partial(self._source.costs, generation))

    def delete(self, generation: Generation | str) -> None:
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
        self._portal.call(partial(self._source.delete, generation))

    def run_many(
        self,
        requests: Iterable[GenerationRequest],
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
    ) -> AbstractContextManager[BlockingOutcomes]:
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
            on_progress: Called, in the thread that waits, with each outcome's `Progress`.
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
        return self._portal.open_run(
            self._source.run_many(
                iterate_in_caller(requests),
                journal=journal,
                download_to=download_to,
                concurrent_downloads=concurrent_downloads,
                ordered=ordered,
                stop_on_error=stop_on_error,
                max_jobs=max_jobs,
                max_cost=max_cost,
                duration=duration,
                on_progress=call_in_caller("on_progress", on_progress),
                retry_failed=retry_failed,
                match_query=match_query,
                accept_new_key=accept_new_key,
                upload=upload,
                webhooks=webhooks,
            )
        )

    def run_all(
        self,
        requests: Iterable[GenerationRequest],
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
            on_progress: Called, in the thread that waits, with each outcome's `Progress`.
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
        return self._portal.call(
            partial(
                self._source.run_all,
                iterate_in_caller(requests),
                journal=journal,
                download_to=download_to,
                concurrent_downloads=concurrent_downloads,
                stop_on_error=stop_on_error,
                max_jobs=max_jobs,
                max_cost=max_cost,
                duration=duration,
                on_progress=call_in_caller("on_progress", on_progress),
                retry_failed=retry_failed,
                match_query=match_query,
                accept_new_key=accept_new_key,
                upload=upload,
                webhooks=webhooks,
            )
        )
