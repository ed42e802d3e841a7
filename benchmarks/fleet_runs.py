"""One contender's run of many jobs in a process of its own, and the figures of it.

Run as `python -m benchmarks.fleet_runs CONTENDER JOBS`, with a server of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_RUN = 1500


@attrs.frozen(slots=True, kw_only=True)
class FleetRun:
    """Hold the figures of a run.

    Attributes:
        jobs: Jobs in all.
        failed: Those whose end was never noticed.
        mishaps: What went wrong, some of it.
        requests: Requests that reached the server.
        seconds: How long it took.
        after_the_last: Seconds from the end of the slowest job to the end of the run.
        median_delay: Median of the seconds from a job's end to its notice.
        p99_delay: That of 99 %.
        cpu_seconds: CPU time of the contender's process.
        server_cpu_seconds: CPU time of the server's.
        memory: Most bytes of memory that the contender's process held.

    """

    jobs: int
    failed: int
    mishaps: list[str]
    requests: int
    seconds: float
    after_the_last: float
    median_delay: float
    p99_delay: float
    cpu_seconds: float
    server_cpu_seconds: float
    memory: int

    @property
    def requests_per_job(self) -> float:
        """Requests for each job."""
        return self.requests / self.jobs

    @property
    def cpu_per_job(self) -> float:
        """Microseconds of CPU for each job."""
        return self.cpu_seconds / self.jobs * 1e6

    @property
    def server_share(self) -> float:
        """The part of its time in which the server was busy."""
        return self.server_cpu_seconds / self.seconds


@contextmanager
def serving(shortest: float = 5.0, longest: float = 30.0) -> Iterator[str]:
    """Run the server in a process of its own."""
    lengths = ("--shortest", f"{shortest}", "--longest", f"{longest}")
    command = [sys.executable, "-m", "benchmarks.fleet_server", *lengths]
    with subprocess.Popen(  # noqa: S603 - our own words
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.communicate()


def fleet_run(base_url: str, contender: str, jobs: int, *, tick: float = 1.0) -> FleetRun:
    """Let a contender run jobs in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.fleet_runs", contender, f"{jobs}"]
    command += ["--tick", f"{tick}", "--base-url", base_url]
    done = subprocess.run(  # noqa: S603 - our own words
        command, stdout=subprocess.PIPE, check=True, timeout=_LONGEST_RUN
    )
    return FleetRun(**json.loads(done.stdout))


def _run(base_url: str, contender: str, jobs: int, tick: float) -> FleetRun:
    from benchmarks.fleet_contenders import (  # noqa: PLC0415 - only this process needs both clients
        CONTENDERS,
        Notices,
    )

    _ask(f"{base_url}/anew", method="POST")
    notices = Notices(jobs)
    cpu_began, began = time.process_time(), time.monotonic()
    asyncio.run(CONTENDERS[contender](base_url, notices, tick))  # type: ignore[arg-type]
    over = time.monotonic()
    cpu_seconds = time.process_time() - cpu_began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    facts = json.loads(_ask(f"{base_url}/facts"))
    ends = memoryview(_ask(f"{base_url}/ends")).cast("d")
    pairs = zip(notices.moments, ends, strict=False)
    delays = sorted(noticed - end for noticed, end in pairs if noticed)
    return FleetRun(
        jobs=jobs,
        failed=jobs - len(delays),
        mishaps=sorted(set(notices.mishaps))[:5],
        requests=facts["requests"],
        seconds=over - began,
        after_the_last=over - max(ends),
        median_delay=statistics.median(delays),
        p99_delay=delays[int(0.99 * len(delays))],
        cpu_seconds=cpu_seconds,
        server_cpu_seconds=facts["cpu_seconds"],
        memory=memory,
    )


def _ask(url: str, method: str = "GET") -> bytes:
    with urlopen(Request(url, method=method)) as answer:  # noqa: S310 - our own server
        body: bytes = answer.read()
    return body


def main() -> None:
    """Run, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("contender")
    parser.add_argument("jobs", type=int)
    parser.add_argument("--tick", type=float, default=1.0, help="seconds")
    parser.add_argument("--base-url", help="of a server that runs; otherwise one is started")
    parser.add_argument("--shortest", type=float, default=5.0, help="seconds of a job, at least")
    parser.add_argument("--longest", type=float, default=30.0, help="seconds of a job, at most")
    options = parser.parse_args()
    run = partial(_run, contender=options.contender, jobs=options.jobs, tick=options.tick)
    if options.base_url is not None:
        print(json.dumps(attrs.asdict(run(options.base_url))))
        return
    with serving(options.shortest, options.longest) as base_url:
        print(json.dumps(attrs.asdict(run(base_url)), indent=2))


if __name__ == "__main__":
    main()
