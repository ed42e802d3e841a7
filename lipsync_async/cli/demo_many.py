"""The demo of many jobs: all rendered, each with a line of its own, in full slots.

As little is pretended as in the demo of one job. The sandbox has the slots of the largest
plan, which the client is not told and finds out; only the plan's limits of requests a
minute are left out, because 200 jobs within them take more than three minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipsync_async._values.inputs import ElevenLabs, GenerationRequest, Options, Text, Video
from lipsync_async.cli.campaign import report, run_campaign
from lipsync_async.cli.demo import drawn
from lipsync_async.cli.screen import say
from lipsync_async.cli.trial import SLOTS, connect, trial_sandbox
from lipsync_async.cli.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lipsync_async.cli.complaints import Ending

# A job this small is rendered in a tenth of a second on two cores.
_SECONDS, _WIDTH, _HEIGHT = 1.0, 320, 180


async def run_many_demo(output: Path, jobs: int) -> Ending:
    """Have one video lip-synced to many lines at once, and show what came of it.

    Args:
        output: Folder in which each run makes a new folder for its files.
        jobs: How many, at least 1.

    Returns:
        What came of it.

    Raises:
        LipsyncError: It cannot go on.

    """
    # Here and not above: it needs the `sandbox` extra.
    from lipsync_async.sandbox.media.demo_media import draw_talking_head  # noqa: PLC0415

    def make_video(is_cancelled: Callable[[], bool]) -> Path:
        return draw_talking_head(
            folder / "face.mp4",
            seconds=_SECONDS,
            width=_WIDTH,
            height=_HEIGHT,
            is_cancelled=is_cancelled,
        )

    folder = new_folder(output)
    video = await drawn(make_video)
    say(f"Drew {video} ({_SECONDS:.2f} s).")
    journal = folder / "journal.sqlite"
    async with trial_sandbox() as sandbox, connect(sandbox) as client:
        what = plural(jobs, "job")
        say(f"The sandbox listens on {sandbox.url} with {SLOTS} slots; ordering {what}:")
        tally = await run_campaign(
            client,
            _requests(sandbox.host_file(video), jobs),
            journal=journal,
            folder=folder / "takes",
        )
        # The log forgets old requests, but not how many there were.
        requests_sent = [*sandbox.requests][-1].number
    for line in report(tally, lambda index: f"take {index + 1}", requests_sent=requests_sent):
        say(line)
    say(f"The files are in {folder}. To look into the journal that was kept:")
    say(f"  python -m lipsync_async journal {journal}")
    return tally.ending


def new_folder(output: Path) -> Path:
    """Make a folder for one run: nothing of an earlier one is mixed in, or deleted."""
    number = 1
    while (folder := output / f"jobs-{number}").exists():
        number += 1
    folder.mkdir(parents=True)
    return folder


def _requests(video_url: str, jobs: int) -> list[GenerationRequest]:
    width = len(str(jobs))
    return [
        GenerationRequest(
            model="lipsync-2",
            input=[
                Video(video_url),
                Text(ElevenLabs(voice_id="sandbox", script=f"This is take {number}.")),
            ],
            options=Options(sync_mode="bounce"),
            output_file_name=f"take-{number:0{width}}",
        )
        for number in range(1, jobs + 1)
    ]
