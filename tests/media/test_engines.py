import sys

import av
import pytest

from lipsync_async.sandbox.media.engines import engines


def test_the_engines_are_named_with_their_version() -> None:
    """With the extra, video and speech are real; lips are not moved."""
    assert engines() == {
        "video": f"pyav {av.__version__}",
        "speech": "espeak-ng",
        "lips": "none",
    }


def test_without_speech_the_tones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The health answer never claims more than there is."""
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert engines()["speech"] == "tones"


@pytest.mark.parametrize("module", ["av", "numpy", "PIL"])
def test_without_the_extra_the_command_is_told(
    monkeypatch: pytest.MonkeyPatch,
    module: str,
) -> None:
    """One line says how to get what is missing."""
    monkeypatch.setitem(sys.modules, module, None)
    hint = "missing; run: pip install 'lipsync-async[sandbox]'"
    assert engines() == {"video": hint, "speech": hint, "lips": "none"}
