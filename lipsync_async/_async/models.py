"""What the service can do: `client.models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async._logic import endpoints

if TYPE_CHECKING:
    from lipsync_async._models.response import ModelInfo
    from lipsync_async._requester import Requester, RequestOptions


class AsyncModels:
    """Models that the account may use. Reached as `client.models`."""

    def __init__(self, requester: Requester, options: RequestOptions) -> None:
        self._requester = requester
        self._options = options

    async def list(self) -> list[ModelInfo]:
        """Return the models; deprecated ones are left out by the service.

        Wire: `GET /v2/models`

        Raises:
            ResponseError: The service refused; AuthenticationError for a wrong key.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List models", sync.so API reference.
        """
        return await self._requester.execute(endpoints.list_models(), self._options)
