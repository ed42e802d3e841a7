"""`run`: a manifest goes in, a summary comes out, and nothing is ordered twice."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from lipsync_async import (
    Audio,
    GenerationFailedError,
    GenerationRequest,
    ManifestRow,
    Options,
    Outcome,
    Status,
    Video,
    read_manifest,
)
from lipsync_async._fleet.journal import Journal
from lipsync_async.cli.campaign import Tally, failure_lines, summary
from lipsync_async.cli.commands import main
from lipsync_async.cli.fleet_facts import beginning
from lipsync_async.cli.run import ignored_options, media_hosts, place
from lipsync_async.sandbox import Fault, Sandbox
from lipsync_async.sandbox.media.actors import draw_talking_head, speak_line
from tests.fleet.jobs import job

HEADER = "model,video_url,audio_url,output_file_name\n"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Stand in for the service, in a thread of its own, by the environment that users set."""
    with start_blocking_portal() as portal:
        running = portal.call(lambda: Sandbox(render=False, progression="immediate"))
        with portal.wrap_async_context_manager(running):
            monkeypatch.setenv("SYNC_BASE_URL", running.url)
            monkeypatch.setenv("SYNC_API_KEY", running.api_key)
            yield running


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a manifest of three jobs into the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"lipsync-2,https://h/{n}.mp4,https://h/a.wav,take-{n}\n" for n in range(3))
    path = Path("takes.csv")
    path.write_text(HEADER + rows, encoding="utf-8")
    return path


def run(*options: str) -> int:
    """Run the manifest."""
    return main(["run", "takes.csv", "--journal", "j.sqlite", *options])


def test_all_jobs_are_run_once(
    manifest: Path,
    sandbox: Sandbox,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 0, files in the folder; the same command again orders and fetches nothing."""
    assert run("--download-to", "out") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("Running 3 jobs of takes.csv:\n")
    assert "  succeeded     3\n" in said.out
    assert [path.name[:6] for path in sorted(Path("out").iterdir())] == [
        "take-0",
        "take-1",
        "take-2",
    ]

    sent = len(sandbox.requests)
    assert run("--download-to", "out") == 0
    assert len(sandbox.requests) == sent
    said = capsys.readouterr()
    assert "  jobs          3 (3 of them in earlier runs)\n" in said.out
    assert "  rate" not in said.out
    assert "  time per job" not in said.out


def test_what_failed_is_named_by_its_line(
    manifest: Path,
    sandbox: Sandbox,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 1, and a line for each failure that a text editor can go to."""
    sandbox.faults.add(Fault("fail_job", count=3, message="No face."))
    assert run() == 1
    *_, first, second, third = capsys.readouterr().out.splitlines()
    for number, line in enumerate((first, second, third), start=2):
        assert line.startswith(f"  line {number}: generation ")
        assert "No face." in line


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (("--max-jobs", "2"), "max_jobs=2 is reached"),
        (("--max-cost", "0.0001"), "max_cost=0.0001 does not allow it"),
        (("--max-cost", "0.0001", "--duration", "60"), "max_cost=0.0001 does not allow it"),
    ],
)
def test_limits_are_kept(
    manifest: Path,
    sandbox: Sandbox,
    capsys: pytest.CaptureFixture[str],
    limit: tuple[str, str],
    words: str,
) -> None:
    """No more is ordered than was allowed, and the status tells that not all is done."""
    assert run(*limit) == 1
    assert sandbox.jobs.created <= 2
    assert words in capsys.readouterr().out


def test_each_problem_of_a_manifest_is_a_line(
    manifest: Path,
    sandbox: Sandbox,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 1 before anything was sent, or a journal made."""
    rows = "lipsync-2,x,https://h/a.wav,\nlipsync-2,https://h/v\n"
    manifest.write_text(HEADER + rows, encoding="utf-8")
    assert run() == 1
    assert capsys.readouterr().err.splitlines() == [
        "run: line 2: video_url: must be an http or https URL; pass a local file as file",
        "run: line 3: input: needs exactly one audio or text, not 0",
    ]
    assert len(sandbox.requests) == 0
    assert not Path("j.sqlite").exists()


def test_without_a_key_it_says_so(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, status 1."""
    assert run() == 1
    said = capsys.readouterr()
    assert said.err.startswith("run: There is no API key.")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("cost", ["0", "-1", "nan", "inf", "much"])
def test_an_amount_that_is_none_is_explained(
    cost: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2, before anything else."""
    with pytest.raises(SystemExit) as ended:
        run("--max-cost", cost)
    assert ended.value.code == 2
    assert f"use an amount above 0, not {cost!r}" in capsys.readouterr().err


def test_a_sandbox_tries_everything(
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without key or service, local files become results; the journal serves this run only."""
    draw_talking_head(tmp_path / "v.mp4", seconds=0.4, width=160, height=96)
    speak_line(tmp_path / "a.wav", seconds=0.4)
    table = "model,video_file,audio_file\nlipsync-2,v.mp4,a.wav\n"
    manifest.write_text(table, encoding="utf-8")
    assert run("--sandbox", "--download-to", "out") == 0
    assert capsys.readouterr().out.startswith("Running 1 job of takes.csv on a sandbox:\n")
    assert [path.suffix for path in Path("out").iterdir()] == [".mp4"]

    assert run("--sandbox") == 1
    assert "give a new file" in capsys.readouterr().err
    monkeypatch.setenv("SYNC_API_KEY", "a-key")
    assert run() == 1
    expected = "run: j.sqlite is of a run on a sandbox; for the service, give a new file.\n"
    assert capsys.readouterr().err == expected


def test_a_sandbox_needs_its_extra(
    manifest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Placeholders are no trial: without the engines it ends with the command that helps."""
    monkeypatch.setitem(sys.modules, "av", None)
    assert run("--sandbox") == 1
    assert capsys.readouterr().err.startswith("run: the media engine is missing; run: pip")


@pytest.mark.parametrize("output_url", [None, "https://media.example/v.mp4"])
def test_a_journal_of_the_service_is_gone_on_with(
    manifest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output_url: str | None,
) -> None:
    """What looks like the service's own results is not taken for a sandbox's."""
    requests = [row.request for row in read_manifest(manifest)]
    with Journal.open(Path("j.sqlite")) as journal:
        journal.record_intents(list(enumerate(requests)))
        done = [job(f"g{n}", Status.COMPLETED, outputUrl=output_url) for n in range(3)]
        journal.record_generations(list(enumerate(done)))
    monkeypatch.setenv("SYNC_API_KEY", "a-key")
    assert run() == 0
    assert "(3 of them in earlier runs)" in capsys.readouterr().out


def request(model: str = "lipsync-2", **fields: object) -> GenerationRequest:
    """Return a request."""
    media = [Video("https://Cdn.example:8443/v.mp4"), Audio(file="a.wav")]
    return GenerationRequest(**{"model": model, "input": media, **fields})  # type: ignore[arg-type]


def test_what_will_be_ignored_is_told_before_it_is_paid(
    manifest: Path,
    sandbox: Sandbox,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is no error, but a line beside the output."""
    table = f"{HEADER.strip()},temperature\nsync-3,https://h/v.mp4,https://h/a.wav,take,0.5\n"
    manifest.write_text(table, encoding="utf-8")
    assert run() == 0
    error = capsys.readouterr().err
    assert error.startswith("takes.csv: line 2: options.temperature: ignored by sync-3")
    assert error.count("\n") == 1


def test_what_will_be_ignored_is_told_once() -> None:
    """The first line that it is in stands for all."""
    hot = Options(temperature=0.5)
    rows = [
        ManifestRow(line, request("sync-3", options=hot if line > 2 else None))
        for line in range(2, 6)
    ]
    (warning,) = ignored_options(rows)
    assert warning.startswith("line 3 and 2 more lines: options.temperature: ")
    (warning,) = ignored_options(rows[:2])
    assert warning.startswith("line 3: options.temperature: ")


def test_rows_and_hosts_are_named() -> None:
    """A row has its line and its name; media are fetched from their hosts, ports aside."""
    rows = [ManifestRow(2, request()), ManifestRow(3, request(), "a1")]
    assert [place(row) for row in rows] == ["line 2", "line 3 (a1)"]
    assert media_hosts(rows) == {"cdn.example"}


def test_a_long_list_of_failures_is_cut() -> None:
    """Twenty are shown, in the order of the input; the rest is counted."""
    failures = [
        Outcome(
            index=index,
            request=request(),
            error=GenerationFailedError(job(f"g{index}", Status.FAILED, error="Said\nno.")),
        )
        for index in reversed(range(25))
    ]
    tally = Tally(total=30, progress=beginning(30), failures=failures)
    lines = failure_lines(tally, lambda index: f"#{index}")
    assert len(lines) == 21
    assert lines[0].startswith("  #0: generation g0 ended as FAILED: Said no.")
    assert lines[-1] == "  and 5 more failures"
    assert "  not begun     30" in summary(tally)
