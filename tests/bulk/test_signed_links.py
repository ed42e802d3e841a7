"""Private media behind links that every run signs anew: a run knows its own jobs again."""

from __future__ import annotations

import shutil
from itertools import count
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from lipsync_async import Audio, GenerationRequest, JobState, Video
from lipsync_async._bulk.journal import Journal
from lipsync_async.errors import InvalidRequestError
from lipsync_async.sandbox.faults import Fault
from tests.bulk.jobs import entries, job, known, record
from tests.bulk.test_signatures import PLACE, SIGNED_ANEW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lipsync_async.sandbox import Sandbox
    from tests.bulk.runs import Runs

NUMBERS = count(1)
OTHER = GenerationRequest(model="sync-3", input=[Video("https://h/x"), Audio("https://h/a")])
CREATES: dict[str, Any] = {"method": "POST", "path": "/v2/generate"}


def signed(name: str) -> str:
    """Return a link that was never handed out before."""
    number = next(NUMBERS)
    return f"https://media.example/{name}?X-Amz-Date={number}&X-Amz-Signature={number:064x}"


def links(many: int, **fields: Any) -> list[GenerationRequest]:
    """Return requests for files that are always the same, by links that never are."""
    return [
        GenerationRequest(
            model="lipsync-2", input=[Video(signed(f"v{n}")), Audio(signed(f"a{n}"))], **fields
        )
        for n in range(many)
    ]


def stored(journal: Path, position: int = 0) -> str:
    """Return the video's link, as the journal has it."""
    return str(known(journal, position).request["input"][0]["url"])


def sent(sandbox: Sandbox) -> list[str]:
    """Return the videos' links that jobs were made of."""
    return [str(job.body["input"][0]["url"]) for job in sandbox.jobs]


def of_store(store: str) -> Iterator[list[GenerationRequest]]:
    """Yield three requests for one file, by a link of a store, and by the one after it."""
    for query in SIGNED_ANEW[store]:
        video = Video(f"{PLACE}?{query}")
        yield [GenerationRequest(model="lipsync-2", input=[video, Audio("https://h/a.wav")])] * 3


@pytest.mark.parametrize("store", SIGNED_ANEW)
async def test_links_of_many_stores(path: Path, store: str) -> None:
    """Requests are recognized by a link that was signed again, unless all of it counts."""
    before, now = of_store(store)
    with Journal.open(path) as journal:
        journal.record_intents([*enumerate(before[:2])])
        record(journal, [(n, job(f"g{n}", "COMPLETED")) for n in range(2)])
        assert [each is not None for each in journal.match(now)] == [True, True, False]
        journal.record_intents([(2, now[2])])
        record(journal, [(2, job("g2", "COMPLETED"))])
    with Journal.open(path) as journal:
        # Three times the same thing, each as it was recorded or by the link of the third.
        assert None not in journal.match(now)
    with Journal.open(path, match_query=True) as journal:
        with pytest.raises(InvalidRequestError, match="keep the order of the input"):
            journal.match(now)
        assert None not in journal.match([*before[:2], now[2]])


async def test_links_of_a_store_in_runs(runs: Runs) -> None:
    """What is finished is delivered, what was appended is created, and nothing twice."""
    before, now = of_store(next(iter(SIGNED_ANEW)))
    await runs.all(before[:2])
    for is_known in (False, True):
        assert [each.resumed for each in await runs.all(now)] == [True, True, is_known]
    with pytest.raises(InvalidRequestError, match="keep the order of the input"):
        await runs.all(now, match_query=True)
    again = await runs.all([*before[:2], now[2]], match_query=True)
    assert [each.resumed for each in again] == [True] * 3
    assert runs.sandbox.jobs.created == 3


async def test_what_was_sent_stays_noted(runs: Runs) -> None:
    """A finished job keeps the address that it was made of, to the letter."""
    asked = links(1)
    await runs.all(asked)
    await runs.all(links(1))
    assert stored(runs.journal) == asked[0].input[0].url  # type: ignore[union-attr]
    assert sent(runs.sandbox) == [stored(runs.journal)]


@pytest.mark.parametrize(
    ("lives", "arrived"),
    [
        *((1, None), (1, 0), (2, None), (2, 0), (2, 1), (3, 1)),
        *((12, None), (12, 0), (12, 5), (12, 11), (90, 0), (90, 30), (90, 49)),
    ],
)
async def test_an_order_of_which_nothing_is_known(
    runs: Runs, lives: int, arrived: int | None
) -> None:
    """It is sent under its key with the new links; if they are refused, as it was at first."""
    with Journal.open(runs.journal) as kept:
        for number in range(lives):
            (asked,) = links(1)
            (key,) = kept.record_intents([(0, asked)])
            if number == arrived:
                await runs.client.generations.create(asked, idempotency_key=key)
    # It makes a job of the fresh links if there is none; else its earlier forms find the job.
    fresh = links(1)
    (found,) = await runs.all(fresh)
    assert found.is_success
    assert runs.sandbox.jobs.created == 1
    is_fresh = sent(runs.sandbox) == [fresh[0].input[0].url]  # type: ignore[union-attr]
    assert is_fresh is (arrived is None)
    tries = 1 if arrived is None else 1 + arrived + 1
    assert runs.sandbox.requests.count("POST") == tries + (arrived is not None)
    (again,) = await runs.all(links(1))
    assert again.resumed
    assert runs.sandbox.jobs.created == 1


@pytest.mark.parametrize("status", [None, 401, 402, 500])
async def test_a_key_that_stands_for_another_order(runs: Runs, status: int | None) -> None:
    """If no form is the one that was sent, or it is refused for another reason, it stays open."""
    with Journal.open(runs.journal) as kept:
        (key,) = kept.record_intents([(0, links(1)[0])])
        kept.record_intents([(0, links(1)[0])])
    await runs.client.generations.create(OTHER, idempotency_key=key)
    if status is not None:
        runs.sandbox.faults.add(Fault("status", status=status, count=None, skip=1, **CREATES))
    (found,) = await runs.all(links(1))
    assert found.error is not None
    assert found.error.may_have_worked
    assert runs.sandbox.jobs.created == 1
    assert known(runs.journal).state is JobState.UNKNOWN
    if status is None:
        assert getattr(found.error, "code", None) == "IDEMPOTENCY_KEY_REUSED"
        assert runs.sandbox.requests.count("POST") == 1 + 3
    else:
        assert getattr(found.error, "status", None) == status


async def test_rows_that_were_shifted(runs: Runs) -> None:
    """An address of another place in the journal tells that a row was put in or left out."""

    def token(name: str) -> GenerationRequest:
        url = f"https://media.example/download?token={name * 20}1"
        return GenerationRequest(model="lipsync-2", input=[Video(url), Audio("https://h/a")])

    await runs.all([token(name) for name in "abc"])
    for wrong in ("xabc", "bc", "bca", "cab", "axbc", "abxc", "acb", "c"):
        with pytest.raises(InvalidRequestError, match="keep the order of the input"):
            await runs.all([token(name) for name in wrong])
    assert runs.sandbox.jobs.created == 3


@pytest.mark.parametrize("kind", [{"request_id": "a"}, {"output_file_name": "a"}, {}])
@pytest.mark.parametrize("query", ["id={n}", "versionId={n}&sig={n}", "file=f{n}.mp4"])
async def test_another_file_behind_one_address(
    runs: Runs, kind: dict[str, Any], query: str
) -> None:
    """A query that names the file makes another order of it, with a name of the row or without."""
    one, other = (
        GenerationRequest(
            model="lipsync-2",
            input=[Video(f"https://media.example/get?{query.format(n=n)}"), Audio("https://h/a")],
            **kind,
        )
        for n in (1, 2)
    )
    await runs.all([one])
    with pytest.raises(InvalidRequestError, match="in the query of an address"):
        await runs.all([other])
    if not kind:
        found = await runs.all([one, other])
        assert [each.resumed for each in found] == [True, False]
        ids = {each.generation.id for each in found if each.generation}
        again = await runs.all([one, other])
        assert {each.generation.id for each in again if each.generation} == ids
        with pytest.raises(InvalidRequestError):
            await runs.all([other, one])


# How a service may say that a key stands for another body: that is not documented.
REUSED: dict[str, tuple[int, Any] | None] = {
    "as the sandbox": None,
    "409": (409, None),
    "409 without JSON": (409, "Conflict"),
    "409 and another code": (409, {"message": "Conflict", "errorCode": "conflict"}),
    "a code of its own": (400, {"message": "Another body", "errorCode": "IDEMPOTENCY_MISMATCH"}),
    "a code of its own, 422": (422, {"message": "Other", "errorCode": "IDEMPOTENCY_KEY_CONFLICT"}),
}


@pytest.mark.parametrize("is_named", [False, True], ids=["by place", "by name"])
@pytest.mark.parametrize("refusal", REUSED)
async def test_an_old_copy_of_a_journal(
    tmp_path: Path, runs: Runs, refusal: str, *, is_named: bool
) -> None:
    """What it does not know was created by other links: its keys say so, and nothing is new."""
    old, many = tmp_path / "old.sqlite", 3

    def rows() -> list[GenerationRequest]:
        names = [f"row {n}" if is_named else None for n in range(many)]
        return [attrs.evolve(each, request_id=names[n]) for n, each in enumerate(links(many))]

    Journal.open(runs.journal).close()
    shutil.copy(runs.journal, old)
    first = rows()
    await runs.all(first)
    if (answer := REUSED[refusal]) is not None:
        status, body = answer
        runs.sandbox.faults.add(Fault("status", status=status, body=body, count=None, **CREATES))
    for _ in range(2):
        found = await runs.all(rows(), journal=old, retry_failed=True)
        assert all(each.error and each.error.may_have_worked for each in found)
    runs.sandbox.faults.clear()
    assert [entry.state for entry in entries(old)].count(JobState.UNKNOWN) == many
    found = await runs.all(first, journal=old, retry_failed=True)
    assert [each.error for each in found] == [None] * many
    assert runs.sandbox.jobs.created == many
