"""Say which media engines are present, without loading any."""

from __future__ import annotations

from importlib import metadata, util

from lipsync_async.sandbox.media.speech import speech_engine

INSTALL_HINT = "missing; run: pip install 'lipsync-async[sandbox]'"
# What rendering, drawing and the tone voice import.
_VIDEO_MODULES = ("av", "numpy", "PIL")


def engines() -> dict[str, str]:
    """Return the name of each engine, or the command that installs it.

    Returns:
        `video`, `speech` and `lips`. Lips are not moved: the mouth in the output is the
        mouth of the input.

    """
    if not all(util.find_spec(name) for name in _VIDEO_MODULES):
        return {"video": INSTALL_HINT, "speech": INSTALL_HINT, "lips": "none"}
    return {
        "video": f"pyav {metadata.version('av')}",
        "speech": speech_engine(),
        "lips": "none",
    }
