"""How generations move along, and the tables that keep them."""

import asyncio
import json
from itertools import pairwise
from random import Random
from typing import Any, ClassVar

import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from hypothesis import given, strategies as st

from lipsync_async import webhooks
from lipsync_async._enums import TRANSITIONS, Status
from lipsync_async.sandbox import Fault
from lipsync_async.sandbox.jobs import Progression, Table
from lipsync_async.sandbox.server.api_errors import ApiError
from tests.sandbox.clients import NOW, Client, created, memory_client, order, shown
from tests.sandbox.conftest import OpenClient


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("immediate", Progression.immediate()),
        ("manual", Progression.manual()),
        ("real", Progression.real()),
        (" polls(3) ", Progression.polls(3)),
        ("time(1.5)", Progression.time(1.5)),
        ("time(5-30)", Progression.time(5, 30)),
        ("time(0.5-0.5)", Progression.time(0.5, 0.5)),
    ],
)
def test_progressions_can_be_spelled(text: str, expected: Progression) -> None:
    """The text form is what headers and the command line use."""
    assert Progression.parse(text) == Progression.of(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "polls", "polls(0)", "polls(1-2)", "polls(2.7)", "time()", "time(5-)", "time(1-2-3)"),
        *("manual(3)", "time(-1)", f"polls({'9' * 400})", f"time({'9' * 400})"),
    ],
)
def test_other_texts_are_no_progression(text: str) -> None:
    """The error says what would be one."""
    with pytest.raises(ValueError, match="polls"):
        Progression.parse(text)


def test_a_range_of_times_is_in_order() -> None:
    """The shorter time comes first."""
    with pytest.raises(ValueError, match="at least a"):
        Progression.parse("time(30-5)")


@given(st.floats(0, 100), st.floats(0, 100), st.integers())
def test_a_job_draws_a_time_within_the_range(shortest: float, more: float, seed: int) -> None:
    """One seed draws one time; what is no range is drawn as it is."""
    span = Progression.time(shortest, shortest + more)
    found = span.drawn(Random(seed))
    assert found == span.drawn(Random(seed)) == found.drawn(Random())
    assert shortest <= found.amount <= shortest + more + 1e-9


async def test_each_job_takes_a_time_of_its_own(open_client: OpenClient) -> None:
    """One seed draws the same times in every run, all within the range."""
    runs = []
    for seed in (7, 7, 8):
        async with open_client(seed=seed, progression="time(5-30)") as client:
            jobs = [client.sandbox.jobs[await created(client)] for _ in range(20)]
            runs.append([job.progression.amount for job in jobs])
            await client.sleep(30.0)
            assert all(job.is_ended for job in jobs)
    assert runs[0] == runs[1] != runs[2]
    assert all(5.0 <= seconds <= 30.0 for seconds in runs[0])
    assert len(set(runs[0])) == 20


async def test_a_header_may_ask_for_a_range(open_client: OpenClient) -> None:
    """Durations do not take from what draws the ids."""
    found = []
    for progression in ("manual", "time(5-30)"):
        async with open_client(seed=7, progression="manual") as client:
            found.append(
                [await created(client, {"x-sandbox-progression": progression}) for _ in "ab"]
            )
    assert found[0] == found[1]


async def test_a_job_without_time_has_a_progress(open_client: OpenClient) -> None:
    """A job of no seconds that is stuck is nearly done, not an error."""
    async with open_client(progression="time(0)") as client:
        job_id = await created(client, {"x-sandbox-fault": '{"kind": "stick_job"}'})
        await client.sleep(1.0)
        answer = await client.send("GET", f"/v2/generate/{job_id}?include=progress")
        assert (await shown(client, job_id))["status"] == "PROCESSING"
    assert (answer.status, answer.json["progress_percent"]) == (200, 99.0)


PROGRESSIONS = ["immediate", "real", "polls(1)", "polls(3)", "time(0)", "time(5)", "manual"]
FATES = [None, "fail_job", "stick_job", "reject_job"]
SUCCESSORS = {
    status: {later for direct in successors for later in {direct, *TRANSITIONS[direct]}}
    for status, successors in TRANSITIONS.items()
}


def is_legal(seen: list[Status]) -> bool:
    """Return whether a looker may have seen these statuses, one after the other."""
    return all(before == after or after in SUCCESSORS[before] for before, after in pairwise(seen))


async def a_life(
    progression: str, fate: str | None, steps: list[tuple[str, Any]]
) -> tuple[list[Status], list[Status]]:
    """Live through steps; return what was seen, and what the job's history says."""
    async with memory_client(progression=progression) as client:
        if fate is not None:
            client.sandbox.faults.add(Fault(fate))
        answer = (await client.send("POST", "/v2/generate", order())).json
        seen, job_id = [Status(answer["status"])], answer["id"]
        for kind, value in steps:
            if kind == "sleep":
                await client.sleep(value)
            elif kind == "move":
                await client.send("POST", f"/__sandbox/jobs/{job_id}", {"status": value})
            seen.append(Status((await shown(client, job_id))["status"]))
        return seen, [status for _, status in client.sandbox.jobs[job_id].history]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("sleep"), st.floats(0, 10)),
        st.tuples(st.just("look"), st.none()),
        st.tuples(st.just("move"), st.sampled_from([str(status) for status in Status])),
    ),
    max_size=8,
)


@given(progression=st.sampled_from(PROGRESSIONS), fate=st.sampled_from(FATES), steps=STEPS)
def test_only_moves_of_the_table_are_seen(
    progression: str, fate: str | None, steps: list[tuple[str, Any]]
) -> None:
    """Whatever the progression, the faults and the hands that move it."""
    seen, history = asyncio.run(a_life(progression, fate, steps))
    assert all(after in TRANSITIONS[before] for before, after in pairwise(history))
    assert is_legal(seen)
    assert set(seen) <= set(history)


@pytest.mark.parametrize(
    ("fate", "ends"),
    [
        ("fail_job", ("FAILED", "generation_pipeline_failed")),
        ("reject_job", ("REJECTED", None)),
        ("stick_job", ("PROCESSING", None)),
    ],
)
@pytest.mark.parametrize("progression", ["immediate", "polls(2)", "time(60)"])
async def test_faults_decide_how_a_job_ends(
    open_client: OpenClient, progression: str, fate: str, ends: tuple[str, str | None]
) -> None:
    """A job fault strikes at the create and stays with the job."""
    async with open_client(progression=progression) as client:
        client.sandbox.faults.add(Fault(fate))
        job_id = await created(client)
        for _ in range(2):
            await client.sleep(30.0)
            await shown(client, job_id)
        found = await shown(client, job_id)
    assert (found["status"], found.get("errorCode")) == ends
    assert ("error" in found) is (ends[0] != "PROCESSING")


async def settled_inbox(client: Client, expected: int) -> list[dict[str, Any]]:
    """Return what is in the inbox once so much has arrived."""
    while len(client.sandbox.inbox) < expected:
        await client.sleep(0.001)
    return client.sandbox.inbox.to_json()


def inbox_url(client: Client) -> str:
    """Return the address of the sandbox's inbox."""
    return f"{client.sandbox.url}/__sandbox/inbox"


async def test_a_webhook_tells_the_end(client: Client) -> None:
    """The client reads it, and its signature is good."""
    job_id = await created(client, NOW, webhookUrl=inbox_url(client))
    received = (await settled_inbox(client, 1))[0]
    event = webhooks.parse(json.dumps(received["body"]).encode())
    assert (event.id, event.status, received["signature"]) == (job_id, "COMPLETED", "valid")


@pytest.mark.parametrize(
    ("kind", "seconds", "expected"),
    [
        ("webhook_drop", None, []),
        ("webhook_twice", None, ["valid", "valid"]),
        ("webhook_delay", 3600.0, ["valid"]),
        ("webhook_bad_signature", None, ["its signature does not match its body"]),
        # Of a rejection no webhook ever tells.
        ("reject_job", None, []),
    ],
)
async def test_webhooks_have_faults_of_their_own(
    client: Client, kind: str, seconds: float | None, expected: list[str]
) -> None:
    """Dropped, sent twice, late by the sandbox's clock, or badly signed."""
    client.sandbox.faults.add(Fault(kind, seconds=seconds))
    await created(client, NOW, webhookUrl=inbox_url(client))
    await client.sleep(3600.0)
    received = await settled_inbox(client, len(expected))
    assert [item["signature"] for item in received] == expected


@pytest.mark.parametrize("status", [200, 500])
async def test_other_receivers_are_told_over_http(
    client: Client, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One POST, signed over the raw bytes, never repeated; a refusal is only logged."""
    received: list[tuple[bytes, str]] = []

    async def receive(request: web.BaseRequest) -> web.Response:
        received.append((await request.read(), request.headers["Sync-Signature"]))
        return web.Response(status=status)

    async with RawTestServer(receive) as server:
        await created(client, NOW, webhookUrl=str(server.make_url("/hook")))
        while not (caplog.records if status == 500 else received):
            await client.sleep(0.001)
    webhooks.verify(*received[0], client.sandbox.webhook_secret, tolerance=None)
    assert (len(received), "was answered 500" in caplog.text) == (1, status == 500)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://example.com/hook", "neither loopback nor allowed"),
        ("http://127.0.0.1:1/hook", "Cannot connect"),
    ],
)
async def test_webhooks_that_cannot_be_delivered_are_logged(
    client: Client, caplog: pytest.LogCaptureFixture, url: str, reason: str
) -> None:
    """The sandbox sends nothing to strangers, and an absent receiver changes nothing."""
    job_id = await created(client, NOW, webhookUrl=url)
    while not caplog.records:
        await client.sleep(0.001)
    assert reason in caplog.text
    assert (await shown(client, job_id))["status"] == "COMPLETED"


@attrs.frozen
class Asset:
    """A row."""

    NOUN: ClassVar[str] = "Asset"
    NOT_FOUND: ClassVar[str | None] = "asset_not_found"

    id: str


def test_a_table_keeps_rows_by_their_ids() -> None:
    """Found in any case; an unknown id is the resource's own 404."""
    table: Table[Asset] = Table("asset_not_found", "Asset")
    row = table.add(Asset("a1"))
    assert (table.find("A1"), table.get("a1"), len(table), "a1" in table) == (row, row, 1, True)
    assert table.delete("a1") is row
    with pytest.raises(ApiError) as caught:
        table.find("a1")
    assert (caught.value.status, caught.value.body["message"]) == (404, "Asset a1 was not found.")
    assert ([*table], table.created) == ([], 1)
