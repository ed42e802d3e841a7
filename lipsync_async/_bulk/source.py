"""Takes a fleet's requests one after another, with what a journal knows of them.

Requests are taken as they are needed, so an input of any length fits. With a journal, a
few are taken ahead, because it answers for a hundred as fast as for one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from itertools import groupby
from typing import TYPE_CHECKING

import attrs

from lipsync_async._bulk.journal_entry import JournalEntry
from lipsync_async._logic.validation import file_problems, form_problems
from lipsync_async._logic.validators import exact, shown
from lipsync_async._models.request import GenerationRequest
from lipsync_async.errors import LipsyncError, in_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lipsync_async._bulk.journal_writer import Scribe


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

    @property
    def result(self) -> Path | None:
        """The file that an earlier run has saved, if it is still there."""
        path = None if self.entry is None else self.entry.download_path
        return path if path is not None and path.exists() else None


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
    is_ready = scribe.has_journal and not isinstance(requests, AsyncIterable)
    start = 0
    ids = dict[str, int]()
    async with aclosing(_stretches(requests, _AHEAD if is_ready else 1)) as stretches:
        async for stretch in stretches:
            for entrant in await _known(stretch, start, scribe, ids):
                yield entrant
            start += len(stretch)


async def _stretches(
    requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
    longest: int,
) -> AsyncGenerator[list[GenerationRequest], None]:
    """Yield the input piece by piece; what it raises comes after all that it gave."""
    stretch: list[GenerationRequest] = []
    mishap: Exception | None = None
    async with aclosing(_each(requests)) as each:
        try:
            async for request in each:
                stretch.append(request)
                if len(stretch) >= longest:
                    yield stretch
                    stretch = []
        except Exception as error:  # noqa: BLE001 - it is raised below
            mishap = error
    yield stretch
    if mishap is not None:
        raise mishap


async def _known(
    requests: list[GenerationRequest], start: int, scribe: Scribe, ids: dict[str, int]
) -> list[Entrant]:
    """Look requests up; those that were never sent because they cannot be are in no journal."""
    judged = [
        (index, request, form_problems(request) or _shared_id(index, request, ids))
        for index, request in enumerate(requests, start)
    ]
    found: list[Entrant] = []
    for is_sound, run in groupby(judged, key=lambda each: not each[2]):
        entering = [*run]
        found += (
            await _found(entering, scribe) if is_sound else [_entrant(*each) for each in entering]
        )
    return found


def _shared_id(index: int, request: GenerationRequest, ids: dict[str, int]) -> list[str]:
    """Refuse a second request of one name: which of the two a journal knows would be luck."""
    name = str(exact(request.request_id))  # a derived class may raise when it is looked up
    if request.request_id is None or (first := ids.setdefault(name, index)) == index:
        return []
    return [f"request_id: {shown(name)} is that of request {first} as well; give each its own"]


async def _found(
    entering: Sequence[tuple[int, GenerationRequest, list[str]]], scribe: Scribe
) -> list[Entrant]:
    """Look sound requests up, all at once; if that raises, each alone, for one is to blame."""
    try:
        entries = await scribe.known([request for _, request, _ in entering], entering[0][0])
    except LipsyncError:
        raise
    except Exception as error:  # noqa: BLE001 - what a request's own values raise
        if len(entering) > 1:
            return [entrant for each in entering for entrant in await _found([each], scribe)]
        ((index, request, _),) = entering
        problem = f"request: cannot be looked up in the journal: {in_words(error)}"
        return [Entrant(index, request, [problem], None)]
    return [_entrant(*each, entry) for each, entry in zip(entering, entries, strict=True)]


def _entrant(
    index: int,
    request: GenerationRequest,
    problems: list[str],
    entry: JournalEntry | None = None,
) -> Entrant:
    """Look at a request's files, unless they have been sent: then they may go."""
    if not problems and (entry is None or not entry.state.has_job):
        problems = file_problems(request)
    return Entrant(index, request, problems, entry)


async def _each(
    requests: Iterable[GenerationRequest] | AsyncIterable[GenerationRequest],
) -> AsyncGenerator[GenerationRequest, None]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
