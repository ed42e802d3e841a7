"""A bell that rings for those who are waiting just then."""

from __future__ import annotations

import anyio


class Bell:
    """Wake whoever waits; he looks for himself whether it was for him."""

    def __init__(self) -> None:
        """Start silent."""
        self._ringing: anyio.Event | None = None  # made by who waits: mostly nobody does

    async def heard(self) -> None:
        """Wait until it rings."""
        if self._ringing is None:
            self._ringing = anyio.Event()
        await self._ringing.wait()

    def ring(self) -> None:
        """Wake all who wait."""
        ringing, self._ringing = self._ringing, None
        if ringing is not None:
            ringing.set()
