import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, strategies as st

from lipsync_async.sandbox.outbound_http import FetchError, OutboundHttp
from tests.sandbox.clients import until

FRIEND = frozenset({"Friend.test"})
NO_HOSTS: frozenset[str] = frozenset()
STRANGER = "host '.*' is neither loopback nor allowed"
USER = "it holds a user name or a password"
SCHEME = "only http and https URLs are fetched"
NO_HOST = "it names no host"
NO_URL = "it is no URL \\(.*\\)"


async def whole(_request: web.Request) -> web.Response:
    """Answer ten bytes."""
    return web.Response(body=b"0123456789")


async def redirect(request: web.Request) -> web.Response:
    """Redirect so many times, then answer."""
    left = int(request.match_info["left"])
    if left == 0:
        return await whole(request)
    return web.Response(status=307, headers={"Location": f"{left - 1}"})


async def away(request: web.Request) -> web.Response:
    """Redirect to wherever the query says; without one, to nowhere."""
    target = request.query.get("to")
    return web.Response(status=302, headers={} if target is None else {"Location": target})


async def spelling(request: web.Request) -> web.Response:
    """Answer the target as it was asked for."""
    return web.Response(text=str(request.raw_path))


async def endless(request: web.Request) -> web.StreamResponse:
    """Send bytes without saying how many; the client hangs up."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b"x" * 65_536)


async def broken(request: web.Request) -> web.StreamResponse:
    """Promise more bytes than are sent."""
    answer = web.StreamResponse(headers={"Content-Length": "100"})
    await answer.prepare(request)
    await answer.write(b"0123456789")
    assert request.transport is not None
    request.transport.abort()
    return answer


async def silent(request: web.Request) -> web.StreamResponse:
    """Send the first bytes, then nothing until the client is gone."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    await answer.write(b"01234")
    await anyio.sleep_forever()
    return answer  # pragma: no cover


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    """Provide a media host on loopback."""
    app = web.Application()
    for handler in (whole, away, endless, broken, silent):
        app.router.add_get(f"/{handler.__name__}", handler)
    app.router.add_get("/redirect/{left}", redirect)
    app.router.add_get("/spelling/{name}", spelling)
    started = TestServer(app, handler_cancellation=True)
    async with started:
        yield started


class Fetcher:
    """Fetch from the test's server into one file."""

    def __init__(self, server: TestServer, target: Path) -> None:
        self.server, self.target = server, target
        self.port = server.port

    async def get(
        self, path: str, *, host: str = "127.0.0.1", max_bytes: int = 1000, seconds: float = 10
    ) -> bytes:
        """Return what was fetched."""
        outbound = OutboundHttp(frozenset({host}), max_bytes, seconds)
        try:
            await outbound.fetch(f"http://{host}:{self.port}{path}", self.target)
        finally:
            await outbound.aclose()
        return await anyio.Path(self.target).read_bytes()

    async def reason(self, path: str, **guards: float) -> str:
        """Return why nothing could be fetched; nothing may be left behind."""
        with pytest.raises(FetchError) as caught:
            await self.get(path, **guards)  # type: ignore[arg-type]
        assert not await anyio.Path(self.target).exists()
        return caught.value.reason


@pytest.fixture
def fetcher(server: TestServer, tmp_path: Path) -> Fetcher:
    """Provide a fetcher for one file."""
    return Fetcher(server, tmp_path / "media.mp4")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_file_is_written_whole(fetcher: Fetcher, host: str) -> None:
    """What the URL holds is in the file, from loopback under each of its names."""
    assert await fetcher.get("/whole", host=host, max_bytes=10) == b"0123456789"


async def test_five_redirects_are_followed(fetcher: Fetcher) -> None:
    """Relative ones, too."""
    assert await fetcher.get("/redirect/5") == b"0123456789"


@pytest.mark.parametrize(
    ("path", "guards", "reason"),
    [
        # A redirect leads nowhere where the first URL might not have gone.
        ("/away?to=http://10.0.0.1/", {}, "host '10.0.0.1' is neither loopback nor allowed"),
        ("/away?to=//evil.com/", {}, "host 'evil.com' is neither loopback nor allowed"),
        ("/away?to=file:///etc/passwd", {}, SCHEME),
        ("/away?to=http://[::1", {}, "redirects to what is no URL (Invalid IPv6 URL)"),
        ("/away", {}, "redirects to nowhere"),
        ("/redirect/6", {}, "is more than 5 redirects away"),
        # An error status, a promised size and a true size over the cap end the fetch.
        ("/none", {}, "/none answered 404"),
        ("/whole", {"max_bytes": 9}, "/whole is larger than 9 bytes"),
        ("/endless", {"max_bytes": 9}, "/endless is larger than 9 bytes"),
        # The time counts for everything together.
        ("/silent", {"seconds": 0.01}, "was not there within 0.01 s"),
        ("/broken", {}, "/broken cannot be fetched: "),
    ],
)
async def test_what_cannot_be_fetched_has_a_reason(
    fetcher: Fetcher, path: str, guards: dict[str, float], reason: str
) -> None:
    """Nothing stays behind of it."""
    assert reason in await fetcher.reason(path, **guards)


async def test_a_host_that_does_not_listen_is_a_reason(fetcher: Fetcher) -> None:
    """A refused connection is a fetch error, not a library's own."""
    await fetcher.server.close()
    assert "cannot be fetched: Cannot connect" in await fetcher.reason("/whole")


async def test_cancelling_leaves_no_file(fetcher: Fetcher) -> None:
    """A fetch that is cancelled half-way removes what it wrote."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fetcher.get, "/silent")
        await until(fetcher.target.exists)
        tasks.cancel_scope.cancel()
    assert not await anyio.Path(fetcher.target).exists()


ALLOWED = [
    *("http://127.0.0.1/a.mp4", "https://127.0.0.1:8443/a.mp4?token=1#x"),
    *("http://127.255.255.254/", "http://[::1]:80/", "http://[0:0:0:0:0:0:0:1]/"),
    *("http://localhost/", "HTTP://LOCALHOST:1/", "http://friend.test/"),
    *("http://FRIEND.TEST:8080/", "http://127.0.0.1/?next=@evil.com"),
]
STRANGERS = [
    *("127.1/", "127.0.1/", "0/", "0.0.0.0/", "[::]/", "2130706433/", "0x7f000001/", "0x7f.0.0.1/"),
    *("0177.0.0.1/", "127.0.0.1./", "localhost./", "a.localhost/", "localhost.evil.com/"),
    *("127.0.0.1.evil.com/", "127.0.0.1%2eevil.com/", "[::ffff:10.0.0.1]/", "[::ffff:127.0.0.1]/"),
    *("[::1%25eth0]/", "[fe80::1]/", "10.0.0.1/", "192.168.0.1/"),
    *("169.254.169.254/latest/meta-data/", "evil.com/", "evil.com#@127.0.0.1/"),
    *("evil.com?@127.0.0.1/", "friend.test.evil.com/", "sub.friend.test/", "friend.test./"),
]
USERS = [
    *("http://127.0.0.1@evil.com/", "http://evil.com@127.0.0.1/", "http://user:secret@127.0.0.1/"),
    *("http://:secret@127.0.0.1/", "http://127.0.0.1:80@evil.com/"),
]
NO_URLS = ["127.0.0.1\\@evil.com/", "[::1", "127.0.0.1:99999/", "[a]/"]
SCHEMES = [
    *("file:///etc/passwd", "ftp://127.0.0.1/", "data:video/mp4;base64,AA", "//127.0.0.1/a.mp4"),
    *("a.mp4", ""),
]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        *((url, None) for url in ALLOWED),
        *((f"http://{url}", STRANGER) for url in STRANGERS),
        *((url, USER) for url in USERS),
        *((url, SCHEME) for url in SCHEMES),
        *((url, NO_HOST) for url in ("http://", "http:///a.mp4")),
        *((f"http://{url}", NO_URL) for url in NO_URLS),
    ],
)
def test_only_loopback_and_allowed_hosts_may_be_asked(url: str, reason: str | None) -> None:
    """Loopback as it is usually spelt, and allowed names in any case and on any port."""
    # Private addresses, odd spellings, names that only look alike and what stands before an @
    # are refused, as are other schemes and what the parser refuses.
    found = OutboundHttp(FRIEND, 1).refusal(url)
    assert found == reason if reason is None else re.fullmatch(reason, found or "")


@given(st.ip_addresses(v=4))
def test_of_all_ipv4_addresses_only_loopback_may_be_asked(address: object) -> None:
    """127.0.0.0/8 and nothing else."""
    may = OutboundHttp(NO_HOSTS, 1).refusal(f"http://{address}/") is None
    assert may == str(address).startswith("127.")


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{}", "0x{:x}", "0{:o}", "[::ffff:{:x}]"]))
def test_no_number_is_taken_for_an_address(number: int, spelling: str) -> None:
    """Addresses written as one number, or mapped into IPv6, are refused whatever they mean."""
    assert OutboundHttp(NO_HOSTS, 1).refusal(f"http://{spelling.format(number)}/") is not None


@given(st.text())
def test_no_text_breaks_the_gate(text: str) -> None:
    """Any text gets a verdict, before or inside a URL."""
    assert OutboundHttp(NO_HOSTS, 1).refusal(text) != ""
    assert OutboundHttp(NO_HOSTS, 1).refusal(f"http://{text}/") != ""


@given(st.from_regex(r"[a-z0-9.\-]{1,20}", fullmatch=True))
def test_a_name_must_be_allowed(name: str) -> None:
    """No host name but localhost passes unless it was allowed."""
    reason = OutboundHttp(NO_HOSTS, 1).refusal(f"http://{name}/")
    assert reason is not None or name == "localhost" or name.startswith("127.")


@pytest.mark.parametrize("start", ["", "/away?to="])
async def test_a_signed_address_keeps_its_spelling(fetcher: Fetcher, start: str) -> None:
    """What it was signed with is what is asked for, also behind a redirect."""
    query = "sig=a%2Bb%2Fc%3D%3D&x=%3A%2F%2F&who=%27me%27%28%29"
    location = f"/spelling/take%20%281%29?{query}"
    path = f"{start}{quote(location)}" if start else location
    assert (await fetcher.get(path)).decode() == location


async def test_an_address_that_is_not_encoded_is_encoded(fetcher: Fetcher) -> None:
    """Letters beyond ASCII, and blanks, cannot be sent as they are."""
    assert await fetcher.get("/spelling/é è") == b"/spelling/%C3%A9%20%C3%A8"
