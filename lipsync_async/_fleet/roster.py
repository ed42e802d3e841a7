"""The jobs that run: who is watched, and whose news count."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._values.models import Generation
from lipsync_async.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lipsync_async._fleet.job import Job, News
    from lipsync_async._transport.protocol import Transport
    from lipsync_async._watch.poller import Poller


class Roster:
    """Keep the jobs that run, and have them watched.

    They are told apart by themselves: a service that mixes keys up may give two requests
    one id, and neither is to be waited for in vain.

    Args:
        poller: What looks after them.
        transport: Owner of the time.
        grace: Seconds in which "no such generation" is not believed, of a job that an
            earlier run has left either: that may have been just before.
        tell: Takes what is heard of a job.
        hears_all: Whether each change is heard of, not only ends and errors.

    """

    def __init__(
        self,
        poller: Poller,
        transport: Transport,
        grace: float,
        tell: Callable[[Job, News], None],
        *,
        hears_all: bool,
    ) -> None:
        self._poller = poller
        self._transport = transport
        self._grace = grace
        self._tell = tell
        self._hears_all = hears_all
        self._jobs: dict[Job, None] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job, generation: Generation) -> None:
        """Watch a job from now on."""
        job.id, job.status = generation.id, str(generation.status)
        job.fresh_until = self._transport.now() + self._grace
        self._jobs[job] = None
        if not generation.is_terminal:
            notice = partial(self._notice, job)
            job.watcher = self._poller.join(
                job.id, notice, status=job.status, hears_all=self._hears_all
            )

    def remove(self, job: Job) -> None:
        """Watch a job no more; one that was never accepted is fine."""
        if job.id is not None:
            del self._jobs[job]
        self._unwatch(job)

    def jobs(self) -> list[Job]:
        """Return all that run."""
        return [*self._jobs]

    def _notice(self, job: Job, _: str, news: News) -> None:
        if job not in self._jobs:
            return
        if not isinstance(news, Generation):
            if isinstance(news, NotFoundError) and self._transport.now() < job.fresh_until:
                return  # its create may be too fresh
            # The job's outcome is this error. Looks that fail at once would repeat it without end.
            self._unwatch(job)
        self._tell(job, news)

    def _unwatch(self, job: Job) -> None:
        if job.watcher is not None:
            self._poller.leave(job.watcher)
