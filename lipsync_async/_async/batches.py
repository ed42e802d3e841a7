"""The service's batches, `client.batches`: hundreds of requests in one, done within a day."""

from __future__ import annotations

import logging
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, get_args

from lipsync_async._async.resource import (
    Resource,
    check,
    is_left,
    moment,
    path,
    raise_if_invalid,
    written_moment,
)
from lipsync_async._bulk.batch import BatchResults, lines_of, names_of, rows_of
from lipsync_async._bulk.batch_journal import BatchJournal
from lipsync_async._bulk.journal import in_thread
from lipsync_async._callsite import RETRY_LOG, is_from_callback, log
from lipsync_async._download import stream
from lipsync_async._logic import validation
from lipsync_async._logic.endpoints import list_of, one, read, resource, retry_after
from lipsync_async._logic.polling import LastPoll, poll_schedule
from lipsync_async._logic.retry import LONGEST_TOLD
from lipsync_async._logic.validation import OrNone, webhook_url as webhook, word_of
from lipsync_async._models.batch import Batch, BatchStatus
from lipsync_async._models.policies import PollPolicy
from lipsync_async._polling import retry_until_timeout
from lipsync_async.errors import (
    BatchLimitError,
    InvalidRequestError,
    JobFailedError,
    LipsyncError,
)

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Generator,
        Iterable,
        Mapping,
        Sequence,
    )
    from datetime import datetime

    from lipsync_async._bulk.results import Outcome
    from lipsync_async._logic.endpoints import Call
    from lipsync_async._logic.polling import NextPoll
    from lipsync_async._models.http import Response
    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._rate_limits import BatchQueue
    from lipsync_async.webhooks import WebhookReceiver

_PAUSES = (30.0, 120.0)  # seconds between two polls
# Looks that show no end of a batch before a refused create is sent again all the same, which takes
# half an hour: one that ended between the refusal and the first look is not noticed otherwise.
_LOOKS = 20
_LOOKING = PollPolicy(long_poll=None, initial_interval=_PAUSES[0], max_interval=_PAUSES[1])
# How far this machine's clock may be from the service's: one that is set to a wrong time zone is 14
# hours off. A batch that is not named may be created again.
_CLOCKS_DIFFER = timedelta(days=1)
_WAITING = (
    "waiting for the end of a batch, because as many run as the plan allows ({}). Nothing was "
    "created yet; see RetryPolicy.batch_timeout."
)
_CREATED = (
    "The batch may have been created, and is paid for then. Before you create it again: "
    "batches.find(created_after=..., rows={rows}) names the candidates."
)


class AsyncBatches(Resource):
    """Batches of 20 to 500 requests, on plans that have them. Reached as `client.batches`."""

    async def create(
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
        problems = validation.problems_of(webhook_url=(webhook_url, OrNone(webhook)))
        problems += validation.argument_problems(journal=journal)
        rows = rows_of(requests, request_ids, problems)
        body = {"rows": rows, "webhook_url": webhook_url}
        call = resource("POST", "/v2/batch", one(Batch), body=body, is_repeatable=False)
        if journal is None:
            create = partial(self._send, call, advice=_CREATED.format(rows=len(rows)))
        else:
            create = partial(self._create_once, call, rows, journal)
        batch = await self._create_in_turn(create)
        batch.request_ids = tuple(str(row["request_id"]) for row in rows)
        return batch

    async def _create_in_turn(self, create: Callable[[], Awaitable[Batch]]) -> Batch:
        """Create a batch; if too many run, wait for the end of one, and then create it.

        Of this client's creates that wait, one at a time looks and is sent again. When the time of
        one is over, it is sent once more, for the service to judge.
        """
        queue, now = self._requester.batches.get(), self._requester.transport.now
        ends = partial(queue.patience_ends, now(), self._options.retry.batch_timeout)
        place, schedule = object(), poll_schedule(_LOOKING)
        next(schedule)  # the first look comes at once
        try:
            while True:
                try:
                    batch = await create()
                except BatchLimitError as error:
                    if now() >= ends() or error.may_have_worked or is_from_callback(error):
                        raise
                    log(RETRY_LOG, logging.INFO, _WAITING.format(error.message.rstrip(".")))
                    told = min(error.retry_after or 0.0, LONGEST_TOLD)
                else:
                    queue.accepted_at = now()
                    return batch
                queue.refused(place)
                await self._wait_for_an_end(queue, place, schedule, ends, now() + told)
        finally:
            queue.places.pop(place, None)

    async def _wait_for_an_end(
        self,
        queue: BatchQueue,
        place: object,
        schedule: Generator[NextPoll, LastPoll, None],
        ends: Callable[[], float],
        resume: float,
    ) -> None:
        """Return when a refused create should be sent again, not before `resume`."""
        transport, looks = self._requester.transport, 0
        while transport.now() < ends():
            asked = None
            if queue.is_first(place):
                has_ended, asked = await self._look(queue, ends())
                looks += 1
                if (has_ended or looks > _LOOKS) and transport.now() >= resume:
                    return
            seen = LastPoll(took=0.0, remaining=inf, is_honoured=False, retry_after=asked)
            pause = schedule.send(seen).pause
            await transport.sleep(max(0.0, min(pause, ends() - transport.now())))

    async def _look(self, queue: BatchQueue, deadline: float) -> tuple[bool, float | None]:
        """Tell whether a batch has ended, and the seconds until the service wants another look."""
        call = resource("GET", "/v2/batch", list_of(Batch))
        options = retry_until_timeout(self._options)
        try:
            found = await self._requester.execute(call, options, deadline=deadline)
        except LipsyncError as error:
            if is_from_callback(error):
                raise
            if self._requester.transport.now() >= deadline:
                return False, None
            error.may_have_worked = False  # a look that fails has created nothing
            raise
        running = sum(batch.status not in batch.GOOD_ENDS | batch.BAD_ENDS for batch in found)
        return queue.saw(running), None if call.response is None else retry_after(call.response)

    async def _create_once(
        self, call: Call[Batch], rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]
    ) -> Batch:
        hold = self._requester.transport.hold
        opened = list[BatchJournal]()  # also if this is cancelled meanwhile
        try:
            await in_thread(hold, lambda: opened.append(BatchJournal.open(path, rows)))
            (journal,) = opened
            if not journal.is_new:
                return await self._created_before(journal, len(rows))
            batch = await self._send(call, advice=_CREATED.format(rows=len(rows)))
        except BaseException as error:
            if opened and opened[0].is_new and not is_left(call, error):
                opened[0].forget()
            raise
        await in_thread(hold, journal.finish, batch.id)
        return batch

    async def _created_before(self, journal: BatchJournal, rows: int) -> Batch:
        """Return the batch of an earlier call, or raise what is known of it."""
        if journal.batch_id is not None:
            return await self.get(journal.batch_id)
        try:
            found = await self.find(created_after=journal.begun - _CLOCKS_DIFFER, rows=rows)
        except LipsyncError as unseen:
            raise journal.unknown_outcome(None, rows) from unseen
        raise journal.unknown_outcome(found, rows)

    async def validate(
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
        body = {"rows": rows_of(requests, request_ids), "dry_run": True}
        await self._send(resource("POST", "/v2/batch", lambda _: None, body=body))

    async def get(self, batch_id: str) -> Batch:
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
        return await self._send(_get(batch_id))

    async def list(
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
        check(
            status=(status, OrNone(word_of(get_args(BatchStatus)))),
            created_after=(created_after, OrNone(moment)),
            created_before=(created_before, OrNone(moment)),
        )
        query = {
            "status": status,
            "created_after": None if created_after is None else written_moment(created_after),
            "created_before": None if created_before is None else written_moment(created_before),
        }
        return await self._send(resource("GET", "/v2/batch", list_of(Batch), query=query))

    async def find(
        self, *, created_after: datetime, rows: int | None = None
    ) -> builtins.list[Batch]:
        """Return the batches that a create of unknown outcome may have made, newest first.

        Wire: `GET /v2/batch`

        Args:
            created_after: When the create was begun, or a little earlier; with a time zone.
            rows: How many requests it had; `None`: any number.

        Raises:
            LipsyncError: As `list` says.

        Source: "List batches", sync.so API reference.
        """
        found = await self.list(created_after=created_after)
        return [
            batch
            for batch in found
            if rows is None
            or batch.metrics is None
            or batch.metrics.total_generations in {None, rows}
        ]

    async def wait_until_complete(
        self,
        batch: Batch | str,
        *,
        timeout: float | None = 86_400.0,
        on_update: Callable[[Batch], Awaitable[None] | None] | None = None,
        webhooks: WebhookReceiver | None = None,
    ) -> Batch:
        """Wait until a batch has ended, and return it; some of its generations may have failed.

        Wire: `GET /v2/batch/{id}`, every 30 to 120 s

        Args:
            batch: The batch, or its id.
            timeout: Seconds to wait at most; `None`: no limit.
            on_update: Called, and awaited if need be, with each changed status.
            webhooks: The receiver that your route passes deliveries to. An event of this batch
                starts a poll at once.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            JobFailedError: The batch failed as a whole.
            JobTimeoutError: The time is up; the batch goes on.
            LipsyncError: Polling failed for good.

        Source: "Get batch", sync.so API reference.
        """
        known = None if isinstance(batch, str) else batch.request_ids
        return await self._wait(
            batch,
            partial(_get, request_ids=known),
            timeout=timeout,
            on_update=on_update,
            pauses=_PAUSES,
            webhooks=webhooks,
        )

    async def results(
        self, batch: Batch | str, *, request_ids: Iterable[str] | None = None
    ) -> AsyncGenerator[Outcome, None]:
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
        names = None if isinstance(batch, str) else batch.request_ids
        if request_ids is not None:
            names, problems = names_of(request_ids)
            raise_if_invalid(problems)
        found = await self.get(batch if isinstance(batch, str) else batch.id)
        if found.output_url is None:
            if found.status in found.BAD_ENDS:
                raise JobFailedError(found)
            problem = f"batch: is {found.status} and has no results yet; wait until it has ended"
            raise InvalidRequestError([problem], state="Nothing was downloaded")
        results = BatchResults(found, names)
        chunks = stream(self._requester, self._options, found)
        async with aclosing(lines_of(found, chunks)) as lines:
            async for line in lines:
                yield results.outcome(line)
        for outcome in results.missing():
            yield outcome


def _get(batch_id: str, request_ids: Sequence[str] | None = None) -> Call[Batch]:
    """Describe the call for a batch, whose requests have these names."""

    def read_named(response: Response) -> Batch:
        batch = read(Batch, response)
        batch.request_ids = request_ids
        return batch

    return resource("GET", path("/v2/batch/{batch_id}", batch_id=batch_id), read_named)
