"""What comes of many requests: an outcome each, and how far they are together."""

from __future__ import annotations

from pathlib import Path

import attrs

from lipsync_async._values.inputs import GenerationRequest
from lipsync_async._values.models import Generation
from lipsync_async.errors import LipsyncError


@attrs.define(slots=True, kw_only=True)
class Outcome:
    """Hold what came of one request.

    Attributes:
        index: The request's place in the input, from 0.
        request: The request.
        generation: The job as last seen; `None` if there is none, or none is known.
        error: Why there is no result; `None`: the job is COMPLETED, and downloaded if
            that was asked for.
        path: Where the result was saved; `None` if it was not.
        resumed: Whether an earlier run with the same journal has brought the job to its end.

    """

    index: int
    request: GenerationRequest
    generation: Generation | None = None
    error: LipsyncError | None = None
    path: Path | None = None
    resumed: bool = False

    @property
    def is_success(self) -> bool:
        """Whether all went well."""
        return self.error is None


@attrs.frozen(slots=True, kw_only=True)
class Progress:
    """Say how far many requests are.

    Attributes:
        total: Requests in all; `None` while an input without `len` has not ended.
        running: Jobs that were accepted and have not ended.
        succeeded: Outcomes without an error.
        failed: Outcomes with one.
        elapsed: Seconds since the beginning.
        rate: Outcomes a second so far, those left out that are `resumed`.
        eta: Seconds until the end at that rate; `None`: not known yet.

    """

    total: int | None
    running: int
    succeeded: int
    failed: int
    elapsed: float
    rate: float
    eta: float | None

    @property
    def done(self) -> int:
        """Outcomes so far."""
        return self.succeeded + self.failed
