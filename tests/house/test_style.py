"""Style that no linter knows: promises, waits, public docstrings, paths."""

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
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LONGEST_DOCSTRING = 40  # one screen; `run_many` explains thirteen arguments

# Generic waits; to let others run once is a checkpoint.
SLEEPS = {"time.sleep", "asyncio.sleep", "anyio.sleep", "trio.sleep"}
MOCKS = re.compile(r"\bunittest\.mock\b|\bfrom unittest import mock\b|\bmocker\b")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:root|home|work|Users|opt|srv|tmp)/\w")


def texts() -> list[Path]:
    """Return every text file of the project."""
    folders = ("lipsync_async", "tests", "benchmarks", "docs", ".ci")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    others = {".git", ".coverage"}  # a linked work tree, and what was covered
    found = [path for path in [*paths, *ROOT.iterdir()] if path.name not in others]
    return [path for path in found if path.is_file() and path.suffix in TEXTS]


def test_every_test_states_its_promise() -> None:
    """A test's docstring is one line that says what holds."""
    silent = [
        f"{path.name}: {node.name}"
        for path in TESTS
        for top in ast.parse(path.read_bytes()).body
        for node in (top.body if isinstance(top, ast.ClassDef) else [top])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_") and "\n" in (ast.get_docstring(node) or "\n")
    ]
    assert silent == []


def test_tests_neither_sleep_nor_mock() -> None:
    """Waiting is for events, on the virtual clock or for real ones; the code is the code."""
    sleeping = [
        f"{path.name}:{node.lineno}"
        for path in TESTS
        if "sleep(" in (text := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and is_sleep(node)
    ]
    assert sleeping == []
    mocking = [path.name for path in TESTS if MOCKS.search(path.read_text(encoding="utf-8"))]
    assert mocking == []


SLEEPING = ["anyio.sleep(1)", "time.sleep(pause)", "asyncio.sleep(0)"]


@pytest.mark.parametrize("call", [*SLEEPING, "clock.sleep(1)", "anyio.sleep_forever()"])
def test_sleeps_are_recognised(call: str) -> None:
    """Sleeps are found, of no length as well; events and virtual time are not sleeping."""
    parsed = ast.parse(call, mode="eval").body
    assert isinstance(parsed, ast.Call)
    assert is_sleep(parsed) is (call in SLEEPING)


def test_the_client_has_threads_of_its_own() -> None:
    """The threads of anyio may all be waiting for the client already, or be greenlets."""
    paths, others = (ROOT / "lipsync_async").rglob("*.py"), {"sandbox", "cli", "_tools"}
    client = [path for path in paths if not others & {*path.parts}]
    assert [path.name for path in client if "to_thread" in path.read_text("utf-8")] == []


def test_no_file_knows_a_machine() -> None:
    """Nothing names a folder of one computer."""
    found = {path.name: MACHINE_PATHS.findall(path.read_text(encoding="utf-8")) for path in texts()}
    assert {name: paths for name, paths in found.items() if paths} == {}


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


def test_public_docstrings_are_whole() -> None:
    """Every argument is explained, none is made up, and it fits on a screen."""
    functions = public_callables()
    texts = {name: inspect.getdoc(function) or "" for name, function in functions.items()}
    lengths = {name: len(text.splitlines()) for name, text in texts.items()}
    assert [name for name, length in lengths.items() if not 0 < length <= LONGEST_DOCSTRING] == []
    explained = {name: section(text, "Args") for name, text in texts.items()}
    parameters = {
        name: [item for item in inspect.signature(function).parameters if item != "self"]
        for name, function in functions.items()
    }
    wrong = [name for name in functions if explained[name] != parameters[name]]
    # The summary may explain one argument or two.
    assert [name for name in wrong if explained[name] or len(parameters[name]) > 2] == []


def test_documented_errors_exist() -> None:
    """`Raises:` names classes that users can catch."""
    modules = [builtins, *map(import_module, MODULES)]
    known = {name for module in modules for name in dir(module)}
    functions = public_callables().values()
    documented = {name for each in functions for name in section(each.__doc__, "Raises")}
    assert documented - known == set()


def test_verbs_tell_what_they_send_and_what_can_go_wrong() -> None:
    """The docstring of a resource's method names its wire form, its errors and its source."""
    verb = re.compile(r"Client\.[a-z]\w*\.")
    verbs = {name: each for name, each in public_callables().items() if verb.search(name)}
    parts = ("Wire: ", "Raises:", "Source: ")
    missing = [
        f"{name}: {part}"
        for name, function in verbs.items()
        for part in parts
        if f"\n{part}" not in (inspect.getdoc(function) or "")
    ]
    assert verbs
    assert missing == []
