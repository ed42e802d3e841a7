# Generated from lipsync_async/_async/batches.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""The service's batches, `client.batches`: hundreds of requests in one, done within a day."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._portal import SyncWrapper, call_in_caller

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Callable, Generator, Iterable
    from datetime import datetime

    from lipsync_async._async.batches import AsyncBatches
    from lipsync_async._bulk.results import Outcome
    from lipsync_async._models.batch import Batch, BatchStatus
    from lipsync_async._models.request import GenerationRequest
    from lipsync_async.webhooks import WebhookReceiver


class Batches(SyncWrapper):
    """Batches of 20 to 500 requests, on plans that have them. Reached as `client.batches`."""

    _source: AsyncBatches

    def create(
        self,
        requests: Iterable[GenerationRequest],
        *,
        request_ids: Iterable[str] | None = None,
        webhook_url: str | None = None,
        journal: str | os.PathLike[str] | None = None,
    ) -> Batch:
        """Create a batch.

        Wire: `POST /v2/batch`, as JSON

        All rows are checked before anything is sent. The service knows no Idempotency-Key for
        batches: a try whose outcome is unknown is not repeated, and `find` names the candidates.

        While as many batches run as the plan allows, it waits, up to `RetryPolicy.batch_timeout`
        (a day): it looks every 30 to 120 s, and sends again when a batch has ended. A refused
        create has made nothing, and nothing is left behind where the wait is cancelled.

        Args:
            requests: 20 to 500 requests with inputs of at most 30 s, at addresses or assets.
            request_ids: A name for each request, to know its result by; `None`: the requests'
                own `request_id`, or `r-0001` and so on.
            webhook_url: Gets a POST when the batch has ended.
            journal: A file of this batch alone, by which it is not created twice after a crash:
                the intent is written before the create is sent, and the id after it. A call with
                the same requests and the same file returns the batch as it is now.

        Raises:
            InvalidRequestError: Rows or arguments are wrong; nothing was sent.
            JournalError: The file cannot be used, or holds a create of unknown outcome. That
                error names the batches that it may have made; nothing was sent.
            PaymentRequiredError: The plan has no batches.
            BatchLimitError: Too many batches ran for `RetryPolicy.batch_timeout`.
            ResponseError: The service refused.
            TransportError: No answer came; `.may_have_worked` says whether the batch may exist.
            DecodeError: The answer cannot be read.

        Source: "Create batch", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.create,
                requests,
                request_ids=request_ids,
                webhook_url=webhook_url,
                journal=journal,
            )
        )

    def validate(
        self, requests: Iterable[GenerationRequest], *, request_ids: Iterable[str] | None = None
    ) -> None:
        """Let the service check a batch; nothing is created, and nothing costs.

        Wire: `POST /v2/batch` with `dry_run`

        Args:
            requests: As for `create`.
            request_ids: As for `create`.

        Raises:
            InvalidRequestError: Rows are wrong; nothing was sent.
            BadRequestError: The service refuses rows; the message names their lines.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.

        Source: "Create batch", sync.so API reference.
        """
        self._portal.call(partial(self._source.validate, requests, request_ids=request_ids))

    def get(self, batch_id: str) -> Batch:
        """Return a batch as it is now.

        Wire: `GET /v2/batch/{id}`

        Args:
            batch_id: Its id.

        Raises:
            InvalidRequestError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such batch.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Get batch", sync.so API reference.
        """
        return self._portal.call(partial(self._source.get, batch_id))

    def list(
        self,
        *,
        status: BatchStatus | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> list[Batch]:
        """Return all batches, newest first.

        Wire: `GET /v2/batch`

        Args:
            status: Only this status.
            created_after: Only those created later; with a time zone.
            created_before: Only those created earlier; with a time zone.

        Raises:
            InvalidRequestError: A filter is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List batches", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.list,
                status=status,
                created_after=created_after,
                created_before=created_before,
            )
        )

    def find(self, *, created_after: datetime, rows: int | None = None) -> builtins.list[Batch]:
        """Return the batches that a create of unknown outcome may have made, newest first.

        Wire: `GET /v2/batch`

        Args:
            created_after: When the create was begun, or a little earlier; with a time zone.
            rows: How many requests it had; `None`: any number.

        Raises:
            LipsyncError: As `list` says.

        Source: "List batches", sync.so API reference.
        """
        return self._portal.call(partial(self._source.find, created_after=created_after, rows=rows))

    def wait_until_complete(
        self,
        batch: Batch | str,
        *,
        timeout: float | None = 86400.0,
        on_update: Callable[[Batch], None] | None = None,
        webhooks: WebhookReceiver | None = None,
    ) -> Batch:
        """Wait until a batch has ended, and return it; some of its generations may have failed.

        Wire: `GET /v2/batch/{id}`, every 30 to 120 s

        Args:
            batch: The batch, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, in the thread that waits, with each changed status.
            webhooks: The receiver that your route passes deliveries to. An event of this batch
                starts a poll at once.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            JobFailedError: The batch failed as a whole.
            JobTimeoutError: The time is up; the batch goes on.
            LipsyncError: Polling failed for good.

        Source: "Get batch", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.wait_until_complete,
                batch,
                timeout=timeout,
                on_update=call_in_caller("on_update", on_update),
                webhooks=webhooks,
            )
        )

    def results(
        self, batch: Batch | str, *, request_ids: Iterable[str] | None = None
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of each request of a batch that has ended, as `run_many` does.

        Wire: `GET /v2/batch/{id}`, then its `outputUrl`, without the API key

        The results are read line by line, as they come. Each outcome names its request by
        `outcome.request.request_id`; the request's other fields are those that the service echoes.
        A request without a row has an outcome too, at the end, whose error says so. A row without
        a request, and a second row of one request, have such outcomes as well.

        Args:
            batch: The batch, or its id.
            request_ids: The names of its requests, in their order; `None`: those that the batch
                itself has. With names, `outcome.index` is the request's position. Without names,
                it is the row's, and requests without a row are counted, not named.

        Raises:
            InvalidRequestError: The batch has not ended, or an argument is wrong.
            JobFailedError: The batch has ended badly, and has no results.
            ResponseError: The service refused.
            TransportError: No answer came, or the results broke off, retries included.
            DownloadError: The results cannot be read. The outcomes until then are valid.

        Source: "Batch processing", sync.so guides.
        """
        return self._portal.iterate(self._source.results(batch, request_ids=request_ids))
