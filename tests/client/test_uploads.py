"""Files of any kind as inputs: uploaded as assets, whole, once, and never with the API key."""

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, nullcontext, suppress
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import Any

import anyio
import pytest
from django.conf import settings as django_settings  # type: ignore[import-untyped]
from django.core.files.uploadedfile import (  # type: ignore[import-untyped]
    SimpleUploadedFile,
)
from starlette.datastructures import UploadFile
from werkzeug.datastructures import FileStorage

from lipsync_async import (
    AsyncClient,
    Audio,
    DecodeError,
    GenerationRequest,
    InvalidRequestError,
    NotFoundError,
    RequestTimeoutError,
    Response,
    RetryPolicy,
    Segment,
    SegmentAudio,
    ServerError,
    TransportError,
    UploadError,
    Video,
)
from lipsync_async._callsite import call_back
from lipsync_async._upload import _HASHES, Source, _copied, once
from lipsync_async.sandbox import Fault, Sandbox
from tests.client.connections import INPUTS, Door, opened, order

CLIP = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 5000  # more than one piece
DIGEST = sha256(CLIP).hexdigest()
SPEECH = INPUTS[1]
Pair = tuple[AsyncClient, Sandbox]

with suppress(RuntimeError):  # another test has done so
    django_settings.configure()


async def in_pieces() -> AsyncIterator[bytes]:
    """Yield the clip, as what comes over a network."""
    for at in range(0, len(CLIP), 100_000):
        yield CLIP[at : at + 100_000]


def pieces() -> Iterator[bytes]:
    """Yield the clip, without awaiting."""
    yield from (CLIP[:7], CLIP[7:])


class Reader:
    """A file of another library, whose `read` returns what is to be awaited."""

    def __init__(self) -> None:
        self._file = io.BytesIO(CLIP)

    def read(self, size: int) -> Any:
        """Read in a task."""

        async def later() -> bytes:
            return self._file.read(size)

        return later()


SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "bytes": lambda _: CLIP,
    "bytearray": lambda _: bytearray(CLIP),
    "view": lambda _: memoryview(CLIP),
    "memory file": lambda _: io.BytesIO(CLIP),
    "open file": lambda path: path.open("rb"),
    "async iterator": lambda _: in_pieces(),
    "iterator": lambda _: pieces(),
    "awaited reader": lambda _: Reader(),
    "FastAPI": lambda path: UploadFile(path.open("rb"), filename="clip.mp4"),
    "Flask": lambda path: FileStorage(path.open("rb"), filename="clip.mp4"),
    "Django": lambda _: SimpleUploadedFile("clip.mp4", CLIP, content_type="video/mp4"),
}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Make a local file."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(CLIP)
    return path


async def closed(source: Any) -> None:
    """Close what a test has opened."""
    if isinstance(source, UploadFile):
        await source.close()
    elif callable(getattr(source, "close", None)):
        source.close()


def puts(sandbox: Sandbox) -> list[Any]:
    """Return the requests that have sent bytes."""
    return [entry for entry in sandbox.requests if entry.method == "PUT"]


def sent_inputs(sandbox: Sandbox) -> list[Any]:
    """Return the inputs of each create."""
    return [entry.json["input"] for entry in sandbox.requests.find("POST", "/v2/generate")]


@pytest.mark.parametrize("source", SOURCES)
async def test_any_source_becomes_an_asset(
    client_and_sandbox: Pair, clip: Path, source: str
) -> None:
    """Its bytes arrive unharmed, without the API key, before the only create."""
    client, sandbox = client_and_sandbox
    given = SOURCES[source](clip)
    video = Video(given, ref_id="face")  # a file can have a name here, as it cannot in a form
    await order(client, input=[video, SPEECH])
    await closed(given)
    asset = await client.assets.find_uploaded(DIGEST, "VIDEO")
    assert asset is not None
    assert asset.size == len(CLIP)
    expected = {"type": "video", "assetId": asset.id, "refId": "face"}
    assert [each[0] for each in sent_inputs(sandbox)] == [expected]
    (put,) = puts(sandbox)
    assert "x-api-key" not in put.headers
    assert put.headers["content-type"] == "video/mp4"
    assert put.headers["content-length"] == str(len(CLIP))


async def test_what_was_uploaded_is_not_sent_again(client_and_sandbox: Pair, clip: Path) -> None:
    """The same content, whatever it is given as, is found by its hash; progress says that."""
    client, sandbox = client_and_sandbox
    told: list[tuple[int, int]] = []
    first = await client.assets.upload(clip)
    for source in (clip, str(clip), CLIP):
        found = await client.assets.upload(source, on_progress=lambda *sent: told.append(sent))
        assert found.id == first.id
    assert await client.assets.upload(CLIP) == first
    assert told == [(len(CLIP), len(CLIP))] * 3
    assert len(puts(sandbox)) == 1
    another = await client.assets.upload(clip, deduplicate=False)
    assert another.id != first.id
    assert len(puts(sandbox)) == 2


async def test_progress_counts_all_files_together(client_and_sandbox: Pair, clip: Path) -> None:
    """The last figure is the whole, however many files there are."""
    client, sandbox = client_and_sandbox
    told: list[tuple[int, int]] = []

    def note(sent: int, total: int) -> None:
        told.append((sent, total))

    speech = b"RIFF\0\0\0\0WAVEfmt " + bytes(1000)
    await client.generations.run(
        model="lipsync-2", input=[Video(clip), Audio(speech)], on_upload=note
    )
    total = len(CLIP) + len(speech)
    assert told == [(1024**2, total), (len(CLIP), total), (total, total)]
    assert {key for each in sent_inputs(sandbox)[0] for key in each} == {"type", "assetId"}


@pytest.mark.parametrize(
    ("kind", "status", "presigned"),
    [
        ("status", 403, 2),  # the link has expired
        ("status", 500, 1),
        ("status", 429, 1),
        ("reset_before", None, 1),
        ("reset_upload", None, 1),
        ("reset_after", None, 1),
    ],
)
async def test_what_fails_begins_anew(
    client_and_sandbox: Pair, clip: Path, kind: str, status: int | None, presigned: int
) -> None:
    """Each try sends everything; the asset is whole, and the job is one."""
    client, sandbox = client_and_sandbox
    headers = {"retry-after": "0"} if status == 429 else {}
    sandbox.faults.add(Fault(kind, method="PUT", status=status, headers=headers))
    await order(client, input=[Video(clip), SPEECH])
    asset = await client.assets.find_uploaded(DIGEST, "VIDEO")
    assert asset is not None
    assert sandbox.requests.count("POST", "/v2/assets/upload") == presigned
    assert len(puts(sandbox)) == 2
    assert (sandbox.requests.count("POST", "/v2/assets"), sandbox.jobs.created) == (1, 1)


async def test_an_upload_cut_at_half_is_no_asset(client_and_sandbox: Pair, clip: Path) -> None:
    """Each try begins anew; half a file is neither there nor registered, and in the end all is."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("reset_upload", method="PUT", count=3))
    hasty = client.with_options(retry=RetryPolicy(attempts=1))
    with pytest.raises(TransportError):
        await hasty.assets.upload(clip)
    assert (await client.assets.list()).items == []
    assert sandbox.requests.count("POST", "/v2/assets") == 0
    told: list[tuple[int, int]] = []
    asset = await client.assets.upload(clip, on_progress=lambda *sent: told.append(sent))
    found = [chunk async for chunk in client.assets.download_chunks(asset)]
    assert (b"".join(found), asset.size, told[-1]) == (CLIP, len(CLIP), (len(CLIP), len(CLIP)))
    assert [entry.headers["content-length"] for entry in puts(sandbox)] == [str(len(CLIP))] * 4
    folder = sandbox._state.folder.new_path().parent  # noqa: SLF001 - what is left on the disk
    assert [path.stat().st_size for path in folder.iterdir()].count(len(CLIP)) == 1
    assert {path.stat().st_size for path in folder.iterdir()} <= {0, len(CLIP)}


@pytest.mark.parametrize("data", [CLIP, CLIP[:12]])
async def test_a_form_that_is_cut_at_half_makes_one_job(
    client_and_sandbox: Pair, data: bytes
) -> None:
    """The whole form is sent again, under the same key; also where it is hardly more than heads."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("reset_upload", path="/v2/generate"))
    await order(client, input=[Video(file=data), SPEECH], upload="form")
    first, second = sandbox.requests.find("POST", "/v2/generate")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert sandbox.jobs.created == 1
    (asset,) = (await client.assets.list()).items
    assert asset.size == len(data)


async def test_an_error_of_a_hook_registers_once(client_and_sandbox: Pair) -> None:
    """It is the user's own, and no failure after which an asset is looked for and made again."""

    def fail(answer: Response) -> None:
        raise ServerError(response=answer, message="of a hook")

    client, sandbox = client_and_sandbox
    with pytest.raises(ServerError, match="of a hook") as caught:
        await client.with_options(on_response=fail).assets.register(
            "https://media.example/v.mp4", "VIDEO"
        )
    assert caught.value.may_have_worked
    assert [entry.method for entry in sandbox.requests] == ["POST"]


@pytest.mark.parametrize("path", ["/v2/assets/uploaded", "/v2/assets/upload"])
@pytest.mark.parametrize("body", [None, "404: Not Found"])
async def test_a_service_without_uploads(
    client_and_sandbox: Pair, clip: Path, path: str, body: str | None, caplog: Any
) -> None:
    """What can be read again goes with the create, which is the only one, and the log says so."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("status", path=path, status=404, body=body, count=None))
    caplog.set_level("INFO", "lipsync_async.http")
    await order(client, input=[Video(clip), Audio(b"RIFF\0\0\0\0WAVEfmt ")])
    assert {asset.size for asset in await client.assets.list()} == {len(CLIP), 16}
    assert (puts(sandbox), sandbox.requests.count("POST", "/v2/generate")) == ([], 1)
    assert sandbox.jobs.created == 1
    (told,) = (text for text in caplog.messages if "as a form" in text)
    assert told.startswith("The service has no uploads (404), so the files are sent in the create")


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (lambda: Video(pieces()), "input[0].file: must be a path or bytes in a form"),
        (lambda: Video(CLIP, ref_id="face"), "input[0].ref_id: cannot go with a file in a form"),
    ],
    ids=["once", "named"],
)
async def test_a_service_without_uploads_and_no_form(
    client_and_sandbox: Pair, item: Callable[[], Video], problem: str
) -> None:
    """What a form does not take is not sent; the error says why, and that no job was created."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("status", path="/v2/assets/*", status=404, count=None))
    with pytest.raises(NotFoundError, match=r"/v2/assets/uploaded\?\S* answered 404") as caught:
        await order(client, input=[item(), SPEECH])
    form, created = caught.value.__notes__
    assert form.startswith(f"The files cannot be sent in the create, as a form: {problem}")
    assert created == "No job was created: this was the upload of the request's files."
    assert not caught.value.may_have_worked
    assert sandbox.requests.count("POST", "/v2/generate") == 0


async def test_a_host_that_refuses_for_good(client_and_sandbox: Pair, clip: Path) -> None:
    """It says nothing about the key: the error is one of the upload, and no job exists."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("status", method="PUT", status=401, count=None))
    with pytest.raises(UploadError, match="refused by the host that takes the bytes") as caught:
        await order(client, input=[Video(clip), SPEECH])
    assert "No job was created" in str(caught.value.__notes__)
    assert not caught.value.may_have_worked
    assert (sandbox.jobs.created, sandbox.requests.count("POST", "/v2/assets")) == (0, 0)


@pytest.mark.parametrize("first", [500, 403])
async def test_a_host_that_fails_for_good(client_and_sandbox: Pair, clip: Path, first: int) -> None:
    """Retries end; it is no doubt about the create, which was not sent."""
    client, sandbox = client_and_sandbox
    sandbox.faults.add(Fault("status", method="PUT", status=500, count=None))
    sandbox.faults.add(Fault("status", method="PUT", status=first))
    with pytest.raises(ServerError) as caught:
        await order(client, input=[Video(clip), SPEECH])
    assert not caught.value.may_have_worked
    assert sandbox.jobs.created == 0


@pytest.mark.parametrize("timeout", [5.0, None])
async def test_a_host_that_hangs(clip: Path, timeout: float | None) -> None:
    """It is given up when nothing has moved for the timeout, whatever the file's size."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault("hang", method="PUT", seconds=None))
        hasty = client.with_options(timeout=timeout, retry=RetryPolicy(attempts=1))
        sending = asyncio.ensure_future(hasty.assets.upload(clip))
        if timeout is None:
            await sandbox.transport().sleep(100_000.0)
            assert not sending.done()
            sending.cancel()
            await asyncio.wait([sending])
            assert sending.cancelled()
        else:
            with pytest.raises(RequestTimeoutError, match="took nothing more"):
                await sending
        assert (await client.assets.list()).items == []


@pytest.mark.parametrize("size", [len(CLIP), 10])
async def test_a_file_that_changes_while_it_is_sent(
    client_and_sandbox: Pair, clip: Path, size: int
) -> None:
    """No asset is made of a mixture, and no job."""
    client, sandbox = client_and_sandbox

    def change() -> None:
        clip.write_bytes(bytes(size))
        os.utime(clip, ns=(1, 1))

    with pytest.raises(UploadError, match=r"changed while it was sent|became shorter"):
        await client.generations.create(
            model="lipsync-2",
            input=[Video(clip), SPEECH],
            on_upload=lambda *_: change(),
        )
    assert sandbox.jobs.created == 0
    assert (await client.assets.list()).items == []


async def test_what_did_not_arrive_whole_is_deleted(clip: Path) -> None:
    """An asset of another length than the file is none."""
    async with opened("memory") as (client, sandbox):
        fault = Fault("replace_fields", method="POST", path="/v2/assets", fields={"size": 3})
        sandbox.faults.add(fault)
        with pytest.raises(UploadError, match=r"did not arrive whole: 3 of 1,280,012 bytes came"):
            await client.assets.upload(clip)
        assert (await client.assets.list()).items == []


@pytest.mark.parametrize(
    ("status", "location", "words"),
    [
        (307, "/__sandbox/uploads/a/b", "points on and on"),
        (308, "ftp://elsewhere", "begins with neither"),
        (302, "/elsewhere", "refused by the host"),
    ],
)
async def test_a_redirect_is_followed_without_the_key(
    clip: Path, status: int, location: str, words: str
) -> None:
    """Method and body stay, so 302 is refused; an address that cannot be one is told."""
    async with opened("memory") as (client, sandbox):
        headers = {"location": location}
        sandbox.faults.add(
            Fault("status", method="PUT", status=status, headers=headers, count=None)
        )
        hasty = client.with_options(retry=RetryPolicy(attempts=1))
        with pytest.raises(UploadError, match=words):
            await hasty.assets.upload(clip)
        assert ["x-api-key" in put.headers for put in puts(sandbox)] == [False] * len(puts(sandbox))
        assert (await client.assets.list()).items == []


@pytest.mark.parametrize("address", ["ftp://host/file", 5])
async def test_an_address_that_is_none(clip: Path, address: Any) -> None:
    """Nothing is sent to it."""
    async with opened("memory") as (client, sandbox):
        fields = {"uploadUrl": address}
        sandbox.faults.add(Fault("replace_fields", path="/v2/assets/upload", fields=fields))
        with pytest.raises((UploadError, DecodeError)):
            await client.assets.upload(clip)
        assert puts(sandbox) == []


@pytest.mark.parametrize("is_path", [True, False])
async def test_fifty_tasks_upload_once(clip: Path, is_path: bool) -> None:  # noqa: FBT001
    """Each gets the one asset, though all begin at once."""
    async with opened("memory") as (client, sandbox):
        asked = GenerationRequest(
            model="lipsync-2", input=[Video(clip if is_path else CLIP), SPEECH]
        )
        requests = [asked] * 50
        outcomes = await client.generations.run_all(requests)
        assert [outcome.error for outcome in outcomes] == [None] * 50
        assert len(puts(sandbox)) == 1
        assert sandbox.requests.count("GET", "/v2/assets/uploaded") == 1
        assert len({each[0]["assetId"] for each in sent_inputs(sandbox)}) == 1
        assert outcomes[0].request is asked  # as it was given


async def test_a_task_that_leaves_hands_the_upload_over(clip: Path) -> None:
    """Those who wait for the same content do not fail with the one that was sending it."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault("hang", method="PUT", seconds=None))
        sending = [asyncio.ensure_future(client.assets.upload(clip)) for _ in range(3)]
        while not puts(sandbox):
            await anyio.lowlevel.checkpoint()
        sending[0].cancel()
        found = await asyncio.gather(*sending, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1] == found[2]
        assert len(puts(sandbox)) == 2


async def test_an_error_is_shared(clip: Path) -> None:
    """One upload that fails is not tried again by each that waits for it."""
    async with opened("memory") as (client, sandbox):
        sandbox.faults.add(Fault("status", method="PUT", status=403, count=2))
        found = await asyncio.gather(
            *(client.assets.upload(clip) for _ in range(3)), return_exceptions=True
        )
        assert [type(each) for each in found] == [UploadError] * 3
        assert len(puts(sandbox)) == 2


@pytest.mark.parametrize("door", ["memory", "sockets"])
async def test_an_error_of_the_callback_comes_out(door: Door, clip: Path) -> None:
    """It ends the upload, is not tried again, and is no broken connection."""

    async def fail(*_: int) -> None:
        raise mine

    async with opened(door) as (client, sandbox):
        for mine in (RuntimeError("mine"), UploadError("mine")):
            with pytest.raises(type(mine)) as caught:
                await client.generations.create(
                    model="lipsync-2", input=[Video(clip), SPEECH], on_upload=fail
                )
            assert caught.value is mine
        assert sandbox.jobs.created == 0


async def test_an_error_of_the_callback_is_not_shared() -> None:
    """Another that waits does the work itself, and keeps the result."""
    begun, kept = anyio.Event(), dict[Any, int]()

    async def fail() -> None:
        raise RuntimeError("mine")

    async def work() -> None:
        await begun.wait()
        await call_back(fail)

    results = iter([5])

    async def other() -> int:
        return next(results)

    first = asyncio.ensure_future(once("key", work))
    await anyio.lowlevel.checkpoint()
    second = asyncio.ensure_future(once("key", other, kept))
    await anyio.lowlevel.checkpoint()
    begun.set()
    assert await second == 5
    assert isinstance(first.exception(), RuntimeError)
    assert await once("key", other, kept) == 5


async def test_hashes_are_forgotten_in_time() -> None:
    """A program that uploads for ever keeps a thousand of them."""
    for number in range(1001):
        source = Source(1, nullcontext, b"x", path=str(number), stamp=(number,))
        assert await source.sha256() == sha256(b"x").hexdigest()
    assert len(_HASHES.get()) <= 1000


async def test_a_stream_without_an_end() -> None:
    """No more of it is read than tells that it is too large."""
    with await _copied(repeat(b"12345"), "source", nullcontext, 12) as copied:
        copied.seek(0)
        assert copied.read() == b"12345" * 3


async def test_a_file_that_goes_before_it_is_opened(clip: Path) -> None:
    """It is a problem with its path, and nothing is sent."""

    async def removing() -> AsyncIterator[bytes]:
        os.unlink(clip)  # noqa: PTH108 - nothing else runs
        yield CLIP

    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError, match=r"input\[1\].file: cannot be read"):
            await order(client, input=[Video(removing()), Audio(clip)])
        assert len(sandbox.requests) == 0


class Shy:
    """A thing that raises when it is looked at."""

    @property
    def read(self) -> Any:
        """Raise."""
        raise RuntimeError("do not look")


def shut(path: Path) -> Any:
    """Return a file that was closed."""
    with path.open("rb") as file:
        return file


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda _: io.BytesIO(), "must not be empty"),
    "text file": (lambda _: io.StringIO("text"), "open it with mode 'rb'"),
    "pieces of text": (lambda _: iter(["text"]), "must give bytes, not str"),
    "closed": (shut, "is a closed file"),
    "gone": (lambda path: path.with_name("gone"), "cannot be read"),
    "shy": (lambda _: Shy(), "must be a path or bytes"),
    "number": (lambda _: 5, "must be a path or bytes"),
    "no type": (lambda _: b"unknown", "give type="),
    "web page": (lambda _: "https://media.example/clip", "type: must be given with an address"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_sources(clip: Path, name: str) -> None:
    """What is wrong is told before anything is sent."""
    make, words = BAD[name]
    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError) as caught:
            await client.assets.upload(make(clip))
        assert words in str(caught.value)
        assert len(sandbox.requests) == 0


async def test_all_is_checked_before_the_first_byte(clip: Path) -> None:
    """Every problem is told with its path; an empty stream beside a good file, too."""
    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError) as caught:
            await client.generations.create(
                model="lipsync-2",
                input=[Video(clip.with_name("gone")), Audio(b"")],
                upload="post",  # type: ignore[call-overload]
                on_upload=3,
            )
        assert [problem.partition(":")[0] for problem in caught.value.problems] == [
            "upload",
            "on_upload",
            "input[1].file",
            "input[0].file",
        ]
        with pytest.raises(InvalidRequestError, match=r"input\[1\].file: must not be empty"):
            await order(client, input=[Video(clip), Audio(io.BytesIO())])
        assert len(sandbox.requests) == 0


async def test_a_form_takes_less(clip: Path) -> None:
    """One file of a kind, without a name, that can be read again; an asset has no such limits."""
    segments = [Segment(start_time=0, end_time=1, audio_input=SegmentAudio("a"))]
    inputs = [
        Video(in_pieces(), ref_id="v"),
        Audio(CLIP, ref_id="a"),
        Audio(CLIP + b"!", ref_id="b"),
    ]
    async with opened("memory") as (client, sandbox):
        with pytest.raises(InvalidRequestError) as caught:
            await order(client, input=inputs, segments=segments, upload="form")
        assert [problem.partition(":")[0] for problem in caught.value.problems] == [
            "input[0].file",
            "input[0].ref_id",
            "input[1].file",
            "input[2].file",
            "input[2].file",
        ]
        assert len(sandbox.requests) == 0
        await order(client, input=inputs, segments=segments)
        assert len(puts(sandbox)) == 3


async def test_a_stream_that_is_left_is_closed() -> None:
    """An upload that fails in the middle of reading leaves nothing open."""
    ended = []

    async def broken() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            raise OSError("the line broke")
        finally:
            ended.append(True)

    async with opened("memory") as (client, sandbox), aclosing(broken()) as source:  # type: ignore[type-var]
        with pytest.raises(OSError, match="the line broke"):
            await client.assets.upload(source, type="VIDEO")
        assert (ended, len(sandbox.requests)) == ([True], 0)


@pytest.mark.parametrize("door", ["memory"])
async def test_a_place_and_a_name_of_ones_own(door: Door, clip: Path) -> None:
    """What the caller says goes before what the file says."""
    async with opened(door) as (client, sandbox):
        asset = await client.assets.upload(
            clip, type="AUDIO", name="talk.mp3", content_type="audio/mpeg", visibility="USER"
        )
        assert (asset.type, asset.name) == ("AUDIO", "talk.mp3")
        assert puts(sandbox)[0].headers["content-type"] == "audio/mpeg"
        by_address = await client.assets.upload("https://media.example/v.mp4", type="VIDEO")
        assert by_address.url == "https://media.example/v.mp4"


_MEASURED = """
import asyncio, pathlib, sys
from lipsync_async import AsyncClient, Audio, Limits, Video

def held():
    facts = pathlib.Path("/proc/self/status").read_text()
    return int(facts.partition("VmHWM:")[2].split()[0]) // 1024

async def work(file):
    limits = Limits(creates_per_minute=None, requests_per_minute=None)
    async with AsyncClient("key", base_url=sys.argv[1], limits=limits) as client:
        audio = Audio("https://media.example/speech.wav")
        job = await client.generations.run(model="lipsync-2", input=[Video(file), audio])
        await client.generations.download(job, file.with_name("result.mp4"), overwrite=True)
        return [len(chunk) async for chunk in client.generations.download_chunks(job)]

folder = pathlib.Path(sys.argv[2])
asyncio.run(work(folder / "small.mp4"))
before = held()
print(sum(asyncio.run(work(folder / "large.mp4"))), held() - before < 24)
"""


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    """Uploading, saving and streaming 64 MB holds a few pieces at a time."""
    size = 64_000_000
    (tmp_path / "small.mp4").write_bytes(CLIP[:100])
    (tmp_path / "large.mp4").write_bytes(CLIP[:12] + bytes(size))
    server = [sys.executable, "-m", "benchmarks.upload_server", str(size)]
    with subprocess.Popen(  # noqa: S603 - our own words
        server, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as service:
        assert service.stdout is not None
        url = f"http://127.0.0.1:{int(service.stdout.readline())}"
        command = [sys.executable, "-c", _MEASURED, url, str(tmp_path)]
        done = subprocess.run(  # noqa: S603 - our own words
            command, capture_output=True, text=True, check=False
        )
        service.communicate()
    assert (done.stdout, done.stderr) == (f"{size} True\n", "")


async def test_a_cancelled_upload_closes_its_file(clip: Path) -> None:
    """In whichever turn of the loop it is cancelled; a thread may be opening the file then."""
    async with opened("memory") as (client, _):
        for turns in range(30):
            task = asyncio.create_task(client.assets.upload(clip))
            for _turn in range(turns):
                await anyio.lowlevel.checkpoint()
            task.cancel()
            await asyncio.wait([task])
        assert (await client.assets.upload(clip)).id
