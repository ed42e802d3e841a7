"""What the account stores on servers have in common: address, connections, timeouts and errors.

Each event loop has one connection for changes, and another one for notifications if it listens.
One change at a time uses the connection, in a task of its own. A change that is cancelled, or that
takes too long, closes its connection at once: the server then drops what was not committed, and
the next change connects anew.
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

# What has open connections. A forked child keeps its parent's, and does not use them: a finalizer
# would close sockets and a selector that the two share.
_KEPT: set[object] = set()


@attrs.define(slots=True, eq=False)
class _Connections(Generic[C]):
    """Connections of one event loop: one for changes, and one for notifications.

    Attributes:
        lock: Held by the change that uses the connection.
        connection: The one for changes; `None`: none is open.
        subscription: The one for notifications.
        listening: The task that calls the listeners.
        closer: Generator that the loop closes at its end, and that closes the connections.
        listeners: The documents' names and the callbacks.
    """

    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    # A client's repr may show its password.
    connection: C | None = attrs.field(default=None, repr=False)
    subscription: C | None = attrs.field(default=None, repr=False)
    listening: asyncio.Task[None] | None = None
    closer: AsyncGenerator[None, None] | None = None
    listeners: dict[object, tuple[str, Callable[[], object]]] = attrs.field(factory=dict)


@attrs.frozen(slots=True)
class Reading:
    """Document as a change has read it, with the server's time.

    Attributes:
        document: The document; `None`: there is none.
        now: The server's time in seconds.
        version: What the write compares, where no lock is held.
    """

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

    # Seconds that a change may take, connecting and waiting for other changes included.
    _LIMIT = 5.0
    # Seconds without a notification after which the connection may be dead, and is made anew.
    _QUIET = 60.0
    # Seconds before the next attempt to subscribe, after a lost connection and after a refusal.
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
        self._connections: LoopLocal[_Connections[C]] = LoopLocal(_Connections)
        self._has_told = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}>"

    async def change(self, name: str, rule: Rule[T], *, tells: bool = False) -> T:
        """Change a document by a rule, atomically, and return the rule's answer.

        Args:
            name: The document's name.
            rule: Gets the document and the server's time; returns the new document and an
                answer. It may be called again with a newer document.
            tells: Whether to call the listeners of the document, if it is changed.

        Raises:
            AccountStoreError: The server did not answer within 5 seconds, or refused.
            ConfigurationError: The server's package is not installed.

        """
        own = self._connections.get()
        try:
            async with asyncio.timeout(self._LIMIT) as limit, own.lock:
                task = asyncio.ensure_future(self._change(own, name, rule, tells=tells))
                try:
                    await asyncio.wait([task])
                finally:
                    if not task.done():
                        await self._end(task, own.connection)
                return task.result()
        except TimeoutError:
            if not limit.expired():  # the rule has raised it
                raise
            raise self._error(f"it did not answer within {self._LIMIT:g} seconds") from None

    @asynccontextmanager
    async def listen(self, name: str, callback: Callable[[], object]) -> AsyncIterator[None]:
        """Call `callback` in the running loop after each change that tells; inside the block."""
        own, listener = self._connections.get(), object()
        own.listeners[listener] = name, callback
        if own.listening is None:
            # Not in the context of this call, which may end before the task.
            own.listening = asyncio.create_task(self._call_listeners(own), context=Context())
        try:
            yield
        finally:
            del own.listeners[listener]
            if not own.listeners:
                await self._stop_listening(own)

    async def aclose(self) -> None:
        """Close the running loop's connections; the next change opens new ones."""
        own = self._connections.get()
        async with own.lock:
            await self._close_all(own)

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
    def _notifications(self, connection: C) -> AsyncGenerator[str | None, None]:
        """Yield the names of documents that were changed; first `None`: any may have been.

        It ends after `_QUIET` seconds without any. It raises `Refused` where none can arrive.
        """

    async def _change(self, own: _Connections[C], name: str, rule: Rule[T], *, tells: bool) -> T:
        while True:
            connection, read = await self._worded(own, self._read_anew(own, name))
            write = partial(self._write, connection, name, read, tells=tells)
            try:
                document, answer = rule(read.document, read.now)
            except BaseException:
                with suppress(AccountStoreError):  # the server drops what is not committed
                    await self._worded(own, write(None))
                raise
            if await self._worded(own, write(document)):
                return answer

    async def _read_anew(self, own: _Connections[C], name: str) -> tuple[C, Reading]:
        """Begin a change, with a new connection if the server has closed the one that was there."""
        if own.connection is not None:
            try:
                return own.connection, await self._read(own.connection, name)
            except Exception as error:
                if not self._is_lost(error):
                    raise
                await self._drop(own)
        self._keep(own)
        own.connection = connection = await self._connect()
        return connection, await self._read(connection, name)

    async def _worded(self, own: _Connections[C], step: Awaitable[T]) -> T:
        """Await a step of a change; raise errors of the server's package as `AccountStoreError`."""
        try:
            return await step
        except BaseException as error:
            await self._drop(own)
            if not isinstance(error, Exception) or isinstance(error, LipsyncError):
                raise
            what = _what(error)
        # Not in the block above: the package's error may hold the address with its password.
        raise self._error(what)

    async def _drop(self, own: _Connections[C]) -> None:
        connection, own.connection = own.connection, None
        if connection is not None:
            with suppress(Exception):  # such as a broken pipe
                await self._close(connection)

    def _keep(self, own: _Connections[C]) -> None:
        """Keep what is about to connect, until its loop ends."""
        _KEPT.add(own)
        if own.closer is None:
            own.closer = self._close_with_loop(own)
            with suppress(StopIteration):  # up to its `yield`, which makes the loop know it
                own.closer.asend(None).send(None)

    async def _close_with_loop(self, own: _Connections[C]) -> AsyncGenerator[None, None]:
        """Close the connections when `asyncio.run` or its like closes the generators."""
        try:
            yield
        finally:
            await self._close_all(own)
            own.closer, own.lock = None, asyncio.Lock()  # which would keep the loop in memory

    async def _close_all(self, own: _Connections[C]) -> None:
        _KEPT.discard(own)
        await self._stop_listening(own)
        await self._drop(own)

    async def _end(self, task: asyncio.Task[Any], connection: C | None) -> None:
        """End a task that uses a connection."""
        if connection is not None:
            self._abort(connection)
        # What it raises is retrieved, so that asyncio does not log it.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        task.cancel()
        await until_done(task, self._LIMIT)

    async def _call_listeners(self, own: _Connections[C]) -> None:
        """Call the listeners, over one connection after another, until the task is cancelled."""
        loop, pause = asyncio.get_running_loop(), 0.0
        while True:
            await asyncio.sleep(pause)
            try:
                await self._call_listeners_once(own, loop)
                pause = 0.0
            except ConfigurationError:  # each change raises it
                return
            except Exception as error:  # noqa: BLE001 - limits do not depend on it
                is_lost = self._is_lost(error)
                pause = self._PAUSE if is_lost else self._LONG_PAUSE
                if not is_lost and not self._has_told:
                    self._has_told = True
                    log(RETRY_LOG, logging.WARNING, self._no_notifications(error))

    async def _call_listeners_once(
        self, own: _Connections[C], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._keep(own)
        own.subscription = subscription = await self._connect()
        try:
            async for name in self._notifications(subscription):
                for listened, callback in own.listeners.values():
                    if name is None or name == listened:
                        loop.call_soon(callback)
        finally:
            own.subscription = None
            with suppress(Exception):
                await self._close(subscription)

    async def _stop_listening(self, own: _Connections[C]) -> None:
        listening, own.listening = own.listening, None
        if listening is not None:
            await self._end(listening, own.subscription)

    def _no_notifications(self, error: Exception) -> str:
        return self._mask.text(
            f"The account store at {self._address} sends no notifications ({_what(error)}). Limits "
            "are kept, but a free slot is used up to two seconds later. Give the address of the "
            "server itself, not of a connection pooler, and let this user subscribe."
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
    return str(error) if isinstance(error, Refused) else in_words(error).rstrip(".?!")


class Refused(Exception):  # noqa: N818 - no caller of a store sees it
    """Raised where a server cannot do what is needed; its text says what."""
