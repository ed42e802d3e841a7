"""The command `sandbox`, or `python -m lipsync_async.sandbox`: serve, or fetch models."""

from __future__ import annotations

import argparse
import asyncio
import errno
from contextlib import suppress
from functools import partial
from secrets import randbits
from typing import TYPE_CHECKING, Any

import anyio

from lipsync_async.cli.commands import Parser
from lipsync_async.cli.output import answer, robust_streams, say
from lipsync_async.cli.signals import run_interruptibly
from lipsync_async.errors import ConfigurationError
from lipsync_async.sandbox.jobs import Progression
from lipsync_async.sandbox.media.engines import engines, working_engines
from lipsync_async.sandbox.media.errors import EngineError
from lipsync_async.sandbox.media.face_models import fetch_models
from lipsync_async.sandbox.plans import PLANS, plan_of
from lipsync_async.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

_DEFAULT_PORT = 8765
_LAST_PORT = 65_535
# With --speed N a job takes this long by the sandbox's clock, a usual time for a short
# clip.
_JOB_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C, and return the exit code: 0, or 1 where it could not begin."""
    with robust_streams():
        return _served(_parser().parse_args(arguments), lambda work: asyncio.run(work()))


def serve(typed: argparse.Namespace) -> int:
    """Serve until a signal ends it, as `lipsync-async sandbox`; that is its good end."""
    return _served(typed, run_interruptibly)


def _served(
    options: argparse.Namespace, run: Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
) -> int:
    if options.task == "models":
        return _fetch_models()
    media = engines()["video"]
    if options.speed["render"] and not media.startswith("pyav"):
        return _complain(f"the media engine is {media}, or use --speed instant")
    try:
        with suppress(KeyboardInterrupt):
            run(partial(_serve, options))
    except ConfigurationError as error:
        return _complain(" ".join(f"{error}".split()))
    except OSError as error:
        return _complain(
            f"cannot listen on {options.host}:{options.port}: {error.strerror}. {_advice(error)}"
        )
    return 0


async def _serve(options: argparse.Namespace) -> None:
    async with Sandbox(
        options.seed,
        plan=options.plan,
        **options.speed,
        host=options.host,
        port=options.port,
        allowed_hosts=options.allow_host,
    ) as sandbox:
        answer(
            {
                "url": sandbox.url,
                "api_key": sandbox.api_key,
                "webhook_secret": sandbox.webhook_secret,
                "seed": options.seed,
            }
        )
        found = working_engines() if options.speed["render"] else engines()
        say(
            f"export SYNC_BASE_URL={sandbox.url} SYNC_API_KEY={sandbox.api_key} "
            f"SYNC_WEBHOOK_SECRET={sandbox.webhook_secret}"
        )
        say(
            f"# video: {found['video']}; speech: {found['speech']}; plan: "
            f"{options.plan or 'without limits'}; seed: {options.seed}. Ctrl-C ends it."
        )
        await anyio.sleep_forever()


def _fetch_models() -> int:
    try:
        models, is_new = fetch_models()
    except EngineError as error:
        return _complain(str(error))
    folder = models.mesh.parent
    answer(
        {"folder": str(folder), "fetched": is_new},
        f"The models {'are now' if is_new else 'were already'} in {folder}.",
    )
    return 0


def _complain(reason: str) -> int:
    say(f"lipsync_async.sandbox: {reason}", is_error=True)
    return 1


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "Give another --port (0 picks a free one), or end the program that listens there."
    if error.errno == errno.EACCES:
        return "Give a --port from 1024; lower ones are for the system."
    return "Give a --host of this machine, such as 127.0.0.1."


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m lipsync_async.sandbox",
        description="Run a lip-sync service on this machine, without a key or a bill.",
    )
    for name, settings in arguments().items():
        parser.add_argument(name, **settings)
    return parser


def arguments() -> dict[str, dict[str, Any]]:
    """Return the command's arguments, each with its settings."""
    return {
        "task": {
            "nargs": "?",
            "choices": ("models",),
            "help": "models: fetch the models that find faces, 36 MB, once, and end",
        },
        "--host": {
            "default": "127.0.0.1",
            "help": "address to listen on (default: %(default)s)",
        },
        "--port": {
            "type": _port,
            "default": _DEFAULT_PORT,
            "help": "0 picks a free one (default: %(default)s)",
        },
        "--allow-host": {
            "action": "append",
            "default": [],
            "metavar": "HOST",
            "help": "fetch media from this host, too, and send webhooks to it; may be repeated",
        },
        "--seed": {
            "type": int,
            # Another start has other jobs; with the same ids, a journal would take them for
            # its own.
            "default": randbits(32),
            "help": "decides ids and keys; repeat that of an earlier start to have the same again "
            "(default: drawn anew for each start, and printed)",
        },
        "--plan": {
            "type": _plan,
            "help": f"limits of a plan: {', '.join(PLANS)} or enterprise:N; without it, none",
        },
        "--speed": {
            "type": _pace,
            "default": _pace("real"),
            "help": (
                "real: render, which takes as long as it takes; instant: complete at once with a "
                f"placeholder; N: jobs of {_JOB_SECONDS:g} s on a clock that runs N times as fast "
                "(default: real)"
            ),
        },
    }


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= port <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"use a number from 0 to {_LAST_PORT}.")
    return port


def _plan(text: str) -> str:
    try:
        plan_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _pace(text: str) -> dict[str, Any]:
    """Return the arguments of a `Sandbox` that `--speed` asks for."""
    if text in {"real", "instant"}:
        return {"progression": Progression.real(), "render": text == "real"}
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError("use real, instant or a number above 0.")
    return {"speed": speed, "progression": Progression.time(_JOB_SECONDS), "render": True}
