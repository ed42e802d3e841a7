"""The words of the service: statuses, transitions and the closed vocabularies.

Two rules hold here. Everything that is known about a job's life is the one table
`TRANSITIONS`: terminal statuses, the sandbox's moves and the property tests are read from it,
and the guide "Waiting" shows it. And every vocabulary that the service sends is open: a value
that this release does not know keeps its raw text and is never an error.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


# The package's version, here because reading it from the installed metadata takes 25 ms.
__version__ = "0.1.0"


class Status(StrEnum):
    """Status of a generation.

    An unknown status that a newer service sends becomes a `Status` with that text; it
    compares equal to it, and it is *not* terminal.

    Source: "Get generation", sync.so API reference.
    """

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    # Only in older documentation; treated as terminal failures if one is ever seen.
    CANCELED = "CANCELED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @classmethod
    def _missing_(cls, value: object) -> Status | None:
        if not isinstance(value, str):
            return None
        status = str.__new__(cls, value)
        status._name_ = status._value_ = value
        return status

    @property
    def is_known(self) -> bool:
        """Whether this release knows the status."""
        return self._value_ in type(self)._value2member_map_

    @property
    def is_terminal(self) -> bool:
        """Whether a generation never leaves this status."""
        return self in TERMINAL


TRANSITIONS: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.PENDING: frozenset({Status.PROCESSING, Status.FAILED, Status.REJECTED}),
        Status.PROCESSING: frozenset({Status.COMPLETED, Status.FAILED}),
        Status.COMPLETED: frozenset(),
        Status.FAILED: frozenset(),
        Status.REJECTED: frozenset(),
        Status.CANCELED: frozenset(),
        Status.CANCELLED: frozenset(),
        Status.TIMED_OUT: frozenset(),
    }
)

TERMINAL: frozenset[Status] = frozenset(
    status for status, successors in TRANSITIONS.items() if not successors
)


class Model(StrEnum):
    """Models that the service documents. Any other string may be sent, too.

    Source: "List models", sync.so API reference.
    """

    SYNC_3 = "sync-3"
    LIPSYNC_2 = "lipsync-2"
    LIPSYNC_2_PRO = "lipsync-2-pro"
    LIPSYNC_1_9_0_BETA = "lipsync-1.9.0-beta"
    REACT_1 = "react-1"


class SyncMode(StrEnum):
    """What happens when the video and the audio differ in length.

    Source: "Sync mode", sync.so guides.
    """

    BOUNCE = "bounce"
    LOOP = "loop"
    CUT_OFF = "cut_off"
    SILENCE = "silence"
    REMAP = "remap"


class ModelMode(StrEnum):
    """What `react-1` may move.

    Source: "Create generation", sync.so API reference.
    """

    LIPS = "lips"
    FACE = "face"
    HEAD = "head"


class Emotion(StrEnum):
    """Emotions that `react-1` accepts as its prompt.

    Source: "Create generation", sync.so API reference.
    """

    HAPPY = "happy"
    SAD = "sad"
    ANGRY = "angry"
    DISGUSTED = "disgusted"
    SURPRISED = "surprised"
    NEUTRAL = "neutral"
