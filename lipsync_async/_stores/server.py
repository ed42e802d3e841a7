"""What the stores on a server have in common: address, connections, limits of time, and errors.

There is one connection for each event loop, and another one if that loop listens. A change has
the connection, and a task, to itself. A change that is cancelled, or that takes too long, closes
its connection at once: the server then drops what was not committed, and the next change
connects anew.
"""

from __future__ import annotations

import asyncio
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar
from urllib.parse import unquote

import attrs

from lipsync_async._asyncio_tools import LoopLocal
from lipsync_async._callsite import RETRY_LOG, log
from lipsync_async._logic.secrecy import Mask, Secret
from lipsync_async._threads import until_done
from lipsync_async.errors import AccountStoreError, ConfigurationError, LipsyncError, in_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from lipsync_async._stores.protocol import Rule

T = TypeVar("T")
C = TypeVar("C")

# User, password, hosts with ports, and the rest. A password with a character that should have
# been escaped does not match, and is then not shown.
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/?#,]*)(?::[0-9]+)?"
_ADDRESS = re.compile(
    r"(?P<scheme>[a-z]+)://(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    rf"(?P<place>{_HOST}(?:,{_HOST})*(?:/[^:@?#]*)?)(?:\?(?P<query>[^@#]*))?"
)

# What has open connections. A forked child keeps its parent's: a finalizer would close sockets
# and a selector that the two share.
_KEPT: set[object] = set()


@attrs.define(slots=True, eq=False)
class _Line(Generic[C]):
    """What belongs to one event loop: a connection for changes, and one that hears news."""

    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    # A client's repr may show its password.
    connection: C | None = attrs.field(default=None, repr=False)
    ear: C | None = attrs.field(default=None, repr=False)
    listening: asyncio.Task[None] | None = None
    closer: AsyncGenerator[None, None] | None = None
    listeners: dict[object, tuple[str, Callable[[], object]]] = attrs.field(factory=dict)


@attrs.frozen(slots=True)
class Reading:
    """Document as a change has read it, and the server's time; `version` is for the write."""

    document: bytes | None
    now: float
    version: bytes = b""


class ServerStore(ABC, Generic[C]):
    """Account store on a server.

    Args:
        url: The server's address.

    Raises:
        ConfigurationError: It is no such address.

    """

    # Seconds in which a change has ended, connecting and waiting for others included.
    _LIMIT = 5.0
    # Seconds without news after which the connection may be dead, and is made anew.
    _QUIET = 60.0
    # Seconds before the next attempt to hear news, after a failure and after a refusal.
    _PAUSE, _LONG_PAUSE = 1.0, 60.0

    SCHEMES: ClassVar[tuple[str, ...]]
    _SERVER: ClassVar[str]
    _EXAMPLE: ClassVar[str]
    _EXTRA: ClassVar[str]

    def __init__(self, url: str) -> None:
        found = _ADDRESS.fullmatch(url)
        if found is None or found["scheme"] not in self.SCHEMES:
            raise ConfigurationError(
                f"account must be an address of a {self._SERVER} server, such as {self._EXAMPLE}; "
                "this one cannot be read. In user name and password, write special characters as "
                "urllib.parse.quote(text, safe='') does"
            )
        self._url = Secret(url)
        password = found["password"] or ""
        if secret := re.search("(?:^|&)password=([^&]+)", found["query"] or ""):
            password = secret[1]
        self._mask = Mask(Secret(unquote(password)))
        user = f"{found['user']}@" if found["user"] else ""
        self._address = f"{found['scheme']}://{user}{found['place']}"
        self._lines: LoopLocal[_Line[C]] = LoopLocal(_Line)
        self._has_told = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}>"

    async def change(self, name: str, rule: Rule[T], *, tells: bool = False) -> T:
        """Change a document by a rule, atomically, and return the rule's answer.

        Args:
            name: The document's name.
            rule: Gets the document and the server's time; returns the new document and an
                answer. It may be called again with a newer document.
            tells: Whether to tell those that listen to the document, if it is changed.

        Raises:
            AccountStoreError: The server did not answer within 5 seconds, or refused.
            ConfigurationError: The server's package is not installed.

        """
        line = self._lines.get()
        try:
            async with asyncio.timeout(self._LIMIT) as limit, line.lock:
                task = asyncio.ensure_future(self._change(line, name, rule, tells=tells))
                try:
                    await asyncio.wait([task])
                finally:
                    if not task.done():
                        await self._end(task, line.connection)
                return task.result()
        except TimeoutError:
            if not limit.expired():  # the rule has raised it
                raise
            raise self._error(f"it did not answer within {self._LIMIT:g} seconds") from None

    @asynccontextmanager
    async def listen(self, name: str, callback: Callable[[], object]) -> AsyncIterator[None]:
        """Call `callback` in the running loop after each change that tells; inside the block."""
        line, listener = self._lines.get(), object()
        line.listeners[listener] = name, callback
        if line.listening is None:
            # In no context of a call, which may end before.
            line.listening = asyncio.create_task(self._hear(line), context=Context())
        try:
            yield
        finally:
            del line.listeners[listener]
            if not line.listeners:
                await self._stop_listening(line)

    async def aclose(self) -> None:
        """Close the running loop's connections; the next change opens new ones."""
        line = self._lines.get()
        async with line.lock:
            await self._close_all(line)

    @abstractmethod
    async def _connect(self) -> C:
        """Open a connection."""

    @abstractmethod
    def _abort(self, connection: C) -> None:
        """Close a connection at once, whatever a task is doing with it."""

    @abstractmethod
    async def _close(self, connection: C) -> None:
        """Close a connection that no task uses."""

    @abstractmethod
    def _is_lost(self, error: Exception) -> bool:
        """Tell whether an error means that the connection is lost, and not that it was refused."""

    @abstractmethod
    async def _read(self, connection: C, name: str) -> Reading:
        """Begin a change."""

    @abstractmethod
    async def _write(
        self, connection: C, name: str, read: Reading, document: bytes | None, *, tells: bool
    ) -> bool:
        """End a change (`None`: nothing is changed); tell whether no other one came between."""

    @abstractmethod
    def _news(self, connection: C) -> AsyncGenerator[str | None, None]:
        """Yield the names of documents that were changed, and `None` at first.

        It ends when there has been none for some time. It raises `Refused` where the server
        tells no news.
        """

    async def _change(self, line: _Line[C], name: str, rule: Rule[T], *, tells: bool) -> T:
        while True:
            connection, read = await self._worded(line, self._read_anew(line, name))
            write = partial(self._write, connection, name, read, tells=tells)
            try:
                document, answer = rule(read.document, read.now)
            except BaseException:
                with suppress(AccountStoreError):  # the server drops what is not committed
                    await self._worded(line, write(None))
                raise
            if await self._worded(line, write(document)):
                return answer

    async def _read_anew(self, line: _Line[C], name: str) -> tuple[C, Reading]:
        """Begin a change, with a new connection if the server has closed the one that was there."""
        if line.connection is not None:
            try:
                return line.connection, await self._read(line.connection, name)
            except Exception as error:
                if not self._is_lost(error):
                    raise
                await self._drop(line)
        self._keep(line)
        line.connection = connection = await self._connect()
        return connection, await self._read(connection, name)

    async def _worded(self, line: _Line[C], step: Awaitable[T]) -> T:
        """Await a step of a change; what the server's package raises becomes our error."""
        try:
            return await step
        except BaseException as error:
            await self._drop(line)
            if not isinstance(error, Exception) or isinstance(error, LipsyncError):
                raise
            what = _what(error)
        # Not in the block above: the package's error may hold the address with its password.
        raise self._error(what)

    async def _drop(self, line: _Line[C]) -> None:
        connection, line.connection = line.connection, None
        if connection is not None:
            with suppress(Exception):  # such as a broken pipe
                await self._close(connection)

    def _keep(self, line: _Line[C]) -> None:
        """Keep what will have connections, up to the end of its loop."""
        _KEPT.add(line)
        if line.closer is None:
            line.closer = self._close_with_loop(line)
            with suppress(StopIteration):  # up to its `yield`, which makes the loop know it
                line.closer.asend(None).send(None)

    async def _close_with_loop(self, line: _Line[C]) -> AsyncGenerator[None, None]:
        """Close the connections when `asyncio.run` or its like closes the generators."""
        try:
            yield
        finally:
            await self._close_all(line)
            line.closer, line.lock = None, asyncio.Lock()  # which would keep the loop in memory

    async def _close_all(self, line: _Line[C]) -> None:
        _KEPT.discard(line)
        await self._stop_listening(line)
        await self._drop(line)

    async def _end(self, task: asyncio.Task[Any], connection: C | None) -> None:
        """End a task that uses a connection."""
        if connection is not None:
            self._abort(connection)
        task.cancel()
        await until_done(task, self._LIMIT)

    async def _hear(self, line: _Line[C]) -> None:
        """Call the listeners, as long as there are any."""
        loop, pause = asyncio.get_running_loop(), 0.0
        while True:
            await asyncio.sleep(pause)
            try:
                await self._hear_once(line, loop)
                pause = 0.0
            except ConfigurationError:  # each change raises it
                return
            except Exception as error:  # noqa: BLE001 - news are not relied on
                is_lost = self._is_lost(error)
                pause = self._PAUSE if is_lost else self._LONG_PAUSE
                if not is_lost and not self._has_told:
                    self._has_told = True
                    log(RETRY_LOG, logging.WARNING, self._without_news(error))

    async def _hear_once(self, line: _Line[C], loop: asyncio.AbstractEventLoop) -> None:
        self._keep(line)
        line.ear = ear = await self._connect()
        try:
            async for name in self._news(ear):
                for listened, callback in line.listeners.values():
                    if name is None or name == listened:
                        loop.call_soon(callback)
        finally:
            line.ear = None
            with suppress(Exception):
                await self._close(ear)

    async def _stop_listening(self, line: _Line[C]) -> None:
        listening, line.listening = line.listening, None
        if listening is not None:
            await self._end(listening, line.ear)

    def _without_news(self, error: Exception) -> str:
        return self._mask.text(
            f"The account store at {self._address} tells no news ({_what(error)}). Limits are "
            "kept all the same, but a free slot is seen up to some seconds later. Let the address "
            "lead to the server itself, not to a connection pooler, and let this user listen."
        )

    def _error(self, what: str) -> AccountStoreError:
        return AccountStoreError(
            self._mask.text(
                f"The account store at {self._address} cannot be used: {what}. Nothing was sent. "
                f"Check that {self._SERVER} runs there, that this machine reaches it, and that "
                "the address has the right user, password and database."
            )
        )

    def _missing(self, error: ImportError) -> ConfigurationError:
        return ConfigurationError(
            f"The account store at {self._address} needs a package that cannot be imported "
            f"({in_words(error)}). Nothing was sent. Run: pip install "
            f"'lipsync-async[{self._EXTRA}]'"
        )


def _what(error: BaseException) -> str:
    return str(error) if isinstance(error, Refused) else in_words(error).rstrip(".")


class Refused(Exception):  # noqa: N818 - it leaves no store
    """Raised where a server cannot do what is needed; its text says what."""
