"""One intended generation, one job: what an `Idempotency-Key` remembers.

The rules: the first request with a key owns it until it is settled or fails; the same
body again gets the same generation; another body is refused; a refused create leaves the
key free. Whether bodies are the same is decided by a fingerprint of their meaning, not
of their bytes.

Source: contract section 4.4.
"""

from __future__ import annotations

import hashlib
import json
import re
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from lipsync_async.sandbox.server.messages import Form

_KEY = re.compile(r"[A-Za-z0-9._~-]{1,128}")


class Claim(Enum):
    """Say what a request with a key has to do."""

    FRESH = "create, then settle or release the key"
    RUNNING = "another request with this key is creating: wait for it, then claim again"
    SETTLED = "answer with the generation that was created"
    CONFLICT = "refuse: the key belongs to another body"


def is_well_formed(key: str) -> bool:
    """Return whether `key` may be used; a repeated header, joined by a comma, may not."""
    return _KEY.fullmatch(key) is not None


def fingerprint(body: Any) -> str:
    """Return what makes a JSON body the same as another: its values, not its spelling."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def form_fingerprint(form: Form) -> str:
    """Return what makes a form the same as another: its fields and its files' bytes."""
    digests = {name: file.digest for name, file in form.files.items()}
    return fingerprint({"texts": dict(form.texts), "files": digests})


@attrs.define(slots=True)
class _Record:
    fingerprint: str
    generation_id: str | None = None


class IdempotencyBook:
    """Remember what each key stands for."""

    def __init__(self) -> None:
        """Start empty."""
        self._records: dict[str, _Record] = {}

    def claim(self, key: str, body: str) -> Claim:
        """Return what a request with this key and this fingerprint has to do."""
        record = self._records.get(key)
        if record is None:
            self._records[key] = _Record(body)
            return Claim.FRESH
        if record.fingerprint != body:
            return Claim.CONFLICT
        return Claim.RUNNING if record.generation_id is None else Claim.SETTLED

    def settle(self, key: str, generation_id: str) -> None:
        """Tie the key to the generation that was created with it."""
        self._records[key].generation_id = generation_id

    def release(self, key: str) -> None:
        """Forget a key whose create was refused; a settled key stays."""
        record = self._records.get(key)
        if record is not None and record.generation_id is None:
            del self._records[key]

    def generation_id(self, key: str) -> str | None:
        """Return the generation that the key is tied to, if any."""
        record = self._records.get(key)
        return None if record is None else record.generation_id
