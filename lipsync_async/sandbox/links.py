"""Addresses of the sandbox's own media: signed, and short-lived if asked."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async.sandbox.clock import Clock

MEDIA_PATH = "/__sandbox/media/"
FILES_PATH = "/__sandbox/files/"
INBOX_PATH = "/__sandbox/inbox"

# Where a link was handed out; faults tell them apart.
IN_GENERATION = "generation"
IN_DOWNLOAD = "download"
IN_REDIRECT = "redirect"


class Links:
    """Mint addresses and judge those that come back.

    Args:
        base_url: Where the sandbox is.
        secret: Signs the media links.
        clock: Lets links expire.
        lifetime: Seconds that a media link works; `None`: for ever.

    """

    def __init__(self, base_url: str, secret: str, clock: Clock, lifetime: float | None) -> None:
        """Hold on to all of it."""
        self.base_url = base_url
        self._secret = secret.encode()
        self._clock = clock
        self._lifetime = lifetime

    @property
    def never_expire(self) -> bool:
        """Whether a link, once minted, may be handed out again."""
        return self._lifetime is None

    def media(self, job_id: str, *, version: int, via: str = IN_GENERATION) -> str:
        """Return a link to a job's output."""
        expires = "" if self._lifetime is None else f"{self._clock.now() + self._lifetime:.3f}"
        facts = {"expires": expires, "version": str(version), "via": via}
        signature = self._sign(job_id, facts)
        # Digits, hex and plain words: nothing that a query would have to escape.
        query = f"expires={expires}&version={version}&via={via}&signature={signature}"
        return f"{self.base_url}{MEDIA_PATH}{job_id}.mp4?{query}"

    def elsewhere(self, job_id: str, *, version: int) -> str:
        """Return a link to the same output under another host name of this machine."""
        link = self.media(job_id, version=version, via=IN_REDIRECT)
        parts = urlsplit(link)
        other = "127.0.0.1" if parts.hostname == "localhost" else "localhost"
        port = "" if parts.port is None else f":{parts.port}"
        return parts._replace(netloc=other + port).geturl()

    def is_good(self, job_id: str, facts: Mapping[str, str]) -> bool:
        """Return whether a link was minted here and has not expired."""
        expected = self._sign(job_id, facts)
        if not hmac.compare_digest(expected.encode(), facts.get("signature", "").encode()):
            return False
        expires = facts.get("expires")
        return not expires or self._clock.now() <= float(expires)

    def file(self, name: str) -> str:
        """Return the address of a hosted file."""
        return f"{self.base_url}{FILES_PATH}{quote(name)}"

    def _sign(self, job_id: str, facts: Mapping[str, str]) -> str:
        signed = [job_id, *(facts.get(name, "") for name in ("expires", "version", "via"))]
        return hmac.digest(self._secret, "\n".join(signed).encode(), "sha256").hex()[:32]
