"""A request's canonical form, and by what a request is recognised, wherever it is run from."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async._bulk.fingerprint import Recognition, earlier_forms, key_of, write
from lipsync_async._logic.codec import encode_request
from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    GenerationRequest,
    Image,
    Options,
    Segment,
    SegmentAudio,
    Video,
)
from tests.bulk.jobs import request
from tests.logic.good_requests import GOOD_REQUESTS
from tests.logic.requests import AUDIO, order

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLAIN = Recognition()
DOCUMENTS = {
    name: write(PLAIN.body(GenerationRequest(**fields))) for name, fields in GOOD_REQUESTS.items()
}


def document(asked: GenerationRequest) -> str:
    """Return a request's canonical form."""
    return write(PLAIN.body(asked))


def differs(before: GenerationRequest, now: GenerationRequest, **how: bool) -> str | None:
    """Say what sets two requests apart; `None`: nothing."""
    difference = PLAIN.difference(document(before), now, **how)
    return str(difference) if difference else None


@pytest.mark.parametrize("fields", GOOD_REQUESTS.values(), ids=GOOD_REQUESTS)
def test_the_document_is_the_wire_json(fields: dict[str, Any]) -> None:
    """What is stored is what is sent, and the facts of files that go along."""
    asked = GenerationRequest(**fields)
    stored = json.loads(document(asked))
    for item in stored["input"]:
        item.pop("file", None)
    assert stored == json.loads(json.dumps(encode_request(asked)))
    assert differs(asked, asked) is None


def test_every_request_has_its_own_fingerprint() -> None:
    """No two of many different requests are taken for one."""
    assert len(set(DOCUMENTS.values())) == len(DOCUMENTS)


@pytest.mark.parametrize("name", GOOD_REQUESTS)
def test_no_request_is_taken_for_another(name: str) -> None:
    """Each differs from every other, whichever of the two was recorded."""
    asked = GenerationRequest(**GOOD_REQUESTS[name])
    same = [
        other
        for other, fields in GOOD_REQUESTS.items()
        if differs(GenerationRequest(**fields), asked, is_named=True) is None
    ]
    assert same == [name]


@given(st.floats(0, 1) | st.integers(0, 1))
def test_a_number_is_a_number(temperature: float) -> None:
    """1 and 1.0 are the same in JSON, so they are the same here; nothing else is."""
    one, other = (
        request(0, options=Options(temperature=value))
        for value in (temperature, float(temperature))
    )
    assert PLAIN.body(one) == PLAIN.body(other)
    assert differs(one, other) is None
    changed = request(0, options=Options(temperature=temperature + 0.5))
    assert differs(changed, one) == "they differ in options"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_their_value(number: float) -> None:
    """However large or small a number is, the stored one equals it."""
    stored = json.loads(document(request(0, options=Options(temperature=number))))
    assert stored["options"]["temperature"] == number


def local(file: Path | str | bytes) -> GenerationRequest:
    """Return a request about a local file."""
    return GenerationRequest(**order(Video(file=file), AUDIO))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Make a local file in a folder of its own."""
    path = tmp_path / "media" / "clip.mp4"
    path.parent.mkdir()
    path.write_bytes(b"take one")
    return path


def test_files_are_noted_with_all_that_can_tell_them_apart(clip: Path) -> None:
    """Where it is, in itself and from the journal's folder, size, time of change and content."""
    os.utime(clip, ns=(1, 1_000_000_007))
    seen = Recognition(clip.parents[1] / "runs").body(local(clip))
    assert seen["input"][0] == {
        "type": "video",
        "file": {
            "path": str(clip),
            "near": "../media/clip.mp4",
            "size": 8,
            "mtime_ns": 1_000_000_007,
            "sha256": sha256(b"take one").hexdigest(),
        },
    }


# Ways to the same file, after the folder with the journal and the media was treated so.
# Each takes the folder and gives the journal's folder and the clip's path.
CLIP = "media/clip.mp4"
WAYS: dict[str, Callable[[Path], tuple[Path, Path]]] = {
    "the same path": lambda at: (at, at / CLIP),
    "a way round": lambda at: (at, at / "media/../media/./clip.mp4"),
    "a linked folder": lambda at: (at, linked(at) / CLIP),
    "a linked folder, a way round": lambda at: (at, linked(at) / "media/../media/clip.mp4"),
    "a linked file": lambda at: (at, linked(at / CLIP)),
    "renamed": lambda at: (moved(at), moved(at) / CLIP),
    "copied": lambda at: (copied(at), copied(at) / CLIP),
    "copied with new dates": lambda at: (copied(at, dates=False), copied(at) / CLIP),
    "copied, the journal alone": lambda at: (copied(at) / "elsewhere", at / CLIP),
    "copied, the media alone": lambda at: (at, copied(at) / CLIP),
    "moved, the media alone": lambda at: (at, (at / "media").rename(at / "films") / "clip.mp4"),
    "touched": lambda at: (at, touched(at / CLIP)),
    "renamed, the file": lambda at: (at, (at / CLIP).rename(at / "media/other.mp4")),
    "gone": lambda at: (at, gone(at / CLIP)),
    "renamed, then gone": lambda at: (moved(at), gone(moved(at) / CLIP)),
}


def linked(path: Path) -> Path:
    """Return a link to something."""
    link = path.with_name(f"link-{path.name}")
    if not link.is_symlink():  # pragma: no branch - a folder may be used twice
        link.symlink_to(path)
    return link


def moved(folder: Path) -> Path:
    """Rename a folder, once."""
    target = folder.with_name("renamed")
    return target if target.exists() else folder.rename(target)


def copied(folder: Path, *, dates: bool = True) -> Path:
    """Copy a folder, once."""
    target = folder.with_name("copied")
    if not target.exists():
        copy = shutil.copy2 if dates else shutil.copyfile
        shutil.copytree(folder, target, copy_function=copy)
    return target


def touched(path: Path) -> Path:
    """Give a file another time of change."""
    os.utime(path, ns=(1, 1))
    return path


def gone(path: Path) -> Path:
    """Remove a file."""
    path.unlink()
    return path


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("large", [False, True])
def test_the_same_file_by_another_way(tmp_path: Path, way: str, *, large: bool) -> None:
    """A run goes on from wherever it is started, and after a move of its folder."""
    most = 100_000 if large else 1_000_000
    folder = tmp_path / "project"
    clip = written(folder / CLIP, b"take one" * 20_000)
    noted = write(Recognition(folder, most_read=most).body(local(clip)))
    base, clip = WAYS[way](folder)
    # Of a large file that has other dates, the content is not certain; with a job, that does.
    is_certain = not large or way not in {"copied with new dates", "touched", "renamed, the file"}
    for was_sent in {True, not is_certain}:
        seen = Recognition(base, most_read=most)
        assert not seen.difference(noted, local(clip), was_sent=was_sent)
    if not is_certain:
        assert Recognition(base, most_read=most).difference(noted, local(clip))


# Other files, each by what happens to the noted one; its path afterwards.
TWO = b"take two"
OTHER: dict[str, Callable[[Path], Path]] = {
    "longer": lambda at: written(at, b"take one and a half"),
    "empty": lambda at: written(at, b""),
    "as long, later": lambda at: written(at, TWO),
    "as long and as old, elsewhere": lambda at: written(at.parent / "o/clip.mp4", TWO, like=at),
    "as long and as old, another name": lambda at: written(at.with_name("o"), TWO, like=at),
    "gone, elsewhere": lambda at: at.with_name("other.mp4"),
    "a folder": lambda at: at.parent,
}


def written(path: Path, data: bytes, *, like: Path | None = None) -> Path:
    """Write a file, which is as old as another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if like is not None:
        status = like.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(path, ns=(7, 7))
    return path


@pytest.mark.parametrize("change", OTHER)
def test_another_file_is_another_request(clip: Path, change: str) -> None:
    """Neither name nor size nor time of change make two files one if their content differs."""
    seen = Recognition(clip.parent)
    noted = write(seen.body(local(clip)))
    other = OTHER[change](clip)
    found = seen.difference(noted, local(other), was_sent=True)
    assert found
    is_there = other == clip
    assert found.is_in_files is is_there
    expected = f"its file {clip} has changed since" if is_there else "they differ in input"
    assert str(found) == expected


def test_a_large_file_of_another_content_is_another(clip: Path) -> None:
    """Its beginning, its end and much between are looked at."""
    clip.write_bytes(bytes(20_000_000))
    noted = write(Recognition(most_read=100_000).body(local(clip)))
    for place in (0, 10_000_000, 19_999_999):
        data = bytearray(20_000_000)
        data[place : place + 400_000] = b"x" * min(400_000, 20_000_000 - place)
        other = written(clip.with_name("other") / clip.name, bytes(data), like=clip)
        seen = Recognition(most_read=100_000)
        assert seen.difference(noted, local(other), was_sent=True)


def test_bytes_count_by_their_content(clip: Path) -> None:
    """Media in memory have no name, and are stored nowhere, but they are recognised."""
    one, same, other = (local(data) for data in (b"1" * 1000, b"1" * 1000, b"2"))
    assert differs(one, same) is None
    assert differs(one, other) == "they differ in input"
    assert "1" * 100 not in document(one)
    assert differs(local(clip), local(clip.read_bytes())) is None
    assert differs(local(b"take one"), local(clip)) is None


def test_what_cannot_be_read_is_known_by_place_and_time(tmp_path: Path) -> None:
    """It has no digest; a folder, which cannot be read, stands for a file that may not be."""
    noted = document(local(tmp_path))
    assert "sha256" not in noted
    assert not PLAIN.difference(noted, local(tmp_path))
    touched(tmp_path)
    assert PLAIN.difference(noted, local(tmp_path), was_sent=True)


def test_a_file_is_read_once(clip: Path) -> None:
    """Thousands of requests share a few files; of many different ones not all is kept."""
    seen = Recognition(most_remembered=2)
    noted = seen.body(local(clip))
    other = written(clip.with_name("other"), b"take two", like=clip).replace(clip)
    assert seen.body(local(other)) == noted
    for name in ("a", "b", "c"):
        seen.body(local(written(clip.with_name(name), b"x")))
    assert seen.body(local(clip)) != noted


def test_a_file_as_earlier_releases_noted_it(clip: Path) -> None:
    """They had no digest and no place from the journal, and a path as it was given."""
    status = clip.stat()
    facts = {"path": str(linked(clip)), "size": 8, "mtime_ns": status.st_mtime_ns}
    body = json.loads(document(local(clip)))
    body["input"][0]["file"] = facts
    assert not PLAIN.difference(json.dumps(body), local(clip))
    touched(clip)
    assert PLAIN.difference(json.dumps(body), local(clip)).is_in_files


def test_names_that_are_no_unicode_are_stored(tmp_path: Path) -> None:
    """A file's name may be in any encoding."""
    file = tmp_path / "na\udcefve.mp4"
    file.write_bytes(b"123")
    stored = document(local(file))
    assert stored.isascii()
    assert json.loads(stored)["input"][0]["file"]["path"] == str(file)


def test_more_than_a_file_may_differ(tmp_path: Path) -> None:
    """If not only the file has changed, the fields are named."""
    file = tmp_path / "face.png"
    file.write_bytes(b"123")
    before = document(request(0, model="sync-3", input=[Image(file=file), AUDIO]))
    file.write_bytes(b"12345")
    after = request(0, model="sync-4", input=[Image(file=file), AUDIO])
    assert str(PLAIN.difference(before, after)) == "they differ in input and model"
    fewer = request(0, input=[AUDIO])
    assert str(PLAIN.difference(before, fewer)) == "they differ in input and model"


def signed(number: int, place: str = "v") -> str:
    """Return an address that is signed anew for each number."""
    return f"https://media.example/{place}?X-Amz-Signature=a{number}"


def everywhere(number: int) -> GenerationRequest:
    """Return a request with addresses at all places where there may be any."""
    boxes = Options(active_speaker_detection=ActiveSpeaker(bounding_boxes_url=signed(number, "b")))
    return GenerationRequest(
        model="lipsync-2",
        input=[Video(signed(number)), Audio(signed(number, "a"), ref_id="a")],
        options=boxes,
        segments=[
            Segment(
                start_time=0, end_time=1, audio_input=SegmentAudio("a"), options_override=boxes
            ),
            Segment(start_time=1, end_time=2, audio_input=SegmentAudio("a")),
        ],
        webhook_url="https://hooks.example/?id=1",
    )


def test_links_may_be_signed_anew_wherever_they_stand() -> None:
    """Media, boxes, boxes of segments; unless all of a query is to count."""
    found = PLAIN.difference(document(everywhere(1)), everywhere(2))
    assert not found
    assert found.is_signed_anew
    strict = Recognition(matches_query=True)
    assert str(strict.difference(document(everywhere(1)), everywhere(2))) == (
        "they differ in input and options and segments"
    )
    assert not strict.difference(document(everywhere(1)), everywhere(1)).is_signed_anew


NAMED = {
    "a flag": (
        [request(0, options=Options(temperature=value)) for value in (True, 1)],
        "they differ in options",
    ),
    "a webhook": (
        [request(0, webhook_url=f"https://h/?sig={value}") for value in "ab"],
        "they differ in webhookUrl",
    ),
    "a parameter": (
        [request(0, input=[Video(f"https://h/v?id={number}"), AUDIO]) for number in (1, 2)],
        "they differ in input, by id in the query of an address",
    ),
}


@pytest.mark.parametrize(("pair", "words"), NAMED.values(), ids=NAMED)
def test_what_sets_two_apart_is_named(pair: list[GenerationRequest], words: str) -> None:
    """True is no 1, a webhook's query tells whose job it is, and a parameter has a name."""
    one, other = pair
    assert differs(one, other, is_named=words.endswith("webhookUrl")) == words


def test_the_forms_in_which_an_order_may_have_been_sent() -> None:
    """Each noted one, with its links, and none twice; what is written now is not among them."""
    noted = [document(everywhere(number)) for number in (3, 2, 3, 1)]
    assert earlier_forms(everywhere(1), noted) == (everywhere(3), everywhere(2))
    assert earlier_forms(everywhere(1), noted[3:]) == ()
    plain = request(1)
    assert earlier_forms(plain, [document(plain)]) == ()


def test_a_key_follows_from_the_order(clip: Path) -> None:
    """One journal, request and try have one key, after a move of the folder as well."""
    keys = [
        key_of(secret, anchor, number, PLAIN.body(asked))
        for secret, anchor, number, asked in (
            ("s", "position:0", 1, request(0)),
            ("t", "position:0", 1, request(0)),
            ("s", "position:1", 1, request(0)),
            ("s", "id:0", 1, request(0)),
            ("s", "position:0", 2, request(0)),
            ("s", "position:0", 1, request(1)),
            ("s", "position:0", 1, request(0, model="sync-3")),
            ("s", "position:0", 1, request(0, input=[Video("https://h/v?id=1"), AUDIO])),
            ("s", "position:0", 1, request(0, input=[Video("https://h/v?id=2"), AUDIO])),
            ("s", "position:0", 1, local(clip)),
            ("s", "position:0", 1, local(b"take one")),
        )
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == "aabcb25c-8058-51c3-b287-b8e18ee376aa"  # as earlier releases make it
    assert key_of("s", "position:0", 1, PLAIN.body(request(0))) == keys[0]
    copy = copied(clip.parent, dates=False) / clip.name
    assert key_of("s", "position:0", 1, PLAIN.body(local(copy))) == keys[9]
    anew = [key_of("s", "p", 1, PLAIN.body(everywhere(number))) for number in (1, 2)]
    assert anew[0] == anew[1]
