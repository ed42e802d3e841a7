"""Whose a journal is: one account's, and at any moment one run's."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from lipsync_async import AsyncClient, JournalError, JournalView
from lipsync_async._bulk.journal import Account, Journal
from lipsync_async.sandbox import Sandbox, VirtualClock
from tests.bulk.jobs import entries, request
from tests.bulk.runs import FREE, requests
from tests.client.connections import connect

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = "https://api.example"


def account(key: str = "key", service: str = HERE) -> Account:
    """Return what a run says of its account."""
    return service, lambda salt: f"{salt.hex()} {key}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a journal of an account, with an order in it."""
    path = tmp_path / "j.sqlite"
    with Journal.open(path, account=account()) as journal:
        journal.record_intents([(0, request(0))])
    return path


@pytest.mark.parametrize(
    "service",
    [
        *("http://api.example", "https://api.example:8443", "https://api2.example"),
        *("https://api.example/v3", "http://127.0.0.1:8765", "http://localhost:8765"),
    ],
)
def test_another_service_is_refused(path: Path, service: str) -> None:
    """Its jobs are not known there; no word of the user's changes that."""
    before = path.read_bytes()
    for is_new_key in (False, True):
        with pytest.raises(JournalError, match=rf"is of a run at {HERE}, and this client talks to"):
            Journal.open(path, account=account(service=service), accept_new_key=is_new_key)
    assert path.read_bytes() == before
    Journal.open(path, account=account()).close()


def test_another_key_is_refused_unless_it_is_said_to_be_the_account_s(path: Path) -> None:
    """Keys are replaced; from then on both are the account's."""
    before = path.read_bytes()
    with pytest.raises(JournalError, match="accept_new_key=True;") as told:
        Journal.open(path, account=account("other"))
    assert "'other'" not in str(told.value)
    assert path.read_bytes() == before
    Journal.open(path, account=account("other"), accept_new_key=True).close()
    for key in ("key", "other"):
        Journal.open(path, account=account(key)).close()
    with pytest.raises(JournalError, match="another API key"):
        Journal.open(path, account=account("third"))


def test_a_journal_that_was_never_bound_is_bound_by_its_next_run(tmp_path: Path) -> None:
    """One of an earlier release says nothing of its account."""
    path = tmp_path / "j.sqlite"
    Journal.open(path).close()
    Journal.open(path, account=account()).close()
    with pytest.raises(JournalError, match="another API key"):
        Journal.open(path, account=account("other"))
    Journal.open(path).close()
    with pytest.raises(JournalError, match="another API key"):
        Journal.open(path, account=account("other"))


def test_two_journals_keep_two_digests_of_one_key(tmp_path: Path) -> None:
    """Each has a salt of its own, so that it cannot be told whose journals belong together."""
    found = []
    for name in ("a", "b"):
        Journal.open(tmp_path / name, account=account()).close()
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            found += connection.execute("SELECT salt, key_digests FROM journal").fetchall()
    assert len({each for pair in found for each in pair}) == 4


async def run(sandbox: Sandbox, journal: Path, **options: Any) -> int:
    """Run five requests; return how many jobs there are."""
    async with connect(sandbox, limits=FREE) as client:
        found = await client.generations.run_all(requests(5), journal=journal, **options)
        assert all(each.is_success for each in found)
    return sandbox.jobs.created


async def test_a_sandbox_that_was_started_anew_is_another_account(tmp_path: Path) -> None:
    """Nothing is ordered there with the journal of the one before, and the words say why."""
    journal = tmp_path / "j.sqlite"
    async with Sandbox(seed=1, clock=VirtualClock(), render=False) as sandbox:
        assert await run(sandbox, journal) == 5
        assert await run(sandbox, journal) == 5
    async with Sandbox(seed=2, clock=VirtualClock(), render=False) as sandbox:
        with pytest.raises(JournalError, match="A sandbox that was started again"):
            await run(sandbox, journal)
        assert len(sandbox.requests) == 0


async def test_a_replaced_key_goes_on(tmp_path: Path) -> None:
    """The service knows the account's jobs by any of its keys."""
    journal = tmp_path / "j.sqlite"
    async with Sandbox(clock=VirtualClock(), render=False, api_key="new") as sandbox:
        with Journal.open(journal, account=(sandbox.url, lambda _: "old digest")):
            pass
        with pytest.raises(JournalError, match="another API key"):
            await run(sandbox, journal)
        assert await run(sandbox, journal, accept_new_key=True) == 5
        assert await run(sandbox, journal) == 5


async def test_the_key_is_not_in_the_file(tmp_path: Path) -> None:
    """Neither in the journal nor beside it; and an address is the same however it is written."""
    journal = tmp_path / "j.sqlite"
    key = "sk-0123456789abcdefghij"
    for base_url in ("https://h.example", "https://H.example", "https://h.example/"):
        async with AsyncClient(key, base_url=base_url) as client:
            await client.generations.run_all([], journal=journal)
    files = [file async for file in anyio.Path(tmp_path).iterdir()]
    assert sorted(file.name for file in files) == ["j.sqlite", "j.sqlite.lock"]
    assert [key.encode() in await file.read_bytes() for file in files] == [False, False]


@pytest.mark.parametrize("name", ["other.sqlite", "folder/j.sqlite"], ids=["beside", "elsewhere"])
@pytest.mark.parametrize("is_open", [False, True])
def test_a_second_name_is_refused(path: Path, name: str, is_open: bool) -> None:  # noqa: FBT001
    """Under a hard link another run could write the file at the same time."""
    other = path.parent / name
    other.parent.mkdir(exist_ok=True)
    os.link(path, other)
    for each in (path, other):
        with pytest.raises(JournalError, match="has another name as well"):
            Journal.open(each)
        assert len(entries(each)) == 1
    path.unlink()
    if is_open:
        with Journal.open(other) as journal, JournalView.open(other) as view:
            journal.record_intents([(1, request(1))])
            assert view.length == 2
    Journal.open(other).close()


def test_a_run_that_was_overtaken_writes_nothing_more(path: Path) -> None:
    """If its lock was removed, a second run may begin; then the first can do no harm."""
    with Journal.open(path) as first:
        path.with_name(f"{path.name}.lock").unlink()
        with Journal.open(path) as second:
            (key,) = second.record_intents([(1, request(1))])
            with pytest.raises(JournalError, match="another run has taken the journal over"):
                first.record_intents([(1, request(1))])
            assert second.record_intents([(1, request(1))]) == [key]


OWNERS = {
    None: f"process {os.getpid()}",
    b"7 elsewhere.example": "a process on elsewhere.example",
    b"8": "process 8",
    b"": "another process",  # between taking the lock and writing its number
    bytes([255, 254]): "another process",
}


@pytest.mark.parametrize(("written", "owner"), OWNERS.items(), ids=range(len(OWNERS)))
def test_a_second_owner_is_refused_by_number_and_machine(
    path: Path, written: bytes | None, owner: str
) -> None:
    """The words name the owner, as it is known on this machine and on others."""
    with Journal.open(path):
        if written is not None:
            path.with_name(f"{path.name}.lock").write_bytes(written)
        with pytest.raises(JournalError, match=f"is in use by {owner}. Wait"):
            Journal.open(path)


# Names of a journal, and of what belongs to it.
NAMES: dict[str, Callable[[Path], Path]] = {
    "the journal": lambda path: path,
    "by a link": lambda path: linked(path, symbolic=True),
    "by a hard link": lambda path: linked(path, symbolic=False),
    "by a linked folder": lambda path: linked(path.parent, symbolic=True) / path.name,
    "its rollback journal": lambda path: path.with_name(f"{path.name}-journal"),
    "its log": lambda path: path.with_name(f"{path.name}-wal"),
    "its shared memory": lambda path: path.with_name(f"{path.name}-shm"),
    "its lock": lambda path: path.with_name(f"{path.name}.lock"),
    "a link to its lock": lambda path: linked(path.with_name(f"{path.name}.lock"), symbolic=True),
}
EXPORTS: dict[str, Callable[[Path], Path]] = NAMES | {
    "by a way round": lambda path: path.parent / "." / ".." / path.parent.name / path.name,
    "a link to what may come": lambda path: linked(
        path.with_name(f"{path.name}-journal"), symbolic=True
    ),
}
OTHERS: dict[str, Callable[[Path], Path]] = NAMES | {
    "by a link to a link": lambda path: linked(linked(path, symbolic=True), symbolic=True),
    "its copy": lambda path: Path(shutil.copy(path, path.with_name("copy.csv"))),
    "a rollback journal alone": lambda path: begun(path, "d9d505f920a163d7"),
    "a log alone": lambda path: begun(path, "377f0682"),
    "a log of the other order": lambda path: begun(path, "377f0683"),
    "a database": lambda path: begun(path, b"SQLite format 3\0".hex()),
}
# What an export may replace, or make.
REPLACEABLE: dict[str, Callable[[Path], Path]] = {
    "nothing": lambda path: path.with_name("new.csv"),
    "an earlier export": lambda path: begun(path, b"position,line".hex()),
    "an empty file": lambda path: begun(path, ""),
    "a film": lambda path: begun(path, "000000186674797069736f6d"),
    "a lock of nothing": lambda path: path.with_name("new.csv.lock"),
    "the end of a name alone": lambda path: path.with_name(".lock"),
    "the end of another name": lambda path: path.with_name("-journal"),
    "almost a database": lambda path: begun(path, b"SQLite format 3".hex()),
    "a circle": lambda path: made(path.with_name("circle"), lambda link: link.symlink_to(link)),
    "a link to nothing": lambda path: linked(path.with_name("none"), symbolic=True),
}
NO_FILES: dict[str, Callable[[Path], Path]] = {
    "a folder": lambda path: path.parent,
    "a fifo": lambda path: made(path.with_name("fifo"), os.mkfifo),
    "nothing": lambda path: made(path.with_name("null"), lambda null: null.symlink_to("/dev/null")),
    "no name": lambda path: path.with_name("x") / "..",
    "a null character": lambda path: path.with_name("a\0b"),
    "a long name": lambda path: path.with_name("x" * 300),
    "no folder": lambda path: path.with_name("none") / "x.csv",
    "a file's folder": lambda path: path / "x.csv",
}


def linked(path: Path, *, symbolic: bool) -> Path:
    """Return another name of something."""
    link = path.parent / f"link to {path.name}"
    if symbolic:
        link.symlink_to(path)
    else:
        os.link(path, link)
    return link


def begun(path: Path, beginning: str) -> Path:
    """Make another file that begins in a certain way."""
    file = path.with_name("other.bin")
    file.write_bytes(bytes.fromhex(beginning))
    return file


def made(path: Path, make: Callable[[Path], object]) -> Path:
    """Make something and return where it is."""
    make(path)
    return path


@pytest.mark.parametrize("name", [*EXPORTS, *NO_FILES])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_export_destroys_nothing(path: Path, name: str, kind: str) -> None:
    """Neither the journal by any of its names, nor what is no file."""
    target = (EXPORTS | NO_FILES)[name](path)
    words = "is the journal itself, or belongs to it" if name in EXPORTS else "cannot be written"
    before = {item.name for item in path.parent.iterdir()}
    with JournalView.open(path) as view:
        export = view.export_csv if kind == "csv" else view.export_jsonl
        with pytest.raises(JournalError, match=rf"{words}.* Give another path"):
            export(target)
    assert {item.name for item in path.parent.iterdir()} == before
    assert len(entries(path)) == 1


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
@pytest.mark.parametrize("name", OTHERS)
def test_an_export_destroys_no_other_journal(path: Path, name: str, *, is_open: bool) -> None:
    """Nor anything that belongs to one, by any name, whether or not a run has it open."""
    other_path = path.with_name("other.sqlite")
    with Journal.open(other_path) as other:
        (key,) = other.record_intents([(0, request(0))])
        if not is_open:
            other.close()
        target = OTHERS[name](other_path)
        before = {item.name for item in path.parent.iterdir()}
        with JournalView.open(path) as view:
            for export in (view.export_csv, view.export_jsonl, view.export_manifest):
                with pytest.raises(JournalError, match=r"another journal, perhaps, and its"):
                    export(target)
        assert {item.name for item in path.parent.iterdir()} == before
        if is_open and other_path.stat().st_nlink == 1:
            assert other.record_intents([(0, request(0))]) == [key]
        assert [entry.idempotency_key for entry in entries(other_path)] == [key]


@pytest.mark.parametrize("name", REPLACEABLE)
def test_an_export_replaces_what_is_no_database(path: Path, name: str) -> None:
    """What is refused is refused for what it is, and for nothing else."""
    target = REPLACEABLE[name](path)
    with JournalView.open(path) as view:
        view.export_csv(target)
        assert target.read_bytes().startswith(b"position,line,")
