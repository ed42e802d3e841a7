"""A hundred thousand jobs in one process: `python -m benchmarks.hundred_thousand`.

The requests come from a generator, and as many run at once as can be created while the
first still last. It takes a minute or two, so it is not among what `nox -s bench` collects.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.bulk_runs import bulk_run, serving
from benchmarks.ratios import Ratio, table

_TICK = 2.0


def main() -> int:
    """Run, print the figures, and return the exit code: 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--shortest", type=float, default=5.0, help="seconds of a job, at least")
    parser.add_argument("--longest", type=float, default=30.0, help="seconds of a job, at most")
    options = parser.parse_args()
    seconds = (options.shortest, options.longest)
    with serving() as base_url:
        run = bulk_run(base_url, "ours", options.jobs, tick=_TICK, seconds=seconds)
    jobs = f"{run.jobs} jobs"
    ratios = [
        Ratio(what=f"{jobs}: never noticed", measured=run.failed, at_most=0),
        Ratio(what=f"{jobs}: MB of memory", measured=run.memory / 1e6, at_most=120.0),
        Ratio(what=f"{jobs}: most at once", measured=run.most_at_once),
        Ratio(what=f"{jobs}: median delay, in s", measured=run.median_delay),
        Ratio(what=f"{jobs}: p99 delay, in s", measured=run.p99_delay, at_most=_TICK + 0.5),
        Ratio(what=f"{jobs}: requests a job", measured=run.requests_per_job),
        Ratio(what=f"{jobs}: µs of CPU a job", measured=run.cpu_per_job),
        Ratio(what=f"{jobs}: s in all", measured=run.seconds),
        Ratio(what=f"{jobs}: % of the server's time", measured=100 * run.server_share),
    ]
    print(*table(ratios), *run.errors, sep="\n")
    return int(not all(ratio.is_met for ratio in ratios))


if __name__ == "__main__":
    sys.exit(main())
