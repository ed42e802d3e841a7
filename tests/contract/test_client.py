"""The client's codec, endpoints, answers and webhooks against the golden vectors."""

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest

import lipsync_async
from lipsync_async import AsyncClient, LipsyncError, RetryPolicy
from lipsync_async._models.http import FilePart, Request, Response
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import VirtualClock
from lipsync_async.webhooks import WebhookVerificationError, parse, sign, unwrap, verify
from tests.contract.vectors import EVENTS, WEBHOOKS, WIRE, Vector, differences, each

KEY = "key-of-a-test"
CALLED = [vector for vector in WIRE if "call" in vector]


def built(data: Any) -> Any:
    """Return the objects that a vector's arguments stand for."""
    if isinstance(data, list):
        return [built(item) for item in data]
    if not isinstance(data, dict):
        return data
    fields = {name: built(value) for name, value in data.items() if name != "@"}
    if "@" not in data:
        return fields
    return (
        fields["text"].encode()
        if data["@"] == "bytes"
        else getattr(lipsync_async, data["@"])(**fields)
    )


async def answered(vector: Vector, sent: list[Request]) -> Any:
    """Make a vector's call against a service that gives a vector's answer."""
    answer = vector["response"]
    text = answer["text"] if "text" in answer else json.dumps(answer["json"])
    headers = {"content-type": "application/json", **answer.get("headers", {})}

    async def handle(request: Request) -> Response:
        sent.append(request)
        return Response(request.method, request.url, answer["status"], headers, text.encode())

    name, arguments = vector["call"]
    client = AsyncClient(
        KEY,
        base_url="https://api.sync.so",
        transport=MemoryTransport(handle, VirtualClock()),
        retry=RetryPolicy(attempts=1, slot_timeout=1.0),
    )
    async with client:
        resource, _, verb = name.rpartition(".")
        method = getattr(getattr(client, resource or "generations"), verb)
        # One of a call's own arguments is positional: the generation's id, or a whole request.
        if name == "estimate":
            return await method(lipsync_async.GenerationRequest(**built(arguments)))
        return await method(**built(arguments))


def request_differences(vector: Vector, sent: Request) -> list[str]:
    """Return where a request that was sent is not the vector's."""
    expected, differs = vector["request"], vector.get("differs", ())
    path, _, query = sent.url.removeprefix("https://api.sync.so").partition("?")
    found = differences([expected["method"], expected["path"]], [sent.method, path])
    found += differences(expected.get("query", []), pairs(query))
    headers = {name.lower(): value for name, value in sent.headers.items()}
    wanted = {"x-api-key": KEY, **expected.get("headers", {})}
    found += differences({n: v for n, v in wanted.items() if n not in differs}, headers)
    if "json" in expected and "json" not in differs:
        body = json.loads(sent.body or b"null")
        found += differences([expected["json"]], [body]) + differences([body], [expected["json"]])
    if "form" in expected:
        found += differences(expected["form"], [_part(part) for part in sent.form])
    return found


def pairs(query: str) -> list[list[str]]:
    """Return the names and values of a query."""
    return [list(pair) for pair in parse_qsl(query, keep_blank_values=True)]


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, FilePart):
        assert isinstance(part.source, bytes)
        content = part.source.decode()
        return {
            "name": part.name,
            "filename": part.filename,
            "type": part.content_type,
            "content": content,
        }
    is_json = part.value[:1] in {"[", "{"}
    return {
        "name": part.name,
        "text": part.value,
        "json": json.loads(part.value) if is_json else None,
    }


@each(CALLED)
async def test_the_client_sends_and_reads_as_the_vector_says(vector: Vector) -> None:
    """The call becomes the request, and the answer becomes the result or the error."""
    sent: list[Request] = []
    if "error" in vector:
        with pytest.raises(LipsyncError) as caught:
            await answered(vector, sent)
        assert differences(vector["error"], caught.value) == []
    else:
        result = await answered(vector, sent)
        assert differences(vector.get("result"), result) == []
    if "request" in vector:
        assert request_differences(vector, sent[0]) == []


@each(WEBHOOKS)
def test_the_client_verifies_and_reads_as_the_vector_says(vector: Vector) -> None:
    """The signature is right, and wrong for another body, secret or time."""
    body, secret, at = vector["body"].encode(), vector["secret"], vector["time"]
    header = vector["signature"]
    assert sign(body, secret, at) == header
    verify(body, {"Sync-Signature": header}, secret, now=at)
    for changed in (
        (body + b" ", header, secret, at),
        (body, header, f"{secret}x", at),
        (body, header.replace(f"t={at}", f"t={at + 1}"), secret, at),
        (body, header, secret, at + 301),
        (body, None, secret, at),
    ):
        with pytest.raises(WebhookVerificationError):
            verify(*changed[:3], now=changed[3])
        with pytest.raises(WebhookVerificationError):
            unwrap(*changed[:3], now=changed[3])
    if "event" in vector:
        event = unwrap(body, header, ["whsec_next", secret], now=at + 300)
        assert differences(vector["event"], event) == []


@each(EVENTS)
def test_the_client_reads_an_event_as_the_vector_says(vector: Vector) -> None:
    """What the service tells of an end becomes the attributes of an event."""
    assert differences(vector["result"], parse(json.dumps(vector["event"]))) == []
