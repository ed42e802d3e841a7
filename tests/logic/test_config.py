"""Which service, with which key, by which proxies: arguments first, then the environment."""

from __future__ import annotations

import copy
import enum
import pickle
import string
from base64 import b64decode
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, strategies as st
from rich.pretty import pretty_repr

from lipsync_async._logic.config import (
    Config,
    Proxies,
    is_loopback,
    origin,
    proxies_from,
    service_at,
    setting_problems,
    settle,
    transport_problems,
)
from lipsync_async._logic.secrecy import Mask, Secret, hidden
from lipsync_async._models.policies import Limits
from lipsync_async.errors import ConfigurationError
from tests.foreign import FOREIGN, LoudNumber

KEY = "sk-very-secret"
URL = "https://api.example"


def resolve(api_key: Any, base_url: Any, environment: dict[str, str], **more: Any) -> Config:
    """Settle arguments, or raise what is wrong with them."""
    config, problems = settle(api_key, base_url, environment, **more)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return config


@pytest.mark.parametrize(
    ("key", "url", "environment", "expected"),
    [
        (None, None, {"SYNC_API_KEY": KEY}, ("https://api.sync.so", KEY)),
        (None, None, {"SYNC_API_KEY": KEY, "SYNC_BASE_URL": URL}, (URL, KEY)),
        ("mine", URL, {"SYNC_API_KEY": KEY, "SYNC_BASE_URL": "https://other"}, (URL, "mine")),
    ],
)
def test_arguments_come_first(
    key: str | None, url: str | None, environment: dict[str, str], expected: tuple[str, str]
) -> None:
    """Then the environment, then the real service; without a key there is none."""
    config = resolve(key, url, environment)
    assert (config.base_url, config.api_key.revealed) == expected


def test_an_empty_variable_is_none() -> None:
    """`SYNC_BASE_URL=` in a shell means the usual service, `SYNC_API_KEY=` no key."""
    assert resolve(KEY, None, {"SYNC_BASE_URL": ""}).base_url == "https://api.sync.so"
    with pytest.raises(ConfigurationError, match=r"no API key. Pass api_key= or set SYNC_API_KEY"):
        resolve(None, None, {"SYNC_API_KEY": ""})


@pytest.mark.parametrize(
    "key", ["", " ", f" {KEY}", f"{KEY}\n", "sk\r\nx-evil: 1", "schlüssel", "a\0"]
)
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    """A copying mistake is told at once, without showing the key."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(key, URL, {})
    assert KEY not in str(caught.value)


ODD = {**FOREIGN, "loud number": LoudNumber(0)}


@pytest.mark.parametrize("kind", ODD)
def test_settings_of_foreign_classes_are_refused_in_words(kind: str) -> None:
    """Nothing that an argument raises leaves, and no message is long."""
    value = ODD[kind]
    named = ["base_url", "proxy", "headers", "user_agent"]
    found = [settle(value, URL, {})[1]]
    found += [settle(KEY, **{"base_url": URL, name: value}, environment={})[1] for name in named]
    found += [settle(KEY, URL, {}, headers={"x-a": value})[1]]
    found += [setting_problems({"limits": (value, Limits)}, None), transport_problems(value)]
    found += [setting_problems({}, None, value), setting_problems({}, None, None, value)]
    if not isinstance(value, type):
        found.append(setting_problems({}, value))
    assert [problems for problems in found if len("".join(problems)) not in range(1, 300)] == []


class LoudMapping(dict[str, str]):
    """Headers that raise when they are looked at."""

    def items(self) -> Any:
        """Raise."""
        raise LookupError("no headers")


@pytest.mark.parametrize("key", [KEY, hidden(KEY)])
def test_what_an_argument_raises_is_told(key: str) -> None:
    """It leaves no frame that has the key among its variables."""
    config, problems = settle(key, URL, {}, headers=LoudMapping())
    assert config == Config("", config.api_key)
    assert problems == [
        "An argument cannot be read, for looking at it raised LookupError: no headers"
    ]


class Text(str, enum.Enum):  # noqa: UP042 - of `StrEnum`, Python takes the value
    """Texts by name, of which Python writes the name."""

    KEY = KEY
    URL = f"{URL}/"
    AGENT = "program/1"
    FIELD = "X-Gateway"
    VALUE = "pass"
    PROXY = "http://proxy.example:3128"


def test_members_of_enumerations_are_their_texts() -> None:
    """A key that was sent by its name would be refused by the service."""
    told = {"headers": hidden({Text.FIELD: Text.VALUE}), "proxy": hidden(Text.PROXY)}
    config = resolve(hidden(Text.KEY), Text.URL, {}, user_agent=Text.AGENT, **told)
    way = config.proxies.way_to(URL)
    assert (config.api_key.revealed, config.base_url) == (KEY, URL)
    assert dict(config.headers) == {"x-gateway": "pass"}
    assert config.user_agent.endswith(" program/1")
    assert way is not None
    assert way.url == "http://proxy.example:3128"


@pytest.mark.parametrize("name", [None, 5, 0.5, b"x", ("a", "b")])
def test_hidden_headers_show_that_a_name_is_no_text(name: Any) -> None:
    """A traceback with local variables shows them before they are refused."""
    shown = repr(hidden({name: "secret", "x-a": "secret"}))
    assert shown == f"<Headers {type(name).__name__}, x-a>"


@pytest.mark.parametrize("value", [5, b"key", ["key"]])
def test_key_and_url_are_text(value: Any) -> None:
    """Another type is told by name, and not shown."""
    kind = type(value).__name__
    with pytest.raises(ConfigurationError, match=f"^api_key must be text, not {kind}"):
        resolve(value, URL, {})
    with pytest.raises(ConfigurationError, match=f"^base_url must be text, not {kind}"):
        resolve(KEY, value, {})


# What is no base address, and the words that tell why.
MISSPELT = {
    **dict.fromkeys(("", "api.sync.so", "//api.sync.so", "localhost:8765"), "has no scheme"),
    "https:/api.sync.so": "has no scheme",
    **dict.fromkeys(
        [
            *("ftp://api.sync.so", "httpss://api.sync.so", "unix:///run/sync.sock", "https://"),
            *("https:///v2", "https://:443", "https://[", "https://[::1", "https://h\\evil"),
        ],
        "is no http(s) address",
    ),
    **dict.fromkeys(
        ("https://h:port", "https://h:99999", "https://h:-1", "https://h:0", "https://h:"),
        "has no port between 1 and 65535",
    ),
    **dict.fromkeys(("https://h?", "https://h?key=1"), "holds a query"),
    **dict.fromkeys(("https://h#", "https://h/#part"), "holds a query or a fragment"),
    **dict.fromkeys((" https://h", "https://h ", "https://h ost"), "holds a blank"),
    **dict.fromkeys(("https://h\u00a0", "https://h\u200b"), "holds a blank"),
    "https://h\n": "holds a blank, a line end",
    "https://h/\x00": "holds a blank, a line end or another character",
    "https://b\u00fccher.example": "has a host that is not ASCII",
    "https://h/stra\u00dfe": "has a path that is not ASCII",
    **dict.fromkeys(
        [
            *("https://127.1", "https://127.0.0.256", "https://0177.0.0.1", "https://1.2.3.4.5"),
            *("https://0x7f.0.0.1", "https://2130706433"),
        ],
        "has a number for a host",
    ),
    "https://api.sync.so/v2": "ends with '/v2', which the client puts there; leave it out",
    "https://api.sync.so/v2/": "leave it out: 'https://api.sync.so'",
    "https://API.sync.so/V2": "leave it out",
    "https://api.sync.so/v2/generate": "ends with '/v2/generate'",
    "http://localhost:8765/v2": "leave it out: 'http://localhost:8765'",
    "https://gateway.example/sync/v2": "leave it out: 'https://gateway.example/sync'",
    **dict.fromkeys(
        ("https://h/.", "https://h/sync/./", "https://h/a/../sync", "https://h/%2e%2E/sync"),
        "has a '.' or '..' in its path",
    ),
    "https://api.sync.so/docs": "names a path, but the service has its API at the top",
}


@pytest.mark.parametrize("url", MISSPELT)
def test_what_is_no_address_is_refused(url: str) -> None:
    """A base URL that would break every request is refused before the first, in words."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(KEY, url, {})
    assert MISSPELT[url] in str(caught.value)
    assert str(caught.value).startswith(f"base_url {url!r} ")
    assert "Pass base_url= (or set SYNC_BASE_URL) like 'https://api.sync.so'" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("https://me@h", "https://me:word@h", "https://:word@h", "https://@h"),
        *("https://me:word@h:99999", "https://me:word@[", "http://me:word@localhost"),
        *("https://h@evil.example/v2", "https://me:w@ord@h"),
    ],
)
def test_user_names_are_refused(url: str) -> None:
    """What looks like one host and is another is refused, and a password is not repeated."""
    with pytest.raises(ConfigurationError, match="must not hold a user name") as caught:
        resolve(KEY, url, {})
    assert "word" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(
    ("url", "usual"),
    [
        ("HTTPS://API.Sync.So", "https://api.sync.so"),
        ("https://api.sync.so///", "https://api.sync.so"),
        ("https://gateway.example/Sync/", "https://gateway.example/Sync"),
        ("https://gateway.example/v2x", "https://gateway.example/v2x"),
        ("https://v2.example", "https://v2.example"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://[::1]:80/", "http://[::1]:80"),
        ("http://LOCALHOST:8765", "http://localhost:8765"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://10.0.0.1:8443/sync", "https://10.0.0.1:8443/sync"),
    ],
)
def test_addresses_are_written_alike(url: str, usual: str) -> None:
    """Clients of one service share its limits, however each has written the address."""
    assert resolve(KEY, url, {}).base_url == usual


SAME = {
    "https://h": [
        *("https://h/", "https://H", "HTTPS://h"),
        *("https://h:443", "https://h.", "https://h.:443//"),
    ],
    "https://h/sync": ["https://h/sync/", "https://h.:443/sync//"],
    "http://127.0.0.1": ["http://127.0.0.1:80", "http://127.0.0.1:080/"],
    "http://[::1]:8765": ["http://[::1]:8765/", "http://[::1]:08765"],
    "https://h:8443": ["https://h.:8443", "https://H:08443/"],
}
OTHERS = ["http://localhost", "https://h:444", "https://h/Sync", "https://h/sync/b", "https://h.h"]


@pytest.mark.parametrize("service", SAME)
def test_one_service_has_one_name(service: str) -> None:
    """What is kept for a service, budget or journal, is found again by any form of its address."""
    found = {service_at(resolve(KEY, url, {}).base_url) for url in [service, *SAME[service]]}
    assert found == {service}


def test_two_services_have_two_names() -> None:
    """Another scheme, host, port or path is another service."""
    every = [*SAME, *OTHERS]
    assert len({service_at(resolve(KEY, url, {}).base_url) for url in every}) == len(every)


LOOPBACK = ["localhost", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"]
STRANGERS = [
    *("127.evil.com", "127.0.0.1.evil.com", "localhost.evil.com", "evil.com", "10.0.0.1"),
    *("0.0.0.0", "8.8.8.8", "::2", "::ffff:8.8.8.8", "fe80::1", "sandbox", "sandbox.localhost"),
    *("host.docker.internal", "172.17.0.1", "192.168.1.20", "lipsync.test"),
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_needs_no_encryption(host: str) -> None:
    """The sandbox speaks plain http."""
    url = f"http://[{host}]:80" if ":" in host else f"http://{host}:80"
    assert is_loopback(host)
    assert not is_loopback(None)  # a URL without a host goes nowhere
    assert resolve(KEY, url, {}).base_url == url


@pytest.mark.parametrize("host", STRANGERS)
def test_no_one_else_gets_the_key_unencrypted(host: str) -> None:
    """A name that only looks like this machine is another one."""
    url = f"http://[{host}]" if ":" in host else f"http://{host}"
    assert not is_loopback(host)
    with pytest.raises(ConfigurationError, match="would send the API key unencrypted"):
        resolve(KEY, url, {})


@pytest.mark.parametrize("host", STRANGERS)
def test_the_key_of_a_sandbox_may_go_anywhere(host: str) -> None:
    """A sandbox in another container is no stranger to a key that opens nothing else."""
    url = f"http://[{host}]:8765" if ":" in host else f"http://{host}:8765"
    assert resolve("sandbox-0123456789abcdef", url, {}).base_url == url
    for key in (KEY, "sandbox", "Sandbox-01", "my-sandbox-01"):
        with pytest.raises(ConfigurationError, match=r"only a sandbox's own key \(sandbox-"):
            resolve(key, url, {})


HOSTS = st.text(string.ascii_lowercase, min_size=1, max_size=8)
PATHS = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=4), max_size=3)


@given(HOSTS, st.integers(1, 65535), PATHS, st.integers(0, 3))
def test_a_good_address_is_kept(host: str, port: int, path: list[str], slashes: int) -> None:
    """Port and path stay; only slashes at the end go, for every path begins with one."""
    url = f"https://{host}:{port}{''.join(f'/{part}' for part in path)}"
    assert resolve(KEY, url + "/" * slashes, {}).base_url == url


@given(
    st.sampled_from([KEY, ""]) | st.text(), st.sampled_from(["https://h", "http://", ""]), st.text()
)
def test_whatever_comes_in_is_settled_or_refused(key: str, start: str, rest: str) -> None:
    """Any text is a configuration that can be used, or one clear error."""
    config, problems = settle(key, start + rest, {})
    if not problems:
        assert urlsplit(config.base_url).hostname
        assert config.api_key.revealed == key


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format])
def test_the_key_is_never_shown(show: Any) -> None:
    """A key does not get into logs by way of the configuration, nor by the mask that holds it."""
    secret = Secret(KEY)
    assert (show(secret), show(Mask(secret))) == ("Secret('***')", "<Mask>")
    config = Config(base_url=URL, api_key=secret)
    assert KEY not in f"{show(config)}{pretty_repr([secret, config])}"


@pytest.mark.parametrize("copier", [pickle.dumps, copy.deepcopy])
def test_the_key_is_never_pickled(copier: Any) -> None:
    """A key does not get into files and other processes unseen."""
    for value in (Secret(KEY), Config(base_url=URL, api_key=Secret(KEY))):
        with pytest.raises(TypeError, match="API key is not pickled"):
            copier(value)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("https://h/a", "https://h:443/b?c", True),
        ("http://h", "http://h:80", True),
        ("https://H", "https://h", True),
        ("https://h", "http://h", False),
        ("https://h", "https://h:444", False),
        ("https://h", "https://h.evil.com", False),
        ("https://h", "https://evil.com/h", False),
        ("ftp://h", "https://h", False),
    ],
)
def test_a_server_is_scheme_host_and_port(one: str, other: str, is_same: bool) -> None:  # noqa: FBT001
    """The key follows a redirect only to the very same server."""
    assert (origin(one) == origin(other)) is is_same


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
        *(
            (told, API, True)
            for told in [
                *("*", "other.example,*", "api.sync.so", "API.Sync.SO", " api.sync.so "),
                *("other.example, api.sync.so", "other.example api.sync.so"),
                *("other.example;api.sync.so", "; other.example ;.sync.so;", "sync.so"),
                *(".sync.so", "*.sync.so", "so", "api.sync.so.", "api.sync.so:443"),
                "api.sync.so:80,.so:443",
            ]
        ),
        *(
            (told, API, False)
            for told in [
                *("", ";", "ync.so", "pi.sync.so", "x.api.sync.so", "api.sync.so.evil.example"),
                *(",", ".", "*.", "https://api.sync.so", "api.sync.so:80"),
            ]
        ),
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
        *(
            (text, "is no http(s) address")
            for text in [
                *("ftp://p.example", "http://", "http://:3128", "http://p.example:port"),
                *("http://p.example:0", "http://p.example:70000", "http://[::1"),
                *("http://me:wo/rd@p.example:3128", "http://p exa.mple", "http://p\u00e4.example"),
                "http://p.example\x00",
            ]
        ),
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
    kind, _, packed = proxy.authorization.revealed.partition(" ")
    assert (kind, b64decode(packed).decode()) == ("Basic", known)
    assert proxy.url == P
    assert [shown for shown in (packed, "me:", "word") if shown in repr(proxies)] == []


PROXY_NAMES = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]


@given(
    st.dictionaries(
        st.sampled_from([*PROXY_NAMES, *map(str.upper, PROXY_NAMES)]),
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
