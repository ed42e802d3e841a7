import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.request_log import Entry, RequestLog

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.fixture
def log() -> RequestLog:
    """Provide a log of three requests."""
    log = RequestLog()
    create = log.record(
        "post",
        "/v2/generate",
        headers={"X-Api-Key": "secret-key", "Content-Type": "application/json"},
        body=b'{"model": "lipsync-2", "input": [{"type": "video"}, {"type": "audio"}]}',
        time=1.0,
    )
    create.status = 201
    log.record("GET", "/v2/generate/1", query=[("wait", "true"), ("timeout", "10")], time=2.0)
    log.record("GET", "/v2/generations", query=[("ids", "a"), ("ids", "b")], time=3.0)
    return log


def numbers(entries: list[Entry]) -> list[int]:
    """Return the places of entries in their log."""
    return [entry.number for entry in entries]


def test_entries_keep_what_arrived(log: RequestLog) -> None:
    """An entry shows the whole request, and its answer's status once there is one."""
    first = next(iter(log))
    assert (first.method, first.path, first.status, first.time) == ("POST", "/v2/generate", 201, 1)
    assert first.json["model"] == "lipsync-2"
    assert [entry.status for entry in log] == [201, None, None]


def test_secrets_never_enter_the_log(log: RequestLog) -> None:
    """The API key is masked before it is stored; other headers are kept."""
    first = next(iter(log))
    assert first.headers == {"x-api-key": "***", "content-type": "application/json"}
    assert "secret-key" not in repr(list(log)) + json.dumps(log.to_json())


def test_long_bodies_are_cut() -> None:
    """Only the first 64 KiB of a body are kept, with its true size."""
    entry = RequestLog().record("POST", "/v2/generate", body=b"x" * 100_000)
    assert (len(entry.body), entry.body_size) == (65_536, 100_000)


@pytest.mark.parametrize("body", [b"", b"no JSON", b"\xff\xfe\xfd", b"[" * 60_000])
def test_a_body_that_is_no_json_is_none(body: bytes) -> None:
    """`json` never raises."""
    assert RequestLog().record("POST", "/", body=body).json is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [1, 2, 3]),
        ({"method": "get"}, [2, 3]),
        ({"path": "/v2/generate"}, [1]),
        ({"path": "/v2/generat*"}, [1, 2, 3]),
        ({"method": "DELETE", "path": "/nowhere"}, []),
        ({"json": {"model": "lipsync-2"}}, [1]),
        ({"json": {"model": "sync-3"}}, []),
        ({"json": {"input": [{"type": "video"}, {}]}}, [1]),
        ({"json": {"input": [{"type": "video"}]}}, []),
        ({"json": {"input": [{"type": "video"}, {"type": "text"}]}}, []),
        ({"json": {"segments": []}}, []),
        ({"query": {"wait": "true"}}, [2]),
        ({"query": {"ids": "b"}}, [3]),
        ({"query": {"ids": ["a", "b"]}}, [3]),
        ({"query": {"ids": ["b", "a"]}}, []),
        ({"query": {"limit": "5"}}, []),
    ],
)
def test_find_takes_method_path_and_subsets(
    log: RequestLog, wanted: dict[str, Any], expected: list[int]
) -> None:
    """A search fits what has at least what it asks for; `count` counts the same."""
    assert numbers(log.find(**wanted)) == expected
    assert log.count(**wanted) == len(expected)


@given(JSON)
def test_every_body_is_a_subset_of_itself(body: object) -> None:
    """Searching for exactly what was sent finds it."""
    log = RequestLog()
    log.record("POST", "/", body=json.dumps(body).encode())
    assert log.count(json=body) == 1


def test_a_request_may_come_while_others_are_looked_for(log: RequestLog) -> None:
    """A search, as in the thread of a test, sees the requests that were there when it began."""

    class Busy:
        def __ne__(self, _: object) -> bool:
            log.record("GET", "/v2/models")
            return False

    assert len(log.find(json=Busy())) == 3
    with pytest.raises(AssertionError, match="expected 9 of"):
        log.assert_count(9, json=Busy())
    assert len(log) == 3 * 2 * 2 * 2


def test_assertions_return_what_fits(log: RequestLog) -> None:
    """A true assertion hands over the entries, to look closer."""
    assert numbers(log.assert_count(2, "GET")) == [2, 3]
    assert numbers(log.assert_any("POST")) == [1]
    assert log.assert_count(0, "PUT") == []


def test_a_missing_request_is_explained(log: RequestLog) -> None:
    """The nearest entries come first, each with the fields in which it differs."""
    with pytest.raises(AssertionError) as caught:
        log.assert_any("POST", "/v2/generate", json={"model": "sync-3", "segments": []})
    heading, *lines = str(caught.value).splitlines()
    wanted = 'POST /v2/generate with json {"model": "sync-3", "segments": []}'
    assert heading == f"expected at least 1 of {wanted}; found 0 of 3 requests."
    assert lines == [
        "  near: #1 POST /v2/generate -> 201",
        "    json.model: wanted 'sync-3', found 'lipsync-2'",
        "    json.segments: wanted [], nothing there",
        "  near: #2 GET /v2/generate/1?wait=true&timeout=10 -> no answer",
        "    method: wanted 'POST', found 'GET'",
        "    path: wanted '/v2/generate', found '/v2/generate/1'",
        "    json: wanted {'model': 'sync-3', 'segments': []}, found None",
        "  near: #3 GET /v2/generations?ids=a&ids=b -> no answer",
        "    method: wanted 'POST', found 'GET'",
        "    path: wanted '/v2/generate', found '/v2/generations'",
        "    json: wanted {'model': 'sync-3', 'segments': []}, found None",
    ]


def test_too_few_requests_show_both_sides(log: RequestLog) -> None:
    """What fits is listed beside what nearly does."""
    with pytest.raises(AssertionError) as caught:
        log.assert_count(2, query={"ids": "a"})
    report = str(caught.value)
    assert "expected 2 of any method any path with query {'ids': 'a'}; found 1" in report
    assert "  fits: #3" in report
    assert "    query.ids: wanted 'a', nothing there" in report


def test_too_many_requests_list_those_that_fit(log: RequestLog) -> None:
    """Near misses would be noise when too much fits."""
    with pytest.raises(AssertionError) as caught:
        log.assert_count(1, "GET")
    assert [line.split()[0] for line in str(caught.value).splitlines()[1:]] == ["fits:", "fits:"]


@pytest.mark.parametrize(
    ("bounds", "requests", "kept"),
    [
        ({"max_entries": 2}, [{}] * 5, [4, 5]),
        # Large ones push out older entries sooner.
        ({"max_bytes": 100}, [{"body": b"x" * size} for size in (60, 40, 0, 10)], [2, 3, 4]),
        # A list of a hundred ids is longer than most bodies.
        ({"max_bytes": 100}, [{"query": [("ids", "x" * 60)]}] * 2, [2]),
    ],
)
def test_the_log_is_bounded(
    bounds: dict[str, int], requests: list[dict[str, Any]], kept: list[int]
) -> None:
    """The newest entries are kept, and their numbers go on; clearing makes room again."""
    log = RequestLog(**bounds)
    for request in requests:
        log.record("POST", "/", **request)
    assert numbers(list(log)) == kept
    assert repr(log) == f"<RequestLog {len(kept)} of {len(requests)} requests>"
    log.clear()
    log.record("POST", "/", body=b"x" * 100)
    assert numbers(list(log)) == [1]


def test_clear_starts_anew(log: RequestLog) -> None:
    """After `clear` nothing is found and numbers begin at 1."""
    log.clear()
    assert len(log) == 0
    assert log.record("GET", "/").number == 1


def test_a_body_may_come_after_its_entry_is_forgotten() -> None:
    """It is read later, when the log may have been cleared; it counts for no other entry."""
    log = RequestLog(max_bytes=10)
    early = log.record("POST", "/early")
    log.clear()
    log.keep_body(early, b"x" * 100)
    log.record("POST", "/late", body=b"y" * 10)
    assert [(entry.path, entry.body_size) for entry in log] == [("/late", 10)]


def test_json_form_is_plain_data(log: RequestLog) -> None:
    """The control shows each entry whole; bodies decoded where they are JSON."""
    log.record("POST", "/text", body=b"plain \xff")
    listed = json.loads(json.dumps(log.to_json()))
    assert [entry["body"] for entry in listed][1:] == [None, None, "plain \ufffd"]
    assert listed[0]["body"]["model"] == "lipsync-2"
    assert {**listed[1], "headers": {}} == {
        "number": 2,
        "method": "GET",
        "path": "/v2/generate/1",
        "query": [["wait", "true"], ["timeout", "10"]],
        "headers": {},
        "body": None,
        "bodySize": 0,
        "time": 2.0,
        "status": None,
    }
