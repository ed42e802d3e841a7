"""What the documents say is true: their code runs, their links and their map lead somewhere."""

import logging
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import lipsync_async
from lipsync_async._bulk.journal_entry import JobState
from lipsync_async._bulk.manifest import COLUMNS
from lipsync_async._enums import TRANSITIONS
from lipsync_async.sandbox.faults import KINDS
from lipsync_async.sandbox.media.demo_media import draw_talking_head, speak_line
from tests.house.code_blocks import Block, blocks
from tests.interpreter import BlockingFork

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "lipsync_async"
README = ROOT / "README.md"
GUIDES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [README, *GUIDES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
COMMANDS = (
    "python -m pip install nox && python -m nox -s demo",
    "python -m pip install nox && python -m nox -s tests",
)
TOP_LINES = 40  # what a reader sees before scrolling far
SHOP_WINDOW_LINES = 250

# `nox -s engines` runs these recipes, each in the test file of its engine; `nox -s processes` runs
# the pages of the adapters.
ENGINES = [path.stem.removeprefix("test_") for path in (ROOT / "tests/engines").glob("test_*.py")]
ENGINES += ["celery", "procrastinate"]
RECIPES = {ROOT / "docs" / f"engines-{engine}.md" for engine in ENGINES}
GUIDE_BLOCKS = [
    block for guide in GUIDES if guide not in RECIPES for block in blocks(guide, "python")
]
UNMAPPED = {"__init__.py", "__main__.py"}
# A test file of its own; it runs under pytest below.
IS_TEST_FILE = re.compile(r"^@pytest\.", re.MULTILINE)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files that the examples use: a small talking head, a spoken line, a manifest."""
    folder = tmp_path_factory.mktemp("media")
    draw_talking_head(folder / "video.mp4", seconds=2.0, width=64, height=48)
    speak_line(folder / "audio.wav", seconds=0.4)
    (manifest,) = blocks(ROOT / "docs" / "manifests.md", "csv")
    (folder / "takes.csv").write_text(manifest.source, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    """Start the sandbox as a reader does, and give the variables that its first line sets."""
    command = [sys.executable, "-m", "lipsync_async.sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:  # noqa: S603
        assert service.stdout is not None
        _, *settings = service.stdout.readline().split()
        yield dict(setting.split("=", 1) for setting in settings)
        service.send_signal(signal.SIGINT)


@pytest.fixture
def folder(
    media: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Give what a reader has: one folder for all examples, and the sandbox's variables."""
    monkeypatch.chdir(media)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    handlers, level = logging.root.handlers[:], logging.root.level
    retry_log = logging.getLogger("lipsync_async.retry")
    yield media
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    retry_log.setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    "block", [block for block in GUIDE_BLOCKS if not IS_TEST_FILE.search(block.source)], ids=str
)
def test_a_guide_runs(block: Block, folder: Path) -> None:
    """Every `python` block of the guides runs as pasted, beside a sandbox."""
    for _ in _runs(folder):
        block.run()


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("block", blocks(README, "python"), ids=str)
def test_a_program_runs_as_pasted(block: Block, folder: Path, variables: dict[str, str]) -> None:
    """The three uses run as programs of their own."""
    reader = f"os.chdir({str(folder)!r}); os.environ.update({variables!r})\n"
    for _ in _runs(folder):
        with BlockingFork(reader + block.source) as program:
            program.stdout.read()
        assert program.returncode == 0, program.errors


def test_each_example_has_a_journal_of_its_own() -> None:
    """Readers run them in one folder, and a journal belongs to one input."""
    examples = [*GUIDE_BLOCKS, *blocks(README, "python")]
    used = [{*re.findall(r"[\w-]+\.sqlite", each.source)} for each in examples]
    names = [name for journals in used for name in journals]
    assert (sorted(set(names)), len(names) > 1) == (sorted(names), True)


@pytest.mark.parametrize(
    "block", [block for block in GUIDE_BLOCKS if IS_TEST_FILE.search(block.source)], ids=str
)
def test_a_test_file_runs_as_pasted(block: Block, folder: Path) -> None:
    """The guides' test files run under pytest."""
    (folder / "test_pasted.py").write_text(block.source, encoding="utf-8")
    plugins = ("-p", "no:cacheprovider", "-p", "anyio", "-p", "lipsync_async.testing")
    how = ("-m", "pytest", "-q", *plugins, "test_pasted.py")
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run([sys.executable, *how], check=True, timeout=50, env=environment)  # noqa: S603


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_stand_at_the_top(command: str) -> None:
    """Demo and tests are one line each, word for word, where a reader looks first."""
    first = [block for block in blocks(README, "sh") if block.line <= TOP_LINES]
    assert command in [line for block in first for line in block.source.splitlines()]


def test_the_readme_is_a_shop_window() -> None:
    """It stays short enough to be read."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= SHOP_WINDOW_LINES


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Each link to a file, a heading, or both, finds it."""
    broken = [link for link in _links(document) if not _is_found(document, link)]
    assert broken == []


def test_the_guide_shows_the_transitions() -> None:
    """The table of a job's life is the table that the code goes by."""
    text = (ROOT / "docs" / "waiting.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([A-Z]+) \| ([A-Z, ]+) \|$", text, re.MULTILINE))
    shown = {status: set(successors.split(", ")) for status, successors in rows.items()}
    assert shown == {str(status): set(after) for status, after in TRANSITIONS.items() if after}


def test_the_reference_has_every_public_name() -> None:
    """What can be imported is described."""
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*")]
    described = set(re.findall(r"^::: lipsync_async\.([\w.]+)$", "\n".join(pages), re.MULTILINE))
    served = {f"sandbox.{name}" for name in lipsync_async.sandbox.__all__}
    public = served | {*lipsync_async.__all__}
    assert public - described - {"__version__"} == set()


def test_the_readme_names_files_that_are_there() -> None:
    """Each file that the README's map sends its reader to exists, and has what is named."""
    text = README.read_text(encoding="utf-8").partition("## The map")[2]
    for name, hints in re.findall(r"`(\w[\w/]*\.py)`(?: \(([^)]*)\))?", text):
        source = (PACKAGE / name).read_text(encoding="utf-8")
        named = re.findall(r"`(\w+)`", hints)
        assert [hint for hint in named if hint not in source] == [], name


def test_the_map_of_the_house_is_complete() -> None:
    """CONTRIBUTING.md names every folder of the package, and all files of those that it lists."""
    (tree, *_) = blocks(ROOT / "CONTRIBUTING.md", "text")
    drawn = _drawn_paths(tree.source)
    folders = {each.parent for each in drawn}
    there = {path for folder in folders for path in folder.glob("*.py")}
    # A folder that holds only caches is what an older checkout left.
    there |= {path.parent for folder in folders for path in folder.glob("*/*.py")}
    amiss = [path for path in drawn ^ there if path.name not in UNMAPPED]
    assert sorted(path.relative_to(PACKAGE).as_posix() for path in amiss) == []


def test_the_map_of_the_house_stands_on_its_floors() -> None:
    """It draws the package top first, in the order that import-linter holds imports to."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["type"] == "layers"]
    floors = {part: floor for floor, parts in enumerate(layers) for part in parts.split(" : ")}
    (tree, *_) = blocks(ROOT / "CONTRIBUTING.md", "text")
    drawn = re.findall(r"^  (\w+)(?:\.py|/) (?! *beside:)", tree.source, re.MULTILINE)
    heights = [floors[part] for part in drawn if part in floors]
    assert heights == sorted(heights)


@pytest.mark.parametrize(
    ("guide", "words"),
    [("sandbox.md", KINDS), ("manifests.md", COLUMNS), ("many-jobs.md", list(JobState))],
    ids=["faults", "columns", "states"],
)
def test_a_guide_lists_all(guide: str, words: Iterable[str]) -> None:
    """Tables of kinds, columns and states are complete."""
    text = (ROOT / "docs" / guide).read_text(encoding="utf-8")
    assert [word for word in words if f"`{word}`" not in text] == []


def _runs(folder: Path) -> Iterator[None]:
    """Ask for a run, and for another if the first has left something behind."""
    before = {*folder.rglob("*")}
    yield
    if before != {*folder.rglob("*")}:
        yield


def _drawn_paths(tree: str) -> set[Path]:
    """Return the package's paths that a map of names draws, two blanks being one level."""
    drawn: set[Path] = set()
    stack = [ROOT]
    for line in tree.splitlines():
        names = line.lstrip()
        level = (len(line) - len(names)) // 2
        found = re.match(r"(?:[\w.]+(?:\.py|/)(?:\s+|$))+", names)
        assert found is not None, line
        paths = [stack[level] / name for name in found[0].split()]
        stack[level + 1 :] = paths[:1]
        drawn.update(path for path in paths if PACKAGE in path.parents)
    return drawn


def _links(document: Path) -> list[str]:
    """Return the targets of a document's links and pictures that lie in the repository."""
    fences = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
    text = fences.sub("", document.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if "://" not in target]


def _is_found(document: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = document.parent / name if name else document
    if not target.is_file() or not anchor:
        return target.is_file()
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings]
