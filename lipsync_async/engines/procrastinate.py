"""Generations as tasks of Procrastinate, a task queue in PostgreSQL."""

from __future__ import annotations

from asyncio import CancelledError, current_task
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from procrastinate import App, BaseRetryStrategy, JobContext, RetryDecision, exceptions, jobs
from procrastinate.job_context import AbortReason

from lipsync_async._async.client import AsyncClient
from lipsync_async._models.request import GenerationRequest
from lipsync_async.engines import MAX_RETRIES, key_of, made_once, retry_delay, should_retry
from lipsync_async.errors import LipsyncError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class GenerationRetry(BaseRetryStrategy):
    """Retry of tasks whose error another try can avoid, and of those that a worker stopped."""

    def get_retry_decision(self, *, exception: Any, job: jobs.Job) -> RetryDecision | None:
        """Return when to try again, after `retry_delay` seconds or at once; `None`: never."""
        if job.attempts < MAX_RETRIES and should_retry(exception):
            return RetryDecision(retry_in={"seconds": retry_delay(job.attempts)})
        return RetryDecision() if isinstance(exception, CancelledError) else None


def generation_task(
    app: App,
    make_client: Callable[[], AsyncClient] = AsyncClient,
    *,
    name: str = "lipsync_async.generate",
    on_complete: Callable[..., Awaitable[Any]] | None = None,
    rescue_cron: str = "* * * * *",
    stalled_after: float = 30.0,
    **settings: Any,
) -> Any:
    """Return a task that runs a generation; register one that queues tasks of lost workers again.

    Its arguments: `request`, from `GenerationRequest.to_json`; `key`, your name for it (default:
    of Procrastinate's id and the request); and those of `generations.run`, such as `timeout`.

    Args:
        app: The Procrastinate app.
        make_client: Makes the client, once in each process.
        name: The task's name.
        on_complete: Awaited with the client and the COMPLETED job, perhaps more than once; its
            value is the task's result. `None`: the result is the job's `to_dict()`.
        rescue_cron: When a worker looks for tasks of lost workers: by default, every minute.
        stalled_after: Seconds without a heartbeat after which a worker is lost; above its interval.
        settings: For `app.task`, such as `queue`.
    """
    client = made_once(make_client)

    @app.task(name=name, pass_context=True, **({"retry": GenerationRetry()} | settings))
    async def run(task: JobContext, /, request: str, key: str | None = None, **more: Any) -> Any:
        own = ("procrastinate", name, f"{task.job.id}", request) if key is None else (key,)
        try:
            asked = GenerationRequest.from_json(request)
            job = await client().generations.run(asked, idempotency_key=key_of(*own), **more)
            return job.to_dict() if on_complete is None else await on_complete(client(), job)
        except (CancelledError, LipsyncError) as error:
            if isinstance(error, CancelledError) and not current_task().cancelling():  # type: ignore[union-attr]
                raise RuntimeError("on_complete was cancelled, but this task was not") from error
            is_unwanted = task.abort_reason() is AbortReason.USER_REQUEST
            retry = GenerationRetry().get_retry_decision(exception=error, job=task.job)
            if is_unwanted or (retry and await _is_queued_again(task.app, task.job)):
                raise exceptions.JobAborted from error
            raise

    @app.periodic(cron=rescue_cron)
    @app.task(name=f"{name}.rescue", queueing_lock=f"{name}.rescue", pass_context=True)
    async def rescue(task: JobContext, /, timestamp: int) -> None:  # noqa: ARG001 - it is passed
        at, age = task.app.job_manager, stalled_after
        for job in await at.get_stalled_jobs(task_name=name, seconds_since_heartbeat=age):
            with suppress(exceptions.UniqueViolation):  # another job has its queueing lock: later
                is_again, end = await _is_queued_again(task.app, job), jobs.Status.ABORTED
                await (at.finish_job(job, end, delete_job=False) if is_again else at.retry_job(job))

    return run


async def _is_queued_again(app: App, job: jobs.Job) -> bool:
    """Tell whether the same request is queued under its queueing lock, so that it must not be."""
    lock = job.task_kwargs.get("key") and job.queueing_lock
    found = await app.job_manager.list_jobs_async(queueing_lock=lock, status="todo") if lock else ()
    return any(each.task_kwargs == job.task_kwargs for each in found)
