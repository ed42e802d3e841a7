"""Commands about batches, voices, speech, transcriptions and the account."""

from __future__ import annotations

import csv
import json
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from lipsync_async._bulk.batch import rows_of as batch_rows
from lipsync_async._enums import Status
from lipsync_async._logic.media_types import kind_of
from lipsync_async._logic.validation import problems_of, text, up_to
from lipsync_async._models.response import Generation
from lipsync_async._threads import WORKERS
from lipsync_async.cli.jobs import (
    check_place,
    connected,
    fact_lines,
    may_cost,
    source_of,
    text_of,
    to_standard_output,
    told_warnings,
)
from lipsync_async.cli.output import (
    STANDARD,
    ExitStatus,
    answer,
    is_json,
    is_read,
    plural,
    say,
    whole_file,
)
from lipsync_async.cli.progress import quiet_when_piped
from lipsync_async.cli.run import rows_of
from lipsync_async.errors import AccountStoreError, DownloadError, InvalidRequestError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lipsync_async._bulk.results import Outcome
    from lipsync_async._models.account import SharedUse
    from lipsync_async._models.batch import Batch
    from lipsync_async._models.request import GenerationRequest

_ASSET = "asset:"
_ANY_ASSET = str(uuid.UUID(int=0))  # before a file has its own
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


async def create_batch(typed: argparse.Namespace) -> ExitStatus:
    """Create a batch, or let the service check it; local files are uploaded first."""
    left, typed.left_behind = typed.left_behind, "Nothing was created."
    rows = await rows_of(typed.manifest)
    typed.place = lambda index: f"line {rows[index].line}"
    requests = [row.request for row in rows]
    assets = {
        (item.file, item.TYPE): _ANY_ASSET for each in requests for _, item in _files_of(each)
    }
    with told_warnings():  # all is checked before a file is sent
        batch_rows([_with_assets(each, assets) for each in requests], None)
    async with connected() as client:
        if typed.dry_run:
            told = f"Nothing is wrong with the {plural(len(rows), 'job')}."
            if assets:
                few = plural(len(assets), "local file")
                told += (
                    f" The service has not checked the batch, since {few} would be uploaded first."
                )
            else:
                await client.batches.validate(requests)
            answer({"rows": len(rows), "ok": True, "files": len(assets)}, told)
            return ExitStatus.SUCCESS
        for file, kind in assets:
            say(f"batch create: uploading {file}", is_error=True)
            assets[file, kind] = (await client.assets.upload(file, type=kind.upper())).id
        requests = [_with_assets(each, assets) for each in requests]
        with may_cost(typed, left):
            batch = await client.batches.create(
                requests, webhook_url=typed.webhook_url, journal=typed.journal
            )
    answer(batch, batch.id)
    return ExitStatus.SUCCESS


def _files_of(request: GenerationRequest) -> Iterator[tuple[int, Any]]:
    """Yield each input that is a local file, with its position."""
    for position, item in enumerate(request.input):
        if getattr(item, "file", None) is not None:
            yield position, item


def _with_assets(
    request: GenerationRequest, assets: Mapping[tuple[Any, str], str]
) -> GenerationRequest:
    """Return a request with assets in the place of its local files."""
    inputs: list[Any] = [*request.input]
    for position, item in _files_of(request):
        asset_id = assets[item.file, item.TYPE]
        inputs[position] = attrs.evolve(item, file=None, asset_id=asset_id)
    return attrs.evolve(request, input=inputs)


async def list_batches(_typed: argparse.Namespace) -> ExitStatus:
    """Show all batches."""
    async with connected() as client:
        for batch in await client.batches.list():
            created = f"{batch.created_at:%Y-%m-%d %H:%M}" if batch.created_at else "-"
            answer(batch, f"{batch.id}  {batch.status:<12}  {created}  {_counts(batch)}".rstrip())
    return ExitStatus.SUCCESS


async def wait_for_batch(typed: argparse.Namespace) -> ExitStatus:
    """Wait until a batch has ended."""
    typed.again = f"run `batch wait {typed.batch}`"
    async with connected() as client:
        with quiet_when_piped() as show:
            batch = await client.batches.wait_until_complete(
                typed.batch, timeout=typed.wait_timeout, on_update=show
            )
    answer(batch, f"{batch.id}  {batch.status}  {_counts(batch)}".rstrip())
    return ExitStatus.SUCCESS


def _counts(batch: Batch) -> str:
    found = batch.metrics
    if found is None or found.total_generations is None:
        return ""
    done, failed = found.success_count or 0, found.failed_count or 0
    return f"{done} of {found.total_generations} succeeded, {failed} failed"


async def batch_results(typed: argparse.Namespace) -> ExitStatus:
    """Show what became of each request of a batch; status 1 if one has failed."""
    facts: list[dict[str, Any]] = []
    has_failed = False
    async with connected() as client:
        async for outcome in client.batches.results(typed.batch):
            row = _facts(outcome)
            facts.append(row)
            has_failed = has_failed or not outcome.is_success
            told = (
                f"{row['request_id']}  {row['status'] or '-'}  {row['error'] or row['url'] or ''}"
            )
            answer(row, *([] if typed.export else [told.rstrip()]))
            if typed.export is None and not is_read():
                break
    if typed.export is not None:
        await WORKERS.submit(_export, typed.export, facts)
        say(f"{plural(len(facts), 'result')} in {typed.export}", is_error=is_json())
    return ExitStatus.FAILURE if has_failed else ExitStatus.SUCCESS


def _facts(outcome: Outcome) -> dict[str, Any]:
    job = outcome.generation
    return {
        "index": outcome.index,
        "request_id": outcome.request.request_id,
        "generation_id": None if job is None else job.id,
        "status": None if job is None else str(job.status),
        "url": None if job is None else job.output_url,
        "error": None if outcome.error is None else str(outcome.error),
    }


def _export(path: Path, facts: list[dict[str, Any]]) -> None:
    """Write results as a table or as JSON lines."""
    with whole_file(path) as file:
        if path.suffix.lower() != ".csv":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in facts)
            return
        names = ("index", "request_id", "generation_id", "status", "url", "error")
        table = csv.writer(file)
        table.writerow(names)
        table.writerows([_harmless(row[name]) for name in names] for row in facts)


def _harmless(cell: Any) -> Any:
    """Return a cell that no spreadsheet computes."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


async def list_voices(_typed: argparse.Namespace) -> ExitStatus:
    """Show all voices."""
    async with connected() as client:
        for voice in await client.voices.list():
            answer(voice, f"{voice.id}  {voice.name or ''}".rstrip())
    return ExitStatus.SUCCESS


async def clone_voice(typed: argparse.Namespace) -> ExitStatus:
    """Clone a voice; a file is uploaded first."""
    left, typed.left_behind = typed.left_behind, "Nothing was cloned."
    if problems := problems_of(name=(typed.voice_name, up_to(100, text))):
        raise InvalidRequestError(problems)  # before a file is sent
    source = typed.source
    async with connected() as client:
        if source.startswith(_ASSET):
            sample = {"asset_id": source.removeprefix(_ASSET)}
        elif "://" in source:
            sample = {"url": source}
        else:
            with quiet_when_piped("upload") as show:
                asset = await client.assets.upload(source_of(source), on_progress=show)
            sample = {"asset_id": asset.id}
        with may_cost(typed, left):
            voice = await client.voices.clone(typed.voice_name, **sample)
    answer(voice, voice.id)
    return ExitStatus.SUCCESS


async def delete_voice(typed: argparse.Namespace) -> ExitStatus:
    """Delete a clone."""
    async with connected() as client:
        with may_cost(typed, typed.left_behind):
            await client.voices.delete(typed.voice)
    answer({"deleted": typed.voice}, f"Deleted {typed.voice}.")
    return ExitStatus.SUCCESS


async def speak(typed: argparse.Namespace) -> ExitStatus:
    """Have a text spoken, and save the audio."""
    script = await text_of(typed.text)
    check_place(typed, may_be_there=typed.idempotency_key is not None)
    key = typed.idempotency_key or f"{uuid.uuid4()}"
    again = f"without paying twice, run the same command with --idempotency-key {key}"
    typed.again = f"run the same command with --idempotency-key {key}"
    async with connected() as client:
        left = f"The text may be spoken, and paid for. To go on {again}"
        with may_cost(typed, left, is_noted=False):
            job = await client.speech.start(
                script,
                typed.voice,
                stability=typed.stability,
                similarity_boost=typed.similarity_boost,
                idempotency_key=key,
            )
        typed.left_behind = f"Speech job {job.id} goes on, and is paid for. To go on {again}"
        say(f"speak: created speech job {job.id}", is_error=True)
        with quiet_when_piped() as show:
            done = await client.speech.wait_until_complete(
                job, timeout=typed.wait_timeout, on_update=show
            )
            show(done)  # which may have been so from the beginning
        typed.left_behind = f"The audio of speech job {done.id} is not saved. To save it {again}"
        # It is fetched like the result of a job that makes video.
        audio = Generation(
            id=done.id,
            status=Status.COMPLETED,
            output_url=done.url,
            output_file_name=f"speech-{done.id}",
        )
        try:
            if typed.output == STANDARD:
                await to_standard_output(client.generations.download_chunks(audio))
                return ExitStatus.SUCCESS
            path = await client.generations.download(
                audio, typed.output or ".", overwrite=typed.overwrite
            )
        except DownloadError as error:
            told = f"{error}".replace("generation", "speech job")
            raise DownloadError(f"{told} To save it {again}") from error
    answer({**done.to_dict(), "path": f"{path}"}, f"{path}")
    return ExitStatus.SUCCESS


async def transcribe(typed: argparse.Namespace) -> ExitStatus:
    """Write down what is said; a file is uploaded first."""
    url, kind = typed.source, typed.type
    typed.again = "run the same command"
    async with connected() as client:
        if "://" in url:
            kind = kind or kind_of(urlsplit(url).path, b"", None) or "video"
        else:
            wanted = None if kind is None else kind.upper()
            with quiet_when_piped("upload") as show_upload:
                asset = await client.assets.upload(
                    source_of(url), type=wanted, on_progress=show_upload
                )
            url, kind = asset.url, asset.type.lower()
        begun = await client.transcriptions.create(**{f"{kind}_url": url})
        with quiet_when_piped() as show:
            done = await client.transcriptions.wait_until_complete(
                begun, timeout=typed.wait_timeout, on_update=show
            )
            show(done)
    transcript = done.transcript
    if typed.json or transcript is None:
        answer(done, "Nothing is said.")
        return ExitStatus.SUCCESS
    written = {
        "text": lambda: transcript.text,
        "srt": transcript.to_srt,
        "vtt": transcript.to_vtt,
        "json": transcript.to_json,
    }[typed.format]()
    if typed.output is None or f"{typed.output}" == STANDARD:
        for line in written.rstrip("\n").split("\n"):
            say(line)
        return ExitStatus.SUCCESS
    await WORKERS.submit(_write, typed.output, f"{written}\n")
    say(f"{typed.output}")
    return ExitStatus.SUCCESS


def _write(path: Path, written: str) -> None:
    with whole_file(path) as file:
        file.write(written)


async def account(_typed: argparse.Namespace) -> ExitStatus:
    """Show plan, limits and balance, and the use of the processes that share the limits."""
    async with connected() as client:
        facts = (await client.account.get()).to_dict()
        lines = fact_lines({" ".join(path): value for path, value in _leaves(facts)})
        try:
            shared = await client.account.shared()
        except AccountStoreError:
            answer(facts, *lines)
            raise
    facts["shared"] = None if shared is None else shared.to_dict()
    answer(facts, *lines, *shared_lines(shared))
    return ExitStatus.SUCCESS


def shared_lines(shared: SharedUse | None) -> list[str]:
    """Say what the processes of an account use: a line for each limit, and for each slot."""
    if shared is None:
        return []

    def of(used: int, limit: int | None) -> str:
        return f"{used}" if limit is None else f"{used} of {limit}"

    facts = {
        "creates in the last minute": of(shared.creates, shared.creates_limit),
        "requests in the last minute": of(shared.requests, shared.requests_limit),
        "slots in use": of(len(shared.slots), shared.slots_limit),
    }
    rows = [("generation", "seconds", "unseen", "holder")] if shared.slots else []
    rows += [
        (
            slot.generation_id or "not answered",
            f"{slot.seconds:.0f}",
            f"{slot.unseen_seconds:.0f}",
            slot.holder,
        )
        for slot in shared.slots
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return fact_lines(facts) + [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _leaves(value: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what nested objects hold, each with its path in words."""
    if not isinstance(value, dict):
        yield path, value
        return
    for name, each in value.items():
        yield from _leaves(each, *path, name.replace("_", " "))
