import copy
import pickle
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async._enums import TERMINAL, TRANSITIONS, Emotion, Model, ModelMode, Status, SyncMode

UNKNOWN = st.text().filter(lambda text: text not in set(Status))

COPIERS: dict[str, Callable[[Status], Status]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda status: Status(pickle.loads(pickle.dumps(status))),  # noqa: S301 - our own
}


def test_transitions_are_the_documented_ones() -> None:
    """A job is queued, runs and ends; every status has its row, and an end has no move."""
    moves = {(source, target) for source, targets in TRANSITIONS.items() for target in targets}
    assert moves == {
        *(("PENDING", after) for after in ("PROCESSING", "FAILED", "REJECTED")),
        *(("PROCESSING", after) for after in ("COMPLETED", "FAILED")),
    }
    assert list(TRANSITIONS) == list(Status)
    assert {status for status in Status if not TRANSITIONS[status]} == TERMINAL
    assert {"COMPLETED", "FAILED", "REJECTED", "CANCELED", "CANCELLED", "TIMED_OUT"} == TERMINAL


def test_every_life_ends() -> None:
    """However a job moves, it comes to an end, and it never comes back to a status."""
    lives: list[tuple[Status, ...]] = [(Status.PENDING,)]
    ended: set[Status] = set()
    while lives:
        life = lives.pop()
        assert len(set(life)) == len(life)
        ended |= {life[-1]} if life[-1].is_terminal else set()
        lives += [(*life, after) for after in TRANSITIONS[life[-1]]]
    assert ended == {Status.COMPLETED, Status.FAILED, Status.REJECTED}


@pytest.mark.parametrize("status", Status)
def test_known_statuses_know_themselves(status: Status) -> None:
    """A known text is the known member itself."""
    assert Status(status.value) is status
    assert status.is_known
    assert status.is_terminal is (status in TERMINAL)


@given(UNKNOWN)
def test_unknown_statuses_keep_their_text(text: str) -> None:
    """A status of a newer service reads, compares and hashes as its text, and is not the end."""
    status = Status(text)
    assert (status, str(status), status.value, status.name) == (text, text, text, text)
    assert {text: "found"}[status] == "found"
    assert status == Status(text)
    assert not status.is_known
    assert not status.is_terminal
    assert text not in {member.value for member in Status}


@pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)
@given(text=st.sampled_from(Status) | UNKNOWN)
def test_statuses_survive_copies(copier: Callable[[Status], Status], text: str) -> None:
    """A copied or pickled status is the same one, known or not."""
    status = Status(text)
    copied = copier(status)
    assert type(copied) is Status
    assert copied == status
    assert copied.is_known is status.is_known
    assert copied.is_terminal is status.is_terminal


@pytest.mark.parametrize("value", [None, 5, b"PENDING", ["PENDING"]])
def test_only_text_is_a_status(value: Any) -> None:
    """What is no text is no status."""
    with pytest.raises(ValueError, match="is not a valid Status"):
        Status(value)


@pytest.mark.parametrize(
    ("vocabulary", "words"),
    [
        (Model, "sync-3 lipsync-2 lipsync-2-pro lipsync-1.9.0-beta react-1"),
        (SyncMode, "bounce loop cut_off silence remap"),
        (ModelMode, "lips face head"),
        (Emotion, "happy sad angry disgusted surprised neutral"),
    ],
)
def test_vocabularies_are_the_documented_ones(vocabulary: type[StrEnum], words: str) -> None:
    """The words on the wire are spelled as documented."""
    assert [member.value for member in vocabulary] == words.split()
