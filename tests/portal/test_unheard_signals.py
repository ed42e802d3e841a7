"""Ctrl-C where it wakes no wait: every call is left all the same, soon and in good order."""

from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from lipsync_async import Client, GenerationRequest
from lipsync_async._threads import Mailbox, OneThread
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import ORDER
from tests.portal.test_portal import client, sandbox
from tests.portal.verbs import unheard

__all__ = ["client", "sandbox"]  # fixtures
REQUEST = GenerationRequest(**ORDER)
KEY = "take-7"


def take_all(verbs: Any, **how: Any) -> None:
    """Take the outcomes of a run."""
    with verbs.run_many(iter([REQUEST]), **how) as outcomes:
        list(outcomes)


def watch(verbs: Any) -> None:
    """Watch a job."""
    with verbs.updates("job") as changes:
        list(changes)


# What hangs, and in which request.
CREATE, POLL, FILE = ("POST", "/v2/generate"), ("GET", "*"), ("GET", "/__sandbox/media/*")
CALLS: dict[str, tuple[tuple[str, str], Callable[[Any, Path], object]]] = {
    "create": (CREATE, lambda verbs, _: verbs.create(REQUEST, idempotency_key=KEY)),
    "run, ordering": (CREATE, lambda verbs, _: verbs.run(REQUEST, idempotency_key=KEY)),
    "run, waiting": (POLL, lambda verbs, _: verbs.run(REQUEST)),
    "wait": (POLL, lambda verbs, _: verbs.wait_until_complete("job")),
    "updates": (POLL, lambda verbs, _: watch(verbs)),
    "get": (POLL, lambda verbs, _: verbs.get("job")),
    "delete": (("DELETE", "*"), lambda verbs, _: verbs.delete("job")),
    "list": (POLL, lambda verbs, _: verbs.list()),
    "iter": (POLL, lambda verbs, _: next(verbs.iter())),
    "count": (POLL, lambda verbs, _: verbs.count()),
    "estimate": (("POST", "*"), lambda verbs, _: verbs.estimate(REQUEST)),
    "estimate a duration": (
        ("POST", "*"),
        lambda verbs, _: verbs.estimate_duration(model="lipsync-2", duration=1.0),
    ),
    "run_all, ordering": (CREATE, lambda verbs, _: verbs.run_all([REQUEST])),
    "run_many, ordering": (CREATE, lambda verbs, _: take_all(verbs)),
    "run_many, waiting": (POLL, lambda verbs, _: take_all(verbs)),
    "run_many with a journal": (POLL, lambda verbs, at: take_all(verbs, journal=at / "j.sqlite")),
    "run_many with files": (FILE, lambda verbs, at: take_all(verbs, download_to=at)),
    "run_many, ordered": (POLL, lambda verbs, _: take_all(verbs, ordered=True)),
    "download": (FILE, lambda verbs, at: verbs.download(verbs.run(REQUEST), at / "take.mp4")),
}


@pytest.mark.parametrize("name", ["models", *CALLS])
def test_unheard_signals(client: Client, sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    """A call ends by KeyboardInterrupt, has cleaned up, and names what it leaves."""
    models = (POLL, lambda _, __: client.models.list())
    (method, path), call = CALLS.get(name, models)
    sandbox.faults.add(Fault("hang", method=method, path=path))
    with (
        pytest.raises(KeyboardInterrupt) as caught,
        unheard(lambda: sandbox.requests.count(method, path) > 0),
    ):
        call(client.generations, tmp_path)
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
        Mailbox[None]().receive(0.0)
    OneThread("never begun").end()
