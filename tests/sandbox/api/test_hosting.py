"""The media host: signed links, ranges, hosted files, output faults."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox import Fault, Sandbox
from lipsync_async.sandbox.api.hosting import served
from lipsync_async.sandbox.server.messages import Request
from tests.sandbox.clients import AUDIO, Answer, Client, ConnectionCutError, created, order, shown
from tests.sandbox.conftest import OpenClient

NO_KEY = {"x-api-key": ""}


@pytest.fixture
async def client(open_client: OpenClient) -> AsyncIterator[Client]:
    """Connect to a sandbox whose jobs are done at once."""
    async with open_client(progression="immediate") as connected:
        yield connected


async def fetched(client: Client, url: str, **headers: str) -> Answer:
    """Fetch media as everybody may, without a key."""
    return await client.send("GET", url, headers={**NO_KEY, **headers})


async def output_url(client: Client, fault: str | None = None, **fields: Any) -> str:
    """Create a job, with a fault if asked, and return its output's URL."""
    if fault is not None:
        client.sandbox.faults.add(Fault(fault, method="POST"))
    return str((await shown(client, await created(client, **fields)))["outputUrl"])


async def test_an_output_is_served_whole(client: Client) -> None:
    """Type, length, name and validator come with it."""
    answer = await fetched(client, await output_url(client, outputFileName="take-1"))
    assert (answer.status, len(answer.body), answer.body[4:8]) == (200, 1024, b"ftyp")
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'attachment; filename="take-1.mp4"'
    assert (answer.headers["accept-ranges"], answer.headers["etag"][0]) == ("bytes", '"')


@pytest.mark.parametrize(
    ("asked", "status", "place", "told"),
    [
        ({"range": "bytes=1000-"}, 206, (1000, 1024), "bytes 1000-1023/1024"),
        ({"range": "bytes=1000-", "if-range": None}, 206, (1000, 1024), "bytes 1000-1023/1024"),
        ({"range": "bytes=9-", "if-range": '"x"'}, 200, (0, 1024), None),
        ({"range": "bytes=1024-"}, 416, (0, 0), "bytes */1024"),
    ],
)
async def test_a_range_is_served(
    *, client: Client, asked: dict[str, Any], status: int, place: tuple[int, int], told: str | None
) -> None:
    """With its place in the whole; of another version the whole, behind the end its length."""
    url = await output_url(client)
    whole = await fetched(client, url)
    if "if-range" in asked:
        asked = {**asked, "if-range": asked["if-range"] or whole.headers["etag"]}
    part = await fetched(client, url, **asked)
    assert (part.status, part.body) == (status, whole.body[slice(*place)])
    assert part.headers.get("content-range") == told


@pytest.mark.parametrize("size", [1, 41, 100_000])
async def test_the_placeholder_has_the_size_that_was_asked(
    open_client: OpenClient, size: int
) -> None:
    """It is never smaller than its boxes."""
    async with open_client(progression="immediate", placeholder_size=size) as client:
        answer = await fetched(client, await output_url(client))
    assert len(answer.body) == max(size, 40)


async def test_links_expire(open_client: OpenClient) -> None:
    """After its lifetime a link is 403, and the generation shows a fresh one."""
    async with open_client(progression="immediate", link_lifetime=60.0) as client:
        job_id = await created(client)
        url = (await shown(client, job_id))["outputUrl"]
        fresh = (await fetched(client, url)).status
        await client.sleep(61.0)
        stale = (await fetched(client, url)).status
        again = (await fetched(client, (await shown(client, job_id))["outputUrl"])).status
    assert (fresh, stale, again) == (200, 403, 200)


@pytest.mark.parametrize("change", ["&", "x", "?"])
async def test_a_link_that_was_changed_is_403(client: Client, change: str) -> None:
    """Only what was signed here is served."""
    url = await output_url(client)
    changed = {
        "&": url.replace("version=0", "version=1"),
        "x": url + "x",
        "?": url.partition("?")[0],
    }
    assert (await fetched(client, changed[change])).status == 403


async def test_a_deleted_output_is_404(client: Client) -> None:
    """The link is good, but nothing is behind it."""
    url = await output_url(client)
    job = next(iter(client.sandbox.jobs))
    await client.send("DELETE", f"/v2/generations/{job.id}")
    assert (await fetched(client, url)).status == 404


class TestOutputFaults:
    """Faults that stay with a job's output."""

    async def test_an_expired_link_is_replaced_by_the_generation(self, client: Client) -> None:
        """The first link is 403; looking again gives one that works."""
        url = await output_url(client, "expire_output")
        job = next(iter(client.sandbox.jobs))
        first = (await fetched(client, url)).status
        fresh = (await shown(client, job.id))["outputUrl"]
        statuses = [(await fetched(client, link)).status for link in (url, fresh)]
        assert (first, statuses) == (403, [403, 200])

    async def test_a_missing_output_is_found_by_download(self, client: Client) -> None:
        """Only `/download` gives a link that works."""
        url = await output_url(client, "missing_output")
        job = next(iter(client.sandbox.jobs))
        link = await client.send("GET", f"/v2/generations/{job.id}/download")
        statuses = [(await fetched(client, found)).status for found in (url, link.body.decode())]
        assert statuses == [404, 200]

    async def test_a_truncated_output_breaks_off_once(self, client: Client) -> None:
        """After that a range brings the rest."""
        url = await output_url(client, "truncate_output")
        with pytest.raises(ConnectionCutError):
            await fetched(client, url)
        rest = await fetched(client, url, range="bytes=512-")
        assert (rest.status, len(rest.body)) == (206, 512)

    async def test_a_redirected_output_is_on_another_host(self, client: Client) -> None:
        """The other name is this machine too, so it can be followed."""
        url = await output_url(client, "redirect_output")
        answer = await fetched(client, url)
        target = answer.headers["location"]
        hosts = {urlsplit(url).hostname, urlsplit(target).hostname}
        moved = urlsplit(target)
        again = await fetched(client, f"{client.sandbox.url}{moved.path}?{moved.query}")
        assert (answer.status, hosts, again.status) == (302, {"127.0.0.1", "localhost"}, 200)


class TestHostedFiles:
    """Local files with a URL."""

    async def test_a_hosted_file_is_served_from_its_place(
        self, client: Client, tmp_path: Path
    ) -> None:
        """Its bytes, its type, and ranges of it."""
        file = tmp_path / "a clip.mp4"
        file.write_bytes(b"0123456789")
        url = client.sandbox.host_file(file)
        whole, part = await fetched(client, url), await fetched(client, url, range="bytes=-3")
        assert (whole.body, whole.headers["content-type"]) == (b"0123456789", "video/mp4")
        assert (part.status, part.body) == (206, b"789")

    async def test_a_large_file_comes_whole(self, client: Client, tmp_path: Path) -> None:
        """What does not fit one piece is sent in several."""
        file = tmp_path / "large.bin"
        file.write_bytes(bytes(range(256)) * 4096)
        answer = await fetched(client, client.sandbox.host_file(file))
        assert answer.body == file.read_bytes()

    async def test_files_of_one_name_do_not_collide(self, client: Client, tmp_path: Path) -> None:
        """The second gets a number; the same file keeps its URL."""
        files = [tmp_path / name / "clip.mp4" for name in ("a", "b")]
        for file in files:
            file.parent.mkdir()
            file.write_text(file.parent.name)
        urls = [client.sandbox.host_file(file) for file in [*files, files[0]]]
        bodies = [(await fetched(client, url)).body for url in urls]
        assert (bodies, urls[0] == urls[2]) == ([b"a", b"b", b"a"], True)

    async def test_a_file_can_be_put(self, client: Client) -> None:
        """The body of a PUT gets a URL that works; its type follows from its name."""
        put = await client.send("PUT", "/__sandbox/files/a%2Fb%20%C3%BC.wav", b"sound")
        answer = await fetched(client, put.json["url"])
        assert (put.status, answer.status, answer.body) == (201, 200, b"sound")
        assert answer.headers["content-type"] == "audio/x-wav"
        body = order(input=[{"type": "video", "url": put.json["url"]}, AUDIO])
        assert (await client.send("POST", "/v2/generate", body)).status == 201

    @pytest.mark.parametrize(("body", "status"), [(None, 400), (b"sou", 201), (b"soun", 413)])
    async def test_what_is_put_has_a_body_and_a_limit(
        self, open_client: OpenClient, body: bytes | None, status: int
    ) -> None:
        """Hosting has the same limit as uploading."""
        async with open_client(max_file_bytes=3) as client:
            answer = await client.send("PUT", "/__sandbox/files/a.wav", body)
        assert answer.status == status

    async def test_a_file_that_is_gone_is_404(self, client: Client, tmp_path: Path) -> None:
        """Nothing is kept of a file that stays where it is."""
        file = tmp_path / "clip.mp4"
        file.write_bytes(b"x")
        url = client.sandbox.host_file(file)
        file.unlink()
        assert (await fetched(client, url)).status == 404

    def test_what_is_no_file_cannot_be_hosted(self, tmp_path: Path) -> None:
        """A wrong path is found at once."""
        with pytest.raises(FileNotFoundError):
            Sandbox().host_file(tmp_path / "nothing.mp4")


def ranged(asked: str | None, if_range: str | None = None, size: int = 10) -> tuple[int, bytes]:
    """Return status and body of a file of so many bytes, from which a range is asked."""
    named = {"range": asked, "if-range": if_range}
    headers = {name: value for name, value in named.items() if value is not None}
    request = Request("GET", "/", headers=headers)
    found = served(request, bytes(range(size)), size, '"e"', "video/mp4")
    return found.status, found.whole


@given(size=st.integers(1, 50), first=st.integers(0, 60), last=st.integers(0, 60))
def test_a_range_is_the_part_that_python_would_slice(size: int, first: int, last: int) -> None:
    """Both ends of an HTTP range count; one that begins behind the end is 416."""
    whole = bytes(range(size))
    part = (206, whole[first : last + 1]) if last >= first else (200, whole)
    assert ranged(f"bytes={first}-{last}", size=size) == ((416, b"") if first >= size else part)


FAR = "9" * 5000


@pytest.mark.parametrize(
    ("asked", "if_range", "expected"),
    [
        *((whole, None, (0, 10)) for whole in (None, "bytes=-", "bytes=0-1,3-4", "items=0-1")),
        *((f"bytes={far}", None, (0, 10)) for far in ("-30", f"{FAR}-", f"0-{FAR}")),
        ("bytes=-3", None, (7, 10)),
        ("bytes=2-", '"other"', (0, 10)),
        ("bytes=2-", '"e"', (2, 10)),
    ],
)
def test_ranges(asked: str | None, if_range: str | None, expected: tuple[int, int]) -> None:
    """What cannot be served as one part is served whole (RFC 9110, section 14.2)."""
    assert ranged(asked, if_range)[1] == bytes(range(*expected))
