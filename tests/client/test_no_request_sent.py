"""What is wrong is found before anything is sent, and says where it is wrong."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from lipsync_async import AsyncClient, GenerationRequest, InvalidRequestError, Video
from lipsync_async._logic.validation import request_problems
from tests.client.connections import INPUTS, ORDER, opened, order
from tests.logic.bad_requests import BAD_REQUESTS

Verb = Callable[[AsyncClient], Awaitable[Any]]


@pytest.mark.parametrize(("fields", "problem"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
async def test_bad_request(fields: dict[str, Any], problem: str) -> None:
    """Each way to break a rule is refused by `create`, with the path of the problem."""
    path, _, fragment = problem.partition(": ")
    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError) as caught:
            await client.generations.create(GenerationRequest(**fields))
        assert len(sandbox.requests) == 0
    problems = caught.value.problems
    assert [each for each in problems if each.startswith(f"{path}: ") and fragment in each]
    assert isinstance(caught.value, ValueError)
    assert "Nothing was sent" in str(caught.value)
    assert caught.value.idempotency_key is None


_BAD_CALLS: dict[str, tuple[str, Verb]] = {
    "run": ("input: ", lambda c: c.generations.run(model="lipsync-2", input=[])),
    **{
        f"create-key-{key!r:.5}": ("idempotency_key: ", partial(order, idempotency_key=key))
        for key in ("", "a b", "ü", "k" * 129, "a\n", 7)
    },
    "create-request-and-fields": (
        "request: give a GenerationRequest or its",
        lambda c: c.generations.create(GenerationRequest(**ORDER), model="m"),  # type: ignore[call-overload]
    ),
    "run-callback": (
        "on_update: must be callable",
        lambda c: c.generations.run(**ORDER, on_update=5),  # type: ignore[call-overload]
    ),
    "wait-callback": (
        "on_update: must be callable",
        lambda c: c.generations.wait_until_complete("job-1", on_update=5),  # type: ignore[arg-type]
    ),
    "get": ("generation_id: ", lambda c: c.generations.get("")),
    "get-dots": ("generation_id: ", lambda c: c.generations.get("..")),
    "delete": ("generation_id: ", lambda c: c.generations.delete(" ")),
    "wait": ("generation_id: ", lambda c: c.generations.wait_until_complete("")),
    "download": ("generation_id: ", lambda c: c.generations.download("\n", "out/")),
    "list-limit": ("limit: ", lambda c: c.generations.list(limit=101)),
    "list-cursor": ("limit: ", lambda c: c.generations.list(cursor="some-id")),
    "list-ids": ("ids", lambda c: c.generations.list(ids=["a,b"])),
    "iter": ("page_size: ", lambda c: anext(c.generations.iter(page_size=0))),
    "iter-none": ("page_size: ", lambda c: anext(c.generations.iter(page_size=None))),  # type: ignore[arg-type]
    "iter-filter": ("status[0]: ", lambda c: anext(c.generations.iter(status=["a,b"]))),
    "get-progress": ("progress: ", lambda c: c.generations.get("a", progress="no")),  # type: ignore[arg-type]
    "updates": ("timeout: ", lambda c: c.generations.updates("a", timeout=0).__aenter__()),
    "download-overwrite": (
        "overwrite: ",
        lambda c: c.generations.download("a", "out/", overwrite="False"),  # type: ignore[arg-type]
    ),
    "count": ("status", lambda c: c.generations.count(status=[""])),
    "estimate": (
        "model: ",
        lambda c: c.generations.estimate(GenerationRequest(model="", input=INPUTS)),
    ),
    "estimate-file": (
        "input[0].file: ",
        lambda c: c.generations.estimate(
            GenerationRequest(model="lipsync-2", input=[Video(file=b"clip"), INPUTS[1]])
        ),
    ),
    "estimate-duration": (
        "duration: ",
        lambda c: c.generations.estimate_duration(model="lipsync-2", duration=0),
    ),
}


@pytest.mark.parametrize("name", _BAD_CALLS)
async def test_bad_call(name: str) -> None:
    """Every verb refuses arguments that cannot work, and sends nothing."""
    path, call = _BAD_CALLS[name]
    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError) as caught:
            await call(client)
        assert len(sandbox.requests) == 0
    assert [each for each in caught.value.problems if each.startswith(path)]


WRONG: dict[str, Any] = {**ORDER, "model": "", "output_file_name": "a b", "project_id": ""}


@pytest.mark.parametrize(
    ("call", "paths"),
    [
        (lambda verbs: verbs.create(**WRONG), ["model", "output_file_name", "project_id"]),
        (
            lambda verbs: verbs.run(
                GenerationRequest(**ORDER), model="m", idempotency_key="", timeout=-1, on_update=5
            ),
            ["timeout", "on_update", "idempotency_key", "request"],
        ),
        (
            lambda verbs: verbs.wait_until_complete("", timeout=-1, on_update=5),
            ["on_update", "generation_id", "timeout"],
        ),
    ],
)
async def test_all_problems_at_once(
    call: Callable[[Any], Awaitable[Any]], paths: list[str]
) -> None:
    """One error lists everything that is wrong with a call."""
    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError, match=f"correct {len(paths)} problems") as caught:
            await call(client.generations)
        assert len(sandbox.requests) == 0
    assert [each.partition(":")[0] for each in caught.value.problems] == paths


def test_files_are_looked_up_beside_other_problems() -> None:
    """What is wrong with the inputs hides no problem of their files."""
    request = GenerationRequest(model="lipsync-2", input=[Video(file="no such file")])
    found = request_problems(request)
    assert [each.partition(":")[0] for each in found] == ["input", "input[0].file"]
