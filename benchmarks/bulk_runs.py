"""One contender's run of many jobs in a process of its own, and the figures of it.

Run as `python -m benchmarks.bulk_runs CONTENDER JOBS`, with a server of its own.
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
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING
from urllib.request import urlopen

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_RUN = 1500
# Jobs, and their seconds, with which a process is warmed up: what is imported or built at
# first use is the price of a start, not of a job.
_WARM_UP = (20, 0.1, 0.2)
_POSTS = 500


@attrs.frozen(slots=True, kw_only=True)
class BulkRun:
    """Hold the figures of a run, which begins when its process is warm.

    Attributes:
        jobs: Jobs in all.
        failed: Those whose end was never noticed.
        errors: What went wrong, some of it.
        requests: Requests that reached the server.
        seconds: How long it took.
        after_the_last: Seconds from the end of the slowest job to the end of the run.
        median_delay: Median of the seconds from a job's end to its notice.
        p99_delay: That of 99 %.
        cpu_seconds: CPU time of the contender's process.
        server_cpu_seconds: CPU time of the server's.
        post_seconds: CPU time of a bare POST with its parse, in the same process.
        memory: Most bytes of memory that the contender's process held.
        most_at_once: Most jobs that ran at once.

    """

    jobs: int
    failed: int
    errors: list[str]
    requests: int
    seconds: float
    after_the_last: float
    median_delay: float
    p99_delay: float
    cpu_seconds: float
    server_cpu_seconds: float
    post_seconds: float
    memory: int
    most_at_once: int

    @property
    def finished(self) -> int:
        """Jobs whose end was noticed."""
        return self.jobs - self.failed

    @property
    def requests_per_job(self) -> float:
        """Requests for each job that was brought to its end."""
        return self.requests / self.finished

    @property
    def cpu_per_job(self) -> float:
        """Microseconds of CPU for each job that was brought to its end."""
        return self.cpu_seconds / self.finished * 1e6

    @property
    def posts_per_job(self) -> float:
        """CPU for each job that was brought to its end, in bare POSTs."""
        return self.cpu_seconds / self.finished / self.post_seconds

    @property
    def server_share(self) -> float:
        """The part of its time in which the server was busy."""
        return self.server_cpu_seconds / self.seconds


@contextmanager
def serving(module: str = "benchmarks.bulk_server") -> Iterator[str]:
    """Run a server in a process of its own, and give its address."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(  # noqa: S603 - our own words
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.communicate()


def bulk_run(
    base_url: str,
    contender: str,
    jobs: int,
    *,
    tick: float,
    seconds: tuple[float, float] = (5.0, 30.0),
) -> BulkRun:
    """Let a contender run jobs, which last so many seconds, in a fresh process."""
    shortest, longest = seconds
    command = [sys.executable, "-m", "benchmarks.bulk_runs", contender, f"{jobs}"]
    command += ["--tick", f"{tick}", "--base-url", base_url]
    command += ["--shortest", f"{shortest}", "--longest", f"{longest}"]
    done = subprocess.run(  # noqa: S603 - our own words
        command, stdout=subprocess.PIPE, check=True, timeout=_LONGEST_RUN
    )
    return BulkRun(**json.loads(done.stdout))


def _run(
    base_url: str, contender: str, jobs: int, tick: float, seconds: tuple[float, float]
) -> BulkRun:
    from benchmarks.bulk_contenders import (  # noqa: PLC0415 - only this process needs both clients
        CONTENDERS,
        Notices,
        bare_posts,
    )

    contend = CONTENDERS[contender]

    async def run(number: int, shortest: float, longest: float) -> Notices:
        notices = Notices(number)
        _ask(f"{base_url}/anew?{shortest}&{longest}")
        await contend(base_url, notices, tick)
        return notices

    def time_posts() -> float:
        cpu_began = time.process_time()
        asyncio.run(bare_posts(base_url, _POSTS))
        return (time.process_time() - cpu_began) / _POSTS

    asyncio.run(run(*_WARM_UP))
    time_posts()
    post_seconds = [time_posts()]
    cpu_began, began = time.process_time(), time.monotonic()
    notices = asyncio.run(run(jobs, *seconds))
    over = time.monotonic()
    cpu_seconds = time.process_time() - cpu_began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    facts = json.loads(_ask(f"{base_url}/facts"))
    ends = memoryview(_ask(f"{base_url}/ends")).cast("d")
    post_seconds.append(time_posts())
    pairs = zip(notices.moments, ends, strict=False)
    delays = sorted(noticed - end for noticed, end in pairs if noticed)
    return BulkRun(
        jobs=jobs,
        failed=jobs - len(delays),
        errors=sorted(set(notices.errors))[:5],
        requests=facts["requests"],
        seconds=over - began,
        after_the_last=over - max(ends),
        median_delay=statistics.median(delays),
        p99_delay=delays[int(0.99 * len(delays))],
        cpu_seconds=cpu_seconds,
        server_cpu_seconds=facts["cpu_seconds"],
        post_seconds=min(post_seconds),
        memory=memory,
        most_at_once=facts["most_at_once"],
    )


def _ask(url: str) -> bytes:
    with urlopen(url) as answer:  # noqa: S310 - our own server
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
    given = nullcontext(options.base_url)
    seconds = (options.shortest, options.longest)
    with given if options.base_url else serving() as base_url:
        run = _run(base_url, options.contender, options.jobs, options.tick, seconds)
    print(json.dumps(attrs.asdict(run)))


if __name__ == "__main__":
    main()
