"""The key is shown by nothing that holds it, and blotted out of whatever quotes it."""

import html
import json
import pickle
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from traceback import TracebackException
from typing import Any
from urllib.parse import quote

import attrs
import cattrs
import pytest
from hypothesis import example, given, settings, strategies as st
from rich.pretty import pretty_repr

from lipsync_async import ConnectionLostError, LipsyncError
from lipsync_async._logic.config import settle
from lipsync_async._logic.secrecy import Headers, Mask, Secret, hidden, kind_of
from lipsync_async._models.http import Response

KEY = "sk_live_5ecret.Part+/~9"
MASK = Mask(Secret(KEY))


def _each(form: str) -> str:
    return "".join(form.format(ord(letter)) for letter in KEY)


def _but_words(form: str) -> str:
    """Encode what is neither letter nor digit, as most encoders do."""
    return "".join(letter if letter.isalnum() else form.format(ord(letter)) for letter in KEY)


# How a service, a proxy or a debugging page may write the key.
FORMS: dict[str, str] = {
    "as it is": KEY,
    "in capitals": KEY.upper(),
    "in small letters": KEY.lower(),
    "with its case swapped": KEY.swapcase(),
    "for an address": quote(KEY, safe=""),
    "for an address, in small letters": quote(KEY, safe="").lower(),
    "for an address, twice": quote(quote(KEY, safe=""), safe=""),
    "for an address, all of it": _each("%{:02X}"),
    "for an address, all of it, twice": _each("%25{:02x}"),
    "for JSON": json.dumps(KEY)[1:-1],
    "for JSON with slashes escaped": KEY.replace("/", "\\/"),
    "for JSON in JSON": json.dumps(json.dumps(KEY.replace("/", "\\/")))[3:-3],
    "for JSON, all of it": _each("\\u{:04x}"),
    "for JSON, all of it in JSON": _each("\\\\u{:04X}"),
    "for JSON, but letters": _but_words("\\u{:04X}"),
    "for Python": _each("\\x{:02x}"),
    "for HTML": html.escape(KEY),
    "for HTML, in numbers": _each("&#{};"),
    "for HTML, in hexadecimal numbers": _each("&#x{:X};"),
    "for HTML, but letters": _but_words("&#x{:02x};"),
    "for HTML, with zeros": _but_words("&#00{};"),
    "for HTML, without semicolons": _but_words("&#{}").replace("&#46P", "&#46;P"),
    "for HTML, by names": KEY.replace("_", "&lowbar;").replace("+", "&plus;"),
    "in hexadecimal digits": KEY.encode().hex(),
    "in capital hexadecimal digits": KEY.encode().hex().upper(),
    "behind backslashes": "".join(letter if letter.isalnum() else f"\\{letter}" for letter in KEY),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", ["{}", "Invalid API key: {}.", '{{"message": "x-api-key: {}"}}'])
def test_quoted(form: str, around: str) -> None:
    """However it is written, nothing of it is left, and all else is."""
    assert MASK.text(around.format(FORMS[form])) == around.format("***")
    data = around.format(FORMS[form]).encode()
    assert MASK.data(data + b"\xff" + data) == (
        around.format("***").encode() + b"\xff" + around.format("***").encode()
    )


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "u", "us", "user:", "api_key:", "x" * 50])
@pytest.mark.parametrize("after", ["", ":", ":x", "xyz"])
def test_packed(encode: Callable[[bytes], bytes], before: str, after: str) -> None:
    """In base64 it may begin at any bit; what remains says nothing."""
    packed = encode(f"{before}{KEY}{after}".encode()).decode()
    left = MASK.text(f"Basic {packed}!")
    assert "***" in left
    assert len(left) <= len("Basic !") + len(packed) - len(KEY)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_in_another_encoding(encoding: str) -> None:
    """JSON in UTF-16 is read as well, so it is looked into as well."""
    left = MASK.data(json.dumps({"message": f"key {KEY}"}).encode(encoding))
    assert b"***" in left
    assert b"ecret" not in left.replace(b"\0", b"")


@pytest.mark.parametrize(
    "text",
    [
        *("", "sk_live_", "sk_live_5ecret", "sk_live_***", "5ecret", "%73%6b is how it begins"),
        *("\\u0073\\u006b", "&#115;&#107;", KEY[:-1], KEY[1:], KEY.replace("_", "-")),
        "\ud800 is half a letter, and 5ecret",
    ],
)
def test_not_quoted(text: str) -> None:
    """What is only like it stays, to the last letter."""
    assert MASK.text(text) == text


@given(st.text(), st.text())
def test_in_any_text(before: str, after: str) -> None:
    """Nothing around it hides it, and nothing without it is changed."""
    left = MASK.text(before + KEY + after)
    assert KEY not in left
    assert MASK.text(before.replace("*", "")) == before.replace("*", "")


@settings(max_examples=25)
@example("\\:::::::")
@example("0000000&")
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40))
def test_any_key(key: str) -> None:
    """A key of whatever characters is found, plain and encoded."""
    mask = Mask(Secret(key))
    for form in (key, quote(key, safe=""), json.dumps(key)[1:-1], html.escape(key)):
        assert mask.text(f"<{form}>") == "<***>"


@pytest.mark.parametrize("key", ["", "k", "key", "a-key", "1234567"])
def test_a_key_that_is_a_word(key: str) -> None:
    """A key shorter than any that a service gives out might be a word of each answer."""
    assert Mask(Secret(key)).text(f"the {key} of a key") == f"the {key} of a key"


@pytest.mark.parametrize("around", ["\\", "%25", "&#0", "0", "\0"])
def test_search_has_bounds(around: str) -> None:
    """No text of a hostile service makes the search take long."""
    assert MASK.text(around * 100_000 + "5ecret" + around * 100_000).count("5ecret") == 1


def _response(**parts: Any) -> Response:
    usual: dict[str, Any] = {"url": "https://h/", "headers": {}, "body": b"{}"}
    return Response("GET", status=200, **usual | parts)


@pytest.mark.parametrize(
    ("quoting", "clean"),
    [
        ({"body": KEY.encode()}, {"body": b"***"}),
        ({"headers": {"x-seen": f"a {KEY}"}}, {"headers": {"x-seen": "a ***"}}),
        ({"headers": {KEY: "1"}}, {"headers": {"***": "1"}}),
        ({"url": f"https://h/?k={KEY}"}, {"url": "https://h/?k=***"}),
        (
            {"headers": {"a": KEY, "b": "2"}, "body": b"{" + KEY.encode()},
            {"headers": {"a": "***", "b": "2"}, "body": b"{***"},
        ),
    ],
)
def test_answer(quoting: dict[str, Any], clean: dict[str, Any]) -> None:
    """It is in no part of an answer; one that does not quote it is left as it is."""
    assert MASK.response(_response(**quoting)) == _response(**clean)
    untouched = _response()
    assert MASK.response(untouched) is untouched


def test_error() -> None:
    """An error of the transport, and what has led to it, do not quote it either."""
    inner = ValueError(f"bad line {KEY}")
    error = ConnectionLostError(f"it said {KEY}", method="GET", url=f"https://h/?{KEY}")
    outer = OSError("broken")
    outer.__context__ = inner
    error.__cause__ = outer
    MASK.error(error)
    shown = "".join(TracebackException.from_exception(error, capture_locals=True).format())
    assert KEY not in f"{shown}{error!r}{vars(error)}{pickle.dumps(error)!r}"
    assert "it said ***" in str(error)
    assert error.__cause__ is outer


def test_error_without_it() -> None:
    """Any other error stays as it is."""
    error = LipsyncError("plain", 5)
    error.__cause__ = cause = ValueError("odd")
    MASK.error(error)
    assert error.args == ("plain", 5)
    assert error.__cause__ is cause


def test_headers() -> None:
    """They are a mapping like any other, but show their names only."""
    headers = Headers({"x-api-key": KEY, "accept": "a/b"})
    assert dict(headers) == {"x-api-key": KEY, "accept": "a/b"}
    assert (len(headers), headers["x-api-key"]) == (2, KEY)
    assert repr(headers) == "<Headers x-api-key, accept>"
    assert KEY not in pretty_repr(headers)


def test_the_fields_of_what_holds_a_key_do_not_show_it() -> None:
    """A tool that writes all fields of attrs classes writes no key."""
    config, problems = settle(KEY, "https://api.example", {}, proxy="http://u:5ecret@proxy")
    assert problems == []
    for written in (attrs.asdict(config), attrs.astuple(config), cattrs.unstructure(config)):
        assert KEY not in str(written)
        assert b64encode(b"u:5ecret").decode() not in str(written)


@pytest.mark.parametrize("value", [KEY, {"a": KEY}, KEY.encode(), [KEY], 5, Secret(KEY)])
def test_hidden(value: Any) -> None:
    """An argument that may be a secret shows itself no more; text and mappings stay usable."""
    shell = hidden(hidden(value))
    assert KEY not in f"{shell!r}{[shell]}{pretty_repr(shell)}"
    assert kind_of(shell) in {type(value).__name__, "_HiddenText", "Headers"}
    if isinstance(value, str | dict):
        assert shell == value


def test_nothing_is_hidden_as_nothing() -> None:
    """An argument that was left out stays so."""
    assert hidden(None) is None
