"""Whatever goes wrong: one generation and success, or one documented error, never more."""

import pickle
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from lipsync_async import (
    AsyncClient,
    ConnectError,
    Generation,
    LipsyncError,
    PollPolicy,
    RetryPolicy,
    Status,
)
from lipsync_async.sandbox import Sandbox
from tests.client.connections import Door, entered, opened, order
from tests.client.faults import FaultCase, cases

# Where the requests of each verb go, as method and path.
_TARGETS = {
    "create": ("POST", "/v2/generate"),
    "get": ("GET", "/v2/generate/*"),
    "list": ("GET", "/v2/generations"),
    "wait": ("GET", "/v2/generate/*"),
    "download": ("GET", "/__sandbox/media/*"),
    "delete": ("DELETE", "/v2/generations/*"),
}
_QUICK_POLLS = PollPolicy(initial_interval=0.001, max_interval=0.002, long_poll=None)
_ONCE = {"attempts": 1000, "first_pause": 0.001, "longest_pause": 0.002, "give_up_after": 10.0}
_CASES = [
    pytest.param(case, verb, door, id=f"{case.name}-{verb}-{door}") for case, verb, door in cases()
]


@pytest.fixture
def secret_is_kept(
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> Callable[[str, LipsyncError | None], None]:
    """Give a check that the API key is in nothing that a program could show or store."""
    caplog.set_level("DEBUG")

    def check(key: str, error: LipsyncError | None) -> None:
        printed = capsys.readouterr()
        shown = [caplog.text, printed.out, printed.err, *(str(each) for each in recwarn)]
        if error is not None:
            shown += [str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error))]
            shown += traceback.format_exception(error)
            shown += _with_variables(error)
        assert [text for text in shown if key in text] == []

    return check


def _with_variables(error: LipsyncError) -> list[str]:
    """Return tracebacks with the local variables of all frames but the tests' own."""
    shown = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None:
            left += [each.__cause__, each.__context__]
            told = traceback.TracebackException.from_exception(each, capture_locals=True)
            shown += [repr(frame.locals) for frame in told.stack if "/tests/" not in frame.filename]
    return shown


def _verb(client: AsyncClient, verb: str, job: Generation | None, folder: Path) -> Awaitable[Any]:
    """Call the verb that is to meet the fault."""
    generations = client.generations
    if job is None:
        return order(client)
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "get": lambda: generations.get(job.id),
        "list": lambda: generations.list(limit=5),
        "wait": lambda: generations.wait_until_complete(job.id),
        "download": lambda: generations.download(job, folder),
        "delete": lambda: generations.delete(job),
    }
    return calls[verb]()


@asynccontextmanager
async def _faulty(
    door: Door,
    sandbox: Sandbox,
    case: FaultCase,
    verb: str,
    job: Generation | None,
    *,
    count: int | None,
    **patience: Any,
) -> AsyncIterator[AsyncClient]:
    """Open a client whose verb meets the fault so many times."""
    method, path = _TARGETS[verb]
    async with entered(
        door, sandbox, timeout=5.0, retry=RetryPolicy(**patience), poll=_QUICK_POLLS
    ) as client:
        if case.timeout is not None:  # a busy machine may take longer to connect
            await client.generations.list(limit=1)
            ended = [each for each in (job,) if each and verb == "download"]  # a pool of its own
            _ = [part for each in ended async for part in client.generations.download_chunks(each)]
            client = client.with_options(timeout=case.timeout)  # noqa: PLW2901 - a view
        sandbox.faults.add(attrs.evolve(case.fault, method=method, path=path, count=count))
        yield client


async def _prepared(client: AsyncClient, verb: str) -> Generation | None:
    """Order the job that a verb needs, before the fault is set."""
    if verb == "create":
        return None
    job = await order(client)
    must_end = verb in {"download", "delete"}
    return await client.generations.wait_until_complete(job) if must_end else job


async def _outcome(call: Awaitable[Any]) -> LipsyncError | None:
    try:
        await call
    except LipsyncError as error:
        return error
    return None


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.traced_once("case", "verb", "door")
@pytest.mark.parametrize(("case", "verb", "door"), _CASES)
async def test_one_trouble(
    case: FaultCase,
    verb: str,
    door: Door,
    tmp_path: Path,
    secret_is_kept: Callable[[str, LipsyncError | None], None],
) -> None:
    """A fault that strikes once is overcome with one generation, or is the right error."""
    async with opened(door) as (calm, sandbox):
        job = await _prepared(calm, verb)
        async with _faulty(door, sandbox, case, verb, job, count=1, **_ONCE) as client:
            error = await _outcome(_verb(client, verb, job, tmp_path))
        assert (type(error) if error else None) is case.outcome(door, lasts=False)
        if error is not None and error.idempotency_key:
            await order(calm, idempotency_key=error.idempotency_key)
        assert sandbox.jobs.created == 1
        is_saved = verb == "download" and error is None
        assert len(_files(tmp_path)) == (1 if is_saved else 0)
        assert verb != "delete" or len(sandbox.jobs) == (0 if error is None else 1)
        secret_is_kept(sandbox.api_key, error)


@pytest.mark.traced_once("case", "verb", "door")
@pytest.mark.parametrize(("case", "verb", "door"), _CASES)
async def test_lasting_trouble(
    case: FaultCase,
    verb: str,
    door: Door,
    tmp_path: Path,
    secret_is_kept: Callable[[str, LipsyncError | None], None],
) -> None:
    """A fault without end is the right error; afterwards all goes on with one generation."""
    async with opened(door) as (calm, sandbox):
        job = await _prepared(calm, verb)
        expected = case.outcome(door, lasts=True)
        patience = {"first_pause": 0.005, "give_up_after": 0.02 if expected else 10.0}
        async with _faulty(door, sandbox, case, verb, job, count=None, **patience) as client:
            error = await _outcome(_verb(client, verb, job, tmp_path))
            assert (type(error) if error else None) is expected
            assert sandbox.jobs.created <= 1
            assert error is None or _files(tmp_path) == []
            sandbox.faults.clear()
            if error is not None:
                _names_what_must_not_be_lost(error, verb, job)
                if error.idempotency_key:
                    await order(calm, idempotency_key=error.idempotency_key)
        assert sandbox.jobs.created == 1
        secret_is_kept(sandbox.api_key, error)


def _names_what_must_not_be_lost(error: LipsyncError, verb: str, job: Generation | None) -> None:
    if verb == "create":
        assert error.idempotency_key is not None
        assert error.idempotency_key in str(error)
    if verb in {"wait", "download"}:
        assert job is not None
        assert error.generation is not None
        assert error.generation.id == job.id
        assert job.id in str(error)


@pytest.mark.parametrize("verb", ["create", "get", "list", "wait", "delete"])
async def test_refused_connection(
    verb: str, tmp_path: Path, secret_is_kept: Callable[[str, LipsyncError | None], None]
) -> None:
    """No one behind the address is a `ConnectError` that says where to look."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        job = None if verb == "create" else Generation(id="job-1", status=Status.PENDING)
        async with AsyncClient(
            "an-unknown-key",
            base_url=url,
            retry=RetryPolicy(first_pause=0.001, longest_pause=0.002, give_up_after=0.05),
        ) as client:
            error = await _outcome(_verb(client, verb, job, tmp_path))
    assert type(error) is ConnectError
    assert "Check address and network" in str(error)
    _names_what_must_not_be_lost(error, verb, job)
    secret_is_kept("an-unknown-key", error)
