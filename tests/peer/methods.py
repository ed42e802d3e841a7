"""The table in `docs/syncsdk.md`: each method of the official clients, and what does it here."""

import re
from operator import attrgetter
from pathlib import Path

from lipsync_async import AsyncClient

GUIDE = Path(__file__).parents[2] / "docs" / "syncsdk.md"


def table(column: int) -> list[str]:
    """Return the methods of one column: of `syncsdk`, or of `@sync.so/sdk`."""
    return sorted(re.findall("`([^`(]*)", row[column])[0] for row in _rows())


def verbs() -> dict[str, object]:
    """Return what the last column names, from our own client."""
    client = AsyncClient("none")
    names = [name for row in _rows() for name in re.findall(r"`(\w+\.\w+)", row[2])]
    return {name: attrgetter(name)(client) for name in names}


def _rows() -> list[list[str]]:
    section = GUIDE.read_text().split("## Methods\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [line.strip("|").split(" | ") for line in lines[1:]]
