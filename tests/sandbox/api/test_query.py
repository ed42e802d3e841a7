"""Queries: lists in all their spellings, and moments."""

import json
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.api.query import moment, values
from lipsync_async.sandbox.server.api_errors import ApiError

WORDS = st.text("abcäß 9-_&=+%", min_size=1, max_size=5)


@given(words=st.lists(WORDS, min_size=1, max_size=4))
def test_all_spellings_of_a_list_say_the_same(words: list[str]) -> None:
    """A comma list, repeated keys, and a JSON array; what is asked for twice counts once."""
    spellings = [
        [("status", ",".join(words)), ("other", "x")],
        [("status", word) for word in words],
        [("status", json.dumps(words))],
    ]
    found = [values(parse_qsl(urlencode(query)), "status") for query in spellings]
    assert found == [tuple(dict.fromkeys(words))] * 3


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86_400.0),
        ("1970-01-01T01:00:00", 3600.0),
        ("1970-01-01T01:00:00.500Z", 3600.5),
        ("1970-01-01T01:00:00%2B01:00", 0.0),
        ("1970-01-01T01:00:00+01:00", 0.0),  # as clients send it that do not escape it
        ("0001-01-01T00:00:00%2B14:00", -62_135_647_200.0),
    ],
)
def test_moments_are_read_as_clients_write_them(text: str, seconds: float) -> None:
    """One without a zone is in UTC; without the parameter there is none."""
    query = parse_qsl(f"start={text}")
    assert (moment(query, "start"), moment(query, "end")) == (seconds, None)


@pytest.mark.parametrize("text", ["", "yesterday", "1970-13-01", "86400"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    """With the name of the parameter."""
    with pytest.raises(ApiError) as refused:
        moment([("start", text)], "start")
    assert refused.value.body["message"] == ["start must be an ISO 8601 date"]
