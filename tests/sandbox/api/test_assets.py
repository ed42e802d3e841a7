"""Assets: upload, register, list, look up, change, delete; and the faults of all these."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from lipsync_async._models.http import Request
from lipsync_async.sandbox import Fault, rate_limited
from lipsync_async.sandbox.media.demo_media import tone
from tests.sandbox.clients import (
    AUDIO,
    Answer,
    Client,
    ConnectionCutError,
    created,
    memory_client,
    order,
    presigned,
    put,
    registered,
    shown,
    socket_client,
    uploaded,
)
from tests.sandbox.conftest import OpenClient

NONE = "00000000-0000-4000-8000-000000000000"
FAR = "https://example.com/clip.mp4"
SHA256 = hashlib.sha256(b"sound").hexdigest()


@pytest.fixture
async def memory() -> AsyncIterator[Client]:
    """Connect to a sandbox in memory."""
    async with memory_client(progression="manual") as connected:
        yield connected


def refusal(answer: Answer) -> tuple[int, Any]:
    """Return an error's status with its code, or with its message where it has none."""
    return answer.status, answer.json.get("errorCode") or answer.json["message"]


async def found_by_hash(client: Client, digest: str = SHA256, kind: str = "AUDIO") -> Any:
    """Return the asset that has some content."""
    answer = await client.send("GET", f"/v2/assets/uploaded?contentSha256={digest}&type={kind}")
    return answer.json["asset"]


class TestUpload:
    """A URL to PUT a file to, and what becomes of the file."""

    async def test_a_file_becomes_an_asset(self, client: Client) -> None:
        """It is PUT without a key to another origin, registered, and served as it was sent."""
        slot = await presigned(client)
        parts = urlsplit(slot["uploadUrl"])
        origins = {urlsplit(client.sandbox.url).hostname, parts.hostname}
        assert ({*slot}, slot["expiresIn"]) == ({"uploadUrl", "url", "expiresIn"}, 3600)
        assert origins <= {"127.0.0.1", "localhost"}
        assert len(origins) == 2
        answer = await put(client, slot["uploadUrl"])
        assert (answer.status, answer.headers["etag"]) == (200, f'"{SHA256[:32]}"')
        asset = await registered(client, slot["url"], name="line")
        served = await client.send("GET", asset["url"], headers={"x-api-key": ""})
        assert (served.body, served.headers["content-type"]) == (b"sound", "audio/wav")
        moments = {asset.pop("createdAt"), asset.pop("updatedAt")}
        assert (len(moments), asset) == (
            1,
            {
                "id": asset["id"],
                "url": slot["url"],
                "type": "AUDIO",
                "name": "line",
                "visibility": "USER",
                "inputType": "UPLOAD",
                "size": 5,
                "format": "wav",
            },
        )

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"size": 5 * 1024**3}, None),
            ({"size": 5 * 1024**3 + 1}, (400, ["size must not be greater than 5368709120"])),
            ({"size": 0}, (400, ["size must be an integer above 0"])),
            ({"size": 5.5}, (400, ["size must be an integer above 0"])),
            ({"size": True}, (400, ["size must be an integer above 0"])),
            (
                {"fileName": "", "contentType": None},
                (
                    400,
                    ["fileName must be a non-empty string", "contentType should not be empty"],
                ),
            ),
        ],
    )
    async def test_what_a_file_may_be(
        self, memory: Client, fields: dict[str, Any], expected: Any
    ) -> None:
        """A name, a type, and up to 5 GiB."""
        body = {"fileName": "a.wav", "contentType": "audio/wav", "size": 5, **fields}
        answer = await memory.send("POST", "/v2/assets/upload", body)
        assert (None if answer.status == 201 else refusal(answer)) == expected

    @pytest.mark.parametrize(
        ("headers", "status", "word"),
        [
            ({"content_type": "audio/mpeg"}, 403, "Content-Type"),
            ({"content_type": ""}, 403, "Content-Type"),
            ({"content_length": "6"}, 400, "IncompleteBody"),
            ({"content_length": ""}, 411, "MissingContentLength"),
        ],
    )
    async def test_a_put_that_is_not_as_it_was_signed_is_refused(
        self, memory: Client, headers: dict[str, str], status: int, word: str
    ) -> None:
        """Nothing is kept then, and there is nothing to register."""
        slot = await presigned(memory)
        answer = await put(memory, slot["uploadUrl"], b"sound", **headers)
        assert (answer.status, word in answer.json["message"]) == (status, True)
        asset = await memory.send("POST", "/v2/assets", {"url": slot["url"], "type": "AUDIO"})
        assert refusal(asset) == (422, "uploaded_file_not_found")

    async def test_an_empty_put_is_refused(self, client: Client) -> None:
        """A file has bytes."""
        slot = await presigned(client)
        assert (await put(client, slot["uploadUrl"], b"")).status == 400

    @pytest.mark.parametrize("breaks", [False, True])
    async def test_a_file_may_come_in_pieces(self, memory: Client, *, breaks: bool) -> None:
        """One that ends too early, because its source fails, is not kept."""
        slot = await presigned(memory)

        async def pieces() -> AsyncIterator[bytes]:
            yield b"sou"
            if breaks:
                raise OSError(5, "the file cannot be read")
            yield b"nd"

        headers = {"content-type": "audio/wav", "content-length": "5"}
        request = Request("PUT", slot["uploadUrl"], headers, content=pieces())
        try:
            status = (await memory.exchange(request)).status
        except ConnectionCutError:
            status = None
        asset = await memory.send("POST", "/v2/assets", {"url": slot["url"], "type": "AUDIO"})
        assert (status, asset.status) == ((None, 422) if breaks else (200, 201))

    async def test_an_address_that_was_not_signed_is_403(self, memory: Client) -> None:
        """Neither another upload nor another name."""
        url = (await presigned(memory))["uploadUrl"]
        head, _, name = url.rpartition("/")
        changed = [f"{url}x", f"{head}x/{name}"]
        assert [(await put(memory, each)).status for each in changed] == [403, 403]

    async def test_an_upload_url_expires(self, memory: Client) -> None:
        """It works up to its last second; a new one works again."""
        slot = await presigned(memory)
        await memory.sleep(3600.0)
        last = (await put(memory, slot["uploadUrl"])).status
        await memory.sleep(1.0)
        late = await put(memory, slot["uploadUrl"])
        fresh = await put(memory, (await presigned(memory))["uploadUrl"])
        assert (last, late.status, fresh.status) == (200, 403, 200)
        assert "expired" in late.json["message"]

    async def test_a_fast_sandbox_leaves_a_client_its_hour(self) -> None:
        """`expiresIn` counts the client's seconds, whatever the speed."""
        async with socket_client(speed=1000.0) as client:
            slot = await presigned(client)
            await client.send("POST", "/__sandbox/clock", {"advance": 3_000_000.0})
            early = (await put(client, slot["uploadUrl"])).status
            await client.send("POST", "/__sandbox/clock", {"advance": 700_000.0})
            assert (early, (await put(client, slot["uploadUrl"])).status) == (200, 403)

    async def test_a_second_put_replaces_the_first(self, memory: Client) -> None:
        """A client may repeat it; only the last bytes are there."""
        slot = await presigned(memory)
        for content in (b"first", b"sound"):
            await put(memory, slot["uploadUrl"], content)
        asset = await registered(memory, slot["url"])
        served = await memory.send("GET", asset["url"])
        assert (served.body, await found_by_hash(memory)) == (b"sound", asset)

    async def test_a_plan_limits_the_size_of_files(self) -> None:
        """When the URL is asked for, and again by the bytes that came."""
        async with memory_client(plan_file_bytes=5) as client:
            body = {"fileName": "a.wav", "contentType": "audio/wav", "size": 6}
            answer = await client.send("POST", "/v2/assets/upload", body)
            slot = await presigned(client)
            await put(client, slot["uploadUrl"], b"longer")
            asset = await client.send("POST", "/v2/assets", {"url": slot["url"], "type": "AUDIO"})
            fine = await uploaded(client)
        expected = (422, "file_size_exceeds_plan_limit")
        assert (refusal(answer), refusal(asset), fine["size"]) == (expected, expected, 5)

    async def test_a_plan_limits_how_many_urls_are_asked_for(self) -> None:
        """120 in any minute, in a class of their own; PUTs and other requests do not count."""
        async with memory_client(plan="scale") as client:
            slots = [await presigned(client) for _ in range(120)]
            body = {"fileName": "a.wav", "contentType": "audio/wav", "size": 5}
            over = await client.send("POST", "/v2/assets/upload", body)
            puts = {(await put(client, slot["uploadUrl"])).status for slot in slots}
            asset = await registered(client, slots[0]["url"])
            await client.sleep(60.0)
            again = await client.send("POST", "/v2/assets/upload", body)
        assert refusal(over) == (429, "rate_limit_exceeded")
        assert (puts, asset["size"], again.status) == ({200}, 5, 201)

    async def test_media_are_looked_at(self, open_client: OpenClient, tmp_path: Path) -> None:
        """A sandbox that renders tells how long they are, and refuses what is none."""
        sound = tone(tmp_path / "a.wav", seconds=0.5, hertz=440.0).read_bytes()
        async with open_client(render=True) as client:
            asset = await uploaded(client, sound)
            slot = await presigned(client)
            await put(client, slot["uploadUrl"], b"no sound")
            broken = await client.send("POST", "/v2/assets", {"url": slot["url"], "type": "AUDIO"})
        assert (asset["durationSeconds"], asset["size"]) == (pytest.approx(0.5), len(sound))
        assert refusal(broken) == (422, "generation_input_audio_invalid")
        assert json.loads(broken.body)["message"].startswith("The file cannot be read: ")


class TestRegister:
    """`POST /v2/assets`."""

    async def test_a_public_address_becomes_an_asset(self, memory: Client) -> None:
        """Of a file elsewhere only what was told is known; unknown fields are dropped."""
        asset = await registered(
            memory, FAR, "VIDEO", visibility="ORGANIZATION", id=NONE, contentSha256=SHA256
        )
        expected = {
            "id": asset["id"],
            "createdAt": asset["createdAt"],
            "updatedAt": asset["createdAt"],
            "visibility": "ORGANIZATION",
            "inputType": "URL",
            "url": FAR,
            "type": "VIDEO",
        }
        assert (asset, asset["id"] != NONE) == (expected, True)
        assert await found_by_hash(memory, kind="VIDEO") == asset

    async def test_an_output_becomes_an_asset(self, memory: Client) -> None:
        """So that it can be an input of the next generation."""
        job_id = await created(memory, {"x-sandbox-progression": "immediate"})
        url = (await shown(memory, job_id))["outputUrl"]
        assert (await registered(memory, url, "VIDEO"))["url"] == url

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"url": "{base}/__sandbox/files/x.wav"}, (422, "uploaded_file_not_found")),
            ({"url": "{base}/v2/assets/x"}, (422, "file_not_in_org_storage")),
            ({"url": "{upload}"}, (422, "file_not_in_org_storage")),
            ({"url": "{base}9/clip.mp4"}, None),
            ({"projectId": NONE}, (422, "project_not_found")),
            (
                {"url": "clip.mp4", "type": "audio", "visibility": "x", "contentSha256": "A" * 64},
                (
                    400,
                    [
                        "url must be an http or https URL",
                        "type must be one of the following values: AUDIO, VIDEO, IMAGE",
                        "visibility must be one of the following values: USER, ORGANIZATION",
                        "contentSha256 must match /^[a-f0-9]{64}$/",
                    ],
                ),
            ),
        ],
    )
    async def test_what_can_be_registered(
        self, memory: Client, change: dict[str, Any], expected: Any
    ) -> None:
        """A file that is there, of this organization or in public, in a project that exists."""
        places = {"base": memory.sandbox.url, "upload": (await presigned(memory))["uploadUrl"]}
        fields = {"url": FAR, "type": "AUDIO", **change}
        fields["url"] = fields["url"].format_map(places)
        answer = await memory.send("POST", "/v2/assets", fields)
        assert (None if answer.status == 201 else refusal(answer)) == expected

    async def test_it_is_an_input(self, memory: Client) -> None:
        """By its id, for an input of its own type only; an unknown one is refused."""
        asset = await registered(memory, FAR, "VIDEO")
        answers = []
        sound = await registered(memory, FAR, "AUDIO")
        for asset_id in (asset["id"], sound["id"], NONE):
            body = order(input=[{"type": "video", "assetId": asset_id}, AUDIO])
            answers.append(await memory.send("POST", "/v2/generate", body))
        assert answers[0].status == 201
        assert [refusal(answer) for answer in answers[1:]] == [
            (422, "generation_input_asset_type_mismatch"),
            (422, "asset_not_found"),
        ]


async def library(client: Client) -> dict[str, str]:
    """Make assets of different kinds, and return their names by their ids."""
    facts: list[tuple[str, str, dict[str, Any]]] = [
        ("b", "VIDEO", {"durationSeconds": 3.0, "size": 10}),
        ("a", "AUDIO", {"durationSeconds": 1.0, "size": 30}),
        ("C", "IMAGE", {"size": 20}),
    ]
    names = {}
    for name, kind, changes in facts:
        asset = await registered(client, f"https://example.com/{name}", kind, name=name)
        assert (await client.send("PATCH", f"/v2/assets/{asset['id']}", changes)).status == 200
        names[asset["id"]] = name
    return names


async def listed(client: Client, query: str = "") -> tuple[str, Any]:
    """Return the names on a page, and the page."""
    answer = await client.send("GET", f"/v2/assets{query}")
    assert answer.status == 200, answer.body
    return "".join(asset["name"] for asset in answer.json["items"]), answer.json


class TestLists:
    """`GET /v2/assets`, and the looking up of several."""

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("", "Cab"),
            ("?types=AUDIO", "a"),
            ("?types=AUDIO,IMAGE", "Ca"),
            ("?types=AUDIO&types=IMAGE", "Ca"),
            ('?types=["AUDIO","IMAGE"]', "Ca"),
            ("?types=", "Cab"),
            ("?searchQuery=c", "C"),
            (f"?projectId={NONE}", ""),
            ("?userId=any", "Cab"),
            ("?sortBy=nameAsc", "Cab"),
            ("?sortBy=nameDesc", "baC"),
            ("?sortBy=dateAsc", "baC"),
            ("?sortBy=durationAsc", "Cab"),
            ("?sortBy=durationDesc", "baC"),
            ("?sortBy=sizeAsc", "bCa"),
            ("?sortBy=sizeDesc", "aCb"),
            ("?sortBy=kindAsc", "aCb"),
            ("?sortBy=kindDesc", "bCa"),
        ],
    )
    async def test_filters_and_orders(self, memory: Client, query: str, names: str) -> None:
        """Lists are read in all four spellings; newest first unless told otherwise."""
        await library(memory)
        found, page = await listed(memory, query)
        assert (found, page["totalCount"], "nextCursor" in page) == (names, len(names), False)

    @pytest.mark.parametrize("order", ["nameAsc", "dateDesc", "durationDesc"])
    async def test_pages_follow_each_other(self, memory: Client, order: str) -> None:
        """Each begins where the one before ended, also if its last asset was deleted meanwhile."""
        await library(memory)
        whole, _ = await listed(memory, f"?sortBy={order}")
        name, page = await listed(memory, f"?sortBy={order}&limit=1")
        names, total = name, page["totalCount"]
        while "nextCursor" in page:
            await memory.send("DELETE", f"/v2/assets/{page['items'][-1]['id']}")
            query = f"?sortBy={order}&limit=1&cursor={page['nextCursor']}"
            name, page = await listed(memory, query)
            names += name
        assert (names, total) == (whole, 3)

    async def test_a_page_has_fifty_assets_unless_told_otherwise(self, memory: Client) -> None:
        """That is assumed: the service's own number is not documented."""
        for _ in range(51):
            await registered(memory, FAR, "VIDEO", name="x")
        pages = [(await listed(memory, query))[0] for query in ("", "?limit=100")]
        assert [len(page) for page in pages] == [50, 51]

    @pytest.mark.parametrize(
        ("query", "word"),
        [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=x", "limit"),
            ("types=audio", "types"),
            ("types=[", "types"),
            ("sortBy=size", "sortBy"),
            *((f"cursor={cursor}", "cursor") for cursor in (NONE, "7b7d7d", "5b315d", "31", "")),
            (f"cursor={'5b' * 20_000}", "cursor"),
        ],
    )
    async def test_a_query_of_another_form_is_400(
        self, memory: Client, query: str, word: str
    ) -> None:
        """The message names the parameter."""
        await library(memory)
        answer = await memory.send("GET", f"/v2/assets?sortBy=nameAsc&{query}")
        assert (answer.status, word in answer.json["message"][0]) == (400, True)

    async def test_several_by_their_ids(self, memory: Client) -> None:
        """In the service's order, each once; one id may stand alone; unknown ones are left out."""
        ids = [*await library(memory)]
        for asked, expected in (
            ([ids[2], NONE, "x", ids[0], ids[2].upper()], [ids[0], ids[2]]),
            (ids[1], [ids[1]]),
            ([NONE], []),
        ):
            answer = await memory.send("POST", "/v2/assets/batch", {"ids": asked})
            assert (answer.status, [asset["id"] for asset in answer.json]) == (200, expected)

    @pytest.mark.parametrize("body", [{}, [], {"ids": []}, {"ids": [3]}, {"ids": [NONE] * 101}])
    async def test_one_to_a_hundred_ids(self, memory: Client, body: Any) -> None:
        """None, more, or what is no id is 400."""
        answer = await memory.send("POST", "/v2/assets/batch", body)
        assert refusal(answer) == (400, ["ids must be 1 to 100 ids"])

    async def test_the_newest_asset_with_some_content_is_found(self, memory: Client) -> None:
        """Of its type only, and not one that was deleted."""
        older, newer = await uploaded(memory), await uploaded(memory)
        assert await found_by_hash(memory) == newer
        await memory.send("DELETE", f"/v2/assets/{newer['id']}")
        assert await found_by_hash(memory) == older
        others = [
            await found_by_hash(memory, kind="VIDEO"),
            await found_by_hash(memory, digest="0" * 64),
        ]
        assert others == [None, None]

    async def test_what_content_is_asked_for_is_checked(self, memory: Client) -> None:
        """Both parameters are needed."""
        answers = [
            await memory.send("GET", f"/v2/assets/uploaded{query}")
            for query in ("", f"?contentSha256={SHA256.upper()}&type=AUDIO")
        ]
        assert [refusal(answer) for answer in answers] == [
            (400, ["contentSha256 should not be empty", "type should not be empty"]),
            (400, ["contentSha256 must match /^[a-f0-9]{64}$/"]),
        ]


class TestOne:
    """One asset: get, change, delete, download."""

    async def test_it_is_shown_and_downloaded(self, memory: Client) -> None:
        """By its id in any case; the download is an unquoted URL as plain text."""
        asset = await uploaded(memory)
        path = f"/v2/assets/{asset['id'].upper()}"
        got, link = await memory.send("GET", path), await memory.send("GET", f"{path}/download")
        assert (got.status, got.json) == (200, asset)
        assert (link.status, link.body.decode()) == (200, asset["url"])
        assert link.headers["content-type"] == "text/plain; charset=utf-8"

    async def test_only_given_fields_change(self, memory: Client) -> None:
        """All seven may; the rest of the body is ignored."""
        asset = await registered(memory, FAR, "VIDEO", name="old")
        await memory.sleep(1.0)
        changes = {
            "visibility": "ORGANIZATION",
            "durationSeconds": 1.5,
            "size": 7,
            "format": "mp4",
            "width": 640,
            "height": 360,
        }
        body = {**changes, "id": NONE, "url": "https://example.com/other"}
        answer = await memory.send("PATCH", f"/v2/assets/{asset['id']}", body)
        updated = answer.json.pop("updatedAt")
        assert (answer.status, updated > asset.pop("updatedAt")) == (200, True)
        found = (await memory.send("GET", f"/v2/assets/{asset['id']}")).json
        assert found == {**asset, **changes, "updatedAt": updated}

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ([], ["the body must be a JSON object"]),
            ({"name": None, "size": None}, ["name must not be null", "size must not be null"]),
            (
                {"name": "", "durationSeconds": -1, "width": 1.5},
                [
                    "name must be a non-empty string",
                    "durationSeconds must not be less than 0",
                    "width must be an integer not less than 0",
                ],
            ),
        ],
    )
    async def test_a_change_of_another_form_is_400(
        self, memory: Client, body: Any, message: list[str]
    ) -> None:
        """Nothing is changed then; that null would clear a field is not documented."""
        asset = await registered(memory, FAR, "VIDEO")
        answer = await memory.send("PATCH", f"/v2/assets/{asset['id']}", body)
        assert refusal(answer) == (400, message)
        assert (await memory.send("GET", f"/v2/assets/{asset['id']}")).json == asset

    async def test_a_deleted_asset_is_no_input_any_more(
        self, memory: Client, tmp_path: Path
    ) -> None:
        """Its file stays for the generations that were accepted with it."""
        file = tmp_path / "clip.mp4"
        file.write_bytes(b"x")
        for asset, content in (
            (await uploaded(memory, type="VIDEO"), b"sound"),
            (await registered(memory, memory.sandbox.host_file(file), "VIDEO"), b"x"),
        ):
            body = order(input=[{"type": "video", "assetId": asset["id"]}, AUDIO])
            accepted = await memory.send("POST", "/v2/generate", body)
            deleted = await memory.send("DELETE", f"/v2/assets/{asset['id']}")
            served = await memory.send("GET", asset["url"])
            late = await memory.send("POST", "/v2/generate", body)
            assert (accepted.status, deleted.status) == (201, 200)
            assert (deleted.json, served.body) == ({"id": asset["id"]}, content)
            assert refusal(late) == (422, "asset_not_found")

    async def test_a_generation_outlives_its_asset(self, tmp_path: Path) -> None:
        """One that was accepted is rendered, although its asset was deleted meanwhile."""
        sound = tone(tmp_path / "a.wav", seconds=0.5, hertz=440.0).read_bytes()
        picture = tmp_path / "a.png"
        Image.new("RGB", (64, 64)).save(picture)
        async with memory_client(render=True, progression="time(60)") as client:
            image = {"type": "image", "url": client.sandbox.host_file(picture)}
            asset = await uploaded(client, sound)
            body = order(input=[image, {"type": "audio", "assetId": asset["id"]}], model="sync-3")
            job_id = (await client.send("POST", "/v2/generate", body)).json["id"]
            await client.send("DELETE", f"/v2/assets/{asset['id']}")
            await client.sleep(61.0)
            found = await shown(client, job_id)
        assert found["status"] == "COMPLETED", found
        assert found["outputDuration"] == pytest.approx(0.5, abs=0.05)

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/download")],
    )
    async def test_an_unknown_id_is_404_and_a_malformed_one_400(
        self, memory: Client, method: str, path: str
    ) -> None:
        """With the documented codes."""
        body: Any = {} if method == "PATCH" else None
        answers = [
            await memory.send(method, f"/v2/assets/{asset_id}{path}", body)
            for asset_id in (NONE, "clip")
        ]
        assert [refusal(answer) for answer in answers] == [
            (404, "asset_not_found"),
            (400, "invalid_asset_id_format"),
        ]


ROUTES: dict[str, tuple[str, str, Any]] = {
    "presign": (
        "POST",
        "/v2/assets/upload",
        {"fileName": "a.wav", "contentType": "audio/wav", "size": 5},
    ),
    "put": ("PUT", "{upload}", b"sound"),
    "register": ("POST", "/v2/assets", {"url": FAR, "type": "VIDEO"}),
    "list": ("GET", "/v2/assets", None),
    "batch": ("POST", "/v2/assets/batch", {"ids": NONE}),
    "uploaded": ("GET", f"/v2/assets/uploaded?contentSha256={SHA256}&type=AUDIO", None),
    "get": ("GET", "/v2/assets/{asset}", None),
    "patch": ("PATCH", "/v2/assets/{asset}", {"name": "x"}),
    "delete": ("DELETE", "/v2/assets/{asset}", None),
    "download": ("GET", "/v2/assets/{asset}/download", None),
    "create project": ("POST", "/v2/projects", {"name": "x"}),
    "list projects": ("GET", "/v2/projects", None),
    "get project": ("GET", "/v2/projects/{project}", None),
    "patch project": ("PATCH", "/v2/projects/{project}", {"name": "x"}),
    "delete project": ("DELETE", "/v2/projects/{project}", None),
    "attach": ("POST", "/v2/projects/{project}/assets", {"assetId": "{asset}"}),
    "detach": ("DELETE", "/v2/projects/{project}/assets/{asset}", None),
}
_ONCE = {"delete", "delete project"}  # what was deleted is not found again
_WITHOUT_BODY = {"attach", "detach", "put"}
FAULTS = {
    "cut before": Fault("reset_before"),
    "cut at half": Fault("reset_upload"),
    "cut after": Fault("reset_after"),
    "cut in the middle": Fault("truncate"),
    "500": Fault("status", status=500, code="internal_error"),
    "429": rate_limited(3),
}
ANSWERS = {"500": (500, "internal_error"), "429": (429, "rate_limit_exceeded")}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_faults_strike_every_route(memory: Client, route: str, fault: str) -> None:
    """A cut tells nothing of what was done; an error did nothing; then the call works."""
    asset = await registered(memory, FAR, "VIDEO")
    project = (await memory.send("POST", "/v2/projects", {"name": "demo"})).json
    places = {"asset": asset["id"], "project": project["id"]}
    method, path, body = ROUTES[route]
    path = path.format_map({**places, "upload": (await presigned(memory))["uploadUrl"]})
    if route == "attach":
        body = {"assetId": asset["id"]}
    memory.sandbox.faults.add(FAULTS[fault])

    async def call() -> Answer | None:
        try:
            if method == "PUT":
                return await put(memory, path, body)
            return await memory.send(method, path, body)
        except ConnectionCutError:
            return None

    first, second = await call(), await call()
    assert second is not None
    # Half of an empty body is all of it.
    is_whole = route in _WITHOUT_BODY and fault == "cut in the middle"
    found = None if first is None or is_whole else refusal(first)
    was_done = fault in {"cut after", "cut in the middle"}
    assert found == ANSWERS.get(fault)
    assert (second.status < 300) is not (was_done and route in _ONCE)
