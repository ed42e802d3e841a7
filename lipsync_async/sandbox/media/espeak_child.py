"""Speak one text with the espeak-ng library, in a process of its own.

The library keeps global state: only a fresh process says the same text with the same
bytes every time. `speech` runs this file as a script, isolated from site-packages, so it
imports the standard library only.
"""

from __future__ import annotations

import ctypes
import sys

# Source of the numbers: espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_POSITION_IS_CHARACTER = 1
_UTF_8 = 1
_OK = 0

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
_BYTES_PER_SAMPLE = 2
RATE_BYTES = 4  # what is written first: the samples' rate


def synthesize(library: str, data: str, voice: str, text: str) -> tuple[int, bytes]:
    """Return the sample rate and the 16-bit mono samples of a spoken text."""
    espeak = ctypes.CDLL(library)
    rate = int(espeak.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _DO_NOT_EXIT))
    spoken = bytearray()

    def collect(samples: int | None, count: int, _events: object) -> int:
        if samples and count > 0:
            spoken.extend(ctypes.string_at(samples, count * _BYTES_PER_SAMPLE))
        return 0

    # ctypes does not keep a callback alive; this name does, until the text is spoken.
    callback = _Callback(collect)
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_SetVoiceByName(voice.encode()) != _OK:
        raise OSError(f"espeak-ng finds no voice {voice!r} in {data}.")
    encoded = text.encode()
    size = ctypes.c_size_t(len(encoded) + 1)
    espeak.espeak_Synth(encoded, size, 0, _POSITION_IS_CHARACTER, 0, _UTF_8, None, None)
    espeak.espeak_Synchronize()
    espeak.espeak_Terminate()
    return rate, bytes(spoken)


if __name__ == "__main__":
    _library_path, _data_path, _voice_name = sys.argv[1:]
    _script = sys.stdin.buffer.read().decode()
    _hertz, _samples = synthesize(_library_path, _data_path, _voice_name, _script)
    sys.stdout.buffer.write(_hertz.to_bytes(RATE_BYTES) + _samples)
