from itertools import pairwise
from pathlib import Path

from lipsync_async import AsyncClient, Audio, Generation, PollPolicy, Status, Video
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.media.demo_media import draw_talking_head
from tests.end_to_end.conftest import Make

# Rendering what is ordered here takes a hundred times as long.
POLL = PollPolicy(progress=True, initial_interval=0.005, max_interval=0.005)


async def test_progress_rises_to_the_end(
    client: AsyncClient, sandbox: Sandbox, speech: Make, tmp_path: Path
) -> None:
    """Who asks for progress sees it rise from the first frame to the last."""
    video = draw_talking_head(tmp_path / "head.mp4", seconds=0.4, width=320, height=180)
    seen: list[Generation] = []
    await client.with_options(poll=POLL).generations.run(
        model="lipsync-2",
        input=[Video(sandbox.host_file(video)), Audio(sandbox.host_file(speech(4.0)))],
        on_update=seen.append,
    )
    shares = [update.progress_percent for update in seen[1:]]
    assert [update.status for update in seen[:2]] == [Status.PENDING, Status.PROCESSING]
    assert seen[-1].status == Status.COMPLETED
    assert shares[-1] == 100
    assert len(shares) > 3
    assert [pair for pair in pairwise(shares) if not (pair[0] or 0) < (pair[1] or 0)] == []
