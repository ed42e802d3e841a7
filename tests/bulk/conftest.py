"""Fixtures of the tests of many jobs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux has it; what lies there waits for no disk


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """Give a folder where a commit takes no time, if there is one: for tests of what, not how."""
    if not _MEMORY.is_dir():  # pragma: no cover - elsewhere the tests take longer
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
        yield Path(folder)
