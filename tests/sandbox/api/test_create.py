"""`POST /v2/generate`, as JSON and as a form."""

import json
from pathlib import Path
from typing import Any

import pytest

from lipsync_async._models.http import FilePart, TextPart
from lipsync_async.sandbox import Fault, Sandbox, VirtualClock
from lipsync_async.sandbox.api.create import create_generation
from lipsync_async.sandbox.server.api_errors import ApiError
from tests.sandbox.clients import AUDIO, NOW, VIDEO, Client, created, order, shown
from tests.sandbox.conftest import OpenClient

KEYED = {"idempotency-key": "take-1"}


async def test_ids_come_from_the_seed(open_client: OpenClient) -> None:
    """One seed gives the same ids, whether its key is minted or chosen, another seed others."""
    ids = []
    for seed, settings in ((7, {}), (7, {}), (7, {"api_key": "mine"}), (8, {})):
        async with open_client(seed=seed, **settings) as client:
            ids.append(await created(client))
    assert ids[0] == ids[1] == ids[2] != ids[3]


async def test_the_source_header_is_kept(client: Client) -> None:
    """`x-sync-source` becomes the generation's source."""
    job_id = await created(client, {"x-sync-source": "mobile"})
    assert (await shown(client, job_id))["source"] == "mobile"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, ["model should not be empty", "input must be a non-empty array"]),
        ([], ["the body must be a JSON object"]),
        (order(model=3), ["model must be a non-empty string"]),
    ],
)
async def test_a_body_of_the_wrong_shape_is_400_with_a_list(
    client: Client, body: Any, message: list[str]
) -> None:
    """Every problem of shape is one entry of the message."""
    answer = await client.send("POST", "/v2/generate", body)
    expected = {"message": message, "error": "Bad Request", "statusCode": 400}
    assert (answer.status, answer.json) == (400, expected)


@pytest.mark.parametrize("body", [b"{", b'{"model": NaN}', b'"\\ud800"', b"[" * 100_000])
async def test_a_body_that_is_no_json_is_400_with_a_text(client: Client, body: bytes) -> None:
    """A body that cannot be read gives a message that is one string."""
    answer = await client.send("POST", "/v2/generate", body)
    assert (answer.status, type(answer.json["message"])) == (400, str)


async def test_a_project_must_exist(open_client: OpenClient) -> None:
    """An unknown project is refused, a known one is echoed."""
    project = "0e4ab13e-1111-4c11-8111-000000000001"
    async with open_client(projects=[project]) as client:
        job_id = await created(client, projectId=project)
        assert (await shown(client, job_id))["projectId"] == project
    async with open_client() as client:
        answer = await client.send("POST", "/v2/generate", order(projectId=project))
        assert (answer.status, answer.json["errorCode"]) == (422, "project_not_found")


class TestIdempotency:
    """One key stands for one generation."""

    async def test_the_same_body_replays_the_same_generation(self, client: Client) -> None:
        """A repeated create answers 201 with the job as it is now."""
        first = await created(client, KEYED)
        client.sandbox.jobs.move(first, "PROCESSING")
        body = {"input": [VIDEO, AUDIO], "model": "lipsync-2"}
        answer = await client.send("POST", "/v2/generate", body, headers=KEYED)
        expected = (201, first, "PROCESSING")
        assert (answer.status, answer.json["id"], answer.json["status"]) == expected
        assert (answer.headers["x-sandbox-replayed"], client.sandbox.jobs.created) == ("true", 1)

    @pytest.mark.parametrize("key", ["a b", "x" * 129, "a,b", "é"])
    async def test_a_malformed_key_is_refused(self, client: Client, key: str) -> None:
        """Characters and length are the documented ones."""
        headers = {"idempotency-key": key}
        answer = await client.send("POST", "/v2/generate", order(), headers=headers)
        assert (answer.status, answer.json["errorCode"]) == (400, "INVALID_IDEMPOTENCY_KEY")

    async def test_a_refused_create_leaves_the_key_free(self, client: Client) -> None:
        """After a 4xx the key may be used with the corrected body."""
        refused = await client.send("POST", "/v2/generate", order(input=[VIDEO]), headers=KEYED)
        job_id = await created(client, KEYED)
        assert (refused.status, job_id in client.sandbox.jobs) == (400, True)

    async def test_the_key_of_a_deleted_generation_finds_nothing(self, client: Client) -> None:
        """Deleting a generation does not make its key pay again."""
        headers = KEYED | NOW
        job_id = await created(client, headers)
        await client.send("DELETE", f"/v2/generations/{job_id}")
        answer = await client.send("POST", "/v2/generate", order(), headers=headers)
        assert (answer.status, client.sandbox.jobs.created) == (404, 1)

    async def test_a_form_replays_by_its_content(self, client: Client) -> None:
        """Field values and file bytes decide whether forms are the same."""
        answers = [
            await client.send("POST", "/v2/generate", form=form(video), headers=KEYED)
            for video in (b"one", b"one", b"two")
        ]
        assert [answer.status for answer in answers] == [201, 201, 409]
        assert answers[0].json["id"] == answers[1].json["id"]


def form(video: bytes | Path = b"video", **texts: str) -> tuple[TextPart | FilePart, ...]:
    """Return a form with two files."""
    return (
        TextPart("model", "lipsync-2"),
        *(TextPart(name, text) for name, text in texts.items()),
        FilePart("video", "clip.mp4", "video/mp4", video),
        FilePart("audio", "line.wav", "application/octet-stream", b"audio"),
    )


POSTER = FilePart("poster", "a.png", "image/png", b"x")
MANY: dict[str, Any] = {f"field{number}": "" for number in range(33)}


class TestForms:
    """A multipart create is the same create."""

    async def test_files_become_hosted_assets(self, client: Client, tmp_path: Path) -> None:
        """Each file has a URL at which its bytes are, and an asset id."""
        (tmp_path / "clip.mp4").write_bytes(b"video")
        given = form(tmp_path / "clip.mp4", options='{"temperature":1}')
        answer = await client.send("POST", "/v2/generate", form=given)
        found = answer.json
        assert [item["type"] for item in found["input"]] == ["video", "audio"]
        assert found["options"] == {"temperature": 1}
        served = [await client.send("GET", item["url"]) for item in found["input"]]
        assert [answer.body for answer in served] == [b"video", b"audio"]
        assert [answer.headers["content-type"] for answer in served] == ["video/mp4", "audio/x-wav"]

    async def test_a_file_wins_over_the_url_of_its_slot(self, client: Client) -> None:
        """The replaced input keeps its refId; other inputs stay."""
        items = '[{"type":"audio","url":"http://localhost/x.wav","refId":"a1"}]'
        answer = await client.send("POST", "/v2/generate", form=form(input=items))
        expected = [("video", None), ("audio", "a1")]
        assert [(item["type"], item.get("refId")) for item in answer.json["input"]] == expected

    async def test_unknown_text_fields_are_ignored(self, client: Client) -> None:
        """Fields that the service does not know do not hurt."""
        answer = await client.send("POST", "/v2/generate", form=form(colour="red"))
        assert (answer.status, "colour" in answer.json) == (201, False)

    @pytest.mark.parametrize(
        ("settings", "given", "status", "told"),
        [
            ({}, form(options="{'a': 1}"), 400, ["options must be one JSON string"]),
            ({}, (*form(), POSTER), 400, "Unexpected file field 'poster'."),
            ({}, (*form(), *form()), 400, "Send one file as 'video', not several."),
            ({"max_file_bytes": 4}, form(), 413, "clip.mp4 is larger than 4 bytes."),
            ({"plan_file_bytes": 4}, form(), 422, "The plan takes files of 4 bytes at most."),
            ({}, form(**MANY), 413, "The form has more than 32 fields."),
            ({}, form(input=" " * (1024**2 + 1)), 413, "Field input is larger than 1048576 bytes."),
        ],
        ids=["no JSON", "unknown", "twice", "too large", "over the plan", "many", "long"],
    )
    async def test_forms_have_limits(
        self, *, open_client: OpenClient, settings: Any, given: Any, status: int, told: Any
    ) -> None:
        """The parser's limits and the plan's have their own status; each slot takes one file."""
        async with open_client(**settings) as client:
            answer = await client.send("POST", "/v2/generate", form=given)
        assert (answer.status, answer.json["message"]) == (status, told)

    async def test_the_request_log_shows_what_a_form_held(self, client: Client) -> None:
        """Texts are logged as they are, files by name, size and digest."""
        await client.send("POST", "/v2/generate", form=form())
        logged = client.sandbox.requests.assert_any("POST", "/v2/generate")[0].json
        expected = ("lipsync-2", "clip.mp4", 5)
        assert (logged["model"], logged["video"]["filename"], logged["video"]["size"]) == expected


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v2/models", None),
        ("GET", "/v2/generate/nothing", None),
        ("POST", "/v2/generate", "?"),
    ],
)
async def test_an_unknown_outcome_without_a_job_names_none(
    client: Client, method: str, path: str, body: str | None
) -> None:
    """Of a list, a refusal, and where the fault brings its own body."""
    client.sandbox.faults.add(Fault("outcome_unknown", body=body))
    answer = await client.send(method, path, order())
    assert (answer.status, b"generationId" in answer.body) == (503, False)


async def test_an_unknown_outcome_can_be_repeated_safely(client: Client) -> None:
    """The job of a create that answered 503 is found again by its key."""
    client.sandbox.faults.add(Fault("outcome_unknown", method="POST"))
    answer = await client.send("POST", "/v2/generate", order(), headers=KEYED)
    assert (answer.status, answer.json["errorCode"]) == (503, "IDEMPOTENCY_OUTCOME_UNKNOWN")
    job_id = await created(client, KEYED)
    assert answer.json["generationId"] == job_id
    assert (client.sandbox.jobs.created, job_id in client.sandbox.jobs) == (1, True)


async def test_one_form_field_for_each_input_is_a_list(client: Client) -> None:
    """As the service's TypeScript client sends them, each a JSON object."""
    inputs = [TextPart("input", json.dumps(item)) for item in (VIDEO, AUDIO)]
    form = (TextPart("model", "lipsync-2"), *inputs)
    answer = await client.send("POST", "/v2/generate", form=form)
    assert (answer.status, answer.json["input"]) == (201, [VIDEO, AUDIO])


async def test_a_create_takes_no_http_request() -> None:
    """`create_generation` makes a job from a body alone, as a batch needs it."""
    async with Sandbox(clock=VirtualClock(), render=False, progression="manual") as sandbox:
        state = sandbox._state  # noqa: SLF001 - what handlers are given
        job = await create_generation(state, order(), source="batch")
        assert (sandbox.jobs[job.id].source, job.status) == ("batch", "PENDING")
        with pytest.raises(ApiError):
            await create_generation(state, order(model="x"))
