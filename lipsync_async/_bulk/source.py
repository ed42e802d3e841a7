"""Reads a run's requests one after another, with what a journal knows of each.

Requests are read as they are needed, so an input of any length fits. With a journal, a
few are read ahead, because it answers for a hundred as fast as for one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

import attrs

from lipsync_async._bulk.journal_entry import JournalEntry
from lipsync_async._logic.validation import exact, file_problems, form_problems, shown
from lipsync_async._models.request import GenerationRequest
from lipsync_async.errors import LipsyncError, in_words

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async._bulk.journal_writer import RunJournal

Requests: TypeAlias = Iterable[GenerationRequest] | AsyncIterable[GenerationRequest]

_READ_AHEAD = 100


@attrs.frozen(slots=True)
class SourceItem:
    """A request with its position in the input.

    Attributes:
        index: Its position, from 0.
        request: The request.
        problems: Why it cannot be sent; empty if it can.
        entry: What an earlier run has left of it.

    """

    index: int
    request: GenerationRequest
    problems: list[str]
    entry: JournalEntry | None = None

    @property
    def result(self) -> Path | None:
        """The file that an earlier run has saved, if it is still there."""
        path = None if self.entry is None else self.entry.download_path
        return path if path is not None and path.exists() else None


async def read_requests(
    requests: Requests, journal: RunJournal
) -> AsyncGenerator[SourceItem, None]:
    """Yield each request of the input."""
    ids = dict[str, int]()
    start = 0
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            for item in await _checked([request], start, ids, journal):
                yield item
            start += 1
    else:
        for chunk in _chunks(requests, _READ_AHEAD if journal.keeps_records else 1):
            for item in await _checked(chunk, start, ids, journal):
                yield item
            start += len(chunk)


def _chunks(
    requests: Iterable[GenerationRequest], size: int
) -> Generator[list[GenerationRequest], None, None]:
    """Yield the input piece by piece; what it raises comes after all that it gave."""
    chunk: list[GenerationRequest] = []
    failure: Exception | None = None
    try:
        for request in requests:
            chunk.append(request)
            if len(chunk) >= size:
                yield chunk
                chunk = []
    except Exception as error:  # noqa: BLE001 - it is raised below
        failure = error
    if chunk:
        yield chunk
    if failure is not None:
        raise failure


async def _checked(
    chunk: list[GenerationRequest], start: int, ids: dict[str, int], journal: RunJournal
) -> list[SourceItem]:
    """Check requests, and look the valid ones up in the journal; it has no others."""
    items = [
        SourceItem(index, each, form_problems(each) or _shared_id(index, each, ids))
        for index, each in enumerate(chunk, start)
    ]
    found: list[SourceItem] = []
    for has_problems, group in groupby(items, key=lambda item: bool(item.problems)):
        together = [*group]
        found += together if has_problems else await _matched(together, journal)
    return found


def _shared_id(index: int, request: GenerationRequest, ids: dict[str, int]) -> list[str]:
    """Refuse a second request of one name: which of the two a journal knows would be luck."""
    name = str(exact(request.request_id))  # a derived class may raise when it is compared
    if request.request_id is None or (first := ids.setdefault(name, index)) == index:
        return []
    return [f"request_id: {shown(name)} is that of request {first} as well; give each its own"]


async def _matched(items: list[SourceItem], journal: RunJournal) -> list[SourceItem]:
    """Look valid requests up, all at once; if that raises, one by one to find the reason."""
    try:
        entries = await journal.match([item.request for item in items], items[0].index)
    except LipsyncError:
        raise
    except Exception as error:  # noqa: BLE001 - what a request's own values raise
        if len(items) > 1:
            return [found for item in items for found in await _matched([item], journal)]
        problem = f"request: cannot be looked up in the journal: {in_words(error)}"
        return [attrs.evolve(items[0], problems=[problem])]
    return [_with_entry(item, entry) for item, entry in zip(items, entries, strict=True)]


def _with_entry(item: SourceItem, entry: JournalEntry | None) -> SourceItem:
    """Check a request's files, unless they were sent already: then they may be gone."""
    is_sent = entry is not None and entry.state.has_job
    problems = [] if is_sent else file_problems(item.request)
    return SourceItem(item.index, item.request, problems, entry)
