"""What task queues need to make one job of each request: its key, and what to try again.

Adapters: `lipsync_async.engines.procrastinate` and `lipsync_async.engines.celery`, which need the
packages of these names. With any other engine, `client.generations.run(request,
idempotency_key=key_of(...))` is the whole task: a repeat with the same key attaches to the job
that exists.
"""

from __future__ import annotations

import json
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from lipsync_async._logic.validation import argument_problems, exact, wrong
from lipsync_async.errors import GenerationFailedError, InvalidRequestError, LipsyncError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Tries after the first of a task that ends with an error each time. Each includes the client's own
# retries, so all take some hours.
MAX_RETRIES = 20
_LONGEST_DELAY = 60  # seconds
_SEPARATOR = "~"


def key_of(*parts: str | int | UUID) -> str:
    """Return the Idempotency-Key of a task from what identifies it, the same for each try.

    The parts are joined by `~`. If they have characters that a key must not have, or are longer
    than 128 characters together, the key is their SHA-256. Different parts make different keys;
    7 and "7" are the same part. Never pass the number of a try: each try would pay for another
    job.

    Args:
        parts: Texts that are not empty, whole numbers or UUIDs, such as the engine's name and its
            id of the task; or one part, a name of your own for the request.

    Raises:
        InvalidRequestError: There is no part, or one is empty or of another type, such as `None`.

    Example:
        `key_of("airflow", dag_id, run_id, task_id, map_index)`

    Source: "Idempotency", sync.so API reference.
    """
    problems = [] if parts else ["parts: must not be empty"]
    for index, part in enumerate[object](parts):
        if not isinstance(part, str | int | UUID) or isinstance(part, bool) or part == "":
            right = "text that is not empty, a whole number or a UUID"
            problems.append(wrong(f"parts[{index}]", right, part))
    if problems:
        raise InvalidRequestError(problems)
    texts = [str(exact(part)) for part in parts]
    key = _SEPARATOR.join(texts)
    if any(_SEPARATOR in text for text in texts) or argument_problems(idempotency_key=key):
        return sha256(json.dumps(texts).encode()).hexdigest()
    return key


def should_retry(error: BaseException) -> bool:
    """Tell whether a task is to be tried again, under the same key.

    True: the create may have worked, no answer came, the service failed or asks to wait (429), the
    account store cannot be used, or a wait has ended before the job. False: the job FAILED or was
    REJECTED, the request was refused, a spending limit is reached, or the error is not one of this
    package.

    Args:
        error: What the task has raised.
    """
    if not isinstance(error, LipsyncError) or isinstance(error, GenerationFailedError):
        return False  # a failed job stays failed under its key
    return error.may_have_worked or error.is_retryable


def retry_delay(retries: int) -> int:
    """Return the seconds before the next try: 1, 2, 4 and so on up to 60.

    Args:
        retries: Tries of the task after the first, so far; 0 or more.
    """
    return min(1 << min(retries, MAX_RETRIES), _LONGEST_DELAY)


def made_once(make: Callable[[], T]) -> Callable[[], T]:
    """Return a function that makes a value at its first call, and returns it to all threads.

    So a worker makes its client in its own process, after the fork. What `make` raises is passed
    on, and the next call makes the value.

    Args:
        make: Makes the value, such as `AsyncClient`.
    """
    lock, made = Lock(), list[T]()

    def get() -> T:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get
