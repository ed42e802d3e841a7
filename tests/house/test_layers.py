"""Every import goes down: the floors of `_tools/floors.py` against the real tree."""

from pathlib import Path

import pytest

import lipsync_async
from lipsync_async._tools.floors import OUTSIDERS, Annex, Floor, map_lines, violations

PACKAGE = Path(lipsync_async.__file__).parent

FLOORS = (Floor(("low",), "below"), Floor(("left", "middle/"), "between"), Floor(("high",), "up"))
ANNEXES = (Annex(part="beside", purpose="aside", stands_on=("low",), serves=("high",)),)
SOUND = {
    "low.py": "",
    "left.py": "import lipsync_async.low",
    "middle/__init__.py": "",
    "middle/one.py": "from . import two\nfrom .. import low\nfrom lipsync_async.low import x",
    "middle/two.py": "import os.path\nfrom lipsync_async.low import name",
    "beside.py": "from lipsync_async import low",
    "high.py": "from lipsync_async import beside, middle\nfrom lipsync_async.middle.one import x",
}


def found_in(folder: Path, **changes: str) -> list[str]:
    """Build a small package in `folder` and return what is wrong with it."""
    changed = {name.replace("__", "/") + ".py": text for name, text in changes.items()}
    for name, text in {**SOUND, **changed}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return violations(folder, FLOORS, ANNEXES)


def test_every_import_of_the_package_goes_down() -> None:
    """No file steps upward, none is in a cycle, none is without a floor."""
    assert violations(PACKAGE) == []


def test_the_map_names_every_floor_top_first() -> None:
    """The README's map begins with what people type and ends with what stands beside."""
    lines = map_lines()
    assert lines[0].split()[0] == "__main__"
    assert lines[-1].split()[:2] == ["_tools/", "beside:"]


def test_a_sound_tree_has_no_violations(tmp_path: Path) -> None:
    """Steps down, steps within a folder and served annexes are all right."""
    assert found_in(tmp_path) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import lipsync_async.high",
        "from lipsync_async import high",
        "from lipsync_async.high import name",
        "def f() -> None:\n    from lipsync_async.high import name",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import high",
    ],
)
def test_a_step_upward_is_found(tmp_path: Path, statement: str) -> None:
    """No spelling and no hiding place makes an upward import invisible."""
    line = statement.count("\n") + 1
    expected = [f"left.py:{line}: left must not import high"]
    assert found_in(tmp_path, left=statement) == expected


def test_neighbours_on_a_floor_do_not_know_each_other(tmp_path: Path) -> None:
    """An import from another part of the same floor is a step aside, not down."""
    found = found_in(tmp_path, left="from lipsync_async.middle.one import x")
    assert found == ["left.py:1: left must not import middle/one"]


def test_an_annex_is_open_only_to_those_it_serves(tmp_path: Path) -> None:
    """A floor that the annex does not serve must not import it."""
    found = found_in(tmp_path, left="import lipsync_async.beside")
    assert found == ["left.py:1: left must not import beside"]


def test_an_annex_imports_only_what_it_stands_on(tmp_path: Path) -> None:
    """What is not in the annex's own list is out of its reach."""
    found = found_in(tmp_path, beside="from lipsync_async import left")
    assert found == ["beside.py:1: beside must not import left"]


def test_the_face_itself_cannot_be_imported_from_below(tmp_path: Path) -> None:
    """A name that is no module comes from the package's own `__init__`."""
    found = found_in(tmp_path, left="from lipsync_async import Client")
    assert found == ["left.py:1: left must not import __init__"]


def test_a_cycle_in_a_folder_is_found(tmp_path: Path) -> None:
    """Files of one folder may know each other, but not in a circle."""
    (found,) = found_in(tmp_path, middle__two="from lipsync_async.middle import one")
    assert found.startswith("import cycle: ")
    assert {"middle/one", "middle/two"} <= set(found.split(" "))


def test_a_file_without_a_floor_is_found(tmp_path: Path) -> None:
    """A new file needs a place in the list first."""
    assert found_in(tmp_path, attic="") == ["attic.py: no floor names this file"]


def test_a_floor_without_a_file_is_found(tmp_path: Path) -> None:
    """The list names nothing that is gone."""
    found_in(tmp_path)
    (tmp_path / "left.py").unlink()
    expected = ["left: a floor names it, but it is not there"]
    assert violations(tmp_path, FLOORS, ANNEXES) == expected


def test_heavy_packages_stay_in_their_place(tmp_path: Path) -> None:
    """Only the transport and the sandbox may import aiohttp."""
    expected = [f"left.py:2: only {' and '.join(OUTSIDERS['aiohttp'])} may import aiohttp"]
    assert found_in(tmp_path, left="import json\nfrom aiohttp import web") == expected
