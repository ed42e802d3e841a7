"""Looking at generations: one, many, how many; downloading and deleting them."""

import asyncio
from uuid import UUID

import pytest
from yarl import URL

from lipsync_async._enums import Status
from lipsync_async.sandbox import Fault
from tests.sandbox.clients import AUDIO, NOW, VIDEO, Client, created, shown, until
from tests.sandbox.conftest import OpenClient

INVALID = "generation_input_validation_failed"
UNKNOWN = "0e4ab13e-1111-4c11-8111-000000000001"


async def test_a_completed_generation_shows_its_output(client: Client) -> None:
    """URL (under both names) and duration appear with COMPLETED."""
    job_id = await created(client, NOW)
    found = await shown(client, job_id)
    assert (found["status"], found["outputDuration"]) == ("COMPLETED", 1.0)
    assert found["outputUrl"] == found["outputMediaUrl"]
    # On another host than the API, as the service's are: no key may be sent there.
    url, api = URL(found["outputUrl"]), URL(client.sandbox.url)
    assert (url.path, url.port) == (f"/__sandbox/media/{job_id}.mp4", api.port)
    assert {url.host, api.host} == {"localhost", "127.0.0.1"}


async def test_both_paths_show_the_same_generation(client: Client) -> None:
    """`/v2/generations/{id}` answers what `/v2/generate/{id}` answers; ids are as the service's."""
    job_id = await created(client)
    assert UUID(job_id).version == 4
    answer = await client.send("GET", f"/v2/generations/{job_id.upper()}")
    assert answer.json == await shown(client, job_id)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/generate/{unknown}", 404, "generation_not_found"),
        ("GET", "/v2/generations/{unknown}", 404, "generation_not_found"),
        ("GET", "/v2/generate/nonsense", 400, "invalid_generation_id"),
        ("GET", "/v2/generate/x%2F..%2Fy%3Fz", 400, "invalid_generation_id"),
        ("GET", "/v2/generate/12", 400, "invalid_generation_id"),
        ("GET", "/v2/generations?ids=nonsense", 400, "invalid_generation_id"),
        # Progress and the long poll exclude each other.
        ("GET", "/v2/generate/{job}?include=progress&wait=true", 400, INVALID),
        ("GET", "/v2/generate/{job}?include=progress&timeout=5", 400, INVALID),
        ("GET", "/v2/generate/{job}?include=all", 400, None),
        # The time is 1 to 10 seconds.
        ("GET", "/v2/generate/{job}?timeout=0.5", 400, None),
        ("GET", "/v2/generate/{job}?timeout=11", 400, None),
        ("GET", "/v2/generate/{job}?timeout=x", 400, None),
        ("GET", "/v2/generate/{job}?wait=maybe", 400, None),
        # A cursor needs a limit and a known id.
        ("GET", "/v2/generations?limit=0", 400, None),
        ("GET", "/v2/generations?limit=101", 400, None),
        ("GET", "/v2/generations?limit=x", 400, None),
        ("GET", "/v2/generations?status=DONE", 400, None),
        ("GET", "/v2/generations?status=[", 400, None),
        ("GET", "/v2/generations?cursor={unknown}", 400, None),
        ("GET", "/v2/generations?limit=2&cursor={unknown}", 400, None),
        ("GET", "/v2/generations/count?type=web", 400, None),
        ("GET", "/v2/generations/{job}/download", 404, "generation_not_found"),
        # There is no cancel.
        ("DELETE", "/v2/generations/{job}", 409, "generation_not_deletable_while_processing"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    client: Client, method: str, path: str, status: int, code: str | None
) -> None:
    """With a code, or else with a list of problems."""
    path = path.format(job=await created(client), unknown=UNKNOWN)
    answer = await client.send(method, path)
    assert (answer.status, answer.json.get("errorCode")) == (status, code)
    assert isinstance(answer.json["message"], str if code else list)


@pytest.mark.parametrize(
    ("progression", "percent"), [("manual", 0.0), ("immediate", 100.0), ("polls(4)", 25.0)]
)
async def test_each_progression_has_a_measure_of_progress(
    client: Client, progression: str, percent: float
) -> None:
    """Looks, ends and renderings count."""
    job_id = await created(client, {"x-sandbox-progression": progression})
    answer = await client.send("GET", f"/v2/generate/{job_id}?include=progress")
    assert answer.json["progress_percent"] == percent


async def test_the_progress_of_a_timed_job_is_its_time(open_client: OpenClient) -> None:
    """A timed job is half done after half its time, and never 100 before its end."""
    async with open_client(progression="time(1000)") as client:
        job_id = await created(client)
        found = []
        for seconds in (501.0, 490.0):  # looking may take some seconds, on a busy machine
            await client.sleep(seconds)
            answer = await client.send("GET", f"/v2/generate/{job_id}?include=progress")
            found.append(answer.json["progress_percent"])
    assert (found[0] // 1, found[1]) == (50, 99)


class TestWaiting:
    """The long poll ends with the job, or after its time."""

    async def test_the_end_of_the_job_wakes_the_waiter(self, client: Client) -> None:
        """A waiter sees the end as it happens."""
        job_id = await created(client)
        waiting = asyncio.create_task(
            client.send("GET", f"/v2/generate/{job_id}?wait=true&timeout=10")
        )
        job = client.sandbox.jobs[job_id]
        await until(lambda: job.waiters)
        client.sandbox.jobs.move(job_id, Status.PROCESSING)
        client.sandbox.jobs.move(job_id, Status.COMPLETED)
        answer = await waiting
        assert (answer.json["status"], job.waiters) == ("COMPLETED", [])
        assert answer.headers["x-sync-wait-mode"] == "long_poll"
        assert answer.headers["x-sync-wait-timeout-seconds"] == "10"
        assert answer.headers["retry-after"] == "2"

    async def test_after_its_time_the_job_comes_as_it_is(self, client: Client) -> None:
        """A wait that runs out is a normal answer."""
        job_id = await created(client)
        waiting = asyncio.create_task(client.send("GET", f"/v2/generate/{job_id}?wait=true"))
        job = client.sandbox.jobs[job_id]
        await until(lambda: job.waiters)
        await client.sleep(5.0)
        answer = await waiting
        assert (answer.status, answer.json["status"], job.waiters) == (200, "PENDING", [])
        assert answer.headers["x-sync-wait-timeout-seconds"] == "5"

    @pytest.mark.parametrize(("query", "faults"), [("false", []), ("true", [Fault("ignore_wait")])])
    async def test_a_plain_answer_comes_at_once(
        self, client: Client, query: str, faults: list[Fault]
    ) -> None:
        """With `wait=false`, and where a server ignores it; without the headers of a wait."""
        job_id = await created(client)
        for fault in faults:
            client.sandbox.faults.add(fault)
        answer = await client.send("GET", f"/v2/generate/{job_id}?wait={query}")
        waited = {"retry-after", "x-sync-wait-mode"} & {*answer.headers}
        assert (answer.status, waited) == (200, set())


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("", [0, 1, 2]),
        ("ids={2},{0}&ids={unknown}", [2, 0]),
        ("ids={2}&ids={0}", [2, 0]),
        ("ids={2},{0},{2}", [2, 0]),
        ('ids=["{2}","{0}"]', [2, 0]),
        ("status=PENDING,PROCESSING", [0, 1]),
        ("status=PENDING&status=PROCESSING", [0, 1]),
        ('status=["PENDING","PROCESSING"]', [0, 1]),
        ("status=PENDING,PROCESSING,PENDING&status=PROCESSING", [0, 1]),
        ("ids={0},{1},{2}&status=PENDING&source=b", []),
        ("ids={0},{1},{2}&status=PROCESSING&source=b", [1]),
        ("projectId={unknown}", []),
        ("limit=1&status=PENDING,PROCESSING", [1]),
    ],
)
async def test_filters_of_a_list_come_in_each_form_and_add_up(
    client: Client, spelling: str, expected: list[int]
) -> None:
    """Commas, repeated keys and JSON mean the same; what is unknown is left out."""
    ids = [await created(client, {"x-sync-source": name}) for name in ("a", "b", "b")]
    client.sandbox.jobs.move(ids[1], "PROCESSING")
    client.sandbox.jobs.move(ids[2], "REJECTED")
    query = spelling.format(*ids, unknown=UNKNOWN)
    answer = await client.send("GET", f"/v2/generations?{query}")
    assert [item["id"] for item in answer.json] == [ids[place] for place in expected]


async def test_pages_of_a_list_are_newest_first(client: Client) -> None:
    """The cursor is the last id of the page before; a short page is the last."""
    ids = [await created(client) for _ in range(5)]
    pages, cursor = list[list[str]](), ""
    while not pages or len(pages[-1]) == 2:
        answer = await client.send("GET", f"/v2/generations?limit=2{cursor}")
        pages.append([item["id"] for item in answer.json])
        cursor = f"&cursor={pages[-1][-1]}"
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", 3),
        ("status=PENDING", 2),
        ("status=PENDING,PROCESSING", 3),
        ("status=PENDING,PENDING&status=PENDING", 2),
        ("status=PENDING,PENDING&source=web,web", 1),
        ("source=mobile", 1),
        ("generationSource=mobile", 0),
        ("generationSource=api", 3),
        ("type=api", 3),
        ("type=playground", 0),
        ("type=playground,api&currentUserOnly=true", 3),
    ],
)
async def test_counts(client: Client, query: str, expected: int) -> None:
    """`/v2/generations/count` counts what its filters leave."""
    ids = [await created(client, {"x-sync-source": name}) for name in ("", "mobile", "web")]
    client.sandbox.jobs.move(ids[0], "PROCESSING")
    answer = await client.send("GET", f"/v2/generations/count?{query}")
    assert answer.json == {"count": expected}


async def test_an_ended_generation_can_be_deleted(client: Client) -> None:
    """After that it is not found, and its slot in the table is gone."""
    job_id = await created(client, NOW)
    answer = await client.send("DELETE", f"/v2/generations/{job_id}")
    again = await client.send("GET", f"/v2/generate/{job_id}")
    assert (answer.status, answer.json, again.status) == (200, {"id": job_id}, 404)
    assert (len(client.sandbox.jobs), client.sandbox.jobs.created) == (0, 1)


async def test_download_answers_an_url_as_text(client: Client) -> None:
    """The body is the bare URL, and the URL holds the media."""
    job_id = await created(client, NOW)
    answer = await client.send("GET", f"/v2/generations/{job_id}/download")
    media = await client.send("GET", answer.body.decode(), headers={"x-api-key": ""})
    assert (answer.headers["content-type"], media.status) == ("text/plain; charset=utf-8", 200)


@pytest.mark.parametrize("looks", [1, 2, 3, 4, 7])
async def test_the_nth_look_sees_the_end(client: Client, looks: int) -> None:
    """Every look is a step, and every job is PROCESSING in between if it can be seen."""
    job_id = await created(client, {"x-sandbox-progression": f"polls({looks})"})
    seen = [(await shown(client, job_id))["status"] for _ in range(looks)]
    assert seen[-1] == "COMPLETED"
    assert "COMPLETED" not in seen[:-1]
    assert set(seen[-2:-1]) <= {"PROCESSING"}


async def test_lists_and_long_polls_are_looks_too(client: Client) -> None:
    """Jobs that are read by one list move along."""
    job_id = await created(client, {"x-sandbox-progression": "polls(3)"})
    await client.send("GET", "/v2/generations")
    await client.send("GET", f"/v2/generations/{job_id}")
    answer = await client.send("GET", f"/v2/generate/{job_id}?wait=true")
    assert answer.json["status"] == "COMPLETED"


async def test_a_list_polls_the_jobs_that_it_names(client: Client) -> None:
    """Also those that it does not show, for their status is another."""
    job_id = await created(client, {"x-sandbox-progression": "polls(3)"})
    path = f"/v2/generations?ids={job_id}&status=COMPLETED"
    assert [len((await client.send("GET", path)).json) for _ in range(3)] == [0, 0, 1]


async def test_timed_jobs_follow_the_clock(open_client: OpenClient) -> None:
    """A fifth of the time is PENDING, the rest PROCESSING."""
    async with open_client(progression="time(3600)") as client:
        job_id = await created(client)
        seen = []
        for seconds in (719.0, 2.0, 2878.0, 2.0):
            await client.sleep(seconds)
            seen.append((await shown(client, job_id))["status"])
    assert seen == ["PENDING", "PROCESSING", "PROCESSING", "COMPLETED"]


async def test_a_job_that_a_list_moves_on_is_shown_where_it_fits(open_client: OpenClient) -> None:
    """A list of PENDING jobs shows none that its own poll has completed."""
    async with open_client(progression="polls(1)") as client:
        await created(client)
        answers = [await client.send("GET", f"/v2/generations?status={each}") for each in STATUSES]
    assert [len(answer.json) for answer in answers] == [0, 1]


STATUSES = ("PENDING", "COMPLETED")


async def test_ids_count_in_any_case(client: Client) -> None:
    """In lists and as cursors, as in paths."""
    ids = [(await created(client)).upper() for _ in range(2)]
    found = await client.send("GET", f"/v2/generations?ids={','.join(ids)}")
    page = await client.send("GET", f"/v2/generations?limit=1&cursor={ids[1]}")
    assert [len(found.json), page.json[0]["id"].upper()] == [2, ids[0]]


async def test_segments_have_an_output_url_of_their_own(client: Client) -> None:
    """`segmentOutputUrl` comes with COMPLETED, where there are segments."""
    inputs = [VIDEO, {**AUDIO, "refId": "a"}]
    segments = [{"startTime": 0, "endTime": 1, "audioInput": {"refId": "a"}}]
    job_id = await created(client, NOW, input=inputs, segments=segments)
    found = await shown(client, job_id)
    assert found["segmentOutputUrl"] == found["outputUrl"]
    assert "segmentOutputUrl" not in await shown(client, await created(client, NOW))
