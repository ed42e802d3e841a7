"""Runs many requests and shows it: a bar meanwhile, a summary in the end."""

from __future__ import annotations

from contextlib import suppress
from statistics import median
from typing import TYPE_CHECKING

import anyio
import attrs

from lipsync_async._fleet.journal_entry import JobState
from lipsync_async._fleet.journal_view import JournalView
from lipsync_async._fleet.outcomes import Outcome, Progress, group_failures
from lipsync_async.cli.complaints import Ending, complaints, ending_of, named
from lipsync_async.cli.fleet_facts import beginning
from lipsync_async.cli.fleet_progress import shown_fleet
from lipsync_async.cli.wording import duration, plural, rate, size
from lipsync_async.errors import JournalError, LipsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lipsync_async._async.client import AsyncClient
    from lipsync_async._values.inputs import GenerationRequest

_MOST_SHOWN = 20
# Text is wrapped by no one: so many names of lines are still read at a glance.
_MOST_NAMED = 10


@attrs.frozen(slots=True, kw_only=True)
class Bounds:
    """Hold what a run may do.

    Attributes:
        max_jobs: As for `run_many`.
        max_cost: As for `run_many`.
        duration: As for `run_many`.
        concurrent_downloads: As for `run_many`.
        retry_failed: As for `run_many`.
        match_query: As for `run_many`.
        accept_new_key: As for `run_many`.

    """

    max_jobs: int | None = None
    max_cost: float | None = None
    duration: float | None = None
    concurrent_downloads: int = 4
    retry_failed: bool = False
    match_query: bool = False
    accept_new_key: bool = False

    def words(self) -> str:
        """Say what limits a run: empty if nothing does."""
        limits = [] if self.max_jobs is None else [f"at most {plural(self.max_jobs, 'new job')}"]
        if self.max_cost is not None:
            limits.append(f"at most {self.max_cost:g} US dollars")
        if self.retry_failed:
            limits.append("what has failed is ordered anew")
        return ", ".join(limits)


@attrs.define(slots=True, kw_only=True)
class Tally:
    """Hold what came of a campaign.

    Attributes:
        total: Requests in all.
        progress: How far it got.
        seconds: How long its own jobs took.
        elapsed: Seconds from beginning to end.
        failures: Outcomes that are no success.
        resumed: Positions that an earlier run has brought to their ends.
        files: Results saved.
        bytes: What they weigh together.
        ended_by: Why nothing more was begun; `None`: nothing has stopped it.
        raised: What the run has raised in the end; `None`: nothing.

    """

    total: int
    progress: Progress
    seconds: list[float] = attrs.field(factory=list)
    elapsed: float = 0.0
    failures: list[Outcome] = attrs.field(factory=list)
    resumed: set[int] = attrs.field(factory=set)
    files: int = 0
    bytes: int = 0
    ended_by: Exception | None = None
    raised: LipsyncError | None = None

    @property
    def done(self) -> int:
        """Outcomes in all."""
        return self.progress.done

    @property
    def ending(self) -> Ending:
        """The exit status that says what came of it."""
        if self.raised is not None:
            begun = self.done or self.raised.generation_ids or self.raised.idempotency_keys
            return Ending.UNKNOWN if begun else ending_of(self.raised)
        if self.ended_by is not None:
            return Ending.STOPPED
        if any(is_unknown(outcome) for outcome in self.failures):
            return Ending.UNKNOWN
        return Ending.FAILURE if self.failures or self.done < self.total else Ending.SUCCESS

    def see(self, progress: Progress) -> None:
        """Take note of how far it is."""
        self.progress = progress
        self.ended_by = progress.ended_by

    def count(self, outcome: Outcome) -> None:
        """Take note of an outcome."""
        if not outcome.is_success:
            self.failures.append(outcome)
        if outcome.resumed:
            self.resumed.add(outcome.index)
        if outcome.path is not None:
            self.files += 1
            with suppress(OSError):  # somebody has taken it away already
                self.bytes += outcome.path.stat().st_size


def is_unknown(outcome: Outcome) -> bool:
    """Tell whether it is not known if an order was accepted."""
    error = outcome.error
    return error is not None and error.may_have_worked and outcome.generation is None


async def run_campaign(
    client: AsyncClient,
    requests: Sequence[GenerationRequest],
    *,
    journal: Path,
    folder: str | Path | None = None,
    bounds: Bounds | None = None,
) -> Tally:
    """Run requests with a bar.

    Args:
        client: What runs them.
        requests: At least one.
        journal: The run's journal.
        folder: Where results go; `None`: they are not fetched.
        bounds: What the run may do; `None`: whatever the account allows.

    Returns:
        What came of it. What `run_many` raises is in it.

    """
    tally = Tally(total=len(requests), progress=beginning(len(requests)))
    began = anyio.current_time()
    try:
        async with client.generations.run_many(
            requests,
            journal=journal,
            download_to=folder,
            on_progress=tally.see,
            **attrs.asdict(bounds or Bounds()),
        ) as outcomes:
            with JournalView.open(journal) as view:
                with shown_fleet(len(requests), lambda: count_running(view)) as show:
                    async for outcome in outcomes:
                        tally.count(outcome)
                        show(tally.progress)
                tally.elapsed = anyio.current_time() - began
                tally.seconds = [*_seconds(view, tally.resumed)]
    except LipsyncError as error:
        tally.elapsed = anyio.current_time() - began
        tally.raised = error
    return tally


def _seconds(view: JournalView, resumed: set[int]) -> Iterator[float]:
    """Yield how long jobs took; a journal that cannot be read has its own complaint."""
    with suppress(JournalError):
        for entry in view.entries(JobState.COMPLETED, JobState.FAILED):
            if entry.ended_at and entry.accepted_at and entry.position not in resumed:
                yield (entry.ended_at - entry.accepted_at).total_seconds()


def count_running(view: JournalView) -> int:
    """Return how many jobs run; of a journal that cannot be read, the run itself will tell."""
    try:
        return view.counts()[JobState.ACCEPTED]
    except JournalError:
        return 0


def report(
    tally: Tally, name_of: Callable[[int], str], *, requests_sent: int | None = None
) -> list[str]:
    """Return all that is said of a campaign; why it has ended comes first and last.

    Args:
        tally: What came of it.
        name_of: Names a place in the input as its author does.
        requests_sent: HTTP requests of the whole run, where they were counted.

    """
    why = [f"{line}" for line in reasons_to_end(tally, name_of)]
    lines = [*why, *summary(tally, requests_sent=requests_sent), *failure_lines(tally, name_of)]
    return [*lines, *why]


def reasons_to_end(tally: Tally, name_of: Callable[[int], str]) -> list[str]:
    """Say why a campaign has ended before all was done; nothing if it has not."""
    why = tally.raised or tally.ended_by
    if why is None:
        return []
    return [f"Ended early: {line}" for line in complaints(why, name_of)]


def summary(tally: Tally, *, requests_sent: int | None = None) -> list[str]:
    """Return what came of a campaign, as aligned lines.

    Args:
        tally: What came of it.
        requests_sent: HTTP requests of the whole run, where they were counted.

    """
    fresh = tally.done - len(tally.resumed)
    earlier = f" ({len(tally.resumed)} of them in earlier runs)" if tally.resumed else ""
    begun_not = tally.total - tally.done
    unknown = sum(map(is_unknown, tally.failures))
    rows = {
        "jobs": f"{tally.total}{earlier}",
        "succeeded": str(tally.done - len(tally.failures)),
        "failed": str(len(tally.failures) - unknown),
        "unknown": f"{unknown}, to be sent again by the same command, and not paid twice"
        if unknown
        else None,
        "not begun": str(begun_not) if begun_not else None,
        "wall time": duration(tally.elapsed),
        "rate": rate(fresh / tally.elapsed, "jobs") if fresh and tally.elapsed else None,
        "requests": None
        if requests_sent is None
        else f"{requests_sent}, {requests_sent / tally.total:.2f} a job",
        "time per job": f"median {duration(median(tally.seconds))}, longest "
        f"{duration(max(tally.seconds))}"
        if tally.seconds
        else None,
        "files": f"{tally.files}, together {size(tally.bytes)}" if tally.files else None,
    }
    return [f"  {name:<14}{value}" for name, value in rows.items() if value is not None]


def failure_lines(tally: Tally, name_of: Callable[[int], str]) -> list[str]:
    """Return the failures by their reasons, the most frequent first; not more than twenty.

    Args:
        tally: What came of a campaign.
        name_of: Names a place as its author does.

    """
    groups = group_failures(tally.failures)
    lines = [
        f"  {places_in_words([*map(name_of, group.indices)])}: {named(group.reason, name_of)}"
        for group in groups[:_MOST_SHOWN]
    ]
    more = sum(group.count for group in groups[_MOST_SHOWN:])
    return [*lines, f"  and {plural(more, 'more failure')}"] if more else lines


def places_in_words(places: Sequence[str], noun: str = "job") -> str:
    """Return the names of places; of several, how many there are and the first of them."""
    shown = ", ".join(places[:_MOST_NAMED])
    more = len(places) - _MOST_NAMED
    if more > 0:
        shown += f" and {more} more"
    return shown if len(places) == 1 else f"{plural(len(places), noun)} ({shown})"
