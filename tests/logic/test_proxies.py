"""Which proxy a request goes through, for every odd spelling of the environment."""

from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async._logic.config import Proxies, proxies_from

API = "https://api.sync.so/v2/models"
MEDIA = "http://media.example/out.mp4"
P, Q, R = "http://p.example:3128", "http://q.example:3129", "http://r.example:3130"


def ways(environment: dict[str, str], *urls: str) -> list[str | None]:
    """Return the proxies for addresses."""
    proxies, problems = proxies_from(None, environment)
    assert problems == []
    found = [proxies.way_to(url) for url in urls]
    return [None if proxy is None else proxy.url for proxy in found]


@pytest.mark.parametrize(
    ("environment", "api", "media"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": P}, P, None),
        ({"HTTP_PROXY": P}, None, P),
        ({"HTTPS_PROXY": P, "HTTP_PROXY": Q}, P, Q),
        ({"https_proxy": P, "http_proxy": Q}, P, Q),
        ({"HTTPS_PROXY": P, "https_proxy": Q}, Q, None),
        ({"ALL_PROXY": P}, P, P),
        ({"all_proxy": P}, P, P),
        ({"ALL_PROXY": P, "all_proxy": Q}, Q, Q),
        ({"ALL_PROXY": P, "HTTPS_PROXY": Q}, Q, P),
        ({"all_proxy": P, "HTTP_PROXY": Q}, P, Q),
        ({"HTTPS_PROXY": P, "https_proxy": ""}, None, None),
        ({"ALL_PROXY": P, "HTTPS_PROXY": ""}, None, P),
        ({"HTTPS_PROXY": "  "}, None, None),
        ({"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": P, "REQUEST_METHOD": "GET"}, None, P),
        ({"HTTPS_PROXY": P, "REQUEST_METHOD": "GET"}, P, None),
        ({"HTTPS_PROXY": "p.example:3128"}, P, None),
        ({"HTTPS_PROXY": " http://p.example:3128/ "}, P, None),
        ({"HTTPS_PROXY": "HTTP://P.Example:3128"}, P, None),
        ({"HTTPS_PROXY": "https://p.example:443"}, "https://p.example:443", None),
        ({"HTTPS_PROXY": "p.example"}, "http://p.example", None),
        ({"HTTPS_PROXY": "10.0.0.9:80"}, "http://10.0.0.9:80", None),
        ({"HTTPS_PROXY": "http://[2001:db8::9]:80"}, "http://[2001:db8::9]:80", None),
        ({"HTTPS_PROXY": "http://me:word@p.example:3128"}, P, None),
        ({"FTP_PROXY": P, "PROXY": P}, None, None),
    ],
)
def test_environment(environment: dict[str, str], api: str | None, media: str | None) -> None:
    """The usual variables say it, in lower case first, the special before the general."""
    assert ways(environment, API, MEDIA) == [api, media]


@pytest.mark.parametrize(
    ("told", "url", "is_bypassed"),
    [
        ("", API, False),
        ("*", API, True),
        ("other.example,*", API, True),
        ("api.sync.so", API, True),
        ("API.Sync.SO", API, True),
        (" api.sync.so ", API, True),
        ("other.example, api.sync.so", API, True),
        ("other.example api.sync.so", API, True),
        ("other.example;api.sync.so", API, True),
        ("; other.example ;.sync.so;", API, True),
        (";", API, False),
        ("sync.so", API, True),
        (".sync.so", API, True),
        ("*.sync.so", API, True),
        ("so", API, True),
        ("api.sync.so.", API, True),
        ("ync.so", API, False),
        ("pi.sync.so", API, False),
        ("x.api.sync.so", API, False),
        ("api.sync.so.evil.example", API, False),
        (",", API, False),
        (".", API, False),
        ("*.", API, False),
        ("https://api.sync.so", API, False),
        ("api.sync.so:443", API, True),
        ("api.sync.so:80", API, False),
        ("api.sync.so:80,.so:443", API, True),
        ("media.example:80", MEDIA, True),
        ("media.example:8080", "http://media.example:8080/x", True),
        ("media.example:8080", MEDIA, False),
        ("*:443", API, False),
        ("10.0.0.0/8", "https://10.1.2.3/x", True),
        ("10.0.0.0/8", "https://11.1.2.3/x", False),
        ("10.1.2.3/8", "https://10.9.9.9/x", True),
        ("10.0.0.0/99", "https://10.1.2.3/x", False),
        ("10.1.2.3", "https://10.1.2.3:8443/x", True),
        ("10.1.2.3:8443", "https://10.1.2.3:8443/x", True),
        ("10.1.2.3:8444", "https://10.1.2.3:8443/x", False),
        ("1.2.3", "https://10.1.2.3/x", False),
        ("2001:db8::1", "https://[2001:DB8::1]/x", True),
        ("[2001:db8::1]", "https://[2001:db8:0::1]/x", True),
        ("[2001:db8::1]:443", "https://[2001:db8::1]/x", True),
        ("[2001:db8::1]:80", "https://[2001:db8::1]/x", False),
        ("2001:db8::/32", "https://[2001:db8:5::1]/x", True),
        ("2001:db8::/32", "https://[2001:db9::1]/x", False),
        ("2001:db8::/32", "https://10.1.2.3/x", False),
        ("b\u00fccher.example", "https://xn--bcher-kva.example/x", True),
        ("xn--bcher-kva.example", "https://b\u00fccher.example/x", True),
        ("\ud800.example", API, False),
        # Whatever it says: this machine is reached directly.
        ("", "http://localhost:8765/x", True),
        ("", "http://127.0.0.1:8765/x", True),
        ("", "http://127.8.8.8/x", True),
        ("", "http://[::1]:8765/x", True),
        ("", "http://sandbox.localhost/x", True),
        ("", "http://LOCALHOST./x", True),
        ("", "http://localhost.example/x", False),
        ("", "http://sandbox:8765/x", False),
    ],
)
def test_bypass(told: str, url: str, is_bypassed: bool) -> None:  # noqa: FBT001 - a fact
    """`NO_PROXY` names hosts, endings, ports, addresses and ranges of them."""
    for name in ("NO_PROXY", "no_proxy"):
        environment = {"ALL_PROXY": P, name: told}
        assert ways(environment, url) == [None if is_bypassed else P]


def test_bypass_in_lower_case_comes_first() -> None:
    """Of two lists one counts."""
    environment = {"ALL_PROXY": P, "no_proxy": "other.example", "NO_PROXY": "*"}
    assert ways(environment, API) == [P]


@pytest.mark.parametrize("url", [API, MEDIA, "http://127.0.0.1:8765/x", "http://localhost/x"])
def test_an_argument_counts_for_everything(url: str) -> None:
    """A proxy that is passed carries all requests, whatever the environment says."""
    proxies, problems = proxies_from(Q, {"ALL_PROXY": P, "NO_PROXY": "*"})
    assert problems == []
    proxy = proxies.way_to(url)
    assert proxy is not None
    assert (proxy.url, proxy.origin) == (Q, "proxy")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_argument_is_none(text: str) -> None:
    """So the environment's proxy can be left out."""
    assert proxies_from(text, {"ALL_PROXY": P}) == (Proxies(), [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("socks5://p.example:1080", "names a SOCKS proxy"),
        ("socks5h://me:word@p.example:1080", "names a SOCKS proxy"),
        ("SOCKS4://p.example", "names a SOCKS proxy"),
        ("ftp://p.example", "is no http(s) address"),
        ("http://", "is no http(s) address"),
        ("http://:3128", "is no http(s) address"),
        ("http://p.example:port", "is no http(s) address"),
        ("http://p.example:0", "is no http(s) address"),
        ("http://p.example:70000", "is no http(s) address"),
        ("http://[::1", "is no http(s) address"),
        ("http://me:wo/rd@p.example:3128", "is no http(s) address"),
        ("http://p exa.mple", "is no http(s) address"),
        ("http://p\u00e4.example", "is no http(s) address"),
        ("http://p.example\x00", "is no http(s) address"),
        ("http://p.example/proxy.pac", "names a path"),
        ("http://p.example?x=word", "names a path"),
        ("http://p.example#word", "names a path"),
    ],
)
def test_what_is_no_proxy(text: str, words: str) -> None:
    """It is told at once of an argument, on use of a variable, and never repeated."""
    _, problems = proxies_from(text, {})
    assert len(problems) == 1
    assert words in problems[0]
    assert "word@" not in problems[0].replace("user:password@", "")
    assert "example:1080" not in problems[0]
    proxies, problems = proxies_from(None, {"HTTPS_PROXY": text, "HTTP_PROXY": P})
    assert problems == []
    way = proxies.way_to(API)
    assert way is not None
    assert words in str(way.problem)
    assert str(way.problem).startswith("HTTPS_PROXY ")
    assert proxies.way_to(MEDIA) == proxies_from(None, {"HTTP_PROXY": P})[0].way_to(MEDIA)


@pytest.mark.parametrize("value", [5, True, b"http://p.example", ["http://p.example"], object()])
def test_no_text(value: Any) -> None:
    """Another type is told by its name."""
    _, problems = proxies_from(value, {})
    assert problems[0].startswith(f"proxy must be text, not {type(value).__name__}. ")


@pytest.mark.parametrize(
    ("user_info", "known"),
    [
        ("me:word", "me:word"),
        ("me", "me:"),
        ("me:", "me:"),
        (":word", ":word"),
        ("me:wo%40rd%2F", "me:wo@rd/"),
        ("DOMAIN%5Cme:a%3Ab", "DOMAIN\\me:a:b"),
        ("m%C3%A9:w%C3%B6rd", "m\u00e9:w\u00f6rd"),
        ("me:w@rd", "me:w@rd"),
    ],
)
def test_user_name_and_password(user_info: str, known: str) -> None:
    """They go into a header of their own, in UTF-8, and are shown nowhere."""
    proxies, _ = proxies_from(f"http://{user_info}@p.example:3128", {})
    proxy = proxies.way_to(API)
    assert proxy is not None
    assert proxy.authorization is not None
    kind, _, packed = proxy.authorization.reveal().partition(" ")
    assert (kind, b64decode(packed).decode()) == ("Basic", known)
    assert proxy.url == P
    assert [shown for shown in (packed, "me:", "word") if shown in repr(proxies)] == []


@given(
    st.dictionaries(
        st.sampled_from(
            [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]
            + [f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL", "NO")]
        ),
        st.text() | st.sampled_from([P, Q, R, "*", "socks5://x", "[", "http://["]),
    ),
    st.sampled_from([API, MEDIA, "http://localhost:1/", "https://[::1]/", "https://h./"]),
)
def test_any_environment(environment: dict[str, str], url: str) -> None:
    """No environment breaks anything; a proxy can be used, or says why not."""
    proxies, problems = proxies_from(None, environment)
    proxy = proxies.way_to(url)
    assert problems == []
    assert proxy is None or bool(proxy.url) is (proxy.problem is None)
