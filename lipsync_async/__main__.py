# PYTHON_ARGCOMPLETE_OK
"""`lipsync-async`, or `python -m lipsync_async`: choose a command."""

import signal
import sys

from lipsync_async.cli.signals import handled_signals


def run() -> int:
    """Run what was typed, and return the exit status."""
    with handled_signals() as signals:
        try:
            from lipsync_async.cli.main import main  # noqa: PLC0415 - signals come first

            status = main()
        except KeyboardInterrupt:
            sys.stderr.write("stopped before anything was sent\n")
            status = 1
    # What is left is only the interpreter's own end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return signals.exit_status(status)


if __name__ == "__main__":
    sys.exit(run())
