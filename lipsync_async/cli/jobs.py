"""Commands about single jobs: generate, wait, get, list, upload, download, estimate."""

from __future__ import annotations

import os
import sys
import uuid
import warnings
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from lipsync_async._async.client import AsyncClient
from lipsync_async._callsite import notes_of
from lipsync_async._download import Target
from lipsync_async._logic.validation import request_problems, request_warnings
from lipsync_async._models.policies import PollPolicy
from lipsync_async._models.request import (
    Audio,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Text,
    Video,
)
from lipsync_async._threads import WORKERS
from lipsync_async.cli.commands import PROGRAM
from lipsync_async.cli.output import STANDARD, ExitStatus, answer, is_read, say, size
from lipsync_async.cli.progress import quiet_when_piped
from lipsync_async.cli.standard import StandardInput, write_bytes
from lipsync_async.errors import ConfigurationError, IgnoredOptionWarning, InvalidRequestError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from lipsync_async._models.request import Input
    from lipsync_async._models.response import Generation

_ASSET = "asset:"
_PAGE = 100
_MOST_TEXT = 100_000  # bytes of standard input; a script has at most 5,000 characters
_NO_KEY = (
    f"There is no API key. Set SYNC_API_KEY; to try it without one, run `{PROGRAM} sandbox` and "
    "paste the line that it prints."
)


@asynccontextmanager
async def connected() -> AsyncIterator[AsyncClient]:
    """Open a client of the service that the environment names."""
    if not os.environ.get("SYNC_API_KEY"):
        raise ConfigurationError(_NO_KEY)
    poll = PollPolicy(progress=sys.stderr.isatty())  # asking for it takes requests
    async with AsyncClient(poll=poll) as client:
        yield client


@contextmanager
def told_warnings() -> Iterator[None]:
    """Hide what the library warns of, because the command has told it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IgnoredOptionWarning)
        yield


@contextmanager
def may_cost(typed: argparse.Namespace, left: str, *, is_noted: bool = True) -> Iterator[None]:
    """Note that the block makes something, and what it leaves behind if it does not end well.

    The library notes on what interrupts a call whether the call was sent, if `is_noted`.
    """
    typed.may_cost = True
    try:
        yield
    except BaseException as error:
        if notes_of(error) or not is_noted:
            typed.left_behind = left
        raise
    typed.may_cost = False


async def generate(typed: argparse.Namespace) -> ExitStatus:
    """Create a job, wait for it, and save its result."""
    request = await request_of(typed)
    if not typed.no_wait:
        check_place(typed, may_be_there=typed.idempotency_key is not None)
    if typed.dry_run:
        return await _price(request, typed.duration)
    key = typed.idempotency_key or f"{uuid.uuid4()}"
    async with connected() as client:
        left = (
            "The job may have been created. To go on without paying twice, run the same command "
            f"with --idempotency-key {key}"
        )
        with may_cost(typed, left), quiet_when_piped("upload") as show_upload, told_warnings():
            job = await client.generations.create(
                request, idempotency_key=key, on_upload=show_upload
            )
        typed.left_behind = (
            f"Job {job.id} goes on, and is paid for. To go on: {PROGRAM} wait {job.id} --output "
            f"{typed.output or '.'}"
        )
        if typed.no_wait:
            answer(job, job.id)
            return ExitStatus.SUCCESS
        say(f"generate: created job {job.id}", is_error=True)
        with quiet_when_piped() as show:
            done = await client.generations.wait_until_complete(
                job, timeout=typed.wait_timeout, on_update=show
            )
        return await _save(client, done, typed)


async def wait(typed: argparse.Namespace) -> ExitStatus:
    """Wait until a job has ended."""
    if typed.output is not None:
        check_place(typed, may_be_there=True)
    async with connected() as client:
        with quiet_when_piped() as show:
            done = await client.generations.wait_until_complete(
                typed.job, timeout=typed.wait_timeout, on_update=show
            )
        if typed.output is not None:
            return await _save(client, done, typed)
        answer(done, *job_lines(done))
    return ExitStatus.SUCCESS


async def download(typed: argparse.Namespace) -> ExitStatus:
    """Save the result of a completed job."""
    async with connected() as client:
        return await _save(client, await client.generations.get(typed.job), typed)


def check_place(typed: argparse.Namespace, *, may_be_there: bool = False) -> None:
    """Refuse a place where no result can be saved, before anything costs or is waited for.

    A file `may_be_there` if an earlier try may have saved the same result.
    """
    if typed.output == STANDARD:
        return
    place = Target.of(typed.output or ".", overwrite=typed.overwrite or may_be_there)
    folder = place.folder.absolute()
    above = next(each for each in (folder, *folder.parents) if each.exists())
    if not above.is_dir():
        raise InvalidRequestError([f"--output: {above} is no folder"])
    if place.name and not place.overwrite and os.path.lexists(folder / place.name):
        told = f"{typed.output} is there already; give another path, or --overwrite"
        raise InvalidRequestError([f"--output: {told}"])


async def _save(client: AsyncClient, job: Generation, typed: argparse.Namespace) -> ExitStatus:
    typed.left_behind = (
        f"Job {job.id} is completed, and its result is not saved. To save it: {PROGRAM} download "
        f"{job.id} --output {typed.output or '.'}"
    )
    verbs = client.generations
    if typed.output == STANDARD:
        await to_standard_output(verbs.download_chunks(job))
        return ExitStatus.SUCCESS
    path = await verbs.download(job, typed.output or ".", overwrite=typed.overwrite)
    answer({**job.to_dict(), "path": f"{path}"}, f"{path}")
    return ExitStatus.SUCCESS


async def to_standard_output(chunks: AsyncGenerator[bytes, None]) -> None:
    """Write the bytes of a download to standard output, as they come."""
    async with aclosing(chunks):
        async for chunk in chunks:
            await WORKERS.submit(write_bytes, chunk)


async def get(typed: argparse.Namespace) -> ExitStatus:
    """Show one job."""
    async with connected() as client:
        job = await client.generations.get(typed.job)
    answer(job, *job_lines(job))
    return ExitStatus.SUCCESS


def job_lines(job: Generation) -> list[str]:
    """Return what a person wants to know of a job."""
    seconds = None if job.output_duration is None else f"{job.output_duration:g} s"
    facts = {
        "job": job.id,
        "status": job.status,
        "created": None if job.created_at is None else f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "model": job.model,
        "name": job.output_file_name,
        "duration": seconds,
        "result": job.output_url,
        "error": job.error,
        "error code": job.error_code,
    }
    return fact_lines(facts)


def fact_lines(facts: dict[str, Any]) -> list[str]:
    """Return what is known of something as aligned lines."""
    width = max(map(len, facts))
    return [f"{name:<{width}}  {value}" for name, value in facts.items() if value is not None]


async def list_jobs(typed: argparse.Namespace) -> ExitStatus:
    """Show jobs, newest first."""
    most = typed.limit
    shown = 0
    async with connected() as client:
        jobs = client.generations.iter(
            status=typed.status,
            project_id=typed.project,
            page_size=_PAGE if most is None else min(most, _PAGE),
        )
        async for job in jobs:
            created = f"{job.created_at:%Y-%m-%d %H:%M}" if job.created_at else "-"
            facts = (job.id, f"{job.status:<10}", created, job.model, job.output_file_name)
            answer(job, "  ".join(fact for fact in facts if fact))
            shown += 1
            if shown == most or not is_read():
                break
    return ExitStatus.SUCCESS


async def upload(typed: argparse.Namespace) -> ExitStatus:
    """Upload a file, and show its asset."""
    async with connected() as client:
        with quiet_when_piped("upload") as show:
            asset = await client.assets.upload(
                source_of(typed.source),
                type=None if typed.type is None else typed.type.upper(),
                name=typed.name,
                project_id=typed.project,
                on_progress=show,
            )
    answer(asset, asset.id)
    if asset.size is not None:
        say(f"upload: {asset.name or 'the file'}, {size(asset.size)}", is_error=True)
    return ExitStatus.SUCCESS


def source_of(source: str) -> str | StandardInput:
    """Return a path or an address, or standard input, which the library copies to the disk."""
    return StandardInput() if source == STANDARD else source


async def text_of(text: str) -> str:
    """Return a text, or that of standard input."""
    if text != STANDARD:
        return text
    data = await WORKERS.submit(StandardInput().read_all, _MOST_TEXT)
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InvalidRequestError(["-: standard input is no text in UTF-8"]) from error


async def estimate(typed: argparse.Namespace) -> ExitStatus:
    """Tell what a job would cost."""
    has_media = any((typed.video, typed.image, typed.audio, typed.text))
    if typed.duration is not None and not has_media:
        async with connected() as client:
            model = typed.model or "lipsync-2"
            price = await client.generations.estimate_duration(model=model, duration=typed.duration)
        answer(price, f"{price.cost:g} US dollars, for {price.frame_count} frames.")
        return ExitStatus.SUCCESS
    return await _price(await request_of(typed), typed.duration)


async def _price(request: GenerationRequest, duration: float | None) -> ExitStatus:
    """Check a request, and tell what it would cost."""
    if problems := await WORKERS.submit(request_problems, request):
        raise InvalidRequestError(problems)
    async with connected() as client:
        with told_warnings():
            if duration is None:
                price = await client.generations.estimate(request)
            else:
                options = request.options or Options()
                price = await client.generations.estimate_duration(
                    model=request.model,
                    duration=duration,
                    reasoning_enabled=options.reasoning_enabled,
                )
    told = f"{price.cost:g} US dollars, for {price.frame_count} frames."
    answer(price, f"Nothing is wrong with it. It would cost {told} Nothing was created.")
    return ExitStatus.SUCCESS


async def request_of(typed: argparse.Namespace) -> GenerationRequest:
    """Return the request that the arguments describe, and write what the service ignores."""
    given = {"video": typed.video, "image": typed.image, "audio": typed.audio, "text": typed.text}
    flags = [name for name, value in given.items() if value is not None]
    if [*given.values()].count(STANDARD) > 1:
        raise InvalidRequestError(["-: standard input can be only one of the inputs"])
    if (typed.text is None) != (typed.voice is None):
        raise InvalidRequestError(["--text and --voice: give both, or neither"])
    typed.fields = {f"{place}": f"--{flag}" for place, flag in enumerate(flags)}
    typed.fields |= {"sync_mode": "--sync-mode", "temperature": "--temperature"}
    typed.fields |= {"target_lang": "--target-lang"}
    options = Options(sync_mode=typed.sync_mode, temperature=typed.temperature)
    request = GenerationRequest(
        model=typed.model or ("lipsync-2" if typed.image is None else "sync-3"),
        input=[await _input(flag, given[flag], typed.voice) for flag in flags],
        options=None if options == Options() else options,
        webhook_url=getattr(typed, "webhook_url", None),
        output_file_name=typed.name,
        project_id=typed.project,
        dub_params=None if typed.target_lang is None else DubParams(target_lang=typed.target_lang),
    )
    for warning in request_warnings(request):
        say(f"{typed.command}: {warning}", is_error=True)
    return request


async def _input(flag: str, given: str, voice: str | None) -> Input:
    if flag == "text":
        return Text(ElevenLabs(voice_id=voice or "", script=await text_of(given)))
    kinds: dict[str, type[Video | Image | Audio]]
    kinds = {"video": Video, "image": Image, "audio": Audio}
    kind = kinds[flag]
    if given.startswith(_ASSET):
        return kind(asset_id=given.removeprefix(_ASSET))
    if "://" in given:
        return kind(given)
    return kind(file=source_of(given))
