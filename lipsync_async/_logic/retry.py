"""When a failed call is tried again, and after how long.

The kind of a failure decides: never delivered (try again), refused for the rate (try again,
not before the service said), outcome unknown (try again only a call that may be repeated) and
final. The lack of a slot is a kind of its own: it is waited for elsewhere
(`_rate_limits.py`), and does not use up the patience meant for failures.

`backoff_delays` is a generator without a clock: it yields the seconds to wait before each try,
is sent what went wrong and when, and returns when it is time to give up.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING

import attrs
import backoff

from lipsync_async._callsite import is_from_callback
from lipsync_async.errors import (
    BatchLimitError,
    ConcurrencyLimitError,
    ConnectError,
    ConnectionLostError,
    DecodeError,
    LipsyncError,
    RateLimitError,
    RequestTimeoutError,
    ResponseError,
    is_no_answer,
    is_unsettled_code,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from lipsync_async._models.policies import RetryPolicy


# Statuses of 500 and more that say for certain that nothing was done, and never will be.
# Every other, known or not, may come from a proxy that has lost the service's answer, as does a
# request timeout.
_NEVER_DONE = frozenset({501, 505})
_REQUEST_TIMEOUT = 408
_FIRST_SERVER_ERROR = 500

# A told pause that is longer than this is a mistake, and is not kept by a call that may wait
# without a limit; any other has given up by then.
LONGEST_TOLD = 3600.0


class FailureKind(Enum):
    """What a failed try means for the next one."""

    NEVER_DELIVERED = auto()
    RATE_LIMITED = auto()
    NO_FREE_SLOT = auto()
    OUTCOME_UNKNOWN = auto()
    FINAL = auto()


_KINDS: dict[type[LipsyncError], FailureKind] = {
    ConnectError: FailureKind.NEVER_DELIVERED,
    ConnectionLostError: FailureKind.OUTCOME_UNKNOWN,
    RequestTimeoutError: FailureKind.OUTCOME_UNKNOWN,
    RateLimitError: FailureKind.RATE_LIMITED,
    ConcurrencyLimitError: FailureKind.NO_FREE_SLOT,
    BatchLimitError: FailureKind.NO_FREE_SLOT,
}
_NEVER_REPEATED = {FailureKind.FINAL, FailureKind.NO_FREE_SLOT}


@attrs.frozen(slots=True)
class Failure:
    """One failed try.

    Attributes:
        kind: What it means for the next one.
        elapsed: Seconds since the call began.
        retry_after: Seconds that the service asked to wait.
    """

    kind: FailureKind
    elapsed: float
    retry_after: float | None = None


def classify(error: LipsyncError) -> FailureKind:
    """Return the kind of failure that an error stands for; a callback's own is final."""
    if is_from_callback(error) or (isinstance(error, ConnectError) and error.is_lasting):
        return FailureKind.FINAL
    for family, kind in _KINDS.items():
        if isinstance(error, family):
            return kind
    if isinstance(error, DecodeError):
        # No JSON at all: it was cut off or replaced on its way. A wrong shape stays wrong.
        return FailureKind.FINAL if error.paths else FailureKind.OUTCOME_UNKNOWN
    if isinstance(error, ResponseError) and is_unknown_outcome(error.status, error.code):
        return FailureKind.OUTCOME_UNKNOWN if error.is_retryable else FailureKind.FINAL
    return FailureKind.FINAL


def is_unknown_outcome(status: int, code: str | None) -> bool:
    """Tell whether an answer leaves open if the call has had its effect."""
    is_server_error = status >= _FIRST_SERVER_ERROR and status not in _NEVER_DONE
    is_unclear = status == _REQUEST_TIMEOUT or is_no_answer(status)
    return is_server_error or is_unclear or is_unsettled_code(code)


def failure_of(error: LipsyncError, *, elapsed: float, most_told: float = LONGEST_TOLD) -> Failure:
    """Return a try's failure."""
    told = error.retry_after if isinstance(error, ResponseError) else None
    return Failure(classify(error), elapsed, None if told is None else min(told, most_told))


def may_have_worked(error: LipsyncError) -> bool:
    """Tell whether the try that ended so may have had its effect.

    The transport knows of one whose client was closed meanwhile.
    """
    if is_from_callback(error):
        return False
    is_unknown = isinstance(error, DecodeError) or classify(error) is FailureKind.OUTCOME_UNKNOWN
    return is_unknown or error.may_have_worked


def backoff_delays(
    policy: RetryPolicy, *, is_repeatable: bool, attempts: int | None = None
) -> Generator[float, Failure, None]:
    """Yield the seconds to wait before each try, the first included (0)."""
    growing = backoff.expo(factor=policy.first_pause, max_value=policy.longest_pause)
    next(growing)  # backoff's generators are primed by one step
    latest = inf if policy.give_up_after is None else policy.give_up_after
    failure = yield 0.0
    for _ in range((attempts or policy.attempts) - 1):
        is_unknown = failure.kind is FailureKind.OUTCOME_UNKNOWN
        if failure.kind in _NEVER_REPEATED or (is_unknown and not is_repeatable):
            return
        grown = next(growing)
        pause = float(backoff.full_jitter(grown))
        if failure.kind is FailureKind.RATE_LIMITED:  # a pace that is not told is kept in full
            pause += grown
        pause = max(pause, failure.retry_after or 0.0)
        if failure.elapsed + pause > latest:
            return
        failure = yield pause
