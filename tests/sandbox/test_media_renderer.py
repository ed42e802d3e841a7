"""Jobs that really render: from URLs to a playable file, or to the documented failure."""

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import av
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from anyio.lowlevel import checkpoint
from PIL import Image

from lipsync_async._models.http import FilePart, TextPart
from lipsync_async.sandbox import Fault, Progression, Sandbox, VirtualClock
from lipsync_async.sandbox.files import Folder, HostedFiles, SignedUrls
from lipsync_async.sandbox.jobs import Job
from lipsync_async.sandbox.media.demo_media import draw_talking_head, tone
from lipsync_async.sandbox.media.drawn_face import DrawnFace
from lipsync_async.sandbox.media.engines import engines
from lipsync_async.sandbox.media.open_media import probe
from lipsync_async.sandbox.media_renderer import MediaRenderer
from lipsync_async.sandbox.outbound_http import OutboundHttp
from lipsync_async.sandbox.tasks import Tasks
from tests.sandbox.clients import Client, MemoryClient, created, order, shown, socket_client, until
from tests.sandbox.conftest import OpenClient
from tests.sandbox.media.faces import filmed, needed_models, photograph, without_face

TEXT = {"type": "text", "provider": {"name": "elevenlabs", "voiceId": "v", "script": "Hi."}}
INACCESSIBLE = "generation_input_video_inaccessible"
# An address on this machine without a server is found by the worker.
GONE = {"type": "video", "url": "http://127.0.0.1:1/clip.mp4"}
DUB = {"providerName": "elevenlabs", "targetLang": "de"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a clip of 0.4 s, a portrait, and sounds of 0.2 s and 0.6 s."""
    folder = tmp_path_factory.mktemp("clips")
    draw_talking_head(folder / "clip.mp4", seconds=0.4, width=96, height=64)
    DrawnFace(64, 64, seed=1).draw(0.0).save(folder / "face.png")
    Image.new("RGB", (64, 64), "gray").save(folder / "flat.png")
    face = photograph().resize((120, 120), box=(150, 40, 300, 190))
    two = Image.new("RGB", (240, 120))
    two.paste(face, (0, 0))
    two.paste(face.resize((108, 108)), (126, 6))
    filmed(folder / "two.mp4", [two] * 10)
    tone(folder / "short.wav", seconds=0.2, hertz=440)
    tone(folder / "long.wav", seconds=0.6, hertz=880)
    (folder / "broken.mp4").write_bytes(b"not a film")
    return folder


@pytest.fixture
async def client(open_client: OpenClient) -> AsyncIterator[Client]:
    """Connect to a sandbox that renders."""
    async with open_client(render=True) as connected:
        yield connected


def media(client: Client, clips: Path, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    """Return an input that the sandbox hosts itself."""
    return {"type": kind, "url": client.sandbox.host_file(clips / name), **fields}


def pair(client: Client, clips: Path, sound: str = "short.wav") -> list[dict[str, Any]]:
    """Return a video and an audio."""
    return [media(client, clips, "video", "clip.mp4"), media(client, clips, "audio", sound)]


async def rendered(client: Client, **fields: Any) -> dict[str, Any]:
    """Create a job and return it when it has ended."""
    return await ended(client, await created(client, **fields))


async def ended(client: Client, job_id: str) -> dict[str, Any]:
    """Wait for a job's end and return it."""
    answer = await client.send("GET", f"/v2/generate/{job_id}?wait=true&timeout=10")
    found: dict[str, Any] = answer.json
    assert found["status"] not in {"PENDING", "PROCESSING"}
    return found


async def downloaded(client: Client, url: str, path: Path) -> Path:
    """Fetch an output."""
    body = (await client.send("GET", url)).body
    path.write_bytes(body)  # noqa: ASYNC240 - a few kilobytes
    return path


CLIP, FACE = ("video", "clip.mp4"), ("image", "face.png")
SHORT, LONG = ("audio", "short.wav"), ("audio", "long.wav")
CROP = {"refId": "long.wav", "startTime": 0.1, "endTime": 0.2}
LOOP = {"sync_mode": "loop"}
SEGMENTS = [
    {"startTime": 0, "endTime": 0.1, "audioInput": CROP},
    {"startTime": 0.2, "endTime": 0.4, "audioInput": {"refId": "t1"}, "optionsOverride": LOOP},
]


@pytest.mark.parametrize(
    ("files", "texts", "fields", "seconds"),
    [
        ([CLIP, LONG], [], {"options": {"sync_mode": "bounce"}}, 0.6),
        ([CLIP, LONG], [], {"options": {"sync_mode": "cut_off"}}, 0.4),
        ([CLIP, SHORT], [], {"options": {"sync_mode": "silence"}}, 0.4),
        # An image is shown for as long as the audio.
        ([FACE, SHORT], [], {"model": "sync-3"}, 0.2),
        # Segments, with audios, crops and modes of their own, and dubbing keep the video's length.
        ([CLIP, LONG], [{**TEXT, "refId": "t1"}], {"segments": SEGMENTS}, 0.4),
        ([CLIP], [], {"dubParams": DUB}, 0.4),
    ],
    ids=["bounce", "cut_off", "silence", "image", "segments", "dubbing"],
)
async def test_an_output_is_as_long_as_it_says(
    *,
    client: Client,
    clips: Path,
    tmp_path: Path,
    files: Any,
    texts: Any,
    fields: Any,
    seconds: float,
) -> None:
    """The file plays as long as the generation says, which its inputs and modes decide."""
    items = [media(client, clips, kind, name, refId=name) for kind, name in files]
    found = await rendered(client, input=[*items, *texts], **fields)
    assert found["status"] == "COMPLETED", found
    info = probe(await downloaded(client, found["outputUrl"], tmp_path / "out.mp4"), "video")
    assert [found["outputDuration"], info.duration] == pytest.approx([seconds] * 2, abs=0.03)
    assert (info.width, info.height) == ((64, 64) if files[0] == FACE else (96, 64))


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED"])
async def test_a_progression_may_take_longer_than_the_render(
    client: Client, clips: Path, end: str
) -> None:
    """An end waits for both: a job that cannot succeed still takes its time."""
    video, audio = pair(client, clips)
    items = [video if end == "COMPLETED" else GONE, audio]
    job_id = await created(client, {"x-sandbox-progression": "time(3600)"}, input=items)
    job = client.sandbox.jobs[job_id]
    await until(lambda: job.result or job.failure)
    before = (await shown(client, job_id))["status"]
    await client.sleep(3600.0)
    assert (before, (await ended(client, job_id))["status"]) == ("PENDING", end)


async def test_the_trace_of_a_job_says_what_moved_the_lips(client: Client, clips: Path) -> None:
    """Phonemes, where the words are known: of a text, of speech made before; else the sound."""
    speech = {"provider": "elevenlabs", "script": "Hi.", "voiceId": "v"}
    spoken = (await client.send("POST", "/v2/tts", speech)).json
    known = {"type": "audio", "url": spoken["url"]}
    video, audio = pair(client, clips)
    image = media(client, clips, "image", "flat.png")
    lips = []
    for items in ([video, TEXT], [video, known], [video, audio], [image, audio]):
        found = await rendered(client, model="sync-3", input=items)
        trace = (await client.send("GET", f"/__sandbox/jobs/{found['id']}")).json
        lips.append(trace["lips"])
        steps = [step["status"] for step in trace["history"]]
        assert (trace["id"], steps) == (found["id"], ["PENDING", "PROCESSING", "COMPLETED"])
    drawn = ["drawn (phonemes)", "drawn (phonemes)", "drawn (sound)"]
    assert lips == [*drawn, without_face()]


def speaker(**fields: Any) -> dict[str, Any]:
    """Choose a speaker."""
    return {"active_speaker_detection": fields}


async def moved(client: Client, folder: Path, **fields: Any) -> list[tuple[bool, bool]]:
    """Render a still of two faces; return whether the left and the right one speak, each 0.2 s."""
    found = await rendered(client, model="sync-3", **fields)
    path = await downloaded(client, found["outputUrl"], folder / "out.mp4")
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray()[:120].astype(int) for frame in container.decode(video=0)]
    changed = [np.abs(frame - frames[0]) > 40 for frame in frames]
    counts = np.array([(each[:, :120].sum(), each[:, 120:].sum()) for each in changed])
    return [(most[0] > 100, most[1] > 100) for most in (counts[:5].max(0), counts[5:].max(0))]


async def test_the_speaker_who_is_chosen_moves_its_lips(
    client: Client, clips: Path, tmp_path: Path
) -> None:
    """By a point or by boxes, which may be in a file; a segment may choose another."""
    needed_models()
    right = [130, 10, 230, 110]
    hosted = {}
    for name, boxes in {"plain": [right] * 10, "named": {"bounding_boxes": [right] * 10}}.items():
        (clips / f"{name}.json").write_text(json.dumps(boxes), encoding="utf-8")
        hosted[name] = media(client, clips, "video", f"{name}.json")["url"]
    point = speaker(frame_number=1, coordinates=[180, 80])
    ways: dict[str, dict[str, Any]] = {
        "left": speaker(frame_number=1, coordinates=[60, 80]),
        "right": point,
        "boxes": speaker(bounding_boxes=[None, *[right] * 9]),
        "named": speaker(bounding_boxes_url=hosted["named"]),
        "plain": speaker(bounding_boxes_url=hosted["plain"]),
        "auto": {"active_speaker_detection": True},
    }
    items = [media(client, clips, "video", "two.mp4"), {**TEXT, "refId": "a"}]
    for name, options in ways.items():
        is_left = name in {"left", "auto"}
        found = await moved(client, tmp_path, input=items, options=options)
        assert (name, found) == (name, [(is_left, not is_left)] * 2)
    part = {"startTime": 0.0, "endTime": 0.2, "audioInput": {"refId": "a"}}
    segments = [
        {**part, "optionsOverride": speaker(auto_detect=True)},
        {**part, "startTime": 0.2, "endTime": 0.4},
    ]
    both = await moved(client, tmp_path, input=items, options=point, segments=segments)
    assert both == [(True, False), (False, True)]


async def test_a_point_that_is_nowhere_fails_the_job(client: Client, clips: Path) -> None:
    """So do boxes that cannot be had, or are none."""
    video, audio = pair(client, clips)
    (clips / "none.json").write_text('{"boxes": []}', encoding="utf-8")
    none = media(client, clips, "video", "none.json")["url"]
    for options, words in [
        (speaker(frame_number=0, coordinates=[96, 1]), "the point 96, 1 in frame 0 is not in the"),
        (speaker(frame_number=9, coordinates=[9, 64]), "the point 9, 64 in frame 9 is not in the"),
        (speaker(frame_number=10, coordinates=[1, 1]), "which has 10 frames of 96x64."),
        (speaker(bounding_boxes_url=none), f"bounding_boxes_url, {none}: it holds no boxes."),
        (speaker(bounding_boxes_url=GONE["url"]), f"bounding_boxes_url, {GONE['url']}: "),
    ]:
        found = await rendered(client, input=[video, audio], options=options)
        assert found["errorCode"] == "generation_input_face_selection_invalid"
        assert words in found["error"]


async def test_a_function_of_the_user_paints_the_lips(clips: Path) -> None:
    """Health and trace say so; what the function raises fails the job."""
    answers = iter([np.zeros((64, 96, 3), np.uint8)] * 5)

    def paint(*_: Any) -> Any:
        return next(answers)

    async with socket_client(render=True, paint_lips=paint) as client:
        health = (await client.send("GET", "/__sandbox/health")).json
        assert health["engines"] == {**engines(), "lips": "those that paint_lips paints"}
        ends = [await rendered(client, input=pair(client, clips)) for _ in range(2)]
        lips = [client.sandbox.jobs[end["id"]].result for end in ends]
    assert [end.get("errorCode") for end in ends] == [None, "generation_unknown_error"]
    assert [each and each.lips for each in lips] == ["painted (sound)", None]


async def test_a_job_without_media_has_a_trace(client: Client) -> None:
    """A failed one has no output, and other jobs have no lips."""
    failed = await rendered(client, input=[GONE, TEXT])
    speech = {"provider": "elevenlabs", "script": "Hi.", "voiceId": "v"}
    other = (await client.send("POST", "/v2/tts/jobs", speech)).json["id"]
    for job_id, end in ((failed["id"], "FAILED"), (other, "SUCCESS")):
        trace = (await client.send("GET", f"/__sandbox/jobs/{job_id}")).json
        assert (trace["lips"], trace["history"][-1]["status"]) == (None, end)


async def test_creates_with_one_key_wait_for_each_other(client: Client, clips: Path) -> None:
    """While the media of the first are looked at, the others wait for its generation."""
    body = order(input=pair(client, clips))
    headers = {"idempotency-key": "k"}
    creates = [client.send("POST", "/v2/generate", body, headers=headers) for _ in range(5)]
    answers = await asyncio.gather(*creates)
    assert len({answer.json["id"] for answer in answers}) == client.sandbox.jobs.created == 1


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"type": "video", "url": "https://example.com/clip.mp4"}, INACCESSIBLE),
        ({"type": "video", "url": "{}nothing.mp4"}, INACCESSIBLE),
        ({"type": "video", "url": "{}broken.mp4"}, "generation_input_video_invalid"),
        ({"type": "video", "assetId": "unknown"}, "asset_not_found"),
    ],
    ids=["stranger", "missing", "broken", "asset"],
)
async def test_bad_media_are_found_at_the_create(
    client: Client, clips: Path, item: dict[str, Any], code: str
) -> None:
    """What can be seen at once is a 422, and no job is made."""
    client.sandbox.host_file(clips / "broken.mp4")
    files = f"{client.sandbox.url}/__sandbox/files/"
    item = {**item, "url": item["url"].format(files)} if "url" in item else item
    body = order(input=[item, media(client, clips, "audio", "short.wav")])
    for path in ("/v2/generate", "/v2/analyze/cost"):
        answer = await client.send("POST", path, body)
        assert (answer.status, answer.json["errorCode"]) == (422, code)
    assert client.sandbox.jobs.created == 0


async def test_a_message_names_an_input_as_its_author_does(client: Client, clips: Path) -> None:
    """By place and address, seen at once or by the worker, not by the sandbox's own file."""
    _, audio = pair(client, clips)
    body = order(input=[audio, {**audio, "type": "video"}])
    answer = await client.send("POST", "/v2/generate", body)
    assert answer.json["message"] == f"input[1] at {audio['url']} has no video stream."
    async with socket_client() as other:
        far = media(other, clips, "video", "broken.mp4")
        found = await rendered(client, input=[far, audio])
    assert found["error"].startswith(f"input[0] at {far['url']} cannot be read: ")


async def test_media_that_play_too_long_are_refused(
    client: Client, clips: Path, tmp_path: Path
) -> None:
    """Half an hour is the most."""
    endless = tone(tmp_path / "endless.wav", seconds=1801, hertz=1, rate=200)
    audio = {"type": "audio", "url": client.sandbox.host_file(endless)}
    body = order(input=[media(client, clips, "video", "clip.mp4"), audio])
    answer = await client.send("POST", "/v2/generate", body)
    assert answer.json["errorCode"] == "generation_input_duration_greater_than_max_duration"


async def test_what_is_not_there_when_the_job_runs_fails_it(client: Client, clips: Path) -> None:
    """An address on this machine without a server is found by the worker."""
    items = [GONE, media(client, clips, "audio", "short.wav")]
    found = await rendered(client, input=items)
    assert (found["status"], found["errorCode"]) == ("FAILED", INACCESSIBLE)
    estimate = await client.send("POST", "/v2/analyze/cost", order(input=items))
    assert (estimate.status, estimate.json["errorCode"]) == (422, INACCESSIBLE)


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (RuntimeError("spring"), "generation_unknown_error"),
        (OSError(errno.ENOSPC, "spring"), "generation_infra_storage_error"),
        (OSError(errno.EACCES, "spring"), "generation_unknown_error"),
    ],
    ids=repr,
)
async def test_a_bug_fails_the_job_and_is_logged(
    caplog: pytest.LogCaptureFixture, trouble: Exception, code: str
) -> None:
    """Whatever goes wrong, here with the clock, the job ends; a full disk has its own code."""

    class BrokenClock(VirtualClock):
        """Break where the render begins."""

        def hold(self) -> Any:
            raise trouble

    clock, tasks = BrokenClock(), Tasks()
    files = HostedFiles(SignedUrls("", b"secret", clock, None))
    renderer = MediaRenderer(
        files=files,
        folder=Folder(),
        outbound=OutboundHttp(frozenset(), 1),
        tasks=tasks,
        clock=clock,
    )
    failures: list[Any] = []
    job = Job(
        id="id", number=1, created_at="now", born=0.0, body={}, progression=Progression.real()
    )
    renderer.start(job, lambda _, failure: failures.append(failure))
    await until(lambda: failures)
    assert [found for found, _ in failures] == [code]
    assert "spring" in caplog.text


async def test_health_says_that_it_renders(client: Client) -> None:
    """And with what."""
    found = (await client.send("GET", "/__sandbox/health")).json
    assert (found["renders"], found["engines"]) == (True, engines())


async def test_costs_are_estimated_from_the_media(client: Client, clips: Path) -> None:
    """The legacy estimate fetches and probes what it is about."""
    video, audio = pair(client, clips, "long.wav")
    audio["refId"] = "a1"
    segment = {"startTime": 0, "endTime": 0.2, "audioInput": {"refId": "a1"}}
    bodies = [
        order(input=[video, audio]),
        order(input=[video, audio], options={"sync_mode": "cut_off"}),
        order(input=[video, audio], segments=[segment]),
        order(input=[video], dubParams=DUB),
    ]
    answers = [await client.send("POST", "/v2/analyze/cost", body) for body in bodies]
    frames = [answer.json[0]["estimatedFrameCount"] for answer in answers]
    assert frames == [15, 10, 10, 10]


async def test_an_asset_is_an_input_by_its_id(client: Client, clips: Path) -> None:
    """In any case of its letters."""
    video, audio = pair(client, clips)
    told = {"url": video["url"], "type": "VIDEO"}
    asset = (await client.send("POST", "/v2/assets", told)).json["id"]
    found = await rendered(client, input=[{"type": "video", "assetId": asset.upper()}, audio])
    assert (found["status"], found["outputDuration"]) == ("COMPLETED", pytest.approx(0.2, abs=0.03))


async def test_a_job_that_was_moved_to_its_end_stops_rendering(client: Client, clips: Path) -> None:
    """Nothing is rendered that is no longer wanted."""
    job_id = await created(client, input=pair(client, clips, "long.wav"))
    client.sandbox.jobs.move(job_id, "FAILED")
    # There is no other sign of a stop.
    await until(lambda: not client.sandbox._tasks._running)  # noqa: SLF001
    assert client.sandbox.jobs[job_id].result is None


async def test_a_job_cannot_be_completed_without_its_media(client: Client, clips: Path) -> None:
    """COMPLETED means that the file is there."""
    client.sandbox.faults.add(Fault("stick_job"))
    job_id = await created(client, input=pair(client, clips, "long.wav"))
    with pytest.raises(ValueError, match="do not exist yet"):
        client.sandbox.jobs.move(job_id, "COMPLETED")


async def test_nothing_is_left_when_jobs_still_render(clips: Path) -> None:
    """Leaving stops the render at its next frame, and removes its files."""
    async with socket_client(render=True) as client:
        for _ in range(4):
            await created(client, input=pair(client, clips, "long.wav"))
        folder = client.sandbox._state.folder.new_path().parent  # noqa: SLF001 - what is to be gone
    assert not folder.exists()


async def test_virtual_time_waits_for_the_render(clips: Path) -> None:
    """In memory a render takes no virtual time at all."""
    clock = VirtualClock()
    async with Sandbox(clock=clock) as sandbox:
        client = MemoryClient(sandbox, sandbox.transport())
        job_id = await created(client, input=pair(client, clips))
        assert (await ended(client, job_id))["status"] == "COMPLETED"
    assert clock.now() == 0.0


def kept(client: Client) -> list[str]:
    """Return the suffixes of the files that a sandbox holds."""
    # There is no other sign of what lies on the disk.
    folder = client.sandbox._state.folder.new_path().parent  # noqa: SLF001
    return sorted(path.suffix for path in folder.iterdir())


async def test_only_the_output_of_a_job_stays_on_the_disk(client: Client, clips: Path) -> None:
    """What was fetched goes, after a render, a failure and an estimate; one speech stays."""
    async with socket_client() as other:
        video, audio = pair(other, clips)
        await rendered(client, input=[video, audio])
        await rendered(client, input=[{**audio, "type": "video"}, audio])
        await client.send("POST", "/v2/analyze/cost", order(input=[video, TEXT]))
        assert kept(client) == [".mp4"]
        await rendered(client, input=[video, TEXT])
        assert kept(client) == [".mp4", ".mp4", ".wav"]


async def test_a_fetched_playlist_reads_no_local_file(
    client: Client, clips: Path, tmp_path: Path
) -> None:
    """A list of files is no video, whatever its URL is called."""
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{clips / 'clip.mp4'}\n#EXT-X-ENDLIST\n")
    async with socket_client() as other:
        video = media(other, tmp_path, "video", "list.m3u8")
        audio = media(client, clips, "audio", "short.wav")
        found = await rendered(client, input=[video, audio])
    assert found["errorCode"] == "generation_input_video_invalid"


async def test_a_photograph_arrives_by_every_way(
    client: Client, clips: Path, tmp_path: Path
) -> None:
    """A JPEG of real size, hosted here, elsewhere or sent in the create, comes to life."""
    grain = np.random.default_rng(1).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(np.kron(grain, np.ones((8, 8, 1), np.uint8))).save(
        tmp_path / "photo.jpg", quality=95
    )
    assert (tmp_path / "photo.jpg").stat().st_size > 100_000
    audio = media(client, clips, "audio", "short.wav")
    async with socket_client() as other:
        for host in (client, other):
            image = media(host, tmp_path, "image", "photo.jpg")
            found = await rendered(client, model="sync-3", input=[image, audio])
            assert found["status"] == "COMPLETED", found
    parts = (
        TextPart("model", "sync-3"),
        FilePart("image", "photo.jpg", "image/jpeg", tmp_path / "photo.jpg"),
        FilePart("audio", "short.wav", "audio/wav", clips / "short.wav"),
    )
    answer = await client.send("POST", "/v2/generate", form=parts)
    found = await ended(client, answer.json["id"])
    assert found["status"] == "COMPLETED", found


async def test_inputs_are_fetched_eight_at_a_time(clips: Path) -> None:
    """Many jobs that begin at once do not open a connection each."""
    gate, waiting, most = anyio.Event(), 0, 0

    async def serve(_: web.Request) -> web.Response:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await gate.wait()
        waiting -= 1
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/clip.mp4", serve)
    async with TestServer(app) as server, socket_client(render=True) as client:
        items = [{"type": "video", "url": str(server.make_url("/clip.mp4"))}]
        items.append(media(client, clips, "audio", "short.wav"))
        jobs = [await created(client, input=items) for _ in range(12)]
        await until(lambda: waiting == 8)
        for _ in range(100):
            await checkpoint()
        gate.set()
        ends = [await ended(client, job_id) for job_id in jobs]
    assert ({end["status"] for end in ends}, most) == ({"FAILED"}, 8)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted in /proc")
async def test_speech_is_made_two_at_a_time(clips: Path) -> None:
    """A hundred lines do not start a hundred processes."""

    def children() -> int:
        found = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended meanwhile
                parent = path.read_text().rpartition(")")[2].split()[1]
                found += int(parent) == os.getpid()
        return found

    async with socket_client(render=True) as client:
        before, most = children(), 0
        items = [media(client, clips, "video", "clip.mp4"), TEXT]
        jobs = [client.sandbox.jobs[await created(client, input=items)] for _ in range(4)]
        while not all(job.is_ended for job in jobs):
            most = max(most, children() - before)
            await checkpoint()
    assert [str(job.status) for job in jobs] == ["COMPLETED"] * 4
    assert 1 <= most <= 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
async def test_an_input_that_does_not_fit_on_the_disk_is_not_the_callers_fault(clips: Path) -> None:
    """A full disk has a code of its own, which says that another try may help."""
    async with socket_client() as other, socket_client(render=True) as client:
        path = client.sandbox._state.folder.new_path()  # noqa: SLF001 - the input comes to the next
        path.with_name(f"{int(path.name) + 1}").symlink_to("/dev/full")
        items = [pair(other, clips)[0], pair(client, clips)[1]]
        found = await rendered(client, input=items)
    assert found["errorCode"] == "generation_infra_storage_error"
