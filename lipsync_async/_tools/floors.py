"""The house's floors as one list, and the check that every import goes down.

A part is a module (`errors`) or a folder with all that is in it (`_rules/`). A file
imports from its own folder and from parts on lower floors, be it at top level, inside a
function or for types only. The files of one folder may know each other, never in a circle.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PACKAGE = "lipsync_async"


@attrs.frozen(slots=True)
class Floor:
    """Hold parts that stand side by side and do not know each other.

    Args:
        parts: Modules, and folders with a slash at the end.
        purpose: What the floor does, in a few words.

    """

    parts: tuple[str, ...]
    purpose: str


@attrs.frozen(slots=True, kw_only=True)
class Annex:
    """Hold a part that stands beside the floors.

    Args:
        part: Module, or folder with a slash at the end.
        purpose: What it does, in a few words.
        stands_on: Everything of the package that it may import.
        serves: Parts on the floors that may import it.

    """

    part: str
    purpose: str
    stands_on: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()


FLOORS = (
    Floor(("_enums", "_clock"), "statuses, transitions, vocabularies"),
    Floor(("_models/",), "messages, models, inputs, policies"),
    Floor(("errors",), "how far did it get?"),
    Floor(("_threads",), "real threads, and waits that can be interrupted"),
    Floor(("_callsite",), "the caller's own line, thread and callbacks"),
    Floor(("_logic/",), "pure decisions: no clock, no I/O, no loop"),
    Floor(("_transport/",), "sockets or memory; owner of the time"),
    Floor(("_asyncio_tools",), "one value for each event loop; unexpected cancellation"),
    Floor(("_rate_limits",), "what all clients of an account share: its budgets"),
    Floor(("_requester", "_part_file"), "one request, end to end; one file, whole or absent"),
    Floor(("_polling/", "_download"), "waiting for jobs; fetching results"),
    Floor(("_bulk/",), "thousands of jobs: journal, manifests"),
    Floor(("_async/",), "verbs, one file per resource"),
    Floor(("_portal/",), "an event loop in a thread, for those who cannot await"),
    Floor(("_sync/",), "the verbs once more, blocking; generated"),
    Floor(("__init__",), "the names that people import"),
    Floor(("cli/",), "the commands that people type"),
    Floor(("__main__", "sandbox/__main__"), "`python -m lipsync_async`, and its sandbox"),
)

ANNEXES = (
    Annex(
        part="webhooks",
        purpose="verify and read deliveries",
        stands_on=("_enums", "_models/", "errors", "_logic/"),
        serves=("_async/", "__init__", "cli/"),
    ),
    Annex(
        part="sandbox/",
        purpose="the service on your own machine; never knows the client",
        stands_on=(
            "_enums",
            "_clock",
            "_models/http",
            "errors",
            "_transport/",
            "webhooks",
            "sandbox/media/",
        ),
        serves=("cli/", "sandbox/__main__"),
    ),
    Annex(
        part="sandbox/media/",
        purpose="the sandbox's renderer",
        stands_on=("_enums",),
        serves=("cli/", "sandbox/__main__"),
    ),
    Annex(
        part="_tools/",
        purpose="generators; not in the wheel",
        stands_on=("_enums",),
    ),
)

# Heavy or optional packages, and the only files that may import them: what users pay for
# `import lipsync_async` is decided here.
OUTSIDERS: Mapping[str, tuple[str, ...]] = {
    "aiohttp": (
        "_transport/aiohttp",
        "sandbox/",
    ),
    "av": ("sandbox/media/",),
    "espeakng_loader": ("sandbox/media/",),
    "numpy": ("sandbox/media/",),
    "PIL": ("sandbox/media/",),
    "rich": ("cli/",),
    "sqlite3": (
        "_bulk/journal",
        "_bulk/journal_file",
        "_bulk/journal_reader",
    ),
}


@attrs.frozen(slots=True)
class Import:
    """Hold one import statement's meaning.

    Args:
        importer: The importing module, such as `_rules/codec`.
        line: The statement's line.
        target: A module of the package (`errors`), or the name of an outside package.
        is_inside: Whether the target is a module of the package.

    """

    importer: str
    line: int
    target: str
    is_inside: bool


def violations(
    package: Path,
    floors: tuple[Floor, ...] = FLOORS,
    annexes: tuple[Annex, ...] = ANNEXES,
) -> list[str]:
    """Return every break of the rules, readable, in a stable order.

    Args:
        package: The package's folder.
        floors: The floors, bottom first.
        annexes: What stands beside them.

    """
    modules = _modules(package)
    imports = [found for name, path in modules.items() for found in _imports(name, path, modules)]
    allowed = _allowed(floors, annexes)
    return [
        *_unnamed(modules, allowed),
        *_vacant(modules, allowed),
        *_upward(imports, allowed),
        *_outsiders(imports),
        *_cycles(imports),
    ]


def map_lines() -> list[str]:
    """Return the floors, top first, then the annexes, as aligned text."""
    rows = [(" ".join(floor.parts), floor.purpose) for floor in reversed(FLOORS)]
    rows += [(annex.part, f"beside: {annex.purpose}") for annex in ANNEXES]
    width = max(len(parts) for parts, _ in rows)
    return [f"{parts:{width}}  {purpose}" for parts, purpose in rows]


def _modules(package: Path) -> dict[str, Path]:
    """Name every module by its path in the package, without the suffix."""
    paths = sorted(package.rglob("*.py"))
    return {path.relative_to(package).with_suffix("").as_posix(): path for path in paths}


def _imports(importer: str, path: Path, modules: Mapping[str, Path]) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for name in _imported_names(importer, node):
            inside = _module_of(name, modules)
            target = inside or name.partition(".")[0]
            yield Import(importer, node.lineno, target, inside is not None)


def _imported_names(importer: str, node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the full dotted names that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    origin = node.module or ""
    if node.level:
        folders = [PACKAGE, *importer.split("/")][: -node.level]
        origin = ".".join([*folders, *filter(None, [origin])])
    return [f"{origin}.{alias.name}" for alias in node.names]


def _module_of(name: str, modules: Mapping[str, Path]) -> str | None:
    """Return the package's module that a dotted name is, or is defined in."""
    steps = name.split(".")
    if steps[0] != PACKAGE:
        return None
    for length in range(len(steps), 1, -1):
        path = "/".join(steps[1:length])
        for candidate in (path, f"{path}/__init__"):
            if candidate in modules:
                return candidate
    return "__init__"


def _is_in(module: str, part: str) -> bool:
    return module.startswith(part) if part.endswith("/") else module == part


def _part_of(module: str, parts: Mapping[str, object]) -> str | None:
    """Return the narrowest part that holds the module."""
    holding = [part for part in parts if _is_in(module, part)]
    return max(holding, key=len, default=None)


def _allowed(floors: tuple[Floor, ...], annexes: tuple[Annex, ...]) -> dict[str, list[str]]:
    """Tell for each part from where it may import."""
    allowed: dict[str, list[str]] = {}
    below: list[str] = []
    for floor in floors:
        for part in floor.parts:
            served = [annex.part for annex in annexes if part in annex.serves]
            allowed[part] = [*below, *served]
        below += floor.parts
    for annex in annexes:
        allowed[annex.part] = list(annex.stands_on)
    return allowed


def _unnamed(modules: Mapping[str, Path], allowed: Mapping[str, list[str]]) -> list[str]:
    return [
        f"{module}.py: no floor names this file"
        for module in modules
        if _part_of(module, allowed) is None
    ]


def _vacant(modules: Mapping[str, Path], allowed: Mapping[str, list[str]]) -> list[str]:
    inhabited = {_part_of(module, allowed) for module in modules}
    vacant = [part for part in allowed if part not in inhabited]
    return [f"{part}: a floor names it, but it is not there" for part in vacant]


def _upward(imports: list[Import], allowed: Mapping[str, list[str]]) -> Iterator[str]:
    for found in imports:
        home = _part_of(found.importer, allowed)
        if not found.is_inside or home is None or _part_of(found.target, allowed) == home:
            continue
        if not any(_is_in(found.target, part) for part in allowed[home]):
            yield f"{found.importer}.py:{found.line}: {home} must not import {found.target}"


def _outsiders(imports: list[Import]) -> Iterator[str]:
    for found in imports:
        homes = () if found.is_inside else OUTSIDERS.get(found.target, ())
        if homes and not any(_is_in(found.importer, home) for home in homes):
            where = " and ".join(homes)
            yield f"{found.importer}.py:{found.line}: only {where} may import {found.target}"


def _cycles(imports: list[Import]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for found in imports:
        if found.is_inside:
            graph.setdefault(found.importer, set()).add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return [f"import cycle: {' -> '.join(reversed(circle))}"]
    return []
