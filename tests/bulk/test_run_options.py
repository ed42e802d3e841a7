"""The arguments of a run of many requests, before anything is sent."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from lipsync_async._bulk.runner import RunOptions
from lipsync_async._logic.validation import run_problems
from lipsync_async._models.request import GenerationRequest

GOOD: dict[str, Any] = {"requests": (), **attrs.asdict(RunOptions())}


def problems_of(*, requests: object, **options: Any) -> list[str]:
    """Return what is wrong with the arguments of a run."""
    return run_problems(RunOptions(**options), requests)


class OddPath:
    """A path that is none when it is looked at closely."""

    def __init__(self, path: object) -> None:
        self._path = path

    def __fspath__(self) -> Any:
        """Give out what it is not supposed to be."""
        return self._path


async def coming() -> AsyncIterator[GenerationRequest]:
    """Yield nothing."""
    for request in list[GenerationRequest]():  # pragma: no cover - they are never taken
        yield request


BAD: dict[str, list[object]] = {
    "requests": [None, 3, "rows", b"rows", {}, {"model": "sync-3"}, coming, GenerationRequest],
    "journal": [3, b"journal", ["journal"], OddPath(b"journal"), OddPath(3), "a\0b", "\ud800"],
    "download_to": [3, b"out", __file__, Path(__file__), "a\0b", OddPath(b"out"), "x" * 5000],
    "concurrent_downloads": [None, 0, -1, 2.0, "4", True],
    "max_jobs": [0, -1, 1.5, "3", True, float("nan")],
    "max_cost": [0, -0.5, float("nan"), float("inf"), "1", True, 10**400],
    "duration": [0, -1, float("nan"), float("inf"), "60", True],
    "on_progress": [3, "print", ()],
    "ordered": [None, 0, "False", [True]],
    "stop_on_error": [None, 1, "no", ()],
    "retry_failed": [None, 1, "yes", [True]],
    "match_query": [None, 0, "no", ()],
    "accept_new_key": [None, 1.0, b"", {}],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_each_bad_argument_is_named(name: str, value: object) -> None:
    """One line, which begins with the argument's name."""
    extra = {"max_cost": 1.0} if name == "duration" else {}
    (problem,) = problems_of(**GOOD | extra | {name: value})
    assert problem.startswith(f"{name}: ")


GOOD_VALUES: dict[str, list[object]] = {
    "requests": [(), [3], iter(()), range(3), coming(), map(int, ())],
    "journal": ["journal.sqlite", Path("journal.sqlite"), OddPath("journal.sqlite")],
    "download_to": ["not/there", Path(__file__).parent, os.sep, OddPath("not/there")],
    "concurrent_downloads": [1, 100],
    "max_jobs": [1, 10**6],
    "max_cost": [0.01, 5, 1e300],
    "on_progress": [print, lambda _: None, OddPath],
}
FLAGS = ["ordered", "stop_on_error", "retry_failed", "match_query", "accept_new_key"]
GOOD_VALUES |= {name: [False, True] for name in FLAGS}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in GOOD_VALUES.items() for value in values]
)
def test_what_is_right_is_let_through(name: str, value: object) -> None:
    """Any iterable, any path, any callable."""
    assert problems_of(**GOOD | {name: value}) == []


def test_a_duration_needs_a_limit() -> None:
    """Alone it would do nothing, and somebody would believe to be safe."""
    assert problems_of(**GOOD | {"duration": 60}) == ["duration: means nothing without max_cost"]
    assert problems_of(**GOOD | {"duration": 60, "max_cost": 1}) == []


ANYTHING = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.lists(st.none(), max_size=2)),
    *(st.text(max_size=5), st.binary(max_size=5)),
    st.sampled_from([each for values in BAD.values() for each in values]),
)


@given(st.fixed_dictionaries(dict.fromkeys(GOOD, ANYTHING)))
def test_all_is_said_at_once(arguments: dict[str, object]) -> None:
    """Whatever is handed over, nothing raises, and each bad argument is named."""
    named = {problem.partition(":")[0] for problem in problems_of(**arguments)}
    limited = GOOD | {"max_cost": arguments["max_cost"]}
    assert named <= GOOD.keys()
    if problems_of(**limited):
        assert "max_cost" in named
    else:
        assert named == {name for name in GOOD if problems_of(**limited | {name: arguments[name]})}
