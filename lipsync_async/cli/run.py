"""Running a manifest: at the service, or on a sandbox."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import attrs

from lipsync_async._async.client import AsyncClient
from lipsync_async._bulk.journal_entry import JobState, JournalEntry
from lipsync_async._bulk.journal_view import JournalView, has_journal, without_password
from lipsync_async._bulk.manifest import (
    COLUMNS,
    TABLE_SUFFIXES,
    ManifestRow,
    parse_manifest,
    read_manifest,
)
from lipsync_async._bulk.results import Outcome, Progress, group_failures
from lipsync_async._logic.codec import encode_request
from lipsync_async._logic.config import DEFAULT_BASE_URL, is_loopback
from lipsync_async._logic.validation import NEEDS_DURATION, request_warnings, upload_problems
from lipsync_async._models.policies import Limits
from lipsync_async._models.request import Options
from lipsync_async._threads import WORKERS
from lipsync_async.cli.commands import LIMITS
from lipsync_async.cli.jobs import told_warnings
from lipsync_async.cli.output import (
    STANDARD,
    ExitStatus,
    answer,
    duration,
    error_lines,
    exit_status_of,
    in_arguments,
    plural,
    rate,
    say,
    size,
    some_of,
    with_places,
)
from lipsync_async.cli.progress import NO_PROGRESS, bulk_progress
from lipsync_async.cli.standard import StandardInput
from lipsync_async.errors import (
    ConfigurationError,
    JournalError,
    LipsyncError,
    first_problems,
)
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.media.engines import INSTALL_HINT, engines, working_engines
from lipsync_async.sandbox.media.errors import EngineError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from lipsync_async._models.request import GenerationRequest

# Keywords of `run_many` that are arguments of the command.
OPTIONS = (
    "max_jobs",
    "max_cost",
    "duration",
    "concurrent_downloads",
    "retry_failed",
    "match_query",
    "accept_new_key",
)
SLOTS = 15  # jobs at once in the largest plan. Source: "Concurrency", sync.so docs
# How the library names its arguments, and a field of a request.
_NAMES = "|".join(
    name for name in [*OPTIONS, *attrs.fields_dict(Limits), "download_to"] if "_" in name
)
_ARGUMENT = re.compile(rf"\b(?:Limits\.)?({_NAMES})\b(?:=([\w.]*\w))?|\bduration(?:=|(?=: means))")
_FIELD = re.compile(r"\binput\[(\d+)\](?:\.\w+)*|\b(?:options|dub_params)(?:\.\w+)+")
_LINE = re.compile(r"\bline (\d+)\b")
_MOST_MANIFEST = 200_000_000  # bytes of standard input: hundreds of thousands of jobs
_MAX_LINES = 20  # of failures, ids and keys
_REDRAW_SECONDS = 0.25
_PRICES_AT_ONCE = 10
# Fields of a body that the price does not depend on.
_NOT_PRICED = ("outputFileName", "webhookUrl", "projectId")


@attrs.define(slots=True, kw_only=True)
class ManifestRun:
    """Run of a manifest as it was asked for."""

    manifest: Path
    journal: Path | str = attrs.field(repr=False)  # a password may be in it
    download_to: str | None
    options: Mapping[str, Any]  # keywords of `run_many`, those of `OPTIONS`
    limits: Mapping[str, int | None]  # keywords of `Limits`, those that were given
    timeout: float | None  # seconds for one try of one request
    on_sandbox: bool
    rows: list[ManifestRow] = attrs.field(factory=list, init=False)  # once the manifest was read

    def place(self, index: int) -> str:
        """Return where the manifest has a row, if it has it."""
        row = self.rows[index]
        return f"line {row.line}" + ("" if row.request_id is None else f" ({row.request_id})")

    def say(self, line: str, *, is_error: bool = False) -> None:
        """Write a line in which arguments are options, and fields the columns of a table."""
        line = in_arguments(_ARGUMENT.sub(_option, line))
        found = _LINE.search(line)
        if found is not None and self.manifest.suffix.lower() in TABLE_SUFFIXES:
            for row in self.rows:
                if row.line == int(found[1]):
                    line = _FIELD.sub(partial(_column, row.request), line)
        say(line, is_error=is_error)


@attrs.define(slots=True, kw_only=True)
class RunSummary:
    """Result of a run of many requests."""

    total: int
    progress: Progress = NO_PROGRESS
    seconds: list[float] = attrs.field(factory=list)  # of each job that was its own
    elapsed: float = 0.0
    failures: list[Outcome] = attrs.field(factory=list)
    resumed: set[int] = attrs.field(factory=set)  # positions that an earlier run has completed
    files: int = 0
    bytes: int = 0
    error: LipsyncError | None = None  # raised by the run in the end

    @property
    def exit_status(self) -> ExitStatus:
        """Exit status for this result."""
        if self.error is not None:
            has_begun = (
                self.progress.done or self.error.generation_ids or self.error.idempotency_keys
            )
            return ExitStatus.UNKNOWN if has_begun else exit_status_of(self.error)
        if self.progress.ended_by is not None:
            return ExitStatus.STOPPED
        if any(map(is_unknown, self.failures)):
            return ExitStatus.UNKNOWN
        is_complete = not self.failures and self.progress.done == self.total
        return ExitStatus.SUCCESS if is_complete else ExitStatus.FAILURE

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        if not outcome.is_success:
            self.failures.append(outcome)
        if outcome.resumed:
            self.resumed.add(outcome.index)
        if outcome.path is not None:
            self.files += 1
            with suppress(OSError):  # another program has taken it away already
                self.bytes += outcome.path.stat().st_size

    def lines(
        self, name_of: Callable[[int], str], *, requests_sent: int | None = None
    ) -> list[str]:
        """Return the whole report; the reason of an early end comes last."""
        error = self.error or self.progress.ended_by
        why = [] if error is None else error_lines(error, name_of)
        reasons = [f"Ended early: {line}" for line in why]
        return [*self.table(requests_sent), *self.failure_lines(name_of), *reasons]

    def table(self, requests_sent: int | None = None) -> list[str]:
        """Return the numbers as aligned lines."""
        fresh = self.progress.done - len(self.resumed)
        earlier = f" ({len(self.resumed)} of them in earlier runs)" if self.resumed else ""
        unknown = sum(map(is_unknown, self.failures))
        rows: dict[str, object] = {
            "jobs": f"{self.total}{earlier}",
            "succeeded": str(self.progress.done - len(self.failures)),
            "failed": str(len(self.failures) - unknown),
        }
        if unknown:
            rows["unknown"] = f"{unknown}, to be sent again by the same command, and not paid twice"
        if self.total > self.progress.done:
            rows["not begun"] = self.total - self.progress.done
        rows["wall time"] = duration(self.elapsed)
        if fresh and self.elapsed:
            rows["rate"] = rate(fresh / self.elapsed, "jobs")
        if requests_sent is not None:
            rows["requests"] = f"{requests_sent}, {requests_sent / self.total:.2f} a job"
        if self.seconds:
            middle, longest = duration(median(self.seconds)), duration(max(self.seconds))
            rows["time per job"] = f"median {middle}, longest {longest}"
        if self.files:
            rows["files"] = f"{self.files}, together {size(self.bytes)}"
        return [f"  {name:<14}{value}" for name, value in rows.items()]

    def failure_lines(self, name_of: Callable[[int], str]) -> list[str]:
        """Return the failures by their reasons, the most frequent first; not more than twenty."""
        groups = group_failures(self.failures)
        lines = [
            f"  {some_of([*map(name_of, group.indices)])}: {with_places(group.reason, name_of)}"
            for group in groups[:_MAX_LINES]
        ]
        more = sum(group.count for group in groups[_MAX_LINES:])
        return [*lines, f"  and {plural(more, 'more failure')}"] if more else lines


def _option(found: re.Match[str]) -> str:
    value = "" if found[2] in {None, "True"} else f" {found[2].lower()}"
    return f"--{(found[1] or 'duration').replace('_', '-')}{value}"


def _column(request: GenerationRequest, found: re.Match[str]) -> str:
    """Return the column that holds a field of a request, or the field if none is known."""
    name = found[0].rpartition(".")[2]
    names = [name, f"speaker_{name}"]
    if found[1] is not None and int(found[1]) < len(request.input):
        item = request.input[int(found[1])]
        kind = type(item).__name__.lower()
        given = [each for each in ("url", "asset_id", "file") if getattr(item, each, None)]
        names += [f"{kind}_{each}" for each in (name, *given)] + ["script"]
    return next((each for each in names if each in COLUMNS), found[0])


def is_unknown(outcome: Outcome) -> bool:
    """Tell whether a create may have been accepted without an answer."""
    error = outcome.error
    return error is not None and error.may_have_worked and outcome.generation is None


async def run(typed: argparse.Namespace) -> ExitStatus:
    """Run a manifest, or only check and price it, as the arguments say."""
    if typed.sandbox:
        require_media()
    asked = manifest_run(typed)
    if typed.dry_run:
        return await price_manifest(asked)
    typed.left_behind = lambda: "\n".join(left_behind(asked))
    return await run_manifest(asked)


def manifest_run(typed: argparse.Namespace) -> ManifestRun:
    """Return what the arguments of `run` ask for."""
    given = vars(typed)
    return ManifestRun(
        manifest=typed.manifest,
        journal=typed.journal,
        download_to=typed.download_to,
        options={name: given[name] for name in OPTIONS},
        limits={name: given[name] for name in LIMITS if name in given},
        timeout=typed.timeout,
        on_sandbox=typed.sandbox,
    )


def require_media() -> None:
    """Raise an error that says what to install, if this machine cannot render."""
    if engines()["video"] == INSTALL_HINT:
        raise LipsyncError(f"the media engine is {INSTALL_HINT}")
    try:
        working_engines()
    except EngineError as error:
        raise LipsyncError(str(error)) from error


async def rows_of(manifest: Path) -> list[ManifestRow]:
    """Return the rows of a manifest; `-` is standard input, whose paths are relative to here."""
    read = partial(read_manifest, manifest)
    if f"{manifest}" == STANDARD:
        read = partial(_read_standard_input, Path.cwd())
    # In a thread that Ctrl-C need not wait for: a disk may be slow, and a pipe may never end.
    return await WORKERS.submit(read)


def _read_standard_input(folder: Path) -> list[ManifestRow]:
    data = StandardInput().read_all(_MOST_MANIFEST)
    is_json = data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
    return parse_manifest(data, suffix=".jsonl" if is_json else ".csv", folder=folder)


async def price_manifest(run: ManifestRun) -> ExitStatus:
    """Check a manifest, and tell what its jobs would cost."""
    run.rows = await rows_of(run.manifest)
    for warning in ignored_options(run.rows):
        run.say(f"{run.manifest}: {warning}", is_error=True)
    seconds = run.options["duration"]
    problems = [
        f"line {row.line}: {problem}"
        for row in run.rows
        for problem in upload_problems(row.request, advice=NEEDS_DURATION)
    ]
    if seconds is None and problems:
        for line in first_problems(problems):
            run.say(f"run: {line}", is_error=True)
        return ExitStatus.USAGE
    kinds = {_priced(row.request, seconds): row.request for row in run.rows}
    run.say(f"Nothing is wrong with the {plural(len(run.rows), 'job')} of {run.manifest}.")
    prices: dict[str, float] = {}

    async def price(client: AsyncClient, kind: str, request: GenerationRequest) -> None:
        async with at_once:
            if seconds is None:
                found = await client.generations.estimate(request)
            else:
                found = await client.generations.estimate_duration(
                    model=request.model,
                    duration=seconds,
                    reasoning_enabled=(request.options or Options()).reasoning_enabled,
                )
            prices[kind] = found.cost

    with told_warnings():
        async with _client(run) as client:
            say(f"{_told(run, 'Pricing')} with {plural(len(kinds), 'request')}:")
            at_once = anyio.CapacityLimiter(_PRICES_AT_ONCE)
            await in_group(partial(price, client, *each) for each in kinds.items())
    total = 0.0
    for row in run.rows:
        cost = prices[_priced(row.request, seconds)]
        total += cost
        answer({"line": row.line, "request_id": row.request_id, "cost": cost})
    run.say(f"Together they would cost about {total:.2f} US dollars. Nothing was created.")
    return ExitStatus.SUCCESS


def _priced(request: GenerationRequest, seconds: float | None) -> str:
    """Return what the price of a request depends on: rows with the same are priced once."""
    if seconds is not None:
        return f"{request.model} {(request.options or Options()).reasoning_enabled}"
    body = encode_request(request)
    for name in _NOT_PRICED:
        body.pop(name, None)
    return json.dumps(body, sort_keys=True)


async def in_group(works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Run works at the same time; the first error ends all, and is raised as it is."""
    failures: list[Exception] = []

    async def run(work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(run, work)
    if failures:
        raise failures[0]


async def run_manifest(run: ManifestRun) -> ExitStatus:
    """Run a manifest and show the result."""
    run.rows = await rows_of(run.manifest)
    for warning in ignored_options(run.rows):
        run.say(f"{run.manifest}: {warning}", is_error=True)
    await WORKERS.submit(check_journal, run)
    with told_warnings():
        async with _client(run) as client:
            summary = await run_requests(
                client,
                [row.request for row in run.rows],
                begin=lambda: say(f"{_told(run, 'Running')}:"),
                journal=run.journal,
                download_to=run.download_to,
                tell=lambda outcome: answer(
                    {"line": run.rows[outcome.index].line, **outcome.to_dict()}
                ),
                **run.options,
            )
    if summary.error is not None and not summary.progress.done:  # there is nothing to sum up
        for line in error_lines(summary.error, run.place):
            run.say(f"run: {line}", is_error=True)
        return summary.exit_status
    for line in summary.lines(run.place):
        run.say(line)
    return summary.exit_status


async def run_requests(
    client: AsyncClient,
    requests: Sequence[GenerationRequest],
    *,
    journal: Path | str,
    begin: Callable[[], None] = lambda: None,
    tell: Callable[[Outcome], object] = lambda _: None,
    **options: Any,
) -> RunSummary:
    """Run requests and show their progress; an error of `run_many` is in the summary.

    `begin` is called once the journal is open, and `tell` with each outcome.
    """
    summary = RunSummary(total=len(requests))
    began = anyio.current_time()
    try:
        async with client.generations.run_many(requests, journal=journal, **options) as outcomes:
            begin()
            with bulk_progress(len(requests)) as show:
                is_over = False
                while not is_over:
                    # A step that is cancelled loses no outcome.
                    with anyio.move_on_after(_REDRAW_SECONDS):
                        try:
                            outcome = await anext(outcomes)
                            summary.add(outcome)
                            tell(outcome)
                        except StopAsyncIteration:
                            is_over = True
                    summary.progress = outcomes.progress()
                    show(summary.progress)
            summary.elapsed = anyio.current_time() - began
            with suppress(JournalError), JournalView.open(journal) as view:
                for entry in view.entries(JobState.COMPLETED, JobState.FAILED):
                    if (
                        entry.ended_at
                        and entry.accepted_at
                        and entry.position not in summary.resumed
                    ):
                        seconds = (entry.ended_at - entry.accepted_at).total_seconds()
                        summary.seconds.append(seconds)
    except LipsyncError as error:
        summary.elapsed = anyio.current_time() - began
        summary.error = error
    return summary


def _told(run: ManifestRun, doing: str) -> str:
    """Return what a run is about to do, and within which limits."""
    options = run.options
    limits = {
        f"at most {plural(options['max_jobs'] or 0, 'new job')}": options["max_jobs"],
        f"at most {options['max_cost'] or 0:g} US dollars": options["max_cost"],
        "what has failed is created anew": options["retry_failed"],
    }
    told = f"{doing} {plural(len(run.rows), 'job')} of {run.manifest}"
    place = " on a sandbox" if run.on_sandbox else ""
    return ", ".join([told + place, *(words for words, value in limits.items() if value)])


@asynccontextmanager
async def _client(run: ManifestRun) -> AsyncIterator[AsyncClient]:
    """Open a client of the service that the manifest is for."""
    if not run.on_sandbox:
        if not os.environ.get("SYNC_API_KEY"):
            raise ConfigurationError(
                "There is no API key. Set SYNC_API_KEY, or add --sandbox, which needs none."
            )
        async with AsyncClient(timeout=run.timeout, limits=Limits(**run.limits)) as client:
            yield client
        return
    hosts = media_hosts(run.rows)
    async with opened_sandbox(hosts, timeout=run.timeout, **run.limits) as (_, client):
        yield client


@asynccontextmanager
async def opened_sandbox(
    allowed_hosts: Iterable[str] = (), *, timeout: float | None = 60.0, **limits: int | None
) -> AsyncIterator[tuple[Sandbox, AsyncClient]]:
    """Open a sandbox that renders, with the slots of the largest plan, and a client of it.

    The client finds out about the slots; requests a minute are not limited, unless told.
    """
    told = (
        dict.fromkeys(("creates_per_minute", "requests_per_minute", "uploads_per_minute")) | limits
    )
    async with (
        Sandbox(concurrency=SLOTS, allowed_hosts=allowed_hosts) as sandbox,
        AsyncClient(
            sandbox.api_key, base_url=sandbox.url, limits=Limits(**told), timeout=timeout
        ) as client,
    ):
        yield sandbox, client


def ignored_options(rows: list[ManifestRow]) -> list[str]:
    """Return the options that the service ignores, each with its first line."""
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
    """Return the hosts of a manifest's media."""
    urls = (getattr(item, "url", None) for row in rows for item in row.request.input)
    return {host for url in urls if url and (host := urlsplit(url).hostname)}


def left_behind(run: ManifestRun) -> list[str]:
    """Return what an interrupted run leaves, according to its journal."""
    if run.on_sandbox:
        return ["The sandbox and its jobs have ended."]
    try:
        with JournalView.open(run.journal) as view:
            running = [*view.entries(JobState.ACCEPTED)]
            unknown = [*view.entries(JobState.SUBMITTING, JobState.UNKNOWN)]
    except JournalError as error:
        is_new = isinstance(run.journal, Path) and not run.journal.exists()
        return ["Nothing is left: no job was created."] if is_new else error_lines(error)
    lines = ["To go on where this was, run it again with the same journal."]
    if running:
        lines.append(f"Still running at the service, and paid for: {plural(len(running), 'job')}")
        lines += _listed(running, lambda entry: str(entry.generation_id))
    if unknown:
        creates = plural(len(unknown), "create")
        lines.append(f"{creates} may have been accepted; the next run sends the same keys again:")
        lines += _listed(unknown, lambda entry: entry.idempotency_key)
    return lines


def _listed(entries: list[JournalEntry], text_of: Callable[[JournalEntry], str]) -> list[str]:
    """Return a line for each entry, with its place in the manifest; of many, the first ones."""
    lines = [f"  {entry.place}: {text_of(entry)}" for entry in entries[:_MAX_LINES]]
    more = len(entries) - len(lines)
    return [*lines, f"  and {more} more; --export of `journal` has them all"] if more else lines


def check_journal(run: ManifestRun) -> None:
    """Refuse what is no journal, and keep journals of the service and of sandboxes apart.

    A sandbox ends with its command. With its journal, the service would be taken to have
    done everything, and another sandbox to know jobs that it never saw.
    """
    if not has_journal(run.journal):
        return
    journal = without_password(run.journal)
    if run.on_sandbox:
        raise ConfigurationError(
            f"{journal} is there already, and a sandbox's jobs end with it; give a new one."
        )
    with JournalView.open(run.journal) as view:
        first = next(view.entries(JobState.COMPLETED), None)
    done = None if first is None else first.generation
    if is_loopback(urlsplit(os.environ.get("SYNC_BASE_URL") or DEFAULT_BASE_URL).hostname):
        return
    if done is not None and done.output_url and is_loopback(urlsplit(done.output_url).hostname):
        raise ConfigurationError(
            f"{journal} is of a run on a sandbox; for the service, give a new one."
        )
