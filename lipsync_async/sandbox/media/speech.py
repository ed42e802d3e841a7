"""Speak a script: espeak-ng when it is installed, else a voice made of tones.

Both are deterministic: the same script and voice give the same bytes. Voice ids are the
service's and mean nothing here; each simply gets one of the voices, always the same.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from hashlib import sha256
from importlib import import_module, util
from pathlib import Path
from tempfile import TemporaryDirectory

from lipsync_async.sandbox.media import _espeak
from lipsync_async.sandbox.media.problems import PIPELINE_FAILED, MediaError, in_words

ESPEAK = "espeak-ng"
TONES = "tones"

_LOADER = "espeakng_loader"
# Variants that are easy to understand; the others imitate robots, whispers and croaks.
VARIANTS = ("f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m7", "Andy", "Annie", "Gene")
# The longest script (5,000 characters, contract section 5.4) takes under a second.
_CHILD_SECONDS = 60.0
# A script of nothing but punctuation says nothing; the output still needs a length.
_LEAST_SECONDS = 0.2


def speech_engine() -> str:
    """Return `espeak-ng` when it is installed, else `tones`."""
    return ESPEAK if util.find_spec(_LOADER) else TONES


@cache
def speech_trouble() -> str | None:
    """Let espeak-ng say one syllable, once in this process.

    Returns:
        Why it does not speak; `None` if it does, or is not installed.

    """
    if speech_engine() == TONES:
        return None
    try:
        with TemporaryDirectory(prefix="lipsync-speech-") as folder:
            _run_espeak("a", f"en-us+{VARIANTS[0]}", Path(folder) / "a.wav")
    except Exception as error:  # noqa: BLE001 - a package that is broken may raise anything
        return f"espeak-ng does not work ({in_words(error)})"
    return None


def speak(script: str, voice_id: str, output: Path, *, engine: str | None = None) -> float:
    """Speak a script into a WAV file and return its length in seconds.

    Args:
        script: What to say.
        voice_id: Any voice id; each has its own sound.
        output: The WAV to write: 16 bit, mono.
        engine: `espeak-ng` or `tones`; `None` means the best that works.

    Raises:
        MediaError: The speech engine failed.

    """
    # Only now: numpy belongs to the extra, and `engines` must answer without it.
    from lipsync_async.sandbox.media import tones, wav  # noqa: PLC0415 - see above

    digest = sha256(voice_id.encode()).digest()
    if (engine or _working_engine()) == TONES:
        return wav.write_wav(output, tones.hum(script, digest[0]), tones.RATE)
    _run_espeak(script, f"en-us+{VARIANTS[digest[0] % len(VARIANTS)]}", output)
    samples, rate = wav.read_wav(output)
    if len(samples) < _LEAST_SECONDS * rate:
        samples = tones.silence(_LEAST_SECONDS, rate)
        return wav.write_wav(output, samples, rate)
    return len(samples) / rate


def _working_engine() -> str:
    return TONES if speech_trouble() else speech_engine()


def _run_espeak(script: str, voice: str, output: Path) -> None:
    """Let a child process speak."""
    loader = import_module(_LOADER)
    data = Path(loader.get_data_path())
    command = [
        *(sys.executable, "-I", "-S", _espeak.__file__),
        # The library cuts long paths off, so the child starts beside the data.
        *(loader.get_library_path(), data.name, voice, str(output.absolute())),
    ]
    try:
        subprocess.run(  # noqa: S603 - our own script, no shell, and the text goes by pipe
            command,
            cwd=data.parent,
            input=script.encode(),
            capture_output=True,
            check=True,
            timeout=_CHILD_SECONDS,
        )
    except subprocess.SubprocessError as error:
        detail = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        reason = detail.rpartition("\n")[2] or str(error)
        raise MediaError(PIPELINE_FAILED, f"espeak-ng failed: {reason}") from error
