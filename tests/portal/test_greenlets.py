"""The blocking client where gevent or eventlet has made greenlets of threads."""

from pathlib import Path

import pytest

from lipsync_async.sandbox import Sandbox
from tests.portal.programs import run

QUIET = ("-W", "ignore")  # eventlet warns of itself, and both of what they meet
# How programs patch: each line runs where its name says.
PATCHES = {
    ("gevent", "before"): "from gevent import monkey; monkey.patch_all()",
    ("gevent", "before, without threads"): (
        "from gevent import monkey; monkey.patch_all(thread=False)"
    ),
    ("gevent", "after the first call"): "from gevent import monkey; monkey.patch_all()",
    ("eventlet", "before"): "import eventlet; eventlet.monkey_patch()",
    ("eventlet", "after, without threads"): (
        "import eventlet; eventlet.monkey_patch(os=True, select=True, socket=True, time=True)"
    ),
}
GREENLETS = {
    "gevent": """
        import gevent
        from gevent import Timeout, sleep, spawn
        begin_limit = Timeout.start_new
        def end(greenlet): return greenlet.get()
        def in_threads(call, times):
            return gevent.get_hub().threadpool.map(lambda _: call(), range(times))
        def finish():
            # gevent's own threads crash the interpreter's end now and then, in C++.
            import atexit
            atexit._run_exitfuncs()
            sys.stdout.flush()
            os._exit(0)
    """,
    "eventlet": """
        import eventlet
        from eventlet import Timeout, sleep, spawn
        begin_limit = Timeout
        def end(greenlet): return greenlet.wait()
        from eventlet import tpool
        def in_threads(call, times):
            return all_of(*(spawn(tpool.execute, call) for _ in range(times)))
        def finish(): pass
    """,
}
# Every check prints its name when it holds.
CHECKS = """
import asyncio, faulthandler, gc, signal

faulthandler.dump_traceback_later(120, exit=True)  # the test is stopped after 180 s
logging.getLogger("lipsync_async").setLevel("ERROR")
PATIENT = {"poll": PollPolicy(initial_interval=60.0, long_poll=None)}
QUICK = {"poll": PollPolicy(initial_interval=0.001, long_poll=None, shared_interval=0.01)}
kept = connect(**QUICK)
kept.models.list()
LATE_PATCH
GREENLETS
checks = []

def all_of(*greenlets): return [end(each) for each in greenlets]

def notes(error): return " ".join(getattr(error, "__notes__", ()))

def left_by(kind, call, *arguments, **how):
    try:
        call(*arguments, **how)
    except kind as error:
        return error
    raise AssertionError("it should have been left")

@checks.append
def real_threads_make_the_first_calls_at_once():
    for _ in range(3):
        with connect() as client:
            assert len(in_threads(client.models.list, 8)) == 8

@checks.append
def the_thread_looks_as_before():
    connect().models.list()
    assert asyncio._get_running_loop() is None
    assert asyncio.run(asyncio.sleep(0, 7)) == 7

@checks.append
def a_client_from_before_goes_on():
    assert kept.generations.run(**ORDER).is_completed

@checks.append
def two_clients_at_once():
    with connect(**QUICK) as first, connect(**QUICK) as second:
        assert first.generations.run(**ORDER).is_completed
        assert second.generations.run(**ORDER).is_completed
        assert first.generations.run(**ORDER).is_completed

@checks.append
def many_share_one():
    with connect(**QUICK) as client:
        done = all_of(*[spawn(lambda: client.generations.run(**ORDER)) for _ in range(12)])
        assert len({job.id for job in done if job.is_completed}) == 12

@checks.append
def each_has_its_own():
    def work():
        with connect(**QUICK) as client:
            return client.generations.run(**ORDER)
    assert all(job.is_completed for job in all_of(*[spawn(work) for _ in range(4)]))

@checks.append
def greenlets_in_greenlets():
    with connect(**QUICK) as client:
        def inner(): return client.generations.run(**ORDER).is_completed
        def outer(): return client.models.list() and all_of(spawn(inner), spawn(inner))
        assert all_of(spawn(outer), spawn(outer)) == [[True, True]] * 2

@checks.append
def others_go_on_meanwhile():
    job, client = kept.generations.create(**ORDER), connect(**PATIENT)
    def tick():
        for _ in range(3): sleep(0.001)
        client.close()
    ticking = spawn(tick)
    left_by(ConfigurationError, client.generations.wait_until_complete, job)
    end(ticking)

# Callback that begins a time limit when it is first called.
def limit():
    begun = []
    def begin(*_): begun or begun.append(begin_limit(0.01))
    return begin

@checks.append
def a_time_limit_ends_a_call():
    seen = []
    with connect(**PATIENT, on_response=seen.append) as client:
        error = left_by(Timeout, client.generations.run, **ORDER, on_update=limit())
        assert seen[0].headers and "goes on" in notes(error), notes(error)
        assert repr(client).endswith("in_flight=0>") and client.generations.count()

@checks.append
def a_time_limit_ends_a_run():
    with connect(**PATIENT, on_response=limit()) as client:
        left_by(Timeout, client.generations.run_all, [GenerationRequest(**ORDER)] * 2)
        assert repr(client).endswith("in_flight=0>")

@checks.append
def a_killed_greenlet_ends_its_call():
    with connect(**PATIENT) as client:
        seen = []
        waiting = spawn(lambda: client.generations.run(**ORDER, on_update=seen.append))
        while not seen: sleep(0.01)
        waiting.kill()
        while not repr(client).endswith("in_flight=0>"): sleep(0.01)
        assert client.generations.count()

@checks.append
def closing_ends_what_waits():
    client = connect(**PATIENT)
    seen = set()
    def wait():
        run, note = client.generations.run, lambda job: seen.add(job.id)
        error = left_by(ConfigurationError, run, **ORDER, on_update=note)
        return f"{error} {notes(error)}"
    waiting = [spawn(wait) for _ in range(3)]
    while len(seen) < 3: sleep(0.01)
    client.close()
    said = all_of(*waiting)
    assert all("goes on" in each for each in said), said

@checks.append
def two_close_at_once():
    client = connect()
    client.models.list()
    assert all_of(spawn(client.close), spawn(client.close)) == [None, None]

@checks.append
def callbacks_and_input_are_the_callers():
    places = set()
    def here(*_): places.add(id(greenlet.getcurrent())); sleep(0)
    def requests():
        for number in range(3):
            here()
            yield GenerationRequest(**ORDER)
    import greenlet
    with kept.generations.run_many(requests(), on_progress=here) as outcomes:
        assert all(outcome.is_success for outcome in outcomes)
    assert places == {id(greenlet.getcurrent())}

@checks.append
def runs_with_a_journal_and_files():
    def work(number):
        folder = f"FOLDER/{number}/"
        os.mkdir(folder)
        requests = [GenerationRequest(**ORDER)] * 3
        how = {"journal": folder + "j.sqlite", "download_to": folder}
        outcomes = kept.generations.run_all(requests, **how)
        return [outcome.path.stat().st_size > 0 for outcome in outcomes]
    assert all_of(*[spawn(work, number) for number in range(3)]) == [[True] * 3] * 3

@checks.append
def a_file_is_sent():
    with open("FOLDER/v.mp4", "wb") as file:
        file.write(bytes(100_000))
    job = kept.generations.create(model="lipsync-2", input=[Video(file="FOLDER/v.mp4"), INPUTS[1]])
    assert job.id

@checks.append
def iterations_are_left():
    assert all_of(*[spawn(lambda: next(kept.generations.iter()).id) for _ in range(3)])
    with kept.generations.updates(kept.generations.create(**ORDER)) as changes:
        assert [str(change.status) for change in changes][-1] == "COMPLETED"

@checks.append
def a_name_is_looked_up():
    with Client("URL_KEY", base_url="URL".replace("127.0.0.1", "localhost")) as client:
        assert client.models.list()

@checks.append
def forks_go_on():
    pid = os.fork()
    if pid == 0:
        os._exit(0 if kept.generations.run(**ORDER).is_completed else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert kept.generations.run(**ORDER).is_completed

@checks.append
def ctrl_c_ends_a_call():
    with connect(**PATIENT) as client:
        def press(_): os.kill(os.getpid(), signal.SIGINT)
        error = left_by(KeyboardInterrupt, client.generations.run, **ORDER, on_update=press)
        assert "goes on" in notes(error)

@checks.append
def nothing_stays_open():
    def use():
        with connect(**QUICK) as client:
            client.generations.download(job, "FOLDER/result.mp4")
    job = kept.generations.run(**ORDER)
    use()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5): use()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) - before < 5

for check in checks:
    check()
    say(check.__name__)
finish()
"""
NAMES = [line[4:].partition("(")[0] for line in CHECKS.splitlines() if line.startswith("def ")]


@pytest.mark.parametrize(("library", "when"), PATCHES)
async def test_greenlets(sandbox: Sandbox, tmp_path: Path, library: str, when: str) -> None:
    """The loop has a real thread, greenlets go on beside it, and nothing is lost or left."""
    patch, late = PATCHES[library, when], ""
    if when == "after the first call":
        patch, late = "", patch
    parts = {"LATE_PATCH": late, "GREENLETS": GREENLETS[library].replace("\n        ", "\n")}
    body = CHECKS
    for name, part in (parts | {"FOLDER": str(tmp_path)}).items():
        body = body.replace(name, part)
    body = f"{patch}\n{body}" if when.startswith("after,") else body
    code, printed, errors = await run(
        body, sandbox, QUIET, first=patch if when.startswith("before") else ""
    )
    names = [name for name in NAMES if name not in {"all_of", "notes", "left_by", "limit"}]
    assert (printed.splitlines(), code) == (names, 0), errors
    # gevent complains at the end of threads that are older than the patch.
    assert errors == "" or when == "after the first call"


@pytest.mark.parametrize(
    ("dropped", "place"),
    [("a_client", "the client's thread"), ("a_client", "main"), ("an_iteration", "main")],
)
async def test_finalizers_in_the_midst_of_a_wait(
    sandbox: Sandbox, dropped: str, place: str
) -> None:
    """The garbage collector may run anywhere; what it drops takes no switch of a greenlet."""
    body = f"""
        import select, socket
        from eventlet import hubs, patcher

        main, places = threading.get_native_id(), []
        hub = type(hubs.get_hub())
        add, pause = hub.add, patcher.original("time").sleep

        def add_slowly(self, *arguments):
            added = add(self, *arguments)
            here = "main" if threading.get_native_id() == main else "the client's thread"
            if here in places:
                places.clear()
                gc.collect()
            elif here != "main":
                pause(0.01)  # a wait for the client takes some time
            return added

        class Owner: pass

        def a_client():
            owner = Owner()
            owner.itself, owner.client = owner, connect()
            owner.client.models.list()

        def an_iteration():
            def outcomes():
                with kept.generations.run_many([GenerationRequest(**ORDER)] * 3) as found:
                    yield from found
            owner = Owner()
            owner.itself, owner.outcomes = owner, outcomes()
            assert next(owner.outcomes).is_success

        kept = connect()
        kept.models.list()
        gc.collect()
        gc.disable()
        hub.add = add_slowly
        {dropped}()
        places.append("{place}")
        kept.models.list()
        say(select.select(socket.socketpair(), [], [], 0), places)
        kept.close()
    """
    code, printed, errors = await run(body, sandbox, QUIET, first=PATCHES["eventlet", "before"])
    assert (printed, code, errors) == ("([], [], []) []\n", 0, "")


async def test_other_greenlets(sandbox: Sandbox) -> None:
    """Where something unknown has replaced threads, one error says so before anything is sent."""
    patch = """
import _thread, threading
real = _thread.start_new_thread
_thread.start_new_thread = threading._start_new_thread = lambda *arguments: real(*arguments)
"""
    body = """
        for verb in (lambda client: client.models.list(), lambda client: client.generations.iter()):
            with suppress(ConfigurationError), connect() as client:
                try:
                    list(verb(client))
                except ConfigurationError as error:
                    say(error)
    """
    code, printed, errors = await run(
        body, sandbox, QUIET, first=f"{patch}\nfrom contextlib import suppress"
    )
    said = (
        "Threads were replaced in this process (by __main__), and the client needs a real one. "
        "Nothing was sent. gevent and eventlet are supported; with anything else, leave threads "
        "as they are when you patch."
    )
    assert (printed.splitlines(), code, errors) == ([said] * 2, 0, "")
    assert sandbox.requests.count("*") == 0
