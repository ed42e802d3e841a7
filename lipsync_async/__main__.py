"""`python -m lipsync_async`: choose a command."""

import signal
import sys

from lipsync_async.cli.signals import handled_signals

if __name__ == "__main__":
    with handled_signals() as _signals:
        try:
            from lipsync_async.cli.main import main

            _status = main()
        except KeyboardInterrupt:
            sys.stderr.write("stopped before anything was sent\n")
            _status = 1
    # What is left is only the interpreter's own end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_signals.exit_status(_status))
