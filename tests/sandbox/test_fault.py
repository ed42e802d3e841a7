import json

import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.fault import (
    JOB_KINDS,
    KINDS,
    REQUEST_KINDS,
    WEBHOOK_KINDS,
    Fault,
    fault_from_json,
    fault_to_json,
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
    """A fault spoils a request, a job or a webhook, never two of them."""
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
    assert fault_from_json(json.loads(json.dumps(fault_to_json(fault)))) == fault


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
        fault_from_json(data)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert [line.partition(":")[0] for line in lines] == [
        "colour",
        "kind",
        "method",
        "status",
        "headers",
        "seconds",
        "fields",
        "every",
        "count",
        "probability",
    ]
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
def test_a_kind_insists_on_its_detail(kind: str, needed: str) -> None:
    """A fault that would do nothing is refused."""
    with pytest.raises(ValueError, match=f"{needed}: a fault of kind '{kind}' needs it"):
        Fault(kind)


def test_python_faults_are_checked_too() -> None:
    """The constructor refuses what the admin door refuses, unhashable kinds included."""
    with pytest.raises(ValueError, match=r"kind: must be one of .*\n.*body: must be text or JSON"):
        Fault([], body=object())  # type: ignore[arg-type]


def test_a_fault_cannot_change_behind_its_back() -> None:
    """Mappings are copied and read-only."""
    fields = {"status": "ODD"}
    fault = Fault("replace_fields", fields=fields)
    fields["status"] = "CHANGED"
    assert fault.fields == {"status": "ODD"}
