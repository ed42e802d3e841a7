"""Looking at generations: one, many, how many, their media; and deleting them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import attrs

from lipsync_async._enums import Status
from lipsync_async.sandbox.api.create_body import is_uuid
from lipsync_async.sandbox.clock import retry_after
from lipsync_async.sandbox.files import IN_DOWNLOAD
from lipsync_async.sandbox.jobs import CountFilter, ListFilter
from lipsync_async.sandbox.server.api_errors import (
    coded,
    malformed,
    malformed_generation_id,
    unknown_generation,
)
from lipsync_async.sandbox.server.messages import Outgoing, answer, dump
from lipsync_async.sandbox.webhooks import payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.files import Links
    from lipsync_async.sandbox.jobs import Job
    from lipsync_async.sandbox.server.api_errors import Refusal
    from lipsync_async.sandbox.server.messages import Incoming
    from lipsync_async.sandbox.state import State
    from lipsync_async.sandbox.webhooks import Notifier


_RETRY_SECONDS = 2.0  # advised after a long poll, contract section 2.6


def existing(state: State, job_id: str) -> Job:
    """Return a job.

    Raises:
        Refusal: The id is no UUID, or no job has it.

    """
    job = state.find(job_id)
    if job is not None:
        return job
    if not is_uuid(job_id):
        raise malformed_generation_id(job_id)
    raise unknown_generation(job_id)


async def get(state: State, incoming: Incoming, job_id: str) -> Outgoing:
    """Answer `GET /v2/generate/{id}`, at once or as a long poll (contract section 2.6)."""
    job = existing(state, job_id)
    if not incoming.query:
        state.runner.look(job)
        return Outgoing(200, encoded(job, state.links))
    asked = look(incoming.query)
    state.runner.look(job)
    if asked.shows_progress:
        shown = generation(job, state.links)
        return answer({**shown, "progress_percent": percent(job, state.clock)})
    if asked.wait is None or _is_wait_ignored(incoming):
        return Outgoing(200, encoded(job, state.links))
    # The client means seconds of its own, and sets its read timeout by them.
    await _until_ended(state, job, asked.wait * state.settings.speed)
    headers = {
        "Retry-After": retry_after(_RETRY_SECONDS, state.settings.speed),
        "X-Sync-Wait-Mode": "long_poll",
        "X-Sync-Wait-Timeout-Seconds": f"{asked.wait:g}",
    }
    return Outgoing(200, encoded(job, state.links), headers=headers)


async def get_by_scope(state: State, _: Incoming, job_id: str) -> Outgoing:
    """Answer `GET /v2/generations/{id}`, which has no parameters."""
    job = existing(state, job_id)
    state.runner.look(job)
    return Outgoing(200, encoded(job, state.links))


async def list_all(state: State, incoming: Incoming, _: str) -> Outgoing:
    """Answer `GET /v2/generations`: a bare array (contract section 2.8)."""
    wanted = list_filter(incoming.query)
    if wanted.cursor is not None and wanted.cursor not in state.jobs:
        raise malformed(["cursor must be the id of a generation"])
    jobs = state.jobs.select(wanted)
    for job in jobs:
        state.runner.look(job)
    return Outgoing(200, b"[" + b",".join(encoded(job, state.links) for job in jobs) + b"]")


async def count(state: State, incoming: Incoming, _: str) -> Outgoing:
    """Answer `GET /v2/generations/count`."""
    return answer({"count": state.jobs.tally(count_filter(incoming.query))})


async def delete(state: State, _: Incoming, job_id: str) -> Outgoing:
    """Answer `DELETE /v2/generations/{id}`: there is no cancel, so only ended jobs go."""
    job = existing(state, job_id)
    if not job.is_ended:
        message = f"The generation is {job.status}; only ended generations can be deleted."
        raise coded(409, "generation_not_deletable_while_processing", message)
    shown = generation(job, state.links)
    state.jobs.delete(job.id)
    return answer(shown)


async def download(state: State, _: Incoming, job_id: str) -> Outgoing:
    """Answer `GET /v2/generations/{id}/download`: a fresh URL as plain text."""
    job = existing(state, job_id)
    if job.status is not Status.COMPLETED:
        message = f"The generation is {job.status} and has no output."
        raise coded(404, "generation_not_found", message)
    link = state.links.media(job.id, version=job.link_version, via=IN_DOWNLOAD)
    return Outgoing(200, link.encode(), "text/plain; charset=utf-8")


def _is_wait_ignored(incoming: Incoming) -> bool:
    return any(fault.kind == "ignore_wait" for fault in incoming.faults)


async def _until_ended(state: State, job: Job, seconds: float) -> None:
    """Wait for the job's last change; whichever comes first, that or the timer, wakes."""
    if job.is_ended:
        return
    woken = anyio.Event()
    job.waiters.append(woken)
    timer = state.clock.call_later(seconds, woken.set)
    try:
        await woken.wait()
    finally:
        timer.cancel()
        if woken in job.waiters:
            job.waiters.remove(woken)


PAGE_LIMIT = 100  # contract section 2.8
_MOST_DIGITS = 9  # Python refuses to read thousands of them
# Contract section 2.6.
WAIT_DEFAULT = 5.0
WAIT_SHORTEST = 1.0
WAIT_LONGEST = 10.0

# Older names that a client may still ask for are fine; no job here ever has them.
_STATUSES = [str(status) for status in Status]
_ORIGINS = frozenset({"playground", "api"})


@attrs.frozen(slots=True)
class Look:
    """Hold how a single generation is looked at; `wait` of `None` answers at once."""

    wait: float | None = None
    shows_progress: bool = False


def _values(query: Sequence[tuple[str, str]], name: str) -> tuple[str, ...]:
    found = (part for key, text in query if key == name for part in text.split(","))
    return tuple(part for part in found if part)


def _last(query: Sequence[tuple[str, str]], name: str) -> str | None:
    found = [text for key, text in query if key == name]
    return found[-1] if found else None


def _statuses(query: Sequence[tuple[str, str]]) -> tuple[Status, ...]:
    asked = _values(query, "status")
    if not set(asked) <= set(_STATUSES):
        known = ", ".join(_STATUSES)
        raise malformed([f"each value in status must be one of the following values: {known}"])
    # What is asked for twice is counted and shown once.
    return tuple(Status(text) for text in dict.fromkeys(asked))


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise malformed(["limit must be an integer number"])
    if not 1 <= int(text) <= PAGE_LIMIT:
        raise malformed([f"limit must not be less than 1 or greater than {PAGE_LIMIT}"])
    return int(text)


def list_filter(query: Sequence[tuple[str, str]]) -> ListFilter:
    """Return what a list request asks for.

    Raises:
        Refusal: A value is none that the service knows, or `cursor` lacks `limit`.

    """
    ids = _values(query, "ids")
    for generation_id in ids:
        if not is_uuid(generation_id):
            raise malformed_generation_id(generation_id)
    limit, cursor = _limit(_last(query, "limit")), _last(query, "cursor")
    if cursor is not None and limit is None:
        raise malformed(["cursor must come with a limit"])
    return ListFilter(
        _statuses(query),
        ids,
        _values(query, "source"),
        _last(query, "projectId"),
        limit,
        cursor,
    )


def count_filter(query: Sequence[tuple[str, str]]) -> CountFilter:
    """Return what a count request asks for (contract section 2.1, endpoint 7).

    `currentUserOnly` changes nothing: a sandbox has one user.

    Raises:
        Refusal: A value is none that the service knows.

    """
    origins = _values(query, "type")
    if not set(origins) <= _ORIGINS:
        raise malformed(["type must be one of the following values: playground, api"])
    sources = _values(query, "source") + _values(query, "generationSource")
    return CountFilter(_statuses(query), sources, origins)


def look(query: Sequence[tuple[str, str]]) -> Look:
    """Return how a request looks at one generation (contract section 2.6).

    Raises:
        Refusal: The parameters are malformed or do not go together.

    """
    wait, timeout = _last(query, "wait"), _last(query, "timeout")
    include = _values(query, "include")
    if wait not in {None, "true", "false"}:
        raise malformed(["wait must be a boolean value"])
    if not set(include) <= {"progress"}:
        raise malformed(["include must be one of the following values: progress"])
    if include and (wait is not None or timeout is not None):
        raise _misfit("include=progress cannot be combined with wait or timeout.")
    seconds = _wait_seconds(timeout)
    return Look(seconds if wait == "true" else None, bool(include))


def _wait_seconds(text: str | None) -> float:
    if text is None:
        return WAIT_DEFAULT
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not WAIT_SHORTEST <= seconds <= WAIT_LONGEST:
        raise malformed([f"timeout must be a number from {WAIT_SHORTEST:g} to {WAIT_LONGEST:g}"])
    return seconds


def _misfit(message: str) -> Refusal:
    return coded(400, "generation_input_validation_failed", message)


_NEARLY_DONE = 99.0


def generation(job: Job, links: Links) -> dict[str, Any]:
    """Return a job as the service shows it; what is not known yet is left out."""
    shown: dict[str, Any] = {
        "id": job.id,
        "createdAt": job.created_at,
        "status": str(job.status),
        **job.order,
        "outputDuration": None,
    }
    if job.status is Status.COMPLETED and job.result is not None:
        link = links.media(job.id, version=job.link_version)
        shown |= {
            "outputUrl": link,
            "outputMediaUrl": link,
            "outputDuration": job.result.duration,
        }
    known = {
        "error": job.error,
        "errorCode": job.error_code,
        "synthesizedAudioUrl": job.speech_url,
        "source": job.source,
    }
    return shown | {name: value for name, value in known.items() if value is not None}


def encoded(job: Job, links: Links) -> bytes:
    """Return a job as JSON, made once per change: most looks find nothing new."""
    if job.encoded is not None:
        return job.encoded
    body = dump(generation(job, links))
    if links.never_expire or job.status is not Status.COMPLETED:
        job.encoded = body
    return body


def percent(job: Job, clock: Clock) -> float:
    """Return how far a job is: by its time, its looks, or its rendering."""
    if job.status is Status.COMPLETED:
        return 100.0
    if job.progression.kind == "time":
        amount = job.progression.amount
        share = (clock.now() - job.born) / amount if amount else 1.0
        return round(min(share * 100, _NEARLY_DONE), 1)
    if job.progression.kind == "polls":
        return round(min(job.looks / job.progression.amount * 100, _NEARLY_DONE), 1)
    return round(min(job.percent, _NEARLY_DONE), 1)


# A rejected job has no webhook (contract section 10).
_NOTIFIED = frozenset({Status.COMPLETED, Status.FAILED})


def tell_of_end(links: Links, notifier: Notifier, job: Job) -> None:
    """Send the webhook of a job that has just ended, if its create asked for one."""
    if job.order.get("webhookUrl") is not None and job.status in _NOTIFIED:
        notifier.tell(payload(generation(job, links)), job.faults.values())
