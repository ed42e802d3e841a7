import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lipsync_async import AsyncClient, RetryPolicy
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.engines.recipes import needs, save, variables

pytestmark = needs("airflow")

COUNT = 5
VOICE = "https://media.example/voice.wav"


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
    for name in ("lip_sync_airflow", "dub"):
        sys.modules.pop(name, None)


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
            audio=VOICE,
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
    """A job that fails fails its task for good, and a task that is cleared does not pay again."""
    from airflow.sdk.exceptions import AirflowFailException  # noqa: PLC0415 - after its folder is set

    sandbox.faults.add(Fault("fail_job", count=None))
    for tries in (1, 2):
        for event in await events(triggers(recipe, tries)):
            with pytest.raises(AirflowFailException, match="FAILED"):
                finish(recipe, event)
    assert sandbox.jobs.created == COUNT


async def test_an_invalid_request(recipe: ModuleType, sandbox: Sandbox) -> None:
    """A request that is refused here fails its task for good, and nothing is sent."""
    from airflow.sdk.exceptions import AirflowFailException  # noqa: PLC0415 - after its folder is set

    (event,) = await events([recipe.LipSyncTrigger("key", "nonsense", VOICE)])
    with pytest.raises(AirflowFailException, match="Nothing was sent"):
        finish(recipe, event)
    assert sandbox.jobs.created == 0


async def test_a_lost_connection(
    recipe: ModuleType, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that fails with an unknown outcome is tried again, and finds its job."""
    monkeypatch.setattr(recipe, "AsyncClient", partial(AsyncClient, retry=RetryPolicy(attempts=1)))
    sandbox.faults.add(Fault("reset_after", path="/v2/generate"))
    lost, found = [await events(triggers(recipe, tries)[:1]) for tries in (1, 2)]
    with pytest.raises(RuntimeError, match="outcome is unknown"):
        finish(recipe, *lost)
    assert finish(recipe, *found)
    assert sandbox.jobs.created == 1


async def test_a_dag(recipe: ModuleType) -> None:
    """The DAG of the page has one task, and one that is mapped to many takes."""
    dag = importlib.import_module("dub").dag
    assert type(dag.get_task("first")) is recipe.LipSyncOperator
    others = dag.get_task("others")
    for media in others.expand_input.value:
        operator = others.unmap(media)
        assert type(operator) is recipe.LipSyncOperator
        assert (operator.video, operator.audio) == (media["video"], media["audio"])
        assert operator.retries > 0
