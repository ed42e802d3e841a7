"""The generator is the same tool whatever Python runs it, with nothing installed."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")

# No site-packages, no environment, no user's folder, and no caches left behind.
_ALONE = ("-S", "-E", "-s", "-B")


def alone(python: str, *arguments: str) -> tuple[int, str]:
    """Run a Python that has nothing but its standard library; return exit code and output."""
    command = [python, *_ALONE, *arguments]
    ended = subprocess.run(  # noqa: S603 - a Python of this machine
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def candidates(version: str) -> Iterator[str]:
    """Yield what may be a Python of this version: on the path, or installed beside ours."""
    on_path = shutil.which(f"python{version}")
    yield from filter(None, [on_path])
    siblings = Path(sys.base_prefix).parent.glob(f"{version}*/bin/python")
    yield from map(str, siblings)


def pythons() -> set[str]:
    """Return the running Python, and one of each version that really answers."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    found = {
        version: python
        for version in VERSIONS
        for python in candidates(version)
        if alone(python, "-c", ask) == (0, f"{version}\n")
    }
    return {sys.executable, *found.values()}


def test_every_python_writes_the_same_bytes() -> None:
    """Each finds the mirror up to date; a diff or an import of a package would be printed."""
    found = pythons()
    check = ("-m", "lipsync_async._tools.mirror", "--check")
    results = {python: alone(python, *check) for python in found}
    assert results == dict.fromkeys(found, (0, ""))


def test_the_generator_runs_without_any_package() -> None:
    """The Python that was asked cannot import what is not in its standard library."""
    code, printed = alone(sys.executable, "-c", "import attrs")
    assert (code, "No module named 'attrs'" in printed) == (1, True)
