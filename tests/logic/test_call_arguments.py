from __future__ import annotations

import math
from typing import Any

import pytest

from lipsync_async._logic.validation import (
    estimate_problems,
    generation_id_problems,
    idempotency_key_problems,
    list_problems,
    timeout_problems,
    upload_problems,
)
from lipsync_async._models.request import Audio, GenerationRequest
from tests.logic.requests import VIDEO, order

NO_FILTERS: dict[str, Any] = dict.fromkeys(
    ("status", "ids", "source", "project_id", "limit", "cursor")
)


@pytest.mark.parametrize("key", ["a", "A-z_0.9~", "k" * 128])
def test_a_well_formed_key_is_accepted(key: str) -> None:
    """Keys of 1 to 128 of the allowed characters pass."""
    assert idempotency_key_problems(key) == []


@pytest.mark.parametrize("key", ["", "k" * 129, "a b", "a\n", "schlüssel", "a/b", 5, None, b"a"])
def test_a_malformed_key_is_a_problem(key: object) -> None:
    """What the service would answer with 400 is refused before sending."""
    (problem,) = idempotency_key_problems(key)

    assert problem.startswith(
        "idempotency_key: must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ -, not "
    )


def test_an_id_is_any_text_that_can_be_one() -> None:
    """Ids are the service's business; only what can never be one is refused."""
    assert generation_id_problems("3f1c/äö ..") == []
    assert generation_id_problems("") == ["generation_id: must not be empty"]
    assert generation_id_problems("a" * 255) == []
    for text in ("a" * 256, "é" * 2_000_000):
        assert generation_id_problems(text) == ["generation_id: must be 1 to 255 characters"]
    assert generation_id_problems(7) == ["generation_id: must be text, not 7"]
    assert generation_id_problems("..") == [
        "generation_id: must be the id of a generation, not '..'"
    ]
    assert generation_id_problems("a\n") == [
        "generation_id: must not hold control characters such as line breaks"
    ]


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"status": ["COMPLETED"], "ids": ("a", "b"), "source": {"api"}, "project_id": "p"},
        {"status": frozenset({"FAILED"}), "limit": 1},
        {"limit": 100, "cursor": "a"},
    ],
)
def test_good_filters_pass(filters: dict[str, Any]) -> None:
    """Lists, tuples and sets of words may filter a listing."""
    assert list_problems(**{**NO_FILTERS, **filters}) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"status": "COMPLETED"}, "status: must be a list, not 'COMPLETED'"),
        ({"status": []}, "status: must not be empty; leave it out instead"),
        ({"ids": set()}, "ids: must not be empty; leave it out instead"),
        ({"ids": ["a", 1]}, "ids[1]: must be text, not 1"),
        (
            {"source": ["a,b"]},
            "source[0]: must not hold a comma, which separates values on the wire",
        ),
        ({"ids": [f"id-{number}" for number in range(101)]}, "ids: at most 100 a call, not 101"),
        ({"project_id": 1}, "project_id: must be text, not 1"),
        ({"limit": 0}, "limit: must be 1 to 100, not 0"),
        ({"limit": 101}, "limit: must be 1 to 100, not 101"),
        ({"limit": 1.5}, "limit: must be a whole number, not 1.5"),
        ({"limit": True}, "limit: must be a whole number, not True"),
        ({"limit": 1, "cursor": ""}, "cursor: must not be empty"),
        ({"cursor": "a"}, "limit: must be given with cursor, the same as for the page before"),
    ],
)
def test_bad_filters_are_problems(filters: dict[str, Any], expected: str) -> None:
    """A listing that would be refused, or would list something else, is not sent."""
    assert list_problems(**{**NO_FILTERS, **filters}) == [expected]


@pytest.mark.parametrize(
    ("model", "duration", "fps", "expected"),
    [
        ("lipsync-2", 10, None, []),
        ("lipsync-2", 0.1, 29.97, []),
        ("", 10, None, ["model: must not be empty"]),
        ("m", 0, None, ["duration: must be more than 0 and finite, not 0"]),
        ("m", math.inf, None, ["duration: must be more than 0 and finite, not inf"]),
        ("m", "10", None, ["duration: must be a number, not '10'"]),
        ("m", 10, 0, ["fps: must be more than 0 and finite, not 0"]),
        ("m", 10, True, ["fps: must be a number, not True"]),
    ],
)
def test_an_estimate_needs_a_model_and_a_duration(
    model: object, duration: object, fps: object, expected: list[str]
) -> None:
    """A question that has no answer is not asked."""
    assert estimate_problems(model=model, duration=duration, fps=fps) == expected


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, []),
        (0.1, []),
        (0, ["timeout: must be more than 0 and finite, not 0"]),
        ("60", ["timeout: must be a number, not '60'"]),
    ],
)
def test_a_timeout_is_a_positive_number_of_seconds(timeout: object, expected: list[str]) -> None:
    """`None` waits without limit; a wait of no time is refused."""
    assert timeout_problems(timeout) == expected


def test_local_files_cannot_be_estimated() -> None:
    """Each input that would have to be sent along is named."""
    request = GenerationRequest(**order(VIDEO, Audio(file=b"audio")))

    assert upload_problems(request) == [
        "input[1].file: cannot be estimated; use its duration with estimate_duration"
    ]
    assert upload_problems(GenerationRequest(**order())) == []
