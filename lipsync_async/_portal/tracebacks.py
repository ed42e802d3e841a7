"""Tracebacks that show the caller's line and the failing line, and no plumbing."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from lipsync_async._portal.errands import Errand
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PORTAL = str(Path(__file__).parent)
_ERRAND = Errand.run.__code__


def shorten(error: BaseException) -> None:
    """Take the frames that help nobody off an error that comes out of the loop.

    Of an error of this package, the line that raised it is left. Of an error in a user's
    own callback, all of the callback. Anything else is a surprise, and keeps all frames
    but those of the portal.
    """
    steps = list(_steps(error.__traceback__))
    errands = [number for number, step in enumerate(steps) if step.tb_frame.f_code is _ERRAND]
    if errands:
        steps = steps[errands[-1] + 1 :]
    elif isinstance(error, LipsyncError):
        steps = steps[-1:]
    else:
        steps = [step for step in steps if not _is_portal(step)]
    error.with_traceback(_chained(steps))  # a frozen exception cannot be assigned to


def _steps(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_portal(step: TracebackType) -> bool:
    return step.tb_frame.f_code.co_filename.startswith(_PORTAL)


def _chained(steps: list[TracebackType]) -> TracebackType | None:
    chain: TracebackType | None = None
    for step in reversed(steps):
        chain = TracebackType(chain, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return chain
