"""What the service can do: `client.models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async._async.resource import AsyncResource
from lipsync_async._logic import endpoints

if TYPE_CHECKING:
    from lipsync_async._models.response import ModelInfo


class AsyncModels(AsyncResource):
    """Look up the models that the account may use. Reached as `client.models`."""

    async def list(self) -> list[ModelInfo]:
        """Return the models; deprecated ones are left out by the service.

        Wire: `GET /v2/models`

        Raises:
            ResponseError: The service refused; AuthenticationError for a wrong key.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: contract sections 2.1 and 3.1.
        """
        return await self._requester.execute(endpoints.list_models(), self._options)
