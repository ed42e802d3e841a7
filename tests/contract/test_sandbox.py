"""The sandbox's answers and signatures against the golden vectors, without the client."""

import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from lipsync_async._models.http import FilePart, Request, Response, TextPart
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import Sandbox, VirtualClock, faults, webhooks
from tests.contract.vectors import EVENTS, WEBHOOKS, WIRE, Vector, differences, each

ASKED = [
    vector
    for vector in WIRE
    if "request" in vector and "unsupported" not in vector.get("sandbox", {})
]
STEPS = {
    "PENDING": (),
    "PROCESSING": ("PROCESSING",),
    "COMPLETED": ("PROCESSING", "COMPLETED"),
    "FAILED": ("PROCESSING", "FAILED"),
    "REJECTED": ("REJECTED",),
}


class Service:
    """A sandbox in memory, in which jobs have the ids that a vector gives them."""

    def __init__(self, sandbox: Sandbox, transport: MemoryTransport) -> None:
        self.sandbox = sandbox
        self.transport = transport
        self._ids: dict[str, str] = {}

    async def send(self, asked: dict[str, Any]) -> Response:
        """Send a vector's request, and return the answer with the vector's ids."""
        asked = json.loads(self._renamed(json.dumps(asked), self._ids))
        headers = {"x-api-key": self.sandbox.api_key, **asked.get("headers", {})}
        body = None
        if "json" in asked:
            body = json.dumps(asked["json"]).encode()
            headers["content-type"] = "application/json"
        query = f"?{urlencode([*map(tuple, asked['query'])])}" if "query" in asked else ""
        request = Request(
            asked["method"],
            f"{self.sandbox.url}{asked['path']}{query}",
            {name: value for name, value in headers.items() if value is not None},
            body,
            tuple(map(_part, asked.get("form", ()))),
        )
        answer = await self.transport.send(request, timeout=None)
        if "id" in asked:
            self._ids[asked["id"]] = json.loads(answer.body)["id"]
        own = {given: wanted for wanted, given in self._ids.items()}
        answer.body = self._renamed(answer.body.decode(), own).encode()
        return answer

    async def create(self, job: dict[str, Any]) -> str:
        """Create a job, move it to where a vector has it, and return its own id."""
        item = {"type": "video", "url": "https://media.example/clip.mp4"}
        audio = {"type": "audio", "url": "https://media.example/line.wav"}
        request = {
            "method": "POST",
            "path": "/v2/generate",
            "headers": job.get("headers", {}),
            "json": {"model": "lipsync-2", "input": [item, audio], **job.get("fields", {})},
            "id": job["id"],
        }
        assert (await self.send(request)).status == 201
        for status in STEPS[job["status"]]:
            reason = {}
            if status == job["status"]:
                reason = {"error": job.get("error"), "error_code": job.get("errorCode")}
            self.sandbox.jobs.move(self._ids[job["id"]], status, **reason)
        return self._ids[job["id"]]

    @staticmethod
    def _renamed(text: str, names: dict[str, str]) -> str:
        for old, new in names.items():
            text = text.replace(old, new).replace(old.upper(), new.upper())
        return text


def _part(part: dict[str, Any]) -> TextPart | FilePart:
    if "content" in part:
        return FilePart(part["name"], part["filename"], part["type"], part["content"].encode())
    return TextPart(part["name"], part["text"] if "text" in part else json.dumps(part["json"]))


@asynccontextmanager
async def prepared(vector: Vector) -> AsyncIterator[Service]:
    """Run a sandbox in which everything is there that a vector asks for."""
    given = vector.get("sandbox", {})
    settings = {"progression": "manual", "render": False, **given.get("settings", {})}
    async with Sandbox(clock=VirtualClock(), **settings) as sandbox:
        service = Service(sandbox, sandbox.transport())
        for job in given.get("jobs", ()):
            await service.create(job)
        for request in given.get("before", ()):
            assert (await service.send(request)).status < 300
        for fault in given.get("faults", ()):
            fields = {name: value for name, value in fault.items() if name != "@"}
            sandbox.faults.add(getattr(faults, fault.get("@", "Fault"))(**fields))
        yield service


@each(ASKED)
async def test_the_sandbox_answers_as_the_vector_says(vector: Vector) -> None:
    """The request gets the status, the headers and the fields of the vector."""
    expected, varies = vector["response"], frozenset(vector.get("varies", ()))
    async with prepared(vector) as service:
        answer = await service.send(vector["request"])
    text = answer.body.decode()
    assert (answer.status, text) == (expected["status"], text)
    assert differences(expected.get("headers", {}), answer.headers) == []
    if "json" in expected:
        body = json.loads(text)
        assert differences(expected["json"], body, varies) == []
        assert [name for name in vector.get("absent", ()) if name in body] == []
    assert [piece for piece in expected.get("contains", ()) if piece not in text] == []


@each(WEBHOOKS)
def test_the_sandbox_signs_as_the_vector_says(vector: Vector) -> None:
    """The signature is the vector's, and the inbox knows it from a wrong one."""
    body, secret, at = vector["body"].encode(), vector["secret"], vector["time"]
    assert webhooks.sign(body, secret, at) == vector["signature"]
    inbox = webhooks.Inbox(secret)
    headers = {webhooks.SIGNATURE_HEADER: vector["signature"]}
    assert inbox.add(body, headers, now=float(at)).problem is None
    assert inbox.add(body + b" ", headers, now=float(at)).problem is not None
    assert inbox.add(body, headers, now=at + 301.0).problem is not None


@each(EVENTS)
async def test_the_sandbox_tells_of_an_end_as_the_vector_says(vector: Vector) -> None:
    """A job that ends is told of in the fields of a webhook, and signed by the recipe."""
    async with prepared(vector) as service:
        sandbox, job = service.sandbox, vector["job"]
        hook = {"webhookUrl": f"{sandbox.url}/__sandbox/inbox"}
        job_id = await service.create({**job, "fields": {**job.get("fields", {}), **hook}})
        await service.transport.sleep(1.0)
        (received,) = sandbox.inbox
        secret = sandbox.webhook_secret
    body = json.loads(received.body.replace(job_id.encode(), job["id"].encode()))
    assert differences(vector["event"], body, frozenset(vector["varies"])) == []
    assert [name for name in vector["absent"] if name in body] == []
    stamp, _, signature = received.headers["sync-signature"].partition(",v1=")
    signed = stamp.removeprefix("t=").encode() + b"." + received.body
    assert hmac.new(secret.encode(), signed, "sha256").hexdigest() == signature
