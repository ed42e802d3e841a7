"""Rows that are known by a name: a list may be sorted, cut, filled up and corrected.

Each test runs a list, changes it, and runs it again with the same journal: what was made is
given, what is new is ordered, what was corrected too late is refused, and nothing is ordered
twice.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from lipsync_async import Audio, GenerationRequest, JobState, Video
from lipsync_async._bulk.journal import Journal
from lipsync_async.errors import AuthenticationError, InvalidRequestError, JournalError
from tests.bulk.jobs import entries, job, known, record, request
from tests.logic.answers import reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bulk.runs import Runs


REFUSED = AuthenticationError(response=reply(b"", 401), message="Wrong key", code="bad_key")
Rows = list[GenerationRequest]


def row(name: str | None, media: object = None, **fields: Any) -> GenerationRequest:
    """Return a request of a name, about media of its own."""
    url = f"https://media.example/{name if media is None else media}.mp4"
    return request(0, request_id=name, input=[Video(url), Audio("https://h/a")], **fields)


def rows(*names: str) -> Rows:
    """Return requests of these names."""
    return [row(name) for name in names]


def put(rows: Rows, place: int, *others: GenerationRequest) -> Rows:
    """Return rows with others in between."""
    return [*rows[:place], *others, *rows[place:]]


def as_outputs(given: Rows) -> Rows:
    """Let the name of its result be what each row is known by."""
    return [attrs.evolve(each, request_id=None, output_file_name=each.request_id) for each in given]


ABCDE = rows(*"abcde")
# What a list of five becomes, and which of its rows are new then.
CHANGES: dict[str, tuple[Rows, str]] = {
    "as it was": (ABCDE, ""),
    "reversed": (ABCDE[::-1], ""),
    "sorted otherwise": (rows(*"cadbe"), ""),
    "one moved to the front": (rows(*"eabcd"), ""),
    "one moved to the end": (rows(*"bcdea"), ""),
    "two swapped": (rows(*"bacde"), ""),
    "the first deleted": (rows(*"bcde"), ""),
    "the last deleted": (rows(*"abcd"), ""),
    "one between deleted": (rows(*"abde"), ""),
    "all but one deleted": (rows("d"), ""),
    "all deleted": ([], ""),
    "one inserted before": (put(ABCDE, 0, row("x")), "x"),
    "one inserted between": (put(ABCDE, 2, row("x")), "x"),
    "one appended": (put(ABCDE, 5, row("x")), "x"),
    "many inserted": (put(ABCDE, 1, *rows(*"uvwxyz")), "uvwxyz"),
    "one put in another's place": (rows(*"abxde"), "x"),
    "all replaced": (rows(*"vwxyz"), "vwxyz"),
    "deleted, inserted and sorted": (rows(*"excya"), "xy"),
    "the same media under another name": ([*ABCDE, row("x", "a")], "x"),
    "the names changed round": ([*rows(*"abc"), *rows(*"ed")], ""),
    "one without a name at the end": ([*ABCDE, row(None)], "-"),
}


@pytest.mark.traced_once("change", "kind")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["request_id", "output_file_name"])
async def test_a_list_is_changed(runs: Runs, change: str, kind: str) -> None:
    """Rows go with their names, whatever stands where they stood."""
    changed, new = CHANGES[change]
    convert = (lambda given: given) if kind == "request_id" else as_outputs
    first = await runs.all(convert(ABCDE))
    ids = {name: one.generation for name, one in zip("abcde", first, strict=True)}
    found = await runs.all(convert(changed))
    assert runs.sandbox.jobs.created == 5 + len(new)
    with Journal.open(runs.journal) as kept:
        assert None not in kept.match(convert(changed))
    assert all(each.is_success for each in found)
    assert [each.resumed for each in found] == [
        (one.request_id or "-") not in new for one in changed
    ]
    for one, outcome in zip(changed, found, strict=True):
        earlier = ids.get(one.request_id or "-")
        assert outcome.generation is not None
        assert earlier is None or earlier.id == outcome.generation.id
    names = {entry.position: entry.request_id for entry in entries(runs.journal)}
    assert len(names) == 5 + len(new)
    if kind == "request_id":
        assert [names[place] for place in range(len(changed))] == [
            one.request_id for one in changed
        ]


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: put(rows, 2, row(None, "x")),
        lambda rows: [attrs.evolve(rows[0], request_id=None, model="sync-3"), *rows[1:]],
        lambda rows: [row(None, "e"), *rows[:4]],
        lambda rows: [rows[0], row("x", "x"), row(None, "b"), *rows[3:]],
    ],
    ids=["inserted", "its name taken and changed", "moved without its name", "between two"],
)
async def test_a_row_without_a_name_keeps_its_place(
    runs: Runs, change: Callable[[Rows], Rows]
) -> None:
    """Which job is its own cannot be told, so the list is refused, and nothing is sent."""
    await runs.all(ABCDE)
    with pytest.raises(InvalidRequestError, match="give each a request_id"):
        await runs.all(change(ABCDE))
    assert runs.sandbox.jobs.created == 5
    found = await runs.all(ABCDE)
    assert [each.resumed for each in found] == [True] * 5


async def test_a_named_row_takes_no_place_of_one_without(runs: Runs) -> None:
    """Where rows of both kinds stand, those without a name stay where they are."""
    mixed = [row("a"), row(None, "b"), row("c")]
    await runs.all(mixed)
    for wrong in ([mixed[1], mixed[0], mixed[2]], [mixed[0], mixed[2]], [row("x"), *mixed]):
        with pytest.raises(InvalidRequestError, match="give each a request_id"):
            await runs.all(wrong)
    assert runs.sandbox.jobs.created == 3
    for right in ([mixed[2], mixed[1], mixed[0]], [row("x"), *mixed[1:]], mixed):
        found = await runs.all(right)
        assert all(each.is_success for each in found)
    assert runs.sandbox.jobs.created == 4


async def test_names_may_be_given_and_taken_later(tmp_path: Path, runs: Runs) -> None:
    """A row is known by its place and content, then by a name, then by another kind of name."""

    def named(number: int, **fields: Any) -> GenerationRequest:
        return request(number, request_id=f"row {number}", **fields)

    kinds: list[Callable[[int], GenerationRequest]] = [request, named, request, named, named]
    for kind in kinds:
        asked = [kind(number) for number in range(3)]
        await runs.all(asked)
    await runs.all(asked[::-1])
    assert runs.sandbox.jobs.created == 3
    other = tmp_path / "k.sqlite"
    outputs: list[Callable[..., GenerationRequest]] = [request, named]
    for make in outputs:
        asked = [make(number, output_file_name=f"take-{number}") for number in range(3)]
        await runs.all(asked[::-1], journal=other)
    assert runs.sandbox.jobs.created == 6
    without = [attrs.evolve(each, request_id=None) for each in asked[::-1]]
    found = await runs.all(without, journal=other)
    assert [each.resumed for each in found] == [True] * 3
    assert runs.sandbox.jobs.created == 6


async def test_a_shared_output_name_is_no_name(runs: Runs) -> None:
    """Only where it stands first is a row known by it; the others are known by their places."""
    asked = [request(number, output_file_name="take") for number in range(3)]
    await runs.all(asked)
    found = await runs.all(asked)
    assert [each.resumed for each in found] == [True] * 3
    for wrong in (asked[1:], asked[::-1], [asked[0], asked[2], asked[1]]):
        with pytest.raises(InvalidRequestError):
            await runs.all(wrong)
    assert runs.sandbox.jobs.created == 3


@pytest.mark.parametrize("has_journal", [False, True])
async def test_a_request_id_that_two_share(runs: Runs, *, has_journal: bool) -> None:
    """The second of them is refused, with or without a journal, and stops no other."""
    journal = runs.journal if has_journal else None
    asked = [row("a"), row("a", "x"), row("b"), row(None, "y"), row("a")]
    for number in range(2):
        found = await runs.all(asked, journal=journal)
        assert runs.sandbox.jobs.created == (3 if has_journal or number == 0 else 6)
        assert [each.is_success for each in found] == [True, False, True, True, False]
        assert isinstance(found[1].error, InvalidRequestError)
        assert found[1].error.problems == (
            "request_id: 'a' is that of request 0 as well; give each its own",
        )


async def test_results_that_are_lost_are_fetched_again(tmp_path: Path, runs: Runs) -> None:
    """Neither here nor there: the job is paid for, and its result is to be had."""
    out = tmp_path / "out"
    for _ in range(2):
        found = await runs.all(ABCDE, download_to=out)
        assert [each.path is not None and each.path.is_file() for each in found] == [True] * 5
        shutil.rmtree(out)
    assert runs.sandbox.jobs.created == 5


def test_a_name_that_stands_elsewhere_is_not_created(tmp_path: Path) -> None:
    """Without a look before, an intent of a request that has a row elsewhere stores nothing."""
    with Journal.open(tmp_path / "j.sqlite") as journal:
        journal.record_intents([(0, row("a"))])
        with pytest.raises(JournalError, match="request 5 is at position 0 in the journal"):
            journal.record_intents([(4, row("b")), (5, row("a"))])
        assert len(entries(journal)) == 1


STATES: dict[str, Callable[[Journal], object]] = {
    "intended": lambda _: None,
    "doubtful": lambda journal: record(journal, [(1, KeyboardInterrupt())]),
    "refused": lambda journal: record(journal, [(1, REFUSED)]),
    "accepted": lambda journal: record(journal, [(1, job("g1"))]),
    "completed": lambda journal: record(journal, [(1, job("g1", "COMPLETED"))]),
    "failed": lambda journal: record(journal, [(1, job("g1", "FAILED"))]),
    "rejected": lambda journal: record(journal, [(1, job("g1", "REJECTED"))]),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("place", [0, 1, 5])
@pytest.mark.parametrize("kind", ["request_id", "output_file_name"])
def test_a_corrected_row(tmp_path: Path, state: str, place: int, kind: str) -> None:
    """It is tried anew if it is certain that nothing came of it, and else refused in words."""
    convert = (lambda given: given) if kind == "request_id" else as_outputs
    before = convert([row("a"), row("b")])
    (corrected,) = convert([row("b", "corrected")])
    with Journal.open(tmp_path / "j.sqlite") as journal:
        (_, key) = journal.record_intents([*enumerate(before)])
        STATES[state](journal)
    with Journal.open(tmp_path / "j.sqlite") as journal:
        if state in {"refused", "failed", "rejected"}:
            assert journal.match([corrected], start=place) == [None]
            (other,) = journal.record_intents([(place, corrected)])
            assert other != key
            after = known(journal, place)
            assert (after.tries, after.attempts, after.state) == (2, 1, JobState.SUBMITTING)
            assert (after.generation_id, after.error_class) == (None, None)
            assert journal.spending()[0] == (2 if state == "refused" else 3)
        else:
            has_job = state in {"accepted", "completed"}
            fact = "generation g1 was made of it" if has_job else "it may have become a job"
            with pytest.raises(InvalidRequestError, match=fact):
                journal.match([corrected], start=place)
            with pytest.raises(InvalidRequestError):
                journal.record_intents([(place, corrected)])
            assert journal.spending()[0] == 2


async def test_a_changed_file_of_a_named_row(tmp_path: Path, runs: Runs) -> None:
    """A request that has an id is corrected by its file as well: it is not given the old result."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"take one")
    local = [request(0, input=[Video(file=clip), Audio("https://h/a")], request_id="a")]
    await runs.all(local)
    clip.write_bytes(b"take two")
    with pytest.raises(InvalidRequestError, match=r"its file .* has changed since"):
        await runs.all(local)
    anew = [attrs.evolve(local[0], request_id="a, take two")]
    (found,) = await runs.all(anew)
    assert found.is_success
    assert runs.sandbox.jobs.created == 2


NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=1, max_size=4), st.integers(1, 3))
def test_any_list_after_any_other(path: Path, lists: list[list[str]], stretch: int) -> None:
    """However a list changes from run to run, each name has one row, one key and one job."""
    path.unlink(missing_ok=True)
    keys: dict[str, str] = {}
    for names in lists:
        with Journal.open(path) as journal:
            for start in range(0, len(names), stretch):
                asked = rows(*names[start : start + stretch])
                found = journal.match(asked, start=start)
                for place, (entry, one) in enumerate(zip(found, asked, strict=True), start):
                    name = str(one.request_id)
                    assert (entry is not None) == (name in keys)
                    if entry is None:
                        (keys[name],) = journal.record_intents([(place, one)])
                        record(journal, [(place, job(f"job of {name}"))])
                    else:
                        assert (entry.position, entry.request_id) == (place, name)
                        assert entry.idempotency_key == keys[name]
                        assert entry.generation_id == f"job of {name}"
            places = {str(entry.request_id): entry.position for entry in entries(journal)}
            assert {name: places[name] for name in names} == {
                name: place for place, name in enumerate(names)
            }
            assert places.keys() == keys.keys()


def lost(place: Path, *names: str) -> Path:
    """Copy a folder and empty it."""
    copy = Path(shutil.copytree(place, place.with_name("copied")))
    for name in names:
        shutil.rmtree(place / name)
    return copy


def moved_twice(place: Path) -> Path:
    """Move a journal, use it, and move its folder."""
    journal = (place / "runs/j.sqlite").rename(place / "j.sqlite")
    with Journal.open(journal) as kept:
        kept.match(as_outputs(rows(*"ab")))
    return place.rename(place.with_name("renamed")) / "j.sqlite"


def entered(place: Path) -> Path:
    """Return a folder by a link."""
    link = place.with_name("link")
    link.symlink_to(place)
    return link


MOVES: dict[str, Callable[[Path], Path]] = {
    "nothing": lambda place: place / "runs/j.sqlite",
    "all renamed": lambda place: place.rename(place.with_name("renamed")) / "runs/j.sqlite",
    "all copied, the first lost": lambda place: lost(place, "runs", "out") / "runs/j.sqlite",
    "the journal moved": lambda place: (place / "runs/j.sqlite").rename(place / "j.sqlite"),
    "the journal moved, then all": moved_twice,
    "entered by a link": lambda place: entered(place) / "runs/j.sqlite",
}


@pytest.mark.parametrize("move", MOVES)
async def test_results_are_not_fetched_again(tmp_path: Path, runs: Runs, move: str) -> None:
    """Wherever journal and results are moved, they are found; parts of them are removed."""
    place = tmp_path / "place"
    (place / "runs").mkdir(parents=True)
    asked = as_outputs(rows(*"ab"))
    first = await runs.all(asked, journal=place / "runs/j.sqlite", download_to=place / "out")
    fetched = runs.sandbox.requests.count("GET", "/__sandbox/media/*")
    journal = MOVES[move](place)
    folder = journal.parent / "elsewhere"
    folder.mkdir()
    (folder / "c-of-another-run.0123abcd.part").touch()
    for number in range(2):  # a run was killed while it fetched them anew
        for outcome in first:
            assert outcome.path is not None
            (folder / f"{outcome.path.stem}.{number:08x}.part").touch()
        found = await runs.all(asked, journal=journal, download_to=folder)
        assert [path.name for path in folder.iterdir()] == ["c-of-another-run.0123abcd.part"]
        assert [each.resumed for each in found] == [True, True]
        assert [each.path is not None and each.path.is_file() for each in found] == [True] * 2
    assert runs.sandbox.requests.count("GET", "/__sandbox/media/*") == fetched
    assert runs.sandbox.jobs.created == 2
    for entry, outcome in zip(entries(journal), first, strict=True):
        assert entry.download_path is not None
        assert entry.download_path.is_file()
        assert outcome.path is not None
        assert entry.download_path.name == outcome.path.name
