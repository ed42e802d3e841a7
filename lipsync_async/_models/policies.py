"""How patient a client is, and how much it may ask for: frozen, and checked at birth."""

from __future__ import annotations

import sys
from typing import Any, TypeGuard

import attrs

# Python refuses to write larger numbers than some thousand digits.
_LONGEST_SHOWN = 10**30


def _is_number(value: object) -> TypeGuard[float]:
    """Tell whether it is one that can be reckoned with: no `Decimal`, and `True` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    """Return a short text for a message; an odd value shows its type only."""
    is_plain = value is None or type(value) in {str, bool, float}
    is_short = type(value) is int and abs(value) < _LONGEST_SHOWN
    return repr(value)[:60] if is_plain or is_short else type(value).__name__


def _positive(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse what is no number above 0; patience may be without a limit, a pause may not."""
    is_patience = attribute.metadata.get("none") == "ok"
    if value is None and is_patience:
        return
    if not _is_number(value):
        message = f"{attribute.name} must be a number of seconds, not {_shown(value)}"
        raise ValueError(message)
    if not value > 0:
        message = f"{attribute.name} must be greater than 0, not {_shown(value)}"
        raise ValueError(message)
    if not is_patience and value > sys.float_info.max:
        message = f"{attribute.name} must be finite, not {_shown(value)}"
        raise ValueError(message)


def _at_least(lowest: float, *, kind: type = float) -> Any:
    """Return a check for a finite number, or for a whole one, that has a lowest value."""
    what = "whole number" if kind is int else "finite number"

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        is_fit = _is_number(value) and (kind is float or isinstance(value, int))
        if not is_fit or not lowest <= value <= sys.float_info.max:  # type: ignore[operator]
            message = f"{attribute.name} must be a {what} from {lowest}, not {_shown(value)}"
            raise ValueError(message)

    return check


def _held_open(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Keep to the range that the service allows (contract section 2.6)."""
    is_held = _is_number(value) and 1 <= value <= 10  # noqa: PLR2004 - the service's own range
    if value is not None and not is_held:
        message = f"{attribute.name} must be 1 to 10 seconds or None, not {_shown(value)}"
        raise ValueError(message)


def _flag(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        message = f"{attribute.name} must be True or False, not {_shown(value)}"
        raise ValueError(message)  # noqa: TRY004 - one error for all that is wrong with a policy


def _seconds(default: float | None, *, none: bool = False) -> Any:
    return attrs.field(
        default=default,
        validator=_positive,
        metadata={"none": "ok" if none else ""},
    )


@attrs.frozen(slots=True, kw_only=True)
class RetryPolicy:
    """Say how failed requests are tried again.

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

    """

    attempts: int = attrs.field(default=6, validator=_at_least(1, kind=int))
    first_pause: float = _seconds(1.0)
    longest_pause: float = _seconds(30.0)
    give_up_after: float | None = _seconds(300.0, none=True)
    slot_timeout: float | None = _seconds(3600.0, none=True)


@attrs.frozen(slots=True, kw_only=True)
class PollPolicy:
    """Say how a waiting client looks after its job.

    While the service honours the long poll, a look lasts until the job moves or
    `long_poll` seconds have passed. Otherwise looks come after pauses that grow from
    `first_interval` by `growth` up to `longest_interval`, each drawn from the upper half
    of its value. When more than four wait at once, one look serves a hundred of them:
    each job is looked at every `shared_interval` seconds, and thousands as often as 600
    requests a minute allow.

    Args:
        first_interval: Seconds before the second look (the first comes at once).
        growth: Factor from each pause to the next, at least 1.
        longest_interval: Longest pause in seconds.
        long_poll: Seconds that one look may be held open by the service, 1 to 10;
            `None`: never ask for it.
        progress: Also ask for `progress_percent`. The service does not combine it with
            the long poll, nor with looks that serve many, so looks are then spaced by the
            pauses.
        shared_interval: Seconds between two looks at a job when many wait at once. Half of
            it is how late an end is seen on average; 0.5 makes 120 requests a minute for
            up to 100 jobs.
        missing_grace: Seconds after the wait began in which "no such generation" is
            taken for a create that has not spread yet.

    Source: contract sections 2.6, 2.8 and 5.1.
    """

    first_interval: float = _seconds(1.0)
    growth: float = attrs.field(default=1.5, validator=_at_least(1))
    longest_interval: float = _seconds(10.0)
    long_poll: float | None = attrs.field(
        default=10.0,
        validator=_held_open,
    )
    progress: bool = attrs.field(default=False, validator=_flag)
    shared_interval: float = _seconds(0.5)
    missing_grace: float = attrs.field(default=10.0, validator=_at_least(0))


def _whole(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse what is no number of requests; `None` is no limit."""
    if value is not None and (type(value) is not int or value < 1):
        message = f"{attribute.name} must be a whole number above 0 or None, not {_shown(value)}"
        raise ValueError(message)


@attrs.frozen(slots=True, kw_only=True)
class Limits:
    """Say how much a client may ask for.

    What exceeds a limit waits for its turn and is then sent; no `timeout` counts that
    wait. A few (20) go at once, the rest evenly. A refusal by the service (429) makes a
    limit stricter for some minutes, and stops what it limits for as long as the service
    asks, but no longer than a minute or `RetryPolicy.give_up_after`. Waiting for longer than
    a second, and each such stop, is told in the log (INFO) with the setting's name.

    The clients of a process that have the same key and address share all of it, in any
    thread or event loop, for as long as the process lives. If their limits differ, the
    lowest of those that ask just then counts for all; one without a limit neither waits nor
    counts. Another process has its own, so it is to be given a share.

    Args:
        creates_per_minute: Orders in any 60 seconds; `None`: no limit of ours.
        requests_per_minute: All other requests in any 60 seconds; `None`: no limit of
            ours.
        concurrent_generations: Jobs that run at once, whether ordered by `create`, `run` or
            `run_many`; `None`: learn it from the service. A job keeps its slot until a look
            of this process shows its end. Jobs that no wait looks after are looked at when a
            create lacks a slot.

    Source: contract sections 5.1 and 5.2.
    """

    creates_per_minute: int | None = attrs.field(default=60, validator=_whole)
    requests_per_minute: int | None = attrs.field(default=600, validator=_whole)
    concurrent_generations: int | None = attrs.field(default=None, validator=_whole)
