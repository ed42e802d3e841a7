"""The account, the webhook secret, feedback, over the wire."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.clients import NOW, Client, created, memory_client

SPEECH = {"script": "Hello there.", "voiceId": "v", "provider": "elevenlabs"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Connect to a sandbox in memory."""
    async with memory_client() as connected:
        yield connected


async def test_an_account_tells_what_it_has_used(client: Client) -> None:
    """Without a free plan's limits the sums of money, frames and speech are there."""
    await created(client, NOW)
    await client.send("POST", "/v2/tts", SPEECH)
    found = (await client.send("GET", "/v2/account")).json
    assert (found["account"], found["billingModel"]) == (None, "usage")
    assert (found["credentialType"], found["billingUrl"]) == ("api_key", "https://sync.so/billing")
    assert found["plan"] == {"name": "unlimited"}
    assert found["limits"] == {"concurrency": None, "maxDurationSeconds": None}
    usage = {"totalCostCents": 4, "totalFrames": 25, "totalTtsSeconds": 0.8}
    assert found["balance"] == {"credits": None, "freeMonthlyLimits": None, "usage": usage}


@pytest.mark.parametrize(
    ("days", "reset"), [(0, "2026-02-01T00:00:00.000Z"), (340, "2027-01-01T00:00:00.000Z")]
)
async def test_a_free_account_tells_what_is_left(days: int, reset: str) -> None:
    """What this month has used, of how much, and when the next one begins."""
    async with memory_client(plan="free") as client:
        await client.sleep(days * 86_400)
        await created(client, NOW)
        await client.send("POST", "/v2/tts", SPEECH)
        found = (await client.send("GET", "/v2/account")).json
    assert (found["plan"], found["billingModel"]) == ({"name": "free"}, "free")
    assert found["limits"] == {"concurrency": 1, "maxDurationSeconds": 20}
    limits = {
        "generations": {"used": 1, "max": 3},
        "textToSpeech": {"used": 1, "max": 10},
        "monthlyResetDate": reset,
    }
    assert found["balance"] == {"credits": None, "freeMonthlyLimits": limits, "usage": None}


@pytest.mark.parametrize("query", ["", "?masked=false"])
async def test_the_secret_is_told(client: Client, query: str) -> None:
    """Unmasked, unless asked."""
    found = await client.send("GET", f"/v2/organizations/webhook/secret{query}")
    assert found.json == {"secret": client.sandbox.webhook_secret}


async def test_a_masked_secret_signs_nothing(client: Client) -> None:
    """It shows no letter of the real one; a word that is no boolean never unmasks."""
    path = "/v2/organizations/webhook/secret?masked="
    assert (await client.send("GET", path + "true")).json == {"secret": "whsec_********"}
    assert (await client.send("GET", path + "1")).status == 400


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"kind": "docs", "message": "Fine."}, 201, None),
        ({"kind": "bug", "message": "x", "jobId": "j", "severity": "major"}, 201, None),
        ({"kind": "docs"}, 400, ["message should not be empty"]),
        (
            {"kind": "docs", "message": "x", "mood": 1, "age": 2},
            400,
            ["property age should not exist", "property mood should not exist"],
        ),
    ],
)
async def test_feedback_takes_no_unknown_field(
    client: Client, body: Any, status: int, message: Any
) -> None:
    """Unlike any other body of this API; a receipt's id is the answer."""
    answer = await client.send("POST", "/v2/feedback", body)
    assert (answer.status, answer.json.get("message")) == (status, message)
    assert ("id" in answer.json) is (status == 201)


async def test_a_kind_of_feedback_is_one_of_six(client: Client) -> None:
    """Another one is refused with the list."""
    answer = await client.send("POST", "/v2/feedback", {"kind": "praise", "message": "x"})
    known = "confusing_error, bug, missing_capability, workaround, docs, other"
    expected = [f"kind must be one of the following values: {known}"]
    assert (answer.status, answer.json["message"]) == (400, expected)


async def test_feedback_has_a_limit() -> None:
    """Thirty a minute."""
    async with memory_client(plan="scale") as client:
        found = [(await client.send("POST", "/v2/feedback", {})).status for _ in range(31)]
    assert found == [400] * 30 + [429]
