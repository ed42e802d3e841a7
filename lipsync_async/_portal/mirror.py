"""What every blocking object is: the reflection of an async one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from lipsync_async._portal.portal import Portal


class Mirror:
    """Hold the async object and the way to it."""

    _portal: Portal
    _source: Any

    def _reflect(self, portal: Portal, source: Any) -> None:
        self._portal = portal
        self._source = source

    def __repr__(self) -> str:
        """Show what the async object shows, if it shows anything, under this one's name."""
        source = getattr(self, "_source", None)
        if "__repr__" not in vars(type(source)):
            return super().__repr__()
        shown = repr(source)
        return shown.replace(type(source).__name__, type(self).__name__, 1)


MirrorT = TypeVar("MirrorT", bound=Mirror)


def reflected(kind: type[MirrorT], portal: Portal, source: Any) -> MirrorT:
    """Return the reflection of an async object, without building another one first."""
    mirror = object.__new__(kind)
    mirror._reflect(portal, source)
    return mirror
