"""One method of an async class, and the text of its blocking twin.

The twin's signature and docstring are the source's own text with the renames applied, so
that its layout and comments are the same. Its body is one call into the portal.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING

from lipsync_async._tools.mirror.annotations import Annotations, RefusedError, offset, segment
from lipsync_async._tools.mirror.layout import INDENT, WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lipsync_async._tools.mirror.tables import Tables

Method = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class MethodWriter:
    """Write the twins of one module's methods.

    Args:
        source: The module's text.
        annotations: Translates its types.
        aliases: The module's own names for types.
        tables: The renames.
        fired: Gets each rename that was used.

    """

    source: str
    annotations: Annotations
    aliases: Mapping[str, ast.expr]
    tables: Tables
    fired: set[str]

    def written(self, method: Method) -> str | None:
        """Return the twin's text, indented for a class; `None`: it has none.

        Raises:
            RefusedError: The method is of a kind that no rule covers.

        """
        name = method.name
        if name in self.tables.methods:
            self.fired.add(name)
            twin, body = self.tables.methods[name]
            return self._assembled(method, twin, method.returns, body)
        if name.startswith("_"):
            return None
        manager = _is_manager(method)
        if [ast.unparse(each) for each in method.decorator_list] == ["overload"]:
            signature = self._assembled(method, name, method.returns, "")
            return f"{INDENT}@overload\n{signature.rstrip()} ..."
        if method.decorator_list and not manager:
            raise RefusedError(f"line {method.lineno}: {name} has a decorator that no rule covers")
        if isinstance(method, ast.FunctionDef):
            return self._view(method)
        if manager:
            return self._opened(method)
        way = "iterate" if _yields(method) else "call"
        returned = "" if method.returns is None else segment(self.source, method.returns)
        keyword = "" if returned == "None" else "return "
        head = f"{keyword}self._portal.{way}("
        if way == "call":
            # Made in the loop: a coroutine that is made and never begun is complained about.
            body = self._deferred(head, f"self._source.{name}", method)
        else:
            body = self._call(head, f"self._source.{name}", method)
        return self._assembled(method, name, method.returns, body)

    def constructor(self, method: Method, source_class: str) -> str:
        """Return the text of a constructor that builds the async object and reflects it."""
        body = "".join(f"{line}\n" for line in self._hidden(method))
        body += "portal = Portal()\n"
        body += self._call("self._wrap(portal, ", source_class, method)
        return self._assembled(method, "__init__", method.returns, body)

    def _hidden(self, method: Method) -> Iterator[str]:
        """Yield the statements that hide arguments from tracebacks; a twin has them as well."""
        for node in method.body:
            match node:
                case ast.Assign(value=ast.Call(func=ast.Name("hidden"))):
                    yield segment(self.source, node)

    def docstring(self, node: Method | ast.ClassDef | ast.Module) -> str | None:
        """Return a docstring's own text, quotes included, in the words of blocking code."""
        match node.body:
            case [ast.Expr(ast.Constant(str()) as docstring), *_]:
                return self._reworded(segment(self.source, docstring))
        return None

    def _reworded(self, text: str) -> str:
        """Apply the renames of docstrings."""
        for old, new in self.tables.words.items():
            if old in text:
                self.fired.add(old)
                text = text.replace(old, new)
        for old, new in self.annotations.classes.items():
            text = re.sub(rf"\b{old}\b", new, text)
        return text

    def _view(self, method: ast.FunctionDef) -> str:
        """Write a plain method; it returns another reflection of the same client."""
        if method.returns is None or segment(self.source, method.returns) != "Self":
            raise RefusedError(f"line {method.lineno}: {method.name} is neither async nor a view")
        head = "return wrapped(type(self), self._portal, "
        body = self._call(head, f"self._source.{method.name}", method)
        return self._assembled(method, method.name, method.returns, body)

    def _opened(self, method: ast.AsyncFunctionDef) -> str:
        """Write a context manager, which must give out an iterator."""
        returns = "" if method.returns is None else self.annotations.translated(method.returns)
        given = re.fullmatch(r"Iterator\[(Iterator\[.*\])\]", returns)
        if given is None:
            raise RefusedError(f"line {method.lineno}: {method.name} gives out no async iterator")
        body = self._call("return self._portal.open(", f"self._source.{method.name}", method)
        returned = f"AbstractContextManager[{given[1]}]"
        return self._assembled(method, method.name, returned, body)

    def _assembled(
        self,
        method: Method,
        name: str,
        returns: ast.expr | str | None,
        body: str,
    ) -> str:
        if returns is None:
            raise RefusedError(f"line {method.lineno}: {method.name} does not say what it returns")
        if not isinstance(returns, str):
            returns = self.annotations.translated(returns)
        # Inner lines of types, defaults and docstrings are indented already.
        parts = [self._signature(method, name, returns)]
        docstring = self.docstring(method)
        if docstring is not None:
            parts.append(2 * INDENT + docstring)
        return "\n".join([*parts, indent(body, 2 * INDENT)])

    def _signature(self, method: Method, name: str, returns: str) -> str:
        parameters = list(self._parameters(method))
        flat = f"{INDENT}def {name}({', '.join(text for text, _ in parameters)}) -> {returns}:"
        has_rows = _is_exploded(method) or any(comment for _, comment in parameters)
        if not has_rows and len(flat) <= WIDTH:
            return flat
        rows = [f"{2 * INDENT}{text},{comment}" for text, comment in parameters]
        return "\n".join([f"{INDENT}def {name}(", *rows, f"{INDENT}) -> {returns}:"])

    def _parameters(self, method: Method) -> Iterator[tuple[str, str]]:
        """Yield each parameter's text, and the comment that stands behind it."""
        arguments = method.args
        if arguments.vararg or arguments.kwarg:
            raise RefusedError(f"line {method.lineno}: {method.name} takes any number of arguments")
        positional = [*arguments.posonlyargs, *arguments.args]
        missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
        for number, (argument, default) in enumerate(
            zip(positional, [*missing, *arguments.defaults], strict=True),
            start=1,
        ):
            yield self._parameter(argument, default), self._comment(default or argument)
            if number == len(arguments.posonlyargs):
                yield "/", ""
        if arguments.kwonlyargs:
            yield "*", ""
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            yield self._parameter(argument, default), self._comment(default or argument)

    def _parameter(self, argument: ast.arg, default: ast.expr | None) -> str:
        text, equals = argument.arg, "="
        if argument.annotation is not None:
            text, equals = f"{text}: {self.annotations.translated(argument.annotation)}", " = "
        return text if default is None else f"{text}{equals}{segment(self.source, default)}"

    def _comment(self, last: ast.expr | ast.arg) -> str:
        end = offset(self.source, last) + len(segment(self.source, last))
        rest = self.source[end:].partition("\n")[0].lstrip(", ")
        return f"  {rest}" if rest.startswith("#") else ""

    def _call(self, head: str, function: str, method: Method) -> str:
        return _nested(head, function, list(self._arguments(method)))

    def _deferred(self, head: str, function: str, method: Method) -> str:
        arguments = list(self._arguments(method))
        return (
            _nested(head, "partial", [function, *arguments]) if arguments else f"{head}{function})"
        )

    def _arguments(self, method: Method) -> Iterator[str]:
        arguments = method.args
        for argument in [*arguments.posonlyargs, *arguments.args][1:]:  # without `self`
            yield self._passed_on(argument)
        for argument in arguments.kwonlyargs:
            yield f"{argument.arg}={self._passed_on(argument)}"

    def _passed_on(self, argument: ast.arg) -> str:
        """Let callbacks and inputs run in the caller's thread; a callback's name must say so."""
        if argument.annotation is not None and "AsyncIterable" in ast.unparse(argument.annotation):
            return f"iterate_in_caller({argument.arg})"
        is_callback = argument.annotation is not None and self._is_callable(argument.annotation)
        if is_callback != argument.arg.startswith("on_"):
            raise RefusedError(f"line {argument.lineno}: is {argument.arg} a callback?")
        return f'call_in_caller("{argument.arg}", {argument.arg})' if is_callback else argument.arg

    def _is_callable(self, annotation: ast.expr) -> bool:
        words = set(re.findall(r"\w+", ast.unparse(annotation)))  # dotted and quoted ones, too
        behind = [self.aliases[word] for word in words & self.aliases.keys()]
        return "Callable" in words or any(self._is_callable(alias) for alias in behind)


def _nested(head: str, function: str, arguments: list[str]) -> str:
    """Lay out a call inside another as the formatter would."""
    inner = f"{function}({', '.join(arguments)})"
    if len(f"{2 * INDENT}{head}{inner})") <= WIDTH:
        return f"{head}{inner})"
    leading = [part for part in head.partition("(")[2].split(", ") if part]
    rows = [f"{INDENT}{part}," for part in leading]
    if len(f"{3 * INDENT}{inner},") <= WIDTH:
        rows.append(f"{INDENT}{inner},")
    else:
        rows.append(f"{INDENT}{function}(")
        rows += [f"{2 * INDENT}{argument}," for argument in arguments]
        rows.append(f"{INDENT}),")
    return "\n".join([f"{head.partition('(')[0]}(", *rows, ")"])


def _is_exploded(method: Method) -> bool:
    """Tell whether the source has a parameter on each line."""
    every = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
    return len({argument.lineno for argument in every}) == len(every) > 1


def _is_manager(method: Method) -> bool:
    return [ast.unparse(each) for each in method.decorator_list] == ["asynccontextmanager"]


def _yields(method: Method) -> bool:
    """Tell whether a function's own body yields."""
    waiting: list[ast.AST] = list(method.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return False
