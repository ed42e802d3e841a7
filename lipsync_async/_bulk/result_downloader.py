"""Downloads results, a few at once: they are large, and share one connection to the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from lipsync_async import _download
from lipsync_async._logic.media_types import name_of_id
from lipsync_async._part_file import StalePartFiles

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._models.response import Generation
    from lipsync_async._requester import Requester, RequestOptions

# A job's name may have 255 characters, which is all that file systems take.
_MAX_NAME = 150
# Results that may wait to be downloaded before no more requests are started.
_MAX_WAITING = 1000


class ResultDownloader:
    """Downloader of results into a folder."""

    def __init__(
        self, requester: Requester, settings: RequestOptions, folder: Path, *, at_once: int
    ) -> None:
        self._requester = requester
        self._settings = settings
        # The program may change its working directory while jobs run.
        self._folder = folder.absolute()
        self._slots = anyio.Semaphore(at_once)
        self._waiting = 0
        self._leftovers = StalePartFiles(self._folder)

    @property
    def is_full(self) -> bool:
        """Whether so many wait that the run should wait for them."""
        return self._waiting >= _MAX_WAITING

    def announce(self) -> None:
        """Count a result that is about to be downloaded: its task may start a while later."""
        self._waiting += 1

    async def download(self, request: GenerationRequest, completed: Generation) -> Path:
        """Save the result of a COMPLETED job that was announced.

        The name depends on request and job alone (its suffix on the result), so that what a
        crash has left half done is removed and downloaded again.
        """
        stem = _stem(request, completed)
        place = _download.Target(folder=self._folder, stem=stem)
        try:
            async with self._slots:
                await self._leftovers.clear(stem)
                return await _download.save(self._requester, self._settings, completed, place)
        finally:
            self._waiting -= 1

    async def clear(self, request: GenerationRequest, completed: Generation) -> None:
        """Remove what a killed process has left of a result that is not downloaded again.

        It was being downloaded anew because the file was not found where the journal said, and
        now it is there: folder or journal have been moved in between.
        """
        await self._leftovers.clear(_stem(request, completed))


def _stem(request: GenerationRequest, completed: Generation) -> str:
    """Return the name of a result's file without its suffix."""
    base = (request.output_file_name or "generation")[:_MAX_NAME]
    return f"{base}-{name_of_id(completed.id)}"
