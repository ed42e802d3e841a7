"""The sandbox's folder, who owns what in it, and signed URLs."""

import os
import time
from pathlib import Path

import pytest

from lipsync_async.sandbox.files import Folder, OwnedFiles, sweep

LATER = time.time() + 3600


@pytest.mark.skipif(os.name == "nt", reason="folders have no locks there")
def test_folders_of_killed_sandboxes_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is in use stays, and so does one that is new, or is not the sandbox's."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = Folder()
    alive = folder.new_path().parent
    dead, other = tmp_path / "lipsync-sandbox-dead", tmp_path / "other"
    for each in (dead, other):
        each.mkdir()
        (each / "1.mp4").write_bytes(b"x")
    sweep(tmp_path)
    assert {*tmp_path.iterdir()} == {alive, dead, other}
    sweep(tmp_path, LATER)
    assert {*tmp_path.iterdir()} == {alive, other}
    folder.close()
    assert {*tmp_path.iterdir()} == {other}


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
