"""Local files of a journaled run: once they were sent, they may go or change."""

import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from lipsync_async import (
    AsyncClient,
    Audio,
    GenerationRequest,
    InvalidRequestError,
    Outcome,
    Response,
    RetryPolicy,
    UploadError,
    Video,
)
from lipsync_async._bulk.journal_entry import JobState
from lipsync_async._bulk.journal_view import JournalView
from lipsync_async.sandbox import Fault
from tests.bulk.jobs import entries
from tests.bulk.runs import opened, refusals, slots

SPEECH = Audio("https://media.example/speech.wav")
CHANGES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "emptied": lambda path: path.write_bytes(b""),
    "rewritten": lambda path: path.write_bytes(b"take number two"),
    "touched": lambda path: os.utime(path, ns=(1, 1)),
}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Make a local file."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"take one")
    return path


def requests(file: Path | bytes) -> list[GenerationRequest]:
    """Return two requests; the first is about a local file."""
    inputs = [(Video(file=file), SPEECH), (Video("https://media.example/clip.mp4"), SPEECH)]
    return [GenerationRequest(model="lipsync-2", input=each) for each in inputs]


async def accept_all(client: AsyncClient, asked: list[GenerationRequest], journal: Path) -> None:
    """Run until all are accepted and none has ended, and leave."""
    async with client.generations.run_many(asked, journal=journal):
        with JournalView.open(journal) as view:
            while view.counts()[JobState.ACCEPTED] < len(asked):
                await anyio.lowlevel.checkpoint()


def ids(outcomes: list[Outcome]) -> list[str | None]:
    """Return which jobs there were."""
    return [None if (job := outcome.generation) is None else job.id for outcome in outcomes]


@pytest.mark.parametrize("has_ended", [False, True], ids=["running", "ended"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_was_sent_may_go_or_change(
    clip: Path, change: str, caplog: pytest.LogCaptureFixture, *, has_ended: bool
) -> None:
    """The rerun waits for the job that there is, orders nothing, and says what has changed."""
    journal = clip.with_name("j.sqlite")
    async with opened(progression="time(60)") as (client, sandbox, _):
        await accept_all(client, requests(clip), journal)
        if has_ended:
            await client.generations.run_all(requests(clip), journal=journal)
        CHANGES[change](clip)
        with caplog.at_level(logging.WARNING, "lipsync_async"):
            found = await client.generations.run_all(requests(clip), journal=journal)
        assert [outcome.error for outcome in found] == [None, None]
        assert sorted(map(str, ids(found))) == sorted(job.id for job in sandbox.jobs)
        assert sandbox.requests.count("POST", "/v2/generate") == 2
    told = [record.message for record in caplog.records]
    expected = f"request 0: its file {clip} has changed since; generation {ids(found)[0]} is of"
    is_silent = change in {"gone", "touched"}  # its content is as it was
    assert [line.startswith(expected) for line in told] == ([] if is_silent else [True])


async def test_a_file_that_was_never_sent_must_be_there(clip: Path) -> None:
    """Without its file a request is an outcome with an error; with it again it is ordered."""
    journal = clip.with_name("j.sqlite")
    away = clip.with_name("away.mp4")
    os.rename(clip, away)  # noqa: PTH104 - nothing else runs
    async with opened(progression="time(60)") as (client, sandbox, _):
        bad, good = await client.generations.run_all(requests(clip), journal=journal)
        assert isinstance(bad.error, InvalidRequestError)
        assert good.is_success
        assert sandbox.jobs.created == 1
        os.rename(away, clip)  # noqa: PTH104 - as above
        found = await client.generations.run_all(requests(clip), journal=journal)
        assert [outcome.error for outcome in found] == [None, None]
        assert sandbox.jobs.created == 2


async def test_other_bytes_are_another_request(journal: Path) -> None:
    """What has no name is known by its content alone."""
    async with opened(progression="time(60)") as (client, sandbox, _):
        await accept_all(client, requests(b"take one"), journal)
        with pytest.raises(InvalidRequestError, match="they differ in input"):
            await client.generations.run_all(requests(b"take two"), journal=journal)
        assert sandbox.jobs.created == 2


CREATE = ("POST", "/v2/generate")


@pytest.mark.parametrize("upload", ["asset", "form", "none"])
@pytest.mark.parametrize("later", ["asset", "form"])
async def test_a_resumed_run_sends_the_same_body(clip: Path, upload: Any, later: Any) -> None:
    """Key and body are those of the try whose outcome is unknown, whatever is preferred now."""
    journal = clip.with_name("j.sqlite")
    (asked, _) = requests(clip)
    way: Any = "asset" if upload == "none" else upload
    async with opened(client={"retry": RetryPolicy(attempts=1)}) as (client, sandbox, _):
        sandbox.faults.add(Fault("reset_after", method="POST", path=CREATE[1]))
        unknown = "/v2/assets/uploaded" if upload == "none" else "/none"
        sandbox.faults.add(Fault("status", path=unknown, status=404))
        (left,) = await client.generations.run_all([asked], journal=journal, upload=way)
        assert left.error is not None
        assert left.error.may_have_worked
        (again,) = await client.generations.run_all([asked], journal=journal, upload=later)
        assert again.error is None
        assert sandbox.jobs.created == 1
        first, second = sandbox.requests.find(*CREATE)
        assert first.json == second.json
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
        assert sandbox.requests.count("PUT") == (upload == "asset")
        assert again.request is asked


async def test_a_new_try_uploads_anew(clip: Path) -> None:
    """An asset that was deleted meanwhile is not used for a new try of what was refused."""
    journal = clip.with_name("j.sqlite")
    (asked, _) = requests(clip)
    async with opened(client={"retry": RetryPolicy(attempts=1)}) as (client, sandbox, _):
        sandbox.faults.add(Fault("status", method="POST", path=CREATE[1], status=422))
        (left,) = await client.generations.run_all([asked], journal=journal)
        assert left.error is not None
        (asset,) = (await client.assets.list()).items
        await client.assets.delete(asset.id)
        (again,) = await client.generations.run_all([asked], journal=journal, retry_failed=True)
        assert again.error is None
        ids = [entry.json["input"][0]["assetId"] for entry in sandbox.requests.find(*CREATE)]
        assert (ids[0], len({*ids})) == (asset.id, 2)


async def test_an_upload_that_fails_orders_nothing(clip: Path) -> None:
    """It is the outcome of its request alone; the next run uploads and orders."""
    journal = clip.with_name("j.sqlite")
    async with opened(client={"retry": RetryPolicy(attempts=1)}) as (client, sandbox, _):
        sandbox.faults.add(Fault("status", method="PUT", status=401, count=2))
        bad, good = await client.generations.run_all(requests(clip), journal=journal)
        assert isinstance(bad.error, UploadError)
        assert good.is_success
        assert len(entries(journal)) == 1
        found = await client.generations.run_all(requests(clip), journal=journal)
        assert [outcome.error for outcome in found] == [None, None]
        assert sandbox.jobs.created == 2


async def test_a_journal_must_know_a_file_again(clip: Path) -> None:
    """What gives its bytes once is refused with a journal, and uploaded without one."""
    asked = [
        GenerationRequest(model="lipsync-2", input=[Video(io.BytesIO(b"take one")), SPEECH])
        for _ in range(2)
    ]
    async with opened() as (client, sandbox, _):
        journal = clip.with_name("j.sqlite")
        refused = await client.generations.run_all(asked, journal=journal)
        assert [outcome.is_success for outcome in refused] == [False, False]
        assert "must be a path or bytes with a journal" in str(refused[0].error)
        assert len(sandbox.requests) == 0
        found = await client.generations.run_all(asked)
        assert [outcome.error for outcome in found] == [None, None]
        assert sandbox.requests.count("PUT") == 1


def takes(folder: Path, many: int) -> list[GenerationRequest]:
    """Return requests about files of their own."""
    paths = [folder / f"take-{number}.mp4" for number in range(many)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return [
        GenerationRequest(model="lipsync-2", input=[Video(file=path), SPEECH]) for path in paths
    ]


async def test_files_are_uploaded_before_there_is_a_slot(tmp_path: Path) -> None:
    """While one job runs, the file of the next is sent: its slot is never idle meanwhile."""
    async with opened(slots(1), progression="time(60)", concurrency=1) as (client, sandbox, clock):
        sandbox.faults.add(Fault("latency", method="PUT", seconds=30.0, count=3))
        found = await client.generations.run_all(takes(tmp_path, 3), journal=tmp_path / "j.sqlite")
        assert [outcome.error for outcome in found] == [None, None, None]
        # The first waits for its file; the two others are sent while a job runs.
        assert 30 + 3 * 60 <= clock.now() <= 30 + 3 * 60 + 10
        puts = [entry.time for entry in sandbox.requests.find("PUT")]
        creates = [entry.time for entry in sandbox.requests.find(*CREATE)]
        assert puts[2] < creates[1] + 60
        assert refusals(sandbox) == 0


async def test_an_upload_before_the_slot_that_fails_is_no_other_try(tmp_path: Path) -> None:
    """Its error is the outcome of its request alone, once it would have its turn."""
    run: dict[str, Any] = {"journal": tmp_path / "j.sqlite"}
    once = {"retry": RetryPolicy(attempts=1)}
    world = opened(slots(1), once, progression="time(60)", concurrency=1)
    async with world as (client, sandbox, _):
        sandbox.faults.add(Fault("status", method="PUT", status=401, skip=2, count=2))
        found = await client.generations.run_all(takes(tmp_path, 4), **run)
        failed = [outcome.error for outcome in found if outcome.error is not None]
        assert [outcome.is_success for outcome in found] == [True, True, False, True]
        assert isinstance(failed[0], UploadError)
        assert (sandbox.jobs.created, sandbox.requests.count("PUT")) == (3, 5)


async def test_a_run_that_is_left_sends_no_more_of_a_file(tmp_path: Path) -> None:
    """What was sent for the next request is no order; the next run sends the file anew."""
    run: dict[str, Any] = {"journal": tmp_path / "j.sqlite"}
    world = opened(slots(1), progression="time(60)", concurrency=1)
    async with world as (client, sandbox, clock):
        sandbox.faults.add(Fault("latency", method="PUT", seconds=1000.0, skip=1))
        async with client.generations.run_many(takes(tmp_path, 2), **run):
            await clock.sleep(30.0)
        assert (sandbox.jobs.created, sandbox.requests.count("PUT")) == (1, 2)
        assert len(entries(run["journal"])) == 1
        began = clock.now()
        found = await client.generations.run_all(takes(tmp_path, 2), **run)
        assert [outcome.is_success for outcome in found] == [True, True]
        assert (sandbox.jobs.created, sandbox.requests.count("PUT")) == (2, 3)
        assert clock.now() - began <= 130


@pytest.mark.parametrize(
    "limit", [{"max_jobs": 1}, {"max_cost": 1e9, "duration": 1.0}], ids=["jobs", "cost"]
)
async def test_what_may_not_be_ordered_is_not_uploaded(
    tmp_path: Path, limit: dict[str, Any]
) -> None:
    """With a limit that may forbid the next job, its file is not sent before it is its turn."""
    run: dict[str, Any] = {"journal": tmp_path / "j.sqlite", **limit}
    async with (
        opened(slots(1), progression="time(60)", concurrency=1) as (client, sandbox, clock),
        client.generations.run_many(takes(tmp_path, 2), **run) as outcomes,
    ):
        await clock.sleep(50.0)
        assert (sandbox.jobs.created, sandbox.requests.count("PUT")) == (1, 1)
        assert (await anext(outcomes)).is_success


async def test_a_callback_ends_the_run_also_during_an_upload_without_a_slot(
    tmp_path: Path,
) -> None:
    """What `on_response` raises while the next file is sent is the run's error."""

    def fail(_: Response) -> None:
        if sandbox.requests.count("POST", "/v2/assets/upload") == 3:
            raise KeyError(3)

    world = opened(slots(1), {"on_response": fail}, progression="time(60)", concurrency=1)
    async with world as (client, sandbox, _):
        with pytest.raises(KeyError):
            await client.generations.run_all(takes(tmp_path, 3), journal=tmp_path / "j.sqlite")
        assert sandbox.jobs.created == 2
