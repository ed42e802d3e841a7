# Generated from lipsync_async/_async/generations.py by lipsync_async/_tools/mirror.
# Change that file, not this one, and run `nox -s regenerate`.

"""Everything about generations: `client.generations`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._async.generations import _WAIT_SECONDS
from lipsync_async._portal.portal import call_in_caller
from lipsync_async._sync.campaigns import Campaigns
from lipsync_async._sync.lookups import Lookups
from lipsync_async._sync.orders import Orders

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lipsync_async._async.generations import AsyncGenerations
    from lipsync_async._models.request import DubParams, GenerationRequest, Input, Options, Segment
    from lipsync_async._models.response import Generation

    OnUpdate = Callable[[Generation], None]


class Generations(Orders, Lookups, Campaigns):
    """Create, look up, wait for and fetch generations. Reached as `client.generations`."""

    _source: AsyncGenerations

    def wait_until_complete(
        self,
        generation: Generation | str,
        *,
        timeout: float | None = _WAIT_SECONDS,
        on_update: OnUpdate | None = None,
    ) -> Generation:
        """Wait for a job's good end and return it COMPLETED.

        Wire: `GET /v2/generate/{id}` with `wait`; `GET /v2/generations?ids=` for many at once

        Stopping to wait, by timeout or Ctrl-C, changes nothing about the job: it goes
        on, stays paid for, and can be waited for again.

        Args:
            generation: The job, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, in the thread that waits, with each changed status (and
                progress, with `PollPolicy(progress=True)`).

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            GenerationFailedError: The job ended as FAILED.
            GenerationRejectedError: The job ended as REJECTED; it never ran.
            WaitTimeoutError: The time is over; the job goes on.
            LipsyncError: Looking failed for good; `.generation` is the job as last seen.

        Source: contract sections 2.6 and 3.2.
        """
        return self._portal.call(
            partial(
                self._source.wait_until_complete,
                generation,
                timeout=timeout,
                on_update=call_in_caller("on_update", on_update),
            ),
        )

    def updates(
        self,
        generation: Generation | str,
        *,
        timeout: float | None = _WAIT_SECONDS,
    ) -> AbstractContextManager[Iterator[Generation]]:
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
            `with client.generations.updates(job.id) as changes: ...`

        Source: contract sections 2.6 and 3.2.
        """
        return self._portal.open(self._source.updates(generation, timeout=timeout))

    def run(
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
            on_update: Called, in the thread that waits, with the accepted job and each change.

        Raises:
            InvalidRequestError: The order is wrong; nothing was sent.
            GenerationFailedError: The job ended as FAILED.
            GenerationRejectedError: The job ended as REJECTED; it never ran.
            WaitTimeoutError: The time is over; the job goes on.
            LipsyncError: As for `create` and `wait_until_complete`; once the job exists,
                `.generation` is the job as last seen.

        Source: contract sections 0, 2.2, 2.6 and 4.4.
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
                idempotency_key=idempotency_key,
                timeout=timeout,
                on_update=call_in_caller("on_update", on_update),
            ),
        )

    def download(
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
        return self._portal.call(
            partial(self._source.download, generation, to, overwrite=overwrite),
        )
