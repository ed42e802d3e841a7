"""Looking at generations: one, many, how many, their media; and deleting them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from lipsync_async._words import Status
from lipsync_async.sandbox.links import IN_DOWNLOAD
from lipsync_async.sandbox.picture import encoded, generation, percent
from lipsync_async.sandbox.rules.filters import count_filter, list_filter, look
from lipsync_async.sandbox.rules.pace import retry_after
from lipsync_async.sandbox.rules.refusals import (
    coded,
    malformed,
    malformed_generation_id,
    unknown_generation,
)
from lipsync_async.sandbox.rules.shapes import is_uuid
from lipsync_async.sandbox.wire import Outgoing, answer

if TYPE_CHECKING:
    from lipsync_async.sandbox.jobs import Job
    from lipsync_async.sandbox.state import State
    from lipsync_async.sandbox.wire import Incoming

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
