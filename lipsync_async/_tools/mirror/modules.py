"""One file of `_async/`, and the text of its blocking twin in `_sync/`."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lipsync_async._tools.mirror.annotations import Annotations, RefusedError
from lipsync_async._tools.mirror.imports import import_text
from lipsync_async._tools.mirror.methods import MethodWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async._tools.mirror.tables import Tables

_PACKAGE = "lipsync_async"
_HEADER = """\
# Generated from lipsync_async/_async/{name}.py by lipsync_async/_tools/mirror.
# Change that file, not this one, and run `nox -s regenerate`."""
# Where the names live that only blocking code knows.
_TWINS = {
    "AbstractContextManager": "contextlib",
    "Generator": "collections.abc",
    "Iterator": "collections.abc",
    "SyncWrapper": f"{_PACKAGE}._portal.portal",
    "wrapped": f"{_PACKAGE}._portal.portal",
    "Portal": f"{_PACKAGE}._portal.portal",
    "partial": "functools",
    "call_in_caller": f"{_PACKAGE}._portal.portal",
    "iterate_in_caller": f"{_PACKAGE}._portal.blocking_iterator",
}


@dataclass(frozen=True, slots=True)
class Module:
    """Hold one file of `_async/`."""

    name: str
    source: str
    tree: ast.Module

    @classmethod
    def parsed(cls, name: str, source: str) -> Module:
        """Parse a file's text."""
        return cls(name, source, ast.parse(source))

    def classes(self) -> list[ast.ClassDef]:
        """Return the classes that have twins."""
        return [
            node
            for node in self.tree.body
            if isinstance(node, ast.ClassDef) and node.name.startswith("Async")
        ]


def written(modules: list[Module], tables: Tables) -> dict[str, str]:
    """Return the text of each blocking twin by its name.

    Args:
        modules: All files of `_async/`.
        tables: The renames.

    Raises:
        RefusedError: Something has no blocking form that the tables know.
        LookupError: A rename of the tables was of no use.

    """
    homes = {node.name: module.name for module in modules for node in module.classes()}
    twins = {name: name.removeprefix("Async") for name in homes}
    twins |= {name: twin for name, (twin, _) in tables.classes.items()}
    fired = homes.keys() & tables.classes.keys()
    writers = [_ModuleWriter(module, twins, homes, tables, fired) for module in modules]
    texts = {writer.module.name: writer.text() for writer in writers if writer.has_twin}
    every = [*tables.classes, *tables.methods, *tables.types, *tables.words]
    unused = [rename for rename in every if rename not in fired]
    if unused:
        raise LookupError(f"these renames are of no use any more: {unused}")
    return texts


class _ModuleWriter:
    def __init__(
        self,
        module: Module,
        twins: Mapping[str, str],
        homes: Mapping[str, str],
        tables: Tables,
        fired: set[str],
    ) -> None:
        self.module = module
        self._twins = twins
        self._homes = homes
        self._tables = tables
        self._mirrored = [node for node in module.classes() if node.name not in tables.classes]
        self._annotations = Annotations(module.source, twins, tables.types, fired)
        self._aliases = _aliases(module.tree)
        self._methods = MethodWriter(module.source, self._annotations, self._aliases, tables, fired)

    @property
    def has_twin(self) -> bool:
        """Whether there is anything to write: a class, or the package's own docstring."""
        return bool(self._mirrored) or self.module.name == "__init__"

    def text(self) -> str:
        """Return the twin's whole text."""
        parts = [_HEADER.format(name=self.module.name)]
        parts += filter(None, [self._methods.docstring(self.module.tree)])
        classes = [self._class(node) for node in self._mirrored]
        if classes:
            aliases = self._used_aliases("\n".join(classes))
            parts.append(import_text("\n".join(classes), aliases, self._home))
            parts += ["\n" + text for text in classes]
        return "\n\n".join(parts) + "\n"

    def _class(self, node: ast.ClassDef) -> str:
        twin = self._twins[node.name]
        bases = ", ".join(map(self._annotations.translated, node.bases)) or "SyncWrapper"
        resources = _resources(node, self._twins)
        parts = [f"class {twin}({bases}):"]
        docstring = self._methods.docstring(node)
        if docstring is not None:
            parts.append(f"    {docstring}\n")
        parts += [f"    {name}: {self._twins[kind]}" for name, kind in resources.items()]
        parts.append(f"    _source: {node.name}")
        functions = [
            each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        texts: list[str | None] = []
        if resources:
            constructors = [each for each in functions if each.name == "__init__"]
            texts += [self._methods.constructor(each, node.name) for each in constructors]
            texts.append(_reflection(node.name, resources, self._twins))
        texts += [self._methods.written(each) for each in functions]
        return "\n".join([*parts, *("\n" + text for text in texts if text is not None)])

    def _used_aliases(self, text: str) -> dict[str, str]:
        """Return the meaning of each type alias that the classes use."""
        return {
            name: self._annotations.translated(meaning)
            for name, meaning in self._aliases.items()
            if re.search(rf"\b{name}\b", text)
        }

    def _home(self, name: str) -> str | None:
        """Tell from which module the twin gets a name; `None`: from none."""
        source = next((each for each, twin in self._twins.items() if twin == name), name)
        if source in self._tables.classes:
            return self._tables.classes[source][1]
        if source in self._homes:
            home = self._homes[source]
            if source == name:
                return f"{_PACKAGE}._async.{home}"
            return None if home == self.module.name else f"{_PACKAGE}._sync.{home}"
        if name in _own_names(self.module.tree):
            return f"{_PACKAGE}._async.{self.module.name}"
        return _TWINS.get(name) or _origins(self.module.tree).get(name)


def _aliases(tree: ast.Module) -> dict[str, ast.expr]:
    """Return the names for types that a module defines: `Name: TypeAlias = ...`."""
    aliases: dict[str, ast.expr] = {}
    for node in tree.body:
        match node:
            case ast.AnnAssign(ast.Name(name), ast.Name("TypeAlias"), ast.expr() as meaning):
                aliases[name] = meaning
    return aliases


def _resources(node: ast.ClassDef, twins: Mapping[str, str]) -> dict[str, str]:
    """Return the annotated attributes that hold other async objects.

    Raises:
        RefusedError: The class has something, besides methods, that its twin would lack.

    """
    resources: dict[str, str] = {}
    lost: list[ast.expr | ast.stmt] = [
        *node.decorator_list,
        *(each.value for each in node.keywords),
    ]
    for each in node.body:
        match each:
            case ast.AnnAssign(ast.Name(name), ast.Name(kind), value=None) if kind in twins:
                resources[name] = kind
            case ast.Expr() | ast.FunctionDef() | ast.AsyncFunctionDef():
                pass
            case _:
                lost.append(each)
    if lost:
        raise RefusedError(f"line {lost[0].lineno}: {node.name} has what no rule covers")
    return resources


def _reflection(source: str, resources: Mapping[str, str], twins: Mapping[str, str]) -> str:
    lines = [
        f"    def _wrap(self, portal: Portal, source: {source}) -> None:",
        "        super()._wrap(portal, source)",
    ]
    lines += [
        f"        self.{name} = wrapped({twins[kind]}, portal, source.{name})"
        for name, kind in resources.items()
    ]
    return "\n".join(lines)


def _origins(tree: ast.Module) -> dict[str, str]:
    """Tell for each imported name where it comes from; a module comes from itself."""
    origins: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            origins |= {alias.name: node.module or "" for alias in node.names}
        elif isinstance(node, ast.Import):
            origins |= {alias.name: "" for alias in node.names}
    return origins


def _own_names(tree: ast.Module) -> set[str]:
    """Return the constants and classes that a module defines."""
    assigned = [
        target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
    ]
    names = {target.id for target in assigned if isinstance(target, ast.Name)}
    return names | {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
