import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.fetch import refusal

NOBODY: frozenset[str] = frozenset()
FRIEND = frozenset({"Friend.test"})


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.mp4",
        "https://127.0.0.1:8443/a.mp4?token=1#x",
        "http://127.255.255.254/",
        "http://[::1]:80/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://localhost/",
        "HTTP://LOCALHOST:1/",
        "http://friend.test/",
        "http://FRIEND.TEST:8080/",
        "http://127.0.0.1/?next=@evil.com",
    ],
)
def test_loopback_and_allowed_hosts_may_be_asked(url: str) -> None:
    """Loopback in its canonical spelling, and allowed names in any case and on any port."""
    assert refusal(url, FRIEND) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://localhost./",
        "http://a.localhost/",
        "http://localhost.evil.com/",
        "http://127.0.0.1.evil.com/",
        "http://127.0.0.1%2eevil.com/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::1%25eth0]/",
        "http://[fe80::1]/",
        "http://10.0.0.1/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://evil.com/",
        "http://evil.com#@127.0.0.1/",
        "http://evil.com?@127.0.0.1/",
        "http://friend.test.evil.com/",
        "http://sub.friend.test/",
        "http://friend.test./",
    ],
)
def test_other_hosts_may_not_be_asked(url: str) -> None:
    """Private addresses, odd spellings and names that only look alike are refused."""
    reason = refusal(url, FRIEND)
    assert reason is not None
    assert reason.endswith("is neither loopback nor allowed")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1@evil.com/",
        "http://evil.com@127.0.0.1/",
        "http://user:secret@127.0.0.1/",
        "http://:secret@127.0.0.1/",
        "http://127.0.0.1:80@evil.com/",
    ],
)
def test_user_names_are_refused(url: str) -> None:
    """What stands before an @ serves to deceive only."""
    assert refusal(url, FRIEND) == "it holds a user name or a password"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "only http and https URLs are fetched"),
        ("ftp://127.0.0.1/", "only http and https URLs are fetched"),
        ("data:video/mp4;base64,AA", "only http and https URLs are fetched"),
        ("//127.0.0.1/a.mp4", "only http and https URLs are fetched"),
        ("a.mp4", "only http and https URLs are fetched"),
        ("", "only http and https URLs are fetched"),
        ("http://", "it names no host"),
        ("http:///a.mp4", "it names no host"),
    ],
)
def test_other_schemes_and_no_host_are_refused(url: str, reason: str) -> None:
    """Only http and https URLs with a host are asked."""
    assert refusal(url, NOBODY) == reason


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1\\@evil.com/", "http://[::1", "http://127.0.0.1:99999/", "http://[a]/"],
)
def test_broken_urls_are_refused(url: str) -> None:
    """What the parser refuses is refused with its words."""
    assert str(refusal(url, NOBODY)).startswith("it is no URL (")


@given(st.ip_addresses(v=4))
def test_of_all_ipv4_addresses_only_loopback_may_be_asked(address: object) -> None:
    """127.0.0.0/8 and nothing else."""
    may = refusal(f"http://{address}/", NOBODY) is None
    assert may == str(address).startswith("127.")


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{}", "0x{:x}", "0{:o}", "[::ffff:{:x}]"]))
def test_no_number_is_taken_for_an_address(number: int, spelling: str) -> None:
    """Addresses written as one number, or mapped into IPv6, are refused whatever they mean."""
    assert refusal(f"http://{spelling.format(number)}/", NOBODY) is not None


@given(st.text())
def test_no_text_breaks_the_gate(text: str) -> None:
    """Any text gets a verdict, before or inside a URL."""
    assert refusal(text, NOBODY) != ""
    assert refusal(f"http://{text}/", NOBODY) != ""


@given(st.from_regex(r"[a-z0-9.\-]{1,20}", fullmatch=True))
def test_a_name_must_be_allowed(name: str) -> None:
    """No host name but localhost passes unless it was allowed."""
    reason = refusal(f"http://{name}/", NOBODY)
    assert reason is not None or name == "localhost" or name.startswith("127.")
