"""What every resource of a client holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipsync_async._requester import Exchange, Settings


class AsyncResource:
    """Hold the exchange, which is the client's, and the settings, which are the view's."""

    def __init__(self, exchange: Exchange, settings: Settings) -> None:
        self._exchange = exchange
        self._settings = settings
