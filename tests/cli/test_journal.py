"""`journal`: what a run has left, read without a client."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lipsync_async import Audio, ConnectionLostError, PaymentRequiredError, Video, read_manifest
from lipsync_async._bulk.journal import Journal
from lipsync_async.cli.commands import command_parser
from lipsync_async.cli.main import main
from lipsync_async.cli.run import left_behind, manifest_run
from lipsync_async.sandbox import Sandbox
from tests.bulk.jobs import job, record, request
from tests.cli.terminals import Said
from tests.logic.answers import reply
from tests.servers import PostgresServer


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands in a folder of their own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def journal() -> Path:
    """Write a journal with jobs in most states."""
    path = Path("j.sqlite")
    lost = ConnectionLostError("broken\nin flight", method="POST", url="https://h/v2/generate")
    lost.may_have_worked = True
    with Journal.open(path, now=lambda: datetime(2026, 1, 31, 12, tzinfo=UTC)) as journal:
        journal.record_intents([(number, request(number)) for number in range(30)])
        jobs = [(0, job("g0", "COMPLETED")), (1, job("g1", "PROCESSING"))]
        failed = [(n, job(f"g{n}", "FAILED", error=f"no face {n}")) for n in range(2, 25)]
        record(journal, [*jobs, *failed])
        record(journal, [(0, "out/0.mp4")])
        record(journal, [(25, lost)])
    return path


def test_the_status_of_a_journal(journal: Path, capsys: Said) -> None:
    """Counts by state, the last change, and the first reasons, each in a line."""
    assert main(["journal", "j.sqlite"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "30 requests in j.sqlite:",
        "  completed    1  done",
        "  failed      23  ended without a result",
        "  accepted     1  running at the service, as far as is known",
        "  submitting   4  about to be sent, or on the way",
        "  unknown      1  sent with unknown outcome; sent again by the next run, not paid twice",
        "  saved        1  of the results are on this machine",
    ]
    assert lines[7].startswith("Last change: 2026-01-31 ")
    assert lines[8] == "What went wrong, by reason:"
    assert lines[9] == "  failed: position 2: FAILED: no face 2"
    assert lines[28] == "  failed: position 21: FAILED: no face 21"
    assert lines[29:] == ["  and 4 more; --export has them all"]


def test_a_new_journal_is_empty(capsys: Said) -> None:
    """A run that has sent nothing yet has little to show."""
    Journal.open(Path("new.sqlite")).close()
    assert main(["journal", "new.sqlite"]) == 0
    assert capsys.readouterr().out == "0 requests in new.sqlite:\n"


def test_an_export_has_everything(journal: Path, capsys: Said) -> None:
    """The name tells the form: lines of JSON, or a table."""
    assert main(["journal", "j.sqlite", "--export", "all.jsonl"]) == 0
    assert capsys.readouterr().out.endswith("All of it is in all.jsonl.\n")
    lines = Path("all.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["position"] for line in lines] == list(range(30))

    assert main(["journal", "j.sqlite", "--export", "all.CSV"]) == 0
    with Path("all.CSV").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 30


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """Run a table with columns of its author's own, of which some rows fail."""
    (tmp_path / "v.mp4").write_bytes(b"video")
    table = (
        "sep=;\n"
        "備考;Model;Video URL;Video_File;audio_url;Temperature;Request ID;status;=1+1\n"
        "one;lipsync-2;;v.mp4;https://h/a.wav;0,5;;open;@x\n"
        "\n"
        '"two; and\nmore";lipsync-2;https://h/v.mp4;;https://h/a.wav;;row-b;;\n'
        "three;lipsync-2;https://h/v.mp4;;https://h/a.wav\n"
        "four;lipsync-2;https://h/v.mp4;;https://h/a.wav;1;row-d;;-1\n"
    )
    Path("takes.csv").write_text(table, encoding="utf-8")
    requests = [row.request for row in read_manifest("takes.csv")]
    with Journal.open("j.sqlite") as journal:
        journal.record_intents([*enumerate(requests)])
        record(journal, [(n, job(f"g{n}", "FAILED", error="No face.")) for n in range(2)])
        record(journal, [(2, job("g2", "COMPLETED"))])
        record(journal, [(3, PaymentRequiredError(response=reply(status=402), message="No."))])
    return tmp_path / "takes.csv"


def test_what_went_wrong_is_told_by_lines(sheet: Path, capsys: Said) -> None:
    """A row has the line that its author finds it in, and its name."""
    assert main(["journal", "j.sqlite"]) == 0
    *_, head, first, second = capsys.readouterr().out.splitlines()
    assert head == "What went wrong, by reason:"
    assert first == "  failed: 2 requests (line 3, line 5 (row-b)): FAILED: No face."
    assert second.startswith("  not_created: line 8 (row-d): ")

    assert main(["journal", "j.sqlite", "--failed"]) == 0
    assert capsys.readouterr().out.splitlines()[:-3] == [
        "4 requests in j.sqlite:",
        "  failed      2  ended without a result",
        "  not_created 1  not accepted; sent again by the next run",
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_what_has_failed_is_a_manifest_again(sheet: Path, capsys: Said, kind: str) -> None:
    """Requests and names, ready to be run; a table has the author's own columns as well."""
    Path("elsewhere").mkdir()
    target = f"elsewhere/x.{kind}"
    assert main(["journal", "j.sqlite", "--failed", "--export", target]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{target} holds 3 rows of the manifest. To create them anew, ")
    before = [row for row in read_manifest(sheet) if row.line != 7]
    after = read_manifest(target)
    assert [row.request for row in after] == [row.request for row in before]
    assert [row.request_id for row in after] == [None, "row-b", "row-d"]
    own = [
        {"備考": "one", "status": "open", "=1+1": "@x"},
        {"備考": "two; and\nmore", "status": "", "=1+1": ""},
        {"備考": "four", "status": "", "=1+1": "-1"},
    ]
    assert [dict(row.extra) for row in after] == own


def test_where_nothing_has_failed_nothing_is_written(capsys: Said) -> None:
    """What is not known to have failed may be running, and would be paid for twice."""
    with Journal.open("j.sqlite") as journal:
        journal.record_intents([(0, request(0))])
    assert main(["journal", "j.sqlite", "--failed", "--export", "x.csv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 request in j.sqlite:",
        "Nothing has failed, so x.csv was not written.",
    ]
    with Journal.open("j.sqlite") as journal:
        journal.record_intents([(1, request(1))])
        record(journal, [(1, job("g1", "FAILED"))])
    assert main(["journal", "j.sqlite", "--failed", "--export", "x.csv"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Left out: 1 create of unknown outcome; ")
    assert len(read_manifest("x.csv")) == 1


def test_what_a_table_cannot_say_is_told(capsys: Said) -> None:
    """Nothing is written then, and the message names the form that can."""
    with Journal.open("j.sqlite") as journal:
        media = [Video("https://h/v", ref_id="v"), Audio("https://h/a")]
        asked = [request(n, input=media) for n in range(12)]
        journal.record_intents([*enumerate(asked)])
        record(journal, [(n, job(f"g{n}", "FAILED")) for n in range(12)])
    assert main(["journal", "j.sqlite", "--failed", "--export", "x.csv"]) == 2
    error = capsys.readouterr().err
    assert "x.csv was not written. position 0: a table has no column for refId; write" in error
    assert error.endswith("; and 2 more.\n")
    assert not Path("x.csv").exists()
    assert main(["journal", "j.sqlite", "--failed", "--export", "x.jsonl"]) == 0
    assert [row.request for row in read_manifest("x.jsonl")] == asked


def test_no_journal_is_one_clear_line(tmp_path: Path, capsys: Said) -> None:
    """Status 2 and no traceback, and no file is made."""
    assert main(["journal", str(tmp_path / "none")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("journal: there is no journal at ")
    assert list(tmp_path.iterdir()) == []


def test_a_journal_on_postgresql(
    sandbox: Sandbox, postgres_server: PostgresServer, capsys: Said
) -> None:
    """Its address stands for a path in every command, and its password is never shown."""
    address = f"{postgres_server.url}?run=takes-7"
    Path("takes.csv").write_text("model,video_url,audio_url\nlipsync-2,https://h/v,https://h/a\n")
    assert main(["run", "takes.csv", "--journal", address]) == 0
    assert main(["run", "takes.csv", "--journal", address]) == 0
    assert main(["journal", address, "--export", "all.jsonl"]) == 0
    assert len(Path("all.jsonl").read_text().splitlines()) == 1
    said = capsys.readouterr()
    shown = address.replace(f":{postgres_server.secret}", "")
    assert f"1 request in {shown}:\n  completed   1  done\n" in said.out
    assert sandbox.jobs.created == 1

    assert main(["run", "takes.csv", "--sandbox", "--journal", address]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"run: {shown} is there already, and a sandbox's jobs end with it")
    run = manifest_run(command_parser().parse_args(["run", "takes.csv", "--journal", address]))
    assert left_behind(run) == ["To go on where this was, run it again with the same journal."]
    assert postgres_server.secret not in f"{said}{told}{run}"
