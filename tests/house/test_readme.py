"""The README's commands are the real ones, and its code runs."""

import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.media.demo_media import draw_portrait, draw_talking_head, speak_line
from tests.house.readme_blocks import Block, blocks, run

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = (
    "python -m pip install nox && python -m nox -s demo",
    "python -m pip install nox && python -m nox -s tests",
)
TOP_LINES = 40  # what a reader sees before scrolling far

EXAMPLE = """\
# Title

```sh
echo not python
```

```python
import asyncio
async def echo(words):
    return words
here = asyncio.run(echo(greeting))
```

## Later *on*

```python
async def echo(words):
    return words
there = await echo(__name__)
```

```python
async def inner():
    raise LookupError("gone")

await inner()
```
"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files that the README's examples use: a small actor and a spoken line."""
    folder = tmp_path_factory.mktemp("studio")
    draw_talking_head(folder / "video.mp4", seconds=2.0, width=160, height=96)
    draw_portrait(folder / "portrait.png", width=160, height=96)
    speak_line(folder / "audio.wav", seconds=2.0)
    return folder


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox in a thread of its own, so that a block may block."""
    with start_blocking_portal() as portal:
        running = portal.call(lambda: Sandbox(seed=1))
        with portal.wrap_async_context_manager(running):
            yield running


@pytest.mark.parametrize("block", blocks(README, "python"), ids=str)
def test_the_readme_runs(
    block: Block,
    studio: Path,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every `python` block does what it says, against the sandbox; `takes.csv` is there."""
    shutil.copytree(studio, tmp_path, dirs_exist_ok=True)
    (manifest,) = blocks(README, "csv")
    (tmp_path / "takes.csv").write_text(manifest.source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_BASE_URL", sandbox.url)
    monkeypatch.setenv("SYNC_API_KEY", sandbox.api_key)
    files = sorted(tmp_path.iterdir())
    run(block, {f"{path.stem}_url": sandbox.host_file(path) for path in files})


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_stand_at_the_top(command: str) -> None:
    """Demo and tests are one line each, word for word, where a reader looks first."""
    shells = blocks(README, "sh", "console")
    first = [block for block in shells if block.line <= TOP_LINES]
    lines = [line.removeprefix("$ ") for block in first for line in block.source.splitlines()]
    assert command in lines


def test_blocks_are_found_with_their_place() -> None:
    """Language, heading and line come with each block."""
    found = blocks(EXAMPLE, "sh", "python")
    expected = [
        ("sh", "Title", 3),
        ("python", "Title", 7),
        ("python", "Later *on*", 16),
        ("python", "Later *on*", 22),
    ]
    assert [(block.language, block.title, block.line) for block in found] == expected
    assert [str(block) for block in blocks("```sh\n```", "sh")] == ["line 1, the top"]


def test_scripts_and_awaiting_blocks_both_run() -> None:
    """A block sees the given names and runs as `__main__`, with a loop only if it awaits."""
    script, awaiting, _ = blocks(EXAMPLE, "python")
    assert run(script, {"greeting": "hello"})["here"] == "hello"
    assert run(awaiting, {})["there"] == "__main__"


def test_a_failing_block_shows_its_line_in_the_readme() -> None:
    """A traceback through a block points into the README itself."""
    failing = blocks(EXAMPLE, "python")[-1]
    with pytest.raises(LookupError) as caught:
        run(failing, {})
    frames = traceback.extract_tb(caught.tb)
    lines = [frame.lineno for frame in frames if frame.filename == "README.md"]
    assert lines == [26, 24]
    assert EXAMPLE.splitlines()[24 - 1] == '    raise LookupError("gone")'
