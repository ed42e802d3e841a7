"""A cancellation that nobody asked for, which must not end anything in silence.

Who awaits a task that was cancelled gets a `CancelledError`, as if he had been cancelled
himself. A task group believes that and ends as if it had been told to, without an error.
"""

from __future__ import annotations

import asyncio


def stray(error: BaseException, whose: str) -> Exception | None:
    """Return what to raise in place of a cancellation that nobody has asked for.

    Args:
        error: What was caught, in the task in which it was raised.
        whose: What has raised it, for the message.

    Returns:
        An error that says so; `None`: it is no cancellation, or one to be obeyed.

    """
    task = asyncio.current_task()
    is_asked_for = task is not None and task.cancelling() > 0
    if is_asked_for or not isinstance(error, asyncio.CancelledError):
        return None
    return unasked(whose)


def unasked(whose: str) -> RuntimeError:
    """Return the error that a cancellation is which nobody has asked for."""
    return RuntimeError(
        f"{whose} raised CancelledError, though this was not cancelled. Catch it where a task or "
        "a future is awaited that somebody may cancel.",
    )
