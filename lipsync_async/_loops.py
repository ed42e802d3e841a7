"""What a client has once for each event loop: it may be used by several in a row.

A loop that ends without its tasks' farewells, and a process that was forked, leave things
behind that nobody will ever attend to again; a new loop must not wait for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakKeyDictionary

from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Keep one thing for each event loop.

    Args:
        make: Makes it, when it is first asked for.

    """

    def __init__(self, make: Callable[[], T]) -> None:
        """Start without any."""
        self._make = make
        self._by_loop: WeakKeyDictionary[object, T] = WeakKeyDictionary()

    def here(self) -> T:
        """Return the running loop's."""
        loop = current_token().native_token
        found = self._by_loop.get(loop)
        if found is None:
            found = self._by_loop[loop] = self._make()
        return found
