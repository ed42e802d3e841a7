"""A forked child begins anew, and never touches what its parent still uses."""

import pytest

from lipsync_async.sandbox import Sandbox
from tests.portal.programs import QUIET, run

CHILDREN = {
    "uses it": 'say("child", client.generations.run(**ORDER).status)',
    "uses and closes it": 'client.models.list(); client.close(); say("closed")',
    "closes it": 'client.close(); say("closed")',
    "drops it": 'client = None; gc.collect(); say("dropped")',
    "leaves it alone": 'say("nothing")',
}
FORKED = """
    client = connect()
    say("parent", client.generations.run(**ORDER).status)
    for child in CHILDREN:
        pid = os.fork()
        if pid == 0:
            exec(child)
            ENDING
        _, status = os.waitpid(pid, 0)
        say("exit code", os.waitstatus_to_exitcode(status))
        say("parent", client.generations.run(**ORDER).status)
    client.close()
    say(threading.active_count())
"""
PRINTED = ["child COMPLETED", "closed", "closed", "dropped", "nothing"]


async def printed(body: str, sandbox: Sandbox) -> list[str]:
    """Return the lines of a program that ends well."""
    code, lines, errors = await run(body, sandbox, QUIET)
    assert (code, errors) == (0, "")
    return lines.splitlines()


@pytest.mark.parametrize("ending", ["sys.exit(0)", "os._exit(0)"])
async def test_fork(sandbox: Sandbox, ending: str) -> None:
    """Whatever a child does with the client, both go on, and nothing is complained of."""
    body = FORKED.replace("CHILDREN", repr([*CHILDREN.values()])).replace("ENDING", ending)
    expected = [each for child in PRINTED for each in (child, "exit code 0", "parent COMPLETED")]
    assert await printed(body, sandbox) == ["parent COMPLETED", *expected, "1"]


async def test_multiprocessing(sandbox: Sandbox) -> None:
    """Workers forked by multiprocessing share an open client with their parent."""
    body = """
        import multiprocessing

        client = connect()

        def work(_):
            return str(client.generations.run(**ORDER).status)

        if __name__ == "__main__":
            say(work(0))
            with multiprocessing.get_context("fork").Pool(2) as pool:
                say(*pool.map(work, range(4)))
                pool.close()
                pool.join()
            say(work(0))
    """
    assert " ".join(await printed(body, sandbox)).split() == ["COMPLETED"] * 6
    assert sandbox.jobs.count("COMPLETED") == 6


async def test_fork_while_others_wait(sandbox: Sandbox) -> None:
    """Locks that other threads hold at that moment do not exist for the child."""
    body = """
        from concurrent.futures import ThreadPoolExecutor

        client = connect(retry=RetryPolicy(first_pause=0.001))
        client.models.list()  # no child survives being born while its parent imports
        with ThreadPoolExecutor(8) as pool:
            runs = [pool.submit(client.generations.run, **ORDER) for _ in range(20)]
            for _ in range(3):
                pid = os.fork()
                if pid == 0:
                    say(client.generations.run(**ORDER).status)
                    os._exit(0)
                os.waitpid(pid, 0)
            say(*{str(each.result().status) for each in runs})
        client.close()
    """
    assert await printed(body, sandbox) == ["COMPLETED"] * 4
    assert sandbox.jobs.count("COMPLETED") == 23


async def test_what_was_under_way_stays_with_the_parent(sandbox: Sandbox) -> None:
    """In the child an inherited iteration is one clear error, and can be left."""
    body = """
        client = connect()
        job = client.generations.create(**ORDER)
        with client.generations.updates(job.id) as changes:
            say(next(changes).status)
            pid = os.fork()
            if pid == 0:
                try:
                    next(changes)
                except ConfigurationError as error:
                    say(error)
            else:
                os.waitpid(pid, 0)
                say(*(change.status for change in changes))
        client.close()
        say("end")
    """
    refusal = "This began before the process was forked, and goes on in the parent only. Begin "
    expected = ["PROCESSING", f"{refusal}anew here.", "end", "COMPLETED", "end"]
    assert await printed(body, sandbox) == expected


async def test_fork_in_a_callback(sandbox: Sandbox) -> None:
    """A child that is born in a callback cannot wait for the parent's call, and is told so."""
    body = """
        client = connect()
        children = []

        def fork(job):
            children.append(os.fork())
            if not children[-1]:
                say("child sees", job.status)

        try:
            done = client.generations.run(**ORDER, on_update=fork)
        except ConfigurationError as error:
            say("child:", error)
            sys.exit(0)
        for pid in children:
            os.waitpid(pid, 0)
        say("parent", done.status, len(children))
        client.close()
    """
    lines = await printed(body, sandbox)
    assert "\n".join(lines).count("child: This began before the process was forked") == 3
    assert lines[-1] == "parent COMPLETED 3"


async def test_async_client_in_a_forked_child(sandbox: Sandbox) -> None:
    """The async client goes on in a child as well, with an event loop of the child's own."""
    body = """
        import anyio

        async def run():
            say((await client.generations.run(**ORDER)).status)

        async def main():
            await run()
            pid = os.fork()
            if pid == 0:
                asyncio._set_running_loop(None)
                asyncio.run(run())
                os._exit(0)
            os.waitpid(pid, 0)
            await run()
            await client.aclose()

        import asyncio
        poll = PollPolicy(initial_interval=0.001, long_poll=None)
        client = AsyncClient("KEY", base_url="URL", poll=poll)
        asyncio.run(main())
    """.replace("KEY", sandbox.api_key)
    assert await printed(body, sandbox) == ["COMPLETED"] * 3


async def test_what_is_under_way_is_the_parents(sandbox: Sandbox) -> None:
    """The end of a child that was forked in the middle of a call tells nothing of that call."""
    body = """
        from lipsync_async._callsite import UNDER_WAY

        logging.getLogger("lipsync_async").setLevel("WARNING")
        UNDER_WAY["a call"] = lambda: ["A create was left."]
        pid = os.fork()
        if pid != 0:
            os.waitpid(pid, 0)
        say(pid != 0)
    """
    code, lines, errors = await run(body, sandbox, QUIET)
    assert (code, lines.split(), errors) == (0, ["False", "True"], "A create was left.\n")
