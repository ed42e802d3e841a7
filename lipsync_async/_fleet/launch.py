"""Sets a fleet up, runs it beside whoever takes its outcomes, and ends it when he leaves."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from lipsync_async._fleet.fetcher import Fetcher
from lipsync_async._fleet.fleet import Fleet
from lipsync_async._fleet.guard import Guard
from lipsync_async._fleet.held import Held, in_journal
from lipsync_async._fleet.journal import Binding, Journal
from lipsync_async._fleet.outlet import Outlet
from lipsync_async._fleet.scribe import JournalThread, Scribe
from lipsync_async._rules.caller import (
    PLACE,
    Place,
    is_from_callback,
    note_left,
    tell_left,
    under_way,
)
from lipsync_async._rules.spending import Spending
from lipsync_async._strays import unasked
from lipsync_async._threads import until_done

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
        accepts_new_key: Whether the journal may be of a run with another API key.

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
    accepts_new_key: bool


@asynccontextmanager
async def launched(
    requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
    plan: Plan,
    *,
    exchange: Exchange,
    settings: Settings,
    poller: Poller,
    berths: Berths,
) -> AsyncIterator[tuple[Fleet, Outlet, Held]]:
    """Run a fleet while the block runs; what the block raises comes out as it is.

    However the block is left, what was ordered and not handed over is told: on the exception,
    if there is one, and in the log, unless a journal has it.
    """
    held = Held()
    async with _opened(plan, exchange) as kept:
        outlet = Outlet(is_ordered=plan.is_ordered)
        scribe = Scribe(kept, exchange.transport.hold)
        fleet = Fleet(
            exchange,
            poller,
            settings,
            berths=berths,
            guard=Guard(exchange, settings, plan.spending, plan.duration, scribe),
            scribe=scribe,
            outlet=outlet,
            held=held,
            fetcher=None
            if plan.folder is None
            else Fetcher(exchange, settings, plan.folder, at_once=plan.concurrent_downloads),
            stops_on_error=plan.stops_on_error,
        )
        # A task of its own and no task group in the caller's: a generator around the block may
        # be closed by another task than has entered it.
        work = asyncio.create_task(_run(fleet, outlet, requests, Place.here()))
        try:
            with under_way(lambda: _untold(held, fleet, plan.journal)):
                try:
                    yield fleet, outlet, held
                finally:
                    await _ended(work)
        except BaseException as error:
            _tell(held, error, None if fleet.has_lost_journal else plan.journal)
            raise
        if not held.is_taken_whole:
            _tell(held, None, None if fleet.has_lost_journal else plan.journal)


async def _ended(work: asyncio.Task[None]) -> None:
    """End a task and wait for it, also when cancelled meanwhile: it holds what is paid for."""
    loop = work.get_loop()
    if not loop.is_running():  # it was dropped with all of its tasks
        return
    if loop is asyncio.get_running_loop():
        work.cancel()
        await until_done(work)
        return
    ended: Future[None] = Future()

    def end() -> None:
        work.add_done_callback(lambda _: ended.set_result(None))
        work.cancel()

    loop.call_soon_threadsafe(end)
    await until_done(asyncio.wrap_future(ended))


@asynccontextmanager
async def _opened(plan: Plan, exchange: Exchange) -> AsyncIterator[Journal | None]:
    """Open the run's journal, if it has one: it may have to wait for another program."""
    path = plan.journal
    if path is None:
        yield None
        return
    loop = asyncio.get_running_loop()
    thread = JournalThread(exchange.transport.hold)
    binding = Binding(exchange.service, exchange.key_digest, is_new_key=plan.accepts_new_key)
    opened: list[Journal] = []  # also when this is cancelled while it is opened

    def open_it() -> None:
        journal = Journal.open(
            path,
            binding=binding,
            retry_failed=plan.retries_failed,
            match_query=plan.matches_query,
        )
        opened.append(journal)

    try:
        await thread.call(open_it)
        yield opened[0]
    finally:
        for journal in opened:
            await _closed(journal, thread, loop)


async def _closed(journal: Journal, thread: JournalThread, loop: asyncio.AbstractEventLoop) -> None:
    """Close a journal, also when its loop was dropped."""
    if loop.is_running():
        await thread.call(journal.close)
    else:
        journal.close()


def _untold(held: Held, fleet: Fleet, journal: Path | None) -> list[str]:
    """Return what a run would leave that only it knows."""
    return [] if journal is not None and not fleet.has_lost_journal else held.left().messages()


def _tell(held: Held, error: BaseException | None, journal: Path | None) -> None:
    """Tell what a run leaves behind.

    Args:
        held: What was ordered and not handed over.
        error: What ends the run; `None`: it was left in good order.
        journal: What has all of it; `None`: nothing has.

    """
    left = held.left()
    if not left:
        return
    if error is not None:
        left.put_on(error)
    if journal is None:
        tell_left(error, *left.messages())
    elif error is not None:
        note_left(error, in_journal(journal))


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
    except asyncio.CancelledError:
        outlet.close(unasked("the loop"))  # who takes outcomes still is not to wait for ever
        raise
    except BaseException as error:  # noqa: BLE001 - it is raised again
        outlet.close(_alone(error))
    else:
        outlet.close()


def _alone(error: BaseException) -> BaseException:
    """Return the first error of a task group, without the group: the others came of it."""
    while isinstance(error, BaseExceptionGroup) and not is_from_callback(error):
        error = error.exceptions[0]
    return error
