"""The ways that lead to a service: proxies and encryption, on this machine only."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OPENSSL = shutil.which("openssl")
# Where nothing may be left out, they fail.
needs_openssl = pytest.mark.skipif(
    OPENSSL is None and not os.environ.get("CI"), reason="openssl makes the certificates"
)

_AUTHORITY = """
[ca]
default_ca = own
[own]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


@attrs.frozen
class Certificate:
    """Hold a self-signed certificate and its key, in files."""

    path: Path
    key: Path

    def served(self) -> ssl.SSLContext:
        """Return what serves by it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.path, self.key)
        return context

    def trusted(self) -> ssl.SSLContext:
        """Return what trusts it, and nothing else."""
        return ssl.create_default_context(cafile=str(self.path))


def certificate(
    folder: Path,
    name: str = "DNS:api.sync.example",
    since: str = "20200101000000Z",
    until: str = "20991231235959Z",
) -> Certificate:
    """Make a certificate for a name, for a while."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    (folder / "index").write_text("")
    (folder / "serial").write_text("01")
    (folder / "authority.conf").write_text(_AUTHORITY.format(folder=folder))
    _openssl(
        *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", "/CN=test", "-addext", f"subjectAltName={name}"),
        *("-keyout", str(made.key), "-out", str(folder / "request.pem")),
    )
    _openssl(
        *("ca", "-batch", "-selfsign", "-notext", "-config", str(folder / "authority.conf")),
        *("-keyfile", str(made.key), "-in", str(folder / "request.pem")),
        *("-startdate", since, "-enddate", until, "-out", str(made.path)),
    )
    return made


def _openssl(*arguments: str) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *arguments], check=True, capture_output=True)  # noqa: S603


class Proxy:
    """Pass requests on to one host, whatever they ask for, or answer as planned."""

    def __init__(self, address: str, answer: bytes | None, *, hangs: bool) -> None:
        self.asked: list[str] = []  # the first line of each request
        self.headers: list[list[str]] = []  # the other lines of each
        self.address = address
        self.answer = answer  # what is said instead of passing on
        self.hangs = hangs
        self.is_asked = asyncio.Event()
        self.url = ""
        self._serving: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        serving = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(serving)
        await asyncio.wait([serving])
        writer.close()

    async def aclose(self) -> None:
        """End what is being served."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")[:-2]
            self.asked.append(first)
            self.headers.append(lines)
            self.is_asked.set()
            if self.hangs:
                await reader.read()
            elif self.answer is not None:
                writer.write(self.answer)
                await writer.drain()
            else:
                await self._pass_on(first, head, reader, writer)

    async def _pass_on(
        self, first: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        parts = urlsplit(self.address)
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        with closing(back):
            if first.startswith("CONNECT"):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:  # what is for the proxy only goes no further
                kept = [line for line in head.split(b"\r\n") if b"roxy-" not in line]
                back.write(b"\r\n".join(kept))
            ways = [
                asyncio.ensure_future(_copy(reader, back)),
                asyncio.ensure_future(_copy(there, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxying(
    address: str = "",
    *,
    answer: bytes | None = None,
    hangs: bool = False,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Proxy]:
    """Serve as a proxy on a free port of this machine."""
    proxy = Proxy(address, answer, hangs=hangs)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    proxy.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.aclose()
        await server.wait_closed()
