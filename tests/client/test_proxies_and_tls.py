"""Through proxies, encryption and sessions of one's own: all requests, and only those."""

import asyncio
import json
import logging
import pickle
import ssl
import sys
import traceback
from base64 import b64decode
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from lipsync_async import (
    AsyncClient,
    Client,
    ConfigurationError,
    ConnectError,
    Generation,
    LipsyncError,
    ResponseError,
    RetryPolicy,
    ServerError,
    Status,
    Video,
)
from lipsync_async.sandbox import Sandbox, VirtualClock
from tests.client.connections import INPUTS, ORDER, UNLIMITED
from tests.client.hosts import Answer, Arrival, Host, hosting, serving
from tests.client.proxies import Certificate, certificate, needs_openssl, proxying

API = "https://api.sync.example"
IN_CLEAR = "http://api.sync.example"
SANDBOX_KEY = "sandbox-0123456789abcdef"
_QUICK = RetryPolicy(attempts=3, first_pause=0.001, longest_pause=0.002)
_JOB = Answer(json.dumps({"id": "job-1", "status": "PROCESSING"}).encode())
_FILM = Answer(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100))


def _job_or_film(arrival: Arrival) -> Answer:
    """Answer as service and media host in one."""
    return _FILM if arrival.target.endswith(".mp4") else _JOB


def _client(url: str = API, **settings: Any) -> AsyncClient:
    usual: dict[str, Any] = {"limits": UNLIMITED, "retry": _QUICK, "timeout": 5.0}
    return AsyncClient(SANDBOX_KEY, base_url=url, **usual | settings)


def _done(url: str) -> Generation:
    return Generation(id="job-1", status=Status.COMPLETED, output_url=url)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make the certificate of `api.sync.example`."""
    return certificate(tmp_path_factory.mktemp("trusted"))


async def _error_of(client: AsyncClient, verb: str = "get") -> LipsyncError:
    async with client:
        generations = client.generations
        call = generations.get("job-1") if verb == "get" else generations.create(**ORDER)
        with pytest.raises(LipsyncError) as caught:
            await call
    return caught.value


# How a proxy is named, and the way to a host: `{}` stands for the proxy's address.
_NAMED: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "argument": ({}, {"proxy": "{}"}),
    "argument, with blanks": ({}, {"proxy": " {}/ "}),
    "argument over environment": (
        {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*"},
        {"proxy": "{}"},
    ),
    "HTTPS_PROXY": ({"HTTPS_PROXY": "{}"}, {}),
    "https_proxy": ({"https_proxy": "{}", "HTTPS_PROXY": "http://127.0.0.1:1"}, {}),
    "ALL_PROXY": ({"ALL_PROXY": "{}"}, {}),
    "all_proxy": ({"all_proxy": "{}", "NO_PROXY": "sync.example.other"}, {}),
}


@needs_openssl
@pytest.mark.parametrize("named", _NAMED)
async def test_encrypted_through_a_proxy(
    named: str, trusted: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Requests, uploads and downloads are tunnelled, and the proxy sees no more than the host."""
    environment, settings = _NAMED[named]
    async with hosting(_job_or_film, tls=trusted.served()) as host, proxying(host.url) as proxy:
        for name, value in environment.items():
            monkeypatch.setenv(name, value.format(proxy.url))
        arguments = {name: value.format(proxy.url) for name, value in settings.items()}
        async with _client(ssl_context=trusted.trusted(), **arguments) as client:
            await client.generations.get("job-1")
            await client.generations.create(
                model="lipsync-2", input=[Video(file=b"a film"), INPUTS[1]], upload="form"
            )
            await client.generations.download(_done(f"{API}/v.mp4"), tmp_path / "v.mp4")
    assert proxy.asked == ["CONNECT api.sync.example:443 HTTP/1.1"] * 3
    assert "x-api-key" not in repr(proxy.headers)
    assert [each.target for each in host.arrivals] == [
        "/v2/generate/job-1",
        "/v2/generate",
        "/v.mp4",
    ]
    assert "a film" in host.bodies[1]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "proxy"])
async def test_in_clear_through_a_proxy(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is not encrypted names its whole address to the proxy."""
    async with hosting(_job_or_film) as host, proxying(host.url) as proxy:
        settings = {}
        if name == "proxy":
            settings[name] = proxy.url
        else:
            monkeypatch.setenv(name, proxy.url)
        async with _client(IN_CLEAR, **settings) as client:
            await client.generations.get("job-1")
            await client.generations.download(_done(f"{IN_CLEAR}/v.mp4"), tmp_path / "v.mp4")
    assert proxy.asked == [
        f"GET {IN_CLEAR}/v2/generate/job-1 HTTP/1.1",
        f"GET {IN_CLEAR}/v.mp4 HTTP/1.1",
    ]
    assert [each.headers.get("x-api-key") for each in host.arrivals] == [SANDBOX_KEY, None]


@pytest.mark.parametrize(
    "environment",
    [
        {"ALL_PROXY": "{}"},
        {"HTTP_PROXY": "{}", "NO_PROXY": ""},
        {"http_proxy": "{}", "no_proxy": "other.example"},
        {"HTTP_PROXY": "{}", "NO_PROXY": "127.0.0.1,localhost"},
    ],
)
async def test_sandbox_is_reached_directly(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No proxy of the environment is asked for this machine, whatever `NO_PROXY` says."""
    async with proxying(answer=b"HTTP/1.1 502 X\r\n\r\n") as proxy:
        for name, value in environment.items():
            monkeypatch.setenv(name, value.format(proxy.url))
        async with (
            Sandbox(render=False, progression="immediate") as sandbox,
            AsyncClient(sandbox.api_key, base_url=sandbox.url) as client,
        ):
            done = await client.generations.run(**ORDER)
            await client.generations.download(done, tmp_path)
    assert proxy.asked == []


async def test_sandbox_through_a_proxy_that_is_passed() -> None:
    """A proxy that is passed carries what goes to this machine as well."""
    async with (
        Sandbox(render=False) as sandbox,
        proxying(sandbox.url) as proxy,
        _client(sandbox.url, proxy=proxy.url) as client,
    ):
        with pytest.raises(ResponseError):
            await client.generations.count()
    assert proxy.asked == [f"GET {sandbox.url}/v2/generations/count HTTP/1.1"]


async def test_no_proxy_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty text leaves the environment's proxy out."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    async with hosting(_JOB) as host, _client(host.url, proxy="") as client:
        assert (await client.generations.get("job-1")).id == "job-1"


@pytest.mark.parametrize(
    "user_info", ["it-is-me:word", "it-is-me:w%40r%3Ad", "m%C3%A9:word", "it-is-me", ":word"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
@needs_openssl
async def test_user_of_a_proxy(
    user_info: str, scheme: str, trusted: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    """A user name and a password reach the proxy, and are shown nowhere else."""
    caplog.set_level(logging.DEBUG)
    tls = trusted.served() if scheme == "https" else None
    async with hosting(_JOB, tls=tls) as host, proxying(host.url) as proxy:
        named = proxy.url.replace("://", f"://{user_info}@")
        url = f"{scheme}://api.sync.example"
        client = _client(url, proxy=named, ssl_context=trusted.trusted())
        async with client:
            await client.generations.get("job-1")
            proxy.answer = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"
            error = await _error_of(_client(url, proxy=named))
    (told,) = [line for line in proxy.headers[0] if line.lower().startswith("proxy-auth")]
    packed = told.split(" ")[-1]
    assert b64decode(packed).decode().split(":")[0] in {"it-is-me", "m\u00e9", ""}
    shown = _everything_of(error) + caplog.text + repr(client) + repr(vars(client))
    assert [part for part in (packed, user_info, "w@r:d") if part in shown] == []
    assert "proxy-authorization" not in repr(host.arrivals)


def _traceback_of(error: BaseException) -> str:
    """Return a traceback with local variables, but those of the test's own frame."""
    error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(told.format())


def _everything_of(error: BaseException) -> str:
    """Return all that could be shown or stored of an error."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    held = "".join(f"{each}{each!r}{vars(each)}" for each in chain)
    return _traceback_of(error) + held + repr(pickle.dumps(error))


_REFUSALS: dict[str, tuple[bytes, bool, str]] = {
    "407": (b"HTTP/1.1 407 No\r\n\r\n", True, "(407 Proxy Authentication Required)"),
    "407, with a page": (
        b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 3\r\n\r\nno!",
        True,
        "Put user name and password into its address",
    ),
    "403": (b"HTTP/1.1 403 Blocked \x1b[31m\r\n\r\n", True, "(403 Forbidden)"),
    "400": (b"HTTP/1.1 400 Bad\r\n\r\n", True, "(400 Bad Request)"),
    "405": (b"HTTP/1.1 405 No\r\n\r\n", True, "Check that it allows this address"),
    "302": (b"HTTP/1.1 302 X\r\nLocation: http://login.example/\r\n\r\n", True, "(302 Found)"),
    "200 by halves": (b"HTTP/1.1 2", False, "could not be delivered through the proxy"),
    "500": (b"HTTP/1.1 500 X\r\n\r\n", False, "(500 Internal Server Error)"),
    "502": (b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n", False, "(502 Bad Gateway)"),
    "503": (b"HTTP/1.1 503 X\r\n\r\n", False, "(503 Service Unavailable)"),
    "504": (b"HTTP/1.1 504 X\r\n\r\n", False, "(504 Gateway Timeout)"),
    "599": (b"HTTP/1.1 599 X\r\n\r\n", False, "refused it (599)"),
    "nothing": (b"", False, "could not be delivered through the proxy"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", False, "could not be delivered through the proxy"),
    "plain text in the tunnel": (
        b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        False,
        "could not be delivered through the proxy",
    ),
    "a tunnel that ends": (b"HTTP/1.1 200 OK\r\n\r\n", False, "could not be"),
}


@pytest.mark.parametrize("verb", ["get", "create"])
@pytest.mark.parametrize("name", _REFUSALS)
async def test_proxy_that_refuses(name: str, verb: str) -> None:
    """Nothing was delivered, in words about the proxy; some refusals are final at once."""
    answer, is_final, words = _REFUSALS[name]
    async with proxying(answer=answer) as proxy:
        error = await _error_of(_client(proxy=proxy.url), verb)
    assert type(error) is ConnectError
    assert words in str(error)
    assert (error.may_have_worked, error.is_retryable) == (False, not is_final)
    assert len(proxy.asked) >= (1 if is_final else _QUICK.attempts)
    assert not is_final or len(proxy.asked) == 1
    assert "\x1b" not in str(error)


@pytest.mark.parametrize("verb", ["get", "create"])
async def test_proxy_that_refuses_in_clear(verb: str) -> None:
    """A 407 is the proxy's own also where it could be read as the service's."""
    answer = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"
    async with proxying(answer=answer) as proxy:
        error = await _error_of(_client(IN_CLEAR, proxy=proxy.url), verb)
    assert type(error) is ConnectError
    assert f"the proxy {proxy.url} refused it (407" in str(error)
    assert (error.may_have_worked, error.is_retryable) == (False, False)
    assert len(proxy.asked) == 1


async def test_error_of_a_host_behind_a_proxy() -> None:
    """Any other status may be the service's own, and is taken for that."""
    async with hosting(Answer(status=502)) as host, proxying(host.url) as proxy:
        assert type(await _error_of(_client(IN_CLEAR, proxy=proxy.url))) is ServerError
    async with hosting(Answer(status=407)) as host:
        assert type(await _error_of(_client(host.url))) is ResponseError


@pytest.mark.parametrize("url", [API, IN_CLEAR])
@pytest.mark.parametrize("verb", ["get", "create"])
async def test_proxy_that_is_not_there(url: str, verb: str) -> None:
    """No one at the proxy's address is told with that address, and who has named it."""
    async with proxying() as proxy:
        pass
    error = await _error_of(_client(url, proxy=proxy.url), verb)
    assert type(error) is ConnectError
    assert f"could not be delivered through the proxy {proxy.url}" in str(error)
    assert "Check proxy, and that the proxy runs" in str(error)
    assert not error.may_have_worked


async def test_proxy_that_says_nothing() -> None:
    """A proxy that never answers costs the timeout, and delivers nothing."""
    async with proxying(hangs=True) as proxy:
        once = RetryPolicy(attempts=1)
        error = await _error_of(_client(proxy=proxy.url, timeout=0.1, retry=once), "create")
    assert type(error) is ConnectError
    assert "no connection within 0.1 s" in str(error)
    assert not error.may_have_worked


@pytest.mark.parametrize(
    ("scheme", "status", "asked"),
    [
        ("https", "403 Forbidden", "CONNECT media.example:443"),
        ("http", "407 Proxy Authentication Required", "GET http://media.example/v.mp4"),
    ],
)
async def test_media_through_a_proxy_that_refuses(
    tmp_path: Path, scheme: str, status: str, asked: str
) -> None:
    """A download says the same, and leaves no file."""
    answer = f"HTTP/1.1 {status[:3]} X\r\nContent-Length: 0\r\n\r\n".encode()
    async with proxying(answer=answer) as proxy, _client(proxy=proxy.url) as client:
        with pytest.raises(ConnectError, match=rf"proxy .* refused it \({status}\)"):
            await client.generations.download(_done(f"{scheme}://media.example/v.mp4"), tmp_path)
    assert proxy.asked == [f"{asked} HTTP/1.1"]
    assert [path async for path in anyio.Path(tmp_path).iterdir()] == []


async def test_proxy_that_cannot_be_used_for_media(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SOCKS proxy that only media would need is told when one is needed."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    async with hosting(_JOB) as host, _client(host.url) as client:
        await client.generations.get("job-1")
        with pytest.raises(ConnectError, match="ALL_PROXY names a SOCKS proxy"):
            await client.generations.download(_done("https://media.example/v.mp4"), tmp_path)
    with pytest.raises(ConfigurationError, match="ALL_PROXY names a SOCKS proxy"):
        _client()


@needs_openssl
async def test_encrypted_proxy(trusted: Certificate, tmp_path: Path) -> None:
    """A proxy may itself be spoken to in TLS, and a tunnel is then encrypted twice."""
    both = certificate(tmp_path, "DNS:api.sync.example,IP:127.0.0.1")
    async with (
        hosting(_JOB, tls=both.served()) as host,
        proxying(host.url, tls=both.served()) as proxy,
        _client(proxy=proxy.url, ssl_context=both.trusted()) as client,
    ):
        assert (await client.generations.get("job-1")).id == "job-1"
    assert proxy.asked == ["CONNECT api.sync.example:443 HTTP/1.1"]
    async with proxying(tls=both.served()) as proxy:
        error = await _error_of(_client(proxy=proxy.url, ssl_context=trusted.trusted()))
    assert "certificate is not trusted" in str(error)


async def test_netrc_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds for a host, or for a proxy, goes to neither."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password word\n")
    netrc.chmod(0o600)
    for name in ("NETRC", "HOME"):
        monkeypatch.setenv(name, str(netrc))
    async with hosting(_job_or_film) as host, proxying(host.url) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with _client(IN_CLEAR) as client:
            await client.generations.get("job-1")
            await client.generations.download(_done(f"{IN_CLEAR}/v.mp4"), tmp_path / "v.mp4")
    told = [name for each in host.arrivals for name in each.headers if "auth" in name]
    assert told == []
    assert len(host.arrivals) == 2


@pytest.mark.parametrize(
    ("key", "url", "proxy", "is_refused"),
    [
        ("sk-real-0123456789", "http://127.0.0.1:8765", "http://proxy.example:80", True),
        ("sk-real-0123456789", "http://localhost", "http://10.0.0.9:80", True),
        ("sk-real-0123456789", "http://[::1]:8765", "http://me:word@proxy.example", True),
        ("sk-real-0123456789", "http://127.0.0.1:8765", "http://127.0.0.1:3128", False),
        ("sk-real-0123456789", "http://127.0.0.1:8765", "https://proxy.example", False),
        ("sk-real-0123456789", "https://api.sync.so", "http://proxy.example", False),
        (SANDBOX_KEY, "http://127.0.0.1:8765", "http://proxy.example", False),
        (SANDBOX_KEY, "http://sandbox:8765", "http://proxy.example", False),
    ],
)
def test_real_key_never_goes_in_clear(key: str, url: str, proxy: str, is_refused: bool) -> None:  # noqa: FBT001 - a fact
    """Nor does it by way of a proxy on another machine."""
    problems = []
    try:
        AsyncClient(key, base_url=url, proxy=proxy)
    except ConfigurationError as error:
        problems.append(str(error))
    assert len(problems) == is_refused
    assert all("would get the API key unencrypted" in each for each in problems)
    assert "word" not in "".join(problems)


_PAST, _FUTURE = "20200101000000Z", "20991231235959Z"
_CERTIFICATES: dict[str, tuple[str, str, str, str]] = {
    "unknown": ("DNS:api.sync.example", _PAST, _FUTURE, "self-signed"),
    "of another host": ("DNS:other.example,IP:127.0.0.1", _PAST, _FUTURE, "Hostname mismatch"),
    "that was": ("DNS:api.sync.example", _PAST, "20200102000000Z", "expired"),
    "that will be": ("DNS:api.sync.example", "20980101000000Z", _FUTURE, "not yet valid"),
    "of an address": ("IP:127.0.0.1", _PAST, _FUTURE, "mismatch"),
    "of a part": ("DNS:sync.example", _PAST, _FUTURE, "mismatch"),
    "of deeper parts": ("DNS:*.api.sync.example", _PAST, _FUTURE, "mismatch"),
}


@needs_openssl
@pytest.mark.parametrize("verb", ["get", "create"])
@pytest.mark.parametrize("name", _CERTIFICATES)
async def test_certificate_that_is_not_trusted(name: str, verb: str, tmp_path: Path) -> None:
    """It fails at once, with advice about certificates, and nothing was sent."""
    host_name, since, until, words = _CERTIFICATES[name]
    made = certificate(tmp_path, host_name, since, until)
    context = None if name == "unknown" else made.trusted()
    async with hosting(_JOB, tls=made.served()) as host, proxying(host.url) as proxy:
        error = await _error_of(_client(proxy=proxy.url, ssl_context=context), verb)
    assert type(error) is ConnectError
    assert "the server's certificate is not trusted" in str(error)
    assert words.lower() in str(error).lower().replace("self signed", "self-signed")
    assert "ssl_context=ssl.create_default_context(cafile=" in str(error)
    assert "SSL_CERT_FILE" in str(error)
    assert (error.may_have_worked, error.is_retryable) == (False, False)
    assert (len(proxy.asked), host.arrivals) == (1, [])


@needs_openssl
async def test_certificate_of_a_media_host(trusted: Certificate, tmp_path: Path) -> None:
    """The same of a download; trusted by the same context."""
    async with hosting(_FILM, tls=trusted.served()) as host, proxying(host.url) as proxy:
        done = _done(f"{API}/v.mp4")
        async with _client(proxy=proxy.url) as client:
            with pytest.raises(ConnectError, match="certificate is not trusted"):
                await client.generations.download(done, tmp_path / "v.mp4")
        async with _client(proxy=proxy.url, ssl_context=trusted.trusted()) as client:
            await client.generations.download(done, tmp_path / "v.mp4")
    assert len(proxy.asked) == 2


@needs_openssl
async def test_service_that_wants_a_certificate(trusted: Certificate, tmp_path: Path) -> None:
    """A context brings a client's own certificate to a service that wants one."""
    own = certificate(tmp_path)
    strict = trusted.served()
    strict.verify_mode = ssl.CERT_REQUIRED
    strict.load_verify_locations(own.path)
    known = trusted.trusted()
    known.load_cert_chain(own.path, own.key)
    async with hosting(_JOB, tls=strict) as host, proxying(host.url) as proxy:
        async with _client(proxy=proxy.url, ssl_context=known) as client:
            assert (await client.generations.get("job-1")).id == "job-1"
        error = await _error_of(_client(proxy=proxy.url, ssl_context=trusted.trusted()))
    assert isinstance(error, LipsyncError)


async def test_https_to_a_server_without() -> None:
    """An address of https where none is spoken is told as that, and tried again."""

    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with serving(complain) as url:
        error = await _error_of(_client(url.replace("http:", "https:")))
    assert type(error) is ConnectError
    assert "no encrypted connection could be made" in str(error)
    assert "Check that the address is one of https" in str(error)
    assert error.is_retryable


@needs_openssl
async def test_certificates_of_the_environment(tmp_path: Path) -> None:
    """`SSL_CERT_FILE`, which the error names, is enough."""
    made = certificate(tmp_path, "IP:127.0.0.1")
    program = f"""
import asyncio
from lipsync_async import AsyncClient

async def main(url):
    async with AsyncClient({SANDBOX_KEY!r}, base_url=url) as client:
        print((await client.generations.get("job-1")).id)

asyncio.run(main(__import__("sys").argv[1]))
"""
    async with hosting(_JOB, tls=made.served()) as host:
        found = await anyio.run_process(
            [sys.executable, "-c", program, host.url], env={"SSL_CERT_FILE": str(made.path)}
        )
    assert found.stdout.decode().strip() == "job-1"


async def test_headers_and_user_agent(tmp_path: Path) -> None:
    """They go to the service with each request, and to no one else."""
    async with hosting(_FILM) as media, hosting() as service:
        service.answers = [
            _JOB,
            Answer(_JOB.body, status=201),
            Answer(status=307, headers={"Location": f"{media.url}/elsewhere"}),
        ]
        headers = {"X-Gateway-Token": "t0ken-of-a-gateway", "x-sync-source": "my-program"}
        async with _client(service.url, headers=headers, user_agent="my-program/1.0 (x)") as client:
            await client.generations.get("job-1")
            await client.generations.create(**ORDER)
            with pytest.raises(LipsyncError):
                await client.generations.get("job-1")
            await client.generations.download(_done(f"{media.url}/v.mp4"), tmp_path / "v.mp4")
    own = {name.lower(): value for name, value in headers.items()} | {"x-api-key": SANDBOX_KEY}
    for arrival in service.arrivals:
        assert {**arrival.headers, **own} == arrival.headers
        agent = arrival.headers["user-agent"]
        assert agent.startswith("lipsync-async/")
        assert agent.endswith(" my-program/1.0 (x)")
    strange = [
        each for each in media.arrivals if {"x-gateway-token", "x-api-key"} & {*each.headers}
    ]
    assert (len(media.arrivals), strange) == (_QUICK.attempts + 1, [])


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (5, "headers must be a mapping of names to values, not int"),
        (["a"], "not list"),
        ({5: "x"}, "5 is no name of a header field"),
        ({"": "x"}, "'' is no name"),
        ({"a b": "x"}, "'a b' is no name"),
        ({"a:": "x"}, "'a:' is no name"),
        ({"a\r\nb": "x"}, "is no name"),
        ({"\u00e4": "x"}, "is no name"),
        ({"X-Api-Key": "x"}, "'X-Api-Key' is set by the client itself"),
        ({"idempotency-key": "x"}, "is set by the client itself"),
        ({"Content-Length": "1"}, "is set by the client itself, or by HTTP"),
        ({"Host": "x"}, "is set by the client itself, or by HTTP"),
        ({"Transfer-Encoding": "chunked"}, "or by HTTP"),
        ({"Proxy-Authorization": "Basic x"}, "or by HTTP"),
        ({"User-Agent": "x"}, "pass user_agent="),
        ({"a": 5}, "must have a text for its value, not int"),
        ({"a": None}, "not NoneType"),
        ({"a": b"secret"}, "not bytes"),
        ({"a": "secret\r\nb: c"}, "must have printable ASCII"),
        ({"a": "secret\n"}, "must have printable ASCII"),
        ({"a": " secret"}, "without blanks at the ends"),
        ({"a": "secr\u00e4t"}, "must have printable ASCII"),
        ({"a": "x", "A": "y"}, "'A' is there twice"),
    ],
)
def test_headers_that_cannot_be_sent(headers: Any, words: str) -> None:
    """They are told by name, without their values."""
    with pytest.raises(ConfigurationError) as caught:
        AsyncClient(SANDBOX_KEY, base_url=API, headers=headers)
    assert words in str(caught.value)
    assert "secr" not in str(caught.value)


@pytest.mark.parametrize("agent", ["", " ", "a\nb", "a\x00", "\u00e4", " x", 5, b"x"])
def test_user_agent_that_cannot_be_sent(agent: Any) -> None:
    """A name that no header can carry is refused."""
    with pytest.raises(ConfigurationError, match=r"^user_agent must be"):
        AsyncClient(SANDBOX_KEY, base_url=API, user_agent=agent)


async def test_own_session(tmp_path: Path) -> None:
    """A session of one's own carries everything, by its own settings, and is left open."""
    async with (
        hosting(_JOB) as host,
        hosting(_FILM) as media,
        aiohttp.ClientSession(
            headers={"X-Own": "1"}, raise_for_status=True, timeout=aiohttp.ClientTimeout(0.001)
        ) as session,
    ):
        async with _client(host.url, session=session) as client:
            await client.generations.get("job-1")
            await client.generations.create(**ORDER)
            await client.generations.download(_done(f"{media.url}/v.mp4"), tmp_path / "v.mp4")
        assert not session.closed
        async with _client(host.url, session=session) as client:
            await client.generations.get("job-1")
            host.answers = [Answer(status=503)]
            with pytest.raises(ServerError):
                await client.generations.get("job-1")
    assert {each.headers["x-own"] for each in [*host.arrivals, *media.arrivals]} == {"1"}
    assert len(host.arrivals) == 3 + _QUICK.attempts


async def test_middlewares_of_an_own_session() -> None:
    """They are asked, each time, before what the client itself has to see."""
    seen: list[str] = []

    async def note(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(request.method)
        return await handler(request)

    async with (
        hosting(_JOB) as host,
        aiohttp.ClientSession(middlewares=(note,)) as session,
        _client(host.url, session=session) as client,
    ):
        await client.generations.get("job-1")
        await client.generations.create(**ORDER)
    assert seen == ["GET", "POST"]


async def test_own_session_is_used_without_proxies_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session says how to get there; a proxy that is passed counts all the same."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    async with (
        hosting(_JOB) as host,
        proxying(host.url) as proxy,
        aiohttp.ClientSession() as session,
    ):
        async with _client(IN_CLEAR, session=session, proxy=proxy.url) as client:
            await client.generations.get("job-1")
        async with _client(host.url, session=session) as client:
            await client.generations.get("job-1")
    assert len(proxy.asked) == 1
    assert len(host.arrivals) == 2


async def test_closing_leaves_an_own_session_open() -> None:
    """What the client has under way ends all the same."""
    async with hosting(Answer(raw=b"", hangs=True)) as host, aiohttp.ClientSession() as session:
        client = _client(host.url, session=session, timeout=None)
        call = asyncio.ensure_future(client.generations.get("job-1"))
        await host.has_answered.wait()
        await client.aclose()
        with pytest.raises(ConfigurationError, match="closed while this call was under way"):
            await call
        host.answers = [_JOB]
        async with session.get(host.url) as answer:
            assert answer.status == 200


async def test_session_that_was_closed() -> None:
    """It is refused at first, and later when it is needed."""
    session = aiohttp.ClientSession()
    client = _client(session=session)
    await session.close()
    with pytest.raises(ConfigurationError, match=r"passed as session= is closed"):
        await client.generations.get("job-1")
    with pytest.raises(ConfigurationError, match=r"^session is closed"):
        _client(session=session)


async def test_session_of_another_loop() -> None:
    """The blocking client, which has a loop of its own, says what to pass instead."""
    async with aiohttp.ClientSession() as session:
        blocking = Client(SANDBOX_KEY, base_url=API, session=session)
        with pytest.raises(ConfigurationError, match="belongs to another event loop") as caught:
            await asyncio.to_thread(blocking.generations.get, "job-1")
        await asyncio.to_thread(blocking.close)
    assert "proxy=, ssl_context=, headers= and max_connections=" in str(caught.value)


def test_session_in_two_loops() -> None:
    """A session serves the loop that it was made in; a later loop is told so."""

    async def ask(client: AsyncClient | None) -> AsyncClient:
        async with hosting(_JOB) as host, aiohttp.ClientSession() as session:
            client = client or _client(host.url, session=session)
            await client.generations.get("job-1")
            return client

    client = asyncio.run(ask(None))
    with pytest.raises(ConfigurationError, match="passed as session= is closed"):
        asyncio.run(ask(client))
    asyncio.run(client.aclose())


@pytest.mark.parametrize(
    ("limit", "per_host", "places"), [(0, 0, 100), (1, 0, 1), (2, 0, 1), (8, 0, 6), (100, 4, 3)]
)
async def test_pool_of_an_own_session(limit: int, per_host: int, places: int) -> None:
    """No more requests are under way than its pool has connections, less some for media."""
    connector = aiohttp.TCPConnector(limit=limit, limit_per_host=per_host)
    async with (
        hosting(Answer(raw=b"", hangs=True)) as host,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        client = _client(host.url, session=session, timeout=None)
        assert await _asked_at_once(client, host, places, places + 5) == {ConfigurationError}


async def _asked_at_once(client: AsyncClient, host: Host, most: int, calls: int) -> set[type]:
    """Make calls that hang, and close the client when most have arrived; return how they end."""
    made = [asyncio.ensure_future(client.generations.get("job-1")) for _ in range(calls)]
    while len(host.arrivals) < most:
        await anyio.lowlevel.checkpoint()
    await client.aclose()
    ends = await asyncio.gather(*made, return_exceptions=True)
    assert len(host.arrivals) == most
    return {type(end) for end in ends}


@pytest.mark.parametrize("most", [1, 3])
async def test_most_connections(most: int) -> None:
    """The pool has the size that was asked for."""
    async with hosting(Answer(raw=b"", hangs=True)) as host:
        client = _client(host.url, max_connections=most, timeout=None)
        assert await _asked_at_once(client, host, most, 6) == {ConfigurationError}


_WRONG_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"ssl_context": True}, "ssl_context must be an ssl.SSLContext, not bool"),
    ({"ssl_context": "ca.pem"}, "ssl_context must be an ssl.SSLContext, not str"),
    ({"max_connections": 0}, "max_connections must be a whole number from 1, not 0"),
    ({"max_connections": -1}, "not -1"),
    ({"max_connections": True}, "not True"),
    ({"max_connections": 1.5}, "not 1.5"),
    ({"max_connections": "5"}, "not '5'"),
    ({"max_connections": float("nan")}, "not nan"),
    ({"retry": 10**5000}, "retry must be a RetryPolicy, not int"),
    ({"session": 5}, "session must be an aiohttp.ClientSession, not int"),
    ({"proxy": 5}, "proxy must be text, not int"),
    ({"proxy": "socks5://h:1"}, "proxy names a SOCKS proxy"),
    ({"retry": 0}, "retry must be a RetryPolicy, not 0"),
    ({"poll": False}, "poll must be a PollPolicy, not False"),
    ({"limits": {}}, "limits must be a Limits, not dict"),
    ({"api_key": "a b"}, "API key holds spaces"),
    ({"api_key": "key", "base_url": "http://api.example"}, "unencrypted"),
    ({"timeout": 0}, "timeout: must be"),
    ({"retry": 3}, "retry must be a RetryPolicy, not 3"),
    ({"poll": 3}, "poll must be a PollPolicy, not 3"),
    ({"limits": 3}, "limits must be a Limits, not 3"),
    ({"on_response": 3}, "on_response must be callable, not 3"),
]


@pytest.mark.parametrize(("settings", "words"), _WRONG_SETTINGS)
def test_wrong_setting(settings: dict[str, Any], words: str) -> None:
    """What cannot be used is refused when the client is built, in words."""
    with pytest.raises(ConfigurationError) as caught:
        AsyncClient(**{"api_key": SANDBOX_KEY, "base_url": API} | settings)
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", [AsyncClient, Client])
def test_all_that_is_wrong_is_told_at_once(kind: Any) -> None:
    """One error names each argument, and no frame of the client shows a secret."""
    with pytest.raises(ConfigurationError) as caught:
        kind(
            "sk real key of mine",
            base_url="ftp://api.sync.so",
            timeout=-1,
            retry=3,
            poll=3,
            limits=3,
            on_response=3,
            proxy="ftp://me:geheim@proxy.example",
            headers={"a": "t0ken\n"},
            user_agent="",
            ssl_context=3,
            max_connections=0,
            session=3,
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + 13
    for word in ("API key", "base_url", "timeout", "retry", "poll", "limits", "on_response"):
        assert any(word in line for line in lines[1:])
    shown = _traceback_of(caught.value)
    assert [each for each in ("real key", "geheim", "t0ken") if each in shown] == []


@pytest.mark.parametrize("kind", [AsyncClient, Client])
@pytest.mark.parametrize(
    "arguments",
    [
        {"api_key": b"sk-real-key"},
        {"api_key": ["sk-real-key"]},
        {"api_key": "sk-real-key", "base_url": "api.sync.so"},
        {"api_key": "sk-real-key", "base_url": "http://api.sync.so"},
        {"api_key": "sk-real-key", "timeout": "soon"},
        {"base_url": "http://api.sync.so"},
        {"api_key": "sk-real-key", "session": 5},
    ],
)
def test_key_in_a_constructor_that_fails(
    kind: Any, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the argument nor the environment is in a traceback with local variables."""
    monkeypatch.setenv("SYNC_API_KEY", "sk-real-key")
    with pytest.raises(ConfigurationError) as caught:
        kind(**arguments)
    shown = _traceback_of(caught.value)
    assert "real-key" not in shown


async def test_a_transport_of_ones_own_carries_all() -> None:
    """What only sockets know is refused beside another transport, and all at once."""
    async with Sandbox(clock=VirtualClock(), render=False) as sandbox:
        with pytest.raises(ConfigurationError) as caught:
            AsyncClient(
                sandbox.api_key,
                transport=sandbox.transport(),
                proxy="http://p.example",
                ssl_context=ssl.create_default_context(),
                max_connections=5,
            )
    assert str(caught.value).count("is of no use where transport= carries the requests") == 3


async def test_environment_does_not_disturb_another_transport(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy that cannot be used is no matter where none is."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    async with (
        Sandbox(clock=VirtualClock(), render=False) as sandbox,
        AsyncClient(sandbox.api_key, transport=sandbox.transport()) as client,
    ):
        assert await client.generations.count() == 0
