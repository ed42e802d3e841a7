"""`python -m lipsync_async`: choose a command."""

import sys

from lipsync_async.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
