"""Write one mp4: one H.264 stream, one AAC stream, equally long, both starting at 0.

Picture and sound are handed over together, one frame at a time; then neither runs ahead
and the file needs no buffer. A thread of the writer's own encodes, while the caller decodes
and paints the next frames. Bytes are the same from run to run: frames are encoded in the order
in which they came, the number of threads is fixed, no date is written, and x264 uses no
macroblock tree.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.error import FFmpegError

from lipsync_async.sandbox.media.frame_normalizer import PixelTags
from lipsync_async.sandbox.media.open_media import THREADS
from lipsync_async.sandbox.media.timeline import SAMPLE_RATE, sample_position

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from lipsync_async.sandbox.media.audio_reader import Samples


# Measured, 60 frames of 1280x720, drawn and with a camera's noise: 3 and 10 ms of processor time
# a frame against 8 and 41 of `veryfast`, at the same quality, in files 3 and 1.7 times as large.
# It has no macroblock tree either, which on processors with AVX-512 has other results once in a
# few hundred runs, even in one thread.
_VIDEO_OPTIONS = {"preset": "ultrafast", "crf": "23", "threads": str(THREADS)}
# Measured, 10 s of stereo noise: 0.11 s against 0.25 s for the default search.
_AUDIO_OPTIONS = {"aac_coder": "fast"}
_AUDIO_BITS_PER_SECOND = 128_000
# Frames that wait to be encoded: enough for a decoder that yields several at once.
_MOST_QUEUED = 3


class Mp4Writer:
    """Writer of one mp4, whose sides are even numbers of pixels."""

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        rate: Fraction,
        comment: str,
        tags: PixelTags = PixelTags(),  # noqa: B008 - it cannot be changed
    ) -> None:
        self._rate = rate
        self.frames: int = 0  # appended so far
        self._encoder = ThreadPoolExecutor(1, "encoder")
        nothing: Future[None] = Future()
        nothing.set_result(None)
        self._queued = deque([nothing])
        # The index goes to the front, so that players can begin before the download ends.
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._container.metadata["comment"] = comment
        self._video = self._container.add_stream("libx264", rate=rate, options=_VIDEO_OPTIONS)
        self._video.width = width
        self._video.height = height
        self._video.pix_fmt = "yuv420p"
        self._video.codec_context.time_base = 1 / rate
        self._video.codec_context.sample_aspect_ratio = tags.aspect
        self._video.codec_context.color_primaries = tags.primaries
        self._video.codec_context.color_trc = tags.transfer
        self._video.codec_context.colorspace = tags.matrix
        self._audio = self._container.add_stream("aac", rate=SAMPLE_RATE, options=_AUDIO_OPTIONS)
        self._audio.codec_context.layout = "stereo"
        self._audio.bit_rate = _AUDIO_BITS_PER_SECOND

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Finish the file; after an error, only close it. The thread ends."""
        try:
            try:
                if error is None:
                    self._wait_until_queued(0)
                    self._container.mux(self._video.encode(None))
                    self._container.mux(self._audio.encode(None))
            finally:
                self._encoder.shutdown(cancel_futures=True)
                self._queued.clear()  # an error in it refers to this writer
            self._container.close()
        finally:
            # On a full disk the first try may fail before it has closed the file.
            with suppress(FFmpegError):
                self._container.close()

    def next_samples(self) -> tuple[int, int]:
        """Return first and end position of the samples that belong to the next frame."""
        return self._samples(self.frames)

    def write(self, picture: av.VideoFrame, samples: Samples) -> None:
        """Append an upright, even `yuv420p` frame and the sound that `next_samples` says.

        The same frame may be appended again, but must not change any more. One of the next calls,
        or the end, raises an error of the encoder or of the disk.
        """
        self._wait_until_queued(_MOST_QUEUED - 1)
        last = self._queued[-1]
        self._queued.append(self._encoder.submit(self._encode, last, self.frames, picture, samples))
        self.frames += 1

    def _wait_until_queued(self, most: int) -> None:
        """Wait until at most so many frames are left to encode; raise an earlier one's error."""
        while len(self._queued) > most:
            self._queued.popleft().result()

    def _encode(
        self, before: Future[None], number: int, picture: av.VideoFrame, samples: Samples
    ) -> None:
        try:
            # After an error of the frame before, libav may crash if it writes more.
            before.result()
        finally:
            del before  # its error refers to this call
        # The timestamp is set here, not when the frame is queued: one frame may be queued twice,
        # and the encoder copies its timestamp.
        picture.pts = number
        picture.time_base = 1 / self._rate
        self._container.mux(self._video.encode(picture))
        sound = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
        sound.sample_rate = SAMPLE_RATE
        sound.pts = self._samples(number)[0]
        sound.time_base = Fraction(1, SAMPLE_RATE)
        self._container.mux(self._audio.encode(sound))

    def _samples(self, number: int) -> tuple[int, int]:
        return sample_position(number, self._rate), sample_position(number + 1, self._rate)
