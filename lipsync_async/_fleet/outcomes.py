"""What comes of many requests: an outcome each, and how far they are together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from lipsync_async._rules.reasons import reason_of
from lipsync_async._values.inputs import GenerationRequest
from lipsync_async._values.models import Generation
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    from collections.abc import Iterable


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
        ended_by: Why nothing more is begun: the error that a limit, a dead key, `stop_on_error`,
            the input or the journal has raised. `None`: nothing has stopped the run.

    """

    total: int | None
    running: int
    succeeded: int
    failed: int
    elapsed: float
    rate: float
    eta: float | None
    ended_by: Exception | None = None

    @property
    def done(self) -> int:
        """Outcomes so far."""
        return self.succeeded + self.failed


@attrs.frozen(slots=True, kw_only=True)
class FailureGroup:
    """Hold requests that failed for the same reason.

    Attributes:
        reason: Why, in one line; no id, key or address is in it.
        count: How many there are.
        indices: Their places in the input, from 0, in rising order.
        error: The error of the first of them.

    """

    reason: str
    count: int
    indices: tuple[int, ...]
    error: LipsyncError


def group_failures(outcomes: Iterable[Outcome]) -> list[FailureGroup]:
    """Group the outcomes that have an error by the reason; the largest group comes first.

    Args:
        outcomes: Outcomes in any order; those without an error are passed over.

    Example:
        `for group in group_failures(outcomes): print(group.count, group.reason)`

    """
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            groups.setdefault(reason_of(outcome.error), []).append(outcome)
    found = [_group(reason, failed) for reason, failed in groups.items()]
    return sorted(found, key=lambda group: (-group.count, group.indices))


def _group(reason: str, failed: list[Outcome]) -> FailureGroup:
    indices = sorted(outcome.index for outcome in failed)
    first = next(outcome.error for outcome in failed if outcome.index == indices[0])
    assert first is not None  # noqa: S101 - only failures are here
    return FailureGroup(reason=reason, count=len(indices), indices=tuple(indices), error=first)
