"""Looking at generations: one, many, how many; downloading and deleting them."""

import asyncio
from uuid import UUID

import pytest
from yarl import URL

from lipsync_async._enums import Status
from lipsync_async.sandbox import Fault
from tests.sandbox.conftest import OpenDoor
from tests.sandbox.doors import AUDIO, VIDEO, Door, created, order, shown, until

pytestmark = pytest.mark.anyio

UNKNOWN = "0e4ab13e-1111-4c11-8111-000000000001"


async def test_a_completed_generation_shows_its_output(door: Door) -> None:
    """URL (under both names) and duration appear with COMPLETED."""
    job_id = await created(door, {"x-sandbox-progression": "immediate"})
    found = await shown(door, job_id)
    assert (found["status"], found["outputDuration"]) == ("COMPLETED", 1.0)
    assert found["outputUrl"] == found["outputMediaUrl"]
    # On another host than the API, as the service's are: no key may be sent there.
    url, api = URL(found["outputUrl"]), URL(door.sandbox.url)
    assert (url.path, url.port) == (f"/__sandbox/media/{job_id}.mp4", api.port)
    assert {url.host, api.host} == {"localhost", "127.0.0.1"}


async def test_both_paths_show_the_same_generation(door: Door) -> None:
    """`/v2/generations/{id}` answers what `/v2/generate/{id}` answers."""
    job_id = await created(door)
    answer = await door.send("GET", f"/v2/generations/{job_id.upper()}")
    assert answer.json == await shown(door, job_id)


@pytest.mark.parametrize("path", ["/v2/generate/{}", "/v2/generations/{}"])
async def test_an_unknown_id_is_404(door: Door, path: str) -> None:
    """An id that no generation has gives a coded 404."""
    answer = await door.send("GET", path.format(UNKNOWN))
    assert (answer.status, answer.json["errorCode"]) == (404, "generation_not_found")


@pytest.mark.parametrize("text", ["nonsense", "x%2F..%2Fy%3Fz", "12"])
async def test_an_id_that_is_no_uuid_is_400(door: Door, text: str) -> None:
    """Even an escaped path is one id."""
    answer = await door.send("GET", f"/v2/generate/{text}")
    assert (answer.status, answer.json["errorCode"]) == (400, "invalid_generation_id")


class TestProgress:
    """`include=progress` tells how far a job is."""

    @pytest.mark.parametrize(
        ("progression", "percent"),
        [("manual", 0.0), ("immediate", 100.0), ("polls(4)", 25.0)],
    )
    async def test_each_progression_has_a_measure(
        self, door: Door, progression: str, percent: float
    ) -> None:
        """Looks, ends and renderings count."""
        job_id = await created(door, {"x-sandbox-progression": progression})
        answer = await door.send("GET", f"/v2/generate/{job_id}?include=progress")
        assert answer.json["progress_percent"] == percent

    async def test_time_counts(self, open_door: OpenDoor) -> None:
        """A timed job is half done after half its time, and never 100 before its end."""
        async with open_door(progression="time(1000)") as door:
            job_id = await created(door)
            found = []
            for seconds in (501.0, 490.0):  # looking may take some seconds, on a busy machine
                await door.sleep(seconds)
                answer = await door.send("GET", f"/v2/generate/{job_id}?include=progress")
                found.append(answer.json["progress_percent"])
        assert (found[0] // 1, found[1]) == (50, 99)

    @pytest.mark.parametrize(
        "query", ["include=progress&wait=true", "include=progress&timeout=5", "include=all"]
    )
    async def test_it_does_not_go_with_waiting(self, door: Door, query: str) -> None:
        """Progress and the long poll exclude each other."""
        job_id = await created(door)
        assert (await door.send("GET", f"/v2/generate/{job_id}?{query}")).status == 400


class TestWaiting:
    """The long poll ends with the job, or after its time."""

    async def test_the_end_of_the_job_wakes_the_waiter(self, door: Door) -> None:
        """A waiter sees the end as it happens."""
        job_id = await created(door)
        waiting = asyncio.create_task(
            door.send("GET", f"/v2/generate/{job_id}?wait=true&timeout=10")
        )
        job = door.sandbox.jobs[job_id]
        await until(lambda: job.waiters)
        door.sandbox.jobs.move(job_id, Status.PROCESSING)
        door.sandbox.jobs.move(job_id, Status.COMPLETED)
        answer = await waiting
        assert (answer.json["status"], job.waiters) == ("COMPLETED", [])
        assert answer.headers["x-sync-wait-mode"] == "long_poll"
        assert answer.headers["x-sync-wait-timeout-seconds"] == "10"
        assert answer.headers["retry-after"] == "2"

    async def test_after_its_time_the_job_comes_as_it_is(self, door: Door) -> None:
        """A wait that runs out is a normal answer."""
        job_id = await created(door)
        waiting = asyncio.create_task(door.send("GET", f"/v2/generate/{job_id}?wait=true"))
        job = door.sandbox.jobs[job_id]
        await until(lambda: job.waiters)
        await door.sleep(5.0)
        answer = await waiting
        assert (answer.status, answer.json["status"], job.waiters) == (200, "PENDING", [])
        assert answer.headers["x-sync-wait-timeout-seconds"] == "5"

    async def test_an_ended_job_answers_at_once(self, door: Door) -> None:
        """There is nothing to wait for."""
        job_id = await created(door, {"x-sandbox-progression": "immediate"})
        answer = await door.send("GET", f"/v2/generate/{job_id}?wait=true&timeout=1")
        assert answer.json["status"] == "COMPLETED"

    async def test_wait_false_does_not_wait(self, door: Door) -> None:
        """`wait=false` is a plain look."""
        job_id = await created(door)
        answer = await door.send("GET", f"/v2/generate/{job_id}?wait=false")
        assert (answer.status, "retry-after" in answer.headers) == (200, False)

    async def test_a_server_may_ignore_it(self, door: Door) -> None:
        """With the fault `ignore_wait` the answer comes at once and without its headers."""
        job_id = await created(door)
        door.sandbox.faults.add(Fault("ignore_wait"))
        answer = await door.send("GET", f"/v2/generate/{job_id}?wait=true")
        assert (answer.status, "x-sync-wait-mode" in answer.headers) == (200, False)

    @pytest.mark.parametrize("query", ["timeout=0.5", "timeout=11", "timeout=x", "wait=maybe"])
    async def test_malformed_parameters_are_400(self, door: Door, query: str) -> None:
        """The time is 1 to 10 seconds."""
        job_id = await created(door)
        answer = await door.send("GET", f"/v2/generate/{job_id}?{query}")
        assert (answer.status, len(answer.json["message"])) == (400, 1)


class TestLists:
    """`GET /v2/generations` filters and pages."""

    async def test_without_limit_everything_comes(self, door: Door) -> None:
        """Every match comes, in one bare array."""
        ids = [await created(door) for _ in range(3)]
        answer = await door.send("GET", "/v2/generations")
        assert [item["id"] for item in answer.json] == ids

    @pytest.mark.parametrize(
        "spelling", ["ids={0},{1}", "ids={0}&ids={1}", "ids={0},{1},{0}", 'ids=["{0}","{1}"]']
    )
    async def test_ids_come_in_each_form(self, door: Door, spelling: str) -> None:
        """Commas, repeated keys and JSON mean the same; unknown ids are left out."""
        ids = [await created(door) for _ in range(3)]
        query = spelling.format(ids[2], ids[0]) + f"&ids={UNKNOWN}"
        answer = await door.send("GET", f"/v2/generations?{query}")
        assert [item["id"] for item in answer.json] == [ids[2], ids[0]]

    @pytest.mark.parametrize(
        "spelling",
        [
            "status=PENDING,PROCESSING",
            "status=PENDING&status=PROCESSING",
            'status=["PENDING","PROCESSING"]',
            "status=PENDING,PROCESSING,PENDING&status=PROCESSING",
        ],
    )
    async def test_statuses_come_in_each_form(self, door: Door, spelling: str) -> None:
        """Each status that is named is shown, and no other."""
        ids = [await created(door) for _ in range(3)]
        door.sandbox.jobs.move(ids[1], "PROCESSING")
        door.sandbox.jobs.move(ids[2], "REJECTED")
        answer = await door.send("GET", f"/v2/generations?{spelling}")
        assert [item["id"] for item in answer.json] == ids[:2]

    async def test_filters_add_up(self, door: Door) -> None:
        """A job must pass every filter."""
        ids = [await created(door, {"x-sync-source": name}) for name in ("a", "b", "b")]
        door.sandbox.jobs.move(ids[2], "PROCESSING")
        query = f"ids={','.join(ids)}&status=PENDING&source=b"
        answer = await door.send("GET", f"/v2/generations?{query}")
        assert [item["id"] for item in answer.json] == [ids[1]]

    async def test_a_project_without_access_is_empty(self, door: Door) -> None:
        """An unknown project lists nothing."""
        await created(door)
        answer = await door.send("GET", f"/v2/generations?projectId={UNKNOWN}")
        assert answer.json == []

    async def test_pages_are_newest_first(self, door: Door) -> None:
        """The cursor is the last id of the page before; a short page is the last."""
        ids = [await created(door) for _ in range(5)]
        pages, cursor = list[list[str]](), ""
        while not pages or len(pages[-1]) == 2:
            answer = await door.send("GET", f"/v2/generations?limit=2{cursor}")
            pages.append([item["id"] for item in answer.json])
            cursor = f"&cursor={pages[-1][-1]}"
        assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
        answer = await door.send("GET", "/v2/generations?limit=1&status=PENDING")
        assert [item["id"] for item in answer.json] == ids[4:]

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0",
            "limit=101",
            "limit=x",
            "status=DONE",
            f"cursor={UNKNOWN}",
            f"limit=2&cursor={UNKNOWN}",
            "ids=nonsense",
            "status=[",
        ],
    )
    async def test_malformed_filters_are_400(self, door: Door, query: str) -> None:
        """A cursor needs a limit and a known id."""
        assert (await door.send("GET", f"/v2/generations?{query}")).status == 400


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
async def test_counts(door: Door, query: str, expected: int) -> None:
    """`/v2/generations/count` counts what its filters leave."""
    ids = [await created(door, {"x-sync-source": name}) for name in ("", "mobile", "web")]
    door.sandbox.jobs.move(ids[0], "PROCESSING")
    answer = await door.send("GET", f"/v2/generations/count?{query}")
    assert answer.json == {"count": expected}


async def test_an_unknown_type_is_not_counted(door: Door) -> None:
    """A malformed filter is 400."""
    assert (await door.send("GET", "/v2/generations/count?type=web")).status == 400


async def test_a_running_generation_cannot_be_deleted(door: Door) -> None:
    """There is no cancel."""
    job_id = await created(door)
    answer = await door.send("DELETE", f"/v2/generations/{job_id}")
    assert (answer.status, answer.json["errorCode"]) == (
        409,
        "generation_not_deletable_while_processing",
    )


async def test_an_ended_generation_can_be_deleted(door: Door) -> None:
    """After that it is not found, and its slot in the table is gone."""
    job_id = await created(door, {"x-sandbox-progression": "immediate"})
    answer = await door.send("DELETE", f"/v2/generations/{job_id}")
    again = await door.send("GET", f"/v2/generate/{job_id}")
    assert (answer.status, answer.json, again.status) == (200, {"id": job_id}, 404)
    assert (len(door.sandbox.jobs), door.sandbox.jobs.created) == (0, 1)


async def test_download_answers_an_url_as_text(door: Door) -> None:
    """The body is the bare URL, and the URL holds the media."""
    job_id = await created(door, {"x-sandbox-progression": "immediate"})
    answer = await door.send("GET", f"/v2/generations/{job_id}/download")
    media = await door.send("GET", answer.body.decode(), headers={"x-api-key": ""})
    assert (answer.headers["content-type"], media.status) == ("text/plain; charset=utf-8", 200)


async def test_what_is_not_completed_has_no_download(door: Door) -> None:
    """Before the end there is nothing to fetch."""
    job_id = await created(door)
    assert (await door.send("GET", f"/v2/generations/{job_id}/download")).status == 404


class TestSteps:
    """Jobs that move by looks."""

    @pytest.mark.parametrize("looks", [1, 2, 3, 4, 7])
    async def test_the_nth_look_sees_the_end(self, door: Door, looks: int) -> None:
        """Every look is a step, and every job is PROCESSING in between if it can be seen."""
        job_id = await created(door, {"x-sandbox-progression": f"polls({looks})"})
        seen = [(await shown(door, job_id))["status"] for _ in range(looks)]
        assert seen[-1] == "COMPLETED"
        assert "COMPLETED" not in seen[:-1]
        assert set(seen[-2:-1]) <= {"PROCESSING"}

    async def test_lists_and_long_polls_are_looks_too(self, door: Door) -> None:
        """Jobs that are read by one list move along."""
        job_id = await created(door, {"x-sandbox-progression": "polls(3)"})
        await door.send("GET", "/v2/generations")
        await door.send("GET", f"/v2/generations/{job_id}")
        answer = await door.send("GET", f"/v2/generate/{job_id}?wait=true")
        assert answer.json["status"] == "COMPLETED"


async def test_timed_jobs_follow_the_clock(open_door: OpenDoor) -> None:
    """A fifth of the time is PENDING, the rest PROCESSING."""
    async with open_door(progression="time(3600)") as door:
        job_id = await created(door)
        seen = []
        for seconds in (719.0, 2.0, 2878.0, 2.0):
            await door.sleep(seconds)
            seen.append((await shown(door, job_id))["status"])
    assert seen == ["PENDING", "PROCESSING", "PROCESSING", "COMPLETED"]


async def test_ids_are_uuids_of_version_4(door: Door) -> None:
    """Ids look like the service's."""
    assert UUID((await door.send("POST", "/v2/generate", order())).json["id"]).version == 4


async def test_a_job_that_a_list_moves_on_is_shown_where_it_fits(open_door: OpenDoor) -> None:
    """A list of PENDING jobs shows none that its own poll has completed."""
    async with open_door(progression="polls(1)") as door:
        await created(door)
        answers = [await door.send("GET", f"/v2/generations?status={each}") for each in STATUSES]
    assert [len(answer.json) for answer in answers] == [0, 1]


STATUSES = ("PENDING", "COMPLETED")


async def test_ids_count_in_any_case(door: Door) -> None:
    """In lists and as cursors, as in paths."""
    ids = [(await created(door)).upper() for _ in range(2)]
    found = await door.send("GET", f"/v2/generations?ids={','.join(ids)}")
    page = await door.send("GET", f"/v2/generations?limit=1&cursor={ids[1]}")
    assert [len(found.json), page.json[0]["id"].upper()] == [2, ids[0]]


async def test_segments_have_an_output_url_of_their_own(door: Door) -> None:
    """`segmentOutputUrl` comes with COMPLETED, where there are segments."""
    inputs = [VIDEO, {**AUDIO, "refId": "a"}]
    segments = [{"startTime": 0, "endTime": 1, "audioInput": {"refId": "a"}}]
    headers = {"x-sandbox-progression": "immediate"}
    job_id = await created(door, headers, input=inputs, segments=segments)
    found = await shown(door, job_id)
    assert found["segmentOutputUrl"] == found["outputUrl"]
    assert "segmentOutputUrl" not in await shown(door, await created(door, headers))


async def test_a_webhook_secret_may_be_masked(door: Door) -> None:
    """A masked one signs nothing, and no verifier takes it."""
    answer = await door.send("GET", "/v2/organizations/webhook/secret?masked=true")
    assert answer.json == {"secret": "whsec_********"}
