"""Wherever an answer quotes the API key, it is in nothing that the client shows or stores."""

import json
import logging
import pickle
import traceback
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from lipsync_async import (
    AsyncClient,
    Generation,
    GenerationRequest,
    JournalView,
    LipsyncError,
    Response,
    RetryPolicy,
    Status,
)
from tests.client.connections import ORDER, UNLIMITED
from tests.client.hosts import Answer, Arrival, hosting

KEY = "sk_live_5ecretPart-0123456789"
# What must be nowhere: the key, most of it, or an encoder's form of it.
_FORMS = (
    *("5ecretp", "sk_live_5", "0123456789"),
    b64encode(KEY.encode()).decode()[:-4].lower(),
    KEY.encode().hex(),
)
_QUICK = RetryPolicy(attempts=2, first_pause=0.001, longest_pause=0.002, give_up_after=0.02)

Quoting = Callable[[str], Answer]


def _told(status: int, /, **fields: Any) -> Answer:
    return Answer(json.dumps(fields).encode(), status)


def _job(**fields: Any) -> Answer:
    shown = {"id": "job-1", "status": "FAILED", "model": "lipsync-2", **fields}
    return Answer(json.dumps(shown).encode(), 201)


def _headed(status: int, /, **fields: str) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return Answer(b'{"message": "no"}', status, headers)


def _raw(text: str) -> Answer:
    return Answer(raw=text.encode())


QUOTES: dict[str, Quoting] = {
    "401": lambda key: _told(401, message=f"Invalid API key: {key}", statusCode=401),
    "401, in a list": lambda key: _told(401, message=["no", f"x-api-key {key}"]),
    "401, in capitals": lambda key: _told(401, message=f"INVALID {key.upper()}"),
    "401, deep": lambda key: _told(401, message="no", request={"headers": {"x-api-key": [key]}}),
    "401, as a name": lambda key: _told(401, message="no", **{key: 1}),
    "400, for a field": lambda key: _told(400, message="no", field=key, suggestion=f"not {key}"),
    "400, for a code": lambda key: _told(400, message="no", errorCode=f"bad_{key}"),
    "403, as a page": lambda key: Answer(f"<pre>x-api-key: {key}</pre>".encode(), 403),
    "403, escaped": lambda key: Answer(
        f"key={quote(key, safe='').replace('_', '%5F')}".encode(), 403
    ),
    "403, packed": lambda key: Answer(b"Basic " + b64encode(f"{key}:".encode()), 403),
    "403, in digits": lambda key: Answer(key.encode().hex().encode(), 403),
    "404, in UTF-16": lambda key: Answer(json.dumps({"message": key}).encode("utf-16"), 404),
    "404, with broken letters": lambda key: Answer(b"\xff\xfe" + key.encode() + b"\xff", 404),
    "429": lambda key: _told(429, message=key, retryAfterSeconds=0.001),
    "502, as a page": lambda key: Answer(f"<html>{key}</html>".encode(), 502),
    "503, long": lambda key: Answer(key.encode() * 50_000, 503),
    "503, long, from another letter on": lambda key: Answer(b"x" * 9 + key.encode() * 50_000, 503),
    "request id": lambda key: _headed(401, X_Request_Id=f"req-{key}"),
    "any header": lambda key: _headed(500, X_Debug=f"key={key}", Set_Cookie=f"k={key}"),
    "the name of a header": lambda key: Answer(b"{}", 401, {key: "1"}),
    "a pointer": lambda key: _headed(302, Location=f"/elsewhere?key={key}"),
    "a pointer elsewhere": lambda key: _headed(307, Location=f"http://127.0.0.1:1/{key}"),
    "no JSON": lambda key: Answer(f"welcome, {key}".encode()),
    "half of JSON": lambda key: Answer(b'{"id": "' + key.encode()),
    "another shape": lambda key: _told(200, id={"key": key}, status=[key]),
    "a job's error": lambda key: _job(error=f"refused: {key}", errorCode=f"code_{key}"),
    "a job's addresses": lambda key: _job(outputUrl=f"http://h/?k={key}", webhookUrl=f"/{key}"),
    "a job's id": lambda key: _job(id=f"job-{key}"),
    "a job's unknown field": lambda key: _job(debug={"headers": {"x-api-key": key}}),
    "no HTTP": lambda key: _raw(f"HELLO {key}\r\n\r\n"),
    "a wrong status line": lambda key: _raw(f"HTTP/1.1 {key} X\r\n\r\n"),
    "a wrong header": lambda key: _raw(f"HTTP/1.1 200 OK\r\n{key}\r\n\r\n"),
    "a wrong length": lambda key: _raw(f"HTTP/1.1 200 OK\r\nContent-Length: {key}\r\n\r\n"),
    "a wrong chunk": lambda key: _raw(
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{key}\r\n"
    ),
}


def _shown(error: BaseException) -> list[str]:
    """Return what can be shown or stored of an error, but the test's own frames."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [repr(each.locals) for each in told.stack if "/tests/" not in each.filename]
    notes = getattr(error, "__notes__", [])
    return [str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error)), *frames, *notes]


def _chain(error: BaseException | None) -> list[str]:
    return [] if error is None else [*_shown(error), *_chain(error.__cause__ or error.__context__)]


@pytest.mark.parametrize("name", QUOTES)
async def test_quoted(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in errors, jobs, raw answers, pickles, notes, logs, journals or their exports."""
    caplog.set_level(logging.DEBUG)
    seen: list[Response] = []
    shown: list[str] = []

    def quoting(arrival: Arrival) -> Answer:
        return QUOTES[name](arrival.headers.get("x-api-key", ""))

    async with hosting(quoting) as host:
        client = AsyncClient(
            KEY, base_url=host.url, limits=UNLIMITED, retry=_QUICK, on_response=seen.append
        )
        async with client:
            generations = client.generations
            for call in (generations.get("job-1"), generations.create(**ORDER), generations.list()):
                try:
                    shown.append(repr(await call))
                except LipsyncError as error:
                    shown += _chain(error)
            outcomes = await generations.run_all(
                [GenerationRequest(**ORDER)], journal=tmp_path / "journal.sqlite"
            )
            for outcome in outcomes:
                shown += [repr(outcome), repr(outcome.generation), *_chain(outcome.error)]
                shown.append(repr(outcome.generation and outcome.generation.raw))
    with JournalView.open(tmp_path / "journal.sqlite") as view:
        shown += map(repr, view.entries())
        view.export_csv(tmp_path / "export.csv")
        view.export_jsonl(tmp_path / "export.jsonl")
    for response in seen:
        shown += [response.url, repr(response.headers), response.body.decode("latin-1")]
        shown.append(response.body.decode("utf-16", "replace"))
    shown += [path.read_bytes().decode("latin-1") async for path in _files(tmp_path)]
    shown += [caplog.text, *capsys.readouterr()]
    found = [form for form in _FORMS for text in shown if form in text.lower()]
    assert found == []
    assert {each.headers.get("x-api-key") for each in host.arrivals} <= {KEY, None}


# What a media host that is the service itself may say, beside what any server may.
MEDIA_QUOTES: dict[str, Quoting] = QUOTES | {
    "a file's name": lambda key: Answer(
        b"media" * 200, 200, {"Content-Disposition": f'attachment; filename="{key}.mp4"'}
    ),
    "a type": lambda key: Answer(b"media" * 200, 200, {"Content-Type": key}),
    "a wrong coding": lambda key: Answer(b"media", 200, {"Content-Encoding": key}),
    "a page": lambda key: Answer(f"<html>{key}</html>".encode(), 200),
    "a page that breaks off in it": lambda key: Answer(
        raw=b"HTTP/1.1 500 X\r\nContent-Length: 99999\r\n\r\n" + key.encode()
    ),
    "a page that is cut in it": lambda key: Answer(
        b"x" * (16_384 - len(key) + 2) + key.encode(), 500
    ),
}


@pytest.mark.parametrize("name", MEDIA_QUOTES)
async def test_quoted_by_a_media_host(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in a download's error, log or file name either."""
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    async with hosting(lambda _: MEDIA_QUOTES[name](KEY)) as host:
        done = Generation(id="g1", status=Status.COMPLETED, output_url=f"{host.url}/v.mp4")
        async with AsyncClient(KEY, base_url=host.url, limits=UNLIMITED, retry=_QUICK) as client:
            try:
                shown.append(str(await client.generations.download(done, tmp_path)))
            except LipsyncError as error:
                shown += _chain(error)
    shown += [caplog.text]
    assert [form for form in _FORMS for text in shown if form in text.lower()] == []


async def _files(folder: Path) -> Any:
    async for path in anyio.Path(folder).iterdir():
        yield Path(path)
