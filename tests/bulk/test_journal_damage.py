"""A journal that was damaged, cut, moved or copied: whole, or refused in words."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from lipsync_async._bulk.journal import Journal
from lipsync_async._bulk.journal_file import COLUMNS, connect_reader
from lipsync_async._bulk.journal_view import JournalView
from lipsync_async.errors import ConnectError, JournalError
from tests.bulk import journal_process
from tests.bulk.jobs import job, record, request
from tests.interpreter import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lipsync_async._bulk.journal_entry import JournalEntry

ROWS = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a journal with rows of all kinds, some of which were tried twice."""
    path = tmp_path_factory.mktemp("whole") / "j.sqlite"
    asked = [(number, request(number, request_id=f"row {number}")) for number in range(ROWS)]
    with Journal.open(path) as journal:
        journal.record_intents((*each, 0.5 if each[0] == 1 else None) for each in asked[:-1])
        record(journal, [(number, job(f"g{number}")) for number in range(6)])
        ends = [(number, job(f"g{number}", "COMPLETED")) for number in range(3)]
        record(journal, [*ends, (3, job("g3", "FAILED", error="No face"))])
        record(journal, [(0, path.with_name("0.mp4"))])
        record(journal, [(7, ConnectError("no", method="POST", url="https://h/x"))])
    with Journal.open(path, retry_failed=True) as journal:
        journal.record_intents([asked[3], asked[7], asked[-1]])
    return path


def entries(path: Path, kind: type[JournalView | Journal] = JournalView) -> list[JournalEntry]:
    """Return all that a journal says, having looked at every part of it."""
    with kind.open(path), JournalView.open(path) as view:
        found = [*view.entries()]
        assert [entry.request and entry.generation for entry in found]
        assert sum(view.counts().values()) == len(found)
        view.export_csv(path.with_name("export.csv"))
        view.export_jsonl(path.with_name("export.jsonl"))
        return found


@pytest.fixture(scope="module")
def expected(whole: Path) -> list[JournalEntry]:
    """Return all that the whole journal says."""
    return entries(whole)


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    """Copy the whole journal."""
    return Path(shutil.copy(whole, tmp_path))


def is_refused(
    path: Path, expected: list[JournalEntry], *kinds: type[JournalView | Journal]
) -> bool:
    """Tell whether a file is refused; if not, it must say what the whole one does."""
    refusals = []
    for kind in kinds or (JournalView, Journal):
        try:
            found = entries(path, kind)
        except JournalError as error:
            refusals.append(error)
        else:
            assert found == expected
    return bool(refusals)


PLACES = st.floats(0, 1, exclude_max=True)
# What a disk or a memory chip does; a lost block; a copy onto a full disk; a transfer in the wrong
# mode; an editor; a block that was written to the wrong place; and something that was appended.
HARMS: dict[str, Callable[[bytes, int, int], bytes]] = {
    "flip_a_bit": lambda data, at, n: data[:at] + bytes([data[at] ^ 1 << n % 8]) + data[at + 1 :],
    "zero": lambda data, at, n: data[:at] + bytes(len(data[at : at + n])) + data[at + n :],
    "cut": lambda data, at, _: data[:at],
    "leave_out": lambda data, at, n: data[:at] + data[at + n :],
    "put_in": lambda data, at, n: data[:at] + b"\r\n" * n + data[at:],
    "repeat": lambda data, at, n: data[:at] + data[:n] + data[at + n :],
    "grow": lambda data, at, n: data + data[at : at + n],
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(("flip_a_bit", 0.0703125, 7))  # SQLite tells of it in words that are no UTF-8
@given(st.tuples(st.sampled_from(sorted(HARMS)), PLACES, st.integers(1, 5000)))
def test_damage_is_refused_or_harmless(
    whole: Path, expected: list[JournalEntry], tmp_path: Path, way: tuple[str, float, int]
) -> None:
    """Whatever happens to the bytes, nothing that is read differs from what was written."""
    name, place, size = way
    data = whole.read_bytes()
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(HARMS[name](data, int(place * len(data)), size))
    is_refused(damaged, expected, JournalView)
    names = {item.name for item in tmp_path.iterdir()}
    assert names <= {"damaged.sqlite", "export.csv", "export.jsonl"}


@pytest.mark.parametrize("name", HARMS)
def test_the_owner_refuses_what_a_reader_refuses(
    whole: Path, expected: list[JournalEntry], tmp_path: Path, name: str
) -> None:
    """At the boundaries of pages and of the header, beside them and far from them."""
    data = whole.read_bytes()
    size = len(data)
    damaged = tmp_path / "damaged.sqlite"
    for place in (0, 1, 15, 16, 19, 27, 28, 95, 99, 100, 4095, 4096, 8192, size // 2, size - 1):
        damaged.write_bytes(HARMS[name](data, place, 64))
        is_refused(damaged, expected)


@pytest.mark.parametrize("page", range(8))
def test_an_older_page_is_noticed(path: Path, page: int) -> None:
    """A file that is half old and half new, as a copy in the middle of a commit is."""
    before = path.read_bytes()
    assert len(before) == 8 * 4096
    with Journal.open(path) as journal:
        journal.record_intents([(50 + number, request(number)) for number in range(20)])
    with Journal.open(path) as journal:
        record(journal, [(52, job("g52")), (1, job("g1", "COMPLETED"))])
    expected = entries(path)
    after = bytearray(path.read_bytes())
    place = slice(page * 4096, (page + 1) * 4096)
    is_other = after[place] != before[place]
    after[place] = before[place]
    path.write_bytes(after)
    assert is_refused(path, expected) is is_other


# Pages of a table (https://www.sqlite.org/fileformat.html, 1.6), with the size of their header.
TABLES = {5: 12, 13: 8}


def orders_of_cells(data: bytes) -> Iterator[bytes]:
    """Yield a file with two neighbours swapped, or one twice, on each page but the first."""
    for page in range(4096, len(data), 4096):
        cells = page + TABLES.get(data[page], 0)
        many = int.from_bytes(data[page + 3 : page + 5], "big") if data[page] in TABLES else 0
        for place in range(cells, cells + 2 * (many - 1), 2):
            one, other = data[place : place + 2], data[place + 2 : place + 4]
            yield data[:place] + other + one + data[place + 4 :]
            yield data[:place] + one + one + data[place + 4 :]


def test_rows_out_of_order_are_noticed(tmp_path: Path) -> None:
    """Rows that are whole, but not in their order, are neither read nor gone through for ever."""
    path, damaged = tmp_path / "j.sqlite", tmp_path / "damaged.sqlite"
    with Journal.open(path) as journal:
        journal.record_intents([(number, request(number)) for number in range(40)])
    orders = [*orders_of_cells(path.read_bytes())]
    assert len(orders) > 2 * 30
    for data in orders:
        damaged.write_bytes(data)
        with pytest.raises(JournalError, match="its entries are not in their order"):
            JournalView.open(damaged)
    with pytest.raises(JournalError, match=r"is damaged \("):
        Journal.open(damaged)


COPY_A_ROW = (
    f"INSERT INTO jobs SELECT 99, NULL, {', '.join(COLUMNS[2:])}, checksum FROM jobs "  # noqa: S608
    "WHERE position = 5"
)
CHANGES = [
    "UPDATE jobs SET idempotency_key = 'another' WHERE position = 8",
    "UPDATE jobs SET generation_id = 'another' WHERE position = 1",
    "UPDATE jobs SET state = 'refused' WHERE position = 8",
    "UPDATE jobs SET state = 'completed' WHERE position = 4",
    "UPDATE jobs SET intended_at = '2026-11-28T12:07:4' WHERE position = 1",
    "UPDATE jobs SET intended_at = x'00ff' WHERE position = 1",
    "UPDATE jobs SET updated_at = '2026-11-28' WHERE position = 1",
    "UPDATE jobs SET attempts = 'many' WHERE position = 1",
    "UPDATE jobs SET tries = 1 WHERE position = 3",
    "UPDATE jobs SET cost = 0.25 WHERE position = 1",
    "UPDATE jobs SET request_json = substr(request_json, 1, 40) WHERE position = 1",
    "UPDATE jobs SET request_json = '[]' WHERE position = 1",
    "UPDATE jobs SET request_json = cast(x'ff' AS TEXT) WHERE position = 1",
    "UPDATE jobs SET generation_json = substr(generation_json, 2) WHERE position = 1",
    "UPDATE jobs SET row_key = 'id:row 99' WHERE position = 1",
    "UPDATE jobs SET position = 99 WHERE position = 1",
    "UPDATE jobs SET download_path = 7 WHERE position = 0",
    "DELETE FROM jobs WHERE position = 5",
    "DELETE FROM jobs",
    "DELETE FROM tries WHERE position = 3",
    "UPDATE tries SET attempts = 7",
    COPY_A_ROW,
    "DELETE FROM journal",
    "UPDATE journal SET secret = 'another'",
    "UPDATE journal SET rows = rows + 1",
    "DROP TABLE jobs",
    "DROP TABLE tries",
    "DROP TABLE journal",
    "DROP INDEX tries_of",
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_another_program_has_changed_is_noticed(
    path: Path, expected: list[JournalEntry], change: str
) -> None:
    """An editor of tables may look; what it has changed is not relied on."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(change)
    kinds = () if change != "DROP INDEX tries_of" else (JournalView,)
    assert is_refused(path, expected, *kinds) is (change != "DROP INDEX tries_of")


def test_a_lost_row_is_ordered_under_the_key_that_it_had(
    whole: Path, tmp_path: Path, path: Path
) -> None:
    """A copy of an hour ago knows less; what it orders again, it orders under the same keys."""
    asked = [(ROWS + number, request(ROWS + number)) for number in range(3)]
    with Journal.open(path) as journal:
        keys = journal.record_intents(asked)
    with Journal.open(shutil.copy(whole, tmp_path / "early.sqlite")) as journal:
        assert journal.record_intents(asked) == keys
        (other,) = journal.record_intents([(ROWS + 3, request(0))])
    with Journal.open(tmp_path / "new.sqlite") as journal:
        assert not {*keys, other} & {*journal.record_intents(asked)}


def torn(path: Path, away: Path) -> None:
    """Copy a journal, and what lies beside it, from the middle of a commit."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = PERSIST").fetchone()
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN EXCLUSIVE")
        # So much that SQLite writes into the file before the commit.
        connection.execute("UPDATE jobs SET request_json = request_json || hex(zeroblob(20000))")
        for side in ("", "-journal"):
            shutil.copy(f"{path}{side}", f"{away}{side}")
        connection.execute("ROLLBACK")


def test_a_kill_in_the_middle_of_a_commit(
    path: Path, expected: list[JournalEntry], tmp_path: Path
) -> None:
    """With what lies beside it the file is whole, for reader and owner; alone it is refused."""
    away = tmp_path / "away" / "j.sqlite"
    away.parent.mkdir()
    torn(path, away)
    beside = away.with_name("j.sqlite-journal")
    alone = tmp_path / "alone.sqlite"
    shutil.copy(away, alone)
    assert is_refused(alone, expected, JournalView)
    with pytest.raises(JournalError, match="a file of the same name with -journal at its end"):
        Journal.open(alone)
    before = away.read_bytes(), beside.read_bytes()
    assert entries(away) == expected
    assert (away.read_bytes(), beside.read_bytes()) == before
    assert entries(away, Journal) == expected
    assert not beside.exists()


def test_what_is_left_of_another_journal(path: Path, tmp_path: Path) -> None:
    """A new journal is not begun where the rest of an old one lies, which SQLite would put in."""
    torn(path, tmp_path / "k.sqlite")
    (tmp_path / "k.sqlite").unlink()
    with pytest.raises(JournalError, match=r"k.sqlite-journal is there, which belongs to one that"):
        Journal.open(tmp_path / "k.sqlite")
    (tmp_path / "l.sqlite-wal").write_bytes(b"the rest")
    with pytest.raises(JournalError, match=r"l.sqlite-wal is there"):
        Journal.open(tmp_path / "l.sqlite")
    # What has been committed, or never begun, is of no use.
    (tmp_path / "m.sqlite-journal").write_bytes(bytes(512))
    (tmp_path / "m.sqlite-wal").touch()
    Journal.open(tmp_path / "m.sqlite").close()
    assert {*tmp_path.glob("m.*")} == {tmp_path / "m.sqlite", tmp_path / "m.sqlite.lock"}


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("how", [shutil.copy, shutil.move, os.link], ids=["copy", "move", "link"])
@pytest.mark.parametrize("lines", [8, 30])
def test_a_kill_and_then_a_move_by_the_one_name(
    tmp_path: Path, how: Callable[[Any, Any], object], lines: int
) -> None:
    """All that was relied on is in the file, or it is refused, and whole with what was left."""
    path, elsewhere = tmp_path / "j.sqlite", tmp_path / "elsewhere"
    elsewhere.mkdir()
    told = [*journal_process.told_until_killed(path, 60, lines)]
    how(path, elsewhere / path.name)
    if how is os.link:
        with pytest.raises(JournalError, match="has another name as well"):
            Journal.open(elsewhere / path.name)
        path.unlink()
    try:
        found = entries(elsewhere / path.name, Journal)
    except JournalError:  # pragma: no cover - only if it was killed within a millisecond
        shutil.move(f"{path}-journal", f"{elsewhere / path.name}-journal")
        found = entries(elsewhere / path.name, Journal)
    known = {entry.position: entry for entry in found}
    for event, number, fact in told:
        entry = known[number]
        assert fact in {entry.idempotency_key, entry.generation_id, f"{number}.mp4"}
        assert event != "download" or entry.download_path == ROOT / fact


@pytest.mark.usefixtures("interpreter")
def test_copies_of_a_journal_that_is_being_written(tmp_path: Path) -> None:
    """A copy by its one name has all that was committed before it, or is refused."""
    path = tmp_path / "j.sqlite"
    wrong, whole = [], 0
    with journal_process.start("write", path, 70) as process:
        keys: dict[int, str] = {}
        for line in process.stdout:
            event, number, fact = line.split()
            if event != "key":
                continue
            keys[int(number)] = fact
            if len(keys) % 7 == 0:
                copy = tmp_path / "copy.sqlite"
                shutil.copy(path, copy)
                with suppress(JournalError):
                    known = {each.position: each.idempotency_key for each in entries(copy)}
                    whole += 1
                    wrong += [place for place in keys if known.get(place) != keys[place]]
    assert process.returncode == 0
    assert wrong == []
    assert whole > 0


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Give a folder that other users may look into, unlike those that pytest makes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


def test_a_reader_needs_no_folder_to_write_to(whole: Path, open_path: Path) -> None:
    """A snapshot, a mounted backup: read and exported all the same; a run is refused."""
    folder = open_path / "backup"
    folder.mkdir()
    shutil.copy(whole, folder / "j.sqlite")
    torn(folder / "j.sqlite", folder / "torn.sqlite")
    (folder / "j.sqlite-journal").unlink()
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    out = open_path / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    program = f"""
import os, pathlib, sys, tempfile
import lipsync_async._bulk.journal_view  # another user cannot read the interpreter
from lipsync_async import JournalError, JournalView
from lipsync_async._bulk.journal import Journal
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
folder, out = pathlib.Path({str(folder)!r}), pathlib.Path({str(out)!r})
tempfile.tempdir = str(out)
for name in ("j.sqlite", "torn.sqlite"):
    with JournalView.open(folder / name) as view:
        view.export_csv(out / f"{{name}}.csv")
        print(sum(view.counts().values()))
    try:
        Journal.open(folder / name)
    except JournalError as error:
        print("may be written to" in str(error))
"""
    # Another user cannot write down what was covered.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    folder.chmod(0o755)
    assert (done.stdout.split(), done.stderr) == ([str(ROWS), "True"] * 2, "")
    assert {path.name for path in out.iterdir()} == {"j.sqlite.csv", "torn.sqlite.csv"}


def test_what_is_damaged_while_it_is_read(path: Path) -> None:
    """A view that was opened in time raises nothing but the journal's error."""
    with JournalView.open(path) as view:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute("UPDATE jobs SET state = 'lost' WHERE position = 8")
        with pytest.raises(JournalError, match="cannot be read"):
            view.counts()
        with pytest.raises(JournalError, match="entry at position 8 cannot be read"):
            view.entry(8)


def test_a_file_that_is_held_is_waited_for(whole: Path) -> None:
    """A reader waits while a commit is under way, and then says who is in the way."""
    with closing(sqlite3.connect(whole, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalError, match=r"is locked\). Close the program that is writing"):
            connect_reader(whole, patience=0.01)
        connection.execute("ROLLBACK")
    assert len(entries(whole)) == ROWS
