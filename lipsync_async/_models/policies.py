"""Retry, polling and rate-limit settings: immutable, validated on construction."""

from __future__ import annotations

import sys
from math import inf
from typing import Any

import attrs
from attrs.validators import optional

# Python refuses to write larger numbers than some thousand digits.
_LONGEST_SHOWN = 10**30


@attrs.frozen(slots=True)
class _Right:
    """Validator of an attribute of a policy.

    Attributes:
        right: What would be right.
        lowest: The least that is right; `above`: the least that is not.
        highest: The most that is right.
        kinds: Types that are right. No `Decimal`; and `True` is no number.

    """

    right: str
    lowest: float = -inf
    above: float = -inf
    highest: float = sys.float_info.max
    kinds: tuple[type, ...] = (int, float)

    def __call__(self, _: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        """Refuse anything else.

        Raises:
            ValueError: It is something else.

        """
        is_kind = isinstance(value, self.kinds) and isinstance(value, bool) == (bool in self.kinds)
        if not is_kind or not self.lowest <= value <= self.highest or not self.above < value:
            message = f"{attribute.name} must be {self.right}, not {_shown(value)}"
            raise ValueError(message)


def _shown(value: object) -> str:
    """Return a short text for a message; an odd value shows its type only."""
    is_plain = value is None or type(value) in {str, bool, float}
    is_short = type(value) is int and abs(value) < _LONGEST_SHOWN
    return repr(value)[:60] if is_plain or is_short else type(value).__name__


_PAUSE = _Right("a finite number of seconds greater than 0", above=0)
_PATIENCE: Any = optional(
    _Right("a number of seconds greater than 0 or None", above=0, highest=inf)
)
_HELD: Any = optional(_Right("1 to 10 seconds or None", lowest=1, highest=10))
_COUNT: Any = optional(_Right("a whole number above 0 or None", lowest=1, kinds=(int,)))


@attrs.frozen(slots=True, kw_only=True)
class RetryPolicy:
    """How failed requests are tried again.

    The pause before try *n* + 1 is drawn evenly from 0 to
    `min(longest_pause, first_pause * 2**(n-1))` ("full jitter"), and is never shorter
    than what the service asked for by `Retry-After`.

    Args:
        attempts: Tries in all, the first included; 1: never retry. The polls of a waiting
            client, and with the default also the creates of `run_many`, are limited by
            `give_up_after` alone.
        first_pause: Upper end of the first pause, in seconds.
        longest_pause: Upper end of every later pause, in seconds. A longer
            `Retry-After` is obeyed, up to an hour.
        give_up_after: Seconds after the call began at which no new try is started;
            `None`: no limit.
        slot_timeout: Seconds for which others may have all of the account's slots before a
            create that waits for one is given up. That is no failure and uses up neither
            `attempts` nor `give_up_after`. It counts from the last of this process's creates
            that was accepted, and while jobs of this process run, two hours more. `None`: no
            limit.
        batch_timeout: Seconds for which `batches.create` waits until a batch has ended, when as
            many run as the plan allows. That is no failure either. It counts from the last
            batch that this client has created while others waited. `None`: no limit.

    """

    attempts: int = attrs.field(
        default=6, validator=_Right("a whole number from 1", lowest=1, kinds=(int,))
    )
    first_pause: float = attrs.field(default=1.0, validator=_PAUSE)
    longest_pause: float = attrs.field(default=30.0, validator=_PAUSE)
    give_up_after: float | None = attrs.field(default=300.0, validator=_PATIENCE)
    slot_timeout: float | None = attrs.field(default=3600.0, validator=_PATIENCE)
    batch_timeout: float | None = attrs.field(default=86_400.0, validator=_PATIENCE)


@attrs.frozen(slots=True, kw_only=True)
class PollPolicy:
    """How a waiting client polls its job.

    While the service honours the long poll, a poll lasts until the job moves or
    `long_poll` seconds have passed. Otherwise polls come after pauses that grow from
    `initial_interval` by `backoff_factor` up to `max_interval`, each drawn from the upper
    half of its value. A wait that starts while more than four wait shares its polls with
    the others: one shows up to a hundred jobs, each job is polled every `shared_interval`
    seconds, and thousands as often as 600 requests a minute allow. Of four jobs or fewer each
    is polled as by a wait for it alone, while the service honours the long poll.

    Args:
        initial_interval: Seconds before the second poll (the first comes at once).
        backoff_factor: Factor from each pause to the next, at least 1.
        max_interval: Longest pause in seconds.
        long_poll: Seconds that one poll may be held open by the service, 1 to 10;
            `None`: never ask for it.
        progress: Also ask for `progress_percent`. The service does not combine it with
            the long poll, nor with shared polls, so polls are then spaced by the pauses.
        shared_interval: Seconds between two polls of a job when polls are shared. Half of
            it is how late an end is seen on average; 0.5 makes 120 requests a minute for
            up to 100 jobs. The last four jobs are polled by the long poll: an end is seen
            at once or, in the 2 seconds that the service asks for between two, after them.
        not_found_grace: Seconds after the wait began in which "no such generation" is
            ignored: a create may not have spread yet. It is logged (INFO).

    Source: "Get generation" and "List generations", sync.so API reference.
    """

    initial_interval: float = attrs.field(default=1.0, validator=_PAUSE)
    backoff_factor: float = attrs.field(
        default=1.5, validator=_Right("a finite number from 1", lowest=1)
    )
    max_interval: float = attrs.field(default=10.0, validator=_PAUSE)
    long_poll: float | None = attrs.field(default=10.0, validator=_HELD)
    progress: bool = attrs.field(default=False, validator=_Right("True or False", kinds=(bool,)))
    shared_interval: float = attrs.field(default=0.5, validator=_PAUSE)
    not_found_grace: float = attrs.field(
        default=10.0, validator=_Right("a finite number from 0", lowest=0)
    )


@attrs.frozen(slots=True, kw_only=True)
class Limits:
    """How much a client may ask for.

    A request above a limit waits for its turn, and is then sent. The client's `timeout` does
    not count that wait. A few requests (20) are sent at once, the others evenly. After a
    refusal by the service (429), the client lowers that limit for some minutes. It sends no
    request under that limit for as long as the service asks, but at most a minute (for voices:
    an hour) or `RetryPolicy.give_up_after`. A wait of more than a second, and each such stop,
    is logged (INFO) with the setting's name.

    The clients of a process that have the same key and address share the limits, in any
    thread or event loop, for as long as the process lives. If their limits differ, the lowest
    of the waiting clients counts for all. A client without a limit neither waits nor counts.
    Other processes are counted where all have the same `account=`; otherwise give each a part.

    Args:
        creates_per_minute: Creates in any 60 seconds; `None`: no limit of ours.
        requests_per_minute: All other requests in any 60 seconds, those below included;
            `None`: no limit of ours.
        concurrent_generations: Jobs that run at once, whether created by `create`, `run` or
            `run_many`; `None`: learn it from the service. A job keeps its slot until a poll
            of this process shows its end. Jobs that no wait watches are polled when a create
            lacks a slot. `client.account.get()` tells it as well, where the service says it.
        uploads_per_minute: Files whose upload begins in any 60 seconds; `None`: no limit of
            ours.
        speeches_per_minute: Scripts that become speech in any 60 seconds: so many by
            `speech.create`, and as many by `speech.start`; `None`: no limit of ours.
        voices_per_hour: Voices that are cloned in any hour; `None`: no limit of ours. One more
            waits for its turn, up to an hour.
        feedback_per_minute: Reports of feedback in any 60 seconds; `None`: no limit of ours.

    Source: "Rate limits", sync.so documentation.
    """

    creates_per_minute: int | None = attrs.field(default=60, validator=_COUNT)
    requests_per_minute: int | None = attrs.field(default=600, validator=_COUNT)
    concurrent_generations: int | None = attrs.field(default=None, validator=_COUNT)
    uploads_per_minute: int | None = attrs.field(default=120, validator=_COUNT)
    speeches_per_minute: int | None = attrs.field(default=60, validator=_COUNT)
    voices_per_hour: int | None = attrs.field(default=10, validator=_COUNT)
    feedback_per_minute: int | None = attrs.field(default=30, validator=_COUNT)
