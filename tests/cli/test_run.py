"""`run`: a manifest goes in, a summary comes out, and nothing is ordered twice."""

import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from lipsync_async import Generation, Limits, ManifestRow, Outcome, Status, errors, read_manifest
from lipsync_async._bulk.journal import Journal
from lipsync_async._models.request import (
    Audio,
    ElevenLabs,
    GenerationRequest,
    Options,
    Origin,
    Text,
    Video,
)
from lipsync_async.cli.commands import command_parser
from lipsync_async.cli.main import main
from lipsync_async.cli.output import ExitStatus, exit_status_of, with_places
from lipsync_async.cli.progress import NO_PROGRESS
from lipsync_async.cli.run import (
    ManifestRun,
    RunSummary,
    ignored_options,
    left_behind,
    manifest_run,
    media_hosts,
    run_requests,
)
from lipsync_async.sandbox import Fault, Sandbox
from lipsync_async.sandbox.media.demo_media import draw_talking_head, speak_line
from tests.bulk import jobs
from tests.bulk.jobs import job, record
from tests.bulk.runs import opened, requests
from tests.cli.terminals import Said
from tests.logic.answers import reply

pytestmark = pytest.mark.usefixtures("manifest")

LIMITS = {name.replace("_", "-") for name in attrs.fields_dict(Limits)}
HEADER = "model,video_url,audio_url,output_file_name\n"


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a manifest of three jobs into the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    write(*(f"lipsync-2,https://h/{n}.mp4,https://h/a.wav,take-{n}" for n in range(3)))
    return Path("takes.csv")


def write(*rows: str, head: str = HEADER) -> None:
    """Write another manifest in its place."""
    Path("takes.csv").write_text(head + "".join(f"{row}\n" for row in rows), encoding="utf-8")


def run(*options: str) -> int:
    """Run the manifest."""
    return main(["run", "takes.csv", "--journal", "j.sqlite", *options])


def test_all_jobs_are_run_once(sandbox: Sandbox, capsys: Said) -> None:
    """Status 0, files in the folder; the same command again orders and fetches nothing."""
    assert run("--download-to", "out") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("Running 3 jobs of takes.csv:\n")
    assert "  succeeded     3\n" in said.out
    assert sorted(path.name[:6] for path in Path("out").iterdir()) == ["take-0", "take-1", "take-2"]

    sent = len(sandbox.requests)
    assert run("--download-to", "out") == 0
    assert len(sandbox.requests) == sent
    said = capsys.readouterr()
    assert "  jobs          3 (3 of them in earlier runs)\n" in said.out
    assert "  rate" not in said.out
    assert "  time per job" not in said.out


def test_what_failed_is_named_by_its_line(sandbox: Sandbox, capsys: Said) -> None:
    """Status 1, and a line for each reason, with lines that a text editor can go to."""
    sandbox.faults.add(Fault("fail_job", count=3, message="No face."))
    assert run() == 1
    *_, line = capsys.readouterr().out.splitlines()
    told = "FAILED (generation_pipeline_failed): No face."
    assert line == f"  3 jobs (line 2, line 3, line 4): {told}"


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (("--max-jobs", "2"), "--max-jobs 2 is reached"),
        (("--max-cost", "0.0001"), "--max-cost 0.0001 does not allow it"),
        (("--max-cost", "0.0001", "--duration", "60"), "--max-cost 0.0001 does not allow it"),
    ],
)
def test_limits_are_kept(
    sandbox: Sandbox, capsys: Said, limit: tuple[str, str], words: str
) -> None:
    """No more is ordered than was allowed; why it ends is said once, last; status 3."""
    assert run(*limit) == 3
    assert sandbox.jobs.created <= 2
    said = capsys.readouterr()
    lines = said.out.splitlines()
    why = [line for line in lines if line.startswith("Ended early: line ")]
    assert (why, words in lines[-1]) == ([lines[-1]], True)
    assert "requests[" not in said.out + said.err


def test_each_problem_of_a_manifest_is_a_line(sandbox: Sandbox, capsys: Said) -> None:
    """Status 2 before anything was sent, or a journal made."""
    write("lipsync-2,x,https://h/a.wav,", "lipsync-2,https://h/v")
    assert run() == 2
    assert capsys.readouterr().err.splitlines() == [
        "run: line 2: video_url: must be an http or https URL; name a local file in video_file",
        "run: line 3: needs exactly one audio or text, not 0",
    ]
    assert len(sandbox.requests) == 0
    assert not Path("j.sqlite").exists()


def test_without_a_key_it_says_so(capsys: Said) -> None:
    """One line, status 2."""
    assert run() == 2
    told = "run: There is no API key. Set SYNC_API_KEY, or add --sandbox, which needs none.\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("cost", ["0", "-1", "nan", "inf", "much"])
def test_an_amount_that_is_none_is_explained(cost: str, capsys: Said) -> None:
    """Status 2, before anything else."""
    with pytest.raises(SystemExit) as ended:
        run("--max-cost", cost)
    assert ended.value.code == 2
    assert f"use an amount above 0, not {cost!r}" in capsys.readouterr().err


def test_a_sandbox_tries_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    """Without key or service, local files become results; the journal serves this run only."""
    draw_talking_head(tmp_path / "v.mp4", seconds=0.4, width=160, height=96)
    speak_line(tmp_path / "a.wav", seconds=0.4)
    write("lipsync-2,v.mp4,a.wav", head="model,video_file,audio_file\n")
    assert run("--sandbox", "--download-to", "out") == 0
    assert capsys.readouterr().out.startswith("Running 1 job of takes.csv on a sandbox:\n")
    assert [path.suffix for path in Path("out").iterdir()] == [".mp4"]

    assert run("--sandbox") == 2
    assert "give a new one" in capsys.readouterr().err
    monkeypatch.setenv("SYNC_API_KEY", "a-key")
    assert run() == 2
    expected = "run: j.sqlite is of a run on a sandbox; for the service, give a new one.\n"
    assert capsys.readouterr().err == expected


def test_a_sandbox_needs_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    """Placeholders are no trial: without the engines it ends with the command that helps."""
    monkeypatch.setitem(sys.modules, "av", None)
    assert run("--sandbox") == 1
    assert capsys.readouterr().err.startswith("run: the media engine is missing; run: pip")


@pytest.mark.parametrize("output_url", [None, "https://media.example/v.mp4"])
def test_a_journal_of_the_service_is_gone_on_with(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said, output_url: str | None
) -> None:
    """What looks like the service's own results is not taken for a sandbox's."""
    requests = [row.request for row in read_manifest(manifest)]
    with Journal.open(Path("j.sqlite")) as journal:
        journal.record_intents(list(enumerate(requests)))
        done = [job(f"g{n}", Status.COMPLETED, outputUrl=output_url) for n in range(3)]
        record(journal, list(enumerate(done)))
    monkeypatch.setenv("SYNC_API_KEY", "a-key")
    assert run() == 0
    assert "(3 of them in earlier runs)" in capsys.readouterr().out


def request(model: str = "lipsync-2", **fields: object) -> GenerationRequest:
    """Return a request."""
    media = [Video("https://Cdn.example:8443/v.mp4"), Audio(file="a.wav")]
    return GenerationRequest(**{"model": model, "input": media, **fields})  # type: ignore[arg-type]


def test_what_will_be_ignored_is_told_before_it_is_paid(sandbox: Sandbox, capsys: Said) -> None:
    """It is no error, but a line beside the output."""
    head = f"{HEADER.strip()},temperature\n"
    write("sync-3,https://h/v.mp4,https://h/a.wav,take,0.5", head=head)
    assert run() == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("takes.csv: line 2: temperature: ignored by sync-3")


def test_what_will_be_ignored_is_told_once() -> None:
    """The first line that it is in stands for all."""
    hot = Options(temperature=0.5)
    rows = [ManifestRow(2, request("sync-3"))]
    rows += [ManifestRow(line, request("sync-3", options=hot)) for line in (3, 4, 5)]
    (warning,) = ignored_options(rows)
    assert warning.startswith("line 3 and 2 more lines: options.temperature: ")
    (warning,) = ignored_options(rows[:2])
    assert warning.startswith("line 3: options.temperature: ")


def test_rows_and_hosts_are_named() -> None:
    """A row has its line and its name; media are fetched from their hosts, ports aside."""
    running = manifest_run_of()
    running.rows = [ManifestRow(2, request()), ManifestRow(3, request(), "a1")]
    assert [running.place(index) for index in (0, 1)] == ["line 2", "line 3 (a1)"]
    assert media_hosts(running.rows) == {"cdn.example"}


def failed(index: int, error: errors.LipsyncError, generation: Generation | None = None) -> Outcome:
    """Return an outcome that is no success."""
    return Outcome(index=index, request=request(), error=error, generation=generation)


def test_failures_are_told_by_their_reasons() -> None:
    """The most frequent comes first, with the places of the first ten; twenty are told."""
    failures = [
        failed(index, errors.GenerationFailedError(job(f"g{index}", Status.FAILED, error=reason)))
        for index, reason in enumerate(["Said\nno."] * 13 + [f"Reason {n}." for n in range(25)])
    ]
    summary = RunSummary(total=60, failures=failures[::-1])
    lines = summary.failure_lines(lambda index: f"#{index}")
    first = ", ".join(f"#{index}" for index in range(10))
    assert lines[0] == f"  13 jobs ({first} and 3 more): FAILED: Said no."
    assert lines[1] == "  #13: FAILED: Reason 0."
    assert lines[20:] == ["  and 6 more failures"]
    assert "  not begun     60" in summary.table()


UNKNOWN = errors.ConnectionLostError("broken", method="POST", url="https://h/v2/generate")
UNKNOWN.may_have_worked = True
KNOWN = errors.GenerationFailedError(job("g1", Status.FAILED))
OVER = errors.SpendingLimitError("Request 1 has no job: max_jobs=1 is reached.")
LOST = errors.JournalError("The disk is full.")
LEFT = errors.JournalError("The disk is full.")
LEFT.generation_ids = ("g1",)
ENDINGS: list[tuple[dict[str, Any], int]] = [
    ({"done": 3}, 0),
    ({"done": 2}, 1),
    ({"done": 3, "failures": [failed(0, KNOWN, KNOWN.generation)]}, 1),
    ({"done": 3, "failures": [failed(0, errors.DownloadError("cut"), job("g1", "COMPLETED"))]}, 1),
    ({"done": 3, "failures": [failed(0, errors.InvalidRequestError(["model: is missing"]))]}, 1),
    ({"done": 3, "failures": [failed(0, UNKNOWN)]}, 4),
    ({"done": 3, "failures": [failed(0, KNOWN, KNOWN.generation), failed(1, UNKNOWN)]}, 4),
    ({"done": 3, "failures": [failed(0, UNKNOWN, job("g1", "PENDING"))]}, 1),
    ({"done": 3, "failures": [failed(1, OVER)], "ended_by": OVER}, 3),
    ({"done": 2, "failures": [failed(1, OVER), failed(0, UNKNOWN)], "ended_by": OVER}, 3),
    ({"done": 0, "ended_by": OVER}, 3),
    ({"done": 0, "error": LOST, "ended_by": LOST}, 2),
    ({"done": 0, "error": LEFT, "ended_by": LEFT}, 4),
    ({"done": 1, "error": LOST, "ended_by": LOST}, 4),
    ({"done": 0, "error": errors.InvalidRequestError(["max_jobs: is wrong"])}, 2),
    ({"done": 0, "error": errors.ConfigurationError("closed")}, 2),
    ({"done": 0, "error": errors.DownloadError("odd")}, 1),
]


@pytest.mark.parametrize(("facts", "status"), ENDINGS, ids=range(len(ENDINGS)))
def test_the_status_says_what_came_of_it(facts: dict[str, Any], status: int) -> None:
    """What has stopped a run, and what is not known, come before what has failed."""
    seen = {"succeeded": facts.pop("done"), "ended_by": facts.pop("ended_by", None)}
    progress = attrs.evolve(NO_PROGRESS, **seen)
    assert RunSummary(total=3, progress=progress, **facts).exit_status == status


def test_an_unknown_outcome_is_no_failure() -> None:
    """It is counted apart, with what to do about it."""
    progress = attrs.evolve(NO_PROGRESS, succeeded=1, failed=2)
    failures = [failed(0, KNOWN, KNOWN.generation), failed(1, UNKNOWN)]
    lines = RunSummary(total=3, progress=progress, failures=failures).table()
    assert lines[1:4] == [
        "  succeeded     1",
        "  failed        1",
        "  unknown       1, to be sent again by the same command, and not paid twice",
    ]


async def test_a_run_with_an_order_of_unknown_outcome_says_so(tmp_path: Path) -> None:
    """An order that no try brings to a known end is named by its line, and status is 4."""
    async with opened() as (client, sandbox, _):
        sandbox.faults.add(Fault("reset_after", method="POST", skip=1, count=None))
        summary = await run_requests(client, [*requests(2)], journal=tmp_path / "j.sqlite")
    (*_, line) = summary.lines("line {}".format)
    assert summary.exit_status == ExitStatus.UNKNOWN
    assert line.startswith("  line 1: ConnectionLostError: ")


async def test_a_run_whose_journal_fails_says_what_came_of_it(tmp_path: Path) -> None:
    """What is known by then is summed up, and the reason comes last."""
    journal = tmp_path / "j.sqlite"
    async with opened() as (client, *_):
        asked = [*requests(3)]
        summary = await run_requests(client, asked, journal=journal, download_to="/dev/null")
    assert summary.exit_status == ExitStatus.USAGE
    assert not journal.exists()
    (*_, last) = summary.lines("line {}".format)
    assert last.startswith("Ended early: download_to: must be a folder")


ALONE: list[tuple[Exception, int]] = [
    (errors.AuthenticationError(response=reply(status=401), message="No."), 3),
    (errors.PaymentRequiredError(response=reply(status=402), message="No."), 3),
    (OVER, 3),
    (errors.InvalidRequestError(["line 2: video_file: cannot be read (No such file): 'v'"]), 1),
    (
        errors.InvalidRequestError(
            ["line 2: a: cannot be read (x): 'v'", "line 3: model: is missing"]
        ),
        2,
    ),
    (errors.InvalidRequestError(["manifest: cannot be read (No such file): 'm'"]), 2),
    (errors.ConfigurationError("no key"), 2),
    (errors.JournalError("in use"), 2),
    (errors.DownloadError("cut"), 1),
    (OSError("disk"), 1),
]


@pytest.mark.parametrize(("error", "status"), ALONE, ids=range(len(ALONE)))
def test_an_error_before_anything_was_begun_has_its_status(error: Exception, status: int) -> None:
    """What the user can put right is told from what has failed."""
    assert exit_status_of(error) == status


def test_a_journal_of_other_requests_is_wrong_input(sandbox: Sandbox, capsys: Said) -> None:
    """Status 2, in lines of the sheet; nothing is sent."""
    with Journal.open("j.sqlite") as journal:
        journal.record_intents([(n, jobs.request(n)) for n in range(3)])
    assert run() == 2
    last = capsys.readouterr().err.splitlines()[-3:]
    assert [line[:10] for line in last] == ["run: line "] * 3
    assert sandbox.jobs.created == 0


PLACES = [
    ("requests[1]: is wrong", "line 3: is wrong"),
    (
        "requests[0].input[0].file: cannot be estimated",
        "line 2: input[0].file: cannot be estimated",
    ),
    ("Request 1 has no job:", "line 3 has no job:"),
    ("as request 0 does", "as line 2 does"),
    ("requests[7]: was never seen", "requests[7]: was never seen"),
    ("requests[], request x, requests1, [1]", "requests[], request x, requests1, [1]"),
]


@pytest.mark.parametrize(("line", "expected"), PLACES)
def test_places_are_named_as_their_author_finds_them(line: str, expected: str) -> None:
    """As lines of a sheet, which do not begin at 0."""
    running = manifest_run_of()
    running.rows = [ManifestRow(2, request()), ManifestRow(3, request())]
    assert with_places(line, running.place) == expected
    assert with_places(line, None) == line


NAMES = [
    ("line 2: max_jobs=2 is reached", "line 2: --max-jobs 2 is reached"),
    ("run once with accept_new_key=True;", "run once with --accept-new-key;"),
    ("and Limits.concurrent_generations=None, so", "and --concurrent-generations none, so"),
    ("pass duration=, the seconds", "pass --duration, the seconds"),
    (
        "run: duration: means nothing without max_cost",
        "run: --duration: means nothing without --max-cost",
    ),
    ("line 2: duration: is of no use", "line 2: duration: is of no use"),
    ("line 2: input[0].url: is wrong", "line 2: video_url: is wrong"),
    ("line 2: input[1] cannot be read", "line 2: audio_file cannot be read"),
    ("line 3: input[1].provider.voice_id: is wrong", "line 3: voice_id: is wrong"),
    ("line 3: input[1] cannot be spoken", "line 3: script cannot be spoken"),
    ("line 3: options.sync_mode: is wrong", "line 3: sync_mode: is wrong"),
    ("line 3: input[7].url: is wrong", "line 3: input[7].url: is wrong"),
    ("line 9: input[0].url: is wrong", "line 9: input[0].url: is wrong"),
    ("options: none of input[0]", "options: none of input[0]"),
]


@pytest.mark.parametrize(("line", "expected"), NAMES)
def test_arguments_and_fields_have_the_names_that_were_typed(
    line: str, expected: str, capsys: Said
) -> None:
    """Options of the command, and columns of a table; lines of JSON keep their paths."""
    spoken = [Video("https://h/v.mp4"), Text(ElevenLabs(voice_id="v", script="Hi."))]
    rows = [ManifestRow(2, request()), ManifestRow(3, request(input=spoken))]
    said: list[str] = []
    for name in ("takes.csv", "takes.jsonl"):
        running = attrs.evolve(manifest_run_of(), manifest=Path(name))
        running.rows = rows
        running.say(line)
        said.append(capsys.readouterr().out.strip())
    assert (said[0], "input[" in said[1]) == (expected, "input[" in line)


def manifest_run_of(*arguments: str) -> ManifestRun:
    """Return what arguments of `run` ask for."""
    typed = ["run", "takes.csv", "--journal", "j.sqlite", *arguments]
    return manifest_run(command_parser().parse_args(typed))


FLAGS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("--max-jobs", "3"), {"options": {"max_jobs": 3}}),
    (("--max-cost=2.5",), {"options": {"max_cost": 2.5}}),
    (("--duration", "60"), {"options": {"duration": 60.0}}),
    (("--concurrent-downloads", "9"), {"options": {"concurrent_downloads": 9}}),
    (("--retry-failed",), {"options": {"retry_failed": True}}),
    (("--match-query",), {"options": {"match_query": True}}),
    (("--creates-per-minute", "30"), {"limits": {"creates_per_minute": 30}}),
    (("--creates-per-minute", "none"), {"limits": {"creates_per_minute": None}}),
    (("--requests-per-minute", "99"), {"limits": {"requests_per_minute": 99}}),
    (("--uploads-per-minute", "9"), {"limits": {"uploads_per_minute": 9}}),
    (("--requests-per-minute=NONE",), {"limits": {"requests_per_minute": None}}),
    (("--concurrent-generations", "4"), {"limits": {"concurrent_generations": 4}}),
    (("--timeout", "12.5"), {"timeout": 12.5}),
    (("--timeout", "none"), {"timeout": None}),
    (("--download-to", "out/"), {"download_to": "out/"}),
    (("--download-to", "2026.05"), {"download_to": "2026.05"}),
    (("--sandbox",), {"on_sandbox": True}),
]


USUAL = {
    **dict.fromkeys(("max_jobs", "max_cost", "duration")),
    **dict.fromkeys(("retry_failed", "match_query", "accept_new_key"), False),
    "concurrent_downloads": 4,
}


@pytest.mark.parametrize(("arguments", "changes"), FLAGS)
def test_each_flag_says_one_thing(arguments: tuple[str, ...], changes: dict[str, Any]) -> None:
    """And what is not said is as the library has it."""
    plain = manifest_run_of()
    assert (plain.limits, plain.timeout, plain.download_to) == ({}, 60.0, None)
    assert plain.options == USUAL
    options = USUAL | changes.pop("options", {})
    assert manifest_run_of(*arguments) == attrs.evolve(plain, options=options, **changes)


RUN = ("run", "takes.csv", "--journal", "j")
WRONG: list[tuple[str, ...]] = [
    *((), ("nothing",), ("run",), ("run", "takes.csv")),
    *((*RUN, *more) for more in (("--max-jobs",), ("two.csv",))),
    *((*RUN, "--max-jobs", n) for n in ("0", "-1", "1.5", "x", "", "²")),
    *((*RUN, "--timeout", n) for n in ("0", "-1", "nan", "inf")),
    *((*RUN, f"--{name}", "0") for name in sorted(LIMITS)),
    (*RUN, "--concurrent-downloads", "none"),
    ("run", "takes.csv", "--journal", ""),
    ("run", "\u200b", "--journal", "j"),
    ("run", "~no-such-user/takes.csv", "--journal", "j"),
    ("run", "takes.csv", "--journal", "~no-such-user/j"),
    (*RUN, "--download-to", "~no-such-user/out"),
    ("run", "takes\u200b.csv", "--journal", "j"),
    ("run", "takes.csv", "--journal", "j\u2060.sqlite"),
    ("journal",),
    ("journal", "j", "--export", "out.txt"),
    ("journal", "j", "--export", "~no-such-user/out.csv"),
    *(("demo", "--jobs", number) for number in ("0", "²")),
    (*RUN, "\x1b[2J"),
]


@pytest.mark.parametrize("arguments", WRONG, ids=range(len(WRONG)))
def test_wrong_usage_is_told_in_words(arguments: tuple[str, ...], capsys: Said) -> None:
    """Status 2, the usage, and a line that says what is wrong, in characters that are seen."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: ")
    assert "error: " in error.splitlines()[-1]
    assert error.replace("\n", "").isprintable()


NO_RUN = {
    "no manifest": ("none.csv", "manifest: cannot be read"),
    "no form": ("takes.txt", "manifest: must end in"),
    "empty": ("empty.csv", "manifest: holds no request"),
    "a slip": ("slip.csv", "line 1: column 'sync_mod' is unknown"),
    "wrong cells": ("wrong.csv", "line 2: video_url: must be"),
    "a sheet": ("sheet.csv", "manifest: is no text"),
}


@pytest.mark.parametrize(("name", "told"), NO_RUN.values(), ids=NO_RUN)
def test_a_manifest_that_is_wrong_is_wrong_input(capsys: Said, name: str, told: str) -> None:
    """Status 2; nothing is sent, and no journal is made."""
    Path("empty.csv").write_text(HEADER)
    Path("slip.csv").write_text(HEADER.strip() + ",sync_mod\n")
    Path("wrong.csv").write_text(HEADER + "lipsync-2,x,https://h/a.wav,\n")
    Path("sheet.csv").write_bytes(b"PK\x03\x04")
    Path("takes.txt").write_text(HEADER)
    assert main(["run", name, "--journal", "j.sqlite"]) == 2
    assert capsys.readouterr().err.startswith(f"run: {told}")
    assert not Path("j.sqlite").exists()


def test_files_that_cannot_be_read_are_failed_rows(capsys: Said) -> None:
    """Status 1 if that is all that is wrong, 2 if the manifest is wrong as well."""
    head = "model,video_file,audio_url,sync_mode\n"
    write("x,none.mp4,https://h/a.wav,", head=head)
    assert run() == 1
    assert capsys.readouterr().err.startswith("run: line 2: video_file: cannot be read (No such")
    write("x,none.mp4,https://h/a.wav,lop", head=head)
    assert run() == 2


STOPPED: dict[str, tuple[int, Any]] = {
    "no money": (402, None),
    "a dead key": (401, None),
    "a filter": (403, "<html>Blocked</html>"),
}


@pytest.mark.parametrize(("status", "body"), STOPPED.values(), ids=STOPPED)
def test_what_meets_every_job_stops_the_run(
    sandbox: Sandbox, capsys: Said, status: int, body: Any
) -> None:
    """Status 3, after a few; what was not begun is counted."""
    write(*(f"lipsync-2,https://h/{n}.mp4,https://h/a.wav,take-{n}" for n in range(40)))
    sandbox.faults.add(Fault("status", status=status, method="POST", body=body, count=None))
    assert run() == 3
    lines = capsys.readouterr().out.splitlines()
    why = [line for line in lines if line.startswith("Ended early: ")]
    assert why == [lines[-1]]
    assert f" {status}" in lines[-1]
    assert sandbox.jobs.created == 0
    not_begun = next(line for line in lines if line.startswith("  not begun"))
    assert int(not_begun.split()[-1]) > 0


def test_paths_at_home(
    manifest: Path, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~` is the home folder behind each flag, also where no shell expands it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "takes.csv").write_bytes(manifest.read_bytes())
    assert main(["run", "~/takes.csv", "--journal=~/j.sqlite", "--download-to=~/out"]) == 0
    assert main(["journal", "~/j.sqlite", "--export=~/all.csv"]) == 0
    names = {path.name for path in home.iterdir() if path.name[:2] != "j."}
    assert names == {"all.csv", "out", "takes.csv"}
    assert list(tmp_path.rglob("~*")) == []


def test_what_has_failed_is_run_again_in_two_ways(
    manifest: Path, sandbox: Sandbox, capsys: Said
) -> None:
    """Anew with the same journal, or as a manifest of its own; the last outcome counts."""
    table = manifest.read_text(encoding="utf-8").replace("output_file_name", "note", 1)
    manifest.write_text(table, encoding="utf-8")
    sandbox.faults.add(Fault("fail_job", count=2, message="No face."))
    assert run() == 1
    assert run() == 1
    assert sandbox.jobs.created == 3
    assert main(["journal", "j.sqlite", "--failed", "--export", "again.csv"]) == 0
    again = read_manifest("again.csv")
    assert len(again) == 2
    assert {row.extra["note"] for row in again} < {"take-0", "take-1", "take-2"}

    assert run("--retry-failed") == 0
    assert "what has failed is created anew:" in capsys.readouterr().out
    assert sandbox.jobs.created == 5
    assert main(["run", "again.csv", "--journal", "new.sqlite"]) == 0
    assert sandbox.jobs.created == 7
    assert main(["journal", "j.sqlite", "--failed"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 requests in j.sqlite:"


EVIL = "bad \x1b]0;title\x07\x1b[2J\x9b2J \u202etxt.4pm\nFAKE: all is well [red]no[/]"


def test_the_services_words_move_no_terminal(sandbox: Sandbox, capsys: Said) -> None:
    """Neither while it runs nor out of the journal; what they hold is seen."""
    sandbox.faults.add(Fault("fail_job", count=1, message=EVIL))
    sandbox.faults.add(Fault("status", status=400, method="POST", body={"message": EVIL}))
    assert run() == 1
    assert main(["journal", "j.sqlite"]) == 0
    said = capsys.readouterr()
    assert (said.out + said.err).replace("\n", "").isprintable()
    assert "\\x1b]0;title\\x07\\x1b[2J\\x9b2J \\u202etxt.4pm FAKE: all" in said.out
    assert "[red]no[/]" in said.out
    assert not any(line.startswith("FAKE") for line in said.out.splitlines())


@pytest.fixture
def interrupted(tmp_path: Path) -> ManifestRun:
    """Return what a run was to do that has ordered much, and knows little."""
    rows = [jobs.request(line, origin=Origin(line)) for line in range(2, 30)]
    rows[27] = attrs.evolve(rows[27], origin=None)
    with Journal.open(tmp_path / "j.sqlite") as journal:
        journal.record_intents([*enumerate(rows)])
        record(journal, [(n, job(f"g{n}", "PROCESSING")) for n in range(25)])
        record(journal, [(0, job("g0", "COMPLETED"))])
    return attrs.evolve(manifest_run_of(), journal=tmp_path / "j.sqlite")


def test_what_an_interruption_leaves_is_named(interrupted: ManifestRun) -> None:
    """Jobs by their ids, orders by their keys, all by their lines as far as those are known."""
    lines = left_behind(interrupted)
    assert lines[0] == "To go on where this was, run it again with the same journal."
    assert lines[1] == "Still running at the service, and paid for: 24 jobs"
    assert lines[2:4] == ["  line 3: g1", "  line 4: g2"]
    assert lines[22] == "  and 4 more; --export of `journal` has them all"
    assert lines[23].startswith("3 creates may have been accepted; ")
    places, keys = zip(*(line.split(": ") for line in lines[24:]), strict=True)
    assert (places, len({*keys})) == (("  line 27", "  line 28", "  position 27"), 3)


def test_what_a_run_leaves_that_has_no_journal_yet(tmp_path: Path) -> None:
    """Nothing, or what a sandbox takes with it; a journal that cannot be read says so itself."""
    unbegun = attrs.evolve(manifest_run_of(), journal=tmp_path / "none")
    assert left_behind(unbegun) == ["Nothing is left: no job was created."]
    assert left_behind(manifest_run_of("--sandbox")) == ["The sandbox and its jobs have ended."]
    (tmp_path / "odd").write_text("no journal")
    (told,) = left_behind(attrs.evolve(manifest_run_of(), journal=tmp_path / "odd"))
    assert "odd" in told


@pytest.mark.parametrize("name", ["\u2764\ufe0f", "\U0001f469\u200d\U0001f4bb", "na\u200bme"])
def test_a_folder_that_is_there_may_have_any_name(tmp_path: Path, name: str) -> None:
    """A new journal may lie in it; only a new name of unseen characters is a slip."""
    folder = tmp_path / name
    how = ("--journal", f"{folder}/j.sqlite")
    with pytest.raises(SystemExit):
        manifest_run_of(*how)
    folder.mkdir()
    assert manifest_run_of(*how).journal == folder / "j.sqlite"
    with pytest.raises(SystemExit):
        manifest_run_of("--journal", f"{folder}/j\u200b.sqlite")
