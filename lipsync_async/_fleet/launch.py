"""Sets a fleet up, runs it beside whoever takes its outcomes, and ends it when he leaves."""

from __future__ import annotations

import logging
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs

from lipsync_async._fleet.farewells import left_untaken
from lipsync_async._fleet.fetcher import Fetcher
from lipsync_async._fleet.fleet import Fleet
from lipsync_async._fleet.guard import Guard
from lipsync_async._fleet.journal import Journal
from lipsync_async._fleet.outlet import Outlet
from lipsync_async._fleet.scribe import Scribe
from lipsync_async._rules.caller import PLACE, Place, log
from lipsync_async._rules.spending import Spending

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable

    from lipsync_async._exchange import Exchange, Settings
    from lipsync_async._fleet.berths import Berths
    from lipsync_async._values.inputs import GenerationRequest
    from lipsync_async._watch.poller import Poller


@attrs.frozen(slots=True, kw_only=True)
class Plan:
    """Hold what a user has said about a run.

    Attributes:
        journal: Where it is noted; `None`: nowhere.
        folder: Where results go; `None`: they are not fetched.
        concurrent_downloads: Results fetched at once.
        is_ordered: Whether outcomes come in the order of the input.
        stops_on_error: Whether nothing more is begun after the first error.
        spending: What may be ordered.
        duration: Seconds of output, where they are known.
        retries_failed: Whether what failed in an earlier run is ordered anew.
        matches_query: Whether a link that was signed anew is another input.

    """

    journal: Path | None
    folder: Path | None
    concurrent_downloads: int
    is_ordered: bool
    stops_on_error: bool
    spending: Spending
    duration: float | None
    retries_failed: bool
    matches_query: bool


@asynccontextmanager
async def launched(
    requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
    plan: Plan,
    *,
    exchange: Exchange,
    settings: Settings,
    poller: Poller,
    berths: Berths,
) -> AsyncIterator[tuple[Fleet, Outlet]]:
    """Run a fleet while the block runs; what the block raises comes out as it is."""
    mishap: BaseException | None = None
    with ExitStack() as files:
        kept = None if plan.journal is None else files.enter_context(Journal.open(plan.journal))
        outlet = Outlet(is_ordered=plan.is_ordered)
        fleet = Fleet(
            exchange,
            poller,
            settings,
            berths=berths,
            guard=Guard(exchange, settings, plan.spending, plan.duration),
            scribe=Scribe(kept),
            outlet=outlet,
            fetcher=None
            if plan.folder is None
            else Fetcher(exchange, settings, plan.folder, at_once=plan.concurrent_downloads),
            stops_on_error=plan.stops_on_error,
        )
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_run, fleet, outlet, requests, Place.here())
                try:
                    yield fleet, outlet
                except anyio.get_cancelled_exc_class():
                    raise
                except BaseException as error:  # noqa: BLE001 - raised below, without a group
                    mishap = error
                tasks.cancel_scope.cancel()
        finally:  # a cancellation leaves no less behind
            _name_untaken(outlet, has_journal=kept is not None)
    if mishap is not None:
        raise mishap


def _name_untaken(outlet: Outlet, *, has_journal: bool) -> None:
    """Let the log name what has ended and was not taken, if no journal does."""
    jobs = [each.generation for each in outlet.untaken() if each.generation is not None]
    if jobs and not has_journal:
        log(logging.WARNING, left_untaken([job.id for job in jobs]))


async def _run(
    fleet: Fleet,
    outlet: Outlet,
    requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
    place: Place,
) -> None:
    """Run the fleet; what ends it is raised where the outcomes are taken."""
    PLACE.set(place)  # in this task, and those that it starts
    try:
        await fleet.run(requests)
    except Exception as error:  # noqa: BLE001 - it is raised again
        outlet.close(_alone(error))
    else:
        outlet.close()


def _alone(error: Exception) -> Exception:
    """Return the first error of a task group, without the group: the others came of it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
