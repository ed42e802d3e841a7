"""The journal on PostgreSQL: whose it is, what a loss of the connection costs, what is refused."""

from __future__ import annotations

import csv
import json
import os
import signal
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest

from lipsync_async import (
    Generation,
    InvalidRequestError,
    JobState,
    JournalError,
    JournalView,
    Origin,
)
from lipsync_async._bulk import journal_postgres
from lipsync_async._bulk.journal import Journal
from lipsync_async._bulk.journal_postgres import Address
from lipsync_async._bulk.journal_view import has_journal, without_password
from lipsync_async._bulk.runner import RunOptions
from tests.bulk.jobs import address_of, entries, job, known, record, request
from tests.bulk.pooler import pooled
from tests.bulk.runs import made, opened, requests, slots
from tests.bulk.test_journal import REFUSED, TIMEOUT
from tests.bulk.test_journal_export import MOMENT
from tests.bulk.test_journal_names import row, rows
from tests.bulk.test_journal_owners import HERE, account
from tests.interpreter import BlockingFork
from tests.servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from lipsync_async._bulk.journal_entry import JournalEntry

PASSWORD = "p4ss-w0rd"
_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'lipsync_async%'"


@pytest.fixture
def address(postgres_server: PostgresServer) -> str:
    """Give the address of a journal that is not there yet."""
    return address_of(postgres_server)


def end_sessions(server: PostgresServer) -> None:
    """End the sessions of all journals, as a network that breaks does."""
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
    with psycopg.connect(server.url) as connection:
        connection.execute(ending, ("lipsync_async%",))


def statement(server: PostgresServer, words: bytes) -> None:
    """Run a statement of another program."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(words)


# --- one owner ---


def test_a_second_owner_is_refused_by_number(address: str) -> None:
    """All can read meanwhile; its end frees the journal at once."""
    with Journal.open(address) as journal:
        (key,) = journal.record_intents([(0, request(0))])
        with pytest.raises(JournalError, match=f"is in use by process {os.getpid()}. Wait"):
            Journal.open(address, patience=0)
        assert [entry.idempotency_key for entry in entries(address)] == [key]
    with Journal.open(address) as journal:
        assert journal.record_intents([(0, request(0))]) == [key]


def test_runs_of_one_database_know_nothing_of_each_other(postgres_server: PostgresServer) -> None:
    """Each has its own requests, keys, owner and costs."""
    first, second = address_of(postgres_server), address_of(postgres_server)
    with Journal.open(first) as one, Journal.open(second) as two:
        keys = [each.record_intents([(0, request(0), 0.25)]) for each in (one, two)]
        one.record_intents([(1, request(1), 0.5)])
        assert (one.spending(), two.spending()) == ((2, 0.75, 0), (1, 0.25, 0))
    assert keys[0] != keys[1]
    assert [len(entries(each)) for each in (first, second)] == [2, 1]


def test_an_account_and_its_requests_are_checked(address: str) -> None:
    """As in a file: another service, another key and other requests are refused."""
    with Journal.open(address, account=account()) as journal:
        journal.record_intents([(0, request(0))])
        with pytest.raises(InvalidRequestError, match=r"requests\[0\]: is not the request that"):
            journal.match([request(1)])
    with pytest.raises(JournalError, match=f"is of a run at {HERE}, and this client talks to"):
        Journal.open(address, account=account(service="https://api2.example"))
    with pytest.raises(JournalError, match="accept_new_key=True;"):
        Journal.open(address, account=account("other"))
    Journal.open(address, account=account("other"), accept_new_key=True).close()
    Journal.open(address, account=account()).close()


def test_a_forked_worker_ends_no_session(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child closes stays its parent's."""
    with Journal.open(address) as journal:
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: -1)
            journal.close()
        assert len(journal.record_intents([(0, request(0))])) == 1


def test_without_its_session_an_owner_records_no_intent(
    postgres_server: PostgresServer, address: str
) -> None:
    """Another run takes over at once, under the old keys; the first can do no harm any more."""
    with Journal.open(address, patience=0.001) as first:
        (key,) = first.record_intents([(0, request(0))])
        end_sessions(postgres_server)
        with pytest.raises(JournalError, match=r"cannot be used \(terminating connection.* kept"):
            first.record_intents([(1, request(1))])
        with Journal.open(address) as second:
            assert second.record_intents([(0, request(0))]) == [key]
            for _ in range(2):  # a session without the lock is not written in
                with pytest.raises(JournalError, match="is in use by process"):
                    first.record_intents([(1, request(1))])
        with pytest.raises(JournalError, match=r"another run has taken the journal .* over"):
            first.record_intents([(1, request(1))])
    assert [entry.position for entry in entries(address)] == [0]


def test_an_owner_goes_on_where_no_other_came(
    postgres_server: PostgresServer, address: str
) -> None:
    """What could not be written is written in a new session, which has the lock again."""
    with Journal.open(address) as journal:
        journal.record_intents([(0, request(0))])
        end_sessions(postgres_server)
        with pytest.raises(JournalError, match="terminating connection"):
            journal.record_updates([(0, job("g0"))])
        assert journal.record_updates([(0, job("g0"))]) is None
        with pytest.raises(JournalError, match="is in use by"):
            Journal.open(address, patience=0)
    assert known(address).generation_id == "g0"


def test_a_server_that_does_not_answer(
    postgres_server: PostgresServer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement fails after a time; what it was to record is recorded when all is well."""
    with Journal.open(address) as journal:
        (key,) = journal.record_intents([(0, request(0))])
        with psycopg.connect(postgres_server.url) as connection:
            ((session,),) = connection.execute(_SESSIONS).fetchall()
        os.kill(session, signal.SIGSTOP)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(journal_postgres, "_LONGEST_SILENCE", 0.01)
                with pytest.raises(JournalError, match=r"has not answered for .* seconds\)\. What"):
                    journal.record_intents([(1, request(1))])
        finally:
            os.kill(session, signal.SIGCONT)
        assert journal.record_intents([(0, request(0))]) == [key]
    assert [entry.position for entry in entries(address)] == [0]


async def test_two_owners_for_a_moment_make_one_job(
    postgres_server: PostgresServer, address: str
) -> None:
    """What the first sends as its session ends, the second sends under the same key."""
    async with opened() as (client, sandbox, _):
        (asked,) = requests(1)
        with Journal.open(address) as first:
            (key,) = first.record_intents([(0, asked)])
            end_sessions(postgres_server)
            with Journal.open(address) as second:
                assert second.record_intents([(0, asked)]) == [key]
                one = await client.generations.create(asked, idempotency_key=key)
                two = await client.generations.create(asked, idempotency_key=key)
    assert (one.id, sandbox.jobs.created) == (two.id, 1)


# --- runs ---


async def test_a_run_goes_on_from_its_journal(address: str) -> None:
    """The next run skips what is done and runs what is new; what failed is run again if asked."""
    async with opened() as (client, sandbox, _):
        run_all = client.generations.run_all
        first = await run_all(requests(3), journal=address)
        again = await run_all(requests(5), journal=address, max_jobs=1)
        assert [each.resumed for each in again] == [True, True, True, False, False]
        assert [each.generation for each in again[:3]] == [each.generation for each in first]
    assert sandbox.jobs.created == 4


def start_anew(server: PostgresServer) -> None:
    """Stop a server and start it again."""
    server.stop()
    server.start()


@pytest.mark.parametrize("break_it", [end_sessions, start_anew, PostgresServer.stop])
async def test_a_loss_in_mid_run_loses_no_id(
    postgres_server: PostgresServer, break_it: Callable[[PostgresServer], None]
) -> None:
    """As with a full disk: no more jobs are created, and each id is in the journal or told."""
    address, outcomes = f"{postgres_server.url}?run={break_it.__name__}", list[object]()

    def see(progress: object) -> None:
        outcomes.append(progress)
        if len(outcomes) == 3:
            break_it(postgres_server)

    async with opened(slots(3)) as (client, sandbox, _):
        run_all = client.generations.run_all
        with pytest.raises(JournalError, match="cannot be used") as told:
            await run_all(requests(12), journal=address, on_progress=see)
        assert sandbox.jobs.created < 12
        if not postgres_server.answers():
            postgres_server.start()
        recorded = {entry.generation_id for entry in entries(address)}
        assert {each.id for each in sandbox.jobs} <= recorded | {*told.value.generation_ids}
        assert postgres_server.secret not in "".join(traceback.format_exception(told.value))
        found = await run_all(requests(12), journal=address)
    assert [each.is_success for each in found] == [True] * 12
    assert made(sandbox) == {f"take-{number}": 1 for number in range(12)}


def test_exports_of_both_kinds_are_equal(tmp_path: Path, address: str) -> None:
    """Lines, tables and manifests hold the same; only keys differ, by their secrets."""
    found = []
    for place in (tmp_path / "j.sqlite", address):
        with Journal.open(place, now=lambda: MOMENT) as journal:
            origins = [Origin(2, {"note": "=1+1"}), Origin(4, {"備考": "b"}), None]
            asked = [
                (number, request(number, request_id=f"row-{number}", origin=origin))
                for number, origin in enumerate(origins)
            ]
            journal.record_intents([(*asked[0], 0.25), *asked[1:]])
            done = job("g0", "COMPLETED", outputUrl="https://h/v.mp4", outputDuration=2.5)
            failed = job("g1", "FAILED", error="no\nhalf \ud800", errorCode="no_face")
            record(journal, [(0, done), (1, failed)])
            record(journal, [(0, "/out/0.mp4")])
        with JournalView.open(place) as view:
            view.export_jsonl(tmp_path / "j.jsonl")
            view.export_csv(tmp_path / "j.csv")
            rows = [view.export_manifest(tmp_path / f"m.{kind}") for kind in ("csv", "jsonl")]
            found.append((view.counts(), view.length, rows, *_contents(tmp_path)))
    assert found[0] == found[1]
    assert found[0][:3] == (known_counts(), 3, [1, 1])


def test_both_kinds_follow_a_list_that_changes(tmp_path: Path, address: str) -> None:
    """Moved rows, new tries, refusals and origins leave the same entries, but for the keys."""
    found = [history_of(place) for place in (tmp_path / "j.sqlite", address)]
    assert found[0] == found[1]
    entries_found, spent = found[0]
    assert [(each.request_id, each.tries, each.state) for each in entries_found] == [
        ("e", 1, JobState.UNKNOWN),
        ("x", 1, JobState.SUBMITTING),
        ("c", 1, JobState.ACCEPTED),
        ("b", 2, JobState.SUBMITTING),
        ("a", 1, JobState.COMPLETED),
        ("d", 1, JobState.NOT_CREATED),
    ]
    assert spent == (6, 1.25, 1)


def history_of(place: Path | str) -> tuple[list[JournalEntry], tuple[int, float, int]]:
    """Run a list, change it and run it again; return the entries without keys, and the costs."""
    with Journal.open(place, now=lambda: MOMENT) as journal:
        journal.record_intents([(n, each, 0.25) for n, each in enumerate(rows(*"abcde"))])
        ends: list[Generation | BaseException] = [
            job("a", "COMPLETED"),
            job("b", "FAILED"),
            job("c"),
            REFUSED,
            TIMEOUT,
        ]
        record(journal, [*enumerate(ends)])
    changed = [*rows(*"exc"), row("b", "another film"), row("a", origin=Origin(7, {"note": "n"}))]
    with Journal.open(place, retry_failed=True, now=lambda: MOMENT) as journal:
        states = [None if each is None else each.state for each in journal.match(changed)]
        assert states == [JobState.UNKNOWN, None, JobState.ACCEPTED, None, JobState.COMPLETED]
        journal.record_intents([(0, changed[0]), (1, changed[1]), (3, changed[3], 0.25)])
        spent = journal.spending()
    return [attrs.evolve(each, idempotency_key="") for each in entries(place)], spent


def known_counts() -> dict[JobState, int]:
    """Return how many requests of the exported journal are in each state."""
    seen = dict.fromkeys((JobState.SUBMITTING, JobState.COMPLETED, JobState.FAILED), 1)
    return dict.fromkeys(JobState, 0) | seen


def _contents(folder: Path) -> list[Any]:
    """Return what exports hold, without keys."""
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in (folder / "j.jsonl").read_text().splitlines()
    ]
    with (folder / "j.csv").open(newline="") as file:
        lines += csv.DictReader(file)
    assert [len(line.pop("idempotency_key")) for line in lines] == [36] * 6
    return [lines, *((folder / f"m.{kind}").read_text() for kind in ("csv", "jsonl"))]


# --- what is refused ---


def test_a_journal_that_is_not_there_cannot_be_read(postgres_server: PostgresServer) -> None:
    """Neither in a database without journals, nor beside others; reading makes none."""
    statement(postgres_server, b"DROP SCHEMA IF EXISTS lipsync CASCADE")
    address = address_of(postgres_server)
    with pytest.raises(JournalError, match=r"there is no journal at .*. Check the address"):
        JournalView.open(address)
    Journal.open(address_of(postgres_server)).close()
    with pytest.raises(JournalError, match=r"there is no journal at .*. Check the address"):
        JournalView.open(address)


def test_a_journal_of_a_newer_release_is_refused(
    postgres_server: PostgresServer, address: str
) -> None:
    """By reading as by writing."""
    Journal.open(address).close()
    statement(postgres_server, b"UPDATE lipsync.all_journals SET version = 3")
    for open_it in (Journal.open, JournalView.open):
        with pytest.raises(JournalError, match="is of version 3, and this release reads version 2"):
            open_it(address)


def test_a_journal_that_is_deleted_in_use_is_refused(
    postgres_server: PostgresServer, address: str
) -> None:
    """With its row, all that belongs to a run is gone."""
    with Journal.open(address) as journal:
        journal.record_intents([(0, request(0))])
        statement(postgres_server, b"DELETE FROM lipsync.all_journals")
        with pytest.raises(JournalError, match="was deleted while it was in use"):
            journal.record_intents([(1, request(1))])
    with pytest.raises(JournalError, match="there is no journal"):
        JournalView.open(address)


def test_tables_that_are_deleted_in_use_are_told(
    postgres_server: PostgresServer, address: str
) -> None:
    """What was recorded is not kept then, and the message says no such thing."""
    with Journal.open(address) as journal:
        statement(postgres_server, b"DROP SCHEMA lipsync CASCADE")
        with pytest.raises(JournalError, match=r"\). Its tables were deleted; without them"):
            journal.record_intents([(0, request(0))])


OPTIONS = {
    "options=-c%20default_transaction_read_only%3Don": "is read-only; give the address of the one",
    "user=guest": "Give the user the right to create a schema in the database, or to use",
    "port=1": r"\(connection is bad: .*\). What was recorded before is kept; check the server",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_what_a_server_refuses_is_told_with_what_to_do(
    postgres_server: PostgresServer, address: str, option: str
) -> None:
    """A server that only reads, a user without rights, no server at all."""
    statement(postgres_server, b"DROP SCHEMA IF EXISTS lipsync CASCADE")
    statement(postgres_server, b"DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    with pytest.raises(JournalError, match=OPTIONS[option]):
        Journal.open(f"{address}&{option}")


def test_many_runs_may_make_the_tables_at_once(postgres_server: PostgresServer) -> None:
    """One of them does, and the others wait for that."""
    statement(postgres_server, b"DROP SCHEMA IF EXISTS lipsync CASCADE")
    addresses = [address_of(postgres_server) for _ in range(4)]
    with ThreadPoolExecutor() as threads:
        for journal in threads.map(Journal.open, addresses):
            journal.close()
    assert [entries(address) for address in addresses] == [[]] * 4


def test_of_many_owners_at_once_one_is_let_in(address: str) -> None:
    """The others are refused, also where the journal is new."""

    def opened_or_refused(_: int) -> Journal | str:
        try:
            return Journal.open(address, patience=0)
        except JournalError as error:
            return str(error)

    with ThreadPoolExecutor() as threads:
        found = [*threads.map(opened_or_refused, range(4))]
    (owner,) = [each for each in found if isinstance(each, Journal)]
    assert sum("is in use by process" in str(each) for each in found) == 3
    assert len(owner.record_intents([(0, request(0))])) == 1
    owner.close()


def test_a_program_that_holds_a_lock_is_named_as_the_reason(
    postgres_server: PostgresServer, address: str
) -> None:
    """The owner waits for it as for a program that writes to a file, and then says so."""
    with Journal.open(address) as journal, psycopg.connect(postgres_server.url) as other:
        journal._store.execute("SET lock_timeout = 1")  # noqa: SLF001 - milliseconds
        other.execute("LOCK TABLE lipsync.all_jobs")
        with pytest.raises(JournalError, match="Close the program that holds a lock on the table"):
            journal.record_intents([(0, request(0))])
        other.rollback()
        assert len(journal.record_intents([(0, request(0))])) == 1


def test_a_database_that_lacks_characters_is_refused(postgres_server: PostgresServer) -> None:
    """Before a message in another script keeps the id beside it from being stored."""
    statement(postgres_server, b"DROP DATABASE IF EXISTS latin")
    statement(postgres_server, b"CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0")
    address = address_of(postgres_server).replace("/postgres?", "/latin?")
    with pytest.raises(JournalError, match="has the encoding LATIN1, which lacks characters"):
        Journal.open(address)


def test_commits_reach_the_disk(address: str) -> None:
    """Whatever the database's own setting is."""
    with Journal.open(f"{address}&options=-c%20synchronous_commit%3Doff") as journal:
        shown = journal._store.execute("SHOW synchronous_commit").fetchone()  # noqa: SLF001
    assert shown == ("on",)


def test_timeouts_for_statements_of_others_end_no_session(address: str) -> None:
    """A session that ends loses its lock; and a lock that is held is named as the reason."""
    names = "statement_timeout", "idle_in_transaction_session_timeout"
    limits = f"{address}&options={'%20'.join(f'-c%20{name}%3D300' for name in names)}"
    with Journal.open(limits) as journal:
        with pytest.raises(JournalError, match="is in use by process"):
            Journal.open(limits, patience=1)
        shown = [journal._store.execute(f"SHOW {name}").fetchone() for name in names]  # noqa: SLF001
    assert shown == [("0",), ("0",)]


def test_all_characters_are_kept_in_any_encoding_of_a_session(address: str) -> None:
    """Those of the run's name, too."""
    latin = f"{address}%E2%82%AC&client_encoding=latin1"
    with Journal.open(latin) as journal:
        journal.record_intents([(0, attrs.evolve(request(0), request_id="€"))])
    assert [entry.request_id for entry in entries(latin)] == ["€"]


@pytest.mark.parametrize("sessions", [1, 2])
def test_a_pooler_that_lends_sessions_to_transactions_is_refused(
    postgres_server: PostgresServer, address: str, tmp_path: Path, sessions: int
) -> None:
    """At opening, in words, by reading as by writing: no lock and no setting would hold."""
    folder, port = str(postgres_server.folder), postgres_server.port
    with pooled(folder, port, tmp_path, sessions):
        for open_it in (Journal.open, JournalView.open):
            with pytest.raises(JournalError, match="a connection pooler gives each transaction"):
                open_it(f"{address}&host={tmp_path}")


def test_a_session_that_changes_later_is_noticed(address: str) -> None:
    """Before anything is written in it."""
    with Journal.open(address) as journal:
        journal._store._session = 1  # type: ignore[attr-defined]  # noqa: SLF001
        with pytest.raises(JournalError, match="of a pool in session mode"):
            journal.record_intents([(0, request(0))])
    assert entries(address) == []


# --- addresses ---

SHOWN = {
    "postgresql://h/d?run=a": ("a", "postgresql://h/d?run=a"),
    f"postgres://u:{PASSWORD}@h:1/d?run=a%20b": ("a b", "postgres://u@h:1/d?run=a%20b"),
    f"postgresql://u:{PASSWORD}:2@h,i/?x=y&run=a": ("a", "postgresql://u@h,i/?x=y&run=a"),
    f"postgresql:///d?run=a&password={PASSWORD}&host=/s": ("a", "postgresql:///d?run=a&host=/s"),
    f"postgresql:///d?run={'n' * 100}": ("n" * 100, f"postgresql:///d?run={'n' * 100}"),
}
NO_RUN = "must name its run once, by 1 to 100"
NO_ADDRESS = "address cannot be used. Give text such as postgresql://USER@HOST/DATABASE"
BAD = {
    f"postgresql://u:{PASSWORD}@h/d": NO_RUN,
    f"postgresql://u:{PASSWORD}@h/d?run=": NO_RUN,
    f"postgresql://u:{PASSWORD}@h/d?run={'n' * 101}": NO_RUN,
    f"postgresql://u:{PASSWORD}@h/d?run=a&run=b": NO_RUN,
    f"postgresql://u:{PASSWORD}@h/d?run=a%0Ab": NO_RUN,
    f"postgresql://u:{PASSWORD}@h/d?run=a%FF": NO_RUN,
    f"postgresql://u@h/d?run=a&pass={PASSWORD}": "give options that PostgreSQL knows",
    f"postgresql://u@h/d?run=a&PWD={PASSWORD}": "give options that PostgreSQL knows",
    f"postgresql://u:{PASSWORD}@x@h/d?run=a": NO_ADDRESS,
    f"postgresql://u:/{PASSWORD}@h/d?run=a": NO_ADDRESS,
    f"postgresql://u:#{PASSWORD}@h/d?run=a": NO_ADDRESS,
    f"postgresql://u:?{PASSWORD}@h/d?run=a": NO_ADDRESS,
    f"redis://u:{PASSWORD}@h/0": NO_ADDRESS,
    f"POSTGRESQL://u:{PASSWORD}@h/d?run=a": NO_ADDRESS,
    f" postgresql://u:{PASSWORD}@h/d?run=a": NO_ADDRESS,
    f"postgresql://u:%zz{PASSWORD}@h/d?run=a": "@h/d\\?run=a cannot be used. Percent-encode",
    f"postgresql://u:{PASSWORD}@h/d?run=a&colour=blue": "give options that PostgreSQL knows",
    f"postgresql://u:{PASSWORD}@127.0.0.1:1/d?run=a": "connection failed",
}


@pytest.mark.parametrize("text", SHOWN)
def test_an_address_names_a_run_and_is_shown_without_its_password(text: str) -> None:
    """Both parts of it are read as PostgreSQL's own programs read addresses."""
    read = Address.read(text)
    assert (read.run, read.shown) == SHOWN[text]
    assert without_password(text) == read.shown
    assert PASSWORD not in f"{read} {RunOptions(journal=text)}"


@pytest.mark.parametrize("text", BAD)
def test_a_password_is_in_no_message(text: str) -> None:
    """Nor in that of the error that it was raised from."""
    for open_it in (Journal.open, JournalView.open, has_journal):
        with pytest.raises(JournalError, match=BAD[text]) as told:
            open_it(text)
        assert PASSWORD not in "".join(traceback.format_exception(told.value))


@pytest.mark.parametrize("place", [str, Path])
async def test_an_address_is_no_path(place: Callable[[str], Path | str]) -> None:
    """A batch's journal is a file; an address that became a path is none any more."""
    given = place(f"postgresql://u:{PASSWORD}@h/d?run=a")
    async with opened() as (client, *_):
        with pytest.raises(JournalError, match="An address cannot be used here") as told:
            await client.batches.create([*requests(20)], journal=given)
    with pytest.raises(JournalError) as other:
        JournalView.open(Path(f"postgresql://u:{PASSWORD}@h/d?run=a"))
    assert PASSWORD not in f"{told.value} {other.value}"


@pytest.mark.usefixtures("interpreter")
def test_a_missing_package_is_named() -> None:
    """With the line that installs it."""
    text = (
        "import sys\nsys.modules['psycopg'] = None\n"
        "try:\n    JournalView.open('postgresql://h/d?run=a')\n"
        "except ConfigurationError as error:\n    print(error)"
    )
    with BlockingFork(text) as program:
        said = program.stdout.read()
    assert said.endswith("Nothing was sent. Run: pip install 'lipsync-async[postgres]'\n")
