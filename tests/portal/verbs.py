"""Use the portal as the generated verbs do."""

from typing import Any


def verb(method: Any, *arguments: Any) -> Any:
    """Call the portal from where a verb would."""
    return method(*arguments)


def interrupt() -> None:
    """Raise what Ctrl-C raises, in the thread that waits."""
    raise KeyboardInterrupt
