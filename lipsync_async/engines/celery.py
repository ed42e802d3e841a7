"""Generations as tasks of Celery.

A task that is run again, by a retry, by a redelivery or because its worker was lost, has the same
Idempotency-Key and attaches to the job that exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import Reject  # type: ignore[import-untyped]

from lipsync_async._models.request import GenerationRequest
from lipsync_async._sync.client import Client
from lipsync_async.engines import MAX_RETRIES, key_of, made_once, retry_delay, should_retry
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lipsync_async._models.response import Generation


def generation_task(
    app: Any,
    make_client: Callable[[], Client] = Client,
    *,
    name: str = "lipsync_async.generate",
    on_complete: Callable[[Client, Generation], Any] | None = None,
    **settings: Any,
) -> Any:
    """Return a task that runs one generation.

    Its arguments: `request`, from `GenerationRequest.to_json`; `key`, your own name for it
    (default: made of the task's id, which retries keep); others go to `generations.run`, such as
    `timeout`. It is acknowledged at its end, so that another worker gets it if this one is lost.

    Args:
        app: The Celery app, with `worker_settings`.
        make_client: Makes the client, once in each process, after the fork.
        name: The task's name.
        on_complete: Called with the client and the COMPLETED job, perhaps more than once; its
            return value is the task's result. `None`: the result is the job's `to_dict()`.
        settings: For `app.task`, such as `max_retries`.

    Example:
        `generation_task(app).delay(request.to_json(), key="episode-7")`
    """
    client = made_once(make_client)
    kept = {"acks_late": True, "reject_on_worker_lost": True, "max_retries": MAX_RETRIES}

    @app.task(bind=True, name=name, **(kept | settings))  # type: ignore[untyped-decorator]
    def generate(task: Any, request: str, key: str | None = None, **more: Any) -> Any:
        own = ("celery", task.request.id) if key is None else (key,)
        try:
            asked = GenerationRequest.from_json(request)
            job = client().generations.run(asked, idempotency_key=key_of(*own), **more)
            return job.to_dict() if on_complete is None else on_complete(client(), job)
        except LipsyncError as error:
            if should_retry(error):
                try:
                    raise task.retry(exc=error, countdown=retry_delay(task.request.retries))
                except Reject as unsent:  # the broker takes no message: keep the one that it has
                    raise Reject(unsent.reason, requeue=True) from error
            raise

    return generate


def worker_settings(*, visibility_timeout: float = 900.0) -> dict[str, Any]:
    """Return the settings of a worker beside those of the task, for `app.conf.update`.

    Args:
        visibility_timeout: Seconds after which a task that no worker has acknowledged is delivered
            again, with Redis; more than 0. The tasks of a lost machine go on after this time. For
            a job that takes longer, a second worker waits, too: each delivery costs one create of
            the account's limit, and no money.
    """
    return {
        "worker_prefetch_multiplier": 1,  # a worker takes no task that it cannot begin
        # Redis is asked every 10 seconds what is to be delivered again, not every 100.
        "broker_transport_options": {
            "visibility_timeout": visibility_timeout,
            "unacked_restore_throttle": 1,
        },
    }
