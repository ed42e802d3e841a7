"""Anyone who comes and goes, in whatever order: as long as somebody waits, exactly one leads."""

import anyio
import pytest
from hypothesis import given, strategies as st

from lipsync_async._polling.poller import LeaderFollower, Waiter

ARRIVE, CANCEL, END, TURN = "arrive", "cancel", "end", "turn"
STEPS = st.lists(st.tuples(st.sampled_from([ARRIVE, CANCEL, END, TURN]), st.integers(0, 9)))


class Crew:
    """Attend in tasks that a test lets go one by one."""

    def __init__(self) -> None:
        self.shift = LeaderFollower()
        self.leading: list[int] = []
        self.most = 0
        self.over: set[int] = set()
        self.scopes: dict[int, anyio.CancelScope] = {}
        self.waiters: dict[int, Waiter] = {}

    async def attend(self, number: int) -> None:
        """Attend until let go."""
        self.over.discard(number)
        waiter = Waiter(lambda: number in self.over)
        with anyio.CancelScope() as scope:
            self.scopes[number], self.waiters[number] = scope, waiter
            try:
                await self.shift.wait_or_lead(waiter, lambda: self._work(number))
            finally:
                del self.scopes[number], self.waiters[number]

    async def _work(self, number: int) -> None:
        self.leading.append(number)
        self.most = max(self.most, len(self.leading))
        try:
            await anyio.sleep_forever()
        finally:
            self.leading.remove(number)

    def end(self, number: int) -> None:
        """Let one's wait be over."""
        self.over.add(number)
        self.waiters[number].wake()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(12):
        await anyio.lowlevel.checkpoint()


async def play(steps: list[tuple[str, int]]) -> None:
    """Take steps; after each turn, see that somebody leads if anybody waits."""
    crew = Crew()
    async with anyio.create_task_group() as tasks:
        for step, number in steps:
            if step == TURN:
                await settle()
                assert len(crew.leading) == min(1, len(crew.scopes))
            elif step == ARRIVE and number not in crew.scopes:
                tasks.start_soon(crew.attend, number)
                await anyio.lowlevel.checkpoint()
            elif number in crew.scopes:
                crew.scopes[number].cancel() if step == CANCEL else crew.end(number)
        await settle()
        assert len(crew.leading) == min(1, len(crew.scopes))
        tasks.cancel_scope.cancel()
    assert crew.most <= 1
    assert crew.leading == []
    assert crew.shift._leader is None  # noqa: SLF001
    assert crew.shift._followers == {}  # noqa: SLF001


@given(steps=STEPS)
def test_exactly_one_leads(steps: list[tuple[str, int]]) -> None:
    """In any order of coming, ending and being cancelled, one works for all, never two."""
    anyio.run(play, steps)


@pytest.mark.anyio
async def test_the_newest_is_next() -> None:
    """The lead goes to the one who came last, and stays there."""
    crew = Crew()
    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(crew.attend, number)
        await settle()
        led = [*crew.leading]
        crew.end(0)
        await settle()
        led += crew.leading
        crew.end(1)
        await settle()
        led += crew.leading
        assert led == [0, 3, 3]
        tasks.cancel_scope.cancel()
