"""Fetches results, a few at once: they are large, and the line is shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from lipsync_async import _download
from lipsync_async._logic.media_types import name_of_id
from lipsync_async._part_file import Leftovers

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._models.response import Generation
    from lipsync_async._requester import Exchange, Settings


# A job's name may have 255 characters, which is all that file systems take.
_LONGEST_NAME = 150
# Results that may wait to be fetched before no more jobs are begun.
_MOST_WAITING = 1000


class Fetcher:
    """Save results into a folder.

    Args:
        exchange: What performs the calls.
        settings: Timeout and retries.
        folder: The folder; it is made if it is not there.
        at_once: Results that are fetched at the same time.

    """

    def __init__(
        self, exchange: Exchange, settings: Settings, folder: Path, *, at_once: int
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        # As it is meant now: the program may go elsewhere while jobs run.
        self._folder = folder.absolute()
        self._places = anyio.Semaphore(at_once)
        self._waiting = 0
        self._leftovers = Leftovers(self._folder)

    @property
    def is_full(self) -> bool:
        """Whether so many wait that it is time to let them catch up."""
        return self._waiting >= _MOST_WAITING

    def expect(self) -> None:
        """Count a result that is about to be fetched: its task may take a while to begin."""
        self._waiting += 1

    async def fetch(self, request: GenerationRequest, done: Generation) -> Path:
        """Save the result of a COMPLETED job that was expected.

        The name depends on request and job alone (its suffix on the result), so that what a
        crash has left half done is cleared away and fetched over.
        """
        stem = _stem(request, done)
        place = _download.Place(folder=self._folder, stem=stem)
        try:
            async with self._places:
                await self._leftovers.clear(stem)
                return await _download.save(self._exchange, self._settings, done, place)
        finally:
            self._waiting -= 1

    async def clear(self, request: GenerationRequest, done: Generation) -> None:
        """Remove what a killed process has left of a result that is not fetched again.

        It was being fetched anew because the file was not found where it was noted, and now
        it is: folder or journal have been moved in between.
        """
        await self._leftovers.clear(_stem(request, done))


def _stem(request: GenerationRequest, done: Generation) -> str:
    """Return the name of a result's file without its suffix."""
    base = (request.output_file_name or "generation")[:_LONGEST_NAME]
    return f"{base}-{name_of_id(done.id)}"
