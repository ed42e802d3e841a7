"""Write the README's generated parts: the map of the house, the life of a job.

    python -m lipsync_async._tools.readme [--check]

A part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; the rest of the
README is left alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_async._enums import TRANSITIONS
from lipsync_async._tools.floors import map_lines
from lipsync_async._tools.generated import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lipsync_async._enums import Status

TARGET = Path("README.md")

_PART = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end: (?P=name) -->)",
    re.DOTALL,
)


def content(current: str) -> str:
    """Return the README with every generated part made anew.

    Raises:
        LookupError: A part has a name that nothing here generates.

    """
    return _PART.sub(_renewed, current)


def house_map() -> str:
    """Return the floors as a text block."""
    return "\n".join(["```text", *map_lines(), "```"])


def job_life() -> str:
    """Return the table of transitions as a state diagram."""
    reached = {successor for successors in TRANSITIONS.values() for successor in successors}
    moves = [
        f"    {status} --> {successor}"
        for status, successors in TRANSITIONS.items()
        for successor in sorted(successors)
    ]
    begun = [f"    [*] --> {status}" for status in TRANSITIONS if _begins(status, reached)]
    ended = [f"    {status} --> [*]" for status in TRANSITIONS if _ends(status, reached)]
    return "\n".join(["```mermaid", "stateDiagram-v2", *begun, *moves, *ended, "```"])


def _begins(status: Status, reached: set[Status]) -> bool:
    return status not in reached and bool(TRANSITIONS[status])


def _ends(status: Status, reached: set[Status]) -> bool:
    return status in reached and not TRANSITIONS[status]


PARTS: Mapping[str, Callable[[], str]] = {"house-map": house_map, "job-life": job_life}


def _renewed(found: re.Match[str]) -> str:
    if found["name"] not in PARTS:
        known = ", ".join(PARTS)
        raise LookupError(f"README.md asks for {found['name']!r}; generated are: {known}")
    return f"{found['begin']}{PARTS[found['name']]()}\n{found['end']}"


if __name__ == "__main__":
    raise SystemExit(run(TARGET, content))
