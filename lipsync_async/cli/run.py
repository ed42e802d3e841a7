"""Running a manifest: at the service, or on the sandbox."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from lipsync_async._async.client import AsyncClient
from lipsync_async._fleet.journal_entry import JobState
from lipsync_async._fleet.journal_view import JournalView
from lipsync_async._fleet.manifest import read_manifest
from lipsync_async._rules.config import DEFAULT_BASE_URL, is_loopback
from lipsync_async._rules.validation import request_warnings
from lipsync_async.cli.campaign import failure_lines, run_campaign, summary
from lipsync_async.cli.trial import connect, trial_sandbox
from lipsync_async.cli.wording import plural
from lipsync_async.errors import ConfigurationError, IgnoredOptionWarning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from lipsync_async._fleet.manifest_rows import ManifestRow


@attrs.frozen(slots=True, kw_only=True)
class Campaign:
    """Hold what was asked for.

    Attributes:
        manifest: File with the requests.
        journal: The run's journal.
        folder: Where results go; `None`: they are not fetched.
        max_jobs: Jobs to order; `None`: no limit.
        max_cost: US dollars for them; `None`: no limit.
        duration: Seconds of the longest result, to estimate by; `None`: not known.
        is_trial: Whether it runs on the sandbox.

    """

    manifest: Path
    journal: Path
    folder: Path | None
    max_jobs: int | None
    max_cost: float | None
    duration: float | None
    is_trial: bool


async def run_manifest(campaign: Campaign) -> bool:
    """Run a manifest and show what came of it.

    Returns:
        Whether every request has come to a good end.

    Raises:
        InvalidRequestError: The manifest is not right; nothing was sent.
        LipsyncError: It cannot go on.

    """
    rows = read_manifest(campaign.manifest)
    for warning in ignored_options(rows):
        print(f"{campaign.manifest}: {warning}", file=sys.stderr)
    check_journal(campaign)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IgnoredOptionWarning)  # it has been told just now
        async with _service(campaign, rows) as client:
            tally = await run_campaign(
                client,
                [row.request for row in rows],
                journal=campaign.journal,
                folder=campaign.folder,
                max_jobs=campaign.max_jobs,
                max_cost=campaign.max_cost,
                duration=campaign.duration,
            )
    lines = summary(tally) + failure_lines(tally, lambda index: place(rows[index]))
    print("\n".join(lines))
    return tally.is_success


@asynccontextmanager
async def _service(campaign: Campaign, rows: list[ManifestRow]) -> AsyncIterator[AsyncClient]:
    """Open a client of the service that the manifest is for."""
    if not campaign.is_trial:
        async with AsyncClient() as client:
            print(f"Running {plural(len(rows), 'job')} of {campaign.manifest}:")
            yield client
        return
    async with trial_sandbox(media_hosts(rows)) as sandbox, connect(sandbox) as client:
        print(f"Running {plural(len(rows), 'job')} of {campaign.manifest} on a sandbox:")
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
