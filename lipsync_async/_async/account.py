"""The account: plan, usage, costs, error catalogue, webhook secret, feedback: `client.account`."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from lipsync_async._async.resource import Resource, check, moment, raise_if_invalid, written_moment
from lipsync_async._logic import validation
from lipsync_async._logic.endpoints import list_of, one, page_of, read_json, resource, schema_error
from lipsync_async._logic.validation import OrNone, text, whole_number, word_of
from lipsync_async._models.account import (
    Account,
    ErrorInfo,
    FeedbackKind,
    SharedUse,
    UsageItem,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    from lipsync_async._models.http import Response
    from lipsync_async._models.library import Page

_REPORTED = "The report may have arrived; sending it again makes a second one."


class AsyncAccountInfo(Resource):
    """The account of the API key. Reached as `client.account`."""

    async def get(self) -> Account:
        """Return plan, limits and balance.

        Wire: `GET /v2/account`

        Where the answer says how many generations may run at once, which is assumed to be
        `limits["concurrency"]`, the clients of this account in this process keep to it, as to
        `Limits(concurrent_generations=)`; the lower of the two counts. It is not believed where
        more have run at once already, a later refusal by the service counts more, and an hour
        later one more is tried.

        Raises:
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Get account", sync.so API reference.
        """
        account = await self._send(resource("GET", "/v2/account", one(Account)))
        requester = self._requester
        limit = account.concurrent_generations
        requester.account.slots.seed(limit, requester.transport.now())
        if requester.shared is not None:
            await requester.shared.seed(limit)
        return account

    async def shared(self) -> SharedUse | None:
        """Return what the processes that share this account's limits use at present.

        Wire: nothing; only the account store is asked

        `None`: the client shares no limits, since neither `account=` nor `SYNC_ACCOUNT` is set.

        Raises:
            AccountStoreError: The account store cannot be used.

        Source: "Rate limits", sync.so documentation.
        """
        limits = self._requester.shared
        return None if limits is None else await limits.use()

    async def usage(
        self, start: datetime, end: datetime, *, limit: int = 500, cursor: str | None = None
    ) -> Page[UsageItem]:
        """Return one page of what the organization's generations have cost, oldest first.

        Wire: `GET /v2/usage/generations`

        Args:
            start: Generations that ended at this moment or later; with a time zone.
            end: Generations that ended before; later than `start`.
            limit: 1 to 500 on the page.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List usage", sync.so API reference.
        """
        problems = validation.problems_of(
            start=(start, moment),
            end=(end, moment),
            limit=(limit, whole_number(1, 500)),
            cursor=(cursor, OrNone(text)),
        )
        if not problems and end <= start:
            problems.append("end: must be later than start")
        raise_if_invalid(problems)
        query: dict[str, str | int | None] = {
            "startTime": written_moment(start),
            "endTime": written_moment(end),
            "limit": limit,
            "cursor": cursor,
        }
        call = resource("GET", "/v2/usage/generations", page_of(UsageItem), query=query)
        return await self._send(call)

    def iter_usage(self, start: datetime, end: datetime) -> AsyncGenerator[UsageItem, None]:
        """Yield what the organization's generations have cost, oldest first, page after page.

        Wire: `GET /v2/usage/generations`, repeatedly

        Args:
            start: Generations that ended at this moment or later; with a time zone.
            end: Generations that ended before; later than `start`.

        Raises:
            LipsyncError: As `usage` says.

        Source: "List usage", sync.so API reference.
        """
        return self._pages(lambda cursor: self.usage(start, end, cursor=cursor))

    async def errors(self) -> list[ErrorInfo]:
        """Return the service's error codes with what they mean.

        Wire: `GET /v2/errors`

        Raises:
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List errors", sync.so API reference.
        """
        return await self._send(resource("GET", "/v2/errors", list_of(ErrorInfo)))

    async def webhook_secret(self) -> str:
        """Return the secret that verifies the organization's webhooks. Keep it like the API key.

        Wire: `GET /v2/organizations/webhook/secret`

        Raises:
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Webhook secret", sync.so API reference.
        """
        place = "/v2/organizations/webhook/secret"
        return await self._send(resource("GET", place, _secret))

    async def send_feedback(
        self, kind: FeedbackKind, message: str, *, generation_id: str | None = None
    ) -> str | None:
        """Report one problem to the vendor, and return the receipt's id, if there is one.

        Wire: `POST /v2/feedback`

        A try whose outcome is unknown is not repeated.

        Args:
            kind: What it is about.
            message: What was tried and what happened; no secrets.
            generation_id: The generation that it is about. This field is assumed, and the
                service refuses fields that it does not know: leave it out where that happens.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            BadRequestError: The service does not know a field.
            ResponseError: The service refused.
            TransportError: No answer came; `.may_have_worked` says whether it may have arrived.

        Source: "Send feedback", sync.so API reference.
        """
        check(
            kind=(kind, word_of(get_args(FeedbackKind))),
            message=(message, text),
            generation_id=(generation_id, OrNone(validation.name)),
        )
        body = {"kind": kind, "message": message, "generationId": generation_id}
        call = resource("POST", "/v2/feedback", _receipt, body=body, is_repeatable=False)
        return await self._send(call, advice=_REPORTED)


def _secret(response: Response) -> str:
    data = read_json(response)
    secret = data.get("secret") if isinstance(data, dict) else None
    if not isinstance(secret, str) or not secret:
        raise schema_error(response, "expected text @ $.secret")
    return secret


def _receipt(response: Response) -> str | None:
    """Return the id of a receipt; its form is not documented."""
    try:
        data = read_json(response)
    except Exception:  # noqa: BLE001 - the report has arrived
        return None
    receipt = data.get("id") if isinstance(data, dict) else None
    return receipt if isinstance(receipt, str) else None
