# Generated from lipsync_async/_async/account.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""The account: plan, usage, costs, error catalogue, webhook secret, feedback: `client.account`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._portal import SyncWrapper

if TYPE_CHECKING:
    from collections.abc import Generator
    from datetime import datetime

    from lipsync_async._async.account import AsyncAccountInfo
    from lipsync_async._models.account import Account, ErrorInfo, FeedbackKind, SharedUse, UsageItem
    from lipsync_async._models.library import Page


class AccountInfo(SyncWrapper):
    """The account of the API key. Reached as `client.account`."""

    _source: AsyncAccountInfo

    def get(self) -> Account:
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
        return self._portal.call(self._source.get)

    def shared(self) -> SharedUse | None:
        """Return what the processes that share this account's limits use at present.

        Wire: nothing; only the account store is asked

        `None`: the client shares no limits, since neither `account=` nor `SYNC_ACCOUNT` is set.

        Raises:
            AccountStoreError: The account store cannot be used.

        Source: "Rate limits", sync.so documentation.
        """
        return self._portal.call(self._source.shared)

    def usage(
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
        return self._portal.call(
            partial(self._source.usage, start, end, limit=limit, cursor=cursor)
        )

    def iter_usage(self, start: datetime, end: datetime) -> Generator[UsageItem, None, None]:
        """Yield what the organization's generations have cost, oldest first, page after page.

        Wire: `GET /v2/usage/generations`, repeatedly

        Args:
            start: Generations that ended at this moment or later; with a time zone.
            end: Generations that ended before; later than `start`.

        Raises:
            LipsyncError: As `usage` says.

        Source: "List usage", sync.so API reference.
        """
        return self._portal.iterate(self._source.iter_usage(start, end))

    def errors(self) -> list[ErrorInfo]:
        """Return the service's error codes with what they mean.

        Wire: `GET /v2/errors`

        Raises:
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List errors", sync.so API reference.
        """
        return self._portal.call(self._source.errors)

    def webhook_secret(self) -> str:
        """Return the secret that verifies the organization's webhooks. Keep it like the API key.

        Wire: `GET /v2/organizations/webhook/secret`

        Raises:
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "Webhook secret", sync.so API reference.
        """
        return self._portal.call(self._source.webhook_secret)

    def send_feedback(
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
        return self._portal.call(
            partial(self._source.send_feedback, kind, message, generation_id=generation_id)
        )
