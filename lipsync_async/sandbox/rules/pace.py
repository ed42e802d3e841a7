"""What a client is told about time when the sandbox's clock is faster than the client's.

Jobs, limits and the lifetimes of links go by the sandbox's clock. A client that is told to
wait waits by its own; so whatever is said about waiting is said in real seconds. It is
rounded up, since who comes back too early is refused once more.
"""

from __future__ import annotations

import math

_MILLISECONDS = 1000
_NOISE_DIGITS = 6  # of a product of floats; without this, 0.07 s would become 71 ms


def real_seconds(seconds: float, speed: float) -> float:
    """Return sandbox seconds as real ones, for a JSON field, which takes fractions.

    Args:
        seconds: Seconds of the sandbox's clock.
        speed: Sandbox seconds in a real second.

    """
    milliseconds = round(seconds / speed * _MILLISECONDS, _NOISE_DIGITS)
    return math.ceil(milliseconds) / _MILLISECONDS


def retry_after(seconds: float, speed: float) -> str:
    """Return sandbox seconds as the value of a `Retry-After` header.

    The header takes whole seconds only. One that would be 0 is 1: clients without the
    header fall back to pauses of their own, which are longer still.

    Source: RFC 9110, section 10.2.3.
    """
    return str(max(math.ceil(real_seconds(seconds, speed)), 1))
