"""Batches, over the wire."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from lipsync_async._models.http import FilePart, TextPart
from lipsync_async.sandbox import Fault
from lipsync_async.sandbox.media.demo_media import draw_talking_head, tone
from tests.sandbox.clients import NOW, Answer, Client, created, memory_client, order

NONE = "00000000-0000-4000-8000-000000000000"
EDIT = {"dialogueEdit": {"id": NONE}}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Connect to a sandbox in memory."""
    async with memory_client(progression="polls(2)") as connected:
        yield connected


def rows(number: int = 20, **fields: Any) -> list[dict[str, Any]]:
    """Return rows of a batch."""
    ends = {"endpoint": "/v2/generate", "payload": order(**fields)}
    return [{"request_id": f"r{place}", **ends} for place in range(1, number + 1)]


async def batch(client: Client, lines: Any = None, **fields: Any) -> Answer:
    """Create a batch whose jobs end at once."""
    body = {"rows": rows() if lines is None else lines, **fields}
    return await client.send("POST", "/v2/batch", body, headers=NOW)


def form(lines: bytes, **texts: str) -> tuple[TextPart | FilePart, ...]:
    """Return a batch as a form."""
    file = FilePart("input", "rows.jsonl", "application/jsonl", lines)
    return (file, *(TextPart(name, text) for name, text in texts.items()))


async def results(client: Client, url: str) -> list[Any]:
    """Return the rows of a file of results, for which no key is needed."""
    pointer = await client.send("GET", url, headers={"x-api-key": ""})
    assert pointer.status == 302
    found = await client.send("GET", pointer.headers["location"], headers={"x-api-key": ""})
    assert (found.status, found.headers["content-type"]) == (200, "application/jsonl")
    return [json.loads(line) for line in found.body.splitlines()]


async def test_a_batch_goes_through_its_statuses(client: Client) -> None:
    """Its numbers follow its generations; the address of the results is there at the end."""
    made = await client.send("POST", "/v2/batch", {"rows": rows(), "webhook_url": "https://a.b"})
    path = f"/v2/batch/{made.json['id']}"
    numbers = {"total_generations": 20, "success_count": 0, "failed_count": 0, "pending_count": 20}
    expected = {
        "id": made.json["id"],
        "created_at": made.json["created_at"],
        "status": "PENDING",
        "metrics": numbers,
        "outputUrl": None,
        "webhookUrl": "https://a.b",
    }
    assert (made.status, made.json) == (201, expected)
    (listed,) = (await client.send("GET", "/v2/batch")).json
    running, done = [(await client.send("GET", path)).json for _ in range(2)]
    found = [listed["status"], running["status"], done["status"]]
    assert found == ["JOBS_CREATED", "PROCESSING", "COMPLETED"]
    assert done["metrics"] == {**numbers, "success_count": 20, "pending_count": 0}
    assert [row["request_id"] for row in await results(client, done["outputUrl"])] == [
        f"r{place}" for place in range(1, 21)
    ]


async def test_a_batch_can_fail_in_part(client: Client) -> None:
    """Each row meets the faults of a create; the results hold the failed ones too."""
    client.sandbox.faults.add(Fault("fail_job", code="X", message="No.", every=5, count=None))
    client.sandbox.faults.add(Fault("reject_job", skip=19))
    made = await batch(client)
    done = (await client.send("GET", f"/v2/batch/{made.json['id']}")).json
    counts = (done["metrics"]["success_count"], done["metrics"]["failed_count"])
    assert (done["status"], counts) == ("COMPLETED", (16, 4))
    found = [row["response"] for row in await results(client, done["outputUrl"])]
    states = [each["status"] for each in found]
    good = ["COMPLETED"] * 4
    assert states == [*good, "FAILED"] * 3 + [*good, "REJECTED"]
    assert (found[4]["errorCode"], found[4]["error"]) == ("X", "No.")
    assert (await client.send("GET", found[0]["outputUrl"])).status == 200


async def test_a_batch_can_fail_as_a_whole(client: Client) -> None:
    """So does each of its rows; its results and one webhook are there all the same."""
    client.sandbox.faults.add(Fault("fail_job", path="/v2/batch"))
    inbox = f"{client.sandbox.url}/__sandbox/inbox"
    body = {"rows": rows(), "webhook_url": inbox}
    made = await client.send("POST", "/v2/batch", body, headers=NOW)
    await client.sleep(1)
    done = (await client.send("GET", f"/v2/batch/{made.json['id']}")).json
    assert (made.json["status"], done["status"]) == ("PENDING", "FAILED")
    assert done["metrics"]["failed_count"] == 20
    assert len(await results(client, done["outputUrl"])) == 20
    assert [each.to_json()["body"] for each in client.sandbox.inbox] == [done]


@pytest.mark.parametrize(
    ("kind", "signatures"),
    [("expire_output", ["valid"]), ("webhook_drop", []), ("webhook_twice", ["valid", "valid"])],
)
async def test_a_batch_sends_one_webhook(client: Client, kind: str, signatures: list[str]) -> None:
    """When its last generation has ended, signed as any other; faults of its create apply."""
    client.sandbox.faults.add(Fault(kind, path="/v2/batch"))
    made = await batch(client, webhook_url=f"{client.sandbox.url}/__sandbox/inbox")
    await client.sleep(1)
    done = (await client.send("GET", f"/v2/batch/{made.json['id']}")).json
    found = [each.to_json() for each in client.sandbox.inbox]
    assert [each["signature"] for each in found] == signatures
    assert [each["body"] for each in found] == [done] * len(signatures)


async def test_a_batch_takes_no_slots() -> None:
    """Another generation passes beside it, as many as the plan has."""
    async with memory_client(plan="scale", concurrency=1, progression="manual") as client:
        await client.send("POST", "/v2/batch", {"rows": rows()})
        await created(client)
        over = await client.send("POST", "/v2/generate", order())
    assert (over.status, over.json["activeGenerations"]) == (429, 1)


async def test_batches_at_once_have_a_limit() -> None:
    """One more is a 429 with its numbers, in the client's seconds; a dry run passes."""
    async with memory_client(batches_at_once=1, progression="polls(1)") as client:
        body = {"rows": rows()}
        made = await client.send("POST", "/v2/batch", body)
        over = await client.send("POST", "/v2/batch", body)
        dry = await client.send("POST", "/v2/batch", {**body, "dry_run": True})
        await client.send("GET", f"/v2/batch/{made.json['id']}")
        after = await client.send("POST", "/v2/batch", body)
    expected = {
        "statusCode": 429,
        "errorCode": "concurrency_limit_reached",
        "activeGenerations": 1,
        "concurrencyLimit": 1,
        "retryAfterSeconds": 30,
    }
    assert (over.status, expected.items() <= over.json.items()) == (429, True)
    assert over.json["message"].startswith("Batch concurrency limit reached. ")
    assert (dry.status, after.status) == (200, 201)


@pytest.mark.parametrize(("plan", "status"), [("growth", 402), ("scale", 201), (None, 201)])
async def test_a_plan_may_have_no_batches(plan: str | None, status: int) -> None:
    """Those below Scale have none."""
    async with memory_client(plan=plan) as client:
        assert (await batch(client)).status == status


@pytest.mark.parametrize("dry_run", [True, "true"])
async def test_a_dry_run_only_checks(client: Client, dry_run: Any) -> None:
    """Nothing is created; a bad row is refused as ever."""
    answer = await batch(client, dry_run=dry_run)
    assert (answer.status, answer.json) == (200, {"status": "VALIDATED"})
    assert (await batch(client, [*rows(19), {}], dry_run=dry_run)).status == 400
    assert (len(client.sandbox.jobs), (await client.send("GET", "/v2/batch")).json) == (0, [])


@pytest.mark.parametrize(("texts", "status"), [({}, 201), ({"dry_run": "true"}, 200)])
async def test_a_batch_comes_as_a_file(client: Client, texts: dict[str, str], status: int) -> None:
    """A line each; the last one may end as it likes."""
    lines = "\r\n".join(map(json.dumps, rows())).encode() + b"\n\n"
    answer = await client.send("POST", "/v2/batch", form=form(lines, **texts))
    assert (answer.status, len(client.sandbox.jobs)) == (status, 20 if status == 201 else 0)


LINES = "\n".join(map(json.dumps, rows()))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((TextPart("dry_run", "true"),), "Send the lines as a file in the field input."),
        (form(LINES.replace("{", "", 1).encode()), ["line 1 is not valid JSON"]),
        (form(LINES.encode(), dry_run="maybe"), ["dry_run must be a boolean value"]),
        (form(b" " * (5 * 1024**2) + LINES.encode()), "The file is larger than 5242880 bytes."),
    ],
)
async def test_a_file_that_is_none_is_refused(client: Client, parts: Any, message: Any) -> None:
    """With what is wrong."""
    answer = await client.send("POST", "/v2/batch", form=parts)
    assert (answer.status, answer.json["message"]) == (400, message)


TWICE = [*rows(19), {**rows(1)[0]}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], ["rows must be an array"]),
        ({"rows": 3}, ["rows must be an array"]),
        ({"rows": rows(19)}, ["a batch has 20 to 500 rows, not 19"]),
        ({"rows": rows(501)}, ["a batch has 20 to 500 rows, not 501"]),
        ({"rows": TWICE}, ["line 20: request_id 'r1' is there already"]),
        ({"rows": [*rows(19), 3]}, ["line 20: request_id must be a non-empty string"]),
        (
            {"rows": [*rows(19), {"request_id": "x", "payload": order(model=3)}]},
            [
                "line 20: endpoint must be /v2/generate",
                "line 20: model must be a non-empty string",
            ],
        ),
        (
            {"rows": rows(model="gpt")},
            [f"line {n}: There is no model 'gpt'." for n in range(1, 21)],
        ),
        ({"rows": rows(), "dry_run": 2}, ["dry_run must be a boolean value"]),
        *(
            (
                {"rows": rows(), "webhook_url": url},
                ["webhook_url must be an https URL, or http to a loopback host"],
            )
            for url in (3, "ftp://localhost", "http://media.example")
        ),
    ],
    ids=range(12),
)
async def test_a_batch_with_a_bad_row_is_refused(client: Client, body: Any, message: Any) -> None:
    """As a whole, with every bad row's number."""
    answer = await client.send("POST", "/v2/batch", body)
    assert (answer.status, answer.json["message"]) == (400, message)
    assert len(client.sandbox.jobs) == 0


@pytest.mark.parametrize("number", [20, 500])
async def test_so_many_rows_are_fine(client: Client, number: int) -> None:
    """From twenty to five hundred."""
    made = await batch(client, rows(number))
    assert made.json["metrics"]["total_generations"] == number


async def test_batches_that_are_created_at_once_have_a_limit_too() -> None:
    """Though each waits for the speech of its rows before it is there."""
    asked = {"rows": rows()}
    video = {"type": "video", "url": "https://media.example/v.mp4"}
    dubbed = {"model": "lipsync-2", "input": [video], "dubParams": {"targetLang": "de"}}
    asked["rows"][0]["payload"] = dubbed
    statuses = []
    async with memory_client(batches_at_once=1, progression="manual", render=True) as client:

        async def create() -> None:
            statuses.append((await client.send("POST", "/v2/batch", asked)).status)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create)
            tasks.start_soon(create)
    assert sorted(statuses) == [201, 429]


async def test_faults_of_requests_are_not_used_up_by_rows(client: Client) -> None:
    """Rows are no requests: they meet the faults of jobs alone."""
    client.sandbox.faults.add(Fault("status", method="POST", path="/v2/generate", status=500))
    client.sandbox.faults.add(Fault("fail_job"))
    made = await batch(client)
    found = (await client.send("GET", f"/v2/batch/{made.json['id']}")).json
    assert (made.status, found["metrics"]["failed_count"]) == (201, 1)
    answers = [await client.send("POST", "/v2/generate", order()) for _ in "ab"]
    assert [answer.status for answer in answers] == [500, 201]


async def test_dialogue_edits_of_one_batch_are_of_one_video(client: Client) -> None:
    """Another video is refused by the number of its line."""
    speech = {"script": "Hi you.", "voiceId": "v", "provider": "elevenlabs"}
    url = (await client.send("POST", "/v2/tts", speech)).json["url"]
    word = {"id": "w1", "text": "Hi", "startMs": 0, "endMs": 9}
    body = {
        "transcript": {"segments": [{"words": [word]}]},
        "edits": [{"kind": "change", "wordId": "w1", "replacement": "Ho"}],
        "sourceVideoUrl": url,
    }
    edit = (await client.send("POST", "/v2/dialogue-edits", body, headers=NOW)).json["id"]

    def edits(*videos: str) -> list[dict[str, Any]]:
        asked = rows(20)
        for row, video in zip(asked, videos, strict=False):
            row["payload"] = {
                "model": "lipsync-2",
                "input": [{"type": "video", "url": video}],
                "dialogueEdit": {"id": edit},
            }
        return asked

    refused = await batch(client, edits(url, url, f"{url}-other"))
    assert (refused.status, refused.json["errorCode"]) == (422, "dialogue_edit_unsupported")
    assert refused.json["lineNumber"] == 3
    assert (await batch(client, edits(url, url, url))).status == 201


async def test_batches_are_listed_newest_first(client: Client) -> None:
    """By status and by time, without pages."""
    made = []
    for _ in range(2):
        made.append((await batch(client)).json)
        await client.sleep(10)
    made.append((await client.send("POST", "/v2/batch", {"rows": rows()})).json)
    first, second, third = (each["id"] for each in made)

    async def listed(query: str) -> list[str]:
        answer = await client.send("GET", f"/v2/batch?{query}")
        return [each["id"] for each in answer.json]

    assert await listed("") == [third, second, first]
    assert await listed("status=COMPLETED") == [second, first]
    assert await listed(f"created_after={made[0]['created_at']}") == [third, second]
    assert await listed(f"created_before={made[2]['created_at']}") == [second, first]
    assert (await client.send("GET", "/v2/batch?status=DONE")).status == 400
    assert (await client.send("GET", f"/v2/batch/{NONE}")).status == 404


async def test_results_need_an_ended_batch_and_a_signature(client: Client) -> None:
    """Before the end there are none; a pointer that was changed is refused."""
    made = (await client.send("POST", "/v2/batch", {"rows": rows()})).json
    done = (await client.send("GET", f"/v2/batch/{(await batch(client)).json['id']}")).json
    early = done["outputUrl"].replace(done["id"], made["id"])
    assert (await client.send("GET", early)).status == 404
    pointer = (await client.send("GET", done["outputUrl"])).headers["location"]
    forged = await client.send("GET", pointer[:-1] + ("0" if pointer[-1] != "0" else "1"))
    assert forged.status == 403


async def test_an_input_of_a_batch_is_short(tmp_path: Any) -> None:
    """Of what is longer than thirty seconds no video is made; the other rows go on."""
    draw_talking_head(tmp_path / "clip.mp4", seconds=0.2, width=64, height=64)
    tone(tmp_path / "short.wav", seconds=0.2, hertz=440)
    tone(tmp_path / "long.wav", seconds=31, hertz=440, rate=8000)
    async with memory_client(render=True) as client:
        video, short, long = (
            client.sandbox.host_file(tmp_path / name)
            for name in ("clip.mp4", "short.wav", "long.wav")
        )
        items = [[{"type": "video", "url": video}, {"type": "audio", "url": long}]] * 19
        items.append([{"type": "video", "url": video}, {"type": "audio", "url": short}])
        lines = [
            {**row, "payload": order(input=each)} for row, each in zip(rows(), items, strict=True)
        ]
        made = (await client.send("POST", "/v2/batch", {"rows": lines})).json
        await client.sleep(60)
        done = (await client.send("GET", f"/v2/batch/{made['id']}")).json
        found = [row["response"] for row in await results(client, done["outputUrl"])]
    code = "generation_input_duration_greater_than_max_duration"
    assert [each.get("errorCode") for each in found] == [code] * 19 + [None]
