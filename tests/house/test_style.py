"""House style that no linter knows: promises, waits, public docstrings, paths."""

import ast
import builtins
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from lipsync_async._tools.public_api import MODULES, public_names, resources, section

ROOT = Path(__file__).parents[2]
TEXTS = {".py", ".md", ".toml", ".txt", ".yml", ""}
SOURCES = sorted((ROOT / "lipsync_async").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))

LONGEST_DOCSTRING = 35  # one screen; `create` explains ten arguments

# Generic waits; who only lets others run calls a checkpoint.
SLEEPS = {"time.sleep", "asyncio.sleep", "anyio.sleep", "trio.sleep"}
MOCKS = re.compile(r"\bunittest\.mock\b|\bfrom unittest import mock\b|\bmocker\b")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:root|home|work|Users|opt|srv|tmp)/\w")


def named(paths: list[Path]) -> pytest.MarkDecorator:
    """Run a test once for each path, under the path's name."""
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    return pytest.mark.parametrize("path", paths, ids=names)


def texts() -> list[Path]:
    """Return every text file of the project."""
    folders = [*SOURCES, *TESTS, *BENCHMARKS, *(ROOT / ".ci").rglob("*")]
    others = {".git", ".coverage"}  # a linked work tree, and what was covered
    found = [path for path in [*folders, *ROOT.iterdir()] if path.name not in others]
    return [path for path in found if path.is_file() and path.suffix in TEXTS]


@named(TESTS)
def test_every_test_states_its_promise(path: Path) -> None:
    """A test's docstring is one line that says what holds."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = [node for node in functions(tree) if node.name.startswith("test_")]
    silent = [node.name for node in tests if "\n" in (ast.get_docstring(node) or "\n")]
    assert silent == []


@named(TESTS)
def test_tests_neither_sleep_nor_mock(path: Path) -> None:
    """Waiting is for events, on the virtual clock or for real ones; the code is the code."""
    source = path.read_text(encoding="utf-8")
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    assert [call.lineno for call in calls if is_sleep(call)] == []
    if path != Path(__file__):
        assert MOCKS.findall(source) == []


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("anyio.sleep(1)", True),
        ("time.sleep(pause)", True),
        ("asyncio.sleep(0)", True),
        ("clock.sleep(1)", False),
        ("anyio.sleep_forever()", False),
    ],
)
def test_sleeps_are_recognised(call: str, expected: bool) -> None:  # noqa: FBT001
    """Sleeps are found, of no length as well; events and virtual time are not sleeping."""
    parsed = ast.parse(call, mode="eval").body
    assert isinstance(parsed, ast.Call)
    assert is_sleep(parsed) is expected


def test_the_client_has_threads_of_its_own() -> None:
    """The threads of anyio may all be waiting for the client already, or be greenlets."""
    client = [
        path
        for path in (ROOT / "lipsync_async").rglob("*.py")
        if not {"sandbox", "cli", "_tools"} & {*path.parts}
    ]
    assert [path.name for path in client if "to_thread" in path.read_text("utf-8")] == []


def test_no_file_knows_a_machine() -> None:
    """Nothing names a folder of somebody's computer."""
    found = {path.name: MACHINE_PATHS.findall(path.read_text(encoding="utf-8")) for path in texts()}
    assert {name: paths for name, paths in found.items() if paths} == {}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_sleep(call: ast.Call) -> bool:
    """Tell whether a call waits for time alone."""
    return ast.unparse(call.func) in SLEEPS


def public_things() -> Iterator[tuple[str, object]]:
    """Yield every public name with its value, resources such as `generations` included."""
    for module_name in MODULES:
        module = import_module(module_name)
        for name in public_names(module):
            value = getattr(module, name)
            yield f"{module_name}.{name}", value
            for attribute, resource in (resources(value) if inspect.isclass(value) else {}).items():
                yield f"{module_name}.{name}.{attribute}", resource


def public_callables() -> dict[str, Callable[..., object]]:
    """Return every public function and method, by its full name."""
    found: dict[str, Callable[..., object]] = {}
    for name, value in public_things():
        members = vars(value) if inspect.isclass(value) else {"": value}
        found |= {
            f"{name}.{member}".rstrip("."): function
            for member, function in members.items()
            if inspect.isfunction(function) and not member.startswith("_")
        }
    return found


def verbs() -> dict[str, Callable[..., object]]:
    """Return the methods that talk to the service: those of the clients' resources."""
    resource = re.compile(r"Client\.[a-z]\w*\.")
    return {name: verb for name, verb in public_callables().items() if resource.search(name)}


@pytest.mark.parametrize(("name", "function"), public_callables().items())
def test_public_docstrings_are_whole(name: str, function: Callable[..., object]) -> None:
    """Every argument is explained, none is made up, and it fits on a screen."""
    docstring = inspect.getdoc(function) or ""
    parameters = [item for item in inspect.signature(function).parameters if item != "self"]
    explained = section(docstring, "Args")
    # The summary may explain one argument or two.
    assert explained == parameters or (not explained and len(parameters) <= 2), name
    assert len(docstring.splitlines()) in range(1, LONGEST_DOCSTRING + 1)


@pytest.mark.parametrize(("name", "function"), public_callables().items())
def test_documented_errors_exist(name: str, function: Callable[..., object]) -> None:
    """`Raises:` names classes that users can catch."""
    modules = [import_module(module) for module in MODULES]
    known = set(dir(builtins)).union(*(dir(module) for module in modules))
    assert set(section(function.__doc__, "Raises")) - known == set(), name


@pytest.mark.parametrize(("name", "function"), verbs().items())
def test_verbs_tell_what_they_send_and_what_can_go_wrong(
    name: str,
    function: Callable[..., object],
) -> None:
    """A verb's docstring names its wire form, its errors and its source."""
    docstring = inspect.getdoc(function) or ""
    parts = [part for part in ("Wire: ", "Raises:", "Source: ") if f"\n{part}" not in docstring]
    assert parts == [], name
