"""The sandbox as Python users hold it: build it, enter it, look into it."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Self

import anyio
import attrs
from anyio.from_thread import start_blocking_portal

from lipsync_async.errors import ConfigurationError
from lipsync_async.sandbox.api import RESOURCES
from lipsync_async.sandbox.api.batches import job_ended
from lipsync_async.sandbox.clock import Calendar, Clock, RealClock, VirtualClock
from lipsync_async.sandbox.faults import Faults
from lipsync_async.sandbox.files import Folder, HostedFiles, SignedUrls
from lipsync_async.sandbox.jobs import JobRunner, JobTable, Progression, Renderer, cannot_render
from lipsync_async.sandbox.media.engines import REPAIR, engines
from lipsync_async.sandbox.media.errors import in_words
from lipsync_async.sandbox.outbound_http import OutboundHttp
from lipsync_async.sandbox.plans import plan_of
from lipsync_async.sandbox.request_log import RequestLog
from lipsync_async.sandbox.server.http_server import HttpServer
from lipsync_async.sandbox.server.memory_server import MEMORY_URL, memory_transport
from lipsync_async.sandbox.server.pipeline import Pipeline, Router
from lipsync_async.sandbox.state import LIVE_KEY_PREFIX, State, texts
from lipsync_async.sandbox.tasks import Tasks
from lipsync_async.sandbox.webhooks import Inbox, WebhookSender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    from lipsync_async._transport.memory import MemoryTransport

# Virtual time begins here, so that a seed gives the same dates in every run.
_VIRTUAL_EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class Sandbox:
    """Run a lip-sync service on this machine.

    `async with Sandbox() as sandbox:` serves on a free port. With a `VirtualClock` no
    socket is opened: `transport()` reaches the same service in memory, where hours of
    jobs take milliseconds. In blocking code `with Sandbox() as sandbox:` serves from a thread.
    A sandbox is entered once.

    Args:
        seed: Decides ids, keys, chances and bytes. Sandboxes of one seed make different jobs
            under the same ids and key, and a journal cannot tell: go on with a journal only in
            the sandbox that it began in, or give each sandbox a seed of its own.
        plan: The account's plan (`free` … `scale`, `enterprise:N`), which sets how many
            generations run at once, how long an output is, how much a month and how many
            requests a minute there are, and whether there are batches; `None`: no limits.
        progression: How jobs move along: `immediate`, `polls(n)`, `time(s)`, `time(a-b)`
            (each job draws its own seconds), `manual` or `real`. It names the earliest
            moments; where media are rendered, COMPLETED also waits for the file. A create
            may choose its own by the header `x-sandbox-progression`.
        render: Make real media, if the `sandbox` extra is installed; otherwise every
            output is one small placeholder, and inputs are not looked at.
        paint_lips: Called in render threads, two at once, for each frame in which somebody is
            to speak, in place of the sandbox's own way of moving lips. It takes RGB pixels (a
            numpy array of height x width x 3 bytes), a mouth (`jaw` 0 to 1, `wide` -1 to 1,
            `press` and `tuck` 0 to 1), the path of the audio and the second in it, and
            returns pixels of the same shape. `None`: only the sandbox's drawn face speaks.
        api_key: The key to let in; `None`: minted from the seed.
        host: Address to listen on.
        port: Port to listen on; 0: a free one.
        clock: `None`: the computer's clock.
        speed: Sandbox seconds in a real second; not for a `clock` of your own. Jobs, limits
            and links go by it; waits and dates that a client is told, and long polls, stay real.
        concurrency: Generations at once, instead of the plan's; `None`: the plan's.
        creates_per_minute: As above.
        requests_per_minute: All other requests, as above.
        allowed_hosts: Hosts besides loopback from which media are fetched and to which
            webhooks are sent.
        link_lifetime: Sandbox seconds that an output URL works; `None`: for ever.
        placeholder_size: Bytes of an output that is not rendered.
        max_file_bytes: Most bytes of an uploaded or fetched file.
        plan_file_bytes: Most bytes of an uploaded file on the account's plan.
        retry_after_seconds: `retryAfterSeconds` of the concurrency 429, in sandbox seconds.
        batches_at_once: Batches that may run at once; `None`: any number.
        voice_clones: Cloned voices that there may be; `None`: any number.
        projects: Ids of the projects that exist.

    Attributes:
        api_key: The key that is let in.
        webhook_secret: The secret that signs webhooks.
        faults: What goes wrong; add to it.
        requests: Every request that arrived, the controls' own left out.
        inbox: The webhooks that arrived at `/__sandbox/inbox`.
        jobs: Every generation; `move` changes one by hand.

    Raises:
        ValueError: The key looks live, or an argument is none that the sandbox knows.
        ConfigurationError: It shall render, and what that needs is installed, but broken.

    """

    def __init__(  # noqa: PLR0913 - one keyword per thing that may be set
        self,
        seed: int = 1,
        *,
        plan: str | None = None,
        progression: str | Progression = "real",
        render: bool = True,
        paint_lips: Callable[[Any, Any, Path, float], Any] | None = None,
        api_key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: VirtualClock | None = None,
        speed: float = 1.0,
        concurrency: int | None = None,
        creates_per_minute: int | None = None,
        requests_per_minute: int | None = None,
        allowed_hosts: Iterable[str] = (),
        link_lifetime: float | None = None,
        placeholder_size: int = 1024,
        max_file_bytes: int = 5 * 1024**3,
        plan_file_bytes: int | None = None,
        retry_after_seconds: float = 30.0,
        batches_at_once: int | None = None,
        voice_clones: int | None = None,
        projects: Iterable[str] = (),
    ) -> None:
        """Set everything up; nothing is opened before the sandbox is entered."""
        chance = Random(seed)
        # Drawn whether or not it is used: one seed gives the same ids with any key.
        minted_key = f"sandbox-{chance.getrandbits(128):032x}"
        self.api_key: str = api_key or minted_key
        if self.api_key.startswith(LIVE_KEY_PREFIX):
            raise ValueError(
                "this api_key looks like one of the real service; use the sandbox's own."
            )
        self.webhook_secret: str = f"whsec_{chance.getrandbits(256):064x}"
        by_hand = {
            "concurrency": concurrency,
            "creates_per_minute": creates_per_minute,
            "requests_per_minute": requests_per_minute,
        }
        told: dict[str, Any] = {name: most for name, most in by_hand.items() if most is not None}
        limits = attrs.evolve(plan_of(plan), **told)
        hosts = texts("allowed_hosts", allowed_hosts)
        self._host, self._port = host, port
        self._virtual_clock = clock
        self._real_clock = RealClock(speed)
        time_kept: Clock = clock or self._real_clock
        epoch = _VIRTUAL_EPOCH if clock else time.time()
        calendar = Calendar(time_kept, epoch, 1.0 if clock else speed)
        secret = self.webhook_secret.encode()
        urls = SignedUrls(MEMORY_URL if clock else "", secret, time_kept, link_lifetime)
        self._tasks = Tasks()
        self._outbound = OutboundHttp(hosts, max_file_bytes)
        self.faults: Faults = Faults(seed)
        self.requests: RequestLog = RequestLog()
        self.inbox: Inbox = Inbox(self.webhook_secret)
        sender = WebhookSender(
            self.webhook_secret, calendar, self.inbox, self._outbound, self._tasks, urls
        )
        self.jobs: JobTable = JobTable(time_kept, lambda job: job_ended(self._state, sender, job))
        folder, files = Folder(), HostedFiles(urls)
        renderer = Renderer(placeholder_size)
        if render and engines()["video"].startswith("pyav"):
            renderer = _media_renderer(
                files=files,
                folder=folder,
                outbound=self._outbound,
                tasks=self._tasks,
                clock=time_kept,
                paint_lips=paint_lips,
            )
        self._state = State(
            api_key=self.api_key,
            webhook_secret=self.webhook_secret,
            progression=Progression.of(progression),
            plan=limits,
            allowed_hosts=hosts,
            max_file_bytes=max_file_bytes,
            plan_file_bytes=plan_file_bytes,
            retry_after_seconds=retry_after_seconds,
            batches_at_once=batches_at_once,
            voice_clones=voice_clones,
            folder=folder,
            clock=time_kept,
            calendar=calendar,
            chance=chance,
            durations=Random(f"{seed}/durations"),
            jobs=self.jobs,
            runner=JobRunner(self.jobs, time_kept, renderer.start),
            renderer=renderer,
            urls=urls,
            files=files,
            faults=self.faults,
            requests=self.requests,
            inbox=self.inbox,
        )
        for project_id in sorted(texts("projects", projects)):
            self._state.add_project(project_id.lower(), {})
        self._pipeline = Pipeline(self._state, Router(RESOURCES))
        self._was_entered = False
        self._leaving = AsyncExitStack()
        self._leaving_thread = ExitStack()

    @property
    def url(self) -> str:
        """Base URL of the service; known once the sandbox is entered."""
        return self._state.urls.base_url

    @property
    def is_in_memory(self) -> bool:
        """Whether it is reached by `transport()`, on a virtual clock, and not by a socket."""
        return self._virtual_clock is not None

    def host_file(self, path: str | PathLike[str]) -> str:
        """Serve a local file, and return its URL for use as an input.

        Args:
            path: The file; it is read from there whenever it is asked for.

        Raises:
            FileNotFoundError: There is no such file.

        """
        file = Path(path).resolve()
        if not file.is_file():
            raise FileNotFoundError(f"{path} is no file.")
        return self._state.files.host(file)

    def transport(self) -> MemoryTransport:
        """Return a transport that reaches this sandbox in memory, on its virtual clock.

        Raises:
            ValueError: The sandbox has no virtual clock.

        """
        if self._virtual_clock is None:
            raise ValueError("this sandbox is on a socket; use Sandbox(clock=VirtualClock()).")
        return memory_transport(self._pipeline, self._virtual_clock)

    async def __aenter__(self) -> Self:
        """Listen, unless the clock is virtual.

        Raises:
            OSError: The port cannot be had.
            ConfigurationError: It shall render, and what that needs does not work; or the
                sandbox was entered before.

        """
        if self._was_entered:
            raise ConfigurationError(
                "A sandbox is entered once: its jobs and its clock have ended. Make a new one."
            )
        self._was_entered = True
        # In the order in which they are undone, last first.
        self._leaving.callback(self._state.folder.close)
        self._leaving.push_async_callback(self._outbound.aclose)
        self._leaving.push_async_callback(self._tasks.aclose)
        self._leaving.callback(self._real_clock.close)
        self._leaving.callback(self._state.renderer.close)
        try:
            await self._state.renderer.open()
            if not self.is_in_memory:
                server = HttpServer(self._pipeline, self._real_clock)
                self._leaving.push_async_callback(server.aclose)
                urls = self._state.urls
                urls.base_url = await server.start(self._host, self._port)
                # In a container one name is all that reaches it.
                urls.has_other_host = not server.is_anywhere
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every request and every job; leave no task, socket or file behind."""
        # Also where the caller is cancelled: nothing here waits for long.
        with anyio.CancelScope(shield=True):
            await self._leaving.aclose()

    def __enter__(self) -> Self:
        """Serve from a thread, for blocking code; raises what `async with` raises."""
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self))
            self.jobs.run_in_loop = portal.call
            self._leaving_thread = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread, and with it every request and every job."""
        self._leaving_thread.close()

    def __repr__(self) -> str:
        where = self.url if not self.is_in_memory else "in memory"
        return f"<Sandbox {where or 'not entered'} {self.jobs!r}>"


def _media_renderer(**parts: Any) -> Renderer:
    try:
        # Only here, because it loads codecs that not every installation has.
        from lipsync_async.sandbox.media_renderer import MediaRenderer  # noqa: PLC0415
    except Exception as error:
        reason = f"its engines cannot be loaded ({in_words(error)}); {REPAIR}"
        raise ConfigurationError(cannot_render(reason)) from error
    return MediaRenderer(**parts)
