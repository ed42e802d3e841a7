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
        if isinstance(node, ast.BinOp):
            return self._union(node)
        if isinstance(node, ast.Subscript) and _name(node.value) in self.types:
            return self._generic(node)
        name = _name(node)
        if name is not None and name in self.classes:
            return self.classes[name]
        if _ASYNC.search(name or _hidden_name(node)):
            text = segment(self.source, node)
            raise RefusedError(f"line {node.lineno}: no table says what {text} is when blocking")
        return self._with_children(node)

    def _union(self, node: ast.BinOp) -> str:
        """Write each alternative once: an awaited `None` and a plain one are the same."""
        translated = " | ".join(self.translated(part) for part in _alternatives(node))
        parts = _alternatives(ast.parse(translated, mode="eval").body)
        return " | ".join(dict.fromkeys(segment(translated, part) for part in parts))

    def _generic(self, node: ast.Subscript) -> str:
        name = _name(node.value) or ""
        self.fired.add(name)
        inner = node.slice
        first = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
        return self.types[name].format(self.translated(first))

    def _with_children(self, node: ast.expr) -> str:
        """Take the text as it is, but for the types inside it."""
        text = segment(self.source, node)
        for child in reversed(list(_children(node))):
            start = offset(self.source, child) - offset(self.source, node)
            end = start + len(segment(self.source, child))
            text = text[:start] + self.translated(child) + text[end:]
        return text


def segment(source: str, node: ast.expr | ast.arg) -> str:
    """Return an expression's own text."""
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


def _children(node: ast.expr) -> list[ast.expr]:
    """Return the outermost expressions inside, in the order of the source."""
    found: list[ast.expr] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Tuple):
            found += child.elts
        elif isinstance(child, ast.expr):
            found.append(child)
    return found


def _name(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _hidden_name(node: ast.expr) -> str:
    """Return a name that the tables cannot translate: behind a dot, or quoted."""
    if isinstance(node, ast.Attribute):
        return ast.unparse(node)
    return str(node.value) if isinstance(node, ast.Constant) else ""
