"""Takes a fleet's requests one after another, with what a journal knows of them.

Requests are taken as they are needed, so an input of any length fits. With a journal, a
few are taken ahead, because it answers for a hundred as fast as for one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from itertools import groupby
from typing import TYPE_CHECKING

import attrs

from lipsync_async._fleet.journal_entry import JournalEntry
from lipsync_async._rules.validation import file_problems, form_problems
from lipsync_async._values.inputs import GenerationRequest

if TYPE_CHECKING:
    from lipsync_async._fleet.scribe import Scribe

_AHEAD = 100


@attrs.frozen(slots=True)
class Entrant:
    """Hold a request with its place in the input.

    Attributes:
        index: Its place, from 0.
        request: The request.
        problems: Why it cannot be sent; empty if it can.
        entry: What an earlier run has left of it.

    """

    index: int
    request: GenerationRequest
    problems: list[str]
    entry: JournalEntry | None


async def entrants(
    requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
    scribe: Scribe,
) -> AsyncGenerator[Entrant, None]:
    """Yield each request of the input.

    Args:
        requests: The input. One that has to be awaited is taken one by one, for it may
            be as slow as it likes.
        scribe: Knows the journal.

    Raises:
        InvalidRequestError: The journal is about another input.

    """
    ahead = 1 if isinstance(requests, AsyncIterable) else _AHEAD
    stretch: list[GenerationRequest] = []
    start = 0
    async for request in _each(requests):
        stretch.append(request)
        if len(stretch) >= ahead:
            for entrant in _known(stretch, start, scribe):
                yield entrant
            start += len(stretch)
            stretch = []
    for entrant in _known(stretch, start, scribe):
        yield entrant


def _known(requests: list[GenerationRequest], start: int, scribe: Scribe) -> list[Entrant]:
    """Look requests up; those that were never sent because they cannot be are in no journal."""
    judged = [
        (index, request, form_problems(request)) for index, request in enumerate(requests, start)
    ]
    found: list[Entrant] = []
    for is_sound, run in groupby(judged, key=lambda each: not each[2]):
        entering = [*run]
        entries = (
            scribe.known([request for _, request, _ in entering], entering[0][0])
            if is_sound
            else [None] * len(entering)
        )
        found += [_entrant(*each, entry) for each, entry in zip(entering, entries, strict=True)]
    return found


def _entrant(
    index: int, request: GenerationRequest, problems: list[str], entry: JournalEntry | None
) -> Entrant:
    """Look at a request's files, unless they have been sent: then they may go."""
    if not problems and (entry is None or not entry.state.has_job):
        problems = file_problems(request)
    return Entrant(index, request, problems, entry)


async def _each(
    requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
) -> AsyncIterator[GenerationRequest]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
