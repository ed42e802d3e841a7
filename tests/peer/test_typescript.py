"""What the service's TypeScript client does against the sandbox, unchanged.

It runs in one Node process, which is told by lines of JSON what to call. It cannot count, delete
or register: those go by Node's own `fetch`.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from lipsync_async.sandbox import Fault, Sandbox
from tests.peer.methods import table

# `nox -s peer` installs the client there.
MODULES = os.environ.get("PEER_NODE_MODULES")
UNKNOWN = "00000000-0000-4000-8000-000000000000"
STAY = {"headers": {"x-sandbox-progression": "manual"}, "maxRetries": 0}

pytestmark = pytest.mark.skipif(
    MODULES is None, reason="the TypeScript client is not installed: `nox -s peer` needs npm for it"
)


class PeerError(Exception):
    """What the client threw: the name of its class, the status and the body."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["text"])
        self.name: str = answer["error"]
        self.status: int | None = answer.get("status")
        self.body: Any = answer.get("body")


@attrs.frozen
class Peer:
    """The client, connected to a sandbox."""

    process: "subprocess.Popen[str]"
    sandbox: Sandbox

    def call(self, verb: str, given: Any = None, **how: Any) -> Any:
        """Call one of its methods, with `options`, another `key` or `raw`; return its answer."""
        order = {"url": self.sandbox.url, "key": self.sandbox.api_key, "options": None, **how}
        order |= {"verb": verb, "given": given}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps(order)}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise PeerError(answer)
        return answer.get("value")

    def registered(self, facts: dict[str, Any]) -> str:
        """Register an asset, and return its id."""
        post = {"method": "POST", "path": "/v2/assets", "body": json.dumps(facts)}
        asset_id: str = self.call("fetch", post)["body"]["id"]
        return asset_id

    def finished(self, generation: dict[str, Any]) -> dict[str, Any]:
        """Look until the job has ended."""
        while generation["status"] in {"PENDING", "PROCESSING"}:
            generation = self.call("generations.get", generation["id"])
        return generation


@pytest.fixture(scope="module")
def process() -> Iterator["subprocess.Popen[str]"]:
    """Run Node for all tests."""
    command = ["node", str(Path(__file__).with_name("typescript") / "driver.js")]
    pipe = subprocess.PIPE
    environment = {**os.environ, "NODE_PATH": str(MODULES)}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:  # noqa: S603
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def peer(process: "subprocess.Popen[str]", sandbox: Sandbox) -> Peer:
    """Connect to a sandbox of its own."""
    return Peer(process, sandbox)


@pytest.fixture
def body(sandbox: Sandbox, video: Path, audio: Path) -> dict[str, Any]:
    """Return a create body whose media the sandbox hosts."""
    urls = [sandbox.host_file(path) for path in (video, audio)]
    items = [{"type": kind, "url": url} for kind, url in zip(("video", "audio"), urls, strict=True)]
    return {"model": "lipsync-2", "input": items}


def test_a_job_by_urls_ends_with_an_output(peer: Peer, body: dict[str, Any]) -> None:
    """Options go along, and the length is what the mode makes it."""
    created = peer.call("generations.create", {**body, "options": {"sync_mode": "cut_off"}})
    assert (created["status"], created["options"]) == ("PENDING", {"sync_mode": "cut_off"})
    ended = peer.finished(created)
    assert (ended["status"], ended["outputDuration"]) == ("COMPLETED", pytest.approx(2.0, abs=0.04))


@pytest.mark.parametrize("form", ["stream", "blob"])
def test_local_files_are_uploaded(peer: Peer, video: Path, audio: Path, form: str) -> None:
    """Both files travel as parts, with a name and without one."""
    given = {"video": {form: str(video)}, "audio": {form: str(audio)}}
    created = peer.call("generations.createWithFiles", {**given, "request": {"model": "lipsync-2"}})
    assert peer.finished(created)["status"] == "COMPLETED"


def test_a_file_goes_with_a_url(peer: Peer, body: dict[str, Any], video: Path) -> None:
    """Each input is a field of its own, and options are one text."""
    request = {**body, "input": body["input"][1:], "options": {"sync_mode": "cut_off"}}
    created = peer.call(
        "generations.createWithFiles", {"video": {"blob": str(video)}, "request": request}
    )
    assert peer.finished(created)["outputDuration"] == pytest.approx(2.0, abs=0.04)


def test_two_urls_go_in_a_form(peer: Peer, body: dict[str, Any]) -> None:
    """The field `input` comes twice, an item each."""
    created = peer.call("generations.createWithFiles", {"request": body})
    assert created["input"] == body["input"]


def test_lists_are_filtered(peer: Peer, body: dict[str, Any]) -> None:
    """Statuses and ids are the text of a JSON array."""
    jobs = [peer.call("generations.create", body, options=STAY)["id"] for _ in range(2)]
    peer.sandbox.jobs.move(jobs[1], "PROCESSING")
    filters: list[tuple[dict[str, Any], list[str]]] = [
        ({}, jobs),
        ({"status": ["PENDING", "FAILED"]}, jobs[:1]),
        ({"status": ["PENDING", "PROCESSING"]}, jobs),
        ({"ids": [jobs[1], UNKNOWN]}, jobs[1:]),
        ({"ids": [UNKNOWN]}, []),
    ]
    found = [
        [item["id"] for item in peer.call("generations.list", wanted)] for wanted, _ in filters
    ]
    assert found == [expected for _, expected in filters]


def test_jobs_are_counted_and_deleted(peer: Peer, body: dict[str, Any]) -> None:
    """Node's own HTTP client is answered alike; a running job stays."""
    job_id = peer.call("generations.create", body, options=STAY)["id"]
    count = {"method": "GET", "path": "/v2/generations/count?status=PENDING,FAILED"}
    delete = {"method": "DELETE", "path": f"/v2/generations/{job_id}"}
    assert peer.call("fetch", count) == {"status": 200, "body": {"count": 1}}
    refused = peer.call("fetch", delete)
    code = "generation_not_deletable_while_processing"
    assert (refused["status"], refused["body"]["errorCode"]) == (409, code)
    peer.sandbox.jobs.move(job_id, "PROCESSING")
    peer.sandbox.jobs.move(job_id, "FAILED")
    assert peer.call("fetch", delete)["status"] == 200
    assert peer.call("fetch", count)["body"] == {"count": 0}
    with pytest.raises(PeerError) as caught:
        peer.call("generations.get", job_id)
    assert (caught.value.name, caught.value.status) == ("NotFoundError", 404)


def test_a_cost_is_an_array(peer: Peer, body: dict[str, Any]) -> None:
    """Three seconds of audio are 75 frames."""
    (estimate,) = peer.call("generations.estimateCost", body)
    assert estimate["estimatedFrameCount"] == 75


def test_models_are_listed(peer: Peer) -> None:
    """The five that the documents name."""
    names = [model["id"] for model in peer.call("models.list")]
    assert names == ["sync-3", "lipsync-2", "lipsync-2-pro", "lipsync-1.9.0-beta", "react-1"]


def test_errors_have_their_classes(peer: Peer, body: dict[str, Any]) -> None:
    """A class where the client has one, and the service's body in any case."""
    sandbox = peer.sandbox
    sandbox.faults.add(Fault("status", status=500, code="internal_error", path="/v2/models"))
    calls: list[tuple[str, Any, dict[str, Any], str, int]] = [
        ("generations.create", body, {"key": "wrong"}, "UnauthorizedError", 401),
        ("generations.create", {**body, "input": body["input"][:1]}, {}, "BadRequestError", 400),
        ("generations.get", UNKNOWN, {}, "NotFoundError", 404),
        ("models.list", None, {}, "InternalServerError", 500),
        ("generations.get", "no-id", {}, "SyncError", 400),
    ]
    for verb, given, how, name, status in calls:
        with pytest.raises(PeerError) as caught:
            peer.call(verb, given, **how)
        error = caught.value
        assert (error.name, error.status, error.body["statusCode"]) == (name, status, status)


def test_a_full_plan_is_told_in_the_body(peer: Peer, body: dict[str, Any]) -> None:
    """The client has no class for a 429; its body says which of the two it is."""
    for _ in range(2):
        peer.call("generations.create", body, options=STAY)
    with pytest.raises(PeerError) as caught:
        peer.call("generations.create", body)
    shown = caught.value.body
    assert (caught.value.name, caught.value.status) == ("SyncError", 429)
    assert (shown["errorCode"], shown["concurrencyLimit"]) == ("concurrency_limit_reached", 2)


@pytest.mark.parametrize("sandbox", [{"concurrency": 3}], indirect=True)
def test_a_lost_answer_makes_more_jobs(peer: Peer, body: dict[str, Any]) -> None:
    """The client sends a create three times without a key, which ours avoids."""
    peer.sandbox.faults.add(Fault("outcome_unknown", path="/v2/generate", count=2))
    peer.call("generations.create", body, options={"headers": STAY["headers"]})
    assert peer.sandbox.jobs.created == 3


@pytest.fixture
def rows(body: dict[str, Any], tmp_path: Path) -> Path:
    """Write the least batch that is taken."""
    names = [f"take-{number}" for number in range(20)]
    row = {"endpoint": "/v2/generate", "payload": body}
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"request_id": name, **row}) for name in names))
    return path


# Each method: the answer's fields, or those of its first item.
METHODS = {
    "assets.get": {"id", "type", "url"},
    "assets.list": {"items", "totalCount"},
    "batch.create": {"id", "status", "metrics"},
    "batch.get": {"id", "status", "metrics"},
    "batch.list": {"id", "status", "metrics"},
    "generations.create": {"id", "status", "input"},
    "generations.createWithFiles": {"id", "status", "input"},
    "generations.estimateCost": {"estimatedFrameCount", "estimatedGenerationCost"},
    "generations.get": {"id", "status", "input"},
    "generations.list": {"id", "status", "input"},
    "models.list": {"id", "name", "type"},
}


def test_every_method_is_tested_and_in_the_table(peer: Peer) -> None:
    """A method that the client gains is missed here."""
    methods = sorted(peer.call("methods"))
    assert sorted(METHODS) == methods
    assert table(1) == methods


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sandbox", [{"render": False}], indirect=True)
def test_a_method_answers(
    peer: Peer, body: dict[str, Any], rows: Path, audio: Path, method: str
) -> None:
    """Each returns what it promises, and the same beside the raw response."""
    asset = {"url": body["input"][1]["url"], "type": "AUDIO"}
    ids = {
        "assets": peer.registered(asset),
        "batch": peer.call("batch.create", {"input": {"blob": str(rows)}, "request": {}})["id"],
        "generations": peer.call("generations.create", body, options=STAY)["id"],
    }
    form = {"video": {"stream": str(audio)}, "audio": {"blob": str(audio)}}
    given = {
        "batch.create": {"input": {"stream": str(rows)}, "request": {}},
        "generations.create": body,
        "generations.createWithFiles": {**form, "request": {"model": "lipsync-2"}},
        "generations.estimateCost": body,
    }.get(method, ids[method.partition(".")[0]] if method.endswith(".get") else {})
    answer = peer.call(method, given)
    raw = peer.call(method, given, raw=True)
    assert raw["status"] in {200, 201}
    for data in (answer, raw["data"]):
        assert METHODS[method] <= set(data[0] if isinstance(data, list) else data)


@pytest.mark.parametrize("sandbox", [{"render": False}], indirect=True)
def test_a_batch_goes_its_way(peer: Peer, rows: Path) -> None:
    """Checked only, then created, and listed by its status and its time."""
    file = {"stream": str(rows)}
    dry = {"input": file, "request": {"dry_run": True}}
    assert peer.call("batch.create", dry) == {"status": "VALIDATED"}
    assert peer.sandbox.jobs.created == 0
    hook = "https://hooks.example/batch"
    given = {"input": file, "request": {"webhook_url": hook}}
    created = peer.call("batch.create", given, options=STAY)
    assert (created["webhookUrl"], created["metrics"]["total_generations"]) == (hook, 20)
    uses: list[tuple[dict[str, Any], list[str]]] = [
        ({"status": "JOBS_CREATED"}, [created["id"]]),
        ({"status": "FAILED"}, []),
        ({"created_after": "2000-01-01T00:00:00Z"}, [created["id"]]),
        ({"created_before": "2000-01-01T00:00:00Z"}, []),
    ]
    for filters, expected in uses:
        assert [batch["id"] for batch in peer.call("batch.list", filters)] == expected
    rows.write_bytes(b"{}")
    for status, name in ((402, "PaymentRequiredError"), (429, "TooManyRequestsError")):
        peer.sandbox.faults.add(Fault("status", status=status, path="/v2/batch"))
        with pytest.raises(PeerError) as caught:
            peer.call("batch.create", {"input": file, "request": {}})
        assert (caught.value.name, caught.value.status) == (name, status)
    with pytest.raises(PeerError) as bad:
        peer.call("batch.create", {"input": file, "request": {}})
    assert bad.value.name == "BadRequestError"


def test_assets_are_found(peer: Peer, body: dict[str, Any]) -> None:
    """Pages, with each filter; several types are the text of a JSON array."""
    asset = {"url": body["input"][1]["url"], "type": "AUDIO"}
    first, second = [peer.registered({**asset, "name": name}) for name in ("Line 1", "Line 2")]
    uses: list[tuple[dict[str, Any], list[str]]] = [
        ({"types": ["AUDIO", "VIDEO"], "sortBy": "nameAsc"}, [first, second]),
        ({"types": ["VIDEO"]}, []),
        ({"searchQuery": "line 1"}, [first]),
        ({"projectId": UNKNOWN}, []),
        ({"sortBy": "nameDesc", "limit": 1}, [second]),
    ]
    for filters, expected in uses:
        assert [item["id"] for item in peer.call("assets.list", filters)["items"]] == expected
    cursor = peer.call("assets.list", {"sortBy": "nameAsc", "limit": 1})["nextCursor"]
    page = peer.call("assets.list", {"sortBy": "nameAsc", "limit": 1, "cursor": cursor})
    assert [item["id"] for item in page["items"]] == [second]
