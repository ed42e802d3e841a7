"""Ctrl-C where it wakes no wait: every call is left all the same, soon and in good order."""

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from lipsync_async import Client, GenerationRequest
from lipsync_async._threads import Mailbox, OneThread
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import ORDER
from tests.portal.verbs import unheard

REQUEST = GenerationRequest(**ORDER)
KEY = "take-7"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox in a loop of its own, so that the test may block."""
    with Sandbox(render=False, progression="polls(1)") as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    """Connect a blocking client."""
    with Client(sandbox.api_key, base_url=sandbox.url) as opened:
        yield opened


def take_all(client: Client, **how: Any) -> None:
    """Take the outcomes of a run."""
    with client.generations.run_many(iter([REQUEST]), **how) as outcomes:
        list(outcomes)


def watch(client: Client) -> None:
    """Watch a job."""
    with client.generations.updates("job") as changes:
        list(changes)


# What hangs, and in which request.
CALLS: dict[str, tuple[str, str, Callable[[Client, Path], object]]] = {
    "models": ("GET", "/v2/models", lambda client, _: client.models.list()),
    "create": (
        "POST",
        "/v2/generate",
        lambda client, _: client.generations.create(REQUEST, idempotency_key=KEY),
    ),
    "run, ordering": (
        "POST",
        "/v2/generate",
        lambda client, _: client.generations.run(REQUEST, idempotency_key=KEY),
    ),
    "run, waiting": ("GET", "*", lambda client, _: client.generations.run(REQUEST)),
    "wait": ("GET", "*", lambda client, _: client.generations.wait_until_complete("job")),
    "updates": ("GET", "*", lambda client, _: watch(client)),
    "get": ("GET", "*", lambda client, _: client.generations.get("job")),
    "delete": ("DELETE", "*", lambda client, _: client.generations.delete("job")),
    "list": ("GET", "*", lambda client, _: client.generations.list()),
    "iter": ("GET", "*", lambda client, _: next(client.generations.iter())),
    "count": ("GET", "*", lambda client, _: client.generations.count()),
    "estimate": ("POST", "*", lambda client, _: client.generations.estimate(REQUEST)),
    "estimate a duration": (
        "POST",
        "*",
        lambda client, _: client.generations.estimate_duration(model="lipsync-2", duration=1.0),
    ),
    "run_all, ordering": (
        "POST",
        "*",
        lambda client, _: client.generations.run_all([REQUEST]),
    ),
    "run_many, ordering": ("POST", "*", lambda client, _: take_all(client)),
    "run_many, waiting": ("GET", "*", lambda client, _: take_all(client)),
    "run_many with a journal": (
        "GET",
        "*",
        lambda client, folder: take_all(client, journal=folder / "run.sqlite"),
    ),
    "run_many with files": (
        "GET",
        "/__sandbox/media/*",
        lambda client, folder: take_all(client, download_to=folder),
    ),
    "run_many, ordered": ("GET", "*", lambda client, _: take_all(client, ordered=True)),
    "download": (
        "GET",
        "/__sandbox/media/*",
        lambda client, folder: client.generations.download(
            client.generations.run(REQUEST), folder / "take.mp4"
        ),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_unheard_signals(client: Client, sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    """A call ends by KeyboardInterrupt, has cleaned up, and names what it leaves."""
    method, path, call = CALLS[name]
    sandbox.faults.add(Fault("hang", method=method, path=path))
    with (
        pytest.raises(KeyboardInterrupt) as caught,
        unheard(lambda: sandbox.requests.count(method, path) > 0),
    ):
        call(client, tmp_path)
    notes = " ".join(getattr(caught.value, "__notes__", ()))
    named = [KEY] if name in {"create", "run, ordering"} else [job.id for job in sandbox.jobs]
    if name.startswith("run, ") or name == "create":
        assert [each for each in named if each not in notes] == []
    assert repr(client) == f"<Client base_url='{sandbox.url}' in_flight=0>"
    assert list(tmp_path.glob("*.part")) == []
    assert client.models.list()


def test_a_wait_for_a_message_ends() -> None:
    """A wait with a limit ends with it, and a thread that was never begun ends at once."""
    with pytest.raises(Empty):
        Mailbox[None]().get(0.0)
    OneThread("never begun").end()
