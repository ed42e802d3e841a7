"""The rules of shared limits are those of one process, whatever is packed and unpacked between."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import example, given, settings, strategies as st

from lipsync_async import MemoryAccountStore
from lipsync_async._enums import Status
from lipsync_async._models.http import Response
from lipsync_async._models.response import Generation
from lipsync_async._rate_limits import ConcurrencyLimiter, Reservation, SlidingWindowLimiter, Slot
from lipsync_async._shared_limits import Document, SlotBook
from lipsync_async.errors import ConcurrencyLimitError

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 6
LEASE = 15.0
STEPS = settings(max_examples=60, deadline=None)

seconds = st.sampled_from([0.0, 0.1, 0.7, 1.0, 3.0, 11.0, 61.2, 400.0])


class Packed:
    """A limiter whose state is a document of a store between any two steps."""

    def __init__(self) -> None:
        self.store = MemoryAccountStore(clock=lambda: self.now)
        self.now = 1000.0

    def use(self, step: Callable[[SlidingWindowLimiter], Any]) -> Any:
        """Unpack the limiter, take a step, and pack it."""

        def rule(content: bytes | None, now: float) -> tuple[bytes, Any]:
            document = Document.read(content, now)
            state = document.state
            limiter = SlidingWindowLimiter.of_state(state) if state else SlidingWindowLimiter()
            answer = step(limiter)
            return document.written(limiter.to_state(document.now)), answer

        return anyio.run(self.store.change, "rates", rule)


@STEPS
@given(st.lists(st.tuples(st.sampled_from(["reserve", "delay", "cancel", "refuse"]), seconds)))
def test_a_packed_rate_limiter_gives_the_same_answers(steps: list[tuple[str, float]]) -> None:
    """Places, delays and what is learnt from refusals do not depend on who holds the state."""
    direct, packed = SlidingWindowLimiter(), Packed()
    held: list[tuple[Reservation, Reservation]] = []
    for step, passed in steps:
        now = packed.now = packed.now + passed
        if step == "reserve" or not held:
            pair = direct.reserve(now, LIMIT), packed.use(lambda each: each.reserve(now, LIMIT))  # noqa: B023
            held.append(pair)
        mine, other = held[-1]

        def act(limiter: SlidingWindowLimiter, one: Reservation, what: str = step) -> Any:
            if limiter is not direct:
                limiter.adopt(one)
            if what == "cancel":
                return limiter.cancel(one)
            if what == "refuse":
                return limiter.on_429(one, now)  # noqa: B023
            return limiter.delay(one, now)  # noqa: B023

        assert act(direct, mine) == packed.use(lambda each: act(each, other))  # noqa: B023
        assert (mine.time, mine.settled) == (other.time, other.settled)
        assert direct.limit(now, LIMIT) == packed.use(lambda each: each.limit(now, LIMIT))  # noqa: B023
        if step == "cancel":
            held.pop()


def refusal() -> ConcurrencyLimitError:
    """Return the service's refusal of a create for the lack of a slot."""
    facts = {"concurrency_limit": 3, "active_generations": 3}
    response = Response("POST", "/", 429, {}, b"")
    return ConcurrencyLimitError(**facts, response=response, message="Full")


EACH_STEP = [
    *((step, 0, 0.0) for step in ("take", "accept", "end", "take", "refuse", "drop", "look")),
    *((step, 1, 0.0) for step in ("take", "accept", "take")),
    *((step, 2, 61.2) for step in ("take", "refuse", "take", "drop", "look", "end")),
]
STEPS_OF_SLOTS = ["take", "accept", "refuse", "end", "look", "drop"]


@STEPS
@example(EACH_STEP)
@given(st.lists(st.tuples(st.sampled_from(STEPS_OF_SLOTS), st.integers(0, 5), seconds)))
def test_a_packed_slot_book_gives_the_same_answers(steps: list[tuple[str, int, float]]) -> None:
    """Slots, probes, refusals and looks do not depend on who holds the state."""
    direct = ConcurrencyLimiter()
    packed = ConcurrencyLimiter()
    now = 1000.0
    for step, number, passed in steps:
        now += passed
        packed = ConcurrencyLimiter.of_state(json.loads(json.dumps(packed.to_state())))
        answers = [act(each, step, number, now) for each in (direct, packed)]
        assert answers[0] == answers[1]
        assert facts(direct) == facts(packed)


def act(limiter: ConcurrencyLimiter, step: str, number: int, now: float) -> Any:
    """Take a step, and return what the limiter answers."""
    key, job = f"key-{number}", f"job-{number}"
    slot = limiter.slot_of(key)
    if step == "look":
        return limiter.jobs_to_check(now, unseen_for=LEASE)
    if step == "drop":
        return limiter.drop_doubtful(now, unseen_for=120)
    if step == "take" and slot is None:
        slot = limiter.take(now, 4, key, is_eager=True)
        if slot is not None:
            slot.seen = now
    elif step == "accept" and slot is not None and not slot.is_accepted:
        limiter.accepted(slot, Generation(id=job, status=Status.PROCESSING), now)
        limiter.saw([(job, False)], now)
    elif step == "refuse" and slot is not None and not slot.is_accepted:
        limiter.refused(slot, now, refusal())
    elif step == "end":
        limiter.saw([(job, True)], now)
    return limiter.slot_of(key) is not None


def facts(limiter: ConcurrencyLimiter) -> tuple[Any, ...]:
    """Return what a limiter knows."""
    used = (limiter.used, limiter.starting, limiter.ceiling, limiter.limit, [*limiter.jobs])
    return (*used, limiter.words(4))


def test_a_new_slot_book_is_quiet() -> None:
    """For two seconds it gives nothing out; a create that goes anyhow is let through."""
    book = SlotBook(Document.read(None, 50.0))
    assert book.take("key", "me", 5) is None
    assert isinstance(book.take("key", "me", 5, is_anyhow=True), Slot)
    later = SlotBook(Document({**book.state()}, 52.0, "x", 50.0))
    assert isinstance(later.take("other", "me", 5), Slot)
    assert later.limiter.used == 2


def test_only_its_holder_gives_a_slot_back() -> None:
    """A create that another process has taken over keeps its slot."""
    book = SlotBook(Document({**SlotBook(Document.read(None, 1.0)).state()}, 9.0, "x", 1.0))
    book.take("key", "me", 5)
    book.released("key", "another")
    assert book.limiter.used == 1
    book.released("key", "me")
    book.released("key", "me")
    assert book.limiter.used == 0


def test_a_refusal_of_a_key_whose_job_runs() -> None:
    """The job keeps its slot, and the limit is learnt."""
    book = SlotBook(Document({**SlotBook(Document.read(None, 1.0)).state()}, 9.0, "x", 1.0))
    book.accepted("key", "me", Generation(id="job", status=Status.PROCESSING))
    book.refused("key", refusal(), 5, None)
    assert (book.limiter.used, book.limiter.limit) == (1, 3)


@pytest.mark.parametrize("is_known", [False, True])
def test_a_repeated_create_that_finds_an_ended_job_holds_no_slot(*, is_known: bool) -> None:
    """Its answer is the end of the job, which the book may know as running or not at all."""
    book = SlotBook(Document.read(None, 1000.0))
    if is_known:
        book.accepted("key", "other", Generation(id="job", status=Status.PROCESSING))
    slot = book.take("key", "me", 2, is_anyhow=True)
    book.accepted("key", "me", Generation(id="job", status=Status.COMPLETED))
    assert slot is not None
    assert book.shown() == []
