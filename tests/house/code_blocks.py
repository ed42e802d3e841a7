"""Code blocks of Markdown files, run as their readers would.

Every block marked `python` is run as a script of its own, `__name__` being `"__main__"` and
nothing else defined; there is no way to opt out.
"""

import re
from pathlib import Path
from typing import Any

import attrs

_BLOCK = re.compile(r"^```(?P<language>\S+)\n(?P<source>.*?)^```$", re.DOTALL | re.MULTILINE)


@attrs.frozen
class Block:
    """A fenced block."""

    file: str
    line: int  # of the fence, from 1
    language: str
    source: str

    def __str__(self) -> str:
        """Name the block for a test's id."""
        return f"{self.file}:{self.line}"

    def run(self) -> dict[str, Any]:
        """Run the block and return its names; tracebacks show the Markdown file's own lines."""
        namespace: dict[str, Any] = {"__name__": "__main__"}
        code = compile("\n" * self.line + self.source, self.file, "exec", dont_inherit=True)
        exec(code, namespace)  # noqa: S102 - that is the point
        return namespace


def blocks(file: Path, *languages: str) -> list[Block]:
    """Return a file's blocks in some languages, in order."""
    text = file.read_text(encoding="utf-8")
    found = [
        Block(file.name, text[: match.start()].count("\n") + 1, match["language"], match["source"])
        for match in _BLOCK.finditer(text)
    ]
    return [block for block in found if block.language in languages]
