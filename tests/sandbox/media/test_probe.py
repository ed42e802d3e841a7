import pickle
from pathlib import Path

import av
import pytest
from av.stream import Disposition
from PIL import Image

from lipsync_async.sandbox.media.demo_media import tone
from lipsync_async.sandbox.media.errors import MediaError
from lipsync_async.sandbox.media.open_media import MediaInfo, probe
from tests.sandbox.media.clips import Clip, turn_clockwise

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
    tone(path.with_suffix(".wav"), seconds=0.5, hertz=440)
    with (
        av.open(str(path.with_suffix(".wav"))) as given,
        av.open(str(path), "w", options={"live": "1"}) as target,
    ):
        stream = target.add_stream("libopus", rate=48_000)
        assert isinstance(stream, av.AudioStream)
        for frame in given.decode(audio=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return path


def test_a_video_tells_length_size_and_rate(tmp_path: Path) -> None:
    """A video is described by its picture, whatever sound it has."""
    path = Clip(30, hertz=440).write(tmp_path / "in.mp4")
    assert probe(path, "video") == MediaInfo("video", 1.2, 160, 96, 25.0)


def test_a_matroska_video_tells_the_length_of_its_file(tmp_path: Path) -> None:
    """Containers that state no length per stream state one for all."""
    path = Clip(30).write(tmp_path / "in.mkv")
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
@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>" * 50])
def test_a_file_that_is_no_media_has_the_code_of_its_slot(
    tmp_path: Path,
    kind: str,
    content: bytes,
) -> None:
    """Empty files and error pages are the usual damage."""
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"damaged\.mp4 cannot be read") as caught:
        probe(path, kind)
    assert caught.value.code == CODES[kind]


def test_a_file_of_another_kind_has_the_code_of_its_slot(tmp_path: Path) -> None:
    """A video is no picture, a picture no video, a mute video no audio, a sound no video."""
    video = Clip(2).write(tmp_path / "in.mp4")
    picture = _picture(tmp_path / "face.png")
    sound = tone(tmp_path / "in.wav", seconds=0.1, hertz=440)
    refused = {
        (
            video,
            "image",
        ): "generation_input_validation_failed: in.mp4 is not a JPEG, PNG or WebP picture.",
        (picture, "video"): "generation_input_video_invalid: face.png is not a video.",
        (video, "audio"): "generation_input_audio_invalid: in.mp4 has no audio stream.",
        (sound, "video"): "generation_input_video_invalid: in.wav has no video stream.",
    }
    for (path, kind), message in refused.items():
        with pytest.raises(MediaError) as caught:
            probe(path, kind)
        assert str(caught.value) == message


def test_the_cover_of_a_song_is_no_video(tmp_path: Path) -> None:
    """Music files bring a picture along that nobody wants to see speak."""
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
    with pytest.raises(MediaError, match="holds no sound") as caught:
        probe(sound, "audio")
    assert caught.value.code == "generation_input_audio_invalid"
    video = Clip(3, codec="mpeg2video", options={"g": "1"}).write(tmp_path / "head.mp4")
    data = video.read_bytes()
    start = data.index(b"mdat") + 4
    video.write_bytes(
        data[:start] + bytes(data.index(b"moov") - start - 4) + data[data.index(b"moov") - 4 :]
    )
    with pytest.raises(MediaError, match="holds no picture") as caught:
        probe(video, "video")
    assert caught.value.code == "generation_input_video_invalid"


def test_media_without_length_or_rate_lack_metadata(tmp_path: Path) -> None:
    """Recorders that stream leave the length out; single animations have no rate."""
    sound = _audio_of_unknown_length(tmp_path / "live.webm")
    animation = tmp_path / "still.gif"
    Image.new("RGB", (16, 16)).save(animation)
    for path, kind, missing in ((sound, "audio", "duration"), (animation, "video", "frame rate")):
        with pytest.raises(MediaError, match=f"states no {missing}") as caught:
            probe(path, kind)
        assert caught.value.code == "generation_media_metadata_missing"


@pytest.mark.parametrize(("width", "height"), [(4098, 16), (16, 4098), (2162, 2162), (5000, 5000)])
def test_more_pixels_than_the_service_takes_are_refused(
    tmp_path: Path,
    width: int,
    height: int,
) -> None:
    """4096x2160 is the largest picture, lying or standing."""
    with pytest.raises(MediaError, match=r"huge\.png is larger than 4096x2160") as caught:
        probe(_picture(tmp_path / "huge.png", width, height), "image")
    assert caught.value.code == "generation_input_resolution_unsupported"


@pytest.mark.parametrize(("width", "height"), [(4096, 2160), (2160, 4096)])
def test_the_largest_picture_is_accepted(tmp_path: Path, width: int, height: int) -> None:
    """The limit itself is inside."""
    info = probe(_picture(tmp_path / "large.png", width, height), "image")
    assert (info.width, info.height) == (width, height)


def test_media_errors_pickle() -> None:
    """An error crosses processes with its code and its words."""
    error = pickle.loads(pickle.dumps(MediaError("code", "words")))  # noqa: S301 - our own bytes
    assert (error.code, error.message, str(error)) == ("code", "words", "code: words")
