"""Running a manifest: at the service, or on the sandbox."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import attrs
from anyio import to_thread

from lipsync_async._async.client import AsyncClient
from lipsync_async._bulk.journal_entry import JobState
from lipsync_async._bulk.journal_reader import JournalView
from lipsync_async._bulk.manifest import ManifestRow, read_manifest
from lipsync_async._bulk.results import Outcome, Progress, group_failures
from lipsync_async._logic.config import DEFAULT_BASE_URL, is_loopback
from lipsync_async._logic.validation import request_warnings
from lipsync_async._models.policies import Limits
from lipsync_async.cli.output import (
    Ending,
    complaints,
    duration,
    ending_of,
    named,
    plural,
    rate,
    say,
    size,
)
from lipsync_async.cli.progress import beginning, shown_fleet
from lipsync_async.errors import (
    ConfigurationError,
    IgnoredOptionWarning,
    JournalError,
    LipsyncError,
)
from lipsync_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from lipsync_async._bulk.journal_entry import JournalEntry
    from lipsync_async._models.request import GenerationRequest


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


SLOTS = 15  # of the largest plan (contract section 5.2)


def trial_sandbox(allowed_hosts: Iterable[str] = ()) -> Sandbox:
    """Return a sandbox that renders, with the slots of the largest plan.

    Args:
        allowed_hosts: Hosts besides loopback from which media may be fetched.

    """
    return Sandbox(concurrency=SLOTS, allowed_hosts=allowed_hosts)


def connect(
    sandbox: Sandbox,
    limits: Mapping[str, int | None] | None = None,
    *,
    timeout: float | None = 60.0,
) -> AsyncClient:
    """Return a client that finds out about the slots; requests a minute are not limited.

    Args:
        sandbox: Where it goes.
        limits: Arguments of `Limits` that shall hold all the same.
        timeout: Seconds for one try of one request; `None`: no limit.

    """
    none = {"creates_per_minute": None, "requests_per_minute": None}
    bounds = Limits(**none | dict(limits or {}))
    return AsyncClient(sandbox.api_key, base_url=sandbox.url, limits=bounds, timeout=timeout)


@attrs.define(slots=True, kw_only=True)
class Campaign:
    """Hold what was asked for.

    Attributes:
        manifest: File with the requests.
        journal: The run's journal.
        folder: Where results go; `None`: they are not fetched.
        bounds: What the run may do.
        limits: What the client may do, as far as it was said: arguments of `Limits`.
        timeout: Seconds for one try of one request; `None`: no limit.
        is_trial: Whether it runs on the sandbox.
        rows: What the manifest holds, once it was read.

    """

    manifest: Path
    journal: Path
    folder: str | None
    bounds: Bounds
    limits: Mapping[str, int | None]
    timeout: float | None
    is_trial: bool
    rows: list[ManifestRow] = attrs.field(factory=list, init=False)

    def place(self, index: int) -> str:
        """Name a row by its place in the input.

        Raises:
            IndexError: There is none.

        """
        return place(self.rows[index])


async def run_manifest(campaign: Campaign) -> Ending:
    """Run a manifest and show what came of it.

    Returns:
        What came of it.

    Raises:
        InvalidRequestError: The manifest is not right; nothing was sent.
        LipsyncError: It cannot go on.

    """
    # In a thread that Ctrl-C need not wait for: a disk may be slow, and a pipe may never end.
    read = partial(read_manifest, campaign.manifest)
    rows = campaign.rows = await to_thread.run_sync(read, abandon_on_cancel=True)
    for warning in ignored_options(rows):
        say(f"{campaign.manifest}: {warning}", is_error=True)
    check_journal(campaign)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IgnoredOptionWarning)  # it has been told just now
        async with _service(campaign, rows) as client:
            tally = await run_campaign(
                client,
                [row.request for row in rows],
                journal=campaign.journal,
                folder=campaign.folder,
                bounds=campaign.bounds,
            )
    if tally.raised is not None and not tally.done:  # there is nothing to sum up
        for line in complaints(tally.raised, campaign.place):
            say(f"run: {line}", is_error=True)
        return tally.ending
    for line in report(tally, campaign.place):
        say(line)
    return tally.ending


@asynccontextmanager
async def _service(campaign: Campaign, rows: list[ManifestRow]) -> AsyncIterator[AsyncClient]:
    """Open a client of the service that the manifest is for."""
    bounds = campaign.bounds.words()
    what = f"Running {plural(len(rows), 'job')} of {campaign.manifest}"
    ending = f", {bounds}:" if bounds else ":"
    if not campaign.is_trial:
        async with AsyncClient(
            timeout=campaign.timeout, limits=Limits(**campaign.limits)
        ) as client:
            say(f"{what}{ending}")
            yield client
        return
    async with (
        trial_sandbox(media_hosts(rows)) as sandbox,
        connect(sandbox, campaign.limits, timeout=campaign.timeout) as client,
    ):
        say(f"{what} on a sandbox{ending}")
        yield client


def place(row: ManifestRow) -> str:
    """Name a row as its author finds it."""
    return f"line {row.line}" + ("" if row.request_id is None else f" ({row.request_id})")


def ignored_options(rows: list[ManifestRow]) -> list[str]:
    """Return what the service will ignore, each with the first line that it is in."""
    lines: dict[str, list[int]] = {}
    for row in rows:
        for warning in request_warnings(row.request):
            lines.setdefault(warning, []).append(row.line)
    return [
        f"line {found[0]}"
        + (f" and {plural(len(found) - 1, 'more line')}" if found[1:] else "")
        + f": {warning}"
        for warning, found in lines.items()
    ]


def media_hosts(rows: Iterable[ManifestRow]) -> set[str]:
    """Return the hosts that a manifest fetches its media from."""
    urls = (getattr(item, "url", None) for row in rows for item in row.request.input)
    return {host for url in urls if url and (host := urlsplit(url).hostname)}


def left_behind(campaign: Campaign) -> list[str]:
    """Say what a run that was interrupted leaves, as its journal knows it."""
    if campaign.is_trial:
        return ["The sandbox and its jobs have ended."]
    try:
        with JournalView.open(campaign.journal) as view:
            running = [*view.entries(JobState.ACCEPTED)]
            unknown = [*view.entries(JobState.INTENDED, JobState.DOUBTFUL)]
    except JournalError as error:
        is_new = not campaign.journal.exists()
        return ["Nothing is left: no job was ordered."] if is_new else complaints(error)
    lines = ["To go on where this was, run it again with the same journal."]
    if running:
        lines.append(f"{plural(len(running), 'job')} at the service go on, and are paid for:")
        lines += _listed(running, lambda entry: str(entry.generation_id))
    if unknown:
        orders = plural(len(unknown), "order")
        lines.append(f"{orders} may have been accepted; the next run sends the same keys again:")
        lines += _listed(unknown, lambda entry: entry.idempotency_key)
    return lines


def _listed(entries: list[JournalEntry], told: Callable[[JournalEntry], str]) -> list[str]:
    """Return a line for each entry, with its place in the manifest; of many, the first ones."""
    lines = [f"  {entry.place}: {told(entry)}" for entry in entries[:_MOST_SHOWN]]
    more = len(entries) - len(lines)
    return [*lines, f"  and {more} more; --export of `journal` has them all"] if more else lines


def check_journal(campaign: Campaign) -> None:
    """Keep journals of the service and of sandboxes apart.

    A sandbox ends with its command. With its journal, the service would be taken to have
    done everything, and another sandbox to know jobs that it never heard of.

    Raises:
        ConfigurationError: The journal belongs elsewhere.

    """
    journal = campaign.journal
    if not journal.exists():
        return
    if campaign.is_trial:
        raise ConfigurationError(
            f"{journal} is there already, and a sandbox's jobs end with it; give a new file."
        )
    if is_loopback(urlsplit(os.environ.get("SYNC_BASE_URL") or DEFAULT_BASE_URL).hostname):
        return
    with JournalView.open(journal) as view:
        first = next(view.entries(JobState.COMPLETED), None)
    done = None if first is None else first.generation
    if done is not None and done.output_url and is_loopback(urlsplit(done.output_url).hostname):
        raise ConfigurationError(
            f"{journal} is of a run on a sandbox; for the service, give a new file."
        )
