# Generated from lipsync_async/_async/models.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""What the service can do: `client.models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async._portal import SyncWrapper

if TYPE_CHECKING:
    from lipsync_async._async.models import AsyncModels
    from lipsync_async._models.response import ModelInfo


class Models(SyncWrapper):
    """Models that the account may use. Reached as `client.models`."""

    _source: AsyncModels

    def list(self) -> list[ModelInfo]:
        """Return the models; deprecated ones are left out by the service.

        Wire: `GET /v2/models`

        Raises:
            ResponseError: The service refused; AuthenticationError for a wrong key.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List models", sync.so API reference.
        """
        return self._portal.call(self._source.list)
