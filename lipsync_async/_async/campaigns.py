"""Running many requests at once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from operator import attrgetter
from typing import TYPE_CHECKING

from lipsync_async._async.orders import refuse
from lipsync_async._async.resource import AsyncResource
from lipsync_async._bulk.run_options import RunOptions

if TYPE_CHECKING:
    import os
    from collections.abc import (
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
    )
    from contextlib import AbstractAsyncContextManager

    from lipsync_async._asyncio_tools import LoopLocal
    from lipsync_async._bulk.results import Outcome, OutcomeIterator, Progress
    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._polling.poller import Poller
    from lipsync_async._requester import Requester, RequestOptions

    OnProgress = Callable[[Progress], Awaitable[None] | None]


class AsyncCampaigns(AsyncResource):
    """Run many requests. A part of `client.generations`."""

    def __init__(
        self,
        requester: Requester,
        settings: RequestOptions,
        pollers: LoopLocal[Poller],
    ) -> None:
        super().__init__(requester, settings)
        self._pollers = pollers

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
    ) -> AsyncIterator[AsyncIterator[Outcome]]:
        """Run any number of requests at once, within the account's limits.

        Wire: `POST /v2/generate`, then `GET /v2/generations` for a hundred jobs at a time

        Requests are taken as slots become free: memory grows with the jobs that run, not
        with the input. A wrong request or a failed job becomes an outcome with an error and
        stops nobody. Leaving early leaves running jobs to the service and their journal.

        Args:
            requests: The input, of any length; what it raises comes after all outcomes.
            journal: SQLite file in which the run survives everything. Run again with the
                same input: nothing is ordered or fetched twice. `None`: none is kept.
            download_to: Folder for the results, named after request and job; no file is
                replaced. What is a folder is told as for `download`: one that is there, or a
                name that ends with a slash or has no suffix. `None`: they are not fetched.
            concurrent_downloads: Results fetched at once, at least 1.
            ordered: Give outcomes in the order of the input, not as they come.
            stop_on_error: Begin nothing more after the first error that is not `resumed`, as
                always after a dead key, a lack of credit or a `SpendingLimitError`.
            max_jobs: Jobs to order in this run; `None`: no limit.
            max_cost: US dollars for them, as estimated, and for all that the journal holds of
                earlier runs; refused before the first order if that cannot be known.
            duration: Seconds of the longest result, to estimate by; `None`: the service
                looks at each request's media.
            on_progress: Called, and awaited if need be, with each outcome's `Progress`.
            retry_failed: Order anew, under a new key, what the journal holds as FAILED,
                REJECTED or refused. What may have become a job is never ordered anew.
            match_query: Take a request for another one than in the journal if any part of
                a media address differs. Otherwise a link may have been signed anew.
            accept_new_key: The journal is of a run with another API key of the same account.

        Raises:
            InvalidRequestError: An argument is wrong, or the journal is about another input.
            JournalError: The journal is in use or cannot be used.

        Source: contract sections 2.8, 2.9, 5.1 and 5.2.
        """
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
        )
        async with self._run(requests, options) as outcomes:
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
    ) -> list[Outcome]:
        """Run requests as `run_many` does, and return all outcomes in the input's order.

        Wire: `POST /v2/generate`, then `GET /v2/generations` for a hundred jobs at a time

        Args:
            requests: The input; if it raises, so does this call, when nothing runs any more.
            journal: As for `run_many`.
            download_to: As for `run_many`.
            concurrent_downloads: Results fetched at once, at least 1.
            stop_on_error: Begin nothing more after the first error. Requests that were not
                begun have no outcome, so the list is then shorter than the input.
            max_jobs: Jobs to order in this run; `None`: no limit.
            max_cost: US dollars for them, as estimated, and for all that the journal holds of
                earlier runs; refused before the first order if that cannot be known.
            duration: Seconds of the longest result, to estimate by; `None`: the service
                looks at each request's media.
            on_progress: Called, and awaited if need be, with each outcome's `Progress`.
            retry_failed: As for `run_many`.
            match_query: As for `run_many`.
            accept_new_key: As for `run_many`.

        Raises:
            InvalidRequestError: An argument is wrong, or the journal is about another input.
            JournalError: The journal is in use or cannot be used.

        Source: contract sections 2.8, 2.9, 5.1 and 5.2.
        """
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
        )
        async with self._run(requests, options) as outcomes:
            # As they come, for a job that takes hours must not hold back those after it.
            found = await outcomes.take_all()
        return sorted(found, key=attrgetter("index"))

    def _run(
        self,
        requests: AsyncIterable[GenerationRequest] | Iterable[GenerationRequest],
        options: RunOptions,
    ) -> AbstractAsyncContextManager[OutcomeIterator]:
        refuse(options.problems(requests))
        # Here and not above: SQLite is loaded by those who run many.
        from lipsync_async._bulk.runner import open_run  # noqa: PLC0415

        return open_run(
            requests,
            options,
            requester=self._requester,
            settings=self._options,
            poller=self._pollers.get(),
        )
