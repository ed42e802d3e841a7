import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import attrs
import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from lipsync_async.sandbox.media.audio_reader import sound_seconds
from lipsync_async.sandbox.media.demo_media import tone
from lipsync_async.sandbox.media.errors import MediaError
from lipsync_async.sandbox.media.open_media import MediaInfo, open_media, probe, stated
from lipsync_async.sandbox.media.video_reader import FrameReader
from tests.sandbox.media.clips import Clip, encoded, refused, turn_clockwise, without_rate

CODES = {
    "video": "generation_input_video_invalid",
    "audio": "generation_input_audio_invalid",
    "image": "generation_input_validation_failed",
}


def _picture(path: Path, width: int = 64, height: int = 48) -> Path:
    Image.new("L", (width, height), 128).save(path)
    return path


def _audio_of_unknown_length(path: Path) -> Path:
    """Write audio as a recorder does that streams: with no length anywhere."""
    source = tone(path.with_suffix(".wav"), seconds=0.5, hertz=440)
    return encoded(source, path, "libopus", options={"live": "1"})


WEBM = Clip(30, codec="libvpx", options={})  # states one length for all streams


@pytest.mark.parametrize(("clip", "suffix"), [(Clip(30, hertz=440), "mp4"), (WEBM, "webm")])
def test_a_video_tells_length_size_and_rate(tmp_path: Path, clip: Clip, suffix: str) -> None:
    """A video is described by its picture, whatever sound it has, in each container."""
    path = clip.write(tmp_path / f"in.{suffix}")
    assert probe(path, "video") == MediaInfo("video", 1.2, 160, 96, 25.0)


def test_a_turned_video_tells_the_size_that_is_seen(tmp_path: Path) -> None:
    """Rotation swaps width and height."""
    path = turn_clockwise(Clip(2).write(tmp_path / "in.mp4"))
    info = probe(path, "video")
    assert (info.width, info.height) == (96, 160)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_picture_has_no_length(tmp_path: Path, suffix: str) -> None:
    """The three picture formats of the service are known."""
    path = _picture(tmp_path / f"face.{suffix}")
    assert probe(path, "image") == MediaInfo("image", None, 64, 48, None)


def test_audio_has_a_length_only(tmp_path: Path) -> None:
    """A sound has no size; a video with sound may stand in for one."""
    path = tone(tmp_path / "in.wav", seconds=1.5, hertz=440)
    assert probe(path, "audio") == MediaInfo("audio", 1.5, None, None, None)
    film = Clip(30, hertz=440).write(tmp_path / "in.mp4")
    assert probe(film, "audio") == MediaInfo("audio", 1.2, None, None, None)


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("content", [None, b"", b"<html>Not found</html>" * 50])
def test_a_file_that_is_no_media_has_the_code_of_its_slot(
    tmp_path: Path, kind: str, content: bytes | None
) -> None:
    """Empty files and error pages are the usual damage; a file may be gone when its job begins."""
    path, words = tmp_path / "damaged.mp4", "cannot be read"
    if content is not None:
        path.write_bytes(content)
        words = "is not a JPEG, PNG or WebP picture" if kind == "image" else words
    with refused(CODES[kind], rf"damaged\.mp4 {words}"):
        probe(path, kind)


def test_a_file_of_another_kind_has_the_code_of_its_slot(tmp_path: Path) -> None:
    """A video is no picture, a picture no video, a mute video no audio, a sound no video."""
    video = Clip(2).write(tmp_path / "in.mp4")
    picture = _picture(tmp_path / "face.png")
    sound = tone(tmp_path / "in.wav", seconds=0.1, hertz=440)
    for path, kind, words in (
        (video, "image", "in.mp4 is not a JPEG, PNG or WebP picture."),
        (picture, "video", "face.png is not a video."),
        (video, "audio", "in.mp4 has no audio stream."),
        (sound, "video", "in.wav has no video stream."),
    ):
        with pytest.raises(MediaError) as caught:
            probe(path, kind)
        assert str(caught.value) == f"{CODES[kind]}: {words}"


def test_the_cover_of_a_song_is_no_video(tmp_path: Path) -> None:
    """Music files bring a picture along, which is not to speak."""
    song, cover = tmp_path / "song.mp3", _picture(tmp_path / "cover.jpg")
    sound = tone(tmp_path / "in.wav", seconds=0.5, hertz=440)
    with (
        av.open(str(sound)) as given,
        av.open(str(cover)) as picture,
        av.open(str(song), "w") as target,
    ):
        stream = target.add_stream("libmp3lame", rate=48_000)
        art = target.add_stream_from_template(picture.streams.video[0])
        # A number, for PyAV 17 takes no other.
        art.disposition = Disposition.attached_pic.value  # type: ignore[assignment]
        assert isinstance(stream, av.AudioStream)
        for packet in picture.demux(video=0):
            if packet.size:
                packet.stream = art
                target.mux(packet)
        for frame in given.decode(audio=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    with pytest.raises(MediaError, match="has no video stream"):
        probe(song, "video")
    assert probe(song, "audio").kind == "audio"


def test_a_head_without_a_body_is_damaged(tmp_path: Path) -> None:
    """A file that promises frames and has none is found at once."""
    sound = tone(tmp_path / "head.wav", seconds=0.0, hertz=440)
    with refused("generation_input_audio_invalid", "holds no sound"):
        probe(sound, "audio")
    video = Clip(3, codec="mpeg2video", options={"g": "1"}).write(tmp_path / "head.mp4")
    data = video.read_bytes()
    start = data.index(b"mdat") + 4
    video.write_bytes(
        data[:start] + bytes(data.index(b"moov") - start - 4) + data[data.index(b"moov") - 4 :]
    )
    with refused("generation_input_video_invalid", "holds no picture"):
        probe(video, "video")


def test_media_without_length_or_rate_lack_metadata(tmp_path: Path) -> None:
    """Recorders that stream leave the length out, and single pictures have no rate."""
    sound = _audio_of_unknown_length(tmp_path / "live.webm")
    single = without_rate(Clip(1, codec="libvpx", options={}).write(tmp_path / "single.webm"))
    for path, kind, missing in ((sound, "audio", "duration"), (single, "video", "frame rate")):
        with refused("generation_media_metadata_missing", f"states no {missing}"):
            probe(path, kind)


SECRET = "secret.ts"
FOREIGN = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{secret}'\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "captions.srt": "1\n00:00:00,000 --> 00:00:01,000\nHello\n",
    "page.txt": "Not found\n" * 50,
}


@pytest.mark.parametrize("keeps_its_name", [True, False])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_list_of_other_files_is_not_followed(
    tmp_path: Path, name: str, *, keeps_its_name: bool
) -> None:
    """A playlist that names a local file is refused, whatever it is called, in every slot."""
    secret = Clip(25, size=(16, 16)).write(tmp_path / SECRET)
    path = tmp_path / (name if keeps_its_name else "download")
    path.write_text(FOREIGN[name].format(secret=secret), encoding="ascii")
    for kind, code in CODES.items():
        with refused(code, r"cannot be read|is not a JPEG"):
            probe(path, kind)


@pytest.mark.parametrize("name", ["clip.ts", "clip.h264", "clip.gif", "clip.flv"])
def test_a_video_of_a_format_that_the_service_does_not_take_is_refused(
    tmp_path: Path, name: str
) -> None:
    """The message says that the format is the reason."""
    codec, pixels = ("gif", "rgb8") if name.endswith("gif") else ("libx264", "yuv420p")
    clip = Clip(5, codec=codec, options={}, pixel_format=pixels).write(tmp_path / name)
    with refused("generation_input_video_invalid", "the service does not take this format"):
        probe(clip, "video")


@pytest.mark.parametrize("name", ["clip.mkv", "clip.asf"])
def test_a_container_of_sounds_is_no_video(tmp_path: Path, name: str) -> None:
    """Of what is taken as audio, some is not taken as video; WebM is, any other Matroska is not."""
    clip = Clip(5, codec="mpeg4", options={}, hertz=440).write(tmp_path / name)
    with refused("generation_input_video_invalid", "is not an mp4, mov, WebM or AVI video"):
        probe(clip, "video")
    assert probe(clip, "audio").kind == "audio"


@pytest.mark.parametrize("suffix", ["bmp", "tiff", "gif"])
def test_a_picture_of_another_format_is_refused(tmp_path: Path, suffix: str) -> None:
    """The message says which formats there are."""
    with refused("generation_input_validation_failed", "is not a JPEG, PNG or WebP picture"):
        probe(_picture(tmp_path / f"face.{suffix}"), "image")


@pytest.mark.parametrize("suffix", ["png", "webp", "gif"])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_moving_picture_is_neither_a_picture_nor_a_video(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    """An animation is refused, also where its format has still pictures."""
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    path = tmp_path / f"face.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    with refused(CODES[kind]):
        probe(path, kind)


@pytest.mark.parametrize("name", ["face.jpg", "face.mp4", "face", "face-01.png"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_of_real_size_is_read_whatever_it_is_called(
    tmp_path: Path, kind: str, name: str
) -> None:
    """The first bytes decide, and the picture can be read again and again."""
    path = tmp_path / name
    grain = np.random.default_rng(1).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    Image.fromarray(grain).save(path, format=kind)
    assert path.stat().st_size > 40_000
    assert probe(path, "image") == MediaInfo("image", None, 320, 240, None)
    with FrameReader(path) as frames:
        assert [frames.frame(0).width, frames.frame(0).height] == [320, 240]


@pytest.mark.parametrize(("width", "height"), [(4098, 16), (16, 4098), (2162, 2162), (5000, 5000)])
def test_more_pixels_than_the_service_takes_are_refused(
    tmp_path: Path, width: int, height: int
) -> None:
    """4096x2160 is the largest picture, lying or standing."""
    with refused("generation_input_resolution_unsupported", r"huge\.png is larger than 4096x2160"):
        probe(_picture(tmp_path / "huge.png", width, height), "image")


@pytest.mark.parametrize(("width", "height"), [(4096, 2160), (2160, 4096)])
def test_the_largest_picture_is_accepted(tmp_path: Path, width: int, height: int) -> None:
    """The limit itself is inside."""
    info = probe(_picture(tmp_path / "large.png", width, height), "image")
    assert (info.width, info.height) == (width, height)


def test_media_errors_pickle() -> None:
    """An error crosses processes with its code, its words, and the file that they are about."""
    for file, said in {None: "words", Path("a/v.mp4"): "v.mp4 words"}.items():
        error = pickle.loads(pickle.dumps(MediaError("code", "words", file)))  # noqa: S301 - ours
        found = (error.code, error.words, error.file, str(error))
        assert found == ("code", "words", file, f"code: {said}")


@attrs.frozen
class _Pair:
    """A rational number as libav has it: nothing is reduced, and a zero means nothing."""

    numerator: int
    denominator: int


@pytest.mark.parametrize("kind", [_Pair, getattr(av, "AVRational", _Pair)])
@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        *((n, 1001, Fraction(n, 1001)) for n in (30_000, 24_000)),
        *((n, 1, Fraction(n)) for n in (25, 2**31 - 1)),
        *((1, n, Fraction(1, n)) for n in (90_000, 2**31 - 1)),
        (50, 2, Fraction(25)),
        *((n, d, None) for n, d in ((0, 1), (0, 25), (0, 0), (1, 0), (-1, 0))),
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
    assert probe(tagged, "audio").kind == "audio"


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
