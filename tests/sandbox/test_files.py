"""The sandbox's folder, who owns what in it, and signed URLs."""

import os
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from lipsync_async.sandbox.files import Folder, OwnedFiles, sweep
from lipsync_async.sandbox.media.demo_media import tone
from tests.interpreter import BlockingFork

LATER = time.time() + 3600


@pytest.mark.skipif(os.name == "nt", reason="folders have no locks there")
def test_folders_of_killed_sandboxes_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is in use stays, and so does one that is new, or is not the sandbox's."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = Folder()
    used = folder.new_path()
    alive = used.parent
    dead, new = (tmp_path / f"lipsync-sandbox-{name}" for name in ("dead", "new"))
    other = tmp_path / "other"
    for each in (dead, new, other):
        each.mkdir()
    for path in (used, dead / "1.mp4", other / "1.mp4"):
        path.write_bytes(b"x")
    sweep(tmp_path)
    assert {*tmp_path.iterdir()} == {alive, new, other}
    sweep(tmp_path, LATER)
    assert {*tmp_path.iterdir()} == {alive, other}
    folder.close()
    assert {*tmp_path.iterdir()} == {other}


# Renders a minute of a picture, and tells its folder at each percent.
_RENDERING = """
import tempfile
from pathlib import Path
from lipsync_async.sandbox.files import Folder
from lipsync_async.sandbox.media.render import RenderJob, render
tempfile.tempdir = {parent!r}
folder = Folder()
output = folder.new_path(".mp4")
job = RenderJob(Path({picture!r}), is_image=True, audio=Path({audio!r}), output=output)
render(job, on_progress=lambda percent: percent and print(output.parent.name, flush=True))
"""


@pytest.mark.skipif(os.name == "nt", reason="folders have no locks there")
@pytest.mark.usefixtures("interpreter")
def test_what_a_killed_render_leaves_goes_with_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` amid a frame: while the process lives, its folder stays; then nothing does."""
    picture, parent = tmp_path / "picture.png", tmp_path / "temporary"
    Image.new("RGB", (640, 360)).save(picture)
    audio = tone(tmp_path / "minute.wav", seconds=60, hertz=440)
    parent.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(parent))
    text = _RENDERING.format(parent=str(parent), picture=str(picture), audio=str(audio))
    with BlockingFork(text) as process:
        dying = parent / process.stdout.readline().strip()
        first = Folder()
        alive = first.new_path().parent
        assert {*parent.iterdir()} == {dying, alive}
        assert [each.name for each in dying.iterdir()] == ["1.mp4.part"]
        process.kill()
    second = Folder()
    assert {*parent.iterdir()} == {alive, dying}
    newest = second.new_path().parent
    assert {*parent.iterdir()} == {alive, newest}
    first.close()
    second.close()
    assert process.returncode == -signal.SIGKILL


def test_a_link_among_the_folders_is_left_alone(tmp_path: Path) -> None:
    """What cannot be locked is not the sandbox's to remove."""
    (tmp_path / "lipsync-sandbox-file").write_bytes(b"x")
    sweep(tmp_path, LATER)
    assert (tmp_path / "lipsync-sandbox-file").exists()


def test_files_are_deleted_with_their_owner_unless_they_are_handed_over() -> None:
    """A file has one owner at a time."""
    folder = Folder()
    with OwnedFiles(folder) as files:
        kept, gone = files.new_path(), files.new_path()
        for path in (kept, gone):
            path.write_bytes(b"x")
        files.hand_over(kept)
    assert (kept.exists(), gone.exists()) == (True, False)
    with OwnedFiles(folder) as files:
        files.take_over(kept)
    assert not kept.exists()
    folder.close()
