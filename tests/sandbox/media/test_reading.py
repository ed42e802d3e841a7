from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import attrs
import av
import pytest

from lipsync_async.sandbox.media.audio_reader import sound_seconds
from lipsync_async.sandbox.media.demo_media import tone
from lipsync_async.sandbox.media.open_media import open_media, probe, stated
from lipsync_async.sandbox.media.video_reader import FrameReader
from tests.sandbox.media.clips import Clip


@attrs.frozen
class _Pair:
    """A rational number as libav has it: nothing is reduced, and a zero means nothing."""

    numerator: int
    denominator: int


@pytest.mark.parametrize("kind", [_Pair, getattr(av, "AVRational", _Pair)])
@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        (25, 1, Fraction(25)),
        (30_000, 1001, Fraction(30_000, 1001)),
        (24_000, 1001, Fraction(24_000, 1001)),
        (1, 90_000, Fraction(1, 90_000)),
        (50, 2, Fraction(25)),
        (2**31 - 1, 1, Fraction(2**31 - 1)),
        (1, 2**31 - 1, Fraction(1, 2**31 - 1)),
        (0, 1, None),
        (0, 25, None),
        (0, 0, None),
        (1, 0, None),
        (-1, 0, None),
    ],
)
def test_a_number_that_a_file_does_not_state_is_none(
    kind: Callable[[int, int], _Pair], numerator: int, denominator: int, expected: Fraction | None
) -> None:
    """A rate is a fraction or nothing, whichever kind of number the library gives."""
    assert stated(kind(numerator, denominator)) == expected


def test_fractions_and_nothing_are_kept() -> None:
    """Up to PyAV 18 the numbers are fractions, and those not stated are absent."""
    assert [stated(None), stated(Fraction(25)), stated(Fraction(0))] == [None, Fraction(25), None]


TAGS = [b"caf\xe9", b"\xff\xfe\xfd", b"\x80", b"\xc3(", b"\xed\xa0\x80", b"\xf8\x88\x80\x80"]


@pytest.mark.parametrize("tag", TAGS, ids=repr)
def test_tags_in_any_encoding_are_no_reason_to_fail(tmp_path: Path, tag: bytes) -> None:
    """An old player's tag, which is not UTF-8, changes nothing about picture and sound."""
    mark = "x" * len(tag)
    video = Clip(3, hertz=440).write(tmp_path / "plain.mp4")
    with av.open(str(video)) as given, av.open(str(tmp_path / "tagged.mkv"), "w") as target:
        target.metadata["title"] = f"<{mark}>"
        copies = {stream.index: target.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    tagged = tmp_path / "tagged.mkv"
    data = tagged.read_bytes()
    tagged.write_bytes(data.replace(f"<{mark}>".encode(), b"<" + tag + b">"))

    assert data.count(f"<{mark}>".encode()) == 1
    with FrameReader(tagged) as frames:
        assert (frames.rate, frames.count) == (Fraction(25), 3)
    assert probe(tagged, "video").fps == 25


def test_a_tag_of_a_sound_is_no_reason_to_fail(tmp_path: Path) -> None:
    """What a recorder writes into its WAV is as good as it is."""
    sound = tone(tmp_path / "a.wav", seconds=0.5, hertz=440)
    title = b"caf\xe9\0\0"
    info = b"INFOINAM" + len(title).to_bytes(4, "little") + title
    chunk = b"LIST" + len(info).to_bytes(4, "little") + info
    data = sound.read_bytes()
    size = len(data) - 8 + len(chunk)
    sound.write_bytes(b"RIFF" + size.to_bytes(4, "little") + data[8:12] + chunk + data[12:])

    with open_media(sound) as container:
        assert list(container.metadata) == ["title"]
    assert sound_seconds(sound) == 0.5
