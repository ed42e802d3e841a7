"""The sandbox's own controls, and what it publishes."""

from typing import Any

import pytest

from lipsync_async._enums import Status
from lipsync_async.sandbox.media.engines import engines
from tests.sandbox.clients import Client, created, order, shown
from tests.sandbox.conftest import OpenClient


async def test_health_names_the_engines(client: Client) -> None:
    """Who looks knows what would render, and how many jobs there are."""
    await created(client)
    found = (await client.send("GET", "/__sandbox/health")).json
    assert (found["status"], found["renders"], found["engines"]) == ("ok", False, engines())
    assert (found["jobs"], found["created"]) == ({"PENDING": 1}, 1)


async def test_faults_can_be_armed_listed_and_cleared(client: Client) -> None:
    """One model of faults behind the control and behind Python."""
    body = [{"kind": "status", "status": 500}, {"kind": "hang", "method": "POST"}]
    added = await client.send("POST", "/__sandbox/faults", body)
    listed = (await client.send("GET", "/__sandbox/faults")).json
    struck = (await client.send("GET", "/v2/models")).status
    cleared = await client.send("DELETE", "/__sandbox/faults")
    assert (added.status, [fault["kind"] for fault in listed]) == (201, ["status", "hang"])
    assert (struck, cleared.json, len(client.sandbox.faults)) == (500, [], 0)


@pytest.mark.parametrize("body", [{"kind": "gremlin"}, [3], b"{"])
async def test_a_malformed_fault_is_400(client: Client, body: Any) -> None:
    """Nothing is armed that could not strike."""
    answer = await client.send("POST", "/__sandbox/faults", body)
    assert (answer.status, len(client.sandbox.faults)) == (400, 0)


async def test_requests_can_be_listed_and_cleared(client: Client) -> None:
    """The log shows what came, with the key masked, and leaves the controls out."""
    await client.send("POST", "/v2/generate", order())
    listed = (await client.send("GET", "/__sandbox/requests")).json
    assert [(item["method"], item["path"], item["status"]) for item in listed] == [
        ("POST", "/v2/generate", 201)
    ]
    assert (listed[0]["headers"]["x-api-key"], listed[0]["body"]) == ("***", order())
    await client.send("DELETE", "/__sandbox/requests")
    assert len(client.sandbox.requests) == 0


async def test_every_answer_has_a_request_id(client: Client) -> None:
    """Support would ask for it."""
    ids = [(await client.send("GET", "/v2/models")).headers["x-request-id"] for _ in range(2)]
    assert ids == ["sandbox-1", "sandbox-2"]


async def test_the_inbox_takes_anything(client: Client) -> None:
    """What arrives is listed with what its signature is worth."""
    answer = await client.send("POST", "/__sandbox/inbox", {"id": "x"})
    listed = (await client.send("GET", "/__sandbox/inbox")).json
    await client.send("DELETE", "/__sandbox/inbox")
    expected = (201, {"id": "x"}, False)
    assert (answer.status, listed[0]["body"], listed[0]["signature"] == "valid") == expected
    assert len(client.sandbox.inbox) == 0


class TestMoves:
    """Jobs moved by hand."""

    async def test_a_job_moves_along_the_table(self, client: Client) -> None:
        """Each step is shown as it is taken."""
        job_id = await created(client)
        path = f"/__sandbox/jobs/{job_id}"
        first = await client.send("POST", path, {"status": "PROCESSING"})
        second = await client.send(
            "POST", path, {"status": "FAILED", "error": "Too dark.", "errorCode": "dark"}
        )
        assert (first.json["status"], second.json["status"]) == ("PROCESSING", "FAILED")
        found = await shown(client, job_id)
        assert (found["error"], found["errorCode"]) == ("Too dark.", "dark")

    async def test_other_moves_are_refused(self, client: Client) -> None:
        """There is no way back, and no step may be left out."""
        job_id = await created(client)
        answer = await client.send("POST", f"/__sandbox/jobs/{job_id}", {"status": "COMPLETED"})
        assert (answer.status, answer.json["errorCode"]) == (409, "generation_conflict")
        assert (await shown(client, job_id))["status"] == "PENDING"

    @pytest.mark.parametrize("body", [{}, {"status": "DONE"}, [], b"x"])
    async def test_malformed_moves_are_400(self, client: Client, body: Any) -> None:
        """The status must be one that jobs have."""
        job_id = await created(client)
        assert (await client.send("POST", f"/__sandbox/jobs/{job_id}", body)).status == 400

    async def test_python_moves_the_same_jobs(self, client: Client) -> None:
        """`sandbox.jobs.move` does the same; a wrong step is a ValueError."""
        job_id = await created(client)
        with pytest.raises(ValueError, match="does not become COMPLETED"):
            client.sandbox.jobs.move(job_id, Status.COMPLETED)
        client.sandbox.jobs.move(job_id, "PROCESSING")
        client.sandbox.jobs.move(job_id, "COMPLETED")
        assert (await shown(client, job_id))["status"] == "COMPLETED"
        assert repr(client.sandbox.jobs) == "<JobTable {'COMPLETED': 1}>"
        assert (client.sandbox.jobs.count(), client.sandbox.jobs.count("COMPLETED")) == (1, 1)


async def test_time_can_be_skipped(open_client: OpenClient) -> None:
    """What would fall due in an hour falls due now."""
    async with open_client(progression="time(3600)") as client:
        job_id = await created(client)
        before = (await client.send("GET", "/__sandbox/clock")).json["now"]
        after = (await client.send("POST", "/__sandbox/clock", {"advance": 3600})).json["now"]
        assert after - before >= 3600
        assert (await shown(client, job_id))["status"] == "COMPLETED"


@pytest.mark.parametrize("body", [{}, {"advance": -1}, {"advance": "1"}, [], b"x"])
async def test_the_clock_does_not_run_back(client: Client, body: Any) -> None:
    """Only a number of seconds from zero up moves the time."""
    assert (await client.send("POST", "/__sandbox/clock", body)).status == 400


async def test_errors_are_listed(client: Client) -> None:
    """Every code comes once, with a message and a suggestion."""
    found = (await client.send("GET", "/v2/errors")).json
    assert len({item["code"] for item in found}) == len(found) > 60
    assert {tuple(item) for item in found} == {("code", "message", "suggestion")}


async def test_the_webhook_secret_is_told(client: Client) -> None:
    """The secret in Python and on the wire is one; a masked one signs nothing."""
    path = "/v2/organizations/webhook/secret"
    answers = [(await client.send("GET", f"{path}{query}")).json for query in ("", "?masked=true")]
    assert answers == [{"secret": client.sandbox.webhook_secret}, {"secret": "whsec_********"}]
    assert client.sandbox.webhook_secret.startswith("whsec_")


@pytest.mark.parametrize("path", ["/v2/generations/estimate", "/v2/generate/estimate-cost"])
@pytest.mark.parametrize(
    ("body", "frames", "cost"),
    [
        ({"model": "lipsync-2", "duration": 10}, 300, 0.48),
        ({"model": "lipsync-2", "duration": 10, "fps": 25}, 250, 0.4),
        (
            {"model": "lipsync-2-pro", "duration": 1, "fps": 25, "reasoningEnabled": True},
            25,
            0.08375,
        ),
    ],
)
async def test_the_estimate_of_a_duration_is_an_object(
    client: Client, path: str, body: dict[str, Any], frames: int, cost: float
) -> None:
    """Billing is per frame; without a rate thirty are assumed."""
    answer = await client.send("POST", path, body)
    assert answer.json == {
        "estimatedFrameCount": frames,
        "estimatedGenerationCost": cost,
        "estimatedCredits": None,
    }


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        ([], 1),
        ({}, 2),
        ({"model": "lipsync-2", "duration": 0, "fps": -1, "reasoningEnabled": 3}, 3),
        ({"model": "lipsync-2", "duration": True}, 1),
    ],
)
async def test_malformed_estimates_are_400(client: Client, body: Any, problems: int) -> None:
    """Each problem is one entry."""
    answer = await client.send("POST", "/v2/generations/estimate", body)
    assert (answer.status, len(answer.json["message"])) == (400, problems)


@pytest.mark.parametrize(
    ("moves", "statuses", "end"),
    [
        (["PROCESSING", "SUCCESS"], [200, 200], "SUCCESS"),
        (["PROCESSING", "FAILED"], [200, 200], "FAILED"),
        (["SUCCESS", "PROCESSING", "DONE"], [409, 200, 409], "PROCESSING"),
    ],
)
async def test_other_jobs_are_moved_by_hand(
    client: Client, moves: list[str], statuses: list[int], end: str
) -> None:
    """Along their own statuses, to the result that they have, or to FAILED."""
    speech = {"script": "Hi.", "voiceId": "v", "provider": "elevenlabs"}
    job_id = (await client.send("POST", "/v2/tts/jobs", speech)).json["id"]
    path = f"/__sandbox/jobs/{job_id}"
    answers = [await client.send("POST", path, {"status": status}) for status in moves]
    assert [answer.status for answer in answers] == statuses
    found = (await client.send("GET", f"/v2/tts/jobs/{job_id}")).json
    assert (found["status"], found["url"] is None) == (end, end != "SUCCESS")
    assert (found["error"] is None) == (end != "FAILED")
