"""Runs that earlier releases have begun; `journals/README.md` says what the files hold."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from lipsync_async import AsyncClient, Audio, GenerationRequest, Limits, Options, Video
from lipsync_async._transport.memory import MemoryTransport
from lipsync_async.sandbox import Sandbox, VirtualClock
from tests.bulk.jobs import entries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

JOURNALS = Path(__file__).with_name("journals")
LIMITS = Limits(creates_per_minute=None, requests_per_minute=None, concurrent_generations=100)


def request(number: int, signature: str, **fields: Any) -> GenerationRequest:
    """Return a request of the fixtures, with a link that was signed then or is signed anew."""
    video = Video(f"https://media.example/{number}.mp4?X-Amz-Signature={signature}")
    usual = {"model": "lipsync-2", "input": [video, Audio("https://media.example/a.wav")]}
    return GenerationRequest(**usual | fields)


def every_state(folder: Path, signature: str) -> list[GenerationRequest]:
    """Return the requests of `every_state.sqlite`."""
    project = "6e0f6a1c-4a53-4d0e-9d6c-0c4f3a6a5b11"
    file = [Video(file=folder / "clip.mp4"), Audio("https://media.example/a.wav")]
    bounce = Options(sync_mode="bounce")
    return [
        request(0, signature, request_id="first"),
        request(1, signature, output_file_name="take-1"),
        request(2, signature),
        request(3, signature),
        request(4, signature, request_id="running"),
        request(5, signature, project_id=project),
        request(6, signature, input=file),
        request(7, signature, model="sync-3", options=bounce),
    ]


def moved(folder: Path) -> Path:
    """Bring `every_state.sqlite` with its files to another folder; return where it is."""
    takes = folder / "takes"
    takes.mkdir(parents=True)
    (folder / "clip.mp4").write_bytes(b"a short clip")
    (takes / "generation-78e51061-7311-48a3-82ce-6f447ed4d57b.mp4").write_bytes(b"the result")
    return Path(shutil.copy(JOURNALS / "every_state.sqlite", folder))


@asynccontextmanager
async def serving(
    journal: Path, sent: Sequence[GenerationRequest]
) -> AsyncIterator[tuple[AsyncClient, Sandbox]]:
    """Run a service that has the jobs of a journal, and a client that the journal belongs to."""
    names: dict[str, str] = {}  # ids in the sandbox by ids in the journal
    clock = VirtualClock()
    async with Sandbox(2, render=False, progression="time(10)", clock=clock) as sandbox:
        service = sandbox.transport()

        async def handle(request: Any) -> Any:
            url = request.url
            for noted, name in names.items():
                url = url.replace(noted, name)
            headers = {**request.headers, "x-api-key": sandbox.api_key}
            answer = await service.send(
                attrs.evolve(request, url=url, headers=headers), timeout=60.0
            )
            body = answer.body
            for noted, name in names.items():
                body = body.replace(name.encode(), noted.encode())
            return attrs.evolve(answer, body=body)

        async with AsyncClient(
            "sandbox-of-the-fixtures",
            base_url="https://api.example.com",
            transport=MemoryTransport(handle, clock),
            limits=LIMITS,
        ) as client:
            for entry in entries(journal):
                if entry.error_class is None:
                    made = await client.generations.create(
                        sent[entry.position],
                        idempotency_key=entry.idempotency_key,
                        upload="form",  # as earlier releases have sent files
                    )
                    names[entry.generation_id or made.id] = made.id
            await clock.sleep(20)
            yield client, sandbox


@pytest.mark.parametrize("signature", ["first", "second"])
async def test_every_state_is_gone_on_with(tmp_path: Path, signature: str) -> None:
    """Whatever state a job was left in, none is made anew, and its outcome is its own."""
    # Journal and results were moved meanwhile; links may be signed anew.
    folder = tmp_path / "elsewhere"
    journal = moved(folder)
    before = entries(journal)
    async with serving(journal, every_state(folder, "first")) as (client, sandbox):
        made = sandbox.jobs.created
        outcomes = await client.generations.run_all(
            every_state(folder, signature), journal=journal, download_to=folder / "takes"
        )
        assert sandbox.jobs.created == made == 5
    ends = [outcome.error and type(outcome.error).__name__ for outcome in outcomes]
    assert ends == [
        *(None, None, "GenerationFailedError", "GenerationRejectedError"),
        *(None, "UnprocessableError", None, None),
    ]
    ids = [outcome.generation and outcome.generation.id for outcome in outcomes]
    assert ids[:5] == [entry.generation_id for entry in before[:5]]
    paths = [outcome.path for outcome in outcomes]
    assert [path is not None and path.is_file() for path in paths] == [
        outcome.is_success for outcome in outcomes
    ]
    assert paths[0] == folder / "takes" / f"generation-{ids[0]}.mp4"
    after = entries(journal)
    assert [entry.idempotency_key for entry in after] == [entry.idempotency_key for entry in before]
    assert [entry.state.value for entry in after] == [
        *("completed", "completed", "failed", "failed"),
        *("completed", "not_created", "completed", "completed"),
    ]
    assert [entry.tries for entry in after] == [1, 1, 2, 2, 1, 1, 1, 1]
    assert after[0].place == "line 2 (first)"


async def test_what_failed_gets_a_new_try(tmp_path: Path) -> None:
    """Rows, earlier tries and the secret of the keys are those of then: one create each."""
    folder = tmp_path / "elsewhere"
    journal = moved(folder)
    asked = every_state(folder, "first")
    async with serving(journal, asked) as (client, sandbox):
        made = sandbox.jobs.created
        for _ in range(2):
            outcomes = await client.generations.run_all(asked, journal=journal, retry_failed=True)
            assert sandbox.jobs.created == made + 2
    assert [outcome.is_success for outcome in outcomes] == [*[True] * 5, False, True, True]
    assert [entry.tries for entry in entries(journal)] == [1, 1, 3, 3, 1, 3, 1, 1]


async def test_a_run_that_was_killed_ends(tmp_path: Path) -> None:
    """What runs is waited for, and only what was never begun is ordered, once."""
    journal = tmp_path / "half_finished.sqlite"
    shutil.copyfile(JOURNALS / journal.name, journal)
    asked = [request(number, "first") for number in range(12)]
    async with serving(journal, asked) as (client, sandbox):
        assert sandbox.jobs.created == 8
        outcomes = await client.generations.run_all(asked, journal=journal)
        assert sandbox.jobs.created == 12
        again = await client.generations.run_all(asked, journal=journal)
        assert sandbox.jobs.created == 12
    assert [outcome.is_success for outcome in outcomes + again] == [True] * 24
