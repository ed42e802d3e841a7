"""Running a manifest: at the service, or on the sandbox."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
from anyio import to_thread

from lipsync_async._async.client import AsyncClient
from lipsync_async._fleet.journal_entry import JobState
from lipsync_async._fleet.journal_view import JournalView
from lipsync_async._fleet.manifest import read_manifest
from lipsync_async._fleet.manifest_rows import ManifestRow
from lipsync_async._rules.config import DEFAULT_BASE_URL
from lipsync_async._rules.proxies import is_loopback
from lipsync_async._rules.validation import request_warnings
from lipsync_async._values.policies import Limits
from lipsync_async.cli.campaign import Bounds, report, run_campaign
from lipsync_async.cli.complaints import complaints
from lipsync_async.cli.screen import say
from lipsync_async.cli.trial import connect, trial_sandbox
from lipsync_async.cli.wording import plural
from lipsync_async.errors import ConfigurationError, IgnoredOptionWarning, JournalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from lipsync_async._fleet.journal_entry import JournalEntry
    from lipsync_async.cli.complaints import Ending

_MOST_SHOWN = 20


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
