"""What every resource of a client holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipsync_async._requester import Requester, RequestOptions


class AsyncResource:
    """Hold the requester, which is the client's, and the settings, which are the view's."""

    def __init__(self, requester: Requester, settings: RequestOptions) -> None:
        self._requester = requester
        self._options = settings
