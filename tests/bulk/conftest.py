"""Fixtures of the tests of many jobs."""

from pathlib import Path

import pytest


@pytest.fixture
def quick_path(tmp_path: Path) -> Path:
    """Give a folder where a commit takes no time, if there is one: for tests of what, not how."""
    return tmp_path
