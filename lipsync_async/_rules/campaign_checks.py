"""Find what is wrong with the arguments of a run of many requests, before anything is sent."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from os import PathLike
from pathlib import Path

from lipsync_async._rules.checks import optional, positive, whole_number, wrong


def campaign_problems(
    *,
    requests: object,
    journal: object,
    download_to: object,
    concurrent_downloads: object,
    max_jobs: object,
    max_cost: object,
    duration: object,
    on_progress: object,
) -> list[str]:
    """Return every problem, each as `argument: what is wrong`; folders are looked up."""
    problems = [
        *optional(whole_number(1))("max_jobs", max_jobs),
        *optional(positive)("max_cost", max_cost),
        *optional(positive)("duration", duration),
        *whole_number(1)("concurrent_downloads", concurrent_downloads),
    ]
    if isinstance(requests, str | bytes | Mapping) or not isinstance(
        requests, Iterable | AsyncIterable
    ):
        problems.append(wrong("requests", "an iterable of GenerationRequest", requests))
    if not isinstance(journal, str | PathLike | None):
        problems.append(wrong("journal", "a path", journal))
    if not isinstance(download_to, str | PathLike | None):
        problems.append(wrong("download_to", "a path", download_to))
    elif download_to is not None and _is_no_folder(download_to):
        problems.append(f"download_to: must be a folder; {str(download_to)!r} is none")
    if duration is not None and max_cost is None:
        problems.append("duration: means nothing without max_cost")
    if on_progress is not None and not callable(on_progress):
        problems.append(wrong("on_progress", "callable", on_progress))
    return problems


def _is_no_folder(path: str | PathLike[str]) -> bool:
    try:
        return Path(path).exists() and not Path(path).is_dir()
    except (OSError, ValueError):  # a name that cannot be one
        return True
