"""Who is let in: keys, plans, the limits of the minute and of the slots."""

import pytest

from lipsync_async.sandbox import Sandbox
from tests.sandbox.conftest import OpenDoor
from tests.sandbox.doors import Door, created, order, shown

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/v2/models", "/v2/generations", "/v2/nowhere"])
async def test_no_key_and_a_wrong_key_have_two_bodies(door: Door, path: str) -> None:
    """The two 401 answers are documented to differ."""
    missing = await door.send("GET", path, headers={"x-api-key": ""})
    wrong = await door.send("GET", path, headers={"x-api-key": "sandbox-other"})
    assert (missing.status, missing.json) == (
        401,
        {
            "message": "Either Cookie or x-api-key header must be provided",
            "error": "Unauthorized",
            "statusCode": 401,
        },
    )
    assert (wrong.status, wrong.json) == (401, {"message": "Unauthorized", "statusCode": 401})


async def test_a_key_that_looks_live_is_told_where_it_is(door: Door) -> None:
    """Somebody's real key gets a 401 that says so."""
    answer = await door.send("GET", "/v2/models", headers={"x-api-key": "sk-abc"})
    assert (answer.status, "sandbox" in answer.json["message"]) == (401, True)


def test_a_sandbox_does_not_take_a_live_key() -> None:
    """A key that looks live is refused at the start, and not repeated."""
    with pytest.raises(ValueError, match="looks like one of the real service") as caught:
        Sandbox(api_key="sk-abc")
    assert "sk-abc" not in str(caught.value)


async def test_a_path_that_does_not_exist_is_404(door: Door) -> None:
    """The body names method and path."""
    answer = await door.send("PUT", "/v2/models", b"x")
    assert (answer.status, answer.json["message"]) == (404, "Cannot PUT /v2/models")


@pytest.mark.parametrize("path", ["/v2/errors", "/__sandbox/health", "/__sandbox/requests"])
async def test_public_paths_need_no_key(door: Door, path: str) -> None:
    """The catalogue of errors and the controls are open."""
    assert (await door.send("GET", path, headers={"x-api-key": ""})).status == 200


class TestMinutes:
    """Requests in any sixty seconds, for creates and for all others."""

    async def test_creates_have_a_limit_of_their_own(self, open_door: OpenDoor) -> None:
        """Over it a create is 429 with the documented body, other requests are not."""
        async with open_door(creates_per_minute=2) as door:
            ids = [await created(door) for _ in range(2)]
            answer = await door.send("POST", "/v2/generate", order())
            await shown(door, ids[0])
        assert (answer.status, answer.json) == (
            429,
            {
                "statusCode": 429,
                "errorCode": "rate_limit_exceeded",
                "message": "Rate limit exceeded. Please try again later.",
                "error": "Too Many Requests",
            },
        )

    async def test_the_window_slides(self, open_door: OpenDoor) -> None:
        """A minute after the first request there is room for another."""
        async with open_door(requests_per_minute=1) as door:
            statuses = []
            for seconds in (0.0, 0.0, 60.0):
                await door.sleep(seconds)
                statuses.append((await door.send("GET", "/v2/models")).status)
        assert statuses == [200, 429, 200]

    async def test_the_plan_brings_the_documented_numbers(self, open_door: OpenDoor) -> None:
        """60 creates and 600 others."""
        async with open_door(plan="scale", progression="immediate") as door:
            creates = [(await door.send("POST", "/v2/generate", order())).status for _ in range(61)]
            others = [(await door.send("GET", "/v2/models")).status for _ in range(601)]
        assert (creates.index(429), others.index(429)) == (60, 600)


class TestSlots:
    """Generations at once."""

    @pytest.mark.parametrize(
        ("plan", "limit"),
        [("free", 1), ("hobbyist", 1), ("creator", 3), ("growth", 6), ("enterprise:4", 4)],
    )
    async def test_a_create_over_the_plan_is_refused(
        self, open_door: OpenDoor, plan: str, limit: int
    ) -> None:
        """The 429 tells the account's numbers; nothing is queued."""
        async with open_door(plan=plan, progression="manual", retry_after_seconds=5) as door:
            for _ in range(limit):
                await created(door)
            answer = await door.send("POST", "/v2/generate", order())
            found = answer.json
            assert (answer.status, door.sandbox.jobs.created) == (429, limit)
        noun = "generation" if limit == 1 else "generations"
        assert found.pop("message").startswith(f"Your plan runs {limit} {noun} at once, ")
        assert found.pop("upgradeUrl")
        assert found == {
            "statusCode": 429,
            "errorCode": "concurrency_limit_reached",
            "activeGenerations": limit,
            "concurrencyLimit": limit,
            "retryAfterSeconds": 5,
        }

    async def test_an_ended_generation_frees_its_slot(self, open_door: OpenDoor) -> None:
        """PENDING and PROCESSING take a slot, the rest does not."""
        async with open_door(concurrency=1, progression="manual") as door:
            job_id = await created(door)
            door.sandbox.jobs.move(job_id, "PROCESSING")
            taken = await door.send("POST", "/v2/generate", order())
            door.sandbox.jobs.move(job_id, "FAILED")
            await created(door)
        assert taken.status == 429

    async def test_a_replay_needs_no_slot(self, open_door: OpenDoor) -> None:
        """The same key and body answer even when all slots are taken."""
        async with open_door(concurrency=1, progression="manual") as door:
            ids = [await created(door, {"idempotency-key": "k"}) for _ in range(2)]
        assert ids[0] == ids[1]

    def test_unknown_plans_are_refused(self) -> None:
        """A plan that nobody sells is an error that names those that are."""
        for plan in ("platinum", "scale:3", "enterprise:many"):
            with pytest.raises(ValueError, match="there is no plan"):
                Sandbox(plan=plan)
