"""The journal of a batch: whatever breaks, no batch is created twice, and none is lost."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint

from lipsync_async import (
    AsyncClient,
    Audio,
    AuthenticationError,
    ConfigurationError,
    GenerationRequest,
    InvalidRequestError,
    JournalError,
    Limits,
    LipsyncError,
    PaymentRequiredError,
    Video,
)
from lipsync_async._bulk.batch import rows_of
from lipsync_async._bulk.batch_journal import BatchJournal
from lipsync_async.sandbox import Fault, Sandbox
from tests.client.connections import ORDER, Door, cancel_when, connect, opened
from tests.client.media_world import names_in

ROWS = [GenerationRequest(**ORDER)] * 20
SLOW = Fault("latency", method="POST", path="/v2/batch", seconds=20)
LOST = Fault("reset_after", method="POST", path="/v2/batch")


def creates(sandbox: Sandbox) -> int:
    """Count the creates that arrived."""
    return len(sandbox.requests.find("POST", "/v2/batch"))


def intended(path: Path) -> None:
    """Leave a file as a process does that is killed between intent and answer."""
    BatchJournal.open(path, rows_of(ROWS, None))


async def refused(client: AsyncClient, path: Any, rows: Any = None) -> LipsyncError:
    """Return the error of a create that sends nothing."""
    with pytest.raises(LipsyncError) as caught:
        await client.batches.create(rows or ROWS, journal=path)
    return caught.value


@pytest.mark.parametrize("door", ["sockets", "blocking"])
async def test_a_batch_is_created_once(door: Door, tmp_path: Path) -> None:
    """The same requests give the same batch, with their names, though links are signed anew."""
    path = tmp_path / "batch.json"

    def rows(signature: str) -> list[GenerationRequest]:
        video = Video(f"https://media.example/v.mp4?X-Amz-Signature={signature}")
        return [attrs.evolve(ROWS[0], input=[video, Audio("https://media.example/a.wav")])] * 20

    async with opened(door, progression="immediate") as (client, sandbox):
        made = [await client.batches.create(rows(each), journal=path) for each in "ab"]
        assert creates(sandbox) == 1
        other = await refused(client, path, ROWS)
        assert creates(sandbox) == 1
    assert (made[0].id, made[0].request_ids) == (made[1].id, made[1].request_ids)
    assert [batch.status for batch in made] == ["PENDING", "COMPLETED"]
    assert isinstance(other, InvalidRequestError)
    assert "belongs to a batch of other requests" in str(other)
    assert names_in(tmp_path) == ["batch.json"]


async def test_a_create_whose_answer_is_lost_is_not_sent_again(tmp_path: Path) -> None:
    """The next call names the batch that it has made, and what to do."""
    async with opened("sockets", progression="manual") as (client, sandbox):
        sandbox.faults.add(LOST)
        first = await refused(client, tmp_path / "batch.json")
        (made,) = await client.batches.list()
        ahead = json.loads((tmp_path / "batch.json").read_bytes())
        begun = datetime.fromisoformat(ahead["begun"]) + timedelta(hours=14)  # a wrong time zone
        (tmp_path / "batch.json").write_text(json.dumps({**ahead, "begun": begun.isoformat()}))
        again = await refused(client, tmp_path / "batch.json")
        assert creates(sandbox) == 1
    assert first.may_have_worked
    assert again.may_have_worked
    assert isinstance(again, JournalError)
    assert f"The service has these: {made.id} (JOBS_CREATED, created {made.created_at})" in str(
        again
    )


async def test_a_process_that_was_killed_has_left_its_intent(tmp_path: Path) -> None:
    """Nothing is sent, though no batch is seen: that is for the user to decide."""
    async with opened("memory") as (client, sandbox):
        intended(tmp_path / "batch.json")
        error = await refused(client, tmp_path / "batch.json")
        assert "with 20 requests, created since a day before. The service has none." in str(error)
        assert creates(sandbox) == 0
        (tmp_path / "batch.json").unlink()
        await client.batches.create(ROWS, journal=tmp_path / "batch.json")


async def test_a_refusal_leaves_no_intent(tmp_path: Path) -> None:
    """No batch was made, so the next call may send; nothing stays in the folder."""
    async with opened("memory", plan="creator") as (client, sandbox):
        for _ in "ab":
            error = await refused(client, tmp_path / "batch.json")
            assert isinstance(error, PaymentRequiredError)
        assert creates(sandbox) == 2
    assert names_in(tmp_path) == []


async def test_a_call_that_is_cancelled_at_its_journal_leaves_no_intent(tmp_path: Path) -> None:
    """Nothing was sent, so the next call may send, though the file was being written."""
    path = tmp_path / "batch.json"
    async with opened("memory") as (client, sandbox):
        call = asyncio.create_task(client.batches.create(ROWS, journal=path))
        await checkpoint()
        call.cancel()
        await asyncio.wait([call])
        assert (call.cancelled(), creates(sandbox), names_in(tmp_path)) == (True, 0, [])
        await client.batches.create(ROWS, journal=path)


@pytest.mark.parametrize("failure", [ConfigurationError, ValueError])
async def test_a_hook_that_raises_leaves_the_intent(
    tmp_path: Path, failure: type[Exception]
) -> None:
    """Its error may be one of this library, of another call, and tells nothing of the create."""

    def fail(_: object) -> None:
        raise failure("of a hook")

    path = tmp_path / "batch.json"
    async with opened("sockets") as (client, sandbox):
        with pytest.raises(failure, match="of a hook") as caught:
            await client.with_options(on_response=fail).batches.create(ROWS, journal=path)
        (made,) = await client.batches.list()
        assert f"The service has these: {made.id}" in str(await refused(client, path))
        assert creates(sandbox) == 1
    assert "Before you create it again: batches.find(" in "".join(caught.value.__notes__)


async def test_an_unknown_outcome_is_told_without_a_list(tmp_path: Path) -> None:
    """A failed list does not hide that the create may have worked, nor what to do."""
    async with opened("memory") as (client, sandbox):
        intended(tmp_path / "batch.json")
        sandbox.faults.add(Fault("status", status=401, method="GET", path="/v2/batch"))
        error = await refused(client, tmp_path / "batch.json")
        assert creates(sandbox) == 0
    assert isinstance(error, JournalError)
    assert isinstance(error.__cause__, AuthenticationError)
    assert error.may_have_worked
    assert "They could not be listed" in str(error)


async def test_a_create_that_waits_leaves_no_intent(tmp_path: Path) -> None:
    """It was refused, so nothing was made: a process that is killed then begins anew."""
    path = tmp_path / "batch.json"
    async with opened("memory", progression="time(600)", batches_at_once=1) as (client, sandbox):
        await client.batches.create(ROWS)
        seen: list[list[str]] = []

        def waits() -> bool:
            seen.append(names_in(tmp_path))
            return sandbox.requests.count("GET", "/v2/batch") >= 1

        await cancel_when(waits, lambda: client.batches.create(ROWS, journal=path))
        assert seen[-1] == []
        made = await client.batches.create(ROWS, journal=path)
        assert (await client.batches.create(ROWS, journal=path)).id == made.id
        assert len(await client.batches.list()) == 2
    assert json.loads(path.read_bytes())["batch_id"] == made.id


async def test_of_two_calls_at_once_one_sends(tmp_path: Path) -> None:
    """The other finds an intent whose outcome is not known yet."""
    outcomes: list[Any] = []
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(SLOW)

        async def create() -> None:
            try:
                outcomes.append(await client.batches.create(ROWS, journal=tmp_path / "b.json"))
            except JournalError as error:
                outcomes.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create)
            tasks.start_soon(create)
        assert creates(sandbox) == 1
    assert sorted(type(each).__name__ for each in outcomes) == ["Batch", "JournalError"]


@pytest.mark.parametrize("is_sent", [False, True])
async def test_a_create_that_is_cancelled(
    tmp_path: Path,
    is_sent: bool,  # noqa: FBT001
) -> None:
    """The intent stays if the create was sent, and else goes."""
    path = tmp_path / "batch.json"
    async with opened("memory") as (_, sandbox):
        sandbox.faults.add(SLOW)
        limits = Limits(requests_per_minute=None if is_sent else 1)
        async with connect(sandbox, limits=limits) as client:
            await client.batches.list()
            begun = (lambda: creates(sandbox) == 1) if is_sent else path.exists
            await cancel_when(begun, lambda: client.batches.create(ROWS, journal=path))
    assert path.exists() == is_sent


@pytest.mark.parametrize(
    "content", ["", "[]", "SQLite format 3\0", "{}", '{"rows": "", "begun": 5, "batch_id": null}']
)
async def test_what_is_no_journal_is_left_alone(tmp_path: Path, content: str) -> None:
    """Nothing is sent, and nothing in the file is changed."""
    path = tmp_path / "batch.json"
    path.write_text(content)
    async with opened("memory") as (client, sandbox):
        error = str(await refused(client, path))
        assert "is not the journal of a batch" in error
        assert ("call again" in error, "Give another path" in error) == (not content, bool(content))
        assert "cannot be written" in str(await refused(client, tmp_path / "none" / "batch.json"))
        assert "can be no journal" in str(await refused(client, tmp_path))
        wrong = await refused(client, 5)
        assert isinstance(wrong, InvalidRequestError)
        assert wrong.problems == ("journal: must be a path, not 5",)
        assert creates(sandbox) == 0
    assert path.read_text() == content


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    """What cannot be written is not there, so that the next call can write it."""
    resource = pytest.importorskip("resource")
    limit, path = resource.RLIMIT_FSIZE, tmp_path / "batch.json"
    before = resource.getrlimit(limit)

    def write_on_a_full_disk(write: Callable[[], object]) -> None:
        resource.setrlimit(limit, (0, before[1]))
        try:
            write()
        finally:
            resource.setrlimit(limit, before)

    with pytest.raises(JournalError, match=r"cannot be written .* Nothing was sent"):
        write_on_a_full_disk(lambda: BatchJournal.open(path, []))
    assert names_in(tmp_path) == []
    journal = BatchJournal.open(path, [])
    with pytest.raises(JournalError, match="Batch b1 was created, but"):
        write_on_a_full_disk(lambda: journal.finish("b1"))
    assert names_in(tmp_path) == ["batch.json"]


async def test_an_id_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    """The batch exists, so the error names it; the intent keeps it from being created again."""
    (tmp_path / "batch.json.part").mkdir()
    async with opened("memory") as (client, sandbox):
        error = await refused(client, tmp_path / "batch.json")
        (made,) = await client.batches.list()
        assert f"Batch {made.id} was created" in str(error)
        await refused(client, tmp_path / "batch.json")
        assert creates(sandbox) == 1
    kept = json.loads((tmp_path / "batch.json").read_bytes())
    assert (kept["batch_id"], datetime.fromisoformat(kept["begun"]).tzinfo is None) == (None, False)
