import gc
from pathlib import Path

import aiohttp
import pytest

from lipsync_async.sandbox import Sandbox

SIZE = 300_000  # two pieces of what the sandbox sends


@pytest.mark.parametrize("wanted", [1, SIZE])
async def test_a_client_that_hangs_up_leaves_no_file_open(
    sandbox: Sandbox, tmp_path: Path, wanted: int
) -> None:
    """Whether it has enough or everything, the sandbox closes what it was reading."""
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(SIZE))
    url = sandbox.host_file(path)
    for _ in range(20):
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert len(await answer.content.readexactly(wanted)) == wanted
            answer.close()
    gc.collect()
