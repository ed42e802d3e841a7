"""Options of a run of many requests, checked before anything is sent."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import attrs

from lipsync_async._logic.validation import (
    OrNone,
    expanded,
    flag,
    folder_problems,
    positive,
    survived,
    upload_problems,
    whole_number,
    wrong,
)
from lipsync_async._models.request import GenerationRequest

if TYPE_CHECKING:
    from lipsync_async._bulk.results import Progress

OnProgress: TypeAlias = "Callable[[Progress], Awaitable[None] | None]"

_MAX_SHOWN = 5
# Said where a price is asked for that cannot be known from the media.
NEEDS_DURATION = "pass duration=, the seconds of the longest result"


@attrs.frozen(slots=True, kw_only=True)
class RunOptions:
    """Options of a run, as the user has given them; see `run_many` for their meaning."""

    journal: str | os.PathLike[str] | None = None
    download_to: str | os.PathLike[str] | None = None
    concurrent_downloads: int = 4
    ordered: bool = False
    stop_on_error: bool = False
    max_jobs: int | None = None
    max_cost: float | None = None
    duration: float | None = None
    on_progress: OnProgress | None = None
    retry_failed: bool = False
    match_query: bool = False
    accept_new_key: bool = False

    @property
    def journal_path(self) -> Path | None:
        """The journal's file; `None`: there is none."""
        return None if self.journal is None else Path(expanded(self.journal))

    @property
    def folder(self) -> Path | None:
        """The folder of the results; `None`: they are not downloaded."""
        return None if self.download_to is None else Path(expanded(self.download_to))

    @survived("arguments")
    def problems(self, requests: object) -> list[str]:
        """Return every problem, each as `argument: what is wrong`; folders are looked up.

        Args:
            requests: The run's input.

        """
        problems = [
            *OrNone(whole_number(1))("max_jobs", self.max_jobs),
            *OrNone(positive)("max_cost", self.max_cost),
            *OrNone(positive)("duration", self.duration),
            *whole_number(1)("concurrent_downloads", self.concurrent_downloads),
        ]
        for name in ("ordered", "stop_on_error", "retry_failed", "match_query", "accept_new_key"):
            problems += flag(name, getattr(self, name))
        if isinstance(requests, str | bytes | Mapping) or not isinstance(
            requests, Iterable | AsyncIterable
        ):
            problems.append(wrong("requests", "an iterable of GenerationRequest", requests))
        problems += OrNone(_path)("journal", self.journal)
        problems += OrNone(folder_problems)("download_to", self.download_to)
        if self.duration is not None and self.max_cost is None:
            problems.append("duration: means nothing without max_cost")
        if self.max_cost is not None and self.duration is None:
            problems += _without_price(requests)
        on_progress: object = self.on_progress
        if on_progress is not None and not callable(on_progress):
            problems.append(wrong("on_progress", "callable", on_progress))
        return problems


def _without_price(requests: object) -> list[str]:
    """Find local files, whose price cannot be asked for, in an input that is here already."""
    found = [
        f"requests[{index}].{problem}"
        for index, request in enumerate(requests if isinstance(requests, list | tuple) else ())
        if isinstance(request, GenerationRequest)
        for problem in upload_problems(request, advice=NEEDS_DURATION)
    ]
    more = len(found) - _MAX_SHOWN
    return [*found[:_MAX_SHOWN], f"requests: {more} more local files"] if more > 0 else found


def _path(name: str, value: object) -> Iterator[str]:
    """Require what can be a file's name."""
    try:
        path = os.fspath(value)  # type: ignore[call-overload]  # that is the question
        os.fsencode(path)
    except (TypeError, ValueError):
        path = None
    if not isinstance(path, str) or "\0" in path:
        yield wrong(name, "a path", value)
