"""Write the blocking twins of `_async/`, or compare them with what they should be.

python -m lipsync_async._tools.mirror [--check]
"""

from __future__ import annotations

from pathlib import Path

from lipsync_async._tools.generated import run_folder
from lipsync_async._tools.mirror.modules import Module, written
from lipsync_async._tools.mirror.tables import TABLES

SOURCE = Path("lipsync_async", "_async")
TARGET = Path("lipsync_async", "_sync")


def contents() -> dict[str, str]:
    """Return what each file of the target folder should hold."""
    modules = [
        Module.parsed(path.stem, path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.glob("*.py"))
    ]
    return {f"{name}.py": text for name, text in written(modules, TABLES).items()}


if __name__ == "__main__":
    raise SystemExit(run_folder(TARGET, contents()))
