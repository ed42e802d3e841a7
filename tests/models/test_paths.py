"""`~` is the home folder in every path of an input, and nothing else."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from lipsync_async import Audio, GenerationRequest, Image, JournalError, JournalView, Video
from lipsync_async._logic.validation import argument_problems, folder_problems, request_problems
from lipsync_async._models.text import at_home, unknown_home, unreplaced

USER = pwd.getpwuid(os.getuid())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the user a home folder of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "below_home"),
    [("~", ""), ("~/", "/"), ("~/v.mp4", "/v.mp4"), ("~/a/b.mp4", "/a/b.mp4"), ("~//b", "//b")],
)
def test_a_tilde_is_the_home_folder(home: Path, path: str, below_home: str) -> None:
    """A slash at the end stays."""
    assert at_home(path) == f"{home}{below_home}"


def test_a_tilde_with_a_name_is_that_users_folder() -> None:
    """As in a shell."""
    assert at_home(f"~{USER.pw_name}/v.mp4") == f"{USER.pw_dir}/v.mp4"
    assert at_home(f"~{USER.pw_name}") == USER.pw_dir


@pytest.mark.parametrize(
    "path",
    [
        *("", "v.mp4", "./~", "./~/v.mp4", "a~", "a/~/b", "/~/v.mp4"),
        *(" ~/v.mp4", "$HOME/v", "\\~", "%~"),
    ],
)
def test_other_paths_stay_as_they_are(path: str) -> None:
    """Only a tilde that comes first means something."""
    assert at_home(path) == path


@pytest.mark.parametrize(
    "path",
    ["~no-such-user", "~no-such-user/v", "~$v.mp4", "~~", "~\0", "~\ud800/v", "~ /v", "~v.mp4"],
)
def test_a_folder_that_is_not_known_is_told(path: str) -> None:
    """What is no user's name is quoted, visibly."""
    assert at_home(path) is None
    told = unknown_home(path)
    assert told.startswith(f"there is no home folder of {path[1:].partition('/')[0]!r}; ")
    assert told.isprintable()


@pytest.mark.parametrize("value", ["", "relative", "./here"])
def test_without_a_home_folder_nothing_is_guessed(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """An empty or odd variable is not taken for the root of all folders, or for this one."""
    monkeypatch.setenv("HOME", value)
    assert (at_home("~"), at_home("~/v.mp4")) == (None, None)
    assert unknown_home("~/v.mp4").startswith("the home folder (~) is not known here")
    assert at_home(f"~{USER.pw_name}") == USER.pw_dir


@pytest.mark.parametrize("kind", [Video, Image, Audio])
@pytest.mark.parametrize("path_of", [str, Path, PurePosixPath])
def test_files_of_inputs_are_looked_for_at_home(
    home: Path, kind: Any, path_of: Callable[[str], Any]
) -> None:
    """However the path is given, it is the same file, and the same input."""
    (home / "media").write_bytes(b"data")
    item = kind(file=path_of("~/media"))
    assert Path(item.file) == home / "media"
    assert item == kind(file=type(item.file)(home / "media"))
    other = Video("https://h/v") if kind is Audio else Audio("https://h/a")
    request = GenerationRequest(model="sync-3", input=[item, other])
    assert request_problems(request) == []


@pytest.mark.parametrize("file", ["~no-such-user/v", Path("~no-such-user/v"), "~$v.mp4"])
def test_a_file_of_no_known_folder_is_a_problem_of_the_request(file: Any) -> None:
    """It is told once, and before anything is looked for."""
    request = GenerationRequest(model="x", input=[Video(file=file), Audio("https://h/a")])
    for problems in (request_problems(request, with_files=False), request_problems(request)):
        (told,) = problems
        assert told.startswith("input[0].file: there is no home folder of ")


@pytest.mark.parametrize("file", [b"~/v.mp4", None, 7, "./~/v.mp4"])
def test_what_is_no_such_path_stays_as_it_is(file: Any) -> None:
    """Bytes are content, not a name."""
    assert Video(file=file).file == file


VARIABLES = ["$HOME", "$HOME/out", "${HOME}/out/", "%USERPROFILE%\\out", "%HOME%/out", "$X1/y"]
NO_VARIABLES = [
    *("", "out", "$", "$/x", "a/$HOME", "$5.00", "$HOME.mp4", "%", "100%", "%%", "%a b%", "${}"),
    *("${HOME", "$HOME}", "./$HOME", "/$HOME", "%41.mp4", "\\$HOME", "~/$HOME"),
]


def test_a_variable_is_not_taken_for_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder called `$HOME` is never made; one that is there is meant."""
    monkeypatch.chdir(tmp_path)
    for path in VARIABLES:
        told = unreplaced(path)
        assert told is not None, path
        assert "was not replaced by its value" in told
    assert [unreplaced(path) for path in NO_VARIABLES] == [None] * len(NO_VARIABLES)
    (tmp_path / "$HOME").mkdir()
    assert unreplaced("$HOME/out") is None


@pytest.mark.parametrize("path", VARIABLES)
def test_nothing_is_named_after_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Neither a place for results nor a journal."""
    monkeypatch.chdir(tmp_path)
    (problem,) = argument_problems(to=path)
    assert problem.startswith("to: ")
    assert [*folder_problems("download_to", path)] == [problem.replace("to: ", "download_to: ", 1)]
    with pytest.raises(JournalError, match="was not replaced by its value"):
        JournalView.open(path)
    assert [*tmp_path.iterdir()] == []
