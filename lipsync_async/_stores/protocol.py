"""What the account's limits ask of a store: change a small document by a rule, and tell of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")

# The document (`None`: there is none) and the time of the store's clock, in seconds, become the
# new document (`None`: it stays as it is) and an answer.
Rule: TypeAlias = Callable[[bytes | None, float], tuple[bytes | None, T]]


class AccountStore(Protocol):
    """Keeper of small documents that processes share.

    `change` is all that must be right. A store never sees the API key. One store may be used
    by several event loops, and in a forked child.
    """

    async def change(self, name: str, rule: Rule[T], *, tells: bool = False) -> T:
        """Change a document by a rule, atomically, and return the rule's answer.

        No other change of the document comes between the read and the write. The rule is
        fast and does no I/O. It may be called again with a newer document, and only its last
        call counts. What it raises is passed on, and nothing is changed then.

        Args:
            name: The document's name: printable ASCII, at most 100 characters.
            rule: Gets the document and the store's time, in seconds since some moment that
                is the same for all processes.
            tells: Whether to tell those that listen to the document, if it is changed.

        Raises:
            AccountStoreError: The store did not answer within some seconds, or refused. The
                document may have been changed or not.

        """
        ...

    def listen(
        self, name: str, callback: Callable[[], object]
    ) -> AbstractAsyncContextManager[None]:
        """Call `callback` in the running loop after each change that tells; inside the block.

        A change may be missed, and the callback may be called without one. Entering and leaving
        raise no error where the store cannot be reached: then nothing is told.
        """
        ...

    async def aclose(self) -> None:
        """Close the running loop's connections; the next change opens new ones."""
        ...
