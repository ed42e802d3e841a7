"""The demo of many jobs: all real, all counted, nothing mixed with an earlier run."""

import re
from pathlib import Path

import av
import pytest

from lipsync_async.cli.main import main


def test_many_jobs_are_rendered_and_summed_up(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each job is a file that plays; the summary has all numbers; the hint works."""
    status = main(["demo", "--jobs", "3", "--output", str(tmp_path)])
    said = capsys.readouterr()

    assert (status, said.err) == (0, "")
    takes = sorted((tmp_path / "jobs-1/takes").iterdir())
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
    assert "completed  3" in capsys.readouterr().out


def test_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """A second run neither mixes with the first nor deletes it."""
    for number in (1, 2):
        assert main(["demo", "--jobs", "1", "--output", str(tmp_path / "new")]) == 0
        assert len(list((tmp_path / f"new/jobs-{number}/takes").iterdir())) == 1
    assert (tmp_path / "new/jobs-1/journal.sqlite").exists()


@pytest.mark.parametrize("jobs", ["0", "-5", "x", "1.5", "", "²"])
def test_a_number_of_jobs_that_is_none_is_one_clear_line(
    jobs: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2, and what would be right."""
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--jobs", jobs])
    *_, line = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert line.endswith(f"argument --jobs: use a whole number above 0, not {jobs!r}")
