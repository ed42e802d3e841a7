"""What is wrong with a call before it is sent: requests, arguments, odd values, targets."""

from __future__ import annotations

import math
import os
import re
import warnings
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from lipsync_async._enums import Model
from lipsync_async._logic.validation import (
    MAX_FILE_BYTES,
    argument_problems,
    estimate_problems,
    expanded,
    folder_problems,
    is_folder,
    list_problems,
    request_problems,
    request_warnings,
    upload_problems,
    validate,
)
from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Segment,
    SegmentAudio,
    Text,
    UnknownInput,
    Video,
)
from lipsync_async.errors import IgnoredOptionWarning, InvalidRequestError
from tests.logic.bad_requests import BAD_REQUESTS
from tests.logic.good_requests import GOOD_REQUESTS
from tests.logic.requests import AUDIO, IMAGE, VIDEO, order, segment, with_options, with_segments


@pytest.mark.parametrize(("fields", "problem"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_each_broken_rule_is_named_with_its_path(fields: dict[str, Any], problem: str) -> None:
    """A request that breaks a rule gets a problem at that place, saying what would be right."""
    path, _, fragment = problem.partition(": ")
    problems = request_problems(GenerationRequest(**fields))
    at_path = [found for found in problems if found.startswith(f"{path}: ")]
    assert sum(fragment in found for found in at_path) == 1, problems


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
    """A regular file is accepted up to the size that the service's form takes, and no larger."""
    path = tmp_path / "clip.mp4"
    path.touch()
    os.truncate(path, MAX_FILE_BYTES)  # a hole: the disk stays empty
    assert request_problems(GenerationRequest(**order(Video(file=path), AUDIO))) == []
    assert request_problems(GenerationRequest(**order(Video(file=str(path)), AUDIO))) == []
    os.truncate(path, MAX_FILE_BYTES + 1)
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


def test_validate_raises_with_every_problem() -> None:
    """The error carries the same lines that the rules found; of a good request nothing is said."""
    request = GenerationRequest(**order(VIDEO, model=""))
    with pytest.raises(InvalidRequestError) as caught:
        validate(request)
    assert list(caught.value.problems) == request_problems(request)
    validate(GenerationRequest(**order()))  # `filterwarnings = error`: nothing is warned either


@pytest.mark.parametrize("stacklevel", [1, 2])
def test_a_warning_shows_the_line_that_it_is_about(stacklevel: int) -> None:
    """The stack level counts like that of `warnings.warn`, from the line that checks."""

    def verb() -> None:
        validate(GenerationRequest(**order(model="sync-9")), stacklevel=stacklevel)

    first_line = verb.__code__.co_firstlineno
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        verb()
    shown = [(warning.category, warning.filename, warning.lineno) for warning in caught]
    line = {1: first_line + 1, 2: first_line + 6}[stacklevel]
    assert shown == [(IgnoredOptionWarning, __file__, line)]


AUTO = ActiveSpeaker(auto_detect=True)
OPTION_VERDICTS = [
    (model, option, value, verdict)
    for option, value, verdicts in [  # in the order of "List models"
        ("temperature", 0.5, "ignored used used ignored ignored"),
        ("occlusion_detection_enabled", True, "built-in used used used ignored"),
        ("active_speaker_detection", AUTO, "used used used used ignored"),
        ("model_mode", "lips", "ignored ignored ignored ignored used"),
        ("prompt", "sad", "ignored ignored ignored ignored used"),
        ("reasoning_enabled", True, "built-in ignored used ignored ignored"),
        ("sync_mode", "loop", "used used used used used"),
    ]
    for model, verdict in zip(Model, verdicts.split(), strict=True)
]


@pytest.mark.parametrize(("model", "option", "value", "verdict"), OPTION_VERDICTS)
def test_options_that_a_model_ignores_are_told(
    model: Model, option: str, value: Any, verdict: str
) -> None:
    """The contract's table of models and options decides who gets which warning."""
    request = GenerationRequest(**order(model=str(model), options=Options(**{option: value})))
    beginnings = {
        "used": [],
        "ignored": [f"options.{option}: ignored by {model}"],
        "built-in": [f"options.{option}: ignored by {model}, which always does this by itself"],
    }
    found = request_warnings(request)
    told = [line.partition("; only ")[0] for line in found]
    assert told == beginnings[verdict]


WARNED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "which models would help": (
        with_options(model_mode="lips"),
        ["options.model_mode: ignored by lipsync-2; only react-1 heed it"],
    ),
    "an override of a segment": (
        with_segments(segment(0, 1), segment(1, 2, options_override=Options(prompt="sad"))),
        ["segments[1].options_override.prompt: ignored by lipsync-2; only react-1 heed it"],
    ),
    "a picture has no length": (
        order(IMAGE, AUDIO, model="sync-3", options=Options(sync_mode="loop")),
        ["options.sync_mode: ignored with an image; the result is as long as the audio"],
    ),
    "a picture alone": (order(IMAGE, AUDIO, model="sync-3"), []),
    "of the options of an unknown model nothing is known": (
        order(model="sync-9", options=Options(temperature=0.1, prompt="sad")),
        [f"model: 'sync-9' is unknown to this release, which knows {', '.join(Model)}"],
    ),
    "older ways to give segments": (
        order(Video("https://h/v", segments_secs=[[0, 1]], segments_frames=[[0, 1]]), AUDIO),
        [
            "input[0].segments_secs: deprecated by the service; use the request's segments",
            "input[0].segments_frames: deprecated by the service; use the request's segments",
        ],
    ),
}


@pytest.mark.parametrize(("fields", "expected"), WARNED.values(), ids=WARNED)
def test_what_is_ignored_is_told(fields: dict[str, Any], expected: list[str]) -> None:
    """What would have no effect is mentioned with what would, and nothing else is."""
    assert request_warnings(GenerationRequest(**fields)) == expected


NO_FILTERS: dict[str, Any] = dict.fromkeys(
    ("status", "ids", "source", "project_id", "limit", "cursor")
)


@pytest.mark.parametrize("key", ["a", "A-z_0.9~", "k" * 128])
def test_a_well_formed_key_is_accepted(key: str) -> None:
    """Keys of 1 to 128 of the allowed characters pass."""
    assert argument_problems(idempotency_key=key) == []


@pytest.mark.parametrize("key", ["", "k" * 129, "a b", "a\n", "schlüssel", "a/b", 5, b"a"])
def test_a_malformed_key_is_a_problem(key: object) -> None:
    """What the service would answer with 400 is refused before sending."""
    (problem,) = argument_problems(idempotency_key=key)
    rule = "must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ -, not "
    assert problem.startswith(f"idempotency_key: {rule}")


def test_an_id_is_any_text_that_can_be_one() -> None:
    """Ids are the service's business; only what can never be one is refused."""
    assert argument_problems(generation_id="3f1c/äö ..") == []
    assert argument_problems(generation_id="") == ["generation_id: must not be empty"]
    assert argument_problems(generation_id="a" * 255) == []
    for text in ("a" * 256, "é" * 2_000_000):
        assert argument_problems(generation_id=text) == [
            "generation_id: must be 1 to 255 characters"
        ]
    assert argument_problems(generation_id=7) == ["generation_id: must be text, not 7"]
    (dots,) = argument_problems(generation_id="..")
    assert dots == "generation_id: must be the id of a generation, not '..'"
    (line_end,) = argument_problems(generation_id="a\n")
    assert line_end == "generation_id: must not hold control characters such as line breaks"


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
    assert argument_problems(timeout=timeout) == expected


def test_local_files_cannot_be_estimated() -> None:
    """Each input that would have to be sent along is named."""
    request = GenerationRequest(**order(VIDEO, Audio(file=b"audio")))
    assert upload_problems(request) == [
        "input[1].file: cannot be estimated; use its duration with estimate_duration"
    ]
    assert upload_problems(GenerationRequest(**order())) == []


PROBLEM = re.compile(r"(request|[a-z_]+(\[\d+\])?(\.[a-z_0-9]+(\[\d+\])?)*): \S.*")

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), math.nan, math.inf, -math.inf]),
    st.floats(),
    st.text(),
    st.text(st.characters(categories=["Cs", "Cc"]), max_size=3),
    st.sampled_from(["https://[", "http://h:x/", "http://", "//", "a1", "sync-3", "\0", object()]),
    st.binary(max_size=5),
)
GARBAGE = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=2),
        st.frozensets(st.integers(), max_size=2),
    ),
    max_leaves=5,
)


def _mixed(kind: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Build a value whose fields are sometimes meant well and sometimes garbage."""
    return st.builds(kind, **{name: given | GARBAGE for name, given in fields.items()})


_OPTIONS = _mixed(
    Options,
    sync_mode=st.just("loop"),
    temperature=st.just(1),
    active_speaker_detection=_mixed(
        ActiveSpeaker,
        auto_detect=st.just(value=True),
        frame_number=st.integers(0, 5),
        coordinates=st.lists(st.integers(0, 9), min_size=2, max_size=2),
        bounding_boxes=st.lists(st.none() | GARBAGE, max_size=3),
        bounding_boxes_url=st.just("https://h/b"),
    ),
)
_NAMES = st.sampled_from(["a1", "a2"])
_MEDIA = {"url": st.just("https://h/v"), "asset_id": st.none(), "file": st.none() | st.just(b"x")}
_VOICE = _mixed(ElevenLabs, voice_id=st.just("v"), script=st.text())
_INPUTS = st.one_of(
    *(_mixed(kind, **_MEDIA, ref_id=_NAMES) for kind in (Video, Image, Audio)),
    _mixed(Text, provider=_VOICE, ref_id=st.just("a3")),
    _mixed(Video, segments_secs=st.lists(GARBAGE), segments_frames=st.lists(GARBAGE)),
)
_CROP = {"start_time": st.floats(0, 2), "end_time": st.floats(0, 2)}
_SEGMENTS = _mixed(
    Segment,
    start_time=st.floats(0, 3),
    end_time=st.floats(3, 5),
    audio_input=_mixed(SegmentAudio, ref_id=_NAMES, **_CROP),
    options_override=_OPTIONS,
)
REQUESTS = _mixed(
    GenerationRequest,
    model=st.sampled_from([*map(str, Model), "other"]),
    input=st.lists(_INPUTS | GARBAGE, max_size=3),
    options=_OPTIONS,
    segments=st.lists(_SEGMENTS | GARBAGE, max_size=3),
    webhook_url=st.just("http://localhost"),
    output_file_name=st.just("a"),
    project_id=st.just("p"),
    dub_params=_mixed(DubParams, target_lang=st.just("de")),
    dialogue_edit=st.just("e"),
)


@given(request=GARBAGE | REQUESTS)
def test_any_request_is_judged_in_words(request: Any) -> None:
    """Whatever is handed over, each problem is one line with a path, and nothing is raised."""
    lines = [*request_problems(request), *request_warnings(request)]
    assert [line for line in lines if not PROBLEM.fullmatch(line)] == []
    assert [line for line in lines if len(line.encode()) > 1000] == []


@given(value=GARBAGE, other=GARBAGE)
def test_any_argument_is_judged_in_words(value: Any, other: Any) -> None:
    """The smaller checks survive anything as well."""
    lines = [
        *argument_problems(idempotency_key=value),
        *argument_problems(generation_id=value),
        *list_problems(
            status=value, ids=other, source=[value], project_id=value, limit=value, cursor=other
        ),
        *estimate_problems(model=value, duration=value, fps=other),
    ]
    assert [line for line in lines if not PROBLEM.fullmatch(line)] == []


@given(times=st.lists(st.floats(0, 1000), min_size=2, max_size=8).map(sorted))
def test_segments_in_order_are_fine_and_reversed_they_are_not(times: list[float]) -> None:
    """Segments that follow one another pass; the same ones backwards overlap or are unsorted."""
    parts = [segment(start, end) for start, end in pairwise(times)]
    backwards = [part for part in reversed(parts) if part.start_time < part.end_time]
    assert request_problems(GenerationRequest(**with_segments(*parts))) == []
    refused = request_problems(GenerationRequest(**with_segments(*backwards))) if backwards else []
    assert len(refused) == max(0, len(backwards) - 1)


FOLDERS = [
    *("out", "out/", "out.d/", "take.mp4/", "deep/out", "deep.er/out", ".cache", ".mp4"),
    *("deep/.mp4", "v1.2", "2026.05", "take.", "take.123456789", "take.mp4 "),
    *("Act 2. The end", "a.b-c", "a.mp4_", "ü", "a.ü", "x" * 300),
]
FILES = [
    *("take.mp4", "take.MOV", "take.mp4.part", "take.bin", "take.3gp", "take.7z"),
    *("deep/take.webm", "v1.2.mp4", "..mp4", "a b.mp4", "ü.m4v", "-.a", "x" * 300 + ".mp4"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, which is the home folder as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("place", FOLDERS)
def test_what_becomes_a_folder(here: Path, place: str) -> None:
    """Where there is nothing, a slash at the end or no suffix means a folder."""
    assert is_folder(place)
    assert is_folder(f"{here}/{place}")
    if len(place) < 256:
        assert [*folder_problems("download_to", place)] == []


@pytest.mark.parametrize("place", FILES)
def test_what_becomes_a_file(here: Path, place: str) -> None:
    """A suffix means a file, which no folder for results can be called by accident."""
    assert not is_folder(place)
    assert not is_folder(f"{here}/{place}")
    (problem,) = folder_problems("download_to", place)
    assert problem.startswith("download_to: must be a folder; ")
    assert [*folder_problems("download_to", f"{place[:200]}/")] == []


@pytest.mark.parametrize("name", ["out", "out.d", "take.mp4", "..x", "~x"])
def test_what_is_there_decides(here: Path, name: str) -> None:
    """A folder is one and a file is one, whatever they are called."""
    (here / "folders" / name).mkdir(parents=True)
    (here / "files").mkdir()
    (here / "files" / name).touch()
    assert is_folder(f"folders/{name}")
    assert is_folder(f"folders/{name}/")
    assert not is_folder(f"files/{name}")
    assert is_folder(f"files/{name}/")  # as it is asked for; writing will fail
    assert [*folder_problems("x", f"folders/{name}")] == []
    for place in (f"files/{name}", f"files/{name}/deep/down/"):
        assert [*folder_problems("x", place)] == [f"x: must be a folder; {place!r} is none"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("~", "{home}"),
        ("~/", "{home}/"),
        ("~/out", "{home}/out"),
        ("~/out.d/", "{home}/out.d/"),
        ("~unknown-user/x", "~unknown-user/x"),
        ("./~", "./~"),
        ("a/~", "a/~"),
        ("a~", "a~"),
        ("out/", "out/"),
    ],
)
def test_home(here: Path, place: str, expected: str) -> None:
    """`~` at the beginning is the home folder, and a slash at the end stays."""
    assert expanded(place) == expected.format(home=here)
    assert expanded(Path("~/out")) == f"{here}/out"


@attrs.frozen
class OddPath(PathLike[Any]):
    """What gives out what a path must not be."""

    path: Any

    def __fspath__(self) -> Any:
        return self.path


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("out/", []),
        (Path("new.mp4"), []),
        (OddPath("new.mp4"), []),
        ("n" * 300, []),
        ("~", []),
        (None, ["to: must be a path, not None"]),
        (5, ["to: must be a path, not 5"]),
        (b"out", ["to: must be a path, not bytes"]),
        (["out"], ["to: must be a path, not ['out']"]),
        (OddPath(b"out"), ["to: must be a path, not OddPath"]),
        (OddPath(3), ["to: must be a path, not OddPath"]),
        ("\ud800", ["to: must be a path, not '\\ud800'"]),
        ("a\0b", ["to: must not hold a null character"]),
        ("~unknown-user/x", ["to: there is no home folder of 'unknown-user'; write the whole"]),
        ("", ["to: must not be empty; the current folder is '.'"]),
        ("  ", ["to: must not be empty; the current folder is '.'"]),
        ("/dev/null", ["to: must be a file or a folder; what is there is neither"]),
    ],
)
def test_places_for_a_download(here: Path, to: object, expected: list[str]) -> None:
    """What is no path is refused, and a device is not replaced by a file."""
    assert [problem[:60] for problem in argument_problems(to=to)] == [
        line[:60] for line in expected
    ]
