import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.engines.recipes import needs, save, variables

pytestmark = needs("airflow")

COUNT = 5


@pytest.fixture
async def recipe(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ModuleType]:
    """Import the recipe as a triggerer does, without a database."""
    for name, value in variables(sandbox).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "false")
    monkeypatch.syspath_prepend(save("airflow", tmp_path).parent)
    module = importlib.import_module("lip_sync_airflow")
    yield module
    await module.client().aclose()
    del sys.modules["lip_sync_airflow"]


def context(number: int, tries: int = 1) -> dict[str, Any]:
    """Return what Airflow tells a task of itself."""
    task = {"dag_id": "dub", "run_id": "manual__2026-01-01T00:00:00+00:00", "task_id": "lips"}
    return {"ti": SimpleNamespace(**task, map_index=number, try_number=tries)}


def triggers(recipe: ModuleType, tries: int = 1) -> list[Any]:
    """Run operators until they defer, and make their triggers anew from what Airflow keeps."""
    from airflow.sdk.exceptions import TaskDeferred  # noqa: PLC0415 - after its folder is set

    made = []
    for number in range(COUNT):
        operator = recipe.LipSyncOperator(
            task_id="lips",
            video=f"https://media.example/{number}.mp4",
            audio="https://media.example/voice.wav",
        )
        with pytest.raises(TaskDeferred) as caught:
            operator.execute(context(number, tries))
        path, arguments = json.loads(json.dumps(caught.value.trigger.serialize()))
        module, _, name = path.rpartition(".")
        made.append(getattr(importlib.import_module(module), name)(**arguments))
    return made


async def events(made: list[Any]) -> list[Any]:
    """Run triggers in this loop, as a triggerer does, and return what they tell."""

    async def first(trigger: Any) -> Any:
        return (await anext(aiter(trigger.run()))).payload

    return await asyncio.gather(*map(first, made))


def finish(recipe: ModuleType, event: Any) -> Any:
    """Let a task go on with what its trigger has told."""
    return recipe.LipSyncOperator(task_id="lips", video="", audio="").finish({}, event)


async def test_a_lost_triggerer(recipe: ModuleType, sandbox: Sandbox) -> None:
    """Triggers that were lost, and tasks that are tried again, wait for the jobs that exist."""
    lost = asyncio.ensure_future(events(triggers(recipe)))
    while sandbox.jobs.created < COUNT:
        await asyncio.wait([lost], timeout=0.01)
    lost.cancel()
    await asyncio.wait([lost])
    told = await events(triggers(recipe, tries=2))
    urls = [finish(recipe, event) for event in told]
    assert len({event["id"] for event in told}) == len(set(urls)) == COUNT
    assert sandbox.jobs.created == COUNT
    assert sandbox.requests.count("POST", "/v2/generate") == 2 * COUNT


async def test_a_failed_job(recipe: ModuleType, sandbox: Sandbox) -> None:
    """A job that fails fails its task, and another try of the task does not pay again."""
    sandbox.faults.add(Fault("fail_job", count=None))
    for tries in (1, 2):
        for event in await events(triggers(recipe, tries)):
            with pytest.raises(RuntimeError, match="FAILED"):
                finish(recipe, event)
    assert sandbox.jobs.created == COUNT
