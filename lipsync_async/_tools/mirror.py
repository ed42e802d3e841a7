"""Write the blocking twin of each file of `_async/`, or check that it is up to date.

    python -m lipsync_async._tools.mirror [--check]

A twin has the source's classes with the same methods: their signatures and docstrings in the
words of blocking code, and bodies that are one call into the portal. `ruff` lays the text out,
sorts the imports and drops those that are not needed. What no rule covers is an error, and so
is a word to replace that does not occur.
"""

from __future__ import annotations

import ast
import copy
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._tools import write_or_check

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path("lipsync_async", "_async")
TARGET = Path("lipsync_async", "_sync")

# Methods whose twins are no plain calls: their names and what they do.
METHODS = {
    "aclose": ("close", "self._portal.close(self._source.aclose)"),
    "__aenter__": ("__enter__", "return self"),
    "__aexit__": ("__exit__", "self.close()"),
}
# Generic types; `{}` is the first parameter.
TYPES = {
    "AsyncGenerator": "Generator[{}, None, None]",
    "AsyncIterable": "Iterable[{}]",
    "AsyncIterator": "Iterator[{}]",
    "Awaitable": "{}",
    "OutcomeIterator": "BlockingOutcomes",
}
# Parts of docstrings, in the order in which they are replaced.
WORDS = {
    "The verbs, async": "The verbs, blocking",
    "The async client": "The blocking client",
    "for asyncio code": "for code that cannot await",
    "call `aclose` in the end": "call `close` in the end",
    "serves any number of tasks of one event loop at once. It may be built anywhere, and\n"
    "used by several `asyncio.run` calls in a row.": (
        "serves any number of threads at once; its methods suit `executor.submit`. Each runs\n"
        "in an event loop that the client keeps in a thread of its own, so it may be used\n"
        "inside a running loop, too. A forked child may go on using the client.\n"
        "\n"
        "Ctrl-C during a call cancels it, waits for its clean-up, and raises\n"
        "`KeyboardInterrupt`; a second Ctrl-C does not wait. Callbacks are called in the\n"
        "thread that waits."
    ),
    "the client cannot be used again.": (
        "the client cannot be used again.\n"
        "\n"
        "Calls that are under way in other threads end with `ConfigurationError`."
    ),
    "Called, and awaited if need be, with": "Called, in the thread that waits, with",
    "by timeout or cancellation": "by timeout or Ctrl-C",
    "async with ": "with ",
    "await ": "",
}

# What twins may need; ruff drops the imports that they do not.
_IMPORTS = """\
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING
from lipsync_async._portal import BlockingOutcomes, Portal, SyncWrapper
from lipsync_async._portal import call_in_caller, iterate_in_caller
"""
_HEADER = """\
# Generated from lipsync_async/_async/{name}.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.
"""
# Names that cannot stand in blocking code.
_ASYNC = re.compile(r"Async|\b(?:asyncio|anyio)\b|Awaitable|Coroutine|(?:Future|Task)\b")

Method = ast.FunctionDef | ast.AsyncFunctionDef


class RefusedError(Exception):
    """Raised for code that no rule covers."""

    def __init__(self, node: ast.expr | ast.stmt | ast.arg, problem: str) -> None:
        super().__init__(f"line {node.lineno}: {problem}")


@attrs.frozen(slots=True)
class Tables:
    """Words to replace, and which of them have occurred."""

    methods: Mapping[str, tuple[str, str]] = attrs.field(default=METHODS)
    types: Mapping[str, str] = attrs.field(default=TYPES)
    words: Mapping[str, str] = attrs.field(default=WORDS)
    used: set[str] = attrs.field(factory=set)


def twins(sources: Mapping[str, str], tables: Tables) -> dict[str, str]:
    """Return the text of each file's blocking twin; names are without `.py`."""
    trees = {name: ast.parse(text) for name, text in sources.items()}
    homes = {node.name: name for name, tree in trees.items() for node in _async_classes(tree)}
    texts = {
        name: _Module(name, tree, homes, tables).text()
        for name, tree in trees.items()
        if name == "__init__" or name in homes.values()
    }
    every = (*tables.methods, *tables.types, *tables.words)
    if unused := [word for word in every if word not in tables.used]:
        raise LookupError(f"these words do not occur any more: {unused}")
    return texts


def formatted(name: str, text: str) -> str:
    """Return Python text as `ruff` lays it out, without imports that it does not need."""
    commas = ("lint.isort.split-on-trailing-comma=false", "format.skip-magic-trailing-comma=true")
    options = [f"--config={option}" for option in commas]
    options += ["--quiet", "--stdin-filename", str(TARGET / f"{name}.py"), "-"]
    for step in (("check", "--fix-only", "--unsafe-fixes", "--select=I,F401,TC"), ("format",)):
        command = [sys.executable, "-m", "ruff", *step, *options]
        text = subprocess.run(  # noqa: S603 - our own words
            command, input=text, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True
        ).stdout
    return text


def _async_classes(tree: ast.Module) -> list[ast.ClassDef]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [node for node in classes if node.name.startswith("Async")]


class _Module:
    """Writer of one file's twin."""

    def __init__(
        self, name: str, tree: ast.Module, homes: Mapping[str, str], tables: Tables
    ) -> None:
        self._name = name
        self._tree = tree
        self._homes = homes
        self._tables = tables
        self._aliases = dict(_aliases(tree))
        self._types = _Types(tables, {name: name.removeprefix("Async") for name in homes})

    def text(self) -> str:
        classes = "\n\n".join(self._class(node) for node in _async_classes(self._tree))
        head = _HEADER.format(name=self._name) + "\n" + self._docstring(self._tree)
        if not classes:
            return head
        return f"{head}\n{self._imports()}\n{classes}"

    def _imports(self) -> str:
        lines = ["from __future__ import annotations", _IMPORTS]
        lines += [ast.unparse(node) for node in _imports(self._tree)]
        own = ", ".join(_own_names(self._tree))
        lines.append(f"from lipsync_async._async.{self._name} import {own}")
        lines += [
            f"from lipsync_async._sync.{home} import {name.removeprefix('Async')}"
            for name, home in self._homes.items()
            if home != self._name
        ]
        aliases = "".join(
            f"    {name} = {self._types.text(meaning)}\n" for name, meaning in self._aliases.items()
        )
        return "\n".join([*lines, aliases and f"if TYPE_CHECKING:\n{aliases}"])

    def _class(self, node: ast.ClassDef) -> str:
        resources = self._resources(node)
        methods = [each for each in node.body if isinstance(each, Method)]
        lines = [f"class {node.name.removeprefix('Async')}(SyncWrapper):"]
        lines.append(indent(self._docstring(node), "    "))
        lines += [f"    {name}: {kind}" for name, kind in resources.items()]
        lines.append(f"    _source: {node.name}")
        texts: list[str | None] = []
        if resources:  # the others are made by the class that has them
            parts = " ".join(f'("{name}", {kind}),' for name, kind in resources.items())
            lines.append(f"    _parts = ({parts})")
            constructors = [each for each in methods if each.name == "__init__"]
            texts += [self._constructor(each, node.name) for each in constructors]
        texts += [self._method(each) for each in methods]
        lines += ["\n" + indent(text, "    ") for text in texts if text]
        return "\n".join(lines)

    def _resources(self, node: ast.ClassDef) -> dict[str, str]:
        """Return the attributes that hold other async objects; a twin would lack any others."""
        resources: dict[str, str] = {}
        lost: list[ast.expr | ast.stmt] = [
            each for each in node.decorator_list if not ast.unparse(each).startswith("attrs.")
        ]
        lost += [base for base in node.bases if ast.unparse(base) != "Resource"]
        lost += [keyword.value for keyword in node.keywords]
        for each in node.body:
            match each:
                case ast.AnnAssign(ast.Name(name), ast.Name(kind), None) if kind in self._homes:
                    resources[name] = kind.removeprefix("Async")
                case ast.Expr() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    pass
                case ast.AnnAssign(ast.Name(name), _, None) if name.startswith("_"):
                    pass  # what only the source needs
                case _:
                    lost.append(each)
        if lost:
            raise RefusedError(lost[0], f"{node.name} has what no rule covers")
        return resources

    def _constructor(self, method: Method, source: str) -> str:
        # Arguments that are hidden from tracebacks are hidden by the twin as well.
        body = [
            ast.unparse(node)
            for node in method.body
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("hidden(")
        ]
        body.append(f"super().__init__(Portal(), {self._call(source, method)})")
        return self._function(method, "__init__", self._returns(method), "\n".join(body))

    def _method(self, method: Method) -> str | None:
        """Return a method's twin; `None`: it has none."""
        name = method.name
        if name.startswith("_") and name not in self._tables.methods:
            return None
        returns = self._returns(method)
        if name in self._tables.methods:
            self._tables.used.add(name)
            twin, body = self._tables.methods[name]
            return self._function(method, twin, returns, body)
        match [ast.unparse(each) for each in method.decorator_list]:
            case []:
                return self._function(method, name, returns, self._body(method, returns))
            case ["property"] if returns in self._types.twins:
                home = self._homes[f"Async{returns}"]
                body = (
                    f"from lipsync_async._sync.{home} import {returns}  "
                    "# noqa: PLC0415 - loaded when it is used\n"
                    f"return {returns}(self._portal, self._source.{name})"
                )
                return "@property\n" + self._function(method, name, returns, body)
            case ["overload"]:
                return "@overload\n" + self._function(method, name, returns, "...")
            case ["asynccontextmanager"]:
                given = re.fullmatch(r"Iterator\[(Iterator\[.*\]|BlockingOutcomes)\]", returns)
                if given is None:
                    raise RefusedError(method, f"{name} gives out no async iterator")
                way = "open_run" if given[1] == "BlockingOutcomes" else "open"
                body = f"return self._portal.{way}({self._call(f'self._source.{name}', method)})"
                return self._function(method, name, f"AbstractContextManager[{given[1]}]", body)
        raise RefusedError(method, f"{name} has a decorator that no rule covers")

    def _body(self, method: Method, returns: str) -> str:
        call = self._call(f"self._source.{method.name}", method)
        if returns.startswith(("Generator[", "Iterator[")):
            return f"return self._portal.iterate({call})"
        if isinstance(method, ast.FunctionDef):
            if returns != "Self":
                raise RefusedError(method, f"{method.name} is neither async nor returns Self")
            return f"return self._view({call})"
        # The coroutine is made in the loop: one that is never awaited would be warned of.
        arguments = ", ".join([f"self._source.{method.name}", *self._arguments(method)])
        work = f"partial({arguments})" if "," in arguments else arguments
        return f"{'' if returns == 'None' else 'return '}self._portal.call({work})"

    def _returns(self, method: Method) -> str:
        if method.returns is None:
            raise RefusedError(method, f"{method.name} does not say what it returns")
        return self._types.text(method.returns)

    def _function(self, method: Method, name: str, returns: str, body: str) -> str:
        if method.args.vararg or method.args.kwarg:
            raise RefusedError(method, f"{method.name} takes any number of arguments")
        parameters = self._types.text(method.args)
        docstring = self._docstring(method)
        return f"def {name}({parameters}) -> {returns}:\n" + indent(f"{docstring}{body}", "    ")

    def _call(self, function: str, method: Method) -> str:
        return f"{function}({', '.join(self._arguments(method))})"

    def _arguments(self, method: Method) -> Iterator[str]:
        """Yield the arguments that a twin passes on; callbacks run in the caller's thread."""
        for argument in [*method.args.posonlyargs, *method.args.args][1:]:  # without `self`
            yield self._argument(argument)
        for argument in method.args.kwonlyargs:
            yield f"{argument.arg}={self._argument(argument)}"

    def _argument(self, argument: ast.arg) -> str:
        annotation = argument.annotation
        if annotation is not None and "AsyncIterable" in ast.unparse(annotation):
            return f"iterate_in_caller({argument.arg})"
        is_callback = annotation is not None and self._is_callable(annotation)
        if is_callback != argument.arg.startswith("on_"):
            raise RefusedError(argument, f"is {argument.arg} a callback?")
        return f'call_in_caller("{argument.arg}", {argument.arg})' if is_callback else argument.arg

    def _is_callable(self, annotation: ast.expr) -> bool:
        words = set(re.findall(r"\w+", ast.unparse(annotation)))  # quoted ones, too
        behind = [self._aliases[word] for word in words & self._aliases.keys()]
        return "Callable" in words or any(self._is_callable(alias) for alias in behind)

    def _docstring(self, node: Method | ast.ClassDef | ast.Module) -> str:
        text = ast.get_docstring(node)
        if text is None:
            return ""
        for old, new in self._tables.words.items():
            if old in text:
                self._tables.used.add(old)
                text = text.replace(old, new)
        for name in self._homes:
            text = re.sub(rf"\b{name}\b", name.removeprefix("Async"), text)
        return '"""{}{}"""\n'.format(text.replace("\\", "\\\\"), "\n" if "\n" in text else "")


class _Types(ast.NodeTransformer):
    """Types of async code, as blocking code has them."""

    def __init__(self, tables: Tables, classes: Mapping[str, str]) -> None:
        self._tables = tables
        self._classes = classes
        self.twins = frozenset(classes.values())

    def text(self, node: ast.expr | ast.arguments) -> str:
        """Return the text of an annotation or of parameters."""
        return ast.unparse(self.visit(copy.deepcopy(node)))

    def visit(self, node: ast.AST) -> Any:
        match node:
            case ast.Subscript(ast.Name(name), parameters) if name in self._tables.types:
                self._tables.used.add(name)
                first = parameters.elts[0] if isinstance(parameters, ast.Tuple) else parameters
                return _parsed(self._tables.types[name].format(ast.unparse(self.visit(first))))
            case ast.BinOp(op=ast.BitOr()):
                # An awaited `None` and a plain one are the same.
                parts = [ast.unparse(self.visit(part)) for part in _alternatives(node)]
                parts = [*map(ast.unparse, _alternatives(_parsed(" | ".join(parts))))]
                return _parsed(" | ".join(dict.fromkeys(parts)))
            case ast.Name(name) if name in self._tables.types:
                self._tables.used.add(name)
                return ast.Name(self._tables.types[name])
            case ast.Name(name) if name in self._classes:
                return ast.Name(self._classes[name])
            case ast.Name() | ast.Attribute() | ast.Constant() if _ASYNC.search(ast.unparse(node)):
                raise RefusedError(node, f"no rule says what {ast.unparse(node)} is when blocking")
        return self.generic_visit(node)


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def _imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield a module's own imports, those for type checkers included."""
    blocks = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.If))]
    for node in (node for block in blocks for node in block):
        if isinstance(node, ast.Import) or (
            isinstance(node, ast.ImportFrom) and node.module != "__future__"
        ):
            yield node


def _aliases(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that a module gives to types."""
    for node in tree.body:
        match node:
            case ast.AnnAssign(ast.Name(name), ast.Name("TypeAlias"), ast.Constant(str() as text)):
                yield name, ast.parse(text, mode="eval").body
            case ast.AnnAssign(ast.Name(name), ast.Name("TypeAlias"), ast.expr() as meaning):
                yield name, meaning


def _own_names(tree: ast.Module) -> Iterator[str]:
    """Yield the constants and classes that a module defines."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def main() -> int:
    """Write the twins, or check them."""
    sources = {path.stem: path.read_text("utf-8") for path in sorted(SOURCE.glob("*.py"))}
    texts = {name: formatted(name, text) for name, text in twins(sources, Tables()).items()}
    expected: dict[Path, str | None] = dict.fromkeys(sorted(TARGET.rglob("*.py")))
    return write_or_check(expected | {TARGET / f"{name}.py": texts[name] for name in texts})


if __name__ == "__main__":
    sys.exit(main())
