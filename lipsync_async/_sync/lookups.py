# Generated from lipsync_async/_async/lookups.py by lipsync_async/_tools/mirror.
# Change that file, not this one, and run `nox -s regenerate`.

"""Looking up generations that exist, and deleting them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._portal.portal import SyncWrapper

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from lipsync_async._async.lookups import AsyncLookups
    from lipsync_async._models.response import Generation, GenerationPage


class Lookups(SyncWrapper):
    """Look generations up. A part of `client.generations`."""

    _source: AsyncLookups

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

        Source: contract section 2.6.
        """
        return self._portal.call(partial(self._source.get, generation, progress=progress))

    def list(
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
        return self._portal.call(
            partial(
                self._source.list,
                status=status,
                ids=ids,
                source=source,
                project_id=project_id,
                limit=limit,
                cursor=cursor,
            ),
        )

    def iter(
        self,
        *,
        status: Sequence[str] | None = None,
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

        Source: contract section 2.8.
        """
        return self._portal.iterate(
            self._source.iter(
                status=status,
                source=source,
                project_id=project_id,
                page_size=page_size,
            ),
        )

    def count(
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
        return self._portal.call(partial(self._source.count, status=status, source=source))

    def delete(self, generation: Generation | str) -> None:
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
        self._portal.call(partial(self._source.delete, generation))
