"""What other programs get of a journal: lines of JSON or a table, whole or not at all."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lipsync_async import Origin
from lipsync_async._bulk.journal import Journal
from lipsync_async._bulk.journal_view import JournalView
from lipsync_async.errors import JournalError, LipsyncError
from tests.bulk.jobs import job, known, record, request

MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)
SAID = "2026-01-31T12:00:00+00:00"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Open a journal with one request of each kind of end, and one without."""
    with Journal.open(tmp_path / "j.sqlite", now=lambda: MOMENT) as journal:
        origins = [Origin(2, {"note": "=1+1", "state": "mine"}), Origin(4, {"備考": "b"}), None]
        asked = [
            (number, request(number, request_id=f"row-{number}", origin=origin))
            for number, origin in enumerate(origins)
        ]
        journal.record_intents([(*asked[0], 0.25), *asked[1:]])
        done = job("g0", "COMPLETED", outputUrl="https://h/v.mp4", outputDuration=2.5)
        failed = job("g1", "FAILED", error='Said: "no",\nthen half \ud800', errorCode="no_face")
        record(journal, [(0, done), (1, failed)])
        record(journal, [(0, "/out/0.mp4")])
        yield journal


def rows_of(journal: Journal) -> list[dict[str, str]]:
    """Export a journal that is in use as a table, over an old one; return its rows."""
    target = Path(journal.path).with_name("j.csv")
    target.write_text("of yesterday", encoding="utf-8")
    with JournalView.open(journal.path) as view:
        view.export_csv(target)
    assert [*target.parent.glob("*.part")] == []
    with target.open(encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


def test_lines_hold_everything(tmp_path: Path, journal: Journal) -> None:
    """Each line is an entry, with the request and the job as they were on the wire."""
    target = tmp_path / "j.jsonl"
    with JournalView.open(journal.path) as view:
        view.export_jsonl(target)
    lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    first = known(journal)
    assert lines[0] == {
        "position": 0,
        "line": 2,
        "request_id": "row-0",
        "state": "completed",
        "status": "COMPLETED",
        "generation_id": "g0",
        "download_path": "/out/0.mp4",
        **dict.fromkeys(("error_class", "error_code", "error_message")),
        "tries": 1,
        "attempts": 1,
        "cost": 0.25,
        "idempotency_key": first.idempotency_key,
        **dict.fromkeys(("intended_at", "accepted_at", "ended_at", "updated_at"), SAID),
        "fingerprint": first.fingerprint,
        "extra": {"note": "=1+1", "state": "mine"},
        "request": first.request,
        "generation": {
            "id": "g0",
            "status": "COMPLETED",
            "model": "lipsync-2",
            "input": [],
            "outputUrl": "https://h/v.mp4",
            "outputDuration": 2.5,
        },
    }
    assert [line["generation_id"] for line in lines] == ["g0", "g1", None]
    assert lines[1]["generation"]["error"] == 'Said: "no",\nthen half \ud800'
    assert lines[2]["generation"] is None


def test_the_table_is_a_table(journal: Journal) -> None:
    """Unknown facts are empty, commas are quoted; each row has its line and its author's cells."""
    rows = rows_of(journal)
    names = ("position", "generation_id", "output_url", "accepted_at")
    expected = [("0", "g0", "https://h/v.mp4", SAID), ("1", "g1", "", SAID), ("2", "", "", "")]
    assert [tuple(row[name] for name in names) for row in rows] == expected
    assert rows[0]["output_duration"] == "2.5"
    assert rows[1]["model"] == "lipsync-2"
    assert 'Said: "no",\nthen half \\ud800.' in rows[1]["error_message"]
    assert json.loads(rows[2]["request"])["input"][0]["url"] == "https://media.example/2.mp4"
    own = ("line", "state", "state (own)", "note", "備考")
    assert [tuple(row[name] for name in own) for row in rows] == [
        ("2", "completed", "mine", "=1+1", ""),
        ("4", "failed", "", "", "b"),
        ("", "submitting", "", "", ""),
    ]


FORMULAS = [
    *(("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"), ("+1+1", "'+1+1"), ("-1", "'-1")),
    *(("@SUM(A1)", "'@SUM(A1)"), ("\uff1d1", "'\uff1d1"), ("\uff0b1", "'\uff0b1")),
    *(("\uff0d1", "'\uff0d1"), ("\uff20x", "'\uff20x"), ("\t=1", r"\x09=1"), ("\r=1", r"\x0d=1")),
    *(("\x1b[2J", r"\x1b[2J"), ("a=1", "a=1"), (" =1", " =1"), ("'=1", "'=1"), ("", "")),
]


@pytest.mark.parametrize(("said", "written"), FORMULAS, ids=range(len(FORMULAS)))
def test_no_spreadsheet_computes_the_services_words(
    tmp_path: Path, said: str, written: str
) -> None:
    """They begin with an apostrophe where they would be a formula, and move no terminal."""
    with Journal.open(tmp_path / "j.sqlite") as journal:
        journal.record_intents([(0, request(0, request_id="=1", origin=Origin(2, {"=": said})))])
        job_of = job(f"{said or 'g'}", "FAILED", errorCode=said, outputUrl=said)
        record(journal, [(0, job_of)])
        (row,) = rows_of(journal)
    assert [row[name] for name in ("error_code", "output_url")] == [written, written]
    assert row["generation_id"] == (written or "g")
    assert (row["request_id"], row["="]) == ("=1", said)


def test_what_cannot_be_read_replaces_nothing(tmp_path: Path, journal: Journal) -> None:
    """An export that fails in the middle leaves the old file, and no part of a new one."""
    target = tmp_path / "j.jsonl"
    target.write_text("of yesterday", encoding="utf-8")
    journal.close()
    view = JournalView.open(journal.path)
    view.close()
    with pytest.raises(JournalError, match="closed database"):
        view.export_jsonl(target)
    assert target.read_text(encoding="utf-8") == "of yesterday"
    assert {item.name for item in tmp_path.iterdir()} == {"j.sqlite", "j.sqlite.lock", "j.jsonl"}


@pytest.mark.parametrize("name", ["absent/j.csv", "folder", ""])
def test_where_it_cannot_be_written_is_told(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The system's reason comes in our words, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    message = r"cannot be written \(.*\). Give another path"
    with (
        JournalView.open(journal.path) as view,
        pytest.raises(JournalError, match=message) as told,
    ):
        view.export_csv(name)
    assert ".part" not in str(told.value)
    assert [*tmp_path.rglob("*.part"), *tmp_path.parent.glob("*.part")] == []


def test_errors_have_their_columns(journal: Journal) -> None:
    """Class and words of an error that is no job's are told, too."""
    record(journal, [(2, LipsyncError("Something is wrong. Look."))])
    row = rows_of(journal)[2]
    assert (row["state"], row["error_class"]) == ("not_created", "LipsyncError")
    assert row["error_message"] == "Something is wrong. Look."
