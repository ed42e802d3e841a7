import asyncio
import importlib
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lipsync_async import AsyncClient, RetryPolicy
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.engines.recipes import needs, save

pytestmark = needs("temporalio")

MEDIA = ("https://media.example/1.mp4", "https://media.example/voice.wav")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the recipe as a worker does."""
    monkeypatch.syspath_prepend(save("temporal", tmp_path).parent)
    yield importlib.import_module("lip_sync_temporal")
    for name in ("lip_sync_temporal", "worker", "start"):
        sys.modules.pop(name, None)


@pytest.fixture
async def activities(recipe: ModuleType, sandbox: Sandbox) -> AsyncIterator[Any]:
    """Give the activities of a worker."""
    key, url, once = sandbox.api_key, sandbox.url, RetryPolicy(attempts=1)
    async with AsyncClient(key, base_url=url, retry=once) as client:
        yield recipe.LipSync(client)


def environment(workflow: str, attempt: int = 1) -> Any:
    """Return where an activity of a workflow runs."""
    from temporalio.testing import ActivityEnvironment  # noqa: PLC0415 - if it is installed

    made = ActivityEnvironment()
    names = {
        "workflow_id": workflow,
        "activity_id": "lip-sync",
        "workflow_run_id": f"run-{attempt}",
    }
    made.info = replace(made.info, attempt=attempt, **names)
    return made


async def test_a_lost_worker(activities: Any, sandbox: Sandbox) -> None:
    """An activity that is repeated waits for the job that exists; another has its own job."""
    lost = asyncio.ensure_future(environment("dub 1").run(activities.lip_sync, *MEDIA))
    while sandbox.jobs.created < 1:
        await asyncio.wait([lost], timeout=0.01)
    lost.cancel()
    await asyncio.wait([lost])
    runs = [
        environment(name, attempt=2).run(activities.lip_sync, *MEDIA) for name in ("dub 1", "dub 2")
    ]
    assert len({*await asyncio.gather(*runs)}) == 2
    assert sandbox.jobs.created == 2
    assert sandbox.requests.count("POST", "/v2/generate") == 3


async def test_a_cancelled_workflow(
    activities: Any, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The activity ends, a warning names its job, and another attempt finds the job."""
    cancelled = environment("dub 1")
    running = asyncio.ensure_future(cancelled.run(activities.lip_sync, *MEDIA))
    while sandbox.jobs.created < 1:
        await asyncio.wait([running], timeout=0.01)
    await asyncio.wait([running], timeout=0.5)  # the client has the job's id
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (job,) = sandbox.jobs
    (record,) = [each for each in caplog.records if job.id in each.message]
    assert record.levelname == "WARNING"
    assert job.id in await environment("dub 1", attempt=2).run(activities.lip_sync, *MEDIA)
    assert sandbox.jobs.created == 1


async def test_heartbeats(recipe: Any, activities: Any) -> None:
    """The activity tells that it lives from its start on, and no longer when it has ended."""
    beats = []
    recipe.HEARTBEAT /= 20
    running = environment("dub 1")
    running.on_heartbeat = lambda *_: beats.append(len(asyncio.all_tasks()))
    before = asyncio.all_tasks()
    await running.run(activities.lip_sync, *MEDIA)
    assert len(beats) > 3
    assert [task for task in asyncio.all_tasks() - before if "beat" in repr(task)] == []


@pytest.mark.parametrize(("fault", "is_lasting"), [("fail_job", True), ("reset_before", False)])
async def test_errors(activities: Any, sandbox: Sandbox, fault: str, is_lasting: bool) -> None:  # noqa: FBT001
    """A FAILED job is not tried again; a connection that is lost is."""
    from temporalio.exceptions import ApplicationError  # noqa: PLC0415 - if it is installed

    sandbox.faults.add(Fault(fault, path="/v2/generate", count=None))
    with pytest.raises(ApplicationError) as caught:
        await environment("dub 1").run(activities.lip_sync, *MEDIA)
    assert caught.value.non_retryable is is_lasting


@pytest.mark.usefixtures("recipe")
@pytest.mark.parametrize("name", ["worker", "start"])
def test_programs(name: str) -> None:
    """What worker and starter import is there; they run beside a server only."""
    assert asyncio.iscoroutinefunction(importlib.import_module(name).main)
