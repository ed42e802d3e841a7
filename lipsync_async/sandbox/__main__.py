"""`python -m lipsync_async.sandbox`: serve in a terminal until Ctrl-C."""

import signal
import sys

if __name__ == "__main__":
    # Service managers and terminals that are closed end processes by signals; they shall tidy
    # up as Ctrl-C does, which asyncio hears between two steps. It is ignored in what a script
    # starts with `&`, which could not be ended then.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for _name in ("SIGTERM", "SIGHUP"):
        _number = getattr(signal, _name, None)  # Windows has no SIGHUP
        if _number is not None and signal.getsignal(_number) is not signal.SIG_IGN:
            signal.signal(_number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        from lipsync_async.cli.sandbox import main

        _status = main()
    except KeyboardInterrupt:
        sys.stderr.write("lipsync_async.sandbox: stopped before it served.\n")
        _status = 130
    sys.exit(_status)
