"""How a job looks on the wire: the polled generation (contract section 2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lipsync_async._words import Status
from lipsync_async.sandbox.wire import dump

if TYPE_CHECKING:
    from lipsync_async.sandbox.clock import Clock
    from lipsync_async.sandbox.jobs import Job
    from lipsync_async.sandbox.links import Links

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
