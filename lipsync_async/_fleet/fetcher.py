"""Fetches results, a few at once: they are large, and the line is shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from lipsync_async import _download
from lipsync_async._part_file import Leftovers
from lipsync_async._rules.media_types import name_of_id

# A job's name may have 255 characters, which is all that file systems take.
_LONGEST_NAME = 150
# Results that may wait to be fetched before no more jobs are begun.
_MOST_WAITING = 1000

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async._exchange import Exchange, Settings
    from lipsync_async._values.inputs import GenerationRequest
    from lipsync_async._values.models import Generation


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
        base = (request.output_file_name or "generation")[:_LONGEST_NAME]
        stem = f"{base}-{name_of_id(done.id)}"
        place = _download.Place(folder=self._folder, stem=stem)
        try:
            async with self._places:
                await self._leftovers.clear(stem)
                return await _download.save(self._exchange, self._settings, done, place)
        finally:
            self._waiting -= 1
