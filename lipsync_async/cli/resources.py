"""Commands about batches, voices, speech, transcriptions and the account."""

from __future__ import annotations

import csv
import json
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from anyio import to_thread

from lipsync_async._logic.media_types import kind_of
from lipsync_async.cli.jobs import connected, fact_lines, source_of, text_of
from lipsync_async.cli.output import ExitStatus, answer, is_json, plural, say
from lipsync_async.cli.progress import quiet_when_piped
from lipsync_async.cli.run import rows_of

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from lipsync_async._bulk.results import Outcome
    from lipsync_async._models.batch import Batch

_ASSET = "asset:"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


async def create_batch(typed: argparse.Namespace) -> ExitStatus:
    """Create a batch, or let the service check it."""
    left, typed.left_behind = typed.left_behind, "Nothing was sent."
    rows = await rows_of(typed.manifest)
    typed.place = lambda index: f"line {rows[index].line}"
    requests = [row.request for row in rows]
    async with connected() as client:
        if typed.dry_run:
            await client.batches.validate(requests)
            what = plural(len(rows), "job")
            answer({"rows": len(rows), "ok": True}, f"Nothing is wrong with the {what}.")
            return ExitStatus.SUCCESS
        typed.left_behind = left
        batch = await client.batches.create(requests, webhook_url=typed.webhook_url)
    answer(batch, batch.id)
    return ExitStatus.SUCCESS


async def list_batches(_typed: argparse.Namespace) -> ExitStatus:
    """Show all batches."""
    async with connected() as client:
        for batch in await client.batches.list():
            created = f"{batch.created_at:%Y-%m-%d %H:%M}" if batch.created_at else "-"
            answer(batch, f"{batch.id}  {batch.status:<12}  {created}  {_counts(batch)}".rstrip())
    return ExitStatus.SUCCESS


async def wait_for_batch(typed: argparse.Namespace) -> ExitStatus:
    """Wait until a batch has ended."""
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
    if typed.export is not None:
        await to_thread.run_sync(_export, typed.export, facts)
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
    with path.open("w", encoding="utf-8", newline="") as file:
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
    source = typed.source
    async with connected() as client:
        if source.startswith(_ASSET):
            sample = {"asset_id": source.removeprefix(_ASSET)}
        elif "://" in source:
            sample = {"url": source}
        else:
            sample = {"asset_id": (await client.assets.upload(await source_of(source))).id}
        typed.left_behind = left
        voice = await client.voices.clone(typed.voice_name, **sample)
    answer(voice, voice.id)
    return ExitStatus.SUCCESS


async def delete_voice(typed: argparse.Namespace) -> ExitStatus:
    """Delete a clone."""
    async with connected() as client:
        await client.voices.delete(typed.voice)
    answer({"deleted": typed.voice}, f"Deleted {typed.voice}.")
    return ExitStatus.SUCCESS


async def speak(typed: argparse.Namespace) -> ExitStatus:
    """Have a text spoken, and show where the audio is."""
    script = await text_of(typed.text)
    key = typed.idempotency_key or f"{uuid.uuid4()}"
    async with connected() as client:
        typed.left_behind = (
            "The text may be spoken, and paid for. To go on without paying twice, run the same "
            f"command with --idempotency-key {key}"
        )
        job = await client.speech.run(
            script,
            typed.voice,
            stability=typed.stability,
            similarity_boost=typed.similarity_boost,
            idempotency_key=key,
        )
    answer(job, job.url or job.id)
    return ExitStatus.SUCCESS


async def transcribe(typed: argparse.Namespace) -> ExitStatus:
    """Write down what is said; a file is uploaded first."""
    url, kind = typed.source, typed.type
    async with connected() as client:
        if "://" in url:
            kind = kind or kind_of(urlsplit(url).path, b"", None) or "video"
        else:
            wanted = None if kind is None else kind.upper()
            asset = await client.assets.upload(await source_of(url), type=wanted)
            url, kind = asset.url, asset.type.lower()
        begun = await client.transcriptions.create(**{f"{kind}_url": url})
        done = await client.transcriptions.wait_until_complete(begun)
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
    if typed.output is None:
        for line in written.rstrip("\n").split("\n"):
            say(line)
        return ExitStatus.SUCCESS
    await to_thread.run_sync(lambda: typed.output.write_text(f"{written}\n", encoding="utf-8"))
    say(f"{typed.output}")
    return ExitStatus.SUCCESS


async def account(_typed: argparse.Namespace) -> ExitStatus:
    """Show plan, limits and balance."""
    async with connected() as client:
        found = await client.account.get()
    lines: dict[str, Any] = {}
    for name, value in found.to_dict().items():
        if isinstance(value, dict):
            lines |= {f"{name} {key}": each for key, each in value.items()}
        else:
            lines[name] = value
    answer(found, *fact_lines(lines))
    return ExitStatus.SUCCESS
