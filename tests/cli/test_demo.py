"""The demo keeps what the README says of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest

from lipsync_async.cli.main import main

FRAME = 1 / 25


def test_the_demo_leaves_a_playable_video_and_a_contact_sheet(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One h264 and one aac stream, from 0, as long as the line; each change was a line."""
    status = main(["demo", "--output", str(tmp_path / "made here")])
    said = capsys.readouterr()

    assert (status, said.err) == (0, "")
    video, sheet = tmp_path / "made here/lip-synced.mp4", tmp_path / "made here/contact-sheet.png"
    line = re.search(r"line\.wav \((\d+\.\d+) s\)", said.out)
    assert line is not None
    with av.open(video) as container:
        assert sorted(stream.codec_context.name for stream in container.streams) == ["aac", "h264"]
        assert [stream.start_time for stream in container.streams] == [0, 0]
        assert container.duration is not None
        duration = container.duration / av.time_base
    assert abs(duration - float(line[1])) <= FRAME
    assert f"{video} ({duration:.2f} s, 640x360)" in said.out
    assert str(sheet) in said.out
    assert sheet.read_bytes().startswith(b"\x89PNG")
    shown = [words.split()[0] for words in said.out.splitlines() if words.startswith("  ")]
    assert shown[0] == "PENDING"
    assert shown.count("COMPLETED") == 1


def test_without_the_extra_one_line_says_what_to_install(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing media engine ends the demo with status 1 and the command that helps."""
    monkeypatch.setitem(sys.modules, "av", None)
    status = main(["demo", "--output", str(tmp_path / "none")])

    assert status == 1
    message = "demo: the media engine is missing; run: pip install 'lipsync-async[sandbox]'\n"
    assert message == capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_output_that_is_a_file_is_one_clear_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What goes wrong on the disk is said in a line, without a traceback."""
    taken = tmp_path / "taken"
    taken.write_text("")
    status = main(["demo", "--output", str(taken)])

    assert status == 1
    error = capsys.readouterr().err
    assert error.startswith("demo: ")
    assert error.count("\n") == 1


def test_the_package_runs_as_a_program() -> None:
    """`python -m lipsync_async` without a command explains itself."""
    program = [sys.executable, "-X", "dev", "-m", "lipsync_async"]
    ended = subprocess.run(  # noqa: S603 - our own program
        program, capture_output=True, text=True, check=False, env=os.environ
    )

    assert ended.returncode == 2
    assert "COMMAND" in ended.stderr
