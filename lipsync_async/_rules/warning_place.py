"""Whose line a warning shows: the user's, also when the code runs in another thread."""

from __future__ import annotations

import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

# The user's frame, where a blocking call hands the work to an event loop in another
# thread. There, the stack below the running code leads to the loop, not to the user.
CALLER: ContextVar[FrameType | None] = ContextVar("CALLER", default=None)


def warn(message: str, category: type[Warning], *, stacklevel: int) -> None:
    """Warn at the user's line.

    Args:
        message: What to say.
        category: The warning's class.
        stacklevel: Without a known caller: 1 is the line that calls this function.

    """
    caller = CALLER.get()
    if caller is None:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
        return
    warnings.warn_explicit(
        message,
        category,
        filename=caller.f_code.co_filename,
        lineno=caller.f_lineno,
        module=caller.f_globals.get("__name__", "<unknown>"),
        registry=caller.f_globals.setdefault("__warningregistry__", {}),
    )
