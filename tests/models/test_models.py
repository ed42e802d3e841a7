import pickle

import pytest

from lipsync_async._enums import Status
from lipsync_async._models.response import Generation, GenerationPage


@pytest.mark.parametrize("status", [*Status, Status("NEWER")])
def test_a_generation_says_whether_it_has_ended(status: Status) -> None:
    """The questions that everybody asks are answered by the status alone."""
    generation = Generation(id="g1", status=status)
    assert generation.is_terminal is status.is_terminal
    assert generation.is_completed is (status == "COMPLETED")


def test_generations_compare_by_what_the_service_said() -> None:
    """The key of a create and the raw JSON make no other job of it."""
    created = Generation(id="g1", status=Status.PENDING, idempotency_key="k", raw={"id": "g1"})
    polled = Generation(id="g1", status=Status.PENDING)
    assert created == polled
    assert created != Generation(id="g2", status=Status.PENDING)


def test_generations_pickle() -> None:
    """A job may be stored, whatever its status."""
    generation = Generation(id="g1", status=Status("NEWER"), idempotency_key="k", raw={"a": [1]})
    restored = pickle.loads(pickle.dumps(generation))  # noqa: S301 - our own
    assert restored == generation
    assert (restored.idempotency_key, restored.raw) == ("k", {"a": [1]})


def test_a_page_is_like_a_list() -> None:
    """Iterating, indexing and counting work on the items."""
    items = [Generation(id=name, status=Status.PENDING) for name in ("a", "b")]
    page = GenerationPage(items, "b")
    assert list(page) == items
    assert (len(page), page[0], page[-1], page.next_cursor) == (2, items[0], items[1], "b")


def test_an_empty_page_is_the_last() -> None:
    """Nothing follows where nothing is said to follow."""
    assert (len(GenerationPage([])), GenerationPage([]).next_cursor) == (0, None)
