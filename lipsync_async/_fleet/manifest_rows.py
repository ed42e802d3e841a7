"""What every form of manifest is read into: rows, and flaws with their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lipsync_async._fleet.generate_body import Flaw, read_body
from lipsync_async._values.inputs import GenerationRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NOT_UTF_8 = "is not UTF-8; save the file as UTF-8"


@attrs.frozen(slots=True)
class ManifestRow:
    """Hold one request of a manifest.

    Attributes:
        line: The line that it begins in, from 1.
        request: The request.
        request_id: The name that a line of a batch gives it; `None` for all others.

    """

    line: int
    request: GenerationRequest
    request_id: str | None = None


@attrs.define(slots=True)
class Contents:
    """Collect what a manifest holds, and what is wrong with it.

    Attributes:
        rows: The requests.
        flaws: What is wrong, each with its line.

    """

    rows: list[ManifestRow] = attrs.field(factory=list)
    flaws: list[tuple[int, Flaw]] = attrs.field(factory=list)

    def blame(self, line: int, words: str, path: str = "") -> None:
        """Note what is wrong with a line."""
        self.flaws.append((line, Flaw(path, words)))

    def take(
        self,
        line: int,
        body: object,
        *,
        folder: Path,
        place_of: Callable[[str], str],
        request_id: str | None = None,
    ) -> None:
        """Read a generate body and keep its request, and what is wrong with it.

        Args:
            line: Where it begins.
            body: Decoded JSON, or what stands for it.
            folder: What the paths of local files are relative to.
            place_of: Names a path in the body as the manifest's author does.
            request_id: The name that the line gives it.

        """
        request, flaws = read_body(body, folder=folder)
        for flaw in flaws:
            self.blame(line, flaw.words, place_of(flaw.path))
        if request is not None:
            self.rows.append(ManifestRow(line, request, request_id))

    def decode(self, line: int, data: bytes) -> str | None:
        """Return a line's text, or note that it has none."""
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            self.blame(line, f"{_NOT_UTF_8} (byte {data[error.start]:#04x})")
            return None
