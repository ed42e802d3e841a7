"""A media host that is never the bottleneck: it sends the same bytes again and again.

Run as `python -m benchmarks.media_server`: it prints its port and ends when its input does.
"""

from __future__ import annotations

import socket
import sys
import threading

FILM_BYTES = 300_000_000
_BLOCK = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(range(256)) * 4096
_HEAD = (
    'HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nETag: "film"\r\nAccept-Ranges: bytes\r\n'
    f"Content-Length: {FILM_BYTES}\r\n\r\n"
).encode()


def _serve(connection: socket.socket) -> None:
    """Answer each end of a head with the film."""
    with connection:
        unread = b""
        while received := connection.recv(65_536):
            *heads, unread = (unread + received).split(b"\r\n\r\n")
            for _ in heads:
                _send(connection)


def _send(connection: socket.socket) -> None:
    connection.sendall(_HEAD)
    left = FILM_BYTES
    while left:
        size = min(left, len(_BLOCK))
        connection.sendall(memoryview(_BLOCK)[:size])
        left -= size


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def main() -> None:
    """Serve until the input ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
