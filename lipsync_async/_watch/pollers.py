"""Which poller serves whom: one for each client and event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from anyio.lowlevel import current_token

from lipsync_async._watch.poller import Poller

if TYPE_CHECKING:
    from lipsync_async._exchange import Exchange


class Pollers:
    """Keep the poller of each event loop: a client may be used by several in a row.

    A loop that ends without its tasks' farewells, and a process that was forked, leave a
    leader behind that will never look again; a new loop must not wait for it.
    """

    def __init__(self, exchange: Exchange) -> None:
        """Start without any."""
        self._exchange = exchange
        self._by_loop: WeakKeyDictionary[object, Poller] = WeakKeyDictionary()

    def here(self) -> Poller:
        """Return the running loop's poller."""
        loop = current_token().native_token
        poller = self._by_loop.get(loop)
        if poller is None:
            poller = self._by_loop[loop] = Poller(self._exchange)
        return poller
