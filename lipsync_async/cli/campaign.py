"""Runs many requests and shows it: a bar meanwhile, a summary in the end."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import anyio
import attrs

from lipsync_async._fleet.journal_entry import JobState
from lipsync_async._fleet.journal_view import JournalView
from lipsync_async._fleet.outcomes import Outcome, Progress
from lipsync_async.cli.complaints import complaints
from lipsync_async.cli.fleet_facts import beginning
from lipsync_async.cli.fleet_progress import shown_fleet
from lipsync_async.cli.wording import duration, plural, rate, size
from lipsync_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lipsync_async._async.client import AsyncClient
    from lipsync_async._values.inputs import GenerationRequest

_MOST_SHOWN = 20


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

    """

    total: int
    progress: Progress
    seconds: list[float] = attrs.field(factory=list)
    elapsed: float = 0.0
    failures: list[Outcome] = attrs.field(factory=list)
    resumed: set[int] = attrs.field(factory=set)
    files: int = 0
    bytes: int = 0

    @property
    def done(self) -> int:
        """Outcomes in all."""
        return self.progress.done

    @property
    def is_success(self) -> bool:
        """Whether every request has come to a good end."""
        return self.done == self.total and not self.failures

    def see(self, progress: Progress) -> None:
        """Take note of how far it is."""
        self.progress = progress

    def count(self, outcome: Outcome) -> None:
        """Take note of an outcome."""
        if not outcome.is_success:
            self.failures.append(outcome)
        if outcome.resumed:
            self.resumed.add(outcome.index)
        if outcome.path is not None:
            self.files += 1
            self.bytes += outcome.path.stat().st_size


async def run_campaign(
    client: AsyncClient,
    requests: Sequence[GenerationRequest],
    *,
    journal: Path,
    folder: Path | None = None,
    max_jobs: int | None = None,
    max_cost: float | None = None,
    duration: float | None = None,
) -> Tally:
    """Run requests with a bar.

    Args:
        client: What runs them.
        requests: At least one.
        journal: The run's journal.
        folder: Where results go; `None`: they are not fetched.
        max_jobs: As for `run_many`.
        max_cost: As for `run_many`.
        duration: As for `run_many`.

    Raises:
        LipsyncError: As `run_many` does.

    """
    tally = Tally(total=len(requests), progress=beginning(len(requests)))
    began = anyio.current_time()
    async with client.generations.run_many(
        requests,
        journal=journal,
        download_to=folder,
        max_jobs=max_jobs,
        max_cost=max_cost,
        duration=duration,
        on_progress=tally.see,
    ) as outcomes:
        with JournalView.open(journal) as view:
            with shown_fleet(len(requests), lambda: count_running(view)) as show:
                async for outcome in outcomes:
                    tally.count(outcome)
                    show(tally.progress)
            tally.elapsed = anyio.current_time() - began
            tally.seconds = [
                (entry.ended_at - entry.accepted_at).total_seconds()
                for entry in view.entries(JobState.COMPLETED, JobState.FAILED)
                if entry.ended_at and entry.accepted_at and entry.position not in tally.resumed
            ]
    return tally


def count_running(view: JournalView) -> int:
    """Return how many jobs run; of a journal that cannot be read, the run itself will tell."""
    try:
        return view.counts()[JobState.ACCEPTED]
    except JournalError:
        return 0


def summary(tally: Tally, *, requests_sent: int | None = None) -> list[str]:
    """Return what came of a campaign, as aligned lines.

    Args:
        tally: What came of it.
        requests_sent: HTTP requests of the whole run, where they were counted.

    """
    fresh = tally.done - len(tally.resumed)
    earlier = f" ({len(tally.resumed)} of them in earlier runs)" if tally.resumed else ""
    begun_not = tally.total - tally.done
    rows = {
        "jobs": f"{tally.total}{earlier}",
        "succeeded": str(tally.done - len(tally.failures)),
        "failed": str(len(tally.failures)),
        "not begun": str(begun_not) if begun_not else None,
        "wall time": duration(tally.elapsed),
        "rate": rate(fresh / tally.elapsed, "jobs") if fresh else None,
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
    """Return the failures, by their place in the input, each in a line; not more than twenty.

    Args:
        tally: What came of a campaign.
        name_of: Names a place as its author does.

    """
    failures = sorted(tally.failures, key=lambda outcome: outcome.index)
    lines = [
        f"  {name_of(outcome.index)}: {'; '.join(complaints(outcome.error))}"
        for outcome in failures[:_MOST_SHOWN]
        if outcome.error is not None
    ]
    more = len(failures) - len(lines)
    return [*lines, f"  and {plural(more, 'more failure')}"] if more else lines
