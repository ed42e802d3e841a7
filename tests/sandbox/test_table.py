"""Tables of the API's resources."""

import attrs
import pytest

from lipsync_async.sandbox.jobs import Table
from lipsync_async.sandbox.server.api_errors import ApiError


@attrs.frozen
class Asset:
    """A row."""

    id: str


def test_a_table_keeps_rows_by_their_ids() -> None:
    """Found in any case; an unknown id is the resource's own 404."""
    table: Table[Asset] = Table("asset_not_found", "Asset")
    row = table.add(Asset("a1"))
    assert (table.find("A1"), table.get("a1"), len(table), "a1" in table) == (row, row, 1, True)
    assert table.delete("a1") is row
    with pytest.raises(ApiError) as caught:
        table.find("a1")
    assert (caught.value.status, caught.value.body["message"]) == (404, "Asset a1 was not found.")
    assert ([*table], table.created) == ([], 1)
