import json

import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.faults import (
    JOB_KINDS,
    KINDS,
    REQUEST_KINDS,
    WEBHOOK_KINDS,
    Fault,
    Faults,
    fault_to_json,
    faults_from_json,
)


@st.composite
def good_faults(draw: st.DrawFn) -> Fault:
    """Draw any fault that is accepted."""
    text = st.none() | st.text(min_size=1, max_size=8)
    return Fault(
        draw(st.sampled_from(sorted(KINDS))),
        method=draw(st.sampled_from([None, "GET", "POST"])),
        path=draw(text),
        status=draw(st.integers(200, 599)),
        code=draw(text),
        message=draw(text),
        body=draw(st.none() | st.text() | st.dictionaries(st.text(), st.integers())),
        headers=draw(st.dictionaries(st.sampled_from(["Retry-After", "X-A"]), st.just("1"))),
        seconds=draw(st.floats(0, 100)),
        fields={"status": "ODD"},
        skip=draw(st.integers(0, 9)),
        every=draw(st.integers(1, 9)),
        count=draw(st.none() | st.integers(1, 9)),
        probability=draw(st.floats(0, 1)),
    )


def test_kinds_are_three_separate_families() -> None:
    """A fault changes a request, a job or a webhook, never two of them."""
    sizes = len(REQUEST_KINDS) + len(JOB_KINDS) + len(WEBHOOK_KINDS)
    assert sizes == len(KINDS)


@pytest.mark.parametrize(
    ("fault", "method", "path", "expected"),
    [
        (Fault("hang"), "GET", "/a", True),
        (Fault("hang", method="post"), "POST", "/a", True),
        (Fault("hang", method="POST"), "GET", "/a", False),
        (Fault("hang", path="/v2/generate"), "GET", "/v2/generate", True),
        (Fault("hang", path="/v2/generate"), "GET", "/v2/generate/1", False),
        (Fault("hang", path="/v2/generate/*"), "GET", "/v2/generate/1", True),
        (Fault("hang", path="/v2/generate/*"), "GET", "/v2/generate", False),
        (Fault("hang", path="/media/[x].mp4"), "GET", "/media/[x].mp4", True),
    ],
)
def test_method_and_path_choose_requests(
    fault: Fault, method: str, path: str, *, expected: bool
) -> None:
    """Methods match in any case, paths exactly or as a glob."""
    assert fault.matches(method, path) == expected


@given(good_faults())
def test_json_form_keeps_everything(fault: Fault) -> None:
    """A fault survives the way to JSON text and back."""
    assert faults_from_json(json.loads(json.dumps(fault_to_json(fault)))) == (fault,)


def test_json_form_is_short() -> None:
    """What is left at its default is left out."""
    assert fault_to_json(Fault("latency", seconds=2)) == {"kind": "latency", "seconds": 2}


def test_all_problems_are_listed_at_once() -> None:
    """One error names every wrong field and what it should be."""
    data = {
        "kind": "explode",
        "method": "",
        "status": 99,
        "headers": {"X": "a\nb"},
        "seconds": -1,
        "fields": 5,
        "every": 0,
        "count": True,
        "probability": float("nan"),
        "colour": "red",
    }
    with pytest.raises(ValueError, match="cannot be used") as caught:
        faults_from_json(data)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert [line.partition(":")[0] for line in lines] == ["colour", *list(data)[:-1]]
    assert "status: must be a status from 200 to 599, not 99" in lines


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("status", "status"),
        ("latency", "seconds"),
        ("slow_body", "seconds"),
        ("replace_fields", "fields"),
        ("webhook_delay", "seconds"),
    ],
)
def test_a_kind_needs_its_detail(kind: str, needed: str) -> None:
    """A fault that would do nothing is refused."""
    with pytest.raises(ValueError, match=f"{needed}: a fault of kind '{kind}' needs it"):
        Fault(kind)


def test_python_faults_are_checked_too() -> None:
    """The constructor refuses what the control refuses, unhashable kinds included."""
    with pytest.raises(ValueError, match=r"kind: must be one of .*\n.*body: must be text or JSON"):
        Fault([], body=object())  # type: ignore[arg-type]


def test_a_fault_cannot_change_behind_its_back() -> None:
    """Mappings are copied and read-only."""
    fields = {"status": "ODD"}
    fault = Fault("replace_fields", fields=fields)
    fields["status"] = "CHANGED"
    assert fault.fields == {"status": "ODD"}


def struck(faults: Faults, requests: int) -> list[bool]:
    """Tell which of so many equal requests are struck."""
    return [bool(faults.strike("GET", "/v2/generations")) for _ in range(requests)]


@given(
    skip=st.integers(0, 5),
    every=st.integers(1, 4),
    count=st.none() | st.integers(1, 4),
    requests=st.integers(0, 30),
)
def test_strikes_follow_skip_every_and_count(
    skip: int, every: int, count: int | None, requests: int
) -> None:
    """After `skip` requests each `every`-th is struck, `count` times at most."""
    faults = Faults(seed=1)
    faults.add(Fault("hang", skip=skip, every=every, count=count))
    due = list(range(skip + every - 1, requests, every))[:count]
    assert [index for index, hit in enumerate(struck(faults, requests)) if hit] == due


def test_other_requests_are_not_counted() -> None:
    """`skip` counts matching requests only."""
    faults = Faults(seed=1)
    faults.add(Fault("hang", method="POST", skip=1))
    methods = ["GET", "POST", "GET", "POST"]
    assert [bool(faults.strike(method, "/a")) for method in methods] == [False, False, False, True]


def test_several_faults_strike_in_the_order_added() -> None:
    """One request may be struck more than once; a header's faults come last."""
    faults = Faults(seed=1)
    late = faults.add(Fault("latency", seconds=1))
    cut = faults.add(Fault("truncate"))
    ordered = faults.strike("GET", "/a", header='{"kind": "content_type"}')
    assert ordered == (late, cut, Fault("content_type"))


@given(seed=st.integers(), probability=st.floats(0.1, 0.9))
def test_probability_is_seeded(seed: int, probability: float) -> None:
    """The same seed strikes the same requests, whatever else is armed."""
    fault = Fault("hang", count=None, probability=probability)
    alone, crowded = Faults(seed), Faults(seed)
    alone.add(fault)
    crowded.add(fault)
    crowded.add(Fault("truncate", count=None, probability=0.5))
    hits = [fault in crowded.strike("GET", "/v2/generations") for _ in range(40)]
    assert hits == struck(alone, 40)


def test_probability_strikes_about_that_often() -> None:
    """Of a thousand due strikes about the asked share happens; 0 never does."""
    faults = Faults(seed=1)
    faults.add(Fault("hang", count=None, probability=0.3))
    never = Faults(seed=1)
    never.add(Fault("hang", count=None, probability=0))
    assert 250 < sum(struck(faults, 1000)) < 350
    assert sum(struck(never, 100)) == 0


def test_clear_starts_anew() -> None:
    """After `clear` the same faults strike as the first time."""
    faults = Faults(seed=7)
    fault = Fault("hang", count=None, probability=0.5)
    runs = []
    for _ in range(2):
        faults.add(fault)
        runs.append(struck(faults, 20))
        faults.clear()
    assert runs[0] == runs[1]
    assert list(faults) == []


def test_faults_can_be_listed() -> None:
    """The registry shows what is armed and how often it struck."""
    faults = Faults(seed=1)
    fault = faults.add(Fault("hang", skip=1))
    struck(faults, 3)
    assert list(faults) == [fault]
    assert faults.to_json() == [{"kind": "hang", "skip": 1, "matched": 3, "struck": 1}]
    assert repr(faults) == "<Faults 1 armed>"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('{"kind": "hang", "skip": 5, "method": "POST"}', ["hang"]),
        ('[{"kind": "hang"}, {"kind": "latency", "seconds": 1}]', ["hang", "latency"]),
        ("[]", []),
    ],
)
def test_a_header_strikes_its_own_request(header: str, expected: list[str]) -> None:
    """A fault in the request's header needs no registration and heeds no condition."""
    assert [fault.kind for fault in Faults(1).strike("GET", "/a", header=header)] == expected


@pytest.mark.parametrize(
    ("header", "problems"),
    [
        ("nonsense", ["x-sandbox-fault: no JSON"]),
        ("[" * 100_000, ["x-sandbox-fault: no JSON"]),
        ("5", ["  fault: must be a JSON object, not 5"]),
        ('[{"kind": "hang"}, {"skip": -1}]', ["[1].kind: is missing", "[1].skip: must be"]),
    ],
)
def test_a_bad_header_lists_its_problems(header: str, problems: list[str]) -> None:
    """Every problem of a header is named with its place."""
    with pytest.raises(ValueError, match="this fault cannot be used") as caught:
        Faults(1).strike("GET", "/a", header=header)
    assert [problem for problem in problems if problem not in str(caught.value)] == []
