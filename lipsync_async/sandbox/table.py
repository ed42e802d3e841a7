"""Rows of one kind by their id, as the resources of the API keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import attrs

from lipsync_async.sandbox.server.api_errors import error

if TYPE_CHECKING:
    from collections.abc import Iterator


class Row(Protocol):
    """What a table keeps."""

    @property
    def id(self) -> str:
        """Its id, in lower case."""


T = TypeVar("T", bound=Row)


@attrs.define(slots=True, eq=False, repr=False)
class Table(Generic[T]):
    """Rows in the order in which they were added."""

    _not_found: str
    _noun: str
    _rows: dict[str, T] = attrs.field(factory=dict, init=False)
    created: int = attrs.field(default=0, init=False)  # with those deleted since

    def __iter__(self) -> Iterator[T]:
        """Yield the rows, oldest first."""
        return iter(list(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row_id: str) -> T:
        return self._rows[row_id]

    def __contains__(self, row_id: object) -> bool:
        return row_id in self._rows

    def get(self, row_id: str) -> T | None:
        """Return a row, or `None` where no row has the id."""
        return self._rows.get(row_id)

    def find(self, row_id: str) -> T:
        """Return a row by its id in any case."""
        row = self._rows.get(row_id.lower())
        if row is None:
            raise error(self._not_found, f"{self._noun} {row_id} was not found.")
        return row

    def add(self, row: T) -> T:
        """Add a new row, and return it."""
        self.created += 1
        self._rows[row.id] = row
        return row

    def delete(self, row_id: str) -> T:
        """Remove a row, and return it."""
        return self._rows.pop(row_id)
