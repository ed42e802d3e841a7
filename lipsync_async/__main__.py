"""`python -m lipsync_async`: choose a command."""

import signal
import sys

from lipsync_async.cli.interruption import heeded

if __name__ == "__main__":
    with heeded() as interruptions:
        try:
            from lipsync_async.cli.commands import main

            status = main()
        except KeyboardInterrupt:
            sys.stderr.write("stopped before anything was begun\n")
            status = 1
    # What is left is only the interpreter's own end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(interruptions.status(status))
