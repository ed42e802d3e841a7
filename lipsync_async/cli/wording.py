"""Numbers as people read them: times, sizes, rates."""

from __future__ import annotations

_MINUTE, _HOUR = 60, 3600
_KILO, _MEGA, _GIGA = 1e3, 1e6, 1e9
# Longer times are read in minutes.
_MOST_SECONDS = 100.0


def clock(seconds: float) -> str:
    """Return a time as `m:ss`, or `h:mm:ss`."""
    whole = round(seconds)
    minutes = f"{whole % _HOUR // _MINUTE}:{whole % _MINUTE:02}"
    return f"{whole // _HOUR}:{minutes:0>5}" if whole >= _HOUR else minutes


def duration(seconds: float) -> str:
    """Return a time to a tenth of a second, or by the clock if it is long."""
    return f"{seconds:.1f} s" if seconds < _MOST_SECONDS else clock(seconds)


def size(count: int) -> str:
    """Return a number of bytes in a unit that fits."""
    if count < _MEGA:
        return f"{count / _KILO:.1f} kB"
    return f"{count / _MEGA:.1f} MB" if count < _GIGA else f"{count / _GIGA:.1f} GB"


def rate(per_second: float, nouns: str = "") -> str:
    """Return how many in a second or, where those are few, in a minute."""
    number, unit = (per_second, "s") if per_second >= 1 else (per_second * _MINUTE, "min")
    return f"{number:.1f}{nouns and f' {nouns}'}/{unit}"


def plural(count: int, noun: str) -> str:
    """Return a number and what is counted."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
