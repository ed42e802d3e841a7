"""A service that takes uploads and forgets them: it is never the bottleneck.

Run as `python -m benchmarks.upload_server [BYTES]`: it prints its port and ends when its input
does. The one result of all jobs has so many bytes.
"""

from __future__ import annotations

import json
import socket
import sys
import threading

FILM_BYTES = 500_000_000
_BLOCK = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(range(256)) * 4096
_MOMENT = "2026-01-01T00:00:00.000Z"
_ASSET = {"id": "a1", "createdAt": _MOMENT, "updatedAt": _MOMENT, "visibility": "USER"}
_JOB = {"id": "g1", "createdAt": _MOMENT, "status": "COMPLETED", "model": "lipsync-2"}


def _serve(connection: socket.socket, url: str, size: int) -> None:
    """Answer one request after another."""
    buffer = memoryview(bytearray(1024 * 1024))
    with connection:
        unread = b""
        while received := connection.recv(65_536):
            unread += received
            head, end, rest = unread.partition(b"\r\n\r\n")
            if not end:
                continue
            lines = head.decode().split("\r\n")
            length = next((_number(each) for each in lines if _is_length(each)), 0)
            left = length - len(rest)
            while left > 0:
                left -= connection.recv_into(buffer, min(left, len(buffer)))
            unread = b"" if left <= 0 and len(rest) <= length else rest[length:]
            method, path, _ = lines[0].split(" ")
            if path.endswith(".mp4") and method == "GET":
                _send(connection, size)
            else:
                _answer(connection, _said(method, path.partition("?")[0], url))


def _is_length(line: str) -> bool:
    return line.lower().startswith("content-length:")


def _number(line: str) -> int:
    return int(line.partition(":")[2])


def _said(method: str, path: str, url: str) -> object:
    answers: dict[tuple[str, str], object] = {
        ("GET", "/v2/assets/uploaded"): {"asset": None},
        ("POST", "/v2/assets/upload"): {"uploadUrl": f"{url}/put", "url": f"{url}/file"},
        ("POST", "/v2/assets"): {**_ASSET, "type": "VIDEO", "url": f"{url}/file"},
        ("POST", "/v2/generate"): {**_JOB, "outputUrl": f"{url}/film.mp4"},
    }
    return answers.get((method, path), {})


def _answer(connection: socket.socket, said: object) -> None:
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + body)


def _send(connection: socket.socket, size: int) -> None:
    head = f'HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nETag: "f"\r\nContent-Length: {size}'
    connection.sendall(head.encode() + b"\r\n\r\n")
    while size > 0:
        connection.sendall(memoryview(_BLOCK)[:size])
        size -= len(_BLOCK)


def _accept(listener: socket.socket, size: int) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, url, size), daemon=True).start()


def main() -> None:
    """Serve until the input ends."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else FILM_BYTES
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(listener, size), daemon=True).start()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
