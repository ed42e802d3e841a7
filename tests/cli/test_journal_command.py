"""`journal`: what a run has left, read without a client."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lipsync_async import ConnectionLostError
from lipsync_async._fleet.journal import Journal
from lipsync_async._fleet.journal_view import JournalView
from lipsync_async.cli.campaign import count_running
from lipsync_async.cli.commands import main
from tests.fleet.jobs import job, request


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a journal with jobs in most states, into the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    path = Path("j.sqlite")
    lost = ConnectionLostError("broken\nin flight", method="POST", url="https://h/v2/generate")
    lost.may_have_worked = True
    with Journal.open(path, now=lambda: datetime(2026, 1, 31, 12, tzinfo=UTC)) as journal:
        journal.record_intents([(number, request(number)) for number in range(30)])
        jobs = [(0, job("g0", "COMPLETED")), (1, job("g1", "PROCESSING"))]
        failed = [(n, job(f"g{n}", "FAILED", error=f"no face {n}")) for n in range(2, 25)]
        journal.record_generations([*jobs, *failed])
        journal.record_downloads([(0, "out/0.mp4")])
        journal.record_errors([(25, lost)])
    return path


def test_the_status_of_a_journal(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts by state, the last change, and the first reasons, each in a line."""
    assert main(["journal", "j.sqlite"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "30 requests in j.sqlite:",
        "  completed   1  done",
        "  failed     23  ended without a result",
        "  accepted    1  running at the service, as far as is known",
        "  intended    4  about to be sent, or on the way",
        "  doubtful    1  sent with unknown outcome; sent again by the next run, not paid twice",
        "  saved       1  of the results are on this machine",
    ]
    assert lines[7].startswith("Last change: 2026-01-31 ")
    assert lines[8] == "What went wrong, by position in the input (from 0):"
    assert lines[9].startswith("  2: failed: generation g2 ended as FAILED: no face 2.")
    assert lines[28].startswith("  21: failed: ")
    assert lines[29:] == ["  and 4 more; --export has them all"]


def test_a_new_journal_is_empty(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run that has sent nothing yet has little to show."""
    monkeypatch.chdir(tmp_path)
    Journal.open(Path("new.sqlite")).close()
    assert main(["journal", "new.sqlite"]) == 0
    assert capsys.readouterr().out == "0 requests in new.sqlite:\n"


def test_an_export_has_everything(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The name tells the form: lines of JSON, or a table."""
    assert main(["journal", "j.sqlite", "--export", "all.jsonl"]) == 0
    assert capsys.readouterr().out.endswith("All of it is in all.jsonl.\n")
    lines = Path("all.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["position"] for line in lines] == list(range(30))

    assert main(["journal", "j.sqlite", "--export", "all.CSV"]) == 0
    with Path("all.CSV").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 30


def test_another_form_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and what there is."""
    with pytest.raises(SystemExit) as ended:
        main(["journal", "j.sqlite", "--export", "all.xlsx"])
    assert ended.value.code == 2
    expected = "use a name that ends in .jsonl or .csv, not 'all.xlsx'"
    assert expected in capsys.readouterr().err


def test_no_journal_is_one_clear_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2 and no traceback, and no file is made."""
    assert main(["journal", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("journal: there is no journal at ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_runs_is_counted_as_far_as_it_can_be(journal: Path) -> None:
    """A bar asks for it at any time; a journal that cannot be read is no end of a run."""
    with JournalView.open(journal) as view:
        assert count_running(view) == 1
    assert count_running(view) == 0
