"""What every form of manifest is read into: rows, and flaws with their lines."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from lipsync_async._fleet.generate_body import Flaw, read_body
from lipsync_async._values.inputs import GenerationRequest, Origin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NO_EXTRA: Mapping[str, str] = MappingProxyType({})


@attrs.frozen(slots=True)
class ManifestRow:
    """Hold one request of a manifest.

    Attributes:
        line: The line that it begins in, from 1.
        request: The request.
        request_id: The name that the manifest gives it, as in `request`; `None`: none.
        extra: The cells of columns of your own, by their names; of JSON lines, the texts in
            `extra`.

    """

    line: int
    request: GenerationRequest
    request_id: str | None = None
    extra: Mapping[str, str] = attrs.field(factory=dict)


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
        extra: Mapping[str, str] = NO_EXTRA,
    ) -> None:
        """Read a generate body and keep its request, and what is wrong with it.

        Args:
            line: Where it begins.
            body: Decoded JSON, or what stands for it.
            folder: What the paths of local files are relative to.
            place_of: Names a path in the body as the manifest's author does.
            request_id: The name that the line gives it.
            extra: Cells of columns of the author's own.

        """
        request, flaws = read_body(body, folder=folder, request_id=request_id)
        for flaw in flaws:
            self.blame(line, flaw.words, place_of(flaw.path))
        if request is not None:
            request = attrs.evolve(request, origin=Origin(line, extra))
            self.rows.append(ManifestRow(line, request, request_id, extra))

    def decode(self, line: int, data: bytes) -> str | None:
        """Return a line's text, or note that it has none."""
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = data[error.start : error.start + 1]
            old = byte.decode("cp1252", "ignore")
            means = f", {old!r} in Windows-1252" if old.isprintable() and old else ""
            self.blame(
                line,
                f"is not UTF-8 (byte {byte[0]:#04x}{means}); save the file as UTF-8, which "
                "spreadsheets call 'CSV UTF-8'",
            )
            return None
