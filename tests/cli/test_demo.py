"""The demo keeps what the README says of it."""

import re
import sys
from pathlib import Path

import av
import pytest

from lipsync_async.cli.main import main
from tests.cli.terminals import Said
from tests.interpreter import BlockingFork

FRAME = 1 / 25


def test_the_demo_leaves_a_playable_video_and_a_contact_sheet(tmp_path: Path, capsys: Said) -> None:
    """One h264 and one aac stream, from 0, as long as the line, whose phonemes move the lips."""
    assert main(["demo", "--output", str(tmp_path / "made here")]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    video, sheet = tmp_path / "made here/lip-synced.mp4", tmp_path / "made here/contact-sheet.png"
    line = re.search(r"line\.wav \((\d+\.\d+) s\)", said.out)
    assert line is not None
    with av.open(video) as container:
        assert sorted(stream.codec_context.name for stream in container.streams) == ["aac", "h264"]
        assert [stream.start_time for stream in container.streams] == [0, 0]
        assert container.duration is not None
        duration = container.duration / av.time_base
        assert container.metadata["comment"] == "SANDBOX, lips: drawn (phonemes)"
    assert abs(duration - float(line[1])) <= FRAME
    assert f"{video} ({duration:.2f} s, 640x360)" in said.out
    assert str(sheet) in said.out
    assert said.out.endswith("It shows timing, not the service's picture quality.\n")
    assert sheet.read_bytes().startswith(b"\x89PNG")
    shown = [words.split()[0] for words in said.out.splitlines() if words.startswith("  ")]
    assert shown[0] == "PENDING"
    assert shown.count("COMPLETED") == 1


def test_without_the_extra_one_line_says_what_to_install(
    tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing media engine ends the demo with status 1 and the command that helps."""
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["demo", "--output", str(tmp_path / "none")]) == 1
    message = "demo: the media engine is missing; run: pip install 'lipsync-async[sandbox]'\n"
    assert message == capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_output_that_is_a_file_is_one_clear_line(tmp_path: Path, capsys: Said) -> None:
    """What goes wrong on the disk is said in a line, without a traceback."""
    taken = tmp_path / "taken"
    taken.write_text("")
    for output, words in {taken: "is a file", taken / "x": "would be inside a file"}.items():
        assert main(["demo", "--output", str(output)]) == 1
        expected = f"demo: {output} {words}, not a folder. Give another path.\n"
        assert capsys.readouterr().err == expected
    (tmp_path / "line.wav").mkdir()
    assert main(["demo", "--output", str(tmp_path)]) == 1
    expected = f"demo: {tmp_path}/line.wav is a folder, not a file. Give another path.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.usefixtures("interpreter")
def test_the_package_runs_as_a_program() -> None:
    """`python -m lipsync_async` without a command explains itself."""
    with BlockingFork("import runpy; runpy.run_module('lipsync_async', None, '__main__')") as ended:
        pass
    assert ended.returncode == 2
    assert "COMMAND" in ended.errors


def test_many_jobs_are_rendered_and_summed_up(tmp_path: Path, capsys: Said) -> None:
    """Each job is a file that plays, in a folder of this run; numbers and hint are right."""
    (tmp_path / "jobs-1").mkdir()
    assert main(["demo", "--jobs", "3", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert list((tmp_path / "jobs-1").iterdir()) == []
    takes = sorted((tmp_path / "jobs-2/takes").iterdir())
    assert [take.name[:7] for take in takes] == ["take-1-", "take-2-", "take-3-"]
    for take in takes:
        with av.open(take) as container:
            kinds = sorted(stream.type for stream in container.streams)
        assert kinds == ["audio", "video"]
    facts = dict(re.findall(r"^  ([a-z ]{1,13}\b) +(\S.*)$", said.out, re.MULTILINE))
    assert (facts["jobs"], facts["succeeded"], facts["failed"]) == ("3", "3", "0")
    assert re.fullmatch(r"\d+\.\d s", facts["wall time"])
    assert re.fullmatch(r"\d+\.\d jobs/(s|min)", facts["rate"])
    assert re.fullmatch(r"\d+, \d\.\d\d a job", facts["requests"])
    assert re.fullmatch(r"median \d+\.\d s, longest \d+\.\d s", facts["time per job"])
    assert re.fullmatch(r"3, together \d+\.\d kB", facts["files"])

    hint = said.out.splitlines()[-1].split()
    assert hint[:4] == ["python", "-m", "lipsync_async", "journal"]
    assert main(hint[3:]) == 0
    assert "completed   3" in capsys.readouterr().out
