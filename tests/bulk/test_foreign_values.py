"""Values of classes that JSON does not know: sent as what they are, or refused, for one request."""

import datetime as dt
import enum
import json
import math
from array import array
from collections import UserList, deque
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import attrs
import numpy as np
import pytest

from lipsync_async import JobState, JournalView, Model, read_manifest
from lipsync_async._logic.codec import encode_request
from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    ElevenLabs,
    GenerationRequest,
    Options,
    Segment,
    SegmentAudio,
    Text,
    Video,
)
from lipsync_async.errors import InvalidRequestError, JournalError, LipsyncError, UnexpectedError
from tests.bulk.runs import opened, requests
from tests.client.connections import INPUTS

NAMED = [INPUTS[0], Audio("https://media.example/a.wav", ref_id="a")]


def refuse(*_: object) -> NoReturn:
    """Raise, whatever is asked."""
    raise PermissionError("not for you")


def refusing(base: type, *names: str, **others: Any) -> Any:
    """Return a class of which some methods refuse."""
    return type(
        "Refusing", (base,), dict.fromkeys((f"__{name}__" for name in names), refuse) | others
    )


Seconds: Any = type("Seconds", (float,), {})  # as a library of units has it
Shouting = refusing(float, "repr", "str")
Unruly = refusing(float, "lt", "le", "gt", "ge", "eq", __hash__=float.__hash__)
Frames: Any = type("Frames", (int,), {})
Rate = enum.IntEnum("Rate", {"ONE": 1})
Sign: Any = type("Sign", (str,), {})
Secret = refusing(str, "eq", "ne", "repr", "str", "format", "hash")
Raising = refusing(list, "iter")
Kind = enum.StrEnum("Kind", {"LOOP": "loop"})
Plain = enum.Enum("Plain", {"LOOP": "loop"})


class Broken(Sequence[Any]):
    """A list that cannot be read."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, _: Any) -> Any:
        raise BufferError("the table is closed")


class Endless(Sequence[Any]):
    """A list that does not know how long it is."""

    __len__ = refuse

    def __getitem__(self, _: Any) -> Any:
        raise IndexError


class NoPath(PathLike[str]):
    """A path that raises."""

    __fspath__ = refuse


class Masked:
    """A thing that hides what it is."""

    @property
    def __class__(self) -> Any:
        raise ZeroDivisionError("who asks?")

    @__class__.setter
    def __class__(self, _: Any) -> None:
        """Be it."""


def ordered(**fields: Any) -> GenerationRequest:
    """Return a request with something odd in it."""
    return GenerationRequest(**{"model": "lipsync-2", "input": INPUTS, **fields})


def at(temperature: Any) -> GenerationRequest:
    """Return a request with an odd temperature."""
    return ordered(options=Options(temperature=temperature))


def until(end: Any) -> GenerationRequest:
    """Return a request with a segment with an odd end."""
    segment = Segment(start_time=0, end_time=end, audio_input=SegmentAudio("a"))
    return ordered(input=NAMED, segments=[segment])


def face(**fields: Any) -> GenerationRequest:
    """Return a request that points at a face in an odd way."""
    return ordered(options=Options(active_speaker_detection=ActiveSpeaker(**fields)))


def said(**fields: Any) -> GenerationRequest:
    """Return a request with an odd voice."""
    voice: dict[str, Any] = {"voice_id": "v", "script": "Hello."}
    return ordered(input=[INPUTS[0], Text(ElevenLabs(**voice | fields))])


def from_file(file: Any) -> GenerationRequest:
    """Return a request with an odd file."""
    return ordered(input=[Video(file=file), INPUTS[1]])


# What is sent as the number, the text or the list that it is.
SENT: dict[str, GenerationRequest] = {
    "a float of another class": at(Seconds(0.5)),
    "numpy.float64": at(np.float64(0.25)),
    "a float that does not show itself": at(Shouting(0.5)),
    "a float that cannot be compared": at(Unruly(0.5)),
    "an integer": at(1),
    "an integer of another class": at(Frames(1)),
    "a member of an enumeration": at(Rate.ONE),
    "numpy.float64 in a segment": until(np.float64(1.5)),
    "2**65": until(2**65),
    "2**1000": until(2**1000),
    "1e308": until(1e308),
    "a frame of 70 bits": face(frame_number=2**70, coordinates=[1, 2]),
    "a box of 70 bits": face(bounding_boxes=[[0, 0, 2**70, 2**70]]),
    "a range": face(frame_number=0, coordinates=range(3, 5)),
    "a deque": face(frame_number=0, coordinates=deque([3, 4])),
    "a UserList": face(frame_number=0, coordinates=UserList([3, 4])),
    "frames of another class": face(frame_number=Frames(0), coordinates=[Frames(3), Rate.ONE]),
    "boxes of all kinds": face(bounding_boxes=deque([None, (0, 0, np.float64(4), Seconds(5))])),
    "a text of another class": ordered(output_file_name=Sign("take")),
    "a text that does not show itself": said(voice_id=Secret("v1")),
    "a name that cannot be looked up": ordered(request_id=Secret("r1")),
    "numpy.str_": ordered(model=np.str_("lipsync-2")),
    "a model": ordered(model=Model.LIPSYNC_2),
    "a member of a foreign enumeration": ordered(options=Options(sync_mode=Kind.LOOP)),
    "a tuple of another class": ordered(input=UserList(INPUTS)),
    "a scope of a voice": said(stability=np.float64(0.5), similarity_boost=Frames(0)),
    "bytes of another class": from_file(type("Clip", (bytes,), {})(b"clip")),
}
# What is refused before anything is sent; and what the problem is about.
REFUSED: dict[str, tuple[GenerationRequest, str]] = {
    "NaN": (at(math.nan), "options.temperature"),
    "infinity": (until(math.inf), "segments[0].end_time"),
    "minus infinity": (at(-math.inf), "options.temperature"),
    "numpy's NaN": (until(np.float64("nan")), "segments[0].end_time"),
    "1e400": (at(1e400), "options.temperature"),
    "10**400": (until(10**400), "segments[0].end_time"),
    "10**5000": (until(10**5000), "segments[0].end_time"),
    "numpy.float32": (at(np.float32(0.5)), "options.temperature"),
    "numpy.float16": (at(np.float16(0.5)), "options.temperature"),
    "numpy.longdouble": (at(np.longdouble(0.5)), "options.temperature"),
    "numpy.int64": (face(frame_number=np.int64(1), coordinates=[1, 2]), "options."),
    "numpy.bool": (face(v3=np.True_), "options.active_speaker_detection.v3"),
    "an array": (face(frame_number=0, coordinates=np.array([1, 2])), "options."),
    "an array of one": (at(np.array([0.5])), "options.temperature"),
    "Decimal": (at(Decimal("0.5")), "options.temperature"),
    "Fraction": (until(Fraction(1, 2)), "segments[0].end_time"),
    "complex": (at(0.5 + 0j), "options.temperature"),
    "True": (at(temperature=True), "options.temperature"),
    "text of a number": (at("0.5"), "options.temperature"),
    "bytes of a number": (at(b"0.5"), "options.temperature"),
    "a time": (until(dt.timedelta(seconds=1)), "segments[0].end_time"),
    "a number in a segment that cannot be compared": (until(Unruly(0.5)), "request"),
    "a list that cannot be read": (face(frame_number=0, coordinates=Broken()), "request"),
    "a list without a length": (ordered(segments=Endless()), "request"),
    "inputs that cannot be read": (ordered(input=Broken()), "request"),
    "an iterator": (ordered(input=iter(INPUTS)), "input"),
    "a map": (ordered(input=map(str, ())), "input"),
    "a list that raises": (ordered(input=Raising(INPUTS)), "request"),
    "segments that raise": (ordered(segments=Raising(INPUTS)), "request"),
    "a set": (ordered(input=frozenset()), "input"),
    "a dictionary": (ordered(input={0: INPUTS[0]}), "input"),
    "an array of bytes": (ordered(input=array("b")), "input"),
    "half of a pair": (said(script="a\ud800b"), "input[1].provider.script"),
    "half of a pair in an address": (ordered(webhook_url="https://h/\udfff"), "webhook_url"),
    "half of a pair in a name": (ordered(model="m\udc80"), "model"),
    "bytes for text": (ordered(model=b"lipsync-2"), "model"),
    "a view of memory": (ordered(model=memoryview(b"lipsync-2")), "model"),
    "no text in an enumeration": (ordered(model=Plain.LOOP), "model"),
    "a path for text": (ordered(project_id=PurePosixPath("p")), "project_id"),
    "a file's name that cannot be looked up": (ordered(output_file_name=Secret("take")), "request"),
    "a project that cannot be looked up": (ordered(project_id=Secret("p1")), "request"),
    "an address that cannot be looked up": (
        ordered(webhook_url=Secret("https://h/hook")),
        "request",
    ),
    "no such word": (ordered(options=Options(sync_mode=Secret("x"))), "options.sync_mode"),
    "a name that is none": (ordered(output_file_name=("take",)), "output_file_name"),
    "a null in a file's name": (from_file("a\0b"), "input[0].file"),
    "half of a pair in a file's name": (from_file("\ud800.mp4"), "input[0].file"),
    "a number for a file": (from_file(3), "input[0].file"),
    "a path of bytes": (from_file(Path.__new__), "input[0].file"),
    "a path that raises": (from_file(NoPath()), "request"),
    "a thing that hides its class": (Masked(), "request"),  # type: ignore[dict-item]
    "an input that hides its class": (ordered(input=[INPUTS[0], Masked()]), "request"),
    "the class of requests": (GenerationRequest, "request"),  # type: ignore[dict-item]
    "a dictionary for a request": ({"model": "lipsync-2"}, "request"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("has_journal", [False, True])
async def test_in_a_run(tmp_path: Path, has_journal: bool) -> None:  # noqa: FBT001
    """Each is sent or refused for itself, and every request beside it is run."""
    odd = [*SENT.values(), *(request for request, _ in REFUSED.values())]
    mixed = [each for pair in zip(odd, requests(len(odd)), strict=True) for each in pair]
    journal = tmp_path / "journal.sqlite" if has_journal else None
    async with opened() as (client, _, _):
        found = await client.generations.run_all(mixed, journal=journal)
        again = await client.generations.run_all(mixed, journal=journal)
    assert [each.index for each in found[1::2] if not each.is_success] == []
    sent, refused = found[: 2 * len(SENT) : 2], found[2 * len(SENT) :: 2]
    assert {name for name, each in zip(SENT, sent, strict=True) if each.is_success} == {*SENT}
    for (_, about), outcome in zip(REFUSED.values(), refused, strict=True):
        assert isinstance(outcome.error, InvalidRequestError)
        assert outcome.error.problems[0].startswith(about)
        assert str(outcome.error).encode()
    # Those of a journal are known again by what was sent.
    assert [each.resumed for each in again[: 2 * len(SENT)]] == [has_journal] * 2 * len(SENT)


@pytest.mark.parametrize(("request_", "about"), REFUSED.values(), ids=REFUSED)
async def test_refused_by_itself(request_: Any, about: str) -> None:
    """`create` refuses what a run refuses, in the documented words, and sends nothing."""
    async with opened() as (client, sandbox, _):
        with pytest.raises(InvalidRequestError) as caught:
            await client.generations.create(request_)
        assert caught.value.problems[0].startswith(about)
        assert len(sandbox.requests) == 0


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent_is_plain(name: str) -> None:
    """In the body are numbers, texts and lists as JSON knows them, and nothing else."""
    request = SENT[name]
    if isinstance(getattr(request.input[0], "file", None), bytes):
        request = attrs.evolve(request, input=request.input[1:])
    body = encode_request(request)
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    assert kinds_in(body) <= {str, int, float, bool, list, dict, type(None)}


def kinds_in(value: Any) -> set[type]:
    """Return the classes of a value and all that is in it."""
    inner = [*value.values()] if isinstance(value, dict) else value if type(value) is list else []
    return {type(value)}.union(*map(kinds_in, inner))


ARGUMENTS: dict[str, Callable[[Any, Any], Any]] = {
    "create": lambda verbs, odd: verbs.create(model=odd, input=odd, options=odd, segments=odd),
    "create with a key": lambda verbs, odd: verbs.create(SENT["an integer"], idempotency_key=odd),
    "create with both": lambda verbs, odd: verbs.create(SENT["an integer"], segments=odd),
    "run": lambda verbs, odd: verbs.run(SENT["an integer"], timeout=odd),
    "wait": lambda verbs, odd: verbs.wait_until_complete(odd),
    "get": lambda verbs, odd: verbs.get(odd),
    "delete": lambda verbs, odd: verbs.delete(odd),
    "list": lambda verbs, odd: verbs.list(ids=odd, status=odd, cursor=odd),
    "count": lambda verbs, odd: verbs.count(source=odd),
    "download": lambda verbs, odd: verbs.download("a", odd),
    "estimate": lambda verbs, odd: verbs.estimate(odd),
    "estimate_duration": lambda verbs, odd: verbs.estimate_duration(model="m", duration=odd),
    "run_all": lambda verbs, odd: verbs.run_all(odd, journal=odd, max_cost=odd),
}
ODD: list[Any] = [
    *(Masked(), Unruly(0.5), Broken(), Endless(), NoPath(), math.nan, 10**5000, Decimal("NaN")),
    *(np.array([1, 2]), np.float32(1), memoryview(b"a"), "\ud800", Plain.LOOP, object),
]


@pytest.mark.parametrize("verb", ARGUMENTS)
async def test_other_arguments(verb: str) -> None:
    """Whatever is handed over to a verb, the answer is an error of the package."""
    async with opened() as (client, sandbox, _):
        for odd in ODD:
            with pytest.raises(LipsyncError):
                await ARGUMENTS[verb](client.generations, odd)
        assert len(sandbox.requests) == 0


def member(text: object) -> Any:
    """Return a text as a member of an enumeration: Python writes such a one by its name."""
    return enum.Enum("Member", {"NAME": str(text)}, type=str).NAME  # type: ignore[attr-defined]


async def test_members_of_enumerations_are_their_texts(tmp_path: Path) -> None:
    """An id, a key or a path that was taken by its name would be another one."""
    async with opened(progression="immediate") as (client, _, _):
        calls = client.generations
        (request,) = requests(1)
        done = await calls.run(request, idempotency_key=member("take-1"))
        named = member(done.id)
        assert (done.idempotency_key, (await calls.get(named)).id) == ("take-1", done.id)
        waited = await calls.wait_until_complete(named)
        assert (type(waited.id), waited.id) == (str, done.id)
        page = await calls.list(ids=[named], status=[member("COMPLETED")])
        assert [each.id for each in page.items] == [done.id]
        saved = await calls.download(named, member(tmp_path / "one.mp4"))
        (outcome,) = await calls.run_all(
            [request], journal=member(tmp_path / "j.sqlite"), download_to=member(f"{tmp_path}/out/")
        )
        await calls.delete(named)
    assert outcome.path is not None
    with JournalView.open(member(tmp_path / "j.sqlite")) as view:
        view.export_manifest(member(tmp_path / "again.csv"), states=[JobState.COMPLETED])
    assert len(read_manifest(member(tmp_path / "again.csv"))) == 1
    assert (saved, outcome.path.parent) == (tmp_path / "one.mp4", tmp_path / "out")


@pytest.mark.parametrize("path", [5, None, b"takes.csv", ["takes.csv"], Unruly(1), "", "\0", " "])
def test_what_is_no_path_is_refused_in_words(path: Any) -> None:
    """The documented error, whatever was handed over."""
    with pytest.raises(InvalidRequestError, match="manifest: must "):
        read_manifest(path)
    with pytest.raises(JournalError):
        JournalView.open(path)


class Fickle(list[Any]):
    """A list that can be read a number of times."""

    left = 0

    def __iter__(self) -> Iterator[Any]:
        """Yield the items, or raise."""
        self.left -= 1
        if self.left < 0:
            raise BufferError("the table is closed")
        return super().__iter__()


@pytest.mark.parametrize("times", range(12))
async def test_inputs_that_raise_at_any_moment(tmp_path: Path, times: int) -> None:
    """They cost their own request at most: when it is checked, looked up, written or sent."""
    odd, *others = requests(3)
    journal = tmp_path / "journal.sqlite"
    async with opened() as (client, sandbox, _):
        await client.generations.run_all([odd], journal=journal)
        inputs = Fickle(odd.input)
        inputs.left = times
        object.__setattr__(odd, "input", inputs)
        found = await client.generations.run_all([odd, *others], journal=journal)
        assert sandbox.jobs.created == 3
    assert [each.is_success for each in found[1:]] == [True, True]
    assert type(found[0].error) in {InvalidRequestError, UnexpectedError, type(None)}
