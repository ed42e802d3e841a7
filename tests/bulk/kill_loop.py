"""Kill a client again and again in the middle of `run_many`, then look at what has come of it.

`run_killed` runs in the process to be killed. The sandbox lives in the process that kills.
Links are signed anew for each life. Between lives, the folder with journal and results is
moved, or the journal alone, by its one name. In some lives the disk is full for a while.
"""

from __future__ import annotations

import resource
import shutil
import signal
from collections import Counter
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import anyio
import attrs

from lipsync_async import AsyncClient, Limits, PollPolicy, Progress, RetryPolicy, group_failures
from lipsync_async._bulk.journal_entry import JobState
from lipsync_async._bulk.journal_view import JournalView
from lipsync_async._models.request import Audio, GenerationRequest, Video
from lipsync_async.errors import JournalError
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.bulk.jobs import entries
from tests.interpreter import Fork, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


CREATES, RESULTS = "/v2/generate", "/__sandbox/media/*"
HOSTED = ("https://media.example/clip.mp4", "https://media.example/speech.wav")
# Few slots make each life bring few jobs to their ends, so that there is much to kill.
SLOTS = 6
# Seconds from a process's first line in which it is killed, if by the clock.
LONGEST_LIFE = 0.6
# Outcomes for which a disk is full.
FULL = 3

# What goes wrong all the time. What is slow can be seen under way.
TROUBLES = {
    "resets before acceptance": Fault("reset_before", path=CREATES, probability=0.15, count=None),
    "resets after acceptance": Fault("reset_after", path=CREATES, probability=0.15, count=None),
    "slow creates": Fault("latency", path=CREATES, seconds=0.02, probability=0.3, count=None),
    "resets of looks": Fault("reset_before", path="/v2/generations", probability=0.1, count=None),
    "resets of results": Fault("reset_after", path=RESULTS, probability=0.1, count=None),
    "slow results": Fault("slow_body", path=RESULTS, seconds=0.05, probability=0.5, count=None),
}


def requests(many: int, video: str, audio: str, life: str) -> list[GenerationRequest]:
    """Return requests that differ in the name of their results, by links of this life."""
    signature = f"?X-Amz-Date={life}&X-Amz-Signature={int(life):064x}"
    is_file = video.startswith("/")
    visual = Video(file=video) if is_file else Video(f"{video}{signature}")
    media = (visual, Audio(f"{audio}{signature}"))
    return [
        GenerationRequest(model="lipsync-2", input=media, output_file_name=f"take-{number}")
        for number in range(many)
    ]


async def run_killed(url: str, key: str, *words: str) -> None:
    """Run all requests with patience for every reset, and say how many went well."""
    journal, folder, many, video, audio, life, full_at = words
    client = AsyncClient(
        key,
        base_url=url,
        retry=RetryPolicy(attempts=20, first_pause=0.001, longest_pause=0.002),
        poll=PollPolicy(
            initial_interval=0.01, max_interval=0.02, long_poll=None, shared_interval=0.01
        ),
        limits=Limits(
            creates_per_minute=None, requests_per_minute=None, concurrent_generations=SLOTS
        ),
    )
    asked = requests(int(many), video, audio, life)
    # Outcomes until no file grows any more, as on a full disk; never if there are fewer.
    is_full, seen = int(full_at), count(1)

    def see(_: Progress) -> None:
        number, most = next(seen), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        if number in {is_full, is_full + FULL}:
            room = 1 if number == is_full else most
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))

    tell("begun")
    async with client:
        try:
            found = await client.generations.run_all(
                asked, journal=journal, download_to=folder, on_progress=see
            )
        except JournalError as error:  # pragma: no cover - unless the kill comes before
            tell("the disk was full", "cannot be" in str(error))
        else:  # pragma: no cover - as above
            tell(len(found), sum(outcome.is_success for outcome in found))
            for group in group_failures(found):
                tell(group.count, group.reason)


def tell(*words: object) -> None:
    """Say something to who started this."""
    print(*words, flush=True)  # noqa: T201 - who started it listens


@attrs.define
class Loop:
    """Clients of a sandbox that are started and killed."""

    sandbox: Sandbox  # its log of requests is cleared for each
    place: Path  # folder of the journal and, in one of its own, the results
    count: int  # requests
    chance: Random  # decides moments
    media: tuple[str, str] = HOSTED
    journal: Path = attrs.field(init=False)
    kills: Counter[str] = attrs.field(factory=Counter)  # by what the killed had been doing
    lives: int = 0  # how many were started to be killed; some are too quick
    moves: Counter[str] = attrs.field(factory=Counter)  # of the folder or the journal, by how
    refusals: int = 0  # of a moved journal until what belongs to it was brought
    full: int = 0  # how often a disk was full

    def __attrs_post_init__(self) -> None:
        for trouble in TROUBLES.values():
            self.sandbox.faults.add(trouble)
        self.journal = self.place / "journal.sqlite"

    @property
    def results(self) -> Path:
        """The folder of the results."""
        return self.place / "results"

    @asynccontextmanager
    async def life(self, full_at: int = -1) -> AsyncIterator[Fork]:
        """Start a client, and kill it if it has not ended."""
        words = (self.sandbox.url, self.sandbox.api_key, self.journal, self.results, self.count)
        told = [str(word) for word in (*words, *self.media, self.lives, full_at)]
        process = await Fork.start(
            "import asyncio\n"
            "from tests.bulk.kill_loop import run_killed\n"
            f"asyncio.run(run_killed(*{told!r}), debug=False)"
        )
        try:
            yield process
        finally:
            process.kill()
            _, errors = await process.communicate()
        assert b"Traceback" not in errors

    async def kill_one(self) -> None:
        """Start a client and kill it, at moments of each kind in turn."""
        moment = [*_MOMENTS][self.lives % len(_MOMENTS)]
        self.lives += 1
        self.sandbox.requests.clear()
        is_full = self.lives % 3 == 0
        self.full += is_full
        async with self.life(self.chance.randint(1, 2 * SLOTS) if is_full else -1) as process:
            await _MOMENTS[moment](self, process)
        assert process.returncode in {-signal.SIGKILL, 0}
        self.kills[moment] += process.returncode == -signal.SIGKILL
        if self.journal.exists():  # pragma: no branch - or the first was killed too soon
            self.move()
        self.check_journal()

    def move(self) -> None:
        """Move what there is, in each way in turn."""
        way = [*_WAYS][self.lives % len(_WAYS)]
        self.moves[way] += 1
        _WAYS[way](self)
        try:
            JournalView.open(self.journal).close()
        except JournalError:  # pragma: no cover - only after a kill in the middle of a commit
            self.refusals += 1
            (rest,) = self.place.parent.rglob(f"{self.journal.name}-journal")
            rest.rename(self.journal.with_name(rest.name))

    def move_the_folder(self) -> None:
        """Give the folder with journal and results another name."""
        inside = self.journal.relative_to(self.place)
        self.place = self.place.rename(self.place.with_name(f"place {self.lives}"))
        self.journal = self.place / inside

    def move_the_journal(self) -> None:
        """Move the journal by its one name, and leave behind what lies beside it."""
        folder = self.place / f"journal {self.lives}"
        folder.mkdir()
        self.journal = self.journal.rename(folder / self.journal.name)

    def copy_the_journal(self) -> None:
        """Copy the journal by its one name, and lose all else."""
        copy = self.place / f"copy {self.lives}.sqlite"
        shutil.copyfile(self.journal, copy)
        with suppress(JournalError):  # or it was killed in the middle of a commit
            JournalView.open(copy).close()
            self.journal.unlink()
            self.journal = copy

    async def run_to_the_end(self) -> None:
        """Leave a client alone; it must bring all to a good end."""
        async with self.life() as process:
            printed, _ = await process.communicate()
        assert process.returncode == 0
        assert printed.decode() == f"begun\n{self.count} {self.count}\n"

    def parts(self) -> int:
        """Return how many part files the killed have left."""
        return len([*self.results.glob("*.part")])

    def completed(self) -> int:
        """Return how many have come to their ends, as the journal knows."""
        with JournalView.open(self.journal) as journal:
            return journal.counts()[JobState.COMPLETED]

    def check_journal(self) -> None:
        """Look whether every job that the journal knows is one of its own request's."""
        if self.journal.exists():  # pragma: no branch - or the first was killed too soon
            assert self._journaled().items() <= self._ordered().items()

    def check_all(self) -> None:
        """Look whether every request has one job and one whole file, and nothing is left over."""
        names = sorted(f"take-{number}" for number in range(self.count))
        ordered = self._ordered()
        assert sorted(ordered.values()) == names
        assert self.sandbox.jobs.created == self.count
        assert self._journaled() == ordered
        assert self.completed() == self.count
        files = {entry.generation_id: entry.download_path for entry in entries(self.journal)}
        assert files == {name: self._file(name) for name in ordered}
        assert self.parts() == 0
        assert sorted(self.results.iterdir()) == sorted(map(self._file, ordered))
        for job in self.sandbox.jobs:
            assert job.result is not None
            made = job.result.source
            expected = made if isinstance(made, bytes) else made.read_bytes()
            assert self._file(job.id).read_bytes() == expected

    def struck(self) -> dict[str, int]:
        """Return how often each trouble has struck."""
        told = self.sandbox.faults.to_json()
        return {name: each["struck"] for name, each in zip(TROUBLES, told, strict=True)}

    def _journaled(self) -> dict[str, str]:
        """Return which job each request has become, as far as the journal knows."""
        return {
            entry.generation_id: entry.request["outputFileName"]
            for entry in entries(self.journal)
            if entry.generation_id is not None
        }

    def _ordered(self) -> dict[str, str]:
        """Return which job each request has become, as the service knows."""
        return {job.id: job.body["outputFileName"] for job in self.sandbox.jobs}

    def _file(self, name: str) -> Path:
        return self.results / f"{self.sandbox.jobs[name].body['outputFileName']}-{name}.mp4"

    async def until(self, process: Fork, is_time: Callable[[], bool]) -> None:
        """Wait until it is time, or the process has ended."""
        await process.stdout.readline()  # its beginning is no work
        await until(process, is_time)

    async def by_the_clock(self, process: Fork) -> None:
        """Wait for any moment of its work."""
        await process.stdout.readline()
        with anyio.move_on_after(self.chance.uniform(0, LONGEST_LIFE)):
            await process.wait()

    async def at_a_create(self, process: Fork) -> None:
        """Wait for a create to come in; its answer is on its way at best."""
        await self._request(process, "POST", CREATES)

    async def at_a_download(self, process: Fork) -> None:
        """Wait for a result to be fetched."""
        await self._request(process, "GET", RESULTS)

    async def _request(self, process: Fork, method: str, path: str) -> None:
        many = self.chance.randint(1, SLOTS)
        await self.until(process, lambda: self.sandbox.requests.count(method, path) >= many)

    async def at_a_record(self, process: Fork) -> None:
        """Wait for some writing to the journal."""
        log = self.journal.with_name(f"{self.journal.name}-journal")
        many = self.chance.randint(1, 2 * SLOTS)
        seen: set[int] = set()

        def has_changed() -> bool:
            with suppress(FileNotFoundError):
                seen.add(log.stat().st_mtime_ns)
            return len(seen) > many

        await self.until(process, has_changed)


_WAYS = {
    "left": lambda _: None,
    "folder moved": Loop.move_the_folder,
    "journal moved": Loop.move_the_journal,
    "journal copied": Loop.copy_the_journal,
}
_MOMENTS = {
    "by the clock": Loop.by_the_clock,
    "at a create": Loop.at_a_create,
    "at a download": Loop.at_a_download,
    "at a record": Loop.at_a_record,
}
