"""The table of commands, and what reads their arguments.

A command's function is named, not imported, and the arguments of a command are built only where
they are read: `--help` loads nothing of what the commands need.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from lipsync_async._enums import __version__
from lipsync_async.cli.output import EXIT_STATUSES, RUN_STATUSES, ExitStatus, say

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

T = TypeVar("T")

PROGRAM = "lipsync-async"
_EXPORTS = (".jsonl", ".csv")
_NO_LIMIT = "none"
# Those of `Limits`, and what they limit.
LIMITS = {
    "creates_per_minute": "jobs created in any 60 seconds (default: 60); 'none': no limit",
    "requests_per_minute": "other requests in any 60 seconds (default: 600); 'none': no limit",
    "uploads_per_minute": "files uploaded in any 60 seconds (default: 120); 'none': no limit",
    "concurrent_generations": "jobs that run at once (default: as many as the account allows)",
}
_UNKNOWN_WORD = re.compile(r"invalid choice: '?([^' ]+)")


class Argument(NamedTuple):
    """Argument of a command, as `argparse` takes it."""

    names: tuple[str, ...]
    settings: dict[str, Any]


class Command(NamedTuple):
    """Command: its words, what runs it, and what it leaves when it is interrupted."""

    name: str  # of one word or two
    help: str
    function: str  # module and function, in `lipsync_async.cli`
    arguments: Callable[[], list[Argument]]
    examples: tuple[str, ...] = ()
    verbs: str = ""  # of the client, with blanks between them
    left_behind: str = "Nothing was changed."
    description: str = ""


class Parser(argparse.ArgumentParser):
    """Argument parser whose errors are one line without control characters."""

    words: Collection[str] = ()  # commands that a mistyped word may mean

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit."""
        self.print_usage(sys.stderr)
        unknown = _UNKNOWN_WORD.search(message)
        if unknown is not None and self.words:
            # Here and not above: it is needed for errors only.
            from difflib import get_close_matches  # noqa: PLC0415 - see above

            meant = get_close_matches(unknown[1], self.words, 1)
            hint = f"Did you mean {meant[0]}?" if meant else f"Commands: {', '.join(self.words)}"
            message = f"there is no command {unknown[1]!r}. {hint}"
        say(f"{self.prog}: error: {message}", is_error=True)
        raise SystemExit(ExitStatus.USAGE)


def command_parser(typed: Collection[str] | None = None) -> argparse.ArgumentParser:
    """Return what reads the arguments of the commands among the typed words, or of all."""
    parser = Parser(
        prog=PROGRAM,
        description="Lip-sync videos at sync.so: one, or thousands from a file. `demo` and "
        "`sandbox` need no key: they work on this machine alone.",
        epilog="To begin: lipsync-async doctor. To see it work without a key: lipsync-async demo.\n"
        f"Each command has a --help.\n\n{EXIT_STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(json=False)
    parser.add_argument("--version", action="version", version=f"lipsync_async {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    parser.words = {command.name.split()[0]: None for command in COMMANDS}
    groups: dict[str, argparse._SubParsersAction[Parser]] = {}
    for command in COMMANDS:
        first, _, second = command.name.partition(" ")
        place = commands
        if second:
            place = groups[first] = groups.get(first) or _add_group(commands, first)
        if typed is None or first in typed:
            _add_command(place, command)
        elif not second:
            commands.add_parser(first, help=command.help)
    return parser


def _add_group(
    commands: argparse._SubParsersAction[Parser], name: str
) -> argparse._SubParsersAction[Parser]:
    """Add the first word of commands of two words; alone, it is the one that lists."""
    told = GROUPS[name]
    group = commands.add_parser(
        name,
        help=told,
        description=f"{told[:1].upper()}{told[1:]}. Without a command: `{name} list`.",
    )
    ours = {
        command.name.partition(" ")[2]: command
        for command in COMMANDS
        if command.name.startswith(f"{name} ")
    }
    group.words = ours
    _finish(group, ours["list"])
    return group.add_subparsers(metavar="COMMAND")


def _add_command(place: argparse._SubParsersAction[Parser], command: Command) -> None:
    examples = "".join(f"  {PROGRAM} {example}\n" for example in command.examples)
    parser = place.add_parser(
        command.name.rpartition(" ")[2],
        help=command.help,
        description=command.description or f"{command.help[:1].upper()}{command.help[1:]}.",
        epilog=(RUN_STATUSES + "\n" if command.name == "run" else "")
        + ("examples:\n" + examples if examples else ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for names, settings in command.arguments():
        parser.add_argument(*names, **settings)
    _finish(parser, command)


def _finish(parser: argparse.ArgumentParser, command: Command) -> None:
    """Add what all commands have."""
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,  # that before a second word holds, too
        help="write only JSON to standard output: one document, or one for each line",
    )
    parser.set_defaults(
        command=command.name, function=command.function, left_behind=command.left_behind
    )


def _argument(*names: str, **settings: Any) -> Argument:
    return Argument(names, settings)


def _path(text: str) -> Path:
    from pathlib import Path  # noqa: PLC0415 - `--help` needs none

    return Path(_path_text(text))


def _path_or_address(text: str) -> Path | str:
    from lipsync_async._bulk.journal_file import ADDRESS  # noqa: PLC0415 - as above

    return text if ADDRESS.match(text) else _path(text)


def _path_text(text: str) -> str:
    """Return a path as text, in which a slash at the end tells a folder."""
    # Here and not above: `--help` needs none of them.
    from lipsync_async._models.text import at_home, bare, ignored, unknown_home  # noqa: PLC0415

    found = at_home(text)
    if found is None:
        raise argparse.ArgumentTypeError(unknown_home(text))
    if not bare(found):
        raise argparse.ArgumentTypeError("use a path, not an empty one")
    # Names that exist are meant, such as those of folders with an emoji of several parts.
    folder, name = os.path.split(found.rstrip("/"))
    told = ignored(name if os.path.lexists(folder or ".") else found)
    if told is not None and not os.path.lexists(found):
        raise argparse.ArgumentTypeError(f"the path holds {told}; nothing of that name is there")
    return found


def _or_none(read: Callable[[str], T]) -> Callable[[str], T | None]:
    return lambda text: None if text.lower() == _NO_LIMIT else read(text)


def _whole(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"use a whole number above 0, not {text!r}")
    return number


def _amount(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"use an amount above 0, not {text!r}")
    return number


def _export(text: str) -> Path:
    path = _path(text)
    if path.suffix.lower() not in _EXPORTS:
        raise argparse.ArgumentTypeError(f"use a name that ends in .jsonl or .csv, not {text!r}")
    return path


def _source(text: str) -> str:
    """Read an address, an asset (`asset:ID`), a file's path, or `-` for standard input."""
    return text if text == "-" or "://" in text or text.startswith("asset:") else _path_text(text)


_MANIFEST = _argument(
    "manifest",
    type=_path,
    metavar="MANIFEST",
    help="JSON lines (.jsonl) or a table (.csv), one job in each row, or - for standard input. "
    'All rows are checked before anything is sent. The guide "Manifests" lists the columns',
)
_JOB = _argument("job", metavar="ID", help="the job's id")
_BATCH = _argument("batch", metavar="ID", help="the batch's id")
_OUTPUT = (
    _argument(
        "--output",
        type=_path_text,
        metavar="PATH",
        help="a file, a folder, or - for standard output (default: this folder)",
    ),
    _argument("--overwrite", action="store_true", help="replace a file that is there"),
)


def _wait_timeout(seconds: float, what: str = "job") -> Argument:
    """Return the argument of a longest wait, whose default is that of the library's verb."""
    return _argument(
        "--wait-timeout",
        type=_or_none(_amount),
        default=seconds,
        metavar="SECONDS",
        help=f"longest wait (default: %(default)g); 'none': no limit. After it, the {what} goes on",
    )


_WAIT = _wait_timeout(7200.0)
_DRY_RUN = _argument(
    "--dry-run", action="store_true", help="check and price it; nothing is created"
)
_DURATION = _argument(
    "--duration",
    type=_amount,
    metavar="SECONDS",
    help="length of the result, for its price; needed for local files",
)
_KEY = _argument(
    "--idempotency-key",
    metavar="KEY",
    help="the key of an earlier try, so that nothing is paid twice",
)
_EXPORT_OPTION = _argument(
    "--export", type=_export, metavar="OUT", help="write all of it to OUT.jsonl or OUT.csv"
)


def _order() -> list[Argument]:
    """Return the arguments of commands that describe one job."""
    what = "an address, asset:ID, a file, or - for standard input"
    return [
        _argument("--video", type=_source, metavar="SOURCE", help=f"the video: {what}"),
        _argument("--image", type=_source, metavar="SOURCE", help="a picture, instead of --video"),
        _argument("--audio", type=_source, metavar="SOURCE", help=f"the speech: {what}"),
        _argument(
            "--text", help="a text for --voice to speak, instead of --audio; - for standard input"
        ),
        _argument("--voice", metavar="ID", help="the voice of --text; see `voices list`"),
        _argument(
            "--target-lang",
            metavar="CODE",
            help="dub the video into this language, without --audio",
        ),
        _argument(
            "--model", help="such as sync-3, lipsync-2-pro (default: lipsync-2; image: sync-3)"
        ),
        _argument("--sync-mode", help="bounce, loop, cut_off, silence or remap"),
        _argument("--temperature", type=float, help="0 to 1: how expressive"),
        _argument("--name", help="base name of the result, without extension"),
        _argument("--project", metavar="ID", help="the project that the job belongs to"),
        _DURATION,
    ]


def _generate() -> list[Argument]:
    return [
        *_order(),
        _argument("--webhook-url", metavar="URL", help="gets a POST when the job has ended"),
        *_OUTPUT,
        _argument("--no-wait", action="store_true", help="print the job's id and end"),
        _DRY_RUN,
        _WAIT,
        _KEY,
    ]


def _wait() -> list[Argument]:
    output, overwrite = _OUTPUT
    told = "a file, a folder, or - for standard output; without it, nothing is saved"
    return [_JOB, Argument(output.names, output.settings | {"help": told}), overwrite, _WAIT]


def _list() -> list[Argument]:
    return [
        _argument(
            "--status",
            action="append",
            metavar="STATUS",
            help="only this status, such as COMPLETED; may be repeated",
        ),
        _argument("--project", metavar="ID", help="only the jobs of this project"),
        _argument(
            "--limit",
            type=_or_none(_whole),
            default=20,
            metavar="N",
            help="show at most N jobs (default: %(default)s); 'none': all",
        ),
    ]


def _upload() -> list[Argument]:
    return [
        _argument("source", type=_source, help="a file, an address, or - for standard input"),
        _argument(
            "--type",
            choices=("audio", "video", "image"),
            help="what it is; needed with an address",
        ),
        _argument("--name", help="its name at the service"),
        _argument("--project", metavar="ID", help="the project that it belongs to"),
    ]


def _clone() -> list[Argument]:
    return [
        _argument("voice_name", metavar="NAME", help="a name for the voice"),
        _argument("source", type=_source, help="an address, asset:ID, a file, or -"),
    ]


def _speak() -> list[Argument]:
    return [
        _argument("text", help="what to speak; - for standard input"),
        _argument("--voice", required=True, metavar="ID", help="the voice; see `voices list`"),
        _argument("--stability", type=float, help="0 to 1"),
        _argument("--similarity-boost", type=float, help="0 to 1"),
        *_OUTPUT,
        _wait_timeout(600.0),
        _KEY,
    ]


def _transcribe() -> list[Argument]:
    return [
        _argument("source", type=_source, help="a file, an address at the service, or -"),
        _argument(
            "--type", choices=("audio", "video"), help="what it is (default: by name and content)"
        ),
        _argument(
            "--format",
            choices=("text", "srt", "vtt", "json"),
            default="text",
            help="text, subtitles, or everything (default: %(default)s)",
        ),
        _argument(
            "--output",
            type=_path,
            metavar="FILE",
            help="write it to this file, and replace one that is there",
        ),
        _wait_timeout(3600.0),
    ]


def _run() -> list[Argument]:
    flags = {
        "--retry-failed": "create the jobs again that failed in earlier runs; they are paid again",
        "--match-query": "a row is another job if any part of a media address has changed; "
        "without this, a new signature in an address changes nothing",
        "--accept-new-key": "go on with the journal of another API key of the same account",
        "--sandbox": "run it on a sandbox that really renders, without a key or a bill; the "
        "journal must be a new file",
        "--dry-run": "check the manifest and price it; nothing is created; needs no journal",
    }
    return [
        _MANIFEST,
        _argument(
            "--journal",
            type=_path_or_address,
            metavar="FILE",
            help="the run's journal (required); a new file, or that of an earlier run; or "
            "postgresql://HOST/DATABASE?run=NAME",
        ),
        _argument(
            "--download-to",
            type=_path_text,
            metavar="DIR",
            help="folder for the results (without it, they stay at the service)",
        ),
        *(_argument(flag, action="store_true", help=words) for flag, words in flags.items()),
        _argument("--max-jobs", type=_whole, metavar="N", help="create at most N jobs in this run"),
        _argument(
            "--max-cost",
            type=_amount,
            metavar="USD",
            help="with this journal, create jobs for at most this many US dollars (estimated)",
        ),
        _argument(
            "--duration",
            type=_amount,
            metavar="SECONDS",
            help="length of the longest result, for prices; local files need it with "
            "--max-cost and --dry-run",
        ),
        _argument(
            "--concurrent-downloads",
            type=_whole,
            default=4,
            metavar="N",
            help="results downloaded at once (default: %(default)s)",
        ),
        # What is not given is left to the client: a sandbox has limits of its own.
        *(
            _argument(
                f"--{name.replace('_', '-')}",
                type=_or_none(_whole),
                default=argparse.SUPPRESS,
                metavar="N",
                help=words,
            )
            for name, words in LIMITS.items()
        ),
        _argument(
            "--timeout",
            type=_or_none(_amount),
            default=60.0,
            metavar="SECONDS",
            help="for one try of one request (default: %(default)g); 'none': no limit",
        ),
    ]


def _journal() -> list[Argument]:
    return [
        _argument(
            "journal",
            type=_path_or_address,
            metavar="FILE",
            help="the journal of a run, or postgresql://HOST/DATABASE?run=NAME",
        ),
        _argument(
            "--export",
            type=_export,
            metavar="OUT",
            help="also write all of it to OUT.jsonl or OUT.csv",
        ),
        _argument(
            "--failed",
            action="store_true",
            help="show only what has failed; --export then writes a manifest with your own "
            "columns, to run with a new journal",
        ),
    ]


def _demo() -> list[Argument]:
    return [
        _argument(
            "--output",
            type=_path,
            default="demo-output",  # read as if it were typed
            metavar="FOLDER",
            help="where the files go (default: %(default)s)",
        ),
        _argument(
            "--jobs",
            type=_whole,
            metavar="N",
            help="make N short videos at once, instead of one (200 take about half a minute), in "
            "a new folder inside FOLDER",
        ),
    ]


def _sandbox() -> list[Argument]:
    # By its name, as functions are: the sandbox's own program reads its arguments with `Parser`.
    module = import_module("lipsync_async.cli.sandbox")
    return [_argument(name, **settings) for name, settings in module.arguments().items()]


GROUPS = {
    "batch": "hundreds of jobs in one request, done within a day, on plans that have batches",
    "voices": "voices that speak scripts, and clones of your own",
}
_ID = "0b8f4f0e-2f6c-4f1e-9d39-3a4f0b6d1c55"
COMMANDS = (
    Command(
        "generate",
        "make one lip-synced video: create a job, wait for it, save the result",
        "jobs:generate",
        _generate,
        (
            "generate --video video.mp4 --audio audio.wav --output out.mp4",
            "generate --video video.mp4 --text 'Hello!' --voice EXAVITQu4vr4xnSDxMaL --no-wait",
            "generate --video video.mp4 --audio audio.wav --duration 30 --dry-run",
        ),
        "generations.create generations.wait_until_complete generations.download "
        "generations.estimate generations.estimate_duration",
        "Nothing was created.",
    ),
    Command(
        "wait",
        "wait until a job has ended, and save its result if --output is given",
        "jobs:wait",
        _wait,
        (f"wait {_ID} --output out/",),
        "generations.wait_until_complete generations.download",
        "The job goes on; the same command waits for it again.",
    ),
    Command(
        "get",
        "show one job as it is now",
        "jobs:get",
        lambda: [_JOB],
        (f"get {_ID}",),
        "generations.get",
    ),
    Command(
        "list",
        "show jobs, newest first",
        "jobs:list_jobs",
        _list,
        ("list --limit 5", "list --status COMPLETED --limit none --json"),
        "generations.iter",
    ),
    Command(
        "upload",
        "upload a file, and print the id of its asset",
        "jobs:upload",
        _upload,
        ("upload video.mp4", "upload - --type audio --name line.wav < audio.wav"),
        "assets.upload",
        "What was sent in part is not kept; the same command begins anew.",
    ),
    Command(
        "download",
        "save the result of a completed job",
        "jobs:download",
        lambda: [_JOB, *_OUTPUT],
        (f"download {_ID} --output out.mp4",),
        "generations.get generations.download",
        "The result was not saved; the same command goes on.",
    ),
    Command(
        "estimate",
        "tell what a job would cost",
        "jobs:estimate",
        _order,
        ("estimate --model lipsync-2 --duration 30",),
        "generations.estimate generations.estimate_duration",
    ),
    Command(
        "batch create",
        "create a batch from a manifest of 20 to 500 jobs",
        "resources:create_batch",
        lambda: [
            _MANIFEST,
            _argument(
                "--dry-run", action="store_true", help="let the service check it; this is free"
            ),
            _argument("--webhook-url", metavar="URL", help="gets a POST when it has ended"),
            _argument(
                "--journal",
                type=_path,
                metavar="FILE",
                help="a file of this batch alone; with it, the same command makes no second batch",
            ),
        ],
        ("batch create batch.csv --dry-run", "batch create batch.csv --journal batch.json"),
        "batches.create batches.validate assets.upload",
        "The batch may have been created, and is paid for then. `batch list` shows it.",
        "Create a batch from a manifest of 20 to 500 jobs. Local files are uploaded first, as "
        "assets. While as many batches run as the plan allows, it waits until one has ended, for a "
        "day at most. Ctrl-C ends the wait; nothing is created then.",
    ),
    Command(
        "batch list",
        "show all batches",
        "resources:list_batches",
        list,
        ("batch list --json",),
        "batches.list",
    ),
    Command(
        "batch wait",
        "wait until a batch has ended",
        "resources:wait_for_batch",
        lambda: [_BATCH, _wait_timeout(86_400.0, "batch")],
        (f"batch wait {_ID} --wait-timeout none",),
        "batches.wait_until_complete",
        "The batch goes on; the same command waits for it again.",
    ),
    Command(
        "batch results",
        "show what became of each request of a batch",
        "resources:batch_results",
        lambda: [_BATCH, _EXPORT_OPTION],
        (f"batch results {_ID} --export out.csv",),
        "batches.results",
    ),
    Command(
        "voices list",
        "show all voices with their ids",
        "resources:list_voices",
        list,
        ("voices list",),
        "voices.list",
    ),
    Command(
        "voices clone",
        "clone a voice from a video or an audio",
        "resources:clone_voice",
        _clone,
        ("voices clone 'My voice' audio.wav",),
        "assets.upload voices.clone",
        "The voice may have been cloned; `voices list` shows it.",
    ),
    Command(
        "voices delete",
        "delete a clone",
        "resources:delete_voice",
        lambda: [_argument("voice", metavar="ID", help="the voice's id")],
        (f"voices delete {_ID}",),
        "voices.delete",
        "The voice may be deleted; the same command makes sure.",
    ),
    Command(
        "speak",
        "make speech of a text, and save the audio",
        "resources:speak",
        _speak,
        ("speak 'Hello there!' --voice EXAVITQu4vr4xnSDxMaL --output hello.wav",),
        "speech.start speech.wait_until_complete",
        "Nothing was sent.",
    ),
    Command(
        "transcribe",
        "transcribe the speech in a video or an audio; this is free",
        "resources:transcribe",
        _transcribe,
        ("transcribe audio.wav", "transcribe video.mp4 --format srt --output video.srt"),
        "assets.upload transcriptions.create transcriptions.wait_until_complete",
        "The same command goes on; it is free.",
    ),
    Command(
        "account",
        "show plan, limits and balance; with SYNC_ACCOUNT, also what all processes use",
        "resources:account",
        list,
        ("account", "account --json"),
        "account.get",
    ),
    Command(
        "doctor",
        "check key, address, proxy, clock, limits, account store and extras, and say how to fix "
        "what is wrong",
        "doctor:doctor",
        list,
        ("doctor",),
        "account.get",
    ),
    Command(
        "run",
        "run all jobs of a manifest, as many at once as the account allows",
        "run:run",
        _run,
        (
            "run takes.csv --journal takes.sqlite --download-to out",
            "run takes.csv --dry-run --duration 30",
        ),
        "generations.run_many generations.estimate generations.estimate_duration",
        "Nothing was sent.",
        "Run all jobs of a manifest at sync.so, as many at once as the account\n"
        "allows. SYNC_API_KEY holds the key. The journal keeps what was done: after a\n"
        "crash or Ctrl-C, the same command goes on, and no job is created or downloaded\n"
        "twice.",
    ),
    Command(
        "journal",
        "show how far a run is, and what went wrong",
        "journal:journal",
        _journal,
        ("journal takes.sqlite", "journal takes.sqlite --failed --export again.csv"),
        "",
        "The journal is as it was.",
        "Show what a journal knows of its jobs, also while they run. Nothing is sent,\n"
        "and the journal stays as it is.",
    ),
    Command(
        "demo",
        "draw a talking head, lip-sync it and save the video, all on this machine",
        "demo:demo",
        _demo,
        ("demo --output made-here",),
        "",
        "The sandbox and its jobs have ended.",
        "Draw a talking head, lip-sync it in a sandbox that really renders, and save\n"
        "the result in a folder. Nothing is paid, and nothing leaves this machine.",
    ),
    Command(
        "sandbox",
        "run a lip-sync service on this machine, without a key or a bill",
        "sandbox:serve",
        _sandbox,
        ("sandbox --port 0 --speed instant",),
        "",
        "It has ended.",
    ),
)
