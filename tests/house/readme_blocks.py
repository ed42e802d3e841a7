"""Find the code blocks of a README and run them as their readers would.

Every block marked `python` is run, each in a namespace of its own; there is no way to opt
out. It may `await` at top level; without an `await` it runs as a script, outside of any
event loop, so `asyncio.run` and the blocking client work. The caller predefines names.
"""

import ast
import asyncio
import inspect
import re
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import attrs

_BLOCK = re.compile(r"^```(?P<language>\S+)\n(?P<source>.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)


@attrs.frozen
class Block:
    """Hold one fenced block.

    Attributes:
        language: The word after the fence.
        title: The heading above it.
        line: Line of the fence in the README, from 1.
        source: What is inside.

    """

    language: str
    title: str
    line: int
    source: str

    def __str__(self) -> str:
        """Name the block for a test's id."""
        return f"line {self.line}, {self.title}"


def blocks(text: str, *languages: str) -> list[Block]:
    """Return the blocks in some languages, in order."""
    found = []
    for match in _BLOCK.finditer(text):
        before = text[: match.start()]
        title = (["the top", *_HEADING.findall(before)])[-1]
        line = before.count("\n") + 1
        found.append(Block(match["language"], title, line, match["source"]))
    return [block for block in found if block.language in languages]


def run(block: Block, names: Mapping[str, Any]) -> dict[str, Any]:
    """Run a block and return its names; tracebacks show the README's own line numbers."""
    namespace = {"__name__": "__main__", **names}
    code = compile(
        "\n" * block.line + block.source,
        "README.md",
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    started = FunctionType(code, namespace)()
    if inspect.iscoroutine(started):
        asyncio.run(started)
    return namespace
