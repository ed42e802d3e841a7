"""What ended badly is ordered anew if the user says so, and nothing else ever is."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from lipsync_async import GenerationRequest, JobState, JournalView, RetryPolicy, SpendingLimitError
from lipsync_async.sandbox.faults import Fault
from tests.bulk.jobs import entries, known
from tests.bulk.runs import FREE, opened, requests
from tests.client.connections import INPUTS, connect

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async import AsyncClient, Outcome
    from lipsync_async.sandbox import Sandbox

CREATES: dict[str, Any] = {"method": "POST", "path": "/v2/generate"}


def refusal(status: int, code: str) -> Fault:
    """Return a fault that refuses a create for good."""
    return Fault("status", status=status, code=code, count=1, skip=1, **CREATES)


BAD_ENDS: dict[str, Fault] = {
    "failed": Fault("fail_job", count=1, skip=1),
    "failed with a code": Fault("fail_job", code="generation_timeout", count=1, skip=1),
    "rejected": Fault("reject_job", count=1, skip=1),
    "a bad request": refusal(400, "generation_input_invalid"),
    "media too long": refusal(413, "generation_input_too_long"),
    "media that cannot be fetched": refusal(422, "generation_input_video_inaccessible"),
    "media without a face": refusal(422, "generation_input_face_not_found"),
    "a model that is not there": refusal(404, "model_not_found"),
    "a missing right": refusal(403, "plan_feature_unavailable"),
    "a filter's page": refusal(403, "blocked"),
    "a teapot": refusal(418, "teapot"),
    "a gone address": refusal(410, "gone"),
}


async def run(client: AsyncClient, journal: Path, many: int = 3, **options: Any) -> list[Outcome]:
    """Run as many requests, three if nothing else is said."""
    return await client.generations.run_all(requests(many), journal=journal, **options)


def tries(journal: Path) -> list[tuple[object, ...]]:
    """Return the tries that there were before, with their keys and jobs."""
    query = "SELECT position, tries, idempotency_key, generation_id FROM tries ORDER BY tries"
    with closing(sqlite3.connect(journal)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("name", BAD_ENDS)
async def test_a_bad_end_is_tried_anew(tmp_path: Path, journal: Path, name: str) -> None:
    """Under a new key; the try before stays in the journal, and the last one counts."""
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(BAD_ENDS[name])
        first = await run(client, journal)
        assert [each.is_success for each in first] == [True, False, True]
        before, made = known(journal, 1), sandbox.jobs.created
        assert before.state in {JobState.FAILED, JobState.NOT_CREATED}
        has_job = before.state is JobState.FAILED
        found = await run(client, journal, retry_failed=True)
        assert [each.is_success for each in found] == [True] * 3
        assert [each.resumed for each in found] == [True, False, True]
        assert sandbox.jobs.created == made + 1
        after = known(journal, 1)
        assert (after.tries, after.state, after.error_class) == (2, JobState.COMPLETED, None)
        assert after.idempotency_key != before.idempotency_key
        assert tries(journal) == [(1, 1, before.idempotency_key, before.generation_id)]
        again = await run(client, journal, retry_failed=True)
        assert [each.resumed for each in again] == [True] * 3
        assert sandbox.jobs.created == made + 1
    with JournalView.open(journal) as view:
        assert view.counts()[JobState.COMPLETED] == 3
        view.export_csv(tmp_path / "j.csv")
        view.export_jsonl(tmp_path / "j.jsonl")
    with (tmp_path / "j.csv").open(encoding="utf-8", newline="") as file:
        assert [line["tries"] for line in csv.DictReader(file)] == ["1", "2", "1"]
    lines = (tmp_path / "j.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["tries"] for line in lines] == [1, 2, 1]
    assert has_job is (before.generation_id is not None)


async def test_a_refused_create_keeps_its_key_without_the_word(journal: Path) -> None:
    """It is the same intent, and nothing was made of it."""
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(BAD_ENDS["a bad request"])
        await run(client, journal)
        before = known(journal, 1)
        await run(client, journal)
        after = known(journal, 1)
        assert sandbox.jobs.created == 3
    assert (after.idempotency_key, after.tries) == (before.idempotency_key, 1)
    assert after.attempts == before.attempts + 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset_after", skip=1, count=None, **CREATES),
        Fault("hang", skip=1, count=None, seconds=5.0, **CREATES),
        Fault("hang", skip=1, count=None, **CREATES),
        *(Fault("status", skip=1, count=None, status=s, **CREATES) for s in (504, 507, 599)),
    ],
    ids=["reset", "cut after a while", "hang", "504", "507", "599"],
)
async def test_what_is_doubtful_is_never_tried_anew(journal: Path, fault: Fault) -> None:
    """It may have become a job, so it is sent again under its key, and there is one job."""
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(fault)
        hasty = client.with_options(retry=RetryPolicy(attempts=1, give_up_after=1.0), timeout=1.0)
        asked = [*requests(2)]
        await hasty.generations.run_all(asked[:1], journal=journal)
        await hasty.generations.run_all(asked, journal=journal)
        before = known(journal, 1)
        assert before.state is JobState.UNKNOWN
        await hasty.generations.run_all(asked, journal=journal, retry_failed=True)
        assert known(journal, 1).state is JobState.UNKNOWN
        sandbox.faults.clear()
        await hasty.generations.run_all(asked, journal=journal, retry_failed=True)
        after = known(journal, 1)
        assert (after.state, after.tries) == (JobState.COMPLETED, 1)
        assert after.idempotency_key == before.idempotency_key
        assert sandbox.jobs.created == 2


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_it_may_fail_again(journal: Path, times: int) -> None:
    """Each run tries once; all tries are kept, each with its own key and job."""
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(Fault("fail_job", skip=1, count=1 + times))
        await run(client, journal, 2)
        for number in range(times):
            found = await run(client, journal, 2, retry_failed=True)
            assert [each.is_success for each in found] == [True, False]
            assert known(journal, 1).tries == 2 + number
        (_, last) = await run(client, journal, 2, retry_failed=True)
        assert last.is_success
        assert sandbox.jobs.created == 3 + times
    kept = tries(journal)
    assert [each[1] for each in kept] == [*range(1, 2 + times)]
    keys = {each[2] for each in kept} | {known(journal, 1).idempotency_key}
    jobs = {each[3] for each in kept} | {known(journal, 1).generation_id}
    assert len(keys) == len(jobs) == 2 + times


@pytest.mark.parametrize("retry_failed", [False, True])
@pytest.mark.parametrize("is_accepted", [False, True])
async def test_an_interrupted_try_is_gone_on_with(
    journal: Path, *, retry_failed: bool, is_accepted: bool
) -> None:
    """A second try that was left is waited for, or sent again under its own key."""
    async with opened(progression="time(60)") as (client, sandbox, _):
        sandbox.faults.add(Fault("fail_job", count=1, skip=1))
        await run(client, journal)
        before = known(journal, 1)
        if not is_accepted:
            sandbox.faults.add(Fault("hang", count=1, **CREATES))
        async with client.generations.run_many(requests(3), journal=journal, retry_failed=True):
            state = JobState.ACCEPTED if is_accepted else JobState.SUBMITTING
            while known(journal, 1).state is not state:
                await anyio.lowlevel.checkpoint()
        left = known(journal, 1)
        assert (left.tries, left.idempotency_key == before.idempotency_key) == (2, False)
        found = await run(client, journal, retry_failed=retry_failed)
        assert [each.is_success for each in found] == [True] * 3
        after = known(journal, 1)
        assert (after.tries, after.idempotency_key) == (2, left.idempotency_key)
        assert sandbox.jobs.created == 4


async def test_what_is_not_begun_stays_failed(journal: Path) -> None:
    """A limit that is met before a new try leaves the row as it was."""
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(Fault("fail_job", count=3))
        await run(client, journal)
        found = await run(client, journal, retry_failed=True, max_jobs=1)
        assert [type(each.error) for each in found[:2]] == [type(None), SpendingLimitError]
        assert sandbox.jobs.created == 4
    ended = [(each.state, each.tries) for each in entries(journal)]
    assert ended == [(JobState.COMPLETED, 2), (JobState.FAILED, 1), (JobState.FAILED, 1)]


async def test_a_failed_row_may_be_corrected_and_tried_anew(journal: Path) -> None:
    """With a name it is corrected without a word; without one, only what is the same is tried."""
    asked = [GenerationRequest(model="lipsync-2", input=INPUTS, request_id=name) for name in "ab"]
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(Fault("fail_job", count=1, skip=1))
        await client.generations.run_all(asked, journal=journal)
        corrected = [asked[0], GenerationRequest(model="sync-3", input=INPUTS, request_id="b")]
        found = await client.generations.run_all(corrected[::-1], journal=journal)
        assert [each.is_success for each in found] == [True, True]
        assert sandbox.jobs.created == 3
        assert known(journal, 0).tries == 2
        assert tries(journal)[0][:2] == (0, 1)


def in_journal(sandbox: Sandbox, journal: Path) -> bool:
    """Tell whether the journal names every job that there is."""
    with closing(sqlite3.connect(journal)) as connection:
        rows = connection.execute(
            "SELECT generation_id FROM jobs UNION SELECT generation_id FROM tries"
        ).fetchall()
    return {job.id for job in sandbox.jobs} <= {name for (name,) in rows}


async def test_all_jobs_are_named(journal: Path) -> None:
    """Whatever was tried how often, the journal holds the id of every job that was paid for."""
    async with opened() as (client, sandbox, _), connect(sandbox, limits=FREE) as other:
        sandbox.faults.add(Fault("fail_job", probability=0.5, count=None))
        for _ in range(6):
            await run(other, journal, 20, retry_failed=True)
        assert in_journal(sandbox, journal)
        sandbox.faults.clear()
        found = await run(client, journal, 20, retry_failed=True)
        assert all(each.is_success for each in found)
        assert in_journal(sandbox, journal)
