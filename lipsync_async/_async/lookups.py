"""Looking up generations that exist, and deleting them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lipsync_async._async.orders import refuse
from lipsync_async._async.resource import AsyncResource
from lipsync_async._callsite import HTTP_LOG, log
from lipsync_async._logic import endpoints, validation
from lipsync_async._logic.validation import MOST_ON_A_PAGE
from lipsync_async._logic.validators import flag, survived, whole_number
from lipsync_async._models.response import Generation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime

    from lipsync_async._models.response import GenerationPage

_REPEATED = "A listing has ended early: the service gave a page again that it had given before."


class _Circle:
    """Tell when pages begin to repeat themselves, as those of a service that ignores cursors.

    With a limit pages go from new to old. So one that repeats a cursor, or a job of the first
    page or of the one before, or shows a newer job than the first page, ends the listing.
    """

    def __init__(self) -> None:
        self._cursors: set[str] = set()
        self._first: set[str] | None = None
        self._before: set[str] = set()
        self._newest: datetime | None = None

    def closes_with(self, page: GenerationPage) -> bool:
        """Take a page in; tell whether it was shown before."""
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


class AsyncLookups(AsyncResource):
    """Look generations up. A part of `client.generations`."""

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

        Source: contract section 2.6.
        """
        refuse([*job_problems(generation), *flag("progress", progress)])
        call = endpoints.get_generation(_id_of(generation), progress=progress)
        return await self._requester.execute(call, self._options)

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

        Source: contract section 2.8.
        """
        refuse(
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
        return await self._requester.execute(call, self._options)

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

        Source: contract section 2.8.
        """
        refuse(list(whole_number(1, MOST_ON_A_PAGE)("page_size", page_size)))
        circle = _Circle()
        page: GenerationPage | None = await self.list(
            status=status,
            source=source,
            project_id=project_id,
            limit=page_size,
        )
        while page is not None and page.items and not circle.closes_with(page):
            for generation in page.items[:-1]:
                yield generation
            last, following = page.items[-1], None
            if page.next_cursor is not None:
                # Fetched before the last is given out: who deletes it deletes the cursor.
                following = await self.list(
                    status=status,
                    source=source,
                    project_id=project_id,
                    limit=page_size,
                    cursor=page.next_cursor,
                )
            yield last
            page = following

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
        refuse(
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
        return await self._requester.execute(call, self._options)

    async def delete(self, generation: Generation | str) -> None:
        """Delete a generation that has ended. There is no cancel for one that runs.

        Wire: `DELETE /v2/generations/{id}`

        A try whose outcome is unknown is made again; if the generation is gone then, the
        call has succeeded.

        Args:
            generation: The job, or its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            ConflictError: The job is still running.
            NotFoundError: There was no such generation when the call began.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.

        Source: contract section 2.1.
        """
        refuse(job_problems(generation))
        call = endpoints.delete_generation(_id_of(generation))
        await self._requester.execute(call, self._options)


@survived("generation")
def job_problems(generation: object) -> list[str]:
    """Return what is wrong with a job, or with its id."""
    job = generation.id if isinstance(generation, Generation) else generation
    return validation.generation_id_problems(job)


def _id_of(generation: Generation | str) -> str:
    return generation.id if isinstance(generation, Generation) else str.__str__(generation)
