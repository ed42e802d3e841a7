"""What comes instead of the media, or only in part, or slowly, is never saved as the media."""

import asyncio
import threading
import zlib
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from lipsync_async import (
    AsyncClient,
    ConnectionLostError,
    DownloadError,
    LipsyncError,
    RequestTimeoutError,
    RetryPolicy,
)
from tests.client.media_world import FILM, MEDIA, Says, World, names_in, opened_world, saved
from tests.logic.test_media_host import BOXES, MEDIA as MEDIA_BYTES, TEXTS, zipped

ONCE = RetryPolicy(attempts=1)
LENGTH = {"content-length": str(len(FILM))}
TAGGED = {**LENGTH, "etag": '"v1"'}
MORE = {"content-length": str(len(FILM) + 9999)}


def cut(data: bytes, size: int) -> list[bytes]:
    """Cut bytes into pieces."""
    return [data[start : start + size] for start in range(0, len(data), size)]


async def refused(folder: Path, says: Says, kind: type[LipsyncError] = DownloadError) -> str:
    """Fail to download what all addresses give, and return the error's words."""
    async with opened_world(ONCE) as (client, world):
        world.plan_all(says)
        with pytest.raises(kind) as caught:
            await client.generations.download(world.job, folder)
    assert type(caught.value) is kind
    assert caught.value.generation is not None
    assert names_in(folder) == []
    return str(caught.value)


@pytest.mark.parametrize("name", TEXTS)
async def test_text_is_never_saved(tmp_path: Path, name: str) -> None:
    """Pages and errors of any kind leave no file, whatever type they are given."""
    for kind in ("video/mp4", "text/html", "application/octet-stream"):
        told = await refused(tmp_path, Says(TEXTS[name], headers={"content-type": kind}))
        assert "no media" in told
        assert told.isprintable()


@pytest.mark.parametrize("name", MEDIA_BYTES)
async def test_media_are_saved_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    """What is no text is kept, also as "text/html"."""
    async with opened_world(ONCE) as (client, world):
        for kind in ("video/mp4", "text/html; charset=utf-8", "application/json"):
            world.plan("old.mp4", Says(MEDIA_BYTES[name], headers={"content-type": kind}))
            assert await saved(client, world, tmp_path) == MEDIA_BYTES[name]


PAGE = b"<!DOCTYPE html><html><title>Access blocked</title>" + b"<p>words</p>" * 100


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100, 1023, 1024, 1025])
async def test_a_page_in_pieces(tmp_path: Path, size: int) -> None:
    """However a page is cut, it is seen; and so are media."""
    assert "HTML" in await refused(tmp_path, Says(cut(PAGE, size)))
    async with opened_world(ONCE) as (client, world):
        world.plan("old.mp4", Says(cut(FILM, size)))
        assert await saved(client, world, tmp_path) == FILM


async def test_a_page_that_never_ends(tmp_path: Path) -> None:
    """A page is known by its beginning; the rest is not waited for."""
    told = await refused(tmp_path, Says(cut(PAGE * 1000, 50), pause=1.0))
    assert "Access blocked" in told


@pytest.mark.parametrize("status", [403, 500])
async def test_an_error_page_that_never_ends(tmp_path: Path, status: int) -> None:
    """An error page is read as far as it is needed, and while it keeps a pace."""
    for says in (Says([b"x" * 1000] * 10_000, status), Says([b"x"] * 10_000, status, pause=59.0)):
        async with opened_world(ONCE) as (client, world):
            world.plan_all(says)
            with pytest.raises(LipsyncError, match=f"{status}"):
                await client.generations.download(world.job, tmp_path)
            assert world.clock.now() < 1000


@pytest.mark.parametrize("pause", [0.1, 1.0, 9.0, 30.0])
async def test_an_error_page_that_drips_is_not_waited_for(tmp_path: Path, pause: float) -> None:
    """A page only explains: it gets ten seconds, without a timeout as well."""
    for timeout in (60.0, None):
        async with opened_world(ONCE, timeout) as (client, world):
            world.plan_all(Says([b"gone "] * 10_000, 410, pause=pause))
            with pytest.raises(DownloadError, match="it answered 410: 'gone"):
                await client.generations.download(world.job, tmp_path)
            assert world.clock.now() <= 3 * (10.0 + pause)


@pytest.mark.parametrize("more", [1, 5000])
@pytest.mark.parametrize("size", [7, 1024, len(FILM), 10_000])
async def test_more_than_was_promised_is_never_kept(tmp_path: Path, size: int, more: int) -> None:
    """A body that goes on behind its announced length is given up where it does."""
    says = Says(cut(FILM + bytes(more) + b"x" * 100_000, size), headers=TAGGED)
    async with opened_world(ONCE) as (client, world):
        world.plan("old.mp4", says)
        with pytest.raises(ConnectionLostError, match=f"more than {len(FILM)} bytes came"):
            await client.generations.download(world.job, tmp_path)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("coding", "page", "words"),
    [
        ("gzip", zipped(b"link expired"), "link expired"),
        ("gzip", zipped(b"link expired" * 10_000)[:90], "link expired"),
        ("deflate", zlib.compress(b"link expired"), "link expired"),
        ("identity", b"link expired", "link expired"),
        ("gzip", b"link expired", "no reason was given"),
        ("gzip", b"", "no reason was given"),
        ("br", b"link expired", "no reason was given"),
    ],
)
async def test_an_error_page_is_quoted(
    tmp_path: Path, coding: str, page: bytes, words: str
) -> None:
    """Also where it came compressed; what cannot be read is left out."""
    says = Says(page, 403, {"content-encoding": coding})
    assert words in await refused(tmp_path, says)


PACKED = {
    "gzip": zipped(FILM),
    "x-gzip": zipped(FILM),
    "GZIP": zipped(FILM),
    "deflate": zlib.compress(FILM),
}


@pytest.mark.parametrize("coding", PACKED)
async def test_what_is_compressed_is_unpacked(tmp_path: Path, coding: str) -> None:
    """A host that compresses against the request is put up with, cut as it may be."""
    packed = PACKED[coding]
    for pieces in (cut(packed, 1), cut(packed, 10), [packed]):
        headers = {"content-encoding": coding, "content-length": str(len(packed))}
        async with opened_world(ONCE) as (client, world):
            world.plan("old.mp4", Says(pieces, headers=headers))
            assert await saved(client, world, tmp_path) == FILM


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("place", [1, 2, 10, 0.25, 0.5, 0.75, -9, -8, -5, -4, -1])
async def test_what_is_compressed_and_breaks_off(tmp_path: Path, coding: str, place: float) -> None:
    """Where the end of the compressed bytes is missing, the message's own end says nothing."""
    packed = PACKED[coding]
    part = packed[: int(place) if place == int(place) else int(len(packed) * place)]
    headers = {"content-encoding": coding, "content-length": str(len(part))}
    told = await refused(tmp_path, Says(part, headers=headers), ConnectionLostError)
    assert "break off" in told or "0 of" in told


async def test_what_is_damaged(tmp_path: Path) -> None:
    """Compressed bytes that cannot be read are an error; so are a page in them, and a coding."""
    headers = {"content-encoding": "gzip"}
    told = await refused(tmp_path, Says(FILM, headers=headers), ConnectionLostError)
    assert "damaged" in told
    assert "HTML" in await refused(tmp_path, Says(zipped(PAGE), headers=headers))
    unknown = Says(FILM, headers={"content-encoding": "br"})
    assert "compressed ('br')" in await refused(tmp_path, unknown)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 23, 24, 1023, 1024, 1025, len(FILM) - 1])
async def test_a_body_that_is_cut(tmp_path: Path, length: int) -> None:
    """Wherever a body ends before its announced length, no file is left."""
    says = Says(FILM[:length], headers=LENGTH)
    told = await refused(tmp_path, says, ConnectionLostError)
    assert f"{length} of {len(FILM)} bytes came" in told


@pytest.mark.parametrize("length", [10, 30, 100, 285])
async def test_a_body_of_no_announced_length(tmp_path: Path, length: int) -> None:
    """Where no length is announced, a film says itself whether it is whole."""
    whole = BOXES["MPEG-4"]
    async with opened_world(RetryPolicy(attempts=2)) as (client, world):
        world.plan("old.mp4", Says(whole[:length], headers={"etag": '"v1"'}), Says(whole))
        assert await saved(client, world, tmp_path) == whole
        assert "range" not in world.requests[1].headers
    told = await refused(tmp_path / "other", Says(whole[:length]), ConnectionLostError)
    assert f"{length} bytes came" in told


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"content-length": "1"}, ConnectionLostError),
        ({"content-length": str(len(FILM) - 1)}, ConnectionLostError),
        ({"content-length": str(len(FILM) + 1)}, ConnectionLostError),
        ({"content-length": "0"}, DownloadError),
        ({"content-length": "200000000001"}, DownloadError),
        ({"content-length": "9" * 18}, DownloadError),
    ],
)
async def test_a_wrong_length(
    tmp_path: Path, headers: dict[str, str], kind: type[LipsyncError]
) -> None:
    """A body that is longer or shorter than announced is none; nor is an absurd promise."""
    await refused(tmp_path, Says(FILM, headers=headers), kind)


async def test_an_empty_body(tmp_path: Path) -> None:
    """Nothing is no result, announced or not."""
    told = await refused(tmp_path, Says(b""), ConnectionLostError)
    assert "0 of an unknown number of bytes" in told


def rest(start: int, stop: int | None = None, headers: dict[str, str] | None = None) -> Says:
    """Continue where it was asked."""
    place = f"bytes {start}-{len(FILM) - 1}/{len(FILM)}"
    told = {"etag": '"v1"', "content-range": place}
    return Says(FILM[start:stop], 206, told | (headers or {}))


@pytest.mark.parametrize("first", [1, 24, 1023, 1024, 1025, 2000, len(FILM) - 1])
async def test_it_goes_on_from_any_place(tmp_path: Path, first: int) -> None:
    """Wherever the connection breaks, the rest is asked for, and the whole is judged."""
    async with opened_world() as (client, world):
        world.plan("old.mp4", Says(FILM[:first], headers=TAGGED), rest(first))
        assert await saved(client, world, tmp_path) == FILM
        assert world.requests[1].headers["range"] == f"bytes={first}-"


@pytest.mark.parametrize(
    "second",
    [
        rest(1000, headers={"content-encoding": "gzip"}),
        rest(1000, headers={"etag": '"v2"'}),
        rest(1000, headers={"etag": 'W/"v1"'}),
        rest(999),
        rest(1001),
        rest(0),
        rest(1000, headers={"content-range": "bytes 1000-9/5"}),
        rest(1000, headers={"content-range": f"bytes 1000-4120/{'9' * 5000}"}),
        rest(1000, headers={"content-range": ""}),
        Says(b"", 416),
        Says(b"", 416, TAGGED),
        Says(FILM * 2, 206, rest(1000).headers),
        Says(headers={**LENGTH, "etag": '"v2"'}),
        Says(),
    ],
    ids=range(14),
)
async def test_it_never_goes_on_elsewhere(tmp_path: Path, second: Says) -> None:
    """What does not fit is thrown away, and all is fetched again."""
    async with opened_world() as (client, world):
        world.plan("old.mp4", Says(FILM[:1000], headers=TAGGED), second, Says(headers=TAGGED))
        assert await saved(client, world, tmp_path) == FILM
        # A weak or missing validator is no other content.
        assert world.ranges in ([None, "bytes=1000-"], [None, "bytes=1000-", None])


@pytest.mark.parametrize("tag", [{}, {"etag": 'W/"v1"'}, {"last-modified": "yesterday"}])
async def test_it_goes_on_for_a_voucher_only(tmp_path: Path, tag: dict[str, str]) -> None:
    """Without a strong ETag nothing vouches for the rest, so all is fetched again."""
    async with opened_world() as (client, world):
        world.plan("old.mp4", Says(FILM[:1000], headers=LENGTH | tag), Says(headers=LENGTH | tag))
        assert await saved(client, world, tmp_path) == FILM
        assert world.ranges == [None, None]


async def test_a_range_that_was_never_asked_for(tmp_path: Path) -> None:
    """A part that comes in place of the whole is none; 416 is a refusal like any other."""
    told = await refused(tmp_path, rest(0), ConnectionLostError)
    assert "elsewhere" in told
    assert "416" in await refused(tmp_path, Says(b"", 416))


def drip(size: int, every: float, most: int = 10_000) -> Says:
    """Say little, often enough that no pause is too long."""
    return Says([bytes(size)] * most, headers={"content-length": str(size * most)}, pause=every)


@pytest.mark.parametrize(
    ("timeout", "says", "within"),
    [
        (1.0, drip(1, 0.5), 11),
        (1.0, drip(10, 0.99), 11),
        (1.0, drip(100, 0.2), 11),
        (1.0, drip(999, 1.0), 11),
        (0.1, drip(1, 0.05), 11),
        (30.0, drip(1, 29.0), 90),
        (60.0, drip(1, 30.0), 121),
        (60.0, drip(1000, 59.9), 180),
        (60.0, drip(1, 1.0), 121),
        (300.0, drip(1, 299.0), 900),
        (1.0, Says([FILM] + [b"x"] * 9999, headers=TAGGED | MORE, pause=0.5), 21),
        (5.0, Says([b"x"] * 9999, pause=2.0), 13),
    ],
    ids=range(12),
)
async def test_a_trickle_ends(tmp_path: Path, timeout: float, says: Says, within: float) -> None:
    """A body that keeps coming but never gets on is a clear error, soon."""
    async with opened_world(ONCE, timeout) as (client, world):
        world.plan("old.mp4", says)
        with pytest.raises(RequestTimeoutError, match="is a hold-up") as caught:
            await client.generations.download(world.job, tmp_path)
        assert world.clock.now() <= within
    assert caught.value.generation is not None
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("give_up_after", [3.0, 60.0, 300.0, 3600.0, None])
async def test_all_patience_ends(tmp_path: Path, give_up_after: float | None) -> None:
    """A trickle is gone on with, within the limits of the policy, and no further."""
    policy = RetryPolicy(attempts=5, give_up_after=give_up_after)
    async with opened_world(policy, 10.0) as (client, world):
        world.plan("old.mp4", drip(1, 5.0))
        with pytest.raises(RequestTimeoutError, match="is a hold-up"):
            await client.generations.download(world.job, tmp_path)
        tries = len(world.requests)
        assert tries == 5 if give_up_after in {None, 300.0, 3600.0} else 1 <= tries < 5
        assert world.clock.now() <= 5 * 20 + 4 * 30
        assert "range" not in world.requests[-1].headers
    assert names_in(tmp_path) == []


async def test_a_line_that_breaks_often_gets_there(tmp_path: Path) -> None:
    """Many breaks are put up with as long as each round of tries brings enough."""
    film = FILM[:24] + bytes(400_000)
    told = {"etag": '"v1"', "content-length": str(len(film))}
    answers = [Says(film[:20_000], headers=told)]
    for start in range(20_000, len(film), 20_000):
        place = f"bytes {start}-{len(film) - 1}/{len(film)}"
        answers.append(
            Says(film[start : start + 20_000], 206, {"etag": '"v1"', "content-range": place})
        )
    async with opened_world() as (client, world):
        world.plan("old.mp4", *answers)
        assert await saved(client, world, tmp_path) == film
        assert len(world.requests) == 21


async def test_a_line_that_brings_next_to_nothing_does_not(tmp_path: Path) -> None:
    """A few bytes at each try earn no more patience."""
    answers = [Says(FILM[:10], headers=TAGGED)]
    answers += [rest(start, start + 10) for start in range(10, 1000, 10)]
    async with opened_world() as (client, world):
        world.plan("old.mp4", *answers)
        with pytest.raises(ConnectionLostError):
            await client.generations.download(world.job, tmp_path)
        assert len(world.requests) == 6
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "headers", "name"),
    [
        (MEDIA_BYTES["QuickTime"], {}, "clip.mov"),
        (MEDIA_BYTES["old QuickTime"], {"content-type": "video/mp4"}, "clip.mov"),
        (MEDIA_BYTES["WebM"], {"content-type": "video/mp4"}, "clip.webm"),
        (MEDIA_BYTES["AVI"], {}, "clip.avi"),
        (FILM, {"content-type": "video/quicktime"}, "clip.mp4"),
        (FILM, {"content-disposition": 'attachment; filename="x.mov"'}, "x.mp4"),
        (FILM, {"content-disposition": 'attachment; filename="x.m4v"'}, "x.m4v"),
        (FILM, {"content-disposition": 'attachment; filename="x"'}, "x.mp4"),
        (FILM, {"content-disposition": 'attachment; filename="x.php"'}, "x.php.mp4"),
        (bytes(99), {"content-disposition": 'attachment; filename="x.php"'}, "x.php"),
        (bytes(99), {"content-type": "video/quicktime"}, "clip.mp4"),
        (bytes(99), {}, "clip.mp4"),
    ],
)
async def test_the_suffix_is_right(
    tmp_path: Path, body: bytes, headers: dict[str, str], name: str
) -> None:
    """The bytes settle the suffix, where they tell; not the address, and not the type."""
    async with opened_world() as (client, world):
        world.known = f"{MEDIA}/clip.mp4"
        world.plan("clip.mp4", Says(body, headers=headers))
        path = await client.generations.download(world.job, tmp_path)
    assert path == tmp_path / name


Use = Callable[[AsyncClient, World, Path], Coroutine[Any, Any, object]]


async def _plainly(client: AsyncClient, world: World, target: Path) -> None:
    await client.generations.download(world.job, target)


async def _resuming(client: AsyncClient, world: World, target: Path) -> None:
    world.plan("old.mp4", Says(cut(FILM[:999], 333), headers=TAGGED), rest(999))
    await client.generations.download(world.job, target)


async def _renewing(client: AsyncClient, world: World, target: Path) -> None:
    world.plan("old.mp4", Says(b"gone", 410))
    world.plan("fresh.mp4", Says(PAGE))
    await client.generations.download(world.job, target)


def taken(folder: Path) -> None:
    """Make a folder in which the result's name is taken."""
    folder.mkdir(parents=True)
    (folder / "old.mp4").write_bytes(b"other")


async def _into_a_folder(client: AsyncClient, world: World, target: Path) -> None:
    taken(target)
    await client.generations.download(world.job, target)


async def _large(client: AsyncClient, world: World, target: Path) -> None:
    world.plan("old.mp4", Says([FILM, *[bytes(1_000_000)] * 9]))
    await client.generations.download(world.job, target)


class LeftAt:
    """Await a call, and cancel the task when the call waits for the so-and-so-many-th time."""

    def __init__(self, call: Coroutine[Any, Any, object], place: int) -> None:
        self.waits = 0
        self._call = call
        self._place = place

    def __await__(self) -> Generator[Any, Any, object]:
        """Pass everything on, and count."""
        steps = self._call.__await__()
        error: BaseException | None = None
        while True:
            try:
                waited = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            self.waits += 1
            task = asyncio.current_task()
            if self.waits == self._place and task is not None:
                task.cancel()
            error = None
            try:
                yield waited
            except BaseException as raised:  # noqa: BLE001 - it is passed on
                error = raised


@pytest.mark.parametrize("use", [_plainly, _resuming, _renewing, _into_a_folder, _large])
async def test_leaving_at_each_await(tmp_path: Path, use: Use) -> None:
    """Whenever a download is left, there is the whole file or none, and never a part."""
    place, left = 1, True
    while left:
        folder = tmp_path / f"{place}"
        async with opened_world() as (client, world):
            leaving = LeftAt(use(client, world, folder / "v.mp4"), place)
            task = asyncio.ensure_future(leaving)
            await asyncio.gather(task, return_exceptions=True)
            left = leaving.waits >= place
        found = [path for path in folder.rglob("*") if path.is_file()]
        assert [path.name for path in found if path.suffix == ".part"] == []
        contents = {path.read_bytes()[:24] for path in found} - {b"other"}
        assert contents <= {FILM[:24]}
        place += 1
    assert place > 5


@contextmanager
def few_threads(count: int) -> Iterator[None]:
    """Let the program have no more worker threads than that."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens, before = count, limiter.total_tokens
    try:
        yield
    finally:
        limiter.total_tokens = before


@pytest.mark.parametrize("endpoints", [1, 7, 40])
@pytest.mark.parametrize("threads", [1, 5, 40])
async def test_no_thread_of_the_program_is_needed(
    tmp_path: Path, threads: int, endpoints: int
) -> None:
    """Where all worker threads wait for downloads, these go on."""
    async with opened_world() as (client, world):

        def endpoint(number: int) -> Path:
            target = tmp_path / f"{number}.mp4"
            return anyio.from_thread.run(client.generations.download, world.job, target)

        with few_threads(threads):
            async with anyio.create_task_group() as tasks:
                for number in range(endpoints):
                    tasks.start_soon(anyio.to_thread.run_sync, endpoint, number)
    assert len(names_in(tmp_path)) == endpoints


def occupied(busy: threading.Event) -> None:
    """Keep a thread until it is told to end."""
    busy.wait()


@pytest.mark.parametrize("first", [0, 12])
async def test_leaving_needs_no_thread_of_the_program(tmp_path: Path, first: int) -> None:
    """A download that is cancelled ends though no worker thread is free."""
    busy = threading.Event()
    with few_threads(1):
        async with opened_world() as (client, world), anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, occupied, busy)
            for turns in range(first, first + 12):
                world.plan("old.mp4", Says(cut(FILM, 100), pause=1.0))
                task = asyncio.ensure_future(client.generations.download(world.job, tmp_path))
                for _ in range(turns):
                    await checkpoint()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert names_in(tmp_path) == []
            busy.set()


PIECES: Sequence[bytes] = [FILM, *[bytes(65_536)] * 200]


async def test_a_run_of_many_pieces_keeps_the_loop_free(tmp_path: Path) -> None:
    """Other tasks have their turns while a large result is fetched."""
    async with opened_world() as (client, world):
        world.plan("old.mp4", Says(PIECES))
        task = asyncio.ensure_future(client.generations.download(world.job, tmp_path))
        turns = 0
        while not task.done():
            await checkpoint()
            turns += 1
    assert turns > len(PIECES)
