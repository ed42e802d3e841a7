"""Speak one text with the espeak-ng library, in a process of its own.

The library keeps global state: only a fresh process says the same text with the same
bytes every time. `speech` runs this file as a script, isolated from site-packages, so it
imports the standard library only. It writes one line of JSON, then the samples.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any, ClassVar

# Source of the numbers: espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_TELL_PHONEMES = 1
_POSITION_IS_CHARACTER = 1
_UTF_8 = 1
_OK = 0
_LAST, _PHONEME = 0, 7  # types of events


class _Event(ctypes.Structure):
    """`espeak_EVENT`."""

    _fields_: ClassVar[list[Any]] = [
        ("type", ctypes.c_int),
        ("message", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_BYTES_PER_SAMPLE = 2


def synthesize(
    library: str, data: str, voice: str, text: str
) -> tuple[int, list[tuple[str, float]], bytes]:
    """Return rate, phonemes with the second at which each begins, and 16-bit mono samples."""
    espeak = ctypes.CDLL(library)
    options = _DO_NOT_EXIT | _TELL_PHONEMES
    rate = int(espeak.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), options))
    spoken = bytearray()
    phonemes: list[tuple[str, float]] = []

    def collect(samples: int | None, count: int, events: Any) -> int:
        if samples and count > 0:
            spoken.extend(ctypes.string_at(samples, count * _BYTES_PER_SAMPLE))
        number = 0
        while events[number].type != _LAST:
            event = events[number]
            if event.type == _PHONEME:
                name = event.name.decode(errors="replace")
                phonemes.append((name, round(event.sample / rate, 4)))
            number += 1
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
    return rate, phonemes, bytes(spoken)


if __name__ == "__main__":
    _library_path, _data_path, _voice_name = sys.argv[1:]
    _script = sys.stdin.buffer.read().decode()
    _hertz, _phonemes, _samples = synthesize(_library_path, _data_path, _voice_name, _script)
    _head = json.dumps({"rate": _hertz, "phonemes": _phonemes})
    sys.stdout.buffer.write(_head.encode() + b"\n" + _samples)
