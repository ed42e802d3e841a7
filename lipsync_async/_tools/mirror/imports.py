"""The imports that a generated file needs, in the order that the linter wants."""

from __future__ import annotations

import ast
from textwrap import indent
from typing import TYPE_CHECKING

from lipsync_async._tools.mirror.layout import INDENT, WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PACKAGE = "lipsync_async"


def import_text(
    code: str,
    aliases: Mapping[str, str],
    home_of: Callable[[str], str | None],
) -> str:
    """Return the imports of some code, and its type aliases.

    Args:
        code: The classes that follow the imports.
        aliases: Names for types and what they mean.
        home_of: Tells from which module to import a name, `""` for a module itself, and
            `None` for names that need no import.

    """
    tree = ast.parse(code)
    running = set(_names_at_run_time(tree)) - set(_parameters(tree))
    meanings = [ast.parse(meaning, mode="eval") for meaning in aliases.values()]
    typed = {name for each in [tree, *meanings] for name in _names(each)} - aliases.keys()
    needed = {name: home_of(name) for name in running | typed}
    homes = {name: home for name, home in needed.items() if home is not None}
    always = {name: home for name, home in homes.items() if name in running}
    named = "\n".join(f"{INDENT}{name} = {meaning}" for name, meaning in aliases.items())
    guarded = [*_blocks({name: homes[name] for name in homes.keys() - running}, INDENT), named]
    guard = "\n\n".join(filter(None, guarded))
    if guard:
        always["TYPE_CHECKING"] = "typing"
        guard = f"if TYPE_CHECKING:\n{guard}"
    parts = ["from __future__ import annotations", *_blocks(always, ""), guard]
    return "\n\n".join(filter(None, parts))


def _names(tree: ast.AST) -> Iterator[str]:
    yield from (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def _names_at_run_time(tree: ast.Module) -> Iterator[str]:
    """Yield the names that are looked up when the module or its functions run."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name):
            yield node.id
        annotations = {getattr(node, "annotation", None), getattr(node, "returns", None)}
        waiting += [child for child in ast.iter_child_nodes(node) if child not in annotations]


def _parameters(tree: ast.Module) -> Iterator[str]:
    yield from (node.arg for node in ast.walk(tree) if isinstance(node, ast.arg))


def _blocks(homes: Mapping[str, str], margin: str) -> Iterator[str]:
    """Yield the imports of the standard library, then those of this package."""
    for is_own in (False, True):
        chosen = {name: home for name, home in homes.items() if home.startswith(_PACKAGE) is is_own}
        if chosen:
            yield indent("\n".join(_statements(chosen, WIDTH - len(margin))), margin)


def _statements(homes: Mapping[str, str], width: int) -> Iterator[str]:
    yield from (f"import {name}" for name in sorted(homes) if homes[name] == "")
    for home in sorted(set(homes.values()) - {""}):
        names = sorted((name for name in homes if homes[name] == home), key=_rank)
        flat = f"from {home} import {', '.join(names)}"
        rows = "".join(f"{INDENT}{name},\n" for name in names)
        yield flat if len(flat) <= width else f"from {home} import (\n{rows})"


def _rank(name: str) -> tuple[int, str]:
    """Order constants before classes before the rest."""
    kinds = (name.isupper(), name[0].isupper(), True)
    return kinds.index(True), name
