"""Find what is wrong with the arguments of a run of many requests, before anything is sent."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping

from lipsync_async._logic.validation import folder_problems, upload_problems
from lipsync_async._logic.validators import flag, optional, positive, survived, whole_number, wrong
from lipsync_async._models.request import GenerationRequest

_MOST_SHOWN = 5
# Said where a price is asked for that no look at the media can tell.
NEEDS_DURATION = "pass duration=, the seconds of the longest result"


@survived("arguments")
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
    ordered: object,
    stop_on_error: object,
    retry_failed: object,
    match_query: object,
    accept_new_key: object,
) -> list[str]:
    """Return every problem, each as `argument: what is wrong`; folders are looked up."""
    problems = [
        *optional(whole_number(1))("max_jobs", max_jobs),
        *optional(positive)("max_cost", max_cost),
        *optional(positive)("duration", duration),
        *whole_number(1)("concurrent_downloads", concurrent_downloads),
        *flag("ordered", ordered),
        *flag("stop_on_error", stop_on_error),
        *flag("retry_failed", retry_failed),
        *flag("match_query", match_query),
        *flag("accept_new_key", accept_new_key),
    ]
    if isinstance(requests, str | bytes | Mapping) or not isinstance(
        requests, Iterable | AsyncIterable
    ):
        problems.append(wrong("requests", "an iterable of GenerationRequest", requests))
    problems += optional(_path)("journal", journal)
    problems += optional(folder_problems)("download_to", download_to)
    if duration is not None and max_cost is None:
        problems.append("duration: means nothing without max_cost")
    if max_cost is not None and duration is None:
        problems += _without_price(requests)
    if on_progress is not None and not callable(on_progress):
        problems.append(wrong("on_progress", "callable", on_progress))
    return problems


def _without_price(requests: object) -> list[str]:
    """Find local files, whose price cannot be asked for; an input that comes is not looked at."""
    found = [
        f"requests[{index}].{problem}"
        for index, request in enumerate(requests if isinstance(requests, list | tuple) else ())
        if isinstance(request, GenerationRequest)
        for problem in upload_problems(request, advice=NEEDS_DURATION)
    ]
    more = len(found) - _MOST_SHOWN
    return [*found[:_MOST_SHOWN], f"requests: {more} more local files"] if more > 0 else found


def _path(name: str, value: object) -> Iterator[str]:
    """Ask for what can be a file's name."""
    try:
        path = os.fspath(value)  # type: ignore[call-overload]  # that is the question
        os.fsencode(path)
    except (TypeError, ValueError):
        path = None
    if not isinstance(path, str) or "\0" in path:
        yield wrong(name, "a path", value)
