"""The demo: the whole way from a drawn face to lip-synced files, on this machine.

Nothing is pretended: the sandbox listens on a socket, the public client speaks HTTP to
it, and the file that comes back is read again to see what it holds.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from anyio import to_thread

from lipsync_async._async.client import AsyncClient
from lipsync_async._models.policies import PollPolicy
from lipsync_async._models.request import Audio, ElevenLabs, GenerationRequest, Options, Text, Video
from lipsync_async.cli.output import ExitStatus, answer, plural, say
from lipsync_async.cli.progress import job_progress
from lipsync_async.cli.run import SLOTS, opened_sandbox, require_media, run_requests
from lipsync_async.sandbox import Sandbox

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path


T = TypeVar("T")

_VIDEO_SECONDS = 4.0
# Of many: a job this small is rendered in a tenth of a second on two cores.
_SECONDS, _SMALL = 1.0, (320, 180)
_LINE = (
    "Hello! I was drawn a second ago, and these words were spoken by your own computer. "
    "Now my mouth moves in time with them."
)
# The sandbox renders in a second or two; a real job takes minutes, and wants the default.
_POLL = PollPolicy(initial_interval=0.1, backoff_factor=1.0, progress=True)


async def demo(typed: argparse.Namespace) -> ExitStatus:
    """Make one video, or many."""
    require_media()
    if typed.jobs is not None:
        return await run_bulk_demo(typed.output, typed.jobs)
    await run_demo(typed.output)
    return ExitStatus.SUCCESS


async def run_demo(output: Path) -> None:
    """Draw a video and a spoken line, have them lip-synced, and show the result."""
    # Here and not above: these need the `sandbox` extra.
    from lipsync_async.sandbox.media.demo_media import (  # noqa: PLC0415
        contact_sheet,
        draw_talking_head,
        speak_line,
    )
    from lipsync_async.sandbox.media.open_media import probe  # noqa: PLC0415

    def make_inputs(is_cancelled: Callable[[], bool]) -> tuple[Path, Path]:
        output.mkdir(parents=True, exist_ok=True)
        video = draw_talking_head(
            output / "face.mp4", seconds=_VIDEO_SECONDS, is_cancelled=is_cancelled
        )
        return video, speak_line(output / "line.wav", text=_LINE)

    video, audio = await draw_in_thread(make_inputs)
    line_seconds = (await to_thread.run_sync(probe, audio, "audio")).duration
    say(f"Drew {video} ({_VIDEO_SECONDS:.2f} s) and spoke {audio} ({line_seconds:.2f} s).")

    async with (
        Sandbox() as sandbox,
        AsyncClient(sandbox.api_key, base_url=sandbox.url, poll=_POLL) as client,
    ):
        say(f"The sandbox listens on {sandbox.url}; creating a job with sync_mode='bounce':")
        with job_progress() as show:
            generation = await client.generations.run(
                model="lipsync-2",
                input=[Video(file=video), Audio(file=audio)],
                options=Options(sync_mode="bounce"),
                output_file_name="lip-synced",
                on_update=show,
            )
        target = output / "lip-synced.mp4"  # of an earlier demo, perhaps
        result = await client.generations.download(generation, target, overwrite=True)

    facts = await to_thread.run_sync(probe, result, "video")
    sheet = await to_thread.run_sync(contact_sheet, result, output / "contact-sheet.png")
    answer({"generation": generation.id, "video": f"{result}", "contact_sheet": f"{sheet}"})
    say(f"Generation {generation.id} is {generation.status}:")
    say(f"  video          {result} ({facts.duration:.2f} s, {facts.width}x{facts.height})")
    say(f"  contact sheet  {sheet}")
    say("The sandbox moves the drawn mouth by geometry, in time with the words.")
    say("It shows timing, not the service's picture quality.")


async def draw_in_thread(draw: Callable[[Callable[[], bool]], T]) -> T:
    """Draw in a thread that stops at its next frame when this task is cancelled."""
    cancelled: list[bool] = []
    try:
        return await to_thread.run_sync(draw, lambda: bool(cancelled))
    finally:
        cancelled.append(True)


async def run_bulk_demo(output: Path, jobs: int) -> ExitStatus:
    """Have one video lip-synced to many lines at once, and show the result.

    The sandbox has the slots of the largest plan, which the client is not told and finds out.
    Only the plan's limits of requests a minute are left out, because 200 jobs within them take
    more than three minutes.
    """
    # Here and not above: it needs the `sandbox` extra.
    from lipsync_async.sandbox.media.demo_media import draw_talking_head  # noqa: PLC0415

    number = 1  # of this run, so that nothing of an earlier one is mixed in or deleted
    while (folder := output / f"jobs-{number}").exists():
        number += 1
    folder.mkdir(parents=True)
    width, height = _SMALL
    draw = partial(
        draw_talking_head, folder / "face.mp4", seconds=_SECONDS, width=width, height=height
    )
    video = await draw_in_thread(lambda is_cancelled: draw(is_cancelled=is_cancelled))
    say(f"Drew {video} ({_SECONDS:.2f} s).")
    journal = folder / "journal.sqlite"
    async with opened_sandbox() as (sandbox, client):
        what = plural(jobs, "job")
        say(f"The sandbox listens on {sandbox.url} with {SLOTS} slots; creating {what}:")
        summary = await run_requests(
            client,
            _requests(sandbox.host_file(video), jobs),
            journal=journal,
            download_to=folder / "takes",
            tell=answer,
        )
        # The log forgets old requests, but not how many there were.
        requests_sent = [*sandbox.requests][-1].number
    for line in summary.lines(lambda index: f"take {index + 1}", requests_sent=requests_sent):
        say(line)
    say(f"The files are in {folder}. To look into the journal that was kept:")
    say(f"  python -m lipsync_async journal {journal}")
    return summary.exit_status


def _requests(video_url: str, jobs: int) -> list[GenerationRequest]:
    digits = len(str(jobs))
    return [
        GenerationRequest(
            model="lipsync-2",
            input=[
                Video(video_url),
                Text(ElevenLabs(voice_id="sandbox", script=f"This is take {number}.")),
            ],
            options=Options(sync_mode="bounce"),
            output_file_name=f"take-{number:0{digits}}",
        )
        for number in range(1, jobs + 1)
    ]
