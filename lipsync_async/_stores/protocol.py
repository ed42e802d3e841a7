"""What an account store must do: change a small document by a rule, and call its listeners."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")

# Gets the document (`None`: there is none) and the store's time in seconds; returns the new
# document (`None`: nothing is changed) and an answer.
Rule: TypeAlias = Callable[[bytes | None, float], tuple[bytes | None, T]]


class AccountStore(Protocol):
    """Store of the small documents in which processes keep the limits that they share.

    Only `change` must be reliable. A store never gets the API key. Several event loops, and a
    forked child, may use one store.
    """

    async def change(self, name: str, rule: Rule[T], *, tells: bool = False) -> T:
        """Change a document by a rule, atomically, and return the rule's answer.

        No other change of the document comes between the read and the write. The rule is
        fast and does no I/O. The store may call it again with a newer document; only the last
        call counts. If the rule raises an error, the store raises it, too, and changes nothing.

        Args:
            name: The document's name: printable ASCII, at most 100 characters.
            rule: Gets the document (`None`: there is none) and the store's time, in seconds since
                a moment that is the same for all processes; returns the new document (`None`:
                nothing is changed) and an answer.
            tells: Whether to call the listeners of the document, if it is changed.

        Raises:
            AccountStoreError: The store did not answer within some seconds (after 30, the client
                cancels the call), or refused. The document may have been changed or not.

        """
        ...

    def listen(
        self, name: str, callback: Callable[[], object]
    ) -> AbstractAsyncContextManager[None]:
        """Call `callback` in the running loop after each change that tells; inside the block.

        A change may be missed, and the callback may be called without one. Entering and leaving
        raise no error where the store cannot be reached: the callback is then not called.
        """
        ...

    async def aclose(self) -> None:
        """Close the running loop's connections; the next change opens new ones."""
        ...
