from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from lipsync_async._logic.validation import (
    MAX_FILE_BYTES,
    check_request,
    request_problems,
    request_warnings,
)
from lipsync_async._models.request import GenerationRequest, Options, UnknownInput, Video
from lipsync_async.errors import IgnoredOptionWarning, InvalidRequestError
from tests.logic.bad_requests import BAD_REQUESTS
from tests.logic.good_requests import GOOD_REQUESTS
from tests.logic.requests import AUDIO, VIDEO, order, with_options

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("fields", "path", "fragment"),
    [row[1:] for row in BAD_REQUESTS],
    ids=[row[0] for row in BAD_REQUESTS],
)
def test_each_broken_rule_is_named_with_its_path(
    fields: dict[str, Any], path: str, fragment: str
) -> None:
    """A request that breaks a rule gets a problem at that place, saying what would be right."""
    problems = request_problems(GenerationRequest(**fields))

    at_path = [problem for problem in problems if problem.startswith(f"{path}: ")]
    assert sum(fragment in problem for problem in at_path) == 1, problems


def test_the_ids_of_the_table_are_unique() -> None:
    """Each row of the table of bad requests can be picked by its name."""
    ids = [row[0] for row in BAD_REQUESTS]

    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("fields", GOOD_REQUESTS.values(), ids=GOOD_REQUESTS)
def test_a_good_request_has_no_problem(fields: dict[str, Any]) -> None:
    """What the contract allows is never refused."""
    assert request_problems(GenerationRequest(**fields)) == []


def test_all_problems_are_reported_at_once() -> None:
    """One look names everything that is to be repaired, in the order of the request."""
    request = GenerationRequest(
        model="",
        input=[Video("clip.mp4"), AUDIO],
        options=Options(temperature=3),
        output_file_name=".",
    )

    assert request_problems(request) == [
        "model: must not be empty",
        "input[0].url: must be an http or https URL; pass a local file as file",
        "options.temperature: must be 0 to 1, not 3",
        "output_file_name: must be 1 to 255 letters, digits, - or _ without an extension, not '.'",
    ]


def test_an_input_that_came_from_a_newer_service_is_refused() -> None:
    """An input that this release cannot read back cannot be sent, either."""
    unknown: Any = UnknownInput(type="hologram", raw={"type": "hologram"})

    assert request_problems(GenerationRequest(**order(unknown, AUDIO))) == [
        "input[0]: must be Video, Image, Audio or Text, not UnknownInput"
    ]


def test_a_url_is_not_quoted() -> None:
    """The signature in a mistyped link does not end up in a log."""
    fields = order(Video("htps://h/v.mp4?signature=secret"), AUDIO)

    assert "secret" not in "".join(request_problems(GenerationRequest(**fields)))


def test_a_file_may_have_up_to_5_gib(tmp_path: Path) -> None:
    """A regular file is accepted up to the size that the service's form takes."""
    path = tmp_path / "clip.mp4"
    path.touch()
    with path.open("r+b") as file:  # a hole: the disk stays empty
        file.truncate(MAX_FILE_BYTES)

    assert request_problems(GenerationRequest(**order(Video(file=path), AUDIO))) == []
    assert request_problems(GenerationRequest(**order(Video(file=str(path)), AUDIO))) == []


def test_a_larger_file_is_refused(tmp_path: Path) -> None:
    """One byte more than the form takes is refused before any of it is sent."""
    path = tmp_path / "clip.mp4"
    path.touch()
    with path.open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)

    assert request_problems(GenerationRequest(**order(Video(file=path), AUDIO))) == [
        "input[0].file: must be at most 5 GiB, not 5,368,709,121 bytes; host it and pass url"
    ]


def test_a_missing_file_is_told_with_its_reason(tmp_path: Path) -> None:
    """The message about a bad path says why it cannot be read."""
    (problem,) = request_problems(
        GenerationRequest(**order(Video(file=tmp_path / "no.mp4"), AUDIO))
    )

    assert problem.startswith("input[0].file: cannot be read (No such file or directory): ")


def test_a_number_that_python_will_not_print_is_a_problem() -> None:
    """An integer of thousands of digits is told by its type; quoting it would raise."""
    assert request_problems(GenerationRequest(**with_options(temperature=10**5000))) == [
        "options.temperature: must be 0 to 1, not int"
    ]


def test_a_list_of_lists_is_quoted_in_part() -> None:
    """However deep and wide a wrong value is, its problem stays a line that can be read."""
    deep: Any = "x" * 100
    for _ in range(9):
        deep = [deep] * 9
    (problem,) = request_problems(GenerationRequest(**order(project_id=deep)))

    assert problem.startswith("project_id: must be text, not [[[...], [...], ")
    assert len(problem) < 300
    wide = [["x" * 100] * 9] * 9
    (problem,) = request_problems(GenerationRequest(**order(project_id=wide)))
    assert problem.endswith("x...")
    assert len(problem) < 300


def test_what_is_no_request_is_a_problem() -> None:
    """A dict in place of a request is refused in words."""
    assert request_problems({"model": "x"}) == ["request: must be GenerationRequest, not dict"]
    assert request_warnings({"model": "x"}) == []


def test_check_request_raises_with_every_problem() -> None:
    """The error carries the same lines that the rules found."""
    request = GenerationRequest(**order(VIDEO, model=""))

    with pytest.raises(InvalidRequestError) as caught:
        check_request(request)
    assert list(caught.value.problems) == request_problems(request)


def test_check_request_says_nothing_about_a_good_request() -> None:
    """Nothing is raised, and `filterwarnings = error` proves that nothing is warned."""
    check_request(GenerationRequest(**order()))


@pytest.mark.parametrize("stacklevel", [1, 2])
def test_a_warning_shows_the_line_that_it_is_about(stacklevel: int) -> None:
    """The stack level counts like that of `warnings.warn`, from the line that checks."""

    def verb() -> None:
        check_request(GenerationRequest(**order(model="sync-9")), stacklevel=stacklevel)

    first_line = verb.__code__.co_firstlineno
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        verb()
    shown = [(warning.category, warning.filename, warning.lineno) for warning in caught]
    line = {1: first_line + 1, 2: first_line + 6}[stacklevel]
    assert shown == [(IgnoredOptionWarning, __file__, line)]
