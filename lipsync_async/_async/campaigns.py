"""Running many requests at once."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from lipsync_async._async.orders import refuse
from lipsync_async._async.resource import AsyncResource
from lipsync_async._fleet.outcomes import Outcome, Progress
from lipsync_async._rules import validation
from lipsync_async._rules.slots import Slots

if TYPE_CHECKING:
    import os
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
    )

    from lipsync_async._fleet.fleet import Fleet
    from lipsync_async._fleet.outlet import Outlet
    from lipsync_async._values.inputs import GenerationRequest

    OnProgress = Callable[[Progress], Awaitable[None] | None]


class AsyncCampaigns(AsyncResource):
    """Run many requests. A part of `client.generations`."""

    @asynccontextmanager
    async def run_many(
        self,
        requests: AsyncIterable[GenerationRequest] | Iterable[GenerationRequest],
        *,
        journal: str | os.PathLike[str] | None = None,
        download_to: str | os.PathLike[str] | None = None,
        ordered: bool = False,
        stop_on_error: bool = False,
        on_progress: OnProgress | None = None,
    ) -> AsyncIterator[AsyncIterator[Outcome]]:
        """Run any number of requests at once, within the account's limits.

        Wire: `POST /v2/generate`, then `GET /v2/generations` for a hundred jobs at a time

        Requests are taken as slots become free, so memory grows with the jobs that run and
        not with the input. A request that is wrong, or a job that fails, becomes an outcome
        with an error and stops nobody. Leaving the block early stops the watching; jobs
        that run go on, and are found again by their journal.

        Args:
            requests: The input, of any length.
            journal: A file that makes the run survive everything: run again with the same
                input and journal, and what is finished is not run again, what runs is
                waited for, and what was never accepted is sent under its old key. `None`:
                no journal.
            download_to: Folder for the results; each is named after its request and job.
                `None`: they are not fetched.
            ordered: Give outcomes in the order of the input instead of as they come.
            stop_on_error: Begin no more requests after the first outcome with an error;
                those that run are still waited for.
            on_progress: Called, and awaited if need be, with each outcome's `Progress`.

        Raises:
            InvalidRequestError: The journal is about another input; or an argument is wrong.
            JournalError: The journal belongs to another process, or cannot be used.

        Example:
            `async with client.generations.run_many(requests) as outcomes: ...`

        Source: contract sections 2.8, 5.1 and 5.2.
        """
        folder = None if download_to is None else Path(download_to)
        refuse([] if folder is None else validation.target_problems(folder))
        with ExitStack() as files:
            fleet, outlet = self._fleet(journal, files, folder, ordered, stop_on_error)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_run, fleet, outlet, requests)
                meter = _Meter(fleet, self._exchange.transport.now)
                yield _outcomes(fleet, outlet, meter, on_progress)
                tasks.cancel_scope.cancel()

    async def run_all(
        self,
        requests: AsyncIterable[GenerationRequest] | Iterable[GenerationRequest],
        *,
        journal: str | os.PathLike[str] | None = None,
        download_to: str | os.PathLike[str] | None = None,
        stop_on_error: bool = False,
        on_progress: OnProgress | None = None,
    ) -> list[Outcome]:
        """Run requests as `run_many` does, and return all outcomes in the input's order.

        Wire: `POST /v2/generate`, then `GET /v2/generations` for a hundred jobs at a time

        Args:
            requests: The input.
            journal: As for `run_many`.
            download_to: As for `run_many`.
            stop_on_error: As for `run_many`.
            on_progress: Called, and awaited if need be, with each outcome's `Progress`.

        Raises:
            InvalidRequestError: The journal is about another input; or an argument is wrong.
            JournalError: The journal belongs to another process, or cannot be used.

        Source: contract sections 2.8, 5.1 and 5.2.
        """
        async with self.run_many(
            requests,
            journal=journal,
            download_to=download_to,
            ordered=True,
            stop_on_error=stop_on_error,
            on_progress=on_progress,
        ) as outcomes:
            return [outcome async for outcome in outcomes]

    def _fleet(
        self,
        journal: str | os.PathLike[str] | None,
        files: ExitStack,
        folder: Path | None,
        ordered: bool,  # noqa: FBT001 - passed on
        stop_on_error: bool,  # noqa: FBT001 - passed on
    ) -> tuple[Fleet, Outlet]:
        # Here and not above: SQLite is loaded by those who run many.
        from lipsync_async._fleet.fleet import Fleet  # noqa: PLC0415
        from lipsync_async._fleet.journal import Journal  # noqa: PLC0415
        from lipsync_async._fleet.outlet import Outlet  # noqa: PLC0415
        from lipsync_async._fleet.scribe import Scribe  # noqa: PLC0415

        outlet = Outlet(is_ordered=ordered)
        kept = None if journal is None else files.enter_context(Journal.open(journal))
        fleet = Fleet(
            self._exchange,
            self._pollers.here(),
            self._settings,
            slots=Slots(self._exchange.limits.concurrent_generations),
            scribe=Scribe(kept),
            outlet=outlet,
            download_to=folder,
            stops_on_error=stop_on_error,
        )
        return fleet, outlet


async def _run(
    fleet: Fleet,
    outlet: Outlet,
    requests: AsyncIterable[GenerationRequest] | Iterable[GenerationRequest],
) -> None:
    """Run the fleet; what ends it is raised where the outcomes are taken."""
    try:
        await fleet.run(requests)
    except Exception as error:  # noqa: BLE001 - it is raised again
        outlet.close(_alone(error))
    else:
        outlet.close()


def _alone(error: Exception) -> Exception:
    """Return the one error of a task group, without the group."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _outcomes(
    fleet: Fleet,
    outlet: Outlet,
    meter: _Meter,
    on_progress: OnProgress | None,
) -> AsyncGenerator[Outcome, None]:
    while (outcome := await outlet.take()) is not None:
        fleet.refresh()
        meter.count(outcome)
        if on_progress is not None:
            told = on_progress(meter.progress())
            if isawaitable(told):
                await told
        yield outcome


class _Meter:
    """Count outcomes and tell how long the rest will take."""

    def __init__(self, fleet: Fleet, now: Callable[[], float]) -> None:
        self._fleet = fleet
        self._now = now
        self._began = now()
        self._succeeded = 0
        self._failed = 0

    def count(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self._succeeded += outcome.is_success
        self._failed += not outcome.is_success

    def progress(self) -> Progress:
        """Say how far all are."""
        elapsed = self._now() - self._began
        done, total = self._succeeded + self._failed, self._fleet.total
        rate = done / elapsed if elapsed > 0 else 0.0
        return Progress(
            total=total,
            running=self._fleet.running,
            succeeded=self._succeeded,
            failed=self._failed,
            elapsed=elapsed,
            rate=rate,
            eta=(total - done) / rate if total is not None and rate > 0 else None,
        )
