"""A pooler in transaction mode, as PgBouncer has it: it lends the server's sessions."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from threading import Lock, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STARTUP = b"\0\3\0\0user\0postgres\0database\0postgres\0\0"


def _message(line: socket.socket, *, is_startup: bool = False) -> bytes:
    """Return the next message, whole; nothing at the end."""
    head = line.recv(4 if is_startup else 5, socket.MSG_WAITALL)
    return head and head + line.recv(int.from_bytes(head[-4:], "big") - 4, socket.MSG_WAITALL)


def _until_ready(line: socket.socket) -> list[bytes]:
    """Return messages up to the one that says that the server is ready."""
    messages = [_message(line)]
    while not messages[-1].startswith(b"Z"):
        messages.append(_message(line))
    return messages


def _greeting(line: socket.socket, path: str) -> bytes:
    """Log in; return what a client is told then, with a number of a session that is none."""
    line.connect(path)
    line.sendall((len(_STARTUP) + 4).to_bytes(4, "big") + _STARTUP)
    words = _until_ready(line)
    return b"".join(b"K\0\0\0\14\0\0\0\7none" if each[:1] == b"K" else each for each in words)


def _transact(client: socket.socket, line: socket.socket, asked: bytes) -> None:
    """Pass on what a client says, until a transaction has ended."""
    answers = [b""]
    while not answers[-1].endswith(b"I"):
        line.sendall(asked)
        if asked[:1] in {b"Q", b"S"}:
            answers = _until_ready(line)
            client.sendall(b"".join(answers))
        if not answers[-1].endswith(b"I"):
            asked = _message(client)


@contextmanager
def pooled(server: str, port: int, folder: Path, sessions: int) -> Iterator[None]:
    """Lend sessions of a server in turn to transactions of one client after the other."""
    with ExitStack() as opened:
        lines = [
            opened.enter_context(closing(socket.socket(socket.AF_UNIX))) for _ in range(sessions)
        ]
        greetings = [_greeting(line, f"{server}/.s.PGSQL.{port}") for line in lines]
        door = opened.enter_context(closing(socket.socket(socket.AF_UNIX)))
        door.bind(f"{folder}/.s.PGSQL.{port}")
        door.listen()
        lent, lock = cycle(lines), Lock()

        def serve(client: socket.socket) -> None:
            with client:
                _message(client, is_startup=True)
                client.sendall(greetings[0])
                while (asked := _message(client)) not in {b"", b"X\0\0\0\4"}:
                    with lock:
                        _transact(client, next(lent), asked)

        def accept() -> None:
            with ExitStack() as serving:
                try:
                    while True:
                        client, _ = door.accept()
                        thread = Thread(target=serve, args=(client,))
                        thread.start()
                        serving.callback(thread.join)
                except OSError:  # the door was shut
                    return

        accepting = Thread(target=accept)
        accepting.start()
        opened.callback(accepting.join)
        opened.callback(door.shutdown, socket.SHUT_RDWR)
        yield
