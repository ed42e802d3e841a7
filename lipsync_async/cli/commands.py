"""The command line: arguments in, exit status out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from lipsync_async.cli.demo import run_demo
from lipsync_async.errors import LipsyncError
from lipsync_async.sandbox.media.engines import INSTALL_HINT, engines

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What was typed after the program's name; `None`: take it from there.

    Returns:
        The exit status: 0, or 1 after one line that says what went wrong.

    """
    parser = argparse.ArgumentParser(prog="python -m lipsync_async", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="draw, order, wait for and download a lip-synced video, all on this machine",
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="FOLDER",
        help="where the files go (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    return _demo(chosen.output)


def _demo(output: Path) -> int:
    if engines()["video"] == INSTALL_HINT:
        print(f"demo: the media engine is {INSTALL_HINT}", file=sys.stderr)
        return 1
    try:
        anyio.run(run_demo, output)
    except (LipsyncError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0
