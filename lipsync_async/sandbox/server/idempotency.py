"""One intended order, one row: what an `Idempotency-Key` remembers.

The first request with a key owns it until it is settled or refused; others with the same body
wait for it, and are answered with what it created; another body is refused; a refused create
leaves the key free. Bodies are the same if their values are, not their bytes.

Source: "Idempotency", sync.so guides.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

import anyio
import attrs

from lipsync_async.sandbox.server.api_errors import error

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Request

_KEY = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_ANY_KEY = re.compile(r".{1,128}")


def checked_key(key: str) -> str:
    """Return a key that may be used; a repeated header, joined by a comma, may not."""
    if _KEY.fullmatch(key) is None:
        message = "Send exactly one Idempotency-Key of 1 to 128 letters, digits, . _ ~ or -."
        raise error("INVALID_IDEMPOTENCY_KEY", message)
    return key


def trimmed_key(key: str) -> str:
    """Return a key of any characters, without the blanks around it."""
    if _ANY_KEY.fullmatch(key.strip()) is None:
        message = "Send an Idempotency-Key of 1 to 128 characters."
        raise error("INVALID_IDEMPOTENCY_KEY", message)
    return key.strip()


def fingerprint(request: Request) -> str:
    """Return what makes a request's body the same as another's."""
    value = request.data
    if request.form is not None:
        digests = {name: file.digest for name, file in request.form.files.items()}
        texts = {name: [*found] for name, found in request.form.texts.items()}
        value = {"texts": texts, "files": digests}
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@attrs.define(slots=True)
class _Record:
    fingerprint: str
    created: str | None = None
    is_free: anyio.Event = attrs.field(factory=anyio.Event)


@attrs.define(slots=True)
class IdempotencyKeys:
    """What each key stands for."""

    _records: dict[str, _Record] = attrs.field(factory=dict)

    async def claim(self, key: str, fingerprint: str) -> str | None:
        """Return the id of what the key created; `None`: create it, then release the key."""
        while (record := self._records.get(key)) is not None:
            if record.fingerprint != fingerprint:
                message = "This Idempotency-Key was used with another body."
                raise error("IDEMPOTENCY_KEY_REUSED", message)
            if record.created is not None:
                return record.created
            await record.is_free.wait()
        self._records[key] = _Record(fingerprint)
        return None

    def release(self, key: str, created: str | None) -> None:
        """Tie the key to what was created; `None`: it was refused, forget the key."""
        record = self._records[key]
        record.created = created
        if created is None:
            del self._records[key]
        record.is_free.set()
