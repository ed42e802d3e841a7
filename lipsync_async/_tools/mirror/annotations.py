"""Types of async code, as blocking code sees them. What is unknown is refused."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Names that cannot stand in blocking code.
_ASYNC = re.compile(r"Async|\b(?:asyncio|anyio)\b|Awaitable|Coroutine|(?:Future|Task)\b")


class RefusedError(Exception):
    """Raised for what the generator does not know; it never guesses."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """Translate annotations of one module.

    Args:
        source: The module's text.
        classes: Async classes of the package and their twins.
        types: Generic async types; `{}` stands for the first parameter.
        fired: Gets each rename that was used.

    """

    source: str
    classes: Mapping[str, str]
    types: Mapping[str, str]
    fired: set[str]

    def translated(self, node: ast.expr) -> str:
        """Return an annotation's text for blocking code, laid out as in the source.

        Raises:
            RefusedError: It holds an async type that no table names.

        """
        match node:
            case ast.BinOp():
                return self._union(node)
            case ast.Subscript(ast.Name(name), parameters) if name in self.types:
                return self._generic(name, parameters)
            case ast.Name(name) if name in self.classes:
                return self.classes[name]
            case ast.Name() | ast.Attribute() | ast.Constant() if _ASYNC.search(ast.unparse(node)):
                text = segment(self.source, node)
                raise RefusedError(
                    f"line {node.lineno}: no table says what {text} is when blocking"
                )
        return self._with_children(node)

    def _union(self, node: ast.BinOp) -> str:
        """Write each alternative once: an awaited `None` and a plain one are the same."""
        translated = " | ".join(self.translated(part) for part in _alternatives(node))
        parts = _alternatives(ast.parse(translated, mode="eval").body)
        return " | ".join(dict.fromkeys(segment(translated, part) for part in parts))

    def _generic(self, name: str, parameters: ast.expr) -> str:
        self.fired.add(name)
        first = parameters.elts[0] if isinstance(parameters, ast.Tuple) else parameters
        return self.types[name].format(self.translated(first))

    def _with_children(self, node: ast.expr) -> str:
        """Take the text as it is, but for the types inside it."""
        text = segment(self.source, node)
        children = [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)]
        for child in reversed(children):  # so that places before it stay right
            start = offset(self.source, child) - offset(self.source, node)
            end = start + len(segment(self.source, child))
            text = text[:start] + self.translated(child) + text[end:]
        return text


def segment(source: str, node: ast.expr | ast.arg | ast.stmt) -> str:
    """Return a node's own text."""
    text = ast.get_source_segment(source, node)
    if text is None:
        raise RefusedError(f"line {node.lineno}: its text cannot be found")
    return text


def offset(source: str, node: ast.expr | ast.arg) -> int:
    """Return where an expression begins; Python counts a line's columns in bytes."""
    *above, line = source.split("\n")[: node.lineno]
    before = line.encode()[: node.col_offset].decode()
    return sum(len(each) + 1 for each in above) + len(before)


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]
