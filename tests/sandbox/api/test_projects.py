"""Projects: create once per id, list, get, change, delete; their assets."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.api.test_assets import FAR, NONE, listed, refusal
from tests.sandbox.clients import NOW, Client, created, memory_client, registered, uploaded

ID = "0e4ab13e-aaaa-4c11-8111-00000000abcd"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Connect to a sandbox in memory."""
    async with memory_client(progression="manual") as connected:
        yield connected


async def made(client: Client, name: str = "demo", **fields: Any) -> Any:
    """Create a project and return it."""
    answer = await client.send("POST", "/v2/projects", {"name": name, **fields})
    assert answer.status == 201, answer.body
    return answer.json


async def names(client: Client, query: str = "") -> tuple[str, Any]:
    """Return the names on a page, and the page."""
    answer = await client.send("GET", f"/v2/projects{query}")
    assert answer.status == 200, answer.body
    return "".join(project["name"] for project in answer.json["items"]), answer.json


class TestCreate:
    """`POST /v2/projects`."""

    async def test_a_project_has_its_fields_and_the_usual_ones(self, client: Client) -> None:
        """Unknown fields are dropped, and so is null."""
        found = await made(client, description="", mode=None, colour="red")
        moment = found["createdAt"]
        assert found == {
            "id": found["id"],
            "createdAt": moment,
            "updatedAt": moment,
            "visibility": "USER",
            "mode": "CREATOR",
            "defaultWorkflow": None,
            "name": "demo",
            "description": "",
        }
        told = {"visibility": "ORGANIZATION", "mode": "DEVELOPER", "defaultWorkflow": "timeline"}
        found = await made(client, **told)
        assert {**found, **told} == found

    async def test_an_id_of_ones_own_makes_it_repeatable(self, client: Client) -> None:
        """A replay is 200 and shows the project as it is; its other fields are ignored."""
        first = await made(client, id=ID.upper())
        body = {"id": ID, "name": "another", "mode": "DEVELOPER"}
        again = await client.send("POST", "/v2/projects", body)
        assert (first["id"], again.status, again.json) == (ID, 200, first)

    async def test_the_id_of_a_deleted_project_stays_taken(self, client: Client) -> None:
        """It is 409, not a new project."""
        await made(client, id=ID)
        await client.send("DELETE", f"/v2/projects/{ID}")
        again = await client.send("POST", "/v2/projects", {"id": ID, "name": "demo"})
        assert refusal(again) == (409, f"Project {ID} was deleted.")

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({"name": "x" * 255}, None),
            ({"name": "x" * 256}, ["name must be 1 to 255 characters"]),
            ({}, ["name should not be empty"]),
            ([], ["the body must be a JSON object"]),
            (
                {"id": "x", "name": "", "description": 3, "visibility": "ALL", "mode": "creator"},
                [
                    "name must be 1 to 255 characters",
                    "description must be a string",
                    "visibility must be one of the following values: USER, ORGANIZATION",
                    "mode must be one of the following values: CREATOR, DEVELOPER",
                    "id must be a UUID",
                ],
            ),
        ],
    )
    async def test_what_a_project_may_be(self, client: Client, body: Any, expected: Any) -> None:
        """Every problem is one entry of the message."""
        answer = await client.send("POST", "/v2/projects", body)
        found = None if answer.status == 201 else refusal(answer)
        assert found == (None if expected is None else (400, expected))


class TestLists:
    """`GET /v2/projects`."""

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", "bca"),
            ("?sortBy=updatedAt", "bca"),
            ("?sortBy=name", "abc"),
            ("?searchQuery=C", "c"),
            ("?limit=2", "bc"),
        ],
    )
    async def test_the_one_that_was_changed_last_is_first(
        self, client: Client, query: str, expected: str
    ) -> None:
        """Also if all of it is done in one moment; the last page names no cursor."""
        for name in "abc":
            project = await made(client, name)
            if name == "b":
                changed = project
        await client.send("PATCH", f"/v2/projects/{changed['id']}", {"mode": "DEVELOPER"})
        found, page = await names(client, query)
        assert (found, "nextCursor" in page) == (expected, "limit" in query)

    @pytest.mark.parametrize("order", ["updatedAt", "name"])
    async def test_pages_follow_each_other(self, client: Client, order: str) -> None:
        """Ten a page unless told otherwise; also if the last one is deleted meanwhile."""
        for name in "abcdefghijk":
            await made(client, name)
        query = f"?sortBy={order}"
        first, page = await names(client, query)
        await client.send("DELETE", f"/v2/projects/{page['items'][-1]['id']}")
        rest, end = await names(client, f"{query}&cursor={page['nextCursor']}")
        assert (len(first), sorted(first + rest)) == (10, [*"abcdefghijk"])
        assert "nextCursor" not in end

    @pytest.mark.parametrize("query", ["limit=0", "limit=101", "sortBy=date", "cursor=x"])
    async def test_a_query_of_another_form_is_400(self, client: Client, query: str) -> None:
        """The message names the parameter."""
        answer = await client.send("GET", f"/v2/projects?{query}")
        word = query.partition("=")[0]
        assert (answer.status, word in answer.json["message"][0]) == (400, True)

    async def test_an_item_counts_its_generations(self, client: Client) -> None:
        """All, and those that are completed; a project in the create may be in any case."""
        await made(client, id=ID)
        await created(client, projectId=ID.upper())
        await created(client, NOW, projectId=ID)
        await created(client)
        (item,) = (await names(client))[1]["items"]
        listing = await client.send("GET", f"/v2/generations?projectId={ID.upper()}")
        counts = (item["generationsCount"], item["completedGenerationsCount"])
        assert (counts, [job["projectId"] for job in listing.json]) == ((2, 1), [ID, ID])

    async def test_projects_that_the_sandbox_began_with(self) -> None:
        """They have no name, and are like others."""
        async with memory_client(projects=[ID.upper()]) as client:
            found = await client.send("GET", f"/v2/projects/{ID}")
            page = await client.send("GET", "/v2/projects?sortBy=name")
        assert ("name" in found.json, found.json["id"]) == (False, ID)
        assert [item["id"] for item in page.json["items"]] == [ID]


class TestOne:
    """Get, change, delete."""

    async def test_only_given_fields_change(self, client: Client) -> None:
        """The id stays, whatever the body says."""
        project = await made(client, id=ID, description="old")
        await client.sleep(1.0)
        changes = {"name": "new", "defaultWorkflow": "lipsync"}
        path = f"/v2/projects/{ID.upper()}"
        answer = await client.send("PATCH", path, {**changes, "id": NONE})
        updated = answer.json["updatedAt"]
        expected = {**project, **changes, "updatedAt": updated}
        assert (answer.status, answer.json) == (200, expected)
        assert updated > project["updatedAt"]
        assert (await client.send("GET", path)).json == expected

    async def test_a_change_of_another_form_is_400(self, client: Client) -> None:
        """That null would clear a field is not documented."""
        await made(client, id=ID)
        for body, message in (
            ({"name": None}, ["name must not be null"]),
            ({"name": "x" * 256}, ["name must be 1 to 255 characters"]),
        ):
            answer = await client.send("PATCH", f"/v2/projects/{ID}", body)
            assert refusal(answer) == (400, message)

    async def test_its_generations_are_deleted_too(self, client: Client) -> None:
        """Other projects' stay; afterwards it is 404, and a create in it 422."""
        await made(client, id=ID)
        other = await made(client, "other")
        gone = await created(client, NOW, projectId=ID)
        kept = [await created(client, projectId=other["id"]), await created(client)]
        answer = await client.send("DELETE", f"/v2/projects/{ID}")
        assert (answer.status, answer.json) == (200, {"id": ID})
        assert [job_id in client.sandbox.jobs for job_id in (gone, *kept)] == [False, True, True]
        again = await client.send("DELETE", f"/v2/projects/{ID}")
        assert refusal(again) == (404, "project_not_found")
        assert (await names(client))[0] == "other"

    async def test_it_is_not_deleted_while_a_generation_runs(self, client: Client) -> None:
        """Nothing is deleted then, its ended generations included."""
        await made(client, id=ID)
        ended, running = (
            await created(client, NOW, projectId=ID),
            await created(client, projectId=ID),
        )
        statuses = []
        for status in ("PROCESSING", "FAILED"):
            answer = await client.send("DELETE", f"/v2/projects/{ID}")
            statuses.append((refusal(answer), ended in client.sandbox.jobs))
            client.sandbox.jobs.move(running, status)
        expected = ((409, "generation_not_deletable_while_processing"), True)
        assert statuses == [expected, expected]
        assert (await client.send("DELETE", f"/v2/projects/{ID}")).status == 200

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("GET", "", None),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("POST", "/assets", {"assetId": NONE}),
            ("DELETE", f"/assets/{NONE}", None),
        ],
    )
    async def test_an_unknown_project_is_404(
        self, client: Client, method: str, path: str, body: Any
    ) -> None:
        """Whether or not its id looks like one."""
        for project_id in (NONE, "demo"):
            answer = await client.send(method, f"/v2/projects/{project_id}{path}", body)
            assert refusal(answer) == (404, "project_not_found")


class TestAssets:
    """What a project holds."""

    async def test_attaching_twice_and_detaching_twice_is_fine(self, client: Client) -> None:
        """Both are 204 without a body; the list of the project's assets follows."""
        await made(client, id=ID)
        asset = await registered(client, FAR, "VIDEO", name="x")
        path, query = f"/v2/projects/{ID}/assets", f"?projectId={ID.upper()}"
        found = []
        for method, end, body in (
            ("POST", "", {"assetId": asset["id"].upper()}),
            ("DELETE", f"/{asset['id']}", None),
        ):
            for _ in range(2):
                answer = await client.send(method, path + end, body)
                found.append((answer.status, answer.body, (await listed(client, query))[0]))
        assert found == [(204, b"", "x"), (204, b"", "x"), (204, b"", ""), (204, b"", "")]
        assert (await client.send("GET", f"/v2/assets/{asset['id']}")).json == asset

    async def test_an_asset_that_was_made_in_a_project_stays_in_it(self, client: Client) -> None:
        """Detaching takes back only what attaching did."""
        await made(client, id=ID)
        asset = await registered(client, FAR, "VIDEO", name="x", projectId=ID.upper())
        await client.send("DELETE", f"/v2/projects/{ID}/assets/{asset['id']}")
        assert (asset["projectId"], (await listed(client, f"?projectId={ID}"))[0]) == (ID, "x")

    async def test_an_asset_that_is_not_there_cannot_be_attached(self, client: Client) -> None:
        """In the body it is 422, in the path 404; an id of another form is 400."""
        path = f"/v2/projects/{(await made(client))['id']}/assets"
        answers = [
            await client.send("POST", path, {"assetId": NONE}),
            await client.send("POST", path, {"assetId": "x"}),
            await client.send("POST", path, {}),
            await client.send("DELETE", f"{path}/{NONE}"),
            await client.send("DELETE", f"{path}/x"),
        ]
        assert [refusal(answer) for answer in answers] == [
            (422, "asset_not_found"),
            (400, ["assetId must be a UUID"]),
            (400, ["assetId should not be empty"]),
            (404, "asset_not_found"),
            (400, "invalid_asset_id_format"),
        ]

    async def test_assets_that_no_other_project_holds_go_with_it(self, client: Client) -> None:
        """Those of another project, and of none, stay."""
        await made(client, id=ID)
        other = (await made(client, "other"))["id"]
        alone = await uploaded(client, projectId=ID)
        attached = await registered(client, FAR, "VIDEO")
        shared = await registered(client, FAR, "VIDEO", projectId=ID)
        outside = await registered(client, FAR, "VIDEO")
        for project_id, asset in ((ID, attached), (other, shared)):
            body = {"assetId": asset["id"]}
            await client.send("POST", f"/v2/projects/{project_id}/assets", body)
        await client.send("DELETE", f"/v2/projects/{ID}")
        answers = [
            await client.send("GET", f"/v2/assets/{asset['id']}")
            for asset in (alone, attached, shared, outside)
        ]
        assert [answer.status for answer in answers] == [404, 404, 200, 200]
        assert "projectId" not in answers[2].json
