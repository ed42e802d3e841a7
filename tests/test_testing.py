"""The pytest plugin, run by pytest on test files as users write them."""

from collections.abc import Callable

import pytest

from lipsync_async import AsyncClient, Client
from lipsync_async.sandbox import Sandbox

pytest_plugins = ["pytester"]
# A run within this process forgets the modules that it loads first; later tests would load others.
LOADED = [AsyncClient, Client, Sandbox]

HEAD = """
import os
import pytest
from lipsync_async import AsyncClient, Audio, Client, GenerationFailedError, Video, webhooks
from lipsync_async.sandbox import Fault

pytestmark = pytest.mark.anyio
ORDER = dict(
    model="lipsync-2",
    input=[Video("https://example.com/v.mp4"), Audio("https://example.com/a.wav")],
)

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
RunFile = Callable[..., pytest.RunResult]


@pytest.fixture
def run_file(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> RunFile:
    """Give what runs a test file beside the plugin and that of anyio; warnings are errors."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = ("-p", "lipsync_async.testing", "-p", "anyio", "-p", "no:cacheprovider")

    def run(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(HEAD + source)
        strict = ("-W", "error", "--strict-markers")
        return pytester.runpytest_inprocess(*plugins, *strict, *arguments)

    return run


USES = {
    "an async client": """
async def test(lipsync_client, lipsync_sandbox):
    done = await lipsync_client.generations.run(**ORDER)
    assert done.status == "COMPLETED"
    lipsync_sandbox.requests.assert_count(1, "POST", "/v2/generate", json={"model": "lipsync-2"})
""",
    "a blocking client": """
def test(lipsync_blocking_client):
    assert lipsync_blocking_client.generations.run(**ORDER).status == "COMPLETED"
""",
    "a client of the tested code's own": """
def test(lipsync_sandbox):
    with Client() as client:
        assert client.generations.run(**ORDER).status == "COMPLETED"
    assert len(lipsync_sandbox.jobs) == 1
""",
    "hours of virtual time": """
@pytest.mark.lipsync(progression="time(3600)")
async def test(lipsync_client, lipsync_clock):
    done = await lipsync_client.generations.run(**ORDER)
    assert (done.status, lipsync_clock.now()) == ("COMPLETED", 3600.0)
""",
    "virtual time in blocking code": """
def test(lipsync_blocking_client, lipsync_clock):
    done = lipsync_blocking_client.generations.run(**ORDER)
    assert (done.status, lipsync_clock.now()) == ("COMPLETED", 60.0)
""",
    "markers of file, class and test": """
pytestmark = [pytest.mark.anyio, pytest.mark.lipsync(plan="growth", faults=[Fault("fail_job")])]

@pytest.mark.lipsync(progression="time(30)")
class TestJobs:
    @pytest.mark.lipsync(plan="creator", seed=5)
    async def test(self, lipsync_client, lipsync_clock):
        with pytest.raises(GenerationFailedError):
            await lipsync_client.generations.run(**ORDER)
        account = await lipsync_client.account.get()
        assert (account.raw["limits"]["concurrency"], lipsync_clock.now()) == (3, 30.0)
""",
    "a webhook that arrives": """
async def test(lipsync_client, lipsync_clock, lipsync_webhooks):
    await lipsync_client.generations.run(**ORDER, webhook_url=lipsync_webhooks.url)
    await lipsync_clock.sleep(1)
    (received,) = lipsync_webhooks.received
    assert (received.problem, b"COMPLETED" in received.body) == (None, True)
""",
    "a webhook for a route of one's own": """
async def test(lipsync_client, lipsync_webhooks):
    job = await lipsync_client.generations.run(**ORDER)
    body, headers = lipsync_webhooks.delivery(job, status="FAILED", error="Sorry.")
    event = webhooks.unwrap(body, headers, os.environ["SYNC_WEBHOOK_SECRET"])
    assert (event.id, event.status, event.error) == (job.id, "FAILED", "Sorry.")
    body, _ = lipsync_webhooks.delivery()
    assert webhooks.parse(body).id == "job-1"
""",
    "a webhook that a wait is woken by": """
async def test(lipsync_client, lipsync_clock, lipsync_webhooks):
    receiver = webhooks.WebhookReceiver(lipsync_webhooks.secret)
    job = await lipsync_client.generations.create(**ORDER)
    await lipsync_clock.sleep(5)
    lipsync_clock.call_later(55, lambda: receiver.handle(*lipsync_webhooks.delivery(job)))
    done = await lipsync_client.generations.wait_until_complete(job, webhooks=receiver)
    assert done.is_completed
    assert 60 <= lipsync_clock.now() <= 60.5  # the next poll would be at 65 s
""",
    "a key of each test's own": """
keys = set()

@pytest.mark.parametrize("number", range(3))
def test(lipsync_sandbox, number):
    keys.add((os.environ["SYNC_API_KEY"], os.environ["SYNC_BASE_URL"] == lipsync_sandbox.url))
    assert len(keys) == number + 1
    assert all(key.startswith("sandbox-") and is_ours for key, is_ours in keys)
""",
}


@pytest.mark.parametrize("use", USES)
def test_a_test_file_passes(use: str, run_file: RunFile) -> None:
    """The fixtures and the marker do what their descriptions say."""
    result = run_file(USES[use])
    assert [*result.parseoutcomes()] == ["passed"]


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('api_key="sk-live"', "this api_key looks like one of the real service"),
        ('plan="gold"', "there is no plan 'gold'"),
        ("speeed=3", "unexpected keyword argument 'speeed'"),
        ('"creator"', "the marker lipsync takes keywords only"),
        ('faults=Fault("fail_job")', "faults must be a list of Fault(...)"),
        ('faults=[{"kind": "fail_job"}]', "a fault is a Fault(kind, ...), not {'kind'"),
    ],
)
def test_a_wrong_marker_is_refused(marker: str, message: str, run_file: RunFile) -> None:
    """A key that looks live, a setting that is none: the test ends before it begins."""
    result = run_file(f"@pytest.mark.lipsync({marker})\ndef test(lipsync_sandbox): pass")
    assert (result.parseoutcomes(), message in result.stdout.str()) == ({"errors": 1}, True)


def test_a_test_that_asks_for_nothing_keeps_its_environment(
    run_file: RunFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin changes nothing for tests that do not use it, and says what it offers."""
    monkeypatch.setenv("SYNC_API_KEY", "mine")
    source = 'def test(): assert os.environ["SYNC_API_KEY"] == "mine"'
    assert run_file(source).parseoutcomes() == {"passed": 1}
    shown = run_file(source, "--markers").stdout.str()
    assert "@pytest.mark.lipsync(faults=(), **settings)" in shown
