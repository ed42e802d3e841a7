"""The pytest plugin: a sandbox, clients and webhooks as fixtures. Nothing here costs money.

pytest loads this file by itself where the package is installed. A fixture is set up only by
tests that ask for it:

* `lipsync_sandbox`: a sandbox on a free port of this machine. `SYNC_API_KEY`, `SYNC_BASE_URL` and
  `SYNC_WEBHOOK_SECRET` are set for it, so that code which makes its own client finds it.
* `lipsync_client`: an `AsyncClient` of that sandbox, for tests of any async plugin.
* `lipsync_blocking_client`: a `Client` of that sandbox.
* `lipsync_clock`: a test that asks for it has its sandbox in memory, on this virtual clock:
  hours of jobs take milliseconds. No port is open then.
* `lipsync_webhooks`: deliveries as the service signs them, and what reached the sandbox's inbox.

The marker `lipsync` sets the sandbox of a test up: `@pytest.mark.lipsync(plan="creator",
progression="time(60)", faults=[Fault("fail_job")])`. It takes all settings of `Sandbox`. Unless
told, nothing is rendered, and jobs end at once, or after a minute of virtual time.

Each test has a sandbox and a key of its own, also under pytest-xdist.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from zlib import crc32

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lipsync_async._async.client import AsyncClient
    from lipsync_async._models.response import Generation
    from lipsync_async._sync.client import Client
    from lipsync_async.sandbox import Sandbox, VirtualClock
    from lipsync_async.sandbox.webhooks import Received

_MARKER = (
    "lipsync(faults=(), **settings): how the sandbox of this test is set up; settings are the "
    "arguments of lipsync_async.sandbox.Sandbox, such as plan= and progression=."
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def lipsync_clock() -> VirtualClock:
    """Return the virtual clock of the test's sandbox, which is in memory then."""
    from lipsync_async.sandbox import VirtualClock  # noqa: PLC0415 - only where it is used

    return VirtualClock()


@pytest.fixture
def lipsync_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sandbox]:
    """Serve a sandbox, and give it; `requests` tells and asserts what was sent to it."""
    from lipsync_async.sandbox import Sandbox  # noqa: PLC0415 - only where it is used

    settings: dict[str, Any] = {"render": False, "seed": crc32(request.node.nodeid.encode())}
    if "lipsync_clock" in request.fixturenames:
        settings |= {"clock": request.getfixturevalue("lipsync_clock"), "progression": "time(60)"}
    else:
        settings["progression"] = "immediate"
    faults: list[Any] = []
    for marker in reversed([*request.node.iter_markers("lipsync")]):  # the test's own is last
        told = dict(marker.kwargs)
        listed = told.pop("faults", ())
        if not isinstance(listed, Iterable):
            raise pytest.UsageError("the marker lipsync: faults must be a list of Fault(...).")
        faults += listed
        settings |= told
        if marker.args:
            raise pytest.UsageError("the marker lipsync takes keywords only.")
    try:
        sandbox = Sandbox(**settings)
        for fault in faults:
            sandbox.faults.add(fault)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"the marker lipsync: {error}") from error
    with sandbox:
        monkeypatch.setenv("SYNC_API_KEY", sandbox.api_key)
        monkeypatch.setenv("SYNC_BASE_URL", sandbox.url)
        monkeypatch.setenv("SYNC_WEBHOOK_SECRET", sandbox.webhook_secret)
        yield sandbox


@pytest.fixture
def lipsync_client(lipsync_sandbox: Sandbox) -> Iterator[AsyncClient]:
    """Give an async client of the test's sandbox, and close it."""
    from lipsync_async._async.client import AsyncClient  # noqa: PLC0415 - only where it is used

    client = AsyncClient(**_reaching(lipsync_sandbox))
    yield client
    # A plugin's event loop may still be this thread's.
    closing = threading.Thread(target=lambda: asyncio.run(client.aclose()))
    closing.start()
    closing.join()


@pytest.fixture
def lipsync_blocking_client(lipsync_sandbox: Sandbox) -> Iterator[Client]:
    """Give a blocking client of the test's sandbox, and close it."""
    from lipsync_async._sync.client import Client  # noqa: PLC0415 - only where it is used

    with Client(**_reaching(lipsync_sandbox)) as client:
        yield client


@attrs.frozen(slots=True)
class Webhooks:
    """The webhooks of a test's sandbox.

    Attributes:
        url: An address for `webhook_url=` that takes all deliveries.
        secret: What signs them.

    """

    url: str
    secret: str
    _inbox: Iterable[Any] = attrs.field(repr=False)

    @property
    def received(self) -> Sequence[Received]:
        """The deliveries that have reached `url`, oldest first."""
        return [*self._inbox]

    def delivery(
        self, generation: Generation | None = None, **fields: object
    ) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of a signed delivery, to be posted to a route of your own.

        Args:
            generation: The job that it tells of; `None`: one that is COMPLETED.
            **fields: What differs, by names of the wire, such as `status="FAILED"`.

        """
        from lipsync_async.sandbox.webhooks import payload, sign  # noqa: PLC0415 - as above

        told = {"id": "job-1", "status": "COMPLETED"} if generation is None else generation.raw
        body = json.dumps({**payload(told), **fields}).encode()
        signature = sign(body, self.secret, int(time.time()))
        return body, {"Content-Type": "application/json", "Sync-Signature": signature}


@pytest.fixture
def lipsync_webhooks(lipsync_sandbox: Sandbox) -> Webhooks:
    """Return the webhooks of the test's sandbox."""
    url = f"{lipsync_sandbox.url}/__sandbox/inbox"
    return Webhooks(url, lipsync_sandbox.webhook_secret, lipsync_sandbox.inbox)


def _reaching(sandbox: Sandbox) -> dict[str, Any]:
    reach: dict[str, Any] = {"api_key": sandbox.api_key, "base_url": sandbox.url}
    if sandbox.is_in_memory:
        reach["transport"] = sandbox.transport()
    return reach
