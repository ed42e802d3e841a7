"""Requests written back as a manifest are read as the same requests."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from lipsync_async import JobState, JournalView, read_manifest
from lipsync_async._bulk.journal import Journal
from lipsync_async._bulk.journal_view import NotExpressibleError, cells_of
from lipsync_async._logic.codec import encode_request
from lipsync_async._logic.validation import request_problems
from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Origin,
    Text,
    Video,
)
from lipsync_async.errors import JournalError
from tests.bulk.jobs import entries, job, record, request
from tests.bulk.manifests import read
from tests.bulk.test_manifest import WITHOUT_FILES
from tests.foreign import FOREIGN


def failed(path: Path, requests: list[GenerationRequest]) -> JournalView:
    """Return a journal of requests that have failed."""
    with Journal.open(path) as journal:
        journal.record_intents([*enumerate(requests)])
        record(journal, [(n, job(f"g{n}", "FAILED")) for n in range(len(requests))])
    return JournalView.open(path)


def as_table(body: dict[str, Any]) -> str:
    """Return a table of one row that says a body."""
    written = StringIO()
    table = csv.DictWriter(written, cells_of(body))
    table.writeheader()
    table.writerow(cells_of(body))
    return written.getvalue()


@pytest.mark.parametrize("fields", WITHOUT_FILES.values(), ids=WITHOUT_FILES)
def test_every_request_is_read_as_it_was(fields: dict[str, Any]) -> None:
    """Or it is refused: nothing is left out, and nothing is invented."""
    body = json.loads(json.dumps(encode_request(GenerationRequest(**fields))))
    try:
        table = as_table(body)
    except NotExpressibleError as error:
        assert "write a file that ends in .jsonl" in str(error)  # noqa: PT017 - most can be said
        return
    (row,) = read(table)
    assert encode_request(row.request) == body


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=9)
NAMES = st.text("abcdefgh0189-_", min_size=1, max_size=9)
URLS = NAMES.map("https://h/?a=1,2;\"'|".__add__)
SHARES = st.floats(0, 1) | st.sampled_from([0, 1])
MEDIA = st.one_of(
    st.builds(Video, URLS),
    st.builds(lambda name: Video(asset_id=name), NAMES),
    st.builds(Image, URLS),
)
SPEECH = st.one_of(
    st.builds(Audio, URLS),
    st.builds(
        lambda **fields: Text(ElevenLabs(**fields)),
        voice_id=NAMES,
        script=WORDS,
        stability=st.none() | SHARES,
        similarity_boost=st.none() | SHARES,
    ),
)
SPEAKERS = st.one_of(
    st.builds(ActiveSpeaker, auto_detect=st.sampled_from([True])),
    st.builds(ActiveSpeaker, bounding_boxes_url=URLS),
)
OPTIONS = st.builds(
    Options,
    sync_mode=st.sampled_from([None, "loop", "bounce"]),
    temperature=st.none() | SHARES,
    occlusion_detection_enabled=st.none() | st.booleans(),
    reasoning_enabled=st.none() | st.booleans(),
    active_speaker_detection=st.none() | SPEAKERS,
)
REQUESTS = st.builds(
    GenerationRequest,
    model=st.sampled_from(["lipsync-2", "sync-3", "of tomorrow"]),
    input=st.tuples(MEDIA, SPEECH).map(list),
    options=st.none() | OPTIONS,
    webhook_url=st.none() | URLS,
    output_file_name=st.none() | NAMES,
    project_id=st.none() | NAMES,
).filter(lambda asked: not request_problems(asked))


@given(REQUESTS)
def test_what_a_table_says_is_what_was_asked(asked: GenerationRequest) -> None:
    """Cells of any request that columns can say make that request, and no other."""
    table = as_table(encode_request(asked))
    (row,) = read(table)
    body = json.loads(json.dumps(encode_request(asked)))
    assert encode_request(row.request) == {name: part for name, part in body.items() if part != {}}


def test_bytes_are_not_in_a_journal(tmp_path: Path) -> None:
    """The user has them; the journal has their digest only."""
    asked = GenerationRequest(model="x", input=[Video(file=b"video"), Audio("https://h/a")])
    with failed(tmp_path / "j.sqlite", [asked]) as journal:
        for name in ("m.csv", "m.jsonl"):
            with pytest.raises(JournalError, match="position 0: its file was given as bytes"):
                journal.export_manifest(tmp_path / name)
            assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    "fields", [{"dub_params": DubParams(target_lang="de")}, {"dialogue_edit": "e"}]
)
def test_dubbing_edits_and_files_are_said(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Local files by their whole paths, wherever the manifest is written to."""
    (tmp_path / "v.mp4").write_bytes(b"video")
    (tmp_path / "out").mkdir()
    dubbed = GenerationRequest(model="x", input=[Video(file=tmp_path / "v.mp4")], **fields)
    with failed(tmp_path / "j.sqlite", [dubbed]) as journal:
        for name in ("m.csv", "m.jsonl"):
            journal.export_manifest(tmp_path / "out" / name)
            (row,) = read_manifest(tmp_path / "out" / name)
            assert row.request == dubbed


OWN_TEXTS: list[dict[str, str]] = [
    {},
    {"note": "a"},
    {"note": "", "Scene": "12"},
    {"model": "mine", "request_id": "mine", "extra": "mine"},
    {"": "no name", " ": "blank"},
    {"Größe": "ß\u2028é", "a,b": 'say "x"\nand on'},
    {"=1+1": "=2+2", "__proto__": "null"},
]


@pytest.mark.parametrize("own", OWN_TEXTS)
def test_own_texts_come_back_from_json_lines(tmp_path: Path, own: dict[str, str]) -> None:
    """What the author has written beside a request is in its line, and read again."""
    asked = request(0, request_id="r0", origin=Origin(7, own))
    with failed(tmp_path / "j.sqlite", [asked]) as journal:
        journal.export_manifest(tmp_path / "m.jsonl")
    (row,) = read_manifest(tmp_path / "m.jsonl")
    assert row.request == attrs.evolve(asked, origin=Origin(1, own))
    assert (row.extra, row.request_id) == (own, "r0")


def test_two_of_a_kind_are_no_row() -> None:
    """Segments have several audios, which takes a line of JSON."""
    body = {"model": "x", "input": [{"type": "audio", "url": "a"}, {"type": "audio", "url": "b"}]}
    with pytest.raises(NotExpressibleError, match="a table holds one audio a row"):
        cells_of(body)


def test_states_are_chosen(tmp_path: Path) -> None:
    """What has failed, if nothing else is asked for; an empty table has a header."""
    with failed(tmp_path / "j.sqlite", [request(0), request(1)]) as journal:
        with Journal.open(journal.path) as owned:
            owned.record_intents([(2, request(2))])
        assert journal.export_manifest(tmp_path / "m.csv") == 2
        assert journal.export_manifest(tmp_path / "m.csv", states=[JobState.SUBMITTING]) == 1
        (row,) = read_manifest(tmp_path / "m.csv")
        assert row.request == request(2)
        assert journal.export_manifest(tmp_path / "m.csv", states=[JobState.ACCEPTED]) == 0
    assert (tmp_path / "m.csv").read_bytes() == b"model\r\n"


@pytest.mark.parametrize("states", ["failed", JobState.FAILED, ["failed"], {JobState.FAILED}])
def test_a_state_may_be_its_text(tmp_path: Path, states: Any) -> None:
    """One alone may stand for itself."""
    with failed(tmp_path / "j.sqlite", [request(0)]) as journal:
        assert journal.export_manifest(tmp_path / "m.csv", states=states) == 1


NO_STATES = [*FOREIGN.values(), None, 5, "", "FAILED", "done", "\ud800", 10**5000, b"failed"]


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    """It would find nothing: what has failed would look as if it had not."""
    with failed(tmp_path / "j.sqlite", [request(0)]) as journal:
        for state in NO_STATES:
            with pytest.raises(
                JournalError, match=r"is no state of a request\. Give some of submi"
            ):
                journal.entries(state)
            with pytest.raises(JournalError, match=r"is no state of a request"):
                journal.export_manifest(tmp_path / "m.csv", states=["failed", state])  # type: ignore[list-item]
    assert not (tmp_path / "m.csv").exists()


def test_the_journal_is_never_written_over(tmp_path: Path) -> None:
    """Nor is anything that is no file."""
    with failed(tmp_path / "j.csv", [request(0)]) as journal:
        for target in (tmp_path / "j.csv", tmp_path):
            with pytest.raises(JournalError):
                journal.export_manifest(target)
        assert journal.length == 1


def test_where_a_request_comes_from_is_kept_as_last_seen(tmp_path: Path) -> None:
    """A sheet may be sorted, and its author's own cells changed, between two runs."""
    first = [request(n, request_id=f"r{n}", origin=Origin(n + 2, {"note": "a"})) for n in range(3)]
    with failed(tmp_path / "j.sqlite", first) as journal:
        places = [entry.place for entry in journal.entries()]
        assert places == ["line 2 (r0)", "line 3 (r1)", "line 4 (r2)"]
    moved = [
        attrs.evolve(each, origin=Origin(line, {"note": "b"}))
        for line, each in enumerate(reversed(first), start=7)
    ]
    with Journal.open(tmp_path / "j.sqlite") as journal:
        journal.match(moved)
        places = [entry.place for entry in entries(journal)]
        assert places == ["line 7 (r2)", "line 8 (r1)", "line 9 (r0)"]
        assert [entry.origin for entry in entries(journal)] == [each.origin for each in moved]
        journal.match([attrs.evolve(each, origin=None) for each in moved])
        assert [entry.origin.line for entry in entries(journal)] == [7, 8, 9]
    with Journal.open(tmp_path / "j.sqlite", retry_failed=True) as journal:
        journal.match(first)
        journal.record_intents([*enumerate(first)])
        assert [entry.origin.line for entry in entries(journal)] == [2, 3, 4]
        journal.record_intents([*enumerate(moved[::-1])])
        assert [entry.origin.line for entry in entries(journal)] == [9, 8, 7]


BAD_ORIGINS: list[Any] = [
    *("line 2", 2, {}, (2, {}), Origin("2"), Origin(0), Origin(line=True), Origin(2, None)),  # type: ignore[arg-type]
    *(Origin(2, []), Origin(2, {"a": 1}), Origin(2, {1: "a"}), Origin(2, {"a": None})),  # type: ignore[arg-type, dict-item]
    *(Origin(2, "text"), Origin(1.5, {})),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("origin", BAD_ORIGINS, ids=range(len(BAD_ORIGINS)))
def test_an_origin_that_no_journal_could_keep_is_refused(origin: Any) -> None:
    """Before anything is sent."""
    (problem,) = request_problems(request(0, origin=origin))
    assert problem.startswith("origin")


def test_journals_and_exports_are_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home folder for each file of a journal; an unknown one is told."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    failed(Path("~/j.sqlite"), [request(0)]).close()
    with JournalView.open("~/j.sqlite") as view:
        assert view.path == home / "j.sqlite"
        view.export_csv("~/all.csv")
        view.export_jsonl("~/all.jsonl")
        view.export_manifest("~/m.csv")
        for export in (view.export_csv, view.export_jsonl, view.export_manifest):
            with pytest.raises(JournalError, match="there is no home folder of 'no-such-user'"):
                export("~no-such-user/x.csv")
    for path in ("~no-such-user/j", "~$j.sqlite"):
        with pytest.raises(JournalError, match="there is no home folder of"):
            Journal.open(path)
    names = {path.name for path in home.iterdir()} - {"j.sqlite.lock"}
    assert names == {"j.sqlite", "all.csv", "all.jsonl", "m.csv"}
    assert list(work.iterdir()) == []
